//! The lengths of a code's words from how often each symbol occurs (Huffman, with two queues).

/// Symbols of the largest alphabet.
const SYMBOLS: usize = 288;

/// Lengths for symbols that occur so often, none above `longest`. At least two symbols get one if
/// any does, so that the code is a complete one.
#[expect(clippy::cast_possible_truncation, reason = "fewer than 288 symbols, of at most 15 bits")]
pub(crate) fn lengths(counts: &[u16], longest: usize, lengths: &mut [u8]) {
    lengths.fill(0);
    let mut leaves = [(0u32, 0u16); SYMBOLS];
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
        let mut depths = [0u8; 2 * SYMBOLS];
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
fn depth(leaves: &[(u32, u16)], depths: &mut [u8; 2 * SYMBOLS]) -> usize {
    let used = leaves.len();
    let mut weights = [0u32; SYMBOLS];
    let mut parents = [0u16; 2 * SYMBOLS];
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
