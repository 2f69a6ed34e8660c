//! The interrupt that tests and benchmarks raise to see interrupts work
//! ([`crate::interrupts::TEST`]).

use crate::sync::Semaphore;

/// One for each test interrupt that was taken.
pub static ARRIVED: Semaphore = Semaphore::new(0, u32::MAX);

/// The handler.
pub fn on_interrupt() {
    // The limit is far beyond what anybody raises.
    let _ = ARRIVED.give();
}
