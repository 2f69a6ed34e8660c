//! The shadow model: what the pool must hold, and operations that change both.

use core::sync::atomic::Ordering;

use zsmalloc::{Config, Error, Handle, PAGE_SIZE, Platform, Pool, Rung};

use super::Host;

/// An operation; indexes are taken round.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Malloc(usize),
    Write(usize),
    Read(usize),
    Free(usize),
    FreeDeferred(usize),
    FreeMany(usize, usize),
    Stale(usize),
    Compact(usize),
    Migrate(usize),
    Drain(usize),
    Flush,
    Refuse(usize),
}

struct Object {
    handle: Handle,
    size: usize,
    seed: u8,
}

pub(crate) struct Shadow<'a> {
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
    pub(crate) fn new(host: &'a Host, config: Config) -> Self {
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

    pub(crate) fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Malloc(size) => match self.pool.malloc(size) {
                Ok(handle) => {
                    self.next = self.next.wrapping_add(1);
                    self.objects.push(Object { handle, size, seed: self.next });
                    self.fill(self.objects.len() - 1);
                }
                Err(error) => {
                    assert!(matches!(error, Error::OutOfMemory | Error::LimitReached), "{error}")
                }
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
                let handles: Vec<_> =
                    (0..count).filter_map(|more| self.take(index + more)).collect();
                self.pool.free_deferred_many(&self.pool.platform().pin(), handles);
            }
            Operation::Stale(index) => {
                // A deferred handle may still be live here; only one that was certainly freed is
                // stale for sure.
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
            Operation::Migrate(number) => {
                self.migrate(u32::try_from(number % self.host.frames()).expect("few frames"))
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

    /// Asks for a frame back, which may be anybody's.
    fn migrate(&self, number: u32) {
        let Ok(page) = self.pool.isolate(number) else { return };
        // While the page is isolated, another cannot be, and compaction does nothing.
        assert_eq!(self.pool.isolate(number).err(), Some(Error::Busy));
        assert_eq!(self.pool.compact(100).moved, 0);
        let Some(to) = self.pool.platform().allocate_frame() else { return };
        let back = match page.migrate(to) {
            Ok(old) => {
                assert_eq!(old.number(), number);
                old
            }
            Err((page, to)) => {
                drop(page);
                to
            }
        };
        self.host.take_back(back);
    }

    pub(crate) fn audit(&self) {
        for index in 0..self.objects.len() {
            self.check(index);
        }
        let stats = self.pool.stats();
        assert_eq!(stats.objects, self.objects.len() as u64 + stats.pending);
        assert_eq!(stats.enqueued, stats.drained + stats.helped + stats.flushed + stats.pending);
        assert_eq!(stats.refused, 0);
        assert_eq!(self.host.used() as u64, stats.pages + stats.metadata_pages + stats.ring_pages);
    }

    pub(crate) fn end(mut self) {
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

/// A small pool, so that everything in it happens often.
pub(crate) fn config(rung: Rung) -> Config {
    Config { ring_capacity: 128, watermark: 32, page_limit: 900, rung, ..Config::default() }
}

/// Operations as the fuzzer writes them: three bytes each, the first one's kind.
pub(crate) fn operations(bytes: &[u8]) -> impl Iterator<Item = Operation> {
    let (operations, _) = bytes.as_chunks::<3>();
    operations.iter().map(|&[kind, low, high]| {
        let number = usize::from(u16::from_le_bytes([low, high]));
        match kind % 16 {
            0..4 => Operation::Malloc(number % PAGE_SIZE + 1),
            4 => Operation::Malloc(PAGE_SIZE),
            5 => Operation::Write(number),
            6 => Operation::Read(number),
            7 | 8 => Operation::Free(number),
            9 => Operation::FreeDeferred(number),
            10 => Operation::FreeMany(number, usize::from(low)),
            11 => Operation::Stale(number),
            12 => Operation::Compact(number % 500),
            13 => Operation::Migrate(number),
            14 => Operation::Drain(usize::from(low)),
            _ => Operation::Refuse(usize::from(low % 20)),
        }
    })
}
