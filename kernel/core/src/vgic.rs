//! The interrupt controller that a guest sees: a GICv3 with affinity routing and one security state
//! (Arm IHI 0069).
//!
//! [`Vgic`] is the books: what is enabled, pending, active, of which priority and for whom. The
//! guest's accesses to the distributor and the redistributors come in through [`Vgic::distributor`]
//! and [`Vgic::redistributor`], its writes to `ICC_SGI1R_EL1` through [`Vgic::send`], devices
//! through [`Vgic::set_line`]. Acknowledge and end of interrupt happen in the hardware's list
//! registers without an exit: [`Vgic::fold`] takes into the books what became of them,
//! [`Vgic::fill`] puts in what the virtual CPU should see next.
//!
//! | module | what it holds |
//! |---|---|
//! | [`bank`] | 32 interrupts, a word for each property |
//! | [`list`] | list registers: format, what goes in, what comes out |
//! | [`registers`] | the memory-mapped registers |
//! | [`urgent`] | the most urgent of many interrupts, in a bounded number of steps |
//!
//! A register access by a virtual CPU comes after a fold of its own list registers. Of what an
//! interrupt is in *another* one's the books know what they knew at that one's last fold: a read of
//! ISPENDR or ISACTIVER may be late by one of its exits, and a write to them loses against what
//! happened there.

mod bank;
mod list;
mod registers;
mod urgent;

#[cfg(test)]
mod tests;

pub use self::list::{Lists, Wanted};
pub use self::registers::{DISTRIBUTOR_SIZE, REDISTRIBUTOR_SIZE, Refused};

use self::bank::Bank;

/// Virtual CPUs of one machine at most; their affinity is their number.
pub const MAX_VCPUS: usize = 8;
/// Private interrupts of a virtual CPU: SGIs 0 to 15, PPIs 16 to 31.
pub const PRIVATE: u32 = 32;
/// Interrupts, private ones included; the shared ones follow from 32.
pub const INTERRUPTS: u32 = 96;
/// The virtual timer's PPI.
pub const VIRTUAL_TIMER: u32 = 27;

const SHARED_BANKS: usize = (INTERRUPTS - PRIVATE) as usize / 32;
/// Banks that a virtual CPU sees: its private one, then the shared ones.
const BANKS: usize = 1 + SHARED_BANKS;
/// `GICD_CTLR`: group 0 and group 1 enabled.
const ENABLE_GROUPS: [u32; 2] = [1, 1 << 1];

/// 32 shared interrupts and whose they are. As for [`Private`], a shift finds it.
#[derive(Debug, Clone)]
#[repr(align(512))]
struct Shared {
    bank: Bank,
    /// By virtual CPU: interrupts that are routed to it.
    routed: [u32; MAX_VCPUS],
    /// By virtual CPU: interrupts that are active on it.
    held: [u32; MAX_VCPUS],
    /// By virtual CPU: interrupts in its list registers.
    listed: [u32; MAX_VCPUS],
    /// All of those: an interrupt is in the list registers of one virtual CPU at most.
    taken: u32,
    /// `GICD_IROUTER` as written.
    route: [u64; 32],
}

/// One virtual CPU's private part. Its size is a power of two, so that finding it takes a shift.
#[derive(Debug, Clone)]
#[repr(align(128))]
struct Private {
    bank: Bank,
    listed: u32,
    /// `GICR_WAKER.ProcessorSleep`.
    asleep: bool,
    /// The virtual timer's interrupt is active in the hardware, and ends with the guest's end of
    /// interrupt.
    linked: bool,
    /// It no longer has to be, and the guest's end of interrupt will not come: somebody deactivates
    /// it in the hardware.
    release: bool,
}

const PRIVATE_RESET: Private =
    Private { bank: Bank::private(), listed: 0, asleep: true, linked: false, release: false };

const SHARED_RESET: Shared = Shared {
    bank: Bank::shared(),
    routed: [0; MAX_VCPUS],
    held: [0; MAX_VCPUS],
    listed: [0; MAX_VCPUS],
    taken: 0,
    route: [0; 32],
};

/// What a virtual CPU should see and no list register holds: a word for each bank.
struct Due {
    /// Pending, enabled, forwarded, and not active.
    ready: [u32; BANKS],
    active: [u32; BANKS],
}

impl Due {
    /// Ready or active: no interrupt is both.
    fn both(&self) -> [u32; BANKS] {
        core::array::from_fn(|bank| self.ready[bank] | self.active[bank])
    }
}

/// Interrupt controller of a machine.
#[derive(Debug, Clone)]
pub struct Vgic {
    vcpus: usize,
    /// Which groups the distributor forwards: bits of [`ENABLE_GROUPS`].
    control: u32,
    private: [Private; MAX_VCPUS],
    shared: [Shared; SHARED_BANKS],
    /// Virtual CPUs, a bit each, whose list registers no longer say what the books say.
    attention: u32,
}

impl Vgic {
    /// A controller out of reset.
    pub const fn new(vcpus: usize) -> Self {
        let mut vgic = Self {
            vcpus: if vcpus < MAX_VCPUS { vcpus } else { MAX_VCPUS },
            control: 0,
            private: [PRIVATE_RESET; MAX_VCPUS],
            shared: [SHARED_RESET; SHARED_BANKS],
            attention: 0,
        };
        let mut at = 0;
        while at < SHARED_BANKS {
            // IROUTER is 0 after reset: the first virtual CPU.
            vgic.shared[at].routed[0] = u32::MAX;
            at += 1;
        }
        vgic
    }

    /// How many virtual CPUs it serves.
    pub fn vcpus(&self) -> usize {
        self.vcpus
    }

    /// Virtual CPUs, a bit each, whose list registers have to be folded and filled again; forgotten
    /// by this call.
    pub fn take_attention(&mut self) -> u32 {
        core::mem::take(&mut self.attention)
    }

    /// Groups that are forwarded, as a mask over interrupts of a bank.
    fn forwarded(&self, bank: &Bank) -> u32 {
        let group = |on: u32, mask: u32| if self.control & on != 0 { mask } else { 0 };
        group(ENABLE_GROUPS[0], !bank.group1) | group(ENABLE_GROUPS[1], bank.group1)
    }

    /// Sets the line of a device's shared interrupt: a level for level-triggered ones, an edge
    /// where it rises for edge-triggered ones. An interrupt that does not exist is ignored.
    pub fn set_line(&mut self, interrupt: u32, high: bool) {
        let Some((place, bit)) = shared_place(interrupt) else { return };
        if self.shared[place].bank.set_line(bit, high) {
            self.touch_shared(place, bit);
        }
    }

    /// Sets the line of a private interrupt of a virtual CPU, as [`Self::set_line`] does of a
    /// shared one.
    pub fn set_private_line(&mut self, vcpu: usize, interrupt: u32, high: bool) {
        let Some(private) = self.private.get_mut(vcpu) else { return };
        let bit = 1u32.checked_shl(interrupt).unwrap_or(0);
        if private.bank.set_line(bit, high) {
            self.touch_private(vcpu, bit);
        }
    }

    /// One pulse on the line of an edge-triggered shared interrupt.
    pub fn pulse(&mut self, interrupt: u32) {
        self.set_line(interrupt, true);
        self.set_line(interrupt, false);
    }

    /// The virtual timer of this virtual CPU fired in the hardware, where its interrupt is active
    /// from now on. After a fold: the guest may have ended the last one meanwhile.
    pub fn fire_timer(&mut self, vcpu: usize) {
        let Some(private) = self.private.get_mut(vcpu) else { return };
        private.linked = true;
        // While the guest handles it already, the link alone comes back: see `unlink_timer`.
        private.bank.latched |= 1 << VIRTUAL_TIMER & !private.bank.active;
        self.touch_private(vcpu, 1 << VIRTUAL_TIMER);
    }

    /// The timer's line has fallen before the guest took its interrupt: there is nothing to be
    /// taken any more.
    pub fn drop_timer(&mut self, vcpu: usize) {
        let Some(private) = self.private.get_mut(vcpu) else { return };
        let bit = 1 << VIRTUAL_TIMER;
        if private.linked && private.bank.active & bit == 0 && private.bank.latched & bit != 0 {
            private.bank.latched &= !bit;
            private.linked = false;
            private.release = true;
        }
    }

    /// The virtual CPU leaves its core, after a fold: what the hardware keeps active for it there
    /// has to be deactivated if this is true. The timer's line is high still and fires again where
    /// the virtual CPU goes on.
    pub fn unlink_timer(&mut self, vcpu: usize) -> bool {
        let Some(private) = self.private.get_mut(vcpu) else { return false };
        if core::mem::take(&mut private.linked) {
            private.bank.latched &= !(1 << VIRTUAL_TIMER);
            private.release = true;
        }
        core::mem::take(&mut private.release)
    }

    /// Whether the hardware's timer interrupt of this virtual CPU is to be deactivated; forgotten
    /// by this call.
    pub fn take_release(&mut self, vcpu: usize) -> bool {
        self.private.get_mut(vcpu).is_some_and(|private| core::mem::take(&mut private.release))
    }

    /// A write of `value` to `ICC_SGI1R_EL1` (group 1) or `ICC_SGI0R_EL1` (group 0) by virtual CPU
    /// `from`.
    pub fn send(&mut self, from: usize, value: u64, group1: bool) {
        // IRM: all others, whatever the list says.
        const ALL_OTHERS: u64 = 1 << 40;
        // Affinity 3 to 1 and the range selector, which must be 0: only affinity 0.0.0.n exists, n
        // below 16.
        const ELSEWHERE: u64 = 0xff << 48 | 0xf << 44 | 0xff << 32 | 0xff << 16;
        let bit = 1u32 << (value >> 24 & 15);
        let named = match value & (ALL_OTHERS | ELSEWHERE) {
            0 => (value & 0xffff) as u32,
            elsewhere if elsewhere & ALL_OTHERS == 0 => 0,
            _ => !bit_of(from),
        };
        let mut targets = named & self.everyone();
        while targets != 0 {
            let target = targets.trailing_zeros() as usize;
            targets &= targets - 1;
            let Some(Private { bank, .. }) = self.private.get_mut(target) else { return };
            if (bank.group1 & bit != 0) == group1 {
                bank.latched |= bit;
                self.attention |= bit_of(target);
            }
        }
    }

    /// Something about private interrupts changed that their virtual CPU should see.
    fn touch_private(&mut self, vcpu: usize, bits: u32) {
        let private = &self.private[vcpu];
        if (private.bank.pending() | private.bank.active | private.listed) & bits != 0 {
            self.attention |= bit_of(vcpu);
        }
    }

    /// Something about shared interrupts changed that their virtual CPUs should see.
    fn touch_shared(&mut self, place: usize, bits: u32) {
        let shared = &self.shared[place];
        let pending = shared.bank.pending() & bits;
        for vcpu in 0..self.vcpus {
            if pending & shared.routed[vcpu] | (shared.held[vcpu] | shared.listed[vcpu]) & bits != 0
            {
                self.attention |= bit_of(vcpu);
            }
        }
    }

    fn touch_all(&mut self) {
        self.attention |= self.everyone();
    }

    /// A bit for each virtual CPU.
    #[expect(clippy::cast_possible_truncation, reason = "there are few virtual CPUs")]
    fn everyone(&self) -> u32 {
        const { assert!(MAX_VCPUS < 32) };
        !u32::MAX.wrapping_shl(self.vcpus as u32)
    }

    /// What a virtual CPU should see and nobody's list registers hold. It is one of those that
    /// there are.
    #[inline(always)]
    fn due(&self, vcpu: usize) -> Due {
        let private = &self.private[vcpu];
        let mut due = Due { ready: [0; BANKS], active: [0; BANKS] };
        due.ready[0] = private.bank.ready() & self.forwarded(&private.bank) & !private.listed;
        due.active[0] = private.bank.active & !private.listed;
        for (place, shared) in self.shared.iter().enumerate() {
            if shared.routed[vcpu] | shared.held[vcpu] == 0 {
                continue;
            }
            let ready = shared.bank.ready() & shared.routed[vcpu] & !shared.taken;
            if ready != 0 {
                due.ready[place + 1] = ready & self.forwarded(&shared.bank);
            }
            due.active[place + 1] = shared.bank.active & shared.held[vcpu] & !shared.taken;
        }
        due
    }
}

/// The bit of a virtual CPU, whose number is below [`MAX_VCPUS`].
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "there are few virtual CPUs")]
fn bit_of(vcpu: usize) -> u32 {
    1u32.wrapping_shl(vcpu as u32)
}

/// First interrupt of a bank of shared ones.
#[expect(clippy::cast_possible_truncation, reason = "there are two banks")]
fn first_of(place: usize) -> u32 {
    PRIVATE + (place as u32) * 32
}

/// Bank and bit of a shared interrupt.
fn shared_place(interrupt: u32) -> Option<(usize, u32)> {
    (PRIVATE..INTERRUPTS)
        .contains(&interrupt)
        .then(|| (((interrupt - PRIVATE) / 32) as usize, 1 << (interrupt % 32)))
}
