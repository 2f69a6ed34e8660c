//! Copies within a page, in blocks of fixed length as far as they go.

use crate::device::PAGE_SIZE;

/// The longest multiple of a period within eight bytes.
const STRIDES: [usize; 8] = [0, 8, 8, 6, 8, 5, 6, 7];

/// Copies a block that may overlap its source only if it lies `N` or more behind it.
#[inline(always)]
pub(crate) fn copy<const N: usize>(
    page: &mut [u8; PAGE_SIZE],
    from: usize,
    to: usize,
) -> Option<()> {
    // One comparison each, behind which the two slices need no other.
    if from > PAGE_SIZE - N || to > PAGE_SIZE - N {
        return None;
    }
    let block: [u8; N] = *page[from..from + N].first_chunk()?;
    *page[to..to + N].first_chunk_mut()? = block;
    Some(())
}

/// Copies `length` bytes to `at` from `offset` bytes before; `None` if either is outside the page.
#[inline(always)]
pub(crate) fn repeat(
    page: &mut [u8; PAGE_SIZE],
    at: usize,
    offset: usize,
    length: usize,
) -> Option<()> {
    if offset == 0 || offset > at || at + length > PAGE_SIZE {
        return None;
    }
    let (from, end) = (at - offset, at + length);
    let mut to = at;
    if offset >= 16 {
        while to < end && to + 16 <= PAGE_SIZE {
            copy::<16>(page, to - offset, to)?;
            to += 16;
        }
    } else if at + 8 <= PAGE_SIZE {
        // A short period: the longest multiple of it that fits eight bytes, over and over.
        let pattern: [u8; 8] = if offset >= 8 {
            *page.get(from..)?.first_chunk()?
        } else {
            core::array::from_fn(|index| page[from + index % offset])
        };
        if offset >= 8 {
            while to < end && to + 8 <= PAGE_SIZE {
                copy::<8>(page, to - offset, to)?;
                to += 8;
            }
        } else {
            let stride = STRIDES[offset];
            while to < end && to + 8 <= PAGE_SIZE {
                *page.get_mut(to..)?.first_chunk_mut()? = pattern;
                to += stride;
            }
        }
    }
    while to < end {
        page[to] = page[to - offset];
        to += 1;
    }
    Some(())
}
