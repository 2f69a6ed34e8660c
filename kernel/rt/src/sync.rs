//! Locks, and what tasks wait for.
//!
//! | type | for |
//! |---|---|
//! | [`Lock`] | a few instructions, also against interrupt handlers: spins, interrupts masked |
//! | [`Mutex`] | longer work of tasks alone: the owner inherits the priority of its waiters |
//! | [`Semaphore`] | counting, also from interrupt handlers |
//! | [`Events`] | flags, any or all of them, also from interrupt handlers |
//! | [`Queue`] | messages of fixed capacity |
//!
//! Lock order: an object's own lock, the priorities, a task, a run queue.
//!
//! An interrupt handler may take any of these locks, so a holder on the same core must not be
//! interrupted; and a holder that is not interrupted is not preempted, so nobody spins for longer
//! than a short critical section.

mod events;
mod mutex;
mod queue;
mod semaphore;

pub use events::Events;
pub use mutex::{Mutex, MutexGuard};
pub use queue::Queue;
pub use semaphore::Semaphore;

pub use bale_memory::lock::{Guard, Lock};

use crate::{clock, task};

/// Why a [`Mutex`] is not refused where nobody takes another in the wrong order; a kernel that
/// breaks this stops.
pub const IN_ORDER: &str = "mutexes are taken in their order, so no wait for one is endless";

/// Parks until `served` says so, or until the deadline; whether it was served.
fn wait_until(deadline: Option<u64>, served: impl Fn() -> bool) -> bool {
    loop {
        match deadline {
            None => task::park(),
            Some(deadline) => task::park_until(deadline),
        }
        if served() {
            return true;
        }
        if deadline.is_some_and(|deadline| clock::now() >= deadline) {
            return false;
        }
    }
}
