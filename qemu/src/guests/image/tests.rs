#![expect(clippy::cast_possible_truncation, reason = "small numbers of the tests' own")]

use std::io::Write;

use super::*;

/// An image that has nothing but its header.
fn image() -> Vec<u8> {
    let mut image = vec![0; 64];
    image[0x10..0x18].copy_from_slice(&64u64.to_le_bytes());
    image[0x38..0x3c].copy_from_slice(b"ARM\x64");
    image
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(bytes).expect("packed");
    packer.finish().expect("packed")
}

/// A zboot image of what is packed so.
fn boxed(payload: &[u8], name: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 64];
    image[..2].copy_from_slice(b"MZ");
    image[4..8].copy_from_slice(b"zimg");
    image[8..12].copy_from_slice(&64u32.to_le_bytes());
    image[12..16].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    image[24..24 + name.len()].copy_from_slice(name);
    image.extend(payload);
    image
}

fn says(file: Vec<u8>) -> String {
    format!("{:#}", Prepared::new(file, None).err().expect("bad"))
}

#[test]
fn every_packing() {
    let bz2 = |bytes: &[u8]| {
        let mut packer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
        packer.write_all(bytes).expect("packed");
        packer.finish().expect("packed")
    };
    // `xz`, `xz --format=lzma` and `zstd` of 64 bytes as above.
    let xz = include_bytes!("image.xz").to_vec();
    let lzma = include_bytes!("image.lzma").to_vec();
    let zstd = include_bytes!("image.zst").to_vec();
    for packed in [gzip(&image()), bz2(&image()), gzip(&gzip(&image())), xz.clone(), lzma, zstd] {
        let prepared = Prepared::new(packed, None).expect("good");
        assert_eq!((prepared.bytes, prepared.raw), (image(), None));
    }
    for (payload, name) in [(gzip(&image()), &b"gzip"[..]), (xz, b"xzkern")] {
        assert_eq!(Prepared::new(boxed(&payload, name), None).expect("good").bytes, image());
    }
}

#[test]
fn what_cannot_be_unpacked_is_named() {
    let whole = gzip(&image());
    assert!(says(whole[..whole.len() - 12].to_vec()).contains("cannot be unpacked (Gzip)"));
    assert!(says(boxed(&whole, b"lz77")).contains("packed with \"lz77\""));
    let mut cut = boxed(&whole, b"gzip");
    cut.truncate(70);
    assert!(says(cut).contains("it is truncated: 70 bytes"));
    assert!(says(gzip(&gzip(&gzip(&gzip(&gzip(&image())))))).contains("more than 4 times"));
    assert!(says(gzip(b"#!/bin/sh")).contains("a script"));
    assert!(says(Vec::new()).contains("empty"));
}

/// An ELF file with these segments: flags, physical and virtual address, content, bytes in memory.
fn elf_file(machine: u16, entry: u64, segments: &[(u32, u64, u64, &[u8], u64)]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2, 0]);
    file.extend(machine.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    file.extend(entry.to_le_bytes());
    file.extend(64u64.to_le_bytes());
    file.extend([0; 12]);
    for half in [64u16, 56, segments.len() as u16, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let mut offset = 64 + 56 * segments.len() as u64;
    for (flags, physical, address, content, memory) in segments {
        file.extend(1u32.to_le_bytes());
        file.extend(flags.to_le_bytes());
        for word in [offset, *address, *physical, content.len() as u64, *memory, 4] {
            file.extend(word.to_le_bytes());
        }
        offset += content.len() as u64;
    }
    segments.iter().for_each(|segment| file.extend(segment.3));
    file
}

#[test]
fn elf_files_lie_at_physical_addresses() {
    let code = [1, 2, 3, 4, 5, 6, 7, 8];
    let high = 0xffff_0000_0000_0000;
    let file = elf_file(
        EM_AARCH64,
        high + 4,
        &[(5, RAM + 0x1000, high, &code, 8), (6, RAM + 0x2000, high + 0x1000, b"data", 0x100)],
    );
    let prepared = Prepared::new(file.clone(), None).expect("good");
    assert_eq!(prepared.raw, Some(Raw { load: RAM + 0x1000, entry: RAM + 0x1004 }));
    assert_eq!((prepared.bytes.len(), &prepared.bytes[..8]), (0x1100, &code[..]));
    assert_eq!(&prepared.bytes[0x1000..0x1005], b"data\0");
    assert_eq!(prepared.lines(), "image = raw\nload = 0x40001000\nentry = 0x40001004\n");
    assert!(says(file[..file.len() - 2].to_vec()).contains("truncated"));
    let with = |machine, entry, segment| says(elf_file(machine, entry, &[segment]));
    let good = (5, RAM, RAM, &code[..], 8);
    assert!(with(62, RAM, good).contains("another machine (number 62)"));
    assert!(with(EM_AARCH64, RAM, (5, 0, 0, &code, 8)).contains("memory begins at 0x40000000"));
    assert!(with(EM_AARCH64, RAM + 8, good).contains("in none of its segments"));
    assert!(with(EM_AARCH64, RAM, (5, RAM, RAM, &code, 4)).contains("longer in the file"));
    assert!(with(EM_AARCH64, RAM, (5, RAM, RAM, &code, u64::MAX)).contains("too long"));
    assert!(says(elf_file(EM_AARCH64, RAM, &[])).contains("nothing to load"));
    assert!(says(b"\x7fELF\x01".to_vec()).contains("64-bit is wanted"));
}

#[test]
fn semihosting_calls_of_code_alone() {
    let hlt = HLT.to_le_bytes();
    let two = [hlt, hlt].concat();
    let file = elf_file(EM_AARCH64, RAM, &[(5, RAM, RAM, &two, 8), (6, RAM + 8, RAM + 8, &two, 8)]);
    let mut prepared = Prepared::new(file, None).expect("good");
    assert_eq!(prepared.call_for_semihosting(), 2);
    let hvc = HVC.to_le_bytes();
    assert_eq!(prepared.bytes, [hvc, hvc, hlt, hlt].concat());
    // Between two instructions it is none.
    let place = Raw { load: RAM, entry: RAM };
    let mut raw = Prepared::guess([&[0; 2], &hlt[..], &[0; 2]].concat(), place).expect("good");
    assert_eq!((raw.call_for_semihosting(), raw.raw), (0, Some(place)));
}

#[test]
fn a_binary_without_a_header_is_raw() {
    let place = Raw { load: RAM + 4, entry: RAM + 8 };
    assert_eq!(Prepared::guess(vec![0; 4], place).expect("good").raw, Some(place));
    assert_eq!(Prepared::guess(gzip(&[0; 400]), place).expect("good").bytes, [0; 400]);
    assert_eq!(Prepared::guess(image(), place).expect("good").raw, None);
    assert_eq!(Prepared::new(image(), Some(place)).expect("good").raw, Some(place));
    let mut bad = vec![0; 1024];
    bad[0x202..0x206].copy_from_slice(b"HdrS");
    let says = Prepared::guess(bad, place).err().expect("bad").to_string();
    assert!(says.contains("x86"), "{says}");
}
