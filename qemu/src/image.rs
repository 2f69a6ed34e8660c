//! An ELF made flat: its loadable segments laid out by physical address, from the lowest.
//!
//! The arm64 Image header (Linux, Documentation/arch/arm64/booting.rst) is the first 64 bytes of
//! the program itself; what is checked here is that it is there, since QEMU and the kernel start an
//! image without it in another way.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use object::Endianness;
use object::elf::{EM_AARCH64, FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};

const MAGIC: &[u8; 4] = b"ARM\x64";
const MAGIC_OFFSET: usize = 0x38;
/// Larger than any image of ours; keeps a broken address from filling the memory.
const LARGEST: u64 = 256 << 20;

/// Writes the flat image of the ELF.
pub(crate) fn flatten_file(elf: &Path, out: &Path) -> Result<()> {
    let bytes = fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    let flat =
        flatten(&bytes).with_context(|| format!("{} cannot be made an Image", elf.display()))?;
    fs::write(out, flat).with_context(|| format!("cannot write {}", out.display()))
}

/// The flat image of an ELF.
pub(crate) fn flatten(elf: &[u8]) -> Result<Vec<u8>> {
    let header = FileHeader64::<Endianness>::parse(elf).context("it is not a 64-bit ELF")?;
    let endian = header.endian()?;
    ensure!(header.e_machine(endian) == EM_AARCH64, "it is not for AArch64");
    let segments: Vec<_> = header
        .program_headers(endian, elf)?
        .iter()
        .filter(|segment| segment.p_type(endian) == PT_LOAD && segment.p_filesz(endian) > 0)
        .collect();
    let Some(lowest) = segments.iter().map(|segment| segment.p_paddr(endian)).min() else {
        bail!("it has nothing to load");
    };
    let mut flat = Vec::new();
    for segment in segments {
        let at = segment.p_paddr(endian) - lowest;
        ensure!(at < LARGEST, "a segment lies {at:#x} bytes above the lowest one");
        let at = usize::try_from(at)?;
        let Ok(data) = segment.data(endian, elf) else {
            bail!("a segment reaches beyond the file")
        };
        if flat.len() < at + data.len() {
            flat.resize(at + data.len(), 0);
        }
        flat[at..at + data.len()].copy_from_slice(data);
    }
    ensure!(
        flat.get(MAGIC_OFFSET..MAGIC_OFFSET + 4) == Some(MAGIC),
        "it does not begin with the arm64 Image header"
    );
    Ok(flat)
}

#[cfg(test)]
mod tests;
