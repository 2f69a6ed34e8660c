//! Free frames in bundles: one of them holds the numbers of the others, so that giving many back
//! touches few.

use core::ptr;

/// Frames in a bundle.
pub(super) const BUNDLE: usize = 32;
/// Numbers of the frames of a bundle; the first one holds the record of all.
pub(super) type Bundle = [u32; BUNDLE];

/// What lies in the first frame of a bundle.
#[repr(C)]
struct Record {
    /// Number of the first frame of the next bundle; 0 for none, since frame 0 is never given to
    /// anybody.
    next: u32,
    numbers: Bundle,
}

/// Bundles of free frames, the last one given back first.
pub(super) struct Bundles(u32);

impl Bundles {
    pub(super) const fn new() -> Self {
        Self(0)
    }

    /// Takes over the frames of a bundle, which nobody uses any more.
    pub(super) fn push(&mut self, bundle: &Bundle) {
        let record = Record { next: self.0, numbers: *bundle };
        // SAFETY: the frame is free memory, mapped, aligned to a page, and the list's from here on.
        unsafe { ptr::write((u64::from(bundle[0]) << 12) as *mut Record, record) };
        self.0 = bundle[0];
    }

    /// Gives a bundle up.
    pub(super) fn pop(&mut self) -> Option<Bundle> {
        if self.0 == 0 {
            return None;
        }
        // SAFETY: written by `push`; nobody has used the frame since.
        let record = unsafe { ptr::read((u64::from(self.0) << 12) as *const Record) };
        self.0 = record.next;
        Some(record.numbers)
    }
}
