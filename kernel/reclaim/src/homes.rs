//! The home of each ring: the core on which it is drained, and which its drain interrupt goes to.

use core::sync::atomic::{AtomicUsize, Ordering};

use bale_rt::cores::MAX_CORES;

static HOMES: [AtomicUsize; MAX_CORES] = [const { AtomicUsize::new(usize::MAX) }; MAX_CORES];

/// From now on a ring is drained on this core.
pub fn set(ring: usize, home: usize) {
    HOMES[ring].store(home, Ordering::Relaxed);
}

/// The core of the ring is gone: the ring has no home.
pub fn forget(ring: usize) {
    HOMES[ring].store(usize::MAX, Ordering::Relaxed);
}

/// The core to interrupt when a core's ring has passed its watermark: its own while it has no home,
/// where nobody is woken.
pub fn home(ring: usize) -> usize {
    match HOMES[ring].load(Ordering::Relaxed) {
        usize::MAX => ring,
        home => home,
    }
}
