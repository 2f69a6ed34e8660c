//! What can be wrong in a description, and what is said of it.

use core::fmt;

use super::{LARGEST_CHECKED_SWAP, LARGEST_MEMORY, LARGEST_SWAP, LONGEST_WINDOW, MOST_RESTARTS};
use crate::fair_share::SHARES_RANGE;
use crate::vgic::MAX_VCPUS;

/// What is wrong in a description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Not UTF-8.
    NotText,
    /// No `=`.
    NoValue,
    /// No such key.
    UnknownKey,
    /// The key came before.
    Twice,
    /// A value that is too long.
    TooLong,
    /// Not a number, or a unit that nobody knows.
    NotANumber,
    /// Memory that is zero, too much or no multiple of a block.
    Memory,
    /// No virtual CPU, or too many.
    Vcpus,
    /// A swap disk that is too large or no multiple of a page.
    Swap,
    /// A swap disk with checksums that is too large for them.
    CheckedSwap,
    /// A reserve of more than the machine may fill.
    Reserve,
    /// Neither `on` nor `off`.
    Switch,
    /// No console of this name.
    Console,
    /// A rate that is neither none nor one that can be kept.
    ConsoleRate,
    /// More restarts than can be counted.
    Restarts,
    /// A window that is too long.
    RestartWindow,
    /// Shares out of their range.
    Shares,
    /// A limit of another form, or out of its range.
    CpuLimit,
    /// No kind of image of this name.
    Image,
    /// Not an address.
    Address,
    /// An address for an image that has a header.
    NotRaw,
    /// Not a list of cores.
    Cores,
    /// `memory` is missing.
    NoMemory,
    /// `kernel` is missing.
    NoKernel,
}

/// An error and the line it is in, from 1; 0 if it is in none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescriptionError {
    /// Number of the line.
    pub line: usize,
    /// What is wrong.
    pub wrong: Wrong,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText => f.write_str("it is no UTF-8 text"),
            Self::NoValue => f.write_str("not a line of `key = value`"),
            Self::UnknownKey => f.write_str("no such key"),
            Self::Twice => f.write_str("the key came before"),
            Self::TooLong => f.write_str("the value is too long"),
            Self::NotANumber => f.write_str("not a number with K, M, G or nothing behind it"),
            Self::Memory => {
                write!(f, "memory must be whole 2 MiB, at most {} MiB", LARGEST_MEMORY >> 20)
            }
            Self::Vcpus => write!(f, "vcpus must be 1 to {MAX_VCPUS}"),
            Self::Swap => {
                write!(f, "swap must be whole pages of 4 KiB, at most {} GiB", LARGEST_SWAP >> 30)
            }
            Self::CheckedSwap => {
                write!(f, "with checksums swap is at most {} MiB", LARGEST_CHECKED_SWAP >> 20)
            }
            Self::Reserve => f.write_str("reserve is at most the quota, and at most the swap disk"),
            Self::Switch => f.write_str("the value is `on` or `off`"),
            Self::Console => f.write_str("the console is `pl011` or `virtio`"),
            Self::ConsoleRate => f.write_str("console_rate must be 1K to 16M, or 0 for no limit"),
            Self::Restarts => write!(f, "restarts must be 0 to {MOST_RESTARTS}"),
            Self::RestartWindow => {
                write!(
                    f,
                    "restart_window must be seconds, at most {LONGEST_WINDOW}, or 0 for no limit"
                )
            }
            Self::Shares => {
                let (least, most) = (SHARES_RANGE.start(), SHARES_RANGE.end());
                write!(f, "shares must be {least} to {most}")
            }
            Self::CpuLimit => f.write_str(
                "cpu_limit is microseconds in a period, as 25000/100000: 1000 and more in 10000 to 10000000",
            ),
            Self::Image => f.write_str("the image is `arm64`, `raw` or `firmware`"),
            Self::Address => f.write_str("not an address such as 0x40080000"),
            Self::NotRaw => f.write_str("load and entry are for `image = raw`"),
            Self::Cores => f.write_str("cores must be a list such as 1,2,4-7"),
            Self::NoMemory => f.write_str("memory is missing"),
            Self::NoKernel => f.write_str("kernel is missing"),
        }
    }
}

impl fmt::Display for DescriptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => self.wrong.fmt(f),
            line => write!(f, "line {line}: {}", self.wrong),
        }
    }
}
