//! A burst: several cores free 200,000 objects each at the same time through the kernel's own pool,
//! rings and drain tasks.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use zsmalloc::{Handle, Platform};

use super::report::Hundredths;
use super::words::Words;
use super::{BenchError, Report, go_on, team};
use bale_reclaim::drain;
use bale_reclaim::pool::pool;
use bale_rt::{clock, cores};

/// Objects of each core, unless another number is asked for.
const OWN_OBJECTS: usize = 200_000;
const SIZE: usize = 64;
const RUN: usize = 64;

/// A core could not make its objects.
static FAILED: AtomicBool = AtomicBool::new(false);
/// Objects of each core.
static OBJECTS: AtomicUsize = AtomicUsize::new(0);

pub(super) fn burst(report: &mut Report) -> Result<(), BenchError<'static>> {
    // Relaxed: a producer sees it as it sees that it was spawned.
    OBJECTS.store(report.pages(OWN_OBJECTS), Ordering::Relaxed);
    for cores in report.cores(&[cores::online()]).iter() {
        go_on()?;
        of(report, cores)?;
    }
    Ok(())
}

/// From so many cores.
fn of(report: &Report, cores: usize) -> Result<(), BenchError<'static>> {
    if !drain::wait_until_quiet(10_000_000) {
        return Err(BenchError::Broken("the drain is not quiet"));
    }
    FAILED.store(false, Ordering::Relaxed);
    let before = pool().stats();
    let team = team::start("burst", &team::choose(cores, false), producer)?;
    team.wait_ready()?;
    let start = clock::now();
    team.wait_ended()?;
    let freed = clock::now();
    let quiet = drain::wait_until_quiet(60_000_000);
    let end = clock::now();
    // Relaxed: what a task wrote is seen with its end.
    if FAILED.load(Ordering::Relaxed) {
        return Err(BenchError::OutOfMemory);
    }
    let after = pool().stats();
    let back = quiet && after.pages == before.pages && after.objects == before.objects;
    if !back {
        return Err(BenchError::Broken("not all memory came back"));
    }
    let handles = (OBJECTS.load(Ordering::Relaxed) * cores) as u64;
    let taken = (after.enqueued - before.enqueued) + (after.synchronous - before.synchronous);
    if taken != handles || after.refused != before.refused {
        return Err(BenchError::Broken("the books do not balance"));
    }
    let say = |what: &str, value: u64, unit: &str| {
        let mut name: heapless::String<40> = heapless::String::new();
        // Cut nowhere: the longest name has 24 characters.
        let _ = core::fmt::Write::write_fmt(&mut name, format_args!("burst-{cores}-{what}"));
        report.figure(&name, Hundredths(value * 100), unit, handles);
    };
    say("synchronous", after.synchronous - before.synchronous, "handles");
    say("helped", after.helped - before.helped, "handles");
    say("drained", after.drained - before.drained, "handles");
    say("flushed", after.flushed - before.flushed, "handles");
    say("interrupts", after.interrupts - before.interrupts, "interrupts");
    say("most-pending", after.most_pending, "handles in a ring");
    say("locks", after.batch_locks - before.batch_locks, "class locks");
    say("producers", clock::to_us(freed - start), "us (timer)");
    say("all-back", clock::to_us(end - start), "us (timer)");
    Ok(())
}

/// As many objects as there is memory for, and whether that is all of them.
fn objects() -> Option<(Words, usize)> {
    let mut words = Words::new(OBJECTS.load(Ordering::Relaxed))?;
    for index in 0..words.len() {
        match pool().malloc(SIZE) {
            Ok(handle) if !team::stopped() => words.set(index, handle.into_raw()),
            Ok(handle) => {
                let _ = pool().free(handle);
                return Some((words, index));
            }
            Err(_) => return Some((words, index)),
        }
    }
    let all = words.len();
    Some((words, all))
}

extern "C" fn producer(cores: u64) -> ! {
    {
        let mut made = objects();
        let complete = made.as_ref().is_some_and(|(words, count)| *count == words.len());
        if !complete {
            FAILED.store(true, Ordering::Relaxed);
            // At once: there may be no memory to spare.
            if let Some((words, count)) = &mut made {
                for handle in (0..*count).filter_map(|index| Handle::from_raw(words.get(index))) {
                    let _ = pool().free(handle);
                }
            }
        }
        // Told to end, it frees what it has all the same.
        team::begin_together(cores);
        if let Some((mut words, _)) = made.filter(|_| complete) {
            let mut run = [0; RUN];
            let mut at = 0;
            while at < words.len() {
                let count = words.copy_to(at, &mut run);
                let pinned = pool().platform().pin();
                pool().free_deferred_words(&pinned, &run[..count]);
                at += count;
            }
        }
    }
    team::end()
}
