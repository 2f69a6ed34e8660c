//! Descriptor chains of every kind and of none, on rings that all virtual CPUs write at once; the
//! device, disk or console, is reset and brought up again whenever it has had enough.

use core::sync::atomic::Ordering;

use bale_abi::measure::SLOTS;
use bale_abi::{PAGES_BASE, RAM_BASE, RAM_SIZE};

use super::Random;
use crate::virtio::{self, BASE, DISK_RINGS, ENTRIES, PORT, PORT_RINGS, Rings, STATUS, address};

/// The end of memory, where nothing of this program is: what a buffer there is too long for lies
/// outside.
const BUFFERS: u64 = 256 << 10;
const NEEDS_RESET: u32 = 0x40;

/// Where a buffer or a table may be: its own memory, the rings, what it may only read, nothing at
/// all.
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

fn descriptor(rings: &'static Rings, random: &mut Random) {
    let at = random.below(ENTRIES as u64) as usize;
    let next =
        if random.below(16) == 0 { random.below(1 << 16) } else { random.below(ENTRIES as u64) };
    // One that is short may be in the rings and their headers.
    let (place, length) = if random.below(3) == 0 {
        (address(&rings.headers[random.below(32) as usize]), 16)
    } else {
        (place(random), length(random))
    };
    let flags = if random.below(16) == 0 { random.below(1 << 16) } else { random.below(8) };
    // Written one after the other: the device may see one of them alone.
    rings.descriptors[at][0].store(place, Ordering::Relaxed);
    rings.descriptors[at][1].store(length | flags << 32 | next << 48, Ordering::Relaxed);
}

/// A chain of the disk as it should be, but for what it asks for.
fn request(rings: &'static Rings, random: &mut Random, head: u64) {
    let second = (head + 1) % ENTRIES as u64;
    let third = (head + 2) % ENTRIES as u64;
    let kind = [0, 1, 4, 8, 11, 13, random.below(1 << 32)][random.below(7) as usize];
    let sector = match random.below(4) {
        0 => random.value(),
        1 => SLOTS * 8 - random.below(16),
        _ => random.below(SLOTS * 8),
    };
    let header = &rings.headers[random.below(32) as usize];
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
        let words = &rings.descriptors[at as usize];
        words[0].store(address, Ordering::Relaxed);
        words[1].store(rest, Ordering::Relaxed);
    }
}

/// A chain of the console as it should be: two buffers to transmit, or to receive into. Short ones,
/// since it is all printed.
fn words(rings: &Rings, queue: usize, random: &mut Random, head: u64) {
    let second = (head + 1) % ENTRIES as u64;
    let writes = if queue == 0 { 2 << 32 } else { 0 };
    for (at, rest) in [(head, 1 << 32 | second << 48), (second, 0)] {
        let words = &rings.descriptors[at as usize];
        words[0].store(place(random), Ordering::Relaxed);
        words[1].store(random.below(32) | rest | writes, Ordering::Relaxed);
    }
}

/// Some descriptors, some of them made available, a notification: mostly of the disk.
pub(super) fn step(random: &mut Random) {
    let port = random.below(4) == 0;
    let (base, kind, queues) =
        if port { (PORT, 3, PORT_RINGS.as_slice()) } else { (BASE, 2, DISK_RINGS.as_slice()) };
    if virtio::get(base + STATUS) & NEEDS_RESET != 0 || random.below(512) == 0 {
        // Another virtual CPU may be at it too: then it does not come up, and is reset again.
        let _ = virtio::bring_up(base, kind, queues);
    }
    let queue = random.below(queues.len() as u64) as usize;
    let rings = &queues[queue];
    let head = random.below(ENTRIES as u64);
    match (random.below(4), port) {
        (0, _) => (0..random.below(6)).for_each(|_| descriptor(rings, random)),
        (_, true) => words(rings, queue, random, head),
        (_, false) => request(rings, random, head),
    }
    let index = rings.available[1].load(Ordering::Relaxed);
    let entry = 2 + usize::from(index) % ENTRIES;
    let head = if random.below(32) == 0 { random.below(1 << 16) } else { head };
    rings.available[entry].store(head as u16, Ordering::Relaxed);
    let ahead = if random.below(64) == 0 { random.below(1 << 16) as u16 } else { 1 };
    rings.available[1].store(index.wrapping_add(ahead), Ordering::Release);
    virtio::set(
        base + 0x50,
        if random.below(32) == 0 { random.below(1 << 32) as u32 } else { queue as u32 },
    );
    if random.below(4) == 0 {
        virtio::set(base + 0x64, virtio::get(base + 0x60));
    }
}

/// Whether the console, once it is reset, prints a line as if nothing had been. For the last one
/// that storms.
pub(super) fn console_is_well() -> bool {
    static LINE: [u8; 26] = *b"the console works as ever\n";
    if !virtio::bring_up(PORT, 3, &PORT_RINGS) {
        return false;
    }
    let rings = &PORT_RINGS[1];
    rings.used[0].store(0, Ordering::Relaxed);
    rings.descriptors[0][0].store(address(&LINE), Ordering::Relaxed);
    rings.descriptors[0][1].store(LINE.len() as u64, Ordering::Relaxed);
    rings.available[2].store(0, Ordering::Relaxed);
    rings.available[1].store(1, Ordering::Release);
    virtio::set(PORT + 0x50, 1);
    // A device out of reset counts from 0: nothing else is used than this chain.
    rings.used() == 1 && virtio::get(PORT + STATUS) & NEEDS_RESET == 0
}
