//! What the machine has, by the firmware's tables.

use core::slice;

use bale_core::acpi::{self, AcpiError};
use bale_core::calendar::Date;
use bale_core::device_tree::{Machine, MachineError, Range, Uart};
use bale_core::smbios;
use uefi::boot::{self, MemoryType};
use uefi::mem::memory_map::{MemoryDescriptor, MemoryMap as _, MemoryMapOwned};
use uefi::table::cfg::ConfigTableEntry;
use uefi::{Guid, guid, println, runtime, system};

use crate::error::LoadError;

/// EFI_DTB_TABLE_GUID, UEFI 2.10, 4.6.1.3.
pub(crate) const DEVICE_TREE: Guid = guid!("b1b621d5-f19c-41a5-830b-d9152c69aae0");
/// Bytes of a device tree that are looked at, at most.
const LARGEST_TREE: usize = 2 << 20;
const PAGE: u64 = 4096;

/// The firmware's memory, as far as its map says that it is memory.
pub(crate) struct Firmware(pub(crate) MemoryMapOwned);

impl acpi::Memory for Firmware {
    fn bytes(&self, address: u64, length: usize) -> Option<&[u8]> {
        let end = address.checked_add(length as u64)?;
        let mut at = address;
        // Tables may cross from one range of the map into the next.
        while at < end {
            let range = self.0.entries().find(|range| {
                let last = range.phys_start.saturating_add(range.page_count.saturating_mul(PAGE));
                is_memory(range) && (range.phys_start..last).contains(&at)
            })?;
            at = range.phys_start.saturating_add(range.page_count.saturating_mul(PAGE));
        }
        // SAFETY: memory by the firmware's own map, which the firmware maps to itself; nobody
        // writes to its tables meanwhile.
        Some(unsafe { slice::from_raw_parts(address as *const u8, length) })
    }
}

fn is_memory(range: &MemoryDescriptor) -> bool {
    ![MemoryType::MMIO, MemoryType::MMIO_PORT_SPACE, MemoryType::UNUSABLE].contains(&range.ty)
}

/// What time it is by the firmware's clock, in seconds since the beginning of 1970, UTC, if it
/// knows (UEFI 2.10, 8.3.1).
pub(crate) fn time() -> Option<u64> {
    let now = runtime::get_time().ok()?;
    let date = Date {
        year: now.year(),
        month: now.month(),
        day: now.day(),
        time: [now.hour(), now.minute(), now.second()],
        zone: now.time_zone(),
    };
    date.seconds()
}

/// Reads the machine: ACPI first, since that is what firmware is tested with; a device tree where
/// there are no tables, or broken ones.
pub(crate) fn find(console: Option<Uart>) -> Result<Machine, LoadError> {
    let map = boot::memory_map(MemoryType::LOADER_DATA).map_err(|_| LoadError::NoMap)?;
    let firmware = Firmware(map);
    let table = |wanted: Guid| {
        system::with_config_table(|entries| {
            entries.iter().find(|entry| entry.guid == wanted).map(|entry| entry.address as u64)
        })
    };
    let product =
        table(ConfigTableEntry::SMBIOS3_GUID).and_then(|entry| smbios::product(&firmware, entry));
    let acpi = table(ConfigTableEntry::ACPI2_GUID)
        .map(|root| acpi::machine(&firmware, root, console, product.as_deref()));
    let acpi_error = match acpi {
        Some(Ok(machine)) => return Ok(machine),
        Some(Err(error)) => Some(error),
        None => None,
    };
    match table(DEVICE_TREE).map(|address| device_tree(&firmware, address)) {
        Some(Ok(machine)) => {
            if let Some(error) = acpi_error {
                println!("bale: {error}; the device tree is used");
            }
            Ok(machine)
        }
        Some(Err(error)) => Err(LoadError::NoTables(acpi_error, Some(error))),
        None => Err(no_tree(acpi_error)),
    }
}

fn no_tree(acpi: Option<AcpiError>) -> LoadError {
    LoadError::NoTables(acpi, None)
}

fn device_tree(firmware: &Firmware, address: u64) -> Result<Machine, MachineError> {
    use bale_core::acpi::Memory as _;
    let size = firmware.bytes(address, 8).and_then(|header| header[4..].first_chunk().copied());
    let size = size.map_or(0, u32::from_be_bytes) as usize;
    let tree = firmware.bytes(address, size.min(LARGEST_TREE)).ok_or(MachineError::Broken)?;
    // Memory is what the firmware's map says.
    let mut machine = Machine::without_memory(tree)?;
    // The loader brings its own bundle; what the tree reserves stays so, whatever the firmware's
    // map calls it.
    machine.initrd = None;
    acpi::keep_out(&mut machine, tree);
    Ok(machine)
}

/// What the kernel may use once the firmware is gone.
pub(crate) fn usable<'a>(
    map: impl Iterator<Item = &'a MemoryDescriptor>,
) -> impl Iterator<Item = Range> {
    const FREE: [MemoryType; 5] = [
        MemoryType::CONVENTIONAL,
        MemoryType::BOOT_SERVICES_CODE,
        MemoryType::BOOT_SERVICES_DATA,
        MemoryType::LOADER_CODE,
        MemoryType::LOADER_DATA,
    ];
    map.filter(|range| FREE.contains(&range.ty))
        .map(|range| Range { base: range.phys_start, size: range.page_count.saturating_mul(PAGE) })
}
