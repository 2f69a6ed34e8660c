//! What a device promises, one promise a test.

mod common;

use bale_swap::{Codec, Device, Level, PAGE_SIZE, Scratch, Statistics, Stored, SwapError};
use common::{Host, Memory, damage, page, setup};
use zsmalloc::{Config, Pool};

const POISON: [u8; PAGE_SIZE] = [0x5a; PAGE_SIZE];

fn config() -> Config {
    Config { ring_capacity: 512, watermark: 128, ..Config::default() }
}

const CODECS: [Codec; 6] = [
    Codec::Lz4,
    Codec::Lz4Hc(Level::DEFAULT),
    Codec::Page,
    Codec::Token,
    Codec::Deflate(Level::DEFAULT),
    Codec::Zstd(Level::DEFAULT),
];

fn content(device: &Device<'_, &Host>, slot: usize, scratch: &mut Scratch) -> [u8; PAGE_SIZE] {
    let mut out = POISON;
    device.read(slot, &mut out, scratch).expect("stored");
    out
}

#[test]
fn each_kind_of_page_comes_back() {
    for codec in CODECS {
        each_kind_of_page_comes_back_of(codec);
    }
}

fn each_kind_of_page_comes_back_of(codec: Codec) {
    let host = Host::new(512, 1);
    let pool = Pool::new(&host, config()).expect("memory");
    let mut memory = Memory::new(32);
    let device = Device::new(&pool, memory.tables(), setup(64, codec));
    let mut scratch = Scratch::new();
    assert_eq!(content(&device, 0, &mut scratch), [0; PAGE_SIZE], "never written");

    assert_eq!(device.write(1, &[7; PAGE_SIZE], &mut scratch), Ok(Stored::Same));
    assert_eq!(device.write(2, &page(2, 16), &mut scratch), Ok(Stored::Raw));
    let mut bytes = PAGE_SIZE;
    for noise in 0..12 {
        let stored = device.write(3 + noise, &page(3, noise), &mut scratch);
        let Ok(Stored::Compressed(length)) = stored else { panic!("noise {noise}: {stored:?}") };
        bytes += length;
    }
    assert_eq!(content(&device, 1, &mut scratch), [7; PAGE_SIZE]);
    assert_eq!(content(&device, 2, &mut scratch), page(2, 16));
    for noise in 0..12 {
        assert_eq!(content(&device, 3 + noise, &mut scratch), page(3, noise), "noise {noise}");
    }
    let expected = Statistics {
        stored: 14,
        same_filled: 1,
        raw: 1,
        compressed_bytes: bytes as u64,
        quota_bytes: 64 * PAGE_SIZE as u64,
        peak_bytes: bytes as u64,
        raw_ever: 1,
        writes: 14,
        reads: 15,
        ..Statistics::new()
    };
    assert_eq!(device.statistics(), expected);
}

/// Help within a run would keep interrupts out for as long as a drain takes.
#[test]
fn a_release_drains_a_full_ring_before_a_run_and_not_within_it() {
    const PAGES: usize = 600;
    let host = Host::new(1024, 1);
    let pool = Pool::new(&host, Config { ring_capacity: 256, ..config() }).expect("memory");
    let mut memory = Memory::new(PAGES);
    let device = Device::new(&pool, memory.tables(), setup(PAGES, Codec::Page));
    let mut scratch = Scratch::new();
    for slot in 0..PAGES {
        device.write(slot, &page(slot as u64, 3), &mut scratch).expect("room");
    }
    assert_eq!(device.release(0, PAGES), Ok(PAGES));
    let stats = pool.stats();
    assert_eq!((stats.helped, stats.synchronous), (0, 0), "no drain while interrupts are masked");
    assert_eq!(stats.enqueued, PAGES as u64);
    assert!(stats.drained >= 256, "{} drained, of a ring of 256", stats.drained);
    pool.flush();
    assert_eq!(pool.stats().objects, 0);
}

#[test]
fn pages_filled_with_a_word_come_back() {
    let host = Host::new(64, 1);
    let pool = Pool::new(&host, config()).expect("memory");
    let mut memory = Memory::new(1);
    let device = Device::new(&pool, memory.tables(), setup(64, Codec::Page));
    let mut scratch = Scratch::new();
    let fillings = [
        0,
        1,
        u64::MAX,
        0x0102_0304_0506_0708,
        0x7f12_3456_7890,
        1 << 60,
        0x1111_1111_1111_1111,
        0x9876_5432_1012_3456,
    ];
    for (number, filling) in fillings.into_iter().enumerate() {
        let mut page = [0; PAGE_SIZE];
        page.as_chunks_mut().0.fill(filling.to_ne_bytes());
        let stored = device.write(0, &page, &mut scratch).expect("memory");
        // What a slot cannot say is a small object.
        match stored {
            Stored::Same => assert!(number < 5 || number == 6),
            Stored::Compressed(length) => assert!((number == 5 || number == 7) && length < 32),
            Stored::Raw => panic!("{filling:#x}"),
        }
        assert_eq!(content(&device, 0, &mut scratch), page, "{filling:#x}");
    }
}

#[test]
fn objects_that_cross_pages_come_back() {
    for codec in CODECS {
        objects_that_cross_pages_come_back_of(codec);
    }
}

fn objects_that_cross_pages_come_back_of(codec: Codec) {
    let host = Host::new(2048, 1);
    let pool = Pool::new(&host, config()).expect("memory");
    let mut memory = Memory::new(512);
    let device = Device::new(&pool, memory.tables(), setup(2048, codec));
    let mut scratch = Scratch::new();
    let tag = |slot: usize| slot as u64 * 11 + 1;
    for slot in 0..512 {
        let stored = device.write(slot, &page(tag(slot), 8), &mut scratch).expect("memory");
        assert!(matches!(stored, Stored::Compressed(length) if length > PAGE_SIZE / 2));
    }
    // More than half a page each, and yet denser than one to a page: some cross.
    assert!(pool.stats().pages < 512);
    for slot in 0..512 {
        assert_eq!(content(&device, slot, &mut scratch), page(tag(slot), 8), "slot {slot}");
    }
}

#[test]
fn slots_beyond_the_table_are_refused() {
    let host = Host::new(64, 1);
    let pool = Pool::new(&host, config()).expect("memory");
    let mut memory = Memory::new(4);
    let device = Device::new(&pool, memory.tables(), setup(64, Codec::Page));
    let (mut scratch, mut out) = (Scratch::new(), POISON);
    for slot in [4, usize::MAX] {
        assert_eq!(device.write(slot, &POISON, &mut scratch), Err(SwapError::NoSuchSlot));
        assert_eq!(device.read(slot, &mut out, &mut scratch), Err(SwapError::NoSuchSlot));
    }
    device.write(3, &POISON, &mut scratch).expect("a same-filled page");
    for (first, count) in [(0, 5), (4, 1), (5, 0), (1, usize::MAX), (usize::MAX, 1)] {
        assert_eq!(device.release(first, count), Err(SwapError::NoSuchSlot), "{first} + {count}");
    }
    assert_eq!(device.release(4, 0), Ok(0));
    assert_eq!(device.statistics().stored, 1);
}

#[test]
fn a_release_goes_through_the_rings_and_empties_the_pool() {
    let host = Host::new(1024, 1);
    let pool = Pool::new(&host, config()).expect("memory");
    let mut memory = Memory::new(300);
    let device = Device::new(&pool, memory.tables(), setup(1024, Codec::Page));
    let mut scratch = Scratch::new();
    for slot in (0..300).step_by(3) {
        device.write(slot, &page(slot as u64 + 1, 6), &mut scratch).expect("memory");
    }
    assert_eq!(device.release(0, 300), Ok(100));
    assert_eq!(device.release(0, 300), Ok(0));
    assert_eq!((pool.pending(0), pool.stats().objects), (100, 100), "put off");
    assert_eq!(content(&device, 3, &mut scratch), [0; PAGE_SIZE]);
    let after = device.statistics();
    assert_eq!((after.stored, after.compressed_bytes, after.released, after.lost), (0, 0, 100, 0));
    assert_eq!(pool.flush(), 100);
    assert_eq!((pool.stats().objects, pool.pages()), (0, 0));
}

#[test]
fn a_dropped_device_leaves_nothing() {
    let host = Host::new(256, 1);
    let pool = Pool::new(&host, config()).expect("memory");
    let mut memory = Memory::new(8);
    let device = Device::new(&pool, memory.tables(), setup(64, Codec::Page));
    for slot in 0..8 {
        device.write(slot, &page(slot as u64, 4), &mut Scratch::new()).expect("memory");
    }
    drop(device);
    let end = pool.close();
    assert_eq!((end.drained, end.live), (8, 0));
    assert_eq!(host.used(), 0);
}

#[test]
fn the_quota_holds_and_old_content_survives() {
    let host = Host::new(256, 1);
    let pool = Pool::new(&host, config()).expect("memory");
    let mut memory = Memory::new(8);
    let device = Device::new(&pool, memory.tables(), setup(2, Codec::Page));
    let mut scratch = Scratch::new();
    device.write(0, &page(1, 16), &mut scratch).expect("within the quota");
    device.write(1, &page(2, 8), &mut scratch).expect("within the quota");
    assert_eq!(
        device.write(1, &page(3, 16), &mut scratch),
        Ok(Stored::Raw),
        "to the last byte, in exchange"
    );
    assert_eq!(device.write(2, &page(4, 1), &mut scratch), Err(SwapError::QuotaReached));
    assert_eq!(device.write(1, &page(5, 16), &mut scratch), Ok(Stored::Raw), "in exchange again");
    assert_eq!(device.write(2, &POISON, &mut scratch), Ok(Stored::Same), "takes nothing");
    assert_eq!(device.write(2, &page(6, 16), &mut scratch), Err(SwapError::QuotaReached));
    assert_eq!(content(&device, 1, &mut scratch), page(5, 16));
    assert_eq!(content(&device, 2, &mut scratch), POISON);
    assert_eq!(device.statistics().failed_writes, 2);
    assert_eq!(device.release(0, 1), Ok(1));
    assert_eq!(device.write(3, &page(7, 16), &mut scratch), Ok(Stored::Raw));
}

#[test]
fn a_full_pool_refuses_and_old_content_survives() {
    let host = Host::new(256, 1);
    let pool = Pool::new(&host, Config { page_limit: 16, ..config() }).expect("memory");
    let mut memory = Memory::new(64);
    let device = Device::new(&pool, memory.tables(), setup(1024, Codec::Page));
    let mut scratch = Scratch::new();
    let full = (0..64)
        .find(|&slot| match device.write(slot, &page(slot as u64 + 1, 16), &mut scratch) {
            Ok(stored) => {
                assert_eq!(stored, Stored::Raw);
                false
            }
            Err(error) => {
                assert_eq!(error, SwapError::PoolFull);
                true
            }
        })
        .expect("sixteen pages are not enough");
    // A page in the place of one that takes as much is none more; nor is a smaller one.
    assert_eq!(device.write(0, &page(99, 16), &mut scratch), Ok(Stored::Raw));
    assert!(device.write(1, &page(98, 3), &mut scratch).is_ok());
    assert_eq!(device.write(full, &page(97, 3), &mut scratch), Err(SwapError::PoolFull));
    assert_eq!(device.write(1, &page(96, 16), &mut scratch), Err(SwapError::PoolFull));
    for slot in 0..full {
        let expected = match slot {
            0 => page(99, 16),
            1 => page(98, 3),
            _ => page(slot as u64 + 1, 16),
        };
        assert_eq!(content(&device, slot, &mut scratch), expected, "slot {slot}");
    }
    // Room that is only pending in a ring is found.
    assert_eq!(device.release(0, full), Ok(full));
    assert_eq!(device.write(0, &page(99, 16), &mut scratch), Ok(Stored::Raw));
}

#[test]
fn an_overwritten_object_is_gone_at_once() {
    let host = Host::new(256, 1);
    let pool = Pool::new(&host, config()).expect("memory");
    let mut memory = Memory::new(1);
    let device = Device::new(&pool, memory.tables(), setup(64, Codec::Page));
    let mut scratch = Scratch::new();
    for tag in 0..200 {
        device
            .write(0, &page(tag, usize::try_from(tag % 17).expect("small")), &mut scratch)
            .expect("memory");
        assert_eq!(pool.stats().objects, 1);
    }
    device.write(0, &[0; PAGE_SIZE], &mut scratch).expect("nothing to allocate");
    assert_eq!((pool.stats().objects, pool.pending(0)), (0, 0));
    assert_eq!((device.statistics().compressed_bytes, device.statistics().lost), (0, 0));
}

#[test]
fn damaged_bytes_are_an_error() {
    for codec in CODECS {
        damaged_bytes_are_an_error_of(codec);
    }
}

fn damaged_bytes_are_an_error_of(codec: Codec) {
    let host = Host::new(256, 1);
    let pool = Pool::new(&host, config()).expect("memory");
    let mut memory = Memory::new(1);
    let device = Device::new(&pool, memory.tables(), setup(64, codec));
    let mut scratch = Scratch::new();
    let Ok(Stored::Compressed(length)) = device.write(0, &page(1, 3), &mut scratch) else {
        panic!("it compresses")
    };
    let damaged = damage(&pool, &vec![0xff; length], length);
    assert!(damaged > 0, "the object was not found");
    let mut out = POISON;
    assert_eq!(device.read(0, &mut out, &mut scratch), Err(SwapError::Corrupt));
    assert_eq!(device.statistics().failed_reads, 1);
    assert_eq!(
        device.write(0, &page(2, 3), &mut scratch).map(|_| ()),
        Ok(()),
        "the slot can be used again"
    );
    assert_eq!(content(&device, 0, &mut scratch), page(2, 3));
}
