//! How often a machine may be started anew: so many times within a window that moves with the time.

use heapless::Deque;

use crate::vm_description::MOST_RESTARTS;

/// Restarts that are remembered.
const KEPT: usize = MOST_RESTARTS as usize;

/// The restarts of a machine that still count, the oldest first.
#[derive(Debug, Clone, Default)]
pub struct Restarts {
    times: Deque<u64, KEPT>,
}

impl Restarts {
    /// None.
    pub const fn new() -> Self {
        Self { times: Deque::new() }
    }

    /// Whether one more is allowed at a time, in ticks, of which `window` may see `most`; it counts
    /// then. A window of 0 allows all.
    pub fn allow(&mut self, now: u64, most: u32, window: u64) -> bool {
        if window == 0 {
            return true;
        }
        while self.times.front().is_some_and(|first| now.saturating_sub(*first) >= window) {
            self.times.pop_front();
        }
        // Of more than can be kept nobody asks.
        self.times.len() < most as usize && self.times.push_back(now).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_loop_ends_and_rare_restarts_do_not() {
        let mut fast = Restarts::new();
        assert_eq!((0..100).take_while(|now| fast.allow(*now, 10, 300)).count(), 10);
        assert!(!fast.allow(299, 10, 300));
        assert!(fast.allow(300, 10, 300), "the first one counts no more");
        let mut slow = Restarts::new();
        assert!((0..1000).all(|number| slow.allow(number * 31, 10, 300)));
        let mut none = Restarts::new();
        assert!(!none.allow(0, 0, 300), "not even one");
        assert!((0..1000).all(|now| none.allow(now, 0, 0)), "no limit");
    }

    proptest! {
        /// No window of any place holds more than are allowed, and what is refused would have been
        /// one too many.
        #[test]
        fn no_window_holds_more(steps in proptest::collection::vec(0u64..100, 0..200), most in 0u32..=64, window in 1u64..1000) {
            let mut restarts = Restarts::new();
            let (mut now, mut allowed) = (0, Vec::new());
            for step in steps {
                now += step;
                let within = allowed.iter().filter(|then| now - **then < window).count();
                let said = restarts.allow(now, most, window);
                prop_assert_eq!(said, within < most as usize);
                if said {
                    allowed.push(now);
                }
            }
        }
    }
}
