//! The lengths of a code's words from how often each symbol occurs (Huffman, with two queues), and the words.

use super::{LITERALS, LONGEST};

/// Lengths for symbols that occur so often, none above `longest`. At least two symbols get one if any does, so that the code is a complete one.
#[expect(clippy::cast_possible_truncation, reason = "fewer than 288 symbols, of at most 15 bits")]
pub(super) fn lengths(counts: &[u16], longest: usize, lengths: &mut [u8]) {
    lengths.fill(0);
    let mut leaves = [(0u32, 0u16); LITERALS];
    let mut used = 0;
    for (symbol, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        leaves[used] = (u32::from(*count), symbol as u16);
        used += 1;
    }
    if used < 2 {
        for (_, symbol) in &leaves[..used] {
            // With another one beside it that never occurs.
            lengths[usize::from(*symbol)] = 1;
            lengths[usize::from(*symbol == 0)] = 1;
        }
        return;
    }
    let leaves = &mut leaves[..used];
    leaves.sort_unstable();
    loop {
        let mut depths = [0u8; 2 * LITERALS];
        if depth(leaves, &mut depths) <= longest {
            for ((_, symbol), depth) in leaves.iter().zip(depths) {
                lengths[usize::from(*symbol)] = depth;
            }
            return;
        }
        // Flatter, in the same order.
        for (weight, _) in &mut *leaves {
            *weight = *weight / 2 + 1;
        }
    }
}

/// Depths of the leaves, which are sorted, in the tree of least weight; the deepest.
#[expect(clippy::cast_possible_truncation, reason = "fewer than 576 nodes")]
fn depth(leaves: &[(u32, u16)], depths: &mut [u8; 2 * LITERALS]) -> usize {
    let used = leaves.len();
    let mut weights = [0u32; LITERALS];
    let mut parents = [0u16; 2 * LITERALS];
    let (mut leaf, mut inner) = (0, 0);
    for node in 0..used - 1 {
        for _ in 0..2 {
            // The inner nodes come into being in the order of their weights.
            let take_leaf = leaf < used && (inner == node || leaves[leaf].0 <= weights[inner]);
            let child = if take_leaf { leaf } else { used + inner };
            weights[node] += if take_leaf { leaves[leaf].0 } else { weights[inner] };
            parents[child] = (used + node) as u16;
            leaf += usize::from(take_leaf);
            inner += usize::from(!take_leaf);
        }
    }
    let mut deepest = 0;
    for node in (0..2 * used - 2).rev() {
        depths[node] = depths[usize::from(parents[node])].saturating_add(1);
        deepest = deepest.max(usize::from(depths[node]));
    }
    deepest
}

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
