//! Priorities, preemption, wake-ups, interrupts on every core.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::{LOW, Verdict, ensure};
use bale_rt::clock::Patience;
use bale_rt::sync::Lock;
use bale_rt::task::{self, TaskId};
use bale_rt::{clock, cores, interrupts};

/// Waits until `condition` holds, for 20 seconds at most.
pub(super) fn eventually(condition: impl Fn() -> bool) -> bool {
    let mut patience = Patience::of_us(20_000_000);
    while !condition() {
        if patience.is_over() {
            return false;
        }
        task::sleep_us(500);
    }
    true
}

static ORDER: Lock<heapless::Vec<u64, 16>> = Lock::new(heapless::Vec::new());
static COUNT: AtomicU32 = AtomicU32::new(0);
static SPIN: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

extern "C" fn note(value: u64) -> ! {
    let _ = ORDER.lock().push(value);
    COUNT.fetch_add(1, Ordering::Release);
    task::exit()
}

pub(super) fn higher_priority_preempts() -> Verdict {
    ORDER.lock().clear();
    COUNT.store(0, Ordering::Relaxed);
    let core = cores::this_unpinned().index();
    // Lower than this task: they run once it waits, the most urgent first; higher: at once.
    for (value, priority) in [(1, LOW), (2, task::VCPU), (3, task::DRAIN), (4, task::DRAIN_URGENT)]
    {
        ensure!(task::spawn("note", core, priority, note, value).is_ok(), "no task");
        let ran = ORDER.lock().contains(&value);
        ensure!(
            ran == (priority > task::SHELL),
            "task {value} of priority {priority}: ran at spawn is {ran}"
        );
    }
    ensure!(eventually(|| COUNT.load(Ordering::Acquire) == 4), "not all ran");
    ensure!(ORDER.lock().as_slice() == [4, 3, 2, 1], "order {:?}", ORDER.lock().as_slice());
    Ok(())
}

extern "C" fn spinner(index: u64) -> ! {
    let counter = &SPIN[index as usize];
    while counter.load(Ordering::Relaxed) != u64::MAX {
        let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |value| {
            (value != u64::MAX).then(|| value + 1)
        });
    }
    COUNT.fetch_add(1, Ordering::Release);
    task::exit()
}

pub(super) fn equals_share_a_core() -> Verdict {
    COUNT.store(0, Ordering::Relaxed);
    let core = cores::last_online();
    for index in 0..2u64 {
        SPIN[index as usize].store(0, Ordering::Relaxed);
        ensure!(task::spawn("spinner", core, LOW, spinner, index).is_ok(), "no task");
    }
    let both = eventually(|| SPIN.iter().all(|counter| counter.load(Ordering::Relaxed) > 0));
    for counter in &SPIN {
        counter.store(u64::MAX, Ordering::Relaxed);
    }
    ensure!(eventually(|| COUNT.load(Ordering::Acquire) == 2), "a spinner did not stop");
    ensure!(both, "one of two equals never ran");
    Ok(())
}

/// Preemptions that are looked at, and the time between them: much shorter than a slice, and longer
/// in all than several.
const PREEMPTIONS: u32 = 100;
const BETWEEN_US: u64 = 500;
const NOBODY: u32 = u32::MAX;
/// The equal that ran last, and the one that was the first to run since the last preemption.
static LAST: AtomicU32 = AtomicU32::new(NOBODY);
static FIRST: AtomicU32 = AtomicU32::new(NOBODY);
/// Preemptions that were looked at, and those behind which the one that was preempted went on.
static LOOKED_AT: AtomicU32 = AtomicU32::new(0);
static WENT_ON: AtomicU32 = AtomicU32::new(0);
static TURNS_OF: [AtomicU32; 2] = [AtomicU32::new(0), AtomicU32::new(0)];

extern "C" fn equal(me: u64) -> ! {
    // Relaxed throughout: all three tasks are on one core.
    let me = me as u32;
    while COUNT.load(Ordering::Relaxed) == 0 {
        if FIRST.load(Ordering::Relaxed) == NOBODY {
            FIRST.store(me, Ordering::Relaxed);
        }
        if LAST.swap(me, Ordering::Relaxed) != me {
            TURNS_OF[me as usize].fetch_add(1, Ordering::Relaxed);
        }
    }
    COUNT.fetch_add(1, Ordering::Release);
    task::exit()
}

extern "C" fn preempting(_argument: u64) -> ! {
    let mut patience = Patience::of_us(10_000_000);
    let mut left = PREEMPTIONS;
    while left > 0 && !patience.is_over() {
        let preempted = LAST.load(Ordering::Relaxed);
        FIRST.store(NOBODY, Ordering::Relaxed);
        let start = clock::now();
        task::sleep_until(start + clock::from_us(BETWEEN_US));
        if clock::now() - start > clock::from_us(3 * BETWEEN_US) {
            // The host had taken the core away: the slice may be over.
            continue;
        }
        left -= 1;
        if preempted != NOBODY && FIRST.load(Ordering::Relaxed) == preempted {
            WENT_ON.fetch_add(1, Ordering::Relaxed);
        }
    }
    LOOKED_AT.store(PREEMPTIONS - left, Ordering::Relaxed);
    COUNT.fetch_add(1, Ordering::Release);
    task::exit()
}

/// A task that is preempted goes on before its equal, unless its slice is over; and what passed of
/// the slice stays passed, so that the equal has its turns.
pub(super) fn preempted_goes_on_before_equals() -> Verdict {
    COUNT.store(0, Ordering::Relaxed);
    WENT_ON.store(0, Ordering::Relaxed);
    LAST.store(NOBODY, Ordering::Relaxed);
    let core = cores::last_online();
    for me in 0..2u64 {
        TURNS_OF[me as usize].store(0, Ordering::Relaxed);
        ensure!(task::spawn("equal", core, LOW, equal, me).is_ok(), "no task");
    }
    ensure!(task::spawn("preempting", core, task::DRAIN_URGENT, preempting, 0).is_ok(), "no task");
    ensure!(eventually(|| COUNT.load(Ordering::Acquire) == 3), "not all ended");
    let (went_on, of) = (WENT_ON.load(Ordering::Relaxed), LOOKED_AT.load(Ordering::Relaxed));
    ensure!(of > PREEMPTIONS / 10, "only {of} wake-ups came in time");
    ensure!(went_on > of / 2, "of {of} times, the one that was preempted went on in {went_on}");
    let turns = [0, 1].map(|me: usize| TURNS_OF[me].load(Ordering::Relaxed));
    ensure!(turns.iter().all(|turns| *turns > 1), "turns of the two equals: {turns:?}");
    Ok(())
}

/// When all sleepers begin to count.
static BASE: AtomicU64 = AtomicU64::new(0);
/// One came late to its sleep, or out of it.
static TOO_LATE: AtomicBool = AtomicBool::new(false);

extern "C" fn sleeper(milliseconds: u64) -> ! {
    let base = BASE.load(Ordering::Relaxed);
    let deadline = base + clock::from_us(milliseconds * 1_000);
    let look =
        |by| TOO_LATE.fetch_or(clock::now() >= by + clock::from_us(40_000), Ordering::Relaxed);
    look(base);
    task::sleep_until(deadline);
    look(deadline);
    if clock::now() >= deadline {
        let _ = ORDER.lock().push(milliseconds);
    }
    COUNT.fetch_add(1, Ordering::Release);
    task::exit()
}

/// Once more if the host stood still meanwhile.
pub(super) fn sleepers_wake_in_order() -> Verdict {
    for _ in 0..20 {
        TOO_LATE.store(false, Ordering::Relaxed);
        let verdict = sleep_in_turn();
        if verdict.is_ok() || !TOO_LATE.load(Ordering::Relaxed) {
            return verdict;
        }
    }
    Err(super::failure(format_args!("the host never let four tasks run within 40 ms")))
}

fn sleep_in_turn() -> Verdict {
    ORDER.lock().clear();
    COUNT.store(0, Ordering::Relaxed);
    let core = cores::last_online();
    BASE.store(clock::now(), Ordering::Relaxed);
    for milliseconds in [400, 100, 300, 200] {
        ensure!(
            task::spawn("sleeper", core, task::DRAIN_URGENT, sleeper, milliseconds).is_ok(),
            "no task"
        );
    }
    ensure!(eventually(|| COUNT.load(Ordering::Acquire) == 4), "not all woke");
    ensure!(ORDER.lock().as_slice() == [100, 200, 300, 400], "order {:?}", ORDER.lock().as_slice());
    Ok(())
}

/// Turns that two tasks on different cores hand each other, by park and unpark.
const TURNS: u64 = 10_000;
static TURN: AtomicU64 = AtomicU64::new(0);
static PLAYERS: Lock<[Option<TaskId>; 2]> = Lock::new([None; 2]);

extern "C" fn player(me: u64) -> ! {
    PLAYERS.lock()[me as usize] = Some(task::current());
    COUNT.fetch_add(1, Ordering::Release);
    let other = loop {
        if let Some(other) = PLAYERS.lock()[1 - me as usize] {
            break other;
        }
        task::sleep_us(100);
    };
    loop {
        // Acquire: with the other player's release, so each turn follows the one before.
        let turn = TURN.load(Ordering::Acquire);
        if turn >= TURNS {
            task::unpark(other);
            break;
        }
        if turn % 2 == me {
            TURN.store(turn + 1, Ordering::Release);
            task::unpark(other);
        } else {
            task::park();
        }
    }
    COUNT.fetch_add(1, Ordering::Release);
    task::exit()
}

pub(super) fn no_wake_up_is_lost() -> Verdict {
    COUNT.store(0, Ordering::Relaxed);
    TURN.store(0, Ordering::Relaxed);
    *PLAYERS.lock() = [None; 2];
    let last = cores::last_online();
    ensure!(task::spawn("player", last, task::DRAIN, player, 0).is_ok(), "no task");
    let middle = cores::in_turn((cores::online() - 1) / 2);
    ensure!(task::spawn("player", middle, task::DRAIN, player, 1).is_ok(), "no task");
    let mut seen = 0;
    // Ten seconds without any progress is a lost wake-up.
    while COUNT.load(Ordering::Acquire) < 4 {
        ensure!(
            eventually(|| TURN.load(Ordering::Relaxed) > seen || COUNT.load(Ordering::Acquire) == 4),
            "stuck at turn {} of {TURNS}",
            TURN.load(Ordering::Relaxed)
        );
        seen = TURN.load(Ordering::Relaxed);
    }
    Ok(())
}

pub(super) fn every_core_takes_interrupts() -> Verdict {
    let (sources, _) = interrupts::sources();
    let Some(source) = sources.iter().find(|source| source.id == interrupts::RESCHEDULE) else {
        return Err(super::failure(format_args!("no reschedule interrupt")));
    };
    for core in cores::indexes() {
        let taken = || source.taken().nth(core).unwrap_or(0);
        let before = taken();
        interrupts::raise(core, interrupts::RESCHEDULE);
        ensure!(eventually(|| taken() > before), "core {core} took no interrupt");
    }
    Ok(())
}

pub(super) fn stacks_are_reused() -> Verdict {
    for round in 0..4 * task::MAX_TASKS as u32 {
        COUNT.store(0, Ordering::Relaxed);
        ORDER.lock().clear();
        let core = cores::in_turn(round as usize);
        ensure!(
            task::spawn("note", core, task::DRAIN_URGENT, note, 0).is_ok(),
            "no task in round {round}"
        );
        ensure!(eventually(|| COUNT.load(Ordering::Acquire) == 1), "round {round} did not run");
    }
    Ok(())
}
