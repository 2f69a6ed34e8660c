//! Text in lines that fit.

/// Columns of a terminal.
pub const WIDTH: usize = 80;

/// The lines of a text, broken at blanks: the first has at most `first` characters, each other one
/// `next`. A word that is longer than `next` has a line of its own, as long as it is. The first
/// line is empty if its first word fits into the next one alone.
pub fn lines(text: &str, first: usize, next: usize) -> impl Iterator<Item = &str> {
    let (mut rest, mut room) = (Some(text), first);
    core::iter::from_fn(move || {
        let (line, behind) = split(rest?, room, next);
        (rest, room) = (behind, next);
        Some(line)
    })
}

/// A line of at most `room` characters, and what is left for those of `next`.
fn split(text: &str, room: usize, next: usize) -> (&str, Option<&str>) {
    if text.chars().count() <= room {
        return (text, None);
    }
    let blanks = || text.char_indices().enumerate().filter(|(_, (_, character))| *character == ' ');
    let fitting = blanks().take_while(|(count, _)| *count <= room).last();
    match fitting.or_else(|| if room < next { None } else { blanks().next() }) {
        Some((_, (at, _))) => (&text[..at], Some(&text[at + 1..])),
        None if room < next => ("", Some(text)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::lines;
    use proptest::prelude::*;

    fn all(text: &str, first: usize, next: usize) -> Vec<&str> {
        lines(text, first, next).collect()
    }

    #[test]
    fn words_stay_whole() {
        assert_eq!(all("", 3, 5), [""]);
        assert_eq!(all("one two three", 20, 20), ["one two three"]);
        assert_eq!(all("one two three", 7, 5), ["one two", "three"]);
        assert_eq!(all("one two three", 6, 5), ["one", "two", "three"]);
        assert_eq!(all("one two", 2, 5), ["", "one", "two"]);
        assert_eq!(all("one muchlonger two", 2, 5), ["", "one", "muchlonger", "two"]);
        assert_eq!(all("muchlonger", 2, 5), ["", "muchlonger"]);
        assert_eq!(
            all("\u{fc}\u{fc}\u{fc} \u{fc}\u{fc}", 3, 3),
            ["\u{fc}\u{fc}\u{fc}", "\u{fc}\u{fc}"]
        );
    }

    proptest! {
        /// Nothing is lost, and only words of their own are too long.
        #[test]
        fn any_text(text in "[a-z\u{e4} ]{0,60}", first in 0usize..30, next in 0usize..30) {
            let found = all(&text, first, next);
            let skipped = usize::from(found.len() > 1 && found[0].is_empty() && !text.starts_with(' '));
            prop_assert_eq!(found[skipped..].join(" "), text.as_str());
            for (place, line) in found.iter().enumerate() {
                let room = if place == 0 { first } else { next };
                prop_assert!(line.chars().count() <= room || !line.contains(' '), "{:?}", line);
            }
        }
    }
}
