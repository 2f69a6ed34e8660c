//! Where commands show what they have: [`Sheet`]s on the terminal, by the screen for people, in one
//! piece as JSON.

use core::fmt::{self, Write};

use bale_core::shell::sheet::{Sheet, Value};

use bale_io::console::{Text, Turn, pager};
use bale_io::println;

/// What a command shows.
pub type Show = Sheet<Out>;

/// Begins it.
pub fn show(json: bool) -> Show {
    Sheet::new(Out { turn: None, json }, json)
}

/// What came of work: a line for people, or these figures as JSON.
pub fn say(json: bool, line: fmt::Arguments<'_>, figures: &[(&str, Value<'_>)]) {
    if !json {
        println!("{line}");
        return;
    }
    let mut sheet = show(true);
    figures.iter().for_each(|(key, value)| sheet.hidden(key, *value));
}

/// The terminal. A line has it for itself, and so has all of a sheet that is JSON.
pub struct Out {
    turn: Option<Turn>,
    json: bool,
}

impl Write for Out {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive('\n') {
            self.turn.get_or_insert_with(Turn::take);
            Text.write_str(piece)?;
            if !self.json && piece.ends_with('\n') {
                self.turn = None;
                // May wait for a key.
                pager::printed(1);
            }
        }
        Ok(())
    }
}
