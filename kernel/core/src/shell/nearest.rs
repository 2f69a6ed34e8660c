//! Which of the known words somebody meant who typed another one.

/// Letters of the longest words that are compared; the shell's commands and options have fewer.
const LONGEST: usize = 24;

/// How many slips a word of so many letters may hold: with more of them anything would be near to
/// anything.
const fn slips(letters: usize) -> usize {
    match letters {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    }
}

/// The known word with the fewest slips from the typed one, the first of several; none if that
/// would be a guess. A slip is a letter too many, one too few, another one, or two that have
/// changed places.
pub fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = slips(typed.len());
    let distances =
        known.filter_map(|word| Some((distance(typed.as_bytes(), word.as_bytes())?, word)));
    let near = distances.filter(|(distance, _)| (1..=allowed).contains(distance));
    near.min_by_key(|(distance, _)| *distance).map(|(_, word)| word)
}

/// Slips between two words, or none for a word that is too long to be compared.
fn distance(typed: &[u8], word: &[u8]) -> Option<usize> {
    if typed.len() > LONGEST || word.len() > LONGEST {
        return None;
    }
    // Three rows of the usual table: distances of beginnings of `typed` to all beginnings of
    // `word`.
    let mut before = [0; LONGEST + 1];
    let mut last = [0; LONGEST + 1];
    last.iter_mut().enumerate().for_each(|(place, distance)| *distance = place);
    for (row, letter) in typed.iter().enumerate() {
        let mut next = [0; LONGEST + 1];
        next[0] = row + 1;
        for (column, other) in word.iter().enumerate() {
            let same = last[column] + usize::from(letter != other);
            let mut least = same.min(last[column + 1] + 1).min(next[column] + 1);
            let swapped =
                row > 0 && column > 0 && typed[row - 1] == *other && *letter == word[column - 1];
            if swapped {
                least = least.min(before[column - 1] + 1);
            }
            next[column + 1] = least;
        }
        (before, last) = (last, next);
    }
    Some(last[word.len()])
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};
    use proptest::prelude::*;

    fn near(typed: &str) -> Option<&'static str> {
        nearest(typed, ["cores", "core", "drain", "pool", "--json", "recompress", "vm"].into_iter())
    }

    #[test]
    fn slips_of_each_kind() {
        assert_eq!(near("dran"), Some("drain"));
        assert_eq!(near("pooll"), Some("pool"));
        assert_eq!(near("poll"), Some("pool"));
        assert_eq!(near("dairn"), None);
        assert_eq!(near("darin"), Some("drain"));
        assert_eq!(near("--jsn"), Some("--json"));
        assert_eq!(near("recmpres"), Some("recompress"));
    }

    #[test]
    fn no_guesses() {
        assert_eq!(near("x"), None);
        assert_eq!(near("vn"), None);
        assert_eq!(near("nonsense"), None);
        assert_eq!(near(&"pool".repeat(100)), None);
        // What was typed right is no slip.
        assert_eq!(near("pool"), None);
    }

    proptest! {
        #[test]
        fn a_distance_is_one(a in "[a-c]{0,8}", b in "[a-c]{0,8}") {
            let between = |a: &str, b: &str| distance(a.as_bytes(), b.as_bytes()).unwrap();
            prop_assert_eq!(between(&a, &b), between(&b, &a));
            prop_assert_eq!(between(&a, &b) == 0, a == b);
            prop_assert!(between(&a, &b) <= a.len().max(b.len()));
            prop_assert!(between(&a, &b) >= a.len().abs_diff(b.len()));
        }
    }
}
