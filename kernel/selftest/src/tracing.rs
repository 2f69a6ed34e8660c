//! The trace: that it holds what a core did, in the order in which it did it.

use bale_core::trace::{Event, Kind};
use zsmalloc::Platform;

use super::deferring::make;
use super::scheduling::eventually;
use super::{Verdict, ensure};
use bale_reclaim::drain;
use bale_reclaim::pool::pool;
use bale_rt::{clock, cores, interrupts, task, test_interrupt, trace};

/// A step of a run: its kind and, where it has one, its name.
type Step = (Kind, &'static str);

/// On the core that drains, from the interrupt to the drain's first slice. The push that passes the
/// watermark comes before, and is traced on the core that pushes: the same, or one whose ring a
/// small core drains for it.
const RUN: [Step; 6] = [
    (Kind::InterruptIn, "drain"),
    (Kind::Wake, "drain"),
    (Kind::InterruptOut, ""),
    (Kind::Switch, "drain"),
    (Kind::DrainBegin, ""),
    (Kind::DrainEnd, ""),
];

/// The first step that does not follow the ones before, if any.
fn missing(events: impl Iterator<Item = Event<'static>>) -> Option<Step> {
    let mut steps = RUN.iter();
    let mut wanted = steps.next();
    for event in events {
        if wanted.is_some_and(|(kind, name)| event.kind == *kind && event.name == *name) {
            wanted = steps.next();
        }
    }
    wanted.copied()
}

/// Tries: the drain's own timer may come between the push and the interrupt, and wake the task
/// first.
const TRIES: usize = 20;

pub(super) fn holds_a_run_in_order() -> Verdict {
    let core = cores::this_unpinned().index();
    let drains = cores::helper_of(core);
    let mut last = None;
    for _ in 0..TRIES {
        let pushed = pass_the_watermark(drains)?;
        for traced in [core, drains] {
            let (kept, written) = trace::counts(traced);
            ensure!(kept as u64 == written, "{written} events, more than a core keeps");
            in_order(traced)?;
        }
        ensure!(
            slices(drains) == pushed,
            "the drain's slices freed {} of {pushed}",
            slices(drains)
        );
        let push = trace::events(core).find(|event| event.kind == Kind::Enqueue);
        let push = push.ok_or_else(|| super::failure(format_args!("no push is in the trace")))?.at;
        last = missing(trace::events(drains).filter(|event| event.at >= push));
        if last.is_none() {
            return Ok(());
        }
    }
    let (kind, name) = last.unwrap_or(RUN[0]);
    Err(super::failure(format_args!("no {} {name} where it has to be", kind.word())))
}

/// Traces from a push that passes the watermark until the drain, on the core that drains for this
/// one, is quiet; how many handles were pushed.
fn pass_the_watermark(drains: usize) -> Result<usize, super::Failure> {
    ensure!(drain::wait_until_quiet(10_000_000), "the drain is not quiet");
    let mut words: heapless::Vec<u64, 1024> = heapless::Vec::new();
    while words.len() <= pool().config().watermark {
        for handle in make(64)? {
            ensure!(
                words.push(handle.into_raw()).is_ok(),
                "the watermark is above what this test pushes"
            );
        }
    }
    trace::start();
    // This task outranks the drain, which so begins after the last push where it is on the same
    // core.
    pool().free_deferred_words(&pool().platform().pin(), &words);
    let pushed = words.len();
    // Not until nothing is pending: that is so a few instructions before the drain notes its slice.
    let noted = eventually(|| slices(drains) >= pushed);
    trace::stop();
    ensure!(noted, "the drain's slices freed {} of {pushed}", slices(drains));
    Ok(pushed)
}

/// How many handles the drain freed, by the slices that it noted on a core.
fn slices(core: usize) -> usize {
    let ends = trace::events(core).filter(|event| event.kind == Kind::DrainEnd);
    ends.map(|event| event.number as usize).sum()
}

/// That time goes on and interrupts are left before the next.
fn in_order(core: usize) -> Verdict {
    let (mut last, mut inside) = (0, false);
    for event in trace::events(core) {
        ensure!(event.at >= last, "{} at {} after {last}", event.kind.word(), event.at);
        last = event.at;
        if matches!(event.kind, Kind::InterruptIn | Kind::InterruptOut) {
            let entering = event.kind == Kind::InterruptIn;
            ensure!(inside != entering, "two of {} in a row", event.kind.word());
            inside = entering;
        }
    }
    Ok(())
}

/// Raises the interrupt of the tests on this core, and waits until it was taken.
fn interrupt() -> Verdict {
    interrupts::raise(cores::this_unpinned().index(), interrupts::TEST);
    let limit = clock::now() + clock::from_us(30_000_000);
    ensure!(test_interrupt::ARRIVED.take_until(limit), "an interrupt did not come");
    Ok(())
}

pub(super) fn overwrites_the_oldest() -> Verdict {
    let core = cores::this_unpinned().index();
    while test_interrupt::ARRIVED.try_take() {}
    trace::start();
    let first = clock::now();
    for _ in 0..trace::KEPT {
        interrupt()?;
    }
    let before_last = clock::now();
    interrupt()?;
    trace::stop();
    let (kept, written) = trace::counts(core);
    ensure!(
        kept == trace::KEPT && written > 2 * kept as u64,
        "{kept} of {written} events are kept"
    );
    ensure!(
        trace::events(core).count() == kept,
        "{} events in the dump",
        trace::events(core).count()
    );
    ensure!(
        trace::events(core).next().is_some_and(|event| event.at > first),
        "the oldest is still there"
    );
    let late = |event: &Event<'_>| event.kind == Kind::InterruptIn && event.at > before_last;
    ensure!(trace::events(core).any(|event| late(&event)), "the last interrupt is not there");
    let ordered =
        trace::events(core).zip(trace::events(core).skip(1)).all(|(one, next)| one.at <= next.at);
    ensure!(ordered, "the events are out of order");
    Ok(())
}

pub(super) fn keeps_nothing_while_off() -> Verdict {
    let core = cores::this_unpinned().index();
    while test_interrupt::ARRIVED.try_take() {}
    trace::start();
    interrupt()?;
    trace::stop();
    ensure!(!trace::is_on(), "the trace does not stop");
    let before = trace::counts(core);
    ensure!(before.0 > 0, "nothing was kept while the trace was on");
    for _ in 0..10 {
        interrupt()?;
        task::yield_now();
    }
    ensure!(trace::counts(core) == before, "{:?} became {:?}", before, trace::counts(core));
    Ok(())
}
