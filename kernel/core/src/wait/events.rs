//! Event flags: 32 bits, and tasks that wait for some of them.

use super::priorities::Priorities;
use super::set::{TASKS, WaitSet};

/// What a task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The flags that count.
    pub flags: u32,
    /// All of them, not just any.
    pub all: bool,
    /// The flags are cleared once the wait is over.
    pub clear: bool,
}

impl Wanted {
    const NOTHING: Self = Self { flags: 0, all: false, clear: false };

    /// The wanted ones among `set`, if they are enough.
    fn among(self, set: u32) -> Option<u32> {
        let found = set & self.flags;
        let enough = if self.all { found == self.flags } else { found != 0 };
        enough.then_some(found)
    }
}

/// Flags and waiters.
#[derive(Debug)]
pub struct Events {
    flags: u32,
    waiters: WaitSet,
    wanted: [Wanted; TASKS],
    /// What a served waiter was woken by.
    found: [u32; TASKS],
}

impl Events {
    /// No flag is set.
    pub const fn new() -> Self {
        Self {
            flags: 0,
            waiters: WaitSet::new(),
            wanted: [Wanted::NOTHING; TASKS],
            found: [0; TASKS],
        }
    }

    /// The flags that are set.
    pub const fn flags(&self) -> u32 {
        self.flags
    }

    /// The flags that a task wants, if they are there: cleared if it wants that.
    pub fn take(&mut self, wanted: Wanted) -> Option<u32> {
        let found = wanted.among(self.flags)?;
        if wanted.clear {
            self.flags &= !found;
        }
        Some(found)
    }

    /// A task that did not find what it wants begins to wait.
    pub fn wait(&mut self, task: usize, wanted: Wanted, priorities: &mut Priorities) {
        priorities.queue(task);
        self.wanted[task] = wanted;
        self.waiters.insert(task);
    }

    /// Sets flags. Every waiter that finds what it wants is served and must be woken, as
    /// [`Priorities::best`] orders them; all see the flags as they are before any of them clears
    /// some.
    pub fn set(&mut self, flags: u32) -> WaitSet {
        self.flags |= flags;
        let (mut served, mut cleared) = (WaitSet::new(), 0);
        for task in self.waiters.iter() {
            let wanted = self.wanted[task];
            if let Some(found) = wanted.among(self.flags) {
                self.found[task] = found;
                cleared |= if wanted.clear { found } else { 0 };
                served.insert(task);
                self.waiters.remove(task);
            }
        }
        self.flags &= !cleared;
        served
    }

    /// Clears flags.
    pub const fn clear(&mut self, flags: u32) {
        self.flags &= !flags;
    }

    /// What a waiter was served with; `None` while it still waits.
    pub const fn served(&self, task: usize) -> Option<u32> {
        if self.waiters.contains(task) { None } else { Some(self.found[task]) }
    }

    /// A waiter gives up; `false` if it was served meanwhile.
    pub const fn cancel(&mut self, task: usize) -> bool {
        self.waiters.remove(task)
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}
