//! A pool with objects in it, and the counting of what it takes.

use zsmalloc::bench::{Random, Sizes};
use zsmalloc::{Config, Handle, Platform, Pool};

use super::counting::{count, overhead};
use super::words::Words;
use super::{BenchError, Report};
use bale_reclaim::pool::Kernel;

/// Objects that most figures are taken over, unless another number is asked for.
pub(super) const OBJECTS: usize = 8_000;
/// Handles that a ring of a workbench holds.
const RING: usize = 4096;

type Result<T> = core::result::Result<T, BenchError<'static>>;

/// A pool, and the words of the handles of its objects.
pub(super) struct Workbench {
    pub(super) pool: Pool<Kernel>,
    pub(super) words: Words,
    pub(super) sizes: Sizes,
    seed: u64,
    overhead: u32,
}

impl Workbench {
    /// A pool of its own without objects; `count` words.
    #[inline(never)]
    pub(super) fn new(report: &Report, count: usize) -> Result<Self> {
        let overhead = overhead().unwrap_or(0);
        let seed = report.options.seed;
        let words = Words::new(count).ok_or(BenchError::OutOfMemory)?;
        let config = Config { ring_capacity: RING, watermark: RING / 2, ..Config::default() };
        Ok(Self {
            pool: Pool::new(Kernel, config)?,
            words,
            sizes: Sizes::new(seed),
            seed,
            overhead,
        })
    }

    /// With events counted.
    pub(super) fn counting(report: &Report) -> Result<Self> {
        overhead().ok_or(BenchError::NoCounter)?;
        Self::new(report, report.pages(OBJECTS))
    }

    /// With events counted, and an object for each word.
    pub(super) fn filled(report: &Report) -> Result<Self> {
        let mut bench = Self::counting(report)?;
        bench.fill()?;
        Ok(bench)
    }

    /// Makes an object for each word; the sum of their sizes.
    pub(super) fn fill(&mut self) -> Result<u64> {
        let mut bytes = 0;
        for index in 0..self.words.len() {
            let size = self.sizes.next().unwrap_or(1);
            self.words.set(index, self.pool.malloc(size)?.into_raw());
            bytes += size as u64;
        }
        Ok(bytes)
    }

    pub(super) fn random(&self) -> Random {
        Random::new(self.seed + 1)
    }

    pub(super) fn shuffle(&mut self) {
        let mut random = self.random();
        for index in (1..self.words.len()).rev() {
            let other = random.below(index as u64 + 1);
            self.words.swap(index, usize::try_from(other).unwrap_or(0));
        }
    }

    /// Events of `f`, without those of measuring.
    #[inline(always)]
    pub(super) fn count<R>(&self, f: impl FnOnce() -> R) -> (u64, R) {
        count(self.overhead, f)
    }

    /// Sums the events of `f` over the handles of the first `count` words, which are used up. Not
    /// inlined, so that the code around `f`, and with it the count, does not depend on the caller.
    #[inline(never)]
    pub(super) fn each(
        &mut self,
        count: usize,
        f: impl Fn(&Pool<Kernel>, Handle) -> core::result::Result<(), zsmalloc::Error>,
    ) -> Result<u64> {
        let mut sum = 0;
        for index in 0..count {
            let handle = self.handle(index)?;
            let (count, result) = self.count(|| f(&self.pool, handle));
            result?;
            sum += count;
        }
        Ok(sum)
    }

    /// The handle of a word.
    pub(super) fn handle(&mut self, index: usize) -> Result<Handle> {
        Handle::from_raw(self.words.get(index)).ok_or(BenchError::Broken("a word is no handle"))
    }

    /// Hands the first `count` words over in runs of 64 and drains them in batches of a ring.
    /// Events of the pushes and of the drains.
    pub(super) fn push_and_drain(&mut self, count: usize) -> Result<(u64, u64)> {
        let pinned = self.pool.platform().pin();
        let core = zsmalloc::PinnedCore::core(&pinned);
        let (mut pushes, mut drains, mut pushed, mut drained) = (0, 0, 0, 0);
        let mut run = [0; 64];
        while pushed < count {
            let end = count.min(pushed + RING - 256);
            while pushed < end {
                let some = self.words.copy_to(pushed, &mut run).min(end - pushed);
                pushes += self.count(|| self.pool.free_deferred_words(&pinned, &run[..some])).0;
                pushed += some;
            }
            let (taken, report) = self.count(|| self.pool.drain(core, RING));
            drains += taken;
            drained += report.freed;
        }
        if drained != count || self.pool.stats().refused != 0 {
            return Err(BenchError::Broken("the drain did not free what was pushed"));
        }
        Ok((pushes, drains))
    }
}
