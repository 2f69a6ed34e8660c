//! Frees on the host: threads as cores, and a model of twelve unlike cores. `cargo bale bench host`
//! runs it.
//!
//! Times are wall-clock nanoseconds of this machine, the least of some runs. Figures that begin
//! with `model-` are a discrete-event model and say nothing of any machine: instructions as counted
//! on the target, at one a cycle and 2.6 GHz, on eight fast cores and four that are 2.2 times
//! slower, with 60 ns for a lock or a cache line to change hands.

#[path = "../tests/common/mod.rs"]
mod common;

use core::{hint::black_box, time::Duration};
use std::{sync::Barrier, time::Instant};

use common::{Host, set_core};
use zsmalloc::{
    Config, Handle, Platform, Pool,
    bench::{Random, Sizes},
};

const OBJECTS: usize = 50_000;
const RUNS: usize = 7;
const SIZE: usize = 1870;

fn main() {
    println!(
        "{{\"report\":\"bench\",\"board\":\"host\",\"cores\":{},\"cpu\":\"host\",\"counter\":\"none\",\"clock_hz\":1000000000,\"build\":\"{}\",\"seed\":1}}",
        std::thread::available_parallelism().map_or(1, usize::from),
        env!("CARGO_PKG_VERSION"),
    );
    let one = least(|| frees(1));
    let two = least(|| frees(2));
    say("host-free-1", one, "ns/op");
    say("host-free-2", two, "ns/op");
    say("host-free-two-to-one", two / one, "ratio");
    say("host-push-1", least(|| pushes(1)), "ns/op");
    say("host-push-2", least(|| pushes(2)), "ns/op");
    say("host-push-drain", least(push_and_drain), "ns/op");
    let (free, push, back) = model();
    say("model-12-free", free, "ns/op (model)");
    say("model-12-push", push, "ns/op (model)");
    say("model-12-back", back, "ns/op (model)");
}

fn say(name: &str, value: f64, unit: &str) {
    println!(
        "{{\"suite\":\"allocator\",\"name\":\"{name}\",\"value\":{value:.2},\"unit\":\"{unit}\",\"n\":{OBJECTS}}}"
    );
}

fn least(run: impl Fn() -> f64) -> f64 {
    (0..RUNS).map(|_| run()).fold(f64::INFINITY, f64::min)
}

fn per_operation(wall: Duration, operations: usize) -> f64 {
    wall.as_secs_f64() * 1e9 / operations as f64
}

/// Runs `work` on threads that start together, each with objects of its own; wall nanoseconds for
/// an operation of any of them.
fn together(
    threads: usize,
    sizes: impl Fn() -> usize + Sync,
    work: impl Fn(&Pool<&Host>, Vec<Handle>) + Sync,
) -> f64 {
    let host = Host::new(120_000, threads);
    let config = Config { ring_capacity: 65_536, watermark: 32_768, ..Config::default() };
    let pool = Pool::new(&host, config).expect("memory");
    let barrier = Barrier::new(threads);
    let spans = std::thread::scope(|scope| {
        let start = |core| {
            let (pool, barrier, sizes, work) = (&pool, &barrier, &sizes, &work);
            scope.spawn(move || {
                set_core(core);
                let handles = (0..OBJECTS).map(|_| pool.malloc(sizes()).expect("memory")).collect();
                barrier.wait();
                let start = Instant::now();
                work(pool, handles);
                (start, Instant::now())
            })
        };
        let threads: Vec<_> = (0..threads).map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    let first = spans.iter().map(|span| span.0).min().expect("a thread");
    let last = spans.iter().map(|span| span.1).max().expect("a thread");
    let wall = last - first;
    pool.flush();
    assert_eq!(pool.stats().objects, 0);
    per_operation(wall, threads * OBJECTS)
}

/// Synchronous frees, all of one class.
fn frees(threads: usize) -> f64 {
    together(
        threads,
        || SIZE,
        |pool, handles| handles.into_iter().for_each(|handle| pool.free(handle).expect("live")),
    )
}

fn pushes(threads: usize) -> f64 {
    together(
        threads,
        || SIZE,
        |pool, handles| {
            let pinned = pool.platform().pin();
            handles.into_iter().for_each(|handle| pool.free_deferred(&pinned, handle));
        },
    )
}

/// Pushes and drains of objects of all sizes, in all.
fn push_and_drain() -> f64 {
    let host = Host::new(120_000, 1);
    let config = Config { ring_capacity: 4096, watermark: 2048, ..Config::default() };
    let pool = Pool::new(&host, config).expect("memory");
    let handles: Vec<_> =
        Sizes::new(1).take(OBJECTS).map(|size| pool.malloc(size).expect("memory")).collect();
    let start = Instant::now();
    let pinned = pool.platform().pin();
    for (count, handle) in handles.into_iter().enumerate() {
        pool.free_deferred(&pinned, handle);
        if count % 2048 == 2047 {
            black_box(pool.drain(0, 4096));
        }
    }
    pool.flush();
    let wall = start.elapsed();
    assert_eq!(pool.stats().objects, 0);
    per_operation(wall, OBJECTS)
}

/// Instructions of a synchronous free: outside the class lock, and within it.
const FREE: (f64, f64) = (30.0, 50.0);
/// Instructions of a push, and of the drain of a handle outside and within the class lock.
const PUSH: f64 = 12.0;
const DRAIN: (f64, f64) = (14.0, 66.0);
/// Handles of one class in a drain's batch of 512.
const HELD: usize = 6;
const CLASSES: usize = 80;
const NS_PER_INSTRUCTION: f64 = 1.0 / 2.6;
const HAND_OVER: f64 = 60.0;
const OPERATIONS: usize = 20_000;

/// How many times slower each core is than the fastest.
const CORES: [f64; 12] = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.2, 2.2, 2.2, 2.2];

/// Wall nanoseconds for an operation of each of twelve cores: synchronous frees, pushes alone, and
/// pushes with their drains until all is back.
fn model() -> (f64, f64, f64) {
    let slowest = CORES.iter().fold(0.0_f64, |most, &core| most.max(core));
    let free = simulate(FREE.0, FREE.1, 1);
    let drain = simulate(DRAIN.0, DRAIN.1, HELD);
    let push = PUSH * NS_PER_INSTRUCTION * slowest;
    (free, push, push + drain)
}

/// Each core works `outside` its lock and `inside` it for each of `held` operations, on classes at
/// random.
fn simulate(outside: f64, inside: f64, held: usize) -> f64 {
    let mut random = Random::new(1);
    let mut ready = CORES.map(|_| 0.0);
    let mut left = CORES.map(|_| OPERATIONS / held);
    let mut locks = vec![(0.0_f64, usize::MAX); CLASSES];
    let next = |ready: &[f64; 12], left: &[usize; 12]| {
        (0..CORES.len())
            .filter(|&core| left[core] != 0)
            .min_by(|&a, &b| ready[a].total_cmp(&ready[b]))
    };
    while let Some(core) = next(&ready, &left) {
        let unit = NS_PER_INSTRUCTION * CORES[core] * held as f64;
        let class = usize::try_from(random.below(CLASSES as u64)).expect("small");
        let (free_at, owner) = locks[class];
        let mut start = (ready[core] + outside * unit).max(free_at);
        if owner != core {
            start += HAND_OVER;
        }
        let end = start + inside * unit;
        locks[class] = (end, core);
        ready[core] = end;
        left[core] -= 1;
    }
    ready.iter().fold(0.0_f64, |most, &end| most.max(end)) / OPERATIONS as f64
}
