//! Each core's own frames: most requests are one number taken from, or put on, a stack that no
//! other core looks at.
//!
//! A core fills and empties its stack by bundles of [`BUNDLE`] frames, under one hold of the common
//! lock. Lock order: a core's cache, then the common allocator. A core that finds both empty takes
//! from another core's stack, holding one cache's lock at a time. The locks are uncontended but for
//! that.

use bale_arch::mask::{self, MAX_CORES};
use heapless::Vec;

use super::FRAMES;
use super::bundle::{BUNDLE, Bundle};
use crate::lock::Lock;

/// Frames that a core keeps at most.
const CAPACITY: usize = 2 * BUNDLE;

/// A stack of frames' numbers.
struct Cache {
    count: usize,
    numbers: [u32; CAPACITY],
}

#[repr(align(256))]
struct Slot(Lock<Cache>);

static CACHES: [Slot; MAX_CORES] =
    [const { Slot(Lock::new(Cache { count: 0, numbers: [0; CAPACITY] })) }; MAX_CORES];

impl Cache {
    #[inline]
    fn pop(&mut self) -> Option<u32> {
        self.count = self.count.checked_sub(1)?;
        Some(self.numbers[self.count % CAPACITY])
    }

    /// Puts numbers on the stack, which has room for them.
    fn extend(&mut self, numbers: &[u32]) {
        self.numbers[self.count..self.count + numbers.len()].copy_from_slice(numbers);
        self.count += numbers.len();
    }

    #[cold]
    #[inline(never)]
    fn spill(&mut self) {
        let (rest, bundle) = self.numbers.split_at(CAPACITY - BUNDLE);
        if let Ok(bundle) = Bundle::try_from(bundle) {
            FRAMES.lock().put(&bundle);
            self.count = rest.len();
        }
    }
}

fn own() -> &'static Lock<Cache> {
    &CACHES[mask::core_index() % MAX_CORES].0
}

/// A frame's number from this core's stack, the common lists, or another core.
#[inline]
pub(super) fn take() -> Option<u32> {
    if let Some(number) = own().lock().pop() {
        return Some(number);
    }
    refill()
}

#[cold]
#[inline(never)]
fn refill() -> Option<u32> {
    {
        let mut cache = own().lock();
        // Another task of this core may have given frames back since: a bundle fits an empty stack
        // only.
        if cache.count == 0 {
            let mut bundle = [0; BUNDLE];
            let count = FRAMES.lock().take(&mut bundle);
            cache.extend(&bundle[..count]);
        }
        if let Some(number) = cache.pop() {
            return Some(number);
        }
    }
    CACHES.iter().find_map(|other| other.0.lock().pop())
}

/// Puts frames' numbers on this core's stack; what is too much goes to the common lists.
#[inline]
pub(super) fn put(numbers: &[u32]) {
    // A bounded number under one hold.
    for some in numbers.chunks(BUNDLE) {
        let mut cache = own().lock();
        if cache.count + some.len() > CAPACITY {
            if cache.count < CAPACITY {
                // Fill up first, so that what is spilled is a whole bundle from the top.
                let (now, rest) = some.split_at(CAPACITY - cache.count);
                cache.extend(now);
                cache.spill();
                cache.extend(rest);
                continue;
            }
            cache.spill();
        }
        cache.extend(some);
    }
}

/// Gives up what is on all cores' stacks.
pub(super) fn empty_all(mut take: impl FnMut(u32)) {
    for slot in &CACHES {
        let numbers: Vec<u32, CAPACITY> = {
            let mut cache = slot.0.lock();
            let count = core::mem::take(&mut cache.count);
            cache.numbers[..count].iter().copied().collect()
        };
        numbers.into_iter().for_each(&mut take);
    }
}

/// Frames on all cores' stacks.
pub(super) fn count() -> usize {
    CACHES.iter().map(|cache| cache.0.lock().count).sum()
}
