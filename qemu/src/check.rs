//! `cargo bale check`: rustfmt and clippy, warnings as errors.

use std::process::Command;

use anyhow::{Context, Result};

use crate::cli::CheckOptions;
use crate::setup;
use crate::toolchain::Toolchain;
use crate::workspace::{self, TARGET, UEFI_TARGET};

/// Packages for the target.
const TARGET_PACKAGES: [&str; 14] = [
    "bale-arch",
    "bale-memory",
    "bale-rt",
    "bale-io",
    "bale-reclaim",
    "bale-vmm",
    "bale-monitor",
    "bale-bench",
    "bale-selftest",
    "bale-kernel",
    "bale-qemu-virt",
    "control-loop",
    "guest-swapper",
    "linux-init",
];

/// Runs all checks, also after one failed; the status is 1 then.
pub(crate) fn run(options: &CheckOptions) -> Result<u8> {
    let toolchain = setup::toolchain(&options.setup)?;
    setup::clippy(&options.setup, toolchain)?;
    let mut checks = Vec::new();
    let mut format = workspace::command("cargo");
    format.args(["fmt", "--all", "--", "--check"]);
    checks.push(("rustfmt", format));
    let mut host = workspace::command("cargo");
    host.args([
        "clippy",
        "--all-targets",
        "--features",
        "bale-fuzz/engine",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]);
    checks.push(("clippy, host crates", host));
    checks.push(("clippy, target crates", target_check(toolchain, TARGET, &TARGET_PACKAGES)));
    checks.push(("clippy, boot loader", target_check(toolchain, UEFI_TARGET, &["bale-uefi"])));

    let mut failed = 0;
    let total = checks.len();
    for (name, mut command) in checks {
        let good = command.status().with_context(|| format!("{name} does not start"))?.success();
        println!("check {name} ... {}", if good { "ok" } else { "FAILED" });
        failed += usize::from(!good);
    }
    println!("{} checks passed, {failed} failed", total - failed);
    Ok(u8::from(failed > 0))
}

/// Clippy of the toolchain that builds for the target, in a folder of its own: its flags would
/// build everything anew.
fn target_check(toolchain: Toolchain, target: &str, packages: &[&str]) -> Command {
    let mut command = toolchain.cargo_for("clippy", target);
    command.arg("--quiet").env("CARGO_TARGET_DIR", workspace::target_folder().join("check"));
    for package in packages {
        command.args(["-p", package]);
    }
    command.args(["--", "-D", "warnings"]);
    command
}
