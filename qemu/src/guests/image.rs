//! A guest's image as it is handed to the kernel: unpacked, and an ELF file laid out as it is in
//! memory.
//!
//! The kernel takes two kinds, an arm64 Image and raw bytes for an address. What compilers,
//! distributions and test suites make beside them becomes one of those here.

use std::io::Read;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bale_core::guest_image::{Format, GuestImage, ImageError, Raw};
use bale_core::guest_tree::{FIRMWARE, RAM};
use bale_core::semihosting::{HLT, HVC};
use bale_core::vm_description::LARGEST_MEMORY;
use object::elf::{EM_AARCH64, FileHeader64, PF_X, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};

/// Bytes of an unpacked image at most: a small file may claim to be a large one.
const LARGEST: u64 = 1 << 30;
/// KiB of memory that unpacking takes at most, as a file's own header asks for.
const UNPACKING_KIB: u32 = 1 << 20;
/// Layers of packing at most: a zboot image is one in one.
const LAYERS: usize = 4;

/// Bytes for a guest's memory.
pub(crate) struct Prepared {
    pub(crate) bytes: Vec<u8>,
    /// Where they go and start, unless they have the header of an arm64 Image.
    pub(crate) raw: Option<Raw>,
    /// Parts of them that may hold instructions, from byte to byte.
    code: Vec<(usize, usize)>,
}

impl Prepared {
    /// What a file holds, unpacked; `raw` says that it is no arm64 Image whatever it looks like,
    /// and where it goes.
    ///
    /// # Errors
    /// It cannot be started, or not unpacked.
    pub(crate) fn new(file: Vec<u8>, raw: Option<Raw>) -> Result<Self> {
        ensure!(!file.is_empty(), "it is empty");
        if let Some(Raw { load, .. }) = raw {
            let file = if load == FIRMWARE { without_padding(file) } else { file };
            return Ok(Self::of(file, raw));
        }
        let image = unpacked(file)?;
        if Format::of(&image) == Format::Elf {
            return elf(&image);
        }
        GuestImage::parse(&image).map_err(|error| anyhow!("{error}"))?;
        Ok(Self::of(image, None))
    }

    /// As [`Self::new`]; what has no header and looks like nothing that is known is a raw binary.
    pub(crate) fn guess(file: Vec<u8>, place: Raw) -> Result<Self> {
        ensure!(!file.is_empty(), "it is empty");
        let image = unpacked(file)?;
        match GuestImage::parse(&image) {
            Err(ImageError::TooShort | ImageError::Other(Format::Unknown)) => {
                Ok(Self::of(image, Some(place)))
            }
            _ => Self::new(image, None),
        }
    }

    /// Lines of a description that say how it is placed, where its header does not.
    pub(crate) fn lines(&self) -> String {
        self.raw.map_or_else(String::new, |Raw { load, entry }| {
            if load == FIRMWARE {
                "image = firmware\n".to_owned()
            } else {
                format!("image = raw\nload = {load:#x}\nentry = {entry:#x}\n")
            }
        })
    }

    fn of(bytes: Vec<u8>, raw: Option<Raw>) -> Self {
        let code = vec![(0, bytes.len())];
        Self { bytes, raw, code }
    }

    /// Makes semihosting calls, which nothing takes from a guest to its hypervisor, calls of the
    /// hypervisor; how many there are.
    pub(crate) fn call_for_semihosting(&mut self) -> usize {
        let mut found = 0;
        for &(start, end) in &self.code {
            // Instructions are aligned in memory, as an Image and most raw binaries are there.
            let start = start.next_multiple_of(4);
            let Some(code) = self.bytes.get_mut(start..end) else { continue };
            for word in code.as_chunks_mut::<4>().0 {
                if u32::from_le_bytes(*word) == HLT {
                    *word = HVC.to_le_bytes();
                    found += 1;
                }
            }
        }
        found
    }
}

/// Firmware is padded to the length of a flash, which need not be kept in memory; whole blocks of
/// it are what it may look at.
fn without_padding(mut file: Vec<u8>) -> Vec<u8> {
    const BLOCK: usize = 64 << 10;
    let used = file.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    file.truncate(used.next_multiple_of(BLOCK).min(file.len()));
    file
}

/// Unpacks a file as often as it is packed.
fn unpacked(mut file: Vec<u8>) -> Result<Vec<u8>> {
    for _ in 0..LAYERS {
        // Some arm64 Images begin with bytes that mean something else elsewhere.
        if GuestImage::parse(&file).is_ok() {
            return Ok(file);
        }
        file = match Format::of(&file) {
            Format::Zboot => zboot(&file)?,
            format => match unpack(format, &file) {
                Some(unpacked) => {
                    unpacked.with_context(|| format!("it cannot be unpacked ({format:?})"))?
                }
                None => return Ok(file),
            },
        };
    }
    bail!("it is packed more than {LAYERS} times")
}

fn unpack(format: Format, packed: &[u8]) -> Option<Result<Vec<u8>>> {
    Some(match format {
        // Several members may follow one another, and other bytes behind them.
        Format::Gzip => read(flate2::read::GzDecoder::new(packed)),
        Format::Zstd => ruzstd::decoding::StreamingDecoder::new(packed)
            .map_err(|error| anyhow!("{error}"))
            .and_then(read),
        Format::Xz => read(lzma_rust2::XzReader::new_mem_limit(packed, true, UNPACKING_KIB)),
        Format::Lzma => lzma_rust2::LzmaReader::new_mem_limit(packed, UNPACKING_KIB, None)
            .map_err(Into::into)
            .and_then(read),
        Format::Bzip2 => read(bzip2::read::MultiBzDecoder::new(packed)),
        _ => return None,
    })
}

fn read(reader: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(LARGEST + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= LARGEST, "it holds more than {} MiB", LARGEST >> 20);
    Ok(bytes)
}

/// What an EFI zboot image holds (Linux, drivers/firmware/efi/libstub/zboot-header.S): its header
/// says where, and packed by what.
fn zboot(image: &[u8]) -> Result<Vec<u8>> {
    let word = |at: usize| {
        let bytes = image.get(at..at + 4).context("its header is cut")?;
        Ok::<_, anyhow::Error>(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
    };
    let (start, length) = (word(8)?, word(12)?);
    let payload = start.checked_add(length).and_then(|end| image.get(start..end));
    let payload = payload.with_context(|| {
        format!("it is truncated: {} bytes, of which {length} begin at {start}", image.len())
    })?;
    let name = image.get(24..56).context("its header is cut")?.split(|byte| *byte == 0).next();
    let name = String::from_utf8_lossy(name.unwrap_or(&[])).into_owned();
    let format = match name.as_str() {
        "gzip" => Format::Gzip,
        "zstd" | "zstd22" => Format::Zstd,
        "xz" | "xzkern" => Format::Xz,
        "lzma" => Format::Lzma,
        "bzip2" => Format::Bzip2,
        _ => bail!("it is an EFI zboot image packed with {name:?}, which is not known here"),
    };
    let unpacked = unpack(format, payload).with_context(|| format!("no way to unpack {name}"))?;
    unpacked.with_context(|| format!("what it holds cannot be unpacked ({name})"))
}

/// The segments of an ELF file as they lie in memory, from the first to the last: at their physical
/// addresses, as QEMU loads them.
fn elf(file: &[u8]) -> Result<Prepared> {
    let header = FileHeader64::<object::Endianness>::parse(file).map_err(|error| {
        anyhow!("it is an ELF file that cannot be read (64-bit is wanted): {error}")
    })?;
    let endian = header
        .endian()
        .map_err(|error| anyhow!("it is an ELF file of a strange byte order: {error}"))?;
    let machine = header.e_machine(endian);
    ensure!(
        machine == EM_AARCH64,
        "it is an ELF file for another machine (number {machine}), not for AArch64"
    );
    ensure!(endian == object::Endianness::Little, "it is a big-endian ELF file");
    let segments =
        header.program_headers(endian, file).map_err(|error| anyhow!("its segments: {error}"))?;
    let loaded = || {
        segments
            .iter()
            .filter(|segment| segment.p_type(endian) == PT_LOAD && segment.p_memsz(endian) != 0)
    };
    let first = loaded()
        .map(|segment| segment.p_paddr(endian))
        .min()
        .context("it is an ELF file with nothing to load")?;
    let end = |segment: &object::elf::ProgramHeader64<_>| {
        segment.p_paddr(endian).checked_add(segment.p_memsz(endian))
    };
    let last = loaded()
        .map(end)
        .try_fold(0, |last, end| Some(last.max(end?)))
        .context("its segments are too long")?;
    ensure!(
        first >= RAM && last - RAM <= LARGEST_MEMORY,
        "it is loaded from {first:#x} to {last:#x}; a guest's memory begins at {RAM:#x}"
    );
    let length = usize::try_from(last - first)?;
    ensure!(length as u64 <= LARGEST, "its segments lie {} MiB apart", (last - first) >> 20);
    let mut bytes = vec![0; length];
    let mut code = Vec::new();
    let mut entry = header.e_entry(endian);
    let given = entry;
    for segment in loaded() {
        let content = segment
            .data(endian, file)
            .map_err(|()| anyhow!("it is truncated: a segment lies behind its end"))?;
        ensure!(
            content.len() as u64 <= segment.p_memsz(endian),
            "a segment of it is longer in the file than in memory"
        );
        let start = usize::try_from(segment.p_paddr(endian) - first)?;
        bytes[start..start + content.len()].copy_from_slice(content);
        if segment.p_flags(endian) & PF_X != 0 {
            code.push((start, start + content.len()));
            // The entry is a virtual address.
            if let Some(offset) = given
                .checked_sub(segment.p_vaddr(endian))
                .filter(|offset| *offset < segment.p_memsz(endian))
            {
                entry = segment.p_paddr(endian) + offset;
            }
        }
    }
    ensure!((first..last).contains(&entry), "its entry {entry:#x} lies in none of its segments");
    Ok(Prepared { bytes, raw: Some(Raw { load: first, entry }), code })
}

#[cfg(test)]
mod tests;
