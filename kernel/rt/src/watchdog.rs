//! The watchdog: names a core that takes no interrupts any more, and the task that runs there.
//!
//! A task on the boot core watches all others, and one on another core watches the boot core. Every
//! half of the limit a core that is at work gets an interrupt whose handler counts; one whose count
//! stands still for the whole limit is hung. Idle cores are left alone, since they do nothing but
//! wait for interrupts: nobody wakes them for this.
//!
//! While the boot core is hung, the one that watches it takes the devices' interrupts: what is said
//! still reaches the wire. The shell is the boot core's and answers no more.
//!
//! The boot argument `watchdog=SECONDS` changes the limit, 0 turns it off.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::clock::Patience;
use crate::cores::{self, Core, MAX_CORES};
use crate::task::{self, TaskId};
use crate::{clock, hooks, interrupts, trace};
use bale_memory::lock::Lock;

/// The core that boots, runs the shell and serves the devices.
const BOOT_CORE: usize = 0;
/// Seconds, without the boot argument.
pub const LIMIT: u64 = 4;
/// The longest limit, in seconds.
pub const LONGEST: u64 = 3600;
/// Half limits without an answer after which a core is hung.
const MISSED: u32 = 2;
/// Between two looks whether a watcher has ended.
const LOOK_US: u64 = 200;
/// How long a watcher may take to end.
const LEAVE_US: u64 = 4_000_000;
/// How long a core may take to an interrupt before it counts as one that takes none.
const ANSWER_US: u64 = 3_000_000;

/// Interrupts of the watchdog that each core has taken.
static ANSWERS: [AtomicU64; MAX_CORES] = [const { AtomicU64::new(0) }; MAX_CORES];
static HUNG: [AtomicBool; MAX_CORES] = [const { AtomicBool::new(false) }; MAX_CORES];
/// Ticks of half the limit; 0: nobody watches.
static HALF: AtomicU64 = AtomicU64::new(0);
/// The task that watches the boot core, and the core that it is on.
static OUTPOST: Lock<Option<(TaskId, usize)>> = Lock::new(None);
/// That task is told to end.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Whether a core was found hung, and has not answered since.
pub fn is_hung(core: usize) -> bool {
    HUNG[core].load(Ordering::Relaxed)
}

/// The interrupt of the watchdog: this core lives.
pub fn on_interrupt() {
    cores::count(&ANSWERS[cores::this_unpinned().index()]);
}

/// Whether a core takes interrupts now. In a task.
pub fn answers(core: usize) -> bool {
    let count = || ANSWERS[core].load(Ordering::Relaxed);
    let (before, mut patience) = (count(), Patience::of_us(ANSWER_US));
    interrupts::raise(core, interrupts::WATCHDOG);
    while count() == before {
        if patience.is_over() {
            return false;
        }
        task::sleep_us(LOOK_US);
    }
    true
}

/// Starts the watchers with a limit of so many seconds, on the boot core once all cores are online.
/// A limit of 0 starts none; alone, a core cannot be watched.
///
/// # Panics
/// Without a free task.
pub fn start(seconds: u64) {
    if seconds == 0 || cores::all().len() < 2 {
        return;
    }
    HALF.store(clock::from_us(seconds * 500_000), Ordering::Relaxed);
    let spawned = task::spawn("watchdog", 0, task::WATCHDOG, watch_others, 0);
    assert!(spawned.is_ok(), "no room for the watchdog");
    occupy();
}

/// Puts a watcher of the boot core onto another one, if there is one and it has none.
fn occupy() {
    let other = cores::all().iter().skip(1).find(|core| core.online()).map(Core::index);
    let Some(other) = other.filter(|_| OUTPOST.lock().is_none()) else { return };
    match task::spawn("watchdog", other, task::WATCHDOG, watch_boot_core, 0) {
        Ok(task) => *OUTPOST.lock() = Some((task, other)),
        Err(_) => defmt::warn!("no room for a watchdog of the boot core"),
    }
}

/// A core is about to leave, and counts as online no more: a watcher there goes elsewhere. False if
/// it did not end within a while, and stays. One task at a time calls this, or [`join`].
pub fn leave(core: usize) -> bool {
    let outpost = *OUTPOST.lock();
    let Some((task, _)) = outpost.filter(|(_, home)| *home == core) else { return true };
    let mut patience = Patience::of_us(LEAVE_US);
    // Release: pairs with the swap in `watch_boot_core`. Whoever takes the wish back first has it:
    // the watcher, which ends then, or this task, which gives up.
    ENDING.store(true, Ordering::Release);
    // Acquire: pairs with that swap too.
    while ENDING.load(Ordering::Acquire) {
        task::unpark(task);
        if patience.is_over() && ENDING.swap(false, Ordering::AcqRel) {
            return false;
        }
        task::sleep_us(LOOK_US);
    }
    *OUTPOST.lock() = None;
    occupy();
    true
}

/// A core has come.
pub fn join() {
    if HALF.load(Ordering::Relaxed) != 0 {
        occupy();
    }
}

/// What a watcher knows of a core.
#[derive(Clone, Copy)]
struct Watched {
    answers: u64,
    asked: bool,
    missed: u32,
}

const UNSEEN: Watched = Watched { answers: 0, asked: false, missed: 0 };

impl Watched {
    /// Looks at a core, and asks it for the next time.
    fn look(&mut self, core: &Core) {
        let answers = ANSWERS[core.index()].load(Ordering::Relaxed);
        let silent = self.asked && answers == self.answers;
        self.missed = if silent { self.missed + 1 } else { 0 };
        self.answers = answers;
        if !silent && HUNG[core.index()].swap(false, Ordering::Relaxed) {
            serve_devices(core, BOOT_CORE);
            hooks::say(format_args!("bale: core {} takes interrupts again", core.index()));
        }
        if self.missed == MISSED && !HUNG[core.index()].swap(true, Ordering::Relaxed) {
            serve_devices(core, cores::this_unpinned().index());
            accuse(core);
        }
        self.asked = core.online() && (silent || is_at_work(core));
        if self.asked {
            interrupts::raise(core.index(), interrupts::WATCHDOG);
        }
    }
}

/// Where the core that was found hung, or to be well again, is the one that serves the devices,
/// another one does it from now on: without the UART's interrupt nothing longer than its FIFO would
/// be said of this.
fn serve_devices(found: &Core, server: usize) {
    if found.index() == BOOT_CORE {
        interrupts::route_devices(server);
    }
}

fn is_at_work(core: &Core) -> bool {
    task::running_on(core).is_some() || core.in_interrupt.load(Ordering::Relaxed)
}

fn accuse(core: &Core) {
    let half = HALF.load(Ordering::Relaxed);
    let (index, seconds) = (core.index(), clock::to_us(half * u64::from(MISSED)) / 1_000_000);
    match task::running_on(core) {
        Some((task, name)) => {
            hooks::say(format_args!(
                "bale: core {index} has taken no interrupt for {seconds} s; task {task} ({name}) runs there"
            ));
        }
        None => hooks::say(format_args!(
            "bale: core {index} has taken no interrupt for {seconds} s; it is in an interrupt's handler"
        )),
    }
    if index == BOOT_CORE {
        hooks::say(format_args!("bale: the shell is on that core"));
    }
    if let Some(event) = trace::events(index).last().filter(|_| trace::is_on()) {
        hooks::say(format_args!(
            "bale: the last that core {index} traced: {} {} {}",
            event.kind.word(),
            event.number,
            event.name
        ));
    }
}

extern "C" fn watch_others(_argument: u64) -> ! {
    let mut seen = [UNSEEN; MAX_CORES];
    loop {
        task::sleep_until(clock::now() + HALF.load(Ordering::Relaxed));
        for (core, watched) in cores::all().iter().zip(&mut seen).skip(1) {
            watched.look(core);
        }
    }
}

extern "C" fn watch_boot_core(_argument: u64) -> ! {
    let mut seen = UNSEEN;
    let mut next = clock::now() + HALF.load(Ordering::Relaxed);
    loop {
        task::park_until(next);
        // AcqRel: pairs with the store and the swap in `leave`.
        if ENDING.swap(false, Ordering::AcqRel) {
            // The boot core asked for this, so it is well, whether this task has seen it or not.
            interrupts::route_devices(BOOT_CORE);
            task::exit();
        }
        if clock::now() >= next {
            next = clock::now() + HALF.load(Ordering::Relaxed);
            seen.look(&cores::all()[BOOT_CORE]);
        }
    }
}
