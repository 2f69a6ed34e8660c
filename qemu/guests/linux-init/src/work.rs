//! The work that the command line asks for.

use core::fmt;
use core::str::FromStr;

/// Name of the argument.
const ARGUMENT: &str = "bale.work=";
/// Bytes of a page.
pub const PAGE: usize = 4096;

/// Processes that swap at once, at most.
pub const MOST_WORKERS: usize = 8;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing: the boot itself is what is looked at.
    Boot,
    /// Restart the machine.
    Reboot,
    /// Debug and profile a process.
    Debug,
    /// Run a shell at the console.
    Shell,
    /// Run a script that the initramfs holds.
    Script,
    /// Say back a line from the console.
    Echo,
    /// Swap.
    Swap {
        /// Pages of all regions.
        pages: usize,
        /// How long, in seconds of the guest's clock.
        seconds: u64,
        /// Processes, each with a region of its own.
        workers: usize,
    },
    /// Fill memory and verify it, without a swap disk.
    Fill {
        /// Pages of the region.
        pages: usize,
        /// How long, in seconds of the guest's clock.
        seconds: u64,
    },
    /// Fill memory and verify it, in a process that may be killed for it.
    Outgrow {
        /// Pages of the region.
        pages: usize,
        /// With the swap disk.
        swap: bool,
    },
    /// Fill memory that there is, have all of it put out to the swap disk, and verify it.
    Pageout {
        /// Pages of the region.
        pages: usize,
    },
    /// Measure the end of a region that is swapped to the disk.
    Munmap {
        /// How often.
        repetitions: u32,
    },
    /// Measure zram.
    Peer {
        /// How often each page is written, read and discarded.
        repetitions: u32,
    },
}

/// Why a command line cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkError {
    /// There is no `bale.work=`.
    Missing,
    /// No such work, or a part too few or too many.
    Unknown,
    /// Too many processes.
    Workers,
    /// Not a number, or one that is too large.
    NotANumber,
    /// Zero pages, or zero repetitions.
    Zero,
}

impl fmt::Display for WorkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "the command line has no bale.work=",
            Self::Unknown => {
                "bale.work is none of boot, reboot, debug, echo, shell, script, swap:SIZE:SECONDS[:WORKERS], fill:SIZE:SECONDS, outgrow:SIZE[:swap], pageout:SIZE, munmap:REPETITIONS, peer:REPETITIONS"
            }
            Self::Workers => "bale.work has more than 8 workers",
            Self::NotANumber => "bale.work has something else where a number belongs",
            Self::Zero => "bale.work asks for nothing to be done",
        })
    }
}

impl Work {
    /// Reads a kernel command line; the last `bale.work=` counts.
    ///
    /// # Errors
    /// See [`WorkError`].
    pub fn from_command_line(line: &str) -> Result<Self, WorkError> {
        let words = line.split_ascii_whitespace();
        let value = words
            .filter_map(|word| word.strip_prefix(ARGUMENT))
            .next_back()
            .ok_or(WorkError::Missing)?;
        let mut parts = value.split(':');
        let work = match [(); 5].map(|()| parts.next()) {
            [Some("boot"), None, ..] => Self::Boot,
            [Some("reboot"), None, ..] => Self::Reboot,
            [Some("debug"), None, ..] => Self::Debug,
            [Some("echo"), None, ..] => Self::Echo,
            [Some("shell"), None, ..] => Self::Shell,
            [Some("script"), None, ..] => Self::Script,
            [Some("swap"), Some(size), Some(seconds), workers, None] => Self::Swap {
                pages: pages(size)?,
                seconds: number(seconds)?,
                workers: workers.map_or(Ok(1), number)?,
            },
            [Some("fill"), Some(size), Some(seconds), None, _] => {
                Self::Fill { pages: pages(size)?, seconds: number(seconds)? }
            }
            [Some("outgrow"), Some(size), None, ..] => {
                Self::Outgrow { pages: pages(size)?, swap: false }
            }
            [Some("outgrow"), Some(size), Some("swap"), None, _] => {
                Self::Outgrow { pages: pages(size)?, swap: true }
            }
            [Some("pageout"), Some(size), None, ..] => Self::Pageout { pages: pages(size)? },
            [Some("munmap"), Some(count), None, ..] => Self::Munmap { repetitions: number(count)? },
            [Some("peer"), Some(count), None, ..] => Self::Peer { repetitions: number(count)? },
            _ => return Err(WorkError::Unknown),
        };
        match work {
            Self::Swap { pages, workers, .. } if pages < workers => Err(WorkError::Zero),
            Self::Swap { workers: 0, .. }
            | Self::Fill { pages: 0, .. }
            | Self::Outgrow { pages: 0, .. }
            | Self::Pageout { pages: 0 }
            | Self::Munmap { repetitions: 0 }
            | Self::Peer { repetitions: 0 } => Err(WorkError::Zero),
            Self::Swap { workers, .. } if workers > MOST_WORKERS => Err(WorkError::Workers),
            work => Ok(work),
        }
    }
}

/// The number of the first round, of `bale.seed=`: content differs from guest to guest by it.
///
/// # Errors
/// It is no number.
pub fn seed(line: &str) -> Result<u64, WorkError> {
    let value = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("bale.seed="));
    value.map_or(Ok(0), number)
}

fn number<T: FromStr>(text: &str) -> Result<T, WorkError> {
    text.parse().map_err(|_| WorkError::NotANumber)
}

fn pages(size: &str) -> Result<usize, WorkError> {
    Ok(usize::try_from(bytes(size)?).map_err(|_| WorkError::NotANumber)? / PAGE)
}

fn bytes(text: &str) -> Result<u64, WorkError> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'M') => (&text[..text.len() - 1], 1 << 20),
        Some(b'G') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    number::<u64>(digits)?.checked_mul(unit).ok_or(WorkError::NotANumber)
}

#[cfg(test)]
mod tests {
    use super::{Work, WorkError, seed};

    #[test]
    fn each_work_is_read() {
        let read = Work::from_command_line;
        assert_eq!(read("console=ttyAMA0 bale.work=boot\n"), Ok(Work::Boot));
        assert_eq!(read("console=hvc0 bale.work=echo"), Ok(Work::Echo));
        assert_eq!(read("bale.work=reboot"), Ok(Work::Reboot));
        assert_eq!(read("bale.work=shell"), Ok(Work::Shell));
        assert_eq!(read("bale.work=script"), Ok(Work::Script));
        assert_eq!(read("bale.work=outgrow:8K"), Ok(Work::Outgrow { pages: 2, swap: false }));
        assert_eq!(read("bale.work=pageout:8K"), Ok(Work::Pageout { pages: 2 }));
        assert_eq!(read("bale.work=outgrow:8K:swap"), Ok(Work::Outgrow { pages: 2, swap: true }));
        assert_eq!(
            read("bale.work=swap:256M:600"),
            Ok(Work::Swap { pages: 65536, seconds: 600, workers: 1 })
        );
        assert_eq!(
            read("bale.work=swap:64K:0:8"),
            Ok(Work::Swap { pages: 16, seconds: 0, workers: 8 })
        );
        assert_eq!(read("bale.work=fill:8K:0"), Ok(Work::Fill { pages: 2, seconds: 0 }));
        assert_eq!(
            read("bale.work=boot bale.work=peer:5 quiet"),
            Ok(Work::Peer { repetitions: 5 })
        );
        assert_eq!(read("bale.work=munmap:3"), Ok(Work::Munmap { repetitions: 3 }));
    }

    #[test]
    fn what_cannot_be_followed_is_an_error() {
        for (line, why) in [
            ("", WorkError::Missing),
            ("xbale.work=boot", WorkError::Missing),
            ("bale.work=", WorkError::Unknown),
            ("bale.work=boot:1", WorkError::Unknown),
            ("bale.work=echo:1", WorkError::Unknown),
            ("bale.work=reboot:1", WorkError::Unknown),
            ("bale.work=shell:1", WorkError::Unknown),
            ("bale.work=script:x", WorkError::Unknown),
            ("bale.work=outgrow", WorkError::Unknown),
            ("bale.work=outgrow:8K:disk", WorkError::Unknown),
            ("bale.work=outgrow:8K:swap:1", WorkError::Unknown),
            ("bale.work=outgrow:0", WorkError::Zero),
            ("bale.work=pageout:8K:1", WorkError::Unknown),
            ("bale.work=pageout:0", WorkError::Zero),
            ("bale.work=swap:1M", WorkError::Unknown),
            ("bale.work=swap:1M:1:1:1", WorkError::Unknown),
            ("bale.work=fill:1M:1:1", WorkError::Unknown),
            ("bale.work=swap:1M:1:0", WorkError::Zero),
            ("bale.work=swap:8K:1:3", WorkError::Zero),
            ("bale.work=swap:1M:1:9", WorkError::Workers),
            ("bale.work=swap:M:1", WorkError::NotANumber),
            ("bale.work=swap:1M:-1", WorkError::NotANumber),
            ("bale.work=swap:18446744073709551615G:1", WorkError::NotANumber),
            ("bale.work=swap:4095:1", WorkError::Zero),
            ("bale.work=fill:0:1", WorkError::Zero),
            ("bale.work=peer:0", WorkError::Zero),
            ("bale.work=peer:é", WorkError::NotANumber),
        ] {
            assert_eq!(Work::from_command_line(line), Err(why), "{line}");
        }
    }

    #[test]
    fn the_seed_is_a_word_of_its_own() {
        assert_eq!(seed("bale.work=boot quiet"), Ok(0));
        assert_eq!(seed("bale.seed=7 bale.work=boot"), Ok(7));
        assert_eq!(seed("bale.seed=seven"), Err(WorkError::NotANumber));
    }
}
