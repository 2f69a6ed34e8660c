//! A set of tasks.

/// Tasks at most: a set is one word.
pub const TASKS: usize = 64;

/// Tasks that wait for one thing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WaitSet(u64);

impl WaitSet {
    /// Nobody.
    pub const fn new() -> Self {
        Self(0)
    }

    /// Whether nobody waits.
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this task waits.
    pub const fn contains(self, task: usize) -> bool {
        self.0 & Self::bit(task) != 0
    }

    /// Adds a task.
    pub const fn insert(&mut self, task: usize) {
        self.0 |= Self::bit(task);
    }

    /// Takes a task out; whether it was in.
    pub const fn remove(&mut self, task: usize) -> bool {
        let was = self.contains(task);
        self.0 &= !Self::bit(task);
        was
    }

    /// The tasks, the lowest index first.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let task = rest.trailing_zeros() as usize;
            (rest != 0).then(|| {
                rest &= rest - 1;
                task
            })
        })
    }

    const fn bit(task: usize) -> u64 {
        1 << (task % TASKS)
    }
}
