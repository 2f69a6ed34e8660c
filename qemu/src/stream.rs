//! One serial stream taken apart into text and log frames.
//!
//! A frame on the wire is a NUL, its rzCOBS bytes, which hold no NUL, and another NUL; text never
//! holds one. Where a NUL is lost, text and frames would change places for ever, so a "frame" that
//! can only be text is given back as text, and the NUL behind it opens the next frame.

use bale_core::relay::{self, Decoder};

/// Longer than any frame that the kernel sends.
const LONGEST_FRAME: usize = 1024;

/// A part of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Text, as it came: any piece, not a line.
    Text(Vec<u8>),
    /// One log frame, without its NULs.
    Frame(Vec<u8>),
    /// What the guest wrote that the machine was started for, as it is.
    Guest(Vec<u8>),
}

/// Where in the stream we are.
#[derive(Default)]
pub(crate) struct Splitter {
    /// Bytes of a frame that began; none in text.
    frame: Option<Vec<u8>>,
    /// A guest's bytes come in frames of their own.
    relays: bool,
    /// In one of those.
    guest: Option<Decoder>,
}

impl Splitter {
    /// One for a machine that serves one guest alone.
    pub(crate) fn with_guest() -> Self {
        Self { relays: true, ..Self::default() }
    }

    /// The parts that these bytes complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut text = Vec::new();
        let mut guest = Vec::new();
        for &byte in bytes {
            if let Some(decoder) = &mut self.guest {
                match byte {
                    relay::END => self.guest = None,
                    // A crash broke into it: what comes behind is the log's.
                    0 => (self.guest, self.frame) = (None, Some(Vec::new())),
                    byte => guest.extend(decoder.push(byte)),
                }
                continue;
            }
            if !guest.is_empty() && byte != relay::START {
                parts.push(Part::Guest(std::mem::take(&mut guest)));
            }
            match &mut self.frame {
                None if self.relays && byte == relay::START => {
                    flush(&mut parts, &mut text);
                    self.guest = Some(Decoder::default());
                }
                None if byte == 0 => {
                    flush(&mut parts, &mut text);
                    self.frame = Some(Vec::new());
                }
                None => text.push(byte),
                // Two NULs in a row: the first closed a frame whose opening was lost.
                Some(frame) if byte == 0 && frame.is_empty() => {}
                Some(frame) if byte == 0 => {
                    let frame = std::mem::take(frame);
                    if is_text(&frame) {
                        parts.push(Part::Text(frame));
                    } else {
                        parts.push(Part::Frame(frame));
                        self.frame = None;
                    }
                }
                Some(frame) => {
                    frame.push(byte);
                    if frame.len() > LONGEST_FRAME {
                        parts.push(Part::Text(std::mem::take(frame)));
                        self.frame = None;
                    }
                }
            }
        }
        flush(&mut parts, &mut text);
        if !guest.is_empty() {
            parts.push(Part::Guest(guest));
        }
        parts
    }

    /// What is left when the stream ends: the beginning of a frame that never ended.
    pub(crate) fn finish(&mut self) -> Option<Vec<u8>> {
        self.frame.take().filter(|frame| !frame.is_empty())
    }
}

fn flush(parts: &mut Vec<Part>, text: &mut Vec<u8>) {
    if !text.is_empty() {
        parts.push(Part::Text(std::mem::take(text)));
    }
}

/// Whether bytes between two NULs can only be text: printable UTF-8, with a line's end. A frame
/// holds an index and a time and rarely looks so; if one does, it is shown as text, and nothing
/// else is lost.
fn is_text(bytes: &[u8]) -> bool {
    let printable = |text: &str| {
        text.chars()
            .all(|one| !one.is_control() || matches!(one, '\r' | '\n' | '\t' | '\x1b' | '\x1e'))
    };
    bytes.windows(2).any(|pair| pair == b"\r\n") && std::str::from_utf8(bytes).is_ok_and(printable)
}

#[cfg(test)]
mod tests {
    use super::{Part, Splitter};

    fn split(pieces: &[&[u8]]) -> (Vec<u8>, Vec<Vec<u8>>) {
        let mut splitter = Splitter::default();
        let (mut text, mut frames) = (Vec::new(), Vec::new());
        for piece in pieces {
            for part in splitter.push(piece) {
                match part {
                    Part::Text(bytes) => text.extend(bytes),
                    Part::Frame(bytes) => frames.push(bytes),
                    Part::Guest(_) => unreachable!("no guest has the line to itself"),
                }
            }
        }
        (text, frames)
    }

    #[test]
    fn text_and_frames_come_apart() {
        let (text, frames) = split(&[b"one\r\n\0\x01\x82\xff\0two\0\x03\x04\0"]);
        assert_eq!(text, b"one\r\ntwo");
        assert_eq!(frames, [vec![1, 0x82, 0xff], vec![3, 4]]);
    }

    #[test]
    fn a_guest_has_frames_of_its_own() {
        let mut whole = b"text\r\n".to_vec();
        bale_core::relay::encode(b"a\x00\x01\x04\x10\x1b[z", |byte| whole.push(byte));
        whole.extend(b"\0\x01\x82\0");
        bale_core::relay::encode(b"b", |byte| whole.push(byte));
        whole.extend(b"\x01cut\0\x03\x04\0more");
        for cut in 0..whole.len() {
            let mut splitter = Splitter::with_guest();
            let (mut text, mut guest, mut frames) = (Vec::new(), Vec::new(), Vec::new());
            for part in
                [&whole[..cut], &whole[cut..]].into_iter().flat_map(|piece| splitter.push(piece))
            {
                match part {
                    Part::Text(bytes) => text.extend(bytes),
                    Part::Guest(bytes) => guest.extend(bytes),
                    Part::Frame(bytes) => frames.push(bytes),
                }
            }
            assert_eq!(text, b"text\r\nmore", "{cut}");
            assert_eq!(guest, b"a\x00\x01\x04\x10\x1b[zbcut", "{cut}");
            assert_eq!(frames, [vec![1, 0x82], vec![3, 4]], "{cut}");
        }
    }

    #[test]
    fn any_cut_gives_the_same() {
        let whole = b"a\0\x01\x02\x03\0b\0\x04\x80\0\0\x05\x81\0c\r\n";
        let expected = split(&[whole]);
        for cut in 0..whole.len() {
            assert_eq!(split(&[&whole[..cut], &whole[cut..]]), expected, "cut at {cut}");
        }
        let single: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(split(&single), expected);
    }

    #[test]
    fn a_lost_opening_costs_one_frame() {
        // The first frame's opening NUL is missing: its bytes show up in the text, and then all is
        // well again.
        let (text, frames) =
            split(&[b"x\x01\x82\0bale> help\r\nlines\r\n\0\x07\x88\0more\r\n\0\x09\x99\0"]);
        assert!(text.ends_with(b"more\r\n"), "{text:?}");
        assert!(text.windows(4).any(|part| part == b"help"));
        assert_eq!(frames, [vec![7, 0x88], vec![9, 0x99]]);
    }

    #[test]
    fn a_lost_nul_does_not_swallow_text_of_others() {
        let (text, frames) =
            split(&["x\x01\0[vm0] ünïcödé 日本\r\n\0\x07\u{7f}\0more\r\n".as_bytes()]);
        assert!(String::from_utf8_lossy(&text).contains("ünïcödé 日本"), "{text:?}");
        assert_eq!(frames, [vec![7, 0x7f]]);
    }

    #[test]
    fn two_frames_back_to_back() {
        let (text, frames) = split(&[b"\0\x01\x02\0\0\x03\x04\0"]);
        assert!(text.is_empty());
        assert_eq!(frames, [vec![1, 2], vec![3, 4]]);
    }

    #[test]
    fn a_frame_without_end_becomes_text() {
        let mut splitter = Splitter::default();
        let long = vec![b'x'; 3000];
        let mut shown = 0;
        for part in splitter.push(b"\0").into_iter().chain(splitter.push(&long)) {
            let Part::Text(bytes) = part else { panic!("a frame without end") };
            shown += bytes.len();
        }
        assert_eq!(shown, 3000);
        assert_eq!(splitter.finish(), None);
        splitter.push(b"\0\x01");
        assert_eq!(splitter.finish(), Some(vec![1]));
    }
}
