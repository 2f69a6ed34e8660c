//! Distributions without allocation: a log-linear histogram.
//!
//! Values below 16 are kept exactly; above, each power of two has 16 buckets, so a percentile is at
//! most 1/16 too high and never too low.

const LINEAR_BITS: u32 = 4;
const PER_OCTAVE: usize = 1 << LINEAR_BITS;
const BUCKETS: usize = PER_OCTAVE * (64 - LINEAR_BITS as usize + 1);

/// A distribution of 64-bit values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u32; BUCKETS],
    count: u64,
    sum: u128,
    min: u64,
    max: u64,
}

impl Histogram {
    /// Empty.
    pub const fn new() -> Self {
        Self { buckets: [0; BUCKETS], count: 0, sum: 0, min: u64::MAX, max: 0 }
    }

    /// Adds a value.
    pub fn record(&mut self, value: u64) {
        let bucket = &mut self.buckets[bucket_of(value)];
        *bucket = bucket.saturating_add(1);
        self.count += 1;
        self.sum += u128::from(value);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Adds everything of another histogram.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine = mine.saturating_add(*theirs);
        }
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.buckets.fill(0);
        (self.count, self.sum, self.min, self.max) = (0, 0, u64::MAX, 0);
    }

    /// Greatest value of each bucket that holds some, ascending, and how many.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u32)> {
        let filled = self.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(|(index, count)| (upper_bound(index), *count))
    }

    /// Values recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Least value; `None` if there is none.
    pub fn min(&self) -> Option<u64> {
        (self.count > 0).then_some(self.min)
    }

    /// Greatest value; `None` if there is none.
    pub fn max(&self) -> Option<u64> {
        (self.count > 0).then_some(self.max)
    }

    /// Mean, rounded down; `None` if there is none.
    pub fn mean(&self) -> Option<u64> {
        self.sum.checked_div(u128::from(self.count)).and_then(|mean| mean.try_into().ok())
    }

    /// Mean in hundredths, rounded down; `None` if there is none or it is too large.
    pub fn mean_hundredths(&self) -> Option<u64> {
        let mean = self.sum.checked_mul(100)?.checked_div(u128::from(self.count))?;
        mean.try_into().ok()
    }

    /// A value that at least `permille` of the values do not exceed; at most 1/16 above the least
    /// such value.
    pub fn percentile(&self, permille: u32) -> Option<u64> {
        let wanted =
            (u128::from(self.count) * u128::from(permille.min(1000))).div_ceil(1000).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= wanted {
                return Some(upper_bound(index).clamp(self.min, self.max));
            }
        }
        self.max()
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

#[allow(clippy::cast_possible_truncation, reason = "both casts are of values below 32")]
fn bucket_of(value: u64) -> usize {
    match value.checked_ilog2() {
        Some(octave) if octave >= LINEAR_BITS => {
            let shift = octave - LINEAR_BITS;
            let within = (value >> shift) as usize - PER_OCTAVE;
            (shift as usize + 1) * PER_OCTAVE + within
        }
        _ => value as usize,
    }
}

/// Greatest value of a bucket.
fn upper_bound(index: usize) -> u64 {
    if index < PER_OCTAVE {
        return index as u64;
    }
    let shift = index / PER_OCTAVE - 1;
    let first = (PER_OCTAVE + index % PER_OCTAVE) as u64;
    first << shift | ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn empty() {
        let histogram = Histogram::new();
        assert_eq!(
            (histogram.min(), histogram.max(), histogram.mean(), histogram.percentile(500)),
            (None, None, None, None)
        );
    }

    proptest! {
        #[test]
        fn buckets_hold_their_values(value: u64) {
            let bucket = bucket_of(value);
            prop_assert!(bucket < BUCKETS);
            prop_assert!(upper_bound(bucket) >= value);
            prop_assert!(bucket == 0 || upper_bound(bucket - 1) < value);
        }

        #[test]
        fn like_a_sorted_list(mut values in proptest::collection::vec(prop_oneof![0u64..100, any::<u64>()], 1..200), permille in 0u32..=1000) {
            let mut histogram = Histogram::new();
            let (left, right) = values.split_at(values.len() / 2);
            for value in left {
                histogram.record(*value);
            }
            let mut other = Histogram::new();
            for value in right {
                other.record(*value);
            }
            histogram.merge(&other);
            values.sort_unstable();
            let place = (values.len() * permille as usize).div_ceil(1000).max(1) - 1;
            let exact = values[place];
            let got = histogram.percentile(permille).unwrap();
            prop_assert!(got >= exact && got - exact <= exact / 16, "{got} for {exact}");
            prop_assert_eq!(histogram.min(), values.first().copied());
            prop_assert_eq!(histogram.max(), values.last().copied());
            let counted: u64 = histogram.buckets().map(|(_, count)| u64::from(count)).sum();
            prop_assert_eq!(counted, histogram.count());
            prop_assert!(histogram.buckets().is_sorted());
            let sum: u128 = values.iter().map(|value| u128::from(*value)).sum();
            prop_assert_eq!(histogram.mean().map(u128::from), Some(sum / values.len() as u128));
            let hundredths = sum.checked_mul(100).map(|sum| sum / values.len() as u128);
            prop_assert_eq!(histogram.mean_hundredths(), hundredths.and_then(|mean| u64::try_from(mean).ok()));
            histogram.clear();
            prop_assert_eq!(histogram, Histogram::new());
        }
    }
}
