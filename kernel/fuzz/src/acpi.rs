//! ACPI tables: made of the bytes with lengths and checksums that are right, then some bytes are
//! spoilt.

use arbitrary::{Result, Unstructured};
use bale_core::acpi::{self, Memory};
use bale_core::device_tree::Range;

use crate::device_tree::survives_the_handover;

const BASE: u64 = 0x8000_0000;
const ROOT: usize = 36;
const HEADER: usize = 36;
const SIGNATURES: [&[u8; 4]; 6] = [b"APIC", b"SPCR", b"GTDT", b"FACP", b"DBG2", b"XSDT"];
const MAKERS: [&[u8; 6]; 3] = [b"CIXTEK", b"BOCHS ", b"ARMLTD"];
/// Longest content of a table.
const LONGEST: usize = 2048;

struct Image(Vec<u8>);

impl Memory for Image {
    fn bytes(&self, address: u64, length: usize) -> Option<&[u8]> {
        let start = usize::try_from(address.checked_sub(BASE)?).ok()?;
        self.0.get(start..start.checked_add(length)?)
    }
}

pub(crate) fn run(bytes: &[u8]) {
    let Ok(image) = image(&mut Unstructured::new(bytes)) else { return };
    if let Ok(mut machine) = acpi::machine(&image, BASE, None, Some("fuzz")) {
        // The firmware's map adds it.
        let memory = machine.memory.push(Range { base: 0x4000_0000, size: 1 << 30 });
        memory.expect("a machine from ACPI has no memory yet");
        survives_the_handover(&machine);
    }
}

fn image(input: &mut Unstructured<'_>) -> Result<Image> {
    let mut bytes = vec![0; ROOT];
    let maker = input.choose(&MAKERS)?;
    let mut entries = Vec::new();
    for _ in 0..input.int_in_range(0..=8)? {
        entries.extend((BASE + bytes.len() as u64).to_le_bytes());
        let signature = input.choose(&SIGNATURES)?;
        let length = input.int_in_range(0..=LONGEST)?.min(input.len());
        let content = input.bytes(length)?;
        bytes.extend(table(signature, maker, content));
    }
    let list = BASE + bytes.len() as u64;
    bytes.extend(table(b"XSDT", maker, &entries));
    bytes[..8].copy_from_slice(b"RSD PTR ");
    (bytes[15], bytes[20]) = (2, 36);
    bytes[24..32].copy_from_slice(&list.to_le_bytes());
    mend(&mut bytes[..20], 8);
    mend(&mut bytes[..ROOT], 32);
    for _ in 0..input.int_in_range(0..=3)? {
        let place = input.choose_index(bytes.len())?;
        bytes[place] = input.arbitrary()?;
    }
    Ok(Image(bytes))
}

fn table(signature: &[u8; 4], maker: &[u8; 6], content: &[u8]) -> Vec<u8> {
    let mut bytes = signature.to_vec();
    let length = u32::try_from(HEADER + content.len()).expect("contents are short");
    bytes.extend(length.to_le_bytes());
    bytes.extend([1, 0]);
    bytes.extend(maker);
    bytes.resize(HEADER, 0);
    bytes.extend(content);
    mend(&mut bytes, 9);
    bytes
}

/// Makes the bytes sum to zero.
fn mend(bytes: &mut [u8], at: usize) {
    bytes[at] = 0;
    bytes[at] = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
}
