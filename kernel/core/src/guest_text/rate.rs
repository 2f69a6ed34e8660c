//! How much a guest may print: so many bytes a second, and [`BURST`] seconds' worth at once.

/// Seconds whose bytes may come at once: what a guest prints as it boots comes in a burst.
const BURST: i64 = 16;
/// Bytes that a line counts for beside its own: the machine's name before it and its end.
const OVERHEAD: u64 = 8;

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// It is printed.
    Print,
    /// It is printed, behind a word on so many bytes that were dropped since the last that was.
    PrintAfter(u64),
    /// It is dropped, the first one in a row: a word on it is due.
    DropFirst,
    /// It is dropped.
    Drop,
}

/// A token bucket. Once it is empty, lines are dropped until a second's worth is there again, so
/// that what is left of the text comes in readable pieces with few words of ours between them.
#[derive(Debug, Clone)]
pub struct RateLimit {
    /// Bytes a second; 0 for no limit.
    rate: u64,
    /// Bytes that may be printed now, times ticks of a second, so that nothing is lost to rounding.
    /// Below 0 behind a line that is longer than a second's worth.
    credit: i64,
    /// When that was so; `None` before the first line.
    seen: Option<u64>,
    /// Bytes dropped since the last line that was printed; 0 while none is.
    dropping: u64,
    /// Bytes dropped in all.
    dropped: u64,
}

impl RateLimit {
    /// Bytes a second at most: what a limit may be.
    pub const LARGEST: u64 = 16 << 20;

    /// So many bytes a second; 0, or more than [`Self::LARGEST`], for no limit.
    pub const fn new(rate: u64) -> Self {
        let rate = if rate > Self::LARGEST { 0 } else { rate };
        Self { rate, credit: 0, seen: None, dropping: 0, dropped: 0 }
    }

    /// Bytes a second; 0 for no limit.
    pub const fn rate(&self) -> u64 {
        self.rate
    }

    /// Bytes dropped so far.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Decides on a line of so many bytes at a time in ticks, of which there are `frequency` to the
    /// second.
    pub fn rule(&mut self, bytes: usize, now: u64, frequency: u64) -> Ruling {
        if self.rate == 0 {
            return Ruling::Print;
        }
        let ticks =
            |bytes: u64, each: u64| i64::try_from(bytes.saturating_mul(each)).unwrap_or(i64::MAX);
        let second = ticks(self.rate, frequency);
        let most = second.saturating_mul(BURST);
        let new = match self.seen {
            None => most,
            // Of time that does not go on nothing comes.
            Some(seen) => ticks(now.saturating_sub(seen), self.rate),
        };
        self.seen = Some(now.max(self.seen.unwrap_or(0)));
        self.credit = self.credit.saturating_add(new).min(most);
        let bytes = bytes as u64;
        let price = ticks(bytes.saturating_add(OVERHEAD), frequency);
        // A line longer than a second's worth passes once that is there, and the next ones wait for
        // the rest.
        let wanted = if self.dropping > 0 { second } else { price.min(second) };
        if self.credit >= wanted {
            self.credit = self.credit.saturating_sub(price);
            return match core::mem::take(&mut self.dropping) {
                0 => Ruling::Print,
                dropped => Ruling::PrintAfter(dropped),
            };
        }
        let first = self.dropping == 0;
        // An empty line that is dropped is its end.
        self.dropping += bytes + 1;
        self.dropped += bytes + 1;
        if first { Ruling::DropFirst } else { Ruling::Drop }
    }

    /// The text is over: bytes that were dropped and not told of.
    pub fn finish(&mut self) -> u64 {
        core::mem::take(&mut self.dropping)
    }
}
