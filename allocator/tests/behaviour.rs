//! What a pool promises, one promise a test.

mod common;

use common::Host;
use core::sync::atomic::Ordering;
use zsmalloc::{CLASSES, Config, Error, Handle, PAGE_SIZE, Platform, Pool, Rung, class_size};

fn config() -> Config {
    Config { ring_capacity: 512, watermark: 128, ..Config::default() }
}

fn fill(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|index| u8::try_from((seed * 31 + index * 7) % 251).expect("small")).collect()
}

fn content(pool: &Pool<&Host>, handle: &Handle, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let view = pool.read(handle).expect("live");
    assert_eq!(view.copy_to(&mut bytes), length);
    bytes
}

#[test]
fn sizes_at_the_edges() {
    let host = Host::new(256, 1);
    let pool = Pool::new(&host, config()).expect("memory");
    assert_eq!(pool.malloc(0).err(), Some(Error::ZeroSize));
    assert_eq!(pool.malloc(PAGE_SIZE + 1).err(), Some(Error::TooLarge));
    let handle = pool.malloc(PAGE_SIZE).expect("memory");
    pool.write(&handle, &fill(1, PAGE_SIZE)).expect("live");
    assert_eq!(content(&pool, &handle, PAGE_SIZE), fill(1, PAGE_SIZE));
    assert_eq!(pool.write(&handle, &[0; PAGE_SIZE + 1]), Err(Error::TooLarge));
    pool.free(handle).expect("live");
    assert_eq!(pool.pages(), 0);
}

#[test]
fn every_size_filled_past_a_zspage_and_emptied() {
    let host = Host::new(1024, 1);
    let pool = Pool::new(&host, config()).expect("memory");
    for class in 0..CLASSES {
        let size = class_size(class);
        let mut handles = Vec::new();
        for _ in 0..300 {
            let handle = pool.malloc(size).expect("memory");
            pool.write(&handle, &fill(handles.len(), size)).expect("live");
            handles.push(handle);
        }
        for (seed, handle) in handles.iter().enumerate() {
            assert_eq!(content(&pool, handle, size), fill(seed, size), "class {class}");
        }
        for handle in handles {
            pool.free(handle).expect("live");
        }
        assert_eq!(pool.pages(), 0, "class {class}");
    }
    let report = pool.close();
    assert_eq!((report.live, report.pages, host.used()), (0, 0, 0));
}

#[test]
fn stale_and_foreign_handles_are_errors() {
    let host = Host::new(256, 1);
    let pool = Pool::new(&host, config()).expect("memory");
    let other = Pool::new(&host, config()).expect("memory");
    let raw = pool.malloc(100).expect("memory").into_raw();
    let again = || Handle::from_raw(raw).expect("a handle");
    assert_eq!(other.free(again()), Err(Error::ForeignHandle));
    pool.free(again()).expect("live");
    assert_eq!(pool.free(again()), Err(Error::StaleHandle));
    assert_eq!(pool.read(&again()).err(), Some(Error::StaleHandle));
    let new = pool.malloc(100).expect("memory");
    assert_eq!(pool.write(&again(), b"x"), Err(Error::StaleHandle));
    pool.free_deferred(&pool.platform().pin(), again());
    pool.flush();
    assert_eq!(pool.stats().refused, 1);
    assert_eq!(pool.stats().objects, 1);
    pool.free(new).expect("live");
}

#[test]
fn an_open_view_refuses_a_second_one_and_a_free() {
    let host = Host::new(256, 1);
    let pool = Pool::new(&host, config()).expect("memory");
    let handle = pool.malloc(100).expect("memory");
    let raw = handle.into_raw();
    let again = || Handle::from_raw(raw).expect("a handle");
    let handle = again();
    let view = pool.read(&handle).expect("live");
    assert_eq!(pool.free(again()), Err(Error::Busy));
    drop(view);
    pool.free(handle).expect("live");
}

#[test]
fn every_rung_gives_everything_back() {
    for rung in [
        Rung::SynchronousInside,
        Rung::SynchronousOutside,
        Rung::DeferredRelease,
        Rung::DeferredRuns,
        Rung::DeferredBuckets,
        Rung::DeferredHelp,
    ] {
        let host = Host::new(8192, 2);
        let pool = Pool::new(&host, Config { rung, ..config() }).expect("memory");
        let count = 5000;
        let handles: Vec<_> =
            (0..count).map(|n| pool.malloc(n * 37 % 4096 + 1).expect("memory")).collect();
        {
            let pinned = pool.platform().pin();
            let mut handles = handles.into_iter();
            for handle in handles.by_ref().take(count / 2) {
                pool.free_deferred(&pinned, handle);
            }
            pool.free_deferred_many(&pinned, handles);
        }
        pool.flush();
        let stats = pool.stats();
        assert_eq!((stats.objects, stats.pages, stats.pending), (0, 0, 0), "{rung:?}");
        assert_eq!(
            stats.enqueued + stats.synchronous,
            if rung >= Rung::DeferredRuns { 5000 } else { 0 },
            "{rung:?}"
        );
        assert_eq!(
            stats.synchronous != 0,
            rung == Rung::DeferredRuns || rung == Rung::DeferredBuckets
        );
        assert_eq!(stats.helped != 0, rung == Rung::DeferredHelp);
        pool.close();
        assert_eq!(host.used(), 0);
    }
}

#[test]
fn compaction_packs_what_is_left_and_keeps_every_byte() {
    compaction_packs(&Host::new(8192, 1));
}

#[test]
fn compaction_comes_to_its_end_where_an_interrupt_always_waits() {
    let host = Host::new(8192, 1);
    host.impatient.store(true, Ordering::Relaxed);
    compaction_packs(&host);
}

fn compaction_packs(host: &Host) {
    let pool = Pool::new(host, config()).expect("memory");
    let size = |n: usize| n * 131 % 3000 + 600;
    let mut handles: Vec<_> = (0..4000)
        .map(|n| {
            let handle = pool.malloc(size(n)).expect("memory");
            pool.write(&handle, &fill(n, size(n))).expect("live");
            Some(handle)
        })
        .collect();
    for handle in handles.iter_mut().step_by(2) {
        pool.free(handle.take().expect("once")).expect("live");
    }
    let before = pool.stats();
    let mut moved = 0;
    loop {
        let report = pool.compact(1000);
        moved += report.moved;
        if report.complete {
            break;
        }
    }
    let after = pool.stats();
    assert!(moved > 0 && after.pages < before.pages * 8 / 10, "{before:?} {after:?}");
    assert_eq!(after.compacted_pages, before.pages - after.pages);
    for (n, handle) in handles.iter().enumerate() {
        if let Some(handle) = handle {
            assert_eq!(content(&pool, handle, size(n)), fill(n, size(n)));
        }
    }
    for handle in handles.into_iter().flatten() {
        pool.free(handle).expect("live");
    }
    assert_eq!(pool.close().live, 0);
    assert_eq!(host.used(), 0);
}

#[test]
fn a_drain_lets_go_of_the_lock_where_an_interrupt_waits() {
    const FREED: usize = 320;
    let holds = [false, true].map(|impatient| {
        let host = Host::new(256, 1);
        host.impatient.store(impatient, Ordering::Relaxed);
        let pool = Pool::new(&host, config()).expect("memory");
        let handles: Vec<_> = (0..FREED).map(|_| pool.malloc(600).expect("memory")).collect();
        let zspages = pool.stats().zspages;
        pool.free_deferred_many(&pool.platform().pin(), handles);
        assert_eq!(pool.drain(0, usize::MAX).freed, FREED);
        let stats = pool.stats();
        assert_eq!((stats.objects, stats.pages, stats.refused), (0, 0, 0));
        (stats.batch_locks, FREED as u64 + 2 * zspages)
    });
    // The first object of each zspage counts as three. Two classes: the range of sizes was split as
    // it filled.
    let [(patient, effort), (impatient, _)] = holds;
    assert!(patient <= effort / 32 + 2 && impatient >= effort / 16, "{holds:?}");
}

#[test]
fn a_batch_puts_right_more_zspages_than_one_hold_does() {
    let host = Host::new(1024, 1);
    let pool = Pool::new(&host, config()).expect("memory");
    let handles: Vec<_> = (0..1400).map(|_| pool.malloc(2000).expect("memory")).collect();
    let (full, zspages) = (pool.stats().pages, pool.stats().zspages);
    assert!(zspages >= 40, "{zspages} zspages");
    // At least one of each zspage, of up to 32 objects.
    let (some, kept): (Vec<_>, Vec<_>) =
        handles.into_iter().enumerate().partition(|(index, _)| index % 24 == 0);
    let freed = some.len();
    pool.free_deferred_many(&pool.platform().pin(), some.into_iter().map(|(_, handle)| handle));
    assert_eq!(pool.drain(0, usize::MAX).freed, freed);
    // What was freed is on the lists: it is taken before a page is.
    let again: Vec<_> = (0..freed).map(|_| pool.malloc(2000).expect("memory")).collect();
    assert_eq!(pool.stats().pages, full);
    let all = again.into_iter().chain(kept.into_iter().map(|(_, handle)| handle));
    pool.free_deferred_many(&pool.platform().pin(), all);
    pool.flush();
    assert_eq!((pool.stats().objects, pool.stats().pages), (0, 0));
}

#[test]
fn a_bit_more_makes_a_handle_foreign() {
    let host = Host::new(256, 1);
    let pool = Pool::new(&host, config()).expect("memory");
    // Full and half-full zspages, of several pages.
    let handles: Vec<_> = (0..100).map(|_| pool.malloc(600).expect("memory")).collect();
    let before = pool.stats();
    let raws: Vec<_> = handles.into_iter().map(Handle::into_raw).collect();
    for raw in &raws {
        for bit in (0..zsmalloc::HANDLE_BITS).filter(|bit| raw & 1 << bit == 0) {
            let forged = Handle::from_raw(raw | 1 << bit).expect("not zero");
            // It may be another live one by chance: those differ in the cell, which has bits 8 to
            // 32.
            if !(8..33).contains(&bit) {
                assert!(pool.free(forged).is_err(), "bit {bit} of {raw:#x}");
            }
        }
    }
    assert_eq!(pool.stats(), before);
}

#[test]
fn an_allocation_drains_before_it_fails() {
    let host = Host::new(4096, 1);
    let pool = Pool::new(&host, Config { page_limit: 64, ..config() }).expect("memory");
    let mut handles = Vec::new();
    let refused = loop {
        match pool.malloc(PAGE_SIZE) {
            Ok(handle) => handles.push(handle),
            Err(error) => break error,
        }
    };
    assert_eq!((refused, handles.len()), (Error::LimitReached, 64));
    pool.free_deferred_many(&pool.platform().pin(), handles.drain(..10));
    for _ in 0..10 {
        handles.push(pool.malloc(PAGE_SIZE).expect("ten were pending"));
    }
    assert_eq!(pool.malloc(PAGE_SIZE).err(), Some(Error::LimitReached));
    assert_eq!(pool.stats().flushed, 10);
}

#[test]
fn a_refused_frame_leaves_the_pool_as_it_was() {
    for refuse in 0..60 {
        let host = Host::new(512, 2);
        host.refuse_after.store(refuse, core::sync::atomic::Ordering::Relaxed);
        let Ok(pool) = Pool::new(&host, config()) else {
            assert_eq!(host.used(), 0, "refused at {refuse}");
            continue;
        };
        let mut handles = Vec::new();
        let mut failed = 0;
        for n in 0..200 {
            match pool.malloc(n * 97 % 4096 + 1) {
                Ok(handle) => handles.push((n, handle)),
                Err(error) => {
                    assert_eq!(error, Error::OutOfMemory);
                    failed += 1;
                }
            }
        }
        assert!(failed > 0);
        assert_eq!(pool.stats().objects, handles.len() as u64);
        let stats = pool.stats();
        assert_eq!(host.used() as u64, stats.pages + stats.metadata_pages + stats.ring_pages);
        for (_, handle) in handles {
            pool.free(handle).expect("live");
        }
        assert_eq!(pool.pages(), 0);
        pool.close();
        assert_eq!(host.used(), 0, "refused at {refuse}");
    }
}

#[test]
fn a_page_moves_and_its_objects_with_it() {
    let host = Host::new(512, 1);
    let pool = Pool::new(&host, config()).expect("memory");
    for size in [40, 700, 1870, 3000, PAGE_SIZE] {
        let handles: Vec<_> = (0..60).map(|_| pool.malloc(size).expect("memory")).collect();
        for (seed, handle) in handles.iter().enumerate() {
            pool.write(handle, &fill(seed, size)).expect("live");
        }
        let mut moved = 0;
        for number in 0..512 {
            let Ok(page) = pool.isolate(number) else { continue };
            let to = pool.platform().allocate_frame().expect("memory");
            let Ok(old) = page.migrate(to) else { panic!("nobody uses an object of {size} bytes") };
            assert_eq!(old.number(), number);
            // Overwritten, so that an object left behind would be seen.
            // SAFETY: the frame is the test's now.
            unsafe { pool.platform().address(number).write_bytes(0xee, PAGE_SIZE) };
            host.take_back(old);
            moved += 1;
        }
        assert!(moved >= pool.pages(), "{moved} of {} pages of size {size}", pool.pages());
        for (seed, handle) in handles.iter().enumerate() {
            assert_eq!(content(&pool, handle, size), fill(seed, size));
        }
        for handle in handles {
            pool.free(handle).expect("live");
        }
        assert_eq!(pool.pages(), 0);
    }
    pool.close();
    assert_eq!(host.used(), 0);
}

#[test]
fn a_page_in_use_stays_and_an_emptied_one_goes() {
    let host = Host::new(512, 1);
    let pool = Pool::new(&host, config()).expect("memory");
    let handles: Vec<_> = (0..8).map(|_| pool.malloc(2000).expect("memory")).collect();
    let number = (0..512).find(|&number| pool.isolate(number).is_ok()).expect("a page of objects");
    pool.write(&handles[0], &fill(5, 2000)).expect("live");
    let view = pool.read(&handles[0]).expect("live");
    let others: Vec<_> =
        handles[1..].iter().map(|handle| pool.read(handle).expect("live")).collect();
    assert_eq!(pool.isolate(number).err(), Some(zsmalloc::Error::NotMovable));
    drop(others);
    let page = pool.isolate(number).expect("seven are free to move");
    let to = pool.platform().allocate_frame().expect("memory");
    let to = page.migrate(to).unwrap_or_else(|(_, to)| to);
    // Whether the page moved or not, what is being read stays where it is.
    let mut bytes = vec![0; 2000];
    view.copy_to(&mut bytes);
    assert_eq!(bytes, fill(5, 2000));
    host.take_back(to);
    drop(view);
    for handle in handles {
        pool.free(handle).expect("live");
    }
    assert_eq!(pool.pages(), 0);
    pool.close();
    assert_eq!(host.used(), 0);
}

#[test]
fn a_pool_without_rings_frees_at_once() {
    let host = Host::new(512, 1);
    let pool = Pool::new(&host, Config { ring_capacity: 0, ..config() }).expect("memory");
    let handle = pool.malloc(100).expect("memory");
    pool.free_deferred(&pool.platform().pin(), handle);
    let stats = pool.stats();
    assert_eq!((stats.objects, stats.pages, stats.enqueued), (0, 0, 0));
    assert_eq!(host.used() as u64, stats.metadata_pages + stats.ring_pages);
}

#[test]
fn a_core_that_goes_offline_leaves_nothing_behind() {
    let host = Host::new(1024, 2);
    let pool = Pool::new(&host, config()).expect("memory");
    for _ in 0..3 {
        common::set_core(1);
        for size in 1..=100 {
            let handle = pool.malloc(size * 40).expect("memory");
            pool.free_deferred(&pool.platform().pin(), handle);
        }
        common::set_core(0);
        let kept = pool.malloc(7).expect("memory");
        pool.free_deferred(&pool.platform().pin(), kept);
        assert_eq!((pool.pending(1), pool.retire_core(1)), (100, Ok(100)));
        assert_eq!((pool.pending(0), pool.pending(1), pool.retire_core(1)), (1, 0, Ok(0)));
        assert_eq!(pool.stats().objects, 1);
        assert_eq!(pool.flush(), 1);
    }
    pool.close();
    assert_eq!(host.used(), 0);
}
