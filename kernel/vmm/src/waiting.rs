//! A virtual CPU that does not run: parked until somebody kicks it, waiting for an interrupt,
//! standing still.

use core::sync::atomic::Ordering;

use bale_arch::gich;
use bale_arch::mask::Masked;
use bale_arch::vcpu;
use bale_core::vgic::Lists;

use super::vcpu::Vcpu;
use bale_rt::{dispatch, task};

impl Vcpu {
    /// Whether the machine is to stop or to stand still.
    pub(super) fn is_held(&self) -> bool {
        self.slot.stop.load(Ordering::Acquire) || self.is_still()
    }

    /// Whether the machine is paused, or has used up its limit.
    fn is_still(&self) -> bool {
        self.slot.paused.load(Ordering::Acquire) || self.slot.limited.load(Ordering::Acquire)
    }

    /// Stands still while the machine is to; whether it is to stop.
    pub(super) fn stand_still(&mut self) -> bool {
        while self.is_still() && !self.slot.stop.load(Ordering::Acquire) {
            self.park();
        }
        self.shared.attention.remind();
        self.slot.stop.load(Ordering::Acquire)
    }

    /// Parks unless attention is asked for already, until somebody kicks. What was asked for counts
    /// as seen: the caller looks at everything, and asks for itself what it does not look at.
    pub(super) fn park(&self) {
        let masked = Masked::new();
        self.shared.attention.rest(|| task::park_masked(&masked));
        self.shared.attention.take();
        drop(masked);
    }

    /// A firmware call to do as [`Self::wait`] does.
    #[inline(never)]
    pub(super) fn suspend(&mut self) {
        let masked = Masked::new();
        self.load(&masked);
        drop(self.wait(masked));
    }

    /// WFI: waits until an interrupt is there or the virtual timer fires. Its registers are loaded
    /// still; interrupts stay masked up to the next turn in the guest, here and in whom the core is
    /// given to meanwhile.
    #[inline(always)]
    pub(super) fn wait(&mut self, masked: Masked) -> Masked {
        let shared = self.shared;
        if shared.attention.take() && self.look(&masked) {
            return masked;
        }
        let timer = vcpu::virtual_timer();
        if timer.has_fired() || self.something_listed() {
            shared.attention.remind_of_aside();
            return masked;
        }
        // It may be time to put pages out.
        if self.is_over() {
            shared.attention.remind();
            return masked;
        }
        let Some(deadline) = timer.deadline() else {
            shared.attention.rest(|| task::park_masked(&masked));
            return masked;
        };
        shared.attention.rest(|| task::park_until_masked(deadline, &masked));
        // The timer's interrupt is taken here: in the guest it would be another exit.
        dispatch::serve();
        drop(masked);
        Masked::new()
    }

    /// What has changed is looked at; whether the wait is over: the machine is to stop or to stand
    /// still, something was typed, or it was waited here, since the guest's physical timer has a
    /// deadline too.
    #[cold]
    fn look(&mut self, masked: &Masked) -> bool {
        self.sync(masked);
        let more = self.is_held() || self.slot.devices.port.has_arrivals();
        if more {
            // This asked for the attention that was just taken away.
            self.shared.attention.remind();
            return true;
        }
        // SAFETY: the virtual CPU's own place, and interrupts are masked.
        let timer = unsafe { &*self.state };
        if timer.has_running_timer() {
            self.rest_beside_timer(masked);
            return true;
        }
        false
    }

    /// WFI of a guest whose physical timer runs: until an interrupt is there or either of its
    /// timers fires.
    #[inline(never)]
    fn rest_beside_timer(&self, masked: &Masked) {
        let attention = &self.shared.attention;
        let timer = vcpu::virtual_timer();
        if !timer.has_fired() && !self.something_listed() && !self.is_over() {
            let deadlines = [timer.deadline(), self.timer_wakes()];
            let earliest = deadlines.into_iter().flatten().min();
            attention.rest(|| match earliest {
                Some(deadline) => task::park_until_masked(deadline, masked),
                None => task::park_masked(masked),
            });
        }
        attention.remind();
    }

    /// Whether the list registers hold an interrupt that the guest's priority mask lets through.
    #[inline(always)]
    fn something_listed(&self) -> bool {
        // SAFETY: the virtual CPU's own place.
        let lists = unsafe { &(*self.state).lists };
        !gich::is_empty(lists.used) && is_pending(lists)
    }
}

/// Whether one of those that hold something is pending for the guest.
#[inline(never)]
fn is_pending(lists: &Lists) -> bool {
    lists.any_pending(gich::priority_mask(), gich::list)
}
