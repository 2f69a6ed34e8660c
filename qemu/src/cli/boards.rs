//! A board: what it starts from, and its serial line.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{GuestOptions, SetupOptions};

/// A board that is started by UEFI.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Board {
    /// Radxa Orion O6 (CIX P1); the image starts under QEMU's firmware too
    RadxaO6,
}

/// What a board starts from.
#[derive(Args)]
pub(crate) struct ContentOptions {
    /// Boot arguments
    #[arg(long, value_name = "WORDS", default_value = "", conflicts_with = "config")]
    pub(crate) arguments: String,
    /// The bale.toml to use: boot arguments, console, cores, guests, commands
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Leave guests and pages out
    #[arg(long)]
    pub(crate) no_guest: bool,
    #[command(flatten)]
    pub(crate) guest: GuestOptions,
    #[command(flatten)]
    pub(crate) setup: SetupOptions,
}

#[derive(Args)]
pub(crate) struct ImageOptions {
    /// The board
    pub(crate) board: Board,
    /// File to write [default: radxa-o6.img among the build's results]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) content: ContentOptions,
}

#[derive(Args)]
pub(crate) struct FlashOptions {
    /// The board
    pub(crate) board: Board,
    /// Whole disk to write to, such as /dev/sdX; everything on it is lost
    #[arg(long, value_name = "DEVICE", required_unless_present = "to")]
    pub(crate) device: Option<PathBuf>,
    /// Copy the files into this folder of a FAT file system instead
    #[arg(long, value_name = "FOLDER", conflicts_with = "device")]
    pub(crate) to: Option<PathBuf>,
    /// The device once more, where it is not removable or very large
    #[arg(long, value_name = "DEVICE")]
    pub(crate) force: Option<PathBuf>,
    /// Write without asking
    #[arg(long)]
    pub(crate) overwrite: bool,
    #[command(flatten)]
    pub(crate) content: ContentOptions,
}

/// The shell of a board on a serial line
///
/// Keys go to the board, and what it says to the terminal, with the log decoded and backtraces
/// resolved to functions and lines. Ctrl-A x leaves; the board goes on. With an input that is no
/// terminal, what it holds is sent, and five seconds of silence end the command.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  cargo bale console /dev/ttyUSB0 --save session.bin          a person at the shell
  cargo bale log --decode session.bin                         the saved session once more, decoded
  echo 'board report' | cargo bale console /dev/ttyUSB0       one command
  cargo bale console /dev/ttyUSB0 --timeout 60 </dev/null     a minute of a board that starts")]
pub(crate) struct ConsoleOptions {
    /// The serial line, such as /dev/ttyUSB0
    pub(crate) device: PathBuf,
    /// Bits a second; 8N1, no flow control
    #[arg(long, value_name = "RATE", default_value_t = crate::serial::BAUD)]
    pub(crate) baud: u32,
    /// Append every byte that comes to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// ELF of the kernel on the board; default: the one that `cargo bale build` makes
    #[arg(long, value_name = "FILE")]
    pub(crate) elf: Option<PathBuf>,
    /// Leave after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
}

#[derive(Args)]
pub(crate) struct LogOptions {
    /// Stream as it came over the serial line
    #[arg(long, value_name = "FILE")]
    pub(crate) decode: PathBuf,
    /// ELF of the kernel that wrote it; default: the one that `cargo bale build` makes
    #[arg(long, value_name = "FILE")]
    pub(crate) elf: Option<PathBuf>,
}
