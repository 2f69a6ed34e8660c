//! Whether bytes are a whole device tree, as far as reading it relies on that (Devicetree
//! Specification 0.4, chapter 5).
//!
//! The library's own check also refuses names of more than 31 letters, which the specification
//! forbids (2.2.1) and every second tree of Linux has. Its reading does not mind them: so what
//! reading relies on is checked here, and the library reads without its check.

use dtoolkit::fdt::Fdt;

const MAGIC: u32 = 0xd00d_feed;
/// The version of the format that is read, 5.2.
const VERSION: u32 = 17;
const HEADER: usize = 40;
/// Bytes of a token, and what everything in the structure block is aligned to.
const TOKEN: usize = 4;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOTHING: u32 = 4;
const END: u32 = 9;

/// The tree, if it is whole.
pub(super) fn read(bytes: &[u8]) -> Option<Fdt<'_>> {
    let blocks = Blocks::read(bytes)?;
    blocks.reservations_end()?;
    blocks.structure_is_whole()?;
    Some(Fdt::new_unchecked(bytes))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}

/// The blocks of a tree, none of which passes its end.
struct Blocks<'a> {
    /// All of it, since what is in the structure block is found by its place in the whole.
    bytes: &'a [u8],
    /// Where the memory reservations begin.
    reservations: usize,
    structure: core::ops::Range<usize>,
    strings: &'a [u8],
}

impl<'a> Blocks<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let field = |index: usize| word(bytes.get(..HEADER)?, index * TOKEN);
        let place = |index: usize| field(index).map(|value| value as usize);
        let versions = field(6)?..=field(5)?;
        if field(0)? != MAGIC || place(1)? != bytes.len() || !versions.contains(&VERSION) {
            return None;
        }
        let (structure, strings, reservations) = (place(2)?, place(3)?, place(4)?);
        let structure = structure..structure.checked_add(place(9)?)?;
        let aligned = structure.start.is_multiple_of(TOKEN) && reservations.is_multiple_of(8);
        let in_order =
            (HEADER..=structure.start).contains(&reservations) && structure.end <= strings;
        let strings = bytes.get(strings..strings.checked_add(place(8)?)?)?;
        (aligned && in_order).then_some(Self { bytes, reservations, structure, strings })
    }

    /// Pairs of an address and a size, the last of which is zero, before the structure block.
    fn reservations_end(&self) -> Option<()> {
        let all = self.bytes.get(self.reservations..self.structure.start)?;
        all.chunks_exact(16).any(|pair| pair.iter().all(|byte| *byte == 0)).then_some(())
    }

    /// Every name ends and is text, every property ends, and every node is closed, in the order
    /// that the specification wants: properties before children.
    fn structure_is_whole(&self) -> Option<()> {
        let block = self.bytes.get(..self.structure.end)?;
        let mut at = self.structure.start;
        let mut depth = 0_u32;
        // Whether a property may come: not behind a child.
        let mut properties = false;
        loop {
            let token = word(block, at)?;
            at += TOKEN;
            match token {
                BEGIN_NODE => {
                    let name = core::ffi::CStr::from_bytes_until_nul(block.get(at..)?).ok()?;
                    let name = name.to_str().ok()?;
                    // The root has no name, and nothing else has none.
                    if name.is_empty() != (depth == 0) {
                        return None;
                    }
                    at = (at + name.len() + 1).next_multiple_of(TOKEN);
                    depth += 1;
                    properties = true;
                }
                END_NODE => {
                    depth = depth.checked_sub(1)?;
                    properties = false;
                    if depth == 0 {
                        break;
                    }
                }
                PROPERTY if properties => {
                    let (length, name) =
                        (word(block, at)? as usize, word(block, at + TOKEN)? as usize);
                    let name =
                        core::ffi::CStr::from_bytes_until_nul(self.strings.get(name..)?).ok()?;
                    name.to_str().ok()?;
                    let value = at + 2 * TOKEN;
                    at = value.checked_add(length).filter(|end| *end <= block.len())?;
                    at = at.next_multiple_of(TOKEN);
                }
                NOTHING => {}
                _ => return None,
            }
        }
        while word(block, at)? == NOTHING {
            at += TOKEN;
        }
        (word(block, at)? == END).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use dtoolkit::Node;
    use proptest::prelude::*;

    use super::*;
    use crate::guest_tree::flat::Flat;

    const VIRT: &[u8] = include_bytes!("../../tests/data/virt-12.dtb");
    const SCATTERED: &[u8] = include_bytes!("../../tests/data/scattered.dtb");

    /// A node and a property whose names have so many letters.
    fn named(letters: usize) -> std::vec::Vec<u8> {
        let name = "n".repeat(letters);
        let mut bytes = vec![0; 4096];
        let mut tree = Flat::new(&mut bytes).expect("there is room");
        tree.begin("").expect("there is room");
        tree.begin(&name).expect("there is room");
        tree.text("compatible", &["some,device"]).expect("there is room");
        tree.end().expect("there is room");
        tree.end().expect("there is room");
        let length = tree.finish().expect("there is room");
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn long_names_are_read() {
        for letters in [1, 31, 32, 100] {
            let bytes = named(letters);
            let tree = read(&bytes).expect("a tree");
            let node = tree.root().children().next().expect("a node");
            assert_eq!(node.name().len(), letters);
        }
    }

    #[test]
    fn what_is_cut_is_refused() {
        for tree in [VIRT, SCATTERED] {
            assert!(read(tree).is_some());
            for length in (0..tree.len()).step_by(61) {
                assert!(read(&tree[..length]).is_none(), "{length}");
            }
        }
    }

    /// Looks at everything, as a reader would.
    fn walk(node: dtoolkit::fdt::FdtNode<'_>, depth: u32) -> usize {
        let own = node.properties().map(|one| dtoolkit::Property::value(&one).len()).sum::<usize>();
        let below =
            if depth == 0 { 0 } else { node.children().map(|child| walk(child, depth - 1)).sum() };
        own + below + node.name().len()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// What is taken is read to its end without a panic, whatever was changed.
        #[test]
        fn what_is_taken_can_be_read(changes in prop::collection::vec((0usize..8192, any::<u8>()), 1..4)) {
            let mut bytes = SCATTERED.to_vec();
            let length = bytes.len();
            for (place, value) in changes {
                bytes[place % length] = value;
            }
            if let Some(tree) = read(&bytes) {
                walk(tree.root(), 8);
                tree.memory_reservations().count();
            }
        }
    }
}
