//! A machine's slot: what there is of it whether it runs or not, and what others may touch of its
//! virtual CPUs.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use bale_core::attention::Attention;
use bale_core::fair_share::SHARES;
use bale_core::psci::Power;
use bale_core::restarts::Restarts;
use bale_core::vgic::{MAX_VCPUS, Vgic};
use bale_core::vm_description::CpuLimit;
use spin::rwlock::RwLock;

use super::memory::GuestMemory;
use super::summary::{Status, Summary};
use super::{MAX_VMS, Reason, console, devices};
use bale_rt::clock;
use bale_rt::cores::MAX_CORES;
use bale_rt::sync::Lock;
use bale_rt::task::{self, TaskId};

/// What others may touch of a virtual CPU. Aligned to two cache lines: nobody writes to another
/// one's by the way.
#[repr(align(128))]
pub(super) struct Shared {
    /// [`TaskId::to_bits`] of its task; 0 for none. Written before the virtual CPU first parks.
    pub(super) task: AtomicU64,
    pub(super) core: AtomicUsize,
    /// What it is to look at, and where it is.
    pub(super) attention: Attention,
    /// Exits to the hypervisor, and calls among them: written by its own task alone.
    pub(super) exits: AtomicU64,
    pub(super) calls: AtomicU64,
}

/// How a machine is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A small guest of ours: what it touches and has not stops it.
    Small,
    /// A guest with devices: what it touches and has not gives it an external abort.
    Full,
}

pub(super) struct Slot {
    pub(super) status: Lock<Status>,
    /// It is to end, and the first reason given.
    pub(super) stop: AtomicBool,
    pub(super) reason: Lock<Option<Reason>>,
    pub(super) paused: AtomicBool,
    /// It stands still until its next period, since it has used up its limit.
    pub(super) limited: AtomicBool,
    /// How often it had to.
    pub(super) times_limited: AtomicU64,
    /// Its part of the cores, and the most of them.
    pub(super) shares: AtomicU32,
    pub(super) cpu_limit: Lock<Option<CpuLimit>>,
    /// Whether it has performance monitors, if the cores have.
    pub(super) pmu: AtomicBool,
    /// What its virtual counter is behind the physical one.
    pub(super) counter_offset: AtomicU64,
    /// Tasks of virtual CPUs that have not ended.
    pub(super) live: AtomicUsize,
    /// Whole while tasks live: they hold it for reading.
    pub(super) memory: RwLock<Option<GuestMemory>>,
    pub(super) kind: Lock<Kind>,
    /// Which virtual CPUs are on.
    pub(super) power: Power,
    pub(super) vcpus: [Shared; MAX_VCPUS],
    /// By core, the virtual CPU that last ran there, plus one; 0 for none. Each core's is touched
    /// by that core alone.
    pub(super) last_on: [AtomicU8; MAX_CORES],
    pub(super) vgic: Lock<Vgic>,
    pub(super) devices: devices::Devices,
    pub(super) console: console::Console,
    /// Callers that work on its swap device.
    pub(super) store_users: AtomicUsize,
    /// External aborts given to the guest, and devices that came to need a reset.
    pub(super) external_aborts: AtomicU64,
    /// See `external_aborts`.
    pub(super) broken_devices: AtomicU64,
    /// Whoever asked for its end does not wait: it is told on the terminal.
    pub(super) told: AtomicBool,
}

pub(super) static SLOTS: [Slot; MAX_VMS] = [const { Slot::new() }; MAX_VMS];

impl Slot {
    pub(super) const fn new() -> Self {
        Self {
            status: Lock::new(Status {
                summary: Summary::empty(),
                waiter: None,
                store: None,
                started: 0,
                restarts: Restarts::new(),
                restart_limit: (0, 0),
                still_since: None,
            }),
            stop: AtomicBool::new(false),
            reason: Lock::new(None),
            paused: AtomicBool::new(false),
            limited: AtomicBool::new(false),
            times_limited: AtomicU64::new(0),
            shares: AtomicU32::new(SHARES),
            cpu_limit: Lock::new(None),
            pmu: AtomicBool::new(true),
            counter_offset: AtomicU64::new(0),
            live: AtomicUsize::new(0),
            memory: RwLock::new(None),
            kind: Lock::new(Kind::Small),
            power: Power::new(),
            vcpus: [const {
                Shared {
                    task: AtomicU64::new(0),
                    core: AtomicUsize::new(0),
                    attention: Attention::new(),
                    exits: AtomicU64::new(0),
                    calls: AtomicU64::new(0),
                }
            }; MAX_VCPUS],
            last_on: [const { AtomicU8::new(0) }; MAX_CORES],
            vgic: Lock::new(Vgic::new(1)),
            devices: devices::Devices::new(),
            console: console::Console::new(),
            store_users: AtomicUsize::new(0),
            external_aborts: AtomicU64::new(0),
            broken_devices: AtomicU64::new(0),
            told: AtomicBool::new(false),
        }
    }

    /// Everything as out of reset, and no virtual CPU on; on other cores than before if they are
    /// given. No task of the slot runs.
    pub(super) fn renew(&self, cores: Option<&[usize]>) {
        let vcpus = self.status.lock().summary.vcpus;
        self.counter_offset.store(clock::now(), Ordering::Relaxed);
        *self.vgic.lock() = Vgic::new(vcpus);
        self.devices.reset();
        self.external_aborts.store(0, Ordering::Relaxed);
        self.broken_devices.store(0, Ordering::Relaxed);
        self.power.reset();
        for (number, shared) in self.vcpus.iter().enumerate() {
            shared.task.store(0, Ordering::Relaxed);
            if let Some(cores) = cores {
                shared.core.store(cores.get(number).copied().unwrap_or(0), Ordering::Relaxed);
            }
            shared.attention.remind();
            shared.exits.store(0, Ordering::Relaxed);
            shared.calls.store(0, Ordering::Relaxed);
        }
    }

    /// Ends the machine: every virtual CPU leaves the guest and ends its task. The first reason
    /// counts, but a restart under way does not save a machine that is killed.
    pub(super) fn finish(&self, reason: Reason) {
        {
            let mut first = self.reason.lock();
            if first.is_none_or(|first| first == Reason::Reset) {
                *first = Some(reason);
            }
        }
        self.stop.store(true, Ordering::Release);
        self.kick_all();
    }

    /// Exits and calls of all virtual CPUs.
    pub(super) fn counts(&self) -> [u64; 2] {
        let sum = |count: fn(&Shared) -> &AtomicU64| {
            self.vcpus.iter().map(|shared| count(shared).load(Ordering::Relaxed)).sum()
        };
        [sum(|shared| &shared.exits), sum(|shared| &shared.calls)]
    }

    /// Whether a virtual CPU's task has not ended, perhaps on its way out after its last word.
    pub(super) fn has_tasks(&self) -> bool {
        let tasks = self
            .vcpus
            .iter()
            .filter_map(|shared| TaskId::from_bits(shared.task.load(Ordering::Relaxed)));
        tasks.map(task::is_over).any(|over| !over)
    }

    /// Whether any of its virtual CPUs is in the guest. Where it is to stand still or to stop, none
    /// enters the guest once all were seen outside behind a kick.
    pub(super) fn is_in_guest(&self) -> bool {
        self.vcpus.iter().any(|shared| shared.attention.is_in_guest())
    }

    pub(super) fn kick_all(&self) {
        for shared in &self.vcpus {
            shared.kick();
        }
    }

    pub(super) fn report(&self, key: u64, value: u64) -> bool {
        let place = (key as usize).wrapping_sub(1);
        match self.status.lock().summary.figures.get_mut(place) {
            Some(figure) => {
                *figure = value;
                true
            }
            None => false,
        }
    }
}
