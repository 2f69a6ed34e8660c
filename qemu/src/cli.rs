//! Commands and their options.
//!
//! | module | subject |
//! |---|---|
//! | [`running`] | booting Bale under QEMU, to use or to watch it |
//! | [`guest`] | Linux, in Bale's bundle or alone |
//! | [`guest_run`] | any image as a guest |
//! | [`testing`] | tests, fuzzing, formatting and lints |
//! | [`measuring`] | instructions, times, sizes |
//! | [`commands`] | commands for the kernel's shell |
//! | [`boards`] | images, flashing, the serial line |

mod amounts;
mod boards;
mod commands;
mod guest;
mod guest_run;
mod measuring;
mod running;
mod testing;

use clap::{Args, Parser, Subcommand};

pub(crate) use boards::{ConsoleOptions, ContentOptions, FlashOptions, ImageOptions, LogOptions};
pub(crate) use commands::Commands;
pub(crate) use guest::{GuestName, GuestOptions, LinuxBootOptions, LinuxCommand};
pub(crate) use guest_run::{GuestCommand, GuestRunOptions};
pub(crate) use measuring::{BenchOptions, Peer, SizeOptions};
pub(crate) use running::{PagesOptions, RunOptions, Tables, TraceOptions};
pub(crate) use testing::{CheckOptions, FuzzOptions, FuzzTarget, TestOptions};

/// Builds Bale, boots it under QEMU, tests it.
#[derive(Parser)]
#[command(name = "cargo bale", bin_name = "cargo bale", disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Build what is missing, boot under QEMU, end in the shell
    Run(RunOptions),
    /// Run every test: on the host, on the target, and the boot matrix
    Test(TestOptions),
    /// Measure on the target, and hold the figures against goals and budgets
    Bench(BenchOptions),
    /// Trace what each core does, for Perfetto or chrome://tracing
    Trace(TraceOptions),
    /// Feed hostile bytes to what reads them, guided by coverage
    Fuzz(FuzzOptions),
    /// Build the kernel and the guests, and say where they are
    Build(BuildOptions),
    /// rustfmt and clippy, warnings as errors
    Check(CheckOptions),
    /// Capture anonymous pages of processes at work
    Pages(PagesOptions),
    /// Make a disk image that a board's UEFI firmware starts
    Image(ImageOptions),
    /// Write that image to a stick, a card or a disk, or its files to a folder
    Flash(FlashOptions),
    /// The shell of a board on a serial line
    Console(ConsoleOptions),
    /// Any image as a guest
    #[command(subcommand)]
    Guest(GuestCommand),
    /// Debian's arm64 kernel with our init: fetch it, or boot it without Bale
    #[command(subcommand)]
    Linux(LinuxCommand),
    /// Decode a captured serial stream
    Log(LogOptions),
    /// Whose the bytes of the image and of static memory are
    Size(SizeOptions),
}

#[derive(Args)]
pub(crate) struct SetupOptions {
    /// Install what is missing without asking
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Args)]
pub(crate) struct BuildOptions {
    /// Build the image without benchmarks and self tests as well
    #[arg(long)]
    pub(crate) product: bool,
    #[command(flatten)]
    pub(crate) setup: SetupOptions,
}
