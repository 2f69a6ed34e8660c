//! Waiting for each other: who waits, who is woken first, and whose priority rises meanwhile.
//!
//! Plain values over task indexes below [`TASKS`]; who locks them, blocks and wakes is the kernel's
//! business. A waiter that is served is taken out of the set by the server, under the object's
//! lock: so a task that wakes up and finds itself in the set no more has been served, and one that
//! gives up takes itself out, under the same lock. There is no third state in which a wake-up could
//! be lost or come twice.
//!
//! | module | what it decides |
//! |---|---|
//! | `set` | which tasks wait |
//! | `priorities` | base and inherited priorities, order of waiters, cycles |
//! | `semaphore`, `mutex`, `events` | the objects' states |

mod events;
mod mutex;
mod priorities;
mod semaphore;
mod set;

pub use events::{Events, Wanted};
pub use mutex::Mutex;
pub use priorities::{LONGEST_CHAIN, LockError, Priorities};
pub use semaphore::{Overflow, Semaphore};
pub use set::{TASKS, WaitSet};

#[cfg(test)]
mod tests;
