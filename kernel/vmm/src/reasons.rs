//! Why a machine ended, was not started, or is not held to less memory.

use core::fmt;

use bale_core::exception::{Fault, Syndrome};
use bale_core::guest_image::Granule;
use bale_core::guest_layout::LayoutError;
use bale_core::vm_description::{DescriptionError, LONGEST_NAME};

use super::MAX_VMS;
use super::memory::RESERVE;

/// Why a machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It called EXIT with this status.
    Exited(u64),
    /// It turned itself off through PSCI.
    PoweredOff,
    /// It asked for a restart through PSCI, and has no description or could not be started anew.
    Reset,
    /// It asked for one more restart than its description allows: how many it had, within how many
    /// seconds.
    ResetLoop(u32, u32),
    /// `vm kill` or `vm stop`.
    Killed,
    /// It touched what is not its own: address, and whether it wrote.
    StrayAccess(u64, bool),
    /// It wrote to memory it may only read.
    ReadOnly(u64),
    /// It fetched an instruction from what is not its own.
    StrayFetch(u64),
    /// It did something that Bale offers to no guest.
    Unsupported(Syndrome),
    /// The hardware reported an error while it ran.
    Hardware,
    /// What was put out of its memory at this address cannot be read back.
    MemoryLost(u64),
    /// There was no memory for its swap device.
    NoWorkspace,
    /// An exception came, and its handler would be at this address, where the guest has nothing.
    NoVectors(u64),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exited with status {status}"),
            Self::PoweredOff => f.write_str("powered off"),
            Self::Reset => f.write_str("asked for a restart"),
            Self::ResetLoop(restarts, seconds) => {
                write!(
                    f,
                    "stopped: asked for a restart after {restarts} within {seconds} s (restarts, restart_window)"
                )
            }
            Self::Killed => f.write_str("killed"),
            Self::StrayAccess(ipa, true) => {
                write!(f, "stopped: wrote to {ipa:#x}, which it has not")
            }
            Self::StrayAccess(ipa, false) => {
                write!(f, "stopped: read from {ipa:#x}, which it has not")
            }
            Self::ReadOnly(ipa) => write!(f, "stopped: wrote to {ipa:#x}, which it may only read"),
            Self::StrayFetch(ipa) => write!(f, "stopped: ran into {ipa:#x}, which it has not"),
            Self::Unsupported(syndrome) => write!(f, "stopped: {syndrome}"),
            Self::Hardware => f.write_str("stopped: SError"),
            Self::MemoryLost(ipa) => write!(f, "stopped: its page at {ipa:#x} cannot be read back"),
            Self::NoVectors(ipa) => {
                write!(
                    f,
                    "stopped: no handler for an exception at {ipa:#x}, where it has no memory"
                )
            }
            Self::NoWorkspace => f.write_str("not started: no memory for its swap device"),
        }
    }
}

impl Reason {
    pub(super) fn from_fault(fault: Fault, ipa: u64, write: bool) -> Self {
        match fault {
            Fault::Permission(_) if write => Self::ReadOnly(ipa),
            _ => Self::StrayAccess(ipa, write),
        }
    }
}

/// Why no machine was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartError {
    /// The bundle holds no such guest.
    NoSuchGuest,
    /// Its name is longer than a machine's can be.
    NameTooLong,
    /// The bundle holds no pages.
    NoPages,
    /// Kernel and initial RAM disk cannot be laid out in its memory.
    Layout(LayoutError),
    /// Its kernel uses pages of a size that not every core has.
    NoGranule(Granule),
    /// The description is wrong.
    Description(DescriptionError),
    /// The bundle holds no file of the name that the description gives for the kernel.
    NoKernel,
    /// The same for the initial RAM disk.
    NoInitrd,
    /// No task or stack is free for a virtual CPU.
    NoTask,
    /// All [`MAX_VMS`] are in use.
    TooMany,
    /// There is no such core.
    NoSuchCore,
    /// Not enough free memory.
    OutOfMemory,
    /// It would leave less than the reserve free.
    Reserve,
    /// Less memory is free than its reserve, what is kept for others' reserves, and what the start
    /// of a machine leaves.
    NoReserve,
    /// There is no codec of the name that the description gives.
    NoCodec,
    /// The swap disk has more slots than its table has room for.
    SwapTooLarge,
    /// It wants a disk behind its swap device, and there is none.
    NoDisk,
    /// The disk has no room for its swap device.
    DiskFull,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchGuest => {
                f.write_str("the bundle holds no such guest (start with `cargo bale run`)")
            }
            Self::NameTooLong => {
                write!(
                    f,
                    "a machine's name has {LONGEST_NAME} letters at most; rename its description"
                )
            }
            Self::NoPages => f.write_str("the bundle holds no pages (start with `cargo bale run`)"),
            Self::Layout(error) => write!(f, "{error}"),
            Self::NoGranule(granule) => {
                write!(f, "its kernel uses pages of {granule}, which these cores have not")
            }
            Self::Description(error) => write!(f, "its description: {error}"),
            Self::NoKernel => f.write_str("the bundle has no file of the kernel's name"),
            Self::NoInitrd => f.write_str("the bundle has no file of the initrd's name"),
            Self::NoTask => f.write_str("no task is free for its virtual CPUs; `tasks` shows them"),
            Self::TooMany => write!(f, "{MAX_VMS} machines exist already; `vm list` shows them"),
            Self::NoSuchCore => f.write_str("there is no such core online; `cores` shows them"),
            Self::OutOfMemory => f.write_str("not enough free memory; `mem` shows it"),
            Self::Reserve => {
                write!(f, "less than {} MiB of memory would be left; `mem` shows it", RESERVE >> 20)
            }
            Self::NoReserve => {
                f.write_str("not enough free memory for its reserve; `mem` shows what there is")
            }
            Self::NoCodec => {
                f.write_str("no such codec: lz4, page, token; lz4hc, deflate, zstd:1-9")
            }
            Self::NoDisk => {
                f.write_str("`backing = on` needs a disk (cargo bale run --backing SIZE)")
            }
            Self::DiskFull => {
                f.write_str("the disk behind the store has no room for its swap disk")
            }
            Self::SwapTooLarge => f.write_str("the tables of its swap disk are too large"),
        }
    }
}

/// Why a machine is not held to what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldError {
    /// No machine runs there.
    NotRunning,
    /// It is a small guest's.
    Small,
    /// Less than [`LEAST_HELD`] or more than the machine has, which is given.
    OutOfRange(u64),
    /// There is no memory for the store's table, or it is too large for one.
    NoStore,
}

/// Bytes that a machine cannot be held below: what its virtual CPUs need at the same time fits in
/// many times over.
pub const LEAST_HELD: u64 = 4 << 20;

impl fmt::Display for HoldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning => f.write_str("it does not run"),
            Self::Small => f.write_str("only a machine with a description can be held"),
            Self::OutOfRange(most) => {
                write!(f, "it can be held to {} to {} MiB", LEAST_HELD >> 20, most >> 20)
            }
            Self::NoStore => {
                f.write_str("no memory for the table of its pages, or more than 1 GiB")
            }
        }
    }
}
