//! The engine's main program; the environment's `BALE_FUZZ` names the target.

#![no_main]

use std::env;
use std::process;
use std::sync::OnceLock;

use bale_fuzz::Target;

static TARGET: OnceLock<Target> = OnceLock::new();

fn chosen() -> Target {
    let name = env::var("BALE_FUZZ").unwrap_or_default();
    bale_fuzz::target(&name).unwrap_or_else(|| {
        eprintln!("BALE_FUZZ names no target: `{name}`");
        process::exit(2)
    })
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let target = TARGET.get_or_init(chosen);
    target(bytes);
});
