//! Many at once, or one alone, which need not wait long: once it has asked, nobody new comes in.
//!
//! A thread that has to wait is told so, and waits as it can: in a task, asleep.

#[cfg(not(bale_loom))]
use core::sync::atomic::{AtomicU32, Ordering};
#[cfg(bale_loom)]
use loom::sync::atomic::{AtomicU32, Ordering};

/// Somebody is alone, or waits for it; below it stands how many are in.
const CLOSED: u32 = 1 << 31;

/// Who is in.
#[derive(Debug)]
pub struct Gate(AtomicU32);

impl Gate {
    /// Open, and nobody in.
    #[cfg(not(bale_loom))]
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    #[cfg(bale_loom)]
    fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Does something beside others; calls `wait` as long as somebody is alone.
    #[inline]
    pub fn beside_others<R>(&self, mut wait: impl FnMut(), work: impl FnOnce() -> R) -> R {
        // Acquire: pairs with the release of the thread that opens the gate.
        while self.0.fetch_add(1, Ordering::Acquire) & CLOSED != 0 {
            self.0.fetch_sub(1, Ordering::Relaxed);
            // Looked at without a trace, so that who wants to be alone finds nobody in.
            while self.0.load(Ordering::Relaxed) & CLOSED != 0 {
                wait();
            }
        }
        let result = work();
        // Release: pairs with the acquire of the thread that waits to be alone.
        self.0.fetch_sub(1, Ordering::Release);
        result
    }

    /// Does something alone; calls `wait` until the others have left. For one at a time.
    pub fn alone<R>(&self, mut wait: impl FnMut(), work: impl FnOnce() -> R) -> R {
        self.0.fetch_or(CLOSED, Ordering::Relaxed);
        // Acquire: pairs with the release of each who leaves.
        while self.0.load(Ordering::Acquire) != CLOSED {
            wait();
        }
        let result = work();
        // Release: pairs with the acquire of the thread that comes in next.
        self.0.fetch_and(!CLOSED, Ordering::Release);
        result
    }
}

#[cfg(not(bale_loom))]
impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(bale_loom)))]
mod tests {
    use core::cell::Cell;
    use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::thread;

    use super::Gate;

    #[test]
    fn a_stream_of_others_does_not_keep_one_out() {
        let (gate, done, rounds) = (Gate::new(), AtomicBool::new(false), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        gate.beside_others(thread::yield_now, thread::yield_now);
                        rounds.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            while rounds.load(Ordering::Relaxed) < 100 {
                thread::yield_now();
            }
            for _ in 0..100 {
                gate.alone(thread::yield_now, || ());
            }
            done.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn once_asked_for_nobody_new_comes_in() {
        let gate = Gate::new();
        let waited = Cell::new(false);
        // One is in when another asks to be alone: a third one has to wait, and the second need
        // not.
        gate.beside_others(
            || (),
            || {
                gate.0.fetch_or(super::CLOSED, Ordering::Relaxed);
                gate.beside_others(
                    || {
                        waited.set(true);
                        gate.0.fetch_and(!super::CLOSED, Ordering::Relaxed);
                    },
                    || (),
                );
            },
        );
        assert!(waited.get());
    }
}

/// Interleavings, checked by loom: `RUSTFLAGS="--cfg bale_loom" cargo test -p bale-core --lib
/// model`.
#[cfg(all(test, bale_loom))]
mod model {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    use super::Gate;

    #[test]
    fn one_alone_sees_nobody_at_work() {
        loom::model(|| {
            let shared = Arc::new((Gate::new(), UnsafeCell::new(0)));
            let other = {
                let shared = shared.clone();
                // loom fails where one reads while another one writes.
                thread::spawn(move || {
                    shared.0.beside_others(thread::yield_now, || shared.1.with(|_| ()))
                })
            };
            shared.0.alone(thread::yield_now, || shared.1.with_mut(|_| ()));
            other.join().expect("no panic");
            shared.0.beside_others(thread::yield_now, || shared.1.with(|_| ()));
        });
    }
}
