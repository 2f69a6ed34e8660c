//! Figures and errors, a line each.

use core::ffi::CStr;
use core::fmt::{self, Display, Write};
use core::panic::PanicInfo;

use linux_init::work::WorkError;

use crate::call;

/// What begins each line.
const MARK: &str = "bale-init: ";

/// Why the work could not be done.
pub(crate) enum Failure {
    /// A system call failed: its name, a path or nothing, the error's number.
    Call(&'static str, Path, usize),
    /// Less was read or written than asked for.
    Short(&'static str),
    /// The command line.
    Work(WorkError),
    /// A file that holds something else than was expected.
    Content(&'static str),
    /// A page that is not what was written: its number and the round.
    Corrupt(u64, u64),
    /// A child ended with this status.
    Child(u32),
}

/// The first 63 bytes of a path, and a zero.
pub(crate) struct Path([u8; 64]);

impl Failure {
    /// For `map_err` after a system call.
    pub(crate) fn call(what: &'static str, path: &CStr) -> impl FnOnce(usize) -> Self {
        let mut text = [0; 64];
        text.iter_mut().zip(path.to_bytes().iter().take(63)).for_each(|(to, from)| *to = *from);
        move |error| Self::Call(what, Path(text), error)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(what, path, error) => {
                let path =
                    CStr::from_bytes_until_nul(&path.0).ok().and_then(|path| path.to_str().ok());
                write!(f, "{what} {}: error {error}", path.unwrap_or_default())
            }
            Self::Short(what) => write!(f, "{what}: only in part"),
            Self::Work(error) => error.fmt(f),
            Self::Content(what) => write!(f, "{what} is not as expected"),
            Self::Corrupt(page, round) => {
                write!(f, "page {page} of round {round} is not what was written")
            }
            Self::Child(status) => write!(f, "a child ended with status {status:#x}"),
        }
    }
}

/// A line on its way to the console, which takes it in one piece.
struct Line {
    bytes: [u8; 240],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // What is too long for a line is cut.
        for (to, from) in self.bytes[self.length..].iter_mut().zip(text.bytes()) {
            *to = from;
            self.length += 1;
        }
        Ok(())
    }
}

fn line(key: &str, value: impl Display) {
    let mut line = Line { bytes: [0; 240], length: 0 };
    // A line never refuses.
    let _ = write!(line, "{MARK}{key}={value}");
    let length = line.length.min(239);
    line.bytes[length] = b'\n';
    call::say(&line.bytes[..=length]);
}

/// A figure.
pub(crate) fn figure(key: &str, value: impl Display) {
    line(key, value);
}

/// What went wrong.
pub(crate) fn error(failure: &Failure) {
    line("error", failure);
}

/// What should never happen.
pub(crate) fn panic(info: &PanicInfo<'_>) {
    line("error", info);
}
