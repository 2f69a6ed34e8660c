//! Escape sequences, byte by byte: what keys of VT100 and xterm send, and what a terminal answers
//! (ECMA-48, 5.4).

const ESCAPE: u8 = 0x1b;

/// Where a sequence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escape {
    None,
    /// ESC.
    Started,
    /// ESC [ or ESC O, the parameter before the last one, and the last one so far.
    Parameters(u16, u16),
}

/// What a byte led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It belongs to no sequence.
    Plain,
    /// It is the sequence's business.
    Taken,
    /// It ends the sequence: its last two parameters, 0 for one that is not there, and the byte.
    Sequence(u16, u16, u8),
}

impl Escape {
    pub(super) fn feed(&mut self, byte: u8) -> Step {
        match (*self, byte) {
            (_, ESCAPE) => {
                *self = Self::Started;
                Step::Taken
            }
            (Self::None, _) => Step::Plain,
            (Self::Started, b'[' | b'O') => {
                *self = Self::Parameters(0, 0);
                Step::Taken
            }
            // A sequence that leads nowhere must not swallow Enter or Ctrl-C.
            (_, 0..b' ') => {
                *self = Self::None;
                Step::Plain
            }
            (Self::Started, _) => {
                *self = Self::None;
                Step::Taken
            }
            (Self::Parameters(before, last), b'0'..=b'9') => {
                let last = last.saturating_mul(10).saturating_add(u16::from(byte - b'0'));
                *self = Self::Parameters(before, last);
                Step::Taken
            }
            (Self::Parameters(_, last), b';') => {
                *self = Self::Parameters(last, 0);
                Step::Taken
            }
            (Self::Parameters(before, last), _) => {
                *self = Self::None;
                Step::Sequence(before, last, byte)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps of these bytes that are not [`Step::Taken`].
    fn steps(bytes: &[u8]) -> std::vec::Vec<Step> {
        let mut escape = Escape::None;
        bytes.iter().map(|&byte| escape.feed(byte)).filter(|step| *step != Step::Taken).collect()
    }

    #[test]
    fn keys_and_answers_end() {
        assert_eq!(steps(b"\x1b[A"), [Step::Sequence(0, 0, b'A')]);
        assert_eq!(steps(b"\x1bOC"), [Step::Sequence(0, 0, b'C')]);
        assert_eq!(steps(b"\x1b[3~x"), [Step::Sequence(0, 3, b'~'), Step::Plain]);
        assert_eq!(steps(b"\x1b[24;80R"), [Step::Sequence(24, 80, b'R')]);
        assert_eq!(steps(b"\x1b[1;24;80R"), [Step::Sequence(24, 80, b'R')]);
        assert_eq!(steps(b"\x1b[;R"), [Step::Sequence(0, 0, b'R')]);
        assert_eq!(steps(b"\x1b[99999999;7R"), [Step::Sequence(u16::MAX, 7, b'R')]);
    }

    #[test]
    fn what_is_broken_off_leaves_nothing() {
        assert_eq!(steps(b"\x1b[24;\r"), [Step::Plain]);
        assert_eq!(steps(b"\x1b\x03"), [Step::Plain]);
        assert_eq!(steps(b"\x1bxy"), [Step::Plain]);
        assert_eq!(steps(b"\x1b[2\x1b[24;80R"), [Step::Sequence(24, 80, b'R')]);
    }
}
