//! How many translation tables a map of whole ranges wants, before there is memory to take them
//! from (DDI 0487, D8.2: 4 KiB pages, 48 bits).

/// What a descriptor covers: 512 GiB at level 0, 1 GiB at level 1, 2 MiB at level 2. A range that
/// ends within one needs a table of the next level there; so does each part of 512 GiB that it
/// touches, since no block is that large.
const COVERED: [u32; 3] = [39, 30, 21];

/// Tables below the root for these ranges, each of start and end, in the order of their addresses:
/// no fewer than are wanted.
pub fn wanted(ranges: impl Iterator<Item = (u64, u64)>) -> usize {
    let mut tables = 0;
    // The last place at each level that has a table: the ranges are in order, so that no earlier
    // one comes again.
    let mut last = [u64::MAX; COVERED.len()];
    for (start, end) in ranges.filter(|(start, end)| start < end) {
        for (shift, last) in COVERED.into_iter().zip(&mut last) {
            let (first, until) = (start >> shift, (end - 1) >> shift);
            let mut count = |place: u64| {
                if *last != place {
                    *last = place;
                    tables += 1;
                }
            };
            if shift == COVERED[0] {
                (first..=until).for_each(count);
                continue;
            }
            if start & ((1 << shift) - 1) != 0 {
                count(first);
            }
            if end & ((1 << shift) - 1) != 0 {
                count(until);
            }
        }
    }
    tables
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const M: u64 = 1 << 20;
    const G: u64 = 1 << 30;

    #[test]
    fn whole_blocks_want_no_tables_of_their_own() {
        assert_eq!(wanted([].into_iter()), 0);
        assert_eq!(wanted([(G, 2 * G)].into_iter()), 1, "level 1 alone");
        assert_eq!(
            wanted([(G, 2 * G + 2 * M)].into_iter()),
            2,
            "blocks of 2 MiB behind a gigabyte"
        );
        assert_eq!(wanted([(G, G + 4096)].into_iter()), 3);
        assert_eq!(wanted([(G, G + 4096), (G + 8192, G + M)].into_iter()), 3, "the same three");
        assert_eq!(wanted([(G, G + 4096), (G + 2 * M, G + 3 * M)].into_iter()), 4);
        assert_eq!(wanted([(0, 1 << 40)].into_iter()), 2, "two parts of 512 GiB");
        assert_eq!(wanted([(5, 5), (9, 3)].into_iter()), 0, "empty ones");
    }

    proptest! {
        /// As many as somebody finds who walks over every page.
        #[test]
        fn no_fewer_than_a_walk_finds(parts in prop::collection::vec((0u64..600, 1u64..1500), 0..20)) {
            // Runs of pages of 4 KiB with gaps between, in order.
            let mut at = (511 << 30) + (1000 << 20);
            let mut ranges = vec![];
            for (gap, pages) in parts {
                let start = at + (gap << 12);
                at = start + (pages << 12);
                ranges.push((start, at));
            }
            let mut places = std::collections::BTreeSet::new();
            for &(start, end) in &ranges {
                for page in (start..end).step_by(4096) {
                    places.insert((39, page >> 39));
                    let is_whole = |shift: u32| {
                        let block = page >> shift << shift;
                        start <= block && block + (1 << shift) <= end
                    };
                    if !is_whole(30) {
                        places.insert((30, page >> 30));
                        if !is_whole(21) {
                            places.insert((21, page >> 21));
                        }
                    }
                }
            }
            prop_assert!(wanted(ranges.into_iter()) >= places.len());
        }
    }
}
