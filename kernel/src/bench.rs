//! Instruction counts of the allocator's hot paths, on this machine, with a pool of their own.
//!
//! Counts are those of the PMU's INST_RETIRED event with interrupts masked, so nothing but the measured calls is in
//! them; the cost of reading the counter is taken off. QEMU counts instructions only with `-icount shift=0`. Object
//! sizes are those of [`zsmalloc::bench::Sizes`].

use core::fmt;

use bale_arch::counter;
use bale_arch::mask::Masked;
use zsmalloc::bench::{Random, Sizes};
use zsmalloc::{Config, Handle, Platform, Pool};

use crate::memory::frames;
use crate::pool::Kernel;
use crate::println;

/// Why no figure was taken.
#[derive(Debug)]
pub enum BenchError<'a> {
    /// No benchmark has this name.
    Unknown(&'a str),
    /// The machine does not count instructions.
    NoCounter,
    /// Too little memory.
    OutOfMemory,
    /// The pool refused what it must not.
    Pool(zsmalloc::Error),
}

impl fmt::Display for BenchError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "there is no benchmark {name}; `bench list` names them"),
            Self::NoCounter => f.write_str(
                "this machine does not count instructions; start it with `cargo bale run --icount`",
            ),
            Self::OutOfMemory => f.write_str("too little memory"),
            Self::Pool(error) => write!(f, "the pool says: {error}"),
        }
    }
}

/// Objects measured.
const OBJECTS: usize = 8_000;
/// Handles pushed between two drains.
const BATCH: usize = 1_000;

type Bench = fn(&mut Workbench) -> Result<Count, zsmalloc::Error>;

/// Instructions, and over how many operations.
struct Count {
    instructions: u64,
    operations: u64,
}

static BENCHES: &[(&str, &str, Bench)] = &[
    ("malloc", "malloc of an object", malloc),
    ("write", "copy of a whole object into the pool", write),
    ("read", "begin and end of a read, no copy", read),
    ("push", "deferred free of one object", push),
    ("push-many", "deferred free, per object, in runs of 64", push_many),
    ("drain", "the drain of one object, in the order of allocation", drain_in_order),
    ("drain-random", "the drain of one object, in random order", drain_random),
    ("free", "synchronous free, in the order of allocation", free_in_order),
    ("free-random", "synchronous free, in random order", free_random),
];

/// Names of all benchmarks.
pub fn list() {
    for (name, about, _) in BENCHES {
        println!("  {name:<14} {about}");
    }
}

struct Workbench {
    pool: Pool<Kernel>,
    handles: &'static mut [Option<Handle>],
    overhead: u32,
}

/// The words that hold handles between benchmarks: made once.
static HANDLES: crate::sync::Lock<Option<&'static mut [Option<Handle>]>> = crate::sync::Lock::new(None);

/// Runs the benchmarks with these names, or all.
///
/// # Errors
/// See [`BenchError`].
pub fn run<'a>(names: &[&'a str]) -> Result<(), BenchError<'a>> {
    if let Some(unknown) = names.iter().find(|name| !BENCHES.iter().any(|(known, ..)| known == *name)) {
        return Err(BenchError::Unknown(unknown));
    }
    let overhead = measure(0, || ()).0;
    if overhead == 0 {
        return Err(BenchError::NoCounter);
    }
    let handles = HANDLES.lock().take();
    let handles = match handles {
        Some(handles) => handles,
        None => handle_table().ok_or(BenchError::OutOfMemory)?,
    };
    let config = Config { ring_capacity: 2048, watermark: 1024, ..Config::default() };
    let pool = Pool::new(Kernel, config).map_err(BenchError::Pool)?;
    let mut workbench = Workbench { pool, handles, overhead };
    println!("instructions per operation, {OBJECTS} objects, interrupts masked");
    let mut outcome = Ok(());
    for (name, about, bench) in BENCHES.iter().filter(|(name, ..)| names.is_empty() || names.contains(name)) {
        match bench(&mut workbench) {
            Ok(count) => {
                let tenths = count.instructions * 10 / count.operations.max(1);
                println!("  {name:<14} {:>6}.{}   {about}", tenths / 10, tenths % 10);
            }
            Err(error) => {
                outcome = Err(BenchError::Pool(error));
                break;
            }
        }
        workbench.clear();
    }
    let Workbench { pool, handles, .. } = workbench;
    pool.close();
    *HANDLES.lock() = Some(handles);
    outcome
}

fn handle_table() -> Option<&'static mut [Option<Handle>]> {
    let mut arena = crate::memory::Arena::new(OBJECTS * size_of::<Option<Handle>>())?;
    arena.place_each(OBJECTS, || None)
}

/// Instructions that `f` takes, less the cost of measuring. Interrupts are masked.
fn measure<R>(overhead: u32, f: impl FnOnce() -> R) -> (u32, R) {
    let masked = Masked::new();
    let start = counter::instructions();
    let result = f();
    let end = counter::instructions();
    drop(masked);
    (end.wrapping_sub(start).saturating_sub(overhead), result)
}

impl Workbench {
    fn fill(&mut self) -> Result<(), zsmalloc::Error> {
        for (handle, size) in self.handles.iter_mut().zip(Sizes::new(1)) {
            *handle = Some(self.pool.malloc(size)?);
        }
        Ok(())
    }

    fn shuffle(&mut self) {
        let mut random = Random::new(2);
        for index in (1..self.handles.len()).rev() {
            self.handles.swap(index, random.below(index as u64 + 1) as usize);
        }
    }

    fn clear(&mut self) {
        for handle in self.handles.iter_mut().filter_map(Option::take) {
            // Every handle here is live.
            let _ = self.pool.free(handle);
        }
        self.pool.flush();
    }

    /// Sums `f` over every live handle.
    fn each(
        &mut self,
        mut f: impl FnMut(&Pool<Kernel>, Handle) -> Result<(), zsmalloc::Error>,
    ) -> Result<Count, zsmalloc::Error> {
        let mut hist = [0u32; 128];
        let mut count = Count { instructions: 0, operations: 0 };
        for handle in self.handles.iter_mut().filter_map(Option::take) {
            let (instructions, result) = measure(self.overhead, || f(&self.pool, handle));
            result?;
            hist[(instructions as usize / 16).min(127)] += 1;
            count.instructions += u64::from(instructions);
            count.operations += 1;
        }
        for (i, n) in hist.iter().enumerate().filter(|(_, n)| **n != 0) {
            println!("   {} {}", i * 16, n);
        }
        Ok(count)
    }
}

fn malloc(bench: &mut Workbench) -> Result<Count, zsmalloc::Error> {
    let mut hist = [0u32; 128];
    let mut count = Count { instructions: 0, operations: 0 };
    for (handle, size) in bench.handles.iter_mut().zip(Sizes::new(1)) {
        let (instructions, made) = measure(bench.overhead, || bench.pool.malloc(size));
        *handle = Some(made?);
        hist[(instructions as usize / 16).min(127)] += 1;
        count.instructions += u64::from(instructions);
        count.operations += 1;
    }
    for (i, n) in hist.iter().enumerate().filter(|(_, n)| **n != 0) {
        println!("   {} {}", i * 16, n);
    }
    Ok(count)
}

fn write(bench: &mut Workbench) -> Result<Count, zsmalloc::Error> {
    let Some(mut frame) = frames::allocate_zeroed() else { return Err(zsmalloc::Error::OutOfMemory) };
    bench.fill()?;
    let mut count = Count { instructions: 0, operations: 0 };
    for (handle, size) in bench.handles.iter().flatten().zip(Sizes::new(1)) {
        let bytes = &frame.bytes_mut()[..size];
        let (instructions, result) = measure(bench.overhead, || bench.pool.write(handle, bytes));
        result?;
        count.instructions += u64::from(instructions);
        count.operations += 1;
    }
    frames::release([frame]);
    Ok(count)
}

fn read(bench: &mut Workbench) -> Result<Count, zsmalloc::Error> {
    bench.fill()?;
    let mut count = Count { instructions: 0, operations: 0 };
    for handle in bench.handles.iter().flatten() {
        let (instructions, result) = measure(bench.overhead, || bench.pool.read(handle).map(drop));
        result?;
        count.instructions += u64::from(instructions);
        count.operations += 1;
    }
    Ok(count)
}

fn push(bench: &mut Workbench) -> Result<Count, zsmalloc::Error> {
    bench.fill()?;
    let mut total = Count { instructions: 0, operations: 0 };
    let pinned = bench.pool.platform().pin();
    for batch in bench.handles.chunks_mut(BATCH) {
        let taken = batch.iter_mut().filter_map(Option::take);
        for handle in taken {
            let (instructions, ()) = measure(bench.overhead, || bench.pool.free_deferred(&pinned, handle));
            total.instructions += u64::from(instructions);
            total.operations += 1;
        }
        bench.pool.flush();
    }
    Ok(total)
}

fn push_many(bench: &mut Workbench) -> Result<Count, zsmalloc::Error> {
    bench.fill()?;
    let mut total = Count { instructions: 0, operations: 0 };
    let pinned = bench.pool.platform().pin();
    for batch in bench.handles.chunks_mut(64) {
        let operations = batch.len() as u64;
        let (instructions, ()) = measure(bench.overhead, || {
            bench.pool.free_deferred_many(&pinned, batch.iter_mut().filter_map(Option::take));
        });
        total.instructions += u64::from(instructions);
        total.operations += operations;
        bench.pool.flush();
    }
    Ok(total)
}

fn drain(bench: &mut Workbench) -> Count {
    let mut total = Count { instructions: 0, operations: 0 };
    let pinned = bench.pool.platform().pin();
    let core = zsmalloc::PinnedCore::core(&pinned);
    for batch in bench.handles.chunks_mut(BATCH) {
        bench.pool.free_deferred_many(&pinned, batch.iter_mut().filter_map(Option::take));
        let (instructions, report) = measure(bench.overhead, || bench.pool.drain(core, BATCH));
        total.instructions += u64::from(instructions);
        total.operations += report.freed as u64;
    }
    total
}

fn drain_in_order(bench: &mut Workbench) -> Result<Count, zsmalloc::Error> {
    bench.fill()?;
    Ok(drain(bench))
}

fn drain_random(bench: &mut Workbench) -> Result<Count, zsmalloc::Error> {
    bench.fill()?;
    bench.shuffle();
    Ok(drain(bench))
}

fn free_in_order(bench: &mut Workbench) -> Result<Count, zsmalloc::Error> {
    bench.fill()?;
    bench.each(Pool::free)
}

fn free_random(bench: &mut Workbench) -> Result<Count, zsmalloc::Error> {
    bench.fill()?;
    bench.shuffle();
    bench.each(Pool::free)
}
