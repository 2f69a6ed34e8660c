//! How a machine ends: asked for, waited for, told; and what its last task leaves in the books.

use core::sync::atomic::Ordering;

use bale_swap::Statistics;

use super::memory::GuestMemory;
use super::{Holding, Reason, SLOTS, Slot, State, Summary, build, relay};
use bale_rt::{clock, cores, task};

/// Asks a machine to end; false if none runs there. It ends at its next exit, which the request
/// forces.
pub fn kill(index: usize) -> bool {
    let Some(slot) = SLOTS.get(index) else { return false };
    if !matches!(slot.status.lock().summary.state, State::Running | State::Paused) {
        return false;
    }
    slot.finish(Reason::Killed);
    true
}

/// As [`kill`], without a wait for the end: that is told on the terminal when it comes, and
/// when the drain is done.
pub fn stop(index: usize) -> bool {
    let Some(slot) = SLOTS.get(index) else { return false };
    // Relaxed: ordered by the request's own release and acquire.
    slot.told.store(true, Ordering::Relaxed);
    let runs = kill(index);
    if !runs {
        slot.told.store(false, Ordering::Relaxed);
    }
    runs
}

/// Between two looks whether the last task of a machine that has ended is gone.
const LEAVING_US: u64 = 500;
/// How long the drain may take before it is said that it does.
const DRAIN_LIMIT_US: u64 = 10_000_000;

/// A task that tells of a machine's end: its number, and above 8 bits the slots released.
extern "C" fn tell_end(argument: u64) -> ! {
    let (index, released) = (argument & 0xff, argument >> 8);
    let start = clock::now();
    bale_io::println!("vm {index} has stopped, {released} slots released");
    if bale_reclaim::drain::wait_until_quiet(DRAIN_LIMIT_US) {
        bale_io::println!(
            "vm {index}: the drain is done, {} us later",
            clock::to_us(clock::now() - start)
        );
    } else {
        bale_io::println!(
            "vm {index}: the drain is not done after {} s",
            DRAIN_LIMIT_US / 1_000_000
        );
    }
    task::exit()
}

/// Waits until the machine in a slot has ended; `None` if there never was one.
pub fn wait(index: usize) -> Option<Summary> {
    wait_while(index, || true)
}

/// As [`wait`], as long as `goes_on`, which is asked several times a second. Behind the end its
/// slot can be taken again.
pub fn wait_while(index: usize, mut goes_on: impl FnMut() -> bool) -> Option<Summary> {
    loop {
        let goes_on = goes_on();
        let slot = SLOTS.get(index)?;
        {
            let mut status = slot.status.lock();
            match status.summary.state {
                State::Empty => return None,
                State::Ended(_) => {
                    let summary = status.summary.clone();
                    drop(status);
                    // Who has told of the end may not have left its core yet.
                    while goes_on && slot.has_tasks() && is_over(slot, summary.generation) {
                        task::sleep_us(LEAVING_US);
                    }
                    return Some(summary);
                }
                State::Running | State::Paused if goes_on => status.waiter = Some(task::current()),
                State::Running | State::Paused => {
                    status.waiter = None;
                    return Some(status.summary.clone());
                }
            }
        }
        task::park_until(clock::now() + clock::from_us(100_000));
    }
}

/// Whether the machine of this generation is the last that was in a slot, and has ended.
fn is_over(slot: &Slot, generation: u32) -> bool {
    let summary = &slot.status.lock().summary;
    summary.generation == generation && matches!(summary.state, State::Ended(_))
}

/// From a machine's last task: the figures of what it was held to are kept.
pub(super) fn note_holding(index: usize) {
    let holding = SLOTS[index].memory.read().as_ref().and_then(GuestMemory::holding);
    SLOTS[index].status.lock().summary.held =
        holding.map(|last| Holding { resident: 0, stored: 0, stored_bytes: 0, ..last });
}

/// From each of a machine's tasks as it ends: what the swap device holds is noted before it is
/// released, since nobody can tell afterwards. The task that comes before others have released
/// anything sees the most.
pub(super) fn note_swap(slot: &Slot) {
    let mut status = slot.status.lock();
    if let Some(store) = status.store {
        let (now, _) = store.statistics();
        let last = &mut status.summary.last_swap;
        if now.stored >= last.stored {
            *last = now;
        }
    }
}

/// Takes the memory from a machine whose last task is ending, and gives it back.
pub(super) fn release_memory(index: usize) {
    let memory = SLOTS[index].memory.write().take();
    if let Some(memory) = memory {
        memory.release();
    }
}

/// From the machine's last task: its figures are copied, and nobody finds its swap device any more.
pub(super) fn forget_device(slot: &Slot) {
    let mut status = slot.status.lock();
    if let Some(store) = status.store.take() {
        (status.summary.swap, status.summary.to_disk) = store.statistics();
    }
}

/// From the machine's last task: it has ended and released everything. One that asked for a restart
/// and has a description is started anew by a task of its own, and runs on for everybody else.
pub(super) fn ended(index: usize, released: usize, release_ticks: u64) {
    let slot = &SLOTS[index];
    {
        let mut status = slot.status.lock();
        [status.summary.exits, status.summary.calls] = slot.counts();
        status.summary.released = released;
        status.summary.release_ticks = release_ticks;
        status.summary.run_ticks = clock::now() - status.started;
    }
    defmt::info!("vm {} ended, {} slots released", index as u32, released as u32);
    let guest = slot.status.lock().summary.guest.clone();
    let described = build::is_described(&guest);
    let wants = described && !relay::ends_on_reset() && *slot.reason.lock() == Some(Reason::Reset);
    let refused = if wants { refuse_restart(slot) } else { None };
    let (reason, again) = {
        let mut first = slot.reason.lock();
        // Whoever has killed it meanwhile has given the reason.
        let reason = match (first.unwrap_or(Reason::Killed), refused) {
            (Reason::Reset, Some(refused)) => refused,
            (reason, _) => reason,
        };
        let again = wants && reason == Reason::Reset;
        if again {
            // Whoever kills it from here on stops its next life.
            *first = None;
            slot.stop.store(false, Ordering::Relaxed);
        }
        (reason, again)
    };
    if again {
        {
            let mut status = slot.status.lock();
            status.summary.restarts += 1;
            // Its next life has all of its memory.
            status.summary.held = None;
            status.summary.last_swap = Statistics::new();
        }
        let core = slot.vcpus[0].core.load(Ordering::Relaxed);
        if task::spawn("vm restart", core, task::VCPU, build::restart, index as u64).is_ok() {
            return;
        }
    }
    if slot.told.swap(false, Ordering::Relaxed) {
        let what = index as u64 | (released as u64) << 8;
        // An equal of the guests, so that one that is busy on that core does not keep it back.
        if task::spawn_free("vm end", cores::helper_of(0), task::VCPU, tell_end, what).is_err() {
            defmt::warn!("no room for a task that tells of the end of vm {}", index as u32);
        }
    }
    settle(index, reason);
    if matches!(reason, Reason::ResetLoop(..)) {
        // Nobody need be waiting for it, and a guest that is gone without a word would be looked
        // for.
        bale_io::println!("vm {index} {reason}");
    }
}

/// Why a machine that asks for a restart is not given one, if its description does not allow it.
fn refuse_restart(slot: &Slot) -> Option<Reason> {
    let mut status = slot.status.lock();
    let (most, seconds) = status.restart_limit;
    let window = u64::from(seconds).saturating_mul(clock::frequency());
    let allowed = status.restarts.allow(clock::now(), most, window);
    (!allowed).then_some(Reason::ResetLoop(most, seconds))
}

/// The machine in a slot is over, for this reason.
pub(super) fn settle(index: usize, reason: Reason) {
    SLOTS[index].devices.flash.unplug();
    let waiter = {
        let mut status = SLOTS[index].status.lock();
        status.summary.state = State::Ended(reason);
        status.waiter.take()
    };
    if let Some(waiter) = waiter {
        task::unpark(waiter);
    }
}
