//! The kernel's ELF, laid out in memory: a position-independent executable linked at 0 (ELF-64 object file format; it relocates itself).

use elf::ElfBytes;
use elf::abi::{EM_AARCH64, PT_LOAD};
use elf::endian::LittleEndian;
use uefi::boot::MemoryType;

use crate::error::LoadError;
use crate::files;

/// Where a kernel may begin, by the arm64 boot protocol.
const ALIGNMENT: usize = 2 << 20;
/// Memory that a kernel may want.
const LARGEST: u64 = 64 << 20;

/// A kernel in memory.
pub(crate) struct Kernel {
    /// First byte.
    pub(crate) base: u64,
    /// Bytes, those that it zeroes itself included.
    pub(crate) size: usize,
    /// First instruction.
    pub(crate) entry: u64,
}

/// Lays a kernel out.
pub(crate) fn load(file: &[u8]) -> Result<Kernel, LoadError> {
    let broken = |_| LoadError::Kernel("it is no ELF file");
    let elf = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(broken)?;
    if elf.ehdr.e_machine != EM_AARCH64 {
        return Err(LoadError::Kernel("it is not for AArch64"));
    }
    let segments = elf.segments().ok_or(LoadError::Kernel("it has nothing to load"))?;
    let loaded = || segments.iter().filter(|segment| segment.p_type == PT_LOAD);
    let end = loaded().map(|segment| segment.p_vaddr.saturating_add(segment.p_memsz)).max().unwrap_or(0);
    if end == 0 || end > LARGEST || elf.ehdr.e_entry >= end {
        return Err(LoadError::Kernel("it wants no memory, or more than 64 MiB"));
    }
    let size = usize::try_from(end).map_err(|_| LoadError::Kernel("it is too large"))?;
    let room = files::pages(size + ALIGNMENT, MemoryType::LOADER_CODE)?;
    let skip = room.as_ptr().align_offset(ALIGNMENT);
    let image = room.get_mut(skip..skip + size).ok_or(LoadError::NoMemory(size))?;
    for segment in loaded() {
        let bytes = elf.segment_data(&segment).map_err(|_| LoadError::Kernel("a part of it is missing"))?;
        let place = usize::try_from(segment.p_vaddr).ok();
        let to = place.and_then(|start| image.get_mut(start..start.checked_add(bytes.len())?));
        to.ok_or(LoadError::Kernel("a part of it lies outside of it"))?.copy_from_slice(bytes);
    }
    let base = image.as_ptr() as u64;
    Ok(Kernel { base, size, entry: base + elf.ehdr.e_entry })
}
