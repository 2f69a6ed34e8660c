//! What the pool keeps to where it is used against the grain: made-up handles, views that are
//! forgotten, many pools, the last frame, budgets of next to nothing.

mod common;

use common::Host;
use core::sync::atomic::{AtomicBool, Ordering};
use zsmalloc::{Config, Error, Handle, PAGE_SIZE, Platform, Pool};

fn config() -> Config {
    Config { ring_capacity: 512, watermark: 128, ..Config::default() }
}

fn handle(raw: u64) -> Handle {
    Handle::from_raw(raw).expect("a handle")
}

/// A pool whose every other object is gone, and the others.
fn half_freed(host: &Host, objects: usize) -> (Pool<&Host>, Vec<Handle>) {
    let pool = Pool::new(host, config()).expect("memory");
    let mut handles: Vec<_> = (0..objects).map(|_| pool.malloc(1000).expect("memory")).collect();
    let mut kept = Vec::new();
    while let Some(handle) = handles.pop() {
        pool.free(handle).expect("live");
        kept.extend(handles.pop());
    }
    (pool, kept)
}

#[test]
fn the_least_budget_gets_compaction_to_its_end() {
    let host = Host::new(8192, 1);
    let (pool, _kept) = half_freed(&host, 2000);
    let pages = pool.pages();
    let steps = (0..100_000).find(|_| pool.compact(1).complete);
    assert!(steps.is_some() && pool.pages() < pages);
}

#[test]
fn the_greatest_budget_lets_go_of_the_lock_in_between() {
    let host = Host::new(8192, 1);
    let pool = Pool::new(&host, config()).expect("memory");
    let mut handles: Vec<_> =
        (0..400_000).map(|_| Some(pool.malloc(32).expect("memory"))).collect();
    // What is to be moved was among the first, so the sweep, which begins with the last, looks at
    // every cell.
    for handle in handles[1000..3000].chunks_mut(200).flat_map(|some| &mut some[1..]) {
        pool.free(handle.take().expect("live")).expect("live");
    }
    host.pins.store(0, Ordering::Relaxed);
    let report = pool.compact(usize::MAX);
    let pins = host.pins.load(Ordering::Relaxed);
    assert!(report.complete && report.moved > 0 && pins > 600, "400,000 cells under {pins} holds");
}

#[test]
fn a_forgotten_view_keeps_no_frame() {
    for size in [100, PAGE_SIZE] {
        let host = Host::new(512, 1);
        let pool = Pool::new(&host, config()).expect("memory");
        let handle = pool.malloc(size).expect("memory");
        core::mem::forget(pool.read(&handle));
        let report = pool.close();
        assert_eq!((report.live, report.pages, host.used()), (1, 1, 0));
    }
}

#[test]
fn no_two_pools_take_each_others_handles() {
    let host = Host::new(8192, 1);
    let pool = Pool::new(&host, config()).expect("memory");
    let raw = pool.malloc(100).expect("memory").into_raw();
    for _ in 0..200 {
        let other = Pool::new(&host, config()).expect("memory");
        let own = other.malloc(100).expect("memory");
        assert_eq!(other.free(handle(raw)), Err(Error::ForeignHandle));
        other.free(own).expect("live");
    }
    pool.free(handle(raw)).expect("live");
}

#[test]
fn a_free_cell_is_not_waited_for() {
    let host = Host::new(512, 1);
    let pool = Pool::new(&host, config()).expect("memory");
    for size in [100, 1000, PAGE_SIZE] {
        let raw = pool.malloc(size).expect("memory").into_raw();
        // Cells of the same chunk that were never an object's: their generation is the first one,
        // as this handle's.
        let refused: Vec<_> = (1..49).map(|cell| pool.free(handle(raw + cell))).collect();
        assert_eq!(refused, vec![Err(Error::StaleHandle); 48]);
        // And one that was: the generation after.
        pool.free(handle(raw)).expect("live");
        assert_eq!(pool.free(handle(raw + (1 << 25))), Err(Error::StaleHandle));
    }
}

#[test]
fn one_frame_is_enough_where_one_is_wanted() {
    let host = Host::new(512, 1);
    let pool = Pool::new(&host, config()).expect("memory");
    let mut for_cells = 0;
    for _ in 0..4000 {
        let before = (host.used(), pool.pages());
        let mut others: Vec<_> = core::iter::from_fn(|| pool.platform().allocate_frame()).collect();
        host.take_back(others.pop().expect("memory"));
        let first = pool.malloc(64);
        others.into_iter().for_each(|frame| host.take_back(frame));
        let refused = first.is_err();
        let _object = first.or_else(|_| pool.malloc(64)).expect("memory");
        let taken = host.used() - before.0;
        assert!(!refused || taken > 1, "refused with a frame left, which was enough");
        for_cells += usize::from(taken == 1 && pool.pages() == before.1);
    }
    assert!(for_cells > 0);
}

#[test]
fn statistics_do_not_keep_the_drain_out() {
    let host = Host::new(4096, 1);
    let config = Config { ring_capacity: 16_384, watermark: 128, ..config() };
    let pool = Pool::new(&host, config).expect("memory");
    let stop = AtomicBool::new(false);
    let whole = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                pool.stats();
            }
        });
        let whole = (0..500).all(|_| {
            let handles: Vec<_> = (0..10_000).map(|_| pool.malloc(100).expect("memory")).collect();
            pool.free_deferred_many(&pool.platform().pin(), handles);
            pool.flush() == 10_000
        });
        stop.store(true, Ordering::Relaxed);
        whole
    });
    assert!(whole);
    assert_eq!(pool.stats().pending_bytes, Some(0));
}

#[test]
fn an_allocation_in_need_waits_for_a_batch_that_is_under_way() {
    let host = Host::new(1024, 1);
    let pool = Pool::new(&host, Config { page_limit: 64, ..config() }).expect("memory");
    // The time of a batch is the machine's affair, so not every round need succeed.
    let served = (0..20).filter(|_| {
        let mut handles: Vec<_> =
            (0..64).map(|_| pool.malloc(PAGE_SIZE).expect("memory")).collect();
        pool.free_deferred_many(&pool.platform().pin(), handles.drain(..10));
        host.releasing.store(0, Ordering::Relaxed);
        host.slowness.store(500, Ordering::Relaxed);
        let served = std::thread::scope(|scope| {
            scope.spawn(|| pool.drain(0, 10));
            while host.releasing.load(Ordering::Acquire) == 0 {
                core::hint::spin_loop();
            }
            pool.malloc(PAGE_SIZE)
        });
        host.slowness.store(0, Ordering::Relaxed);
        let was_served = served.is_ok();
        for handle in handles.into_iter().chain(served) {
            pool.free(handle).expect("live");
        }
        was_served
    });
    assert!(served.count() > 0);
}

#[test]
fn there_is_no_ring_of_a_core_that_there_is_not() {
    let host = Host::new(512, 2);
    let pool = Pool::new(&host, config()).expect("memory");
    let handle = pool.malloc(100).expect("memory");
    pool.free_deferred(&pool.platform().pin(), handle);
    assert_eq!((pool.pending(0), pool.pending(2), pool.retire_core(1000)), (1, 0, Ok(0)));
    assert_eq!(pool.drain(512, 10).freed, 0);
    assert_eq!(pool.flush(), 1);
}
