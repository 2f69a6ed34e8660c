use super::flatten;

const HEADERS: usize = 64;
const PROGRAM_HEADER: usize = 56;

/// An ELF with these segments: physical address and content.
fn elf(machine: u16, segments: &[(u64, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; HEADERS];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    bytes[16..18].copy_from_slice(&3u16.to_le_bytes());
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    bytes[32..40].copy_from_slice(&(HEADERS as u64).to_le_bytes());
    bytes[52..54].copy_from_slice(&64u16.to_le_bytes());
    bytes[54..56].copy_from_slice(&56u16.to_le_bytes());
    bytes[56..58].copy_from_slice(&u16::try_from(segments.len()).expect("few").to_le_bytes());
    let mut data = (HEADERS + PROGRAM_HEADER * segments.len()) as u64;
    for (address, content) in segments {
        let size = content.len() as u64;
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(5u32.to_le_bytes());
        for word in [data, *address, *address, size, size, 4096] {
            bytes.extend(word.to_le_bytes());
        }
        data += size;
    }
    segments.iter().for_each(|(_, content)| bytes.extend(*content));
    bytes
}

fn head() -> Vec<u8> {
    let mut head = vec![0x14; 64];
    head[0x38..0x3c].copy_from_slice(b"ARM\x64");
    head
}

#[test]
fn segments_lie_at_their_addresses_in_any_order() {
    let flat = flatten(&elf(183, &[(0x5000, b"data"), (0x4000, &head())])).expect("good");
    assert_eq!(flat.len(), 0x1004);
    assert_eq!(&flat[..64], head());
    assert!(flat[64..0x1000].iter().all(|byte| *byte == 0));
    assert_eq!(&flat[0x1000..], b"data");
}

#[test]
fn no_header_no_image() {
    let error = flatten(&elf(183, &[(0, &[0; 64])])).expect_err("no magic");
    assert!(error.to_string().contains("arm64 Image header"), "{error}");
}

#[test]
fn other_machines_and_other_files_are_refused() {
    assert!(flatten(&elf(62, &[(0, &head())])).is_err());
    assert!(flatten(b"#!/bin/sh\n").is_err());
    assert!(flatten(&[]).is_err());
}

#[test]
fn far_segments_and_short_files_are_refused() {
    assert!(flatten(&elf(183, &[(0, &head()), (1 << 40, b"x")])).is_err());
    let mut cut = elf(183, &[(0, &head())]);
    cut.truncate(cut.len() - 1);
    assert!(flatten(&cut).is_err());
}
