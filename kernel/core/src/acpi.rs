//! What a machine has, read from its ACPI tables (ACPI 6.5; SPCR 1.10 by Microsoft; GTDT, MADT of
//! chapters 5.2.24 and 5.2.12).
//!
//! The bytes are not trusted. A table that is broken is named in the error and nothing of it is
//! used; memory is what the firmware's own map says, not ACPI, so a machine read here has none
//! until somebody adds it.

mod console;
mod cores;
mod corrections;
mod describe;
mod table;
mod timer;

use core::fmt;

use heapless::{String, Vec};

use crate::device_tree::{Conduit, LeftOut, Machine, Uart};

pub use self::corrections::{keep_out, watched};
pub use self::describe::describe;
pub use self::table::{Signature, Tables};

/// Memory that the tables lie in, by physical address.
pub trait Memory {
    /// The bytes from `address` on; `None` if they are not all readable memory.
    fn bytes(&self, address: u64, length: usize) -> Option<&[u8]>;
}

/// Why tables do not describe a machine that Bale can start on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcpiError {
    /// No root pointer of ACPI 2.0 or later where one was said to be.
    NoRoot,
    /// The table's bytes do not sum to zero.
    Checksum(Signature),
    /// The table says a length that it cannot have, or something in it passes its end.
    Length(Signature),
    /// The table, or a part of it, lies in no memory.
    Unreadable(Signature),
    /// There is no such table.
    Missing(Signature),
    /// The interrupt controller is older than GICv3.
    NoGic,
    /// No redistributors, neither as regions nor by core.
    NoRedistributors,
    /// No core that may be used.
    NoCpus,
    /// SPCR names no PL011 in memory with an interrupt; where DBG2 names one, which has no
    /// interrupt there.
    NoUart(Option<u64>),
    /// No interrupt of the EL2 timer.
    NoTimer,
    /// The firmware does not claim PSCI.
    NoPsci,
    /// More of these than Bale has room for.
    TooMany(&'static str, usize),
}

impl fmt::Display for AcpiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoot => f.write_str("there is no ACPI root pointer of version 2 or later"),
            Self::Checksum(table) => write!(f, "the ACPI table {table} has a wrong checksum"),
            Self::Length(table) => write!(f, "something in the ACPI table {table} passes its end"),
            Self::Unreadable(table) => write!(f, "the ACPI table {table} does not lie in memory"),
            Self::Missing(table) => write!(f, "there is no ACPI table {table}"),
            Self::NoGic => f.write_str("the ACPI table APIC names no GICv3 or later"),
            Self::NoRedistributors => f.write_str("the ACPI table APIC names no redistributors"),
            Self::NoCpus => f.write_str("the ACPI table APIC names no core that may be used"),
            Self::NoUart(named) => {
                f.write_str("no ACPI table SPCR names a PL011 with an interrupt")?;
                match named {
                    Some(base) => write!(
                        f,
                        "; DBG2 names one at {base:#x} without its interrupt: write `console = [{base:#x}, N]` into bale.toml, \
                         N being the interrupt that the board's manual has for it"
                    ),
                    None => f.write_str(
                        ": write `console = [ADDRESS, INTERRUPT]` into bale.toml, as the board's manual has them",
                    ),
                }
            }
            Self::NoTimer => f.write_str("the ACPI table GTDT names no interrupt of the EL2 timer"),
            Self::NoPsci => f.write_str("the ACPI table FACP does not claim PSCI"),
            Self::TooMany(what, most) => {
                write!(f, "ACPI names more {what} than the {most} that Bale has room for")
            }
        }
    }
}

/// Reads a machine; its memory is empty. `root` is the address of the root pointer (RSDP); a
/// console that is given is not looked for. `product` is what the firmware calls the machine
/// elsewhere, if anything ([`crate::smbios`]).
///
/// # Errors
/// See [`AcpiError`].
pub fn machine(
    memory: &impl Memory,
    root: u64,
    console: Option<Uart>,
    product: Option<&str>,
) -> Result<Machine, AcpiError> {
    let tables = Tables::find(memory, root)?;
    let mut left_out = LeftOut::default();
    let (gic, cpus) = cores::read(&tables, &mut left_out)?;
    let known = corrections::of(tables.maker());
    Ok(Machine {
        model: known.map_or_else(String::new, |known| known.name(product)),
        emulated: tables.maker() == EMULATOR,
        memory: Vec::new(),
        reserved: known.map_or(&[][..], |known| known.kept).iter().copied().collect(),
        cpus,
        gic,
        uart: console.map_or_else(|| console::read(&tables), Ok)?,
        timer: timer::read(&tables)?,
        psci: conduit(&tables)?,
        bootargs: String::new(),
        initrd: None,
        // They are described in bytecode (DSDT), which nobody here runs.
        virtio: Vec::new(),
        // Time is the firmware's to tell there, as long as it runs.
        clock: None,
        started: None,
        firmware: None,
        kept: None,
        commands: String::new(),
        left_out,
    })
}

/// The maker by the tables of QEMU (its include/hw/acpi/aml-build.h, `ACPI_BUILD_APPNAME6`).
const EMULATOR: [u8; 6] = *b"BOCHS ";

/// How PSCI is called: the ARM boot flags of the FADT, ACPI 6.5 table 5.11.
fn conduit<M: Memory>(tables: &Tables<'_, M>) -> Result<Conduit, AcpiError> {
    const FLAGS: usize = 129;
    let table = tables.table(Signature::FACP)?;
    let flags = table.u16(FLAGS)?;
    match flags & 3 {
        1 => Ok(Conduit::Smc),
        3 => Ok(Conduit::Hvc),
        _ => Err(AcpiError::NoPsci),
    }
}

#[cfg(test)]
mod tests;
