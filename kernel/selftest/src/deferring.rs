//! The pool and its drain on real cores: everything comes back, from every core, within the bound.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use zsmalloc::{Error, Handle, PinnedCore, Platform};

use super::scheduling::eventually;
use super::{Verdict, ensure};
use bale_reclaim::pool::pool;
use bale_reclaim::{drain, homes};
use bale_rt::sync::Lock;
use bale_rt::{cores, task};

static DONE: AtomicU32 = AtomicU32::new(0);
static BROKEN: AtomicU64 = AtomicU64::new(0);

/// Everything is back: nothing pending, the books balance, no object or page more than before.
pub(super) fn all_back(before: zsmalloc::Stats) -> Verdict {
    ensure!(
        drain::wait_until_quiet(10_000_000),
        "still pending after ten seconds: {}",
        pool().stats().pending
    );
    let stats = pool().stats();
    ensure!(
        stats.enqueued == stats.drained + stats.helped + stats.flushed,
        "{} enqueued, {} drained, {} helped, {} flushed",
        stats.enqueued,
        stats.drained,
        stats.helped,
        stats.flushed
    );
    ensure!(
        stats.objects == before.objects,
        "{} objects, {} before",
        stats.objects,
        before.objects
    );
    // The compactor, which runs last of all, may hold some in the midst of a step.
    let back = eventually(|| pool().stats().pages == before.pages);
    ensure!(back, "{} pages, {} before", pool().stats().pages, before.pages);
    ensure!(
        stats.refused == before.refused,
        "{} handles were refused",
        stats.refused - before.refused
    );
    Ok(())
}

/// A value that every byte of an object of this number holds.
fn stamp(number: u64) -> u8 {
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// Stores, checks and frees objects of all sizes on its core, in batches, some one by one and some
/// in runs.
extern "C" fn churn(seed: u64) -> ! {
    let mut batch: heapless::Vec<(Handle, u8, usize), 64> = heapless::Vec::new();
    let mut buffer = [0; 512];
    for round in 0..200u64 {
        while !batch.is_full() {
            let number = seed << 32 | round << 8 | batch.len() as u64;
            let size = 1 + (number.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as usize % 512;
            let Ok(handle) = pool().malloc(size) else {
                BROKEN.fetch_add(1, Ordering::Relaxed);
                break;
            };
            buffer[..size].fill(stamp(number));
            if pool().write(&handle, &buffer[..size]).is_err() {
                BROKEN.fetch_add(1, Ordering::Relaxed);
            }
            let _ = batch.push((handle, stamp(number), size));
        }
        for (handle, stamp, size) in &batch {
            let intact = pool().read(handle).is_ok_and(|view| {
                let (head, tail) = view.parts();
                head.iter().chain(tail).take(*size).all(|byte| byte == stamp)
            });
            if !intact {
                BROKEN.fetch_add(1, Ordering::Relaxed);
            }
        }
        let handles = core::mem::take(&mut batch).into_iter().map(|(handle, ..)| handle);
        let pinned = pool().platform().pin();
        if round % 2 == 0 {
            pool().free_deferred_many(&pinned, handles);
        } else {
            handles.for_each(|handle| pool().free_deferred(&pinned, handle));
        }
    }
    DONE.fetch_add(1, Ordering::Release);
    task::exit()
}

/// So many handles were enqueued since, and none was freed synchronously. Where a core's ring is
/// drained by another core, that one may be in the midst of a batch while the ring is full: nobody
/// can help then, and a free beyond the ring's reserve is done at once.
fn every_free_was_deferred(before: zsmalloc::Stats, frees: u64) -> Verdict {
    let after = pool().stats();
    let enqueued = after.enqueued - before.enqueued;
    let synchronous = after.synchronous - before.synchronous;
    ensure!(enqueued + synchronous == frees, "{enqueued} of {frees} frees were enqueued");
    let alone = cores::indexes().all(|core| homes::home(core) == core);
    ensure!(synchronous == 0 || !alone, "{synchronous} were freed synchronously");
    Ok(())
}

pub(super) fn all_comes_back() -> Verdict {
    DONE.store(0, Ordering::Relaxed);
    BROKEN.store(0, Ordering::Relaxed);
    let before = pool().stats();
    let online = cores::online();
    for core in cores::indexes() {
        ensure!(
            task::spawn("churn", core, task::VCPU, churn, core as u64).is_ok(),
            "no task on core {core}"
        );
    }
    let mut finished = 0;
    while (finished as usize) < online {
        ensure!(
            eventually(|| DONE.load(Ordering::Acquire) > finished),
            "only {finished} of {online} cores finished"
        );
        finished = DONE.load(Ordering::Acquire);
    }
    ensure!(
        BROKEN.load(Ordering::Relaxed) == 0,
        "{} objects were broken",
        BROKEN.load(Ordering::Relaxed)
    );
    every_free_was_deferred(before, online as u64 * 200 * 64)?;
    all_back(before)
}

pub(super) fn make(count: usize) -> Result<heapless::Vec<Handle, 64>, super::Failure> {
    let mut handles = heapless::Vec::new();
    for _ in 0..count {
        match pool().malloc(1000) {
            Ok(handle) => drop(handles.push(handle)),
            Err(error) => return Err(super::failure(format_args!("malloc: {error}"))),
        }
    }
    Ok(handles)
}

pub(super) fn part_filled_ring_drains_by_itself() -> Verdict {
    ensure!(drain::wait_until_quiet(10_000_000), "the drain is not quiet");
    let before = pool().stats();
    let handles = make(3)?;
    {
        let pinned = pool().platform().pin();
        pool().free_deferred_many(&pinned, handles);
    }
    all_back(before)?;
    let after = pool().stats();
    ensure!(after.interrupts == before.interrupts, "three handles raised an interrupt");
    Ok(())
}

pub(super) fn burst_beyond_the_ring() -> Verdict {
    ensure!(drain::wait_until_quiet(10_000_000), "the drain is not quiet");
    let before = pool().stats();
    let wanted = 2 * pool().config().ring_capacity + 777;
    let mut pushed = 0;
    while pushed < wanted {
        let handles = make(64)?;
        // Interrupts stay masked over a whole burst of rings only here: the drain of this core
        // cannot run.
        let pinned = pool().platform().pin();
        pool().free_deferred_many(&pinned, handles);
        pushed += 64;
    }
    all_back(before)?;
    every_free_was_deferred(before, pushed as u64)?;
    let after = pool().stats();
    ensure!(after.interrupts > before.interrupts, "no interrupt was raised");
    Ok(())
}

static PASSED_ON: Lock<heapless::Vec<Handle, 64>> = Lock::new(heapless::Vec::new());

extern "C" fn free_there(_argument: u64) -> ! {
    let handles = core::mem::take(&mut *PASSED_ON.lock());
    let pinned = pool().platform().pin();
    if pinned.core() == 0 {
        BROKEN.fetch_add(1, Ordering::Relaxed);
    }
    pool().free_deferred_many(&pinned, handles);
    drop(pinned);
    DONE.fetch_add(1, Ordering::Release);
    task::exit()
}

pub(super) fn free_on_another_core() -> Verdict {
    DONE.store(0, Ordering::Relaxed);
    BROKEN.store(0, Ordering::Relaxed);
    let before = pool().stats();
    *PASSED_ON.lock() = make(64)?;
    let core = cores::last_online();
    ensure!(task::spawn("free there", core, task::DRAIN, free_there, 0).is_ok(), "no task");
    ensure!(eventually(|| DONE.load(Ordering::Acquire) == 1), "the other core did not come to it");
    ensure!(core == 0 || BROKEN.load(Ordering::Relaxed) == 0, "it ran on core 0");
    all_back(before)
}

pub(super) fn stale_handle_is_an_error() -> Verdict {
    let before = pool().stats();
    let mut handles = make(1)?;
    let Some(handle) = handles.pop() else { return Err(super::failure(format_args!("no handle"))) };
    let raw = handle.into_raw();
    let copy = || {
        Handle::from_raw(raw).ok_or_else(|| super::failure(format_args!("{raw:#x} is no handle")))
    };
    ensure!(pool().free(copy()?) == Ok(()), "the first free failed");
    ensure!(pool().free(copy()?) == Err(Error::StaleHandle), "the second free was not refused");
    ensure!(
        pool().read(&copy()?).err() == Some(Error::StaleHandle),
        "a read of a freed object was not refused"
    );
    ensure!(
        pool().write(&copy()?, b"x") == Err(Error::StaleHandle),
        "a write to a freed object was not refused"
    );
    all_back(before)
}
