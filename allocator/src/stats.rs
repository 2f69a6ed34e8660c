//! What the pool can tell about itself.
//!
//! Every counter has one writer, or is guarded by a class's lock. A snapshot reads the counters of
//! taken-out handles before the ring's indexes, so it never shows more drained than enqueued; when
//! the pool is quiet, `enqueued = drained + helped + flushed + pending` exactly.

use crate::{
    platform::{PAGE_SIZE, Platform},
    pool::Pool,
    size_class::{CLASSES, class_size},
};

/// Figures of the whole pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Live objects, pending ones among them.
    pub objects: u64,
    /// Bytes of the live objects, each counted as its class's size.
    pub object_bytes: u64,
    /// Objects that the zspages could hold.
    pub capacity: u64,
    /// Zspages.
    pub zspages: u64,
    /// Pages of zspages.
    pub pages: u64,
    /// Pages of metadata: classes, cells, descriptors, directories.
    pub metadata_pages: u64,
    /// Pages of the deferred rings and their table.
    pub ring_pages: u64,
    /// Handles put into rings.
    pub enqueued: u64,
    /// Handles that drain tasks took out.
    pub drained: u64,
    /// Handles that producers with a full ring took out.
    pub helped: u64,
    /// Handles taken out in need, or by [`Pool::flush`].
    pub flushed: u64,
    /// Handles in the rings.
    pub pending: u64,
    /// Bytes of the objects in the rings; `None` if a ring did not stand still for long enough to
    /// add them up.
    pub pending_bytes: Option<u64>,
    /// Most handles that were seen in one ring.
    pub most_pending: u64,
    /// Handles that were freed at once since the ring was full and nothing else served.
    pub synchronous: u64,
    /// Handles that turned out to be stale or foreign when their turn came, or whose object
    /// somebody would not let go of: not freed.
    pub refused: u64,
    /// Drain interrupts raised.
    pub interrupts: u64,
    /// Class locks taken by drains, helpers and flushes.
    pub batch_locks: u64,
    /// Objects moved by compaction.
    pub moved: u64,
    /// Pages given back by compaction.
    pub compacted_pages: u64,
}

/// Figures of one size class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassStats {
    /// Size of the objects in bytes.
    pub size: usize,
    /// Live objects.
    pub objects: u64,
    /// Objects that the zspages could hold.
    pub capacity: u64,
    /// Zspages.
    pub zspages: u64,
    /// Pages of zspages.
    pub pages: u64,
}

impl<P: Platform> Pool<P> {
    /// Figures of the whole pool; class by class, so that no lock is held for long.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        for index in 0..=u8::MAX {
            let pinned = self.store.platform.pin();
            let class = self.class(index).lock(&pinned);
            stats.objects += u64::from(class.objects);
            stats.object_bytes += u64::from(class.objects) * class_size(index.into()) as u64;
            stats.capacity += u64::from(class.capacity);
            stats.zspages += u64::from(class.zspages);
            stats.batch_locks += class.batches;
            stats.moved += class.moved;
            stats.compacted_pages += class.compacted;
        }
        stats.pages = self.pages() as u64;
        stats.metadata_pages =
            (self.class_frames() + self.store.frames(&self.store.platform.pin())) as u64;
        stats.ring_pages = self.ring_frames() as u64;
        stats.pending_bytes = Some(0);
        stats.refused = self.refused_synchronously();
        for ring in self.used_rings() {
            let counts = ring.counts();
            stats.enqueued += counts.enqueued;
            stats.drained += counts.by_task;
            stats.helped += counts.by_helper;
            stats.flushed += counts.by_flush;
            stats.refused += counts.refused;
            stats.interrupts += counts.interrupts;
            stats.synchronous += counts.synchronous;
            stats.most_pending = stats.most_pending.max(counts.most);
            let bytes = self.pending_bytes(ring);
            stats.pending_bytes = stats.pending_bytes.zip(bytes).map(|(sum, bytes)| sum + bytes);
        }
        stats.pending = stats.enqueued - stats.drained - stats.helped - stats.flushed;
        stats
    }

    /// Figures of class `index`, or `None` if there is no such class.
    pub fn class_stats(&self, index: usize) -> Option<ClassStats> {
        let name = u8::try_from(index).ok().filter(|_| index < CLASSES)?;
        let pinned = self.store.platform.pin();
        let class = self.class(name).lock(&pinned);
        Some(ClassStats {
            size: class_size(index),
            objects: u64::from(class.objects),
            capacity: u64::from(class.capacity),
            zspages: u64::from(class.zspages),
            pages: u64::from(class.pages),
        })
    }

    /// Bytes that the pool takes in all.
    pub fn footprint(&self) -> u64 {
        let stats = self.stats();
        (stats.pages + stats.metadata_pages + stats.ring_pages) * PAGE_SIZE as u64
    }
}
