//! Deferred free: a ring of handles for each core, emptied by a drain task that an interrupt wakes.
//!
//! [`ring`] is the queue and the wake-up, [`ages`] says how long its words have waited, [`frames`]
//! the memory under it, [`drain`] the emptying. The producer is the ring's own core with interrupts
//! masked, so a push needs no atomic read-modify-write. The consumer is whoever holds the ring's
//! token, which is only ever tried.

mod ages;
#[cfg(not(zs_loom))]
pub(crate) mod drain;
#[cfg(not(zs_loom))]
pub(crate) mod frames;
pub(crate) mod ring;
