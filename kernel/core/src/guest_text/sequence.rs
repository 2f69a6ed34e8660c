//! Control sequences of a terminal, as they are taken out of a text (ECMA-48, 5.3 to 5.6).
//!
//! No sequence is longer than its line: what would end a line ends the sequence too, so that one
//! without an end hides no more than the line that it stands in.

/// Where in a control sequence a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sequence {
    /// In none.
    None,
    /// Behind ESC and what comes between it and its last character.
    Escape,
    /// In parameters of a control sequence: behind CSI.
    Parameters,
    /// In a control string: behind DCS, SOS, OSC, PM or APC, up to ST, or to BEL as xterm has it.
    String,
}

impl Sequence {
    /// Takes a character in, if it is part of a sequence; whether it was.
    pub(super) fn takes(&mut self, character: char) -> bool {
        let (next, taken) = self.step(character);
        *self = next;
        taken
    }

    fn step(self, character: char) -> (Self, bool) {
        match (self, character) {
            // Ends of lines end every sequence and are none of it; CAN and SUB end it as well.
            (_, '\n' | '\r' | '\u{b}' | '\u{c}') => (Self::None, false),
            (_, '\u{18}' | '\u{1a}') => (Self::None, true),
            (_, '\u{1b}') => (Self::Escape, true),
            // C1: CSI, then DCS, SOS, OSC, PM and APC, then ST.
            (_, '\u{9b}') => (Self::Parameters, true),
            (_, '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}') => (Self::String, true),
            (_, '\u{9c}') => (Self::None, true),
            (Self::None, _) => (Self::None, false),
            (Self::Escape, '[') => (Self::Parameters, true),
            (Self::Escape, 'P' | 'X' | ']' | '^' | '_') => (Self::String, true),
            (Self::Escape, ' '..='/') => (Self::Escape, true),
            (Self::Escape, '0'..='~') => (Self::None, true),
            (Self::Parameters, ' '..='?') => (Self::Parameters, true),
            (Self::Parameters, '@'..='~') => (Self::None, true),
            (Self::String, '\u{7}') => (Self::None, true),
            (Self::String, _) => (Self::String, true),
            // It can be no part of this: the sequence ends without having been one.
            (Self::Escape | Self::Parameters, _) => (Self::None, false),
        }
    }
}
