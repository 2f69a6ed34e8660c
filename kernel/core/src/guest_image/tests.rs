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

/// An image with a PE header of one section that ends at this byte of the file.
fn with_section(end: u32) -> Vec<u8> {
    let mut bytes = header(0, 0x10_0000, 0xa);
    bytes.resize(1024, 0);
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c..0x40].copy_from_slice(&0x40u32.to_le_bytes());
    bytes[0x40..0x44].copy_from_slice(b"PE\0\0");
    bytes[0x46] = 1;
    bytes[0x54] = 0xa0;
    let section = 0x40 + 24 + 0xa0;
    bytes[section + 16..section + 20].copy_from_slice(&(end - 512).to_le_bytes());
    bytes[section + 20..section + 24].copy_from_slice(&512u32.to_le_bytes());
    bytes
}

#[test]
fn plain_image() {
    let image = GuestImage::parse(&header(0x8_0000, 0x1ab_0000, 0xa)).unwrap();
    let granule = Some(Granule::Small);
    assert_eq!(image, GuestImage { text_offset: 0x8_0000, image_size: 0x1ab_0000, granule });
    assert_eq!(image.load_address(0x4000_0000), 0x4008_0000);
    assert_eq!(image.load_address(0x4000_1000), 0x4028_0000);
}

/// U-Boot's is 0x480000.
#[test]
fn far_text_offset() {
    let image = GuestImage::parse(&header(0x48_0000, 0x10_0000, 0)).unwrap();
    assert_eq!((image.load_address(RAM), image.granule), (0x4048_0000, None));
}

#[test]
fn size_covers_the_file() {
    assert_eq!(GuestImage::parse(&header(0, 0, 0)).unwrap().image_size, 128);
}

#[test]
fn granules() {
    let of = |flags| GuestImage::parse(&header(0, 0, flags)).unwrap().granule;
    let all = [None, Some(Granule::Small), Some(Granule::Middle), Some(Granule::Large)];
    assert_eq!([of(0), of(2), of(4), of(6)], all);
    // Cortex-A72: 4 and 64 KiB, no 16. And one with 16 KiB alone.
    let offered = |mmfr0| {
        [Granule::Small, Granule::Middle, Granule::Large].map(|size| size.is_offered(mmfr0))
    };
    assert_eq!(offered(0x1124), [true, false, true]);
    assert_eq!(offered(0xff10_0000), [false, true, false]);
    assert_eq!(offered(0x0020_0000), [true, true, true]);
}

#[test]
fn each_wrong_kind_is_named() {
    let parse = GuestImage::parse;
    assert_eq!(parse(&[]), Err(ImageError::TooShort));
    assert_eq!(parse(&[0; 64]), Err(ImageError::Other(Format::Unknown)));
    assert_eq!(parse(&header(0, 0, 1)), Err(ImageError::BigEndian));
    assert_eq!(parse(&header(0, u64::MAX, 0)), Err(ImageError::Absurd));
    assert_eq!(parse(&header(u64::MAX - 3, 0, 0)), Err(ImageError::Absurd));
    assert_eq!(parse(&header(2, 0, 0)), Err(ImageError::Absurd));
    for (at, magic, format) in MAGICS {
        let mut bytes = vec![0; 1024];
        bytes[at..at + magic.len()].copy_from_slice(magic);
        if format == Format::Zboot {
            assert_eq!(parse(&bytes), Err(ImageError::Other(Format::Unknown)), "no MZ in front");
            bytes[..2].copy_from_slice(b"MZ");
        }
        assert_eq!(parse(&bytes), Err(ImageError::Other(format)));
    }
    let mut other = vec![0; 1024];
    other[..2].copy_from_slice(b"MZ");
    assert_eq!(parse(&other), Err(ImageError::Other(Format::EfiApplication)));
    other[0x38..0x3c].copy_from_slice(LOONGARCH);
    assert_eq!(parse(&other), Err(ImageError::Other(Format::LoongArch)));
    // The zboot image of a kernel has arm64's number of PE, which is another one.
    other[0x38..0x3c].copy_from_slice(&[0xcd, 0x23, 0x82, 0x80]);
    assert_eq!(parse(&other), Err(ImageError::Other(Format::EfiApplication)));
}

#[test]
fn truncated() {
    assert!(GuestImage::parse(&with_section(1024)).is_ok());
    let short = GuestImage::parse(&with_section(4096));
    assert_eq!(short, Err(ImageError::Truncated { found: 1024, promised: 4096 }));
    // Cut within its table of sections.
    let table = GuestImage::parse(&with_section(1024)[..0x110]);
    assert!(matches!(table, Err(ImageError::Truncated { found: 0x110, .. })), "{table:?}");
}

#[test]
fn raw_binaries() {
    let raw = Raw { load: RAW_LOAD, entry: RAW_LOAD + 8 };
    let placed = Placement::new(b"\x7fELF", Some(raw)).unwrap();
    assert_eq!(placed, Placement { load: RAW_LOAD, entry: RAW_LOAD + 8, size: 4, raw: true });
    let image = Placement::new(&header(0x8_0000, 0x1000, 0), None).unwrap();
    assert_eq!((image.load, image.entry, image.raw), (RAW_LOAD, RAW_LOAD, false));
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(image) = GuestImage::parse(&bytes) {
            prop_assert!(image.image_size >= bytes.len() as u64);
            prop_assert!(image.load_address(u64::from(u32::MAX)) > u64::from(u32::MAX));
        }
    }

    /// What is behind a good header, and how much of it.
    #[test]
    fn any_pe_header(mut bytes in proptest::collection::vec(any::<u8>(), 64..400), at in 0u32..400, sections: u16) {
        bytes[0x08..0x20].copy_from_slice(&header(0, 0, 0)[0x08..0x20]);
        bytes[0x38..0x3c].copy_from_slice(MAGIC);
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c..0x40].copy_from_slice(&at.to_le_bytes());
        if let Some(place) = bytes.get_mut(at as usize..at as usize + 8) {
            place[..4].copy_from_slice(b"PE\0\0");
            place[6..].copy_from_slice(&sections.to_le_bytes());
        }
        let _ = GuestImage::parse(&bytes);
    }
}
