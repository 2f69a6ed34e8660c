//! Where commands show what they have: [`Sheet`]s on the terminal, by the screen for people, in one piece as JSON.

use core::fmt::{self, Write};

use bale_core::shell::sheet::{Sheet, Value};

use crate::console::{Text, Turn, pager};
use crate::println;

/// What a command shows.
pub(super) type Show = Sheet<Out>;

/// Begins it.
pub(super) fn show(json: bool) -> Show {
    Sheet::new(Out { turn: json.then(Turn::take) }, json)
}

/// What came of work: a line for people, or these figures as JSON.
pub(super) fn say(json: bool, line: fmt::Arguments<'_>, figures: &[(&str, Value<'_>)]) {
    if !json {
        println!("{line}");
        return;
    }
    let mut sheet = show(true);
    figures.iter().for_each(|(key, value)| sheet.hidden(key, *value));
}

/// The terminal. A line of JSON has it for itself.
pub(super) struct Out {
    turn: Option<Turn>,
}

impl Write for Out {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        Text.write_str(text)?;
        if self.turn.is_none() {
            pager::printed(text.bytes().filter(|byte| *byte == b'\n').count());
        }
        Ok(())
    }
}
