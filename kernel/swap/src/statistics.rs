//! What a device counts.
//!
//! The counters of a core have one writer, with interrupts masked, so that counting takes no atomic
//! read-modify-write; cores beyond the first sixteen share theirs, and pay for one. A snapshot is
//! exact when the device is at rest.

use core::sync::atomic::{AtomicU64, Ordering};

use zsmalloc::{PinnedCore, Platform};

use crate::slot::{KINDS, Kind};

const CORES: usize = 16;

/// Figures of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Slots that hold something.
    pub stored: u64,
    /// Of them, slots whose page is one word over and over: they have no object.
    pub same_filled: u64,
    /// Of them, slots whose page is stored as it is, since it does not compress.
    pub raw: u64,
    /// Of them, slots whose object the second codec made.
    pub recompressed: u64,
    /// Of them, slots whose page is on the backing device.
    pub backed: u64,
    /// Bytes of the stored objects, each at its own length.
    pub compressed_bytes: u64,
    /// What they may become.
    pub quota_bytes: u64,
    /// What of it others leave to the device.
    pub reserve_bytes: u64,
    /// The most that they ever were, or since the peak was forgotten.
    pub peak_bytes: u64,
    /// Pages written.
    pub writes: u64,
    /// Pages read, empty slots among them.
    pub reads: u64,
    /// Writes that were refused.
    pub failed_writes: u64,
    /// Reads that were refused.
    pub failed_reads: u64,
    /// Slots emptied by a release.
    pub released: u64,
    /// Pages that were stored as they are, also those that are gone again.
    pub raw_ever: u64,
    /// Pages that were written over what their slots held, since there was no room beside it.
    pub written_over: u64,
    /// Pages that the second codec made smaller.
    pub recompressions: u64,
    /// Pages that it was tried on in vain.
    pub without_gain: u64,
    /// Reads that found something else than what was stored.
    pub corrupt: u64,
    /// Reads whose checksum was just being changed.
    pub unchecked: u64,
    /// Objects that the pool did not know any more when they were to be freed: not 0 means that the
    /// table of slots was damaged.
    pub lost: u64,
}

impl Statistics {
    /// All zero.
    pub const fn new() -> Self {
        Self {
            stored: 0,
            same_filled: 0,
            raw: 0,
            recompressed: 0,
            backed: 0,
            compressed_bytes: 0,
            quota_bytes: 0,
            reserve_bytes: 0,
            peak_bytes: 0,
            writes: 0,
            reads: 0,
            failed_writes: 0,
            failed_reads: 0,
            released: 0,
            raw_ever: 0,
            written_over: 0,
            recompressions: 0,
            without_gain: 0,
            corrupt: 0,
            unchecked: 0,
            lost: 0,
        }
    }
}

/// What is counted, behind the slots of each [`Kind`]; those and the bytes go up and down and wrap
/// in a core's own counters, only their sum has a meaning.
#[derive(Clone, Copy)]
#[repr(usize)]
pub(crate) enum Event {
    Bytes = KINDS,
    Writes,
    Reads,
    FailedWrites,
    FailedReads,
    Released,
    RawEver,
    WrittenOver,
    Recompressed,
    NoGain,
    Corrupt,
    Unchecked,
    Lost,
}

/// The events from this one on are no gauges: they only grow.
const GROWING: usize = Event::Writes as usize;
/// Room for all of them: a power of two, so that a remainder is a mask.
const ROOM: usize = 32;
const _: () = assert!((Event::Lost as usize) < ROOM);

#[repr(align(128))]
struct PerCore([AtomicU64; ROOM]);

/// A core's counters, for that core alone.
#[derive(Clone, Copy)]
pub(crate) struct Pen<'c> {
    counters: &'c [AtomicU64; ROOM],
    alone: bool,
}

impl Pen<'_> {
    /// Adds to a counter; amounts wrap, so a negative one is a two's complement.
    #[inline(always)]
    pub(crate) fn add(self, event: Event, amount: u64) {
        self.add_at(event as usize, amount);
    }

    /// Adds to the number of slots of a kind.
    #[inline(always)]
    pub(crate) fn add_slots(self, kind: Kind, amount: u64) {
        self.add_at(kind as usize, amount);
    }

    #[inline(always)]
    fn add_at(self, place: usize, amount: u64) {
        // All places are below: the remainder only says so.
        let counter = &self.counters[place % ROOM];
        // Relaxed: statistics; nothing is reached through them. Without a second writer a load and
        // a store lose nothing.
        if self.alone {
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
        } else {
            counter.fetch_add(amount, Ordering::Relaxed);
        }
    }
}

/// The counters of a device.
pub(crate) struct Counters([PerCore; CORES]);

impl Counters {
    pub(crate) const fn new() -> Self {
        Self([const { PerCore([const { AtomicU64::new(0) }; ROOM]) }; CORES])
    }

    /// Changes some counters of this core.
    #[inline(always)]
    pub(crate) fn edit<P: Platform>(&self, platform: &P, edits: impl FnOnce(Pen<'_>)) {
        let pinned = platform.pin();
        edits(Pen { counters: &self.0[pinned.core() % CORES].0, alone: platform.cores() <= CORES });
    }

    /// Sets to 0 what only grows. Exact when the device is at rest.
    pub(crate) fn forget(&self) {
        for counter in self.0.iter().flat_map(|core| &core.0[GROWING..]) {
            // Relaxed: as in `Pen::add`.
            counter.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn snapshot(&self) -> Statistics {
        // Relaxed: as in `Pen::add`.
        let sum_at = |place: usize| {
            self.0
                .iter()
                .fold(0u64, |sum, core| sum.wrapping_add(core.0[place].load(Ordering::Relaxed)))
        };
        let sum = |event: Event| sum_at(event as usize);
        // A gauge whose fall was seen before its rise shows 0.
        let gauge = |place| u64::try_from(sum_at(place).cast_signed()).unwrap_or(0);
        let kind = |kind: Kind| gauge(kind as usize);
        Statistics {
            stored: (Kind::Same as usize..KINDS).map(gauge).sum(),
            same_filled: kind(Kind::Same),
            raw: kind(Kind::Raw),
            recompressed: kind(Kind::Recompressed),
            backed: kind(Kind::Backed),
            quota_bytes: 0,
            reserve_bytes: 0,
            peak_bytes: 0,
            compressed_bytes: gauge(Event::Bytes as usize),
            writes: sum(Event::Writes),
            reads: sum(Event::Reads),
            failed_writes: sum(Event::FailedWrites),
            failed_reads: sum(Event::FailedReads),
            released: sum(Event::Released),
            raw_ever: sum(Event::RawEver),
            written_over: sum(Event::WrittenOver),
            recompressions: sum(Event::Recompressed),
            without_gain: sum(Event::NoGain),
            corrupt: sum(Event::Corrupt),
            unchecked: sum(Event::Unchecked),
            lost: sum(Event::Lost),
        }
    }
}
