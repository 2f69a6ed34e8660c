//! Threads as cores: allocation, reads, deferred frees, drains and compaction at the same time.

mod common;

use common::{Host, StopAt, set_core, stop_at};
use core::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use zsmalloc::{Config, Handle, PAGE_SIZE, Platform, Pool, Rung, bench::Random};

const CORES: usize = 3;

fn worker(pool: &Pool<&Host>, core: usize, rounds: usize) {
    set_core(core);
    let mut random = Random::new(core as u64 + 1);
    let mut objects: Vec<(Handle, usize, u8)> = Vec::new();
    for round in 0..rounds {
        let seed = u8::try_from(round % 251).expect("small");
        let size = usize::try_from(random.below(PAGE_SIZE as u64)).expect("small") + 1;
        let handle = pool.malloc(size).expect("memory");
        pool.write(&handle, &vec![seed; size]).expect("live");
        objects.push((handle, size, seed));
        let index = usize::try_from(random.below(objects.len() as u64)).expect("small");
        {
            let (handle, size, seed) = &objects[index];
            let view = pool.read(handle).expect("live");
            let (head, tail) = view.parts();
            assert!(head.iter().chain(tail).take(*size).all(|byte| byte == seed));
        }
        if objects.len() > 400 {
            let keep = 100 + index / 2;
            let pinned = pool.platform().pin();
            pool.free_deferred_many(&pinned, objects.drain(keep..).map(|(handle, ..)| handle));
        }
        if round % 7 == 0 {
            let (handle, ..) = objects.swap_remove(index.min(objects.len() - 1));
            pool.free_deferred(&pool.platform().pin(), handle);
        }
    }
    let pinned = pool.platform().pin();
    pool.free_deferred_many(&pinned, objects.into_iter().map(|(handle, ..)| handle));
}

fn move_a_page(pool: &Pool<&Host>, random: &mut Random) {
    let host = *pool.platform();
    let number = u32::try_from(random.below(host.frames() as u64 / 8)).expect("small");
    let Ok(page) = pool.isolate(number) else { return };
    let Some(to) = host.allocate_frame() else { return };
    host.take_back(page.migrate(to).unwrap_or_else(|(_, to)| to));
}

#[test]
fn everything_at_once() {
    let host = Host::new(20_000, CORES);
    let config = Config { ring_capacity: 256, watermark: 64, ..Config::default() };
    let pool = Pool::new(&host, config).expect("memory");
    let rounds = if cfg!(debug_assertions) { 4_000 } else { 60_000 };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..CORES)
            .map(|core| {
                let pool = &pool;
                let all_met = || {
                    let stats = pool.stats();
                    stats.moved > 0 && stats.helped > 0
                };
                // Again if the thread beside them has hardly run.
                scope.spawn(move || {
                    for _ in 0..50 {
                        worker(pool, core, rounds);
                        if all_met() {
                            break;
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let mut random = Random::new(99);
            while !stop.load(Ordering::Relaxed) {
                for core in 0..CORES {
                    pool.drain(core, 50);
                }
                pool.compact(300);
                move_a_page(&pool, &mut random);
                let stats = pool.stats();
                assert!(stats.drained + stats.helped + stats.flushed <= stats.enqueued);
            }
        });
        // The drain ends whatever the workers found, or a failure would never be told.
        let found: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        stop.store(true, Ordering::Relaxed);
        for outcome in found {
            outcome.expect("a worker that found its bytes");
        }
    });
    pool.flush();
    let stats = pool.stats();
    assert_eq!((stats.objects, stats.pages, stats.pending, stats.refused), (0, 0, 0, 0));
    assert_eq!(stats.enqueued, stats.drained + stats.helped + stats.flushed);
    assert!(stats.moved > 0 && stats.helped > 0);
    pool.close();
    assert_eq!(host.used(), 0);
}

/// A thread that moves objects does not run for a while, just then; the others read half of the
/// objects and free the other half.
fn beside_a_move_that_takes_long(moves: impl Fn(&Pool<&Host>) + Sync) {
    let host = Host::new(256, 1);
    let pool = Pool::new(&host, Config::default()).expect("memory");
    let kept = sparse(&pool);
    let handle = |raw: &u64| Handle::from_raw(*raw).expect("a handle");
    let (read, freed) = kept.split_at(kept.len() / 2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            stop_at(StopAt::Bytes);
            moves(&pool);
        });
        while !host.stopped.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        scope.spawn(|| {
            for raw in read {
                let handle = handle(raw);
                assert_eq!(pool.read(&handle).expect("live").parts().0, [7; 512]);
            }
        });
        scope.spawn(|| {
            pool.free_deferred_many(&pool.platform().pin(), freed.iter().map(handle));
            assert_eq!(pool.drain(0, usize::MAX).freed, freed.len());
        });
        // Longer than anybody would wait who gives up.
        std::thread::sleep(Duration::from_millis(500));
        host.go_on.store(true, Ordering::Release);
    });
    let stats = pool.stats();
    assert_eq!((stats.refused, stats.objects), (0, read.len() as u64), "every free was done");
    read.iter().for_each(|raw| pool.free(handle(raw)).expect("live"));
    pool.close();
    assert_eq!(host.used(), 0);
}

/// The handles of every other one of 64 objects, the rest being freed: compaction has something to
/// do.
fn sparse(pool: &Pool<&Host>) -> Vec<u64> {
    let handles: Vec<_> = (0..64).map(|_| pool.malloc(512).expect("memory")).collect();
    let mut kept = Vec::new();
    for (index, handle) in handles.into_iter().enumerate() {
        if index % 2 == 0 {
            pool.write(&handle, &[7; 512]).expect("live");
            kept.push(handle.into_raw());
        } else {
            pool.free(handle).expect("live");
        }
    }
    kept
}

#[test]
fn compaction_is_waited_for_however_long_it_takes() {
    beside_a_move_that_takes_long(|pool| assert!(pool.compact(1000).moved != 0));
}

#[test]
fn a_page_that_moves_is_waited_for_however_long_it_takes() {
    beside_a_move_that_takes_long(|pool| {
        let host = *pool.platform();
        let frames = 0..u32::try_from(host.frames()).expect("few");
        for page in frames.filter_map(|number| pool.isolate(number).ok()) {
            let to = host.allocate_frame().expect("a frame");
            host.take_back(page.migrate(to).unwrap_or_else(|(_, to)| to));
        }
    });
}

/// Compaction has taken a zspage out of its class and its task does not run for a while: nothing is
/// live, nothing is pending, and yet frames are to come.
#[test]
fn what_compaction_gives_back_is_waited_for() {
    let host = Host::new(256, 1);
    let pool = Pool::new(&host, Config::default()).expect("memory");
    let kept = sparse(&pool);
    assert!(pool.is_quiet());
    let meanwhile = std::thread::scope(|scope| {
        scope.spawn(|| {
            stop_at(StopAt::Release);
            while !pool.compact(1000).complete {}
        });
        while !host.stopped.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        let handles = kept.iter().map(|&raw| Handle::from_raw(raw).expect("a handle"));
        pool.free_deferred_many(&pool.platform().pin(), handles);
        let drained = pool.drain(0, usize::MAX);
        let seen = (drained.remaining, pool.stats(), pool.is_quiet());
        // Before anything is asserted: a scope waits for its threads.
        host.go_on.store(true, Ordering::Release);
        seen
    });
    let (remaining, stats, quiet) = meanwhile;
    assert_eq!((remaining, stats.objects, stats.pending), (0, 0, 0));
    assert!(stats.pages != 0 && !quiet);
    assert!(pool.is_quiet());
    assert_eq!(pool.stats().pages, 0);
}

#[test]
fn what_is_pending_is_waited_for() {
    for rung in [Rung::DeferredRelease, Rung::DeferredHelp] {
        let host = Host::new(256, 1);
        let pool = Pool::new(&host, Config { rung, ..Config::default() }).expect("memory");
        let handle = pool.malloc(PAGE_SIZE).expect("memory");
        pool.free_deferred(&pool.platform().pin(), handle);
        assert!(!pool.is_quiet());
        pool.drain(0, usize::MAX);
        assert!(pool.is_quiet());
        assert_eq!(pool.stats().pages, 0);
    }
}

#[test]
fn two_frees_of_one_handle_race() {
    let host = Host::new(2_000, 2);
    let pool = Pool::new(&host, Config::default()).expect("memory");
    for _ in 0..if cfg!(debug_assertions) { 200 } else { 2_000 } {
        let raw = pool.malloc(1000).expect("memory").into_raw();
        let free = || pool.free(Handle::from_raw(raw).expect("a handle")).is_ok();
        let (first, second) = std::thread::scope(|scope| {
            let other = scope.spawn(free);
            (free(), other.join().expect("no panic"))
        });
        assert!(first != second, "exactly one free succeeds");
    }
    assert_eq!(pool.stats().objects, 0);
}
