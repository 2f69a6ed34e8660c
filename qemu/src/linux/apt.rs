//! apt and dpkg at work in folders of their own, so that the machine gets no further architecture,
//! source or package. apt verifies the signatures of the lists and the digest of each package.

use core::sync::atomic::{AtomicU32, Ordering};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

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

/// Package lists for arm64, of the machine's own sources or of another suite of the same archive,
/// with a status that knows no installed package; all of it goes with this value.
pub(super) struct Apt(PathBuf);

impl Apt {
    /// Fetches the lists into a folder of this process below `folder`.
    pub(super) fn ready(folder: &Path, suite: Option<&str>) -> Result<Self> {
        // Neither two runs at the same time nor two tests of one run disturb each other.
        static MADE: AtomicU32 = AtomicU32::new(0);
        // Relaxed: the number is all that is wanted.
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let apt = Self(folder.join(format!("apt-{}-{number}", std::process::id())));
        for part in ["lists/partial", "cache/archives/partial", "work"] {
            let part = apt.0.join(part);
            fs::create_dir_all(&part).with_context(|| format!("cannot make {}", part.display()))?;
        }
        fs::write(apt.0.join("status"), "").context("cannot write apt's status")?;
        eprintln!("bale: fetches the package lists for arm64");
        apt.said("apt-get", &["--quiet", "update"])?;
        if let Some(suite) = suite {
            let known = apt.said("apt-get", &["indextargets", "--format", FIELDS])?;
            let source =
                source(&known, suite).context("no Debian archive is among the package sources")?;
            fs::write(apt.0.join(SOURCES), source).context("cannot write apt's sources")?;
            eprintln!("bale: fetches the package lists of {suite}");
            apt.said("apt-get", &["--quiet", "update"])?;
        }
        Ok(apt)
    }

    /// A folder for whatever is to be made.
    pub(super) fn folder(&self) -> PathBuf {
        self.0.join("work")
    }

    /// Where the packages are that were downloaded with their dependencies.
    pub(super) fn archives(&self) -> PathBuf {
        self.0.join("cache/archives")
    }

    /// What a command of apt says.
    pub(super) fn said(&self, program: &str, arguments: &[&str]) -> Result<String> {
        said(self.command(program).args(arguments))
    }

    /// A command of apt that works in this folder alone.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["-o", "APT::Architecture=arm64", "-o", "APT::Architectures=arm64"]);
        // Who runs as root would else see apt give up its rights, and then its folder.
        command.args(["-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none"]);
        for (option, part) in [
            ("Dir::State::Lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
        ] {
            command.arg("-o").arg(format!("{option}={}", self.0.join(part).display()));
        }
        let sources = self.0.join(SOURCES);
        if sources.is_file() {
            command.arg("-o").arg(format!("Dir::Etc::SourceList={}", sources.display()));
            command.args(["-o", "Dir::Etc::SourceParts=/dev/null"]);
        }
        command
    }
}

impl Drop for Apt {
    fn drop(&mut self) {
        // What is left over takes room and nothing else.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a program says, if it succeeds.
pub(super) fn said(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).env("LC_ALL", "C").output();
    let output = output.with_context(|| format!("`{program}` does not start"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{program}`: {}", errors.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::source;

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
}
