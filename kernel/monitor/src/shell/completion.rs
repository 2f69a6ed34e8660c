//! What Tab offers: commands, and behind one the words that its usage names, machines and guests,
//! benchmarks and tests.

use heapless::{String, Vec};

use super::{Command, Editor, all_commands, guest};
use bale_io::console::Text;
use bale_vmm as vm;
use bale_vmm::Name;

/// Longest word that is looked at to choose among the forms of a command.
const LONGEST: usize = 32;
/// Words that a command offers of its own, at most.
const OFFERED: usize = 160;
/// Names of guests and machines that are offered at most.
const NAMES: usize = 16;

/// Completes the word before the cursor. Not inlined: its lists of words would lie on the shell's
/// stack while commands run.
#[inline(never)]
pub(super) fn complete(editor: &mut Editor) {
    let commands = || all_commands().map(|command| command.name);
    // Blanks and `;` end words for the editor too.
    let segment = editor.before_cursor().rsplit(';').next().unwrap_or("");
    let finished = segment.rsplit_once(' ').map_or("", |(finished, _)| finished);
    let mut words = finished.split(' ').filter(|word| !word.is_empty());
    let Some(name) = words.next() else { return editor.complete(commands(), &mut Text) };
    let Some(command) = all_commands().find(|command| command.name == name) else { return };
    let place = words.clone().count();
    let second: Option<String<LONGEST>> =
        words.next().map(|word| word.try_into().unwrap_or_default());
    let names = names(command, second.as_deref(), place);
    let helps = ["help", "?", "watch"].contains(&command.name);
    let offered = offered(command);
    let candidates = usage(command, second.as_deref(), place)
        .chain(commands().filter(|_| helps))
        .chain(offered.iter().copied())
        .map(|word| -> &str { word })
        .chain(names.iter().map(Name::as_str));
    editor.complete(candidates, &mut Text);
}

/// What a command offers of its own.
fn offered(command: &Command) -> Vec<&'static str, OFFERED> {
    let mut words = Vec::new();
    // One too many is not offered.
    (command.offers)(&mut |word| {
        let _ = words.push(word);
    });
    words
}

/// Names for the word at this place, where a form has a machine (`VM`) or a guest of the bundle
/// (`NAME`) there.
fn names(command: &Command, second: Option<&str>, place: usize) -> Vec<Name, NAMES> {
    let takes = |what: &str| {
        let mut forms = command.usage.iter().filter(|form| begins(form, second));
        forms.any(|form| form.split(' ').nth(place) == Some(what))
    };
    let mut names = Vec::new();
    // What is too long to be a name, or one too many, is not offered.
    let mut add = |name: &str| drop(name.try_into().map(|name| names.push(name)));
    if takes("VM") {
        vm::summaries().for_each(|machine| add(&machine.guest));
    }
    if takes("NAME") {
        guest::for_each_guest(add);
    }
    names
}

/// Whether a form begins with this second word, or with anything.
fn begins(form: &'static str, second: Option<&str>) -> bool {
    let first = form.split(' ').next().unwrap_or("");
    second.is_none_or(|word| {
        alternatives(first).any(|other| other == word) || !alternatives(first).any(is_literal)
    })
}

/// The words of a command's forms that are to be typed as they stand: those that a form begins
/// with, or behind `second` the others of the forms that begin so. `--json`, which comes last,
/// stands behind the words that a form must have.
fn usage<'a>(
    command: &'static Command,
    second: Option<&'a str>,
    place: usize,
) -> impl Iterator<Item = &'static str> + Clone + 'a {
    command.usage.iter().flat_map(move |form| {
        let (first, rest) = form.split_once(' ').unwrap_or((form, ""));
        let text = match second {
            None => first,
            Some(_) if begins(form, second) => rest,
            Some(_) => "",
        };
        let whole =
            form.split(' ').filter(|word| !word.starts_with('[') && !word.ends_with(']')).count()
                <= place;
        alternatives(text).filter(move |word| is_literal(word) && (whole || *word != "--json"))
    })
}

fn alternatives(text: &'static str) -> impl Iterator<Item = &'static str> + Clone {
    text.split([' ', '|', '[', ']', ',', '.']).filter(|word| !word.is_empty())
}

/// Names of what the user fills in are in capitals.
fn is_literal(word: &str) -> bool {
    word.starts_with(|first: char| first == '-' || first.is_ascii_lowercase())
}
