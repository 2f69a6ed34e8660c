//! What a person sees: the shell with its commands, and the report that the machine gives of
//! itself.
//!
//! Layers above add commands of their own with [`shell::add_commands`].
#![no_std]
#![cfg(target_arch = "aarch64")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "usize is 64 bits here; narrower casts take fields of registers or indexes of small tables"
)]
#![allow(
    clippy::result_large_err,
    reason = "an error of the shell or of a test is its one line of text, off every hot path"
)]

pub mod report;
pub mod shell;
