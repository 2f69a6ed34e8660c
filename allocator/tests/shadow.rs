//! Random operations against a shadow of what the pool must hold.
//!
//! The long sequence has 10^7 operations in a release build; `ZSMALLOC_OPERATIONS` sets another number:
//! `ZSMALLOC_OPERATIONS=100000000 cargo test --release -p zsmalloc --test shadow -- --nocapture long_sequence`.

mod common;

use common::Host;
use core::sync::atomic::Ordering;
use proptest::prelude::*;
use zsmalloc::{Config, Error, Handle, PAGE_SIZE, Platform, Pool, Rung, bench::Random};

#[derive(Clone, Debug)]
enum Operation {
    Malloc(usize),
    Write(usize),
    Read(usize),
    Free(usize),
    FreeDeferred(usize),
    FreeMany(usize, usize),
    Stale(usize),
    Compact(usize),
    Drain(usize),
    Flush,
    Refuse(usize),
}

struct Object {
    handle: Handle,
    size: usize,
    seed: u8,
}

struct Shadow<'a> {
    pool: Pool<&'a Host>,
    host: &'a Host,
    objects: Vec<Object>,
    gone: Vec<u64>,
    freed_stale: u64,
    next: u8,
}

fn byte(seed: u8, index: usize) -> u8 {
    seed.wrapping_mul(31) ^ u8::try_from(index % 253).expect("small")
}

impl<'a> Shadow<'a> {
    fn new(host: &'a Host, config: Config) -> Self {
        let pool = Pool::new(host, config).expect("memory");
        Self { pool, host, objects: Vec::new(), gone: Vec::new(), freed_stale: 0, next: 0 }
    }

    fn pick(&self, index: usize) -> Option<usize> {
        (!self.objects.is_empty()).then(|| index % self.objects.len())
    }

    fn take(&mut self, index: usize) -> Option<Handle> {
        let handle = self.objects.swap_remove(self.pick(index)?).handle;
        let raw = handle.into_raw();
        if self.gone.len() < 64 {
            self.gone.push(raw);
        }
        Handle::from_raw(raw)
    }

    fn fill(&self, index: usize) {
        let object = &self.objects[index];
        let bytes: Vec<_> = (0..object.size).map(|at| byte(object.seed, at)).collect();
        self.pool.write(&object.handle, &bytes).expect("live");
    }

    fn check(&self, index: usize) {
        let object = &self.objects[index];
        let view = self.pool.read(&object.handle).expect("live");
        let (head, tail) = view.parts();
        assert!(head.len() + tail.len() >= object.size);
        for (at, &found) in head.iter().chain(tail).take(object.size).enumerate() {
            assert_eq!(found, byte(object.seed, at), "object of {} at {at}", object.size);
        }
    }

    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Malloc(size) => match self.pool.malloc(size) {
                Ok(handle) => {
                    self.next = self.next.wrapping_add(1);
                    self.objects.push(Object { handle, size, seed: self.next });
                    self.fill(self.objects.len() - 1);
                }
                Err(error) => assert!(matches!(error, Error::OutOfMemory | Error::LimitReached), "{error}"),
            },
            Operation::Write(index) => {
                if let Some(index) = self.pick(index) {
                    self.next = self.next.wrapping_add(1);
                    self.objects[index].seed = self.next;
                    self.fill(index);
                }
            }
            Operation::Read(index) => {
                if let Some(index) = self.pick(index) {
                    self.check(index);
                }
            }
            Operation::Free(index) => {
                if let Some(handle) = self.take(index) {
                    self.pool.free(handle).expect("live");
                }
            }
            Operation::FreeDeferred(index) => {
                if let Some(handle) = self.take(index) {
                    self.pool.free_deferred(&self.pool.platform().pin(), handle);
                }
            }
            Operation::FreeMany(index, count) => {
                let handles: Vec<_> = (0..count).filter_map(|more| self.take(index + more)).collect();
                self.pool.free_deferred_many(&self.pool.platform().pin(), handles);
            }
            Operation::Stale(index) => {
                // A deferred handle may still be live here; only one that was certainly freed is stale for sure.
                self.pool.flush();
                if let Some(&raw) = self.gone.get(index % self.gone.len().max(1)) {
                    let result = self.pool.free(Handle::from_raw(raw).expect("a handle"));
                    assert_eq!(result, Err(Error::StaleHandle));
                    self.freed_stale += 1;
                }
                self.gone.clear();
            }
            Operation::Compact(budget) => {
                self.pool.compact(budget);
            }
            Operation::Drain(budget) => {
                let report = self.pool.drain(0, budget);
                assert!(report.freed <= budget);
            }
            Operation::Flush => {
                self.pool.flush();
                assert_eq!(self.pool.stats().pending, 0);
            }
            Operation::Refuse(after) => {
                let after = if after % 2 == 0 { -1 } else { i64::try_from(after).expect("small") };
                self.host.refuse_after.store(after, Ordering::Relaxed);
            }
        }
    }

    fn audit(&self) {
        for index in 0..self.objects.len() {
            self.check(index);
        }
        let stats = self.pool.stats();
        assert_eq!(stats.objects, self.objects.len() as u64 + stats.pending);
        assert_eq!(stats.enqueued, stats.drained + stats.helped + stats.flushed + stats.pending);
        assert_eq!(stats.refused, 0);
        assert_eq!(self.host.used() as u64, stats.pages + stats.metadata_pages + stats.ring_pages);
    }

    fn end(mut self) {
        self.audit();
        self.host.refuse_after.store(-1, Ordering::Relaxed);
        for object in self.objects.drain(..) {
            self.pool.free(object.handle).expect("live");
        }
        self.pool.flush();
        let stats = self.pool.stats();
        assert_eq!((stats.objects, stats.pages), (0, 0));
        let host = self.host;
        let report = self.pool.close();
        assert_eq!((report.live, host.used()), (0, 0));
    }
}

fn operation() -> impl Strategy<Value = Operation> {
    let index = 0..10_000usize;
    prop_oneof![
        8 => prop_oneof![1..=PAGE_SIZE, Just(PAGE_SIZE), 1..64usize, 1800..2100usize].prop_map(Operation::Malloc),
        2 => index.clone().prop_map(Operation::Write),
        2 => index.clone().prop_map(Operation::Read),
        2 => index.clone().prop_map(Operation::Free),
        3 => index.clone().prop_map(Operation::FreeDeferred),
        1 => (index.clone(), 0..300usize).prop_map(|(at, count)| Operation::FreeMany(at, count)),
        1 => index.clone().prop_map(Operation::Stale),
        1 => (0..500usize).prop_map(Operation::Compact),
        1 => (0..100usize).prop_map(Operation::Drain),
        1 => Just(Operation::Flush),
        1 => (0..20usize).prop_map(Operation::Refuse),
    ]
}

fn config(rung: Rung) -> Config {
    Config { ring_capacity: 128, watermark: 32, page_limit: 900, rung, ..Config::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_keeps_what_it_stored(operations in prop::collection::vec(operation(), 1..400)) {
        let host = Host::new(1000, 1);
        let mut shadow = Shadow::new(&host, config(Rung::DeferredHelp));
        for operation in &operations {
            shadow.apply(operation);
        }
        shadow.end();
    }
}

#[test]
fn long_sequence() {
    let wanted = std::env::var("ZSMALLOC_OPERATIONS").ok().and_then(|text| text.parse().ok());
    let operations: u64 = wanted.unwrap_or(if cfg!(debug_assertions) { 100_000 } else { 10_000_000 });
    for (seed, rung) in [(1, Rung::DeferredHelp), (2, Rung::DeferredRuns)] {
        let host = Host::new(1000, 1);
        let mut shadow = Shadow::new(&host, config(rung));
        let mut random = Random::new(seed);
        let mut number = |bound: u64| usize::try_from(random.below(bound)).expect("small");
        for step in 0..operations / 2 {
            let operation = match number(1000) {
                0..400 => Operation::Malloc(number(PAGE_SIZE as u64) + 1),
                400..500 => Operation::Write(number(10_000)),
                500..600 => Operation::Read(number(10_000)),
                600..780 => Operation::Free(number(10_000)),
                780..960 => Operation::FreeDeferred(number(10_000)),
                960..970 => Operation::FreeMany(number(10_000), number(50)),
                970..972 => Operation::Stale(number(10_000)),
                972..982 => Operation::Compact(number(500)),
                982..997 => Operation::Drain(number(100)),
                997..998 => Operation::Flush,
                _ => Operation::Refuse(number(20)),
            };
            shadow.apply(&operation);
            if step % 500_000 == 0 {
                shadow.audit();
            }
        }
        shadow.end();
    }
}
