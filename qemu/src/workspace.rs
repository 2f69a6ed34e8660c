//! Paths, and commands free of the outer cargo's environment.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result};

/// Target triple of the kernel and the EL1 guests.
pub(crate) const TARGET: &str = "aarch64-unknown-none-softfloat";

/// Target triple of the boot loader.
pub(crate) const UEFI_TARGET: &str = "aarch64-unknown-uefi";

/// Top folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.parent().map_or_else(|| here.clone(), Path::to_path_buf)
}

/// Cargo's target folder.
pub(crate) fn target_folder() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => env::current_dir().unwrap_or_else(|_| root()).join(folder),
        None => root().join("target"),
    }
}

/// Folder of what this tool makes and keeps; made if it is not there.
pub(crate) fn own_folder() -> Result<PathBuf> {
    let folder = target_folder().join("bale");
    fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    Ok(folder)
}

/// Where cargo puts a program that was built for the target.
pub(crate) fn target_program(name: &str) -> PathBuf {
    target_folder().join(TARGET).join("release").join(name)
}

/// Where cargo puts a program for UEFI.
pub(crate) fn uefi_program(name: &str) -> PathBuf {
    target_folder().join(UEFI_TARGET).join("release").join(format!("{name}.efi"))
}

/// A command in the workspace's top folder, without what the cargo around this tool set: an inner
/// cargo would take it for the user's will.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).env("CARGO_TARGET_DIR", target_folder());
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(set_by_outer_cargo) {
            command.env_remove(&name);
        }
    }
    command
}

fn set_by_outer_cargo(name: &str) -> bool {
    const KEPT: [&str; 2] = ["CARGO_HOME", "CARGO_TERM_COLOR"];
    const SET: [&str; 8] = [
        "CARGO",
        "RUSTUP_TOOLCHAIN",
        "RUSTC",
        "RUSTC_BOOTSTRAP",
        "RUSTDOC",
        "OUT_DIR",
        "LD_LIBRARY_PATH",
        "RUST_RECURSION_COUNT",
    ];
    SET.contains(&name)
        || ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
            && !KEPT.contains(&name)
}

/// Whether a program of this name is in the PATH.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::set_by_outer_cargo;

    #[test]
    fn only_what_the_outer_cargo_set_is_removed() {
        for name in ["CARGO", "RUSTUP_TOOLCHAIN", "CARGO_PKG_NAME", "CARGO_MANIFEST_DIR"] {
            assert!(set_by_outer_cargo(name), "{name}");
        }
        for name in [
            "PATH",
            "CARGO_HOME",
            "CARGO_TARGET_DIR",
            "RUSTUP_HOME",
            "CARGO_HTTP_PROXY",
            "RUSTUP_AUTO_INSTALL",
        ] {
            assert!(!set_by_outer_cargo(name), "{name}");
        }
    }
}
