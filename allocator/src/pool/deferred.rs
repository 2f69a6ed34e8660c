//! The deferred free, as the pool's users see it.

use crate::{
    deferred::{
        drain::{DrainReport, HELP},
        ring::{By, LINE, Pushed, Ring},
    },
    error::Error,
    handle::{Handle, Key},
    platform::{PinnedCore, Platform},
    pool::Pool,
    sync::{Ordering, relax},
};

/// Most handles that an allocation in need frees before it is tried again.
const NEED: usize = 256;
/// How often an allocation in need looks whether somebody else has ended a batch: longer than the
/// largest batch takes.
const PATIENCE: u32 = 1 << 16;

/// What an allocation in need still hopes for.
pub(super) struct Need {
    /// Handles that were pending when it began, and are not known to be freed.
    left: Option<u64>,
    patience: u32,
}

impl Default for Need {
    fn default() -> Self {
        Self { left: None, patience: PATIENCE }
    }
}

impl<P: Platform> Pool<P> {
    /// Hands an object over to be freed soon. Legal in a task with interrupts masked and in an
    /// interrupt handler.
    ///
    /// No lock, no atomic read-modify-write, no fence but where the watermark is crossed. A handle
    /// that turns out to be stale is counted by the drain.
    #[inline]
    pub fn free_deferred(&self, pinned: &P::Pinned<'_>, handle: Handle) {
        let word = handle.into_raw();
        if !self.own_ring(pinned).push(word) {
            self.free_deferred_slow(pinned, word);
        }
    }

    /// Hands many objects over, with one publish for each cache line of eight.
    #[inline]
    pub fn free_deferred_many(
        &self,
        pinned: &P::Pinned<'_>,
        handles: impl IntoIterator<Item = Handle>,
    ) {
        let mut words = [0; LINE];
        let mut count = 0;
        for handle in handles {
            // The count is less than a line; the remainder spares the check of bounds.
            words[count % LINE] = handle.into_raw();
            count += 1;
            if count == LINE {
                self.free_deferred_words(pinned, &words);
                count = 0;
            }
        }
        self.free_deferred_words(pinned, &words[..count]);
    }

    /// Hands many objects over, given as the words of their handles ([`Handle::into_raw`]; bits 47
    /// and up may hold anything). This is the cheapest way; a word that is no live handle is
    /// counted as refused when the drain comes to it.
    #[inline]
    pub fn free_deferred_words(&self, pinned: &P::Pinned<'_>, mut words: &[u64]) {
        let ring = self.own_ring(pinned);
        loop {
            words = ring.push_run(words);
            // The run ended at a stop, or there are no more words.
            let Some((&word, rest)) = words.split_first() else { return };
            self.free_deferred_slow(pinned, word);
            words = rest;
        }
    }

    #[cold]
    #[inline(never)]
    fn free_deferred_slow(&self, pinned: &P::Pinned<'_>, word: u64) {
        if !self.defers() {
            return self.free_counted(word);
        }
        let core = pinned.core();
        let ring = self.ring(core);
        let helps = self.config.rung == crate::Rung::DeferredHelp;
        loop {
            // A producer that can help leaves the reserve to those who cannot.
            let mut pushed = ring.push_slow(word, false);
            if pushed == Pushed::Full {
                if helps
                    && !pinned.in_interrupt()
                    && self.drain_ring(ring, HELP, By::Helper).freed != 0
                {
                    continue;
                }
                pushed = ring.push_slow(word, helps);
            }
            match pushed {
                Pushed::Stored => {}
                Pushed::Wake => self.store.platform.wake_drain(core),
                Pushed::Full => {
                    ring.count_synchronous();
                    self.free_counted(word);
                }
            }
            return;
        }
    }

    fn free_counted(&self, word: u64) {
        match self.free_key(Key(word)) {
            Ok(()) => {}
            Err(Error::Busy) => self.postpone_or_refuse(Key(word)),
            Err(_) => self.count_refused(),
        }
    }

    pub(crate) fn count_refused(&self) {
        // Relaxed: a count of misuse, off every fast path.
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// One step of the drain task of `core`: frees up to `budget` handles. Several tasks may drain,
    /// on any rings; where one is at a ring already, or there is no such core, the step does
    /// nothing.
    pub fn drain(&self, core: usize, budget: usize) -> DrainReport {
        self.release_parked();
        self.retry_postponed();
        self.used_ring(core)
            .map_or_else(DrainReport::default, |ring| self.drain_ring(ring, budget, By::Task))
    }

    /// Empties every ring that nobody else is at of what is in it now; how many handles and parked
    /// pages that were. For a moment of need; not in an interrupt handler.
    pub fn flush(&self) -> usize {
        let parked = self.release_parked() + self.retry_postponed();
        // Not more than there is: a core that goes on freeing could keep this from an end.
        parked
            + self
                .used_rings()
                .map(|ring| self.drain_ring(ring, count(ring.pending().1), By::Flush).freed)
                .sum::<usize>()
    }

    /// Has some of what is in the rings freed, for an allocation that asks again then, and comes
    /// back if that was not enough: so it pays for what it needs, not for all that is pending.
    /// Waits a bounded time for whoever is at a ring already. `false` if nothing that was pending
    /// when the need arose is left, or nothing moves.
    #[cold]
    #[inline(never)]
    pub(super) fn drain_in_need(&self, need: &mut Need) -> bool {
        if self.release_parked() + self.retry_postponed() != 0 {
            return true;
        }
        let left =
            *need.left.get_or_insert_with(|| self.used_rings().map(|ring| ring.pending().1).sum());
        if left == 0 {
            return false;
        }
        let freed = self.used_rings().find_map(|ring| {
            let freed = self.drain_ring(ring, NEED, By::Flush).freed;
            (freed != 0).then_some(freed as u64)
        });
        // Where none can be taken, all that is pending is at hand already: somebody else's batch
        // ends soon.
        let moved = freed.or_else(|| self.wait_for_others(&mut need.patience));
        need.left = Some(moved.map_or(0, |moved| left.saturating_sub(moved)));
        moved.is_some()
    }

    /// Waits until a batch that somebody else has at hand comes to its end; how many handles that
    /// were. `None` if there is none, or patience ends.
    fn wait_for_others(&self, patience: &mut u32) -> Option<u64> {
        self.used_rings().find_map(|ring| {
            let (start, pending) = ring.pending();
            while pending != 0 && *patience != 0 {
                let moved = ring.pending().0 - start;
                if moved != 0 {
                    return Some(moved);
                }
                *patience -= 1;
                relax();
            }
            None
        })
    }

    /// Empties the ring of a core that is going offline, and on which nobody frees any more; how
    /// many handles that were. Afterwards nothing of that core is on its way; when it comes back
    /// its ring is as it was.
    ///
    /// # Errors
    /// [`Error::Busy`] while somebody else is in the middle of a batch of that ring: let them run,
    /// and ask again.
    pub fn retire_core(&self, core: usize) -> Result<usize, Error> {
        let Some(ring) = self.used_ring(core) else { return Ok(0) };
        let freed = self.drain_ring(ring, usize::MAX, By::Flush).freed;
        // A batch counts as pending until its objects are freed and its pages back.
        if ring.pending().1 == 0 { Ok(freed) } else { Err(Error::Busy) }
    }

    /// Whether no handle and no page waits for a drain, and no step of compaction is under way.
    /// Then every page that earlier deferred frees emptied is back. Synchronous frees that are
    /// under way are not asked for, nor what a drain has at hand of pages that were parked
    /// ([`Rung::DeferredRelease`](crate::Rung)). Beside it [`Pool::isolate`] may be refused, and a
    /// step of compaction do nothing.
    pub fn is_quiet(&self) -> bool {
        self.used_rings().all(|ring| ring.pending().1 == 0)
            && self.parks_nothing()
            && self.store.postponed.count() == 0
            // Behind the rings: compaction that begins later finds what they have freed gone.
            && self.compaction.try_lock().is_some()
    }

    /// The drain task of `core` says that it is about to sleep. `false` if it must not, since the
    /// watermark was passed meanwhile; after `true` the interrupt is raised by the push that passes
    /// the watermark, or, where the ring was above it when the drain began, by one at most a
    /// quarter of the watermark later.
    pub fn prepare_sleep(&self, core: usize) -> bool {
        self.used_ring(core).is_none_or(Ring::prepare_sleep)
    }

    /// Whether a timer is to wake the drain task of `core`: something has been pending for `age`
    /// ticks of [`Platform::now`], give or take one period of that timer, or an eighth of `age`
    /// less. A drain that leaves some does not change the age of those. Also while a free is
    /// postponed whose object was in use. Any core may call it, one timer for each ring.
    pub fn needs_drain(&self, core: usize, now: u64, age: u64) -> bool {
        self.used_ring(core)
            .is_some_and(|ring| ring.is_overdue(now, age) || self.store.postponed.count() != 0)
    }

    /// Age of the oldest pending handle of `core` as [`Pool::needs_drain`] saw it, in ticks; `None`
    /// if nothing is pending or none was seen.
    pub fn oldest_pending(&self, core: usize) -> Option<u64> {
        let since = self.used_ring(core)?.oldest()?;
        Some(self.store.platform.now().saturating_sub(since))
    }

    /// Handles pending in the ring of `core`.
    pub fn pending(&self, core: usize) -> usize {
        self.used_ring(core).map_or(0, |ring| count(ring.pending().1))
    }
}

/// A number of words in a ring, which is at most its capacity.
fn count(words: u64) -> usize {
    usize::try_from(words).unwrap_or(usize::MAX)
}
