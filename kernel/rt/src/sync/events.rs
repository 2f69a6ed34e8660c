//! Event flags.

use bale_arch::mask::Masked;
use bale_core::wait::{self, Wanted};
use heapless::Vec;

use super::{Lock, wait_until};
use crate::task::{self, PRIORITIES};

/// Tasks woken in one stretch with interrupts masked.
const BATCH: usize = 6;

/// 32 flags that tasks wait for, and that tasks and interrupt handlers set.
pub struct Events(Lock<wait::Events>);

impl Events {
    /// No flag is set.
    pub const fn new() -> Self {
        Self(Lock::new(wait::Events::new()))
    }

    /// The flags that are set.
    pub fn flags(&self) -> u32 {
        self.0.lock().flags()
    }

    /// Waits for the wanted flags; those that were found.
    ///
    /// # Panics
    /// If it would have to wait where nothing may: in an interrupt handler, under a lock, in an
    /// idle task.
    pub fn wait(&self, wanted: Wanted) -> u32 {
        loop {
            if let Some(found) = self.wait_for(wanted, None) {
                return found;
            }
        }
    }

    /// As [`Events::wait`], but not beyond `deadline` of the clock: `None` then.
    ///
    /// # Panics
    /// As [`Events::wait`].
    pub fn wait_until(&self, wanted: Wanted, deadline: u64) -> Option<u32> {
        self.wait_for(wanted, Some(deadline))
    }

    fn wait_for(&self, wanted: Wanted, deadline: Option<u64>) -> Option<u32> {
        let me = task::waiting_index();
        {
            let mut state = self.0.lock();
            if let Some(found) = state.take(wanted) {
                return Some(found);
            }
            state.wait(me, wanted, &mut PRIORITIES.lock());
        }
        if !wait_until(deadline, || self.0.lock().served(me).is_some()) && self.0.lock().cancel(me)
        {
            return None;
        }
        self.0.lock().served(me)
    }

    /// Sets flags and wakes every task that finds what it wants, the most urgent first. From any
    /// context.
    pub fn set(&self, flags: u32) {
        let mut served = self.0.lock().set(flags);
        while !served.is_empty() {
            let mut batch: Vec<usize, BATCH> = Vec::new();
            while let Some(task) = PRIORITIES.lock().best(served).filter(|_| !batch.is_full()) {
                served.remove(task);
                let _ = batch.push(task);
            }
            // Masked over all of them: were an interrupt taken between two, a task below the second
            // could run first.
            let masked = Masked::new();
            batch.iter().for_each(|task| task::wake_index(*task, &masked));
        }
        task::switch_if_asked();
    }

    /// Clears flags.
    pub fn clear(&self, flags: u32) {
        self.0.lock().clear(flags);
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}
