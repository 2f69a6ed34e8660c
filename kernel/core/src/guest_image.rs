//! The arm64 kernel image (Linux, Documentation/arch/arm64/booting.rst): whether it can be started, and where.

use core::fmt;

const MAGIC: &[u8; 4] = b"ARM\x64";
const HEADER: usize = 64;
/// Images are loaded at a 2 MiB boundary plus their text offset.
const BASE_ALIGNMENT: u64 = 2 << 20;

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestImage {
    /// From the 2 MiB boundary to the first byte.
    pub text_offset: u64,
    /// Bytes of memory needed, zero-initialised data included; at least the file's length.
    pub image_size: u64,
}

/// Why an image cannot be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageError {
    /// Shorter than a header.
    TooShort,
    /// Compressed with gzip.
    Gzip,
    /// An EFI image that unpacks itself.
    Zboot,
    /// An ELF file.
    Elf,
    /// No arm64 image.
    NoMagic,
    /// Big-endian.
    BigEndian,
    /// The sizes in the header are absurd.
    Absurd,
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooShort => "it is shorter than the 64-byte header of an arm64 Image",
            Self::Gzip => "it is compressed with gzip; unpack it first (gunzip)",
            Self::Zboot => "it is an EFI zboot image; use the plain Image of the kernel's build",
            Self::Elf => "it is an ELF file; make a flat Image of it (objcopy -O binary)",
            Self::NoMagic => "it is no arm64 Image: a plain binary wants the header of Linux's booting.rst",
            Self::BigEndian => "it is a big-endian kernel",
            Self::Absurd => "the sizes in its header are absurd",
        })
    }
}

impl GuestImage {
    /// Reads the header of an image.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn parse(image: &[u8]) -> Result<Self, ImageError> {
        if image.starts_with(&[0x1f, 0x8b]) {
            return Err(ImageError::Gzip);
        }
        if image.starts_with(b"\x7fELF") {
            return Err(ImageError::Elf);
        }
        let header = image.get(..HEADER).ok_or(ImageError::TooShort)?;
        if header.starts_with(b"MZ") && header.get(4..8) == Some(b"zimg") {
            return Err(ImageError::Zboot);
        }
        if header.get(0x38..0x3c) != Some(MAGIC) {
            return Err(ImageError::NoMagic);
        }
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&header[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let (text_offset, size, flags) = (word(0x08), word(0x10), word(0x18));
        if flags & 1 != 0 {
            return Err(ImageError::BigEndian);
        }
        if text_offset >= BASE_ALIGNMENT || size > 1 << 40 {
            return Err(ImageError::Absurd);
        }
        Ok(Self { text_offset, image_size: size.max(image.len() as u64) })
    }

    /// Where the image goes in memory that starts at `ram_base`.
    pub fn load_address(&self, ram_base: u64) -> u64 {
        ram_base.next_multiple_of(BASE_ALIGNMENT) + self.text_offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(text_offset: u64, size: u64, flags: u64) -> Vec<u8> {
        let mut bytes = vec![0; 128];
        bytes[0x08..0x10].copy_from_slice(&text_offset.to_le_bytes());
        bytes[0x10..0x18].copy_from_slice(&size.to_le_bytes());
        bytes[0x18..0x20].copy_from_slice(&flags.to_le_bytes());
        bytes[0x38..0x3c].copy_from_slice(MAGIC);
        bytes
    }

    #[test]
    fn plain_image() {
        let image = GuestImage::parse(&header(0x8_0000, 0x1ab_0000, 0xa)).unwrap();
        assert_eq!(image, GuestImage { text_offset: 0x8_0000, image_size: 0x1ab_0000 });
        assert_eq!(image.load_address(0x4000_0000), 0x4008_0000);
        assert_eq!(image.load_address(0x4000_1000), 0x4028_0000);
    }

    #[test]
    fn size_covers_the_file() {
        assert_eq!(GuestImage::parse(&header(0, 0, 0)).unwrap().image_size, 128);
    }

    #[test]
    fn each_wrong_kind_is_named() {
        assert_eq!(GuestImage::parse(&[]), Err(ImageError::TooShort));
        assert_eq!(GuestImage::parse(&[0; 64]), Err(ImageError::NoMagic));
        assert_eq!(GuestImage::parse(&[0x1f, 0x8b, 8]), Err(ImageError::Gzip));
        assert_eq!(GuestImage::parse(b"\x7fELF"), Err(ImageError::Elf));
        assert_eq!(GuestImage::parse(&header(0, 0, 1)), Err(ImageError::BigEndian));
        assert_eq!(GuestImage::parse(&header(2 << 20, 0, 0)), Err(ImageError::Absurd));
        assert_eq!(GuestImage::parse(&header(0, u64::MAX, 0)), Err(ImageError::Absurd));
        let mut zboot = header(0, 0, 0);
        zboot[..2].copy_from_slice(b"MZ");
        zboot[4..8].copy_from_slice(b"zimg");
        assert_eq!(GuestImage::parse(&zboot), Err(ImageError::Zboot));
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(image) = GuestImage::parse(&bytes) {
                prop_assert!(image.image_size >= bytes.len() as u64);
                prop_assert!(image.load_address(u64::from(u32::MAX)) > u64::from(u32::MAX));
            }
        }
    }
}
