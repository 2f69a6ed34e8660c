//! The most urgent of many interrupts, in a number of steps that no guest can raise.
//!
//! A guest decides how many interrupts are pending or active, with which priorities, and how many
//! of them it ends before it comes out ([`super::list`]). All this work happens with interrupts
//! masked, so it must not grow with any of these numbers. Each bank keeps its priorities sliced by
//! bit: from the highest bit down, the interrupts without the bit are more urgent than those with
//! it, so that either all of them are wanted, or none of the others is. That is a radix selection,
//! with one step for each bit and bank instead of one for each interrupt.

use super::bank::PRIORITY_BITS;
use super::{BANKS, Vgic};

/// How many bits are set in all.
pub(super) fn count(words: &[u32; BANKS]) -> usize {
    words.iter().map(|bits| bits.count_ones() as usize).sum()
}

impl Vgic {
    /// The `wanted` most urgent interrupts of those in `words`, which are a virtual CPU's banks; of
    /// equals those with the lowest numbers; all if there are no more.
    pub(super) fn most_urgent(
        &self,
        vcpu: usize,
        words: &[u32; BANKS],
        wanted: usize,
    ) -> [u32; BANKS] {
        let planes: [&[u32; PRIORITY_BITS]; BANKS] =
            core::array::from_fn(|bank| match bank.checked_sub(1) {
                None => &self.private[vcpu].bank.planes,
                Some(place) => &self.shared[place].bank.planes,
            });
        let (mut chosen, mut left, mut room) = ([0; BANKS], *words, wanted);
        for bit in (0..PRIORITY_BITS).rev() {
            // Of two priorities the lower value is the more urgent one (IHI 0069, 4.8).
            let urgent: [u32; BANKS] = core::array::from_fn(|bank| left[bank] & !planes[bank][bit]);
            let found = count(&urgent);
            if found > room {
                left = urgent;
                continue;
            }
            room -= found;
            for bank in 0..BANKS {
                chosen[bank] |= urgent[bank];
                left[bank] &= planes[bank][bit];
            }
        }
        // What is left has one priority.
        for bank in 0..BANKS {
            while room > 0 && left[bank] != 0 {
                chosen[bank] |= left[bank] & left[bank].wrapping_neg();
                left[bank] &= left[bank] - 1;
                room -= 1;
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a sort by priority and number.
        #[test]
        fn the_selection_is_a_sort_cut_short(
            priorities in proptest::collection::vec(any::<u8>(), 96),
            words in any::<[u32; BANKS]>(),
            whole in any::<bool>(),
            levels in 0u8..9,
            wanted in 0usize..100,
        ) {
            let mut vgic = Vgic::new(2);
            let kept = |number: usize| priorities[number] & (0xffu32 << (8 - levels) & 0xf8) as u8;
            for number in 0..96 {
                let bank = match number / 32 {
                    0 => &mut vgic.private[1].bank,
                    place => &mut vgic.shared[place - 1].bank,
                };
                if whole && number % 4 == 0 {
                    let four = core::array::from_fn(|at| kept(number + at));
                    bank.set_priorities(number % 32, u32::from_le_bytes(four), 4);
                } else if !whole {
                    bank.set_priority(number % 32, kept(number));
                }
            }
            let mut sorted: Vec<usize> = (0..96).filter(|at| words[at / 32] >> (at % 32) & 1 == 1).collect();
            sorted.sort_by_key(|number| (kept(*number), *number));
            let mut expected = [0u32; BANKS];
            for number in sorted.iter().take(wanted) {
                expected[number / 32] |= 1 << (number % 32);
            }
            prop_assert_eq!(vgic.most_urgent(1, &words, wanted), expected);
            prop_assert_eq!(count(&words), sorted.len());
        }
    }
}
