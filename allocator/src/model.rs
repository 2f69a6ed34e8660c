//! Interleavings, checked by loom: `RUSTFLAGS="--cfg zs_loom" cargo test --release -p zsmalloc
//! --lib model`.
//!
//! With `--cfg zs_break_wake_fence` as well the fences of the wake-up are gone, and
//! `no_wake_up_is_lost` must fail: it is then marked as one that panics.

use std::vec::Vec;

use loom::{
    cell::UnsafeCell,
    sync::{Arc, Mutex},
    thread,
};

use crate::{
    cell::{Cell, OPEN, PATIENCE, Refused, begin_move, reopen},
    deferred::ring::{By, Pushed, Ring, Shape, Slots},
    sync::{AtomicU8, AtomicU32, AtomicU64, Ordering},
};

struct Words(Vec<AtomicU64>);

impl Slots for Words {
    fn run(&self, first: u64, end: u64) -> &[AtomicU64] {
        self.entered_run(first, end)
    }

    fn slot(&self, index: u64) -> &AtomicU64 {
        &self.0[usize::try_from(index).expect("small") % self.0.len()]
    }

    fn entered_run(&self, first: u64, end: u64) -> &[AtomicU64] {
        let first = usize::try_from(first).expect("small") % self.0.len();
        &self.0[first..first + usize::try_from(end).expect("small") - first]
    }

    fn enter(&self, index: u64) -> u64 {
        (index | 1) + 1
    }
}

type Model = Ring<Words, ()>;

fn ring(capacity: u64, reserve: u64, watermark: u64) -> Arc<Model> {
    let words = (0..capacity).map(|_| AtomicU64::new(0)).collect();
    Arc::new(Ring::new(Shape { capacity, reserve, watermark }, Words(words), ()))
}

fn push(ring: &Model, word: u64) -> Pushed {
    if ring.push(word) { Pushed::Stored } else { ring.push_slow(word, false) }
}

/// Takes what is pending if the token is free.
fn take(ring: &Model, by: By) -> Vec<u64> {
    let Some(_token) = ring.token() else { return Vec::new() };
    let (head, pending) = ring.pending();
    let words = (head..head + pending)
        .map(|index| ring.slots().slot(index).load(Ordering::Relaxed))
        .collect();
    ring.finish(pending, 0, by);
    words
}

#[test]
fn every_word_comes_out_once_and_in_order() {
    loom::model(|| {
        let ring = ring(4, 0, 4);
        let consumer = {
            let ring = ring.clone();
            thread::spawn(move || [take(&ring, By::Task), take(&ring, By::Task)].concat())
        };
        for word in 1..=3 {
            assert!(push(&ring, word) != Pushed::Full);
        }
        let mut seen = consumer.join().expect("no panic");
        seen.extend(take(&ring, By::Flush));
        assert_eq!(seen, [1, 2, 3]);
        let counts = ring.counts();
        assert_eq!(counts.enqueued, counts.by_task + counts.by_flush);
    });
}

#[test]
fn a_snapshot_never_shows_more_taken_out_than_put_in() {
    loom::model(|| {
        let ring = ring(4, 0, 4);
        let consumer = {
            let ring = ring.clone();
            thread::spawn(move || take(&ring, By::Task))
        };
        let reader = {
            let ring = ring.clone();
            thread::spawn(move || ring.counts())
        };
        assert!(push(&ring, 1) != Pushed::Full);
        assert!(push(&ring, 2) != Pushed::Full);
        consumer.join().expect("no panic");
        let counts = reader.join().expect("no panic");
        assert!(counts.by_task <= counts.enqueued, "{counts:?}");
    });
}

#[test]
fn a_full_ring_is_helped_and_nothing_is_lost() {
    loom::model(|| {
        let ring = ring(2, 1, 2);
        let drain = {
            let ring = ring.clone();
            thread::spawn(move || take(&ring, By::Task))
        };
        let mut seen = Vec::new();
        for word in 1..=3 {
            if push(&ring, word) != Pushed::Full {
                continue;
            }
            // Help; where the token is taken, the reserve; and at last the synchronous free.
            let helped = take(&ring, By::Helper);
            let again = ring.push_slow(word, helped.is_empty());
            seen.extend(helped);
            if again == Pushed::Full {
                ring.count_synchronous();
                seen.push(word);
            }
        }
        seen.extend(drain.join().expect("no panic"));
        seen.extend(take(&ring, By::Flush));
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 3]);
    });
}

#[test]
#[cfg_attr(zs_break_wake_fence, should_panic)]
fn no_wake_up_is_lost() {
    loom::model(|| {
        let ring = ring(4, 0, 1);
        let drain = {
            let ring = ring.clone();
            thread::spawn(move || ring.prepare_sleep())
        };
        let woken = push(&ring, 7) == Pushed::Wake;
        let sleeps = drain.join().expect("no panic");
        assert!(!sleeps || woken, "asleep with a handle pending and no interrupt raised");
    });
}

/// An object that moves between two places, with a cell; a place is only touched by the thread
/// that has locked the cell.
struct Object {
    word: AtomicU32,
    generation: AtomicU8,
    places: [UnsafeCell<u32>; 2],
}

impl Object {
    fn new() -> Arc<Self> {
        let places = [UnsafeCell::new(42), UnsafeCell::new(0)];
        Arc::new(Self { word: AtomicU32::new(OPEN), generation: AtomicU8::new(0), places })
    }

    fn cell(&self) -> Cell<'_> {
        Cell { word: &self.word, generation: &self.generation }
    }

    fn at(&self, place: u32) -> &UnsafeCell<u32> {
        &self.places[usize::try_from(place).expect("small")]
    }

    fn relocate(&self) {
        // Relaxed: the exchange decides.
        let seen = self.word.load(Ordering::Relaxed);
        if seen & OPEN == 0 || !begin_move(&self.word, seen) {
            return;
        }
        let from = seen & !OPEN;
        let to = 1 - from;
        // SAFETY: the cell is locked, and loom checks that nobody else is here.
        let value = self.at(from).with(|value| unsafe { *value });
        assert_eq!(value, 42);
        // SAFETY: as above.
        self.at(to).with_mut(|place| unsafe { *place = value });
        self.cell().unlock(to);
    }
}

#[test]
fn a_reader_sees_a_moving_object_whole() {
    loom::model(|| {
        let object = Object::new();
        let mover = {
            let object = object.clone();
            thread::spawn(move || object.relocate())
        };
        let place = object.cell().lock(0, PATIENCE).expect("a move is waited for");
        // SAFETY: the cell is locked, and loom checks that nobody else is here.
        assert_eq!(object.at(place).with(|value| unsafe { *value }), 42);
        object.cell().unlock(place);
        mover.join().expect("no panic");
    });
}

#[test]
fn a_free_beside_a_move_and_a_stale_reader() {
    loom::model(|| {
        let object = Object::new();
        let mover = {
            let object = object.clone();
            thread::spawn(move || object.relocate())
        };
        object.cell().lock(0, PATIENCE).expect("a move is waited for");
        object.cell().retire(0, 5);
        assert_eq!(object.cell().lock(0, PATIENCE), Err(Refused::Stale));
        assert_eq!(object.word.load(Ordering::Relaxed), 5);
        mover.join().expect("no panic");
    });
}

/// A class of two zspages of two objects each, with its lock: places 0 and 1 are the first
/// zspage's, 2 and 3 the second's. What is taken is said here, under the lock; bytes are only
/// touched by the thread that has locked the cell, which loom checks.
struct Class {
    taken: Mutex<[bool; 4]>,
    bytes: [UnsafeCell<u32>; 4],
    cells: [(AtomicU32, AtomicU8); 2],
    frees: AtomicU32,
}

/// The parts of a protocol that can be taken out, to see that the model notices.
#[derive(Clone, Copy, PartialEq)]
enum Broken {
    Nothing,
    /// The drain uses a location that it read before it had the class's lock.
    StaleLocation,
    /// Compaction gives the old room back before the object is known to be elsewhere.
    RoomFirst,
    /// A page is copied without its objects' locks.
    Unlocked,
    /// A move does not say that it is one.
    Unsaid,
}

impl Class {
    /// Two objects, one in each zspage: 40 at place 0, 42 at place 2.
    fn new() -> Arc<Self> {
        let bytes = [40, 0, 42, 0].map(UnsafeCell::new);
        let cell = |at: u32| (AtomicU32::new(at | OPEN), AtomicU8::new(0));
        let taken = Mutex::new([true, false, true, false]);
        Arc::new(Self { taken, bytes, cells: [cell(0), cell(2)], frees: AtomicU32::new(0) })
    }

    fn cell(&self, index: usize) -> Cell<'_> {
        Cell { word: &self.cells[index].0, generation: &self.cells[index].1 }
    }

    fn put(taken: &mut [bool; 4], place: u32) {
        let room = &mut taken[usize::try_from(place).expect("small")];
        assert!(*room, "room was given back twice");
        *room = false;
    }

    fn read(&self, place: u32) -> u32 {
        // SAFETY: loom checks that nobody writes meanwhile.
        self.bytes[usize::try_from(place).expect("small")].with(|value| unsafe { *value })
    }

    fn write(&self, place: u32, value: u32) {
        // SAFETY: loom checks that nobody else is here.
        self.bytes[usize::try_from(place).expect("small")].with_mut(|at| unsafe { *at = value });
    }

    fn begin_move(word: &AtomicU32, seen: u32, broken: Broken) -> bool {
        if broken == Broken::Unsaid {
            word.compare_exchange(seen, seen & !OPEN, Ordering::Acquire, Ordering::Relaxed).is_ok()
        } else {
            begin_move(word, seen)
        }
    }

    /// One object of a batch: as `Class::free_in_batch`, the class lock held.
    fn free(&self, index: usize, broken: Broken) {
        // Relaxed: what is wrong about it is that it is used at all.
        let before = self.cells[index].0.load(Ordering::Relaxed) & !OPEN;
        let mut taken = self.taken.lock().expect("no panic");
        if let Ok(at) = self.cell(index).lock(0, PATIENCE) {
            self.cell(index).retire(0, 0);
            let known = before < 4 && broken == Broken::StaleLocation;
            Self::put(&mut taken, if known { before } else { at });
            self.frees.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One step of compaction: as `Pool::compact_class`, with what lies on the first zspage to be
    /// moved to the second.
    fn compact(&self, broken: Broken) {
        let mut moves = Vec::new();
        {
            let mut taken = self.taken.lock().expect("no panic");
            for (word, _) in &self.cells {
                // Relaxed: the exchange decides.
                let seen = word.load(Ordering::Relaxed);
                let from = seen & !OPEN;
                if seen & OPEN == 0 || from >= 2 {
                    continue;
                }
                if Self::begin_move(word, seen, broken) {
                    let to =
                        (2..4).find(|&place| !taken[place]).expect("room was seen under this hold");
                    taken[to] = true;
                    moves.push((word, from, u32::try_from(to).expect("small")));
                }
            }
        }
        for &(word, from, to) in &moves {
            if broken == Broken::RoomFirst {
                Self::put(&mut self.taken.lock().expect("no panic"), from);
            }
            self.write(to, self.read(from));
            reopen(word, to);
        }
        let mut taken = self.taken.lock().expect("no panic");
        for &(_, from, _) in moves.iter().filter(|_| broken != Broken::RoomFirst) {
            Self::put(&mut taken, from);
        }
    }

    /// Replaces the page that is the second zspage, both of whose places go by one copy: as
    /// `IsolatedPage::move_page`. The new page is the first zspage's, which is empty then.
    fn migrate(&self, broken: Broken) -> bool {
        let mut locked = Vec::new();
        let wanted = {
            let taken = self.taken.lock().expect("no panic");
            for (word, _) in &self.cells {
                // Relaxed: the exchange decides.
                let seen = word.load(Ordering::Relaxed);
                let at = seen & !OPEN;
                let on = seen & OPEN != 0 && at >= 2;
                if on && (broken == Broken::Unlocked || Self::begin_move(word, seen, broken)) {
                    locked.push((word, at));
                }
            }
            taken[2..].iter().filter(|&&taken| taken).count()
        };
        let all = locked.len() == wanted;
        for &(word, at) in &locked {
            if all {
                self.write(at - 2, self.read(at));
            }
            reopen(word, if all { at - 2 } else { at });
        }
        all
    }
}

fn drain_beside_compaction(broken: Broken) {
    loom::model(move || {
        let class = Class::new();
        let ring = ring(2, 0, 2);
        assert!(push(&ring, 1) != Pushed::Full);
        let drain = {
            let (class, ring) = (class.clone(), ring.clone());
            thread::spawn(move || {
                for word in take(&ring, By::Task) {
                    class.free(usize::try_from(word - 1).expect("small"), broken);
                }
            })
        };
        class.compact(broken);
        drain.join().expect("no panic");
        assert_eq!(class.frees.load(Ordering::Relaxed), 1, "a free was lost");
        // The other one is whole, and has its room alone.
        let taken = *class.taken.lock().expect("no panic");
        assert_eq!(taken.iter().filter(|&&taken| taken).count(), 1);
        let at = class.cell(1).lock(0, PATIENCE).expect("nobody uses it");
        assert_eq!((class.read(at), taken[usize::try_from(at).expect("small")]), (42, true));
    });
}

#[test]
fn a_drain_beside_compaction() {
    drain_beside_compaction(Broken::Nothing);
}

#[test]
#[should_panic(expected = "room was given back twice")]
fn a_drain_that_trusts_an_old_location() {
    drain_beside_compaction(Broken::StaleLocation);
}

#[test]
#[should_panic(expected = "a free was lost")]
fn a_drain_beside_a_move_that_does_not_say_so() {
    drain_beside_compaction(Broken::Unsaid);
}

/// A malloc that finds the room of an object on the move, and writes.
fn malloc_beside_compaction(broken: Broken) {
    loom::model(move || {
        let class = Class::new();
        let compaction = {
            let class = class.clone();
            thread::spawn(move || class.compact(broken))
        };
        let place = {
            let mut taken = class.taken.lock().expect("no panic");
            let place = taken.iter().position(|&taken| !taken).expect("half is free");
            taken[place] = true;
            u32::try_from(place).expect("small")
        };
        class.write(place, 7);
        compaction.join().expect("no panic");
        assert_eq!(class.read(place), 7);
    });
}

#[test]
fn a_malloc_beside_compaction() {
    malloc_beside_compaction(Broken::Nothing);
}

#[test]
#[should_panic]
fn room_given_back_before_the_copy() {
    malloc_beside_compaction(Broken::RoomFirst);
}

/// A page that moves beside a reader that writes and a free.
fn migration_beside_use(broken: Broken) {
    loom::model(move || {
        let class = Class::new();
        // The first zspage has no object: its place is where the page goes.
        class.free(0, Broken::Nothing);
        let user = {
            let class = class.clone();
            thread::spawn(move || {
                let at = class.cell(1).lock(0, PATIENCE).expect("a move is waited for");
                let value = class.read(at);
                class.write(at, value + 1);
                class.cell(1).unlock(at);
            })
        };
        let moved = class.migrate(broken);
        user.join().expect("no panic");
        let at = class.cell(1).lock(0, PATIENCE).expect("nobody uses it");
        assert_eq!(at, if moved { 0 } else { 2 });
        assert_eq!(class.read(at), 43);
    });
}

#[test]
fn a_page_moves_beside_its_users() {
    migration_beside_use(Broken::Nothing);
}

#[test]
#[should_panic]
fn a_page_copied_without_locks() {
    migration_beside_use(Broken::Unlocked);
}

#[test]
fn a_core_that_goes_leaves_nothing_in_its_ring() {
    loom::model(|| {
        let ring = ring(4, 0, 4);
        assert!(push(&ring, 1) != Pushed::Full);
        assert!(push(&ring, 2) != Pushed::Full);
        let drain = {
            let ring = ring.clone();
            thread::spawn(move || take(&ring, By::Task).len())
        };
        // As `Pool::retire_core`: if nothing is pending then all is freed, also by a drain that was
        // at it; otherwise it is refused.
        let flushed = take(&ring, By::Flush).len();
        let retired = ring.pending().1 == 0;
        let counts = ring.counts();
        assert!(!retired || counts.by_task + counts.by_flush == 2, "retired before all was freed");
        let drained = drain.join().expect("no panic");
        let last = take(&ring, By::Flush).len();
        assert_eq!(flushed + drained + last, 2);
        assert!(!retired || last == 0);
    });
}

#[test]
fn teardown_finds_what_drains_left() {
    loom::model(|| {
        let ring = ring(4, 0, 4);
        assert!(push(&ring, 1) != Pushed::Full);
        assert!(push(&ring, 2) != Pushed::Full);
        let drain = {
            let ring = ring.clone();
            thread::spawn(move || take(&ring, By::Task).len())
        };
        let flushed = take(&ring, By::Flush).len();
        let drained = drain.join().expect("no panic");
        // The pool is closed by value, so every other user has gone by then.
        let last = take(&ring, By::Flush).len();
        assert_eq!(flushed + drained + last, 2);
        assert_eq!(ring.pending().1, 0);
    });
}
