//! Metadata is what the most objects at a time want, not the sum of what each class ever wanted.

mod common;

use common::Host;
use zsmalloc::{CLASSES, Config, Error, Handle, PAGE_SIZE, Pool, class_size};

/// Pages of metadata.
fn metadata(pool: &Pool<&Host>) -> usize {
    usize::try_from(pool.stats().metadata_pages).expect("few")
}

#[test]
fn cells_go_from_class_to_class() {
    const OBJECTS: usize = 50_000;
    let host = Host::new(20_000, 1);
    let pool = Pool::new(&host, Config::default()).expect("memory");
    let mut raws = Vec::new();
    for size in [32, 112, 240, 368, 496, 624, 752, 880, 1008] {
        let handles: Vec<_> = (0..OBJECTS).map(|_| pool.malloc(size).expect("memory")).collect();
        let metadata = metadata(&pool) * PAGE_SIZE;
        assert!(metadata <= 12 * OBJECTS, "{} bytes for each of {size} bytes", metadata / OBJECTS);
        for (index, handle) in handles.into_iter().enumerate() {
            let raw = handle.into_raw();
            if index % 1000 == 0 {
                raws.push(raw);
            }
            pool.free(Handle::from_raw(raw).expect("a handle")).expect("live");
        }
        // Whichever class has a cell now, the handles that it had before are refused.
        for &raw in &raws {
            let stale = || Handle::from_raw(raw).expect("a handle");
            assert!(pool.read(&stale()).is_err());
            assert!(matches!(pool.free(stale()), Err(Error::StaleHandle | Error::ForeignHandle)));
        }
    }
}

#[test]
fn every_class_in_turn() {
    let host = Host::new(20_000, 1);
    let pool = Pool::new(&host, Config::default()).expect("memory");
    let mut most = 0;
    for index in 0..CLASSES {
        let size = class_size(index);
        let handles: Vec<_> =
            (0..200 + 320_000 / size).map(|_| pool.malloc(size).expect("memory")).collect();
        most = most.max(handles.len());
        handles.into_iter().for_each(|handle| pool.free(handle).expect("live"));
        assert_eq!(pool.pages(), 0);
    }
    let metadata = metadata(&pool);
    // Classes and directories take 10 pages, a chunk for each class 16; what is left is for the
    // most objects.
    assert!(
        metadata <= 26 + most * 11 / PAGE_SIZE + 1,
        "{metadata} pages, of {most} objects at most"
    );
}
