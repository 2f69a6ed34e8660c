//! The ladder: the same objects freed with each part of the deferred free added in turn, from one
//! core or several at once.
//!
//! Where instructions are counted there is one core, and the columns are instructions (or cycles,
//! where these are asked for). Otherwise they are nanoseconds by the timer: on silicon that is what
//! it looks like, under emulation only the counts mean something. The task that asks drains all
//! rings while the producers run, and times an allocation now and then; where producers are fewer
//! than cores it has a core to itself, with all cores it shares one with a producer. Two rungs are
//! shown once more with compaction running.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bale_core::histogram::Histogram;
use spin::{RwLock, RwLockWriteGuard};
use zsmalloc::bench::Sizes;
use zsmalloc::{Config, Handle, Platform, Pool, Rung};

use super::counting;
use super::report::Hundredths;
use super::words::Words;
use super::workbench::Workbench;
use super::{BenchError, Report, go_on, team};
use bale_reclaim::pool::Kernel;
use bale_rt::sync::Lock;
use bale_rt::{clock, cores};

type Result<T> = core::result::Result<T, BenchError<'static>>;

/// Objects of each core, unless another number is asked for.
const OWN_OBJECTS: usize = 8_000;
/// Cores that free at once, as far as there are so many, unless others are asked for.
const OWN_CORES: [usize; 5] = [1, 2, 4, 8, 12];
const RUN: usize = 64;
/// A ring that one core's objects do not fit, so that what happens when it is full is seen.
const RING: usize = 2048;

/// A row of the ladder.
struct Step {
    name: &'static str,
    rung: Rung,
    /// Whether compaction runs beside it.
    compaction: bool,
}

const fn step(name: &'static str, rung: Rung) -> Step {
    Step { name, rung, compaction: false }
}

static STEPS: &[Step] = &[
    step("synchronous, pages inside", Rung::SynchronousInside),
    step("synchronous, pages outside", Rung::SynchronousOutside),
    step("deferred release", Rung::DeferredRelease),
    step("deferred, runs", Rung::DeferredRuns),
    step("deferred, buckets", Rung::DeferredBuckets),
    step("deferred, help", Rung::DeferredHelp),
    Step { name: "synchronous, compaction", rung: Rung::SynchronousOutside, compaction: true },
    Step { name: "deferred, help, compaction", rung: Rung::DeferredHelp, compaction: true },
];
/// Cells that a step of compaction looks at.
const COMPACTION: usize = 1000;

/// The pool that producers free into. They hold it for reading.
static POOL: RwLock<Option<Pool<Kernel>>> = RwLock::new(None);
/// A core could not make its objects.
static FAILED: AtomicBool = AtomicBool::new(false);
static SEED: AtomicU64 = AtomicU64::new(0);
/// Objects of each core.
static OBJECTS: AtomicUsize = AtomicUsize::new(0);
/// Ticks that producers were at it, in all.
static PRODUCED: AtomicU64 = AtomicU64::new(0);
static LATENCY: Lock<Histogram> = Lock::new(Histogram::new());

fn config(rung: Rung) -> Config {
    Config { ring_capacity: RING, watermark: RING / 2, rung, ..Config::default() }
}

pub(super) fn ladder(report: &mut Report) -> Result<()> {
    let counts = counting::overhead().is_some();
    for (place, step) in STEPS.iter().enumerate() {
        go_on()?;
        report.part(place, STEPS.len());
        // One core with interrupts masked has nothing running beside it.
        if counts && !step.compaction {
            counted(report, step)?;
        }
        let chosen = report.cores(&OWN_CORES);
        if !counts || chosen.iter().any(|cores| cores > 1) {
            for cores in chosen.iter() {
                go_on()?;
                timed(report, step, cores)?;
            }
        }
    }
    Ok(())
}

/// On one core with interrupts masked: events of the producer, and in all.
fn counted(report: &Report, step: &Step) -> Result<()> {
    let mut bench = Workbench::counting(report)?;
    bench.pool = Pool::new(Kernel, config(step.rung))?;
    bench.fill()?;
    let pinned = bench.pool.platform().pin();
    let core = zsmalloc::PinnedCore::core(&pinned);
    let (mut producer, mut drain, mut at) = (0, 0, 0);
    let mut run = [0; RUN];
    while at < bench.words.len() {
        let count = bench.words.copy_to(at, &mut run);
        let handles = || run[..count].iter().filter_map(|&word| Handle::from_raw(word));
        producer += bench
            .count(|| handles().for_each(|handle| bench.pool.free_deferred(&pinned, handle)))
            .0;
        at += count;
    }
    loop {
        let (count, drained) = bench.count(|| bench.pool.drain(core, RING));
        drain += count;
        if drained.remaining == 0 {
            break;
        }
    }
    drain += bench.count(|| bench.pool.flush()).0;
    let stats = bench.pool.stats();
    let objects = bench.words.len() as u64;
    report.row(
        step.name,
        1,
        &[
            ("producer", Hundredths::ratio(producer, objects)),
            ("work", Hundredths::ratio(producer + drain, objects)),
            ("helped_percent", Hundredths::ratio(stats.helped * 100, objects)),
            ("synchronous_percent", Hundredths::ratio((objects - stats.enqueued) * 100, objects)),
            ("most_pending", Hundredths(stats.most_pending * 100)),
            ("locks", Hundredths::ratio(stats.batch_locks, objects)),
        ],
        report.units().per_operation,
    );
    Ok(())
}

/// From several cores at once.
fn timed(report: &Report, step: &Step, cores: usize) -> Result<()> {
    let pool = Pool::new(Kernel, config(step.rung))?;
    *own_pool()? = Some(pool);
    let outcome = contend(report, step, cores);
    // Producers that were started have ended, or hold it for good; the pool goes with everything in
    // it.
    drop(own_pool()?.take());
    outcome
}

/// The pool, while no producer has it.
fn own_pool() -> Result<RwLockWriteGuard<'static, Option<Pool<Kernel>>>> {
    POOL.try_write().ok_or(BenchError::Broken("a task of an earlier ladder still has its pool"))
}

fn contend(report: &Report, step: &Step, cores: usize) -> Result<()> {
    FAILED.store(false, Ordering::Relaxed);
    PRODUCED.store(0, Ordering::Relaxed);
    SEED.store(report.options.seed, Ordering::Relaxed);
    OBJECTS.store(report.pages(OWN_OBJECTS), Ordering::Relaxed);
    *LATENCY.lock() = Histogram::new();
    let guard = POOL.read();
    let Some(pool) = guard.as_ref() else { return Err(BenchError::Broken("the pool is gone")) };
    // The asking task's core joins last, so that with a core to spare the drain has it to itself.
    let team = team::start("ladder", &team::choose(cores, true), producer)?;
    team.wait_ready()?;
    let start = clock::now();
    loop {
        let done = team.has_ended();
        let left: usize = (0..cores::all().len()).map(|core| pool.drain(core, 512).remaining).sum();
        // With too little memory for the producers there may be none for this either.
        if !FAILED.load(Ordering::Relaxed) {
            time_malloc(pool)?;
        }
        if step.compaction {
            pool.compact(COMPACTION);
        }
        if done && left == 0 {
            break;
        }
        team.look()?;
    }
    pool.flush();
    let end = clock::now();
    // Relaxed: what a task wrote is seen with its end.
    if FAILED.load(Ordering::Relaxed) {
        return Err(BenchError::OutOfMemory);
    }
    let stats = pool.stats();
    if stats.objects != 0 || stats.pages != 0 {
        return Err(BenchError::Broken("not all memory came back"));
    }
    let objects = (report.pages(OWN_OBJECTS) * cores) as u64;
    let ns = |ticks: u64| clock::to_us(ticks * 1000);
    let latency = LATENCY.lock().percentile(999).unwrap_or(0);
    report.row(
        step.name,
        cores,
        &[
            ("producer", Hundredths::ratio(ns(PRODUCED.load(Ordering::Relaxed)), objects)),
            ("total", Hundredths::ratio(ns(end - start), objects)),
            ("helped_percent", Hundredths::ratio(stats.helped * 100, objects)),
            ("synchronous_percent", Hundredths::ratio((objects - stats.enqueued) * 100, objects)),
            ("most_pending", Hundredths(stats.most_pending * 100)),
            ("locks", Hundredths::ratio(stats.batch_locks, objects)),
            ("malloc_p999", Hundredths(ns(latency) * 100)),
        ],
        "ns/op (timer)",
    );
    Ok(())
}

/// Times one allocation beside the drain.
fn time_malloc(pool: &Pool<Kernel>) -> Result<()> {
    let start = clock::now();
    let handle = pool.malloc(1870)?;
    LATENCY.lock().record(clock::now() - start);
    pool.free(handle)?;
    Ok(())
}

fn objects(pool: &Pool<Kernel>, seed: u64) -> Option<Words> {
    let mut words = Words::new(OBJECTS.load(Ordering::Relaxed))?;
    for (index, size) in (0..words.len()).zip(Sizes::new(seed)) {
        if team::stopped() {
            return None;
        }
        // What was made before goes with the pool.
        words.set(index, pool.malloc(size).ok()?.into_raw());
    }
    Some(words)
}

extern "C" fn producer(cores: u64) -> ! {
    {
        let guard = POOL.read();
        if let Some(pool) = guard.as_ref() {
            produce(pool, cores);
        }
    }
    team::end()
}

fn produce(pool: &Pool<Kernel>, cores: u64) {
    let seed = SEED.load(Ordering::Relaxed) + cores::this_unpinned().index() as u64;
    let words = objects(pool, seed);
    if words.is_none() {
        FAILED.store(true, Ordering::Relaxed);
    }
    if !team::begin_together(cores) {
        return;
    }
    let Some(mut words) = words else { return };
    let start = clock::now();
    let mut run = [0; RUN];
    let mut at = 0;
    while at < words.len() && !team::stopped() {
        let count = words.copy_to(at, &mut run);
        let pinned = pool.platform().pin();
        for handle in run[..count].iter().filter_map(|&word| Handle::from_raw(word)) {
            pool.free_deferred(&pinned, handle);
        }
        at += count;
    }
    PRODUCED.fetch_add(clock::now() - start, Ordering::Relaxed);
}
