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
use bale_arch::vcpu as registers;
use bale_core::vgic::{VIRTUAL_TIMER, Vgic};

use super::loaded::{self, State};
use super::{SLOTS, Shared, Slot};
use crate::{cores, interrupts, task};

impl Shared {
    /// Makes the virtual CPU look at what has changed.
    pub(super) fn kick(&self) {
        self.attention.store(true, Ordering::Release);
        // Partner: the fences in `Vcpu::run` and `Vcpu::wait`.
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) {
            let task = *self.task.lock();
            if let Some(task) = task {
                task::unpark(task);
            }
        } else if self.in_guest.load(Ordering::Relaxed) {
            let core = self.core.load(Ordering::Relaxed);
            if core != cores::this_unpinned().index() {
                interrupts::raise(core, interrupts::RESCHEDULE);
            }
        }
    }
}

impl Slot {
    /// Changes the books, and makes every virtual CPU look that is concerned.
    pub(super) fn deliver<R>(&self, change: impl FnOnce(&mut Vgic) -> R) -> R {
        let (result, mut concerned) = {
            let mut vgic = self.vgic.lock();
            (change(&mut vgic), vgic.take_attention())
        };
        while concerned != 0 {
            let number = concerned.trailing_zeros() as usize;
            concerned &= concerned - 1;
            self.vcpus[number].kick();
        }
        result
    }
}

/// Takes the list registers of the loaded virtual CPU into the books, and then that its timer fired: the guest may have ended the
/// last one meanwhile. Interrupts are masked.
pub(super) fn fold(state: &mut State, vgic: &mut Vgic) {
    for index in 0..state.lists.used {
        state.lists.values[index] = gich::list(index);
        gich::set_list(index, 0);
    }
    let ended = gich::ended_elsewhere();
    vgic.fold(state.number, &mut state.lists, ended);
    if core::mem::take(&mut state.fired) {
        vgic.fire_timer(state.number);
    }
    gich::control(gich::ENABLE);
}

/// Brings books and list registers of the loaded virtual CPU together. Interrupts are masked.
pub(super) fn sync(state: &mut State) {
    SLOTS[state.slot].deliver(|vgic| {
        fold(state, vgic);
        if !registers::virtual_timer().fired {
            vgic.drop_timer(state.number);
        }
        let wanted = vgic.fill(state.number, &mut state.lists);
        for index in 0..state.lists.used {
            gich::set_list(index, state.lists.values[index]);
        }
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
/// Interrupts are masked.
pub(super) fn leave(state: &mut State) {
    SLOTS[state.slot].deliver(|vgic| {
        fold(state, vgic);
        if vgic.unlink_timer(state.number) {
            gich::deactivate(VIRTUAL_TIMER);
        }
    });
    SLOTS[state.slot].vcpus[state.number].attention.store(true, Ordering::Release);
}

/// The virtual timer's interrupt: it is the loaded virtual CPU's, whose end of interrupt deactivates it.
pub fn on_virtual_timer() {
    let fired = loaded::with_loaded(|state| {
        let attention = &SLOTS[state.slot].vcpus[state.number].attention;
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
        SLOTS[state.slot].vcpus[state.number].attention.store(true, Ordering::Release);
    });
}
