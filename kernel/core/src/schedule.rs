//! The scheduler's queues: which task runs next on a core, and which wakes next; and how long a
//! task runs beside equals.
//!
//! All are plain values over task indexes; the executive locks them.

#![expect(
    clippy::cast_possible_truncation,
    reason = "priorities are below 32, task indexes below u16::MAX"
)]

/// Priorities: 0 runs last.
pub const PRIORITIES: usize = 32;
/// End of a list.
const NONE: u16 = u16::MAX;

/// Ready tasks of one core: a list for each priority, first in, first out but for
/// [`ReadyQueue::push_first`]; all in O(1) but [`ReadyQueue::remove`].
///
/// # Invariants
/// Bit `p` of `occupied` is set exactly when list `p` is not empty. A task is in at most one list.
#[derive(Debug)]
pub struct ReadyQueue<const TASKS: usize> {
    occupied: u32,
    head: [u16; PRIORITIES],
    tail: [u16; PRIORITIES],
    next: [u16; TASKS],
}

impl<const TASKS: usize> ReadyQueue<TASKS> {
    /// No task is ready.
    pub const fn new() -> Self {
        Self {
            occupied: 0,
            head: [NONE; PRIORITIES],
            tail: [NONE; PRIORITIES],
            next: [NONE; TASKS],
        }
    }

    /// Appends a task that is in no list.
    pub fn push(&mut self, task: u16, priority: u8) {
        let list = usize::from(priority) % PRIORITIES;
        self.next[usize::from(task) % TASKS] = NONE;
        if self.occupied & (1 << list) == 0 {
            self.head[list] = task;
            self.occupied |= 1 << list;
        } else {
            self.next[usize::from(self.tail[list]) % TASKS] = task;
        }
        self.tail[list] = task;
    }

    /// Puts a task that is in no list before all others of its priority.
    pub fn push_first(&mut self, task: u16, priority: u8) {
        let list = usize::from(priority) % PRIORITIES;
        if self.occupied & (1 << list) == 0 {
            return self.push(task, priority);
        }
        self.next[usize::from(task) % TASKS] = self.head[list];
        self.head[list] = task;
    }

    /// Priority of the task that [`ReadyQueue::pop`] would return.
    pub fn highest(&self) -> Option<u8> {
        self.occupied.checked_ilog2().map(|list| list as u8)
    }

    /// Takes the first task of the highest priority, and says which that is.
    pub fn pop(&mut self) -> Option<(u16, u8)> {
        let priority = self.highest()?;
        let list = usize::from(priority);
        let task = self.head[list];
        self.head[list] = self.next[usize::from(task) % TASKS];
        if self.head[list] == NONE {
            self.occupied &= !(1 << list);
        }
        Some((task, priority))
    }

    /// As [`ReadyQueue::pop`], if the priority is `least` or higher.
    #[inline]
    pub fn pop_from(&mut self, least: u8) -> Option<(u16, u8)> {
        if self.highest()? < least { None } else { self.pop() }
    }

    /// Takes a task out of the list of this priority; false if it is not there. Linear in the
    /// list's length.
    pub fn remove(&mut self, task: u16, priority: u8) -> bool {
        let list = usize::from(priority) % PRIORITIES;
        if self.occupied & (1 << list) == 0 {
            return false;
        }
        if self.head[list] == task {
            self.head[list] = self.next[usize::from(task) % TASKS];
            if self.head[list] == NONE {
                self.occupied &= !(1 << list);
            }
            return true;
        }
        let mut before = self.head[list];
        while self.next[usize::from(before) % TASKS] != NONE {
            if self.next[usize::from(before) % TASKS] == task {
                self.next[usize::from(before) % TASKS] = self.next[usize::from(task) % TASKS];
                if self.tail[list] == task {
                    self.tail[list] = before;
                }
                return true;
            }
            before = self.next[usize::from(before) % TASKS];
        }
        false
    }
}

impl<const TASKS: usize> Default for ReadyQueue<TASKS> {
    fn default() -> Self {
        Self::new()
    }
}

/// What a task has left of its slice, in one word. It passes only while the task runs and an equal
/// waits, so there are three kinds: whole; one that passes, by its end; and one that stands still,
/// by its length and [`Slice::STANDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice(u64);

impl Slice {
    const STANDS: u64 = 1 << 63;
    /// All of it.
    pub const WHOLE: Self = Self(0);

    /// What [`Slice::raw`] gave.
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// As a word.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Lets it pass from now on, if it did not; a whole one is `length` long.
    #[must_use]
    pub fn begin(self, now: impl FnOnce() -> u64, length: u64) -> Self {
        match self.0 {
            // The counter does not come to its end, and both lengths are milliseconds.
            0 => Self(now().wrapping_add(length)),
            left if left & Self::STANDS != 0 => Self(now().wrapping_add(left & !Self::STANDS)),
            _ => self,
        }
    }

    /// When it ends, if it passes.
    pub const fn end(self) -> Option<u64> {
        if self.0 == 0 || self.0 & Self::STANDS != 0 { None } else { Some(self.0) }
    }

    /// Whether it has passed.
    pub const fn is_over(self, now: u64) -> bool {
        // One that stands still is later than any moment.
        self.0 != 0 && self.0 <= now
    }

    /// Lets it stand still; `None` if it is over. Asks for the time only if it passes.
    pub fn stop(self, now: impl FnOnce() -> u64) -> Option<Self> {
        let Some(end) = self.end() else { return Some(self) };
        let left = end.saturating_sub(now());
        (left != 0).then_some(Self(left | Self::STANDS))
    }
}

/// Deadlines of one core's sleeping tasks, the nearest first. Insertion is linear in the number of
/// sleepers.
#[derive(Debug)]
pub struct TimerQueue<const TASKS: usize> {
    /// Sorted by deadline, latest first, so that taking the nearest is a pop.
    entries: heapless::Vec<(u64, u16), TASKS>,
}

impl<const TASKS: usize> TimerQueue<TASKS> {
    /// Nobody sleeps.
    pub const fn new() -> Self {
        Self { entries: heapless::Vec::new() }
    }

    /// Notes that `task` wants to wake at `deadline`; an earlier wish of the same task is replaced.
    pub fn insert(&mut self, deadline: u64, task: u16) {
        self.remove(task);
        let at = self.entries.partition_point(|(other, _)| *other > deadline);
        // A task has one entry at most, so there is room for every task.
        let _ = self.entries.insert(at, (deadline, task));
    }

    /// Forgets a task's wish; false if it had none.
    pub fn remove(&mut self, task: u16) -> bool {
        match self.entries.iter().position(|(_, other)| *other == task) {
            Some(at) => {
                self.entries.remove(at);
                true
            }
            None => false,
        }
    }

    /// The nearest deadline.
    pub fn next_deadline(&self) -> Option<u64> {
        self.entries.last().map(|(deadline, _)| *deadline)
    }

    /// Takes a task whose deadline has come.
    pub fn pop_due(&mut self, now: u64) -> Option<u16> {
        if self.next_deadline()? > now {
            return None;
        }
        self.entries.pop().map(|(_, task)| task)
    }
}

impl<const TASKS: usize> Default for TimerQueue<TASKS> {
    fn default() -> Self {
        Self::new()
    }
}

/// When a periodic task is due: the releases lie on one grid, however late the task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    next: u64,
    length: u64,
    overruns: u64,
}

impl Period {
    /// First release one period after `start`. A length of 0 counts as 1.
    pub const fn new(start: u64, length: u64) -> Self {
        let length = if length == 0 { 1 } else { length };
        Self { next: start.saturating_add(length), length, overruns: 0 }
    }

    /// The task is done with its work: when it is released next. Releases that came while it was
    /// busy, but for the first, which it serves late, are overruns.
    pub const fn advance(&mut self, now: u64) -> u64 {
        let release = self.next;
        let late = now.saturating_sub(release);
        let missed = late / self.length;
        self.overruns = self.overruns.saturating_add(missed);
        let served = release.saturating_add(missed.saturating_mul(self.length));
        self.next = served.saturating_add(self.length);
        served
    }

    /// Releases that nobody served.
    pub const fn overruns(&self) -> u64 {
        self.overruns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const TASKS: usize = 12;

    proptest! {
        /// Against one list a priority, whatever the order of calls.
        #[test]
        fn ready_queue_keeps_order(calls in proptest::collection::vec((0u8..5, 0u16..TASKS as u16, 0u8..32), 0..200)) {
            let mut queue = ReadyQueue::<TASKS>::new();
            let mut model: Vec<VecDeque<u16>> = vec![VecDeque::new(); PRIORITIES];
            for (call, task, priority) in calls {
                let queued = model.iter().position(|list| list.contains(&task));
                match call {
                    0 if queued.is_none() => {
                        queue.push(task, priority);
                        model[usize::from(priority)].push_back(task);
                    }
                    1 if queued.is_none() => {
                        queue.push_first(task, priority);
                        model[usize::from(priority)].push_front(task);
                    }
                    2 => {
                        let expected = model.iter_mut().rev().find_map(VecDeque::pop_front);
                        prop_assert_eq!(queue.pop().map(|(task, _)| task), expected);
                    }
                    3 => {
                        let expected = model[usize::from(priority)..].iter_mut().rev().find_map(VecDeque::pop_front);
                        prop_assert_eq!(queue.pop_from(priority).map(|(task, _)| task), expected);
                    }
                    _ => {
                        let priority = queued.unwrap_or(usize::from(priority));
                        prop_assert_eq!(queue.remove(task, priority as u8), queued.is_some());
                        model[priority].retain(|other| *other != task);
                    }
                }
                let highest = model.iter().rposition(|list| !list.is_empty());
                prop_assert_eq!(queue.highest().map(usize::from), highest);
            }
        }

        /// However often it is interrupted, a slice is over when it has passed for its length,
        /// neither earlier nor later.
        #[test]
        fn slices_pass_while_they_run(start in 0u64..1000, length in 1u64..100, turns in proptest::collection::vec((0u64..40, 0u64..200), 1..40)) {
            let (mut slice, mut now, mut passed) = (Slice::WHOLE, start, 0);
            for (runs, rests) in turns {
                slice = slice.begin(|| now, length);
                prop_assert_eq!(slice.end(), Some(now + length - passed));
                now += runs;
                passed += runs;
                prop_assert_eq!(slice.is_over(now), passed >= length);
                let stopped = slice.stop(|| now);
                prop_assert_eq!(stopped.is_none(), passed >= length);
                let Some(stopped) = stopped else { break };
                now += rests;
                prop_assert!(stopped.end().is_none() && !stopped.is_over(now));
                prop_assert_eq!(Slice::from_raw(stopped.raw()).stop(|| now), Some(stopped));
                slice = stopped;
            }
            prop_assert!(!Slice::WHOLE.is_over(now) && Slice::WHOLE.stop(|| now) == Some(Slice::WHOLE));
        }

        /// Each release is served, late or not, or counted as an overrun; a task in time has none.
        #[test]
        fn periods_keep_their_grid(start in 0u64..1000, length in 1u64..50, busy in proptest::collection::vec(0u64..200, 1..50)) {
            let mut period = Period::new(start, length);
            let (mut now, mut served, mut before) = (start, 0, start);
            for work in busy {
                now += work;
                let release = period.advance(now);
                prop_assert_eq!((release - start) % length, 0);
                prop_assert!(release > before && release + length > now);
                prop_assert!(work > length || release >= now || release + length > now);
                served += 1;
                prop_assert_eq!(served + period.overruns(), (release - start) / length);
                before = release;
                now = now.max(release);
            }
        }

        /// Tasks come out in the order of their last deadline, none early, none twice.
        #[test]
        fn timers_wake_in_order(wishes in proptest::collection::vec((0u64..1000, 0u16..TASKS as u16), 0..60), now in 0u64..1000) {
            let mut queue = TimerQueue::<TASKS>::new();
            let mut last = [None; TASKS];
            for (deadline, task) in wishes {
                queue.insert(deadline, task);
                last[usize::from(task)] = Some(deadline);
            }
            let mut before = 0;
            while let Some(task) = queue.pop_due(now) {
                let deadline = last[usize::from(task)].take().expect("woken once");
                prop_assert!(before <= deadline && deadline <= now);
                before = deadline;
            }
            prop_assert_eq!(queue.next_deadline(), last.iter().flatten().min().copied());
        }
    }
}
