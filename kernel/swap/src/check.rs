//! Checksums of stored objects: what the pool gives back is what was put there, or the guest gets
//! an error.
//!
//! A check is 32 bits of the object's rapidhash beside 32 bits of its handle, in one word for each
//! slot. It is stored after the slot's own word, so that for a moment a check may speak of another
//! object: the handle tells, and such a read is counted as unchecked, not as wrong.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::slot::Word;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    Wrong,
    /// The check is of another object.
    Unknown,
}

/// The check of the object that a word names.
pub(crate) fn of(word: Word, bytes: &[u8]) -> u64 {
    let hash = rapidhash::v3::rapidhash_v3(bytes);
    hash & !0xffff_ffff | word.raw() & 0xffff_ffff
}

/// Keeps a check.
pub(crate) fn store(check: &AtomicU64, value: u64) {
    // Relaxed: whoever reads it compares both halves, which come in one piece.
    check.store(value, Ordering::Relaxed);
}

/// Holds bytes against the check.
pub(crate) fn verify(check: &AtomicU64, word: Word, bytes: &[u8]) -> Verdict {
    // Relaxed: as in `store`.
    let stored = check.load(Ordering::Relaxed);
    let found = of(word, bytes);
    if stored == found {
        Verdict::Good
    } else if (stored ^ found) & 0xffff_ffff == 0 {
        Verdict::Wrong
    } else {
        Verdict::Unknown
    }
}
