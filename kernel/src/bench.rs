//! The benchmarks: suites of figures, each measured on a pool of its own or on the kernel's, and reported as text or JSON.
//!
//! Instructions are those of the PMU's INST_RETIRED event on one core; QEMU counts them only with `-icount shift=0`, where they repeat to the digit. Object sizes are
//! those of [`zsmalloc::bench::Sizes`]. What is measured on several cores at once is counted (locks, helpers, backlog) or given in ticks of the timer, which mean
//! nothing under emulation but order.

mod allocator;
mod burst;
mod density;
mod ladder;
mod latency;
mod memory;
mod report;
mod store;
mod thread_metric;
mod vm;
mod words;
mod workbench;

use core::fmt;

pub use self::report::Options;
use self::report::Report;

/// Why no figure was taken.
#[derive(Debug)]
pub enum BenchError<'a> {
    /// No benchmark or suite has this name.
    Unknown(&'a str),
    /// The machine does not count instructions.
    NoCounter,
    /// Too little memory.
    OutOfMemory,
    /// Not all cores could be used.
    NoTask,
    /// Somebody typed Ctrl-C.
    Stopped,
    /// Something that must hold did not.
    Broken(&'static str),
    /// The pool refused what it must not.
    Pool(zsmalloc::Error),
}

impl From<zsmalloc::Error> for BenchError<'_> {
    fn from(error: zsmalloc::Error) -> Self {
        Self::Pool(error)
    }
}

impl fmt::Display for BenchError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "there is no benchmark {name}; `bench list` names them"),
            Self::NoCounter => f.write_str(
                "this machine does not count instructions; start it with `cargo bale run --cores 1 -- -icount shift=0,sleep=off`",
            ),
            Self::OutOfMemory => f.write_str("too little memory; start with more, or with fewer cores"),
            Self::NoTask => f.write_str("no task could be started on a core"),
            Self::Stopped => f.write_str("stopped"),
            Self::Broken(what) => f.write_str(what),
            Self::Pool(error) => write!(f, "the pool says: {error}"),
        }
    }
}

/// An error once somebody has typed Ctrl-C: benchmarks ask now and then, outside of what they count.
fn go_on() -> Result<(), BenchError<'static>> {
    if crate::console::interrupted() { Err(BenchError::Stopped) } else { Ok(()) }
}

type Bench = fn(&mut Report) -> Result<(), BenchError<'static>>;

/// Where a benchmark says something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// On one core, where instructions are counted.
    Counted,
    /// Anywhere.
    Anywhere,
}

use Place::{Anywhere, Counted};

/// Suite, name, what it is, and where.
static BENCHES: &[(&str, &str, &str, Place, Bench)] = &[
    ("allocator", "malloc", "malloc of an object", Counted, allocator::malloc),
    ("allocator", "write", "copy of an object's bytes into the pool", Counted, allocator::write),
    ("allocator", "read", "begin and end of a read, no copy", Counted, allocator::read),
    ("allocator", "push", "deferred free of one object, inlined", Counted, allocator::push),
    ("allocator", "push-many", "deferred free, per object, in runs of 64", Counted, allocator::push_many),
    (
        "allocator",
        "push-drain",
        "deferred free in all, in the order of allocation",
        Counted,
        allocator::push_drain,
    ),
    (
        "allocator",
        "push-drain-random",
        "deferred free in all, a random half",
        Counted,
        allocator::push_drain_random,
    ),
    ("allocator", "free", "synchronous free, in the order of allocation", Counted, allocator::free),
    ("allocator", "free-random", "synchronous free, a random half", Counted, allocator::free_random),
    ("allocator", "pair", "a random free and a malloc", Counted, allocator::pair),
    (
        "allocator",
        "compact",
        "compaction, per live object, of which a half was freed",
        Counted,
        allocator::compact,
    ),
    ("allocator", "locks-per-drained", "class locks taken for a drained handle", Counted, allocator::locks),
    (
        "allocator",
        "locks-adversarial",
        "class locks a batch of all classes, to classes + 1",
        Counted,
        allocator::locks_adversarial,
    ),
    (
        "allocator",
        "density-2000",
        "stored bytes to pool memory, 2,000 objects",
        Counted,
        density::two_thousand,
    ),
    (
        "allocator",
        "density-8000",
        "stored bytes to pool memory, 8,000 objects",
        Counted,
        density::eight_thousand,
    ),
    (
        "allocator",
        "density",
        "full, half freed, compacted, metadata; 100,000 objects",
        Counted,
        density::large,
    ),
    ("allocator", "density-churned", "100,000 objects after as many pairs", Counted, density::churned),
    ("allocator", "burst", "200,000 deferred frees from each core at once", Anywhere, burst::burst),
    ("store", "page", "store with our codec: write, read, ratio, the store's own part", Counted, store::page),
    ("store", "lz4", "the same with LZ4", Counted, store::lz4),
    ("store", "against", "our codec and the second one against LZ4", Counted, store::against),
    ("store", "own-write", "a write into an empty slot, without the codec", Counted, store::own_write),
    ("store", "release", "a page of zeros; slots given up, in runs of 64", Counted, store::zero_and_release),
    ("store", "store-density", "objects to memory of the pool", Counted, store::density),
    ("store", "checksum", "what checksums add", Counted, store::checksum),
    ("store", "recompress", "all pages by the second codec", Counted, store::recompress),
    ("rtos", "switch", "voluntary switch to another task", Counted, latency::switch),
    ("rtos", "semaphore", "give and take of a free semaphore", Counted, latency::semaphore),
    ("rtos", "mutex", "lock and unlock of a free mutex", Counted, latency::mutex),
    ("rtos", "hand-over", "unlock to the task that waited", Counted, latency::hand_over),
    ("rtos", "latency", "interrupt to the task that it wakes", Counted, latency::interrupt),
    ("rtos", "jitter", "how late a periodic task of 1 ms wakes", Anywhere, latency::jitter),
    ("rtos", "memory-bandwidth", "set, copy and read of memory", Anywhere, memory::bandwidth),
    ("rtos", "masked", "longest stretch with interrupts masked since boot", Anywhere, latency::masked),
    ("vm", "guest", "what a guest pays: calls, registers, interrupts, swap disk", Counted, vm::guest),
    (
        "thread-metric",
        "tm-cooperative",
        "five tasks that yield in turn, a yield",
        Counted,
        thread_metric::cooperative,
    ),
    (
        "thread-metric",
        "tm-preemptive",
        "five tasks, each wakes a more urgent one, a round",
        Counted,
        thread_metric::preemptive,
    ),
    (
        "thread-metric",
        "tm-interrupt",
        "interrupt, its handler's semaphore",
        Counted,
        thread_metric::interrupt,
    ),
    (
        "thread-metric",
        "tm-interrupt-preemption",
        "interrupt that wakes a more urgent task",
        Counted,
        thread_metric::interrupt_preemption,
    ),
    ("thread-metric", "tm-message", "16 bytes to a queue and from it", Counted, thread_metric::message),
    (
        "thread-metric",
        "tm-synchronization",
        "a semaphore taken and given",
        Counted,
        thread_metric::synchronization,
    ),
    ("thread-metric", "tm-memory", "128 bytes from the pool and back", Counted, thread_metric::memory),
    ("ladder", "ladder", "what each part of the deferred free brings", Anywhere, ladder::ladder),
];

/// Names of all benchmarks, by suite.
pub fn list() {
    let mut before = "";
    for (suite, name, about, ..) in BENCHES {
        if *suite != before {
            crate::println!("{suite}");
            before = suite;
        }
        crate::print!("  {name:<23} ");
        crate::shell::print_wrapped(about, 26);
    }
}

/// Runs the benchmarks and suites with these names, or all.
///
/// # Errors
/// See [`BenchError`].
pub fn run<'a>(names: &[&'a str], options: Options) -> Result<(), BenchError<'a>> {
    let known = |name: &&str| BENCHES.iter().any(|(suite, known, ..)| [*suite, *known].contains(name));
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        return Err(BenchError::Unknown(unknown));
    }
    let mut report = Report::new(options);
    report.header();
    let counts = workbench::overhead().is_some();
    for (suite, name, _, place, bench) in BENCHES {
        // What a suite has that cannot be measured here is left out; what was asked for by name fails.
        let by_suite = (names.is_empty() || names.contains(suite)) && (counts || *place == Anywhere);
        if by_suite || names.contains(name) {
            go_on()?;
            report.begin(suite);
            // Not inlined: a workbench lives on the stack while its benchmark runs, and only one at a time.
            core::hint::black_box(*bench)(&mut report)?;
        }
    }
    if !counts {
        crate::println!("figures in instructions are left out: this machine does not count them");
    }
    Ok(())
}
