//! How late a periodic task wakes, in the manner of cyclictest: alone, beside a drain at work and
//! tasks that take a mutex from one another, and beside guests that storm everything they can
//! reach.
//!
//! Late is from the moment that the task asked for to its first instruction; under QEMU's `-icount
//! shift=0` a nanosecond is an instruction, in steps of the counter's tick (16 at 62.5 MHz). Rounds
//! that an interrupt falls into are part of it.

use core::sync::atomic::{AtomicU64, Ordering};

use bale_abi::mode;
use zsmalloc::Platform;
use zsmalloc::bench::Sizes;

use super::counting::nanoseconds_are_instructions;
use super::latency::{
    STOP, again, another, end, left, prepare, samples, spawn, spawn_on, wait_for, wait_while_left,
};
use super::report::Hundredths;
use super::{BenchError, Report, team, vm::GUEST};
use bale_reclaim::drain;
use bale_reclaim::pool::pool;
use bale_rt::sync::Mutex;
use bale_rt::{clock, cores, task};
use bale_vmm as vm;

type Result<T> = core::result::Result<T, BenchError<'static>>;

const ROUNDS: u32 = 1_000;
/// Between two releases, alone.
const PERIOD_US: u64 = 1_000;
/// Between two releases under load: no part of a slice or of a drain's period, so that they meet at
/// every distance.
const LOADED_PERIOD_US: u64 = 211;
/// Above everything that works, drains under pressure included.
const MEASURED: u8 = task::DRAIN_URGENT + 1;
/// Objects that the load makes and frees at a time.
const RUN: usize = 64;
/// Tasks that take the mutex from one another.
const CONTENDERS: u32 = 2;
/// For the drain, once nothing is freed any more.
const PATIENCE_US: u64 = 10_000_000;

static OVERRUNS: AtomicU64 = AtomicU64::new(0);

/// Is released as often as it is to be, and records how late it is, in nanoseconds.
extern "C" fn periodic(period_us: u64) -> ! {
    let mut rhythm = task::Periodic::new(clock::from_us(period_us));
    while another() {
        let release = rhythm.wait();
        let late = clock::now().saturating_sub(release);
        if let Ok(mut samples) = samples() {
            samples.record(clock::to_us(late.saturating_mul(1000)));
        }
    }
    OVERRUNS.store(rhythm.overruns(), Ordering::Relaxed);
    end()
}

fn say_overruns(report: &Report, name: &str, rounds: u64) {
    report.figure(name, Hundredths(OVERRUNS.load(Ordering::Relaxed) * 100), "releases", rounds);
}

/// Mean, worst and spread of what was recorded, by these names; of how many rounds.
fn say_lateness(report: &Report, [mean, worst, spread]: [&'static str; 3]) -> Result<u64> {
    let (samples, counted) = (samples()?, nanoseconds_are_instructions());
    let (unit, single) = if counted { ("instructions/op", "instructions") } else { ("ns", "ns") };
    let average = samples.mean_hundredths().ok_or(BenchError::Broken("no round was measured"))?;
    let latest = samples.max().unwrap_or(0).saturating_mul(100);
    report.figure(mean, Hundredths(average), unit, samples.count());
    report.figure(worst, Hundredths(latest), single, samples.count());
    report.spread(spread, &samples, single);
    Ok(samples.count())
}

/// With nothing else to do.
pub(super) fn alone(report: &mut Report) -> Result<()> {
    prepare(ROUNDS)?;
    spawn(task::DRAIN_URGENT, periodic, PERIOD_US)?;
    wait_for(1)?;
    let samples = samples()?;
    report.spread("jitter", &samples, "ns");
    say_overruns(report, "jitter-overruns", samples.count());
    Ok(())
}

/// Beside tasks that free on every core, what drains for them, and tasks that contend for a mutex
/// on this one.
pub(super) fn under_load(report: &mut Report) -> Result<()> {
    prepare(ROUNDS)?;
    let before = pool().stats();
    let mut loads = 0;
    let begun = load(&mut loads).and_then(|()| spawn(MEASURED, periodic, LOADED_PERIOD_US));
    let measured = begun.and_then(|()| wait_for(1));
    // Release: pairs with the acquires of those who look.
    STOP.store(true, Ordering::Release);
    let ended = wait_for(loads);
    measured.and(ended)?;
    if !drain::wait_until_quiet(PATIENCE_US) {
        return Err(BenchError::Broken("the drain is not quiet"));
    }
    let drained = pool().stats().drained - before.drained;
    if drained == 0 {
        return Err(BenchError::Broken("the drain had nothing to do"));
    }
    let rounds =
        say_lateness(report, ["jitter-loaded", "jitter-loaded-worst", "jitter-loaded-spread"])?;
    say_overruns(report, "jitter-loaded-overruns", rounds);
    report.figure("jitter-loaded-drained", Hundredths(drained * 100), "handles", rounds);
    Ok(())
}

/// Releases beside each kind of storm while it is on, at least.
const STORMED: u32 = 300;
/// Steps of a storm that goes on until it is stopped.
const ENDLESS: u64 = 1 << 40;

/// Beside guests, one after the other, each with a storm of its own: how they start, their exits
/// and what these cost, the switches between them, their devices, how they are killed, and what
/// they leave to be given back. A guest has four virtual CPUs, but for the one that storms calls;
/// on a machine of one core all are on that.
pub(super) fn beside_storms(report: &mut Report) -> Result<()> {
    prepare(0)?;
    let (mut exits, mut overruns) = (0, 0);
    for kind in [mode::STORM].into_iter().chain(mode::FIRST_STORM..=mode::LAST_STORM) {
        again(u32::MAX);
        spawn(MEASURED, periodic, LOADED_PERIOD_US)?;
        let life = storm(kind, report.options.seed);
        again(0);
        wait_for(1)?;
        exits += life?;
        overruns += OVERRUNS.load(Ordering::Relaxed);
    }
    let rounds =
        say_lateness(report, ["jitter-storm", "jitter-storm-worst", "jitter-storm-spread"])?;
    report.figure("jitter-storm-overruns", Hundredths(overruns * 100), "releases", rounds);
    report.figure("jitter-storm-exits", Hundredths(exits * 100), "exits", rounds);
    Ok(())
}

/// The whole life of a guest that storms, until what it had is back; its exits.
fn storm(kind: u64, seed: u64) -> Result<u64> {
    let index =
        vm::start(GUEST, kind, cores::this_unpinned().index(), seed, ENDLESS).map_err(|_| {
            BenchError::Broken("a guest that storms does not start; `vm start --mode 6` says why")
        })?;
    let stormed = wait_while_left(left().saturating_sub(STORMED));
    vm::kill(index);
    let Some(ended) = vm::wait(index) else {
        return Err(BenchError::Broken("a guest that storms is gone"));
    };
    stormed?;
    if ended.state != vm::State::Ended(vm::Reason::Killed) {
        return Err(BenchError::Broken("a guest that storms did not go on until it was stopped"));
    }
    if ended.exits < STORMED.into() {
        return Err(BenchError::Broken("a guest that should storm left its releases alone"));
    }
    if !drain::wait_until_quiet(PATIENCE_US) {
        return Err(BenchError::Broken("the drain is not quiet"));
    }
    Ok(ended.exits)
}

/// Starts the load; counts its tasks.
fn load(tasks: &mut u32) -> Result<()> {
    let cores = team::choose(cores::online(), false);
    team::all_answer(&cores)?;
    for core in cores {
        spawn_on(core, task::VCPU, producer, core as u64)?;
        *tasks += 1;
    }
    for _ in 0..CONTENDERS {
        spawn(task::VCPU, contender, 0)?;
        *tasks += 1;
    }
    Ok(())
}

fn stopped() -> bool {
    // Acquire: pairs with the release in `under_load`.
    STOP.load(Ordering::Acquire)
}

/// Makes objects and frees them through the ring, for as long as it may.
extern "C" fn producer(seed: u64) -> ! {
    let mut sizes = Sizes::new(seed);
    let mut words = [0; RUN];
    while !stopped() {
        let mut made = 0;
        // With no memory left there is nothing to free, and the others go on.
        while let (Some(word), Some(size)) = (words.get_mut(made), sizes.next()) {
            let Ok(handle) = pool().malloc(size) else { break };
            *word = handle.into_raw();
            made += 1;
        }
        let pinned = pool().platform().pin();
        pool().free_deferred_words(&pinned, &words[..made]);
        drop(pinned);
        if made == 0 {
            task::yield_now();
        }
    }
    end()
}

/// Holds a mutex while the other one comes to it.
extern "C" fn contender(_argument: u64) -> ! {
    static CONTENDED: Mutex<u64> = Mutex::new(0);
    while !stopped() {
        if let Ok(mut value) = CONTENDED.lock() {
            *value += 1;
            task::yield_now();
        }
    }
    end()
}
