//! Interrupts to virtual CPUs.
//!
//! The books ([`bale_core::vgic`]) say what a virtual CPU should see; [`sync`] brings books and
//! list registers together, on the virtual CPU's own core while its state is loaded there. Whoever
//! changes the books of another one calls [`Slot::deliver`], which makes it look: by an interrupt
//! if it is in the guest, by a wake-up if it is parked.
//!
//! How it is made to see that is [`bale_core::attention`]'s, where interleavings are tested.

use core::ptr;
use core::sync::atomic::Ordering;

use bale_arch::gich;
use bale_arch::mask::Masked;
use bale_arch::vcpu as registers;
use bale_arch::{pmu, timer};
use bale_core::attention::Whereabouts;
use bale_core::guest_pmu::PMU_INTERRUPT;
use bale_core::guest_timer::PHYSICAL_TIMER;
use bale_core::vgic::{VIRTUAL_TIMER, Vgic};

use super::loaded::{self, State};
use super::{Shared, Slot};
use bale_rt::task::TaskId;
use bale_rt::{clock, cores, interrupts, task};

impl Shared {
    /// Makes the virtual CPU look at what has changed, which need not be in the books.
    pub(super) fn kick(&self) {
        let masked = Masked::new();
        self.reach(self.attention.ask_for_all(), &masked);
        drop(masked);
        task::switch_if_asked();
    }

    /// Wakes it or brings it out, as is needed where it is; the caller looks whether to switch.
    #[inline(always)]
    fn reach(&self, whereabouts: Whereabouts, masked: &Masked) {
        match whereabouts {
            Whereabouts::Parked => {
                // Relaxed: written before it first parks, which was acquired from.
                if let Some(task) = TaskId::from_bits(self.task.load(Ordering::Relaxed)) {
                    task::wake(task, masked);
                }
            }
            Whereabouts::Guest => {
                let core = self.core.load(Ordering::Relaxed);
                if core != cores::this_unpinned().index() {
                    interrupts::raise(core, interrupts::RESCHEDULE);
                }
            }
            Whereabouts::Underway => {}
        }
    }
}

impl Slot {
    /// Changes the books, and makes every virtual CPU look that is concerned.
    pub(super) fn deliver<R>(&self, change: impl FnOnce(&mut Vgic) -> R) -> R {
        let masked = Masked::new();
        let (result, any) = self.deliver_masked(&masked, change);
        drop(masked);
        if any {
            task::switch_if_asked();
        }
        result
    }

    /// As [`Self::deliver`], and the caller looks whether to switch if this says that any was
    /// concerned.
    #[inline(always)]
    fn deliver_masked<R>(&self, masked: &Masked, change: impl FnOnce(&mut Vgic) -> R) -> (R, bool) {
        let (result, concerned) = self.change_books(masked, change);
        if concerned != 0 {
            self.kick_outlined(concerned, masked);
        }
        (result, concerned != 0)
    }

    /// Changes the books; the virtual CPUs, a bit each, that are to be made to look.
    #[inline(always)]
    fn change_books<R>(&self, masked: &Masked, change: impl FnOnce(&mut Vgic) -> R) -> (R, u32) {
        let mut vgic = self.vgic.lock_masked(masked);
        (change(&mut vgic), vgic.take_attention())
    }

    /// Makes those look that are concerned, a bit each.
    #[inline(always)]
    fn kick_those(&self, concerned: u32, masked: &Masked) {
        let mut left = concerned;
        while left != 0 {
            let number = left.trailing_zeros() as usize;
            left &= left - 1;
            if let Some(shared) = self.vcpus.get(number) {
                shared.reach(shared.attention.ask_for_books(), masked);
            }
        }
    }

    #[inline(never)]
    fn kick_outlined(&self, concerned: u32, masked: &Masked) {
        self.kick_those(concerned, masked);
    }

    /// A write of a virtual CPU to `ICC_SGI1R_EL1`; the caller looks whether to switch.
    #[inline(always)]
    pub(super) fn send(&self, from: usize, value: u64, masked: &Masked) {
        let ((), concerned) = self.change_books(masked, |vgic| vgic.send(from, value, true));
        self.kick_those(concerned, masked);
    }

    /// Sets the line of a private interrupt of a virtual CPU of this core; the caller looks whether
    /// to switch.
    pub(super) fn set_private_line(
        &self,
        state: &State,
        interrupt: u32,
        high: bool,
        masked: &Masked,
    ) {
        self.deliver_masked(masked, |vgic| vgic.set_private_line(state.number, interrupt, high));
    }

    /// Takes the list registers of the loaded virtual CPU into the books, and leaves them empty.
    pub(super) fn fold_loaded(&self, state: &mut State, masked: &Masked) {
        self.deliver_masked(masked, |vgic| fold(state, vgic));
        gich::control(gich::ENABLE);
    }
}

/// Takes the list registers of the loaded virtual CPU into the books, and then that its timer
/// fired: the guest may have ended the last one meanwhile. Interrupts are masked; the caller writes
/// [`gich::control`] next, which forgets the ends that were counted.
#[inline(always)]
fn fold(state: &mut State, vgic: &mut Vgic) {
    let ended = gich::ended_elsewhere();
    if state.lists.used > 0 || ended > 0 {
        gich::take_lists(state.lists.held());
        vgic.fold(state.number, &mut state.lists, ended);
    }
    if core::mem::take(&mut state.fired) {
        vgic.fire_timer(state.number);
    }
}

/// Puts what the loaded virtual CPU should see next into its list registers, which were folded
/// before.
#[inline(always)]
fn fill(state: &mut State, vgic: &mut Vgic) {
    let wanted = vgic.fill(state.number, &mut state.lists);
    gich::put_lists(state.lists.held());
    let mut control = gich::ENABLE;
    if wanted.no_pending {
        control |= gich::NO_PENDING;
    }
    if wanted.not_present {
        control |= gich::NOT_PRESENT;
    }
    gich::control(control);
}

/// Brings books and list registers of the loaded virtual CPU together.
#[inline(never)]
pub(super) fn sync(state: &mut State, masked: &Masked) {
    state.slot.deliver_masked(masked, |vgic| {
        fold(state, vgic);
        if !registers::virtual_timer().has_fired() {
            vgic.drop_timer(state.number);
        }
        fill(state, vgic);
        if vgic.take_release(state.number) {
            gich::deactivate(VIRTUAL_TIMER);
        }
    });
}

/// The virtual CPU leaves this core: its list registers go into the books, its timer's interrupt is
/// the core's again. The virtual interface is off from here on.
#[inline(always)]
fn take_out(state: &mut State, vgic: &mut Vgic) {
    fold(state, vgic);
    gich::control(0);
    if vgic.unlink_timer(state.number) {
        gich::deactivate(VIRTUAL_TIMER);
    }
}

/// The virtual CPU comes to this core, whose list registers are empty. No interrupt of the
/// hardware's timer is linked to one that no core has loaded.
#[inline(always)]
fn put_in(state: &mut State, vgic: &mut Vgic) {
    state.interface.load();
    fill(state, vgic);
}

/// One that was loaded leaves this core, and nobody comes.
pub(super) fn leave(state: &mut State, masked: &Masked) {
    state.interface.save();
    state.slot.deliver_masked(masked, |vgic| take_out(state, vgic));
}

/// The one virtual CPU leaves this core, if there is one, the other one comes: [`sync`] has nothing
/// to do for it then. Whether they are of one machine.
#[inline(always)]
pub(super) fn change(old: Option<&mut State>, new: &mut State, masked: &Masked) -> bool {
    new.shared.attention.take_books();
    match old {
        // Under one lock, which is their machine's.
        Some(old) if ptr::eq(old.slot, new.slot) => {
            old.interface.save();
            new.slot.deliver_masked(masked, |vgic| {
                take_out(old, vgic);
                put_in(new, vgic);
            });
            return true;
        }
        Some(old) => leave(old, masked),
        None => gich::empty_lists(),
    }
    new.slot.deliver_masked(masked, |vgic| put_in(new, vgic));
    false
}

/// The virtual timer's interrupt: it is the loaded virtual CPU's, whose end of interrupt
/// deactivates it.
pub fn on_virtual_timer() {
    let fired = loaded::with_loaded(|state| {
        let attention = &state.shared.attention;
        // While nobody has changed the books, the list register that held the last one does for
        // this one.
        if !attention.is_asked()
            && let Some((at, value)) = state.lists.timer_again(gich::list)
        {
            gich::set_list(at, value);
        } else {
            state.fired = true;
            // One that is parked has this moment for its deadline.
            attention.remind_of_books();
        }
    });
    if fired.is_none() {
        registers::stop_virtual_timer();
        gich::deactivate(VIRTUAL_TIMER);
    }
}

/// The interrupt of the core's EL1 physical timer, which serves the loaded virtual CPU's: its line
/// rises.
pub fn on_physical_timer() {
    let masked = Masked::new();
    let loaded = loaded::with_loaded(|state| {
        if state.timer.look(clock::now()) {
            state.slot.set_private_line(state, PHYSICAL_TIMER, true, &masked);
        }
        state.follow_timer();
    });
    if loaded.is_none() {
        timer::disarm_guest();
    }
    drop(masked);
}

/// The interrupt of the core's performance monitors, which serve the loaded virtual CPU's: one of
/// its counters overflowed.
pub fn on_counter_overflow() {
    let masked = Masked::new();
    let loaded = loaded::with_loaded(|state| {
        state.look_at_pmu();
        if state.pmu.line() {
            state.slot.set_private_line(state, PMU_INTERRUPT, true, &masked);
        }
        state.follow_pmu();
    });
    if loaded.is_none() {
        pmu::stop();
    }
    drop(masked);
}

/// The maintenance interrupt: the loaded virtual CPU's list registers want another look. It may
/// have parked meanwhile, since the interrupt stays pending while it waits with interrupts masked;
/// the caller looks whether to switch.
pub fn on_maintenance() {
    gich::silence();
    let masked = Masked::new();
    loaded::with_loaded(|state| {
        let shared = state.shared;
        shared.reach(shared.attention.ask_for_books(), &masked);
    });
    drop(masked);
}
