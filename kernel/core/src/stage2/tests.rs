//! Against a map of single pages, with tables that run out.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};

#[derive(Debug, Default)]
struct Tables {
    tables: HashMap<u64, Vec<u64>>,
    next: u64,
    left: usize,
}

impl Tables {
    fn with(left: usize) -> Self {
        Self { left, next: 0x10_0000, ..Self::default() }
    }

    fn make(&mut self, entries: usize) -> Option<u64> {
        self.left = self.left.checked_sub(1)?;
        self.next += 0x2000;
        self.tables.insert(self.next, vec![0; entries]);
        Some(self.next)
    }
}

impl TableMemory for Tables {
    fn allocate_root(&mut self) -> Option<u64> {
        self.make(1024)
    }
    fn release_root(&mut self, root: u64) {
        assert!(self.tables.remove(&root).is_some());
    }
    fn allocate(&mut self) -> Option<u64> {
        self.make(512)
    }
    fn allocate_filled(&mut self, first: u64, step: u64) -> Option<u64> {
        let table = self.make(512)?;
        self.tables.insert(table, (0..512).map(|at| first + at * step).collect());
        Some(table)
    }
    fn release(&mut self, table: u64) {
        assert!(self.tables.remove(&table).is_some(), "released twice");
    }
    fn read(&self, table: u64, index: usize) -> u64 {
        self.tables[&table][index]
    }
    fn write(&mut self, table: u64, index: usize, entry: u64) {
        self.tables.get_mut(&table).expect("a live table")[index] = entry;
    }
}

fn new() -> Stage2<Tables> {
    Stage2::new(Tables::with(10_000), Caching::Combined).unwrap()
}

/// The memory attributes of each kind of leaf, before and after its block is split.
#[test]
fn attributes_by_caching() {
    const ATTRIBUTES: u64 = 0b1111 << 2;
    for (caching, normal) in [(Caching::Combined, 0b1111), (Caching::Forced, 0b0110)] {
        for (access, attributes) in
            [(Access::Ram, normal), (Access::ReadOnly, normal), (Access::Device, 0b0001)]
        {
            let mut stage2 = Stage2::new(Tables::with(100), caching).unwrap();
            stage2.map(0x4000_0000, 0x8000_0000, 2 << 20, access).unwrap();
            let leaf = |stage2: &Stage2<Tables>| {
                let valid =
                    |entry: &&u64| **entry & 1 == 1 && **entry & bits::ADDRESS >= 0x8000_0000;
                let mut leaves = stage2.memory.tables.values().flatten().filter(valid);
                let first = *leaves.next().unwrap();
                assert!(leaves.all(|entry| entry & ATTRIBUTES == first & ATTRIBUTES));
                (first & ATTRIBUTES) >> 2
            };
            assert_eq!(leaf(&stage2), attributes, "{caching:?} {access:?}");
            stage2.unmap(0x4000_0000, PAGE, &mut |_, _| {}).unwrap();
            assert_eq!(leaf(&stage2), attributes, "{caching:?} {access:?}, split");
            assert_eq!(stage2.translate(0x4000_1000), Some((0x8000_1000, access)));
        }
    }
}

#[test]
fn blocks_where_they_fit() {
    let mut stage2 = new();
    stage2.map(0x4000_0000, 0x8000_0000, 1 << 30, Access::Ram).unwrap();
    stage2.map(0x8020_0000, 0x4020_0000, 2 << 20, Access::ReadOnly).unwrap();
    let mut leaves = vec![];
    stage2.for_each_mapped(&mut |ipa, address, length, access| {
        leaves.push((ipa, address, length, access))
    });
    assert_eq!(
        leaves,
        [
            (0x4000_0000, 0x8000_0000, 1 << 30, Access::Ram),
            (0x8020_0000, 0x4020_0000, 2 << 20, Access::ReadOnly),
        ]
    );
    assert!(stage2.destroy().tables.is_empty());
}

#[test]
fn refuses_what_it_must() {
    let mut stage2 = new();
    assert_eq!(stage2.map(1, 0, PAGE, Access::Ram), Err(Stage2Error::Misaligned));
    assert_eq!(stage2.map(0, 1, PAGE, Access::Ram), Err(Stage2Error::Misaligned));
    assert_eq!(stage2.map(0, 0, 0, Access::Ram), Err(Stage2Error::Misaligned));
    assert_eq!(stage2.map(1 << IPA_BITS, 0, PAGE, Access::Ram), Err(Stage2Error::OutOfRange));
    assert_eq!(
        stage2.map((1 << IPA_BITS) - PAGE, 0, 2 * PAGE, Access::Ram),
        Err(Stage2Error::OutOfRange)
    );
    assert_eq!(stage2.map(!0xfff, 0, PAGE, Access::Ram), Err(Stage2Error::OutOfRange));
    assert_eq!(stage2.map(0, !0xfff, PAGE, Access::Ram), Err(Stage2Error::OutOfRange));
    stage2.map(0x20_0000, 0, 2 << 20, Access::Ram).unwrap();
    assert_eq!(stage2.map(0x30_0000, 0, PAGE, Access::Ram), Err(Stage2Error::Mapped));
    assert_eq!(stage2.map(0, 0, 4 << 20, Access::Ram), Err(Stage2Error::Mapped));
    assert_eq!(stage2.translate(1 << IPA_BITS), None);
    assert_eq!(stage2.translate(u64::MAX), None);
}

#[test]
fn a_split_is_reported_before_it_is_used() {
    let mut stage2 = new();
    stage2.map(0x20_0000, 0x4000_0000, 2 << 20, Access::Ram).unwrap();
    let mut changes = vec![];
    stage2.unmap(0x20_1000, PAGE, &mut |ipa, length| changes.push((ipa, length))).unwrap();
    assert_eq!(changes, [(0x20_0000, 2 << 20), (0x20_1000, PAGE)]);
    assert_eq!(stage2.translate(0x20_0000), Some((0x4000_0000, Access::Ram)));
    assert_eq!(stage2.translate(0x20_1000), None);
    assert_eq!(stage2.translate(0x20_2fff), Some((0x4000_2fff, Access::Ram)));
}

/// A page is used once after each look that found it so, and a block is split before the first.
#[test]
fn a_page_is_aged_and_used_again() {
    let mut stage2 = new();
    stage2.map(0x20_0000, 0x4000_0000, 2 << 20, Access::Ram).unwrap();
    stage2.map(0x100_0000, 0x900_0000, PAGE, Access::Device).unwrap();
    let mut changes = vec![];
    let mut note = |ipa, length| changes.push((ipa, length));
    assert_eq!(stage2.age(0x20_3000, &mut note), Ok(Some(true)));
    assert_eq!(stage2.age(0x20_3000, &mut note), Ok(Some(false)));
    assert_eq!(stage2.age(0x100_0000, &mut note), Ok(None));
    assert_eq!(stage2.age(0x40_0000, &mut note), Ok(None));
    assert_eq!(stage2.age(0x20_3001, &mut note), Err(Stage2Error::Misaligned));
    assert!(stage2.mark_used(0x20_3fff) && !stage2.mark_used(0x40_0000));
    assert_eq!(stage2.age(0x20_3000, &mut note), Ok(Some(true)));
    assert_eq!(changes, [(0x20_0000, 2 << 20), (0x20_3000, PAGE), (0x20_3000, PAGE)]);
    // Where it leads and what may be done there is as before.
    assert_eq!(stage2.translate(0x20_3008), Some((0x4000_3008, Access::Ram)));
    assert_eq!(stage2.age(0x20_4000, &mut |_, _| {}), Ok(Some(true)));
    let mut short = Stage2::new(Tables::with(2), Caching::Combined).unwrap();
    short.map(0x20_0000, 0x4000_0000, 2 << 20, Access::Ram).unwrap();
    assert_eq!(
        short.age(0x20_0000, &mut |_, _| panic!("nothing changes")),
        Err(Stage2Error::OutOfMemory)
    );
}

/// The values that the manual's fields give, written out once by hand.
#[test]
fn registers() {
    assert_eq!(Stage2::<Tables>::vtcr(2), 0x8002_3558);
    let stage2 = new();
    assert_eq!(stage2.vttbr(3), 3 << 48 | stage2.root());
}

#[derive(Debug, Clone)]
enum Call {
    Map(u64, u64, u64, Access),
    Unmap(u64, u64),
}

/// Ranges of single pages and of around 2 MiB, inside 8 MiB, so that calls meet.
fn calls() -> impl Strategy<Value = Vec<Call>> {
    let page = 0u64..2048;
    let length = prop_oneof![1u64..4, Just(512), 500u64..1100];
    let access = prop_oneof![Just(Access::Ram), Just(Access::ReadOnly), Just(Access::Device)];
    let aligned = prop_oneof![page.clone(), (0u64..4).prop_map(|block| block * 512)];
    let map = (aligned.clone(), aligned.clone(), length.clone(), access)
        .prop_map(|(ipa, address, length, access)| Call::Map(ipa, address, length, access));
    let unmap = (aligned, length).prop_map(|(ipa, length)| Call::Unmap(ipa, length));
    proptest::collection::vec(prop_oneof![map, unmap], 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn like_a_map_of_pages(calls in calls(), tables in 1usize..20) {
        let mut stage2 = Stage2::new(Tables::with(tables), Caching::Forced).unwrap();
        let mut model: BTreeMap<u64, (u64, Access)> = BTreeMap::new();
        for call in calls {
            match call {
                Call::Map(ipa, address, length, access) => {
                    let free = (ipa..ipa + length).all(|page| !model.contains_key(&page));
                    match stage2.map(ipa * PAGE, address * PAGE, length * PAGE, access) {
                        Ok(()) => {
                            prop_assert!(free);
                            model.extend((0..length).map(|at| (ipa + at, (address + at, access))));
                        }
                        Err(Stage2Error::Mapped) => prop_assert!(!free),
                        Err(Stage2Error::OutOfMemory) => {
                            // The front part may be there: take it out again, which needs no more
                            // memory than there is.
                            for page in ipa..ipa + length {
                                if let Some((to, got)) = stage2.translate(page * PAGE) {
                                    prop_assert_eq!((to, got), ((address + page - ipa) * PAGE, access));
                                    model.insert(page, (address + page - ipa, access));
                                }
                            }
                        }
                        Err(other) => prop_assert!(false, "{}", other),
                    }
                }
                Call::Unmap(ipa, length) => {
                    let mut gone = vec![];
                    let result = stage2.unmap(ipa * PAGE, length * PAGE, &mut |start, length| gone.push((start, length)));
                    let changed = (ipa..ipa + length).filter(|page| model.contains_key(page) && stage2.translate(page * PAGE).is_none());
                    for page in changed {
                        prop_assert!(gone.iter().any(|(start, length)| (*start..start + length).contains(&(page * PAGE))));
                    }
                    if result.is_ok() {
                        model.retain(|page, _| !(ipa..ipa + length).contains(page));
                    } else {
                        model.retain(|page, _| stage2.translate(page * PAGE).is_some());
                    }
                }
            }
            for page in 0..3200 {
                let expected = model.get(&page).map(|(address, access)| (address * PAGE, *access));
                prop_assert_eq!(stage2.translate(page * PAGE), expected, "page {}", page);
            }
        }
        let mut pages = 0;
        stage2.for_each_mapped(&mut |_, _, length, _| pages += length / PAGE);
        prop_assert_eq!(pages, model.len() as u64);
        prop_assert!(stage2.destroy().tables.is_empty());
    }
}
