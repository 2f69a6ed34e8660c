//! Virtual machines: up to [`MAX_VMS`] at once, each with one virtual CPU that is a task of one core.
//!
//! A machine is made by [`start`], runs in its task, and ends for a [`Reason`]; nothing that a guest does ends more
//! than that guest. When it ends, everything it stored goes into the deferred rings in runs and its memory goes back
//! at once; the drain finishes later, and the books say when.
//!
//! Lock order: a machine's [`Slot`] lock before everything of the pool and the frames.

mod hypercall;
mod memory;
mod vcpu;

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bale_abi::{GuestInfo, INFO_MAGIC, RAM_SIZE, report};
use bale_core::exception::{Fault, Syndrome};
use bale_core::guest_image::ImageError;
use bale_swap::Statistics;

use crate::pool::Kernel;
use crate::sync::Lock;
use crate::task::{self, TaskId};
use crate::{bundle, clock, cores};
use memory::GuestMemory;

/// The swap device of a guest.
pub type SwapDevice = bale_swap::Device<'static, Kernel>;

/// Machines at most.
pub const MAX_VMS: usize = 4;

/// Why a machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It called EXIT with this status.
    Exited(u64),
    /// It turned itself off through PSCI.
    PoweredOff,
    /// `vm kill`.
    Killed,
    /// It touched what is not its own: address, and whether it wrote.
    StrayAccess(u64, bool),
    /// It wrote to memory it may only read.
    ReadOnly(u64),
    /// It fetched an instruction from what is not its own.
    StrayFetch(u64),
    /// It did something that Bale offers to no guest.
    Unsupported(Syndrome),
    /// The hardware reported an error while it ran.
    Hardware,
    /// There was no memory for its swap device.
    NoWorkspace,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exited with status {status}"),
            Self::PoweredOff => f.write_str("powered off"),
            Self::Killed => f.write_str("killed"),
            Self::StrayAccess(ipa, true) => write!(f, "stopped: wrote to {ipa:#x}, which it has not"),
            Self::StrayAccess(ipa, false) => write!(f, "stopped: read from {ipa:#x}, which it has not"),
            Self::ReadOnly(ipa) => write!(f, "stopped: wrote to {ipa:#x}, which it may only read"),
            Self::StrayFetch(ipa) => write!(f, "stopped: ran into {ipa:#x}, which it has not"),
            Self::Unsupported(syndrome) => write!(f, "stopped: {syndrome}"),
            Self::Hardware => f.write_str("stopped: SError"),
            Self::NoWorkspace => f.write_str("not started: no memory for its swap device"),
        }
    }
}

impl Reason {
    fn from_fault(fault: Fault, ipa: u64, write: bool) -> Self {
        match fault {
            Fault::Permission(_) if write => Self::ReadOnly(ipa),
            _ => Self::StrayAccess(ipa, write),
        }
    }
}

/// Why no machine was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartError {
    /// The bundle holds no such guest.
    NoSuchGuest,
    /// The bundle holds no pages.
    NoPages,
    /// The image cannot be started.
    Image(ImageError),
    /// The image does not fit into the guest's memory.
    ImageTooLarge,
    /// All [`MAX_VMS`] are in use.
    TooMany,
    /// There is no such core.
    NoSuchCore,
    /// Not enough free memory.
    OutOfMemory,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchGuest => f.write_str("the bundle holds no such guest (start with `cargo bale run`)"),
            Self::NoPages => f.write_str("the bundle holds no pages (start with `cargo bale run`)"),
            Self::Image(error) => write!(f, "the image cannot be started: {error}"),
            Self::ImageTooLarge => f.write_str("the image does not fit into the guest's memory"),
            Self::TooMany => write!(f, "{MAX_VMS} machines exist already; `vm list` shows them"),
            Self::NoSuchCore => f.write_str("there is no such core online; `cores` shows them"),
            Self::OutOfMemory => f.write_str("not enough free memory; `mem` shows it"),
        }
    }
}

/// What a machine is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No machine has been here.
    Empty,
    /// Running.
    Running,
    /// Ended.
    Ended(Reason),
}

/// What `vm list` prints of one.
#[derive(Debug, Clone, Copy)]
pub struct Summary {
    /// Number of its slot.
    pub slot: usize,
    /// How often a machine was started in the slot.
    pub generation: u32,
    /// Name of its guest.
    pub guest: &'static str,
    /// Core of its virtual CPU.
    pub core: usize,
    /// Running, or why not.
    pub state: State,
    /// Figures it reported, by [`report`] key minus one.
    pub figures: [u64; report::KEYS],
    /// Exits to the hypervisor.
    pub exits: u64,
    /// Hypercalls among them.
    pub calls: u64,
    /// Its swap device, as it was when it ended if it has.
    pub swap: Statistics,
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
            guest: "",
            core: 0,
            state: State::Empty,
            figures: [0; report::KEYS],
            exits: 0,
            calls: 0,
            swap: Statistics::new(),
            released: 0,
            release_ticks: 0,
            run_ticks: 0,
        }
    }
}

struct Status {
    summary: Summary,
    task: Option<TaskId>,
    waiter: Option<TaskId>,
    device: Option<&'static SwapDevice>,
    started: u64,
}

struct Slot {
    status: Lock<Status>,
    kill: AtomicBool,
    exits: AtomicU64,
    calls: AtomicU64,
    /// Taken by the machine's task when it starts.
    parts: Lock<Option<Parts>>,
}

/// What a machine's task owns.
struct Parts {
    memory: GuestMemory,
    entry: u64,
}

static SLOTS: [Slot; MAX_VMS] = [const { Slot::new() }; MAX_VMS];

impl Slot {
    const fn new() -> Self {
        Self {
            status: Lock::new(Status {
                summary: Summary::empty(),
                task: None,
                waiter: None,
                device: None,
                started: 0,
            }),
            kill: AtomicBool::new(false),
            exits: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            parts: Lock::new(None),
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

/// Starts a guest of the bundle on a core; the number of its slot.
///
/// # Errors
/// See [`StartError`]; nothing is left half-started.
pub fn start(guest: &'static str, mode: u64, core: usize, seed: u64) -> Result<usize, StartError> {
    let image = bundle::guest(guest).ok_or(StartError::NoSuchGuest)?;
    let pages = bundle::pages();
    if pages.is_empty() {
        return Err(StartError::NoPages);
    }
    if !cores::all().get(core).is_some_and(cores::Core::online) {
        return Err(StartError::NoSuchCore);
    }
    let index = reserve(guest, core).ok_or(StartError::TooMany)?;
    let slot = &SLOTS[index];
    let page_count = pages.len() / 4096;
    let info = GuestInfo {
        magic: INFO_MAGIC,
        mode,
        pages: page_count as u64,
        slots: device_slots(page_count) as u64,
        ram_size: RAM_SIZE,
        seed,
    };
    let started = GuestMemory::new(index, image, &info, pages).and_then(|(memory, entry)| {
        *slot.parts.lock() = Some(Parts { memory, entry });
        task::spawn("vcpu", core, task::VCPU, vcpu::task, index as u64).map_err(|_| {
            let parts = slot.parts.lock().take();
            if let Some(parts) = parts {
                parts.memory.release();
            }
            StartError::OutOfMemory
        })
    });
    match started {
        Ok(task) => {
            slot.status.lock().task = Some(task);
            defmt::info!("vm {} starts on core {}", index as u32, core as u32);
            Ok(index)
        }
        Err(error) => {
            slot.status.lock().summary.state = State::Empty;
            Err(error)
        }
    }
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

/// Takes the first slot that holds no running machine.
fn reserve(guest: &'static str, core: usize) -> Option<usize> {
    for (index, slot) in SLOTS.iter().enumerate() {
        let mut status = slot.status.lock();
        let over = status.task.is_none_or(task::is_over);
        if status.summary.state == State::Running || !over {
            continue;
        }
        let generation = status.summary.generation + 1;
        status.summary =
            Summary { slot: index, generation, guest, core, state: State::Running, ..Summary::empty() };
        status.started = clock::now();
        status.task = None;
        slot.kill.store(false, Ordering::Relaxed);
        slot.exits.store(0, Ordering::Relaxed);
        slot.calls.store(0, Ordering::Relaxed);
        return Some(index);
    }
    None
}

/// Asks a machine to end; false if none runs there. It ends at its next exit, which the request forces.
pub fn kill(index: usize) -> bool {
    let Some(slot) = SLOTS.get(index) else { return false };
    let core = {
        let status = slot.status.lock();
        if status.summary.state != State::Running {
            return false;
        }
        status.summary.core
    };
    slot.kill.store(true, Ordering::Release);
    crate::interrupts::raise(core, crate::interrupts::RESCHEDULE);
    true
}

/// Waits until the machine in a slot has ended; `None` if there never was one.
pub fn wait(index: usize) -> Option<Summary> {
    loop {
        {
            let mut status = SLOTS.get(index)?.status.lock();
            match status.summary.state {
                State::Empty => return None,
                State::Ended(_) => return Some(status.summary),
                State::Running => status.waiter = Some(task::current()),
            }
        }
        task::park_until(clock::now() + clock::from_us(100_000));
    }
}

/// Every machine that was ever started, one a slot.
pub fn summaries() -> impl Iterator<Item = Summary> {
    SLOTS.iter().filter_map(|slot| {
        let status = slot.status.lock();
        let mut summary = status.summary;
        if summary.state == State::Empty {
            return None;
        }
        summary.exits = slot.exits.load(Ordering::Relaxed);
        summary.calls = slot.calls.load(Ordering::Relaxed);
        if let Some(device) = status.device {
            summary.swap = device.statistics();
        }
        Some(summary)
    })
}

/// From the machine's task: it has ended and released everything.
fn ended(index: usize, reason: Reason, swap: Statistics, released: usize, release_ticks: u64) {
    let waiter = {
        let mut status = SLOTS[index].status.lock();
        status.device = None;
        status.summary.swap = swap;
        status.summary.released = released;
        status.summary.release_ticks = release_ticks;
        status.summary.run_ticks = clock::now() - status.started;
        status.summary.state = State::Ended(reason);
        status.waiter.take()
    };
    defmt::info!("vm {} ended, {} slots released", index as u32, released as u32);
    if let Some(waiter) = waiter {
        task::unpark(waiter);
    }
}
