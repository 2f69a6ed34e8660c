//! `cargo bale fuzz`: the allocator under operations that a fuzzer makes up, guided by coverage.
//!
//! The engine is libFuzzer, which wants code that counts the edges it takes: an option of LLVM that every compiler can pass.

use std::fs;

use anyhow::{Context, Result, bail, ensure};

use crate::cli::FuzzOptions;
use crate::workspace;

/// Lets compiled code count its edges.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cdebug-assertions -Coverflow-checks";
/// Longest input, in bytes.
const LONGEST: u32 = 12_000;

/// Builds the target and runs it; the status is 1 if an input failed.
pub(crate) fn run(options: &FuzzOptions) -> Result<u8> {
    let target = workspace::target_folder().join("fuzz");
    let host = host_triple()?;
    let mut build = workspace::command("cargo");
    // With a triple the flags are for the target's code alone, not for build scripts.
    build.args(["build", "--release", "-p", "zsmalloc-fuzz", "--target", &host]);
    build.env("RUSTFLAGS", COVERAGE).env("CARGO_TARGET_DIR", &target);
    eprintln!("bale: builds the fuzz target");
    ensure!(
        build.status().context("cargo does not start")?.success(),
        "the fuzz target does not build; it needs a C++ compiler"
    );
    let corpus = workspace::own_folder()?.join("corpus");
    let failures = workspace::own_folder()?.join("failures");
    for folder in [&corpus, &failures] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut fuzz = workspace::command(target.join(&host).join("release").join("pool"));
    if let Some(input) = &options.input {
        fuzz.arg(input.canonicalize().with_context(|| format!("cannot read {}", input.display()))?);
    } else {
        fuzz.arg(&corpus);
        fuzz.arg(format!("-max_total_time={}", options.seconds));
        fuzz.arg(format!("-max_len={LONGEST}")).arg("-len_control=0");
        fuzz.arg(format!("-artifact_prefix={}/", failures.display()));
    }
    let status = fuzz.status().context("the fuzz target does not start")?;
    match (&options.input, status.success()) {
        (_, false) => eprintln!("bale: an input failed; the line `Test unit written to` names it"),
        (None, true) => eprintln!("bale: no input failed in {} s", options.seconds),
        (Some(_), true) => eprintln!("bale: the input does not fail"),
    }
    Ok(u8::from(!status.success()))
}

/// The triple that rustc builds for by itself.
fn host_triple() -> Result<String> {
    let output = workspace::command("rustc").arg("-vV").output().context("rustc does not start")?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().find_map(|line| line.strip_prefix("host: ")) {
        Some(triple) => Ok(triple.to_owned()),
        None => bail!("rustc does not say what it builds for"),
    }
}
