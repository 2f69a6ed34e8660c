//! What can be seen of the firmware only while it is there, as text for the kernel's `board
//! report`.

use core::arch::asm;
use core::fmt::{self, Write};

use bale_core::acpi;
use uefi::boot::{self, MemoryType, OpenProtocolAttributes, OpenProtocolParams};
use uefi::mem::memory_map::{MemoryMap, MemoryMapOwned};
use uefi::proto::console::gop::{GraphicsOutput, PixelFormat};
use uefi::runtime::{self, VariableVendor};
use uefi::table::cfg::ConfigTableEntry;
use uefi::{CStr16, cstr16, system};

use crate::error::LoadError;
use crate::files;
use crate::machine::Firmware;

/// Bytes of text; a longer one is cut, and says so.
const ROOM: usize = 32 << 10;
const CUT: &str = "the rest did not fit\n";

/// Text in memory that stays.
struct Text {
    bytes: &'static mut [u8],
    length: usize,
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        if end + CUT.len() > self.bytes.len() {
            return Err(fmt::Error);
        }
        self.bytes[self.length..end].copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// What is cleaned from caches to memory before they go off: name, first byte, length.
type Cleaned = (&'static str, u64, usize);

/// Writes the text down.
pub(crate) fn write(cleaned: impl Iterator<Item = Cleaned>) -> Result<&'static [u8], LoadError> {
    let map = boot::memory_map(MemoryType::LOADER_DATA).map_err(|_| LoadError::NoMap)?;
    let mut text = Text { bytes: files::pages(ROOM, MemoryType::LOADER_DATA)?, length: 0 };
    if describe(map, cleaned, &mut text).is_err() {
        let end = text.length + CUT.len();
        text.bytes[text.length..end].copy_from_slice(CUT.as_bytes());
        text.length = end;
    }
    Ok(&text.bytes[..text.length])
}

fn describe(
    map: MemoryMapOwned,
    cleaned: impl Iterator<Item = Cleaned>,
    out: &mut Text,
) -> fmt::Result {
    writeln!(
        out,
        "firmware: {} {:#x}, UEFI {}",
        system::firmware_vendor(),
        system::firmware_revision(),
        system::uefi_revision()
    )?;
    let (mut hypervisor, mut system_control): (u64, u64);
    // SAFETY: reads registers of EL2, where we are.
    unsafe {
        asm!("mrs {}, hcr_el2", "mrs {}, sctlr_el2", out(reg) hypervisor, out(reg) system_control, options(nomem, nostack));
    }
    writeln!(out, "firmware: HCR_EL2 {hypervisor:#x}, SCTLR_EL2 {system_control:#x}")?;
    for name in [cstr16!("SecureBoot"), cstr16!("SetupMode")] {
        writeln!(out, "firmware: {name} {}", Flag(name))?;
    }
    for (name, start, length) in cleaned {
        writeln!(out, "loader: {name} at {start:#x}, {length:#x} bytes, cleaned to memory")?;
    }
    screen(out)?;
    let tables = |wanted| {
        system::with_config_table(|entries| {
            entries.iter().find(|entry| entry.guid == wanted).map(|entry| entry.address as u64)
        })
    };
    let tree = tables(crate::machine::DEVICE_TREE);
    writeln!(out, "firmware: device tree {}", if tree.is_some() { "there" } else { "not there" })?;
    let firmware = Firmware(map);
    match tables(ConfigTableEntry::ACPI2_GUID) {
        Some(root) => acpi::describe(&firmware, root, out)?,
        None => writeln!(out, "acpi: no tables")?,
    }
    memory(&firmware.0, out)
}

/// A variable of one byte (UEFI 2.10, 3.3).
struct Flag(&'static CStr16);

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = [0; 1];
        match runtime::get_variable(self.0, &VariableVendor::GLOBAL_VARIABLE, &mut value) {
            Ok((value, _)) => write!(f, "{}", value.first().copied().unwrap_or(0)),
            Err(error) => write!(f, "unknown ({:?})", error.status()),
        }
    }
}

/// The screen, which stays as it is.
fn screen(out: &mut Text) -> fmt::Result {
    let Ok(handle) = boot::get_handle_for_protocol::<GraphicsOutput>() else {
        return writeln!(out, "screen: none");
    };
    let params = OpenProtocolParams { handle, agent: boot::image_handle(), controller: None };
    // SAFETY: looked at only, and closed before anything could take it away; to open it exclusively
    // would end the firmware's console.
    let opened = unsafe {
        boot::open_protocol::<GraphicsOutput>(params, OpenProtocolAttributes::GetProtocol)
    };
    let Ok(mut screen) = opened else { return writeln!(out, "screen: not to be opened") };
    let mode = screen.current_mode_info();
    let (width, height) = mode.resolution();
    write!(
        out,
        "screen: {width} x {height}, {:?}, {} pixels a line",
        mode.pixel_format(),
        mode.stride()
    )?;
    if mode.pixel_format() == PixelFormat::BltOnly {
        return writeln!(out);
    }
    let mut buffer = screen.frame_buffer();
    writeln!(out, ", {} bytes at {:p}", buffer.size(), buffer.as_mut_ptr())
}

/// The firmware's map, neighbours of one kind joined.
fn memory(map: &MemoryMapOwned, out: &mut Text) -> fmt::Result {
    let mut run: Option<(MemoryType, u64, u64)> = None;
    let show = |out: &mut Text, (kind, start, end): (MemoryType, u64, u64)| {
        writeln!(out, "efi: {start:#x}..{end:#x} {kind:?}")
    };
    for range in map.entries() {
        let (start, end) = (range.phys_start, range.phys_start + range.page_count * 4096);
        match &mut run {
            Some((kind, _, last)) if *kind == range.ty && *last == start => *last = end,
            _ => {
                if let Some(done) = run.replace((range.ty, start, end)) {
                    show(out, done)?;
                }
            }
        }
    }
    run.map_or(Ok(()), |last| show(out, last))
}
