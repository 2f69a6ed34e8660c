//! What is done behind the guest's back waits for nobody with interrupts masked.

mod common;

use core::sync::atomic::Ordering;

use bale_swap::{Codec, Device, Level, PAGE_SIZE, Pick, Recompression, Scratch, Setup, Workshop};
use common::{Host, Memory, page, setup};
use zsmalloc::{Config, Pool};

/// The reader of a page may be off the very core that a recompression has pinned: it comes back
/// only once that core is let go of.
#[test]
fn a_reader_that_is_off_its_core_is_not_waited_for() {
    let host = Host::new(256, 1);
    let config = Config { ring_capacity: 128, watermark: 32, ..Config::default() };
    let pool = Pool::new(&host, config).expect("memory");
    let mut memory = Memory::new(4);
    let two_codecs =
        Setup { second: Some(Codec::Deflate(Level::DEFAULT)), ..setup(64, Codec::Lz4) };
    let device = Device::new(&pool, memory.tables(), two_codecs);
    device.write(0, &page(1, 4), &mut Scratch::new()).expect("memory");
    let all = Pick { idle: false, huge: false, least: 0 };
    std::thread::scope(|scope| {
        let (device, host) = (&device, &host);
        let reader = scope.spawn(move || {
            common::stop_at_bytes();
            let mut out = [0; PAGE_SIZE];
            device.read(0, &mut out, &mut Scratch::new()).expect("stored");
            out
        });
        while !host.stopped.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        // The least of many tries: this test itself may be taken off its core in the middle of one.
        let tries = (0..50).map(|_| {
            host.longest_pinned.store(0, Ordering::Relaxed);
            let done = device.recompress(0, 4, all, &mut Workshop::new()).expect("two codecs");
            assert_eq!(done, Recompression { next: 4, ..Recompression::default() });
            host.longest_pinned.load(Ordering::Relaxed)
        });
        let least = tries.min().unwrap_or(u64::MAX);
        host.go_on.store(true, Ordering::Release);
        assert_eq!(reader.join().expect("no panic"), page(1, 4));
        // What is done for one page takes some microseconds; a wait for the reader took two
        // milliseconds.
        assert!(least < 200_000, "pinned for {least} ns");
    });
    // Once the reader is done the page has its turn.
    assert_eq!(device.recompress(0, 4, all, &mut Workshop::new()).expect("two codecs").tried, 1);
}
