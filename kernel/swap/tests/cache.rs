//! A device in front of a disk: nothing is lost between the two, whoever fails.

mod common;

use core::sync::atomic::{AtomicBool, Ordering};
use std::{sync::Mutex, thread};

use bale_swap::{
    Backing, Blocks, Cache, Codec, Device, IoError, Kind, Level, PAGE_SIZE, Pick, Placed, Reject,
    Room, Scratch, Setup, SwapError, Workshop,
};
use common::{Host, Memory, Random, page, set_core, setup};
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::{collection::vec, test_runner::Config as Runs};
use zsmalloc::{Config, Pool};

struct Disk {
    blocks: Mutex<Vec<Box<[u8; PAGE_SIZE]>>>,
    failing: AtomicBool,
}

impl Disk {
    fn new(blocks: usize) -> Self {
        Self {
            blocks: Mutex::new(vec![Box::new([0xdd; PAGE_SIZE]); blocks]),
            failing: AtomicBool::new(false),
        }
    }
}

struct Open<'d>(&'d mut Vec<Box<[u8; PAGE_SIZE]>>, bool);

impl Blocks for Open<'_> {
    fn read(&mut self, block: usize, into: &mut [u8; PAGE_SIZE]) -> Result<(), IoError> {
        if self.1 {
            return Err(IoError);
        }
        *into = *self.0[block];
        Ok(())
    }

    fn write(&mut self, block: usize, from: &[u8; PAGE_SIZE]) -> Result<(), IoError> {
        if self.1 {
            return Err(IoError);
        }
        *self.0[block] = *from;
        Ok(())
    }
}

impl Backing for &Disk {
    fn blocks(&self) -> usize {
        self.blocks.lock().expect("no panic").len()
    }

    fn exclusive<R>(&self, work: impl FnOnce(&mut dyn Blocks) -> R) -> R {
        let mut blocks = self.blocks.lock().expect("no panic");
        work(&mut Open(&mut blocks, self.failing.load(Ordering::Relaxed)))
    }
}

fn pool(host: &Host) -> Pool<&Host> {
    Pool::new(host, Config { ring_capacity: 128, watermark: 32, ..Config::default() })
        .expect("memory")
}

fn content(cache: &Cache<'_, &Host, &Disk>, slot: usize) -> [u8; PAGE_SIZE] {
    let mut out = [0x5a; PAGE_SIZE];
    cache.read(slot, &mut out, &mut Scratch::new()).expect("stored");
    out
}

#[test]
fn a_disk_too_small_is_refused() {
    let (host, disk) = (Host::new(64, 1), Disk::new(3));
    let pool = pool(&host);
    let mut memory = Memory::new(4);
    let device = Device::new(&pool, memory.tables(), setup(64, Codec::Page));
    assert_eq!(Cache::new(&device, &disk, 90).err(), Some(SwapError::NoSuchSlot));
}

#[test]
fn the_coldest_go_first_and_come_back() {
    let (host, disk) = (Host::new(512, 1), Disk::new(16));
    let pool = pool(&host);
    let mut memory = Memory::checked(16);
    let device = Device::new(&pool, memory.tables(), setup(64, Codec::Page));
    let cache = Cache::new(&device, &disk, 90).expect("a disk");
    let (mut scratch, mut shop) = (Scratch::new(), Workshop::new());
    for slot in 0..16 {
        cache.write(slot, &page(slot as u64 + 1, 5), &mut scratch).expect("memory");
    }
    // The hand has marked them all; those of even number are used again.
    assert_eq!(cache.device().mark_idle(0), 16);
    (0..16).step_by(2).for_each(|slot| assert!(content(&cache, slot) != [0; PAGE_SIZE]));
    let done = cache.write_back(8, &mut shop).expect("the only worker");
    assert_eq!((done.written, done.failed), (8, 0));
    for slot in 0..16 {
        let kind = cache.device().state(slot).expect("a slot").kind;
        assert_eq!(
            kind,
            if slot % 2 == 1 { Kind::Backed } else { Kind::Compressed },
            "slot {slot}"
        );
        assert!(content(&cache, slot) == page(slot as u64 + 1, 5), "slot {slot}");
    }
    assert_eq!(cache.statistics().read_back, 8);
    assert_eq!((cache.device().statistics().backed, pool.stats().objects), (8, 8));
    // A page that is stored again is here again, and one that is released is nowhere.
    cache.write(1, &page(99, 5), &mut scratch).expect("memory");
    cache.release(3, 1).expect("a slot");
    assert!(content(&cache, 1) == page(99, 5) && content(&cache, 3) == [0; PAGE_SIZE]);
    assert_eq!(cache.device().statistics().backed, 6);
}

#[test]
fn a_full_cache_writes_through_until_there_is_room() {
    let (host, disk) = (Host::new(512, 1), Disk::new(32));
    let pool = pool(&host);
    let mut memory = Memory::new(32);
    let device = Device::new(&pool, memory.tables(), setup(10, Codec::Lz4));
    let cache = Cache::new(&device, &disk, 50).expect("a disk");
    let (mut scratch, mut shop) = (Scratch::new(), Workshop::new());
    let mut write = |slot: usize| {
        cache.write(slot, &page(slot as u64 + 1, 16), &mut scratch).expect("somewhere")
    };
    assert!((0..10).all(|slot| matches!(write(slot), Placed::Kept(_))));
    assert_eq!(write(10), Placed::WrittenThrough(Reject::Limit));
    assert_eq!(write(11), Placed::WrittenThrough(Reject::Full));
    cache.release(0, 4).expect("slots");
    assert_eq!(write(12), Placed::WrittenThrough(Reject::Full), "above the threshold still");
    let done = cache.shrink(&mut shop).expect("the only worker");
    assert_eq!(done.written, 1);
    assert!(matches!(write(13), Placed::Kept(_)));
    for slot in 4..14 {
        assert!(content(&cache, slot) == page(slot as u64 + 1, 16), "slot {slot}");
    }
    let counted = cache.statistics();
    assert_eq!((counted.rejected_limit, counted.rejected_full, counted.rejected_memory), (1, 2, 0));
}

#[test]
fn memory_that_is_kept_back_sends_pages_to_the_disk() {
    let (host, disk) = (Host::new(512, 1), Disk::new(8));
    let pool = pool(&host);
    let mut memory = Memory::new(8);
    let device = Device::new(
        &pool,
        memory.tables(),
        Setup { has_room: || Room::Nobody, ..setup(8, Codec::Lz4) },
    );
    let cache = Cache::new(&device, &disk, 50).expect("a disk");
    let written = cache.write(1, &page(2, 16), &mut Scratch::new());
    assert_eq!(written, Ok(Placed::WrittenThrough(Reject::Memory)));
    assert!(content(&cache, 1) == page(2, 16));
    assert_eq!(pool.stats().objects, 0);
}

#[test]
fn a_disk_that_fails_costs_no_page_of_the_pool() {
    let (host, disk) = (Host::new(512, 1), Disk::new(8));
    let pool = pool(&host);
    let mut memory = Memory::new(8);
    let device = Device::new(&pool, memory.tables(), setup(4, Codec::Lz4));
    let cache = Cache::new(&device, &disk, 50).expect("a disk");
    let (mut scratch, mut shop) = (Scratch::new(), Workshop::new());
    for slot in 0..4 {
        cache.write(slot, &page(slot as u64 + 1, 16), &mut scratch).expect("memory");
    }
    disk.failing.store(true, Ordering::Relaxed);
    assert_eq!(cache.write(4, &page(5, 16), &mut scratch), Err(SwapError::Io));
    assert_eq!(
        cache.write(0, &page(6, 16), &mut scratch),
        Err(SwapError::Io),
        "full: not in exchange either"
    );
    let done = cache.write_back(4, &mut shop).expect("the only worker");
    assert_eq!((done.written, done.failed), (0, 4));
    disk.failing.store(false, Ordering::Relaxed);
    for slot in 0..4 {
        assert!(content(&cache, slot) == page(slot as u64 + 1, 16), "slot {slot}");
    }
    assert_eq!(cache.statistics().io_errors, 6);
}

#[derive(Clone, Debug)]
enum Operation {
    Write(usize, u64, usize),
    Read(usize),
    Release(usize, usize),
    WriteBack(usize),
    Shrink,
    Drain,
    Fail(bool),
}

const SLOTS: usize = 40;

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        8 => (0..SLOTS, any::<u64>(), 0..17usize).prop_map(|(slot, tag, noise)| Operation::Write(slot, tag, noise)),
        6 => (0..SLOTS).prop_map(Operation::Read),
        2 => (0..SLOTS, 0..SLOTS).prop_map(|(first, count)| Operation::Release(first, count)),
        2 => (0..20usize).prop_map(Operation::WriteBack),
        1 => Just(Operation::Shrink),
        1 => Just(Operation::Drain),
        1 => any::<bool>().prop_map(Operation::Fail),
    ]
}

proptest! {
    #![proptest_config(Runs { cases: 64, ..Runs::default() })]

    #[test]
    fn a_cache_is_a_table_of_pages(operations in vec(operation(), 1..300), quota in 4..32usize, accept in 0..100u8) {
        let (host, disk) = (Host::new(512, 1), Disk::new(SLOTS));
        let pool = pool(&host);
        let mut memory = Memory::checked(SLOTS);
        let device = Device::new(&pool, memory.tables(), setup(quota, Codec::Page));
        let cache = Cache::new(&device, &disk, accept).expect("a disk");
        let (mut scratch, mut shop) = (Scratch::new(), Workshop::new());
        // None: a block of the disk whose write failed, which may hold anything.
        let mut shadow: Vec<Option<Box<[u8; PAGE_SIZE]>>> = vec![Some(Box::new([0; PAGE_SIZE])); SLOTS];
        for operation in operations {
            match operation {
                Operation::Write(slot, tag, noise) => {
                    let new = Box::new(page(tag, noise));
                    let backed = cache.device().state(slot).expect("a slot").kind == Kind::Backed;
                    match cache.write(slot, &new, &mut scratch) {
                        Ok(_) => shadow[slot] = Some(new),
                        Err(SwapError::Io) if backed => shadow[slot] = None,
                        Err(error) => assert_eq!(error, SwapError::Io),
                    }
                }
                Operation::Read(slot) => {
                    let mut out = [0x5a; PAGE_SIZE];
                    match (cache.read(slot, &mut out, &mut scratch), &shadow[slot]) {
                        (Ok(()), Some(expected)) => assert!(out == **expected, "slot {slot}"),
                        (Ok(()), None) => {}
                        (Err(error), _) => assert_eq!(error, SwapError::Io),
                    }
                }
                Operation::Release(first, count) => {
                    let count = count.min(SLOTS - first);
                    cache.release(first, count).expect("slots");
                    shadow[first..first + count].fill(Some(Box::new([0; PAGE_SIZE])));
                }
                Operation::WriteBack(pages) => {
                    cache.write_back(pages, &mut shop).expect("the only worker");
                }
                Operation::Shrink => { cache.shrink(&mut shop).expect("the only worker"); }
                Operation::Drain => { pool.flush(); }
                Operation::Fail(fails) => disk.failing.store(fails, Ordering::Relaxed),
            }
        }
        disk.failing.store(false, Ordering::Relaxed);
        for (slot, expected) in shadow.iter().enumerate() {
            if let Some(expected) = expected {
                assert!(content(&cache, slot) == **expected, "slot {slot} at the end");
            }
        }
        let now = cache.device().statistics();
        assert_eq!((now.lost, now.corrupt, now.unchecked), (0, 0, 0));
        drop(device);
        assert_eq!(pool.close().live, 0);
        assert_eq!(host.used(), 0);
    }
}

/// Twelve cores that each own some slots store, overwrite, read and release; one recompresses,
/// writes back, drains and compacts. Short here; `BALE_OPERATIONS=10000000 cargo test --release -p
/// bale-swap --test cache twelve` is the long form.
#[test]
fn twelve_cores_against_a_shadow() {
    const OWNERS: usize = 12;
    const EACH: usize = 24;
    let operations =
        std::env::var("BALE_OPERATIONS").map_or(120_000, |n| n.parse().expect("a number"));
    let (host, disk) = (Host::new(8192, OWNERS + 1), Disk::new(OWNERS * EACH));
    let pool = pool(&host);
    let mut memory = Memory::checked(OWNERS * EACH);
    let two = Setup { second: Some(Codec::Lz4Hc(Level::DEFAULT)), ..setup(120, Codec::Page) };
    let device = Device::new(&pool, memory.tables(), two);
    let cache = Cache::new(&device, &disk, 80).expect("a disk");
    let done = AtomicBool::new(false);
    let own = |owner: usize| {
        set_core(owner);
        let (mut scratch, mut random) = (Scratch::new(), Random(owner as u64 + 5));
        let mut versions = [0; EACH];
        let steps = operations / OWNERS as u64;
        // On until the thread beside them has had its turns.
        let met = || {
            cache.statistics().written_back > 0 && cache.device().statistics().recompressions > 0
        };
        for step in (1..=50 * steps).take_while(|step| *step <= steps || !met()) {
            let at = random.below(EACH);
            let slot = owner * EACH + at;
            let expected = |version: u64| page(version << 9 | slot as u64, (version % 17) as usize);
            match random.below(8) {
                0..3 => {
                    versions[at] = step;
                    cache.write(slot, &expected(step), &mut scratch).expect("somewhere");
                }
                3 => {
                    versions[at] = 0;
                    cache.release(slot, 1).expect("a slot");
                }
                _ => {
                    let mut out = [0x5a; PAGE_SIZE];
                    // A worker that was interrupted while it copied the object out is waited for.
                    while cache.read(slot, &mut out, &mut scratch) == Err(SwapError::Busy) {
                        thread::yield_now();
                    }
                    let good =
                        if versions[at] == 0 { [0; PAGE_SIZE] } else { expected(versions[at]) };
                    assert!(out == good, "slot {slot}");
                }
            }
        }
    };
    thread::scope(|scope| {
        let own = &own;
        let owners: Vec<_> = (0..OWNERS).map(|owner| scope.spawn(move || own(owner))).collect();
        scope.spawn(|| {
            set_core(OWNERS);
            let (mut shop, mut next) = (Box::new(Workshop::new()), 0);
            let pick = Pick { idle: false, huge: false, least: 512 };
            while !done.load(Ordering::Relaxed) {
                for core in 0..OWNERS {
                    pool.drain(core, 64);
                }
                cache.write_back(4, &mut shop).expect("the only worker");
                let step =
                    cache.device().recompress(next, 8, pick, &mut shop).expect("the only worker");
                next = step.next % (OWNERS * EACH);
                pool.compact(32);
                thread::yield_now();
            }
        });
        let results: Vec<_> = owners.into_iter().map(|owner| owner.join()).collect();
        done.store(true, Ordering::Relaxed);
        results.into_iter().for_each(|result| result.expect("an owner's checks hold"));
    });
    let (counted, now) = (cache.statistics(), cache.device().statistics());
    println!("{operations} operations: {counted:?}, {} recompressed", now.recompressions);
    assert!(counted.written_back > 0 && now.recompressions > 0, "{counted:?} {now:?}");
    assert_eq!((now.lost, now.corrupt), (0, 0));
    drop(device);
    pool.flush();
    assert_eq!((pool.stats().objects, pool.pages(), pool.stats().refused), (0, 0, 0));
}
