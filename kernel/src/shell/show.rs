//! Where commands show what they have: [`Sheet`]s on the terminal, by the screen for people, in one piece as JSON.

use core::fmt::{self, Write};

use bale_core::shell::sheet::Sheet;

use crate::console::{Text, Turn, pager};

/// What a command shows.
pub(super) type Show = Sheet<Out>;

/// Begins it.
pub(super) fn show(json: bool) -> Show {
    Sheet::new(Out { turn: json.then(Turn::take) }, json)
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
