//! What tasks wait for: semaphores, mutexes that lend priorities, events, queues; periodic tasks.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use bale_core::wait::{LockError, Wanted};

use super::scheduling::eventually;
use super::{LOW, Verdict, ensure};
use bale_rt::sync::{Events, Lock, Mutex, Queue, Semaphore};
use bale_rt::task::{self, TaskId};
use bale_rt::{clock, cores, interrupts, test_interrupt};

static ORDER: Lock<heapless::Vec<u64, 16>> = Lock::new(heapless::Vec::new());
static ENDED: AtomicU32 = AtomicU32::new(0);
static GO: AtomicBool = AtomicBool::new(false);

fn begin() -> usize {
    ORDER.lock().clear();
    ENDED.store(0, Ordering::Relaxed);
    GO.store(false, Ordering::Relaxed);
    cores::last_online()
}

fn note(value: u64) {
    let _ = ORDER.lock().push(value);
    NOTED.store(clock::now(), Ordering::Relaxed);
}

/// Less than a slice, after which equals take turns whatever else they are promised.
const WITHIN_US: u64 = 4_000;
/// When the tasks of a round were let go, and the time of the last note.
static LET_GO: AtomicU64 = AtomicU64::new(0);
static NOTED: AtomicU64 = AtomicU64::new(0);

fn let_go() {
    LET_GO.store(clock::now(), Ordering::Relaxed);
    GO.store(true, Ordering::Release);
}

/// A round in which equals run in the order of their arrival: again if the host took so long that a
/// slice may have been over.
fn within_a_slice(round: impl Fn() -> Verdict) -> Verdict {
    for _ in 0..100 {
        let verdict = round();
        let took = NOTED.load(Ordering::Relaxed).saturating_sub(LET_GO.load(Ordering::Relaxed));
        if verdict.is_ok() || took < clock::from_us(WITHIN_US) {
            return verdict;
        }
    }
    Err(super::failure(format_args!("the host never let five tasks run within {WITHIN_US} us")))
}

fn end() -> ! {
    ENDED.fetch_add(1, Ordering::Release);
    task::exit()
}

fn spawn(
    core: usize,
    priority: u8,
    entry: extern "C" fn(u64) -> !,
    argument: u64,
) -> Result<TaskId, super::Failure> {
    task::spawn("locking", core, priority, entry, argument)
        .map_err(|error| super::failure(format_args!("no task: {error:?}")))
}

fn all_ended(count: u32) -> bool {
    eventually(|| ENDED.load(Ordering::Acquire) == count)
}

/// Waits until this many of the tasks of these tests are parked.
fn parked(count: usize) -> bool {
    eventually(|| {
        let waits =
            |task: &task::Summary| task.name == "locking" && task.state == task::State::Blocked;
        task::summaries().filter(waits).count() == count
    })
}

fn priority_of(task: TaskId) -> Option<u8> {
    task::summaries().find(|summary| summary.index == task.index()).map(|summary| summary.priority)
}

/// Makes tasks wait there, of these values and priorities in this order.
fn wait_in_turn(core: usize, entry: extern "C" fn(u64) -> !, tasks: &[(u64, u8)]) -> Verdict {
    for (place, (value, priority)) in tasks.iter().enumerate() {
        spawn(core, *priority, entry, *value)?;
        ensure!(parked(place + 1), "task {value} does not wait");
    }
    Ok(())
}

static SEMAPHORE: Semaphore = Semaphore::new(0, 1000);

extern "C" fn taker(value: u64) -> ! {
    SEMAPHORE.take();
    note(value);
    end()
}

pub(super) fn semaphore_serves_by_priority() -> Verdict {
    let core = begin();
    // The values are the places in which they must be served: by priority, then by arrival.
    wait_in_turn(core, taker, &[(3, LOW), (1, task::DRAIN), (4, LOW), (2, task::VCPU)])?;
    for served in 1..=4 {
        ensure!(SEMAPHORE.give().is_ok(), "give was refused");
        ensure!(all_ended(served), "give {served} woke nobody");
    }
    ensure!(ORDER.lock().as_slice() == [1, 2, 3, 4], "order {:?}", ORDER.lock().as_slice());
    ensure!(SEMAPHORE.count() == 0, "{} are left", SEMAPHORE.count());
    Ok(())
}

pub(super) fn semaphore_gives_up_in_time() -> Verdict {
    let limited = Semaphore::new(0, 1);
    let start = clock::now();
    let deadline = start + clock::from_us(5_000);
    ensure!(!limited.take_until(deadline), "took what was not there");
    ensure!(clock::now() >= deadline, "gave up early");
    ensure!(limited.give().is_ok() && limited.count() == 1, "what came later is lost");
    ensure!(limited.give().is_err(), "the limit does not hold");
    ensure!(limited.take_until(clock::now()), "did not take what was there");
    Ok(())
}

static FIRST: Mutex<u64> = Mutex::new(0);
static SECOND: Mutex<u64> = Mutex::new(0);

/// Holds a mutex, busy, until it is told to go on.
extern "C" fn holder(_argument: u64) -> ! {
    if let Ok(mut value) = FIRST.lock() {
        *value += 1;
        note(0);
        while !GO.load(Ordering::Acquire) {
            core::hint::spin_loop();
        }
        note(1);
    }
    end()
}

/// Waits for the mutex of the first while it holds its own, if it has one.
extern "C" fn waiter(own: u64) -> ! {
    let held = (own == 1).then(|| SECOND.lock());
    if let Ok(mut value) = FIRST.lock() {
        *value += 1;
        note(2);
    }
    drop(held);
    end()
}

extern "C" fn last_of_chain(_argument: u64) -> ! {
    if let Ok(mut value) = SECOND.lock() {
        *value += 1;
        note(3);
    }
    end()
}

extern "C" fn bystander(value: u64) -> ! {
    note(value);
    end()
}

pub(super) fn mutex_lends_priority() -> Verdict {
    let core = begin();
    let low = spawn(core, LOW, holder, 0)?;
    ensure!(eventually(|| !ORDER.lock().is_empty()), "the holder did not start");
    spawn(core, task::DRAIN, waiter, 0)?;
    ensure!(parked(1), "the urgent task does not wait");
    ensure!(priority_of(low) == Some(task::DRAIN), "the holder runs at {:?}", priority_of(low));
    // Without the loan this one, between the two, would run now, and the urgent one would wait for
    // it.
    spawn(core, task::VCPU, bystander, 9)?;
    task::sleep_us(10_000);
    let early = ORDER.lock().contains(&9);
    GO.store(true, Ordering::Release);
    ensure!(all_ended(3), "not all ended");
    ensure!(!early, "a task in between ran while a more urgent one waited");
    ensure!(ORDER.lock().as_slice() == [0, 1, 2, 9], "order {:?}", ORDER.lock().as_slice());
    Ok(())
}

pub(super) fn mutex_lends_along_a_chain() -> Verdict {
    let core = begin();
    let low = spawn(core, LOW, holder, 0)?;
    ensure!(eventually(|| !ORDER.lock().is_empty()), "the holder did not start");
    let middle = spawn(core, task::VCPU, waiter, 1)?;
    ensure!(parked(1), "the one in the middle does not wait");
    ensure!(priority_of(low) == Some(task::VCPU), "the holder runs at {:?}", priority_of(low));
    spawn(core, task::DRAIN, last_of_chain, 0)?;
    ensure!(parked(2), "the urgent one does not wait");
    let loaned = [priority_of(low), priority_of(middle)];
    GO.store(true, Ordering::Release);
    ensure!(all_ended(3), "not all ended");
    ensure!(loaned == [Some(task::DRAIN); 2], "the chain runs at {loaned:?}");
    ensure!(ORDER.lock().as_slice() == [0, 1, 2, 3], "order {:?}", ORDER.lock().as_slice());
    Ok(())
}

/// Keeps its core until it is told to go on.
extern "C" fn occupier(_argument: u64) -> ! {
    note(0);
    while !GO.load(Ordering::Acquire) {
        core::hint::spin_loop();
    }
    end()
}

/// A task that waits for its core and loses what it inherited goes before its equals; one that
/// rises goes behind them.
pub(super) fn loans_cost_no_turn() -> Verdict {
    within_a_slice(lend_and_take_back)
}

fn lend_and_take_back() -> Verdict {
    let core = begin();
    spawn(core, task::DRAIN, occupier, 0)?;
    ensure!(eventually(|| !ORDER.lock().is_empty()), "the core is not occupied");
    let tasks = [
        spawn(core, LOW, bystander, 4)?,
        spawn(core, LOW, bystander, 3)?,
        spawn(core, task::VCPU, bystander, 1)?,
        spawn(core, LOW, bystander, 2)?,
    ];
    // As a waiter lends and gives up.
    task::set_priority(tasks[1], task::VCPU);
    task::set_priority(tasks[1], LOW);
    task::set_priority(tasks[3], task::VCPU);
    let_go();
    ensure!(all_ended(5), "not all ended");
    ensure!(ORDER.lock().as_slice() == [0, 1, 2, 3, 4], "order {:?}", ORDER.lock().as_slice());
    Ok(())
}

pub(super) fn mutex_refuses_a_deadlock() -> Verdict {
    let mutex = Mutex::new(7);
    let Ok(held) = mutex.lock() else {
        return Err(super::failure(format_args!("a free mutex was refused")));
    };
    ensure!(mutex.lock().err() == Some(LockError::Deadlock), "a task may wait for itself");
    drop(held);
    ensure!(mutex.lock().is_ok_and(|value| *value == 7), "the mutex is not free again");
    Ok(())
}

static EVENTS: Events = Events::new();

extern "C" fn event_waiter(all: u64) -> ! {
    let found = EVENTS.wait(Wanted { flags: 0b11, all: all == 1, clear: all == 1 });
    note(u64::from(found) + 10 * all);
    end()
}

pub(super) fn events_any_and_all() -> Verdict {
    let core = begin();
    EVENTS.clear(u32::MAX);
    spawn(core, task::DRAIN, event_waiter, 0)?;
    spawn(core, task::DRAIN, event_waiter, 1)?;
    ensure!(parked(2), "not both wait");
    EVENTS.set(0b100);
    ensure!(parked(2), "a flag that nobody wants woke somebody");
    EVENTS.set(0b01);
    ensure!(all_ended(1), "the one that wants any still waits");
    ensure!(parked(1), "the one that wants all does not wait");
    EVENTS.set(0b10);
    ensure!(all_ended(2), "the one that wants all still waits");
    ensure!(ORDER.lock().as_slice() == [1, 13], "found {:?}", ORDER.lock().as_slice());
    ensure!(EVENTS.flags() == 0b100, "flags {:#b} are left", EVENTS.flags());
    let limit = clock::now() + clock::from_us(2_000);
    let wanted = Wanted { flags: 0b1000, all: false, clear: true };
    ensure!(EVENTS.wait_until(wanted, limit).is_none(), "found a flag that nobody set");
    Ok(())
}

/// Sets the flag that they all wait for, below all of them.
extern "C" fn setter(_argument: u64) -> ! {
    EVENTS.set(1);
    end()
}

extern "C" fn flag_waiter(value: u64) -> ! {
    EVENTS.wait(Wanted { flags: 1, all: false, clear: false });
    note(value);
    end()
}

/// One that sets flags makes way for the most urgent of those that it serves, whoever was the first
/// in the table.
pub(super) fn events_serve_by_priority() -> Verdict {
    within_a_slice(serve_all)
}

fn serve_all() -> Verdict {
    let core = begin();
    EVENTS.clear(u32::MAX);
    // More than are woken at a time, the least urgent first.
    let priorities = [
        (9, task::VCPU - 1),
        (7, task::VCPU),
        (8, task::VCPU),
        (6, task::VCPU + 1),
        (5, task::DRAIN),
        (4, task::SHELL),
        (3, task::DRAIN_URGENT),
        (2, task::DRAIN_URGENT + 1),
        (1, task::WATCHDOG),
    ];
    wait_in_turn(core, flag_waiter, &priorities)?;
    let_go();
    spawn(core, LOW, setter, 0)?;
    ensure!(all_ended(10), "not all ended");
    EVENTS.clear(u32::MAX);
    ensure!(
        ORDER.lock().as_slice() == [1, 2, 3, 4, 5, 6, 7, 8, 9],
        "order {:?}",
        ORDER.lock().as_slice()
    );
    Ok(())
}

/// Interrupts that come in the midst of a give, in the short form.
const MET: u32 = 300;
/// A give was begun, and the task that it serves has not run since.
static GIVING: AtomicBool = AtomicBool::new(false);
static STOP: AtomicBool = AtomicBool::new(false);
static INTERRUPTED: AtomicU32 = AtomicU32::new(0);
static EARLY: AtomicU32 = AtomicU32::new(0);
static SERVED_TURN: Semaphore = Semaphore::new(0, 1);

extern "C" fn urgent_taker(_argument: u64) -> ! {
    loop {
        SERVED_TURN.take();
        GIVING.store(false, Ordering::Relaxed);
        if STOP.load(Ordering::Acquire) {
            end();
        }
    }
}

/// Woken by interrupts, between the two others.
extern "C" fn middle(_argument: u64) -> ! {
    loop {
        test_interrupt::ARRIVED.take();
        if GIVING.load(Ordering::Relaxed) {
            INTERRUPTED.fetch_add(1, Ordering::Relaxed);
            // Handed over already, and still I run first.
            EARLY.fetch_add(u32::from(!SERVED_TURN.has_waiters()), Ordering::Relaxed);
        }
        if STOP.load(Ordering::Acquire) {
            end();
        }
    }
}

extern "C" fn giver(wanted: u64) -> ! {
    let deadline = clock::now() + clock::from_us(20_000_000);
    while u64::from(INTERRUPTED.load(Ordering::Relaxed)) < wanted && clock::now() < deadline {
        GIVING.store(true, Ordering::Relaxed);
        let _ = SERVED_TURN.give();
    }
    STOP.store(true, Ordering::Release);
    let _ = SERVED_TURN.give();
    let _ = test_interrupt::ARRIVED.give();
    end()
}

/// A give hands over and wakes in one: an interrupt in between would let a task run that the served
/// one outranks.
pub(super) fn semaphore_wakes_before_interrupts() -> Verdict {
    let core = begin();
    if core == cores::this_unpinned().index() {
        // Nobody is there to interrupt it.
        return Ok(());
    }
    let wanted = if super::is_long() { 30 * MET } else { MET };
    STOP.store(false, Ordering::Relaxed);
    INTERRUPTED.store(0, Ordering::Relaxed);
    EARLY.store(0, Ordering::Relaxed);
    while test_interrupt::ARRIVED.try_take() {}
    spawn(core, task::DRAIN, urgent_taker, 0)?;
    spawn(core, task::VCPU, middle, 0)?;
    ensure!(parked(2), "not both wait");
    spawn(core, LOW, giver, wanted.into())?;
    let deadline = clock::now() + clock::from_us(60_000_000);
    while ENDED.load(Ordering::Acquire) < 3 && clock::now() < deadline {
        interrupts::raise(core, interrupts::TEST);
    }
    ensure!(all_ended(3), "not all ended");
    while test_interrupt::ARRIVED.try_take() {}
    let early = EARLY.load(Ordering::Relaxed);
    let met = INTERRUPTED.load(Ordering::Relaxed);
    ensure!(met > 0, "no interrupt came in the midst of a give");
    ensure!(
        early == 0,
        "{early} times of {met} a task ran before the more urgent one that was served"
    );
    Ok(())
}

/// For what comes at once where nothing is lost, and the machine is not stopped for longer.
const LOST_US: u64 = 30_000_000;
const MESSAGES: u64 = 5_000;
static QUEUE: Queue<u64, 8> = Queue::new();

extern "C" fn sender(_argument: u64) -> ! {
    for message in 0..MESSAGES {
        QUEUE.send(message);
    }
    end()
}

pub(super) fn queue_keeps_order() -> Verdict {
    let core = begin();
    spawn(core, task::DRAIN, sender, 0)?;
    for wanted in 0..MESSAGES {
        let got = QUEUE.receive_until(clock::now() + clock::from_us(LOST_US));
        ensure!(got == Some(wanted), "received {got:?} instead of {wanted}");
    }
    ensure!(all_ended(1), "the sender did not end");
    ensure!(QUEUE.try_receive().is_none(), "a message came twice");
    for message in 0..8 {
        ensure!(QUEUE.try_send(message).is_ok(), "message {message} was refused");
    }
    ensure!(QUEUE.try_send(8) == Err(8), "a full queue took a message");
    for message in 0..8 {
        ensure!(QUEUE.receive() == message, "message {message} is not where it was");
    }
    Ok(())
}

/// Interrupts in the short form; the long one (`selftest --long`) has a million.
const INTERRUPTS: u64 = 20_000;

pub(super) fn no_wake_up_is_lost_to_interrupts() -> Verdict {
    let rounds = if super::is_long() { 1_000_000 } else { INTERRUPTS };
    while test_interrupt::ARRIVED.try_take() {}
    for round in 0..rounds {
        // To each core in turn, this one too: its handler gives, and this task takes before, after,
        // or meanwhile.
        interrupts::raise(cores::in_turn(round as usize), interrupts::TEST);
        let taken = test_interrupt::ARRIVED.take_until(clock::now() + clock::from_us(LOST_US));
        ensure!(taken, "interrupt {round} woke nobody");
    }
    ensure!(test_interrupt::ARRIVED.count() == 0, "an interrupt counted twice");
    Ok(())
}

const PERIOD_US: u64 = 2_000;
const RELEASES: u64 = 20;
static SERVED: AtomicU64 = AtomicU64::new(0);
static MISSED: AtomicU64 = AtomicU64::new(0);
static SPAN: AtomicU64 = AtomicU64::new(0);

extern "C" fn late(_argument: u64) -> ! {
    let period = clock::from_us(PERIOD_US);
    let mut rhythm = task::Periodic::new(period);
    let first = rhythm.wait();
    // Of those before the first one it serves the span says nothing.
    let missed_before = rhythm.overruns();
    let mut last = first;
    for release in 1..RELEASES {
        if release == RELEASES / 2 {
            // Busy over three whole periods and a half.
            let until = last + period * 7 / 2;
            while clock::now() < until {
                core::hint::spin_loop();
            }
        }
        last = rhythm.wait();
    }
    SERVED.store(RELEASES, Ordering::Relaxed);
    MISSED.store(rhythm.overruns() - missed_before, Ordering::Relaxed);
    SPAN.store((last - first) / period, Ordering::Relaxed);
    end()
}

pub(super) fn overruns_are_counted() -> Verdict {
    let core = begin();
    spawn(core, task::DRAIN_URGENT, late, 0)?;
    ensure!(all_ended(1), "the periodic task did not end");
    let [served, missed, span] =
        [&SERVED, &MISSED, &SPAN].map(|value| value.load(Ordering::Relaxed));
    // More may be missed where the host is slow, but every release is served or counted.
    ensure!(missed >= 2, "{missed} overruns after a delay of three periods and a half");
    ensure!(served + missed == span + 1, "{served} served and {missed} missed in {span} periods");
    Ok(())
}
