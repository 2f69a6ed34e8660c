//! The tables by name, for a report: who made each, how long it is, whether its checksum is right,
//! and which UARTs it names.

use core::fmt::{Result, Write};

use super::table::Table;
use super::{Memory, Signature, Tables};

/// Writes a line for each table that the root pointer leads to, or one that says why there is none.
///
/// # Errors
/// Only those of `out`.
pub fn describe<M: Memory>(memory: &M, root: u64, out: &mut impl Write) -> Result {
    let tables = match Tables::find(memory, root) {
        Ok(tables) => tables,
        Err(error) => return writeln!(out, "acpi: {error}"),
    };
    for entry in tables.entries() {
        let Some(name) = memory.bytes(entry, 4).and_then(|bytes| bytes.first_chunk()) else {
            writeln!(out, "acpi: a table at {entry:#x}, where no memory is")?;
            continue;
        };
        let signature = Signature(*name);
        match Table::read(memory, entry, signature) {
            Ok(table) => {
                let (maker, model) = table.made_by();
                write!(
                    out,
                    "acpi: {signature} at {entry:#x}, {} bytes, {maker} {model}",
                    table.length()
                )?;
                // Base addresses: SPCR 1.10, table 2, and Debug Port Table 2, the first device's
                // (offset of its list, of its addresses).
                let base = match name {
                    b"SPCR" => table.u64(44),
                    b"DBG2" => table.u32(36).and_then(|device| {
                        let addresses = table.u16(device as usize + 18)?;
                        table.u64(device as usize + usize::from(addresses) + 4)
                    }),
                    _ => {
                        writeln!(out)?;
                        continue;
                    }
                };
                match base {
                    Ok(base) => writeln!(out, ", UART {base:#x}")?,
                    Err(error) => writeln!(out, ": {error}")?,
                }
            }
            Err(error) => writeln!(out, "acpi: {error}")?,
        }
    }
    Ok(())
}
