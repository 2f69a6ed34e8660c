//! The word of a slot.
//!
//! | bits | content of an object's slot |
//! |---|---|
//! | 0..47 | handle of the object, not 0 |
//! | 47..59 | length of the object less one; a length of 4096 is a page stored as it is |
//! | 59 | made by the device's second codec |
//! | 60..63 | 0 |
//! | 63 | a reader uses the object |
//!
//! A word of zero is an empty slot; one with bit 47 alone says that the page is on the backing
//! device. A same-filled page is the word that fills it, bit 60 inverted, if that leaves bits 60 to
//! 62 not all 0: for all words but those whose upper hexadecimal digit is 1 or 9. Of those, the
//! ones made of two equal halves are one half in bits 0 to 32 under bits 47 to 60, all set: no page
//! that is stored as it is was made by a codec. A page filled with another one is compressed like
//! any other.
//!
//! # Who owns the object
//! The slot does. Whoever takes its word out by a swap owns the object from then on and frees it,
//! unless the word says that a reader uses the object: then the reader finds its word gone when it
//! is done, and frees it in the other's stead. So write and release never wait, and no lock is held
//! over a copy or a codec. The word cannot come back meanwhile, since its handle is live.
//!
//! A worker on a page behind the guest's back (see `claim`) does not read the object for long: it
//! copies the bytes out.

use core::{
    hint::spin_loop,
    sync::atomic::{AtomicU64, Ordering},
};

use zsmalloc::{HANDLE_BITS, Handle};

use crate::{device::PAGE_SIZE, error::SwapError};

const HANDLE: u64 = (1 << HANDLE_BITS) - 1;
const LENGTH_SHIFT: u32 = HANDLE_BITS;
const LENGTH_MASK: u64 = (1 << 12) - 1;
const SECOND: u64 = 1 << 59;
/// Not all 0: a word that fills a page, with [`INVERTED`].
const FILLING: u64 = 7 << 60;
/// What pages are seldom filled with is what does not fit.
const INVERTED: u64 = 1 << 60;
/// A raw page of the second codec, which there is not: half of a word fills a page.
const HALF: u64 = LENGTH_MASK << LENGTH_SHIFT | SECOND;
/// On the backing device.
const BACKED: u64 = 1 << LENGTH_SHIFT;
const READING: u64 = 1 << 63;
const _: () = assert!(LENGTH_SHIFT + 12 == 59 && PAGE_SIZE as u64 == LENGTH_MASK + 1);

/// How often a second reader looks again: far longer than a page takes to decompress.
const PATIENCE: u32 = 1 << 16;

/// What a slot holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Empty,
    Same(u64),
    Object(Object),
    Backed,
}

/// What a word says of an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) handle: Handle,
    pub(crate) length: usize,
    /// Whether the second codec made it.
    pub(crate) second: bool,
}

/// What a slot holds, as it is counted and listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Kind {
    /// Nothing.
    Empty,
    /// A page that is one word over and over.
    Same,
    /// A page compressed by the device's codec.
    Compressed,
    /// A page compressed by its second codec.
    Recompressed,
    /// A page as it is, since it does not compress.
    Raw,
    /// A page on the backing device.
    Backed,
}

/// How many kinds there are.
pub(crate) const KINDS: usize = Kind::Backed as usize + 1;

/// A word that was taken out of a slot, or is to be put in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(u64);

impl Word {
    pub(crate) const EMPTY: Self = Self(0);
    pub(crate) const BACKED: Self = Self(BACKED);

    /// A page filled with a word; `None` if a slot cannot say it.
    pub(crate) fn same(word: u64) -> Option<Self> {
        let half = word & 0xffff_ffff;
        if (word ^ INVERTED) & FILLING != 0 {
            Some(Self(word ^ INVERTED))
        } else if word >> 32 == half {
            Some(Self(HALF | half))
        } else {
            None
        }
    }

    pub(crate) fn object(handle: Handle, length: usize, second: bool) -> Self {
        debug_assert!((1..=PAGE_SIZE).contains(&length) && !(second && length == PAGE_SIZE));
        let length = (length as u64).wrapping_sub(1) & LENGTH_MASK;
        Self(handle.into_raw() | length << LENGTH_SHIFT | if second { SECOND } else { 0 })
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn is_same(self) -> bool {
        self.0 & FILLING != 0 || self.0 & HALF == HALF
    }

    /// What it says, roughly.
    #[inline]
    pub(crate) fn kind(self) -> Kind {
        const RAW: u64 = LENGTH_MASK << LENGTH_SHIFT;
        if self.0 & FILLING != 0 {
            return Kind::Same;
        }
        if self.0 & HANDLE == 0 && self.0 & HALF != HALF {
            return if self.0 == 0 { Kind::Empty } else { Kind::Backed };
        }
        match (self.0 & RAW == RAW, self.0 & SECOND != 0) {
            (true, true) => Kind::Same,
            (true, false) => Kind::Raw,
            (false, true) => Kind::Recompressed,
            (false, false) => Kind::Compressed,
        }
    }

    /// Length of the object; 0 if there is none.
    pub(crate) fn length(self) -> usize {
        if self.is_same() || self.0 & HANDLE == 0 {
            return 0;
        }
        (self.0 >> LENGTH_SHIFT & LENGTH_MASK) as usize + 1
    }

    /// What the word says, without regard to readers.
    pub(crate) fn content(self) -> Content {
        if self.0 & FILLING != 0 {
            return Content::Same(self.0 ^ INVERTED);
        }
        if self.0 & HALF == HALF {
            let half = self.0 & 0xffff_ffff;
            return Content::Same(half << 32 | half);
        }
        match Handle::from_raw(self.0 & HANDLE) {
            Some(handle) => {
                let length = (self.0 >> LENGTH_SHIFT & LENGTH_MASK) as usize + 1;
                Content::Object(Object { handle, length, second: self.0 & SECOND != 0 })
            }
            None if self.0 == BACKED => Content::Backed,
            None => Content::Empty,
        }
    }

    /// Handle and length less one of an object of the first codec that nobody reads.
    #[inline(always)]
    pub(crate) fn plain_object(self) -> Option<(Handle, u64)> {
        // One look at the upper bits: a page filled with a word has one of them, too.
        if self.0 & (FILLING | READING | SECOND) != 0 {
            return None;
        }
        Handle::from_raw(self.0 & HANDLE).map(|handle| (handle, self.0 >> LENGTH_SHIFT))
    }

    /// The object, if it is now the holder's of this word: not if a reader is still to free it.
    pub(crate) fn into_owned(self) -> Option<Handle> {
        match self.content() {
            Content::Object(object) if self.0 & READING == 0 => Some(object.handle),
            _ => None,
        }
    }

    /// Whether both are the same, read or not.
    pub(crate) fn is(self, other: Self) -> bool {
        (self.0 ^ other.0) & !READING == 0
    }

    /// The word as a number, to be compared later.
    pub(crate) fn raw(self) -> u64 {
        self.0
    }
}

/// The word as it is now; it may be gone in the next moment.
pub(crate) fn peek(slot: &AtomicU64) -> Word {
    // Relaxed: an estimate for the quota and a test for emptiness; no object is reached through it.
    Word(slot.load(Ordering::Relaxed))
}

/// Puts a word in and takes the other out.
#[inline]
pub(crate) fn swap(slot: &AtomicU64, word: Word) -> Word {
    // Release: the object was filled before; pairs with the acquire in `begin_read`. Acquire: pairs
    // with the release in `end_read` and in an earlier swap, so that the object's free comes after
    // its use.
    Word(slot.swap(word.0, Ordering::AcqRel))
}

/// Puts a word in if the slot holds just this one, which nobody reads.
#[inline]
pub(crate) fn replace(slot: &AtomicU64, old: Word, new: Word) -> bool {
    // Both orders as in `swap`; Relaxed on failure: nothing was taken.
    slot.compare_exchange(old.0, new.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

/// Marks the slot's object as being read. A slot without object is only looked at. Waits for
/// another reader, who may be off its core: so not to be called with interrupts masked.
#[inline]
pub(crate) fn begin_read(slot: &AtomicU64) -> Result<Word, SwapError> {
    for _ in 0..PATIENCE {
        if let Some(word) = try_read(slot) {
            return Ok(word);
        }
        spin_loop();
    }
    Err(SwapError::Busy)
}

/// As [`begin_read`], once: `None` while somebody else reads the object, or where the slot changes
/// at this moment.
#[inline]
pub(crate) fn try_read(slot: &AtomicU64) -> Option<Word> {
    // Relaxed: confirmed by the exchange below, or carries its whole meaning in itself.
    let word = slot.load(Ordering::Relaxed);
    if Word(word).length() == 0 {
        return Some(Word(word));
    }
    let is_free = word & READING == 0;
    // Acquire: pairs with the release in `swap`, behind which lie the object's bytes. Relaxed on
    // failure: nothing was taken.
    let exchange = || {
        slot.compare_exchange_weak(word, word | READING, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    };
    (is_free && exchange()).then_some(Word(word))
}

/// Ends a read of `word`'s object. `false` if the slot holds something else by now: then the object
/// is the reader's to free.
#[inline]
pub(crate) fn end_read(slot: &AtomicU64, word: Word) -> bool {
    // Release: pairs with the acquire in `swap`: the object's free comes after these reads. Relaxed
    // on failure: the object is ours, and the free orders itself.
    slot.compare_exchange(word.0 | READING, word.0, Ordering::Release, Ordering::Relaxed).is_ok()
}

/// Ends a read in the course of which `word`'s object was written over, which `new` names. `false`
/// as in [`end_read`].
#[inline]
pub(crate) fn end_write(slot: &AtomicU64, word: Word, new: Word) -> bool {
    // Release: pairs with the acquires in `try_read` and `swap`, so that the object's new bytes are
    // there. Relaxed on failure: the object is ours.
    slot.compare_exchange(word.0 | READING, new.0, Ordering::Release, Ordering::Relaxed).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle() -> Handle {
        Handle::from_raw((1 << HANDLE_BITS) - 1).expect("a handle's bits")
    }

    #[test]
    fn words_keep_their_content() {
        for (length, second) in [
            (1, false),
            (2, false),
            (1, true),
            (2047, true),
            (PAGE_SIZE - 1, true),
            (PAGE_SIZE, false),
        ] {
            let word = Word::object(handle(), length, second);
            assert_eq!(
                word.content(),
                Content::Object(Object { handle: handle(), length, second })
            );
            assert_eq!(word.length(), length);
            let kind = match (length, second) {
                (PAGE_SIZE, _) => Kind::Raw,
                (_, true) => Kind::Recompressed,
                (_, false) => Kind::Compressed,
            };
            assert!(word.kind() == kind && !word.is_same() && !word.is_empty());
        }
        for upper in 0..0x1000 {
            for lower in [0, 1, (1 << 52) - 1, 0x1234_5678] {
                let filling = upper << 52 | lower;
                let Some(word) = Word::same(filling) else {
                    assert!(
                        upper >> 8 & 7 == 1 && filling >> 32 != filling & 0xffff_ffff,
                        "{filling:#x}"
                    );
                    continue;
                };
                assert_eq!(word.content(), Content::Same(filling));
                assert_eq!((word.length(), word.is_empty(), word.into_owned()), (0, false, None));
                assert!(word.is_same() && word.kind() == Kind::Same);
            }
        }
        for half in [0x1000_0000, 0x9999_9999, 0x1fff_ffff] {
            let filling = half << 32 | half;
            let word = Word::same(filling).expect("two equal halves");
            assert_eq!(
                (word.content(), word.length(), word.is_same()),
                (Content::Same(filling), 0, true)
            );
            assert_eq!(word.kind(), Kind::Same);
        }
        assert_eq!((Word::EMPTY.content(), Word::EMPTY.length()), (Content::Empty, 0));
        assert_eq!((Word::BACKED.content(), Word::BACKED.length()), (Content::Backed, 0));
        assert_eq!((Word::EMPTY.kind(), Word::BACKED.kind()), (Kind::Empty, Kind::Backed));
    }

    #[test]
    fn an_object_that_is_read_is_left_to_the_reader() {
        let slot = AtomicU64::new(0);
        swap(&slot, Word::object(handle(), 9, false));
        let read = begin_read(&slot).expect("nobody reads");
        assert_eq!(begin_read(&slot).err(), Some(SwapError::Busy));
        assert_eq!(swap(&slot, Word::same(3).expect("a small word")).into_owned(), None);
        assert!(!end_read(&slot, read));
        assert_eq!(peek(&slot).content(), Content::Same(3));
        assert_eq!(read.into_owned(), Some(handle()));
    }

    #[test]
    fn an_object_that_was_read_stays_the_slots() {
        let slot = AtomicU64::new(0);
        swap(&slot, Word::object(handle(), 9, false));
        let read = begin_read(&slot).expect("nobody reads");
        assert!(end_read(&slot, read));
        assert_eq!(swap(&slot, Word::EMPTY).into_owned(), Some(handle()));
    }
}
