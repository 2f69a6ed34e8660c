//! Started as a machine with a device tree: does what is asked for in its command line, and turns
//! itself off.

use core::arch::asm;

use bale_abi::measure::BATCH;
use bale_abi::{RAM_BASE, RAM_SIZE, report};

use crate::virtio::{self, Disk, IN, OUT};
use crate::{BAD_INFO, call, power, text};

/// In the command line: restart at once, each time.
const RESET: &[u8] = b"bale.reset";
/// In the command line: fill most of 16 MiB and verify every byte, time and again for [`SECONDS`].
const FILL: &[u8] = b"bale.fill";
/// In the command line: the same for [`SECONDS`], and all of it is written to the disk each time.
const DISK: &[u8] = b"bale.disk";
const SECONDS: u64 = 10;
/// In the command line: fill it once, have the disk read it, and for [`SECONDS`] from the start,
/// once at least, write it, in requests as long as the disk.
const LONG: &[u8] = b"bale.long";
/// In the command line: write to the disk what does not compress, one page after the other and time
/// and again, whatever it refuses.
const HOARD: &[u8] = b"bale.hoard";
/// In the command line: fill it once, and verify it after [`REST_SECONDS`] without an exit.
const REST: &[u8] = b"bale.rest";
const REST_SECONDS: u64 = 20;
/// In the command line, with a number behind it: so many MiB of memory are zero but for their
/// beginning; then they are filled, and left so.
const ZERO: &[u8] = b"bale.zero=";
/// In the command line: turn virtual CPUs on and off, all at once.
const POWER: &[u8] = b"bale.power";
/// In the command line: print what a guest should not.
const TEXT: &[u8] = b"bale.text";
/// In the command line: print a great deal.
const FLOOD: &[u8] = b"bale.flood";
/// Pages that are filled, by number: behind the device tree, for which there are 2 MiB, to the end
/// of memory.
const FILLED: core::ops::Range<u64> = (RAM_BASE + (6 << 20)) / 4096..(RAM_BASE + (16 << 20)) / 4096;
/// Status of a guest whose memory held something else than it wrote.
const LOST: u64 = 103;
/// Status of a guest whose disk needs a reset, without a fault of its own.
const BROKEN: u64 = 104;
const SYSTEM_OFF: u64 = 0x8400_0008;
const SYSTEM_RESET: u64 = 0x8400_0009;
/// First word of a device tree, big-endian.
const TREE_MAGIC: u32 = 0xd00d_feed;
/// Bytes of it that are looked through.
const LOOKED_AT: usize = 4096;

pub(crate) fn run(tree: u64) -> ! {
    // Only a machine of more memory than a small guest's has its tree behind that.
    if !tree.is_multiple_of(8) || tree < RAM_BASE + RAM_SIZE {
        call::exit(BAD_INFO);
    }
    // SAFETY: where the boot protocol puts a device tree, in memory that nothing else of this
    // program is in.
    let bytes = unsafe { &*(tree as *const [u8; LOOKED_AT]) };
    if !bytes.starts_with(&TREE_MAGIC.to_be_bytes()) {
        call::exit(BAD_INFO);
    }
    if bytes.windows(FILL.len()).any(|place| place == FILL) {
        fill();
    }
    if bytes.windows(DISK.len()).any(|place| place == DISK) {
        write_out();
    }
    if bytes.windows(LONG.len()).any(|place| place == LONG) {
        write_long();
    }
    if bytes.windows(HOARD.len()).any(|place| place == HOARD) {
        hoard();
    }
    if bytes.windows(REST.len()).any(|place| place == REST) {
        rest();
    }
    if bytes.windows(POWER.len()).any(|place| place == POWER) {
        power::run();
    }
    if bytes.windows(TEXT.len()).any(|place| place == TEXT) {
        text::hostile();
    }
    if bytes.windows(FLOOD.len()).any(|place| place == FLOOD) {
        text::flood();
    }
    if let Some(place) = bytes.windows(ZERO.len()).position(|place| place == ZERO) {
        zero(&bytes[place + ZERO.len()..]);
    }
    let resets = bytes.windows(RESET.len()).any(|place| place == RESET);
    let _ = call::raw(if resets { SYSTEM_RESET } else { SYSTEM_OFF }, [0; 3]);
    call::exit(BAD_INFO)
}

/// Fills memory anew each round and verifies it.
fn fill() -> ! {
    let end = counter()[0] + SECONDS * counter()[1];
    let mut equal = 0;
    for round in 0.. {
        equal += fill_once(round, || ());
        if counter()[0] >= end {
            break;
        }
    }
    let _ = call::report(report::PAGES_EQUAL, equal);
    call::exit(0)
}

/// The same, and the disk reads all of it before it is verified. A page that the disk refuses is
/// the store's business.
fn write_out() -> ! {
    let Some(mut disk) = Disk::start() else { call::exit(BAD_INFO) };
    let end = counter()[0] + SECONDS * counter()[1];
    let mut equal = 0;
    for round in 0.. {
        equal += fill_once(round, || {
            for first in (0..(FILLED.end - FILLED.start) / BATCH).map(|batch| batch * BATCH) {
                disk.prepare(first, (FILLED.start + first) * 4096);
                // What is notified is served before the guest goes on.
                if !disk.submit(|| ()) && virtio::get(virtio::BASE + virtio::STATUS) != 0xf {
                    call::exit(BROKEN);
                }
            }
        });
        if counter()[0] >= end {
            break;
        }
    }
    let _ = call::report(report::PAGES_EQUAL, equal);
    call::exit(0)
}

/// Fills memory and has the disk read it as often as fits; then the disk writes there what is
/// there. A request that the disk gives up is the store's business, or that of who stops the
/// machine.
fn write_long() -> ! {
    let Some(mut disk) = Disk::start() else { call::exit(BAD_INFO) };
    let end = counter()[0] + SECONDS * counter()[1];
    let bytes = (FILLED.end - FILLED.start) * 4096;
    let equal = fill_once(0, || {
        let _ = disk.submit_long(OUT, FILLED.start * 4096, bytes);
        // Once at least: the write may have taken all of the time.
        loop {
            if !disk.submit_long(IN, FILLED.start * 4096, bytes)
                && virtio::get(virtio::BASE + virtio::STATUS) != 0xf
            {
                call::exit(BROKEN);
            }
            if counter()[0] >= end {
                break;
            }
        }
    });
    let _ = call::report(report::PAGES_EQUAL, equal);
    call::exit(0)
}

/// Never ends.
fn hoard() -> ! {
    let Some(mut disk) = Disk::start() else { call::exit(BAD_INFO) };
    let blocks = disk.blocks();
    let mut random = 1u64;
    for batch in 0.. {
        for at in (0..BATCH * 4096).step_by(8) {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            // SAFETY: memory of this machine that nothing else of this program is in.
            unsafe { ((FILLED.start * 4096 + at) as *mut u64).write_volatile(random) };
        }
        let first = batch % (blocks / BATCH) * BATCH;
        disk.prepare(first, FILLED.start * 4096);
        let _ = disk.submit(|| ());
    }
    call::exit(0)
}

/// Fills memory, computes, and verifies it.
fn rest() -> ! {
    let end = counter()[0] + REST_SECONDS * counter()[1];
    let equal = fill_once(0, || while counter()[0] < end {});
    let _ = call::report(report::PAGES_EQUAL, equal);
    call::exit(0)
}

/// Looks for anything that somebody left in memory, and leaves something in every word.
fn zero(number: &[u8]) -> ! {
    let digits = number.iter().take_while(|letter| letter.is_ascii_digit());
    let mib = digits.fold(0, |mib, digit| 10 * mib + u64::from(digit - b'0'));
    let words =
        || (FILLED.start * 4096..RAM_BASE + (mib << 20)).step_by(8).map(|at| at as *mut u64);
    // SAFETY: memory of this machine that nothing else of this program is in, and its caches are
    // on.
    if words().any(|word| unsafe { word.read_volatile() } != 0) {
        call::exit(LOST);
    }
    for word in words() {
        // SAFETY: as above.
        unsafe { word.write_volatile(!(word as u64)) };
    }
    let _ = call::raw(SYSTEM_OFF, [0; 3]);
    call::exit(BAD_INFO)
}

/// Virtual counter and its frequency.
fn counter() -> [u64; 2] {
    let (now, frequency);
    // SAFETY: reads two registers.
    unsafe {
        asm!("isb", "mrs {0}, cntvct_el0", "mrs {1}, cntfrq_el0", out(reg) now, out(reg) frequency,
            options(nostack, preserves_flags));
    }
    [now, frequency]
}

/// Fills memory so that each page has words of its own and zeroes, and verifies it twice, in two
/// directions; how many pages were.
fn fill_once(round: u64, between: impl FnOnce()) -> u64 {
    let words = |page: u64| (0..4096).step_by(8).map(move |at| (page * 4096 + at) as *mut u64);
    let value = |at: u64| {
        if at & 0x400 == 0 {
            (at ^ round << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        } else {
            round & 1
        }
    };
    let holds = |page: u64| {
        // SAFETY: memory of this machine that nothing else of this program is in, and its caches
        // are on.
        words(page).all(|word| unsafe { word.read_volatile() } == value(word as u64))
    };
    for word in FILLED.flat_map(words) {
        // SAFETY: as above.
        unsafe { word.write_volatile(value(word as u64)) };
    }
    between();
    if !FILLED.into_iter().all(holds) || !FILLED.rev().all(holds) {
        call::exit(LOST);
    }
    2 * (FILLED.end - FILLED.start)
}
