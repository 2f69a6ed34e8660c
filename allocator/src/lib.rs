//! A zsmalloc for kernels: a dense pool for compressed pages, whose frees can be put off through
//! per-core rings.
//!
//! Ranked principles: nothing is lost or freed twice; memory comes back within a bound; the
//! releasing path does next to nothing; the pool is dense, also when small; no heap and no
//! target-specific code.
//!
//! Vocabulary: an *object* lies in a *zspage*, up to sixteen frames in a row; zspages of one *size
//! class* hold objects of one size. A *handle* names a *cell*, which says where the object lies
//! now. A *ring* holds handles to be freed; the *drain* frees them.
//!
//! Layers, bottom up: [`platform`](Platform) (frames, cores, interrupt, clock), `memory` (frames as
//! tables), `cell` and `store` (metadata), `zspage` (descriptors and raw bytes), `class` (lists and
//! counts of a size class), `pool` (malloc, free, views), `deferred` (rings and drain), `compact`,
//! `migrate`, `stats`.
//!
//! Locks: ring token (only tried), then a class lock, then the arena's; see `pool`. An object's own
//! lock is a bit of its cell; it is held without any other by readers and by compaction's copies.
//! Unsafe code: `platform` and `memory` (frames), `zspage` (bytes), `deferred::frames` (rings), and
//! where others give frames back or ask for bytes.
//!
//! Limits admitted: one view of an object at a time; metadata frames stay until the pool is closed.
#![no_std]
#![cfg_attr(
    zs_loom,
    allow(dead_code, unused_imports, reason = "only the parts with interleavings are modelled")
)]

#[cfg(test)]
extern crate std;

pub mod bench;
mod cell;
#[cfg(not(zs_loom))]
mod class;
#[cfg(not(zs_loom))]
mod compact;
mod config;
mod deferred;
mod error;
mod handle;
#[cfg(not(zs_loom))]
mod memory;
#[cfg(not(zs_loom))]
mod migrate;
#[cfg(all(test, zs_loom))]
mod model;
mod platform;
#[cfg(not(zs_loom))]
mod pool;
#[cfg(not(zs_loom))]
mod postponed;
#[cfg(not(zs_loom))]
mod size_class;
#[cfg(not(zs_loom))]
mod stats;
#[cfg(not(zs_loom))]
mod store;
mod sync;
#[cfg(not(zs_loom))]
mod zspage;

#[cfg(not(zs_loom))]
pub use compact::CompactReport;
pub use config::{Config, Rung};
#[cfg(not(zs_loom))]
pub use deferred::drain::{DrainReport, HOLD};
pub use error::Error;
pub use handle::{HANDLE_BITS, Handle};
#[cfg(not(zs_loom))]
pub use migrate::IsolatedPage;
pub use platform::{Frame, Frames, PAGE_SIZE, PinnedCore, PinnedInSteps, Platform};
#[cfg(not(zs_loom))]
pub use pool::{MAX_CORES, ObjectView, Pool, Teardown};
#[cfg(not(zs_loom))]
pub use size_class::{CLASSES, MAX_CHAIN, chain, class_of, class_size, objects_in};
#[cfg(not(zs_loom))]
pub use stats::{ClassStats, Stats};
