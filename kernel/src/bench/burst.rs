//! A burst: several cores free 200,000 objects each at the same time through the kernel's own pool, rings and drain tasks.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use zsmalloc::Platform;

use super::report::Hundredths;
use super::words::Words;
use super::{BenchError, Report, go_on};
use crate::pool::pool;
use crate::{clock, cores, drain, task};

/// Objects of each core, unless another number is asked for.
const OWN_OBJECTS: usize = 200_000;
const SIZE: usize = 64;
const RUN: usize = 64;

/// Cores that are ready to free, cores that have freed, cores that could not make their objects.
static READY: AtomicU32 = AtomicU32::new(0);
static DONE: AtomicU32 = AtomicU32::new(0);
static FAILED: AtomicU32 = AtomicU32::new(0);
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
    for counter in [&READY, &DONE, &FAILED] {
        counter.store(0, Ordering::Relaxed);
    }
    let before = pool().stats();
    for core in 0..cores {
        task::spawn("burst", core, task::VCPU, producer, cores as u64).map_err(|_| BenchError::NoTask)?;
    }
    wait_for(&READY, cores);
    let start = clock::now();
    wait_for(&DONE, cores);
    let freed = clock::now();
    let quiet = drain::wait_until_quiet(60_000_000);
    let end = clock::now();
    if FAILED.load(Ordering::Acquire) != 0 {
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

fn wait_for(counter: &AtomicU32, cores: usize) {
    // Acquire: pairs with the releases in `producer`.
    while (counter.load(Ordering::Acquire) as usize) < cores {
        task::sleep_until(clock::now() + clock::from_us(200));
    }
}

fn objects() -> Option<Words> {
    let mut words = Words::new(OBJECTS.load(Ordering::Relaxed))?;
    for index in 0..words.len() {
        let Ok(handle) = pool().malloc(SIZE) else {
            for made in 0..index {
                // Freed at once: there is no memory to spare.
                if let Some(handle) = zsmalloc::Handle::from_raw(words.get(made)) {
                    let _ = pool().free(handle);
                }
            }
            return None;
        };
        words.set(index, handle.into_raw());
    }
    Some(words)
}

extern "C" fn producer(cores: u64) -> ! {
    let words = objects();
    if words.is_none() {
        FAILED.fetch_add(1, Ordering::Relaxed);
    }
    // Release: pairs with the acquire in `wait_for`.
    READY.fetch_add(1, Ordering::Release);
    while u64::from(READY.load(Ordering::Acquire)) < cores {
        task::yield_now();
    }
    if let Some(mut words) = words {
        let mut run = [0; RUN];
        let mut at = 0;
        while at < words.len() {
            let count = words.copy_to(at, &mut run);
            let pinned = pool().platform().pin();
            pool().free_deferred_words(&pinned, &run[..count]);
            at += count;
        }
    }
    // Release: as above.
    DONE.fetch_add(1, Ordering::Release);
    task::exit()
}
