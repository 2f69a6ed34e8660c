//! Tasks of a benchmark on several cores: they begin together, and end when they are told to.
//!
//! One benchmark at a time has them. Whoever asks waits with a limit and looks for Ctrl-C; tasks
//! that do not end, on a core that hangs for instance, are remembered, and no further benchmark
//! begins beside them.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use heapless::Vec;

use super::{BenchError, go_on};
use bale_rt::cores::{self, MAX_CORES};
use bale_rt::{clock, task, watchdog};

type Result<T> = core::result::Result<T, BenchError<'static>>;

/// For all that the tasks do.
const LIMIT_US: u64 = 300_000_000;
/// For tasks that were told to end.
const END_US: u64 = 20_000_000;
/// Between two looks.
const LOOK_US: u64 = 100;

/// Tasks that were started, and have not ended.
static RUNNING: AtomicU32 = AtomicU32::new(0);
static READY: AtomicU32 = AtomicU32::new(0);
static STOP: AtomicBool = AtomicBool::new(false);

/// Tasks that were started; told to end when this is dropped before they have.
pub(super) struct Team {
    size: u32,
    deadline: u64,
}

/// The first `count` of the cores that are online, or the last.
pub(super) fn choose(count: usize, from_last: bool) -> Vec<usize, MAX_CORES> {
    let skipped = if from_last { cores::online().saturating_sub(count) } else { 0 };
    cores::indexes().skip(skipped).take(count).collect()
}

/// An error if one of these cores takes no interrupts: tasks there would never end.
pub(super) fn all_answer(cores: &[usize]) -> Result<()> {
    cores
        .iter()
        .find(|core| !watchdog::answers(**core))
        .map_or(Ok(()), |core| Err(BenchError::Hung(*core)))
}

/// Starts a task on each of these cores. It gets the number of all, and calls [`begin_together`]
/// and [`end`].
pub(super) fn start(
    name: &'static str,
    cores: &[usize],
    entry: extern "C" fn(u64) -> !,
) -> Result<Team> {
    if RUNNING.load(Ordering::Acquire) != 0 {
        return Err(BenchError::Broken(
            "tasks of an earlier benchmark have not ended; `tasks` shows where",
        ));
    }
    all_answer(cores)?;
    // Relaxed: a task sees both as it sees that it was spawned.
    READY.store(0, Ordering::Relaxed);
    STOP.store(false, Ordering::Relaxed);
    let team = Team { size: cores.len() as u32, deadline: clock::now() + clock::from_us(LIMIT_US) };
    for core in cores {
        RUNNING.fetch_add(1, Ordering::Relaxed);
        if task::spawn(name, *core, task::VCPU, entry, cores.len() as u64).is_err() {
            RUNNING.fetch_sub(1, Ordering::Relaxed);
            return Err(BenchError::NoTask);
        }
    }
    Ok(team)
}

impl Team {
    /// Waits until all are ready to begin.
    pub(super) fn wait_ready(&self) -> Result<()> {
        // Acquire: pairs with the release in `begin_together`.
        self.wait(|| READY.load(Ordering::Acquire) >= self.size)
    }

    /// Waits until all have ended.
    pub(super) fn wait_ended(&self) -> Result<()> {
        self.wait(|| self.has_ended())
    }

    /// Whether all have ended.
    pub(super) fn has_ended(&self) -> bool {
        // Acquire: pairs with the release in `end`.
        RUNNING.load(Ordering::Acquire) == 0
    }

    fn wait(&self, done: impl Fn() -> bool) -> Result<()> {
        while !done() {
            self.look()?;
        }
        Ok(())
    }

    /// A pause; an error once it is time to give up.
    pub(super) fn look(&self) -> Result<()> {
        go_on()?;
        if clock::now() > self.deadline {
            return Err(BenchError::Broken("the tasks of the benchmark do not get done"));
        }
        task::sleep_us(LOOK_US);
        Ok(())
    }

    /// Tells the tasks to end, and waits for that.
    pub(super) fn stop(&self) -> Result<()> {
        // Release: pairs with the acquire in `stopped`.
        STOP.store(true, Ordering::Release);
        let deadline = clock::now() + clock::from_us(END_US);
        while !self.has_ended() {
            if clock::now() > deadline {
                return Err(BenchError::Broken("a task of the benchmark did not end"));
            }
            task::sleep_us(LOOK_US);
        }
        Ok(())
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        // Those that do not end are remembered by their number.
        let _ = self.stop();
    }
}

/// From a task: whether it is to end.
pub(super) fn stopped() -> bool {
    // Acquire: pairs with the release in `Team::stop`.
    STOP.load(Ordering::Acquire)
}

/// From a task that has prepared what it needs: waits for the others; false if it is to end
/// instead.
pub(super) fn begin_together(size: u64) -> bool {
    // Release: pairs with the acquires here and in `Team::wait_ready`.
    READY.fetch_add(1, Ordering::Release);
    while u64::from(READY.load(Ordering::Acquire)) < size {
        if stopped() {
            return false;
        }
        task::yield_now();
    }
    true
}

/// The task is over.
pub(super) fn end() -> ! {
    // Release: pairs with the acquire in `Team::has_ended`.
    RUNNING.fetch_sub(1, Ordering::Release);
    task::exit()
}
