//! The console: the SPCR (Serial Port Console Redirection Table 1.10), boards on which it is not to
//! be believed, and what DBG2 knows.

use super::table::Table;
use super::{AcpiError, Memory, Signature, Tables, corrections};
use crate::device_tree::Uart;

const PL011: u8 = 3;
const SBSA_32_BIT: u8 = 0x0d;
const SBSA: u8 = 0x0e;
const IN_MEMORY: u8 = 0;
/// Bit of the interrupt type: the GIC's number is given.
const BY_GIC: u8 = 1 << 3;
/// Least number of an interrupt that all cores share, IHI 0069, 2.2.1.
const SHARED: u32 = 32;

pub(super) fn read<M: Memory>(tables: &Tables<'_, M>) -> Result<Uart, AcpiError> {
    if let Some(known) = corrections::of(tables.maker()) {
        return Ok(known.uart);
    }
    match tables.table(Signature::SPCR) {
        Ok(table) => by_spcr(&table)?.ok_or_else(|| AcpiError::NoUart(by_dbg2(tables))),
        Err(AcpiError::Missing(_)) => Err(AcpiError::NoUart(by_dbg2(tables))),
        Err(error) => Err(error),
    }
}

fn by_spcr(table: &Table<'_>) -> Result<Option<Uart>, AcpiError> {
    let (kind, space, base) = (table.u8(36)?, table.u8(40)?, table.u64(44)?);
    let (how, interrupt) = (table.u8(52)?, table.u32(54)?);
    let reachable =
        is_reachable(kind.into(), space, base) && how & BY_GIC != 0 && interrupt >= SHARED;
    Ok(reachable.then_some(Uart { base, interrupt }))
}

/// A PL011 whose registers are in memory.
fn is_reachable(kind: u16, space: u8, base: u64) -> bool {
    let known = [PL011, SBSA_32_BIT, SBSA].map(u16::from).contains(&kind);
    known && space == IN_MEMORY && base != 0 && base.is_multiple_of(4096)
}

/// Where the first PL011 of the debug ports is (Microsoft Debug Port Table 2, tables 1 to 3). What
/// is wrong with the table matters to nobody: it is looked at for a hint.
fn by_dbg2<M: Memory>(tables: &Tables<'_, M>) -> Option<u64> {
    /// Type of a port: serial.
    const SERIAL: u16 = 0x8000;
    let table = tables.table(Signature::DBG2).ok()?;
    let (mut at, count) = (table.u32(36).ok()? as usize, table.u32(40).ok()?);
    for _ in 0..count {
        let length = usize::from(table.u16(at + 1).ok()?);
        let port = table.part(at, at.checked_add(length)?).ok()?;
        let address = usize::from(port.u16(18).ok()?);
        let (space, base) = (port.u8(address).ok()?, port.u64(address + 4).ok()?);
        if port.u16(12).ok()? == SERIAL && is_reachable(port.u16(14).ok()?, space, base) {
            return Some(base);
        }
        // A length of zero would lead here again.
        at = at.checked_add(length.max(1))?;
    }
    None
}
