//! Programs of Debian for a Linux guest: packages with all that they depend on, as an archive for
//! its initial RAM disk.
//!
//! The packages are unpacked and none of their scripts is run, since these would have to run on
//! arm64. Programs that need no set-up of their own work so: debuggers, tracers, shells, editors.

mod tree;

use std::fs;
use std::io::{BufRead, BufReader, IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::apt::Apt;
use crate::workspace;
use tree::Tree;

/// What a root has in any case: a shell and what is typed there.
const ALWAYS: [&str; 2] = ["coreutils", "dash"];

/// Changes with what of the packages goes into an archive, and how.
const FORMAT: u32 = 1;

/// An archive with these packages of a suite, or of the machine's own; made if it is not there yet.
pub(crate) fn archive(packages: &[String], suite: Option<&str>) -> Result<PathBuf> {
    let mut names: Vec<&str> = packages.iter().map(String::as_str).chain(ALWAYS).collect();
    names.sort_unstable();
    names.dedup();
    let folder = workspace::own_folder()?.join("linux");
    let path = folder.join(file_name(&names, suite));
    if !path.is_file() {
        let asked = packages.join(", ");
        make(&folder, &path, &names, suite).with_context(|| {
            format!(
                "a root with {asked} cannot be made; that takes apt-get, dpkg-deb and a Debian \
                 archive that has these packages for arm64 among the machine's package sources"
            )
        })?;
        let bytes = fs::metadata(&path).map_or(0, |known| known.len());
        eprintln!("bale: {asked}: {} MB, kept in {}", bytes / 1_000_000, path.display());
    }
    Ok(path)
}

fn file_name(names: &[&str], suite: Option<&str>) -> String {
    let mut hash = flate2::Crc::new();
    hash.update(format!("{FORMAT} {}", names.join(" ")).as_bytes());
    format!("root-{}-{:08x}.cpio", suite.unwrap_or("own"), hash.sum())
}

fn make(folder: &Path, path: &Path, names: &[&str], suite: Option<&str>) -> Result<()> {
    let apt = Apt::ready(folder, suite)?;
    let install = |how: &str| {
        let mut command = apt.command("apt-get");
        command.args(["--quiet", "--yes", "--no-install-recommends", how, "install", "--"]);
        command.args(names);
        command
    };
    let said = super::apt::said(&mut install("--print-uris"))?;
    let needed: Vec<Download> = said.lines().filter_map(Download::read).collect();
    ensure!(!needed.is_empty(), "apt-get names no package to be fetched");
    let bytes: u64 = needed.iter().map(|package| package.bytes).sum();
    eprintln!("bale: fetches {} packages, {} MB", needed.len(), bytes.div_ceil(1_000_000));
    fetch(install("--download-only"), needed.len())?;
    let mut tree = Tree::merged();
    let progress = Progress::new("unpacks package", needed.len());
    for (number, package) in needed.iter().enumerate() {
        progress.show(number + 1);
        unpack(&apt.archives().join(package.file), &mut tree)
            .with_context(|| format!("the package {}", package.file))?;
    }
    drop(progress);
    // Whoever comes second replaces the archive by the same one, and nobody sees a part of it.
    let new = apt.folder().join("root.cpio");
    fs::write(&new, tree.archive()).with_context(|| format!("cannot write {}", new.display()))?;
    fs::rename(&new, path).with_context(|| format!("cannot make {}", path.display()))
}

/// Downloads, and shows how far that is.
fn fetch(mut command: Command, packages: usize) -> Result<()> {
    let progress = Progress::new("fetches package", packages);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).env("LC_ALL", "C");
    let mut child = command.spawn().context("`apt-get` does not start")?;
    let mut done = 0;
    for line in child.stdout.take().into_iter().flat_map(|output| BufReader::new(output).lines()) {
        if line?.starts_with("Get:") {
            done += 1;
            progress.show(done);
        }
    }
    drop(progress);
    let output = child.wait_with_output().context("`apt-get` does not end")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`apt-get`: {}", errors.trim());
    Ok(())
}

fn unpack(package: &Path, tree: &mut Tree) -> Result<()> {
    let mut command = Command::new("dpkg-deb");
    command.arg("--fsys-tarfile").arg(package).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().context("`dpkg-deb` does not start")?;
    let output = child.stdout.take().context("`dpkg-deb` has no output")?;
    let read = tree.add(output);
    ensure!(child.wait()?.success(), "`dpkg-deb` cannot unpack it");
    read
}

/// A package as `apt-get --print-uris` names it: where it is, its file here, its size.
struct Download<'a> {
    file: &'a str,
    bytes: u64,
}

impl<'a> Download<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut words = line.strip_prefix('\'')?.split_once("' ")?.1.split(' ');
        let (file, bytes) = (words.next()?, words.next()?.parse().ok()?);
        // A name and no path: it is looked for in one folder.
        (file.ends_with(".deb") && !file.contains('/')).then_some(Self { file, bytes })
    }
}

/// How far something is, in one line of a terminal.
struct Progress {
    what: &'static str,
    of: usize,
    shown: bool,
}

impl Progress {
    fn new(what: &'static str, of: usize) -> Self {
        Self { what, of, shown: std::io::stderr().is_terminal() }
    }

    fn show(&self, number: usize) {
        if self.shown {
            eprint!("\rbale: {} {number} of {}", self.what, self.of);
            // Progress that cannot be shown is none that matters.
            let _ = std::io::stderr().flush();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Download, file_name};

    #[test]
    fn downloads_are_read_from_what_apt_says() {
        let line = "'http://a/pool/c%2b%2b_1%3a2_arm64.deb' c++_1%3a2_arm64.deb 27108 SHA256:00";
        let read = Download::read(line).expect("a package");
        assert_eq!((read.file, read.bytes), ("c++_1%3a2_arm64.deb", 27108));
        for line in [
            "",
            "Reading package lists...",
            "'http://a/b.deb' b.deb much",
            "'http://a/b' ../b.deb 1",
            "'http://a/b.deb'",
        ] {
            assert!(Download::read(line).is_none(), "{line}");
        }
    }

    #[test]
    fn each_set_of_packages_has_a_file_of_its_own() {
        let names = [
            file_name(&["dash", "gdb"], None),
            file_name(&["dash", "gdb"], Some("trixie")),
            file_name(&["dash", "strace"], None),
        ];
        assert!(names[0] != names[1] && names[0] != names[2] && names[1] != names[2]);
        assert_eq!(names[0], file_name(&["dash", "gdb"], None));
    }
}
