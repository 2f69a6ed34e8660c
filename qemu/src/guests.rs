//! Guests of the user's own in the bundle: a kernel with what belongs to it, or descriptions as
//! files.
//!
//! What no machine can be made from is an error here, before anything is booted: descriptions are
//! read by the parser of the kernel, codecs are named by the store, and kernel and initial RAM disk
//! are laid out as the kernel lays them out.

mod asked;
mod image;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bale_core::guest_image::Raw;
use bale_core::guest_layout::GuestLayout;
use bale_core::vm_description::{LONGEST_NAME, VmDescription};
use bale_swap::Codec;

pub(crate) use asked::{Asked, Host};
use image::Prepared;

/// Files of the bundle by their names there.
pub(crate) type Files = Vec<(String, Vec<u8>)>;

/// Name of the guest of a kernel that is given by itself.
pub(crate) const OWN: &str = "own";
/// Names in the bundle that are nobody's to give.
const TAKEN: [&str; 1] = ["pages"];

/// What a guest is called in messages, and its description as the kernel will read it.
pub(crate) struct Seen {
    name: String,
    description: VmDescription,
}

/// Reads a guest's description as the kernel will, and what in it names what only the store knows.
pub(crate) fn description(name: &str, text: &[u8]) -> Result<Seen> {
    known(name, VmDescription::parse(text).map_err(|error| anyhow!("{name}: {error}"))?)
}

/// The same of one that was made from options: there are no lines to be named.
pub(crate) fn made(name: &str, text: &str) -> Result<Seen> {
    let read = VmDescription::parse(text.as_bytes());
    known(name, read.map_err(|error| anyhow!("{name}: {}", error.wrong))?)
}

fn known(name: &str, description: VmDescription) -> Result<Seen> {
    for codec in [Some(&description.codec), description.second.as_ref()].into_iter().flatten() {
        ensure!(
            Codec::from_name(codec).is_some(),
            "{name}: there is no codec {codec}; there are lz4, lz4hc:1-9, page, token, deflate:1-9, zstd:1-9"
        );
    }
    Ok(Seen { name: name.to_owned(), description })
}

impl Seen {
    /// Whether its kernel and its initial RAM disk go into its memory.
    pub(crate) fn fits(&self, kernel: &[u8], initrd: Option<&[u8]>) -> Result<()> {
        let memory = self.description.memory;
        let length = initrd.map(|initrd| initrd.len() as u64);
        let laid_out = GuestLayout::new(memory, kernel, self.description.raw, length);
        laid_out
            .map(drop)
            .map_err(|error| anyhow!("{}: of {} MiB: {error}", self.name, memory >> 20))
    }
}

/// Files of the one guest that a machine serves alone, and bytes of its memory: an image of any
/// kind, placed as said if it has no header, or whatever it has with `true`; with calls of
/// semihosting made those of the hypervisor if that is wanted.
pub(crate) fn alone(
    image: &Path,
    initrd: Option<&Path>,
    (place, raw): (Raw, bool),
    semihosting: bool,
    settings: &[(&str, String)],
) -> Result<(Files, u64)> {
    let file = read(image)?;
    let prepared =
        if raw { Prepared::new(file, Some(place)) } else { Prepared::guess(file, place) };
    let mut prepared = prepared
        .map_err(|error| anyhow!("{} cannot be run as a guest: {error:#}", image.display()))?;
    let mut lines = settings.to_vec();
    if semihosting {
        let calls = prepared.call_for_semihosting();
        if calls != 0 {
            eprintln!(
                "bale: {calls} semihosting calls of the image go to Bale (--no-semihosting leaves them)"
            );
            lines.push(("semihosting", "on".to_owned()));
        }
    }
    let (files, seen) = lay_out(image, prepared, initrd, &lines)?;
    Ok((files, seen.description.memory))
}

/// A guest's kernel and initial RAM disk, and the lines of its description but for those that name
/// the two.
pub(crate) fn own(
    kernel: &Path,
    initrd: Option<&Path>,
    settings: &[(&str, String)],
) -> Result<Files> {
    let prepared = prepared(kernel, read(kernel)?, None)?;
    lay_out(kernel, prepared, initrd, settings).map(|(files, _)| files)
}

fn lay_out(
    kernel: &Path,
    image: Prepared,
    initrd: Option<&Path>,
    settings: &[(&str, String)],
) -> Result<(Files, Seen)> {
    let mut text = format!("kernel = {OWN}.image\n{}", image.lines());
    let mut files = vec![(format!("{OWN}.image"), image.bytes)];
    if let Some(initrd) = initrd {
        text.push_str(&format!("initrd = {OWN}.initrd\n"));
        files.push((format!("{OWN}.initrd"), read(initrd)?));
    }
    for (key, value) in settings {
        ensure!(!value.contains(['\n', '\r']), "the guest's {key} has more than one line");
        text.push_str(&format!("{key} = {value}\n"));
    }
    let seen = made(OWN, &text)?;
    let fits = seen.fits(&files[0].1, files.get(1).map(|(_, initrd)| initrd.as_slice()));
    fits.with_context(|| format!("{} cannot be run", kernel.display()))?;
    files.push((format!("{OWN}.vm"), text.into_bytes()));
    Ok((files, seen))
}

/// A description, `NAME.vm`, and the files beside it that it names.
pub(crate) fn described(path: &Path) -> Result<Files> {
    let shown = path.display();
    let name = path.file_name().and_then(|name| name.to_str()).filter(|name| name.ends_with(".vm"));
    let name = name.with_context(|| format!("{shown}: a description's name ends with .vm"))?;
    let letters = name.len() - ".vm".len();
    ensure!(
        letters <= LONGEST_NAME,
        "{shown}: the name of a guest has {LONGEST_NAME} letters at most"
    );
    let text = read(path)?;
    let seen = description(&shown.to_string(), &text)?;
    let description = &seen.description;
    let beside = |file: &str| {
        ensure!(
            !file.contains('/'),
            "{shown}: {file} must lie beside it, and be named without a folder"
        );
        read(&path.with_file_name(file))
            .with_context(|| format!("{shown} names a file that is not there"))
    };
    let file = beside(&description.kernel)?;
    let kernel =
        prepared(&path.with_file_name(description.kernel.as_str()), file, description.raw)?;
    let mut text = text;
    if description.raw.is_none() && kernel.raw.is_some() {
        // An ELF file is raw from here on, at addresses of its own.
        text.push(b'\n');
        text.extend(kernel.lines().into_bytes());
    }
    let seen = self::description(&shown.to_string(), &text)?;
    let description = &seen.description;
    let mut files = vec![(name.to_owned(), text), (description.kernel.to_string(), kernel.bytes)];
    if let Some(initrd) = &description.initrd {
        files.push((initrd.to_string(), beside(initrd)?));
    }
    seen.fits(&files[1].1, files.get(2).map(|(_, initrd)| initrd.as_slice()))?;
    Ok(files)
}

/// Adds files; a name that is there already must be the same file.
pub(crate) fn add(all: &mut Files, files: Files) -> Result<()> {
    for (name, content) in files {
        ensure!(!TAKEN.contains(&name.as_str()), "no file of a guest may be called {name}");
        match all.iter().find(|(other, _)| *other == name) {
            None => all.push((name, content)),
            Some((_, other)) if *other == content => {}
            Some(_) => bail!("two guests have different files called {name}; rename one"),
        }
    }
    Ok(())
}

/// An image as the kernel takes it.
fn prepared(path: &Path, file: Vec<u8>, raw: Option<Raw>) -> Result<Prepared> {
    let name = path.display();
    Prepared::new(file, raw)
        .map_err(|error| anyhow!("{name} cannot be started as a kernel: {error:#}"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A folder with a kernel, `Image`, that has nothing but its header.
    pub(in crate::guests) fn folder(name: &str) -> std::path::PathBuf {
        let folder =
            std::env::temp_dir().join(format!("bale-guests-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        let mut image = vec![0; 64];
        image[0x10..0x18].copy_from_slice(&64u64.to_le_bytes());
        image[0x38..0x3c].copy_from_slice(b"ARM\x64");
        fs::write(folder.join("Image"), image).expect("written");
        fs::write(folder.join("disk"), b"initial").expect("written");
        folder
    }

    fn names(files: &Files) -> Vec<&str> {
        files.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn a_kernel_of_the_users_own() {
        let folder = folder("own");
        let settings =
            [("memory", "64M".to_owned()), ("cmdline", "console=ttyAMA0 x=1".to_owned())];
        let kernel = folder.join("Image");
        let files = own(&kernel, Some(&folder.join("disk")), &settings).expect("good");
        assert_eq!(names(&files), ["own.image", "own.initrd", "own.vm"]);
        let description = VmDescription::parse(&files[2].1).expect("good");
        assert_eq!(description.kernel.as_str(), "own.image");
        assert_eq!(description.command_line.as_str(), "console=ttyAMA0 x=1");
        let says = |result: Result<Files>| format!("{:#}", result.expect_err("bad"));
        let lines = [("memory", "64M".to_owned()), ("cmdline", "a\nvcpus = 8".to_owned())];
        assert!(says(own(&kernel, None, &lines)).contains("more than one line"));
        assert_eq!(
            says(own(&kernel, None, &[("memory", "3M".into())])),
            "own: memory must be whole 2 MiB, at most 4096 MiB"
        );
        assert!(says(own(&kernel, None, &[("memory", "2M".into())])).contains("does not fit"));
        assert!(says(own(&folder.join("none"), None, &settings)).contains("cannot read"));
        assert!(says(own(&folder.join("disk"), None, &settings)).contains("cannot be started"));
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_description_brings_what_it_names() {
        let folder = folder("described");
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("written");
        write("a.vm", "memory = 64M\nkernel = Image\ninitrd = disk\n");
        write("b.vm", "memory = 32M\nkernel = Image\n");
        let mut all = Files::new();
        for name in ["a.vm", "b.vm", "a.vm"] {
            add(&mut all, described(&folder.join(name)).expect("good")).expect("no clash");
        }
        assert_eq!(names(&all), ["a.vm", "Image", "disk", "b.vm"]);
        assert!(
            add(&mut all, vec![("disk".into(), vec![1])]).is_err(),
            "another file of that name"
        );
        assert!(add(&mut all, vec![("pages".into(), vec![1])]).is_err(), "the pages are Bale's");
        write("c.vm", "memory = 64M\nkernel = nothing\n");
        write("d.vm", "memory = 64M\nkernel = ../Image\n");
        write("e.vm", "memory = 64M\nkernel = disk\n");
        write("f.vm", "memory = 64M\ncolour = red\n");
        write("g.txt", "memory = 64M\nkernel = Image\n");
        write("i.vm", "memory = 2M\nkernel = Image\n");
        write("j.vm", "memory = 4M\nkernel = Image\ninitrd = disk\n");
        write("k.vm", "memory = 64M\nkernel = Image\nsecond = none\n");
        write("of-more-than-24-letters---.vm", "memory = 64M\nkernel = Image\n");
        for (name, word) in [
            ("c.vm", "nothing"),
            ("d.vm", "beside"),
            ("e.vm", "cannot be started as a kernel"),
            ("f.vm", "line 2: no such key"),
            ("g.txt", "ends with .vm"),
            ("h.vm", "cannot read"),
            ("i.vm", "of 2 MiB: the image does not fit"),
            ("j.vm", "of 4 MiB: the initrd does not fit"),
            ("k.vm", "there is no codec none"),
            ("of-more-than-24-letters---.vm", "24 letters at most"),
        ] {
            let error = described(&folder.join(name)).expect_err("bad");
            assert!(format!("{error:#}").contains(word), "{name}: {error:#}");
        }
        fs::remove_dir_all(folder).expect("removed");
    }
}
