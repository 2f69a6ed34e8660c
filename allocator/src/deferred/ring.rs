//! One core's ring of handles, and the wake-up of its drain.
//!
//! # Push
//! The ordinary push compares the tail with `stop`, stores the word, publishes the tail: it looks
//! at nothing that the consumer writes. `stop` is the next index at which something else must
//! happen: the memory under the ring goes to another frame, the ring may be full, or the watermark
//! is crossed. Only there the consumer's index is read and a fence is paid for.
//!
//! # Wake-up
//! "Publish the tail, then look whether the drain sleeps" against "declare sleep, then look at the
//! tail" is store buffering: without a sequentially consistent fence on both sides each may miss
//! the other, also on hardware that has acquire and release instructions (an acquire load may be an
//! LDAPR). As a litmus test for herd7:
//!
//! ```text
//! AArch64 drain-wake
//! { 0:X1=tail; 0:X3=sleeping; 1:X1=tail; 1:X3=sleeping; }
//!  P0 (producer)  | P1 (drain)     ;
//!  MOV W0,#1      | MOV W0,#1      ;
//!  STLR W0,[X1]   | STR W0,[X3]    ;
//!  DMB ISH        | DMB ISH        ;
//!  LDR W2,[X3]    | LDAPR W2,[X1]  ;
//! exists (0:X2=0 /\ 1:X2=0)
//! ```
//!
//! With both barriers the outcome is forbidden; with either taken out it is allowed. `model.rs`
//! shows the same with loom, and fails under `--cfg zs_break_wake_fence`.

use crate::{
    deferred::ages::Ages,
    sync::{AtomicU32, AtomicU64, Guard, Lock, Ordering, fence},
};

/// Where a ring's words lie.
pub(crate) trait Slots {
    /// The word of index `index`; indexes go round.
    fn slot(&self, index: u64) -> &AtomicU64;

    /// The word of index `index`, which is in the run last entered. Called by the producer only.
    #[inline]
    fn entered(&self, index: u64) -> &AtomicU64 {
        self.slot(index)
    }

    /// The words of indexes `first` to `end`, not including it, which lie in one run.
    fn run(&self, first: u64, end: u64) -> &[AtomicU64];

    /// The words of indexes `first` to `end`, not including it, in the run last entered. Called by
    /// the producer only.
    fn entered_run(&self, first: u64, end: u64) -> &[AtomicU64];

    /// Makes the run of `index` the one that [`Slots::entered`] knows, and says where it ends.
    /// Called by the producer only.
    fn enter(&self, index: u64) -> u64;
}

/// Words that fit a cache line, after which a bulk push publishes.
pub(crate) const LINE: usize = 8;

/// Shape of a ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) capacity: u64,
    /// Words that only a producer takes who cannot help.
    pub(crate) reserve: u64,
    pub(crate) watermark: u64,
}

/// Who emptied a part of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Task,
    Helper,
    Flush,
}

/// What a push came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// Stored; the drain needs no interrupt.
    Stored,
    /// Stored, and the drain sleeps behind a crossed watermark: raise its interrupt.
    Wake,
    /// Not stored.
    Full,
}

/// Written by the ring's own core only. Atomics for the readers of statistics.
#[repr(C, align(256))]
struct Producer {
    tail: AtomicU64,
    stop: AtomicU64,
    wake_at: AtomicU64,
    interrupts: AtomicU64,
    synchronous: AtomicU64,
    most: AtomicU64,
}

/// Written by the holder of the token only, but `sleeping`, which the producer clears.
#[repr(C, align(256))]
struct Consumer {
    head: AtomicU64,
    sleeping: AtomicU32,
    by_task: AtomicU64,
    by_helper: AtomicU64,
    by_flush: AtomicU64,
    refused: AtomicU64,
}

/// A ring with its consumer's working state `T` behind the token.
#[repr(C)]
pub(crate) struct Ring<S, T> {
    producer: Producer,
    consumer: Consumer,
    shape: Shape,
    slots: S,
    token: Lock<T>,
    ages: Lock<Ages>,
}

/// What a ring counted, each figure by one writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) enqueued: u64,
    pub(crate) by_task: u64,
    pub(crate) by_helper: u64,
    pub(crate) by_flush: u64,
    pub(crate) refused: u64,
    pub(crate) interrupts: u64,
    pub(crate) synchronous: u64,
    pub(crate) most: u64,
}

/// Adds to a counter that only the caller writes: no atomic read-modify-write.
#[inline]
fn add(counter: &AtomicU64, value: u64) {
    // Relaxed: a statistic with one writer.
    counter.store(counter.load(Ordering::Relaxed) + value, Ordering::Relaxed);
}

#[inline]
fn wake_fence() {
    #[cfg(not(zs_break_wake_fence))]
    fence(Ordering::SeqCst);
}

impl<S: Slots, T> Ring<S, T> {
    #[cfg(zs_loom)]
    pub(crate) fn new(shape: Shape, slots: S, state: T) -> Self {
        Self {
            producer: Producer {
                tail: AtomicU64::new(0),
                stop: AtomicU64::new(0),
                wake_at: AtomicU64::new(shape.watermark),
                interrupts: AtomicU64::new(0),
                synchronous: AtomicU64::new(0),
                most: AtomicU64::new(0),
            },
            consumer: Consumer {
                head: AtomicU64::new(0),
                sleeping: AtomicU32::new(0),
                by_task: AtomicU64::new(0),
                by_helper: AtomicU64::new(0),
                by_flush: AtomicU64::new(0),
                refused: AtomicU64::new(0),
            },
            shape,
            slots,
            token: Lock::new(state),
            ages: Lock::new(Ages::NONE),
        }
    }

    pub(crate) fn slots(&self) -> &S {
        &self.slots
    }

    /// Sets up a ring whose bytes are all zero.
    #[cfg(not(zs_loom))]
    pub(crate) fn initialise(&mut self, shape: Shape) -> &mut S {
        self.shape = shape;
        *self.producer.wake_at.get_mut() = shape.watermark;
        &mut self.slots
    }

    /// Stores a word where nothing but the store is to be done; otherwise says no, and
    /// [`Ring::push_slow`] is to be called. Producer only.
    #[inline(always)]
    pub(crate) fn push(&self, word: u64) -> bool {
        // Relaxed, twice: the producer's own.
        let tail = self.producer.tail.load(Ordering::Relaxed);
        if tail == self.producer.stop.load(Ordering::Relaxed) {
            return false;
        }
        // Relaxed: released by the tail.
        self.slots.entered(tail).store(word, Ordering::Relaxed);
        // Release: pairs with the acquire in `pending`; behind it lies the word.
        self.producer.tail.store(tail + 1, Ordering::Release);
        true
    }

    /// Stores words up to the next stop, publishing once for each cache line. Returns those that
    /// are left. Producer only.
    #[inline]
    pub(crate) fn push_run<'w>(&self, words: &'w [u64]) -> &'w [u64] {
        // Relaxed, twice: the producer's own.
        let mut tail = self.producer.tail.load(Ordering::Relaxed);
        let stop = self.producer.stop.load(Ordering::Relaxed);
        #[expect(clippy::cast_possible_truncation, reason = "at most the ring's capacity")]
        let (now, rest) = words.split_at_checked((stop - tail) as usize).unwrap_or((words, &[]));
        let slots = self.slots.entered_run(tail, tail + now.len() as u64);
        let (lines, last) = now.as_chunks::<LINE>();
        let (slot_lines, last_slots) = slots.as_chunks::<LINE>();
        for (slots, words) in slot_lines.iter().zip(lines) {
            for (slot, &word) in slots.iter().zip(words) {
                // Relaxed: released by the tail.
                slot.store(word, Ordering::Relaxed);
            }
            tail += LINE as u64;
            // Release: as in `push`.
            self.producer.tail.store(tail, Ordering::Release);
        }
        if !last.is_empty() {
            for (slot, &word) in last_slots.iter().zip(last) {
                // Relaxed: released by the tail.
                slot.store(word, Ordering::Relaxed);
            }
            // Release: as in `push`.
            self.producer.tail.store(tail + last.len() as u64, Ordering::Release);
        }
        rest
    }

    /// The push at a stop. With `reserve` the ring's last words may be taken. Producer only.
    #[cold]
    #[inline(never)]
    pub(crate) fn push_slow(&self, word: u64, reserve: bool) -> Pushed {
        let tail = self.producer.tail.load(Ordering::Relaxed);
        // Acquire: pairs with the release in `finish`; the words up to the head were read.
        let head = self.consumer.head.load(Ordering::Acquire);
        let limit = self.shape.capacity - if reserve { 0 } else { self.shape.reserve };
        if tail - head >= limit {
            return Pushed::Full;
        }
        let run = self.slots.enter(tail);
        self.slots.entered(tail).store(word, Ordering::Relaxed);
        let tail = tail + 1;
        // Release: as in `push`.
        self.producer.tail.store(tail, Ordering::Release);

        let pending = tail - head;
        let most = &self.producer.most;
        most.store(most.load(Ordering::Relaxed).max(pending), Ordering::Relaxed);
        let mut pushed = Pushed::Stored;
        let mut wake_at = head + self.shape.watermark;
        if tail >= wake_at {
            // SeqCst: pairs with the fence in `prepare_sleep`. Either this side sees the sleep
            // declared, or that side sees the tail.
            wake_fence();
            // Relaxed, twice: ordered by the fence; clearing early only spares further interrupts,
            // as the raised one wakes.
            if self.consumer.sleeping.load(Ordering::Relaxed) != 0 {
                self.consumer.sleeping.store(0, Ordering::Relaxed);
                add(&self.producer.interrupts, 1);
                pushed = Pushed::Wake;
            }
            wake_at = tail + (self.shape.watermark / 4).max(1);
        }
        self.producer.wake_at.store(wake_at, Ordering::Relaxed);
        // The push that brings the tail to `wake_at` must come here: it starts one below.
        let stop =
            run.min(head + self.shape.capacity - self.shape.reserve).min(wake_at - 1).max(tail);
        self.producer.stop.store(stop, Ordering::Relaxed);
        pushed
    }

    /// Counts a handle that was freed at once, since neither help nor the reserve served. Producer
    /// only.
    pub(crate) fn count_synchronous(&self) {
        add(&self.producer.synchronous, 1);
    }

    /// Takes the consumer's end if nobody has it.
    pub(crate) fn token(&self) -> Option<Guard<'_, T>> {
        self.token.try_lock()
    }

    /// First pending index and number of pending words.
    #[inline]
    pub(crate) fn pending(&self) -> (u64, u64) {
        // Acquire: pairs with the release in `finish`, so that the tail read next is not older than
        // the head.
        let head = self.consumer.head.load(Ordering::Acquire);
        // Acquire: pairs with the releases in `push`; the words below the tail are there.
        let tail = self.producer.tail.load(Ordering::Acquire);
        (head, tail - head)
    }

    /// Gives `count` words from the head back to the producer. Holder of the token only.
    pub(crate) fn finish(&self, count: u64, refused: u64, by: By) {
        let counter = match by {
            By::Task => &self.consumer.by_task,
            By::Helper => &self.consumer.by_helper,
            By::Flush => &self.consumer.by_flush,
        };
        // Relaxed, and release: one writer at a time; pairs with the acquires in `counts`, so that
        // who sees the count sees a tail that covers it.
        counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Release);
        if refused != 0 {
            add(&self.consumer.refused, refused);
        }
        // Relaxed: the token's holder is the only writer, and the token orders holders.
        let head = self.consumer.head.load(Ordering::Relaxed);
        // Release: pairs with the acquire in `push_slow`; the words were read before the producer
        // may overwrite them.
        self.consumer.head.store(head + count, Ordering::Release);
    }

    /// Declares that the drain is about to sleep, then looks once more. `false` if there is work
    /// after all.
    pub(crate) fn prepare_sleep(&self) -> bool {
        // Relaxed: ordered by the fence.
        self.consumer.sleeping.store(1, Ordering::Relaxed);
        // SeqCst: pairs with the fence in `push_slow`.
        wake_fence();
        if self.pending().1 < self.shape.watermark {
            return true;
        }
        // Relaxed: nobody waits for it to be cleared.
        self.consumer.sleeping.store(0, Ordering::Relaxed);
        false
    }

    /// Whether something has been pending for `age` ticks. Called from a timer: what this cannot
    /// see is at most one period younger than it says. Any core may call it; beside another caller
    /// it says no, who answers for it.
    pub(crate) fn is_overdue(&self, now: u64, age: u64) -> bool {
        let Some(mut ages) = self.ages.try_lock() else { return false };
        let (head, pending) = self.pending();
        let since = ages.observe(head, head + pending, now, age);
        since.is_some_and(|since| now.saturating_sub(since) >= age)
    }

    /// Since when, at the latest, the oldest pending word has been waiting, as far as the timer saw
    /// it.
    pub(crate) fn oldest(&self) -> Option<u64> {
        let ages = self.ages.try_lock()?;
        let (head, pending) = self.pending();
        (pending != 0).then(|| ages.first(head)).flatten()
    }

    /// The figures, `enqueued` last: so what was taken out is never more than what was put in.
    pub(crate) fn counts(&self) -> Counts {
        // Acquire, three times: pairs with the release in `finish`, behind which lies the tail.
        // Relaxed for the others: statistics with one writer each.
        let counts = Counts {
            enqueued: 0,
            by_task: self.consumer.by_task.load(Ordering::Acquire),
            by_helper: self.consumer.by_helper.load(Ordering::Acquire),
            by_flush: self.consumer.by_flush.load(Ordering::Acquire),
            refused: self.consumer.refused.load(Ordering::Relaxed),
            interrupts: self.producer.interrupts.load(Ordering::Relaxed),
            synchronous: self.producer.synchronous.load(Ordering::Relaxed),
            most: self.producer.most.load(Ordering::Relaxed),
        };
        let (head, pending) = self.pending();
        Counts { enqueued: head + pending, ..counts }
    }
}
