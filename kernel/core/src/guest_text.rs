//! A guest's console output as lines that can stand among those of others.
//!
//! The terminal and the host's tools trust what the hypervisor prints, so a guest must not be able
//! to print like it. Three rules hold whatever the bytes are, and the tests and the fuzz target
//! `text` check them:
//!
//! 1. A line holds printable characters only. UTF-8 passes whole; control sequences (ECMA-48, 5.3
//!    to 5.6, in their 7-bit form and as C1 characters) are taken out whole; what else moves the
//!    cursor, reorders or hides text becomes U+FFFD or is left out ([`is_plain`]).
//! 2. A line has at most `LINE` bytes and, where the terminal's width is known, fits one row of it:
//!    what wraps would begin a row without the machine's name. A character that is not ASCII counts
//!    as two columns, which is the most that a terminal gives one.
//! 3. A carriage return alone ends a line as a line feed does, since what comes behind it would
//!    overwrite the name.
//!
//! How much a guest may print is [`RateLimit`]'s to decide.

mod characters;
mod rate;
mod sequence;

use heapless::String;

pub use characters::is_plain;
pub use rate::{RateLimit, Ruling};
use sequence::Sequence;

/// Bytes of one UTF-8 character at most.
const LONGEST_CHARACTER: usize = 4;
/// Between two tab stops.
const TAB: usize = 8;
/// A row is never taken to be narrower than this.
const NARROWEST: usize = 16;

/// What a guest has written since the last end of a line: `LINE` bytes at most.
#[derive(Debug)]
pub struct GuestText<const LINE: usize> {
    line: String<LINE>,
    /// Columns that the line takes at most.
    columns: usize,
    /// The beginning of a character, and how many bytes of it are there.
    begun: ([u8; LONGEST_CHARACTER], usize),
    sequence: Sequence,
    /// The last line was ended by a carriage return: a line feed right behind it belongs to it.
    after_return: bool,
}

impl<const LINE: usize> GuestText<LINE> {
    /// Nothing written.
    pub const fn new() -> Self {
        const { assert!(LINE >= LONGEST_CHARACTER, "a line holds one character at least") };
        Self {
            line: String::new(),
            columns: 0,
            begun: ([0; LONGEST_CHARACTER], 0),
            sequence: Sequence::None,
            after_return: false,
        }
    }

    /// Takes a byte; gives `emit` each line that it completes. A row of the terminal has `width`
    /// columns for the line.
    pub fn put(&mut self, byte: u8, width: usize, emit: &mut impl FnMut(&str)) {
        let (bytes, length) = &mut self.begun;
        bytes[*length] = byte;
        *length += 1;
        // Each round takes a character, or the part of one that can be none, out of at most four
        // bytes.
        while self.begun.1 > 0 {
            let (bytes, length) = self.begun;
            let (character, taken) = match core::str::from_utf8(&bytes[..length]) {
                Ok(text) => (text.chars().next().unwrap_or('\u{fffd}'), length),
                Err(error) => match error.error_len() {
                    // The rest of the character is still to come.
                    None => return,
                    Some(wrong) => ('\u{fffd}', wrong),
                },
            };
            self.begun.0.copy_within(taken.., 0);
            self.begun.1 = length - taken;
            self.character(character, width.max(NARROWEST), emit);
        }
    }

    /// Ends the line that has begun, if one has. The width is that of [`Self::put`].
    pub fn flush(&mut self, width: usize, emit: &mut impl FnMut(&str)) {
        if core::mem::take(&mut self.begun.1) > 0 {
            self.show('\u{fffd}', width.max(NARROWEST), emit);
        }
        if !self.line.is_empty() {
            self.end(emit);
        }
        self.reset();
    }

    /// The line that has begun. Nothing is kept of it.
    pub fn take(&mut self) -> String<LINE> {
        let line = core::mem::take(&mut self.line);
        self.reset();
        line
    }

    /// As if nothing had been written.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    fn character(&mut self, character: char, width: usize, emit: &mut impl FnMut(&str)) {
        if self.sequence.takes(character) {
            return;
        }
        match character {
            // Vertical tab and form feed go to another row as well.
            '\n' | '\u{b}' | '\u{c}' => {
                if !core::mem::take(&mut self.after_return) {
                    self.end(emit);
                }
            }
            '\r' => {
                // Nothing stands before it, or it comes a second time: "\r\r\n" is how some drivers
                // end a line.
                if !self.line.is_empty() {
                    self.end(emit);
                    self.after_return = true;
                }
            }
            '\t' => {
                let stop = TAB - self.columns % TAB;
                (0..stop).for_each(|_| self.show(' ', width, emit));
            }
            '\u{8}' => {
                if let Some(gone) = self.line.pop() {
                    self.columns -= columns(gone);
                }
            }
            // Of ASCII's control characters nothing is left; all others leave a mark.
            '\0'..='\u{1f}' | '\u{7f}' => {}
            character => {
                self.show(if is_plain(character) { character } else { '\u{fffd}' }, width, emit);
            }
        }
    }

    /// Appends a character that takes room, to a new line if this one has none.
    fn show(&mut self, character: char, width: usize, emit: &mut impl FnMut(&str)) {
        self.after_return = false;
        let wide = self.columns + columns(character) > width;
        if wide || self.line.push(character).is_err() {
            self.end(emit);
            // A line holds one character at least.
            let _ = self.line.push(character);
        }
        self.columns += columns(character);
    }

    fn end(&mut self, emit: &mut impl FnMut(&str)) {
        emit(&self.line);
        self.line.clear();
        self.columns = 0;
    }
}

impl<const LINE: usize> Default for GuestText<LINE> {
    fn default() -> Self {
        Self::new()
    }
}

/// Columns that a terminal gives a character at most.
const fn columns(character: char) -> usize {
    if character.is_ascii() { 1 } else { 2 }
}

/// Whether a byte of a guest may reach the terminal that is given to it: all but NUL, which opens a
/// frame of the log, and RS, which begins a mark of the shell for scripts.
pub const fn may_pass(byte: u8) -> bool {
    !matches!(byte, 0 | crate::console::MARK)
}

#[cfg(test)]
mod tests;
