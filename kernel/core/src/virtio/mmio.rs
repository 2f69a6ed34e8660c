//! The register file of a device with one queue or several (4.2.2), and its state (2.1, 3.1).

use super::Broken;
use super::queue::{Chain, MOST_ENTRIES, Queue};
use crate::guest_ram::GuestRam;

/// `VIRTIO_F_VERSION_1`.
pub const VERSION_1: u64 = 1 << 32;
/// `VIRTIO_F_INDIRECT_DESC`.
pub const INDIRECT_DESC: u64 = 1 << 28;
/// `VIRTIO_F_EVENT_IDX`.
pub const EVENT_IDX: u64 = 1 << 29;

const FEATURES_OK: u32 = 8;
const DRIVER_OK: u32 = 4;
const NEEDS_RESET: u32 = 64;
const MAGIC: u32 = 0x7472_6976;
const VENDOR: u32 = 0x656c_6142; // "Bale"
/// Interrupt: a buffer was used.
const USED: u32 = 1;
/// Interrupt: the configuration, or the status, changed.
const CHANGED: u32 = 2;
/// Where the device's own configuration begins.
const CONFIG: u64 = 0x100;

/// An access that the device does not answer: wrong width, or nothing there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// What an access brings about beside its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// The driver says that there are chains in this queue.
    Notify(usize),
    /// The device is as new: what it was doing is over.
    Reset,
}

/// Registers and state of a device with so many queues.
#[derive(Debug, Clone)]
pub struct Registers<const QUEUES: usize = 1> {
    device: u32,
    offered: u64,
    status: u32,
    device_select: u32,
    driver_select: u32,
    accepted: u64,
    queue_select: u32,
    interrupts: u32,
    /// Its queues.
    pub queues: [Queue; QUEUES],
}

impl<const QUEUES: usize> Registers<QUEUES> {
    /// A device of this number (5) that offers these features.
    pub const fn new(device: u32, offered: u64) -> Self {
        Self {
            device,
            offered: offered | VERSION_1,
            status: 0,
            device_select: 0,
            driver_select: 0,
            accepted: 0,
            queue_select: 0,
            interrupts: 0,
            queues: [const { Queue::new() }; QUEUES],
        }
    }

    /// Whether a queue may be looked at.
    pub fn is_live(&self, queue: usize) -> bool {
        self.runs() && self.queues.get(queue).is_some_and(|queue| queue.ready)
    }

    /// Whether the driver broke a rule, and has not reset the device since.
    pub fn needs_reset(&self) -> bool {
        self.status & NEEDS_RESET != 0
    }

    fn runs(&self) -> bool {
        self.status & (DRIVER_OK | NEEDS_RESET) == DRIVER_OK
    }

    fn live(&mut self, queue: usize) -> Option<&mut Queue> {
        if self.runs() { self.queues.get_mut(queue).filter(|queue| queue.ready) } else { None }
    }

    /// Whether its interrupt line is up.
    pub fn line(&self) -> bool {
        self.interrupts != 0
    }

    /// Takes the next chain of a queue, if it is live and there is one. None: asks for a
    /// notification, and looks once more. A chain that breaks the rules ends it all, as
    /// [`Self::fail`] does.
    #[inline]
    pub fn fetch(&mut self, queue: usize, ram: &impl GuestRam, chain: &mut Chain) -> bool {
        let Some(queue) = self.live(queue) else { return false };
        let found = queue.pop(ram, chain).and_then(|found| {
            if found || !queue.rest(ram)? { Ok(found) } else { queue.pop(ram, chain) }
        });
        found.unwrap_or_else(|_| {
            self.fail();
            false
        })
    }

    /// Gives a chain of a queue back, so many bytes of it written or broken, unless the device was
    /// reset meanwhile.
    #[inline]
    pub fn tell(
        &mut self,
        queue: usize,
        ram: &impl GuestRam,
        chain: &Chain,
        served: Result<u32, Broken>,
    ) {
        let Some(queue) = self.live(queue) else { return };
        match served.and_then(|written| queue.push(ram, chain.head, written)) {
            Ok(true) => self.interrupts |= USED,
            Ok(false) => {}
            Err(_) => self.fail(),
        }
    }

    /// The driver broke a rule: nothing goes on before it resets the device (2.1.2).
    pub fn fail(&mut self) {
        self.status |= NEEDS_RESET;
        if self.status & DRIVER_OK != 0 {
            self.interrupts |= CHANGED;
        }
    }

    /// The queue that the registers of queues are about.
    pub(super) fn selected(&self) -> usize {
        self.queue_select as usize
    }

    /// The driver is there, though it has not said so: one of the legacy interface may leave that
    /// out.
    pub(super) fn drive(&mut self) {
        self.status |= DRIVER_OK;
    }

    /// An access of `width` bytes; what is read, and what else happens. `config` is the device's
    /// configuration.
    ///
    /// # Errors
    /// [`Refused`]: the registers have 32 bits each (4.2.2.2); of the configuration any width may
    /// be read.
    pub fn access(
        &mut self,
        offset: u64,
        width: u8,
        write: Option<u64>,
        config: &[u8],
    ) -> Result<(u64, Effect), Refused> {
        if let Some(place) = offset.checked_sub(CONFIG) {
            if !matches!(width, 1 | 2 | 4 | 8) || !offset.is_multiple_of(width.into()) {
                return Err(Refused);
            }
            // Nothing of the configuration can be written; what lies behind its end reads as zero.
            let start = usize::try_from(place).unwrap_or(usize::MAX);
            let mut value = [0; 8];
            for (to, from) in value[..width.into()].iter_mut().zip(config.iter().skip(start)) {
                *to = *from;
            }
            return Ok((u64::from_le_bytes(value), Effect::None));
        }
        if width != 4 || !offset.is_multiple_of(4) {
            return Err(Refused);
        }
        match write {
            None => Ok((self.read(offset).into(), Effect::None)),
            #[expect(clippy::cast_possible_truncation, reason = "the register has 32 bits")]
            Some(value) => Ok((0, self.write(offset, value as u32))),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a half of the features at a time")]
    fn read(&self, offset: u64) -> u32 {
        let here = self.queues.get(self.queue_select as usize);
        match offset {
            0x00 => MAGIC,
            0x04 => 2,
            0x08 => self.device,
            0x0c => VENDOR,
            0x10 => match self.device_select {
                0 => self.offered as u32,
                1 => (self.offered >> 32) as u32,
                _ => 0,
            },
            0x34 if here.is_some() => MOST_ENTRIES.into(),
            0x44 => here.is_some_and(|queue| queue.ready).into(),
            0x60 => self.interrupts,
            0x70 => self.status,
            // No shared memory: lengths of all ones (4.2.2).
            0xb0..0xc0 => u32::MAX,
            // Everything else is not to be read, or zero: the configuration never changes.
            _ => 0,
        }
    }

    fn write(&mut self, offset: u64, value: u32) -> Effect {
        match offset {
            0x14 => self.device_select = value,
            0x24 => self.driver_select = value,
            0x20 if self.status & FEATURES_OK == 0 => match self.driver_select {
                0 => self.accepted = self.accepted & !0xffff_ffff | u64::from(value),
                1 => self.accepted = self.accepted & 0xffff_ffff | u64::from(value) << 32,
                _ => {}
            },
            0x30 => self.queue_select = value,
            0x50 if self.is_live(value as usize) => return Effect::Notify(value as usize),
            0x64 => self.interrupts &= !value,
            0x70 => return self.set_status(value),
            _ => self.set_queue(offset, value),
        }
        Effect::None
    }

    fn set_status(&mut self, value: u32) -> Effect {
        if value == 0 {
            *self = Self::new(self.device, self.offered);
            return Effect::Reset;
        }
        // A bit that is set stays; the driver cannot take back NEEDS_RESET, nor set it.
        let mut added = value & !self.status & !NEEDS_RESET & 0xff;
        if added & FEATURES_OK != 0
            && (self.accepted & !self.offered != 0 || self.accepted & VERSION_1 == 0)
        {
            // Left clear, which the driver has to look for (3.1.1).
            added &= !FEATURES_OK;
        }
        self.status |= added;
        if self.status & FEATURES_OK != 0 {
            for queue in &mut self.queues {
                queue.event_index = self.accepted & EVENT_IDX != 0;
                queue.indirect = self.accepted & INDIRECT_DESC != 0;
            }
        }
        Effect::None
    }

    fn set_queue(&mut self, offset: u64, value: u32) {
        let low = |whole: u64| whole & !0xffff_ffff | u64::from(value);
        let high = |whole: u64| whole & 0xffff_ffff | u64::from(value) << 32;
        let Some(queue) = self.queues.get_mut(self.queue_select as usize) else { return };
        if offset == 0x44 {
            let ready = value & 1 != 0;
            if !ready || queue.is_sound() {
                queue.ready = ready;
            }
            return;
        }
        // Addresses and size stand still while the queue is used (4.2.2.2).
        if queue.ready {
            return;
        }
        match offset {
            0x38 => queue.size = u16::try_from(value).unwrap_or(0),
            0x80 => queue.descriptors = low(queue.descriptors),
            0x84 => queue.descriptors = high(queue.descriptors),
            0x90 => queue.available = low(queue.available),
            0x94 => queue.available = high(queue.available),
            0xa0 => queue.used = low(queue.used),
            0xa4 => queue.used = high(queue.used),
            _ => {}
        }
    }
}
