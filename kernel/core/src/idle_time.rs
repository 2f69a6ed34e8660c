//! How long a core has been idle, the rest included that it is in.

use core::sync::atomic::{AtomicU64, Ordering};

/// Ticks that a core was idle for. The core alone writes, anybody reads.
///
/// One word: at work it is the sum of all rests. In a rest it is that sum less the rest's
/// beginning, which is negative, since no core rests longer than its counter runs. So a reader sees
/// a sum and the rest that belongs to it, and waking up takes one addition.
#[derive(Debug, Default)]
pub struct IdleTime(AtomicU64);

impl IdleTime {
    /// None yet.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// A rest begins now. From its core.
    #[inline(always)]
    pub fn begin(&self, now: u64) {
        self.add(now.wrapping_neg());
    }

    /// The rest is over now. From its core.
    #[inline(always)]
    pub fn end(&self, now: u64) {
        self.add(now);
    }

    #[inline(always)]
    fn add(&self, ticks: u64) {
        // Relaxed, both: a figure, nothing is reached through it. There is one writer, so that a
        // load and a store lose nothing.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(ticks), Ordering::Relaxed);
    }

    /// Ticks up to now, which was read after everything that a reader compares this with.
    pub fn ticks(&self, now: u64) -> u64 {
        // Relaxed: as above.
        let word = self.0.load(Ordering::Relaxed);
        // The counter of another core may be a tick ahead of ours: such a rest has not begun.
        let sum = if word.cast_signed() < 0 { word.wrapping_add(now) } else { word };
        if sum.cast_signed() < 0 { 0 } else { sum }
    }
}

#[cfg(test)]
mod tests {
    use super::IdleTime;

    #[test]
    fn a_rest_counts_before_it_is_over() {
        let idle = IdleTime::new();
        assert_eq!(idle.ticks(100), 0);
        idle.begin(100);
        assert_eq!(idle.ticks(100), 0);
        assert_eq!(idle.ticks(150), 50);
        assert_eq!(idle.ticks(99), 0);
        idle.end(160);
        assert_eq!(idle.ticks(1000), 60);
        idle.begin(1000);
        assert_eq!(idle.ticks(1001), 61);
        idle.end(1010);
        assert_eq!(idle.ticks(5000), 70);
    }

    #[test]
    fn it_never_falls_from_the_first_tick_on() {
        let idle = IdleTime::new();
        let mut last = 0;
        for now in 1..1000 {
            match now % 7 {
                0 => idle.begin(now),
                3 if now > 7 => idle.end(now),
                _ => {}
            }
            assert!(idle.ticks(now) >= last, "at {now}");
            last = idle.ticks(now);
        }
    }
}
