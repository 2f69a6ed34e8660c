//! Builds the kernel and the EL1 guests.

use std::io::{BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::cli::{BuildOptions, SetupOptions};
use crate::toolchain::Toolchain;
use crate::workspace::{self, UEFI_TARGET};
use crate::{image, setup};

const KERNEL: &str = "bale-qemu-virt";
/// The kernel without benchmarks and self tests.
const PRODUCT: &str = "bale-product";
const LOADER: &str = "bale-uefi";
/// The first process of a Linux guest.
const LINUX_INIT: &str = "linux-init";
/// Packages of the EL1 guests, and their names in the bundle.
const GUESTS: [(&str, &str); 1] = [("guest-swapper", "swapper")];

/// What a build made.
pub(crate) struct Built {
    /// The kernel with its symbols, which backtraces and the log need.
    pub(crate) elf: PathBuf,
    /// The kernel as QEMU starts it.
    pub(crate) image: PathBuf,
    /// Name and image of each guest.
    pub(crate) guests: Vec<(&'static str, PathBuf)>,
    /// Init of a Linux guest.
    pub(crate) linux_init: PathBuf,
}

/// Where the kernel's ELF is once it was built.
pub(crate) fn kernel_elf() -> PathBuf {
    workspace::target_program(KERNEL)
}

/// Builds everything for the target.
pub(crate) fn build(options: &SetupOptions) -> Result<Built> {
    let toolchain = setup::toolchain(options)?;
    let mut cargo = toolchain.cargo("build");
    cargo.args(["-p", KERNEL, "--bin", KERNEL, "-p", LINUX_INIT, "--bin", LINUX_INIT]);
    for (package, _) in GUESTS {
        cargo.args(["-p", package, "--bin", package]);
    }
    ensure!(succeeds(&mut cargo)?, "the build for the target failed");
    let folder = workspace::own_folder()?;
    let elf = kernel_elf();
    let flat = folder.join("bale.img");
    image::flatten_file(&elf, &flat)?;
    let mut guests = Vec::new();
    for (package, name) in GUESTS {
        let out = folder.join(format!("{name}.img"));
        image::flatten_file(&workspace::target_program(package), &out)?;
        guests.push((name, out));
    }
    Ok(Built { elf, image: flat, guests, linux_init: workspace::target_program(LINUX_INIT) })
}

/// Builds the kernel without benchmarks and self tests; its flat image.
pub(crate) fn product(options: &SetupOptions) -> Result<PathBuf> {
    let mut cargo = setup::toolchain(options)?.cargo("build");
    cargo.args(["-p", KERNEL, "--bin", PRODUCT]);
    ensure!(succeeds(&mut cargo)?, "the build for the target failed");
    let image = workspace::own_folder()?.join("bale-product.img");
    image::flatten_file(&workspace::target_program(PRODUCT), &image)?;
    Ok(image)
}

/// Builds everything for the target, with an application in the kernel's place: the crate in
/// `folder`, a program that hands its `App` to the macro `bale_qemu_virt::image!`.
pub(crate) fn build_app(options: &SetupOptions, folder: &Path) -> Result<Built> {
    let built = build(options)?;
    let manifest = folder.join("Cargo.toml");
    let package = package_name(&manifest)?;
    let board = workspace::root().join("boards/qemu-virt/linker.ld");
    let mut cargo = setup::toolchain(options)?.cargo("rustc");
    cargo.arg("--manifest-path").arg(&manifest).arg("--target-dir").arg(workspace::target_folder());
    cargo.args(["--bin", &package, "--"]);
    for argument in [format!("-T{}", board.display()), "-Tdefmt.x".into()] {
        cargo.arg(format!("-Clink-arg={argument}"));
    }
    ensure!(succeeds(&mut cargo)?, "the build of the application in {} failed", folder.display());
    let elf = workspace::target_program(&package);
    let image = workspace::own_folder()?.join(format!("{package}.img"));
    image::flatten_file(&elf, &image)?;
    Ok(Built { elf, image, ..built })
}

/// The package that a manifest is of.
fn package_name(manifest: &Path) -> Result<String> {
    let text = std::fs::read_to_string(manifest).with_context(|| {
        format!("--app takes the folder of a crate: {} cannot be read", manifest.display())
    })?;
    let document: toml_edit::DocumentMut =
        text.parse().with_context(|| format!("{} is no manifest", manifest.display()))?;
    let name = document
        .get("package")
        .and_then(|package| package.get("name"))
        .and_then(|name| name.as_str());
    name.map(str::to_owned).with_context(|| format!("{} names no package", manifest.display()))
}

/// Builds the init of a Linux guest alone.
pub(crate) fn linux_init(options: &SetupOptions) -> Result<PathBuf> {
    let toolchain = setup::toolchain(options)?;
    let mut cargo = toolchain.cargo("build");
    cargo.args(["-p", LINUX_INIT]);
    ensure!(succeeds(&mut cargo)?, "the build for the target failed");
    Ok(workspace::target_program(LINUX_INIT))
}

/// Builds the boot loader; where it is.
pub(crate) fn loader(toolchain: Toolchain) -> Result<PathBuf> {
    let mut cargo = toolchain.cargo_for("build", UEFI_TARGET);
    cargo.args(["-p", LOADER]);
    ensure!(succeeds(&mut cargo)?, "the build of the boot loader failed");
    Ok(workspace::uefi_program(LOADER))
}

/// Runs cargo and passes on what it says, but for one warning at each crate: rustc does not know
/// LLVM's `strict-align` by name, which `.cargo/config.toml` turns off on purpose and says why.
fn succeeds(cargo: &mut Command) -> Result<bool> {
    if std::io::stderr().is_terminal() {
        cargo.args(["--color", "always"]);
    }
    let mut child = cargo.stderr(Stdio::piped()).spawn().context("cargo does not start")?;
    let mut inside = false;
    if let Some(output) = child.stderr.take() {
        for line in BufReader::new(output).lines() {
            let line = line?;
            inside = is_expected_warning(&line) || inside && !line.trim().is_empty();
            let counted = line.contains("generated 1 warning");
            if !inside && !counted {
                eprintln!("{line}");
            }
        }
    }
    Ok(child.wait()?.success())
}

fn is_expected_warning(line: &str) -> bool {
    line.contains("unknown and unstable feature specified") && line.contains("strict-align")
}

/// `cargo bale build`.
pub(crate) fn run(options: &BuildOptions) -> Result<u8> {
    let built = build(&options.setup)?;
    println!("kernel ELF    {}", built.elf.display());
    println!("kernel Image  {}", built.image.display());
    for (name, path) in &built.guests {
        println!("guest         {} ({name})", path.display());
    }
    if options.product {
        println!("product       {}", product(&options.setup)?.display());
    }
    Ok(0)
}
