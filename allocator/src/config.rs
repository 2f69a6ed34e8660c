//! How a pool is shaped when it is made.

/// How much of a free is put off, and how it is done later: the rungs by which each part of the
/// design shows what it brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// A free happens at once, and empty zspages go back under the class lock.
    SynchronousInside,
    /// A free happens at once; empty zspages go back after the class lock is dropped.
    SynchronousOutside,
    /// A free happens at once; empty zspages are kept for the drain.
    DeferredRelease,
    /// Handles are queued; the drain takes runs of one class as they come, and a full ring frees
    /// synchronously.
    DeferredRuns,
    /// Handles are queued; the drain sorts a batch by class, and a full ring frees synchronously.
    DeferredBuckets,
    /// Handles are queued, sorted by class, and a producer with a full ring drains a batch itself.
    DeferredHelp,
}

/// Shape of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Handles in the ring of each core, a power of two of at least 128 and at most 65,536; 0 turns
    /// deferral off.
    pub ring_capacity: usize,
    /// Pending handles at which a push raises the drain interrupt; at most half the capacity.
    pub watermark: usize,
    /// Most pages that zspages may hold.
    pub page_limit: usize,
    /// Most pages in a zspage, 1 to 16.
    pub chain: usize,
    /// Which part of the design is used.
    pub rung: Rung,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ring_capacity: 4096,
            watermark: 1024,
            page_limit: usize::MAX,
            chain: 16,
            rung: Rung::DeferredHelp,
        }
    }
}

impl Config {
    /// A shape for a machine whose pool may grow to `bytes`: the rings together hold an eighth of
    /// the objects such a pool has (of two to a page), within 1,024 to 65,536 handles for each
    /// core.
    pub fn for_memory(cores: usize, bytes: u64) -> Self {
        let pages = usize::try_from(bytes / crate::PAGE_SIZE as u64).unwrap_or(usize::MAX);
        let share = (pages / 4 / cores.max(1)).clamp(1024, 65_536);
        let ring_capacity =
            if share.is_power_of_two() { share } else { share.next_power_of_two() / 2 };
        Self { ring_capacity, watermark: ring_capacity / 4, page_limit: pages, ..Self::default() }
    }
}
