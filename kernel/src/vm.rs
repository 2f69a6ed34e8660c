//! Virtual machines: up to [`MAX_VMS`] at once, each with one or more virtual CPUs that are tasks of cores.
//!
//! | module | what it does |
//! |---|---|
//! | [`build`] | a machine from its description: memory, kernel, initial RAM disk, device tree |
//! | [`memory`] | frames behind stage 2, and access to them |
//! | [`held`] | a machine held to less memory than it has: cold pages into the store and back |
//! | [`vcpu`] | the task that enters the guest; whose state a core has loaded |
//! | [`delivery`] | interrupts to virtual CPUs: list registers, virtual timer, waking and kicking |
//! | [`trap`] | what a guest traps for: system registers, device registers, waiting |
//! | [`devices`], [`console`], [`disk`] | the device bus; the guest's console; its swap disk |
//! | [`writeback`] | cold pages from it to the disk behind it |
//! | [`medium`], [`store`] | a swap device with its memory; a machine's swap device for others than the guest |
//! | [`ending`], [`reasons`] | how a machine ends; why it did, or was not started |
//! | [`hypercall`], [`firmware`] | calls: Bale's own for small guests; PSCI and SMCCC |
//!
//! A machine ends for a [`Reason`]; nothing that a guest does ends more than that guest. When it ends, everything it
//! stored goes into the deferred rings in runs and its memory goes back at once; the drain finishes later, and the
//! books say when.
//!
//! Lock order: a machine's [`Slot`] locks before everything of the pool and the frames; its UART before its interrupt
//! controller.

mod build;
mod console;
mod delivery;
mod devices;
mod disk;
mod ending;
mod firmware;
mod held;
mod hypercall;
mod medium;
mod memory;
mod reasons;
pub mod store;
mod trap;
mod vcpu;
pub mod writeback;

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bale_abi::{GuestInfo, INFO_MAGIC, RAM_SIZE, mode, report};
use bale_core::vgic::{MAX_VCPUS, Vgic};
use bale_swap::{Codec, Statistics};
use heapless::String;
use spin::rwlock::RwLock;

use crate::backing::Region;
use crate::pool::Kernel;
use crate::sync::Lock;
use crate::task::{self, TaskId};
use crate::{bundle, clock, cores};
use ending::{ended, forget_device, note_holding, release_memory, settle};
use memory::GuestMemory;
use store::Store;

pub use build::start_described;
pub use console::{attach, detach, send};
pub use delivery::{on_maintenance, on_virtual_timer};
pub use ending::{kill, stop, wait, wait_while};
pub use held::Holding;
pub use reasons::{HoldError, LEAST_HELD, Reason, StartError};
pub use trap::learn_identification;
pub(crate) use vcpu::SCRATCH;

/// The swap device of a guest.
pub type SwapDevice = bale_swap::Device<'static, Kernel>;
/// The same in front of a region of the disk.
pub type SwapCache = bale_swap::Cache<'static, Kernel, Region>;

/// Machines at most.
pub const MAX_VMS: usize = 4;

/// A guest's name; what does not fit is cut.
pub type Name = String<24>;

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
    /// Pages that went to the disk behind it.
    pub to_disk: u64,
    /// What it was held to and what became of it, if it was.
    pub held: Option<Holding>,
    /// Slots released when it ended.
    pub released: usize,
    /// Ticks that this release took the dying machine, the drain's work not included.
    pub release_ticks: u64,
    /// Ticks it ran.
    pub run_ticks: u64,
}

impl Summary {
    const fn empty() -> Self {
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
            to_disk: 0,
            held: None,
            released: 0,
            release_ticks: 0,
            run_ticks: 0,
        }
    }
}

struct Status {
    summary: Summary,
    waiter: Option<TaskId>,
    store: Option<Store>,
    started: u64,
}

/// Whether a virtual CPU is on, as PSCI sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Power {
    Off,
    /// Told to go on at this address with this value in x0.
    Coming(u64, u64),
    On,
}

/// What others may touch of a virtual CPU.
struct Shared {
    power: Lock<Power>,
    task: Lock<Option<TaskId>>,
    core: AtomicUsize,
    /// Something changed that it must look at before it enters the guest again.
    attention: AtomicBool,
    /// It is in the guest, or about to be: an interrupt brings it out.
    in_guest: AtomicBool,
    /// Exits to the hypervisor, and calls among them: written by its own task alone.
    exits: AtomicU64,
    calls: AtomicU64,
    /// It is parked, or about to be: somebody has to wake it.
    parked: AtomicBool,
}

/// How a machine is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A small guest of ours: what it touches and has not stops it.
    Small,
    /// A guest with devices: what it touches and has not gives it an external abort.
    Full,
}

struct Slot {
    status: Lock<Status>,
    /// It is to end, and the first reason given.
    stop: AtomicBool,
    reason: Lock<Option<Reason>>,
    paused: AtomicBool,
    /// What its virtual counter is behind the physical one.
    counter_offset: AtomicU64,
    /// Tasks of virtual CPUs that have not ended.
    live: AtomicUsize,
    /// Whole while tasks live: they hold it for reading.
    memory: RwLock<Option<GuestMemory>>,
    kind: Lock<Kind>,
    vcpus: [Shared; MAX_VCPUS],
    vgic: Lock<Vgic>,
    devices: devices::Devices,
    console: console::Console,
    /// Callers that work on its swap device.
    store_users: AtomicUsize,
    /// Whoever asked for its end does not wait: it is told on the terminal.
    told: AtomicBool,
}

static SLOTS: [Slot; MAX_VMS] = [const { Slot::new() }; MAX_VMS];

impl Slot {
    const fn new() -> Self {
        Self {
            status: Lock::new(Status { summary: Summary::empty(), waiter: None, store: None, started: 0 }),
            stop: AtomicBool::new(false),
            reason: Lock::new(None),
            paused: AtomicBool::new(false),
            counter_offset: AtomicU64::new(0),
            live: AtomicUsize::new(0),
            memory: RwLock::new(None),
            kind: Lock::new(Kind::Small),
            vcpus: [const {
                Shared {
                    power: Lock::new(Power::Off),
                    task: Lock::new(None),
                    core: AtomicUsize::new(0),
                    attention: AtomicBool::new(false),
                    in_guest: AtomicBool::new(false),
                    exits: AtomicU64::new(0),
                    calls: AtomicU64::new(0),
                    parked: AtomicBool::new(false),
                }
            }; MAX_VCPUS],
            vgic: Lock::new(Vgic::new(1)),
            devices: devices::Devices::new(),
            console: console::Console::new(),
            store_users: AtomicUsize::new(0),
            told: AtomicBool::new(false),
        }
    }

    /// Everything as out of reset, and no virtual CPU on; on other cores than before if they are given. No task of the slot runs.
    fn renew(&self, cores: Option<&[usize]>) {
        let vcpus = self.status.lock().summary.vcpus;
        self.counter_offset.store(clock::now(), Ordering::Relaxed);
        *self.vgic.lock() = Vgic::new(vcpus);
        self.devices.reset();
        for (number, shared) in self.vcpus.iter().enumerate() {
            *shared.power.lock() = Power::Off;
            *shared.task.lock() = None;
            if let Some(cores) = cores {
                shared.core.store(cores.get(number).copied().unwrap_or(0), Ordering::Relaxed);
            }
            shared.attention.store(true, Ordering::Relaxed);
            shared.in_guest.store(false, Ordering::Relaxed);
            shared.exits.store(0, Ordering::Relaxed);
            shared.calls.store(0, Ordering::Relaxed);
            shared.parked.store(false, Ordering::Relaxed);
        }
    }

    /// Ends the machine: every virtual CPU leaves the guest and ends its task. The first reason counts, but a restart under way
    /// does not save a machine that is killed.
    fn finish(&self, reason: Reason) {
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
    fn counts(&self) -> [u64; 2] {
        let sum = |count: fn(&Shared) -> &AtomicU64| {
            self.vcpus.iter().map(|shared| count(shared).load(Ordering::Relaxed)).sum()
        };
        [sum(|shared| &shared.exits), sum(|shared| &shared.calls)]
    }

    fn kick_all(&self) {
        for shared in &self.vcpus {
            shared.kick();
        }
    }

    fn report(&self, key: u64, value: u64) -> bool {
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

/// Starts a small guest of the bundle on a core, with what it needs for this mode; the number of its slot.
///
/// # Errors
/// See [`StartError`]; nothing is left half-started.
pub fn start(
    guest: &'static str,
    mode: u64,
    core: usize,
    seed: u64,
    steps: u64,
) -> Result<usize, StartError> {
    let image = bundle::guest(guest).ok_or(StartError::NoSuchGuest)?;
    let pages = bundle::pages();
    if pages.is_empty() {
        return Err(StartError::NoPages);
    }
    if !cores::all().get(core).is_some_and(cores::Core::online) {
        return Err(StartError::NoSuchCore);
    }
    let shape = Shape::of(mode);
    let online = cores::all().len();
    // On two cores where it spreads, if there are two, so that its virtual CPUs both run at once and take turns.
    let pair = [core, if shape.spreads { (core + online - 1) % online } else { core }];
    let cores: heapless::Vec<usize, MAX_VCPUS> = (0..shape.vcpus).map(|number| pair[number % 2]).collect();
    let index = reserve(guest, &cores, RAM_SIZE, shape.kind).ok_or(StartError::TooMany)?;
    let page_count = pages.len() / 4096;
    let info = GuestInfo {
        magic: INFO_MAGIC,
        mode,
        pages: page_count as u64,
        slots: device_slots(page_count) as u64,
        ram_size: RAM_SIZE,
        seed,
        steps,
    };
    let filled =
        SLOTS[index].devices.disk.plug(shape.disk, false, store::setup(Codec::Page)).and_then(|store| {
            SLOTS[index].status.lock().store = store;
            GuestMemory::new(index, image, &info, pages)
        });
    match filled.and_then(|(memory, entry)| launch(index, memory, entry, bale_abi::INFO_BASE)) {
        Ok(index) => Ok(index),
        Err(error) => Err(abandon(index, error)),
    }
}

/// What machine a small guest is given for what it is to do.
struct Shape {
    vcpus: usize,
    kind: Kind,
    /// Its virtual CPUs are on two cores.
    spreads: bool,
    /// Slots of its swap disk.
    disk: usize,
}

impl Shape {
    fn of(mode: u64) -> Self {
        let disk = bale_abi::measure::SLOTS as usize;
        match mode {
            mode::MEASURE => Self { vcpus: 2, kind: Kind::Full, spreads: false, disk },
            // It has the small guests' calls for something.
            mode::STORM_CALLS => Self { vcpus: 1, kind: Kind::Small, spreads: false, disk: 0 },
            mode::STORM | mode::FIRST_STORM..=mode::LAST => {
                Self { vcpus: bale_abi::STORM_VCPUS as usize, kind: Kind::Full, spreads: true, disk }
            }
            _ => Self { vcpus: 1, kind: Kind::Small, spreads: false, disk: 0 },
        }
    }
}

/// Starts the virtual CPUs of a machine whose memory is ready, the first one at `entry` with `argument` in x0.
fn launch(index: usize, memory: GuestMemory, entry: u64, argument: u64) -> Result<usize, StartError> {
    let slot = &SLOTS[index];
    let vcpus = slot.status.lock().summary.vcpus;
    *slot.memory.write() = Some(memory);
    *slot.vcpus[0].power.lock() = Power::Coming(entry, argument);
    slot.live.store(vcpus, Ordering::Release);
    for number in 0..vcpus {
        let shared = &slot.vcpus[number];
        let core = shared.core.load(Ordering::Relaxed);
        let argument = (index * MAX_VCPUS + number) as u64;
        // The task says itself which one it is, before it waits for anything.
        if task::spawn("vcpu", core, task::VCPU, vcpu::task, argument).is_err() {
            // Those that run end by themselves, the last one tidies up; without any, it is done here.
            slot.finish(Reason::NoWorkspace);
            if slot.live.fetch_sub(vcpus - number, Ordering::AcqRel) == vcpus - number {
                release_memory(index);
                return Err(abandon(index, StartError::NoTask));
            }
            let _ = wait(index);
            return Err(StartError::NoTask);
        }
    }
    defmt::info!("vm {} starts with {} virtual CPUs", index as u32, vcpus as u32);
    Ok(index)
}

/// Gives a reserved slot up, with what is plugged in.
fn abandon(index: usize, error: StartError) -> StartError {
    let slot = &SLOTS[index];
    slot.status.lock().store = None;
    // Nothing was ever stored on it.
    if let Some(disk) = slot.devices.disk.unplug() {
        disk.release();
    }
    slot.status.lock().summary.state = State::Empty;
    error
}

/// Slots of a swap device: room for every page, and a quarter more.
fn device_slots(pages: usize) -> usize {
    pages + pages / 4
}

/// Makes what every slot keeps from one machine to the next. Once, at boot, with the pool and the bundle in place.
pub fn prepare() {
    let pages = bundle::pages().len() / 4096;
    if pages > 0 {
        vcpu::prepare(device_slots(pages));
    }
}

/// Takes the first slot that holds no machine any more, for one with a virtual CPU on each of these cores.
fn reserve(guest: &str, cores: &[usize], memory: u64, kind: Kind) -> Option<usize> {
    for (index, slot) in SLOTS.iter().enumerate() {
        let mut status = slot.status.lock();
        let busy = matches!(status.summary.state, State::Running | State::Paused);
        // A task that has said its last word may still be on its way out.
        let leaving =
            slot.vcpus.iter().any(|shared| shared.task.lock().is_some_and(|task| !task::is_over(task)));
        if busy || leaving {
            continue;
        }
        let generation = status.summary.generation + 1;
        let mut name = Name::new();
        for letter in guest.chars() {
            if name.push(letter).is_err() {
                break;
            }
        }
        status.summary = Summary {
            slot: index,
            generation,
            guest: name,
            core: cores[0],
            vcpus: cores.len(),
            memory,
            state: State::Running,
            ..Summary::empty()
        };
        status.started = clock::now();
        drop(status);
        slot.stop.store(false, Ordering::Relaxed);
        *slot.reason.lock() = None;
        slot.paused.store(false, Ordering::Relaxed);
        *slot.kind.lock() = kind;
        slot.console.reset();
        slot.renew(Some(cores));
        return Some(index);
    }
    None
}

/// Lets a machine stand still, or go on; false if none runs there or it does so already. Its virtual counter goes on.
pub fn pause(index: usize, still: bool) -> bool {
    let Some(slot) = SLOTS.get(index) else { return false };
    {
        let state = &mut slot.status.lock().summary.state;
        match (*state, still) {
            (State::Running, true) => *state = State::Paused,
            (State::Paused, false) => *state = State::Running,
            _ => return false,
        }
    }
    slot.paused.store(still, Ordering::Release);
    slot.kick_all();
    true
}

/// Holds a machine's memory to so many bytes from now on, until it ends or is started anew: its virtual CPUs put out what is
/// more. All of its memory again: what comes back stays.
///
/// # Errors
/// See [`HoldError`]; nothing has changed then.
pub fn hold(index: usize, bytes: u64) -> Result<(), HoldError> {
    let slot = SLOTS.get(index).ok_or(HoldError::NotRunning)?;
    {
        let memory = slot.memory.try_read().ok_or(HoldError::NotRunning)?;
        let memory = memory.as_ref().ok_or(HoldError::NotRunning)?;
        match memory.ram_bytes() {
            0 => return Err(HoldError::Small),
            most if !(LEAST_HELD..=most).contains(&bytes) => return Err(HoldError::OutOfRange(most)),
            _ => memory.hold(bytes).map_err(|_| HoldError::NoStore)?,
        }
    }
    slot.kick_all();
    Ok(())
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
        if let Some(store) = status.store {
            (summary.swap, summary.to_disk) = store.statistics();
        }
        drop(status);
        // Not there for a machine that comes or goes; what there was of one that is gone was noted.
        let now = slot.memory.try_read().and_then(|memory| memory.as_ref().and_then(GuestMemory::holding));
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
