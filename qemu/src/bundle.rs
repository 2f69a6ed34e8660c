//! The boot bundle: a tar archive with the guests' images and the pages they swap, handed over as
//! the initrd.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tar::{Builder, EntryType, Header};

use crate::pages::PAGE;

/// The pages of a file, checked.
pub(crate) fn read_pages(path: &Path) -> Result<Vec<u8>> {
    let name = path.display();
    let pages = fs::read(path).with_context(|| format!("cannot read the pages file {name}"))?;
    ensure!(
        !pages.is_empty(),
        "the pages file {name} is empty; `cargo bale pages --out FILE` captures one"
    );
    ensure!(
        pages.len().is_multiple_of(PAGE),
        "the pages file {name} holds {} bytes, which is no whole number of {PAGE}-byte pages",
        pages.len()
    );
    Ok(pages)
}

/// Writes a bundle of guests, by name and image, of pages if they have any, and of further files by
/// their names.
pub(crate) fn write(
    out: &Path,
    guests: &[(&str, &Path)],
    pages: Option<&[u8]>,
    files: &[(String, Vec<u8>)],
) -> Result<()> {
    let file = File::create(out).with_context(|| format!("cannot write {}", out.display()))?;
    let mut archive = Builder::new(file);
    for (name, path) in guests {
        let image = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        append(&mut archive, &format!("guests/{name}"), &image)?;
    }
    if let Some(pages) = pages {
        append(&mut archive, "pages", pages)?;
    }
    for (name, content) in files {
        append(&mut archive, name, content)?;
    }
    archive.into_inner().with_context(|| format!("cannot write {}", out.display()))?;
    Ok(())
}

fn append(archive: &mut Builder<File>, name: &str, content: &[u8]) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    archive
        .append_data(&mut header, name, content)
        .with_context(|| format!("cannot put {name} in the bundle"))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::{read_pages, write};

    fn folder(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("bale-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        folder
    }

    #[test]
    fn an_archive_gives_back_what_went_in() {
        let folder = folder("bundle");
        std::fs::write(folder.join("image"), b"guest image").expect("written");
        write(
            &folder.join("tar"),
            &[("swapper", &folder.join("image"))],
            Some(&[7; 8192]),
            &[("x.vm".into(), vec![1])],
        )
        .expect("good");
        let bytes = std::fs::read(folder.join("tar")).expect("there");
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut found = Vec::new();
        for entry in archive.entries().expect("an archive") {
            let mut entry = entry.expect("an entry");
            let name = entry.path().expect("a name").display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("content");
            found.push((name, content));
        }
        assert_eq!(
            found,
            [
                ("guests/swapper".into(), b"guest image".to_vec()),
                ("pages".into(), vec![7; 8192]),
                ("x.vm".into(), vec![1])
            ]
        );
        std::fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn bad_pages_files_are_named() {
        let folder = folder("pages");
        let missing = read_pages(&folder.join("none")).expect_err("missing");
        assert!(format!("{missing:#}").contains("none"), "{missing:#}");
        for (length, word) in [(0, "empty"), (4095, "4095"), (4097, "4097")] {
            std::fs::write(folder.join("p"), vec![1; length]).expect("written");
            let error = read_pages(&folder.join("p")).expect_err("bad");
            assert!(error.to_string().contains(word), "{error}");
        }
        std::fs::write(folder.join("p"), vec![1; 8192]).expect("written");
        assert_eq!(read_pages(&folder.join("p")).expect("good").len(), 8192);
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
