//! The split ring (2.7): descriptors, the driver's ring of chains that are available, the device's
//! of those it has used.

use core::sync::atomic::{Ordering, fence};

use heapless::Vec;

use super::{Broken, read_u16, write_u16};
use crate::guest_ram::GuestRam;

/// Entries of the largest ring.
pub const MOST_ENTRIES: u16 = 256;
/// Buffers of the longest chain.
pub const MOST_SEGMENTS: u32 = 128;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
const DESCRIPTOR: u64 = 16;
/// Flag of the driver's ring: it wants no interrupts.
const NO_INTERRUPT: u16 = 1;

/// A buffer of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Guest-physical address.
    pub address: u64,
    /// Bytes.
    pub length: u32,
}

/// Buffers of one request, those to read first.
#[derive(Debug, Default)]
pub struct Chain {
    /// Its name: the index of its first descriptor.
    pub head: u16,
    /// All buffers.
    pub segments: Vec<Segment, { MOST_SEGMENTS as usize }>,
    /// How many of them are to be read by the device; it writes the others.
    pub readable: usize,
}

/// One queue of a device.
#[derive(Debug, Clone)]
pub struct Queue {
    /// Entries, a power of two.
    pub size: u16,
    /// The driver has set it up.
    pub ready: bool,
    /// Guest-physical addresses of the table of descriptors, the driver's ring, the device's ring.
    pub descriptors: u64,
    /// The driver's ring.
    pub available: u64,
    /// The device's ring.
    pub used: u64,
    /// Index notifications were negotiated.
    pub event_index: bool,
    /// Tables of descriptors were negotiated.
    pub indirect: bool,
    pub(super) next_available: u16,
    pub(super) next_used: u16,
}

struct Descriptor {
    address: u64,
    length: u32,
    flags: u16,
    next: u16,
}

impl Default for Queue {
    fn default() -> Self {
        Self::new()
    }
}

impl Queue {
    /// A queue out of reset.
    pub const fn new() -> Self {
        Self {
            size: MOST_ENTRIES,
            ready: false,
            descriptors: 0,
            available: 0,
            used: 0,
            event_index: false,
            indirect: false,
            next_available: 0,
            next_used: 0,
        }
    }

    /// Whether its addresses and its size can be those of a ring: aligned (2.7), and not beyond the
    /// end of all addresses.
    pub fn is_sound(&self) -> bool {
        let size = u64::from(self.size);
        let fits = |address: u64, align: u64, length: u64| {
            address.is_multiple_of(align) && address.checked_add(length).is_some()
        };
        self.size.is_power_of_two()
            && self.size <= MOST_ENTRIES
            && fits(self.descriptors, 16, DESCRIPTOR * size)
            && fits(self.available, 2, 6 + 2 * size)
            && fits(self.used, 4, 6 + 8 * size)
    }

    /// Takes the next chain, if there is one, into `chain`.
    ///
    /// # Errors
    /// See [`Broken`].
    pub fn pop(&mut self, ram: &impl GuestRam, chain: &mut Chain) -> Result<bool, Broken> {
        let index = read_u16(ram, self.available + 2)?;
        // Acquire: what the driver wrote before it moved the index is seen (2.7.13.2).
        fence(Ordering::Acquire);
        let waiting = index.wrapping_sub(self.next_available);
        if waiting == 0 {
            return Ok(false);
        }
        if waiting > self.size {
            return Err(Broken::Index);
        }
        let place = u64::from(self.next_available % self.size);
        chain.head = read_u16(ram, self.available + 4 + 2 * place)?;
        chain.segments.clear();
        chain.readable = 0;
        self.walk(ram, chain)?;
        self.next_available = self.next_available.wrapping_add(1);
        Ok(true)
    }

    fn walk(&self, ram: &impl GuestRam, chain: &mut Chain) -> Result<(), Broken> {
        let (mut table, mut entries) = (self.descriptors, self.size);
        let (mut index, mut nested) = (chain.head, false);
        // Each step is a descriptor looked at: a loop ends here too.
        for _ in 0..=MOST_SEGMENTS {
            if index >= entries {
                return Err(Broken::Descriptor);
            }
            let place = table.checked_add(u64::from(index) * DESCRIPTOR).ok_or(Broken::OutOfRam)?;
            let found = read_descriptor(ram, place)?;
            if found.flags & INDIRECT != 0 {
                let bytes = u64::from(found.length);
                let sound = bytes != 0
                    && bytes.is_multiple_of(DESCRIPTOR)
                    && bytes / DESCRIPTOR <= MOST_SEGMENTS.into();
                if nested || !self.indirect || found.flags & NEXT != 0 || !sound {
                    return Err(Broken::Indirect);
                }
                // Checked to be small.
                entries = u16::try_from(bytes / DESCRIPTOR).map_err(|_| Broken::Indirect)?;
                (table, index, nested) = (found.address, 0, true);
                continue;
            }
            if found.flags & WRITE == 0 {
                if chain.readable != chain.segments.len() {
                    return Err(Broken::Order);
                }
                chain.readable += 1;
            }
            let segment = Segment { address: found.address, length: found.length };
            chain.segments.push(segment).map_err(|_| Broken::TooLong)?;
            if found.flags & NEXT == 0 {
                return Ok(());
            }
            index = found.next;
        }
        Err(Broken::TooLong)
    }

    /// Gives a chain back, `written` bytes of it written; whether the driver wants an interrupt for
    /// it.
    ///
    /// # Errors
    /// See [`Broken`].
    pub fn push(&mut self, ram: &impl GuestRam, head: u16, written: u32) -> Result<bool, Broken> {
        let place = u64::from(self.next_used % self.size);
        let mut element = [0; 8];
        element[..4].copy_from_slice(&u32::from(head).to_le_bytes());
        element[4..].copy_from_slice(&written.to_le_bytes());
        ram.write(self.used + 4 + 8 * place, &element)?;
        let before = self.next_used;
        self.next_used = before.wrapping_add(1);
        // Release: the element, and the buffers, before the index (2.7.8.2).
        fence(Ordering::Release);
        write_u16(ram, self.used + 2, self.next_used)?;
        // SeqCst: the index is there before we look whether the driver waits for it (2.7.7.2).
        fence(Ordering::SeqCst);
        if self.event_index {
            let event = read_u16(ram, self.available + 4 + 2 * u64::from(self.size))?;
            // Whether the index passed the event, counted round.
            return Ok(self.next_used.wrapping_sub(event).wrapping_sub(1)
                < self.next_used.wrapping_sub(before));
        }
        Ok(read_u16(ram, self.available)? & NO_INTERRUPT == 0)
    }

    /// Asks for a notification of the next chain; whether one has come in between.
    ///
    /// # Errors
    /// See [`Broken`].
    pub fn rest(&mut self, ram: &impl GuestRam) -> Result<bool, Broken> {
        if self.event_index {
            write_u16(ram, self.used + 4 + 8 * u64::from(self.size), self.next_available)?;
            // SeqCst: said before we look once more (2.7.10.1).
            fence(Ordering::SeqCst);
        }
        Ok(read_u16(ram, self.available + 2)? != self.next_available)
    }
}

fn read_descriptor(ram: &impl GuestRam, place: u64) -> Result<Descriptor, Broken> {
    // Copied once: whatever the guest does to it afterwards, this is what was checked.
    let mut bytes = [0; 16];
    ram.read(place, &mut bytes)?;
    let [a, b, c, d, e, f, g, h, l0, l1, l2, l3, f0, f1, n0, n1] = bytes;
    Ok(Descriptor {
        address: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        length: u32::from_le_bytes([l0, l1, l2, l3]),
        flags: u16::from_le_bytes([f0, f1]),
        next: u16::from_le_bytes([n0, n1]),
    })
}
