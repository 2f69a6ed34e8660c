//! How much of a pool's memory is objects, metadata included and rings not.

use zsmalloc::{PAGE_SIZE, Pool};

use super::report::Hundredths;
use super::workbench::Workbench;
use super::{BenchError, Report, go_on};
use bale_reclaim::pool::Kernel;

type Result = core::result::Result<(), BenchError<'static>>;

/// Objects of the large ones, unless another number is asked for.
const LARGE: usize = 100_000;

/// Whether to go on, asked at some of the `all` objects.
fn look(report: &Report, index: usize, all: usize) -> Result {
    if index.is_multiple_of(4096) {
        go_on()?;
        report.part(index, all);
    }
    Ok(())
}

fn say(report: &Report, name: &str, pool: &Pool<Kernel>, stored: u64) {
    let stats = pool.stats();
    let memory = (stats.pages + stats.metadata_pages) * PAGE_SIZE as u64;
    report.figure(name, Hundredths::ratio(stored * 100, memory), "%", stats.objects);
}

fn small(report: &Report, name: &str, count: usize) -> Result {
    let mut bench = Workbench::new(report, count)?;
    let stored = bench.fill()?;
    say(report, name, &bench.pool, stored);
    Ok(())
}

pub(super) fn two_thousand(report: &mut Report) -> Result {
    small(report, "density-2000", 2_000)
}

pub(super) fn eight_thousand(report: &mut Report) -> Result {
    small(report, "density-8000", 8_000)
}

pub(super) fn large(report: &mut Report) -> Result {
    let mut bench = Workbench::new(report, report.pages(LARGE))?;
    let objects = bench.words.len();
    // Sizes are kept beside the handles: bits 47 and up are free.
    let mut stored = 0;
    for index in 0..objects {
        look(report, index, objects + objects / 2)?;
        let size = bench.sizes.next().unwrap_or(1);
        let word = bench.pool.malloc(size)?.into_raw();
        bench.words.set(index, word | (size as u64) << 48);
        stored += size as u64;
    }
    say(report, "density-full", &bench.pool, stored);
    let metadata = bench.pool.stats().metadata_pages * PAGE_SIZE as u64;
    report.figure(
        "metadata",
        Hundredths::ratio(metadata, objects as u64),
        "bytes/object",
        objects as u64,
    );
    bench.shuffle();
    for index in 0..objects / 2 {
        look(report, objects + index, objects + objects / 2)?;
        let word = bench.words.get(index);
        stored -= word >> 48;
        bench.words.set(index, word & ((1 << 48) - 1));
        let handle = bench.handle(index)?;
        bench.pool.free(handle)?;
    }
    say(report, "density-half", &bench.pool, stored);
    while !bench.pool.compact(10_000).complete {}
    say(report, "density-compacted", &bench.pool, stored);
    Ok(())
}

pub(super) fn churned(report: &mut Report) -> Result {
    let mut bench = Workbench::new(report, report.pages(LARGE))?;
    let objects = bench.words.len();
    let mut sizes = zsmalloc::bench::Sizes::new(report.options.seed + 7);
    let mut random = bench.random();
    let mut stored = 0;
    for index in 0..2 * objects {
        look(report, index, 2 * objects)?;
        let place = if index < objects {
            index
        } else {
            usize::try_from(random.below(objects as u64)).unwrap_or(0)
        };
        if index >= objects {
            let word = bench.words.get(place);
            stored -= word >> 48;
            bench.words.set(place, word & ((1 << 48) - 1));
            let handle = bench.handle(place)?;
            bench.pool.free(handle)?;
        }
        let size = sizes.next().unwrap_or(1);
        let word = bench.pool.malloc(size)?.into_raw();
        bench.words.set(place, word | (size as u64) << 48);
        stored += size as u64;
    }
    say(report, "density-churned", &bench.pool, stored);
    Ok(())
}
