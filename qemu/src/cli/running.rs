//! What boots Bale to be used or watched, and the pages that it is given.

use std::path::PathBuf;

use crate::pages::Half;
use clap::{Args, ValueEnum};

use super::amounts::bytes;
use super::commands::{Commands, commands};
use super::{GuestOptions, SetupOptions};

#[derive(Args)]
pub(crate) struct RunOptions {
    /// Cores of the machine
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=512))]
    pub(crate) cores: u32,
    /// Memory of the machine, as QEMU's -m takes it
    #[arg(long, default_value = "1G")]
    pub(crate) memory: String,
    /// Pages for the guest to swap: whole 4096-byte pages; default: a capture made once and kept
    #[arg(long, value_name = "FILE")]
    pub(crate) pages: Option<PathBuf>,
    /// Run these shell commands, separated by `;`, up to one that fails, power off, and exit with
    /// the status of the last; `@FILE`: the lines of a file, but for empty ones and those that
    /// begin with `#`
    #[arg(long, value_name = "COMMANDS|@FILE", value_parser = commands)]
    pub(crate) exec: Option<Commands>,
    /// Seconds after which QEMU is ended, with status 1 [default: none; 1800 with --exec where
    /// CI=true]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Start by UEFI firmware from a disk image, as a board does; with the tables that it gives
    #[arg(long, value_name = "TABLES", num_args = 0..=1, default_missing_value = "acpi")]
    pub(crate) uefi: Option<Tables>,
    /// Boot an application beside the kernel's own tasks: the folder of its crate, such as
    /// kernel/examples/control_loop
    #[arg(long, value_name = "FOLDER", conflicts_with = "uefi")]
    pub(crate) app: Option<PathBuf>,
    /// Start without guests and pages
    #[arg(long, conflicts_with = "pages")]
    pub(crate) no_guest: bool,
    /// Leave the log out
    #[arg(long)]
    pub(crate) no_log: bool,
    #[command(flatten)]
    pub(crate) guest: GuestOptions,
    /// A disk of this size behind the store, to which it writes what it has no room for; bytes, or
    /// with K, M or G
    #[arg(long, requires = "disks", value_name = "BYTES", value_parser = bytes)]
    pub(crate) backing: Option<u64>,
    #[command(flatten)]
    pub(crate) setup: SetupOptions,
    /// Further arguments for QEMU
    #[arg(last = true)]
    pub(crate) qemu: Vec<String>,
}

/// Tables of UEFI firmware.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tables {
    /// ACPI
    Acpi,
    /// A device tree and no ACPI
    Dtb,
}

/// Trace what each core does, for Perfetto or chrome://tracing
///
/// Boots under QEMU, runs commands while the kernel traces, and writes a file in Chrome's trace
/// event format: a track for each core with its tasks, interrupts, slices of the drain, and guests.
/// A core keeps its last 1024 events.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  cargo bale trace -o swap.json                                        the small guest, and the drain behind it
  cargo bale trace --exec 'bench run rtos' --cores 1 --count -o rtos.json   a microsecond is 1000 instructions")]
pub(crate) struct TraceOptions {
    /// Shell commands to trace, separated by `;`; `@FILE`: the lines of a file, as for `cargo bale
    /// run`
    #[arg(long, value_name = "COMMANDS|@FILE", default_value = "vm run", value_parser = commands)]
    pub(crate) exec: Commands,
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Cores of the machine
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=512))]
    pub(crate) cores: u32,
    /// Memory of the machine, as QEMU's -m takes it
    #[arg(long, default_value = "1G")]
    pub(crate) memory: String,
    /// Count instructions: a nanosecond is one; needs --cores 1
    #[arg(long)]
    pub(crate) count: bool,
    /// Seconds after which the machine is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) setup: SetupOptions,
}

#[derive(Args)]
pub(crate) struct PagesOptions {
    /// File to write
    #[arg(long, value_name = "FILE", required_unless_present = "list")]
    pub(crate) out: Option<PathBuf>,
    /// Pages of the kinds that codecs are designed on, or of those that they are judged by, in
    /// turn; default: of the kinds that the budgets are of
    #[arg(long, value_enum, conflicts_with_all = ["kind", "command"])]
    pub(crate) half: Option<Half>,
    /// Pages of one kind of process only
    #[arg(long, value_name = "NAME", conflicts_with = "command")]
    pub(crate) kind: Option<String>,
    /// Show the kinds of processes and exit
    #[arg(long)]
    pub(crate) list: bool,
    /// Seed of the order in which pages are picked
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Number of pages
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pages: u32,
    /// Command to start and capture in place of the known kinds
    #[arg(last = true)]
    pub(crate) command: Vec<String>,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::RunOptions;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        run: RunOptions,
    }

    fn parse(line: &str) -> Result<RunOptions, String> {
        let words = std::iter::once("bale").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.run).map_err(|error| error.to_string())
    }

    /// A disk behind the store goes with what has a swap disk or may have one.
    #[test]
    fn who_may_have_a_disk_behind() {
        for line in [
            "--vm a.vm",
            "--vm a.vm --vm b.vm",
            "--guest linux --swap 64M",
            "--kernel Image --swap 64M --vm a.vm",
            "--guest linux --vm a.vm",
        ] {
            let options = parse(&format!("--backing 64M {line}")).expect(line);
            assert_eq!(options.backing, Some(64 << 20), "{line}");
        }
        for line in ["", "--guest linux", "--kernel Image"] {
            let error = parse(&format!("--backing 64M {line}")).err().unwrap_or_default();
            assert!(error.contains("--swap") && error.contains("--vm"), "{line}: {error}");
        }
    }

    #[test]
    fn commands_are_read_before_anything_else() {
        let options = parse("--exec pool;;drain").expect("good");
        assert_eq!(options.exec.map(|exec| exec.lines().count()), Some(2));
        let error = parse("--exec @/nowhere/script").err().unwrap_or_default();
        assert!(error.contains("cannot read /nowhere/script"), "{error}");
    }
}
