//! Random operations against a shadow copy, with a frame source that fails at times.

mod common;

use core::sync::atomic::Ordering;

use bale_swap::{Codec, Device, Level, PAGE_SIZE, Pick, Scratch, Setup, SwapError, Workshop};
use common::{Host, Memory, page, setup};
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::{collection::vec, test_runner::Config as Runs};
use zsmalloc::{Config, Pool};

const SLOTS: usize = 48;

#[derive(Clone, Debug)]
enum Operation {
    Write(usize, u64, usize),
    Fill(usize, u64),
    Read(usize),
    Release(usize, usize),
    Drain,
    Compact,
    MarkIdle,
    Recompress(usize, bool),
    /// The frame source refuses from the n-th request on, or never.
    Refuse(i64),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        8 => (0..SLOTS, any::<u64>(), 0..17usize).prop_map(|(slot, tag, noise)| Operation::Write(slot, tag, noise)),
        2 => (0..SLOTS, any::<u64>()).prop_map(|(slot, word)| Operation::Fill(slot, word)),
        6 => (0..SLOTS).prop_map(Operation::Read),
        2 => (0..SLOTS, 0..SLOTS).prop_map(|(first, count)| Operation::Release(first, count)),
        1 => Just(Operation::Drain),
        1 => Just(Operation::Compact),
        1 => Just(Operation::MarkIdle),
        2 => (0..SLOTS, any::<bool>()).prop_map(|(first, idle)| Operation::Recompress(first, idle)),
        1 => (-1..4i64).prop_map(Operation::Refuse),
    ]
}

fn codec() -> impl Strategy<Value = Codec> {
    prop_oneof![
        Just(Codec::Lz4),
        Just(Codec::Lz4Hc(Level::DEFAULT)),
        Just(Codec::Page),
        Just(Codec::Token),
        Just(Codec::Deflate(Level::DEFAULT)),
        Just(Codec::Zstd(Level::DEFAULT))
    ]
}

fn filled(word: u64) -> Box<[u8; PAGE_SIZE]> {
    let bytes: Vec<u8> = word.to_le_bytes().repeat(PAGE_SIZE / 8);
    bytes.try_into().expect("a page")
}

proptest! {
    #![proptest_config(Runs { cases: 96, ..Runs::default() })]

    #[test]
    fn a_device_is_a_table_of_pages(operations in vec(operation(), 1..400), limit in 8..64usize, quota in 8..64usize,
        codec in codec(), second in codec(), checked in any::<bool>()) {
        let host = Host::new(512, 1);
        let config = Config { ring_capacity: 128, watermark: 32, page_limit: limit, ..Config::default() };
        let pool = Pool::new(&host, config).expect("memory");
        let mut memory = if checked { Memory::checked(SLOTS) } else { Memory::new(SLOTS) };
        let device = Device::new(&pool, memory.tables(), Setup { second: Some(second), ..setup(quota, codec) });
        let mut shop = Workshop::new();
        let mut scratch = Scratch::new();
        let mut shadow: Vec<Option<Box<[u8; PAGE_SIZE]>>> = vec![None; SLOTS];
        let mut failed = 0;
        for operation in operations {
            match operation {
                Operation::Write(slot, tag, noise) => {
                    let new = Box::new(page(tag, noise));
                    match device.write(slot, &new, &mut scratch) {
                        Ok(_) => shadow[slot] = Some(new),
                        Err(SwapError::PoolFull | SwapError::QuotaReached) => failed += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
                Operation::Fill(slot, word) => {
                    let new = filled(word);
                    match device.write(slot, &new, &mut scratch) {
                        Ok(_) => shadow[slot] = Some(new),
                        // One word in eight does not fit a slot.
                        Err(SwapError::PoolFull | SwapError::QuotaReached) if word >> 60 & 7 == 1 => failed += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
                Operation::Read(slot) => {
                    let mut out = [0x5a; PAGE_SIZE];
                    device.read(slot, &mut out, &mut scratch).expect("stored");
                    assert!(out == shadow[slot].as_deref().copied().unwrap_or([0; PAGE_SIZE]), "slot {slot}");
                }
                Operation::Release(first, count) => {
                    let count = count.min(SLOTS - first);
                    let held = shadow[first..first + count].iter_mut().filter_map(Option::take).count();
                    assert_eq!(device.release(first, count), Ok(held));
                }
                Operation::Drain => { pool.flush(); }
                Operation::Compact => { pool.compact(16); }
                Operation::MarkIdle => { device.mark_idle(0); }
                Operation::Recompress(first, idle) => {
                    let before = device.statistics().compressed_bytes;
                    let pick = Pick { idle, huge: false, least: 0 };
                    let done = device.recompress(first, SLOTS, pick, &mut shop).expect("a second codec");
                    assert_eq!(done.next, SLOTS);
                    assert_eq!(before - device.statistics().compressed_bytes, done.bytes as u64);
                }
                Operation::Refuse(after) => host.refuse_after.store(after, Ordering::Relaxed),
            }
            let now = device.statistics();
            assert_eq!(now.stored, shadow.iter().flatten().count() as u64);
            assert_eq!((now.failed_writes, now.lost, now.corrupt, now.unchecked), (failed, 0, 0, 0));
            assert!(now.compressed_bytes <= (quota * PAGE_SIZE) as u64);
        }
        for (slot, expected) in shadow.iter().enumerate() {
            let mut out = [0x5a; PAGE_SIZE];
            device.read(slot, &mut out, &mut scratch).expect("stored");
            assert!(out == expected.as_deref().copied().unwrap_or([0; PAGE_SIZE]), "slot {slot} at the end");
        }
        drop(device);
        let end = pool.close();
        assert_eq!(end.live, 0);
        assert_eq!(host.used(), 0);
    }
}
