//! Frees of objects that are in use at the moment, through a second copy of their handle.

mod common;

use core::time::Duration;
use std::time::Instant;

use common::Host;
use zsmalloc::{Config, Error, Handle, Platform, Pool};

fn config() -> Config {
    Config { ring_capacity: 128, watermark: 32, ..Config::default() }
}

#[test]
fn a_free_does_not_wait_for_a_view() {
    let host = Host::new(512, 1);
    let pool = Pool::new(&host, config()).expect("memory");
    let handle = pool.malloc(100).expect("memory");
    let raw = handle.into_raw();
    let again = || Handle::from_raw(raw).expect("a handle");
    let handle = again();
    let view = pool.read(&handle).expect("live");
    // The least of many: this test itself may be taken off its core.
    let least = (0..20).map(|_| {
        let since = Instant::now();
        assert_eq!(pool.free(again()), Err(Error::Busy));
        since.elapsed()
    });
    assert!(least.min().expect("some") < Duration::from_micros(100));
    drop(view);
    pool.free(handle).expect("live");
}

#[test]
fn a_deferred_free_is_carried_out_once_the_view_ends() {
    for deferred in [true, false] {
        let host = Host::new(512, 1);
        let config = if deferred { config() } else { Config { ring_capacity: 0, ..config() } };
        let pool = Pool::new(&host, config).expect("memory");
        let raw = pool.malloc(100).expect("memory").into_raw();
        let handle = Handle::from_raw(raw).expect("a handle");
        let view = pool.read(&handle).expect("live");
        pool.free_deferred(&pool.platform().pin(), Handle::from_raw(raw).expect("a handle"));
        for _ in 0..3 {
            pool.flush();
            assert_eq!((pool.stats().objects, pool.stats().refused), (1, 0));
            assert!(!pool.is_quiet());
            assert!(!deferred || pool.needs_drain(0, 1, 1000), "the timer comes back to it");
        }
        drop(view);
        if deferred {
            pool.drain(0, 1);
        } else {
            assert_eq!(pool.flush(), 1);
        }
        assert_eq!((pool.stats().objects, pool.stats().refused, pool.pages()), (0, 0, 0));
        assert!(pool.is_quiet() && pool.read(&handle).is_err());
    }
}

#[test]
fn more_than_are_kept_count_as_refused() {
    let host = Host::new(512, 1);
    let pool = Pool::new(&host, config()).expect("memory");
    let handles: Vec<_> = (0..50).map(|_| pool.malloc(100).expect("memory").into_raw()).collect();
    let copies: Vec<_> =
        handles.iter().map(|&raw| Handle::from_raw(raw).expect("a handle")).collect();
    let views: Vec<_> = copies.iter().map(|handle| pool.read(handle).expect("live")).collect();
    pool.free_deferred_words(&pool.platform().pin(), &handles);
    pool.flush();
    assert_eq!((pool.stats().objects, pool.stats().refused), (50, 18));
    drop(views);
    pool.flush();
    assert_eq!((pool.stats().objects, pool.stats().refused), (18, 18));
}
