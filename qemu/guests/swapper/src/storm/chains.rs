//! Descriptor chains of every kind and of none, on a ring that all virtual CPUs write at once; the device is reset and brought
//! up again whenever it has had enough.

use core::sync::atomic::Ordering;

use bale_abi::measure::SLOTS;
use bale_abi::{PAGES_BASE, RAM_BASE, RAM_SIZE};

use super::Random;
use crate::virtio::{self, BASE, Disk, ENTRIES, RINGS, STATUS, address};

/// The end of memory, where nothing of this program is: what a buffer there is too long for lies outside.
const BUFFERS: u64 = 256 << 10;
const NEEDS_RESET: u32 = 0x40;

/// Where a buffer or a table may be: its own memory, the rings, what it may only read, nothing at all.
fn place(random: &mut Random) -> u64 {
    match random.below(16) {
        0 => random.value(),
        1 => PAGES_BASE + (random.below(1024) << 12),
        2 => 0u64.wrapping_sub(random.below(8192)),
        3 => RAM_BASE + RAM_SIZE - random.below(64),
        _ => RAM_BASE + RAM_SIZE - BUFFERS + random.below(BUFFERS),
    }
}

fn length(random: &mut Random) -> u64 {
    match random.below(8) {
        0 => random.below(1 << 32),
        1 => 0,
        2 => random.below(64),
        3 => 16,
        4 => 1,
        5 => 512,
        _ => 4096,
    }
}

fn descriptor(random: &mut Random) {
    let at = random.below(ENTRIES as u64) as usize;
    let next = if random.below(16) == 0 { random.below(1 << 16) } else { random.below(ENTRIES as u64) };
    // One that is short may be in the rings and their headers.
    let (place, length) = if random.below(3) == 0 {
        (address(&RINGS.headers[random.below(32) as usize]), 16)
    } else {
        (place(random), length(random))
    };
    let flags = if random.below(16) == 0 { random.below(1 << 16) } else { random.below(8) };
    // Written one after the other: the device may see one of them alone.
    RINGS.descriptors[at][0].store(place, Ordering::Relaxed);
    RINGS.descriptors[at][1].store(length | flags << 32 | next << 48, Ordering::Relaxed);
}

/// A chain as it should be, but for what it asks for.
fn request(random: &mut Random, head: u64) {
    let second = (head + 1) % ENTRIES as u64;
    let third = (head + 2) % ENTRIES as u64;
    let kind = [0, 1, 4, 8, 11, 13, random.below(1 << 32)][random.below(7) as usize];
    let sector = match random.below(4) {
        0 => random.value(),
        1 => SLOTS * 8 - random.below(16),
        _ => random.below(SLOTS * 8),
    };
    let header = &RINGS.headers[random.below(32) as usize];
    header[0].store(kind, Ordering::Relaxed);
    header[1].store(sector, Ordering::Relaxed);
    let status = RAM_BASE + RAM_SIZE - 1 - random.below(64);
    let writes = random.below(2) << 33;
    let chain = [
        (head, address(header), 16 | 1 << 32 | second << 48),
        (second, place(random), length(random) | 1 << 32 | writes | third << 48),
        (third, status, 1 | 2 << 32),
    ];
    for (at, address, rest) in chain {
        let words = &RINGS.descriptors[at as usize];
        words[0].store(address, Ordering::Relaxed);
        words[1].store(rest, Ordering::Relaxed);
    }
}

/// Some descriptors, some of them made available, a notification.
pub(super) fn step(random: &mut Random) {
    if virtio::get(BASE + STATUS) & NEEDS_RESET != 0 || random.below(512) == 0 {
        // Another virtual CPU may be at it too: then it does not come up, and is reset again.
        let _ = Disk::start();
    }
    let head = random.below(ENTRIES as u64);
    if random.below(4) == 0 {
        (0..random.below(6)).for_each(|_| descriptor(random));
    } else {
        request(random, head);
    }
    let index = RINGS.available[1].load(Ordering::Relaxed);
    let entry = 2 + usize::from(index) % ENTRIES;
    let head = if random.below(32) == 0 { random.below(1 << 16) } else { head };
    RINGS.available[entry].store(head as u16, Ordering::Relaxed);
    let ahead = if random.below(64) == 0 { random.below(1 << 16) as u16 } else { 1 };
    RINGS.available[1].store(index.wrapping_add(ahead), Ordering::Release);
    virtio::set(BASE + 0x50, if random.below(32) == 0 { random.below(1 << 32) as u32 } else { 0 });
    if random.below(4) == 0 {
        virtio::set(BASE + 0x64, virtio::get(BASE + 0x60));
    }
}
