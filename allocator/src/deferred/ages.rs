//! How long the words of a ring have been waiting, as far as a timer sees it.
//!
//! Words are told apart by groups, in the order of the ring: those that the timer saw first at
//! about the same time. A drain that takes some takes groups from the front, and what it leaves
//! keeps its age. A group takes in what comes up to an eighth of the greatest age after its first
//! word, and which is then fetched that much early: so eight groups reach that age, and no word
//! waits for longer than it and one period of the timer.

/// Groups that are kept.
const GROUPS: usize = 8;

/// Words up to `end`, not including it, that the timer saw first at `since`, or up to an eighth of
/// the age later.
#[derive(Clone, Copy)]
struct Group {
    end: u64,
    since: u64,
}

/// The groups of a ring. All bytes zero are none.
pub(crate) struct Ages {
    groups: [Group; GROUPS],
    count: usize,
}

impl Ages {
    #[cfg(any(test, zs_loom))]
    pub(crate) const NONE: Self = Self { groups: [Group { end: 0, since: 0 }; GROUPS], count: 0 };

    fn seen(&self) -> &[Group] {
        self.groups.get(..self.count).unwrap_or(&self.groups)
    }

    /// Takes in that the words `head` to `tail`, not including it, are pending. Since when the
    /// first one is; `None` if there is none.
    pub(crate) fn observe(&mut self, head: u64, tail: u64, now: u64, age: u64) -> Option<u64> {
        let gone = self.seen().iter().take_while(|group| group.end <= head).count();
        self.groups.copy_within(gone..self.count, 0);
        self.count -= gone;
        let last = self.seen().last().copied();
        if last.map_or(head, |group| group.end) < tail {
            // A new group, unless the last one is young. Where there is no room for one, the first
            // is nearly due.
            let joins = self.count == GROUPS
                || last.is_some_and(|last| now.saturating_sub(last.since) < age / GROUPS as u64);
            let since = last.filter(|_| joins).map_or(now, |last| last.since);
            self.count += usize::from(!joins);
            if let Some(place) = self.groups.get_mut(..self.count).and_then(<[Group]>::last_mut) {
                *place = Group { end: tail, since };
            }
        }
        self.first(head)
    }

    /// Since when, as far as the timer saw it, word `head` has been pending; `None` if it did not
    /// see it.
    pub(crate) fn first(&self, head: u64) -> Option<u64> {
        self.seen().iter().find(|group| head < group.end).map(|group| group.since)
    }
}

#[cfg(all(test, not(zs_loom)))]
mod tests {
    use super::*;
    use crate::bench::Random;

    /// A ring as the timer sees it: words are pushed at any time, drains take any number of them,
    /// and one takes all where the timer says that something is overdue. The twin forgets the ages
    /// where a drain comes.
    fn longest_wait(seed: u64, age: u64, period: u64, forgets: bool) -> u64 {
        let mut random = Random::new(seed);
        let mut ages = Ages::NONE;
        let (mut head, mut longest) = (0, 0);
        let mut pushed = std::vec::Vec::new();
        let first =
            |pushed: &[u64], head: u64| pushed.get(usize::try_from(head).expect("few")).copied();
        for now in 1..20_000 {
            if random.below(4) == 0 {
                (0..=random.below(3)).for_each(|_| pushed.push(now));
            }
            let tail = pushed.len() as u64;
            if random.below(5) == 0 {
                head += random.below(tail - head + 1).min(3);
                if forgets {
                    ages = Ages::NONE;
                }
            }
            let waiting = first(&pushed, head).map_or(0, |since| now - since);
            longest = longest.max(waiting);
            if now % period != 0 {
                continue;
            }
            if ages.observe(head, tail, now, age).is_some_and(|since| now - since >= age) {
                assert!(waiting + age / GROUPS as u64 >= age, "fetched after {waiting} of {age}");
                head = tail;
            }
        }
        longest
    }

    #[test]
    fn no_word_waits_for_longer_than_the_age_and_a_period() {
        for seed in 0..200 {
            let (age, period) = (20 + seed % 7 * 40, 1 + seed % 13);
            // The timer sees a word up to a period late, and looks again up to a period after it is
            // due.
            let bound = age + 2 * period;
            assert!(longest_wait(seed, age, period, false) <= bound, "seed {seed}");
        }
    }

    #[test]
    fn a_drain_that_restarts_the_clock_makes_words_wait() {
        assert!((0..20).any(|seed| longest_wait(seed, 100, 1, true) > 102));
    }
}
