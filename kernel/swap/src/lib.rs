//! Compressed swap for guests: a table of slots for each device, its pages compressed in a
//! `zsmalloc` pool that all devices share.
//!
//! Ranked principles: what a slot holds is never lost to a failure of the next operation; a guest's
//! operations on one slot never wait for each other but where two read it; the releasing path does
//! next to nothing; no heap, no unsafe code.
//!
//! Limits: pages of 4096 bytes; two reads of one slot at a time make the second wait, then fail
//! with [`SwapError::Busy`] if the first was interrupted for long: a guest's disk serves one
//! request at a time, and what works on pages behind the guest's back never reads for long.
//!
//! | module | |
//! |---|---|
//! | `device` | write and read of a page |
//! | `device::release` | slots given up, in runs |
//! | `device::recompress` | a second codec over what lies there |
//! | `device::state` | what each slot holds; idle pages |
//! | `cache` | a device in front of a backing device |
//! | `slot` | the word of a slot, and who owns the object that it names |
//! | `claim` | work on a stored page behind the guest's back |
//! | `note` | when a slot was used last |
//! | `check` | checksums of objects |
//! | `codec` | the codecs by name, and a caller's working memory |
//! | `codec::lz4` | LZ4's block format for pages: the fast and the long search, the decoder |
//! | `codec::deflate` | DEFLATE: a block of its own codes out, any blocks in |
//! | `codec::zstd` | Zstandard: a block of its own tables out, any frame of a page in |
//! | `codec::page` | our own format, made for pages of memory |
//! | `same` | pages that are one word over and over |
//! | `statistics` | counters without contention |
//!
//! # Working memory
//! A [`Scratch`] serves one caller at a time; the kernel keeps one for each that can be inside of a
//! device at once. A slot costs 12 bytes, and 8 more with checksums.
#![no_std]
#![forbid(unsafe_code)]

mod cache;
mod check;
mod claim;
mod codec;
mod device;
mod error;
mod note;
mod page;
mod same;
mod slot;
mod statistics;

pub use cache::{Backing, Blocks, Cache, CacheStatistics, IoError, Placed, Reject, Writeback};
pub use codec::{Codec, Level, Scratch};
pub use device::{
    Device, PAGE_SIZE, Pick, Recompression, Room, Setup, SlotState, Stored, Tables, Workshop,
};
pub use error::SwapError;
pub use slot::Kind;
pub use statistics::Statistics;
