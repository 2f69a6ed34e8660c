//! The console: the SPCR (Serial Port Console Redirection Table 1.10), and boards on which it is not to be believed.

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
    let table = tables.table(Signature::SPCR)?;
    let (kind, space, base) = (table.u8(36)?, table.u8(40)?, table.u64(44)?);
    let (how, interrupt) = (table.u8(52)?, table.u32(54)?);
    let known = [PL011, SBSA_32_BIT, SBSA].contains(&kind) && space == IN_MEMORY;
    let reachable = base != 0 && base.is_multiple_of(4096) && how & BY_GIC != 0 && interrupt >= SHARED;
    if known && reachable { Ok(Uart { base, interrupt }) } else { Err(AcpiError::NoUart) }
}
