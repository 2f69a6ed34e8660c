//! A guest at its console: the first byte is the width of the terminal, the rest is what it prints.

use bale_core::guest_text::{GuestText, RateLimit, Ruling, is_plain};

const LINE: usize = 64;
/// A row is not taken to be narrower than this.
const NARROWEST: usize = 16;

pub(crate) fn run(bytes: &[u8]) {
    let Some((width, bytes)) = bytes.split_first() else { return };
    let width = usize::from(*width);
    let mut text = GuestText::<LINE>::new();
    let mut limit = RateLimit::new(u64::from(bytes.first().copied().unwrap_or(0)));
    let (mut lines, mut printed) = (0, 0);
    let mut check = |line: &str| {
        assert!(line.len() <= LINE && line.chars().count() <= width.max(NARROWEST), "{line:?}");
        assert!(line.chars().all(is_plain), "{line:?}");
        lines += 1;
        // A tick a line, a thousand of them to the second.
        if matches!(limit.rule(line.len(), lines, 1000), Ruling::Print | Ruling::PrintAfter(_)) {
            printed += line.len() as u64;
        }
    };
    for byte in bytes {
        text.put(*byte, width, &mut check);
    }
    text.flush(width, &mut check);
    let most = limit.rate() * (17 + lines / 1000) + LINE as u64;
    assert!(limit.rate() == 0 || printed <= most, "{printed} of {most} bytes");
}
