//! Gets what is missing: a compiler for the target, and QEMU.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::process::Command;
use std::{env, io};

use anyhow::{Context, Result, bail, ensure};

use crate::cli::SetupOptions;
use crate::toolchain::{self, LEAST_QEMU, LEAST_RUST, QEMU, Toolchain};
use crate::workspace::{self, TARGET, UEFI_TARGET};

/// A compiler for the target, installed if need be; says which.
pub(crate) fn toolchain(options: &SetupOptions) -> Result<Toolchain> {
    let found = match Toolchain::find() {
        Some(found) => found,
        None => install_toolchain(options)?,
    };
    eprintln!("bale: builds with {}", found.name());
    Ok(found)
}

fn install_toolchain(options: &SetupOptions) -> Result<Toolchain> {
    if rustup_may_install() {
        let by_hand = format!("rustup target add {TARGET} {UEFI_TARGET}");
        if !agreed(options, &format!("install the targets ({by_hand})"))? {
            bail!("nothing here builds for {TARGET}; run: {by_hand}");
        }
        eprintln!("bale: {by_hand}");
        match workspace::command("rustup").args(["target", "add", TARGET, UEFI_TARGET]).status() {
            Ok(status) if status.success() && Toolchain::find().is_some() => {
                return Ok(Toolchain::Installed);
            }
            _ => eprintln!("bale: rustup could not add the target; trying Debian's compiler"),
        }
    }
    let missing = toolchain::debian_missing();
    let by_hand = format!(
        "Bale needs a Rust {}.{} or newer that builds for {TARGET}: either `rustup target add {TARGET} {UEFI_TARGET}`, or Debian's \
         packages rustc-web, cargo-web, rust-web-src and lld",
        LEAST_RUST.0, LEAST_RUST.1
    );
    install_packages(options, &missing).context(by_hand.clone())?;
    let still = toolchain::debian_missing();
    ensure!(still.is_empty(), "{by_hand}; {} is still missing or too old", still.join(", "));
    Ok(Toolchain::Debian)
}

/// Clippy for the target, installed if need be: rustup's toolchains bring it, Debian has it in a
/// package of its own.
pub(crate) fn clippy(options: &SetupOptions, toolchain: Toolchain) -> Result<()> {
    if toolchain == Toolchain::Debian
        && !std::path::Path::new(crate::toolchain::DEBIAN_CLIPPY).is_file()
    {
        install_packages(options, &["rust-web-clippy"])?;
    }
    Ok(())
}

/// UEFI firmware for QEMU's machine, installed if need be; where it is.
pub(crate) fn firmware(options: &SetupOptions) -> Result<&'static Path> {
    let path = Path::new(FIRMWARE);
    if !path.is_file() {
        install_packages(options, &["qemu-efi-aarch64"])
            .with_context(|| format!("there is no firmware {FIRMWARE}"))?;
    }
    ensure!(path.is_file(), "qemu-efi-aarch64 is installed, but there is no {FIRMWARE}");
    Ok(path)
}

/// U-Boot for QEMU's `virt` machine, installed if need be: a guest of the tests; where it is.
pub(crate) fn boot_loader(options: &SetupOptions) -> Result<&'static Path> {
    let path = Path::new(BOOT_LOADER);
    if !path.is_file() {
        install_packages(options, &["u-boot-qemu"])
            .with_context(|| format!("there is no boot loader {BOOT_LOADER}"))?;
    }
    ensure!(path.is_file(), "u-boot-qemu is installed, but there is no {BOOT_LOADER}");
    Ok(path)
}

/// U-Boot, from Debian's u-boot-qemu.
const BOOT_LOADER: &str = "/usr/lib/u-boot/qemu_arm64/u-boot.bin";
/// EDK2 for QEMU's `virt` machine, from Debian's qemu-efi-aarch64.
const FIRMWARE: &str = "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd";

/// A C++ compiler, installed if need be.
pub(crate) fn compiler_of_cpp(options: &SetupOptions) -> Result<()> {
    if workspace::find_program("c++").is_none() {
        install_packages(options, &["g++"]).context("there is no C++ compiler")?;
    }
    Ok(())
}

/// QEMU for AArch64, installed if need be.
pub(crate) fn qemu(options: &SetupOptions) -> Result<()> {
    if toolchain::qemu_version().is_none() {
        install_packages(options, &["qemu-system-arm"]).with_context(|| {
            format!(
                "{QEMU} is not installed; install QEMU {}.{} or newer for AArch64",
                LEAST_QEMU.0, LEAST_QEMU.1
            )
        })?;
    }
    let Some(version) = toolchain::qemu_version() else { bail!("{QEMU} does not start") };
    ensure!(
        version >= LEAST_QEMU,
        "{QEMU} is version {}.{}; Bale needs {}.{} or newer",
        version.0,
        version.1,
        LEAST_QEMU.0,
        LEAST_QEMU.1
    );
    Ok(())
}

fn rustup_may_install() -> bool {
    env::var_os("RUSTUP_AUTO_INSTALL").is_none_or(|value| value != "0")
        && workspace::find_program("rustup").is_some()
}

fn install_packages(options: &SetupOptions, packages: &[&str]) -> Result<()> {
    ensure!(
        workspace::find_program("apt-get").is_some(),
        "this machine has no apt-get to install {}",
        packages.join(" ")
    );
    // SAFETY: reads the user's id.
    let root = unsafe { libc::geteuid() } == 0;
    ensure!(
        root || workspace::find_program("sudo").is_some(),
        "installing {} needs root or sudo",
        packages.join(" ")
    );
    if !agreed(options, &format!("install the packages {} with apt-get", packages.join(" ")))? {
        bail!("not installed: {}", packages.join(" "));
    }
    let apt = |arguments: &[&str]| -> Result<bool> {
        let mut command = if root { Command::new("apt-get") } else { Command::new("sudo") };
        if !root {
            command.arg("apt-get");
        }
        command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
        eprintln!("bale: {}apt-get {}", if root { "" } else { "sudo " }, arguments.join(" "));
        Ok(command.status().context("apt-get does not start")?.success())
    };
    let install: Vec<&str> = ["install", "-y", "--no-install-recommends"]
        .into_iter()
        .chain(packages.iter().copied())
        .collect();
    // The lists may be absent, or so old that they name packages that are gone or a compiler that
    // is too old.
    if !apt(&["update"])? {
        eprintln!(
            "bale: not all package lists could be fetched; going on with those that are there"
        );
    }
    if apt(&install)? {
        return Ok(());
    }
    bail!("apt-get could not install {}", packages.join(" "))
}

/// Whether a machine runs us, and nobody watches.
pub(crate) fn in_ci() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true")
}

/// Asks, unless the answer is known: --yes, CI=true, or nobody at a terminal.
fn agreed(options: &SetupOptions, what: &str) -> Result<bool> {
    let unattended = in_ci() || !io::stdin().is_terminal();
    if options.yes || unattended {
        eprintln!("bale: going to {what}");
        return Ok(true);
    }
    eprint!("bale: going to {what}. Go on? [Y/n] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "" | "y" | "yes"))
}
