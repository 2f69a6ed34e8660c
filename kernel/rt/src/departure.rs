//! The last steps of a core that leaves: its idle task turns timer, interrupt interface and core
//! off. [`crate::hotplug`] asks for it and says in which order a core leaves.

use core::sync::atomic::Ordering;

use bale_arch::timer;

use crate::cores::Core;
use crate::{interrupts, power};

/// From the idle task of a core with nothing to do, interrupts masked: turns it off if it is to
/// leave.
#[inline]
pub fn leave_if_asked(core: &Core) {
    // Relaxed: `leave` looks again.
    if core.leaving.load(Ordering::Relaxed) {
        leave(core);
    }
}

#[cold]
fn leave(core: &Core) {
    // AcqRel: pairs with the store and the swap in `hotplug::take_offline`.
    if !core.leaving.swap(false, Ordering::AcqRel) {
        return;
    }
    timer::disarm();
    interrupts::close_core();
    // It returns only if firmware refuses: the core stays, and whoever asked sees that.
    let _ = power::cpu_off();
    interrupts::open_core();
    core.set_online(true);
}
