//! Keys against expected lines, and random bytes against a terminal that is drawn from the echo.

use super::*;
use proptest::prelude::*;

type Editor = LineEditor<32, 4>;

fn type_in(editor: &mut Editor, bytes: &[u8]) -> (std::string::String, Event) {
    let mut out = std::string::String::new();
    let mut event = Event::None;
    for &byte in bytes {
        event = editor.feed(byte, &mut out);
    }
    (out, event)
}

fn edited(bytes: &[u8]) -> std::string::String {
    let mut editor = Editor::new("> ");
    let (_, event) = type_in(&mut editor, bytes);
    assert_eq!(event, Event::Line);
    editor.line().into()
}

#[test]
fn keys() {
    assert_eq!(edited(b"pool\r"), "pool");
    assert_eq!(edited(b"pol\x1b[Do\r"), "pool");
    assert_eq!(edited(b"ool\x01p\x05s\r"), "pools");
    assert_eq!(edited(b"ool\x1b[Hp\x1b[Fs\r"), "pools");
    assert_eq!(edited(b"abc\x7f\x08d\r"), "ad");
    assert_eq!(edited(b"abc\x1b[D\x1b[D\x1b[3~\r"), "ac");
    assert_eq!(edited(b"one two\x17three\r"), "one three");
    assert_eq!(edited(b"one two\x15\r"), "");
    assert_eq!(edited(b"one two\x01\x0b\r"), "");
    assert_eq!(edited(b"a\x1bOCb\x1bODc\r"), "acb");
    assert_eq!(edited(b"a\x1b[5~b\xff\x00\r"), "ab");
}

#[test]
fn an_answer_of_the_terminal_leaves_the_line() {
    let mut editor = Editor::new("> ");
    let (_, event) = type_in(&mut editor, b"po\x1b[24;80R");
    assert_eq!(event, Event::CursorAt { row: 24, column: 80 });
    // In pieces, late, and broken off by a key.
    let (echo, event) = type_in(&mut editor, b"o\x1b[50;132Rl\x1b[24;\x1b[D\x7fo");
    assert_eq!((editor.line(), event), ("pool", Event::None));
    assert!(!echo.contains('R') && !echo.contains('5'), "{echo:?}");
    assert_eq!(type_in(&mut editor, b"\r").1, Event::Line);
}

#[test]
fn a_line_with_lost_bytes_is_not_run() {
    let mut editor = Editor::new("> ");
    type_in(&mut editor, b"po");
    editor.lose();
    assert_eq!(type_in(&mut editor, b"weroff\r").1, Event::Damaged);
    assert_eq!(editor.history().count(), 0);
    assert_eq!(type_in(&mut editor, b"\npool\r").1, Event::Line);
    assert_eq!(editor.line(), "pool");
    // Behind a line that is over it is the next one that is damaged, be it in the midst of a key.
    editor.lose();
    assert_eq!(type_in(&mut editor, b"xy\x1b[").1, Event::None);
    editor.lose();
    assert_eq!(type_in(&mut editor, b"z\n").1, Event::Damaged);
    assert_eq!(editor.line(), "xyz");
    editor.lose();
    assert_eq!(type_in(&mut editor, b"abc\x03").1, Event::Interrupt);
    assert_eq!(type_in(&mut editor, b"cores\r").1, Event::Line);
}

#[test]
fn history_goes_back_and_forth() {
    let mut editor = Editor::new("> ");
    for line in ["one\r", "two\r", "two\r", " \r", "three\r"] {
        type_in(&mut editor, line.as_bytes());
    }
    assert_eq!(editor.history().collect::<std::vec::Vec<_>>(), ["one", "two", "three"]);
    type_in(&mut editor, b"dra\x1b[A\x1b[A");
    assert_eq!(editor.line(), "two");
    type_in(&mut editor, b"\x1b[A\x1b[A\x1b[A");
    assert_eq!(editor.line(), "one");
    type_in(&mut editor, b"\x0e\x0e\x0e");
    assert_eq!(editor.line(), "dra");
}

#[test]
fn both_line_ends_count_once() {
    let mut editor = Editor::new("");
    editor.silence();
    let mut lines = 0;
    for &byte in b"a\r\nb\nc\r\r\n" {
        lines += usize::from(editor.feed(byte, &mut std::string::String::new()) == Event::Line);
    }
    assert_eq!(lines, 4);
}

#[test]
fn a_long_line_is_refused_whole() {
    let mut editor = Editor::new("");
    let (_, event) = type_in(&mut editor, &[b'x'; 40]);
    assert_eq!(event, Event::None);
    assert_eq!(editor.refused(), 8);
    assert_eq!(type_in(&mut editor, b"\r").1, Event::TooLong);
    assert_eq!(type_in(&mut editor, b"ok\r").1, Event::Line);
    assert_eq!(editor.line(), "ok");
}

#[test]
fn a_paste_of_ten_kilobytes() {
    let mut editor = Editor::new("");
    assert_eq!(type_in(&mut editor, &[b'y'; 10_240]).1, Event::None);
    assert_eq!(type_in(&mut editor, b"\n").1, Event::TooLong);
}

#[test]
fn control_keys() {
    let mut editor = Editor::new("");
    assert_eq!(type_in(&mut editor, b"abc\x03").1, Event::Interrupt);
    assert_eq!(editor.line(), "");
    assert_eq!(type_in(&mut editor, b"\x04").1, Event::EndOfFile);
    assert_eq!(type_in(&mut editor, b"\x1b\x03").1, Event::Interrupt);
}

#[test]
fn completion() {
    let names = ["pool", "poweroff", "swap"];
    let mut editor = Editor::new("> ");
    let mut out = std::string::String::new();
    type_in(&mut editor, b"sw");
    editor.complete(names.iter().copied(), &mut out);
    assert_eq!(editor.line(), "swap ");
    type_in(&mut editor, b"\x15p");
    editor.complete(names.iter().copied(), &mut out);
    assert_eq!(editor.line(), "po");
    out.clear();
    editor.complete(names.iter().copied(), &mut out);
    assert!(out.contains("pool  poweroff"), "{out:?}");
    type_in(&mut editor, b"\x15zz");
    editor.complete(names.iter().copied(), &mut out);
    assert_eq!(editor.line(), "zz");
}

#[test]
fn completion_leaves_out_what_a_line_cannot_hold() {
    let mut out = std::string::String::new();
    let long = "g".repeat(40);
    let mut editor = Editor::new("");
    type_in(&mut editor, b"g");
    editor.complete(["gu\u{e9}st", long.as_str()].into_iter(), &mut out);
    assert_eq!((editor.line(), editor.refused()), ("g", 0));
    type_in(&mut editor, &[b'x'; 31]);
    editor.complete([editor.line().to_owned().as_str()].into_iter(), &mut out);
    assert_eq!(editor.refused(), 0);
    assert_eq!(type_in(&mut editor, b"\r").1, Event::Line);
}

#[test]
fn completion_in_the_midst_of_a_word_keeps_it_whole() {
    let names = ["pool", "swap", "drain"];
    let mut out = std::string::String::new();
    for (typed, completed) in [
        (&b"drain\x1b[D\x1b[D\t"[..], "drain "),
        (b"dra flush\x01\x06\t", "drain flush"),
        (b"dra;pool\x01\t", "drain ;pool"),
    ] {
        let mut editor = Editor::new("> ");
        assert_eq!(type_in(&mut editor, typed).1, Event::Complete);
        editor.complete(names.iter().copied(), &mut out);
        assert_eq!(editor.line(), completed);
        assert_eq!(editor.before_cursor(), "drain ");
    }
}

#[test]
fn a_line_with_other_characters_is_not_run_without_them() {
    let mut editor = Editor::new("> ");
    let (echo, event) = type_in(&mut editor, "\u{fc}n\u{ef}c\u{f6}d\u{e9}\r".as_bytes());
    assert_eq!((echo.as_str(), event), ("?n?c?d?\n", Event::Foreign));
    assert_eq!(editor.history().count(), 0);
    // Each is one character to the keys, however many bytes it has.
    let typed = "po\u{1f600}\u{65e5}\u{e9}\x7f\x7f\x7fol\r";
    assert_eq!(type_in(&mut editor, typed.as_bytes()).1, Event::Line);
    assert_eq!(editor.line(), "pool");
}

#[test]
fn a_long_parameter_is_no_other_key() {
    // 259 is 3, Delete, in a byte.
    assert_eq!(edited(b"abc\x1b[D\x1b[259~\r"), "abc");
}

/// One line of a terminal: enough of it to see what the echo draws.
#[derive(Default)]
struct Screen {
    cells: std::vec::Vec<char>,
    column: usize,
}

impl Write for Screen {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match character {
                '\x08' => self.column -= 1,
                '\n' => *self = Self::default(),
                '\x1b' => match (characters.next(), characters.next()) {
                    (Some('['), Some('K')) => self.cells.truncate(self.column),
                    (Some('['), Some('H')) => *self = Self::default(),
                    (Some('['), Some('2')) => drop(characters.next()),
                    // Never equal to a line.
                    _ => self.cells.push('\u{fffd}'),
                },
                character => {
                    if self.column == self.cells.len() {
                        self.cells.push(character);
                    } else {
                        self.cells[self.column] = character;
                    }
                    self.column += 1;
                }
            }
        }
        Ok(())
    }
}

/// A terminal of some columns, which goes on in the next row as an xterm does: not before there is
/// a character for it.
struct Rows {
    columns: usize,
    cells: std::vec::Vec<std::vec::Vec<char>>,
    row: usize,
    column: usize,
}

impl Rows {
    fn new(columns: usize) -> Self {
        Self { columns, cells: std::vec![std::vec![' '; columns]], row: 0, column: 0 }
    }

    /// All rows, one behind the other, without the blanks at the end.
    fn text(&self) -> std::string::String {
        let text: std::string::String = self.cells.iter().flatten().collect();
        text.trim_end().into()
    }

    fn down(&mut self) {
        self.row += 1;
        if self.row == self.cells.len() {
            self.cells.push(std::vec![' '; self.columns]);
        }
    }
}

impl Write for Rows {
    #[expect(clippy::panic_in_result_fn, reason = "what no terminal takes fails the test")]
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\x08' => self.column = self.column.min(self.columns - 1) - 1,
                '\r' => self.column = 0,
                '\n' => *self = Self::new(self.columns),
                '\x1b' => {
                    assert_eq!(characters.next(), Some('['));
                    let mut count = 0;
                    while let Some(digit) = characters.peek().and_then(|one| one.to_digit(10)) {
                        count = count * 10 + digit as usize;
                        characters.next();
                    }
                    match characters.next() {
                        Some('A') => self.row -= count,
                        Some('B') => self.row += count,
                        Some('C') => self.column += count,
                        Some('H') => *self = Self::new(self.columns),
                        Some('J') if count == 2 => {}
                        Some('J') => {
                            let column = self.column;
                            self.cells[self.row][column.min(self.columns)..].fill(' ');
                            self.cells.truncate(self.row + 1);
                        }
                        other => panic!("{other:?}"),
                    }
                }
                character => {
                    if self.column == self.columns {
                        self.down();
                        self.column = 0;
                    }
                    self.cells[self.row][self.column] = character;
                    self.column += 1;
                }
            }
        }
        Ok(())
    }
}

#[test]
fn a_long_line_of_the_history_leaves_nothing_behind() {
    let mut editor = Editor::new("> ");
    editor.set_columns(10);
    let mut screen = Rows::new(10);
    editor.redraw(&mut screen);
    for byte in *b"one and two and three and four\rpool\r\x1b[A\x1b[A\x1b[B" {
        if editor.feed(byte, &mut screen) == Event::Line {
            // As the shell does.
            screen.write_str("> ").expect("a screen");
        }
    }
    assert_eq!((screen.text().as_str(), editor.line()), ("> pool", "pool"));
    assert_eq!((screen.row, screen.column), (0, 6));
}

proptest! {
    /// The same where a line goes on in further rows, whatever the keys.
    #[test]
    fn rows_show_the_line(columns in 5usize..20, bytes in proptest::collection::vec(prop_oneof![
        4 => b'a'..=b'z', 2 => 0u8..32, 1 => Just(0x7fu8), 1 => Just(0x1bu8), 1 => Just(b'['), 1 => any::<u8>()
    ], 0..300)) {
        let mut editor = Editor::new("");
        editor.set_columns(columns);
        let mut screen = Rows::new(columns);
        for byte in bytes {
            let event = editor.feed(byte, &mut screen);
            if event == Event::None {
                let line = editor.line().replace('\x1a', "?");
                prop_assert_eq!(screen.text(), line.trim_end());
                prop_assert_eq!((screen.row, screen.column), editor.position(editor.cursor));
            }
        }
    }

    /// Whatever comes over a bad line: no panic, and the terminal shows the line and the cursor as
    /// they are.
    #[test]
    fn screen_shows_the_line(bytes in proptest::collection::vec(prop_oneof![
        3 => b' '..=b'~', 2 => 0u8..32, 1 => Just(0x7fu8), 1 => Just(0x1bu8), 1 => Just(b'['), 1 => any::<u8>()
    ], 0..300)) {
        let mut editor = Editor::new("");
        let mut screen = Screen::default();
        for byte in bytes {
            let event = editor.feed(byte, &mut screen);
            if event == Event::None {
                let line = editor.line().replace('\x1a', "?");
                prop_assert_eq!(screen.cells.iter().collect::<std::string::String>(), line);
                prop_assert_eq!(screen.column, editor.cursor);
            }
        }
    }
}
