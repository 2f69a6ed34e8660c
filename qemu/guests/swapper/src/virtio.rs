//! The swap disk's driver (virtio 1.2 over MMIO, split ring): batches of whole pages, one notification each.
#![expect(clippy::cast_possible_truncation, reason = "64-bit words, and small numbers in them")]

use core::arch::asm;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

use bale_abi::measure::BATCH;

/// The device, and its shared interrupt.
pub(crate) const BASE: u64 = 0x0a00_0000;
pub(crate) const STATUS: u64 = 0x70;
/// Entries of the ring: header, data and status of a batch, rounded up.
pub(crate) const ENTRIES: usize = 128;
const REQUESTS: usize = BATCH as usize;

const OUT: u64 = 1;
/// Flags of a descriptor, where they lie in its second word.
const NEXT: u64 = 1 << 32;
const WRITE: u64 = 2 << 32;

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

pub(crate) static RINGS: Rings = Rings {
    descriptors: [const { [const { AtomicU64::new(0) }; 2] }; ENTRIES],
    available: [const { AtomicU16::new(0) }; ENTRIES + 3],
    used: [const { AtomicU32::new(0) }; 2 * ENTRIES + 2],
    headers: [const { [const { AtomicU64::new(0) }; 2] }; REQUESTS],
    statuses: [const { AtomicU8::new(0) }; REQUESTS],
};

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

/// The device with its ring in place.
pub(crate) struct Disk {
    next: u16,
}

impl Disk {
    /// Resets the device and brings it up; `None` if there is none or it refuses.
    pub(crate) fn start() -> Option<Self> {
        if [0, 4, 8].map(|offset| get(BASE + offset)) != [0x7472_6976, 2, 2] {
            return None;
        }
        for value in [0, 1, 3] {
            set(BASE + STATUS, value);
        }
        // VERSION_1, EVENT_IDX and INDIRECT_DESC.
        for (select, features) in [(1, 1), (0, 3 << 28)] {
            set(BASE + 0x24, select);
            set(BASE + 0x20, features);
        }
        set(BASE + STATUS, 0xb);
        set(BASE + 0x30, 0);
        set(BASE + 0x38, ENTRIES as u32);
        let areas = [address(&RINGS.descriptors), address(&RINGS.available), address(&RINGS.used)];
        for (register, area) in [0x80, 0x90, 0xa0].into_iter().zip(areas) {
            set(BASE + register, area as u32);
            set(BASE + register + 4, (area >> 32) as u32);
        }
        // A device out of reset begins at chain 0.
        RINGS.available[1].store(0, Ordering::Relaxed);
        set(BASE + 0x44, 1);
        set(BASE + STATUS, 0xf);
        (get(BASE + STATUS) == 0xf).then_some(Self { next: 0 })
    }

    /// Makes the descriptors of a batch of pages from an address, to the disk's blocks from `block`: everything but the last
    /// step, which hands it over.
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

    /// Hands the batch over, and acknowledges its interrupt once `done` says that it has come; whether all was written.
    pub(crate) fn submit(&mut self, done: impl Fn()) -> bool {
        // The ring before its index.
        RINGS.available[1].store(self.next, Ordering::Release);
        fence(Ordering::SeqCst);
        set(BASE + 0x50, 0);
        done();
        set(BASE + 0x64, get(BASE + 0x60));
        // The index is the upper half of the first word.
        let used = RINGS.used[0].load(Ordering::Acquire) >> 16;
        used == self.next.into() && RINGS.statuses.iter().all(|status| status.load(Ordering::Relaxed) == 0)
    }
}
