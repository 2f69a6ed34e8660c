//! Guests of any make, without a description.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::SetupOptions;
use super::amounts::amount;

/// What can be done with guests.
#[derive(Subcommand)]
pub(crate) enum GuestCommand {
    /// Run an image as a guest, with its console on this terminal, and end with its status
    Run(GuestRunOptions),
}

/// Run an image as a guest, with its console on this terminal, and end with its status
///
/// The image is an arm64 Image (also packed with gzip, zstd, xz, lzma or bzip2, or as an EFI zboot
/// image), an ELF file, or a raw binary for QEMU's `virt` machine; its content tells. The guest
/// finds that machine's addresses, a GICv3, and PSCI by HVC. What it writes to its UART comes out
/// on the standard output as it is, and the standard input goes to it; what Bale says is on the
/// error output.
#[derive(Args)]
#[command(after_long_help = "\
Status:
  0          the guest turned itself off
  0 to 255   what it gave: to the console of QEMU's testdev (`3q` gives 3, where QEMU's process would end with 7), by semihosting's
             SYS_EXIT, or by Bale's EXIT call; a larger one as its lower 8 bits, or 255 where those are 0
  124        it did not end within the time (--timeout)
  125        Bale or this tool could not run it: the reason is on the error output
  126        it was stopped for what it did: the reason is on the error output

Examples:
  cargo bale guest run Image --initrd initrd --cmdline 'console=ttyAMA0' --vcpus 2
  cargo bale guest run /usr/share/qemu-efi-aarch64/QEMU_EFI.fd --firmware
  cargo bale guest run selftest.flat --cmdline smp --vcpus 4 --timeout 60
  for test in *.elf; do cargo bale guest run $test > $test.log || echo $test; done")]
pub(crate) struct GuestRunOptions {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: PathBuf,
    /// Its initial RAM disk
    #[arg(long, value_name = "FILE")]
    pub(crate) initrd: Option<PathBuf>,
    /// Its command line
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, default_value = "")]
    pub(crate) cmdline: String,
    /// Virtual CPUs
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8))]
    pub(crate) vcpus: u32,
    /// Memory of the guest, in bytes or with K, M or G
    #[arg(long, default_value = "256M", value_name = "BYTES", value_parser = amount)]
    pub(crate) memory: String,
    /// Cores of the machine [default: one more than virtual CPUs]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) cores: Option<u32>,
    /// Their kind, as QEMU's -cpu takes it
    #[arg(long, value_name = "NAME", default_value = "cortex-a72")]
    pub(crate) cpu: String,
    /// Take the image for firmware: it starts at address 0, in memory that it can only read, beside
    /// a flash for its variables
    #[arg(long, conflicts_with_all = ["raw", "load", "entry", "initrd", "cmdline"])]
    pub(crate) firmware: bool,
    /// Take the image for a raw binary whatever it looks like
    #[arg(long)]
    pub(crate) raw: bool,
    /// Where a raw binary's first byte goes [default: 0x40080000, as under QEMU]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub(crate) load: Option<u64>,
    /// Where it starts [default: its first byte]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub(crate) entry: Option<u64>,
    /// Leave semihosting calls (HLT #0xf000) in the image, where they are undefined instructions
    #[arg(long)]
    pub(crate) no_semihosting: bool,
    /// End with status 0 when the guest asks for a restart, in place of starting it anew
    #[arg(long)]
    pub(crate) no_reboot: bool,
    /// Seconds after which the guest is ended, with status 124
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Show Bale's log on the error output, and what it says as it boots
    #[arg(short, long)]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) setup: SetupOptions,
    /// Further arguments for QEMU
    #[arg(last = true)]
    pub(crate) qemu: Vec<String>,
}

/// An address: hexadecimal behind `0x`, else decimal.
fn address(text: &str) -> Result<u64, String> {
    bale_core::vm_description::address(text).map_err(|wrong| wrong.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::GuestCommand;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: GuestCommand,
    }

    #[test]
    fn options() {
        let parse = |line: &str| Line::try_parse_from(line.split(' ')).map(|line| line.command);
        let GuestCommand::Run(all) =
            parse("guest run x --cmdline -a --vcpus 8 --load 0x40000000 --entry 1073741828")
                .expect("good");
        assert_eq!(
            (all.cmdline.as_str(), all.vcpus, all.load, all.entry),
            ("-a", 8, Some(1 << 30), Some((1 << 30) + 4))
        );
        for wrong in [
            "guest run",
            "guest run x --vcpus 9",
            "guest run x --load -1",
            "guest run x --memory 1T",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
