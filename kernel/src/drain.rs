//! The drain: one task a core, woken by an interrupt, that gives back what was freed through that core's ring.
