//! Stage 2 translation: from a guest's physical addresses (IPA) to real ones.
//!
//! 4 KiB pages, 40-bit IPA, first lookup at level 1 with two concatenated tables (DDI 0487, D8.2
//! and D8.3). Blocks of 1 GiB and 2 MiB are used where address and length allow and are split on
//! demand. The tables lie behind [`TableMemory`], so everything here runs on the host; TLB
//! maintenance is up to the caller, which is told what changed.

mod aging;

use core::fmt;

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Bits of a guest-physical address.
pub const IPA_BITS: u32 = 40;

const ENTRIES: usize = 512;
/// Level 1 has two tables, one after the other.
const ROOT_ENTRIES: usize = 2 * ENTRIES;
const LAST_LEVEL: u32 = 3;

/// Where tables live.
pub trait TableMemory {
    /// Physical address of 8 KiB of zeroes, aligned to 8 KiB.
    fn allocate_root(&mut self) -> Option<u64>;
    /// Takes the root back.
    fn release_root(&mut self, root: u64);
    /// Physical address of a zeroed 4 KiB table.
    fn allocate(&mut self) -> Option<u64>;
    /// Physical address of a table whose first entry is `first`, and each further one `step` more
    /// than the one before.
    fn allocate_filled(&mut self, first: u64, step: u64) -> Option<u64>;
    /// Takes a table back.
    fn release(&mut self, table: u64);
    /// An entry of a table.
    fn read(&self, table: u64, index: usize) -> u64;
    /// Changes an entry of a table.
    fn write(&mut self, table: u64, index: usize, entry: u64);
}

/// What a guest may do with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Memory: read, write, execute.
    Ram,
    /// Memory: read and execute.
    ReadOnly,
    /// Registers of a device: read and write, in order, never cached or executed.
    Device,
}

/// Who says how a guest's memory is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// The guest, by attributes of its own, which are combined with write-back: what caches less
    /// counts.
    Combined,
    /// Nobody but stage 2: write-back, also while the guest's caches are off (`HCR_EL2.FWB`).
    Forced,
}

/// What cannot be mapped or unmapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage2Error {
    /// An address or the length is no multiple of a page, or the length is zero.
    Misaligned,
    /// Beyond the guest's address space, or the addresses wrap around.
    OutOfRange,
    /// Something is mapped there already.
    Mapped,
    /// No memory for a table. What was mapped before stays mapped.
    OutOfMemory,
}

impl fmt::Display for Stage2Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Misaligned => "not a whole number of pages",
            Self::OutOfRange => "outside of the guest's address space",
            Self::Mapped => "mapped already",
            Self::OutOfMemory => "no memory for translation tables",
        })
    }
}

/// Descriptor bits (DDI 0487, D8.3.2).
mod bits {
    pub(super) const VALID: u64 = 1;
    /// A table, or at level 3 a page; without it a block.
    pub(super) const TABLE: u64 = 1 << 1;
    pub(super) const ADDRESS: u64 = 0xffff_ffff_f000;
    /// AF: used.
    pub(super) const ACCESSED: u64 = 1 << 10;
    /// MemAttr 0b1111 (normal, write-back), inner shareable, accessed.
    const COMBINED: u64 = 0b1111 << 2 | 0b11 << 8 | ACCESSED;
    /// With `HCR_EL2.FWB`, MemAttr 0b0110 (normal, write-back, whatever stage 1 says), inner
    /// shareable, accessed.
    const FORCED: u64 = 0b0110 << 2 | 0b11 << 8 | ACCESSED;
    /// MemAttr 0b0001 (Device-nGnRE, with `HCR_EL2.FWB` or without), accessed, never executed.
    const DEVICE: u64 = 0b0001 << 2 | ACCESSED | 1 << 54;
    /// S2AP: may be read.
    const READ: u64 = 1 << 6;
    /// S2AP: may be written.
    pub(super) const WRITE: u64 = 1 << 7;

    pub(super) const fn leaf(access: super::Access, caching: super::Caching) -> u64 {
        let normal = match caching {
            super::Caching::Combined => COMBINED,
            super::Caching::Forced => FORCED,
        };
        match access {
            super::Access::Ram => normal | READ | WRITE,
            super::Access::ReadOnly => normal | READ,
            super::Access::Device => DEVICE | READ | WRITE,
        }
    }

    pub(super) const fn access(entry: u64) -> super::Access {
        if entry >> 2 & 0b1111 == 0b0001 {
            super::Access::Device
        } else if entry & WRITE == 0 {
            super::Access::ReadOnly
        } else {
            super::Access::Ram
        }
    }
}

/// Bytes that one entry of a level covers.
const fn span(level: u32) -> u64 {
    PAGE << (9 * (LAST_LEVEL - level))
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder is below 1024")]
fn index(ipa: u64, level: u32) -> usize {
    let entries = if level == 1 { ROOT_ENTRIES } else { ENTRIES };
    (ipa / span(level) % entries as u64) as usize
}

/// What an entry is.
enum Entry {
    Invalid,
    Table(u64),
    Leaf(u64, Access),
}

fn decode(entry: u64, level: u32) -> Entry {
    if entry & bits::VALID == 0 {
        Entry::Invalid
    } else if level < LAST_LEVEL && entry & bits::TABLE != 0 {
        Entry::Table(entry & bits::ADDRESS)
    } else {
        Entry::Leaf(entry & bits::ADDRESS, bits::access(entry))
    }
}

fn leaf_entry(address: u64, access: Access, caching: Caching, level: u32) -> u64 {
    let page = if level == LAST_LEVEL { bits::TABLE } else { 0 };
    address | bits::leaf(access, caching) | bits::VALID | page
}

/// The translation tables of one guest.
///
/// # Invariants
/// Every table but the root is referred to by exactly one entry; every entry is invalid, a table or
/// a leaf.
#[derive(Debug)]
pub struct Stage2<M: TableMemory> {
    memory: M,
    root: u64,
    caching: Caching,
}

impl<M: TableMemory> Stage2<M> {
    /// Nothing mapped.
    ///
    /// # Errors
    /// No memory for the root.
    pub fn new(mut memory: M, caching: Caching) -> Result<Self, Stage2Error> {
        let root = memory.allocate_root().ok_or(Stage2Error::OutOfMemory)?;
        Ok(Self { memory, root, caching })
    }

    /// Physical address of the root.
    pub fn root(&self) -> u64 {
        self.root
    }

    /// `VTCR_EL2`: T0SZ = 24, first lookup at level 1, walks cached and inner shareable, 4 KiB, as
    /// many output bits as the core has (`ID_AA64MMFR0_EL1.PARange`) but no more than 48.
    pub fn vtcr(physical_address_range: u64) -> u64 {
        const T0SZ: u64 = 64 - IPA_BITS as u64;
        const SL0_LEVEL_1: u64 = 1 << 6;
        const WALKS: u64 = 1 << 8 | 1 << 10 | 0b11 << 12;
        const RES1: u64 = 1 << 31;
        RES1 | T0SZ | SL0_LEVEL_1 | WALKS | physical_address_range.min(5) << 16
    }

    /// `VTTBR_EL2` for a machine with this identifier.
    pub fn vttbr(&self, vmid: u16) -> u64 {
        u64::from(vmid) << 48 | self.root
    }

    /// Maps a range, which may not be mapped yet, so that nothing stale can be cached.
    ///
    /// # Errors
    /// See [`Stage2Error`]. After `OutOfMemory` the front part may be mapped; `unmap` takes any
    /// range.
    pub fn map(
        &mut self,
        ipa: u64,
        address: u64,
        length: u64,
        access: Access,
    ) -> Result<(), Stage2Error> {
        check(ipa, length)?;
        if !address.is_multiple_of(PAGE) {
            return Err(Stage2Error::Misaligned);
        }
        address
            .checked_add(length)
            .filter(|end| *end <= bits::ADDRESS + PAGE)
            .ok_or(Stage2Error::OutOfRange)?;
        if self.any_mapped(ipa, length) {
            return Err(Stage2Error::Mapped);
        }
        let mut done = 0;
        while done < length {
            done += self.map_one(ipa + done, address + done, length - done, access)?;
        }
        Ok(())
    }

    /// Maps the largest leaf that fits; its size.
    fn map_one(
        &mut self,
        ipa: u64,
        address: u64,
        length: u64,
        access: Access,
    ) -> Result<u64, Stage2Error> {
        let mut table = self.root;
        for level in 1..=LAST_LEVEL {
            let at = index(ipa, level);
            let entry = decode(self.memory.read(table, at), level);
            let fits = (ipa | address).is_multiple_of(span(level)) && length >= span(level);
            match entry {
                Entry::Table(next) => table = next,
                Entry::Invalid if fits => {
                    self.memory.write(table, at, leaf_entry(address, access, self.caching, level));
                    return Ok(span(level));
                }
                Entry::Invalid => {
                    let next = self.memory.allocate().ok_or(Stage2Error::OutOfMemory)?;
                    self.memory.write(table, at, next | bits::VALID | bits::TABLE);
                    table = next;
                }
                Entry::Leaf(..) => return Err(Stage2Error::Mapped),
            }
        }
        Err(Stage2Error::Mapped)
    }

    fn any_mapped(&self, ipa: u64, length: u64) -> bool {
        let mut at = ipa;
        while at < ipa + length {
            match self.lookup(at) {
                (Some(_), _) => return true,
                // Nothing up to the end of what one entry of this level covers.
                (None, level) => at = (at / span(level) + 1) * span(level),
            }
        }
        false
    }

    /// The leaf that covers an address, and the level where the walk ended.
    fn lookup(&self, ipa: u64) -> (Option<(u64, Access)>, u32) {
        let mut table = self.root;
        for level in 1..=LAST_LEVEL {
            match decode(self.memory.read(table, index(ipa, level)), level) {
                Entry::Invalid => return (None, level),
                Entry::Leaf(base, access) => {
                    return (Some((base + ipa % span(level), access)), level);
                }
                Entry::Table(next) => table = next,
            }
        }
        (None, LAST_LEVEL)
    }

    /// Where an address leads, and what may be done there.
    pub fn translate(&self, ipa: u64) -> Option<(u64, Access)> {
        if ipa >> IPA_BITS != 0 {
            return None;
        }
        self.lookup(ipa).0
    }

    /// Unmaps a range, splitting blocks at its ends. `changed` is called with the start and length
    /// of every entry that was valid and is not any more, after the change: the caller drops what
    /// is cached before it goes on, which makes the split of a block break before make as well.
    ///
    /// # Errors
    /// See [`Stage2Error`]; only a split can run out of memory, and then nothing of that block has
    /// changed.
    pub fn unmap(
        &mut self,
        ipa: u64,
        length: u64,
        changed: &mut dyn FnMut(u64, u64),
    ) -> Result<(), Stage2Error> {
        check(ipa, length)?;
        let end = ipa + length;
        let mut at = ipa;
        while at < end {
            at = self.unmap_one(at, end, changed)?;
        }
        Ok(())
    }

    /// Unmaps the leaf at `at`, or the part of it before `end`; where to go on.
    fn unmap_one(
        &mut self,
        at: u64,
        end: u64,
        changed: &mut dyn FnMut(u64, u64),
    ) -> Result<u64, Stage2Error> {
        let mut table = self.root;
        let mut level = 1;
        loop {
            let place = index(at, level);
            let start = at / span(level) * span(level);
            let next = start + span(level);
            match decode(self.memory.read(table, place), level) {
                Entry::Invalid => return Ok(next),
                Entry::Table(inner) => {
                    table = inner;
                    level += 1;
                }
                Entry::Leaf(..) if start == at && next <= end => {
                    self.memory.write(table, place, 0);
                    changed(start, span(level));
                    return Ok(next);
                }
                Entry::Leaf(base, access) => {
                    table = self.split(table, place, level, (start, base, access), changed)?;
                    level += 1;
                }
            }
        }
    }

    /// Replaces a block by a table of the same content: broken first, so that two sizes are never
    /// cached at once.
    fn split(
        &mut self,
        table: u64,
        place: usize,
        level: u32,
        (start, base, access): (u64, u64, Access),
        changed: &mut dyn FnMut(u64, u64),
    ) -> Result<u64, Stage2Error> {
        // The address is added to the other bits, so entries differ as addresses do.
        let first = leaf_entry(base, access, self.caching, level + 1);
        let inner =
            self.memory.allocate_filled(first, span(level + 1)).ok_or(Stage2Error::OutOfMemory)?;
        self.memory.write(table, place, 0);
        changed(start, span(level));
        self.memory.write(table, place, inner | bits::VALID | bits::TABLE);
        Ok(inner)
    }

    /// Calls `visit` with IPA, address, length and access of every leaf, in order of IPA.
    pub fn for_each_mapped(&self, visit: &mut dyn FnMut(u64, u64, u64, Access)) {
        self.visit(self.root, 1, 0, visit);
    }

    fn visit(
        &self,
        table: u64,
        level: u32,
        base: u64,
        visit: &mut dyn FnMut(u64, u64, u64, Access),
    ) {
        let entries = if level == 1 { ROOT_ENTRIES } else { ENTRIES };
        for at in 0..entries {
            let ipa = base + at as u64 * span(level);
            match decode(self.memory.read(table, at), level) {
                Entry::Invalid => {}
                Entry::Table(next) => self.visit(next, level + 1, ipa, visit),
                Entry::Leaf(address, access) => visit(ipa, address, span(level), access),
            }
        }
    }

    /// Gives every table back; what was mapped is the caller's.
    pub fn destroy(mut self) -> M {
        self.release_below(self.root, 1);
        self.memory.release_root(self.root);
        self.memory
    }

    fn release_below(&mut self, table: u64, level: u32) {
        let entries = if level == 1 { ROOT_ENTRIES } else { ENTRIES };
        for at in 0..entries {
            if let Entry::Table(next) = decode(self.memory.read(table, at), level) {
                self.release_below(next, level + 1);
                self.memory.release(next);
            }
        }
    }
}

fn check(ipa: u64, length: u64) -> Result<(), Stage2Error> {
    if length == 0 || !(ipa | length).is_multiple_of(PAGE) {
        return Err(Stage2Error::Misaligned);
    }
    match ipa.checked_add(length) {
        Some(end) if end <= 1 << IPA_BITS => Ok(()),
        _ => Err(Stage2Error::OutOfRange),
    }
}

/// For tests of what is built on this: faults.
#[cfg(test)]
impl<M: TableMemory> Stage2<M> {
    pub(crate) fn memory(&mut self) -> &mut M {
        &mut self.memory
    }

    /// The last table on the way to an address is gone, with all that is mapped by it.
    pub(crate) fn forget_table(&mut self, ipa: u64) {
        let mut table = self.root;
        for level in 1..LAST_LEVEL {
            let place = index(ipa, level);
            let Entry::Table(next) = decode(self.memory.read(table, place), level) else { return };
            if level + 1 == LAST_LEVEL {
                self.memory.write(table, place, 0);
            }
            table = next;
        }
    }
}

#[cfg(test)]
mod tests;
