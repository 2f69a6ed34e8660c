//! Random operations against a shadow of what the pool must hold.
//!
//! The long sequence has 10^7 operations in a release build; `ZSMALLOC_OPERATIONS` sets another
//! number: `ZSMALLOC_OPERATIONS=100000000 cargo test --release -p zsmalloc --test shadow --
//! --nocapture long_sequence`.

mod common;

use common::{
    Host,
    shadow::{Operation, Shadow, config, operations},
};
use proptest::prelude::*;
use zsmalloc::{PAGE_SIZE, Rung, bench::Random};

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
        1 => (0..1000usize).prop_map(Operation::Migrate),
        1 => (0..100usize).prop_map(Operation::Drain),
        1 => Just(Operation::Flush),
        1 => (0..20usize).prop_map(Operation::Refuse),
    ]
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

    /// What `cargo bale fuzz` does, without its guidance.
    #[test]
    fn any_bytes_are_operations(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let host = Host::new(600, 1);
        let mut shadow = Shadow::new(&host, config(Rung::DeferredHelp));
        for operation in operations(&bytes) {
            shadow.apply(&operation);
        }
        shadow.end();
    }
}

#[test]
fn long_sequence() {
    let wanted = std::env::var("ZSMALLOC_OPERATIONS").ok().and_then(|text| text.parse().ok());
    let operations: u64 =
        wanted.unwrap_or(if cfg!(debug_assertions) { 100_000 } else { 10_000_000 });
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
                972..981 => Operation::Compact(number(500)),
                981..982 => Operation::Migrate(number(1000)),
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
