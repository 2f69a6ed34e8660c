//! Cores and interrupt controller: the MADT (ACPI 6.5, 5.2.12, tables 5.36 to 5.40).

use heapless::Vec;

use super::table::Table;
use super::{AcpiError, Memory, Signature, Tables};
use crate::device_tree::{Cpu, Gic, LeftOut, MAX_CPUS, MAX_REGIONS, Range};

/// Where the structures begin.
const STRUCTURES: usize = 44;
const GICC: u8 = 0x0b;
const GICD: u8 = 0x0c;
const GICR: u8 = 0x0e;
/// Registers of the distributor, IHI 0069, 12.8.
const DISTRIBUTOR: u64 = 0x1_0000;
/// A redistributor of a GICv4: four frames; a GICv3's has two and leaves the others alone.
const REDISTRIBUTOR: u64 = 0x4_0000;

pub(super) fn read<M: Memory>(
    tables: &Tables<'_, M>,
    left_out: &mut LeftOut,
) -> Result<(Gic, Vec<Cpu, MAX_CPUS>), AcpiError> {
    let table = tables.table(Signature::APIC)?;
    let (mut distributor, mut regions, mut bases) =
        (None, Vec::<Range, MAX_REGIONS>::new(), Vec::<u64, MAX_CPUS>::new());
    let mut cpus = Vec::new();
    for structure in table.structures(STRUCTURES) {
        match structure? {
            (GICC, core) if is_usable(&core)? => {
                let cpu = Cpu { affinity: core.u64(68)? & AFFINITY };
                let base = core.u64(60)?;
                // One that has no place needs no redistributor either.
                match cpus.push(cpu).is_ok() {
                    true => drop(bases.push(base)),
                    false => left_out.cores += 1,
                }
            }
            (GICD, controller) => {
                if controller.u8(20)? < 3 {
                    return Err(AcpiError::NoGic);
                }
                distributor = Some(Range { base: controller.u64(8)?, size: DISTRIBUTOR });
            }
            (GICR, region) => {
                let range = Range { base: region.u64(4)?, size: region.u32(12)?.into() };
                check(range)?;
                regions
                    .push(range)
                    .map_err(|_| AcpiError::TooMany("redistributor regions", MAX_REGIONS))?;
            }
            _ => {}
        }
    }
    if cpus.is_empty() {
        return Err(AcpiError::NoCpus);
    }
    let distributor = distributor.ok_or(AcpiError::NoGic)?;
    check(distributor)?;
    if regions.is_empty() {
        regions = by_core(bases)?;
    }
    Ok((Gic { distributor, redistributors: regions }, cpus))
}

/// Affinity fields of an MPIDR, DDI 0487, D19.2.
const AFFINITY: u64 = 0xff_00ff_ffff;

fn is_usable(core: &Table<'_>) -> Result<bool, AcpiError> {
    const ENABLED: u32 = 1;
    Ok(core.u32(12)? & ENABLED != 0)
}

/// Addresses that do not wrap.
fn check(range: Range) -> Result<(), AcpiError> {
    match range.base.checked_add(range.size) {
        Some(_) if range.base != 0 && range.size != 0 => Ok(()),
        _ => Err(AcpiError::Length(Signature::APIC)),
    }
}

/// Regions of redistributors that are named core by core, neighbours joined.
fn by_core(mut bases: Vec<u64, MAX_CPUS>) -> Result<Vec<Range, MAX_REGIONS>, AcpiError> {
    bases.sort_unstable();
    let mut regions: Vec<Range, MAX_REGIONS> = Vec::new();
    for base in bases {
        let next = Range { base, size: REDISTRIBUTOR };
        check(next).map_err(|_| AcpiError::NoRedistributors)?;
        match regions.last_mut() {
            Some(last) if base <= last.base + last.size => {
                last.size = base + REDISTRIBUTOR - last.base
            }
            _ => regions
                .push(next)
                .map_err(|_| AcpiError::TooMany("redistributor regions", MAX_REGIONS))?,
        }
    }
    Ok(regions)
}
