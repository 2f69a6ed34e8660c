//! A machine's part of the cores: its shares beside others, and its limit.
//!
//! Each machine is a group of tasks ([`bale_rt::task::groups`]), numbered as its slot. A machine
//! that has used its limit up stands still as a paused one does, but for its clock, which goes on:
//! to its guest it is as if others had the cores meanwhile.

use core::sync::atomic::Ordering;

use bale_core::fair_share::GROUPS;
use bale_core::vm_description::CpuLimit;
use bale_rt::clock;
use bale_rt::task::groups;

use super::MAX_VMS;
use super::slot::SLOTS;
use super::summary::State;

const _: () = assert!(MAX_VMS <= GROUPS, "each machine is a group");

/// Gives the machine in a slot these from now on.
pub(super) fn set(index: usize, shares: u32, limit: Option<CpuLimit>) {
    let slot = &SLOTS[index];
    slot.shares.store(shares, Ordering::Relaxed);
    *slot.cpu_limit.lock() = limit;
    slot.limited.store(false, Ordering::Relaxed);
    groups::set_shares(index, shares);
    groups::set_limit(index, limit.map(in_ticks));
}

fn in_ticks(limit: CpuLimit) -> bale_core::fair_share::Limit {
    let ticks = |us: u32| clock::from_us(u64::from(us)).max(1);
    bale_core::fair_share::Limit { budget: ticks(limit.budget_us), period: ticks(limit.period_us) }
}

/// Gives a machine that runs other shares, until it ends or is started anew; false if none runs
/// there.
pub fn set_shares(index: usize, shares: u32) -> bool {
    let there = runs(index);
    if there {
        SLOTS[index].shares.store(shares, Ordering::Relaxed);
        groups::set_shares(index, shares);
    }
    there
}

/// Gives a machine that runs another limit, or none, until it ends or is started anew; false if
/// none runs there.
pub fn set_cpu_limit(index: usize, limit: Option<CpuLimit>) -> bool {
    let there = runs(index);
    if there {
        *SLOTS[index].cpu_limit.lock() = limit;
        groups::set_limit(index, limit.map(in_ticks));
    }
    there
}

fn runs(index: usize) -> bool {
    let Some(slot) = SLOTS.get(index) else { return false };
    matches!(slot.status.lock().summary.state, State::Running | State::Paused)
}

/// Lets a machine stand still that has used its limit up, or go on: a hook of the executive.
pub fn limit(index: usize, still: bool) {
    let Some(slot) = SLOTS.get(index) else { return };
    // Release: pairs with the acquire in `is_held`.
    slot.limited.store(still, Ordering::Release);
    if still {
        slot.times_limited.fetch_add(1, Ordering::Relaxed);
    }
    slot.kick_all();
}
