//! Which virtual CPUs of a machine are on: one word, so that who is the last to go off is decided
//! in one step.
//!
//! CPU_ON takes effect at the call: from then on the virtual CPU is on, for CPU_ON and
//! AFFINITY_INFO of all others too, though it has not run its first instruction. So ON_PENDING (DEN
//! 0022, 5.6.2) comes up nowhere, and of any number of callers at once exactly one gets SUCCESS.
//! CPU_OFF takes effect at the call as well: the caller executes nothing behind it.
//!
//! A bit says that a virtual CPU is on, another one that its entry is written and not taken.
//! Whoever sets the first one writes the entry alone, up to the second one; the virtual CPU reads
//! it alone, up to its next CPU_OFF.

#[cfg(all(test, bale_loom))]
mod model;

#[cfg(not(bale_loom))]
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(bale_loom)]
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::vgic::MAX_VCPUS;

/// Shift of the bits that say that an entry waits.
const ENTRY: u32 = 16;
/// The bits of those that are on.
const ON: u32 = (1 << ENTRY) - 1;
const _: () = assert!(MAX_VCPUS <= ENTRY as usize, "a bit for each virtual CPU");

/// Power of all virtual CPUs of a machine.
#[derive(Debug)]
pub struct Power {
    word: AtomicU32,
    /// Address of the first instruction, and the value of x0 there.
    entries: [[AtomicU64; 2]; MAX_VCPUS],
}

impl Power {
    /// All are off.
    #[cfg(not(bale_loom))]
    pub const fn new() -> Self {
        Self {
            word: AtomicU32::new(0),
            entries: [const { [const { AtomicU64::new(0) }; 2] }; MAX_VCPUS],
        }
    }

    /// All are off.
    #[cfg(bale_loom)]
    pub fn new() -> Self {
        Self {
            word: AtomicU32::new(0),
            entries: core::array::from_fn(|_| core::array::from_fn(|_| AtomicU64::new(0))),
        }
    }

    /// All are off. Nobody else uses it.
    pub fn reset(&self) {
        self.word.store(0, Ordering::Relaxed);
    }

    /// CPU_ON: whether the virtual CPU was off, and so comes on at this entry. It is then to be
    /// woken.
    pub fn turn_on(&self, number: usize, entry: u64, context: u64) -> bool {
        let Some(place) = self.entries.get(number) else { return false };
        // Acquire: pairs with the release of its CPU_OFF, before which it has read its last entry.
        if self.word.fetch_or(1 << number, Ordering::Acquire) >> number & 1 == 1 {
            return false;
        }
        place[0].store(entry, Ordering::Relaxed);
        place[1].store(context, Ordering::Relaxed);
        // Release: pairs with the acquire in `take`; the entry is whole.
        self.word.fetch_or(1 << (ENTRY + number as u32), Ordering::Release);
        true
    }

    /// From the virtual CPU: the entry at which it was told to come on, once.
    pub fn take(&self, number: usize) -> Option<(u64, u64)> {
        let place = self.entries.get(number)?;
        let bit = 1 << (ENTRY + number as u32);
        // Acquire: pairs with the release in `turn_on`.
        if self.word.load(Ordering::Acquire) & bit == 0 {
            return None;
        }
        // Only this virtual CPU takes the bit back. Relaxed: the entry stays as it is up to its
        // CPU_OFF.
        self.word.fetch_and(!bit, Ordering::Relaxed);
        Some((place[0].load(Ordering::Relaxed), place[1].load(Ordering::Relaxed)))
    }

    /// CPU_OFF, from the virtual CPU: whether no other one is on.
    pub fn turn_off(&self, number: usize) -> bool {
        // Release: pairs with the acquire of whoever turns it on again.
        let before = self.word.fetch_and(!(1 << number), Ordering::AcqRel);
        before & ON & !(1 << number) == 0
    }

    /// AFFINITY_INFO: whether a virtual CPU is on.
    pub fn is_on(&self, number: usize) -> bool {
        // Acquire: pairs with the release of its CPU_OFF: what it did before is seen by who finds
        // it off.
        self.word.load(Ordering::Acquire) >> number & 1 == 1
    }
}

#[cfg(not(bale_loom))]
impl Default for Power {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(bale_loom)))]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicUsize;
    use std::thread;

    #[test]
    fn it_comes_on_once() {
        let power = Power::new();
        assert!(!power.is_on(1) && power.take(1).is_none());
        assert!(power.turn_on(1, 0x4000, 7));
        assert!(power.is_on(1), "from the call on");
        assert!(!power.turn_on(1, 0x5000, 8));
        assert_eq!((power.take(1), power.take(1)), (Some((0x4000, 7)), None));
        assert!(power.turn_off(1), "it was the only one");
        assert!(power.turn_on(1, 0x6000, 9) && power.turn_on(0, 0, 0));
        assert_eq!(power.take(1), Some((0x6000, 9)));
        assert!(!power.turn_off(1) && power.turn_off(0));
        assert!(!power.turn_on(MAX_VCPUS, 0, 0) && power.take(MAX_VCPUS).is_none());
    }

    /// All turn all on and themselves off: each life was asked for by one, and has what that one
    /// gave it.
    #[test]
    fn a_storm_loses_no_life() {
        const LIVES: usize = 2_000;
        let (power, asked) = (Power::new(), [const { AtomicUsize::new(0) }; MAX_VCPUS]);
        thread::scope(|scope| {
            for number in 0..MAX_VCPUS {
                let (power, asked) = (&power, &asked);
                scope.spawn(move || {
                    let mut lives = 0;
                    for step in 0..LIVES {
                        if let Some((entry, context)) = power.take(number) {
                            assert_eq!(context, entry ^ number as u64);
                            lives += 1;
                            power.turn_off(number);
                        }
                        let other = (number + 1 + step % (MAX_VCPUS - 1)) % MAX_VCPUS;
                        let entry = (step * MAX_VCPUS + number) as u64;
                        if power.turn_on(other, entry, entry ^ other as u64) {
                            asked[other].fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    // What still waits was asked for as well; others may go on to ask.
                    asked[number].fetch_sub(lives, Ordering::Relaxed);
                });
            }
        });
        for (number, left) in asked.iter().enumerate() {
            let waits = usize::from(power.take(number).is_some());
            assert_eq!(left.load(Ordering::Relaxed), waits, "virtual CPU {number}");
        }
    }
}
