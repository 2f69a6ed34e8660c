//! Debian's arm64 kernel, fetched as a package: from the machine's own sources, or from another
//! suite of the same archive.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::apt::{Apt, said};
use crate::workspace;

/// The package that names the current kernel for virtual machines.
const META: &str = "linux-image-cloud-arm64";

/// A kernel on disk.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// As `uname -r` says it.
    pub(crate) version: String,
    /// The arm64 Image.
    pub(crate) image: PathBuf,
    /// Folder of the modules.
    pub(crate) modules: PathBuf,
}

/// The kernel of a suite such as `trixie`, or of the machine's own, fetched if it is not there yet.
pub(crate) fn fetch(suite: Option<&str>) -> Result<Kernel> {
    let folder = workspace::own_folder()?.join("linux");
    let unpacked =
        folder.join(suite.map_or_else(|| "kernel".into(), |suite| format!("kernel-{suite}")));
    if !unpacked.is_dir() {
        fetch_into(&folder, &unpacked, META, suite)?;
        let kernel = look(&unpacked)?;
        eprintln!("bale: Debian's kernel {} is in {}", kernel.version, unpacked.display());
        return Ok(kernel);
    }
    look(&unpacked)
}

/// The package that names the current kernel for real machines, which has their device trees beside
/// it.
const META_OF_BOARDS: &str = "linux-image-arm64";

/// A folder with the device trees of all boards that Debian's arm64 kernel knows, fetched if it is
/// not there yet.
pub(crate) fn trees() -> Result<PathBuf> {
    let folder = workspace::own_folder()?.join("linux");
    let unpacked = folder.join("kernel-of-boards");
    if !unpacked.is_dir() {
        fetch_into(&folder, &unpacked, META_OF_BOARDS, None)?;
    }
    Ok(unpacked.join("usr/lib"))
}

fn fetch_into(folder: &Path, unpacked: &Path, meta: &str, suite: Option<&str>) -> Result<()> {
    Apt::ready(folder, suite).and_then(|apt| download(&apt, unpacked, meta)).context(
        "Debian's arm64 kernel cannot be fetched; that takes apt-get, dpkg-deb and a Debian archive among the \
         machine's package sources",
    )
}

fn download(apt: &Apt, unpacked: &Path, meta: &str) -> Result<()> {
    let depends = apt.said("apt-cache", &["depends", meta])?;
    let package = named(&depends).with_context(|| format!("the package sources have no {meta}"))?;
    eprintln!("bale: fetches the package {package}");
    said(apt.command("apt-get").args(["--quiet", "download", package]).current_dir(apt.folder()))?;
    let file = fs::read_dir(apt.folder())?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|kind| kind == "deb"))
        .context("apt-get downloaded no package")?;
    let new = apt.folder().join("new");
    said(Command::new("dpkg-deb").arg("--extract").args([&file, &new]))?;
    match fs::rename(&new, unpacked) {
        Err(_) if unpacked.is_dir() => {}
        result => result.with_context(|| format!("cannot make {}", unpacked.display()))?,
    }
    Ok(())
}

/// The versioned package in the output of `apt-cache depends`.
fn named(depends: &str) -> Option<&str> {
    let names = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    names.map(str::trim).find(|name| name.starts_with("linux-image-"))
}

fn look(unpacked: &Path) -> Result<Kernel> {
    let modules =
        if unpacked.join("usr/lib/modules").is_dir() { "usr/lib/modules" } else { "lib/modules" };
    let modules = unpacked.join(modules);
    let mut versions =
        fs::read_dir(&modules).with_context(|| format!("cannot read {}", modules.display()))?;
    let version = versions.next().context("the package holds no modules")??.file_name();
    let version = version.to_string_lossy().into_owned();
    let image = unpacked.join("boot").join(format!("vmlinuz-{version}"));
    let bytes = fs::read(&image).with_context(|| format!("cannot read {}", image.display()))?;
    check_image(&bytes).with_context(|| image.display().to_string())?;
    Ok(Kernel { modules: modules.join(&version), version, image })
}

/// Magic number at 0x38 (Documentation/arch/arm64/booting.rst, 4.); other forms are named.
fn check_image(bytes: &[u8]) -> Result<()> {
    let has = |at: usize, magic: &[u8]| bytes.get(at..).is_some_and(|rest| rest.starts_with(magic));
    ensure!(!has(0, &[0x1f, 0x8b]), "it is packed with gzip; a plain arm64 Image is needed");
    ensure!(!has(4, b"zimg"), "it is an EFI zboot image; a plain arm64 Image is needed");
    ensure!(has(0x38, b"ARM\x64"), "it is no arm64 Image");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{check_image, named};

    #[test]
    fn the_kernel_is_the_one_that_the_meta_package_names() {
        let text =
            "linux-image-cloud-arm64\n  Depends: linux-image-6.1.0-56-cloud-arm64\n  Suggests: x\n";
        assert_eq!(named(text), Some("linux-image-6.1.0-56-cloud-arm64"));
        assert_eq!(named("N: nothing\n"), None);
    }

    #[test]
    fn images_of_another_form_are_named() {
        let mut image = vec![0; 64];
        for (at, magic, word) in [
            (0, &[0x1f, 0x8b][..], "gzip"),
            (4, b"zimg", "zboot"),
            (0x39, b"RMd", "no arm64 Image"),
        ] {
            let mut bad = image.clone();
            bad[at..at + magic.len()].copy_from_slice(magic);
            let error = check_image(&bad).expect_err(word).to_string();
            assert!(error.contains(word), "{error}");
        }
        assert!(check_image(&[]).is_err());
        image[0x38..0x3c].copy_from_slice(b"ARM\x64");
        assert!(check_image(&image).is_ok());
    }
}
