//! Instructions or cycles of the allocator's paths, on one core with interrupts masked.

use core::hint::black_box;

use zsmalloc::{CLASSES, Handle, Platform, Pool, class_size};

use super::report::Hundredths;
use super::workbench::{OBJECTS, Workbench};
use super::{BenchError, Report};
use bale_memory::frames;

type Result = core::result::Result<(), BenchError<'static>>;

/// Handles between two looks at the counter.
const RUN: usize = 64;

fn per(report: &Report, name: &str, taken: u64, operations: usize) -> Result {
    let operations = operations as u64;
    report.figure(
        name,
        Hundredths::ratio(taken, operations),
        report.units().per_operation,
        operations,
    );
    Ok(())
}

pub(super) fn malloc(report: &mut Report) -> Result {
    let mut bench = Workbench::counting(report)?;
    let objects = bench.words.len();
    let mut sum = 0;
    for index in 0..objects {
        let size = bench.sizes.next().unwrap_or(1);
        let (count, handle) = bench.count(|| bench.pool.malloc(size));
        bench.words.set(index, handle?.into_raw());
        sum += count;
    }
    per(report, "malloc", sum, objects)
}

pub(super) fn write(report: &mut Report) -> Result {
    let mut bench = Workbench::filled(report)?;
    let objects = bench.words.len();
    let mut frame = frames::allocate_zeroed().ok_or(BenchError::OutOfMemory)?;
    let mut sizes = zsmalloc::bench::Sizes::new(report.options.seed);
    let mut sum = 0;
    for index in 0..objects {
        let handle = bench.handle(index)?;
        let bytes = &frame.bytes_mut()[..sizes.next().unwrap_or(1)];
        let (count, written) = bench.count(|| bench.pool.write(&handle, bytes));
        written?;
        sum += count;
    }
    frames::release([frame]);
    per(report, "write", sum, objects)
}

pub(super) fn read(report: &mut Report) -> Result {
    let mut bench = Workbench::filled(report)?;
    let objects = bench.words.len();
    let mut sum = 0;
    for index in 0..objects {
        let handle = bench.handle(index)?;
        let (count, read) =
            bench.count(|| bench.pool.read(&handle).map(|view| drop(black_box(view))));
        read?;
        sum += count;
    }
    per(report, "read", sum, objects)
}

/// The push as its caller has it: inlined in a loop, whose own cost is taken off.
pub(super) fn push(report: &mut Report) -> Result {
    let mut bench = Workbench::filled(report)?;
    let objects = bench.words.len();
    let pinned = bench.pool.platform().pin();
    let mut run = [0; RUN];
    let (mut sum, mut pushed) = (0, 0);
    while pushed < objects {
        let count = bench.words.copy_to(pushed, &mut run);
        let handles = || black_box(&run[..count]).iter().filter_map(|&word| Handle::from_raw(word));
        let empty = bench.count(|| handles().for_each(|handle| drop(black_box(handle)))).0;
        let full = bench
            .count(|| handles().for_each(|handle| bench.pool.free_deferred(&pinned, handle)))
            .0;
        sum += full.saturating_sub(empty);
        pushed += count;
        if pushed % 1024 == 0 {
            bench.pool.flush();
        }
    }
    per(report, "push", sum, objects)
}

pub(super) fn push_many(report: &mut Report) -> Result {
    let mut bench = Workbench::filled(report)?;
    let objects = bench.words.len();
    let (pushes, _) = bench.push_and_drain(objects)?;
    per(report, "push-many", pushes, objects)
}

pub(super) fn push_drain(report: &mut Report) -> Result {
    let mut bench = Workbench::filled(report)?;
    let objects = bench.words.len();
    let (pushes, drains) = bench.push_and_drain(objects)?;
    per(report, "push-drain", pushes + drains, objects)
}

pub(super) fn push_drain_random(report: &mut Report) -> Result {
    let mut bench = Workbench::filled(report)?;
    let objects = bench.words.len();
    bench.shuffle();
    let (pushes, drains) = bench.push_and_drain(objects / 2)?;
    per(report, "push-drain-random", pushes + drains, objects / 2)
}

pub(super) fn free(report: &mut Report) -> Result {
    let mut bench = Workbench::filled(report)?;
    let objects = bench.words.len();
    let sum = bench.each(objects, Pool::free)?;
    per(report, "free", sum, objects)
}

pub(super) fn free_random(report: &mut Report) -> Result {
    let mut bench = Workbench::filled(report)?;
    let objects = bench.words.len();
    bench.shuffle();
    let sum = bench.each(objects / 2, Pool::free)?;
    per(report, "free-random", sum, objects / 2)
}

pub(super) fn pair(report: &mut Report) -> Result {
    let mut bench = Workbench::filled(report)?;
    let objects = bench.words.len();
    let mut random = bench.random();
    let mut sum = 0;
    for _ in 0..objects {
        let victim = usize::try_from(random.below(objects as u64)).unwrap_or(0);
        let size = bench.sizes.next().unwrap_or(1);
        let handle = bench.handle(victim)?;
        let (count, made) = bench.count(|| {
            bench.pool.free(handle)?;
            bench.pool.malloc(size)
        });
        bench.words.set(victim, made?.into_raw());
        sum += count;
    }
    per(report, "pair", sum, objects)
}

pub(super) fn compact(report: &mut Report) -> Result {
    let mut bench = Workbench::filled(report)?;
    let objects = bench.words.len();
    bench.shuffle();
    bench.each(objects / 2, Pool::free)?;
    let (mut sum, mut pages, mut complete) = (0, 0, false);
    while !complete {
        let (count, step) = bench.count(|| bench.pool.compact(10_000));
        sum += count;
        pages += step.pages;
        complete = step.complete;
    }
    if pages == 0 {
        return Err(BenchError::Broken("compaction gave nothing back"));
    }
    per(report, "compact", sum, objects - objects / 2)
}

pub(super) fn locks(report: &mut Report) -> Result {
    let mut bench = Workbench::new(report, report.pages(OBJECTS))?;
    bench.fill()?;
    let objects = bench.words.len();
    bench.push_and_drain(objects)?;
    let stats = bench.pool.stats();
    let drained = stats.drained + stats.helped;
    report.figure(
        "locks-per-drained",
        Hundredths::ratio(stats.batch_locks, drained),
        "locks/handle",
        drained,
    );
    Ok(())
}

/// Every class in turn, so that no two handles in a row are of one class: what the sort by class is
/// for.
pub(super) fn locks_adversarial(report: &mut Report) -> Result {
    let mut bench = Workbench::new(report, 8 * CLASSES)?;
    for index in 0..bench.words.len() {
        bench.words.set(index, bench.pool.malloc(class_size(index % CLASSES))?.into_raw());
    }
    let classes = (0..CLASSES).filter_map(|index| bench.pool.class_stats(index));
    let classes = classes.filter(|class| class.objects > 0).count() as u64;
    bench.push_and_drain(bench.words.len())?;
    let locks = bench.pool.stats().batch_locks;
    report.figure(
        "locks-adversarial",
        Hundredths::ratio(locks, classes + 1),
        "of classes + 1",
        classes,
    );
    Ok(())
}
