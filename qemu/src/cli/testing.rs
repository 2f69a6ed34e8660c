//! What fails when something is wrong.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::SetupOptions;

#[derive(Args)]
pub(crate) struct TestOptions {
    /// Only tests whose name contains this; `guest` takes all that are about guests
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

/// Feed hostile bytes to what reads them, guided by coverage
///
/// Builds the fuzz targets with coverage and runs one of them, or all in turn. What is learnt is
/// kept between runs; an input that fails is written to a file, which the last lines name. Needs a
/// C++ compiler, for the fuzzer's engine.
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
    /// What a guest prints
    Text,
    /// Exits of a guest: registers, firmware calls, UART
    Traps,
    /// A guest's interrupt controller
    Vgic,
    /// A guest's disk and console
    Virtio,
}

#[derive(Args)]
pub(crate) struct CheckOptions {
    #[command(flatten)]
    pub(crate) setup: SetupOptions,
}
