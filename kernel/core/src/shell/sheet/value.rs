//! A value, as people read it and as JSON has it.

use core::fmt::{self, Write};

/// A value that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A whole number.
    Number(u64),
    /// A number in tenths.
    Tenths(u64),
    /// A number in hundredths.
    Hundredths(u64),
    /// A word.
    Text(&'a str),
    /// An address: hexadecimal for people, a string in JSON.
    Address(u64),
    /// Yes or no.
    Flag(bool),
    /// None is known: `-`, or null.
    Unknown,
}

impl From<u64> for Value<'_> {
    fn from(value: u64) -> Self {
        Self::Number(value)
    }
}

impl From<usize> for Value<'_> {
    fn from(value: usize) -> Self {
        Self::Number(value as u64)
    }
}

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        Self::Number(value.into())
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl From<Option<u64>> for Value<'_> {
    fn from(value: Option<u64>) -> Self {
        value.map_or(Self::Unknown, Self::Number)
    }
}

/// As people read it; padded as the formatter says.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text: heapless::String<24> = heapless::String::new();
        match self {
            Self::Text(text) => return f.pad(text),
            Self::Unknown => return f.pad("-"),
            Self::Flag(flag) => return f.pad(if *flag { "yes" } else { "no" }),
            Self::Number(value) => write!(text, "{value}")?,
            Self::Tenths(value) => write!(text, "{}.{}", value / 10, value % 10)?,
            Self::Hundredths(value) => write!(text, "{}.{:02}", value / 100, value % 100)?,
            Self::Address(value) => write!(text, "{value:#x}")?,
        }
        f.pad(&text)
    }
}

/// As JSON has it.
pub(super) struct Json<'a>(pub(super) Value<'a>);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Text(text) => {
                f.write_char('"')?;
                for character in text.chars() {
                    match character {
                        '"' | '\\' => write!(f, "\\{character}")?,
                        control if control < ' ' => write!(f, "\\u{:04x}", u32::from(control))?,
                        other => f.write_char(other)?,
                    }
                }
                f.write_char('"')
            }
            Value::Address(_) => write!(f, "\"{}\"", self.0),
            Value::Flag(flag) => write!(f, "{flag}"),
            Value::Unknown => f.write_str("null"),
            number => write!(f, "{number}"),
        }
    }
}
