//! Tables that never refuse a machine for having more than they hold.

use core::fmt;

use heapless::Vec;

use super::Range;

/// What the firmware's tables name and Bale does without, since there is no room for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Cores.
    pub cores: u32,
    /// Bytes of memory, in the smallest ranges.
    pub memory: u64,
    /// Reserved ranges that were joined with a neighbour; what lies between is left alone as well.
    pub joined: u32,
    /// Places for virtio devices.
    pub devices: u32,
}

impl LeftOut {
    /// Whether there is anything.
    pub fn is_any(&self) -> bool {
        *self != Self::default()
    }
}

/// All of it, one after the other.
impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (u64::from(self.cores), "cores"),
            (self.memory >> 10, "KiB of memory in the smallest ranges"),
            (u64::from(self.joined), "borders between reserved ranges"),
            (u64::from(self.devices), "virtio devices"),
        ];
        let mut parts = parts.into_iter().filter(|(count, _)| *count > 0);
        if let Some((count, what)) = parts.next() {
            write!(f, "{count} {what}")?;
        }
        parts.try_for_each(|(count, what)| write!(f, ", {count} {what}"))
    }
}

/// Adds a range of memory, or leaves out the smallest one, which may be this.
pub fn add_memory<const N: usize>(all: &mut Vec<Range, N>, range: Range, left_out: &mut LeftOut) {
    let Err(range) = all.push(range) else { return };
    match all.iter_mut().min_by_key(|other| other.size) {
        Some(smallest) if smallest.size < range.size => {
            left_out.memory += smallest.size;
            *smallest = range;
        }
        _ => left_out.memory += range.size,
    }
}

/// Adds a range that is to be left alone. Ranges that touch become one; where there is no room, the
/// two that are closest to each other become one, with what lies between: memory is given up rather
/// than a range that somebody relies on.
pub fn add_reserved<const N: usize>(all: &mut Vec<Range, N>, range: Range, left_out: &mut LeftOut) {
    if range.size == 0 {
        return;
    }
    let mut range = range;
    // Each pass takes one out, so that this ends.
    while let Some(place) = all.iter().position(|other| gap(*other, range) == 0) {
        range = both(all.swap_remove(place), range);
    }
    let Err(range) = all.push(range) else { return };
    let closest = |from: &Range| {
        let others = all.iter().enumerate().filter(|(_, other)| *other != from);
        others.map(|(place, other)| (gap(*other, *from), place)).min()
    };
    let pairs = all
        .iter()
        .enumerate()
        .filter_map(|(place, one)| closest(one).map(|(gap, other)| (gap, place, other)));
    let (own, own_place) = closest(&range).unwrap_or((u64::MAX, 0));
    left_out.joined += 1;
    match pairs.min() {
        Some((least, one, other)) if least < own => {
            let joined = both(all[one], all[other]);
            all.swap_remove(one.max(other));
            all.swap_remove(one.min(other));
            // Two went, so there is room; what the wider one touches now is taken in.
            add_reserved(all, joined, left_out);
            add_reserved(all, range, left_out);
        }
        _ if !all.is_empty() => {
            let joined = both(all.swap_remove(own_place), range);
            add_reserved(all, joined, left_out);
        }
        _ => {}
    }
}

/// Bytes between two ranges; 0 if they touch or overlap.
fn gap(one: Range, other: Range) -> u64 {
    let (low, high) = if one.base <= other.base { (one, other) } else { (other, one) };
    high.base.saturating_sub(low.base + low.size)
}

/// The range from the beginning of the first to the end of the last.
fn both(one: Range, other: Range) -> Range {
    let base = one.base.min(other.base);
    let end = (one.base + one.size).max(other.base + other.size);
    Range { base, size: end - base }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(base: u64, size: u64) -> Range {
        Range { base, size }
    }

    #[test]
    fn the_smallest_memory_is_left_out() {
        let (mut all, mut left_out) = (Vec::<Range, 2>::new(), LeftOut::default());
        for size in [0x3000, 0x1000, 0x2000, 0x800] {
            add_memory(&mut all, range(size << 16, size), &mut left_out);
        }
        assert_eq!(
            all.iter().map(|range| range.size).collect::<std::vec::Vec<_>>(),
            [0x3000, 0x2000]
        );
        assert_eq!(left_out, LeftOut { memory: 0x1800, ..LeftOut::default() });
        assert_eq!(left_out.to_string(), "6 KiB of memory in the smallest ranges");
        assert!(left_out.is_any() && !LeftOut::default().is_any());
    }

    #[test]
    fn the_closest_reserved_ranges_become_one() {
        let (mut all, mut left_out) = (Vec::<Range, 3>::new(), LeftOut::default());
        for (base, size) in
            [(0x1000, 0x1000), (0x2000, 0x1000), (0x9000, 0x1000), (0x2_0000, 0x1000)]
        {
            add_reserved(&mut all, range(base, size), &mut left_out);
        }
        assert_eq!(left_out, LeftOut::default(), "neighbours need one place");
        add_reserved(&mut all, range(0xb000, 0x1000), &mut left_out);
        all.sort_unstable_by_key(|range| range.base);
        assert_eq!(all, [range(0x1000, 0x2000), range(0x9000, 0x3000), range(0x2_0000, 0x1000)]);
        assert_eq!(left_out.joined, 1);
        add_reserved(&mut all, range(0x4_0000, 0x1000), &mut left_out);
        all.sort_unstable_by_key(|range| range.base);
        assert_eq!(all, [range(0x1000, 0xb000), range(0x2_0000, 0x1000), range(0x4_0000, 0x1000)]);
    }

    proptest! {
        /// Whatever comes in whatever order: all of it stays reserved, and nothing overlaps.
        #[test]
        fn what_is_reserved_stays_so(given in prop::collection::vec((0u64..200, 0u64..6), 0..40)) {
            let (mut all, mut left_out) = (Vec::<Range, 4>::new(), LeftOut::default());
            for (page, pages) in &given {
                add_reserved(&mut all, range(page << 12, pages << 12), &mut left_out);
            }
            for (page, pages) in given {
                let is_in = |other: &Range| other.base <= page << 12 && (page + pages) << 12 <= other.base + other.size;
                prop_assert!(pages == 0 || all.iter().any(is_in), "{page} {pages}: {all:?}");
            }
            all.sort_unstable_by_key(|range| range.base);
            prop_assert!(all.windows(2).all(|pair| pair[0].base + pair[0].size < pair[1].base), "{all:?}");
        }
    }
}
