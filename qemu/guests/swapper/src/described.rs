//! Started as a machine with a device tree: does what is asked for in its command line, and turns itself off.

use bale_abi::{RAM_BASE, RAM_SIZE, report};

use crate::{BAD_INFO, call};

/// In the command line: restart at once, each time.
const RESET: &[u8] = b"bale.reset";
/// In the command line: fill most of 16 MiB and verify every byte, in [`ROUNDS`].
const FILL: &[u8] = b"bale.fill";
/// Pages that are filled, by number: behind the device tree, for which there are 2 MiB, to the end of memory.
const FILLED: core::ops::Range<u64> = (RAM_BASE + (6 << 20)) / 4096..(RAM_BASE + (16 << 20)) / 4096;
const ROUNDS: u64 = 8;
/// Status of a guest whose memory held something else than it wrote.
const LOST: u64 = 103;
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
    // SAFETY: where the boot protocol puts a device tree, in memory that nothing else of this program is in.
    let bytes = unsafe { &*(tree as *const [u8; LOOKED_AT]) };
    if !bytes.starts_with(&TREE_MAGIC.to_be_bytes()) {
        call::exit(BAD_INFO);
    }
    if bytes.windows(FILL.len()).any(|place| place == FILL) {
        fill();
    }
    let resets = bytes.windows(RESET.len()).any(|place| place == RESET);
    let _ = call::raw(if resets { SYSTEM_RESET } else { SYSTEM_OFF }, [0; 3]);
    call::exit(BAD_INFO)
}

/// Fills memory anew each round, in which each page has words of its own and zeroes, and verifies it twice, in two directions.
fn fill() -> ! {
    let words = |page: u64| (0..4096).step_by(8).map(move |at| (page * 4096 + at) as *mut u64);
    let value = |at: u64, round: u64| {
        if at & 0x400 == 0 { (at ^ round << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15) } else { round & 1 }
    };
    let holds = |page: u64, round: u64| {
        // SAFETY: memory of this machine that nothing else of this program is in, and its caches are on.
        words(page).all(|word| unsafe { word.read_volatile() } == value(word as u64, round))
    };
    let mut equal = 0;
    for round in 0..ROUNDS {
        for word in FILLED.flat_map(words) {
            // SAFETY: as above.
            unsafe { word.write_volatile(value(word as u64, round)) };
        }
        if !FILLED.into_iter().all(|page| holds(page, round)) || !FILLED.rev().all(|page| holds(page, round))
        {
            call::exit(LOST);
        }
        equal += 2 * (FILLED.end - FILLED.start);
    }
    let _ = call::report(report::PAGES_EQUAL, equal);
    call::exit(0)
}
