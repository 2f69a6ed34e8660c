//! The boot bundle: guests that lie beside `bale.toml` as plain files, and behind them what is in
//! `bale/bundle.tar`.
//!
//! A description is a file `NAME.vm`. With it come the files beside it that it names, as far as
//! they are there: the rest may be in the bundle. The kernel takes what it finds first, so a plain
//! file stands for the bundle's of the same name. Whether a description is right is the kernel's to
//! say, when it is started.

use bale_core::archive::{self, BLOCK, END};
use bale_core::vm_description::VmDescription;
use heapless::Vec;
use uefi::boot::MemoryType;
use uefi::println;

use crate::error::LoadError;
use crate::files::{self, Volume};
use crate::name::{MOST, Name, left_out};

const BUNDLE: &str = "bale\\bundle.tar";
/// What the name of a description ends with.
const DESCRIPTION: &str = ".vm";
/// What the bundle keeps pages to swap under.
const PAGES: &str = "pages";

/// All of it, in memory that stays; `None` if there is nothing.
pub(crate) fn read(volume: &mut Volume) -> Result<Option<&'static [u8]>, LoadError> {
    let plain = plain(volume)?;
    if plain.is_empty() {
        return volume.read(BUNDLE);
    }
    println!("bale: {} files of guests beside bale.toml", plain.len());
    let bundle = volume.open(BUNDLE)?;
    let ours: usize = plain.iter().map(|(_, size)| BLOCK + archive::padded(*size)).sum();
    let length = ours + bundle.as_ref().map_or(END, |bundle| bundle.size());
    let bytes = &mut files::pages(length, MemoryType::LOADER_DATA)?[..length];
    let (mut rest, theirs) = bytes.split_at_mut(ours);
    for (name, size) in &plain {
        let part;
        (part, rest) = rest.split_at_mut(BLOCK + archive::padded(*size));
        let (header, content) = part.split_at_mut(BLOCK);
        let unreadable = || LoadError::Unreadable(name.clone());
        header.copy_from_slice(&archive::header(&in_archive(name), *size).ok_or_else(unreadable)?);
        volume.open(name)?.ok_or_else(unreadable)?.read(&mut content[..*size])?;
    }
    if let Some(bundle) = bundle {
        bundle.read(theirs)?;
    }
    Ok(Some(bytes))
}

/// The descriptions and what they name: name and size of each file. What cannot be taken is left
/// out, which is said: one wrong file keeps no board from starting.
fn plain(volume: &mut Volume) -> Result<Vec<(Name, usize), MOST>, LoadError> {
    let mut found = Vec::new();
    for name in volume.names(is_description)? {
        let text = match volume.read(&name) {
            Ok(text) => text.unwrap_or_default(),
            Err(LoadError::Unreadable(_)) => {
                left_out(&name, UNREADABLE);
                continue;
            }
            Err(error) => return Err(error),
        };
        add(&mut found, volume, &name);
        // One that is not understood is there all the same, and named for what it is by `vm start`.
        let Ok(description) = VmDescription::parse(text) else { continue };
        for named in [Some(&description.kernel), description.initrd.as_ref()].into_iter().flatten()
        {
            // Beside the description, and nowhere else.
            if !named.contains(['/', '\\']) {
                add(&mut found, volume, named);
            }
        }
    }
    Ok(found)
}

/// Adds a file that is there, once.
fn add(found: &mut Vec<(Name, usize), MOST>, volume: &mut Volume, name: &str) {
    if found.iter().any(|(other, _)| other == name) {
        return;
    }
    if name == PAGES {
        return left_out(name, "the bundle has a file of that name for itself");
    }
    match volume.open(name) {
        Ok(None) => {}
        Ok(Some(file)) => {
            if found.push((file.name().clone(), file.size())).is_err() {
                left_out(name, "there are too many files of guests");
            }
        }
        Err(_) => left_out(name, UNREADABLE),
    }
}

const UNREADABLE: &str = "it cannot be read";

/// FAT takes `A` and `a` for one; what begins with a dot is what some systems leave on every stick.
fn is_description(name: &str) -> bool {
    let ends = name.len().checked_sub(DESCRIPTION.len()).and_then(|at| name.get(at..));
    ends.is_some_and(|end| end.eq_ignore_ascii_case(DESCRIPTION)) && !name.starts_with('.')
}

/// The kernel knows a description by its ending, in small letters.
fn in_archive(name: &Name) -> Name {
    let mut name = name.clone();
    if is_description(&name) {
        name.truncate(name.len() - DESCRIPTION.len());
        // There is as much room as before.
        let _ = name.push_str(DESCRIPTION);
    }
    name
}
