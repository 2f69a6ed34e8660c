//! What firmware does for the kernel: cores and the machine on and off (PSCI, Arm DEN 0022).

use core::sync::atomic::{AtomicBool, Ordering};

use bale_arch::mask;
use bale_core::device_tree::Conduit;
use smccc::psci::{self, AffinityState, LowestAffinityLevel, error::Error};
use smccc::{Hvc, Smc};

use crate::hooks;

/// PSCI is reached by HVC; else by SMC. Written once, before there is a second core.
static BY_HVC: AtomicBool = AtomicBool::new(false);

/// What the tables say about how PSCI is reached.
pub fn set_conduit(conduit: Conduit) {
    BY_HVC.store(conduit != Conduit::Smc, Ordering::Relaxed);
}

/// Whether PSCI is known to be reached by HVC.
pub fn by_hvc() -> bool {
    BY_HVC.load(Ordering::Relaxed)
}

/// Lets a core begin at an address, with a word.
///
/// # Errors
/// PSCI's own.
pub fn cpu_on(affinity: u64, entry: u64, context: u64) -> Result<(), Error> {
    if by_hvc() {
        psci::cpu_on::<Hvc>(affinity, entry, context)
    } else {
        psci::cpu_on::<Smc>(affinity, entry, context)
    }
}

/// Turns the calling core off; returns only if firmware refuses.
///
/// # Errors
/// PSCI's own.
pub fn cpu_off() -> Result<(), Error> {
    if by_hvc() { psci::cpu_off::<Hvc>() } else { psci::cpu_off::<Smc>() }
}

/// Whether firmware says that a core is off.
pub fn is_off(affinity: u64) -> bool {
    let state = if by_hvc() {
        psci::affinity_info::<Hvc>(affinity, LowestAffinityLevel::All)
    } else {
        psci::affinity_info::<Smc>(affinity, LowestAffinityLevel::All)
    };
    state == Ok(AffinityState::Off)
}

/// What the layers above have to finish first.
fn before_stop() {
    if let Some(hooks) = hooks::get() {
        (hooks.machine_stops)();
    }
}

/// Turns the machine off.
pub fn power_off() -> ! {
    before_stop();
    // Both return only on failure, and then there is nothing left but to halt.
    let _ = if by_hvc() { psci::system_off::<Hvc>() } else { psci::system_off::<Smc>() };
    mask::halt()
}

/// Starts the machine anew.
pub fn reset() -> ! {
    before_stop();
    let _ = if by_hvc() { psci::system_reset::<Hvc>() } else { psci::system_reset::<Smc>() };
    mask::halt()
}
