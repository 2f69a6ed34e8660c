//! Virtual machines: up to [`MAX_VMS`] at once, each with one or more virtual CPUs that are tasks
//! of cores.
//!
//! | module | what it does |
//! |---|---|
//! | [`build`] | a machine from its description: memory, kernel, initial RAM disk, device tree |
//! | [`memory`] | frames behind stage 2, and access to them |
//! | [`held`], [`room`] | a machine held to less memory than it has: cold pages into the store and back; room for a page that a device needs |
//! | [`vcpu`], [`waiting`], [`loaded`] | the task that enters the guest; one that does not run; whose state a core has loaded |
//! | [`workspace`] | what a small guest's slot keeps |
//! | [`delivery`] | interrupts to virtual CPUs: list registers, virtual timer, waking and kicking |
//! | [`branches`] | what is done about the history of a guest's branches |
//! | [`offered`] | what guests are offered of the cores: identification registers, and what follows from them |
//! | [`trap`] | what a guest comes out for: calls, aborts, system registers, device registers |
//! | [`accesses`] | accesses to what its memory does not map |
//! | [`devices`], [`console`] | the device bus; what a guest says and is told |
//! | [`disk`], [`port`] | its swap disk; its virtio console; who of the virtual CPUs serves them is [`bale_core::turn`]'s |
//! | [`writeback`] | cold pages from it to the disk behind it |
//! | [`reserve`] | memory that is kept for what machines were promised to store |
//! | [`reported`] | what user space of a guest tells of its swap |
//! | [`medium`], [`store`] | a swap device with its memory; a machine's swap device for others than the guest |
//! | [`slot`], [`summary`] | what there is of a machine whether it runs or not; what is told of it |
//! | [`ending`], [`reasons`] | how a machine ends; why it did, or was not started |
//! | [`sharing`] | its part of the cores, and its limit |
//! | [`alarm`] | the clock of the day, and its alarm |
//! | [`flash`] | firmware's variables |
//! | [`testdev`], [`semihosting`] | how a test suite says what came of it |
//! | [`relay`] | the bytes of a guest that has the serial line to itself |
//! | [`hypercall`], [`firmware`] | calls: Bale's own for small guests; PSCI and SMCCC |
//!
//! A machine ends for a [`Reason`]; nothing that a guest does ends more than that guest. When it
//! ends, everything it stored goes into the deferred rings in runs and its memory goes back at
//! once; the drain finishes later, and the books say when.
//!
//! Lock order: a machine's [`Slot`] locks before everything of the pool and the frames; its UART
//! before its interrupt controller.
#![no_std]
#![cfg(target_arch = "aarch64")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "usize is 64 bits here; narrower casts take fields of registers or indexes of small tables"
)]
#![allow(
    clippy::result_large_err,
    reason = "an error of the shell or of a test is its one line of text, off every hot path"
)]

mod accesses;
mod alarm;
pub mod branches;
mod build;
mod console;
mod delivery;
mod devices;
mod disk;
mod ending;
mod firmware;
mod flash;
mod held;
mod hypercall;
mod loaded;
mod medium;
mod memory;
mod offered;
mod port;
mod reasons;
pub mod relay;
mod reported;
mod reserve;
mod room;
mod semihosting;
mod sharing;
mod slot;
pub mod store;
mod summary;
mod testdev;
mod trap;
mod vcpu;
mod waiting;
mod workspace;
pub mod writeback;

use core::sync::atomic::Ordering;

use bale_abi::{GuestInfo, INFO_MAGIC, RAM_SIZE, mode};
use bale_core::fair_share::SHARES;
use bale_core::restarts::Restarts;
use bale_core::vgic::MAX_VCPUS;
use bale_swap::Codec;

use bale_io::backing::Region;
use bale_io::bundle;
use bale_reclaim::pool::Kernel;
use bale_rt::{clock, cores, task};
use ending::{ended, forget_device, note_holding, note_swap, release_memory, settle};
use memory::GuestMemory;
use slot::{Kind, SLOTS, Shared, Slot};

pub use build::start_described;
pub use console::{attach, detach, has_room, send};
pub use delivery::{on_counter_overflow, on_maintenance, on_physical_timer, on_virtual_timer};
pub use ending::{kill, stop, wait, wait_while};
pub use held::Holding;
pub use offered::learn_identification;
pub use reasons::{HoldError, LEAST_HELD, Reason, StartError};
pub use sharing::{limit, set_cpu_limit, set_shares};
pub use summary::{Name, State, Summary, summaries, vcpus};
pub use workspace::SCRATCH;

/// The swap device of a guest.
pub type SwapDevice = bale_swap::Device<'static, Kernel>;
/// The same in front of a region of the disk.
pub type SwapCache = bale_swap::Cache<'static, Kernel, Region>;

/// Machines at most.
pub const MAX_VMS: usize = 4;

/// Starts a small guest of the bundle on a core, with what it needs for this mode; the number of
/// its slot.
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
    // On two cores where it spreads, if there are two, so that its virtual CPUs both run at once
    // and take turns.
    let pair = [core, if shape.spreads { (core + online - 1) % online } else { core }];
    let cores: heapless::Vec<usize, MAX_VCPUS> =
        (0..shape.vcpus).map(|number| pair[number % 2]).collect();
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
    SLOTS[index].devices.port.plug(shape.port);
    let filled =
        SLOTS[index].devices.disk.plug(shape.disk, false, store::setup(Codec::Page)).and_then(
            |store| {
                let filled = GuestMemory::new(index, image, &info, pages)?;
                SLOTS[index].status.lock().store = store;
                Ok(filled)
            },
        );
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
    /// It has a virtio console.
    port: bool,
}

impl Shape {
    fn of(mode: u64) -> Self {
        let disk = bale_abi::measure::SLOTS as usize;
        match mode {
            mode::MEASURE
            | mode::FIRMWARE
            | mode::SIMD
            | mode::TIMERS
            | mode::STANDING
            | mode::DEBUG
            | mode::PHYSICAL_TIMER
            | mode::MONITORS => {
                Self { vcpus: 2, kind: Kind::Full, spreads: false, disk, port: false }
            }
            mode::REGISTERS | mode::ACCESSES | mode::ALARM | mode::TURNS => {
                Self { vcpus: 1, kind: Kind::Full, spreads: false, disk: 0, port: false }
            }
            mode::CROWD => Self {
                vcpus: bale_abi::CROWD_VCPUS as usize,
                kind: Kind::Full,
                spreads: false,
                disk: 0,
                port: false,
            },
            // It has the small guests' calls for something.
            mode::STORM_CALLS => {
                Self { vcpus: 1, kind: Kind::Small, spreads: false, disk: 0, port: false }
            }
            mode::STORM | mode::FIRST_STORM..=mode::LAST_STORM => Self {
                vcpus: bale_abi::STORM_VCPUS as usize,
                kind: Kind::Full,
                spreads: true,
                disk,
                port: true,
            },
            _ => Self { vcpus: 1, kind: Kind::Small, spreads: false, disk: 0, port: false },
        }
    }
}

/// Starts the virtual CPUs of a machine whose memory is ready, the first one at `entry` with
/// `argument` in x0.
fn launch(
    index: usize,
    memory: GuestMemory,
    entry: u64,
    argument: u64,
) -> Result<usize, StartError> {
    let slot = &SLOTS[index];
    let vcpus = slot.status.lock().summary.vcpus;
    *slot.memory.write() = Some(memory);
    // All are off since the slot was renewed.
    slot.power.turn_on(0, entry, argument);
    slot.live.store(vcpus, Ordering::Release);
    for number in 0..vcpus {
        let shared = &slot.vcpus[number];
        let core = shared.core.load(Ordering::Relaxed);
        let argument = (index * MAX_VCPUS + number) as u64;
        // The task says itself which one it is, before it waits for anything.
        if task::spawn("vcpu", core, task::VCPU, vcpu::task, argument).is_err() {
            // Those that run end by themselves, the last one tidies up; without any, it is done
            // here.
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
    // Nothing was ever stored on it, but somebody may be looking at it.
    if let Some(disk) = slot.devices.disk.unplug() {
        slot.wait_for_store_users();
        disk.release();
    }
    slot.status.lock().summary.state = State::Empty;
    error
}

/// Slots of a swap device: room for every page, and a quarter more.
fn device_slots(pages: usize) -> usize {
    pages + pages / 4
}

/// Makes what every slot keeps from one machine to the next. Once, at boot, with the pool and the
/// bundle in place.
pub fn prepare() {
    if offered::has_forced_write_back() {
        bale_arch::mmu::force_write_back();
    }
    let pages = bundle::pages().len() / 4096;
    if pages > 0 {
        workspace::prepare(device_slots(pages));
    }
}

/// Takes the first slot that holds no machine any more, for one with a virtual CPU on each of these
/// cores.
fn reserve(guest: &str, cores: &[usize], memory: u64, kind: Kind) -> Option<usize> {
    for (index, slot) in SLOTS.iter().enumerate() {
        let mut status = slot.status.lock();
        let busy = matches!(status.summary.state, State::Running | State::Paused);
        if busy || slot.has_tasks() {
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
        status.restarts = Restarts::new();
        status.still_since = None;
        drop(status);
        slot.stop.store(false, Ordering::Relaxed);
        *slot.reason.lock() = None;
        slot.paused.store(false, Ordering::Relaxed);
        slot.times_limited.store(0, Ordering::Relaxed);
        sharing::set(index, SHARES, None);
        *slot.kind.lock() = kind;
        slot.console.reset();
        slot.renew(Some(cores));
        return Some(index);
    }
    None
}

/// Makes every virtual CPU look at what has changed around it.
pub fn kick_all() {
    SLOTS.iter().for_each(Slot::kick_all);
}

/// Lets a machine stand still, or go on; false if none runs there or it does so already. Its
/// virtual counter stands still with it: for the guest no time has passed.
pub fn pause(index: usize, still: bool) -> bool {
    let Some(slot) = SLOTS.get(index) else { return false };
    {
        let status = &mut *slot.status.lock();
        match (status.summary.state, still) {
            (State::Running, true) => status.summary.state = State::Paused,
            (State::Paused, false) => {
                status.summary.state = State::Running;
                // None of its virtual CPUs is in the guest, so that none sees the counter step
                // back, or another one's ahead of its own.
                if let Some(since) = status.still_since.take() {
                    let stood = clock::now() - since;
                    // Relaxed: each virtual CPU looks behind the kick below.
                    slot.counter_offset.fetch_add(stood, Ordering::Relaxed);
                }
            }
            _ => return false,
        }
    }
    slot.paused.store(still, Ordering::Release);
    slot.kick_all();
    if still {
        // Only then is what they have read of the counter behind us. An interrupt brings each out.
        while slot.is_in_guest() {
            task::sleep_us(OUT_US);
        }
        let mut status = slot.status.lock();
        if status.summary.state == State::Paused {
            status.still_since = Some(clock::now());
        }
    }
    true
}

/// Between two looks at whether virtual CPUs have left the guest.
const OUT_US: u64 = 50;

/// Holds a machine's memory to so many bytes from now on, until it ends or is started anew: its
/// virtual CPUs put out what is more. All of its memory again: what comes back stays.
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
            most if !(LEAST_HELD..=most).contains(&bytes) => {
                return Err(HoldError::OutOfRange(most));
            }
            _ => memory.hold(bytes).map_err(|_| HoldError::NoStore)?,
        }
    }
    slot.kick_all();
    Ok(())
}
