//! The memory-mapped registers of distributor and redistributors (IHI 0069, 12.9 to 12.11).
//!
//! Registers are 32 bits wide, IROUTER and TYPER of a redistributor 64, priorities may be accessed
//! by byte. A 64-bit register may be accessed by halves. Any other width, and any address that is
//! no multiple of it, is refused. Addresses without a register read as zero and ignore writes, as
//! reserved ones do by the architecture.

use super::bank::Bank;
use super::{ENABLE_GROUPS, INTERRUPTS, MAX_VCPUS, PRIVATE, VIRTUAL_TIMER, Vgic};

/// An access of a width that the register does not have, or misaligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// Bytes of a distributor.
pub const DISTRIBUTOR_SIZE: u64 = 0x1_0000;
/// Bytes of one redistributor: a control frame and an SGI frame.
pub const REDISTRIBUTOR_SIZE: u64 = 0x2_0000;

/// Product "B", revision 0, of Arm's register layout.
const IIDR: u32 = 0x4200_043b;
/// `PIDR2`: architecture revision 3, JEP106.
const PIDR2: u32 = 0x3b;
/// `GICD_CTLR`: one security state, affinity routing.
const CTLR_FIXED: u32 = 1 << 6 | 1 << 4;
/// `GICD_TYPER`: interrupts in units of 32 less one, 10 bits of number, all four affinity levels,
/// no 1-of-N.
const TYPER: u32 = (INTERRUPTS / 32 - 1) | 9 << 19 | 1 << 24 | 1 << 25;
const WAKER_SLEEP: u32 = 1 << 1;
const WAKER_ASLEEP: u32 = 1 << 2;
/// `GICD_IROUTER`: the four affinity fields; 1-of-N is not offered.
const AFFINITY: u64 = 0xff_00ff_ffff;

/// A property of 32 interrupts that has a pair of registers to set and to clear bits, or one to
/// write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Group,
    Enable(bool),
    Pending(bool),
    Active(bool),
    /// The lower or upper 16 interrupts.
    Configuration(bool),
    Priority(usize),
}

/// Which word of which bank an offset names.
#[expect(clippy::cast_possible_truncation, reason = "offsets within a frame")]
fn word(offset: u64) -> Option<(usize, Word)> {
    let in_words = |from: u64| (offset - from) as usize / 4;
    Some(match offset {
        0x080..0x100 => (in_words(0x080), Word::Group),
        0x100..0x180 => (in_words(0x100), Word::Enable(true)),
        0x180..0x200 => (in_words(0x180), Word::Enable(false)),
        0x200..0x280 => (in_words(0x200), Word::Pending(true)),
        0x280..0x300 => (in_words(0x280), Word::Pending(false)),
        0x300..0x380 => (in_words(0x300), Word::Active(true)),
        0x380..0x400 => (in_words(0x380), Word::Active(false)),
        0x400..0x800 => (in_words(0x400) / 8, Word::Priority(in_words(0x400) % 8 * 4)),
        0xc00..0xd00 => (in_words(0xc00) / 2, Word::Configuration(in_words(0xc00) % 2 == 1)),
        _ => return None,
    })
}

/// The even bits of a configuration register, one bit for each of 16 interrupts, spread or
/// gathered.
fn spread(bits: u32) -> u32 {
    (0..16).fold(0, |all, at| all | (bits >> at & 1) << (2 * at + 1))
}

fn gather(value: u32) -> u32 {
    (0..16).fold(0, |all, at| all | (value >> (2 * at + 1) & 1) << at)
}

impl Bank {
    fn read(&self, word: Word) -> u32 {
        match word {
            Word::Group => self.group1,
            Word::Enable(_) => self.enabled,
            Word::Pending(_) => self.pending(),
            Word::Active(_) => self.active,
            Word::Configuration(upper) => spread(self.edge >> if upper { 16 } else { 0 } & 0xffff),
            Word::Priority(at) => {
                u32::from_le_bytes(core::array::from_fn(|byte| self.priority[at + byte]))
            }
        }
    }

    /// Writes a word; the interrupts it may have changed. `fixed` are those that stay
    /// edge-triggered.
    fn write(&mut self, word: Word, value: u32, fixed: u32) -> u32 {
        let set = |bits: &mut u32, set: bool| if set { *bits |= value } else { *bits &= !value };
        match word {
            Word::Group => {
                let changed = self.group1 ^ value;
                self.group1 = value;
                return changed;
            }
            Word::Enable(on) => set(&mut self.enabled, on),
            Word::Pending(on) => set(&mut self.latched, on),
            Word::Active(on) => set(&mut self.active, on),
            Word::Configuration(upper) => {
                let shift = if upper { 16 } else { 0 };
                let kept = self.edge & !(0xffff << shift);
                self.edge = kept | gather(value) << shift | fixed;
                return 0xffff << shift;
            }
            Word::Priority(at) => {
                self.set_priorities(at, value, 4);
                return 0xf << at;
            }
        }
        value
    }
}

/// An access to registers: where, how wide, and what is written.
#[derive(Debug, Clone, Copy)]
struct Access {
    offset: u64,
    width: u8,
    write: Option<u64>,
}

impl Access {
    fn new(offset: u64, width: u8, write: Option<u64>) -> Result<Self, Refused> {
        if !matches!(width, 1 | 2 | 4 | 8) || !offset.is_multiple_of(u64::from(width)) {
            return Err(Refused);
        }
        Ok(Self { offset, width, write })
    }

    /// The access as one to a 32-bit register, whose value is read by `read` and written by
    /// `write`.
    #[expect(clippy::cast_possible_truncation, reason = "the access is 32 bits wide")]
    fn word(self, read: u32, write: impl FnOnce(u32)) -> Result<u64, Refused> {
        if self.width != 4 {
            return Err(Refused);
        }
        Ok(match self.write {
            Some(value) => {
                write(value as u32);
                0
            }
            None => u64::from(read),
        })
    }

    /// The access as one to a 64-bit register at `base`, whole or by halves: what is read, or the
    /// register's new value.
    fn double(self, base: u64, current: u64) -> Result<Result<u64, u64>, Refused> {
        let half = if self.offset == base { 0 } else { 32 };
        let mask = match self.width {
            8 => u64::MAX,
            4 => 0xffff_ffff << half,
            _ => return Err(Refused),
        };
        Ok(match self.write {
            Some(value) => Err(current & !mask | value << half & mask),
            None => Ok((current & mask) >> half),
        })
    }
}

impl Vgic {
    /// An access of `width` bytes to the distributor; what is read.
    ///
    /// # Errors
    /// The width is not one of the register's.
    pub fn distributor(
        &mut self,
        offset: u64,
        width: u8,
        write: Option<u64>,
    ) -> Result<u64, Refused> {
        let access = Access::new(offset, width, write)?;
        let mut control = self.control;
        match offset {
            0x0000 => {
                let value = access.word(control | CTLR_FIXED, |value| {
                    control = value & (ENABLE_GROUPS[0] | ENABLE_GROUPS[1]);
                })?;
                if self.control != control {
                    self.control = control;
                    self.touch_all();
                }
                Ok(value)
            }
            0x0004 => access.word(TYPER, |_| ()),
            0x0008 => access.word(IIDR, |_| ()),
            0xffe8 => access.word(PIDR2, |_| ()),
            0x6100..0x8000 => self.router(access),
            _ => match word(offset & !3) {
                // The first bank is the redistributors' business.
                Some((bank @ 1.., register)) if bank <= self.shared.len() => {
                    self.shared_word(bank - 1, register, access)
                }
                Some((_, Word::Priority(_))) => Ok(0),
                _ => access.word(0, |_| ()),
            },
        }
    }

    fn shared_word(
        &mut self,
        place: usize,
        register: Word,
        access: Access,
    ) -> Result<u64, Refused> {
        let shared = &mut self.shared[place];
        let before = shared.bank.active;
        let mut changed = 0;
        let value = bank_access(&mut shared.bank, register, access, 0, &mut changed)?;
        if register == Word::Active(true) {
            // Made active by hand: it is held by the virtual CPU that it is routed to.
            for (held, routed) in shared.held.iter_mut().zip(&shared.routed) {
                *held |= shared.bank.active & !before & routed;
            }
        }
        if register == Word::Active(false) {
            for held in &mut shared.held {
                *held &= shared.bank.active;
            }
        }
        // What is in list registers is not taken out of the books' reach: those virtual CPUs fold
        // first.
        self.touch_shared(place, changed);
        Ok(value)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "a target below the number of virtual CPUs"
    )]
    fn router(&mut self, access: Access) -> Result<u64, Refused> {
        let base = access.offset & !7;
        let interrupt = (base - 0x6000) / 8;
        if interrupt >= u64::from(INTERRUPTS) {
            return access.double(base, 0).map(|read| read.unwrap_or(0));
        }
        let at = (interrupt - u64::from(PRIVATE)) as usize;
        let (place, bit) = (at / 32, 1u32 << (at % 32));
        let shared = &mut self.shared[place];
        match access.double(base, shared.route[at % 32])? {
            Ok(value) => Ok(value),
            Err(route) => {
                let route = route & AFFINITY;
                shared.route[at % 32] = route;
                for (vcpu, routed) in shared.routed.iter_mut().enumerate() {
                    // An affinity that nobody has leaves the interrupt pending for ever.
                    let here = route == vcpu as u64 && vcpu < self.vcpus;
                    *routed = if here { *routed | bit } else { *routed & !bit };
                }
                self.touch_shared(place, bit);
                Ok(0)
            }
        }
    }

    /// An access of `width` bytes to the redistributors, which lie one after the other; what is
    /// read.
    ///
    /// # Errors
    /// The width is not one of the register's, or there is no such redistributor.
    pub fn redistributor(
        &mut self,
        offset: u64,
        width: u8,
        write: Option<u64>,
    ) -> Result<u64, Refused> {
        let vcpu = usize::try_from(offset / REDISTRIBUTOR_SIZE).map_err(|_| Refused)?;
        if vcpu >= self.vcpus {
            return Err(Refused);
        }
        let access = Access::new(offset % REDISTRIBUTOR_SIZE, width, write)?;
        match access.offset {
            0x1_0000.. => {
                self.private_word(vcpu, Access { offset: access.offset - 0x1_0000, ..access })
            }
            0x0008 | 0x000c => {
                let last = u64::from(vcpu + 1 == self.vcpus);
                // Affinity, processor number, and whether it is the last of the region.
                let typer = (vcpu as u64) << 32 | (vcpu as u64) << 8 | last << 4;
                access.double(0x0008, typer).map(|read| read.unwrap_or(0))
            }
            0x0004 => access.word(IIDR, |_| ()),
            0xffe8 => access.word(PIDR2, |_| ()),
            0x0014 => {
                let asleep = &mut self.private[vcpu].asleep;
                let value = if *asleep { WAKER_SLEEP | WAKER_ASLEEP } else { 0 };
                access.word(value, |value| *asleep = value & WAKER_SLEEP != 0)
            }
            _ => access.word(0, |_| ()),
        }
    }

    fn private_word(&mut self, vcpu: usize, access: Access) -> Result<u64, Refused> {
        let Some((0, register)) = word(access.offset & !3) else {
            return match access.offset {
                0x400..0x800 => Ok(0),
                _ => access.word(0, |_| ()),
            };
        };
        let private = &mut self.private[vcpu];
        let mut changed = 0;
        let value = bank_access(&mut private.bank, register, access, 0xffff, &mut changed)?;
        let timer = 1 << VIRTUAL_TIMER;
        let bank = &private.bank;
        if private.linked
            && private.listed & timer == 0
            && (bank.latched | bank.active) & timer == 0
        {
            private.linked = false;
            private.release = true;
            self.attention |= 1 << vcpu;
        }
        self.touch_private(vcpu, changed);
        Ok(value)
    }
}

fn bank_access(
    bank: &mut Bank,
    register: Word,
    access: Access,
    fixed: u32,
    changed: &mut u32,
) -> Result<u64, Refused> {
    if let (Word::Priority(at), 1) = (register, access.width) {
        let at = at + (access.offset & 3) as usize;
        return Ok(match access.write {
            Some(value) => {
                bank.set_priority(at, value.to_le_bytes()[0]);
                *changed = 1 << at;
                0
            }
            None => u64::from(bank.priority[at]),
        });
    }
    let read = bank.read(register);
    access.word(read, |value| *changed = bank.write(register, value, fixed))
}

const _: () = assert!(MAX_VCPUS <= 16, "one list of targets names every virtual CPU");
