//! The image's files in a folder of a stick that has a FAT file system already.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::disk::File;

pub(super) fn copy(files: &[File], folder: &Path) -> Result<()> {
    ensure!(folder.is_dir(), "there is no folder {}", folder.display());
    for file in files {
        let path = folder.join(&file.path);
        let name = path.display();
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot make {}", parent.display()))?;
        }
        let mut to = fs::File::create(&path).with_context(|| format!("cannot write {name}"))?;
        to.write_all(&file.bytes)
            .and_then(|()| to.sync_all())
            .with_context(|| format!("{name} is not complete"))?;
    }
    for file in files {
        let path = folder.join(&file.path);
        let back =
            fs::read(&path).with_context(|| format!("cannot read {} back", path.display()))?;
        ensure!(back == file.bytes, "{} reads back differently", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::copy;
    use crate::disk::File;

    #[test]
    fn files_arrive_in_their_folders() {
        let folder = std::env::temp_dir().join(format!("bale-flash-to-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = File { path: "EFI/BOOT/BOOTAA64.EFI".into(), bytes: vec![5; 5000] };
        copy(&[file], &folder).expect("copied");
        assert_eq!(
            std::fs::read(folder.join("EFI/BOOT/BOOTAA64.EFI")).expect("there"),
            vec![5; 5000]
        );
        std::fs::remove_dir_all(&folder).expect("removed");
        let error = copy(&[], &folder).expect_err("no folder");
        assert!(error.to_string().contains("there is no folder"), "{error}");
    }
}
