//! What is done with stored pages behind the guest's back: marks, recompression, checksums, limits,
//! listings.

mod common;

use core::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use bale_swap::{
    Codec, Device, Kind, Level, PAGE_SIZE, Pick, Room, Scratch, Setup, Stored, SwapError, Workshop,
};
use common::{Host, Memory, damage, page, setup};
use zsmalloc::{Config, Pool};

const ALL: Pick = Pick { idle: false, huge: false, least: 0 };
const SMALLER: Codec = Codec::Deflate(Level::DEFAULT);

fn pool(host: &Host) -> Pool<&Host> {
    Pool::new(host, Config { ring_capacity: 128, watermark: 32, ..Config::default() })
        .expect("memory")
}

/// Room for all, if there is, or else for those.
fn room(is_there: &AtomicBool, or_else: Room) -> Room {
    if is_there.load(Ordering::Relaxed) { Room::All } else { or_else }
}

fn two_codecs() -> Setup {
    Setup { second: Some(SMALLER), ..setup(1024, Codec::Lz4) }
}

#[test]
fn a_use_takes_the_mark_off() {
    let host = Host::new(256, 1);
    let pool = pool(&host);
    let mut memory = Memory::new(4);
    let device =
        Device::new(&pool, memory.tables(), Setup { clock_shift: 4, ..setup(64, Codec::Page) });
    let (mut scratch, mut out) = (Scratch::new(), [0; PAGE_SIZE]);
    device.write(0, &page(1, 4), &mut scratch).expect("memory");
    device.write(1, &page(2, 4), &mut scratch).expect("memory");
    device.write(2, &[9; PAGE_SIZE], &mut scratch).expect("a same-filled page");
    host.clock.store(16 * 10, Ordering::Relaxed);
    device.read(1, &mut out, &mut scratch).expect("stored");
    host.clock.store(16 * 15, Ordering::Relaxed);
    assert_eq!(device.state(0).map(|state| state.age), Some(15));
    assert_eq!(device.state(1).map(|state| state.age), Some(5));
    assert_eq!(device.mark_idle(16), 0);
    assert_eq!(device.mark_idle(15), 1, "same-filled and empty slots have no object to be idle");
    assert_eq!(device.mark_idle(0), 2);
    device.read(0, &mut out, &mut scratch).expect("stored");
    device.write(1, &page(3, 4), &mut scratch).expect("memory");
    assert!((0..2).all(|slot| device.state(slot).is_some_and(|state| !state.idle)));
    assert_eq!(device.state(4), None);
}

#[test]
fn a_listing_shows_what_is_there() {
    let host = Host::new(256, 1);
    let pool = pool(&host);
    let mut memory = Memory::new(4);
    let device = Device::new(&pool, memory.tables(), setup(64, Codec::Page));
    let mut scratch = Scratch::new();
    device.write(1, &[9; PAGE_SIZE], &mut scratch).expect("memory");
    let Ok(Stored::Compressed(length)) = device.write(2, &page(2, 4), &mut scratch) else {
        panic!("it compresses")
    };
    device.write(3, &page(3, 16), &mut scratch).expect("memory");
    device.mark_idle(0);
    let states: Vec<_> = (0..4).filter_map(|slot| device.state(slot)).collect();
    assert_eq!(
        states.iter().map(|state| (state.kind, state.length)).collect::<Vec<_>>(),
        [(Kind::Empty, 0), (Kind::Same, 0), (Kind::Compressed, length), (Kind::Raw, PAGE_SIZE)]
    );
    assert_eq!(
        states.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["......", "s.....", "...i..", "..hi.."]
    );
}

#[test]
fn recompression_keeps_what_gains_and_remembers_what_does_not() {
    let host = Host::new(2048, 1);
    let pool = pool(&host);
    let mut memory = Memory::checked(40);
    let device = Device::new(&pool, memory.tables(), two_codecs());
    let (mut scratch, mut shop) = (Scratch::new(), Workshop::new());
    for slot in 0..40 {
        device.write(slot, &page(slot as u64 + 1, slot % 17), &mut scratch).expect("memory");
    }
    let before = device.statistics();
    assert_eq!(before.raw_ever, before.raw);
    let mut sum = 0;
    let mut next = 0;
    while next < 40 {
        // A few pages a step.
        let done = device.recompress(next, 7, ALL, &mut shop).expect("a second codec");
        assert!(done.tried <= 7 && done.next > next);
        (next, sum) = (done.next, sum + done.bytes);
    }
    let after = device.statistics();
    assert!(sum > 0 && after.recompressed > 10, "{after:?}");
    assert_eq!(before.compressed_bytes - after.compressed_bytes, sum as u64);
    assert_eq!(after.recompressions, after.recompressed);
    assert_eq!(after.recompressions + after.without_gain, 40);
    for slot in 0..40 {
        let mut out = [0; PAGE_SIZE];
        device.read(slot, &mut out, &mut scratch).expect("stored");
        assert!(out == page(slot as u64 + 1, slot % 17), "slot {slot}");
    }
    let again = device.recompress(0, 40, ALL, &mut shop).expect("a second codec");
    assert_eq!(
        (again.tried, again.next),
        (0, 40),
        "neither what gained nor what did not is tried twice"
    );
    assert_eq!(device.statistics().unchecked, 0);
    device.write(0, &page(77, 3), &mut scratch).expect("memory");
    assert_eq!(
        device.recompress(0, 40, ALL, &mut shop).expect("a second codec").tried,
        1,
        "written again"
    );
    assert_eq!(device.release(0, 40), Ok(40));
    assert_eq!(device.statistics().recompressed, 0);
    pool.flush();
    assert_eq!((pool.stats().objects, pool.pages()), (0, 0));
}

#[test]
fn recompression_takes_what_was_picked() {
    let host = Host::new(512, 1);
    let pool = pool(&host);
    let mut memory = Memory::new(8);
    let device = Device::new(&pool, memory.tables(), two_codecs());
    let (mut scratch, mut shop, mut out) = (Scratch::new(), Workshop::new(), [0; PAGE_SIZE]);
    for slot in 0..8 {
        let noise = if slot < 4 { 16 } else { 6 };
        device.write(slot, &page(slot as u64 + 1, noise), &mut scratch).expect("memory");
    }
    device.mark_idle(0);
    device.read(3, &mut out, &mut scratch).expect("stored");
    device.read(4, &mut out, &mut scratch).expect("stored");
    let mut tried = |pick| device.recompress(0, 8, pick, &mut shop).expect("a second codec").tried;
    assert_eq!(tried(Pick { idle: true, huge: true, least: 0 }), 3);
    assert_eq!(tried(Pick { idle: false, huge: true, least: 0 }), 1);
    assert_eq!(tried(Pick { idle: true, huge: false, least: 0 }), 3);
    assert_eq!(tried(Pick { idle: false, huge: false, least: PAGE_SIZE }), 0);
    assert_eq!(tried(ALL), 1);
}

#[test]
fn without_a_second_codec_there_is_nothing_to_try() {
    let host = Host::new(64, 1);
    let pool = pool(&host);
    let mut memory = Memory::new(1);
    let device = Device::new(&pool, memory.tables(), setup(64, Codec::Lz4));
    assert_eq!(device.recompress(0, 1, ALL, &mut Workshop::new()), Err(SwapError::NoCodec));
}

#[test]
fn a_checksum_tells_one_page_from_another() {
    for noise in [3, 16] {
        let host = Host::new(256, 1);
        let pool = pool(&host);
        let mut memory = Memory::checked(2);
        let device = Device::new(&pool, memory.tables(), two_codecs());
        let (mut scratch, mut out) = (Scratch::new(), [0; PAGE_SIZE]);
        device.write(0, &page(1, noise), &mut scratch).expect("memory");
        let length = device.state(0).expect("a slot").length;
        device.read(0, &mut out, &mut scratch).expect("good");
        // Another page's object: it decompresses, but it is not what was stored.
        let other = page(2, noise);
        let bytes =
            Codec::Lz4.compress(&other, &mut scratch).map_or(other.to_vec(), <[u8]>::to_vec);
        assert!(damage(&pool, &bytes[..length.min(bytes.len())], length) > 0);
        assert_eq!(
            device.read(0, &mut out, &mut scratch),
            Err(SwapError::Corrupt),
            "noise {noise}"
        );
        let done = device.recompress(0, 2, ALL, &mut Workshop::new()).expect("a second codec");
        assert_eq!(
            (done.tried, done.smaller),
            (0, 0),
            "what is corrupt is not hidden under a new checksum"
        );
        assert_eq!(device.state(0).map(|state| state.length), Some(length), "kept for diagnosis");
        let now = device.statistics();
        assert_eq!((now.corrupt, now.failed_reads, now.unchecked, now.stored), (1, 1, 0, 1));
        device.write(0, &page(3, noise), &mut scratch).expect("memory");
        device.read(0, &mut out, &mut scratch).expect("good again");
    }
}

#[test]
fn limits_change_and_peaks_are_kept() {
    let host = Host::new(256, 1);
    let pool = pool(&host);
    let mut memory = Memory::new(4);
    let device = Device::new(&pool, memory.tables(), setup(4, Codec::Lz4));
    let mut scratch = Scratch::new();
    for slot in 0..4 {
        device.write(slot, &page(slot as u64 + 1, 16), &mut scratch).expect("memory");
    }
    device.set_quota(2);
    assert_eq!(device.write(0, &page(9, 16), &mut scratch), Err(SwapError::QuotaReached));
    device.release(1, 3).expect("slots");
    device.write(0, &page(9, 16), &mut scratch).expect("within the quota again");
    assert_eq!(device.statistics().peak_bytes, 4 * PAGE_SIZE as u64);
    device.forget_peak();
    assert_eq!(device.statistics().peak_bytes, PAGE_SIZE as u64);
}

#[test]
fn a_reset_device_is_as_new() {
    let host = Host::new(256, 1);
    let pool = pool(&host);
    let mut memory = Memory::new(4);
    let device = Device::new(&pool, memory.tables(), setup(64, Codec::Page));
    let empty = device.statistics();
    for slot in 0..4 {
        device.write(slot, &page(slot as u64, 5), &mut Scratch::new()).expect("memory");
    }
    assert_eq!(device.reset(), 4);
    assert_eq!(device.statistics(), empty);
    assert_eq!(pool.flush(), 4);
}

/// A platform that keeps memory back refuses pages that would need some; what needs none, and what
/// makes room, goes on.
#[test]
fn memory_that_is_kept_back_is_for_what_makes_room() {
    static HAS_ROOM: AtomicBool = AtomicBool::new(true);
    let host = Host::new(2048, 1);
    let pool = pool(&host);
    let mut memory = Memory::new(16);
    let has_room = || room(&HAS_ROOM, Room::Nobody);
    let device = Device::new(&pool, memory.tables(), Setup { has_room, ..two_codecs() });
    let (mut scratch, mut shop) = (Scratch::new(), Workshop::new());
    for slot in 0..16 {
        device.write(slot, &page(slot as u64 + 1, slot), &mut scratch).expect("memory");
    }
    HAS_ROOM.store(false, Ordering::Relaxed);
    assert_eq!(device.write(3, &page(99, 4), &mut scratch), Err(SwapError::PoolFull));
    let mut out = [0; PAGE_SIZE];
    device.read(3, &mut out, &mut scratch).expect("stored");
    assert!(out == page(4, 3), "the slot keeps what it had");
    assert_eq!(device.write(4, &[9; PAGE_SIZE], &mut scratch), Ok(Stored::Same));
    assert!(device.recompress(0, 16, ALL, &mut shop).expect("a second codec").bytes > 0);
    HAS_ROOM.store(true, Ordering::Relaxed);
    assert!(device.write(3, &page(99, 4), &mut scratch).is_ok());
}

/// Where nothing may grow, a page can still be replaced by one that takes no more, and reads back.
#[test]
fn what_is_no_larger_replaces_without_room() {
    static HAS_ROOM: AtomicBool = AtomicBool::new(true);
    let host = Host::new(2048, 1);
    let pool = pool(&host);
    let mut memory = Memory::checked(16);
    let has_room = || room(&HAS_ROOM, Room::Nobody);
    let device = Device::new(&pool, memory.tables(), Setup { has_room, ..two_codecs() });
    let (mut scratch, mut out) = (Scratch::new(), [0; PAGE_SIZE]);
    for slot in 0..16 {
        device.write(slot, &page(slot as u64 + 1, slot), &mut scratch).expect("memory");
    }
    HAS_ROOM.store(false, Ordering::Relaxed);
    let (before, objects) = (device.statistics(), pool.stats().objects);
    for slot in 2..16 {
        for (tag, noise) in [(99, slot), (100, slot - 1), (101, 0)] {
            // As much noise makes the same number of bytes, or some fewer; what is more is refused.
            match device.write(slot, &page(tag, noise), &mut scratch) {
                Ok(_) => {
                    device.read(slot, &mut out, &mut scratch).expect("stored");
                    assert!(out == page(tag, noise), "slot {slot}, noise {noise}");
                }
                Err(error) => assert_eq!((error, noise), (SwapError::PoolFull, slot)),
            }
        }
        assert_eq!(device.write(slot, &page(9, 14), &mut scratch), Err(SwapError::PoolFull));
        device.read(slot, &mut out, &mut scratch).expect("stored");
        assert!(out == page(101, 0), "slot {slot} keeps what it had");
    }
    let after = device.statistics();
    assert!(after.written_over >= 28 && after.stored == before.stored);
    assert!(after.compressed_bytes < before.compressed_bytes);
    assert_eq!((pool.stats().objects, after.unchecked), (objects, 0));
    device.release(0, 16).expect("all of them");
    pool.flush();
    assert_eq!((pool.stats().objects, device.statistics().compressed_bytes), (0, 0));
}

/// What of a reserve is not filled is known at each moment, and asked for by nobody else.
#[test]
fn a_reserve_is_kept_as_far_as_it_is_not_filled() {
    static KEPT: AtomicI64 = AtomicI64::new(0);
    static ROOM_OUTSIDE: AtomicBool = AtomicBool::new(true);
    const RESERVE: i64 = 4 * PAGE_SIZE as i64;
    let kept = || KEPT.load(Ordering::Relaxed);
    let host = Host::new(2048, 1);
    let pool = pool(&host);
    let mut memory = Memory::new(64);
    let setup = Setup {
        reserve_pages: 4,
        has_room: || room(&ROOM_OUTSIDE, Room::Reserves),
        keep: |change| _ = KEPT.fetch_add(change, Ordering::Relaxed),
        ..two_codecs()
    };
    let device = Device::new(&pool, memory.tables(), setup);
    assert_eq!(kept(), RESERVE);
    let mut scratch = Scratch::new();
    let bytes = |device: &Device<'_, &Host>| device.statistics().compressed_bytes as i64;
    for slot in 0..64 {
        device.write(slot, &page(slot as u64, 7), &mut scratch).expect("memory");
        assert_eq!(kept(), (RESERVE - bytes(&device)).max(0));
    }
    assert_eq!(kept(), 0, "all of it is filled, and more");
    ROOM_OUTSIDE.store(false, Ordering::Relaxed);
    device.release(0, 64).expect("all of them");
    assert_eq!(kept(), RESERVE);
    // As far as it goes; the last page of it is a page away from its end.
    let stored = (0..64)
        .take_while(|slot| device.write(*slot, &page(*slot as u64, 7), &mut scratch).is_ok());
    assert!(stored.count() >= 4);
    assert!(kept() < PAGE_SIZE as i64 && kept() > 0);
    drop(device);
    assert_eq!(kept(), 0);
}
