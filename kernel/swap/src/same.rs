//! Pages that hold one 64-bit word over and over: stored as that word, without an object.

use crate::device::PAGE_SIZE;

const WORD: usize = 8;

/// The word that fills the whole page, if there is one.
///
/// The last word is compared first: what fills a page from its start seldom reaches its end by
/// chance.
#[inline]
pub(crate) fn filling(
    page: &[u8; PAGE_SIZE],
    is_zero: fn(&[u8; PAGE_SIZE]) -> bool,
) -> Option<u64> {
    let (first, _) = page.split_first_chunk::<WORD>()?;
    let (_, last) = page.split_last_chunk::<WORD>()?;
    if first != last {
        return None;
    }
    // By far the most are zeros.
    if *first == [0; WORD] && is_zero(page) {
        return Some(0);
    }
    // Equal to itself shifted by a word. Compared as one run, which becomes wide loads.
    (page[WORD..] == page[..PAGE_SIZE - WORD]).then(|| u64::from_ne_bytes(*first))
}

/// Whether a page is all zeros.
pub(crate) fn is_zero(page: &[u8; PAGE_SIZE]) -> bool {
    page.as_chunks::<64>().0.iter().all(|line| line.iter().fold(0, |all, byte| all | byte) == 0)
}

/// Fills a page with a word.
#[inline]
pub(crate) fn fill(page: &mut [u8; PAGE_SIZE], word: u64) {
    for place in page.as_chunks_mut::<WORD>().0 {
        *place = word.to_ne_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filled_pages_come_back() {
        for word in [0, 1, u64::MAX, 0x0102_0304_0506_0708, 1 << 63, 0x0102_0304_0102_0304] {
            let mut page = [0xaa; PAGE_SIZE];
            fill(&mut page, word);
            assert_eq!(filling(&page, is_zero), Some(word));
        }
    }

    #[test]
    fn one_other_byte_anywhere_is_seen() {
        for word in [0, 0x0102_0304_0506_0708] {
            for at in 0..PAGE_SIZE {
                let mut page = [0; PAGE_SIZE];
                fill(&mut page, word);
                page[at] ^= 0x10;
                assert_eq!(filling(&page, is_zero), None, "byte {at}");
            }
        }
    }

    #[test]
    fn a_longer_period_is_not_a_word() {
        let mut page = [0; PAGE_SIZE];
        for (at, byte) in page.iter_mut().enumerate() {
            *byte = u8::from(at % 16 == 0);
        }
        assert_eq!(filling(&page, is_zero), None);
    }
}
