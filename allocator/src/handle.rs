//! The word that names an object: cell, generation, class and pool.
//!
//! | bits | content |
//! |---|---|
//! | 0..8 | generation of the cell |
//! | 8..33 | cell: frame of cells (15 bits) and slot in it (10 bits, below 800) |
//! | 33 | zero; set, it makes the slot one that there is not. See the state of a zspage for what it is good for |
//! | 34..42 | size class |
//! | 42..47 | tag of the pool, never zero |
//! | 47..64 | zero: the holder may keep a length and flags there |
//!
//! The location is not in the handle, since objects move; the class is, so that a free finds its
//! lock without a lookup.

use core::num::{NonZeroU8, NonZeroU64};

/// Bits of the number of a frame of cells.
pub(crate) const LEAF_BITS: u32 = 15;
/// Bits of a slot in it.
pub(crate) const SLOT_BITS: u32 = 10;
/// Bits of a cell's number: the frame's below, the slot above.
pub(crate) const CELL_BITS: u32 = LEAF_BITS + SLOT_BITS;
const CELL_SHIFT: u32 = 8;
/// The bit that is zero in every handle of an object.
pub(crate) const ZERO: u64 = 1 << (CELL_SHIFT + CELL_BITS);
const CLASS_SHIFT: u32 = CELL_SHIFT + CELL_BITS + 1;
/// Where class and tag begin, which together are the owner.
pub(crate) const OWNER_SHIFT: u32 = CLASS_SHIFT;
/// The bits of class and tag.
pub(crate) const OWNER: u64 = ((1 << HANDLE_BITS) - 1) & !((1 << OWNER_SHIFT) - 1);
const TAG_SHIFT: u32 = CLASS_SHIFT + 8;
/// Bits of a raw handle that may be set.
pub const HANDLE_BITS: u32 = TAG_SHIFT + 5;
/// Tags of pools are 1 to this.
pub(crate) const MAX_TAG: u8 = (1 << (HANDLE_BITS - TAG_SHIFT)) - 1;

/// The class whose objects have a frame to themselves, and no zspage: the last of the size classes.
#[cfg_attr(zs_loom, expect(dead_code, reason = "no model has any"))]
pub(crate) const HUGE_CLASS: usize = 254;

/// The right to one object. It cannot be copied; freeing uses it up.
///
/// A handle that is dropped leaks its object until the pool is closed. One that was duplicated
/// through [`Handle::into_raw`] is never a danger to memory: the second use is answered with an
/// error for as long as the cell's generation (8 bits) has not come round.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a dropped handle leaks its object until the pool is closed"]
pub struct Handle(NonZeroU64);

impl Handle {
    /// A handle of the owner that `base` names.
    #[inline]
    pub(crate) fn new(base: Base, cell: u32, generation: u8) -> Self {
        Self(base.0 | u64::from(cell) << CELL_SHIFT | u64::from(generation))
    }

    /// The word to keep in a slot; bits 47 and up are zero.
    #[inline]
    pub const fn into_raw(self) -> u64 {
        self.0.get()
    }

    /// The handle of a kept word; `None` if it cannot be one. Any word is safe: a wrong one is
    /// refused where it is used.
    #[inline]
    pub const fn from_raw(raw: u64) -> Option<Self> {
        if raw >> HANDLE_BITS != 0 {
            return None;
        }
        match NonZeroU64::new(raw) {
            Some(word) => Some(Self(word)),
            None => None,
        }
    }

    /// Index of the size class, for [`crate::Pool::class_stats`].
    #[inline]
    pub fn class(&self) -> usize {
        usize::from(self.key().class())
    }

    #[inline]
    pub(crate) const fn key(&self) -> Key {
        Key(self.0.get())
    }
}

/// What all handles of one class of one pool have in common: the owner, in its place in the word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base(NonZeroU64);

impl Base {
    /// `tag` is at most [`MAX_TAG`].
    pub(crate) const fn new(class: u8, tag: NonZeroU8) -> Self {
        match NonZeroU64::new((class as u64) << CLASS_SHIFT | (tag.get() as u64) << TAG_SHIFT) {
            Some(word) => Self(word),
            None => unreachable!(),
        }
    }

    /// The word without cell and generation.
    pub(crate) const fn word(self) -> u64 {
        self.0.get()
    }
}

/// A handle's fields without its right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key(pub(crate) u64);

#[expect(clippy::cast_possible_truncation, reason = "each field is cut out by its width")]
impl Key {
    /// The frame of cells.
    #[inline]
    pub(crate) const fn leaf(self) -> usize {
        (self.0 >> CELL_SHIFT) as usize & ((1 << LEAF_BITS) - 1)
    }

    /// The slot in it. With the bit that ought to be zero, so that a forged handle names none.
    #[inline]
    pub(crate) const fn slot(self) -> usize {
        (self.0 >> (CELL_SHIFT + LEAF_BITS)) as usize & ((2 << SLOT_BITS) - 1)
    }

    /// Frame and slot, if the slot is one.
    #[inline]
    pub(crate) const fn cell(self) -> u32 {
        (self.0 >> CELL_SHIFT) as u32 & ((1 << CELL_BITS) - 1)
    }

    #[inline]
    pub(crate) const fn generation(self) -> u8 {
        self.0 as u8
    }

    #[inline]
    pub(crate) const fn class(self) -> u8 {
        (self.0 >> CLASS_SHIFT) as u8
    }

    /// Whether it names an object of a whole page.
    #[cfg(not(zs_loom))]
    #[inline]
    pub(crate) const fn is_huge(self) -> bool {
        self.class() as usize == HUGE_CLASS
    }

    /// Whether it is of the same pool as all handles with this base.
    #[inline]
    pub(crate) const fn has_tag_of(self, base: Base) -> bool {
        (self.0 ^ base.word()) & OWNER & !(0xff << CLASS_SHIFT) == 0
    }

    #[cfg(test)]
    pub(crate) const fn owner(self) -> u64 {
        self.0 & OWNER
    }

    #[cfg(test)]
    const fn tag(self) -> u8 {
        (self.0 >> TAG_SHIFT) as u8 & MAX_TAG
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back() {
        let base = Base::new(254, NonZeroU8::new(MAX_TAG).expect("not zero"));
        let handle = Handle::new(base, (1 << CELL_BITS) - 1, 0xa5);
        let key = handle.key();
        assert_eq!(
            (key.cell(), key.generation(), key.class(), key.tag()),
            ((1 << CELL_BITS) - 1, 0xa5, 254, MAX_TAG)
        );
        let raw = handle.into_raw();
        assert!(raw >> HANDLE_BITS == 0);
        assert_eq!(key.owner(), base.word());
        assert_eq!(Handle::from_raw(raw).expect("a handle").key().0, raw);
    }

    #[test]
    fn words_that_cannot_be_handles() {
        assert!(Handle::from_raw(0).is_none());
        assert!(Handle::from_raw(1 << HANDLE_BITS).is_none());
    }
}
