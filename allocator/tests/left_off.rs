//! Compaction that is left off costs nobody anything, and what a shrinker is told comes true.

mod common;

use common::Host;
use zsmalloc::{
    Config, Error, Handle, Platform, Pool,
    bench::{Random, Sizes},
};

/// Fills a pool of 500 pages, frees three of four objects, and compacts `steps` steps of the least
/// budget. Returns how many objects were kept, and how many fitted beside them then.
fn fills_again(steps: usize) -> (usize, usize) {
    let host = Host::new(8192, 1);
    let pool = Pool::new(&host, Config { page_limit: 500, ..Config::default() }).expect("memory");
    let filled: Vec<_> = core::iter::from_fn(|| pool.malloc(1008).ok()).collect();
    let mut kept: Vec<Handle> = Vec::new();
    for (index, handle) in filled.into_iter().enumerate() {
        if index % 4 == 0 { kept.push(handle) } else { pool.free(handle).expect("live") }
    }
    for _ in 0..steps {
        pool.compact(1);
    }
    let more: Vec<_> = core::iter::from_fn(|| pool.malloc(1008).ok()).collect();
    assert_eq!(pool.malloc(1008).err(), Some(Error::LimitReached));
    let fitted = (kept.len(), more.len());
    kept.into_iter().chain(more).for_each(|handle| pool.free(handle).expect("live"));
    assert_eq!((pool.pages(), pool.stats().capacity), (0, 0));
    fitted
}

#[test]
fn all_room_is_there_wherever_compaction_stopped() {
    let (kept, without) = fills_again(0);
    for steps in (1..60).chain([80, 150, 400, 1000]) {
        let fitted = fills_again(steps);
        assert!(
            fitted.0 == kept && fitted.1 >= without,
            "{fitted:?} of {without} after {steps} steps"
        );
    }
}

/// The zspage that compaction was about to pack can be moved page by page as any other.
#[test]
fn a_page_moves_where_compaction_stopped() {
    for steps in 1..200 {
        let host = Host::new(512, 1);
        let pool = Pool::new(&host, Config::default()).expect("memory");
        let handles: Vec<_> = (0..200).map(|_| pool.malloc(1000).expect("memory")).collect();
        let (gone, kept): (Vec<_>, Vec<_>) =
            handles.into_iter().enumerate().partition(|(index, _)| index % 3 != 0);
        gone.into_iter().for_each(|(_, handle)| pool.free(handle).expect("live"));
        kept.iter().for_each(|(index, handle)| {
            pool.write(handle, &[u8::try_from(index % 251).expect("small"); 1000]).expect("live");
        });
        for _ in 0..steps {
            pool.compact(1);
        }
        let mut moved = 0;
        for number in 0..u32::try_from(host.frames()).expect("few") {
            let page = match pool.isolate(number) {
                Ok(page) => page,
                Err(error) => {
                    assert_eq!(error, Error::NotMovable, "frame {number} after {steps} steps");
                    continue;
                }
            };
            let to = pool.platform().allocate_frame().expect("memory");
            host.take_back(page.migrate(to).map_err(|_| "nobody reads").expect("moves"));
            moved += 1;
        }
        assert!(moved > 0);
        for (index, handle) in &kept {
            let mut bytes = [0; 1000];
            pool.read(handle).expect("live").copy_to(&mut bytes);
            assert!(
                bytes.iter().all(|&byte| usize::from(byte) == index % 251),
                "object {index}, {steps} steps"
            );
        }
        while !pool.compact(10).complete {}
        kept.into_iter().for_each(|(_, handle)| pool.free(handle).expect("live"));
        assert_eq!((pool.pages(), pool.stats().capacity), (0, 0));
    }
}

#[test]
fn a_shrinker_is_told_what_comes_back() {
    let half_freed = |count: usize, size: Option<usize>| {
        let host = Host::new(40_000, 1);
        let pool = Pool::new(&host, Config::default()).expect("memory");
        let sizes = Sizes::new(3).map(|mixed| size.unwrap_or(mixed)).take(count);
        let mut handles: Vec<_> = sizes.map(|size| pool.malloc(size).expect("memory")).collect();
        let mut random = Random::new(5);
        for _ in 0..count / 2 {
            let victim = usize::try_from(random.below(handles.len() as u64)).expect("small");
            pool.free(handles.swap_remove(victim)).expect("live");
        }
        let (told, before) = (pool.compactable_pages(), pool.pages());
        while !pool.compact(10_000).complete {}
        (told, before - pool.pages(), pool.compactable_pages())
    };
    for count in [60, 500, 2_000, 20_000] {
        for size in [None, Some(1000)] {
            let (told, back, left) = half_freed(count, size);
            assert!(
                told >= back && told <= back + back / 8 + 2,
                "{count} objects: {told} told, {back} came"
            );
            assert!(left <= back / 8 + 2, "{count} objects: {left} told, and nothing came");
        }
    }
}
