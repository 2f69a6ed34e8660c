//! Interleavings, checked by loom: `RUSTFLAGS="--cfg zs_loom" cargo test --release -p zsmalloc --lib model`.
//!
//! With `--cfg zs_break_wake_fence` as well the fences of the wake-up are gone, and `no_wake_up_is_lost` must fail: it is then marked
//! as one that panics.

use std::vec::Vec;

use loom::{cell::UnsafeCell, sync::Arc, thread};

use crate::{
    cell::{Cell, OPEN, Refused, try_lock},
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
    let words =
        (head..head + pending).map(|index| ring.slots().slot(index).load(Ordering::Relaxed)).collect();
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

/// An object that moves between two places, with a cell; a place is only touched by who has the cell locked.
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
        let Some(from) = try_lock(&self.word) else { return };
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
        match object.cell().lock(0) {
            Ok(place) => {
                // SAFETY: the cell is locked, and loom checks that nobody else is here.
                assert_eq!(object.at(place).with(|value| unsafe { *value }), 42);
                object.cell().unlock(place);
            }
            Err(refused) => assert_eq!(refused, Refused::Busy),
        }
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
        let freed = match object.cell().lock(0) {
            Ok(_) => {
                object.cell().retire(0, 5);
                true
            }
            Err(refused) => {
                assert_eq!(refused, Refused::Busy);
                false
            }
        };
        if freed {
            assert_eq!(object.cell().lock(0), Err(Refused::Stale));
            // The link is not looked at: loom lets the mover's read-modify-write go by the store of it. The memory model forbids that, since a
            // read-modify-write reads the store that it comes behind; on hardware the exclusive store fails.
            assert_eq!(object.word.load(Ordering::Relaxed) & OPEN, 0);
        }
        mover.join().expect("no panic");
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
