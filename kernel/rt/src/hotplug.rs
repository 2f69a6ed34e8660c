//! Cores that come and go.
//!
//! A core leaves in this order: nothing new is started there ([`task::spawn`] refuses); its drain
//! tasks end, and those of other cores' rings that were its guests go elsewhere; its free tasks
//! move ([`task::spawn_free`]); no task is left; its idle task, with interrupts masked, turns timer
//! and interrupt interface off and itself by PSCI; once firmware says that it is off its ring is
//! emptied by whoever asked. It comes back by the way of the boot. A task that is pinned, a virtual
//! CPU for instance, keeps the core: nothing has changed then.
//!
//! One task at a time does this.

use core::fmt;
use core::sync::atomic::Ordering;

use bale_arch::entry::{SecondaryBoot, bale_secondary_entry};
use bale_arch::mmu;
use heapless::Vec;
use smccc::psci::error::Error;
use spin::Once;

use crate::clock::Patience;
use crate::cores::{self, Core, MAX_CORES};
use crate::sync::{IN_ORDER, Mutex};
use crate::{hooks, interrupts, power, task, watchdog};
use bale_memory::map;

/// How long a core may take to come: firmware may have to be waited for, and under an emulator a
/// busy host.
const COME_US: u64 = 10_000_000;
/// How long it may take to go.
const GO_US: u64 = 4_000_000;
/// Between two looks.
const LOOK_US: u64 = 100;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Why a core does not come or go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is no such core.
    NoSuchCore,
    /// The boot core has the console's interrupt and the shell.
    BootCore,
    /// It is online, or off, already.
    Already,
    /// A task of this name is there.
    Used(&'static str),
    /// It did not come or go in time.
    Late,
    /// It takes no interrupts.
    Hung,
    /// Firmware says no.
    Firmware(Error),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchCore => write!(f, "there is no such core; `cores` lists them"),
            Self::BootCore => f.write_str("core 0 has the console and the shell, and stays"),
            Self::Already => f.write_str("it is so already"),
            Self::Used(name) => {
                write!(f, "task {name} belongs there; `tasks` and `vm list` tell more")
            }
            Self::Late => f.write_str("it has not done so in time; `tasks` says what runs there"),
            Self::Hung => f.write_str("it takes no interrupts; `tasks` says what runs there"),
            Self::Firmware(error) => write!(f, "PSCI says {error}"),
        }
    }
}

/// Starts every other core and waits for those that were accepted. On the boot core, once.
pub fn start_all() {
    let mut started: Vec<&Core, MAX_CORES> = Vec::new();
    for core in cores::all().iter().skip(1) {
        match start(core) {
            Ok(()) => drop(started.push(core)),
            Err(error) => {
                hooks::say(format_args!(
                    "bale: core {} ({:#x}) stays off: PSCI says {error}",
                    core.index(),
                    core.affinity()
                ));
            }
        }
    }
    let mut patience = Patience::of_us(COME_US);
    for core in started {
        while !core.online() {
            if patience.is_over() {
                hooks::say(format_args!(
                    "bale: core {} was started and did not come up within {} s",
                    core.index(),
                    COME_US / 1_000_000
                ));
                break;
            }
            core::hint::spin_loop();
        }
    }
}

/// Lets a core begin with the road of the boot.
fn start(core: &Core) -> Result<(), Error> {
    static BLOCKS: Once<Vec<SecondaryBoot, MAX_CORES>> = Once::new();
    let blocks = BLOCKS.call_once(|| {
        let block = |index| SecondaryBoot {
            tables: map::root(),
            translation_control: mmu::translation_control(),
            memory_attributes: mmu::MEMORY_ATTRIBUTES,
            system_control: mmu::SYSTEM_CONTROL,
            stack_top: task::idle_stack(index),
            argument: index as u64,
        };
        (0..cores::all().len()).map(block).collect()
    });
    let block = core::ptr::from_ref(&blocks[core.index()]) as u64;
    // The new core reads its block with caches off.
    mmu::clean_invalidate(block, size_of::<SecondaryBoot>());
    power::cpu_on(core.affinity(), bale_secondary_entry as *const () as u64, block)
}

fn find(index: usize) -> Result<&'static Core, Refused> {
    match cores::all().get(index) {
        None => Err(Refused::NoSuchCore),
        Some(core) if core.index() == 0 => Err(Refused::BootCore),
        Some(core) => Ok(core),
    }
}

/// Waits, in a task, until something is so, for so long at most.
fn wait_until(limit_us: u64, mut so: impl FnMut() -> bool) -> bool {
    let mut patience = Patience::of_us(limit_us);
    while !so() {
        if patience.is_over() {
            return false;
        }
        task::sleep_us(LOOK_US);
    }
    true
}

/// Takes a core offline; how many handles its ring held at the end.
///
/// # Errors
/// [`Refused`]: the core is as it was, but for [`Refused::Late`] from one that was on its way out
/// already.
///
/// # Panics
/// Never: a caller holds no other lock.
pub fn take_offline(index: usize) -> Result<usize, Refused> {
    let _turn = ONE_AT_A_TIME.lock().expect(IN_ORDER);
    let core = find(index)?;
    if !core.online() {
        return Err(Refused::Already);
    }
    // Before a task is started there that would never run.
    if !watchdog::answers(index) {
        return Err(Refused::Hung);
    }
    core.set_online(false);
    let stays = |why| {
        core.set_online(true);
        join(index);
        // It may hang since it was asked.
        Err(if watchdog::answers(index) { why } else { Refused::Hung })
    };
    if !watchdog::leave(index) {
        return stays(Refused::Late);
    }
    // Refused for want of a task: then those that are there stay, and so does the core.
    let _ = task::evacuate(index);
    let moved = hooks::get().is_none_or(|hooks| (hooks.core_leaves)(index));
    if !moved || !wait_until(GO_US, || task::on_core(index).is_none()) {
        return stays(task::on_core(index).map_or(Refused::Late, Refused::Used));
    }
    // Release: pairs with the swap in `departure::leave`.
    core.leaving.store(true, Ordering::Release);
    interrupts::raise(index, interrupts::RESCHEDULE);
    if !wait_until(GO_US, || power::is_off(core.affinity()) || core.online()) {
        // AcqRel: pairs with the swap in `departure::leave`. Whoever takes the wish back first has
        // it.
        return if core.leaving.swap(false, Ordering::AcqRel) {
            stays(Refused::Late)
        } else {
            Err(Refused::Late)
        };
    }
    if core.online() {
        join(index);
        return Err(Refused::Firmware(Error::Denied));
    }
    let mut emptied = 0;
    let empty = wait_until(GO_US, || {
        match hooks::get().map_or(Some(0), |hooks| (hooks.core_left)(index)) {
            Some(count) => {
                emptied = count;
                true
            }
            None => false,
        }
    });
    if empty { Ok(emptied) } else { Err(Refused::Late) }
}

/// Brings a core back.
///
/// # Errors
/// [`Refused`].
///
/// # Panics
/// As [`take_offline`].
pub fn bring_online(index: usize) -> Result<(), Refused> {
    let _turn = ONE_AT_A_TIME.lock().expect(IN_ORDER);
    let core = find(index)?;
    if core.online() {
        return Err(Refused::Already);
    }
    start(core).map_err(Refused::Firmware)?;
    if !wait_until(COME_US, || core.online()) {
        return Err(Refused::Late);
    }
    join(index);
    Ok(())
}

/// What runs on every core, or on one of those that there are, begins.
fn join(index: usize) {
    if let Some(hooks) = hooks::get() {
        (hooks.core_joins)(index);
    }
    watchdog::join();
}
