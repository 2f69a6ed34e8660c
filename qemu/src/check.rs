//! `cargo bale check`: rustfmt and clippy, warnings as errors.

use std::process::Command;

use anyhow::{Context, Result};

use crate::cli::CheckOptions;
use crate::toolchain::Toolchain;
use crate::{setup, workspace};

/// Packages for the target.
const TARGET_PACKAGES: [&str; 4] = ["bale-arch", "bale-kernel", "bale-qemu-virt", "guest-swapper"];

/// Runs all checks, also after one failed; the status is 1 then.
pub(crate) fn run(options: &CheckOptions) -> Result<u8> {
    let toolchain = setup::toolchain(&options.setup)?;
    let mut checks = Vec::new();
    let mut format = workspace::command("cargo");
    format.args(["fmt", "--all", "--", "--check"]);
    checks.push(("rustfmt", format));
    let mut host = workspace::command("cargo");
    host.args(["clippy", "--all-targets", "--quiet", "--", "-D", "warnings"]);
    checks.push(("clippy, host crates", host));
    checks.push(target_check(toolchain));

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

/// Clippy for the target where the toolchain has both; Debian's compiler comes without clippy, so there the compiler's
/// own warnings, missing documentation and unsafe operations among them, are the errors.
fn target_check(toolchain: Toolchain) -> (&'static str, Command) {
    let (name, subcommand) = match toolchain {
        Toolchain::Installed => ("clippy, target crates", "clippy"),
        Toolchain::Debian => ("compiler warnings, target crates (no clippy in Debian's toolchain)", "check"),
    };
    let mut command = toolchain.cargo(subcommand);
    command.arg("--quiet");
    for package in TARGET_PACKAGES {
        command.args(["-p", package]);
    }
    match toolchain {
        Toolchain::Installed => command.args(["--", "-D", "warnings"]),
        // Beside the flags of .cargo/config.toml, and in a folder of its own: other flags build everything anew.
        Toolchain::Debian => command
            .args(["--config", &format!("target.{}.rustflags=['-Dwarnings']", workspace::TARGET)])
            .env("CARGO_TARGET_DIR", workspace::target_folder().join("check")),
    };
    (name, command)
}
