//! The register file of the legacy interface (virtio 1.2, 4.2.4), which test suites know and QEMU's
//! `virt` machine has by itself: one address for all of a queue, in pages of the guest's choice,
//! and queues that are served whatever the status says.

use super::mmio::{Effect, Refused, Registers};
use super::queue::{Chain, Queue};
use crate::guest_ram::GuestRam;

/// `QueueAlign`, `GuestPageSize`, `QueuePFN`, `Version`, `HostFeatures`.
const ALIGN: u64 = 0x3c;
const PAGE_SIZE: u64 = 0x28;
const PFN: u64 = 0x40;
const VERSION: u64 = 0x04;
const FEATURES: u64 = 0x10;
/// Addresses of parts of queues, and whether one is ready: those of the newer interface alone.
const NEWER: [u64; 7] = [0x44, 0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4];
/// `QueueNotify` and `Status`.
const NOTIFY: u64 = 0x50;
const STATUS: u64 = 0x70;
/// Pages that a guest may count in.
const PAGES: core::ops::RangeInclusive<u32> = 0x1000..=0x1_0000;

/// What a place reads as in which no device is, as under QEMU: a guest that looks for devices finds
/// the number 0, and goes on.
pub const fn vacant(offset: u64) -> u64 {
    match offset {
        0 => 0x7472_6976,
        VERSION => 1,
        _ => 0,
    }
}

/// Registers and state of a device with so many queues that offers no features.
#[derive(Debug, Clone)]
pub struct Legacy<const QUEUES: usize> {
    registers: Registers<QUEUES>,
    page_size: u32,
    align: [u32; QUEUES],
    numbers: [u32; QUEUES],
}

impl<const QUEUES: usize> Legacy<QUEUES> {
    /// A device of this number (5).
    pub const fn new(device: u32) -> Self {
        Self {
            registers: Registers::new(device, 0),
            page_size: 0x1000,
            align: [0x1000; QUEUES],
            numbers: [0; QUEUES],
        }
    }

    /// Whether its interrupt line is up.
    pub fn line(&self) -> bool {
        self.registers.line()
    }

    /// As [`Registers::fetch`].
    pub fn fetch(&mut self, queue: usize, ram: &impl GuestRam, chain: &mut Chain) -> bool {
        self.registers.fetch(queue, ram, chain)
    }

    /// As [`Registers::tell`].
    pub fn tell(
        &mut self,
        queue: usize,
        ram: &impl GuestRam,
        chain: &Chain,
        served: Result<u32, super::Broken>,
    ) {
        self.registers.tell(queue, ram, chain, served);
    }

    /// As [`Registers::access`], of a device without a configuration.
    ///
    /// # Errors
    /// [`Refused`]: a width that the register has not.
    pub fn access(
        &mut self,
        offset: u64,
        width: u8,
        write: Option<u64>,
    ) -> Result<(u64, Effect), Refused> {
        // What is wrong with an access is wrong here too, and an answer of the newer interface is
        // replaced.
        if width == 4 && offset.is_multiple_of(4) && offset < 0x100 {
            #[expect(clippy::cast_possible_truncation, reason = "the register has 32 bits")]
            match write.map(|value| value as u32) {
                None if offset == VERSION => return Ok((1, Effect::None)),
                // None are offered, and least of all that of the newer interface.
                None if offset == FEATURES => return Ok((0, Effect::None)),
                None if offset == PFN => return Ok((self.number().into(), Effect::None)),
                _ if NEWER.contains(&offset) => return Ok((0, Effect::None)),
                Some(size)
                    if offset == PAGE_SIZE && size.is_power_of_two() && PAGES.contains(&size) =>
                {
                    self.page_size = size;
                }
                Some(align) if offset == ALIGN => self.set_align(align),
                Some(number) if offset == PFN => self.place(number),
                Some(0) if offset == STATUS => {
                    (self.align, self.numbers) = ([0x1000; QUEUES], [0; QUEUES]);
                }
                Some(_) if offset == NOTIFY => self.registers.drive(),
                _ => {}
            }
        }
        self.registers.access(offset, width, write, &[])
    }

    fn selected(&self) -> usize {
        self.registers.selected()
    }

    fn number(&self) -> u32 {
        self.numbers.get(self.selected()).copied().unwrap_or(0)
    }

    fn set_align(&mut self, align: u32) {
        let queue = self.selected();
        if let Some(place) = self.align.get_mut(queue)
            && align.is_power_of_two()
            && align <= *PAGES.end()
        {
            *place = align;
        }
    }

    /// Puts the selected queue at a page, or takes it away with page 0: descriptors, the ring of
    /// what is offered behind them, and the ring of what was used at the next alignment (2.7.2).
    fn place(&mut self, number: u32) {
        let selected = self.selected();
        let (Some(align), Some(queue)) =
            (self.align.get(selected).copied(), self.registers.queues.get_mut(selected))
        else {
            return;
        };
        let entries = queue.size;
        *queue = Queue::new();
        queue.size = entries;
        let size = u64::from(entries);
        queue.descriptors = u64::from(number) * u64::from(self.page_size);
        queue.available = queue.descriptors + 16 * size;
        // Flags, index, entries, and the index at which an interrupt is wanted.
        let end = queue.available + 2 * (3 + size);
        queue.used = end.next_multiple_of(align.into());
        queue.ready = number != 0 && queue.is_sound();
        if let Some(place) = self.numbers.get_mut(selected) {
            *place = number;
        }
    }
}
