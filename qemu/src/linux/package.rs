//! Debian's arm64 kernel, fetched as a package: from the machine's own sources, or from another
//! suite of the same archive.
//!
//! apt works in folders of its own, so that the machine gets no further architecture, source or
//! package. It verifies the signatures of the lists and the digest of the package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

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
    // Two runs at the same time do not disturb each other.
    let work = folder.join(format!("apt-{}", std::process::id()));
    for part in ["lists/partial", "cache/archives/partial", "download"] {
        let part = work.join(part);
        fs::create_dir_all(&part).with_context(|| format!("cannot make {}", part.display()))?;
    }
    fs::write(work.join("status"), "").context("cannot write apt's status")?;
    let result = download(&work, unpacked, meta, suite).context(
        "Debian's arm64 kernel cannot be fetched; that takes apt-get, dpkg-deb and a Debian archive among the \
         machine's package sources",
    );
    // What is left over takes room and nothing else.
    let _ = fs::remove_dir_all(&work);
    result
}

fn download(work: &Path, unpacked: &Path, meta: &str, suite: Option<&str>) -> Result<()> {
    eprintln!("bale: fetches the package lists for arm64");
    said(apt(work, "apt-get").args(["--quiet", "update"]))?;
    if let Some(suite) = suite {
        let known = said(apt(work, "apt-get").args(["indextargets", "--format", FIELDS]))?;
        let source =
            source(&known, suite).context("no Debian archive is among the package sources")?;
        fs::write(work.join(SOURCES), source).context("cannot write apt's sources")?;
        eprintln!("bale: fetches the package lists of {suite}");
        said(apt(work, "apt-get").args(["--quiet", "update"]))?;
    }
    let depends = said(apt(work, "apt-cache").args(["depends", meta]))?;
    let package = named(&depends).with_context(|| format!("the package sources have no {meta}"))?;
    eprintln!("bale: fetches the package {package}");
    said(
        apt(work, "apt-get")
            .args(["--quiet", "download", package])
            .current_dir(work.join("download")),
    )?;
    let file = fs::read_dir(work.join("download"))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|kind| kind == "deb"))
        .context("apt-get downloaded no package")?;
    let new = work.join("new");
    said(Command::new("dpkg-deb").arg("--extract").args([&file, &new]))?;
    match fs::rename(&new, unpacked) {
        Err(_) if unpacked.is_dir() => {}
        result => result.with_context(|| format!("cannot make {}", unpacked.display()))?,
    }
    Ok(())
}

/// A file that takes the place of the machine's sources, once it is there.
const SOURCES: &str = "sources.list";

/// Fields of a list that apt knows, as [`source`] reads them.
const FIELDS: &str = "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)";

/// Keys of Debian's archive, as their package installs them.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A line of sources.list for a suite of Debian's archive, found where this machine finds its own.
fn source(known: &str, suite: &str) -> Option<String> {
    // Without that file, apt takes the keys that it trusts for any source.
    let keys =
        if Path::new(KEYS).is_file() { format!("[signed-by={KEYS}] ") } else { String::new() };
    known.lines().find_map(|line| {
        let archive = line.strip_prefix("Debian|Debian|main|")?;
        Some(format!("deb {keys}{archive} {suite} main\n"))
    })
}

/// A command of apt that works in this folder alone.
fn apt(work: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["-o", "APT::Architecture=arm64", "-o", "APT::Architectures=arm64"]);
    // Who runs as root would else see apt give up its rights, and then its folder.
    command.args(["-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none"]);
    for (option, part) in
        [("Dir::State::Lists", "lists"), ("Dir::State::status", "status"), ("Dir::Cache", "cache")]
    {
        command.arg("-o").arg(format!("{option}={}", work.join(part).display()));
    }
    let sources = work.join(SOURCES);
    if sources.is_file() {
        command.arg("-o").arg(format!("Dir::Etc::SourceList={}", sources.display()));
        command.args(["-o", "Dir::Etc::SourceParts=/dev/null"]);
    }
    command
}

fn said(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).env("LC_ALL", "C").output();
    let output = output.with_context(|| format!("`{program}` does not start"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{program}`: {}", errors.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
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
    use super::{check_image, named, source};

    #[test]
    fn another_suite_is_looked_for_in_the_archive_that_the_machine_uses() {
        let known = "Debian|Debian-Security|main|ftp://one/security/\nDebian|Debian|main|ftp://two/debian/\n";
        let line = source(known, "trixie").expect("an archive");
        assert!(
            line.starts_with("deb ") && line.ends_with(" ftp://two/debian/ trixie main\n"),
            "{line}"
        );
        assert_eq!(
            source("Ubuntu|Ubuntu|main|ftp://three/\n$(ORIGIN)|$(LABEL)|main|x\n", "trixie"),
            None
        );
    }

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
