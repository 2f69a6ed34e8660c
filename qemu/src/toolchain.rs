//! What builds bare-metal AArch64 here: rustup's toolchain with the target added, or Debian's
//! compiler that builds `core` from source.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::workspace::{self, TARGET, UEFI_TARGET};

/// Oldest compiler that builds the workspace; `rust-version` in Cargo.toml says the same.
pub(crate) const LEAST_RUST: (u32, u32) = (1, 95);
/// Oldest QEMU that the machines here were tried with.
pub(crate) const LEAST_QEMU: (u32, u32) = (7, 2);
/// The emulator.
pub(crate) const QEMU: &str = "qemu-system-aarch64";

const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// What `cargo clippy` runs there, from the package rust-web-clippy.
pub(crate) const DEBIAN_CLIPPY: &str = "/usr/bin/clippy-driver";

/// Where `core` is built from source too, all of the kernel's code has a landing pad (BTI) wherever
/// an indirect branch may lead, and the map may say so.
const LANDING_PADS: &str = r#"target.aarch64-unknown-none-softfloat.rustflags = ["-Zbranch-protection=bti", "--cfg=bale_landing_pads"]"#;

/// A compiler for the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The `cargo` in the PATH, which has the target's `core`.
    Installed,
    /// Debian's `rustc-web`, `cargo-web`, `rust-web-src` and `lld`.
    Debian,
}

impl Toolchain {
    /// The one that is ready for use.
    pub(crate) fn find() -> Option<Self> {
        if target_installed() {
            Some(Self::Installed)
        } else if debian_missing().is_empty() {
            Some(Self::Debian)
        } else {
            None
        }
    }

    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Installed => {
                "the installed Rust toolchain with the targets aarch64-unknown-none-softfloat and aarch64-unknown-uefi"
            }
            Self::Debian => {
                "Debian's rustc with core built from source (-Zbuild-std), linked by ld.lld"
            }
        }
    }

    /// A cargo command for the kernel's target, for example `build`, in release mode.
    pub(crate) fn cargo(self, subcommand: &str) -> Command {
        self.cargo_for(subcommand, TARGET)
    }

    /// A cargo command for one of our targets.
    pub(crate) fn cargo_for(self, subcommand: &str, target: &str) -> Command {
        let mut command = match self {
            Self::Installed => {
                let mut command = workspace::command("cargo");
                command.arg(subcommand);
                command
            }
            Self::Debian => {
                let mut command = workspace::command(DEBIAN_CARGO);
                // Cargo finds its subcommands, clippy among them, on the path: Debian's have to
                // come first.
                let path = std::env::var_os("PATH").unwrap_or_default();
                let folders =
                    std::iter::once(PathBuf::from("/usr/bin")).chain(std::env::split_paths(&path));
                if let Ok(path) = std::env::join_paths(folders) {
                    command.env("PATH", path);
                }
                command
                    .env("RUSTC", DEBIAN_RUSTC)
                    // -Zbuild-std is not stable; Debian has no nightly.
                    .env("RUSTC_BOOTSTRAP", "1")
                    // Of `core`'s own source, which is not ours to mend.
                    .env("CARGO_FUTURE_INCOMPAT_REPORT_FREQUENCY", "never")
                    .env("CARGO_TARGET_AARCH64_UNKNOWN_NONE_SOFTFLOAT_LINKER", "ld.lld")
                    .env("CARGO_TARGET_AARCH64_UNKNOWN_UEFI_LINKER", "lld-link")
                    .args([subcommand, "-Zbuild-std=core,alloc,compiler_builtins"])
                    .arg("-Zbuild-std-features=compiler-builtins-mem")
                    .args(["--config", LANDING_PADS]);
                command
            }
        };
        if std::env::var_os("DEFMT_LOG").is_none() {
            command.env("DEFMT_LOG", "debug");
        }
        command.env("BALE_BUILD", build_name());
        command.args(["--release", "--target", target]);
        command
    }
}

/// What is built: the version, and the commit if this is a checkout of git.
fn build_name() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let git = |arguments: &[&str]| output(workspace::command("git").args(arguments));
    // Not if it only lies within somebody else's checkout.
    let own = git(&["rev-parse", "--show-prefix"]).is_some_and(|prefix| prefix.trim().is_empty());
    match git(&["rev-parse", "--short", "HEAD"]) {
        Some(commit) if own => {
            let same =
                git(&["status", "--porcelain", "-uno"]).is_some_and(|changes| changes.is_empty());
            format!("{version} {}{}", commit.trim(), if same { "" } else { " changed" })
        }
        _ => version.into(),
    }
}

/// Whether the compiler that plain `cargo` uses has the `core` of both targets.
fn target_installed() -> bool {
    [TARGET, UEFI_TARGET].into_iter().all(has_core)
}

fn has_core(target: &str) -> bool {
    let Some(libraries) =
        output(workspace::command("rustc").args(["--print", "target-libdir", "--target", target]))
    else {
        return false;
    };
    std::fs::read_dir(libraries.trim()).is_ok_and(|files| {
        files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
    })
}

/// Debian packages that its way needs and that are not there, or too old.
pub(crate) fn debian_missing() -> Vec<&'static str> {
    let mut missing = Vec::new();
    let version =
        output(Command::new(DEBIAN_RUSTC).arg("--version")).and_then(|text| version_in(&text));
    if version.is_none_or(|version| version < LEAST_RUST) {
        // The three are of one version: an older one's source does not build with this compiler.
        missing.extend(["rustc-web", "cargo-web", "rust-web-src"]);
    } else {
        if !Path::new(DEBIAN_CARGO).is_file() {
            missing.push("cargo-web");
        }
        let source = output(Command::new(DEBIAN_RUSTC).args(["--print", "sysroot"]))
            .map(|sysroot| PathBuf::from(sysroot.trim()).join("lib/rustlib/src/rust/library/core"));
        if source.is_none_or(|source| !source.is_dir()) {
            missing.push("rust-web-src");
        }
    }
    if workspace::find_program("ld.lld").is_none() {
        missing.push("lld");
    }
    missing
}

/// Version of the QEMU that is installed.
pub(crate) fn qemu_version() -> Option<(u32, u32)> {
    version_in(&output(Command::new(QEMU).arg("--version"))?)
}

/// Those of these kinds of cores that the QEMU knows which is installed.
pub(crate) fn cores<'a>(wanted: &[&'a str]) -> Vec<&'a str> {
    let known = output(Command::new(QEMU).args(["-machine", "virt", "-cpu", "help"]));
    let known = known.unwrap_or_default();
    let has = |cpu: &str| known.split_whitespace().any(|word| word == cpu);
    wanted.iter().copied().filter(|cpu| has(cpu)).collect()
}

/// What a program prints, if it starts and succeeds.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first `MAJOR.MINOR` in a line such as `rustc 1.95.0 (...)`.
fn version_in(text: &str) -> Option<(u32, u32)> {
    text.split_whitespace().find_map(|word| {
        let mut numbers = word.split('.');
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::version_in;

    #[test]
    fn versions_are_read_from_what_programs_print() {
        assert_eq!(version_in("rustc 1.95.0 (f2d3ce0bd 2026-03-21)"), Some((1, 95)));
        assert_eq!(
            version_in("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)"),
            Some((7, 2))
        );
        assert_eq!(version_in("QEMU emulator version 10.0.2"), Some((10, 0)));
        assert_eq!(version_in("no version"), None);
    }
}
