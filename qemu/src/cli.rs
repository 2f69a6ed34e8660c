//! Commands and their options.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::linux::Console;

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
pub(crate) struct SizeOptions {
    /// Of this ELF, instead of the kernel's
    #[arg(long, value_name = "FILE")]
    pub(crate) elf: Option<PathBuf>,
    /// All of it, as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) setup: SetupOptions,
}

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
    /// Run these shell commands, separated by `;`, power off, and exit with the first status that is not 0
    #[arg(long, value_name = "COMMANDS")]
    pub(crate) exec: Option<String>,
    /// Seconds after which QEMU is ended [default: 120 with --exec, none without]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Start by UEFI firmware from a disk image, as a board does; with the tables that it gives
    #[arg(long, value_name = "TABLES", num_args = 0..=1, default_missing_value = "acpi")]
    pub(crate) uefi: Option<Tables>,
    /// Start without guests and pages
    #[arg(long, conflicts_with = "pages")]
    pub(crate) no_guest: bool,
    /// Leave the log out
    #[arg(long)]
    pub(crate) no_log: bool,
    #[command(flatten)]
    pub(crate) guest: GuestOptions,
    /// A disk of this size behind the store, to which it writes what it has no room for; bytes, or with K, M or G
    #[arg(long, requires = "swap", value_name = "BYTES", value_parser = bytes)]
    pub(crate) backing: Option<u64>,
    #[command(flatten)]
    pub(crate) setup: SetupOptions,
    /// Further arguments for QEMU
    #[arg(last = true)]
    pub(crate) qemu: Vec<String>,
}

/// A guest of the bundle.
#[derive(Args)]
pub(crate) struct GuestOptions {
    /// Put a guest into the bundle, which `vm start NAME` at the shell starts: `linux` is Debian's kernel with our init
    #[arg(long, value_name = "NAME", conflicts_with = "no_guest")]
    pub(crate) guest: Option<GuestName>,
    /// Virtual CPUs of the guest
    #[arg(long, default_value_t = 1, requires = "guest", value_parser = clap::value_parser!(u32).range(1..=8))]
    pub(crate) vcpus: u32,
    /// Memory of the guest, in bytes or with K, M or G
    #[arg(long, default_value = "256M", requires = "guest", value_name = "BYTES", value_parser = amount)]
    pub(crate) guest_memory: String,
    /// Swap disk of the guest
    #[arg(long, requires = "guest", value_name = "BYTES", value_parser = amount)]
    pub(crate) swap: Option<String>,
    /// Its console
    #[arg(long, requires = "guest", value_enum, default_value_t)]
    pub(crate) console: Console,
    /// What packs the pages of its swap disk: page, lz4, lz4hc:1-9, deflate:1-9, zstd:1-9
    #[arg(long, requires = "swap", value_name = "CODEC")]
    pub(crate) codec: Option<String>,
    /// What `swap N recompress` at the shell packs them anew with
    #[arg(long, requires = "swap", value_name = "CODEC")]
    pub(crate) second: Option<String>,
    /// Bytes that they may take in the pool at most
    #[arg(long, requires = "swap", value_name = "BYTES", value_parser = amount)]
    pub(crate) quota: Option<String>,
    /// A checksum for each of them
    #[arg(long, requires = "swap")]
    pub(crate) checksum: bool,
    /// What the guest's init does: boot, echo, swap:SIZE:SECONDS[:WORKERS]
    #[arg(long, default_value = "boot", requires = "guest", value_name = "WORK", value_parser = work)]
    pub(crate) work: String,
}

/// A guest that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum GuestName {
    /// Debian's kernel with our init
    Linux,
}

/// Another system to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Peer {
    /// Linux's zram
    Linux,
}

#[derive(Subcommand)]
pub(crate) enum LinuxCommand {
    /// Fetch the kernel as a package, without a change to the machine
    Fetch,
    /// Boot under QEMU without Bale; the console goes to the error output, the figures of the init to the output
    Boot(LinuxBootOptions),
}

#[derive(Args)]
pub(crate) struct LinuxBootOptions {
    /// What the init does: boot, swap:SIZE:SECONDS[:WORKERS], peer:REPETITIONS
    #[arg(long, default_value = "boot", value_name = "WORK", value_parser = work)]
    pub(crate) work: String,
    /// Memory of the machine, as QEMU's -m takes it
    #[arg(long, default_value = "256M")]
    pub(crate) memory: String,
    /// Cores of the machine
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=512))]
    pub(crate) cores: u32,
    /// Bytes of a swap disk, with K, M or G or nothing behind
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) swap: Option<u64>,
    /// Count instructions: a nanosecond of the guest's clock is one
    #[arg(long)]
    pub(crate) count: bool,
    /// Pages for the guest; default: a capture made once and kept
    #[arg(long, value_name = "FILE")]
    pub(crate) pages: Option<PathBuf>,
    /// Seconds after which the machine is ended
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) setup: SetupOptions,
    /// Further arguments for QEMU
    #[arg(last = true)]
    pub(crate) qemu: Vec<String>,
}

/// Bytes, with K, M or G or nothing behind.
fn bytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'M') => (&text[..text.len() - 1], 1 << 20),
        Some(b'G') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1_u64),
    };
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    number.filter(|number| *number > 0).ok_or_else(|| "not a number with K, M, G or nothing behind it".into())
}

/// As [`bytes`], kept as a text.
fn amount(text: &str) -> Result<String, String> {
    bytes(text).map(|_| text.to_owned())
}

/// What the guest's init is asked for, which its own parser reads again.
fn work(text: &str) -> Result<String, String> {
    use linux_init::work::Work;
    Work::from_command_line(&format!("bale.work={text}")).map_err(|error| error.to_string())?;
    let one_word = !text.contains(char::is_whitespace);
    if one_word { Ok(text.to_owned()) } else { Err("the work is one word".into()) }
}

#[derive(Args)]
pub(crate) struct TestOptions {
    /// Only tests whose name contains this
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,
    /// How often each shape of the boot matrix runs
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) repeat: u32,
    /// Machines that run at the same time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) jobs: u32,
    /// Name the tests and do nothing else; needs a built kernel for those of the target
    #[arg(long)]
    pub(crate) list: bool,
    #[command(flatten)]
    pub(crate) setup: SetupOptions,
}

/// Trace what each core does, for Perfetto or chrome://tracing
///
/// Boots under QEMU, runs commands while the kernel traces, and writes a file in Chrome's trace event format: a track
/// for each core with its tasks, interrupts, slices of the drain, and guests. A core keeps its last 1024 events.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  cargo bale trace -o swap.json                                        the small guest, and the drain behind it
  cargo bale trace --exec 'bench run rtos' --cores 1 --count -o rtos.json   a microsecond is 1000 instructions")]
pub(crate) struct TraceOptions {
    /// Shell commands to trace, separated by `;`
    #[arg(long, value_name = "COMMANDS", default_value = "vm run")]
    pub(crate) exec: String,
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

/// Feed hostile bytes to what reads them, guided by coverage
///
/// Builds the fuzz targets with coverage and runs one of them, or all in turn. What is learnt is kept between runs; an input that fails is written to a
/// file, which the last lines name. Needs a C++ compiler, for the fuzzer's engine.
#[derive(Args)]
pub(crate) struct FuzzOptions {
    /// What to feed [default: all, one after the other]
    #[arg(value_enum)]
    pub(crate) target: Option<FuzzTarget>,
    /// How long, each
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub(crate) seconds: u64,
    /// Run this input alone, as one that failed
    #[arg(long, value_name = "FILE", requires = "target")]
    pub(crate) input: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) setup: SetupOptions,
}

/// What is fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FuzzTarget {
    /// The allocator, with operations that a shadow checks
    Pool,
    /// ACPI tables
    Acpi,
    /// The boot bundle
    Bundle,
    /// Codecs of the store
    Codec,
    /// Descriptions of machines, guests' kernel images, the boot configuration
    Description,
    /// Device trees
    DeviceTree,
    /// The shell's line
    Shell,
    /// Exits of a guest: registers, firmware calls, UART
    Traps,
    /// A guest's interrupt controller
    Vgic,
    /// A guest's disk and console
    Virtio,
}

/// Measure on the target, and hold the figures against goals and budgets
///
/// Boots Bale under QEMU once for each number of cores and runs the suites there. On one core QEMU counts
/// instructions (-icount), and the figures repeat to the digit; on more, cores run side by side, and only counts mean
/// something, not times. With --serial a board takes QEMU's place.
#[derive(Args)]
#[command(after_long_help = "\
Goals and budgets are in allocator/goals.toml: a goal is what a figure is to reach, a budget what it has reached and
must keep. `cargo bale test --filter budgets` fails for a figure that is worse than its budget.

Status: 0 all goals are met; 1 a goal is missed or was not measured, the last lines say which; 2 something failed.

Examples:
  cargo bale bench --cores 1                     the exact figures only
  cargo bale bench --json now.json               keep all figures
  cargo bale bench --compare before.json         what changed, and what got worse by more than 1 %
  cargo bale bench --cores 1 --write-budgets     the budgets are what is counted now
  cargo bale bench --serial /dev/ttyUSB0         on a board that was started with the argument `exec`")]
pub(crate) struct BenchOptions {
    /// Suites to run, as the shell's `bench list` names them
    #[arg(value_name = "SUITE", default_value = "allocator", value_parser = suite)]
    pub(crate) suites: Vec<String>,
    /// Write every figure, with all that the target said of it, to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write a line for each value to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Draw scaling, ladders and latencies as SVG into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) plots: Option<PathBuf>,
    /// Print the change against a file that --json wrote
    #[arg(long, value_name = "FILE")]
    pub(crate) compare: Option<PathBuf>,
    /// Cores of the machines, one machine for each number
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        default_value = "1,2,4,8,12",
        value_parser = clap::value_parser!(u32).range(1..=512)
    )]
    pub(crate) cores: Vec<u32>,
    /// Seed of sizes and orders
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Make what one core counts the suites' budgets, rounded up to one decimal (three below 1)
    #[arg(long, conflicts_with = "serial")]
    pub(crate) write_budgets: bool,
    /// Measure another system in the same way, and put it beside Bale's store
    #[arg(long, value_name = "NAME", conflicts_with_all = ["serial", "write_budgets", "compare", "plots"])]
    pub(crate) peer: Option<Peer>,
    /// Run on the board at this serial line, 115200 8N1, instead of QEMU
    #[arg(long, value_name = "DEVICE")]
    pub(crate) serial: Option<PathBuf>,
    /// Seconds after which a machine is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) setup: SetupOptions,
}

/// A suite's name becomes part of a command line on the target.
fn suite(text: &str) -> Result<String, String> {
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_');
    let good = text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.chars().all(plain);
    if good { Ok(text.to_owned()) } else { Err("a suite's name has letters, digits, - and _".into()) }
}

#[derive(Args)]
pub(crate) struct BuildOptions {
    #[command(flatten)]
    pub(crate) setup: SetupOptions,
}

#[derive(Args)]
pub(crate) struct CheckOptions {
    #[command(flatten)]
    pub(crate) setup: SetupOptions,
}

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
/// Keys go to the board, and what it says to the terminal, with the log decoded and backtraces resolved to functions and lines. Ctrl-A x leaves; the
/// board goes on. With an input that is no terminal, what it holds is sent, and five seconds of silence end the command.
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

/// Tables of UEFI firmware.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tables {
    /// ACPI
    Acpi,
    /// A device tree and no ACPI
    Dtb,
}

#[derive(Args)]
pub(crate) struct PagesOptions {
    /// File to write
    #[arg(long, value_name = "FILE", required_unless_present = "list")]
    pub(crate) out: Option<PathBuf>,
    /// Pages of one kind of process only; default: all kinds in turn
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

#[derive(Args)]
pub(crate) struct LogOptions {
    /// Stream as it came over the serial line
    #[arg(long, value_name = "FILE")]
    pub(crate) decode: PathBuf,
    /// ELF of the kernel that wrote it; default: the one that `cargo bale build` makes
    #[arg(long, value_name = "FILE")]
    pub(crate) elf: Option<PathBuf>,
}
