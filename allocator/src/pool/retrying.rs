//! Frees that were postponed, tried again.

use super::Pool;
use crate::{error::Error, handle::Key, platform::Platform, postponed::MOST};

impl<P: Platform> Pool<P> {
    /// Frees what had to be postponed, as far as it is not in use any more; how many handles that
    /// were.
    #[inline]
    pub(crate) fn retry_postponed(&self) -> usize {
        match self.store.postponed.count() {
            0 => 0,
            count => self.retry(count),
        }
    }

    #[cold]
    #[inline(never)]
    fn retry(&self, count: usize) -> usize {
        let (mut freed, mut kept) = (0, ([0; MOST], 0));
        for _ in 0..count {
            let Some(key) = self.store.postponed.pop(&self.store.platform.pin()) else { break };
            match self.free_key(key) {
                Ok(()) => freed += 1,
                Err(Error::Busy) if kept.1 < MOST => {
                    kept.0[kept.1] = key.0;
                    kept.1 += 1;
                }
                Err(_) => self.count_refused(),
            }
        }
        for &key in &kept.0[..kept.1] {
            self.postpone_or_refuse(Key(key));
        }
        freed
    }

    /// Keeps a handle whose object is in use for later. Where too many are kept already, it counts
    /// as refused.
    pub(crate) fn postpone_or_refuse(&self, key: Key) {
        if !self.store.postponed.push(&self.store.platform.pin(), key) {
            self.count_refused();
        }
    }
}
