//! The arm64 kernel image (Linux, Documentation/arch/arm64/booting.rst): whether it can be started,
//! and where.
//!
//! What is no such image is named by its magic number, so that the user learns what was handed
//! over.

use core::fmt;

use crate::guest_tree::RAM;

const MAGIC: &[u8; 4] = b"ARM\x64";
const HEADER: usize = 64;
/// Images are loaded at a 2 MiB boundary plus their text offset.
const BASE_ALIGNMENT: u64 = 2 << 20;
/// More than any guest has: a size or an offset above it is nonsense.
const ABSURD: u64 = 1 << 40;

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestImage {
    /// From the 2 MiB boundary to the first byte; 2 MiB and more are legal.
    pub text_offset: u64,
    /// Bytes of memory needed, zero-initialised data included; at least the file's length.
    pub image_size: u64,
    /// Size of the kernel's pages, if the header says it.
    pub granule: Option<Granule>,
}

/// A size of pages of stage 1 (DDI 0487, D8.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granule {
    /// 4 KiB.
    Small,
    /// 16 KiB.
    Middle,
    /// 64 KiB.
    Large,
}

impl Granule {
    /// Whether cores with this `ID_AA64MMFR0_EL1` have it: `TGran4` and `TGran64` count down from
    /// 0, `TGran16` up from 1.
    pub const fn is_offered(self, mmfr0: u64) -> bool {
        match self {
            Self::Small => mmfr0 >> 28 & 0xf != 0xf,
            Self::Middle => mmfr0 >> 20 & 0xf != 0,
            Self::Large => mmfr0 >> 24 & 0xf != 0xf,
        }
    }
}

impl fmt::Display for Granule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Small => "4 KiB",
            Self::Middle => "16 KiB",
            Self::Large => "64 KiB",
        })
    }
}

/// Why an image cannot be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageError {
    /// Shorter than a header.
    TooShort,
    /// It is something else.
    Other(Format),
    /// Big-endian.
    BigEndian,
    /// The sizes in the header are absurd.
    Absurd,
    /// The file ends at this byte, before the end of a section that its PE header names.
    Truncated {
        /// Bytes that are there.
        found: u64,
        /// Bytes that the header promises.
        promised: u64,
    },
}

/// What an image is that is no arm64 Image, as far as its first bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Nothing that is known: a raw binary, perhaps.
    Unknown,
    /// Compressed with gzip.
    Gzip,
    /// Compressed with zstd.
    Zstd,
    /// Compressed with xz.
    Xz,
    /// Compressed with lzma.
    Lzma,
    /// Compressed with bzip2.
    Bzip2,
    /// Compressed with lz4.
    Lz4,
    /// An EFI image that unpacks itself.
    Zboot,
    /// An ELF file.
    Elf,
    /// An EFI application without the header of an arm64 Image.
    EfiApplication,
    /// Linux for x86, a bzImage.
    X86,
    /// Linux for RISC-V.
    Riscv,
    /// Linux for LoongArch.
    LoongArch,
    /// Linux for 32-bit Arm, a zImage.
    Arm32,
    /// An image of U-Boot's old format.
    Uimage,
    /// A device tree, or an image of U-Boot's in one (FIT).
    DeviceTree,
    /// A boot image of Android.
    Android,
    /// A script: text that begins with `#!`.
    Script,
}

/// Magic numbers: where they stand, what they are, and whose.
const MAGICS: [(usize, &[u8], Format); 16] = [
    (0, &[0x1f, 0x8b], Format::Gzip),
    (0, &[0x28, 0xb5, 0x2f, 0xfd], Format::Zstd),
    (0, &[0xfd, b'7', b'z', b'X', b'Z', 0], Format::Xz),
    (0, &[0x5d, 0, 0], Format::Lzma),
    (0, b"BZh", Format::Bzip2),
    (0, &[0x04, 0x22, 0x4d, 0x18], Format::Lz4),
    (0, &[0x02, 0x21, 0x4c, 0x18], Format::Lz4),
    (4, b"zimg", Format::Zboot),
    (0, b"\x7fELF", Format::Elf),
    (0x202, b"HdrS", Format::X86),
    (0x30, b"RISCV\0\0\0", Format::Riscv),
    (0x24, &[0x18, 0x28, 0x6f, 0x01], Format::Arm32),
    (0, &[0x27, 0x05, 0x19, 0x56], Format::Uimage),
    (0, &[0xd0, 0x0d, 0xfe, 0xed], Format::DeviceTree),
    (0, b"ANDROID!", Format::Android),
    (0, b"#!", Format::Script),
];
/// PE header magic that LoongArch has where arm64 has [`MAGIC`].
const LOONGARCH: &[u8; 4] = &[0xcd, 0x23, 0x82, 0x81];

impl Format {
    /// What a file without the magic number of an arm64 Image is.
    pub fn of(image: &[u8]) -> Self {
        let stands =
            |at: usize, magic: &[u8]| image.get(at..).is_some_and(|rest| rest.starts_with(magic));
        for (at, magic, format) in MAGICS {
            if stands(at, magic) && (format != Self::Zboot || stands(0, b"MZ")) {
                return format;
            }
        }
        match stands(0, b"MZ") {
            true if stands(0x38, LOONGARCH) => Self::LoongArch,
            true => Self::EfiApplication,
            false => Self::Unknown,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => {
                "it has not the header of an arm64 Image (Linux's booting.rst); a raw binary wants `image = raw`"
            }
            Self::Gzip => "it is compressed with gzip; unpack it first (gunzip)",
            Self::Zstd => "it is compressed with zstd; unpack it first (unzstd)",
            Self::Xz => "it is compressed with xz; unpack it first (unxz)",
            Self::Lzma => "it is compressed with lzma; unpack it first (unlzma)",
            Self::Bzip2 => "it is compressed with bzip2; unpack it first (bunzip2)",
            Self::Lz4 => "it is compressed with lz4; unpack it first (unlz4)",
            Self::Zboot => "it is an EFI zboot image; use the plain Image of the kernel's build",
            Self::Elf => "it is an ELF file; make a flat Image of it (objcopy -O binary)",
            Self::EfiApplication => {
                "it is an EFI application and no arm64 Image; it needs firmware to start it"
            }
            Self::X86 => "it is a kernel for x86 (bzImage), not for arm64",
            Self::Riscv => "it is a kernel for RISC-V, not for arm64",
            Self::LoongArch => "it is a kernel for LoongArch, not for arm64",
            Self::Arm32 => "it is a kernel for 32-bit Arm (zImage), not for arm64",
            Self::Uimage => "it is a uImage of U-Boot; use the Image in it (dumpimage)",
            Self::DeviceTree => "it is a device tree or a FIT image; use the Image in it (dumpimage)",
            Self::Android => "it is an Android boot image; use the Image in it",
            Self::Script => "it is a script",
        })
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort => {
                f.write_str("it is shorter than the 64-byte header of an arm64 Image")
            }
            Self::Other(format) => format.fmt(f),
            Self::BigEndian => f.write_str("it is a big-endian kernel"),
            Self::Absurd => f.write_str("the sizes in its header are absurd"),
            Self::Truncated { found, promised } => {
                write!(f, "it is truncated: {found} bytes, where its header promises {promised}")
            }
        }
    }
}

impl GuestImage {
    /// Reads the header of an image.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn parse(image: &[u8]) -> Result<Self, ImageError> {
        if image.get(0x38..0x3c) != Some(MAGIC) {
            return Err(match Format::of(image) {
                Format::Unknown if image.len() < HEADER => ImageError::TooShort,
                format => ImageError::Other(format),
            });
        }
        let header = image.get(..HEADER).ok_or(ImageError::TooShort)?;
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&header[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let (text_offset, size, flags) = (word(0x08), word(0x10), word(0x18));
        if flags & 1 != 0 {
            return Err(ImageError::BigEndian);
        }
        if text_offset > ABSURD || !text_offset.is_multiple_of(4) || size > ABSURD {
            return Err(ImageError::Absurd);
        }
        let found = image.len() as u64;
        match promised(image) {
            Some(promised) if promised > found => {
                return Err(ImageError::Truncated { found, promised });
            }
            _ => {}
        }
        let granule = match flags >> 1 & 3 {
            1 => Some(Granule::Small),
            2 => Some(Granule::Middle),
            3 => Some(Granule::Large),
            _ => None,
        };
        Ok(Self { text_offset, image_size: size.max(found), granule })
    }

    /// Where the image goes in memory that starts at `ram_base`.
    pub fn load_address(&self, ram_base: u64) -> u64 {
        ram_base.next_multiple_of(BASE_ALIGNMENT) + self.text_offset
    }
}

/// Bytes that the sections of an image's PE header take in the file, if it has such a header
/// (Microsoft's PE format, "COFF file header" and "section table"). The header of an arm64 Image
/// itself does not tell: its size holds zero-initialised data, of which the file has nothing.
fn promised(image: &[u8]) -> Option<u64> {
    const SECTION: usize = 40;
    /// Signature and COFF header.
    const COFF: usize = 24;
    if !image.starts_with(b"MZ") {
        return None;
    }
    let half = |at: usize| {
        let bytes = image.get(at..at.checked_add(2)?)?;
        Some(u16::from_le_bytes([bytes[0], bytes[1]]))
    };
    let word = |at: usize| Some(u32::from(half(at)?) | u32::from(half(at.checked_add(2)?)?) << 16);
    let at = usize::try_from(word(0x3c)?).ok()?;
    if image.get(at..at.checked_add(4)?)? != b"PE\0\0" {
        return None;
    }
    let (sections, optional) = (half(at + 6)?, half(at + 20)?);
    let table = at + COFF + usize::from(optional);
    let mut most = 0;
    // At most 65,535 entries, and no further than the file goes.
    for number in 0..usize::from(sections) {
        let entry = table + number * SECTION;
        // The table itself is cut: as much as is known of it.
        let (Some(size), Some(start)) = (word(entry + 16), word(entry + 20)) else {
            return Some(u64::try_from(entry + SECTION).unwrap_or(u64::MAX));
        };
        most = most.max(u64::from(size) + u64::from(start));
    }
    Some(most)
}

/// Where a guest begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Guest-physical address of the file's first byte.
    pub load: u64,
    /// Where the first virtual CPU starts.
    pub entry: u64,
    /// Bytes of memory from `load` on that are the image's.
    pub size: u64,
    /// Without a header: what memory behind the file is its own is not known.
    pub raw: bool,
}

/// How a binary without a header is placed: at an address, which is its entry too unless one is
/// given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raw {
    /// Guest-physical address of its first byte.
    pub load: u64,
    /// Where it starts.
    pub entry: u64,
}

/// Where QEMU's `virt` machine loads a kernel without a header (its hw/arm/boot.c,
/// `KERNEL64_LOAD_ADDR`).
pub const RAW_LOAD: u64 = RAM + 0x8_0000;

impl Placement {
    /// That of an image: by its header, or as a binary without one.
    ///
    /// # Errors
    /// See [`ImageError`]; a raw binary has none.
    pub fn new(image: &[u8], raw: Option<Raw>) -> Result<Self, ImageError> {
        match raw {
            Some(Raw { load, entry }) => {
                Ok(Self { load, entry, size: image.len() as u64, raw: true })
            }
            None => {
                let image = GuestImage::parse(image)?;
                let load = image.load_address(RAM);
                Ok(Self { load, entry: load, size: image.image_size, raw: false })
            }
        }
    }
}

#[cfg(test)]
mod tests;
