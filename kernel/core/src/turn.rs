//! Work that one does at a time, while others leave a mark for it and go on: a queue of a device
//! that several virtual CPUs notify.
//!
//! Mark and place are one word, so that nobody can leave a mark behind the last look for one.

#[cfg(not(bale_loom))]
use core::sync::atomic::{AtomicU8, Ordering};
#[cfg(bale_loom)]
use loom::sync::atomic::{AtomicU8, Ordering};

/// Somebody does the work.
const AT_WORK: u8 = 1;
/// Somebody has found more to do.
const MARKED: u8 = 2;

/// Whose turn it is.
#[derive(Debug)]
pub struct Turn(AtomicU8);

impl Turn {
    /// Nobody's.
    #[cfg(not(bale_loom))]
    pub const fn new() -> Self {
        Self(AtomicU8::new(0))
    }

    #[cfg(bale_loom)]
    fn new() -> Self {
        Self(AtomicU8::new(0))
    }

    /// Does the work, or leaves it to the thread that is at it, which begins once more then.
    #[inline]
    pub fn serve(&self, work: impl FnMut()) {
        self.serve_until(Self::leave, work);
    }

    /// [`Self::serve`] with another end of it, which is to be [`Self::leave`].
    #[inline]
    fn serve_until(&self, leave: impl Fn(&Self) -> bool, mut work: impl FnMut()) {
        // Release: the thread that takes the mark below sees the work to do. Acquire: what was
        // done last is there for us.
        if self.0.fetch_or(AT_WORK | MARKED, Ordering::AcqRel) & AT_WORK != 0 {
            return;
        }
        loop {
            // Acquire: pairs with the release of each who left a mark.
            self.0.swap(AT_WORK, Ordering::Acquire);
            work();
            if leave(self) {
                return;
            }
        }
    }

    /// Gives the place up, unless there is a mark.
    fn leave(&self) -> bool {
        // Release: pairs with the acquires of the next holder and of each waiter.
        self.0.compare_exchange(AT_WORK, 0, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Waits until nobody is at work, by calling `pause` between two looks.
    pub fn wait(&self, mut pause: impl FnMut()) {
        // Acquire: pairs with the release in `leave`.
        while self.0.load(Ordering::Acquire) & AT_WORK != 0 {
            pause();
        }
    }
}

#[cfg(not(bale_loom))]
impl Default for Turn {
    fn default() -> Self {
        Self::new()
    }
}

/// Interleavings, checked by loom: `RUSTFLAGS="--cfg bale_loom" cargo test -p bale-core --lib
/// model`.
#[cfg(all(test, bale_loom))]
mod model {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    use super::{AtomicU8, MARKED, Ordering, Turn};

    /// Something to do, and what is done with it by one at a time.
    struct Queue {
        turn: Turn,
        found: AtomicU8,
        done: UnsafeCell<u8>,
    }

    impl Queue {
        fn new() -> Arc<Self> {
            Arc::new(Self { turn: Turn::new(), found: AtomicU8::new(0), done: UnsafeCell::new(0) })
        }

        fn notify(&self, leave: fn(&Turn) -> bool) {
            self.found.fetch_add(1, Ordering::Relaxed);
            self.turn.serve_until(leave, || {
                let found = self.found.load(Ordering::Relaxed);
                // loom fails where two are here at once.
                self.done.with_mut(|_| ());
                let _ = self.found.fetch_sub(found, Ordering::Relaxed);
            });
        }
    }

    /// Two that notify, one of them twice.
    fn notify_at_once(leave: fn(&Turn) -> bool) {
        loom::model(move || {
            let queue = Queue::new();
            let other = {
                let queue = queue.clone();
                thread::spawn(move || queue.notify(leave))
            };
            queue.notify(leave);
            queue.notify(leave);
            other.join().expect("no panic");
            assert_eq!(queue.found.load(Ordering::Relaxed), 0, "something is left");
        });
    }

    #[test]
    fn nothing_is_left_and_one_works_at_a_time() {
        notify_at_once(Turn::leave);
    }

    /// Broken on purpose: looks for a mark, and then gives the place up.
    #[test]
    #[should_panic(expected = "something is left")]
    fn a_mark_behind_the_last_look_would_be_lost() {
        notify_at_once(|turn| {
            let unmarked = turn.0.load(Ordering::Relaxed) & MARKED == 0;
            if unmarked {
                turn.0.store(0, Ordering::Release);
            }
            unmarked
        });
    }

    #[test]
    fn who_waits_sees_what_was_done() {
        loom::model(|| {
            let queue = Queue::new();
            let other = {
                let queue = queue.clone();
                thread::spawn(move || queue.notify(Turn::leave))
            };
            queue.notify(Turn::leave);
            queue.turn.wait(thread::yield_now);
            other.join().expect("no panic");
            queue.turn.wait(thread::yield_now);
            queue.done.with(|_| ());
        });
    }
}
