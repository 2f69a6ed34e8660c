//! What a kernel says last, in memory that a warm reboot leaves alone.
//!
//! The place holds whatever was in memory before: it counts only if its head, its length and its checksum agree.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | [`MAGIC`] |
//! | 8..12 | length of the text |
//! | 12..16 | CRC-32 (ISO-HDLC) of the length and the text |
//! | 16.. | the text, in UTF-8 |

use crc::{CRC_32_ISO_HDLC, Crc, Table};

/// What a record begins with.
pub const MAGIC: [u8; 8] = *b"bale\x01log";
const HEAD: usize = 16;
const CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);

/// A record in its place.
#[derive(Debug)]
pub struct LastWords<'a>(&'a mut [u8]);

impl<'a> LastWords<'a> {
    /// A place, whatever it holds.
    pub fn new(place: &'a mut [u8]) -> Self {
        Self(place)
    }

    fn checksum(length: [u8; 4], text: &[u8]) -> u32 {
        let mut digest = CRC.digest();
        digest.update(&length);
        digest.update(text);
        digest.finalize()
    }

    /// The text that is there, if all of it is.
    pub fn text(&self) -> Option<&str> {
        let (head, text) = self.0.split_first_chunk::<HEAD>()?;
        let (magic, rest) = head.split_first_chunk::<8>()?;
        let (length, checksum) = rest.split_first_chunk::<4>()?;
        let bytes = text.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        let whole = *magic == MAGIC && checksum == Self::checksum(*length, bytes).to_le_bytes();
        if whole { core::str::from_utf8(bytes).ok() } else { None }
    }

    /// Forgets what was there.
    pub fn clear(&mut self) {
        let head = self.0.len().min(HEAD);
        self.0[..head].fill(0);
    }

    /// Adds text behind what is there; what does not fit is left out. The record is whole after each call.
    pub fn append(&mut self, more: &str) {
        let before = self.text().map_or(0, str::len);
        let Some((head, text)) = self.0.split_first_chunk_mut::<HEAD>() else { return };
        let Some(room) = text.get_mut(before..) else { return };
        let mut fits = more.len().min(room.len());
        while !more.is_char_boundary(fits) {
            fits -= 1;
        }
        room[..fits].copy_from_slice(&more.as_bytes()[..fits]);
        let Ok(length) = u32::try_from(before + fits) else { return };
        let length = length.to_le_bytes();
        let checksum = Self::checksum(length, &text[..before + fits]).to_le_bytes();
        for (place, part) in head.chunks_mut(4).zip([&MAGIC[..4], &MAGIC[4..], &length, &checksum]) {
            place.copy_from_slice(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    #[test]
    fn text_adds_up_and_is_cut_at_the_end() {
        let mut place = vec![0xa5; HEAD + 10];
        let mut words = LastWords::new(&mut place);
        assert_eq!(words.text(), None);
        words.append("one ");
        words.append("");
        words.append("two ");
        assert_eq!(words.text(), Some("one two "));
        words.append("xä and more");
        assert_eq!(words.text(), Some("one two x"), "no half of a character");
        words.clear();
        assert_eq!(words.text(), None);
        words.append("anew");
        assert_eq!(LastWords::new(&mut place).text(), Some("anew"));
    }

    #[test]
    fn a_place_without_room_holds_nothing() {
        for length in 0..HEAD {
            let mut place = vec![0; length];
            let mut words = LastWords::new(&mut place);
            words.append("x");
            words.clear();
            assert_eq!(words.text(), None);
        }
    }

    proptest! {
        /// No byte of a record can change without the whole being refused.
        #[test]
        fn a_changed_byte_is_seen(text in "[a-z]{1,40}", at in 0usize..200, bits in 1u8..) {
            let mut place = vec![0; 200];
            LastWords::new(&mut place).append(&text);
            place[at] ^= bits;
            let inside = at < HEAD + text.len();
            let words = LastWords::new(&mut place);
            prop_assert_eq!(words.text(), if inside { None } else { Some(text.as_str()) });
        }

        #[test]
        fn any_bytes(mut place in proptest::collection::vec(any::<u8>(), 0..64), more in ".{0,40}") {
            let mut words = LastWords::new(&mut place);
            words.append(&more);
            let _ = words.text();
        }
    }
}
