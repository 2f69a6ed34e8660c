//! What is told of machines: state and figures.

use core::sync::atomic::Ordering;

use bale_abi::{RAM_SIZE, report};
use bale_core::fair_share::SHARES;
use bale_core::restarts::Restarts;
use bale_core::vm_description::CpuLimit;
use bale_core::vm_description::LONGEST_NAME;
use bale_swap::Statistics;
use heapless::String;

use super::memory::GuestMemory;
use super::slot::SLOTS;
use super::store::Store;
use super::{Holding, Reason};
use bale_rt::task::TaskId;

/// A guest's name; what does not fit is cut.
pub type Name = String<LONGEST_NAME>;

/// What a machine is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No machine has been here.
    Empty,
    /// Running.
    Running,
    /// Standing still until `vm resume`.
    Paused,
    /// Ended.
    Ended(Reason),
}

/// What `vm list` prints of one.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Number of its slot.
    pub slot: usize,
    /// How often a machine was started in the slot.
    pub generation: u32,
    /// Name of its guest.
    pub guest: Name,
    /// Core of its first virtual CPU.
    pub core: usize,
    /// Virtual CPUs.
    pub vcpus: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// Running, or why not.
    pub state: State,
    /// Figures it reported, by [`report`] key minus one.
    pub figures: [u64; report::KEYS],
    /// How often it was started anew since.
    pub restarts: u32,
    /// Exits to the hypervisor, since the last time it was.
    pub exits: u64,
    /// Hypercalls among them.
    pub calls: u64,
    /// Its swap device, as it was when it ended if it has.
    pub swap: Statistics,
    /// The same as it was when the machine's end began, before everything that it held was
    /// released.
    pub last_swap: Statistics,
    /// Slots of it that the guest takes for in use, if it has said so.
    pub swap_used: Option<u64>,
    /// Pages that went to the disk behind it.
    pub to_disk: u64,
    /// Its shares of cores beside other machines.
    pub shares: u32,
    /// The most of them that it may use.
    pub cpu_limit: Option<CpuLimit>,
    /// How often it stood still since it had used that up.
    pub times_limited: u64,
    /// What it was held to and what became of it, if it was.
    pub held: Option<Holding>,
    /// External aborts it was given, and devices of its that came to need a reset.
    pub external_aborts: u64,
    /// See `external_aborts`.
    pub broken_devices: u64,
    /// Its disk and its console wait for a reset.
    pub needs_reset: [bool; 2],
    /// Bytes of its console that were dropped, since it printed faster than it may.
    pub console_dropped: u64,
    /// Slots released when it ended.
    pub released: usize,
    /// Ticks that this release took the dying machine, the drain's work not included.
    pub release_ticks: u64,
    /// Ticks it ran.
    pub run_ticks: u64,
}

impl Summary {
    pub(super) const fn empty() -> Self {
        Self {
            slot: 0,
            generation: 0,
            guest: Name::new(),
            core: 0,
            vcpus: 1,
            memory: RAM_SIZE,
            state: State::Empty,
            figures: [0; report::KEYS],
            restarts: 0,
            exits: 0,
            calls: 0,
            swap: Statistics::new(),
            last_swap: Statistics::new(),
            swap_used: None,
            to_disk: 0,
            shares: SHARES,
            cpu_limit: None,
            times_limited: 0,
            held: None,
            external_aborts: 0,
            broken_devices: 0,
            needs_reset: [false; 2],
            console_dropped: 0,
            released: 0,
            release_ticks: 0,
            run_ticks: 0,
        }
    }
}

pub(super) struct Status {
    pub(super) summary: Summary,
    pub(super) waiter: Option<TaskId>,
    pub(super) store: Option<Store>,
    pub(super) started: u64,
    /// When it was started anew, and how often it may be within how many seconds.
    pub(super) restarts: Restarts,
    pub(super) restart_limit: (u32, u32),
    /// The counter when the last of its virtual CPUs came to stand still, while they do.
    pub(super) still_since: Option<u64>,
}

/// Every machine that was ever started, one a slot.
pub fn summaries() -> impl Iterator<Item = Summary> {
    SLOTS.iter().filter_map(|slot| {
        let status = slot.status.lock();
        if status.summary.state == State::Empty {
            return None;
        }
        let mut summary = status.summary.clone();
        [summary.exits, summary.calls] = slot.counts();
        summary.swap_used = slot.devices.swap_used.slots();
        // Relaxed: figures.
        summary.external_aborts = slot.external_aborts.load(Ordering::Relaxed);
        summary.broken_devices = slot.broken_devices.load(Ordering::Relaxed);
        summary.needs_reset = [slot.devices.disk.is_broken(), slot.devices.port.is_broken()];
        summary.shares = slot.shares.load(Ordering::Relaxed);
        summary.times_limited = slot.times_limited.load(Ordering::Relaxed);
        summary.cpu_limit = *slot.cpu_limit.lock();
        summary.console_dropped = slot.console.dropped();
        if let Some(store) = status.store {
            (summary.swap, summary.to_disk) = store.statistics();
        }
        drop(status);
        // Not there for a machine that comes or goes; what there was of one that is gone was noted.
        let now = slot
            .memory
            .try_read()
            .and_then(|memory| memory.as_ref().and_then(GuestMemory::holding));
        summary.held = now.or(summary.held);
        Some(summary)
    })
}

/// Core and exits of each virtual CPU of a machine.
pub fn vcpus(index: usize) -> impl Iterator<Item = (usize, u64)> {
    let count = SLOTS.get(index).map_or(0, |slot| slot.status.lock().summary.vcpus);
    SLOTS
        .get(index)
        .into_iter()
        .flat_map(move |slot| slot.vcpus.iter().take(count))
        .map(|shared| (shared.core.load(Ordering::Relaxed), shared.exits.load(Ordering::Relaxed)))
}
