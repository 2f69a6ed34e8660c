//! A shell's line: editing on a serial terminal, and splitting what was typed into commands and
//! words.
//!
//! Everything here is text in, text out; who reads the bytes and runs the commands is the kernel's
//! business.

mod editor;
mod nearest;
pub mod sheet;
mod words;
pub mod wrap;

pub use editor::{Event, LineEditor};
pub use nearest::nearest;
pub use words::{ArgumentError, MAX_WORDS, SplitError, commands, number, words};
