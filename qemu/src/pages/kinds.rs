//! Kinds of processes that pages are taken from. Most are on every Debian; which of them are there is looked up.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::{toolchain, workspace};

/// Fewer kinds than this are no mixture.
const LEAST: usize = 5;

/// A kind of process.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    command: fn() -> Option<Vec<String>>,
}

pub(crate) static KINDS: &[Kind] = &[
    Kind { name: "python", about: "syntax trees: small objects and pointers", command: python },
    Kind { name: "rustc", about: "a compiler at work on the allocator", command: rustc },
    Kind { name: "perl", about: "hashes of arrays and strings", command: perl },
    Kind { name: "awk", about: "an associative array of numbered lines", command: awk },
    Kind { name: "bash", about: "an array of short strings", command: bash },
    Kind { name: "sort", about: "lines of source text, and records of them", command: sort },
    Kind { name: "git", about: "this repository's objects, being compared", command: git },
];

impl Kind {
    /// The command, if this machine has what it takes.
    pub(crate) fn command(&self) -> Option<Vec<String>> {
        (self.command)()
    }
}

/// The kind of this name.
pub(crate) fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// The kinds that this machine has, with their commands.
///
/// # Errors
/// If they are too few, with the names of those that are missing.
pub(crate) fn all() -> Result<Vec<(&'static Kind, Vec<String>)>> {
    let found: Vec<_> =
        KINDS.iter().filter_map(|kind| kind.command().map(|command| (kind, command))).collect();
    let missing: Vec<&str> = KINDS
        .iter()
        .map(|kind| kind.name)
        .filter(|name| found.iter().all(|(kind, _)| kind.name != *name))
        .collect();
    ensure!(
        found.len() >= LEAST,
        "a mixture of pages wants {LEAST} kinds of processes; install some of: {}",
        missing.join(", ")
    );
    Ok(found)
}

/// A program with arguments, if it is there.
fn program(path: &str, arguments: &[&str]) -> Option<Vec<String>> {
    let words = || [path].into_iter().chain(arguments.iter().copied()).map(str::to_owned).collect();
    Path::new(path).is_file().then(words)
}

/// Python reads its own library and keeps all syntax trees: some hundred MiB of objects, strings and pointers.
const PYTHON: &str = "import ast,glob,os
folder=os.path.dirname(os.__file__)
kept=[]
for path in sorted(glob.glob(folder+'/*.py')+glob.glob(folder+'/*/*.py')):
    try: kept.append((path,ast.parse(open(path,encoding='utf-8').read())))
    except (OSError,SyntaxError,ValueError): pass";

fn python() -> Option<Vec<String>> {
    program("/usr/bin/python3", &["-I", "-S", "-c", PYTHON])
}

fn rustc() -> Option<Vec<String>> {
    // The real compiler: rustup's stand-in needs an environment.
    let sysroot = toolchain::output(workspace::command("rustc").args(["--print", "sysroot"]))?;
    let rustc = Path::new(sysroot.trim()).join("bin/rustc").display().to_string();
    let source = workspace::root().join("allocator/src/lib.rs").display().to_string();
    let options =
        ["--edition=2024", "--crate-name=zsmalloc", "--crate-type=lib", "--emit=metadata=/dev/null"];
    program(&rustc, &[&options[..], &["--cap-lints=allow", &source]].concat())
}

fn perl() -> Option<Vec<String>> {
    let script = "my %h; for my $i (1..400000) { $h{\"key$i\"} = [$i, \"value \" x ($i % 7), { n => $i }] }";
    program("/usr/bin/perl", &["-e", script])
}

fn awk() -> Option<Vec<String>> {
    let script = "BEGIN { for (i = 0; i < 400000; i++) \
                  a[\"line \" i] = sprintf(\"%d words of text %x\", i, i * 40503) }";
    program("/usr/bin/awk", &[script])
}

fn bash() -> Option<Vec<String>> {
    program("/bin/bash", &["-c", "for ((i = 0; i < 300000; i++)); do a[i]=\"item $i of many\"; done"])
}

/// Modules of perl, several times over, so that sorting them takes longer than we wait.
fn sort() -> Option<Vec<String>> {
    let mut modules = Vec::new();
    for folder in fs::read_dir("/usr/lib").ok()?.flatten() {
        collect_modules(&folder.path().join("perl-base"), &mut modules);
    }
    modules.sort();
    let modules: Vec<String> = modules.iter().map(|path| path.display().to_string()).collect();
    let mut command = program("/usr/bin/sort", &["-S", "256M"])?;
    command.extend(std::iter::repeat_n(modules, 40).flatten());
    (command.len() > 100).then_some(command)
}

fn collect_modules(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect_modules(&path, found);
        } else if path.extension().is_some_and(|end| end == "pm" || end == "pl") {
            found.push(path);
        }
    }
}

fn git() -> Option<Vec<String>> {
    let root = workspace::root().display().to_string();
    let options = ["--window=200", "--no-reuse-delta", "--no-reuse-object", "--threads=1"];
    // A source tree without its history has no objects to compare.
    workspace::root().join(".git").exists().then_some(())?;
    program("/usr/bin/git", &[&["-C", &root, "pack-objects", "--all", "--stdout"], &options[..]].concat())
}

#[cfg(test)]
mod tests {
    use super::{KINDS, all, find};

    #[test]
    fn kinds_have_names_of_their_own() {
        for kind in KINDS {
            assert_eq!(find(kind.name).map(|found| found.about), Some(kind.about));
        }
        assert!(find("none").is_none());
    }

    #[test]
    fn this_machine_has_a_mixture() {
        let found = all().expect("five kinds");
        assert!(found.iter().all(|(_, command)| std::path::Path::new(&command[0]).is_file()));
    }
}
