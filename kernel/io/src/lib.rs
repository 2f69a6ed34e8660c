//! What goes in and out of the machine: the UART with its text, the log, reports of faults, the
//! disk behind the store, and the files that boot was handed.
//!
//! | module | what it does |
//! |---|---|
//! | [`console`] | the UART: text out by turns, keys in, the pager |
//! | [`log`] | defmt frames in a ring of each core, sent on request |
//! | [`fault`] | panics and exceptions: registers, backtrace, the end of the machine |
//! | [`last_words`] | what outlives a warm reboot |
//! | [`backing`] | the disk to which swap devices write back |
//! | [`bundle`] | the boot bundle: guests, pages, descriptions |
#![no_std]
#![cfg(target_arch = "aarch64")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "usize is 64 bits here; narrower casts take fields of registers or indexes of small tables"
)]

pub mod backing;
pub mod bundle;
pub mod console;
pub mod fault;
pub mod last_words;
pub mod log;
