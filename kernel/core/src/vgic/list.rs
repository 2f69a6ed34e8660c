//! List registers (`ICH_LR<n>_EL2`): what goes in, and what became of it.
//!
//! Where not everything fits, one register is kept for the most urgent pending interrupt; active
//! ones come next, since the guest ends those; other pending ones follow by priority. A maintenance
//! interrupt asks for more once nothing pending is left in them, or the guest ended an active one
//! that had no register (which the hardware counts).

use super::urgent::count;
use super::{
    BANKS, MAX_VCPUS, PRIVATE, Private, SHARED_BANKS, Shared, VIRTUAL_TIMER, Vgic, first_of,
    shared_place,
};

/// List registers that the architecture allows.
const LARGEST: usize = 16;

/// The guest's number of the interrupt.
const NUMBER: u64 = 0xffff_ffff;
const STATE_PENDING: u64 = 1 << 62;
const STATE_ACTIVE: u64 = 1 << 63;
const HARDWARE: u64 = 1 << 61;
const GROUP1: u64 = 1 << 60;
const PRIORITY_SHIFT: u32 = 48;
const PHYSICAL_SHIFT: u32 = 32;
/// A maintenance interrupt when the guest ends it; only without [`HARDWARE`].
const NOTIFY_END: u64 = 1 << 41;

/// A virtual CPU's list registers as they should be or were found.
#[derive(Debug, Clone)]
pub struct Lists {
    /// Values; those at `used` and beyond are 0.
    pub values: [u64; LARGEST],
    /// How many of them hold something.
    pub used: usize,
    /// How many the hardware has, at most 16.
    pub count: usize,
}

impl Lists {
    /// Values of those that hold something.
    pub fn held(&mut self) -> &mut [u64] {
        &mut self.values[..self.used.min(LARGEST)]
    }

    /// Whether something pending in them has a priority that this mask lets through; `now` reads a
    /// register.
    pub fn any_pending(&self, mask: u8, now: impl Fn(usize) -> u64) -> bool {
        let passes = |value: u64| value >> PRIORITY_SHIFT & 0xff < u64::from(mask);
        (0..self.used).map(now).any(|value| value & STATE_PENDING != 0 && passes(value))
    }

    /// The virtual timer fired again: register and value that make its interrupt pending once more
    /// where the guest has ended the last one, so that the books need not be asked. `now` reads a
    /// register.
    pub fn timer_again(&self, now: impl Fn(usize) -> u64) -> Option<(usize, u64)> {
        let held = self.values.get(..self.used)?.iter();
        let (at, value) =
            held.enumerate().find(|(_, value)| **value & NUMBER == u64::from(VIRTUAL_TIMER))?;
        let pending = value & (STATE_PENDING | STATE_ACTIVE | HARDWARE) == STATE_PENDING | HARDWARE;
        (pending && now(at) & (STATE_PENDING | STATE_ACTIVE) == 0).then_some((at, *value))
    }

    /// All empty.
    pub const fn new(count: usize) -> Self {
        Self { values: [0; LARGEST], used: 0, count: if count < LARGEST { count } else { LARGEST } }
    }
}

/// Maintenance interrupts that are wanted with a set of list registers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// When nothing pending is left in them (`ICH_HCR_EL2.NPIE`).
    pub no_pending: bool,
    /// When the guest ends an interrupt that is in none of them (`ICH_HCR_EL2.LRENPIE`).
    pub not_present: bool,
}

/// Whether more bits than this are set: there is seldom more than one, so they are not counted.
fn more_than(mut limit: usize, words: [u32; BANKS]) -> bool {
    for mut bits in words {
        while bits != 0 {
            if limit == 0 {
                return true;
            }
            limit -= 1;
            bits &= bits - 1;
        }
    }
    false
}

impl Vgic {
    /// Takes into the books what became of the interrupts in a virtual CPU's list registers, and
    /// empties these. `ended` is `ICH_HCR_EL2.EOIcount`: ends of interrupts that were in none.
    #[inline(always)]
    pub fn fold(&mut self, vcpu: usize, lists: &mut Lists, ended: u32) {
        if vcpu >= MAX_VCPUS {
            return;
        }
        for value in lists.held() {
            self.fold_one(vcpu, core::mem::take(value));
        }
        lists.used = 0;
        if ended != 0 {
            self.end_most_urgent(vcpu, ended);
        }
    }

    /// The guest ended so many interrupts that were in no list register: the most urgent ones, as
    /// far as the books know. The guest chooses how many, so all of them are found at once.
    #[cold]
    fn end_most_urgent(&mut self, vcpu: usize, ended: u32) {
        let active = self.due(vcpu).active;
        let [private, shared @ ..] = self.most_urgent(vcpu, &active, ended as usize);
        let own = &mut self.private[vcpu];
        own.bank.active &= !private;
        // The hardware's own interrupt was not ended with it.
        if private & 1 << VIRTUAL_TIMER != 0 && core::mem::take(&mut own.linked) {
            own.release = true;
        }
        for (bank, bits) in self.shared.iter_mut().zip(shared) {
            bank.bank.active &= !bits;
            bank.held[vcpu] &= !bits;
        }
    }

    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the lower half of a list register is the number"
    )]
    fn fold_one(&mut self, vcpu: usize, value: u64) {
        let interrupt = value as u32;
        let active = value & STATE_ACTIVE != 0;
        if interrupt < PRIVATE {
            // As for shared ones: a level's pending state is its line, looked at anew. One of the
            // bits is shifted onto the other, which takes an instruction less than a mask of both.
            let pending =
                value & !(value << (STATE_PENDING / NOTIFY_END).trailing_zeros()) & STATE_PENDING
                    != 0;
            let Private { bank, listed, linked, .. } = &mut self.private[vcpu];
            let bit = 1 << interrupt;
            *listed &= !bit;
            bank.latched = if pending { bank.latched | bit } else { bank.latched };
            bank.active = if active { bank.active | bit } else { bank.active & !bit };
            if value & HARDWARE != 0 && !pending && !active {
                *linked = false;
            }
        } else if let Some((place, bit)) = shared_place(interrupt) {
            self.fold_shared(vcpu, place, bit, value);
        }
    }

    /// The same of a shared interrupt.
    #[inline(never)]
    fn fold_shared(&mut self, vcpu: usize, place: usize, bit: u32, value: u64) {
        let Shared { bank, held, listed, taken, .. } = &mut self.shared[place];
        listed[vcpu] &= !bit;
        *taken &= !bit;
        // A level's pending state is its line, looked at anew; what ISPENDR set stays until it is
        // taken.
        if value & STATE_PENDING != 0 && (bank.edge & bit != 0 || value & NOTIFY_END == 0) {
            bank.latched |= bit;
        }
        if value & STATE_ACTIVE != 0 {
            bank.active |= bit;
            held[vcpu] |= bit;
        } else {
            bank.active &= !bit;
            held[vcpu] &= !bit;
        }
        // It was routed to another virtual CPU meanwhile.
        if bank.ready() & bit != 0 {
            self.touch_shared(place, bit);
        }
    }

    /// Puts what a virtual CPU should see next into its list registers, which were folded before.
    #[inline(always)]
    pub fn fill(&mut self, vcpu: usize, lists: &mut Lists) -> Wanted {
        if vcpu >= MAX_VCPUS || lists.count == 0 {
            return Wanted::default();
        }
        self.attention &= !(1 << vcpu);
        let [private, shared @ ..] = self.due(vcpu).both();
        let any_shared = shared.iter().fold(0, |any, bits| any | bits);
        if any_shared | private & private.wrapping_sub(1) == 0 {
            // Most often: a private one, or none.
            if private != 0 {
                self.put(vcpu, lists, private.trailing_zeros());
            }
            return Wanted::default();
        }
        self.fill_with_several(vcpu, lists)
    }

    /// There is more than one, or a shared one.
    #[inline(never)]
    fn fill_with_several(&mut self, vcpu: usize, lists: &mut Lists) -> Wanted {
        let both = self.due(vcpu).both();
        if more_than(lists.count, both) {
            return self.fill_with_most_urgent(vcpu, lists);
        }
        self.put_all(vcpu, lists, 0, both[0]);
        for place in 0..SHARED_BANKS {
            if both[place + 1] != 0 {
                self.put_all_shared(vcpu, lists, place, both[place + 1]);
            }
        }
        Wanted::default()
    }

    /// There is more than fits.
    #[cold]
    fn fill_with_most_urgent(&mut self, vcpu: usize, lists: &mut Lists) -> Wanted {
        let due = self.due(vcpu);
        let (ready, active) = (count(&due.ready), count(&due.active));
        let actives = active.min(lists.count - usize::from(ready > 0));
        let readies = ready.min(lists.count - actives);
        for (bits, room) in [(&due.active, actives), (&due.ready, readies)] {
            let [private, shared @ ..] = self.most_urgent(vcpu, bits, room);
            self.put_all(vcpu, lists, 0, private);
            for (place, bits) in shared.into_iter().enumerate() {
                self.put_all_shared(vcpu, lists, place, bits);
            }
        }
        Wanted { no_pending: ready > readies, not_present: active > actives }
    }

    /// Puts all of these interrupts of a bank into the next list registers.
    #[inline(always)]
    fn put_all(&mut self, vcpu: usize, lists: &mut Lists, first: u32, mut bits: u32) {
        while bits != 0 {
            self.put(vcpu, lists, first + bits.trailing_zeros());
            bits &= bits - 1;
        }
    }

    #[inline(never)]
    fn put_all_shared(&mut self, vcpu: usize, lists: &mut Lists, place: usize, bits: u32) {
        self.put_all(vcpu, lists, first_of(place), bits);
    }

    /// Puts an interrupt into the next list register.
    #[inline(always)]
    fn put(&mut self, vcpu: usize, lists: &mut Lists, interrupt: u32) {
        if let Some(place) = lists.values.get_mut(lists.used) {
            *place = self.list(vcpu, interrupt);
            lists.used += 1;
        }
    }

    /// The list register of an interrupt, which is noted as listed.
    #[inline(always)]
    fn list(&mut self, vcpu: usize, interrupt: u32) -> u64 {
        let bit = 1u32 << (interrupt % 32);
        let mut linked = false;
        let bank = if interrupt < PRIVATE {
            let private = &mut self.private[vcpu];
            private.listed |= bit;
            linked = interrupt == VIRTUAL_TIMER && private.linked;
            &mut private.bank
        } else {
            let shared = &mut self.shared[((interrupt - PRIVATE) / 32) as usize];
            shared.listed[vcpu] |= bit;
            shared.taken |= bit;
            &mut shared.bank
        };
        let active = bank.active & bit != 0;
        let level = bank.edge & bit == 0;
        let priority = bank.priority[(interrupt % 32) as usize];
        let mut value = u64::from(interrupt) | u64::from(priority) << PRIORITY_SHIFT;
        if bank.group1 & bit != 0 {
            value |= GROUP1;
        }
        if linked {
            value |= HARDWARE | u64::from(interrupt) << PHYSICAL_SHIFT;
        } else if level && bank.line & bit != 0 {
            value |= NOTIFY_END;
        }
        if active {
            value |= STATE_ACTIVE;
            // An edge that came meanwhile is taken after the end; the hardware allows no such thing
            // for linked ones.
            if !level && bank.latched & bit != 0 && bank.enabled & bit != 0 && !linked {
                value |= STATE_PENDING;
                bank.latched &= !bit;
            }
        } else {
            value |= STATE_PENDING;
            bank.latched &= !bit;
        }
        value
    }
}
