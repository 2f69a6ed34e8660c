//! The work that the command line asks for.

use core::fmt;

/// Name of the argument.
const ARGUMENT: &str = "bale.work=";
/// Bytes of a page.
pub const PAGE: usize = 4096;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing: the boot itself is what is looked at.
    Boot,
    /// Swap.
    Swap {
        /// Pages of the region.
        pages: usize,
        /// How long, in seconds of the guest's clock.
        seconds: u64,
    },
    /// Fill memory and verify it, without a swap disk.
    Fill {
        /// Pages of the region.
        pages: usize,
        /// How long, in seconds of the guest's clock.
        seconds: u64,
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
                "bale.work is none of boot, swap:SIZE:SECONDS, fill:SIZE:SECONDS, peer:REPETITIONS"
            }
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
        let value =
            words.filter_map(|word| word.strip_prefix(ARGUMENT)).next_back().ok_or(WorkError::Missing)?;
        let mut parts = value.split(':');
        let work = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("boot"), None, ..) => Self::Boot,
            (Some(name @ ("swap" | "fill")), Some(size), Some(seconds), None) => {
                let pages = usize::try_from(bytes(size)?).map_err(|_| WorkError::NotANumber)? / PAGE;
                let seconds = seconds.parse().map_err(|_| WorkError::NotANumber)?;
                if name == "swap" { Self::Swap { pages, seconds } } else { Self::Fill { pages, seconds } }
            }
            (Some("peer"), Some(count), None, _) => {
                Self::Peer { repetitions: count.parse().map_err(|_| WorkError::NotANumber)? }
            }
            _ => return Err(WorkError::Unknown),
        };
        match work {
            Self::Swap { pages: 0, .. } | Self::Fill { pages: 0, .. } | Self::Peer { repetitions: 0 } => {
                Err(WorkError::Zero)
            }
            work => Ok(work),
        }
    }
}

fn bytes(text: &str) -> Result<u64, WorkError> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'M') => (&text[..text.len() - 1], 1 << 20),
        Some(b'G') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let number: u64 = digits.parse().map_err(|_| WorkError::NotANumber)?;
    number.checked_mul(unit).ok_or(WorkError::NotANumber)
}

#[cfg(test)]
mod tests {
    use super::{Work, WorkError};

    #[test]
    fn each_work_is_read() {
        let read = Work::from_command_line;
        assert_eq!(read("console=ttyAMA0 bale.work=boot\n"), Ok(Work::Boot));
        assert_eq!(read("bale.work=swap:256M:600"), Ok(Work::Swap { pages: 65536, seconds: 600 }));
        assert_eq!(read("bale.work=fill:8K:0"), Ok(Work::Fill { pages: 2, seconds: 0 }));
        assert_eq!(read("bale.work=boot bale.work=peer:5 quiet"), Ok(Work::Peer { repetitions: 5 }));
    }

    #[test]
    fn what_cannot_be_followed_is_an_error() {
        for (line, why) in [
            ("", WorkError::Missing),
            ("xbale.work=boot", WorkError::Missing),
            ("bale.work=", WorkError::Unknown),
            ("bale.work=boot:1", WorkError::Unknown),
            ("bale.work=swap:1M", WorkError::Unknown),
            ("bale.work=swap:1M:1:1", WorkError::Unknown),
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
}
