//! The benchmarks: suites of figures, each measured on a pool of its own or on the kernel's, and
//! reported as text or JSON.
//!
//! Instructions are those of the PMU's INST_RETIRED event on one core; QEMU counts them only with
//! `-icount shift=0`, where they repeat to the digit. Cycles are those of its CPU_CYCLES event: on
//! silicon the core's, under QEMU nanoseconds, which `-icount shift=0` makes instructions. Object
//! sizes are those of [`zsmalloc::bench::Sizes`]. What is measured on several cores at once is
//! counted (locks, helpers, backlog) or given in ticks of the timer, which mean nothing under
//! emulation but order.
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

mod allocator;
mod benchmark;
mod burst;
mod command;
mod counting;
mod density;
mod jitter;
mod ladder;
mod latency;
mod memory;
mod options;
mod report;
mod store;
mod table;
mod team;
mod thread_metric;
mod vm;
mod words;
mod workbench;

use core::fmt;

use bale_arch::counter::{self, Event};

use self::benchmark::{Bench, Place};
pub use self::command::COMMANDS;
pub use self::options::{CoreCounts, Mix, Options, PAGES};
use self::report::Report;
use self::table::BENCHES;

/// Why no figure was taken.
#[derive(Debug)]
pub enum BenchError<'a> {
    /// No benchmark or suite has this name.
    Unknown(&'a str),
    /// A benchmark that was named takes no such option.
    Refused {
        /// The benchmark.
        name: &'static str,
        /// The option.
        option: &'static str,
    },
    /// Not one benchmark of the suites takes the options.
    NoneTakes,
    /// The machine does not count what was asked for.
    NoCounter,
    /// Too little memory.
    OutOfMemory,
    /// Not all cores could be used.
    NoTask,
    /// This core takes no interrupts.
    Hung(usize),
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
            Self::Refused { name, option } => {
                write!(f, "{name} takes no {option}; `bench list` tells what each takes")
            }
            Self::NoneTakes => {
                f.write_str("nothing of that takes these options; `bench list` tells what each takes")
            }
            Self::NoCounter => f.write_str(
                "this machine does not count instructions; start it with `cargo bale run --cores 1 -- -icount shift=0,sleep=off`",
            ),
            Self::OutOfMemory => f.write_str("too little memory; start with more, or with fewer --cores or --pages"),
            Self::NoTask => f.write_str("no task could be started on a core"),
            Self::Hung(core) => write!(f, "core {core} takes no interrupts; `tasks` says what runs there"),
            Self::Stopped => f.write_str("stopped"),
            Self::Broken(what) => f.write_str(what),
            Self::Pool(error) => write!(f, "the pool says: {error}"),
        }
    }
}

/// An error once somebody has typed Ctrl-C: benchmarks ask now and then, outside of what they
/// count.
fn go_on() -> Result<(), BenchError<'static>> {
    if bale_io::console::interrupted() { Err(BenchError::Stopped) } else { Ok(()) }
}

/// Calls `visit` with each benchmark's suite, name and subject, and the options that it takes:
/// nothing, or their names in brackets behind a blank.
fn for_each(mut visit: impl FnMut(&'static str, &'static str, &'static str, &dyn fmt::Display)) {
    BENCHES.iter().for_each(|bench| visit(bench.suite, bench.name, bench.about, &bench.takes));
}

/// Names of all suites and benchmarks.
fn names() -> impl Iterator<Item = &'static str> + Clone {
    let begins =
        |(place, bench): &(usize, &Bench)| *place == 0 || BENCHES[place - 1].suite != bench.suite;
    let suites = BENCHES.iter().enumerate().filter(begins).map(|(_, bench)| bench.suite);
    suites.chain(BENCHES.iter().map(|bench| bench.name))
}

/// What this core counts, until it is dropped: instructions then.
struct Selected;

impl Selected {
    fn new(event: Event) -> Self {
        counter::select(event);
        Self
    }
}

impl Drop for Selected {
    fn drop(&mut self) {
        counter::select(Event::Instructions);
    }
}

/// Runs the benchmarks and suites with these names, or all.
///
/// # Errors
/// See [`BenchError`].
fn run<'a>(names: &[&'a str], options: Options) -> Result<(), BenchError<'a>> {
    let known = |name: &&str| BENCHES.iter().any(|bench| [bench.suite, bench.name].contains(name));
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        return Err(BenchError::Unknown(unknown));
    }
    // What a suite has that cannot be measured here, or so, is left out; what was asked for by name
    // fails.
    let named = |bench: &Bench| names.contains(&bench.name);
    let wanted = |bench: &&Bench| names.is_empty() || names.contains(&bench.suite) || named(bench);
    for bench in BENCHES.iter().filter(|bench| named(bench)) {
        if let Some(option) = options.refused_by(bench.takes).or(options.idle_for(bench.takes)) {
            return Err(BenchError::Refused { name: bench.name, option });
        }
    }
    let taken = |bench: &&Bench| options.refused_by(bench.takes).is_none();
    if !BENCHES.iter().filter(wanted).any(|bench| taken(&bench)) {
        return Err(BenchError::NoneTakes);
    }
    let _selected = Selected::new(options.event);
    let mut report = Report::new(options);
    report.header();
    let counts = counting::overhead().is_some();
    let unit = report.units().plain;
    let says = |bench: &&Bench| counts || bench.place == Place::Anywhere || named(bench);
    let chosen = || BENCHES.iter().filter(wanted).filter(taken).filter(says);
    let count = chosen().count();
    for (place, bench) in chosen().enumerate() {
        go_on()?;
        report.begin(bench.suite, bench.name, place + 1, count);
        // Not inlined: a workbench lives on the stack while its benchmark runs, and only one at a
        // time.
        core::hint::black_box(bench.run)(&mut report)?;
    }
    for bench in BENCHES.iter().filter(wanted).filter(|bench| !taken(bench)) {
        let option = options.refused_by(bench.takes).unwrap_or_default();
        bale_io::println!("{} is left out: it takes no {option}", bench.name);
    }
    if !counts {
        bale_io::println!("figures in {unit} are left out: this machine does not count them");
    }
    Ok(())
}
