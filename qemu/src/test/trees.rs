//! The device trees of all boards that Debian's arm64 kernel knows: whatever a board lacks for
//! Bale, its tree is read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bale_core::device_tree::{Machine, MachineError};

use super::report::{Case, Outcome};
use crate::linux::package;

pub(super) fn cases<'a>() -> Vec<Case<'a>> {
    vec![Case { name: "trees::of_all_boards_are_read".into(), run: Box::new(all_are_read) }]
}

fn all_are_read() -> Outcome {
    match package::trees() {
        Ok(folder) => Outcome::of(read_all(&folder)),
        Err(why) => Outcome::skipped(&format!("{why:#}")),
    }
}

/// Reads each tree as the loader does. A board may lack what Bale needs, such as a GICv3; its tree
/// is neither broken nor too large.
fn read_all(folder: &Path) -> Result<(), String> {
    let mut trees = Vec::new();
    find(folder, &mut trees).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for path in &trees {
        let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let found = Machine::without_memory(&bytes);
        if matches!(found, Err(MachineError::Broken | MachineError::TooMany(_))) {
            wrong.push(path.display().to_string());
        }
        let reason = found
            .map_or_else(|error| error.to_string(), |_| "a machine that Bale starts on".into());
        *reasons.entry(reason).or_default() += 1;
    }
    let counts = format!("{} trees: {reasons:?}", trees.len());
    eprintln!("bale: {counts}");
    // Some hundred in each of the suites that were looked at.
    if trees.len() >= 500 && wrong.is_empty() {
        Ok(())
    } else {
        wrong.truncate(20);
        Err(format!("{counts}\n{}", wrong.join("\n")))
    }
}

fn find(folder: &Path, trees: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, trees)?;
        } else if path.extension().is_some_and(|kind| kind == "dtb") {
            trees.push(path);
        }
    }
    Ok(())
}
