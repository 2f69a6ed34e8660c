//! A little of what `cargo bale fuzz` does, without coverage: made-up bytes, and good inputs that
//! were spoilt.

use bale_fuzz::{TARGETS, target};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const LONGEST: usize = 2048;

/// The same inputs each time: whoever wants others starts the fuzzer.
fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

fn feed(name: &str, cases: u32, inputs: impl Strategy<Value = Vec<u8>>) {
    let run = target(name).unwrap_or_else(|| panic!("no target {name}"));
    let outcome = runner(cases).run(&inputs, |bytes| {
        run(&bytes);
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{name}: {failure}"));
}

/// A good input with some bytes changed and its end cut off.
fn spoilt(good: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    (vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), 0..=good.len()).prop_map(
        |(changes, end)| {
            let mut bytes = good.to_vec();
            for (place, value) in changes {
                bytes[place.index(good.len())] = value;
            }
            // Most are left whole.
            bytes.truncate(if end % 4 == 0 { end } else { good.len() });
            bytes
        },
    )
}

#[test]
fn any_bytes() {
    for (name, _) in TARGETS {
        feed(name, 2_000, vec(any::<u8>(), 0..LONGEST));
    }
}

#[test]
fn spoilt_device_trees() {
    feed("device-tree", 3_000, spoilt(include_bytes!("../../core/tests/data/virt-12.dtb")));
    feed("device-tree", 3_000, spoilt(include_bytes!("../../core/tests/data/scattered.dtb")));
}

#[test]
fn spoilt_descriptions() {
    let good = b"memory = 256M\nvcpus = 2\nkernel = vmlinuz\ninitrd = initrd\ncmdline = console=ttyAMA0\nswap = 256M\ncodec = lz4\ncores = 1,2\n";
    feed("description", 5_000, spoilt(good));
}

#[test]
fn spoilt_lines() {
    feed(
        "shell",
        5_000,
        spoilt(b"vm run \"a b\"; pool\x1b[D\x1b[3~\t\x03bench list\r\n\x1b[A\r\n"),
    );
}

#[test]
fn spoilt_texts() {
    let good = "P[  \x1b[0;32mOK\x1b[0m  ] ünïcödé\r\n\x1b]0;title\x07\u{9b}2J10%\r20%\r\n\u{202e}日本\x08\t|\x1bPq\x1b\\\n";
    feed("text", 5_000, spoilt(good.as_bytes()));
}
