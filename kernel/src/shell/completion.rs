//! What Tab offers: commands, and behind one the words that its usage names, benchmarks and tests.

use heapless::String;

use super::{COMMANDS, Command, Editor};
use crate::console::Text;
use crate::{bench, selftest};

/// Longest word that is looked at to choose among the forms of a command.
const LONGEST: usize = 32;

/// Completes the word before the cursor.
pub(super) fn complete(editor: &mut Editor) {
    let commands = || COMMANDS.iter().map(|command| command.name);
    // Blanks and `;` end words for the editor too.
    let segment = editor.before_cursor().rsplit(';').next().unwrap_or("");
    let finished = segment.rsplit_once(' ').map_or("", |(finished, _)| finished);
    let mut words = finished.split(' ').filter(|word| !word.is_empty());
    let Some(name) = words.next() else { return editor.complete(commands(), &mut Text) };
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else { return };
    let second: Option<String<LONGEST>> = words.next().map(|word| word.try_into().unwrap_or_default());
    let is = |name: &str| command.name == name;
    let (helps, benches, tests) = (is("help") || is("watch"), is("bench"), is("selftest"));
    let candidates = usage(command, second.as_deref())
        .chain(commands().filter(|_| helps))
        .chain(bench::names().filter(|_| benches))
        .chain(selftest::names().filter(|_| tests));
    editor.complete(candidates, &mut Text);
}

/// The words of a command's forms that are to be typed as they stand: those that a form begins with, or behind `second` the others
/// of the forms that begin so.
fn usage<'a>(
    command: &'static Command,
    second: Option<&'a str>,
) -> impl Iterator<Item = &'static str> + Clone + 'a {
    command.usage.iter().flat_map(move |form| {
        let (first, rest) = form.split_once(' ').unwrap_or((form, ""));
        let text = match second {
            None => first,
            Some(word)
                if alternatives(first).any(|other| other == word) || !alternatives(first).any(is_literal) =>
            {
                rest
            }
            Some(_) => "",
        };
        alternatives(text).filter(|word| is_literal(word))
    })
}

fn alternatives(text: &'static str) -> impl Iterator<Item = &'static str> + Clone {
    text.split([' ', '|', '[', ']', ',', '.']).filter(|word| !word.is_empty())
}

/// Names of what the user fills in are in capitals.
fn is_literal(word: &str) -> bool {
    word.starts_with(|first: char| first == '-' || first.is_ascii_lowercase())
}
