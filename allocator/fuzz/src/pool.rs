//! Operations as bytes, applied to a pool and to its shadow; then the books are audited.

#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;

use common::{
    Host,
    shadow::{Shadow, config, operations},
};
use zsmalloc::Rung;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let host = Host::new(600, 1);
    let mut shadow = Shadow::new(&host, config(Rung::DeferredHelp));
    for operation in operations(bytes) {
        shadow.apply(&operation);
    }
    shadow.end();
});
