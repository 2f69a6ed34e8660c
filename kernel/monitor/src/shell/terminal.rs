//! How many lines the terminal has, and the first prompt.

use core::fmt::{self, Write};

use bale_core::shell::Event;

use super::{Editor, PROMPT};
use bale_io::console::{self, Text, pager};
use bale_io::{print, println};
use bale_rt::{clock, platform};

/// Lines of a terminal that says nothing of itself.
const ROWS: u32 = 24;
/// Puts the cursor at the end of the screen, asks where it is, and puts it back (DECSC, CUP, DSR 6,
/// DECRC).
const QUESTION: &str = "\x1b7\x1b[999;999H\x1b[6n\x1b8";
/// For the answer, in which the terminal gets the question, and the line carries both.
const PATIENCE_US: u64 = 200_000;

/// Echo that nobody sees yet.
struct Nowhere;

impl Write for Nowhere {
    fn write_str(&mut self, _text: &str) -> fmt::Result {
        Ok(())
    }
}

/// Finds out how many lines the terminal has, and prints the first prompt with what has been typed
/// meanwhile; what that led to, if it led to anything. The terminal is asked; one that does not
/// answer has as many as the boot argument `rows` says, which with 0 means that nothing ever stops
/// and nobody is asked, or else 24.
pub(super) fn find_rows(editor: &mut Editor) -> Option<Event> {
    let told = platform::argument("rows").and_then(|rows| rows.parse().ok());
    pager::set_rows(told.unwrap_or(ROWS));
    let typed = if told == Some(0) { None } else { ask(editor) };
    match typed {
        Some(Event::Line | Event::TooLong | Event::Foreign | Event::Damaged) => {
            println!("{PROMPT}{}", editor.line())
        }
        Some(_) | None => editor.redraw(&mut Text),
    }
    typed
}

fn ask(editor: &mut Editor) -> Option<Event> {
    print!("{QUESTION}");
    let deadline = clock::now() + clock::from_us(PATIENCE_US);
    while let Some(input) = console::read_until(deadline) {
        match super::feed(editor, input, &mut Nowhere) {
            Event::None | Event::EndOfFile => {}
            Event::CursorAt { row, column } => {
                // Row 1 is a key, or a terminal that does not know how high it is.
                if row > 1 {
                    pager::set_rows(row.into());
                    console::set_columns(column.into());
                    editor.set_columns(column.into());
                    return None;
                }
            }
            other => return Some(other),
        }
    }
    None
}
