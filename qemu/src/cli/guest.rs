//! A guest of the bundle, and Linux alone.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

use super::SetupOptions;
use super::amounts::{amount, bytes};
use crate::linux::Console;

/// A guest of the bundle.
#[derive(Args)]
#[command(group = ArgGroup::new("disks").args(["swap", "described"]).multiple(true))]
pub(crate) struct GuestOptions {
    /// Put a guest into the bundle, which `vm start NAME` at the shell starts: `linux` is Debian's
    /// kernel with our init
    #[arg(long, value_name = "NAME", conflicts_with = "no_guest", group = "machine")]
    pub(crate) guest: Option<GuestName>,
    /// Put a guest with this kernel into the bundle, an arm64 Image: `vm start own` starts it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["no_guest", "guest"], group = "machine")]
    pub(crate) kernel: Option<PathBuf>,
    /// Its initial RAM disk
    #[arg(long, requires = "kernel", conflicts_with = "guest", value_name = "FILE")]
    pub(crate) initrd: Option<PathBuf>,
    /// Its command line
    #[arg(
        long,
        requires = "kernel",
        conflicts_with = "guest",
        value_name = "TEXT",
        allow_hyphen_values = true
    )]
    pub(crate) cmdline: Option<String>,
    /// Put the guest of this description, NAME.vm, into the bundle, with the files beside it that
    /// it names: `vm start NAME` starts it; several times for several
    #[arg(long = "vm", value_name = "FILE", conflicts_with = "no_guest")]
    pub(crate) described: Vec<PathBuf>,
    /// Debian's suite that its kernel is from, such as trixie [default: this machine's]
    #[arg(long, requires = "guest", value_name = "NAME", value_parser = suite)]
    pub(crate) suite: Option<String>,
    /// Virtual CPUs of the guest
    #[arg(long, default_value_t = 1, requires = "machine", value_parser = clap::value_parser!(u32).range(1..=8))]
    pub(crate) vcpus: u32,
    /// Physical cores for them, in turn, such as 1,2,4-7 [default: all but the first]
    #[arg(long, requires = "machine", value_name = "CORES", value_parser = cores)]
    pub(crate) guest_cores: Option<String>,
    /// Memory of the guest, in bytes or with K, M or G [default: 256M; 1G --with programs]
    #[arg(long, requires = "machine", value_name = "BYTES", value_parser = amount)]
    guest_memory: Option<String>,
    /// Swap disk of the guest
    #[arg(long, requires = "machine", value_name = "BYTES", value_parser = amount)]
    pub(crate) swap: Option<String>,
    /// Its console
    #[arg(long, requires = "machine", value_enum, default_value_t)]
    pub(crate) console: Console,
    /// What packs the pages of its swap disk: page, token, lz4, lz4hc:1-9, deflate:1-9, zstd:1-9
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
    /// What the guest's init does: boot, echo, swap:SIZE:SECONDS[:WORKERS], shell, script [default:
    /// boot; with programs script or shell]
    #[arg(long, requires = "guest", conflicts_with = "kernel", value_name = "WORK", value_parser = work)]
    work: Option<String>,
    /// Programs in its root: packages of Debian with all that they depend on, such as
    /// gdb,strace,linux-perf; a shell, which its init starts, and coreutils are there as well
    #[arg(long, requires = "guest", conflicts_with = "kernel", value_delimiter = ',', value_name = "PACKAGES", value_parser = package)]
    pub(crate) with: Vec<String>,
    /// Run the lines of this file in that shell, instead of what is typed
    #[arg(long, requires = "with", value_name = "FILE")]
    pub(crate) script: Option<PathBuf>,
}

impl GuestOptions {
    /// Memory of the guest. What a root holds is there twice while Linux unpacks it, and takes half
    /// of the memory at most.
    pub(crate) fn memory(&self) -> String {
        let usual = if self.with.is_empty() { "256M" } else { "1G" };
        self.guest_memory.clone().unwrap_or_else(|| usual.into())
    }

    /// What its init does.
    pub(crate) fn work(&self) -> String {
        let usual = match (&self.script, self.with.is_empty()) {
            (Some(_), _) => "script",
            (None, false) => "shell",
            (None, true) => "boot",
        };
        self.work.clone().unwrap_or_else(|| usual.into())
    }
}

/// A guest that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum GuestName {
    /// Debian's kernel with our init
    Linux,
}

#[derive(Subcommand)]
pub(crate) enum LinuxCommand {
    /// Fetch the kernel as a package, without a change to the machine
    Fetch {
        /// Debian's suite that it is from, such as trixie [default: this machine's]
        #[arg(long, value_name = "NAME", value_parser = suite)]
        suite: Option<String>,
    },
    /// Boot under QEMU without Bale; the console goes to the error output, the figures of the init
    /// to the output
    Boot(LinuxBootOptions),
}

#[derive(Args)]
pub(crate) struct LinuxBootOptions {
    /// Debian's suite that the kernel is from, such as trixie [default: this machine's]
    #[arg(long, value_name = "NAME", value_parser = suite)]
    pub(crate) suite: Option<String>,
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

/// A list of cores, as the kernel reads it.
fn cores(text: &str) -> Result<String, String> {
    match bale_core::vm_description::core_list(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(wrong) => Err(wrong.to_string()),
    }
}

/// What the guest's init is asked for, which its own parser reads again.
fn work(text: &str) -> Result<String, String> {
    use linux_init::work::Work;
    Work::from_command_line(&format!("bale.work={text}")).map_err(|error| error.to_string())?;
    let one_word = !text.contains(char::is_whitespace);
    if one_word { Ok(text.to_owned()) } else { Err("the work is one word".into()) }
}

/// The name of a package (Debian Policy, 5.6.1), which apt is not to take for anything else.
fn package(text: &str) -> Result<String, String> {
    let plain = |character: char| {
        character.is_ascii_lowercase() || matches!(character, '0'..='9' | '+' | '-' | '.')
    };
    let first =
        text.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
    // Behind a name these two would remove or install it, to apt.
    let good = first && text.chars().all(plain) && !text.ends_with('-') && text.len() > 1;
    if good { Ok(text.to_owned()) } else { Err("not the name of a package".into()) }
}

/// A suite's name becomes part of a path and of apt's sources.
fn suite(text: &str) -> Result<String, String> {
    let plain =
        |character: char| character.is_ascii_lowercase() || matches!(character, '0'..='9' | '-');
    let good =
        text.starts_with(|first: char| first.is_ascii_lowercase()) && text.chars().all(plain);
    if good {
        Ok(text.to_owned())
    } else {
        Err("a suite's name has small letters, digits and -".into())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::GuestOptions;

    #[derive(Parser)]
    struct Line {
        #[arg(long)]
        no_guest: bool,
        #[command(flatten)]
        guest: GuestOptions,
    }

    fn parse(line: &str) -> Result<GuestOptions, String> {
        let words = std::iter::once("bale").chain(line.split_whitespace());
        let Line { no_guest, guest } =
            Line::try_parse_from(words).map_err(|error| error.to_string())?;
        if no_guest { Err("no guest".into()) } else { Ok(guest) }
    }

    #[test]
    fn shapes_of_guests() {
        let linux = parse("--guest linux --vcpus 2 --guest-cores 1,4-5").expect("good");
        assert_eq!((linux.vcpus, linux.guest_cores.as_deref()), (2, Some("1,4-5")));
        let own = parse(
            "--kernel Image --initrd x --cmdline -a --vcpus 8 --swap 1M --codec lz4 --vm a.vm --vm b.vm",
        );
        let own = own.expect("good");
        assert_eq!((own.cmdline.as_deref(), own.described.len()), (Some("-a"), 2));
        assert_eq!(parse("").expect("good").memory(), "256M");
    }

    #[test]
    fn programs_bring_a_shell_and_room() {
        let with = |line: &str| {
            let options = parse(&format!("--guest linux {line}")).expect("good");
            (options.with.clone(), options.work(), options.memory())
        };
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            with("--with gdb,g++,libc6.1"),
            (names(&["gdb", "g++", "libc6.1"]), "shell".into(), "1G".into())
        );
        assert_eq!(with("--with gdb --script x").1, "script");
        assert_eq!(with("--with gdb --work boot --guest-memory 2G").1, "boot");
        assert_eq!(with(""), (names(&[]), "boot".into(), "256M".into()));
    }

    #[test]
    fn what_does_not_go_together() {
        for (line, word) in [
            ("--kernel Image --guest linux", "cannot be used with"),
            ("--kernel Image --no-guest", "cannot be used with"),
            ("--vm a.vm --no-guest", "cannot be used with"),
            ("--initrd x", "--kernel"),
            ("--guest linux --cmdline x", "cannot be used with"),
            ("--guest linux --initrd x", "cannot be used with"),
            ("--kernel Image --work boot", "cannot be used with"),
            ("--with gdb", "required"),
            ("--kernel Image --with gdb", "cannot be used with"),
            ("--guest linux --with gdb-", "not the name of a package"),
            ("--guest linux --with gdb,-oX", "not the name of a package"),
            ("--guest linux --with ,", "not the name of a package"),
            ("--guest linux --script x", "required"),
            ("--vcpus 2", "required"),
            ("--guest-cores 1", "required"),
            ("--guest linux --guest-cores 5-1", "list such as"),
            ("--guest linux --guest-memory 1T", "not a number"),
        ] {
            let error = parse(line).err().unwrap_or_default();
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
