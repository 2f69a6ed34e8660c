//! Zsmalloc in this kernel: the pool that all swap devices share, the drain tasks that give freed
//! objects back, and the compactor that gives back what part-filled zspages hold.
//!
//! A free is a store into this core's ring; a ring that passes its watermark raises an interrupt;
//! the interrupt wakes the ring's drain task; the task frees in batches by size class.
#![no_std]
#![cfg(target_arch = "aarch64")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "usize is 64 bits here; narrower casts take fields of registers or indexes of small tables"
)]

pub mod compactor;
pub mod drain;
pub mod homes;
pub mod pool;
