//! Which size classes are in use: a class is paid for (half a page, a chunk of cells) only where
//! enough objects gain by it.
//!
//! At first only a few classes are active, and an object goes to the smallest of them that fits.
//! When a class has taken so many objects that the bytes they lose by rounding outweigh the price
//! of another class, the range that it serves is split in the middle. A class that empties is
//! dissolved again, and its cells are for others. Objects stay in the class that they were given,
//! which is in their handles.

use crate::{
    platform::Platform,
    pool::{Pool, SLOTS},
    size_class::{CLASSES, HUGE_CLASS, class_size, merged},
    sync::{AtomicU8, Ordering},
};

/// Classes that are always active are this many classes apart.
const COARSE: usize = 8;
/// Bytes lost by rounding at which a range is split, as objects times width: in a small pool the
/// page that another class costs weighs more.
const SPLIT: usize = 1200;
const SPLIT_SMALL: usize = 2200;
/// Number of objects at which the first class is split in a small pool, whose range is the
/// narrowest of those that are always there: nothing that is split at so few can be far from what
/// it would be measured at.
#[expect(clippy::cast_possible_truncation, reason = "some twenty")]
const LEAST_SPLIT: u32 = (SPLIT_SMALL / (class_size(COARSE - 2) - class_size(0))) as u32;
/// Number of objects at which a class is split whose range has changed since: it is reached at
/// once, and then worked out. So what empties a class does not pay for it.
const UNMEASURED: u32 = 0;
/// Pages up to which a pool is small.
const SMALL: usize = 1024;

/// Whether a class without objects is to be measured anew. One that only ever has a few is not,
/// each time.
const fn is_outgrown(split_at: u32) -> bool {
    LEAST_SPLIT < split_at && split_at < u32::MAX
}

/// Whether something is to be done about a class that has lost its last zspage: see
/// [`Pool::dissolve`].
pub(crate) const fn is_to_dissolve(index: u8, split_at: u32, has_chunks_to_leave: bool) -> bool {
    has_chunks_to_leave || is_outgrown(split_at) || !is_coarse(index)
}

const fn is_coarse(index: u8) -> bool {
    let place = index as usize;
    place % COARSE == CLASSES % COARSE - 1 && merged(index) == index || place >= HUGE_CLASS
}

/// The map of an empty pool.
pub(crate) fn coarse() -> [AtomicU8; SLOTS] {
    let mut stands = u8::MAX - 1;
    let mut map = [const { AtomicU8::new(0) }; SLOTS];
    for (index, entry) in (0..=u8::MAX).zip(&mut map).take(CLASSES).rev() {
        if is_coarse(index) {
            stands = index;
        }
        *entry = AtomicU8::new(stands);
    }
    map
}

impl<P: Platform> Pool<P> {
    /// The class that takes objects of class `index`.
    #[inline]
    pub(crate) fn mapped(&self, index: u8) -> u8 {
        // Relaxed: changes are guarded by `mapping`; a reader without it gets a class that fits, if
        // not the best.
        self.map[usize::from(index)].load(Ordering::Relaxed)
    }

    /// First size class of those that class `index` takes now.
    fn range_start(&self, index: u8) -> u8 {
        (0..index).rev().find(|&below| self.mapped(below) != index).map_or(0, |below| below + 1)
    }

    /// Number of objects at which class `index`, which has `objects`, is to be split.
    pub(crate) fn split_after(&self, index: u8, objects: u32) -> u32 {
        let width = class_size(index.into()) - class_size(self.range_start(index).into());
        let lost = if self.pages() < SMALL { SPLIT_SMALL } else { SPLIT };
        match lost.checked_div(width) {
            Some(more) => objects.saturating_add(u32::try_from(more).unwrap_or(u32::MAX)),
            None => u32::MAX,
        }
    }

    /// Lets the classes from `first` to `last` be served by `name`.
    fn set_range(&self, first: u8, last: u8, name: u8) {
        for entry in &self.map[usize::from(first)..=usize::from(last)] {
            // Relaxed: see `mapped`.
            entry.store(name, Ordering::Relaxed);
        }
    }

    /// Splits the range of a class in two, if there is a class between its ends.
    #[cold]
    pub(crate) fn split(&self, index: u8) {
        let pinned = self.store.platform.pin();
        {
            let mut class = self.class(index).lock(&pinned);
            if class.split_at == UNMEASURED {
                // Without the object by which it has just grown.
                class.split_at = self.split_after(index, class.objects.saturating_sub(1));
                return;
            }
        }
        let middle = {
            let _mapping = self.mapping.lock(&pinned);
            let first = self.range_start(index);
            let half = merged(first + (index - first) / 2);
            let middle = if half < index {
                Some(half)
            } else {
                (first..index).rev().find(|&below| merged(below) == below)
            };
            if let Some(middle) = middle {
                self.set_range(first, middle, middle);
            }
            middle
        };
        for index in [Some(index), middle].into_iter().flatten() {
            let mut class = self.class(index).lock(&pinned);
            class.split_at =
                if middle.is_some() { self.split_after(index, class.objects) } else { u32::MAX };
        }
    }

    /// Lets the next larger active class take the range of a class that has emptied. Whoever serves
    /// the range now is measured anew, from the objects that it has when it next grows.
    pub(crate) fn dissolve(&self, index: u8) {
        let pinned = self.store.platform.pin();
        {
            let mut class = self.class(index).lock(&pinned);
            if class.objects != 0 {
                return;
            }
            if is_outgrown(class.split_at) {
                class.split_at = UNMEASURED;
            }
            // Cells are for whichever class wants them next; but not in the middle of a sweep over
            // them.
            if class.has_chunks_to_leave()
                && let Some(_compaction) = self.compaction.try_lock()
                && let Some((first, last)) = class.leave_chunks()
            {
                self.store.free_chunks(&pinned, first, last);
            }
        }
        if is_coarse(index) {
            return;
        }
        let heir = {
            let _mapping = self.mapping.lock(&pinned);
            if self.mapped(index) != index {
                return;
            }
            let heir = self.mapped(index + 1);
            self.set_range(self.range_start(index), index, heir);
            heir
        };
        self.class(heir).lock(&pinned).split_at = UNMEASURED;
    }
}
