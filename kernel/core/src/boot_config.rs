//! `bale.toml`, what a user of a board may say about the boot: lines of `key = "value"`, a subset of TOML 1.0.
//!
//! | key | meaning |
//! |---|---|
//! | `arguments` | boot arguments, as QEMU's `-append` gives them |

use core::fmt;

use heapless::String;

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootConfig {
    /// Boot arguments.
    pub arguments: String<256>,
}

/// What is wrong with the file, and in which line, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigError {
    /// It is no UTF-8.
    NotText,
    /// The line is not `key = "value"`.
    Malformed(usize),
    /// There is no such key.
    Unknown(usize),
    /// The key was there before.
    Twice(usize),
    /// The value is longer than 255 bytes, or has a quote or a backslash in it.
    BadValue(usize),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText => f.write_str("it is not text"),
            Self::Malformed(line) => write!(f, "line {line} is not `key = \"value\"`"),
            Self::Unknown(line) => write!(f, "line {line} has an unknown key; known: arguments"),
            Self::Twice(line) => write!(f, "line {line} says for the second time what was said before"),
            Self::BadValue(line) => {
                write!(
                    f,
                    "the value in line {line} is longer than 255 bytes, or has a quote or a backslash in it"
                )
            }
        }
    }
}

/// Reads the file.
///
/// # Errors
/// See [`ConfigError`].
pub fn parse(bytes: &[u8]) -> Result<BootConfig, ConfigError> {
    let text = core::str::from_utf8(bytes).map_err(|_| ConfigError::NotText)?;
    let mut config = BootConfig::default();
    let mut said = false;
    for (number, line) in text.lines().enumerate() {
        let (number, line) = (number + 1, line.trim());
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').ok_or(ConfigError::Malformed(number))?;
        let value = value.trim().strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let value = value.ok_or(ConfigError::Malformed(number))?;
        if key.trim() != "arguments" {
            return Err(ConfigError::Unknown(number));
        }
        if core::mem::replace(&mut said, true) {
            return Err(ConfigError::Twice(number));
        }
        if value.len() > 255 || value.contains(['"', '\\']) {
            return Err(ConfigError::BadValue(number));
        }
        config.arguments = value.try_into().map_err(|_| ConfigError::BadValue(number))?;
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{ConfigError, parse};

    #[test]
    fn what_is_said_is_read() {
        let config = parse(b"# a comment\n\n  arguments = \"exec log=defmt\"\r\n").expect("good");
        assert_eq!(config.arguments, "exec log=defmt");
        assert_eq!(parse(b"").expect("empty").arguments, "");
    }

    #[test]
    fn what_is_wrong_is_said_by_line() {
        assert_eq!(parse(b"\xff"), Err(ConfigError::NotText));
        assert_eq!(parse(b"\nhello"), Err(ConfigError::Malformed(2)));
        assert_eq!(parse(b"arguments = x"), Err(ConfigError::Malformed(1)));
        assert_eq!(parse(b"cores = \"4\""), Err(ConfigError::Unknown(1)));
        assert_eq!(parse(b"arguments=\"a\"\narguments=\"b\""), Err(ConfigError::Twice(2)));
        assert_eq!(parse(b"arguments=\"a\"b\""), Err(ConfigError::BadValue(1)));
        let long = format!("arguments=\"{}\"", "x".repeat(256));
        assert_eq!(parse(long.as_bytes()), Err(ConfigError::BadValue(1)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
