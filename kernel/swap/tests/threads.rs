//! Threads as cores over one device, and one that recompresses it: each page that is read must be a
//! whole one that was written to that slot.

mod common;

use core::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bale_swap::{Codec, Device, Level, PAGE_SIZE, Pick, Room, Scratch, Setup, SwapError, Workshop};
use common::{Host, Memory, Random, page, set_core, setup};
use zsmalloc::{Config, Pool};

const WORKERS: usize = 3;
const STEPS: usize = 6_000;
/// Steps at most, where the host does not let the one that recompresses run.
const MOST_STEPS: usize = 100 * STEPS;

fn written(slot: usize, version: u64) -> [u8; PAGE_SIZE] {
    let noise = usize::try_from(version % 17).expect("small");
    page((slot as u64) << 32 | version << 1 | 1, noise)
}

fn check(slot: usize, out: &[u8; PAGE_SIZE]) {
    let tag = u64::from_le_bytes(*out.first_chunk().expect("a page"));
    if tag == 0 {
        assert_eq!(out, &[0; PAGE_SIZE], "an empty slot reads as zeros");
        return;
    }
    assert_eq!(tag >> 32, slot as u64, "another slot's page");
    assert!(out == &written(slot, tag >> 1 & 0x7fff_ffff), "a torn page");
}

fn work(device: &Device<'_, &Host>, core: usize, slots: usize, tight: bool) {
    set_core(core);
    let mut scratch = Scratch::new();
    let mut random = Random(core as u64 + 77);
    let mut out = [0x5a; PAGE_SIZE];
    for step in 0..MOST_STEPS {
        if step >= STEPS && device.statistics().recompressions != 0 {
            break;
        }
        let slot = random.below(slots);
        match random.below(8) {
            0..3 => {
                let version = (step * WORKERS + core) as u64;
                match device.write(slot, &written(slot, version), &mut scratch) {
                    Ok(_) => {}
                    Err(SwapError::PoolFull) => assert!(tight),
                    Err(error) => assert_eq!(error, SwapError::Busy),
                }
            }
            3 => {
                let count = random.below(slots - slot + 1);
                device.release(slot, count.min(3)).expect("within the table");
            }
            _ => match device.read(slot, &mut out, &mut scratch) {
                Ok(()) => check(slot, &out),
                // The host may have stopped the other reader's thread.
                Err(error) => assert_eq!(error, SwapError::Busy),
            },
        }
    }
}

/// Whether anything may grow at the moment.
static HAS_ROOM: AtomicBool = AtomicBool::new(true);

/// `tight`: most of the time nothing may, so that pages are written over what is there.
fn run(slots: usize, tight: bool) {
    let host = Host::new(8192, WORKERS + 2);
    let config = Config { ring_capacity: 128, watermark: 32, ..Config::default() };
    let pool = Pool::new(&host, config).expect("memory");
    let mut memory = Memory::checked(slots);
    let second = Some(Codec::Deflate(Level::DEFAULT));
    let has_room = if tight {
        || if HAS_ROOM.load(Ordering::Relaxed) { Room::All } else { Room::Nobody }
    } else {
        || Room::All
    };
    let device = Device::new(
        &pool,
        memory.tables(),
        Setup { second, has_room, ..setup(usize::MAX, Codec::Lz4) },
    );
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|core| {
                scope.spawn({
                    let device = &device;
                    move || work(device, core, slots, tight)
                })
            })
            .collect();
        scope.spawn(|| {
            set_core(WORKERS);
            for round in 0u32.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                HAS_ROOM.store(round % 4 == 0, Ordering::Relaxed);
                for core in 0..WORKERS {
                    pool.drain(core, 64);
                }
                pool.compact(64);
                thread::yield_now();
            }
        });
        scope.spawn(|| {
            set_core(WORKERS + 1);
            let mut shop = Box::new(Workshop::new());
            let pick = Pick { idle: false, huge: false, least: 0 };
            while !done.load(Ordering::Relaxed) {
                device.recompress(0, usize::MAX, pick, &mut shop).expect("the only one");
                thread::yield_now();
            }
        });
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, Ordering::Relaxed);
        for result in results {
            result.expect("a worker's checks hold");
        }
    });
    let statistics = device.statistics();
    assert_eq!((statistics.lost, statistics.corrupt), (0, 0));
    assert!(statistics.recompressions > 0, "nothing was recompressed");
    assert!(statistics.written_over > 0 || !tight, "nothing was written over");
    assert_eq!(device.release(0, slots).map(|held| held as u64), Ok(statistics.stored));
    let end = device.statistics();
    assert_eq!((end.stored, end.same_filled, end.raw, end.compressed_bytes), (0, 0, 0, 0));
    pool.flush();
    let pool = pool.stats();
    assert_eq!((pool.objects, pool.pages, pool.refused), (0, 0, 0));
}

#[test]
fn on_two_slots() {
    run(2, false);
}

#[test]
fn on_many_slots() {
    run(400, false);
}

#[test]
fn on_two_slots_without_room() {
    run(2, true);
}

#[test]
fn on_many_slots_without_room() {
    run(400, true);
}
