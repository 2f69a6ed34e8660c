//! Size classes: every 16 bytes from 32 to 4096, and how many pages a zspage of each takes.
//!
//! There is no header in an object, so one of 4096 bytes takes a frame and nothing else.

pub(crate) use crate::handle::HUGE_CLASS;
use crate::{
    platform::PAGE_SIZE,
    zspage::{Footprint, MAX_OBJECTS, footprint},
};

/// Number of size classes.
pub const CLASSES: usize = 255;
const _: () = assert!(HUGE_CLASS == CLASSES - 1);
const STEP: usize = 16;
const SMALLEST: usize = 32;
/// Longest chain of pages in a zspage.
pub const MAX_CHAIN: usize = 16;

/// Size in bytes of the objects of class `index`.
pub const fn class_size(index: usize) -> usize {
    SMALLEST + index * STEP
}

/// The class in which an object of `size` bytes (1 to 4096) lies.
#[inline]
pub const fn class_of(size: usize) -> usize {
    // Rounded up to a step, and nothing below the smallest: in three instructions.
    size.saturating_sub(SMALLEST - STEP + 1) / STEP
}

/// The class that stands for class `index`: the largest one that has no fewer objects in a zspage.
pub(crate) const fn merged(index: u8) -> u8 {
    if index as usize == CLASSES { index } else { MERGED[index as usize] }
}

static MERGED: [u8; CLASSES] = {
    let mut table = [0; CLASSES];
    let mut index = CLASSES;
    let mut stands = CLASSES - 1;
    while index > 0 {
        index -= 1;
        let (chain, larger) = (chain_of(index, MAX_CHAIN), chain_of(stands, MAX_CHAIN));
        // Compared as objects per page, without division.
        if objects_in(index, chain) * larger > objects_in(stands, larger) * chain {
            stands = index;
        }
        assert!(stands < 256);
        #[expect(clippy::cast_possible_truncation, reason = "asserted above")]
        {
            table[index] = stands as u8;
        }
    }
    table
};

/// Objects of class `index` in `pages` pages.
#[inline]
pub const fn objects_in(index: usize, pages: usize) -> usize {
    pages * PAGE_SIZE / class_size(index)
}

/// Bytes of a zspage of `pages` pages that no object gets, its descriptor among them.
const fn lost(index: usize, pages: usize) -> usize {
    let objects = objects_in(index, pages);
    pages * PAGE_SIZE - objects * class_size(index) + footprint(pages, objects).units as usize * 8
}

const fn chain_of(index: usize, most: usize) -> usize {
    let mut best = 1;
    let mut pages = 2;
    while pages <= most {
        let objects = objects_in(index, pages);
        if objects > MAX_OBJECTS {
            break;
        }
        // Bytes lost for each object, compared without division: what is left over at the end, and
        // the descriptor. But a class of one object to a page stays at one page, which goes back
        // with its object.
        if lost(index, pages) * objects_in(index, best) <= lost(index, best) * objects
            && objects > pages
        {
            best = pages;
        }
        pages += 1;
    }
    best
}

/// Set in an entry of [`CHAINS`] where the objects of a zspage take a second word of bits.
const TWO_WORDS: u8 = 0x80;

/// Least wasteful chain for each class and each bound on its length.
static CHAINS: [[u8; CLASSES]; MAX_CHAIN] = {
    let mut table = [[1; CLASSES]; MAX_CHAIN];
    let mut most = 0;
    while most < MAX_CHAIN {
        let mut index = 0;
        while index < CLASSES {
            let chain = chain_of(index, most + 1);
            assert!(objects_in(index, chain) <= MAX_OBJECTS);
            assert!(chain <= MAX_CHAIN);
            #[expect(clippy::cast_possible_truncation, reason = "at most 16, asserted above")]
            {
                let two = if objects_in(index, chain) > 64 { TWO_WORDS } else { 0 };
                table[most][index] = chain as u8 | two;
            }
            index += 1;
        }
        most += 1;
    }
    table
};

/// Pages of the least wasteful zspage of class `index` among those of at most `most` pages.
pub fn chain(index: usize, most: usize) -> usize {
    usize::from(CHAINS[most.clamp(1, MAX_CHAIN) - 1][index] & !TWO_WORDS)
}

/// What the descriptor of a zspage of class `index` takes: as [`footprint`], looked up.
#[inline]
pub(crate) fn footprint_of(index: usize, most: usize) -> Footprint {
    let entry = CHAINS[most.clamp(1, MAX_CHAIN) - 1][index];
    footprint(
        usize::from(entry & !TWO_WORDS),
        if entry & TWO_WORDS == 0 { 64 } else { MAX_OBJECTS },
    )
}

/// For each bound on a chain's length the smallest size of which a page holds one object.
static HUGE_FROM: [u16; MAX_CHAIN] = {
    let mut table = [0; MAX_CHAIN];
    let mut most = 1;
    while most <= MAX_CHAIN {
        let mut index = CLASSES;
        while index > 0
            && objects_in(index - 1, chain_of(index - 1, most)) <= chain_of(index - 1, most)
        {
            index -= 1;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most a page")]
        {
            table[most - 1] = (class_size(index) - STEP + 1) as u16;
        }
        most += 1;
    }
    table
};

/// The smallest size of which a page holds one object, in zspages of at most `most` pages.
pub(crate) fn huge_from(most: usize) -> usize {
    usize::from(HUGE_FROM[most.clamp(1, MAX_CHAIN) - 1])
}

const _: () = assert!(HUGE_FROM[MAX_CHAIN - 1] as usize > PAGE_SIZE * 15 / 16);
const _: () = assert!(class_size(CLASSES - 1) == PAGE_SIZE);
const _: () = assert!(class_of(PAGE_SIZE) == CLASSES - 1);
const _: () = assert!(objects_in(0, 1) <= MAX_OBJECTS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_fits_its_class_and_no_smaller_one() {
        for size in 1..=PAGE_SIZE {
            let class = class_of(size);
            assert!(class_size(class) >= size);
            assert!(class == 0 || class_size(class - 1) < size);
        }
    }

    #[test]
    fn footprints_are_looked_up() {
        for most in 1..=MAX_CHAIN {
            for index in 0..CLASSES {
                let (pages, looked_up) = (chain(index, most), footprint_of(index, most));
                let worked_out = footprint(pages, objects_in(index, pages));
                assert_eq!(
                    (looked_up.units, looked_up.below),
                    (worked_out.units, worked_out.below)
                );
            }
        }
    }

    #[test]
    fn chains_of_sixteen_lose_little() {
        for index in 0..CLASSES {
            let pages = chain(index, MAX_CHAIN);
            let lost = pages * PAGE_SIZE - objects_in(index, pages) * class_size(index);
            assert!(lost * 16 <= pages * PAGE_SIZE, "class {index} loses {lost} of {pages} pages");
        }
    }
}
