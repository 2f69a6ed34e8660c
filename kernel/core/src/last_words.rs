//! What a kernel says last, in memory that a warm reboot leaves alone.
//!
//! The place holds whatever was in memory before: it counts only if its head, its length and its
//! checksum agree.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | [`MAGIC`] |
//! | 8..12 | length of the text |
//! | 12..16 | CRC-32 (ISO-HDLC) of the length and the text |
//! | 16.. | the text, in UTF-8 |
//!
//! The log comes first, a line for each frame; what else there is to say takes the place of its
//! oldest lines where it has to.

use crc::{CRC_32_ISO_HDLC, Crc, Table};

use crate::log;

/// What a record begins with.
pub const MAGIC: [u8; 8] = *b"bale\x01log";
/// Bytes of a record, and of its place.
pub const ROOM: usize = 8192;
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

    /// Bytes of text that fit.
    pub fn room(&self) -> usize {
        self.0.len().saturating_sub(HEAD)
    }

    /// Adds text behind what is there. Lines of the log at the beginning make room for it, the
    /// oldest first; what does not fit even so is left out. The record is whole after each call.
    pub fn append(&mut self, more: &str) {
        let before = self.text().unwrap_or("");
        let given_up = yielded(before, (before.len() + more.len()).saturating_sub(self.room()));
        let before = before.len();
        let Some((head, text)) = self.0.split_first_chunk_mut::<HEAD>() else { return };
        text.copy_within(given_up..before, 0);
        let before = before - given_up;
        let Some(room) = text.get_mut(before..) else { return };
        let mut fits = more.len().min(room.len());
        while !more.is_char_boundary(fits) {
            fits -= 1;
        }
        room[..fits].copy_from_slice(&more.as_bytes()[..fits]);
        let Ok(length) = u32::try_from(before + fits) else { return };
        let length = length.to_le_bytes();
        let checksum = Self::checksum(length, &text[..before + fits]).to_le_bytes();
        for (place, part) in head.chunks_mut(4).zip([&MAGIC[..4], &MAGIC[4..], &length, &checksum])
        {
            place.copy_from_slice(part);
        }
    }
}

/// Bytes of the lines of the log at the beginning of a text that make so much room: all of them,
/// where that is not enough.
fn yielded(text: &str, wanted: usize) -> usize {
    let mut bytes = 0;
    for line in text.split_inclusive('\n').take_while(|line| line.starts_with(log::LINE)) {
        if bytes >= wanted {
            break;
        }
        bytes += line.len();
    }
    bytes
}

/// What a text says from `at` to the end of the line, at most `longest` bytes of it, and where to
/// go on.
pub fn line_at(text: &str, at: usize, longest: usize) -> Option<(&str, usize)> {
    let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
    let end = rest.find('\n').unwrap_or(rest.len());
    if end <= longest {
        return Some((&rest[..end], at + end + 1));
    }
    let cut = (1..=longest).rev().find(|cut| rest.is_char_boundary(*cut))?;
    Some((&rest[..cut], at + cut))
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

    /// What a place of so many bytes holds after lines of the log and a report.
    fn kept(room: usize, log: &[&str], report: &[&str]) -> std::string::String {
        let mut place = vec![0; HEAD + room];
        let mut words = LastWords::new(&mut place);
        assert_eq!(words.room(), room);
        log.iter().chain(report).for_each(|text| words.append(text));
        words.text().unwrap_or("").into()
    }

    #[test]
    fn a_report_takes_the_place_of_the_oldest_log() {
        let log = ["defmt:01\n", "defmt:0203\n", "defmt:04\n"];
        let report = ["panic: ", "why\n", "#0\n"];
        let all = [&log[..], &report[..]].concat().concat();
        let told = "panic: why\n#0\n";
        assert_eq!(kept(all.len(), &log, &report), all);
        // One byte too few gives up a whole line, and so does each less.
        assert_eq!(
            kept(all.len() - 1, &log, &report),
            std::format!("defmt:0203\ndefmt:04\n{told}")
        );
        assert_eq!(kept(all.len() - 10, &log, &report), std::format!("defmt:04\n{told}"));
        assert_eq!(kept(told.len() + 8, &log, &report), told);
        assert_eq!(kept(told.len(), &log, &report), told);
        // A report never gives up its own beginning.
        assert_eq!(kept(12, &log, &report), "panic: why\n#");
        // A line that holds no frame is no line of the log.
        assert_eq!(kept(16, &["why\n", "defmt:01\n"], &["more"]), "why\ndefmt:01\nmor");
    }

    #[test]
    fn a_full_log_leaves_a_whole_report() {
        let frame = std::format!("{}\n", log::Hex(&[0x5a; 21]));
        let report: std::string::String =
            (0..60).map(|line| std::format!("  #{line} +0x1234\n")).collect();
        let kept = kept(8192 - HEAD, &vec![frame.as_str(); 300], &[&report]);
        let (before, told) = kept.split_at(kept.len() - report.len());
        assert_eq!(told, report);
        assert!(
            before.len() > 8192 - HEAD - report.len() - frame.len(),
            "no more was given up than had to be"
        );
        assert_eq!(before.replace(&frame, ""), "");
    }

    #[test]
    fn lines_come_one_by_one() {
        let text = "one\n\nlonger than\nä\nend";
        let mut lines = vec![];
        let mut at = 0;
        while let Some((line, next)) = line_at(text, at, 6) {
            lines.push(line);
            at = next;
        }
        assert_eq!(lines, ["one", "", "longer", " than", "ä", "end"]);
        assert_eq!(line_at("aä", 0, 2), Some(("a", 1)), "no half of a character");
        assert_eq!(line_at("ä", 0, 1), None);
        assert_eq!(line_at("a\n", 2, 6), None);
        assert_eq!(line_at("ä", 1, 6), None);
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
