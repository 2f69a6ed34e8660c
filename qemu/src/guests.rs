//! Guests of the user's own in the bundle: a kernel with what belongs to it, or descriptions as files.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bale_core::guest_image::GuestImage;
use bale_core::vm_description::VmDescription;

/// Files of the bundle by their names there.
pub(crate) type Files = Vec<(String, Vec<u8>)>;

/// Name of the guest of a kernel that is given by itself.
const OWN: &str = "own";
/// Names in the bundle that are nobody's to give.
const TAKEN: [&str; 1] = ["pages"];

/// A guest's kernel and initial RAM disk, and the lines of its description but for those that name the two.
pub(crate) fn own(kernel: &Path, initrd: Option<&Path>, settings: &[(&str, String)]) -> Result<Files> {
    let mut text = format!("kernel = {OWN}.image\n");
    let mut files = vec![(format!("{OWN}.image"), read(kernel)?)];
    if let Some(initrd) = initrd {
        text.push_str(&format!("initrd = {OWN}.initrd\n"));
        files.push((format!("{OWN}.initrd"), read(initrd)?));
    }
    for (key, value) in settings {
        ensure!(!value.contains(['\n', '\r']), "the guest's {key} has more than one line");
        text.push_str(&format!("{key} = {value}\n"));
    }
    VmDescription::parse(text.as_bytes()).map_err(|error| anyhow!("the guest cannot be made: {error}"))?;
    check_kernel(kernel, &files[0].1)?;
    files.push((format!("{OWN}.vm"), text.into_bytes()));
    Ok(files)
}

/// A description, `NAME.vm`, and the files beside it that it names.
pub(crate) fn described(path: &Path) -> Result<Files> {
    let shown = path.display();
    let name = path.file_name().and_then(|name| name.to_str()).filter(|name| name.ends_with(".vm"));
    let name = name.with_context(|| format!("{shown}: a description's name ends with .vm"))?;
    let text = read(path)?;
    let description = VmDescription::parse(&text).map_err(|error| anyhow!("{shown}: {error}"))?;
    let beside = |file: &str| {
        ensure!(!file.contains('/'), "{shown}: {file} must lie beside it, and be named without a folder");
        read(&path.with_file_name(file)).with_context(|| format!("{shown} names a file that is not there"))
    };
    let kernel = beside(&description.kernel)?;
    check_kernel(&path.with_file_name(description.kernel.as_str()), &kernel)?;
    let mut files = vec![(name.to_owned(), text), (description.kernel.to_string(), kernel)];
    if let Some(initrd) = &description.initrd {
        files.push((initrd.to_string(), beside(initrd)?));
    }
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

fn check_kernel(path: &Path, image: &[u8]) -> Result<()> {
    let name = path.display();
    GuestImage::parse(image)
        .map_err(|error| anyhow!("{name} cannot be started as a kernel: {error}"))
        .map(drop)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with a kernel, `Image`, that has nothing but its header.
    fn folder(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("bale-guests-{name}-{}", std::process::id()));
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
        let settings = [("memory", "64M".to_owned()), ("cmdline", "console=ttyAMA0 x=1".to_owned())];
        let kernel = folder.join("Image");
        let files = own(&kernel, Some(&folder.join("disk")), &settings).expect("good");
        assert_eq!(names(&files), ["own.image", "own.initrd", "own.vm"]);
        let description = VmDescription::parse(&files[2].1).expect("good");
        assert_eq!(description.kernel.as_str(), "own.image");
        assert_eq!(description.command_line.as_str(), "console=ttyAMA0 x=1");
        let says = |result: Result<Files>| format!("{:#}", result.expect_err("bad"));
        let lines = [("memory", "64M".to_owned()), ("cmdline", "a\nvcpus = 8".to_owned())];
        assert!(says(own(&kernel, None, &lines)).contains("more than one line"));
        assert!(says(own(&kernel, None, &[("memory", "3M".into())])).contains("2 MiB"));
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
        assert!(add(&mut all, vec![("disk".into(), vec![1])]).is_err(), "another file of that name");
        assert!(add(&mut all, vec![("pages".into(), vec![1])]).is_err(), "the pages are Bale's");
        write("c.vm", "memory = 64M\nkernel = nothing\n");
        write("d.vm", "memory = 64M\nkernel = ../Image\n");
        write("e.vm", "memory = 64M\nkernel = disk\n");
        write("f.vm", "memory = 64M\ncolour = red\n");
        write("g.txt", "memory = 64M\nkernel = Image\n");
        for (name, word) in [
            ("c.vm", "nothing"),
            ("d.vm", "beside"),
            ("e.vm", "cannot be started as a kernel"),
            ("f.vm", "line 2: no such key"),
            ("g.txt", "ends with .vm"),
            ("h.vm", "cannot read"),
        ] {
            let error = described(&folder.join(name)).expect_err("bad");
            assert!(format!("{error:#}").contains(word), "{name}: {error:#}");
        }
        fs::remove_dir_all(folder).expect("removed");
    }
}
