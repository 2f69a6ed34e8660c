//! Line editing: bytes from a serial terminal in, events out, echo to a writer.
//!
//! Keys: cursor keys, Home, End, Delete (VT100 and xterm sequences), Ctrl-A E B F, Backspace,
//! Ctrl-K U W L, up and down or Ctrl-P N for history, Tab, Ctrl-C, Ctrl-D. Only printable ASCII
//! enters the line. In place of any other character stands a [`FOREIGN`], which shows as a question
//! mark and keeps the line from being run: leaving it out could make another command. A line that
//! is longer than the terminal is wide goes on in the next row.

mod escape;

use core::fmt::Write;

use heapless::{Deque, String};

use self::escape::{Escape, Step};

/// In a line, where a character beyond ASCII was typed: ASCII's own substitute.
const FOREIGN: u8 = 0x1a;

/// What a byte led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Nothing that concerns the caller.
    None,
    /// Enter: [`LineEditor::line`] is complete.
    Line,
    /// Enter, but more was typed than a line holds: it must not be run.
    TooLong,
    /// Enter, but bytes were lost somewhere before it: what is left must not be run.
    Damaged,
    /// Enter, but there are characters beyond ASCII in it, which no command takes: it must not be
    /// run.
    Foreign,
    /// Ctrl-C: the line was thrown away.
    Interrupt,
    /// Ctrl-D on an empty line.
    EndOfFile,
    /// Tab, with the cursor behind a word: [`LineEditor::complete`] wants candidates.
    Complete,
    /// The terminal says where its cursor is, from 1 on, as it was asked to (ESC `[6n`): the line
    /// is as it was. An xterm's F3 with a modifier looks like row 1.
    CursorAt {
        /// From the top.
        row: u16,
        /// From the left.
        column: u16,
    },
}

/// A line being edited: at most `LINE` bytes, and the last `HISTORY` lines.
#[derive(Debug)]
pub struct LineEditor<const LINE: usize, const HISTORY: usize> {
    prompt: &'static str,
    echo: bool,
    /// Of the terminal; 0 as long as nobody knows how many it has.
    columns: usize,
    /// Bytes that are still to come of a character beyond ASCII.
    continuation: u8,
    line: String<LINE>,
    cursor: usize,
    /// Bytes that did not fit.
    refused: usize,
    /// Bytes of this line, or of several, were lost: see [`LineEditor::lose`].
    damaged: bool,
    /// Enter was seen: the next byte starts a new line.
    finished: bool,
    /// The last Enter was a carriage return: a line feed right after belongs to it.
    after_return: bool,
    escape: Escape,
    history: Deque<String<LINE>, HISTORY>,
    /// Steps back in the history; 0 is the line being typed, which waits in `draft`.
    recalled: usize,
    draft: String<LINE>,
}

impl<const LINE: usize, const HISTORY: usize> LineEditor<LINE, HISTORY> {
    /// An empty line.
    pub const fn new(prompt: &'static str) -> Self {
        Self {
            prompt,
            echo: true,
            columns: 0,
            continuation: 0,
            line: String::new(),
            cursor: 0,
            refused: 0,
            damaged: false,
            finished: false,
            after_return: false,
            escape: Escape::None,
            history: Deque::new(),
            recalled: 0,
            draft: String::new(),
        }
    }

    /// Writes nothing back from now on, as for a script.
    pub fn silence(&mut self) {
        self.echo = false;
    }

    /// The terminal has so many columns: from now on lines go on in the next row.
    pub fn set_columns(&mut self, columns: usize) {
        self.columns = columns;
    }

    /// What was typed.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// What was typed, as far as the cursor.
    pub fn before_cursor(&self) -> &str {
        if self.finished { "" } else { &self.line[..self.cursor] }
    }

    /// Bytes of the line that did not fit into it.
    pub fn refused(&self) -> usize {
        self.refused
    }

    /// Lines typed before, the oldest first.
    pub fn history(&self) -> impl Iterator<Item = &str> {
        self.history.iter().map(String::as_str)
    }

    /// Here bytes of the terminal were lost: the line that they belong to, or that is there when
    /// they were to come, must not be run.
    pub fn lose(&mut self) {
        self.start_over();
        self.damaged = true;
        // Of a key's sequence the end may be among them.
        self.escape = Escape::None;
    }

    /// The line that was finished makes room for the next one.
    fn start_over(&mut self) {
        if self.finished {
            self.finished = false;
            self.clear();
        }
    }

    /// Takes a byte from the terminal.
    pub fn feed(&mut self, byte: u8, out: &mut dyn Write) -> Event {
        let first = self.finished;
        self.start_over();
        if first && byte == b'\n' && self.after_return {
            self.after_return = false;
            return Event::None;
        }
        self.after_return = false;
        match self.escape.feed(byte) {
            Step::Plain => self.plain(byte, out),
            Step::Taken => Event::None,
            Step::Sequence(row, column, b'R') => Event::CursorAt { row, column },
            Step::Sequence(_, number, last) => {
                self.sequence(number, last, out);
                Event::None
            }
        }
    }

    fn plain(&mut self, byte: u8, out: &mut dyn Write) -> Event {
        const fn control(letter: u8) -> u8 {
            letter & 0x1f
        }
        if byte < 0x80 {
            self.continuation = 0;
        }
        match byte {
            b'\r' | b'\n' => {
                self.after_return = byte == b'\r';
                return self.enter(out);
            }
            b'\t' => {
                // In the midst of a word it is that word which is meant, not its beginning.
                let rest = &self.line[self.cursor..];
                let end = rest.find([' ', ';']).unwrap_or(rest.len());
                self.go_to(self.cursor + end, out);
                return Event::Complete;
            }
            0x08 | 0x7f => self.backspace(out),
            b' '..=b'~' => self.insert(byte, out),
            // A character's first byte says how many follow. Others of these bytes are noise of the
            // line.
            0xc2..=0xf4 => {
                self.continuation = match byte {
                    0xf0.. => 3,
                    0xe0.. => 2,
                    _ => 1,
                };
                self.insert(FOREIGN, out);
                return Event::None;
            }
            0x80..=0xbf if self.continuation > 0 => {
                self.continuation -= 1;
                return Event::None;
            }
            _ if byte == control(b'C') => {
                self.go_to_last_row(out);
                self.emit(out, "^C\n");
                self.clear();
                return Event::Interrupt;
            }
            _ if byte == control(b'D') => {
                if self.line.is_empty() {
                    return Event::EndOfFile;
                }
                self.delete(out);
            }
            _ if byte == control(b'A') => self.go_to(0, out),
            _ if byte == control(b'E') => self.go_to(self.line.len(), out),
            _ if byte == control(b'B') => self.go_to(self.cursor.saturating_sub(1), out),
            _ if byte == control(b'F') => self.go_to(self.cursor + 1, out),
            _ if byte == control(b'K') => self.replace(self.cursor, self.line.len(), out),
            _ if byte == control(b'U') => self.replace(0, self.cursor, out),
            _ if byte == control(b'W') => {
                let before = &self.line[..self.cursor];
                let start = before.trim_end().rfind(' ').map_or(0, |blank| blank + 1);
                self.replace(start, self.cursor, out);
            }
            _ if byte == control(b'P') => self.recall(self.recalled + 1, out),
            _ if byte == control(b'N') => self.recall(self.recalled.saturating_sub(1), out),
            _ if byte == control(b'L') => {
                self.emit(out, "\x1b[H\x1b[2J");
                self.redraw(out);
            }
            _ => {}
        }
        Event::None
    }

    fn sequence(&mut self, number: u16, last: u8, out: &mut dyn Write) {
        match (number, last) {
            (_, b'A') => self.recall(self.recalled + 1, out),
            (_, b'B') => self.recall(self.recalled.saturating_sub(1), out),
            (_, b'C') => self.go_to(self.cursor + 1, out),
            (_, b'D') => self.go_to(self.cursor.saturating_sub(1), out),
            (_, b'H') | (1 | 7, b'~') => self.go_to(0, out),
            (_, b'F') | (4 | 8, b'~') => self.go_to(self.line.len(), out),
            (3, b'~') => self.delete(out),
            _ => {}
        }
    }

    fn enter(&mut self, out: &mut dyn Write) -> Event {
        self.go_to_last_row(out);
        self.emit(out, "\n");
        self.finished = true;
        self.recalled = 0;
        if self.damaged {
            return Event::Damaged;
        }
        if self.refused > 0 {
            return Event::TooLong;
        }
        if self.line.bytes().any(|byte| byte == FOREIGN) {
            return Event::Foreign;
        }
        let repeated = self.history.back().is_some_and(|last| *last == self.line);
        if HISTORY > 0 && !self.line.trim().is_empty() && !repeated {
            if self.history.is_full() {
                self.history.pop_front();
            }
            // Room was made above.
            let _ = self.history.push_back(self.line.clone());
        }
        Event::Line
    }

    /// Prints the prompt and what has been typed so far.
    pub fn redraw(&self, out: &mut dyn Write) {
        self.emit(out, self.prompt);
        if !self.finished {
            self.draw_from(0, out);
            self.step(self.line.len(), self.cursor, out);
        }
    }

    /// Completes the word before the cursor: as far as the candidates agree; a list if they do not.
    ///
    /// Candidates that are not printable ASCII, or that the line has no room for, are left out.
    pub fn complete<'a>(
        &mut self,
        candidates: impl Iterator<Item = &'a str> + Clone,
        out: &mut dyn Write,
    ) {
        let start = self.line[..self.cursor].rfind([' ', ';']).map_or(0, |blank| blank + 1);
        let word: String<LINE> = self.line[start..self.cursor].try_into().unwrap_or_default();
        let room = LINE - self.line.len();
        let fitting = candidates.filter(|candidate| {
            let printable = candidate.bytes().all(|byte| matches!(byte, b' '..=b'~'));
            // One byte more for the blank behind it.
            printable && candidate.starts_with(word.as_str()) && candidate.len() - word.len() < room
        });
        let Some(first) = fitting.clone().next() else { return };
        let shared = fitting.clone().fold(first.len(), |shared, other| {
            let same = first.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
            shared.min(same)
        });
        for byte in first.as_bytes()[word.len()..shared].iter().copied() {
            self.insert(byte, out);
        }
        // One may be named twice.
        if fitting.clone().all(|candidate| candidate == first) {
            if self.line[self.cursor..].starts_with(' ') {
                self.go_to(self.cursor + 1, out);
            } else {
                self.insert(b' ', out);
            }
        } else if shared == word.len() {
            self.go_to_last_row(out);
            self.emit(out, "\n");
            for (place, candidate) in fitting.clone().enumerate() {
                if fitting.clone().take(place).all(|before| before != candidate) {
                    self.emit(out, candidate);
                    self.emit(out, "  ");
                }
            }
            self.emit(out, "\n");
            self.redraw(out);
        }
    }

    fn insert(&mut self, byte: u8, out: &mut dyn Write) {
        if self.line.len() == LINE {
            self.refused += 1;
            return;
        }
        let tail: String<LINE> = self.line[self.cursor..].try_into().unwrap_or_default();
        self.line.truncate(self.cursor);
        // There is room for one more byte, checked above.
        let _ = self.line.push(char::from(byte));
        let _ = self.line.push_str(&tail);
        self.draw_from(self.cursor, out);
        self.cursor += 1;
        self.step(self.line.len(), self.cursor, out);
    }

    fn backspace(&mut self, out: &mut dyn Write) {
        if self.refused > 0 {
            self.refused -= 1;
        } else if self.cursor > 0 {
            self.replace(self.cursor - 1, self.cursor, out);
        }
    }

    fn delete(&mut self, out: &mut dyn Write) {
        if self.cursor < self.line.len() {
            self.replace(self.cursor, self.cursor + 1, out);
        }
    }

    /// Cuts a range out, and shows the line without it.
    fn replace(&mut self, start: usize, end: usize, out: &mut dyn Write) {
        self.step(self.cursor, start.min(self.cursor), out);
        let tail: String<LINE> = self.line[end..].try_into().unwrap_or_default();
        self.line.truncate(start);
        // It was longer before.
        let _ = self.line.push_str(&tail);
        self.cursor = start;
        self.draw_from(start, out);
        self.erase_behind(out);
        self.step(self.line.len(), start, out);
    }

    fn go_to(&mut self, place: usize, out: &mut dyn Write) {
        let place = place.min(self.line.len());
        self.step(self.cursor, place, out);
        self.cursor = place;
    }

    fn recall(&mut self, steps: usize, out: &mut dyn Write) {
        if steps > self.history.len() || steps == self.recalled {
            return;
        }
        if self.recalled == 0 {
            self.draft = self.line.clone();
        }
        let wanted = match steps {
            0 => self.draft.clone(),
            _ => self.history.iter().rev().nth(steps - 1).cloned().unwrap_or_default(),
        };
        self.recalled = steps;
        self.step(self.cursor, 0, out);
        self.line = wanted;
        self.cursor = self.line.len();
        self.draw_from(0, out);
        self.erase_behind(out);
    }

    fn clear(&mut self) {
        self.line.clear();
        self.cursor = 0;
        self.refused = 0;
        self.damaged = false;
        self.recalled = 0;
    }

    /// Row and column of a place in the line, as the terminal shows it behind the prompt. All in
    /// one row as long as nobody knows how long that is.
    fn position(&self, place: usize) -> (usize, usize) {
        let at = self.prompt.len() + place;
        (at.checked_div(self.columns).unwrap_or(0), at.checked_rem(self.columns).unwrap_or(at))
    }

    /// Draws the line from `start`, where the terminal's cursor is, which goes to its end.
    fn draw_from(&self, start: usize, out: &mut dyn Write) {
        self.draw(&self.line[start..], out);
        // Behind a row's last column terminals wait for the next character before they go on below:
        // a blank, which is left again.
        if start < self.line.len() && self.columns > 0 && self.position(self.line.len()).1 == 0 {
            self.emit(out, " \r");
        }
    }

    /// Writes a piece of the line.
    fn draw(&self, text: &str, out: &mut dyn Write) {
        for (count, part) in text.split(char::from(FOREIGN)).enumerate() {
            if count > 0 {
                self.emit(out, "?");
            }
            self.emit(out, part);
        }
    }

    /// Erases what a longer line has left behind the end of this one, where the terminal's cursor
    /// is.
    fn erase_behind(&self, out: &mut dyn Write) {
        self.emit(out, if self.columns == 0 { "\x1b[K" } else { "\x1b[J" });
    }

    /// The terminal's cursor goes from a place of the line to another.
    fn step(&self, from: usize, to: usize, out: &mut dyn Write) {
        let ((row, _), (wanted, column)) = (self.position(from), self.position(to));
        if row == wanted {
            if to < from {
                (to..from).for_each(|_| self.emit(out, "\x08"));
            } else {
                self.draw(&self.line[from..to], out);
            }
            return;
        }
        let direction = if wanted < row { 'A' } else { 'B' };
        // In one piece each: text of others must not come between. There is room for the longest
        // numbers.
        let mut keys: String<32> = String::new();
        let _ = write!(keys, "\x1b[{}{direction}\r", wanted.abs_diff(row));
        self.emit(out, &keys);
        if column > 0 {
            keys.clear();
            let _ = write!(keys, "\x1b[{column}C");
            self.emit(out, &keys);
        }
    }

    /// What is written next comes below the whole line.
    fn go_to_last_row(&mut self, out: &mut dyn Write) {
        if self.position(self.cursor).0 != self.position(self.line.len()).0 {
            self.go_to(self.line.len(), out);
        }
    }

    /// Writes to the terminal, which cannot fail in a way that matters to the line.
    fn emit(&self, out: &mut dyn Write, text: &str) {
        if self.echo {
            let _ = out.write_str(text);
        }
    }
}

#[cfg(test)]
mod tests;
