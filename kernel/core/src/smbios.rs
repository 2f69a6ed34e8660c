//! What the firmware calls the machine: the product name of its SMBIOS tables (DMTF DSP0134 3.7,
//! 5.2.2, 6.1 and 7.2).
//!
//! The bytes are not trusted: what does not fit is no name.

use core::fmt::Write as _;

use heapless::String;

use crate::acpi::Memory;

/// Letters of a name; a longer one is cut.
pub const LETTERS: usize = 30;
/// The entry point of version 3, 64 bits.
const ENTRY: usize = 24;
const ANCHOR: &[u8] = b"_SM3_";
/// Tables longer than this are not looked at further.
const LONGEST: usize = 64 << 10;
/// Head of a structure: type, length, handle.
const HEAD: usize = 4;
/// The structure that describes the system, and where the number of its product's name is.
const SYSTEM: u8 = 1;
const PRODUCT: usize = 5;
const LAST: u8 = 127;

/// The product's name by the tables whose entry point is at `entry`.
pub fn product(memory: &impl Memory, entry: u64) -> Option<String<LETTERS>> {
    let head = memory.bytes(entry, ENTRY)?;
    if !head.starts_with(ANCHOR) || head.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) != 0
    {
        return None;
    }
    let length = head.get(12..)?.first_chunk().copied().map(u32::from_le_bytes)? as usize;
    let address = head.get(16..)?.first_chunk().copied().map(u64::from_le_bytes)?;
    let mut rest = memory.bytes(address, length.min(LONGEST))?;
    while let [kind, length, ..] = *rest {
        let length = usize::from(length);
        if length < HEAD || kind == LAST {
            return None;
        }
        let (fixed, behind) = rest.split_at_checked(length)?;
        // Strings end with a zero each, and with one more behind the last; none at all is two
        // zeroes.
        let end = behind.windows(2).position(|pair| pair == [0, 0])?;
        if kind == SYSTEM {
            let number = usize::from(*fixed.get(PRODUCT)?).checked_sub(1)?;
            return name(behind.get(..end)?.split(|byte| *byte == 0).nth(number)?);
        }
        rest = behind.get(end + 2..)?;
    }
    None
}

/// Letters that can be printed, without spaces at the ends; `None` if nothing is left.
fn name(bytes: &[u8]) -> Option<String<LETTERS>> {
    let text = core::str::from_utf8(bytes).ok()?.trim();
    let letters = text.chars().filter(|letter| letter.is_ascii_graphic() || *letter == ' ');
    let mut name = String::new();
    // What is too long is cut.
    letters.take(LETTERS).try_for_each(|letter| name.write_char(letter)).ok()?;
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bytes(std::vec::Vec<u8>);

    const START: u64 = 0x8000;

    impl Memory for Bytes {
        fn bytes(&self, address: u64, length: usize) -> Option<&[u8]> {
            let start = usize::try_from(address.checked_sub(START)?).ok()?;
            self.0.get(start..start.checked_add(length)?)
        }
    }

    /// An entry point, and behind it these structures: type, fixed part behind the head, strings.
    fn tables(structures: &[(u8, &[u8], &[&str])]) -> Bytes {
        let mut body = vec![];
        for (kind, fixed, strings) in structures {
            let length = u8::try_from(HEAD + fixed.len()).expect("short");
            body.extend([*kind, length, 0, 0]);
            body.extend_from_slice(fixed);
            for string in *strings {
                body.extend_from_slice(string.as_bytes());
                body.push(0);
            }
            body.extend_from_slice(if strings.is_empty() { &[0, 0] } else { &[0] });
        }
        let mut bytes = b"_SM3_\0\x18\x03\x07\0\x01\0".to_vec();
        bytes.extend(u32::try_from(body.len()).expect("short").to_le_bytes());
        bytes.extend((START + ENTRY as u64).to_le_bytes());
        let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        bytes[5] = 0_u8.wrapping_sub(sum);
        bytes.extend(body);
        Bytes(bytes)
    }

    const FIXED: [u8; 4] = [1, 2, 0, 0];

    #[test]
    fn the_product_is_named() {
        let firmware: (u8, &[u8], &[&str]) = (0, &[1, 2], &["a maker", "1.2"]);
        let system =
            |name| tables(&[firmware, (SYSTEM, &FIXED, &["Radxa", name]), (LAST, &[], &[])]);
        let named = |name| product(&system(name), START);
        assert_eq!(named("Radxa Orion O6").as_deref(), Some("Radxa Orion O6"));
        assert_eq!(named("  O6N\t").as_deref(), Some("O6N"));
        assert_eq!(
            named("A name of far more than thirty letters").map(|name| name.len()),
            Some(LETTERS)
        );
        assert_eq!(named(" "), None);
    }

    #[test]
    fn what_is_missing_or_broken_is_no_name() {
        assert_eq!(product(&tables(&[(0, &[], &[]), (LAST, &[], &[])]), START), None, "no system");
        assert_eq!(product(&tables(&[(SYSTEM, &[1, 0], &["Radxa"])]), START), None, "no product");
        assert_eq!(
            product(&tables(&[(SYSTEM, &[1, 9], &["Radxa"])]), START),
            None,
            "no such string"
        );
        assert_eq!(product(&tables(&[(SYSTEM, &[], &["Radxa"])]), START), None, "too short");
        let whole = tables(&[(SYSTEM, &FIXED, &["Radxa", "Orion"])]);
        for length in 0..whole.0.len() {
            assert_eq!(product(&Bytes(whole.0[..length].to_vec()), START), None, "{length}");
        }
        for place in 0..ENTRY {
            let mut broken = Bytes(whole.0.clone());
            broken.0[place] ^= 0x40;
            assert_eq!(product(&broken, START), None, "{place}");
        }
    }
}
