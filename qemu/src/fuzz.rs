//! `cargo bale fuzz`: what reads bytes of strangers, under bytes that a fuzzer makes up, guided by
//! coverage.
//!
//! The engine is libFuzzer, which wants code that counts the edges it takes: an option of LLVM that
//! every compiler can pass.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::cli::{FuzzOptions, FuzzTarget};
use crate::{setup, workspace};

/// Lets compiled code count its edges.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cdebug-assertions -Coverflow-checks";
/// Longest input, in bytes.
const LONGEST: u32 = 12_000;
/// The environment's variable that names the target to the kernel's fuzzer.
const TARGET: &str = "BALE_FUZZ";

/// A program with an engine in it.
struct Fuzzer {
    package: &'static str,
    features: &'static [&'static str],
    program: &'static str,
}

const POOL: Fuzzer = Fuzzer { package: "zsmalloc-fuzz", features: &[], program: "pool" };
const KERNEL: Fuzzer =
    Fuzzer { package: "bale-fuzz", features: &["--features", "engine"], program: "fuzz-kernel" };

/// Builds what is asked for and runs it; the status is 1 if an input failed.
pub(crate) fn run(options: &FuzzOptions) -> Result<u8> {
    setup::compiler_of_cpp(&options.setup)?;
    let wanted =
        options.target.map_or(FuzzTarget::value_variants().to_vec(), |target| vec![target]);
    let mut programs: Vec<(&str, PathBuf)> = Vec::new();
    let mut failed = Vec::new();
    for target in wanted {
        let fuzzer = if target == FuzzTarget::Pool { POOL } else { KERNEL };
        let built = programs.iter().find(|(package, _)| *package == fuzzer.package);
        let program = match built {
            Some((_, program)) => program.clone(),
            None => {
                let program = build(&fuzzer)?;
                programs.push((fuzzer.package, program.clone()));
                program
            }
        };
        let name = name(target);
        if !feed(&program, &name, options)? {
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return Ok(0);
    }
    eprintln!(
        "bale: an input failed: {}; the line `Test unit written to` names it",
        failed.join(", ")
    );
    Ok(1)
}

fn name(target: FuzzTarget) -> String {
    target.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn build(fuzzer: &Fuzzer) -> Result<PathBuf> {
    let folder = workspace::target_folder().join("fuzz");
    let host = host_triple()?;
    let mut build = workspace::command("cargo");
    // With a triple the flags are for the target's code alone, not for build scripts.
    build
        .args(["build", "--release", "-p", fuzzer.package, "--target", &host])
        .args(fuzzer.features);
    build.env("RUSTFLAGS", COVERAGE).env("CARGO_TARGET_DIR", &folder);
    eprintln!("bale: builds {}", fuzzer.package);
    ensure!(
        build.status().context("cargo does not start")?.success(),
        "{} does not build",
        fuzzer.package
    );
    Ok(folder.join(&host).join("release").join(fuzzer.program))
}

/// Runs one target; whether no input failed.
fn feed(program: &Path, name: &str, options: &FuzzOptions) -> Result<bool> {
    let mut fuzz = workspace::command(program);
    fuzz.env(TARGET, name);
    if let Some(input) = &options.input {
        fuzz.arg(input.canonicalize().with_context(|| format!("cannot read {}", input.display()))?);
    } else {
        let corpus = workspace::own_folder()?.join("corpus").join(name);
        let failures = workspace::own_folder()?.join("failures");
        for folder in [&corpus, &failures] {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fuzz.arg(&corpus);
        fuzz.arg(format!("-max_total_time={}", options.seconds));
        fuzz.arg(format!("-max_len={LONGEST}")).args([
            "-len_control=0",
            "-verbosity=0",
            "-print_final_stats=1",
        ]);
        fuzz.arg(format!("-artifact_prefix={}/{name}-", failures.display()));
    }
    match &options.input {
        Some(input) => eprintln!("bale: feeds {name} with {}", input.display()),
        None => eprintln!("bale: feeds {name} for {} s", options.seconds),
    }
    let good = fuzz.status().context("the fuzz target does not start")?.success();
    match (&options.input, good) {
        (_, false) => {}
        (None, true) => eprintln!("bale: no input of {name} failed in {} s", options.seconds),
        (Some(_), true) => eprintln!("bale: the input does not fail"),
    }
    Ok(good)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's fuzzer is not linked to the tool: its source says which targets it has.
    #[test]
    fn every_target_is_offered() {
        let source = include_str!("../../kernel/fuzz/src/lib.rs");
        let has: Vec<&str> = source
            .lines()
            .filter_map(|line| line.trim().strip_prefix("(\"")?.split_once("\", ")?.0.into())
            .collect();
        let offered: Vec<String> =
            FuzzTarget::value_variants().iter().map(|target| name(*target)).collect();
        assert_eq!(offered[0], "pool");
        assert_eq!(offered[1..], has);
    }
}
