//! The flattened form of a device tree (Devicetree Specification 0.4, chapter 5), written front to
//! back.

use heapless::{String, Vec};

/// The tree does not fit into the memory it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeFull;

const MAGIC: u32 = 0xd00d_feed;
const VERSION: u32 = 17;
const COMPATIBLE: u32 = 16;
const HEADER: usize = 40;
/// One entry of zeroes: nothing is reserved.
const RESERVATIONS: usize = 16;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const END: u32 = 9;
/// Bytes of all property names.
const NAMES: usize = 512;

/// A tree that is being written.
pub(crate) struct Flat<'a> {
    into: &'a mut [u8],
    at: usize,
    names: Vec<u8, NAMES>,
}

impl<'a> Flat<'a> {
    pub(crate) fn new(into: &'a mut [u8]) -> Result<Self, TreeFull> {
        let at = HEADER + RESERVATIONS;
        into.get_mut(..at).ok_or(TreeFull)?.fill(0);
        Ok(Self { into, at, names: Vec::new() })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), TreeFull> {
        let end = self.at.checked_add(bytes.len()).ok_or(TreeFull)?;
        self.into.get_mut(self.at..end).ok_or(TreeFull)?.copy_from_slice(bytes);
        self.at = end;
        Ok(())
    }

    fn word(&mut self, word: u32) -> Result<(), TreeFull> {
        self.put(&word.to_be_bytes())
    }

    fn align(&mut self) -> Result<(), TreeFull> {
        let padding = self.at.next_multiple_of(4) - self.at;
        self.put(&[0; 4][..padding])
    }

    pub(crate) fn begin(&mut self, name: &str) -> Result<(), TreeFull> {
        self.word(BEGIN_NODE)?;
        self.put(name.as_bytes())?;
        self.put(&[0])?;
        self.align()
    }

    /// A node with a unit address.
    pub(crate) fn begin_at(&mut self, name: &str, address: u64) -> Result<(), TreeFull> {
        let mut full: String<40> = String::new();
        core::fmt::write(&mut full, format_args!("{name}@{address:x}")).map_err(|_| TreeFull)?;
        self.begin(&full)
    }

    pub(crate) fn end(&mut self) -> Result<(), TreeFull> {
        self.word(END_NODE)
    }

    /// Begins a property of so many bytes.
    fn property(&mut self, name: &str, length: usize) -> Result<(), TreeFull> {
        let place = self.name(name)?;
        self.word(PROPERTY)?;
        self.word(u32::try_from(length).map_err(|_| TreeFull)?)?;
        self.word(place)
    }

    /// Offset of a property name among the names, added if it is new.
    fn name(&mut self, name: &str) -> Result<u32, TreeFull> {
        let mut at = 0;
        for known in self.names.split(|byte| *byte == 0) {
            if known == name.as_bytes() {
                return u32::try_from(at).map_err(|_| TreeFull);
            }
            at += known.len() + 1;
        }
        let at = self.names.len();
        self.names.extend_from_slice(name.as_bytes()).map_err(|_| TreeFull)?;
        self.names.push(0).map_err(|_| TreeFull)?;
        u32::try_from(at).map_err(|_| TreeFull)
    }

    pub(crate) fn bytes(&mut self, name: &str, value: &[u8]) -> Result<(), TreeFull> {
        self.property(name, value.len())?;
        self.put(value)?;
        self.align()
    }

    pub(crate) fn empty(&mut self, name: &str) -> Result<(), TreeFull> {
        self.bytes(name, &[])
    }

    pub(crate) fn cells(&mut self, name: &str, cells: &[u32]) -> Result<(), TreeFull> {
        self.property(name, cells.len() * 4)?;
        cells.iter().try_for_each(|cell| self.word(*cell))
    }

    pub(crate) fn longs(&mut self, name: &str, values: &[u64]) -> Result<(), TreeFull> {
        self.property(name, values.len() * 8)?;
        values.iter().try_for_each(|value| self.put(&value.to_be_bytes()))
    }

    pub(crate) fn long(&mut self, name: &str, value: u64) -> Result<(), TreeFull> {
        self.longs(name, &[value])
    }

    pub(crate) fn pair(&mut self, name: &str, address: u64, size: u64) -> Result<(), TreeFull> {
        self.longs(name, &[address, size])
    }

    /// Strings, each with its zero byte.
    pub(crate) fn text(&mut self, name: &str, values: &[&str]) -> Result<(), TreeFull> {
        self.property(name, values.iter().map(|value| value.len() + 1).sum())?;
        for value in values {
            self.put(value.as_bytes())?;
            self.put(&[0])?;
        }
        self.align()
    }

    /// Ends the tree; its length.
    pub(crate) fn finish(mut self) -> Result<usize, TreeFull> {
        self.word(END)?;
        let structure_end = self.at;
        let names = core::mem::take(&mut self.names);
        self.put(&names)?;
        let total = self.at;
        let structure = HEADER + RESERVATIONS;
        let number = |value: usize| u32::try_from(value).map_err(|_| TreeFull);
        let header = [
            MAGIC,
            number(total)?,
            number(structure)?,
            number(structure_end)?,
            number(HEADER)?,
            VERSION,
            COMPATIBLE,
            0, // boot CPU
            number(names.len())?,
            number(structure_end - structure)?,
        ];
        self.at = 0;
        header.into_iter().try_for_each(|word| self.word(word))?;
        Ok(total)
    }
}
