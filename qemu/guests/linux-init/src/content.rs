//! Content of the pages that are swapped: captured pages, each made its own by a stamp.

use crate::work::PAGE;

/// A page with this number in this round: the captured page, its first 16 bytes exchanged for
/// number and round, so that no two pages are equal and a page that comes back for another is
/// noticed.
pub fn stamp(page: &mut [u8; PAGE], number: u64, round: u64) {
    for (to, from) in
        page.iter_mut().zip(number.to_le_bytes().into_iter().chain(round.to_le_bytes()))
    {
        *to = from;
    }
}

/// The captured page that page `number` is made of in this round, of `captured` ones; they turn
/// with the rounds.
pub fn source(number: u64, round: u64, captured: u64) -> u64 {
    number.wrapping_add(round.wrapping_mul(7)) % captured.max(1)
}

/// The page that is looked at as the `step`-th of `pages`: every page once, in an order that
/// read-ahead does not guess.
pub fn shuffled(step: u64, pages: u64) -> u64 {
    // A stride without a common divisor with the number of pages visits each.
    let mut stride = pages / 2 + 1;
    while divisor(stride, pages) != 1 {
        stride += 1;
    }
    // Both factors are below 2^32 for any memory that a guest has here.
    step.wrapping_mul(stride) % pages.max(1)
}

fn divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::{shuffled, source, stamp};
    use crate::work::PAGE;

    #[test]
    fn each_page_is_visited_once() {
        for pages in [1, 2, 3, 4, 5, 100, 101, 4096] {
            let mut seen: std::vec::Vec<u64> =
                (0..pages).map(|step| shuffled(step, pages)).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..pages).collect::<std::vec::Vec<_>>());
        }
    }

    #[test]
    fn stamps_tell_pages_and_rounds_apart() {
        let page = |number, round| {
            let mut page = [3; PAGE];
            stamp(&mut page, number, round);
            page
        };
        assert_ne!(page(1, 1), page(2, 1));
        assert_ne!(page(1, 1), page(1, 2));
        assert!(page(1, 1)[16..].iter().all(|byte| *byte == 3));
        assert_ne!(source(5, 1, 100), source(5, 2, 100));
        assert!((0..300).all(|number| source(number, 9, 100) < 100));
    }
}
