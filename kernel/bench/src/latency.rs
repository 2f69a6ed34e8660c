//! How long the kernel's own work takes: switches, semaphores, mutexes, from an interrupt to the
//! task it wakes.
//!
//! Each is a distribution over many rounds on one core: its mean, and behind `-spread` its
//! percentiles. Rounds that the timer's interrupt falls into are part of it.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bale_arch::counter;
use bale_arch::mask::Masked;
use bale_core::histogram::Histogram;

use super::counting::overhead;
use super::report::Hundredths;
use super::{BenchError, Report, go_on};
use bale_rt::sync::{Mutex, MutexGuard, Semaphore};
use bale_rt::{clock, cores, interrupts, task, test_interrupt};

type Result<T> = core::result::Result<T, BenchError<'static>>;

/// Between two looks whether somebody wants to stop.
const LOOK_US: u64 = 50_000;
/// For whatever is waited for.
const LIMIT_US: u64 = 60_000_000;
/// Rounds of each.
const ROUNDS: u32 = 2_000;

/// Behind a mutex of tasks: going over all of it takes longer than interrupts may be masked.
static SAMPLES: Mutex<Histogram> = Mutex::new(Histogram::new());
static STARTED: AtomicU32 = AtomicU32::new(0);
/// Rounds that are left.
static LEFT: AtomicU32 = AtomicU32::new(0);
/// Tasks end behind their round.
pub(super) static STOP: AtomicBool = AtomicBool::new(false);
/// Given by each task that ends: one for each core, and some.
static ENDED: Semaphore = Semaphore::new(0, 32);

fn record(since: u32, overhead: u32) {
    record_at(counter::read(), since, overhead);
}

fn record_at(now: u32, since: u32, overhead: u32) {
    let value = now.wrapping_sub(since).saturating_sub(overhead);
    // One task at a time is here, and none of them holds it when it ends.
    if let Ok(mut samples) = SAMPLES.lock() {
        samples.record(u64::from(value));
    }
}

pub(super) fn samples() -> Result<MutexGuard<'static, Histogram>> {
    SAMPLES.lock().map_err(|_| BenchError::Broken("the samples are locked for good"))
}

/// Starts a task on this core.
pub(super) fn spawn(priority: u8, entry: extern "C" fn(u64) -> !, argument: u64) -> Result<()> {
    let masked = Masked::new();
    let core = cores::this(&masked).index();
    drop(masked);
    spawn_on(core, priority, entry, argument)
}

pub(super) fn spawn_on(
    core: usize,
    priority: u8,
    entry: extern "C" fn(u64) -> !,
    argument: u64,
) -> Result<()> {
    task::spawn("bench", core, priority, entry, argument).map(drop).map_err(|_| BenchError::NoTask)
}

/// No sample yet, and so many rounds to go.
pub(super) fn prepare(rounds: u32) -> Result<()> {
    // Of tasks that ended after somebody had given up waiting.
    while ENDED.try_take() {}
    samples()?.clear();
    again(rounds);
    STOP.store(false, Ordering::Relaxed);
    Ok(())
}

/// So many rounds more, whose samples come to those that are there.
pub(super) fn again(rounds: u32) {
    LEFT.store(rounds, Ordering::Relaxed);
}

fn begin() -> Result<u32> {
    let overhead = overhead().ok_or(BenchError::NoCounter)?;
    prepare(ROUNDS)?;
    Ok(overhead)
}

fn finish(report: &Report, name: &'static str, spread: &'static str) -> Result<()> {
    let samples = samples()?;
    let mean = samples.mean_hundredths().ok_or(BenchError::Broken("no round was measured"))?;
    report.figure(name, Hundredths(mean), report.units().per_operation, samples.count());
    report.spread(spread, &samples, report.units().plain);
    Ok(())
}

/// Rounds that are to go.
pub(super) fn left() -> u32 {
    LEFT.load(Ordering::Relaxed)
}

/// Waits until no more than so many rounds are to go.
pub(super) fn wait_while_left(more_than: u32) -> Result<()> {
    let deadline = clock::now() + clock::from_us(LIMIT_US);
    while left() > more_than {
        if clock::now() >= deadline {
            return Err(BenchError::Broken("a task of the benchmark does not go on"));
        }
        go_on()?;
        task::sleep_us(LOOK_US);
    }
    Ok(())
}

/// Waits until so many tasks have ended; told to stop, they do so behind the round at hand.
pub(super) fn wait_for(tasks: u32) -> Result<()> {
    let deadline = clock::now() + clock::from_us(LIMIT_US);
    let (mut working, mut outcome) = (tasks, Ok(()));
    while working > 0 {
        if ENDED.take_until(clock::now() + clock::from_us(LOOK_US)) {
            working -= 1;
        } else if clock::now() >= deadline {
            // They end as soon as they can, and nobody waits for them.
            LEFT.store(0, Ordering::Relaxed);
            return Err(BenchError::Broken("a task of the benchmark did not end"));
        } else if go_on().is_err() {
            outcome = Err(BenchError::Stopped);
            LEFT.store(0, Ordering::Relaxed);
        }
    }
    outcome
}

pub(super) fn end() -> ! {
    let _ = ENDED.give();
    task::exit()
}

/// One more round to go?
pub(super) fn another() -> bool {
    let left = LEFT.load(Ordering::Relaxed);
    LEFT.store(left.saturating_sub(1), Ordering::Relaxed);
    left > 0
}

/// From a voluntary yield to the next task, behind its own yield.
pub(super) fn switch(report: &mut Report) -> Result<()> {
    extern "C" fn player(overhead: u64) -> ! {
        while another() {
            STARTED.store(counter::read(), Ordering::Relaxed);
            task::yield_now();
            // Of the other one, which yielded here; the last has nobody to yield to.
            let now = counter::read();
            if ENDED.count() == 0 {
                record_at(now, STARTED.load(Ordering::Relaxed), overhead as u32);
            }
        }
        end()
    }
    let overhead = begin()?;
    for _ in 0..2 {
        spawn(task::VCPU, player, overhead.into())?;
    }
    wait_for(2)?;
    finish(report, "switch", "switch-spread")
}

/// Give and take of a semaphore that nobody else is at.
pub(super) fn semaphore(report: &mut Report) -> Result<()> {
    static UNCONTENDED: Semaphore = Semaphore::new(0, 1);
    let overhead = begin()?;
    for _ in 0..ROUNDS {
        let since = counter::read();
        let given = UNCONTENDED.give();
        UNCONTENDED.take();
        record(since, overhead);
        given.map_err(|_| BenchError::Broken("a semaphore was not empty"))?;
    }
    finish(report, "semaphore", "semaphore-spread")
}

/// Lock and unlock of a mutex that nobody else is at.
pub(super) fn mutex(report: &mut Report) -> Result<()> {
    static UNCONTENDED: Mutex<u64> = Mutex::new(0);
    let overhead = begin()?;
    for _ in 0..ROUNDS {
        let since = counter::read();
        let locked = UNCONTENDED.lock().map(|mut value| *value += 1);
        record(since, overhead);
        locked.map_err(|_| BenchError::Broken("a mutex was not free"))?;
    }
    finish(report, "mutex", "mutex-spread")
}

static CONTENDED: Mutex<u64> = Mutex::new(0);
static TURN: Semaphore = Semaphore::new(0, 1);

/// From the unlock of a mutex to the more urgent task that waited for it.
pub(super) fn hand_over(report: &mut Report) -> Result<()> {
    extern "C" fn urgent(overhead: u64) -> ! {
        loop {
            TURN.take();
            if STOP.load(Ordering::Acquire) {
                end();
            }
            if let Ok(mut value) = CONTENDED.lock() {
                record(STARTED.load(Ordering::Relaxed), overhead as u32);
                *value += 1;
            }
        }
    }
    extern "C" fn holder(_argument: u64) -> ! {
        while another() {
            if let Ok(value) = CONTENDED.lock() {
                // The urgent task runs at once, finds the mutex taken, and waits.
                let _ = TURN.give();
                STARTED.store(counter::read(), Ordering::Relaxed);
                drop(value);
            }
        }
        STOP.store(true, Ordering::Release);
        let _ = TURN.give();
        end()
    }
    let overhead = begin()?;
    spawn(task::DRAIN, urgent, overhead.into())?;
    spawn(task::VCPU, holder, 0)?;
    wait_for(2)?;
    finish(report, "hand-over", "hand-over-spread")
}

/// From the instruction behind which an interrupt is taken to the first of the task that its
/// handler wakes.
pub(super) fn interrupt(report: &mut Report) -> Result<()> {
    extern "C" fn woken(overhead: u64) -> ! {
        loop {
            test_interrupt::ARRIVED.take();
            let since = STARTED.load(Ordering::Relaxed);
            if STOP.load(Ordering::Acquire) {
                end();
            }
            record(since, overhead as u32);
        }
    }
    extern "C" fn interrupted(core: u64) -> ! {
        while another() {
            let masked = Masked::new();
            interrupts::raise(core as usize, interrupts::TEST);
            STARTED.store(counter::read(), Ordering::Relaxed);
            drop(masked);
        }
        STOP.store(true, Ordering::Release);
        let _ = test_interrupt::ARRIVED.give();
        end()
    }
    let overhead = begin()?;
    while test_interrupt::ARRIVED.try_take() {}
    let masked = Masked::new();
    let core = cores::this(&masked).index() as u64;
    drop(masked);
    spawn(task::DRAIN, woken, overhead.into())?;
    spawn(task::VCPU, interrupted, core)?;
    wait_for(2)?;
    finish(report, "interrupt-to-task", "interrupt-to-task-spread")
}

/// Longest stretch with interrupts masked while tasks on every core print, free, drain, contend and
/// wait; in nanoseconds of the counter, which are instructions where those are counted. What
/// benchmarks mask themselves, to measure it, is left out.
pub(super) fn masked(report: &mut Report) -> Result<()> {
    report_longest_masked(report, "longest-masked")
}

/// The same, behind storms that guests make of everything they can reach.
pub(super) fn masked_beside_storms(report: &mut Report) -> Result<()> {
    report_longest_masked(report, "longest-masked-storms")
}

fn report_longest_masked(report: &mut Report, name: &str) -> Result<()> {
    let longest = cores::all().iter().map(cores::Core::longest_masked).max().unwrap_or(0);
    let nanoseconds = clock::to_us(longest.saturating_mul(1000));
    report.figure(name, Hundredths(nanoseconds.saturating_mul(100)), "ns", 1);
    Ok(())
}

/// From the first Rust line to the shell, with all cores up.
pub(super) fn boot(report: &mut Report) -> Result<()> {
    report.figure("boot", Hundredths(bale_rt::platform::boot_us().saturating_mul(100)), "us", 1);
    Ok(())
}
