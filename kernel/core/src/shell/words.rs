//! Commands, words, numbers.

use core::fmt;

use heapless::Vec;

/// Words in a command at most.
pub const MAX_WORDS: usize = 16;

/// Why a command cannot be split into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitError {
    /// A double quote has no partner.
    OpenQuote,
    /// More than [`MAX_WORDS`] words.
    TooManyWords,
}

impl fmt::Display for SplitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenQuote => f.write_str("a quote is not closed"),
            Self::TooManyWords => write!(f, "more than {MAX_WORDS} words"),
        }
    }
}

/// The commands of a line: its parts between semicolons outside of double quotes, blank ones left
/// out.
pub fn commands(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    line.split(move |character| {
        if character == '"' {
            quoted = !quoted;
        }
        character == ';' && !quoted
    })
    .map(str::trim)
    .filter(|command| !command.is_empty())
}

/// The words of a command. Blanks separate them; double quotes hold blanks together and are not
/// part of the word. Words are slices of the line, so a quote in the middle of a word starts
/// another one: `a"b c"` is two words.
///
/// # Errors
/// See [`SplitError`].
pub fn words(command: &str) -> Result<Vec<&str, MAX_WORDS>, SplitError> {
    let mut all = Vec::new();
    let mut rest = command.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or(SplitError::OpenQuote)?,
            None => {
                let end =
                    rest.find(|character: char| character.is_whitespace() || character == '"');
                rest.split_at(end.unwrap_or(rest.len()))
            }
        };
        all.push(word).map_err(|_| SplitError::TooManyWords)?;
        rest = after.trim_start();
    }
    Ok(all)
}

/// Why a word is no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgumentError {
    /// Not digits.
    NotANumber,
    /// More than 64 bits.
    TooLarge,
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotANumber => "not a number (write 4096, 0x1000 or 4k)",
            Self::TooLarge => "a number that is too large",
        })
    }
}

/// A number: decimal, or hexadecimal behind `0x`, either with a suffix k, M or G for powers of
/// 1024.
///
/// # Errors
/// See [`ArgumentError`].
pub fn number(word: &str) -> Result<u64, ArgumentError> {
    let (digits, scale) = match word.as_bytes().last() {
        Some(b'k' | b'K') => (&word[..word.len() - 1], 10),
        Some(b'M') => (&word[..word.len() - 1], 20),
        Some(b'G') => (&word[..word.len() - 1], 30),
        _ => (word, 0),
    };
    let (digits, radix) = match digits.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (digits, 10),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(ArgumentError::NotANumber);
    }
    let value = u64::from_str_radix(digits, radix).map_err(|_| ArgumentError::TooLarge)?;
    value.checked_mul(1 << scale).ok_or(ArgumentError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn splits() {
        let split = |line| commands(line).collect::<std::vec::Vec<_>>();
        assert_eq!(split("pool; bench free ;; "), ["pool", "bench free"]);
        assert_eq!(split("echo \"a;b\";c"), ["echo \"a;b\"", "c"]);
        assert_eq!(words("  a  \"b c\" \"\" d").unwrap(), ["a", "b c", "", "d"]);
        assert_eq!(words("a\"b c\"d").unwrap(), ["a", "b c", "d"]);
        assert_eq!(words("a \"b"), Err(SplitError::OpenQuote));
        assert_eq!(words(&"x ".repeat(MAX_WORDS + 1)), Err(SplitError::TooManyWords));
        assert!(words("").unwrap().is_empty());
    }

    #[test]
    fn numbers() {
        assert_eq!(number("4096"), Ok(4096));
        assert_eq!(number("0x10k"), Ok(0x4000));
        assert_eq!(number("2G"), Ok(2 << 30));
        for word in ["", "k", "0x", "-1", "+1", "1.5", "ten", "1kk", "é"] {
            assert_eq!(number(word), Err(ArgumentError::NotANumber), "{word}");
        }
        assert_eq!(number("18446744073709551616"), Err(ArgumentError::TooLarge));
        assert_eq!(number("17179869184G"), Err(ArgumentError::TooLarge));
    }

    proptest! {
        #[test]
        fn any_text(line in ".{0,200}") {
            for command in commands(&line) {
                let _ = words(command);
            }
            let _ = number(&line);
        }

        #[test]
        fn numbers_come_back(value: u64) {
            prop_assert_eq!(number(&value.to_string()), Ok(value));
            prop_assert_eq!(number(&format!("{value:#x}")), Ok(value));
        }
    }
}
