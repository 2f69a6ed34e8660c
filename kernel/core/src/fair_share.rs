//! Who is in front when groups of tasks share a core: proportional shares by virtual time, and a
//! limit by budget and period.
//!
//! A group's virtual time on a core is the time that it ran there, divided by its shares. The group
//! that is furthest behind goes in front (start-time fair queueing: Goyal, Guo, Vin, OSDI 1996;
//! with the bounded lead of sleepers of Duda and Cheriton's borrowed virtual time, SOSP 1999). A
//! group that rests cannot save time up: it never falls back behind those that run by more than a
//! lead.
//!
//! All are plain values; the executive measures the time and acts on the decisions.

/// Groups at most: a set of them is one word.
pub const GROUPS: usize = 8;
/// Shares of a group of which nothing was said.
pub const SHARES: u32 = 100;
/// Shares at least and at most. With more than that between two groups the smaller one would wait
/// for seconds.
pub const SHARES_RANGE: core::ops::RangeInclusive<u32> = 1..=10_000;

/// Virtual time is counted in fractions of a tick, so that large shares lose nothing by division.
const FRACTION: u64 = 1 << 14;

/// Groups, a bit each.
pub type Groups = u32;

/// What a decision rests on: what is known of the groups of one core.
#[derive(Debug, Clone, Copy)]
pub struct Observed {
    /// Ticks that each group has run on this core, ever.
    pub used: [u64; GROUPS],
    /// Shares of each.
    pub shares: [u32; GROUPS],
    /// Groups that have a task on this core.
    pub members: Groups,
    /// Groups of which one runs, or could.
    pub ready: Groups,
}

/// Virtual times of the groups on one core.
#[derive(Debug, Clone, Copy)]
pub struct FairShare {
    virtual_time: [u64; GROUPS],
    seen: [u64; GROUPS],
    members: Groups,
}

impl FairShare {
    /// No group has run.
    pub const fn new() -> Self {
        Self { virtual_time: [0; GROUPS], seen: [0; GROUPS], members: 0 }
    }

    /// Takes the time that has passed into account; the groups that go in front of the others, or
    /// `None` if nothing is to change since nobody is ready.
    ///
    /// Of those that are ready it is the one furthest behind, if there are several. One that is
    /// alone is not in front: whoever wakes must find it at its own level at most, so that it is
    /// seen to wait. A resting group is in front if it is behind all that are ready. `lead`, in
    /// ticks at [`SHARES`], is the most that it can be behind.
    pub fn decide(&mut self, observed: &Observed, lead: u64) -> Option<Groups> {
        let joined = observed.members & !self.members;
        self.members = observed.members;
        let everybody = || (0..GROUPS).filter(|group| observed.members & 1 << group != 0);
        for group in everybody() {
            let ran = observed.used[group].saturating_sub(self.seen[group]);
            self.seen[group] = observed.used[group];
            if joined & 1 << group == 0 {
                let shares = u64::from(observed.shares[group].max(1));
                let passed = ran.saturating_mul(FRACTION) / shares;
                self.virtual_time[group] = self.virtual_time[group].saturating_add(passed);
            }
        }
        // A group that joins begins where the last of the others is.
        let old = everybody().filter(|group| joined & 1 << group == 0);
        let begin = old.map(|group| self.virtual_time[group]).min().unwrap_or(0);
        for group in everybody().filter(|group| joined & 1 << group != 0) {
            self.virtual_time[group] = begin;
        }
        let ready = || everybody().filter(|group| observed.ready & 1 << group != 0);
        let last = ready().min_by_key(|group| self.virtual_time[*group])?;
        let furthest = self.virtual_time[last];
        let earliest = furthest.saturating_sub(lead.saturating_mul(FRACTION) / u64::from(SHARES));
        let mut front = if ready().count() > 1 { 1 << last } else { 0 };
        for group in everybody().filter(|group| observed.ready & 1 << group == 0) {
            self.virtual_time[group] = self.virtual_time[group].max(earliest);
            if self.virtual_time[group] < furthest {
                front |= 1 << group;
            }
        }
        Some(front)
    }
}

impl Default for FairShare {
    fn default() -> Self {
        Self::new()
    }
}

/// How much a group may run: so much of each period, over all cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Ticks of running time.
    pub budget: u64,
    /// Ticks from one refill to the next; not 0.
    pub period: u64,
}

/// What is left of a [`Limit`]. What was used beyond it is taken from the periods that follow; what
/// was not used is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    limit: Limit,
    /// When the present period began.
    began: u64,
    /// What the group had used, ever, when the account was last brought up to date.
    used: u64,
    /// What of it counts against the present period.
    spent: u64,
}

impl Budget {
    /// A whole one, for a group that has used so much, ever.
    pub const fn new(limit: Limit, now: u64, used: u64) -> Self {
        Self { limit, began: now, used, spent: 0 }
    }

    /// Brings the account up to date: ticks that are left in this period; 0 for a group that has to
    /// wait.
    pub fn left(&mut self, now: u64, used: u64) -> u64 {
        self.spent = self.spent.saturating_add(used.saturating_sub(self.used));
        self.used = self.used.max(used);
        let periods = now.saturating_sub(self.began) / self.limit.period.max(1);
        self.began += periods * self.limit.period;
        self.spent = self.spent.saturating_sub(self.limit.budget.saturating_mul(periods));
        self.limit.budget.saturating_sub(self.spent)
    }

    /// When the next period begins.
    pub const fn refill(&self) -> u64 {
        self.began.saturating_add(self.limit.period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A core that runs, for a turn each, whoever the decision puts in front; else whoever is
    /// ready, in turn, as equals by priority do.
    struct Core {
        fair: FairShare,
        observed: Observed,
        turn: usize,
    }

    impl Core {
        fn new(shares: &[u32]) -> Self {
            let mut all = [SHARES; GROUPS];
            all[..shares.len()].copy_from_slice(shares);
            let members = (1 << shares.len()) - 1;
            Self {
                fair: FairShare::new(),
                observed: Observed { used: [0; GROUPS], shares: all, members, ready: members },
                turn: 0,
            }
        }

        fn run(&mut self, ready: Groups, ticks: u64) -> Option<usize> {
            self.observed.ready = ready;
            let front = self.fair.decide(&self.observed, 2 * ticks)?;
            self.turn += 1;
            let in_turn = |set: Groups| {
                let mut order = (0..GROUPS).map(|place| (self.turn + place) % GROUPS);
                order.find(|group| set & 1 << group != 0)
            };
            let runs = in_turn(front & ready).or_else(|| in_turn(ready))?;
            self.observed.used[runs] += ticks;
            Some(runs)
        }
    }

    proptest! {
        /// Groups that are always ready get time by their shares, to within some turns.
        #[test]
        fn time_goes_by_shares(shares in proptest::collection::vec(10u32..1000, 2..=GROUPS)) {
            let mut core = Core::new(&shares);
            let turns = 3_000u64;
            for _ in 0..turns {
                core.run(core.observed.members, 10);
            }
            let all: u32 = shares.iter().sum();
            for (group, part) in shares.iter().enumerate() {
                let due = turns * 10 * u64::from(*part) / u64::from(all);
                let got = core.observed.used[group];
                prop_assert!(got.abs_diff(due) <= 200 + due / 20, "group {group}: {got} of {due}");
            }
        }

        /// Whoever comes and goes as it likes, nobody that is always ready gets less than its
        /// shares of the time, but for a lead of each time that another one comes.
        #[test]
        fn sleepers_save_nothing_up(pattern in proptest::collection::vec(0u32..16, 1..60)) {
            let mut core = Core::new(&[100, 100, 100, 100]);
            let (mut waited, mut longest) = (0u64, 0u64);
            for ready in pattern.iter().cycle().take(1_000) {
                let runs = core.run(ready | 1, 10);
                waited = if runs == Some(0) { 0 } else { waited + 1 };
                longest = longest.max(waited);
            }
            // Three others, each with a lead of two turns and one turn beside it.
            prop_assert!(longest <= 12, "{longest} turns without one");
            prop_assert!(core.observed.used[0] >= 1_000 * 10 / 4 - 200, "{}", core.observed.used[0]);
        }

        /// A group never runs more than its budget in each period, however late it is stopped.
        #[test]
        fn budgets_hold(budget in 1u64..100, period in 100u64..200, steps in proptest::collection::vec(1u64..40, 100)) {
            let limit = Limit { budget, period };
            let (mut now, mut used) = (0, 0);
            let mut account = Budget::new(limit, now, used);
            let mut most = 0;
            for step in steps {
                let runs = account.left(now, used) > 0;
                now += step;
                if runs {
                    used += step;
                    most = most.max(step);
                }
                let periods = now / period + 1;
                prop_assert!(used <= periods * budget + most, "{used} after {periods} periods");
                prop_assert!(account.left(now, used) <= budget && account.refill() > now);
            }
        }
    }

    #[test]
    fn the_only_one_is_not_in_front() {
        let mut core = Core::new(&[100, 100]);
        core.observed.ready = 0b01;
        assert_eq!(core.fair.decide(&core.observed, 10), Some(0), "nobody has run");
        core.observed.used[0] = 50;
        assert_eq!(core.fair.decide(&core.observed, 10), Some(0b10), "the sleeper is behind");
        core.observed.ready = 0;
        assert_eq!(core.fair.decide(&core.observed, 10), None);
    }

    #[test]
    fn whoever_joins_has_no_arrears() {
        let mut core = Core::new(&[100, 100]);
        core.observed.members = 0b01;
        core.observed.used = [1_000_000, 0, 0, 0, 0, 0, 0, 0];
        core.observed.ready = 0b01;
        core.fair.decide(&core.observed, 10);
        core.observed.used[0] += 1_000_000;
        core.fair.decide(&core.observed, 10);
        core.observed.members = 0b11;
        core.observed.ready = 0b11;
        core.observed.used[0] += 1;
        // It begins where the other one is, so the other one, which has run since, is ahead.
        let mut in_front = [0; 2];
        for _ in 0..10 {
            let front = core.fair.decide(&core.observed, 10).expect("two are ready");
            let runs = front.trailing_zeros() as usize;
            in_front[runs] += 1;
            core.observed.used[runs] += 10;
        }
        assert_eq!(in_front, [5, 5]);
    }
}
