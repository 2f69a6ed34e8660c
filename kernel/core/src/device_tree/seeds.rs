//! Random numbers that firmware leaves in a device tree (Documentation/devicetree of Linux,
//! `chosen`).

use core::ops::Range;

use dtoolkit::{Node, Property};

use super::whole;

/// Where they are, below `/chosen`.
const NAMES: [&str; 2] = ["rng-seed", "kaslr-seed"];

/// Calls `visit` with each seed of the tree, and wipes it where it is: it was for one reader. How
/// many bytes there were; a seed of zeros is one that firmware has room for and nothing to put
/// there. A tree that is broken has none.
pub fn take_seeds(tree: &mut [u8], mut visit: impl FnMut(&[u8])) -> usize {
    let mut taken = 0;
    for name in NAMES {
        let Some(place) = place(tree, name) else { continue };
        // It fits: it was found in there.
        let Some(seed) = tree.get_mut(place) else { continue };
        if seed.iter().any(|byte| *byte != 0) {
            taken += seed.len();
            visit(seed);
        }
        seed.fill(0);
    }
    taken
}

/// Which bytes of the tree are this property of `/chosen`.
fn place(tree: &[u8], name: &str) -> Option<Range<usize>> {
    let chosen = whole::read(tree)?.root().child("chosen")?;
    let property = chosen.property(name)?;
    let value = property.value();
    let start = value.as_ptr().addr().checked_sub(tree.as_ptr().addr())?;
    Some(start..start + value.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::guest_tree::flat::Flat;

    const VIRT: &[u8] = include_bytes!("../../tests/data/virt-12.dtb");

    fn tree(seeds: &[(&str, &[u8])]) -> std::vec::Vec<u8> {
        let mut bytes = vec![0; 4096];
        let mut tree = Flat::new(&mut bytes).expect("there is room");
        tree.begin("").expect("there is room");
        tree.begin("chosen").expect("there is room");
        tree.text("bootargs", &["quiet"]).expect("there is room");
        for (name, seed) in seeds {
            tree.bytes(name, seed).expect("there is room");
        }
        tree.end().expect("there is room");
        tree.end().expect("there is room");
        let length = tree.finish().expect("there is room");
        bytes.truncate(length);
        bytes
    }

    fn taken(tree: &mut [u8]) -> (usize, std::vec::Vec<u8>) {
        let mut seeds = vec![];
        let length = take_seeds(tree, |seed| seeds.extend_from_slice(seed));
        (length, seeds)
    }

    #[test]
    fn seeds_are_taken_once() {
        let mut bytes = tree(&[("kaslr-seed", b"ABCDEFGH"), ("rng-seed", b"0123456789")]);
        let before = bytes.clone();
        assert_eq!(taken(&mut bytes), (18, b"0123456789ABCDEFGH".to_vec()));
        assert_eq!(taken(&mut bytes), (0, vec![]), "and they are gone");
        for seed in [&b"ABCDEFGH"[..], b"0123456789"] {
            assert!(!bytes.windows(seed.len()).any(|part| part == seed));
        }
        let changed = before.iter().zip(&bytes).filter(|(one, other)| one != other).count();
        assert_eq!(changed, 18, "nothing else");
    }

    #[test]
    fn room_without_a_seed_is_none() {
        let mut bytes = tree(&[("kaslr-seed", &[0; 8]), ("rng-seed", b"")]);
        assert_eq!(taken(&mut bytes), (0, vec![]));
        assert_eq!(taken(&mut tree(&[])), (0, vec![]));
        assert_eq!(taken(&mut []), (0, vec![]));
    }

    proptest! {
        /// Whatever is wrong with a tree, nothing of it is written but what was taken.
        #[test]
        fn broken_trees_are_left_alone(changes in prop::collection::vec((0usize..8192, any::<u8>()), 0..4)) {
            let mut bytes = VIRT.to_vec();
            let length = bytes.len();
            for (place, value) in changes {
                bytes[place % length] = value;
            }
            let before = bytes.clone();
            let (_, seeds) = taken(&mut bytes);
            let changed = before.iter().zip(&bytes).filter(|(one, other)| one != other).count();
            prop_assert!(changed <= seeds.len());
        }
    }
}
