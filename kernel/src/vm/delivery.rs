//! Interrupts to virtual CPUs.
//!
//! The books ([`bale_core::vgic`]) say what a virtual CPU should see; [`sync`] brings books and list registers together, on
//! the virtual CPU's own core while its state is loaded there. Whoever changes the books of another one calls
//! [`Slot::deliver`], which makes it look: by an interrupt if it is in the guest, by a wake-up if it is parked.
//!
//! The hand-over is a store and a look on either side (attention against `in_guest` and `parked`), with a full fence
//! between them, so that at least one side sees the other.

use core::sync::atomic::{Ordering, fence};

use bale_arch::gich;
use bale_arch::mask::Masked;
use bale_arch::vcpu as registers;
use bale_core::vgic::{VIRTUAL_TIMER, Vgic};

use super::loaded::{self, State};
use super::{Shared, Slot};
use crate::{cores, interrupts, task};

impl Shared {
    /// Makes the virtual CPU look at what has changed.
    pub(super) fn kick(&self) {
        let masked = Masked::new();
        self.kick_masked(&masked);
        drop(masked);
        task::switch_if_asked();
    }

    /// As [`Self::kick`], and the caller looks whether to switch.
    fn kick_masked(&self, masked: &Masked) {
        self.attention.store(true, Ordering::Release);
        // Partner: the fences in `Vcpu::run`, `Vcpu::park_masked` and `Shared::take_attention`.
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) {
            let task = *self.task.lock_masked(masked);
            if let Some(task) = task {
                task::wake(task, masked);
            }
        } else if self.in_guest.load(Ordering::Relaxed) {
            let core = self.core.load(Ordering::Relaxed);
            if core != cores::this_unpinned().index() {
                interrupts::raise(core, interrupts::RESCHEDULE);
            }
        }
    }

    /// Whether the virtual CPU, which asks, is to look at what has changed: at everything, from here on.
    #[inline(always)]
    pub(super) fn take_attention(&self) -> bool {
        let asked = self.attention.load(Ordering::Relaxed);
        if asked {
            self.attention.store(false, Ordering::Relaxed);
            // Partner: the fence in `Self::kick_masked`. Who asks anew has changed something before this look, or is seen.
            fence(Ordering::SeqCst);
        }
        asked
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

    /// As [`Self::deliver`], and the caller looks whether to switch if this says that any was concerned.
    #[inline(always)]
    pub(super) fn deliver_masked<R>(
        &self,
        masked: &Masked,
        change: impl FnOnce(&mut Vgic) -> R,
    ) -> (R, bool) {
        let (result, concerned) = {
            let mut vgic = self.vgic.lock_masked(masked);
            (change(&mut vgic), vgic.take_attention())
        };
        let mut left = concerned;
        while left != 0 {
            let number = left.trailing_zeros() as usize;
            left &= left - 1;
            self.vcpus[number].kick_masked(masked);
        }
        (result, concerned != 0)
    }
}

/// Takes the list registers of the loaded virtual CPU into the books, and then that its timer fired: the guest may have ended the
/// last one meanwhile. Interrupts are masked; the caller writes [`gich::control`] next, which forgets the ends that were counted.
#[inline(always)]
pub(super) fn fold(state: &mut State, vgic: &mut Vgic) {
    let ended = gich::ended_elsewhere();
    if state.lists.used > 0 || ended > 0 {
        gich::take_lists(state.lists.held());
        vgic.fold(state.number, &mut state.lists, ended);
    }
    if core::mem::take(&mut state.fired) {
        vgic.fire_timer(state.number);
    }
}

/// Brings books and list registers of the loaded virtual CPU together.
#[inline(always)]
pub(super) fn sync(state: &mut State, masked: &Masked) {
    state.slot.deliver_masked(masked, |vgic| {
        fold(state, vgic);
        if !registers::virtual_timer().has_fired() {
            vgic.drop_timer(state.number);
        }
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
        if vgic.take_release(state.number) {
            gich::deactivate(VIRTUAL_TIMER);
        }
    });
}

/// The virtual CPU leaves this core: its list registers go into the books, its timer's interrupt is the core's again.
/// The virtual interface is off from here on.
#[inline(always)]
pub(super) fn leave(state: &mut State, masked: &Masked) {
    state.slot.deliver_masked(masked, |vgic| {
        fold(state, vgic);
        gich::control(0);
        if vgic.unlink_timer(state.number) {
            gich::deactivate(VIRTUAL_TIMER);
        }
    });
    state.shared.attention.store(true, Ordering::Release);
}

/// The virtual timer's interrupt: it is the loaded virtual CPU's, whose end of interrupt deactivates it.
pub fn on_virtual_timer() {
    let fired = loaded::with_loaded(|state| {
        let attention = &state.shared.attention;
        // While nobody has changed the books, the list register that held the last one does for this one.
        if !attention.load(Ordering::Relaxed)
            && let Some((at, value)) = state.lists.timer_again(gich::list)
        {
            gich::set_list(at, value);
        } else {
            state.fired = true;
            attention.store(true, Ordering::Release);
        }
    });
    if fired.is_none() {
        registers::stop_virtual_timer();
        gich::deactivate(VIRTUAL_TIMER);
    }
}

/// The maintenance interrupt: the loaded virtual CPU's list registers want another look.
pub fn on_maintenance() {
    gich::silence();
    loaded::with_loaded(|state| {
        state.shared.attention.store(true, Ordering::Release);
    });
}
