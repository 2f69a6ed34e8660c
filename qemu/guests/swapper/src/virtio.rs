//! The swap disk's driver (virtio 1.2 over MMIO, split ring): batches of whole pages, one
//! notification each; and what every device needs to come up.
#![expect(clippy::cast_possible_truncation, reason = "64-bit words, and small numbers in them")]

use core::arch::asm;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

use bale_abi::STORM_VCPUS;
use bale_abi::measure::BATCH;

/// The disk, and the console.
pub(crate) const BASE: u64 = 0x0a00_0000;
pub(crate) const PORT: u64 = BASE + 0x200;
pub(crate) const STATUS: u64 = 0x70;
/// Entries of the ring: header, data and status of a batch, rounded up.
pub(crate) const ENTRIES: usize = 128;
const REQUESTS: usize = BATCH as usize;

/// The disk is to be read, or written.
pub(crate) const IN: u64 = 0;
pub(crate) const OUT: u64 = 1;
/// Flags of a descriptor, where they lie in its second word.
pub(crate) const NEXT: u64 = 1 << 32;
pub(crate) const WRITE: u64 = 2 << 32;

/// What driver and device share, in words as they lie in memory.
#[repr(C, align(4096))]
pub(crate) struct Rings {
    /// Address; length, flags and the next one's number.
    pub(crate) descriptors: [[AtomicU64; 2]; ENTRIES],
    /// Flags, index, numbers of chains, `used_event`.
    pub(crate) available: [AtomicU16; ENTRIES + 3],
    /// Index and flags, elements of two words, `avail_event`.
    pub(crate) used: [AtomicU32; 2 * ENTRIES + 2],
    /// Type; sector.
    pub(crate) headers: [[AtomicU64; 2]; REQUESTS],
    pub(crate) statuses: [AtomicU8; REQUESTS],
}

impl Rings {
    const fn new() -> Self {
        Self {
            descriptors: [const { [const { AtomicU64::new(0) }; 2] }; ENTRIES],
            available: [const { AtomicU16::new(0) }; ENTRIES + 3],
            used: [const { AtomicU32::new(0) }; 2 * ENTRIES + 2],
            headers: [const { [const { AtomicU64::new(0) }; 2] }; REQUESTS],
            statuses: [const { AtomicU8::new(0) }; REQUESTS],
        }
    }

    /// Chains that the device has used since it came up. The index is the upper half of the first
    /// word.
    pub(crate) fn used(&self) -> u32 {
        self.used[0].load(Ordering::Acquire) >> 16
    }
}

/// The disk's, a queue each, of which storms use all.
pub(crate) static DISK_RINGS: [Rings; STORM_VCPUS as usize] =
    [const { Rings::new() }; STORM_VCPUS as usize];
static RINGS: &Rings = &DISK_RINGS[0];
/// The console's: to receive, to transmit.
pub(crate) static PORT_RINGS: [Rings; 2] = [Rings::new(), Rings::new()];

pub(crate) fn address<T>(of: &'static T) -> u64 {
    core::ptr::from_ref(of) as u64
}

/// Writes a device's register.
pub(crate) fn set(address: u64, value: u32) {
    // SAFETY: registers of emulated devices: no memory of this program.
    unsafe { asm!("str {0:w}, [{1}]", in(reg) value, in(reg) address, options(nostack)) };
}

/// Reads one.
pub(crate) fn get(address: u64) -> u32 {
    let value;
    // SAFETY: as above.
    unsafe { asm!("ldr {0:w}, [{1}]", out(reg) value, in(reg) address, options(nostack)) };
    value
}

/// Resets the device of this kind at an address and brings it up, with rings for each of its
/// queues; false if there is none or it refuses.
pub(crate) fn bring_up(base: u64, kind: u32, queues: &'static [Rings]) -> bool {
    if [0, 4, 8].map(|offset| get(base + offset)) != [0x7472_6976, 2, kind] {
        return false;
    }
    for value in [0, 1, 3] {
        set(base + STATUS, value);
    }
    // VERSION_1, EVENT_IDX and INDIRECT_DESC.
    for (select, features) in [(1, 1), (0, 3 << 28)] {
        set(base + 0x24, select);
        set(base + 0x20, features);
    }
    set(base + STATUS, 0xb);
    for (queue, rings) in (0..).zip(queues) {
        set(base + 0x30, queue);
        set(base + 0x38, ENTRIES as u32);
        let areas = [address(&rings.descriptors), address(&rings.available), address(&rings.used)];
        for (register, area) in [0x80, 0x90, 0xa0].into_iter().zip(areas) {
            set(base + register, area as u32);
            set(base + register + 4, (area >> 32) as u32);
        }
        // A device out of reset begins at chain 0.
        rings.available[1].store(0, Ordering::Relaxed);
        set(base + 0x44, 1);
    }
    set(base + STATUS, 0xf);
    get(base + STATUS) == 0xf
}

/// The device with its ring in place.
pub(crate) struct Disk {
    next: u16,
}

impl Disk {
    /// Resets the device and brings it up; `None` if there is none or it refuses.
    pub(crate) fn start() -> Option<Self> {
        bring_up(BASE, 2, &DISK_RINGS[..1]).then_some(Self { next: 0 })
    }

    /// Blocks of the disk.
    pub(crate) fn blocks(&self) -> u64 {
        (u64::from(get(BASE + 0x100)) | u64::from(get(BASE + 0x104)) << 32) / 8
    }

    /// Makes the descriptors of a batch of pages from an address, to the disk's blocks from
    /// `block`: everything but the last step, which hands it over.
    pub(crate) fn prepare(&mut self, block: u64, pages: u64) {
        for at in 0..REQUESTS {
            let [kind, sector] = &RINGS.headers[at];
            kind.store(OUT, Ordering::Relaxed);
            sector.store((block + at as u64) * 8, Ordering::Relaxed);
            RINGS.statuses[at].store(u8::MAX, Ordering::Relaxed);
            let (head, next) = (3 * at, 3 * at as u64);
            let chain = [
                (address(&RINGS.headers[at]), 16 | NEXT | (next + 1) << 48),
                (pages + 4096 * at as u64, 4096 | NEXT | (next + 2) << 48),
                (address(&RINGS.statuses[at]), 1 | WRITE),
            ];
            for (words, (address, rest)) in RINGS.descriptors[head..].iter().zip(chain) {
                words[0].store(address, Ordering::Relaxed);
                words[1].store(rest, Ordering::Relaxed);
            }
            let entry = 2 + usize::from(self.next.wrapping_add(at as u16)) % ENTRIES;
            RINGS.available[entry].store(next as u16, Ordering::Relaxed);
        }
        self.next = self.next.wrapping_add(REQUESTS as u16);
        // One interrupt, for the last of them: `used_event`.
        RINGS.available[2 + ENTRIES].store(self.next.wrapping_sub(1), Ordering::Relaxed);
    }

    /// Makes one request of memory that is gone through as often as the disk has room for it, or
    /// descriptors are left, and hands it over; whether all was done.
    pub(crate) fn submit_long(&mut self, kind: u64, memory: u64, bytes: u64) -> bool {
        let sectors = u64::from(get(BASE + 0x100)) | u64::from(get(BASE + 0x104)) << 32;
        let times = (sectors * 512 / bytes).min(ENTRIES as u64 - 2);
        let written = if kind == IN { WRITE } else { 0 };
        RINGS.headers[0][0].store(kind, Ordering::Relaxed);
        RINGS.headers[0][1].store(0, Ordering::Relaxed);
        RINGS.statuses[0].store(u8::MAX, Ordering::Relaxed);
        let header = (address(&RINGS.headers[0]), 16 | NEXT);
        let status = (address(&RINGS.statuses[0]), 1 | WRITE);
        let data = (0..times).map(|_| (memory, bytes | written | NEXT));
        for (at, (address, rest)) in [header].into_iter().chain(data).chain([status]).enumerate() {
            RINGS.descriptors[at][0].store(address, Ordering::Relaxed);
            RINGS.descriptors[at][1].store(rest | (at as u64 + 1) << 48, Ordering::Relaxed);
        }
        RINGS.available[2 + usize::from(self.next) % ENTRIES].store(0, Ordering::Relaxed);
        RINGS.available[2 + ENTRIES].store(self.next, Ordering::Relaxed);
        self.next = self.next.wrapping_add(1);
        // The ring before its index.
        RINGS.available[1].store(self.next, Ordering::Release);
        fence(Ordering::SeqCst);
        set(BASE + 0x50, 0);
        set(BASE + 0x64, get(BASE + 0x60));
        RINGS.used() == self.next.into() && RINGS.statuses[0].load(Ordering::Relaxed) == 0
    }

    /// Hands the batch over, and acknowledges its interrupt once `done` says that it has come;
    /// whether all was written.
    pub(crate) fn submit(&mut self, done: impl Fn()) -> bool {
        // The ring before its index.
        RINGS.available[1].store(self.next, Ordering::Release);
        fence(Ordering::SeqCst);
        set(BASE + 0x50, 0);
        done();
        set(BASE + 0x64, get(BASE + 0x60));
        RINGS.used() == self.next.into()
            && RINGS.statuses.iter().all(|status| status.load(Ordering::Relaxed) == 0)
    }
}
