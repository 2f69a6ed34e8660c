//! Pools that are emptied and filled again: each filling is as dense as the first.

mod common;

use common::Host;
use zsmalloc::{Config, Handle, PAGE_SIZE, Pool, bench::Sizes};

fn fill(pool: &Pool<&Host>, count: usize) -> Vec<(usize, Handle)> {
    Sizes::new(7).take(count).map(|size| (size, pool.malloc(size).expect("memory"))).collect()
}

/// Stored bytes in ten thousandths of the pool's memory.
fn density<'a>(pool: &Pool<&Host>, objects: impl IntoIterator<Item = &'a (usize, Handle)>) -> u64 {
    let stored: usize = objects.into_iter().map(|(size, _)| size).sum();
    let stats = pool.stats();
    stored as u64 * 10_000 / ((stats.pages + stats.metadata_pages) * PAGE_SIZE as u64)
}

#[test]
fn ten_fillings_are_as_dense_as_the_first() {
    for (count, rounds) in [(2_000, 10), (8_000, 10), (100_000, 10)] {
        let host = Host::new(60_000, 1);
        let pool = Pool::new(&host, Config::default()).expect("memory");
        let mut first = 0;
        for round in 0..rounds {
            let objects = fill(&pool, count);
            let reached = density(&pool, &objects);
            println!("{count} objects, filling {round}: {reached} of 10,000");
            if round == 0 {
                first = reached;
            }
            // A tenth of a percent is where the metadata that the first one left may lie.
            assert!(
                reached + 10 >= first,
                "{count} objects, filling {round}: {reached}, {first} at first"
            );
            objects.into_iter().for_each(|(_, handle)| pool.free(handle).expect("live"));
            assert_eq!(pool.pages(), 0);
        }
    }
}

/// Two tenants: the one with small objects leaves and another comes, while the other stays.
#[test]
fn a_tenant_leaves_and_another_comes() {
    let host = Host::new(60_000, 1);
    let pool = Pool::new(&host, Config::default()).expect("memory");
    let make = |sizes: &mut dyn Iterator<Item = usize>| -> Vec<(usize, Handle)> {
        sizes.map(|size| (size, pool.malloc(size).expect("memory"))).collect()
    };
    let stays = make(&mut Sizes::new(1).filter(|size| *size >= 1200).take(25_000));
    let mut first = 0;
    for round in 0..10 {
        let leaves = make(&mut Sizes::new(2).filter(|size| *size < 1200).take(15_000));
        let reached = density(&pool, stays.iter().chain(&leaves));
        if round == 0 {
            first = reached;
        }
        assert!(reached + 10 >= first, "round {round}: {reached}, {first} at first");
        leaves.into_iter().for_each(|(_, handle)| pool.free(handle).expect("live"));
    }
}
