//! Why the kernel was not started.

use core::fmt;

use bale_core::acpi::AcpiError;
use bale_core::boot_config::ConfigError;
use bale_core::device_tree::MachineError;

use crate::name::Name;

/// Why the kernel was not started.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// Entered at another exception level than 2.
    Level(u64),
    /// The partition that the loader came from cannot be read.
    NoVolume,
    /// There is no `bale/kernel.elf`.
    NoKernel,
    /// A file cannot be read; its name.
    Unreadable(Name),
    /// The kernel is not one; why.
    Kernel(&'static str),
    /// `bale.toml` is not understood.
    Config(ConfigError),
    /// So many bytes are not to be had.
    NoMemory(usize),
    /// The firmware gives no memory map.
    NoMap,
    /// What was found does not fit into the boot block.
    TooMuch,
    /// Neither kind of table describes the machine.
    NoTables(Option<AcpiError>, Option<MachineError>),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level(level) => {
                write!(f, "the firmware runs at EL{level}; Bale is a hypervisor and needs EL2")
            }
            Self::NoVolume => f.write_str("the partition that the loader came from cannot be read"),
            Self::NoKernel => f.write_str("there is no bale/kernel.elf on the loader's partition"),
            Self::Unreadable(name) => write!(f, "{name} cannot be read"),
            Self::Kernel(why) => write!(f, "bale/kernel.elf: {why}"),
            Self::Config(error) => write!(f, "bale.toml: {error}"),
            Self::NoMemory(bytes) => {
                write!(f, "the firmware has no {} KiB of memory left", bytes >> 10)
            }
            Self::NoMap => f.write_str("the firmware's memory map cannot be used"),
            Self::TooMuch => f.write_str("the machine has more parts than the boot block holds"),
            Self::NoTables(acpi, tree) => {
                f.write_str("the firmware does not say what the machine has: ")?;
                match acpi {
                    Some(error) => write!(f, "{error}; ")?,
                    None => f.write_str("no ACPI tables; ")?,
                }
                match tree {
                    Some(error) => write!(f, "{error}"),
                    None => f.write_str("no device tree"),
                }
            }
        }
    }
}
