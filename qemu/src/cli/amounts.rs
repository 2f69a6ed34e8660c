//! Amounts of memory as a person writes them.

/// Bytes, with K, M or G or nothing behind.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'M') => (&text[..text.len() - 1], 1 << 20),
        Some(b'G') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1_u64),
    };
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    number
        .filter(|number| *number > 0)
        .ok_or_else(|| "not a number with K, M, G or nothing behind it".into())
}

/// As [`bytes`], kept as a text.
pub(super) fn amount(text: &str) -> Result<String, String> {
    bytes(text).map(|_| text.to_owned())
}
