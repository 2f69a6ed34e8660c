//! What a virtual machine is to be: a text of `key = value` lines.
//!
//! | key | value | without it |
//! |---|---|---|
//! | `memory` | bytes, with `K`, `M` or `G` behind; whole 2 MiB | must be there |
//! | `vcpus` | virtual CPUs, 1 to 8 | 1 |
//! | `kernel` | name of an image beside the description | must be there |
//! | `image` | `arm64` for an Image with the header of Linux's booting.rst, `raw` for a binary without one, or `firmware` for one that starts at address 0 in memory that it can only read | `arm64` |
//! | `load` | where a raw image's first byte goes, as `0x40080000` | as QEMU's `virt`: 512 KiB into memory |
//! | `entry` | where a raw image starts | at its first byte |
//! | `semihosting` | `on` for calls by `HVC #0xf000` as by Arm's `HLT #0xf000`, or `off` | `off` |
//! | `pmu` | `off` for a machine without performance monitors, or `on`; where a core has none, there are none | `on` |
//! | `testdev` | `on` for a console that takes the status of a test as QEMU's `testdev` does, or `off` | `off` |
//! | `initrd` | name of the initial RAM disk | none |
//! | `cmdline` | kernel command line | empty |
//! | `swap` | bytes of its swap disk: whole 4 KiB, at most 1 GiB, or 682 MiB with checksums | none |
//! | `quota` | bytes that the swap disk may take in the pool at most | the pool's own limit |
//! | `reserve` | bytes of objects on the swap disk that no other machine can take the room of: at most its `quota` and its disk | 0 |
//! | `codec` | name of a codec, as `page`, `lz4`, `deflate:1` or `zstd:9` | `page` |
//! | `second` | name of the codec that recompresses them | none |
//! | `checksum` | `on` for a checksum of each stored page, or `off` | `off` |
//! | `backing` | `on` for a disk behind the store, which takes what it has no room for, or `off` | `off` |
//! | `console` | `pl011`, or `virtio` for a virtio console (Linux's `hvc0`), to which the terminal belongs then | `pl011` |
//! | `console_rate` | bytes a second that its console may print, 1K to 16M, or 0 for no limit | 16K |
//! | `restarts` | how often it may be started anew within the window, 0 to 64; then it stays ended | 10 |
//! | `restart_window` | seconds, 1 to 86400, or 0 for restarts without a limit | 300 |
//! | `shares` | its part of cores that it shares with other machines, beside theirs: 1 to 10000 | 100 |
//! | `cpu_limit` | the most that all its virtual CPUs run together, as microseconds in each period of microseconds: `25000/100000` is a quarter of a core | none |
//! | `cores` | physical cores for its virtual CPUs, as `1,2,4-7` | all but the first, in turn |
//!
//! Empty lines and lines that begin with `#` are left out. Each key may come once. The text is not
//! trusted.

mod error;

use heapless::{String, Vec};

pub use self::error::{DescriptionError, Wrong};
use crate::fair_share::{SHARES, SHARES_RANGE};
use crate::guest_image::{RAW_LOAD, Raw};
use crate::guest_text::RateLimit;
use crate::guest_tree::FIRMWARE;
use crate::vgic::MAX_VCPUS;

/// Bytes of memory that a machine has at most.
pub const LARGEST_MEMORY: u64 = 4 << 30;
/// Memory comes in blocks.
pub const BLOCK: u64 = 2 << 20;
/// Bytes of a swap disk at most.
pub const LARGEST_SWAP: u64 = 1 << 30;
/// The same where each of its pages has a checksum.
pub const LARGEST_CHECKED_SWAP: u64 = 682 << 20;
/// Bytes a second that a machine's console may print, where its description says nothing.
pub const CONSOLE_RATE: u64 = 16 << 10;
/// Restarts within [`RESTART_WINDOW`], where a machine's description says nothing.
pub const RESTARTS: u32 = 10;
/// Restarts that can be allowed within a window.
pub const MOST_RESTARTS: u32 = 64;
/// Seconds in which [`RESTARTS`] are allowed.
pub const RESTART_WINDOW: u32 = 300;
/// Seconds of a window at most.
const LONGEST_WINDOW: u32 = 86_400;
/// Letters of a description's name at most, without the `.vm`.
pub const LONGEST_NAME: usize = 24;

/// A machine's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmDescription {
    /// Bytes of memory.
    pub memory: u64,
    /// Virtual CPUs.
    pub vcpus: usize,
    /// Name of the kernel image.
    pub kernel: String<64>,
    /// How it is placed if it has no header.
    pub raw: Option<Raw>,
    /// Whether semihosting calls are answered.
    pub semihosting: bool,
    /// Whether it has performance monitors, if the cores have.
    pub pmu: bool,
    /// Whether there is a console for the status of a test.
    pub testdev: bool,
    /// Name of the initial RAM disk.
    pub initrd: Option<String<64>>,
    /// Kernel command line.
    pub command_line: String<512>,
    /// Bytes of the swap disk; 0 for none.
    pub swap: u64,
    /// Bytes that it may take in the pool.
    pub quota: Option<u64>,
    /// Bytes in the pool that others leave to it.
    pub reserve: u64,
    /// Name of the codec that packs its pages; the store knows which there are.
    pub codec: String<16>,
    /// Name of the codec that recompresses them.
    pub second: Option<String<16>>,
    /// Whether stored pages have checksums.
    pub checksum: bool,
    /// Whether the store may put pages on the machine's disk.
    pub backing: bool,
    /// The device that the terminal belongs to.
    pub console: Console,
    /// Bytes a second that it may print there; 0 for no limit.
    pub console_rate: u64,
    /// How often it may be started anew within `restart_window`.
    pub restarts: u32,
    /// Seconds; 0 for restarts without a limit.
    pub restart_window: u32,
    /// Its part of cores that it shares with other machines.
    pub shares: u32,
    /// The most that its virtual CPUs run together.
    pub cpu_limit: Option<CpuLimit>,
    /// Physical cores for the virtual CPUs, in turn; empty for any.
    pub cores: Vec<u8, 16>,
}

/// A device that a terminal can belong to. The PL011 is there in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Console {
    /// The PL011.
    Pl011,
    /// A virtio console.
    Virtio,
}

/// The most that a machine's virtual CPUs run together: so many microseconds in each period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuLimit {
    /// Microseconds of running, of all virtual CPUs together.
    pub budget_us: u32,
    /// Microseconds from one whole budget to the next.
    pub period_us: u32,
}

impl CpuLimit {
    /// Reads `BUDGET/PERIOD`.
    ///
    /// # Errors
    /// It has another form, a budget below 1 ms, a period out of 10 ms to 10 s, or more budget than
    /// [`MAX_VCPUS`] cores have in the period.
    pub fn parse(value: &str) -> Result<Self, Wrong> {
        let (budget, period) = value.split_once('/').ok_or(Wrong::CpuLimit)?;
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| Wrong::CpuLimit);
        let (budget_us, period_us) = (number(budget)?, number(period)?);
        let most = u64::from(period_us) * MAX_VCPUS as u64;
        let fits = budget_us >= 1_000 && u64::from(budget_us) <= most;
        if !fits || !(10_000..=10_000_000).contains(&period_us) {
            return Err(Wrong::CpuLimit);
        }
        Ok(Self { budget_us, period_us })
    }
}

/// Keys, each with its bit in a mask of those seen.
const KEYS: [&str; 25] = [
    "memory",
    "vcpus",
    "kernel",
    "image",
    "load",
    "entry",
    "semihosting",
    "pmu",
    "testdev",
    "initrd",
    "cmdline",
    "swap",
    "quota",
    "reserve",
    "codec",
    "second",
    "checksum",
    "backing",
    "console",
    "console_rate",
    "restarts",
    "restart_window",
    "shares",
    "cpu_limit",
    "cores",
];

impl VmDescription {
    /// Reads a description.
    ///
    /// # Errors
    /// See [`Wrong`].
    pub fn parse(text: &[u8]) -> Result<Self, DescriptionError> {
        let everywhere = |wrong| DescriptionError { line: 0, wrong };
        let text = core::str::from_utf8(text).map_err(|_| everywhere(Wrong::NotText))?;
        let mut description = Self {
            memory: 0,
            vcpus: 1,
            kernel: String::new(),
            raw: None,
            semihosting: false,
            pmu: true,
            testdev: false,
            initrd: None,
            command_line: String::new(),
            swap: 0,
            quota: None,
            reserve: 0,
            codec: copy("page").unwrap_or_default(),
            second: None,
            checksum: false,
            backing: false,
            console: Console::Pl011,
            console_rate: CONSOLE_RATE,
            restarts: RESTARTS,
            restart_window: RESTART_WINDOW,
            shares: SHARES,
            cpu_limit: None,
            cores: Vec::new(),
        };
        let mut seen = 0u64;
        let (mut raw, mut firmware, mut load, mut entry) = (false, false, None, None);
        for (index, line) in text.lines().enumerate() {
            let line_error = |wrong| DescriptionError { line: index + 1, wrong };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line.split_once('=').ok_or(line_error(Wrong::NoValue))?;
            let key = key.trim();
            let place = KEYS.iter().position(|known| *known == key);
            let bit = 1u64 << place.ok_or(line_error(Wrong::UnknownKey))?;
            if seen & bit != 0 {
                return Err(line_error(Wrong::Twice));
            }
            seen |= bit;
            let value = value.trim();
            // These go together.
            match key {
                "image" => (raw, firmware) = kind_of_image(value).map_err(line_error)?,
                "load" => load = Some(address(value).map_err(line_error)?),
                "entry" => entry = Some(address(value).map_err(line_error)?),
                _ => description.set(key, value).map_err(line_error)?,
            }
        }
        if firmware {
            if load.or(entry).is_some() {
                return Err(everywhere(Wrong::NotRaw));
            }
            description.raw = Some(Raw { load: FIRMWARE, entry: FIRMWARE });
        } else if raw {
            let load = load.unwrap_or(RAW_LOAD);
            description.raw = Some(Raw { load, entry: entry.unwrap_or(load) });
        } else if load.or(entry).is_some() {
            return Err(everywhere(Wrong::NotRaw));
        }
        if description.memory == 0 {
            return Err(everywhere(Wrong::NoMemory));
        }
        if description.kernel.is_empty() {
            return Err(everywhere(Wrong::NoKernel));
        }
        if description.checksum && description.swap > LARGEST_CHECKED_SWAP {
            return Err(everywhere(Wrong::CheckedSwap));
        }
        if description.reserve > description.quota.unwrap_or(u64::MAX).min(description.swap) {
            return Err(everywhere(Wrong::Reserve));
        }
        Ok(description)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), Wrong> {
        match key {
            "memory" => {
                self.memory = bytes(value)?;
                let good = self.memory > 0 && self.memory <= LARGEST_MEMORY;
                if !good || !self.memory.is_multiple_of(BLOCK) {
                    return Err(Wrong::Memory);
                }
            }
            "vcpus" => {
                self.vcpus = value.parse().map_err(|_| Wrong::Vcpus)?;
                if !(1..=MAX_VCPUS).contains(&self.vcpus) {
                    return Err(Wrong::Vcpus);
                }
            }
            "kernel" => self.kernel = copy(value)?,
            "semihosting" => self.semihosting = switch(value)?,
            "pmu" => self.pmu = switch(value)?,
            "testdev" => self.testdev = switch(value)?,
            "initrd" => self.initrd = Some(copy(value)?),
            "cmdline" => self.command_line = copy(value)?,
            "swap" => {
                self.swap = bytes(value)?;
                if !self.swap.is_multiple_of(4096) || self.swap > LARGEST_SWAP {
                    return Err(Wrong::Swap);
                }
            }
            "quota" => self.quota = Some(bytes(value)?),
            "reserve" => self.reserve = bytes(value)?,
            "codec" => self.codec = copy(value)?,
            "second" => self.second = Some(copy(value)?),
            "checksum" => self.checksum = switch(value)?,
            "backing" => self.backing = switch(value)?,
            "console" => {
                self.console = match value {
                    "pl011" => Console::Pl011,
                    "virtio" => Console::Virtio,
                    _ => return Err(Wrong::Console),
                }
            }
            "console_rate" => {
                self.console_rate = bytes(value)?;
                if self.console_rate != 0
                    && !(1 << 10..=RateLimit::LARGEST).contains(&self.console_rate)
                {
                    return Err(Wrong::ConsoleRate);
                }
            }
            "restarts" => {
                self.restarts = value.parse().map_err(|_| Wrong::Restarts)?;
                if self.restarts > MOST_RESTARTS {
                    return Err(Wrong::Restarts);
                }
            }
            "restart_window" => {
                self.restart_window = value.parse().map_err(|_| Wrong::RestartWindow)?;
                if self.restart_window > LONGEST_WINDOW {
                    return Err(Wrong::RestartWindow);
                }
            }
            "shares" => self.shares = shares(value)?,
            "cpu_limit" => self.cpu_limit = Some(CpuLimit::parse(value)?),
            _ => self.cores = core_list(value)?,
        }
        Ok(())
    }
}

/// Shares of a machine.
///
/// # Errors
/// It is no number, or out of [`SHARES_RANGE`].
pub fn shares(value: &str) -> Result<u32, Wrong> {
    let shares = value.parse().map_err(|_| Wrong::Shares)?;
    if SHARES_RANGE.contains(&shares) { Ok(shares) } else { Err(Wrong::Shares) }
}

fn copy<const N: usize>(value: &str) -> Result<String<N>, Wrong> {
    String::try_from(value).map_err(|_| Wrong::TooLong)
}

fn switch(value: &str) -> Result<bool, Wrong> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(Wrong::Switch),
    }
}

/// Whether an image has no header, and whether it is firmware.
fn kind_of_image(value: &str) -> Result<(bool, bool), Wrong> {
    match value {
        "raw" => Ok((true, false)),
        "firmware" => Ok((false, true)),
        "arm64" => Ok((false, false)),
        _ => Err(Wrong::Image),
    }
}

/// An address: hexadecimal behind `0x`, else decimal.
///
/// # Errors
/// It is none.
pub fn address(value: &str) -> Result<u64, Wrong> {
    let digits = value.strip_prefix("0x").map(|digits| (digits, 16));
    let (digits, radix) = digits.unwrap_or((value, 10));
    // The parser of numbers takes a sign.
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(Wrong::Address);
    }
    u64::from_str_radix(digits, radix).map_err(|_| Wrong::Address)
}

/// A number of bytes with its unit.
fn bytes(value: &str) -> Result<u64, Wrong> {
    let (digits, shift) = match value.as_bytes().last() {
        Some(b'K') => (&value[..value.len() - 1], 10),
        Some(b'M') => (&value[..value.len() - 1], 20),
        Some(b'G') => (&value[..value.len() - 1], 30),
        _ => (value, 0),
    };
    let number: u64 = digits.trim().parse().map_err(|_| Wrong::NotANumber)?;
    number.checked_mul(1 << shift).ok_or(Wrong::NotANumber)
}

/// A list of cores such as `1,2,4-7`.
///
/// # Errors
/// It is none, or names more than 16.
pub fn core_list(value: &str) -> Result<Vec<u8, 16>, Wrong> {
    let mut all = Vec::new();
    for part in value.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |word: &str| word.trim().parse::<u8>().map_err(|_| Wrong::Cores);
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(Wrong::Cores);
        }
        for core in first..=last {
            all.push(core).map_err(|_| Wrong::Cores)?;
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
