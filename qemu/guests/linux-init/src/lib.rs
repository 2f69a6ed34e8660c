//! What the first process of a Linux guest is to do, read from the kernel's command line; and how
//! it tells memory pages apart.
//!
//! | argument | work |
//! |---|---|
//! | `bale.work=boot` | power off at once |
//! | `bale.work=shell` | run the root's shell at the console |
//! | `bale.work=script` | run `/script` in that shell, and tell its status |
//! | `bale.work=swap:SIZE:SECONDS[:WORKERS]` | write and verify SIZE bytes on a swap disk for SECONDS, at least one round, in so many processes |
//! | `bale.work=munmap:REPETITIONS` | measure the end of a region that is swapped to the disk |
//! | `bale.work=peer:REPETITIONS` | measure Linux's zram |
//!
//! With `bale.seed=NUMBER` the content of memory is another one.
//!
//! SIZE has `K`, `M`, `G` or nothing behind it.

#![no_std]

pub mod content;
pub mod work;
