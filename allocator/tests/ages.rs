//! The bound on the time for which a handle stays pending.

mod common;

use core::sync::atomic::Ordering;

use common::Host;
use zsmalloc::{Config, Platform, Pool};

fn pool(host: &Host) -> Pool<&Host> {
    Pool::new(host, Config { ring_capacity: 128, watermark: 32, ..Config::default() })
        .expect("memory")
}

fn push(pool: &Pool<&Host>) {
    let handle = pool.malloc(100).expect("memory");
    pool.free_deferred(&pool.platform().pin(), handle);
}

#[test]
fn a_partial_drain_does_not_restart_the_clock() {
    const AGE: u64 = 100;
    let host = Host::new(512, 1);
    let pool = pool(&host);
    push(&pool);
    assert!(!pool.needs_drain(0, 1, AGE));
    push(&pool);
    assert!((3..=AGE).all(|now| !pool.needs_drain(0, now, AGE)));
    // Woken by something else it takes the first one, and sleeps: what is left is below the
    // watermark.
    assert_eq!(pool.drain(0, 1).remaining, 1);
    assert!(pool.prepare_sleep(0));
    let seen = (AGE + 1..).find(|&now| pool.needs_drain(0, now, AGE)).expect("some time");
    assert!(seen - 2 <= AGE + 1, "the second one, pushed at 2, was fetched at {seen}");
}

#[test]
fn the_timer_says_when_something_is_due() {
    let host = Host::new(512, 2);
    let pool = pool(&host);
    assert!(!pool.needs_drain(0, 5, 10));
    push(&pool);
    assert!(
        !pool.needs_drain(0, 6, 10) && !pool.needs_drain(0, 15, 10) && pool.needs_drain(0, 16, 10)
    );
    host.clock.store(20, Ordering::Relaxed);
    assert_eq!(pool.oldest_pending(0), Some(14));
    pool.drain(0, 10);
    assert!(!pool.needs_drain(0, 30, 10));
    assert_eq!(pool.oldest_pending(0), None);
    push(&pool);
    // The timer of another core does as well.
    common::set_core(1);
    assert!(
        !pool.needs_drain(0, 31, 10) && !pool.needs_drain(0, 40, 10) && pool.needs_drain(0, 41, 10)
    );
    assert!(!pool.needs_drain(1, 41, 10));
}
