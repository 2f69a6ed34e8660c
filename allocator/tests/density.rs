//! How much of the pool's memory is objects, metadata included and rings not, with the sizes of LZ4
//! pages.

mod common;

use common::Host;
use zsmalloc::{
    Config, Handle, PAGE_SIZE, Pool,
    bench::{Random, Sizes},
};

type Objects = Vec<(usize, Handle)>;

fn filled(pool: &Pool<&Host>, count: usize) -> Objects {
    Sizes::new(7).take(count).map(|size| (size, pool.malloc(size).expect("memory"))).collect()
}

/// Stored bytes in ten thousandths of the pool's memory, and metadata bytes for a hundred objects.
fn density(name: &str, pool: &Pool<&Host>, objects: &Objects) -> u64 {
    let stored: usize = objects.iter().map(|(size, _)| size).sum();
    let stats = pool.stats();
    assert_eq!(stats.objects, objects.len() as u64);
    let bytes = (stats.pages + stats.metadata_pages) * PAGE_SIZE as u64;
    let parts = stored as u64 * 10_000 / bytes;
    let lost = |bytes: u64| bytes as f64 / objects.len() as f64;
    println!(
        "{name}: {:.2} %, bytes lost per object: metadata {:.2}, rounding {:.2}, rest {:.2}",
        parts as f64 / 100.0,
        lost(stats.metadata_pages * PAGE_SIZE as u64),
        lost(stats.object_bytes - stored as u64),
        lost(stats.pages * PAGE_SIZE as u64 - stats.object_bytes)
    );
    parts
}

fn host() -> Host {
    Host::new(80_000, 1)
}

fn free_half(pool: &Pool<&Host>, objects: &mut Objects, random: &mut Random) {
    for _ in 0..objects.len() / 2 {
        let victim = usize::try_from(random.below(objects.len() as u64)).expect("small");
        pool.free(objects.swap_remove(victim).1).expect("live");
    }
}

fn compact(pool: &Pool<&Host>) {
    while !pool.compact(10_000).complete {}
}

#[test]
fn a_large_pool_through_its_life() {
    let host = host();
    let pool = Pool::new(&host, Config::default()).expect("memory");
    let mut random = Random::new(3);
    let mut objects = filled(&pool, 100_000);
    let full = density("100,000 objects", &pool, &objects);
    free_half(&pool, &mut objects, &mut random);
    density("random half freed", &pool, &objects);
    compact(&pool);
    let compacted = density("compacted", &pool, &objects);
    assert!(full >= 9840 && compacted >= 9750);
}

#[test]
fn a_churned_pool() {
    let host = host();
    let pool = Pool::new(&host, Config::default()).expect("memory");
    let mut random = Random::new(3);
    let mut objects = filled(&pool, 100_000);
    for size in Sizes::new(11).take(100_000) {
        let victim = usize::try_from(random.below(objects.len() as u64)).expect("small");
        pool.free(objects.swap_remove(victim).1).expect("live");
        objects.push((size, pool.malloc(size).expect("memory")));
    }
    assert!(density("churned", &pool, &objects) >= 9650);
}

#[test]
fn small_pools() {
    let host = host();
    for (count, least) in [(8_000, 9600), (2_000, 9300)] {
        let pool = Pool::new(&host, Config::default()).expect("memory");
        let objects = filled(&pool, count);
        assert!(density(&format!("{count} objects"), &pool, &objects) >= least);
    }
}
