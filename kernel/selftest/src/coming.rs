//! Cores that go and come back while objects are freed through their rings and drained.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use zsmalloc::{Handle, Platform};

use super::deferring::all_back;
use super::{LOW, Verdict, ensure, is_long};
use bale_reclaim::pool::pool;
use bale_rt::hotplug::{self, Refused};
use bale_rt::{cores, task};

/// Objects that a core frees before it goes: more than the watermark, so that its drain is at it.
const OBJECTS: usize = 600;
const SIZE: usize = 200;

static FREED: AtomicU32 = AtomicU32::new(0);
static BROKEN: AtomicU64 = AtomicU64::new(0);

/// Frees objects through the ring of its core, all at once.
extern "C" fn free_many(_argument: u64) -> ! {
    let mut handles: heapless::Vec<Handle, OBJECTS> = heapless::Vec::new();
    while !handles.is_full() {
        match pool().malloc(SIZE) {
            // There is room, as was looked at.
            Ok(handle) => drop(handles.push(handle)),
            Err(_) => {
                BROKEN.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
    }
    let pinned = pool().platform().pin();
    pool().free_deferred_many(&pinned, handles);
    drop(pinned);
    FREED.fetch_add(1, Ordering::Release);
    task::exit()
}

/// Starts [`free_many`] there, and waits until everything is in the ring.
fn fill_ring(core: usize) -> Verdict {
    let before = FREED.load(Ordering::Acquire);
    let spawned = task::spawn("frees", core, task::VCPU, free_many, 0);
    ensure!(spawned.is_ok(), "no task for core {core}: {spawned:?}");
    let freed = super::scheduling::eventually(|| FREED.load(Ordering::Acquire) != before);
    ensure!(freed, "core {core} frees nothing");
    Ok(())
}

/// Each core but the first in turn, 48 times in all or a thousand, in the midst of its drain;
/// nothing is lost.
pub(super) fn cores_go_and_come_back() -> Verdict {
    let all = cores::all().len();
    if all < 2 {
        return Ok(());
    }
    let before = pool().stats();
    let rounds = if is_long() { 1000 } else { 48 };
    for round in 0..rounds {
        let core = 1 + round % (all - 1);
        fill_ring(core)?;
        // Beside it another core goes on with its own.
        fill_ring(round % core)?;
        let gone = hotplug::take_offline(core);
        ensure!(gone.is_ok(), "round {round}: core {core} stays: {gone:?}");
        ensure!(!cores::all()[core].online(), "round {round}: core {core} counts as online");
        ensure!(
            pool().pending(core) == 0,
            "round {round}: {} handles in a ring nobody drains",
            pool().pending(core)
        );
        let refused = task::spawn("nobody", core, task::VCPU, free_many, 0).is_err();
        ensure!(refused, "round {round}: a task was started on a core that is off");
        let back = hotplug::bring_online(core);
        ensure!(back.is_ok(), "round {round}: core {core} does not come back: {back:?}");
        fill_ring(core)?;
    }
    ensure!(BROKEN.load(Ordering::Relaxed) == 0, "the pool refused something");
    all_back(before)
}

extern "C" fn stays(_argument: u64) -> ! {
    while FREED.load(Ordering::Acquire) != u32::MAX {
        task::sleep_us(1_000);
    }
    FREED.store(0, Ordering::Release);
    task::exit()
}

/// What cannot go says why, and goes on as before.
pub(super) fn cores_in_use_stay() -> Verdict {
    ensure!(hotplug::take_offline(0) == Err(Refused::BootCore), "the boot core went");
    ensure!(hotplug::take_offline(99) == Err(Refused::NoSuchCore), "a core went that is not there");
    let last = cores::all().len() - 1;
    if last == 0 {
        return Ok(());
    }
    ensure!(hotplug::bring_online(last) == Err(Refused::Already), "a core came twice");
    let spawned = task::spawn("stays", last, task::VCPU, stays, 0);
    ensure!(spawned.is_ok(), "no task: {spawned:?}");
    let refused = hotplug::take_offline(last);
    let online = cores::all()[last].online();
    FREED.store(u32::MAX, Ordering::Release);
    ensure!(
        super::scheduling::eventually(|| FREED.load(Ordering::Acquire) == 0),
        "the task does not end"
    );
    ensure!(refused == Err(Refused::Used("stays")) && online, "a core in use: {refused:?}");
    let before = pool().stats();
    fill_ring(last)?;
    all_back(before)
}

static BUSY: AtomicBool = AtomicBool::new(false);

/// Has its core for itself, above everything, and takes interrupts.
extern "C" fn keeps_busy(_argument: u64) -> ! {
    BUSY.store(true, Ordering::Release);
    while BUSY.load(Ordering::Acquire) {
        core::hint::spin_loop();
    }
    FREED.store(0, Ordering::Release);
    task::exit()
}

/// A core on which nothing else gets to run stays, in the end, and goes on as before.
pub(super) fn a_busy_core_stays() -> Verdict {
    let all = cores::all().len();
    if all < 2 {
        return Ok(());
    }
    // There is the watcher of the boot core, and on the others none.
    for core in [1, all - 1] {
        FREED.store(1, Ordering::Release);
        let spawned = task::spawn("busy", core, task::WATCHDOG + 1, keeps_busy, 0);
        ensure!(spawned.is_ok(), "no task: {spawned:?}");
        ensure!(super::scheduling::eventually(|| BUSY.load(Ordering::Acquire)), "it does not run");
        let refused = hotplug::take_offline(core);
        let online = cores::all()[core].online();
        BUSY.store(false, Ordering::Release);
        ensure!(
            super::scheduling::eventually(|| FREED.load(Ordering::Acquire) == 0),
            "the task does not end"
        );
        ensure!(
            matches!(refused, Err(Refused::Late | Refused::Used(_))),
            "core {core} went: {refused:?}"
        );
        ensure!(online, "core {core} is on, and counts as off");
        let before = pool().stats();
        fill_ring(core)?;
        all_back(before)?;
        let gone = hotplug::take_offline(core);
        ensure!(gone.is_ok(), "core {core} stays: {gone:?}");
        let back = hotplug::bring_online(core);
        ensure!(back.is_ok(), "core {core} does not come back: {back:?}");
    }
    Ok(())
}

static TURNS: [AtomicU32; 3] = [const { AtomicU32::new(0) }; 3];
static FREE_STOP: AtomicU32 = AtomicU32::new(0);

/// A free task: one that works without end, one that sleeps, one that parks until it is told.
extern "C" fn roams(kind: u64) -> ! {
    while FREE_STOP.load(Ordering::Acquire) == 0 {
        TURNS[kind as usize].fetch_add(1, Ordering::Relaxed);
        match kind {
            0 => core::hint::spin_loop(),
            1 => task::sleep_us(300),
            _ => task::park(),
        }
    }
    FREE_STOP.fetch_add(1, Ordering::Release);
    task::exit()
}

/// Tasks that are free leave with their core's going, in whatever state they are, and go on
/// elsewhere.
pub(super) fn free_tasks_move() -> Verdict {
    let all = cores::all().len();
    if all < 2 {
        return Ok(());
    }
    FREE_STOP.store(0, Ordering::Release);
    let first = all - 1;
    let mut tasks = [None; 3];
    for (kind, place) in tasks.iter_mut().enumerate() {
        let spawned = task::spawn_free("roams", first, LOW, roams, kind as u64);
        ensure!(spawned.is_ok(), "no task: {spawned:?}");
        *place = spawned.ok();
    }
    let rounds = if is_long() { 300 } else { 24 };
    for round in 0..rounds {
        // Wherever one of them is, if that is not the boot core.
        let core = task::summaries()
            .filter(|task| task.name == "roams")
            .map(|task| task.core)
            .max()
            .unwrap_or(0);
        let core = if core == 0 { first } else { core };
        let gone = hotplug::take_offline(core);
        ensure!(gone.is_ok(), "round {round}: core {core} stays: {gone:?}");
        let left = task::summaries().find(|task| task.core == core && task.name != "idle");
        ensure!(left.is_none(), "round {round}: a task belongs to a core that is off");
        let before = TURNS.each_ref().map(|turns| turns.load(Ordering::Relaxed));
        if let Some(parked) = tasks[2] {
            task::unpark(parked);
        }
        let goes_on = || {
            TURNS.iter().zip(before).all(|(turns, before)| turns.load(Ordering::Relaxed) != before)
        };
        ensure!(
            super::scheduling::eventually(goes_on),
            "round {round}: a task does not go on: {TURNS:?}, {before:?}"
        );
        let back = hotplug::bring_online(core);
        ensure!(back.is_ok(), "round {round}: core {core} does not come back: {back:?}");
    }
    FREE_STOP.store(1, Ordering::Release);
    let ended = super::scheduling::eventually(|| {
        if let Some(parked) = tasks[2] {
            task::unpark(parked);
        }
        FREE_STOP.load(Ordering::Acquire) == 4
    });
    ensure!(ended, "not all end");
    Ok(())
}
