//! A virtual CPU that does not run: parked until somebody kicks it, waiting for an interrupt, standing still.

use core::sync::atomic::{Ordering, fence};

use bale_arch::gich;
use bale_arch::mask::Masked;
use bale_arch::vcpu;

use super::vcpu::Vcpu;
use crate::task;

impl Vcpu {
    /// Whether the machine is to stop or to stand still.
    pub(super) fn is_held(&self) -> bool {
        self.slot.stop.load(Ordering::Acquire) || self.slot.paused.load(Ordering::Acquire)
    }

    /// Stands still while the machine is paused; whether it is to stop.
    pub(super) fn stand_still(&mut self) -> bool {
        while self.slot.paused.load(Ordering::Acquire) && !self.slot.stop.load(Ordering::Acquire) {
            self.park(None);
        }
        self.shared().attention.store(true, Ordering::Relaxed);
        self.slot.stop.load(Ordering::Acquire)
    }

    /// Parks unless attention is asked for already, until somebody kicks or `deadline` has passed. What was asked for counts as
    /// seen: the caller looks at everything, and asks for itself what it does not look at.
    pub(super) fn park(&mut self, deadline: Option<u64>) {
        let shared = self.shared();
        shared.parked.store(true, Ordering::Relaxed);
        // Partner: the fence in `Shared::kick`.
        fence(Ordering::SeqCst);
        if !shared.attention.swap(false, Ordering::Acquire) {
            match deadline {
                Some(deadline) => task::park_until(deadline),
                None => task::park(),
            }
        }
        shared.parked.store(false, Ordering::Relaxed);
    }

    /// WFI: waits until an interrupt is there or the virtual timer fires.
    pub(super) fn wait(&mut self) {
        let deadline = {
            let masked = Masked::new();
            self.load();
            if self.shared().attention.load(Ordering::Relaxed) {
                self.shared().attention.store(false, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                self.sync();
            }
            let timer = vcpu::virtual_timer();
            let waits = !timer.fired && !self.something_listed();
            drop(masked);
            if self.is_held() {
                // This asked for the attention that was just taken away.
                self.shared().attention.store(true, Ordering::Relaxed);
                return;
            }
            if !waits {
                return;
            }
            if self.is_over() {
                // Time to put pages out.
                self.shared().attention.store(true, Ordering::Relaxed);
                return;
            }
            timer.armed.then_some(timer.deadline)
        };
        self.park(deadline);
        self.shared().attention.store(true, Ordering::Relaxed);
    }

    /// Whether the list registers hold an interrupt that the guest's priority mask lets through.
    fn something_listed(&self) -> bool {
        // SAFETY: the virtual CPU's own place.
        let lists = unsafe { &(*self.state).lists };
        lists.any_pending(gich::priority_mask(), gich::list)
    }
}
