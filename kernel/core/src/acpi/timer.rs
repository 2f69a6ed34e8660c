//! Interrupts of the generic timer: the GTDT (ACPI 6.5, 5.2.25, table 5.120).

use super::{AcpiError, Memory, Signature, Tables};
use crate::device_tree::Timer;

pub(super) fn read<M: Memory>(tables: &Tables<'_, M>) -> Result<Timer, AcpiError> {
    let table = tables.table(Signature::GTDT)?;
    let timer = Timer {
        physical: table.u32(56)?,
        virtual_timer: table.u32(64)?,
        hypervisor_physical: table.u32(72)?,
    };
    // PPIs, IHI 0069, 2.2.1.
    if (16..32).contains(&timer.hypervisor_physical) { Ok(timer) } else { Err(AcpiError::NoTimer) }
}
