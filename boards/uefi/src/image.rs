//! The kernel's ELF, laid out in memory: a position-independent executable linked at 0 (ELF-64
//! object file format; it relocates itself).

use core::slice;

use bale_core::device_tree::Range;
use bale_core::handover;
use bale_core::last_words::ROOM;
use elf::ElfBytes;
use elf::abi::{EM_AARCH64, PT_LOAD};
use elf::endian::LittleEndian;
use uefi::boot::{self, AllocateType, MemoryType};
use uefi::mem::memory_map::{MemoryMap as _, MemoryMapOwned};

use crate::error::LoadError;
use crate::{files, random};

/// A kernel may begin at a multiple of it, by the arm64 boot protocol.
const ALIGNMENT: usize = 2 << 20;
/// Between two places for it, so that a free part that is a little larger or smaller than last time
/// makes no difference. A multiple of that.
const STEP: u64 = 64 << 20;
const PAGE: usize = 4096;
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
    /// Room for its last words, where it may be somewhere else next time.
    pub(crate) kept: Option<Range>,
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
    let end =
        loaded().map(|segment| segment.p_vaddr.saturating_add(segment.p_memsz)).max().unwrap_or(0);
    if end == 0 || end > LARGEST || elf.ehdr.e_entry >= end {
        return Err(LoadError::Kernel("it wants no memory, or more than 64 MiB"));
    }
    let size = usize::try_from(end).map_err(|_| LoadError::Kernel("it is too large"))?;
    let (image, kept) = place(size)?;
    for segment in loaded() {
        let bytes =
            elf.segment_data(&segment).map_err(|_| LoadError::Kernel("a part of it is missing"))?;
        let place = usize::try_from(segment.p_vaddr).ok();
        let to = place.and_then(|start| image.get_mut(start..start.checked_add(bytes.len())?));
        to.ok_or(LoadError::Kernel("a part of it lies outside of it"))?.copy_from_slice(bytes);
    }
    let base = image.as_ptr() as u64;
    Ok(Kernel { base, size, entry: base + elf.ehdr.e_entry, kept })
}

/// Memory for the kernel. Where the firmware has random numbers it is at a place that nobody can
/// tell beforehand, and room for last words is where [`handover::place`] says, always the same;
/// else the kernel is there itself. What is there stays but for what is laid over it: a kernel
/// looks for the last words of the one before it.
fn place(size: usize) -> Result<(&'static mut [u8], Option<Range>), LoadError> {
    let wanted = size.next_multiple_of(PAGE) as u64;
    if let Some(number) = random::number()
        && let Some(kept) = handover::place(free(&memory()?), ROOM as u64, STEP)
        && let Some(room) = take(kept, ROOM, MemoryType::LOADER_DATA)
        // The map is another one now: the room is not free any more.
        && let Some(address) =
            handover::place_anywhere(free(&memory()?), wanted, ALIGNMENT as u64, number)
        && let Some(image) = take(address, size, MemoryType::LOADER_CODE)
    {
        let kept = Range { base: room.as_ptr() as u64, size: ROOM as u64 };
        return Ok((image, Some(kept)));
    }
    if let Some(address) = handover::place(free(&memory()?), wanted, STEP)
        && let Some(image) = take(address, size, MemoryType::LOADER_CODE)
    {
        return Ok((image, None));
    }
    let room = files::pages(size + ALIGNMENT, MemoryType::LOADER_CODE)?;
    let skip = room.as_ptr().align_offset(ALIGNMENT);
    let image = room.get_mut(skip..skip + size).ok_or(LoadError::NoMemory(size))?;
    Ok((image, None))
}

/// The firmware's memory as it is now.
fn memory() -> Result<MemoryMapOwned, LoadError> {
    boot::memory_map(MemoryType::LOADER_DATA).map_err(|_| LoadError::NoMap)
}

/// What of it is free.
fn free(map: &MemoryMapOwned) -> impl Iterator<Item = Range> + Clone {
    map.entries()
        .filter(|entry| entry.ty == MemoryType::CONVENTIONAL)
        .map(|entry| Range { base: entry.phys_start, size: entry.page_count * PAGE as u64 })
}

/// Memory at this address, with the bytes that it has; `None` if the firmware does not give it.
fn take(address: u64, size: usize, kind: MemoryType) -> Option<&'static mut [u8]> {
    let pages = size.div_ceil(PAGE);
    let start = boot::allocate_pages(AllocateType::Address(address), kind, pages).ok()?;
    // SAFETY: the firmware gave these pages to us, for good; they are mapped at this address, and
    // hold some bytes or other.
    Some(unsafe { slice::from_raw_parts_mut(start.as_ptr(), size) })
}
