//! Sectors of the same blocks, written and read back by every virtual CPU through a queue of its
//! own: what one writes is not lost to another, who writes other sectors of the block at the same
//! time.

use core::sync::atomic::{AtomicU64, Ordering, fence};

use bale_abi::STORM_VCPUS;

use super::Random;
use crate::virtio::{self, BASE, DISK_RINGS, ENTRIES, NEXT, WRITE, address};

const BLOCKS: usize = 2;
/// Sectors of each block that are a virtual CPU's.
const OWN: u64 = 8 / STORM_VCPUS;
/// Words in them.
const WORDS: usize = OWN as usize * 512 / 8;
const IN: u64 = 0;
const OUT: u64 = 1;
const WRITE_ZEROES: u64 = 13;

/// What is written, and what is read, by each.
static DATA: [[AtomicU64; WORDS]; STORM_VCPUS as usize] =
    [const { [const { AtomicU64::new(0) }; WORDS] }; STORM_VCPUS as usize];
/// What each wrote last, by block: 0 for zeros, or where a row of words begins.
static LAST: [[AtomicU64; BLOCKS]; STORM_VCPUS as usize] =
    [const { [const { AtomicU64::new(0) }; BLOCKS] }; STORM_VCPUS as usize];

/// Brings the disk up. Once, before anybody takes a step.
pub(super) fn start() -> bool {
    virtio::bring_up(BASE, 2, &DISK_RINGS)
}

/// Reads what this virtual CPU wrote last into a block, and writes something else; false if it was
/// not that.
pub(super) fn step(number: u64, random: &mut Random) -> bool {
    let (own, block) = (number as usize, random.below(BLOCKS as u64));
    let last = &LAST[own][block as usize];
    let expected = last.load(Ordering::Relaxed);
    if !request(own, IN, block, &DATA[own]) {
        return false;
    }
    let word = |start: u64, at: u64| if start == 0 { 0 } else { start.wrapping_add(at) };
    let same = (0..)
        .zip(&DATA[own])
        .all(|(at, found)| found.load(Ordering::Relaxed) == word(expected, at));
    let next = if random.below(4) == 0 { 0 } else { random.next() };
    last.store(next, Ordering::Relaxed);
    if next == 0 {
        // The range: first sector; how many, and no flags.
        DATA[own][0].store(first(own, block), Ordering::Relaxed);
        DATA[own][1].store(OWN, Ordering::Relaxed);
        return same && request(own, WRITE_ZEROES, block, &DATA[own][..2]);
    }
    (0..).zip(&DATA[own]).for_each(|(at, place)| place.store(word(next, at), Ordering::Relaxed));
    same && request(own, OUT, block, &DATA[own])
}

fn first(own: usize, block: u64) -> u64 {
    block * 8 + own as u64 * OWN
}

/// One request through the queue that is this virtual CPU's alone; whether it was done well.
fn request(own: usize, kind: u64, block: u64, data: &'static [AtomicU64]) -> bool {
    let rings = &DISK_RINGS[own];
    let [asked, sector] = &rings.headers[0];
    asked.store(kind, Ordering::Relaxed);
    sector.store(if kind == WRITE_ZEROES { 0 } else { first(own, block) }, Ordering::Relaxed);
    rings.statuses[0].store(u8::MAX, Ordering::Relaxed);
    let length = size_of_val(data) as u64 | if kind == IN { WRITE } else { 0 };
    let chain = [
        (address(&rings.headers[0]), 16 | NEXT | 1 << 48),
        (data.as_ptr() as u64, length | NEXT | 2 << 48),
        (address(&rings.statuses[0]), 1 | WRITE),
    ];
    for (words, (address, rest)) in rings.descriptors.iter().zip(chain) {
        words[0].store(address, Ordering::Relaxed);
        words[1].store(rest, Ordering::Relaxed);
    }
    let index = rings.available[1].load(Ordering::Relaxed);
    rings.available[2 + usize::from(index) % ENTRIES].store(0, Ordering::Relaxed);
    rings.available[1].store(index.wrapping_add(1), Ordering::Release);
    fence(Ordering::SeqCst);
    // Nobody else notifies this queue: the request is done with when the notification returns.
    virtio::set(BASE + 0x50, own as u32);
    rings.used() == u32::from(index.wrapping_add(1))
        && rings.statuses[0].load(Ordering::Acquire) == 0
}
