//! The words of a canonical code from their lengths.

use super::LONGEST;

/// The code words, the first bit lowest.
pub(super) fn words(lengths: &[u8], words: &mut [u16]) {
    let mut next = [0u16; LONGEST + 2];
    let mut counts = [0u16; LONGEST + 1];
    for length in lengths.iter().filter(|length| **length > 0) {
        counts[usize::from(*length)] += 1;
    }
    for length in 1..=LONGEST {
        next[length + 1] = (next[length] + counts[length]) << 1;
    }
    for (word, length) in words.iter_mut().zip(lengths).filter(|(_, length)| **length > 0) {
        let length = usize::from(*length);
        *word = next[length].reverse_bits() >> (16 - length);
        next[length] += 1;
    }
}
