//! The task that shares cores out among groups: whose turn it is, and who has used up its limit.
//!
//! It sleeps until a group has run for a turn on a core that measures. Then it looks at that core,
//! lets [`FairShare`] decide and gives the tasks their priorities. While several groups want the
//! core it looks again after each turn; else the next switch to a task of a group wakes it.

use bale_arch::mask::Masked;
use bale_core::fair_share::{Budget, FairShare, GROUPS, Groups, Observed};

use super::groups::{self, Seen, TURN_US};
use super::{
    SHARE, TaskId, VCPU, VCPU_BEHIND, park_masked, park_until_masked, set_priority, spawn,
};
use crate::cores::{self, MAX_CORES};
use crate::{clock, hooks};

/// Turns that a group which rested may be behind the others.
const LEAD: u64 = 2;
/// The shortest time between two looks at a group that is about to use its budget up.
const SHORTEST_US: u64 = 250;

/// Starts the task. Once, at boot, if there will be groups.
///
/// # Panics
/// Without a free task.
pub fn start() {
    match spawn("share", 0, SHARE, share_out, 0) {
        Ok(task) => groups::set_sharer(task),
        Err(error) => panic!("no task to share cores out: {error:?}"),
    }
}

/// A limited group's account.
#[derive(Clone, Copy)]
struct Watched {
    epoch: u32,
    budget: Option<Budget>,
    /// It has to wait for the next period.
    stopped: bool,
}

/// What the task remembers.
struct Sharer {
    cores: [FairShare; MAX_CORES],
    /// Ticks that each group has used on each core, as last seen.
    used: [[u64; GROUPS]; MAX_CORES],
    limits: [Watched; GROUPS],
}

extern "C" fn share_out(_argument: u64) -> ! {
    let mut sharer = Sharer {
        cores: [FairShare::new(); MAX_CORES],
        used: [[0; GROUPS]; MAX_CORES],
        limits: [Watched { epoch: 0, budget: None, stopped: false }; GROUPS],
    };
    let mut called = 0;
    loop {
        let calls = groups::calls();
        let now = clock::now();
        sharer.look_at_cores(now, calls != called);
        let refill = sharer.look_at_limits(now);
        called = calls;
        // Masked, so that no switch of this core asks for an earlier look in between: its timer has
        // one entry for this task.
        let masked = Masked::new();
        match refill.min(groups::next_look()) {
            u64::MAX => park_masked(&masked),
            deadline => park_until_masked(deadline, &masked),
        }
        drop(masked);
    }
}

impl Sharer {
    /// Looks at each core at which it is time to, or at all that have groups.
    fn look_at_cores(&mut self, now: u64, anyhow: bool) {
        let turn = clock::from_us(TURN_US);
        for (core, fair) in self.cores.iter_mut().enumerate().take(cores::all().len()) {
            let Some(Seen { used, members }) = groups::look(core, now, anyhow) else { continue };
            self.used[core] = used;
            let all = members.iter().fold(0, |set: Groups, (_, group)| set | 1 << group);
            let ready = members.iter().filter(|(task, _)| groups::is_ready(*task));
            let ready = ready.fold(0, |set: Groups, (_, group)| set | 1 << group);
            let shares = core::array::from_fn(groups::shares);
            let observed = Observed { used, shares, members: all, ready };
            if let Some(front) = fair.decide(&observed, LEAD * turn) {
                put_in_front(&members, front);
            }
            if ready.count_ones() > 1 || groups::any_limited(ready) {
                groups::look_again(core, now + turn);
            }
        }
    }

    /// Stops groups that have used up their limit, and lets those go on whose next period has
    /// come; when the first of the stopped ones' comes.
    fn look_at_limits(&mut self, now: u64) -> u64 {
        let mut next = u64::MAX;
        for group in 0..GROUPS {
            let used = self.used.iter().map(|used| used[group]).sum();
            let watched = &mut self.limits[group];
            let epoch = groups::epoch(group);
            if watched.epoch != epoch {
                watched.epoch = epoch;
                watched.budget = groups::limit(group).map(|limit| Budget::new(limit, now, used));
            }
            let left = watched.budget.as_mut().map(|budget| budget.left(now, used));
            let stop = left == Some(0);
            if core::mem::replace(&mut watched.stopped, stop) != stop {
                hooks::limit_group(group, stop);
            }
            match (left, &watched.budget) {
                (Some(0), Some(budget)) => next = next.min(budget.refill()),
                (Some(left), Some(_)) if left < clock::from_us(TURN_US) => {
                    groups::look_at_group(group, now + left.max(clock::from_us(SHORTEST_US)));
                }
                _ => {}
            }
        }
        next
    }
}

/// Puts the tasks of these groups in front of the others of a core.
fn put_in_front(members: &[(TaskId, u8)], front: Groups) {
    // Those that rise come first: at no moment is nobody in front.
    for in_front in [true, false] {
        let priority = if in_front { VCPU } else { VCPU_BEHIND };
        for (task, group) in members {
            if (front & 1 << group != 0) == in_front {
                set_priority(*task, priority);
            }
        }
    }
}
