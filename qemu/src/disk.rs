//! A disk image that UEFI boots from: a GUID partition table (UEFI 2.10, chapter 5) with one EFI
//! system partition in FAT32.
//!
//! The same files give the same bytes: identifiers and times are fixed.

use std::collections::BTreeSet;
use std::io::{Cursor, Write as _};

use anyhow::{Context, Result, ensure};
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::{GptConfig, partition_types};
use uuid::Uuid;

/// A file of the image; folders are separated by `/`.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
}

const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;
/// Where the partition begins, and what is left behind it for the second table.
const EDGE: u64 = MIB;
/// FAT32 has 65,525 clusters or more; with clusters of 512 bytes that is 33 MiB.
const LEAST: u64 = 64 * MIB;
const CLUSTER: u32 = 4096;
const SMALL_CLUSTER: u32 = 512;
const DISK: Uuid = Uuid::from_u128(0xba1e_0001_6f36_4000_8000_6261_6c65_0001);
const PARTITION: Uuid = Uuid::from_u128(0xba1e_0002_6f36_4000_8000_6261_6c65_0002);
const VOLUME: u32 = 0xba1e_0006;

/// The image with these files.
///
/// # Errors
/// A path that FAT cannot have, or that is there twice.
pub(crate) fn image(files: &[File]) -> Result<Vec<u8>> {
    let volume = volume(files)?;
    let size = EDGE + volume.len() as u64 + EDGE;
    let mut image = Cursor::new(vec![0; usize::try_from(size)?]);
    let sectors = u32::try_from(size / SECTOR - 1).unwrap_or(u32::MAX);
    ProtectiveMBR::with_lb_size(sectors)
        .overwrite_lba0(&mut image)
        .context("no protective record")?;
    let mut table = GptConfig::new()
        .writable(true)
        .logical_block_size(LogicalBlockSize::Lb512)
        .create_from_device(image, Some(DISK))
        .context("no partition table")?;
    let sectors = volume.len() as u64 / SECTOR;
    table
        .add_partition_at("BALE", 1, EDGE / SECTOR, sectors, partition_types::EFI, 0)
        .context("no partition")?;
    let mut partitions = table.take_partitions();
    partitions.values_mut().for_each(|partition| partition.part_guid = PARTITION);
    table.update_partitions(partitions).context("no partition table")?;
    let mut image = table.write().context("no partition table")?.into_inner();
    let start = usize::try_from(EDGE)?;
    image[start..start + volume.len()].copy_from_slice(&volume);
    Ok(image)
}

/// The file system alone.
fn volume(files: &[File]) -> Result<Vec<u8>> {
    let bytes: u64 = files.iter().map(|file| file.bytes.len() as u64 + u64::from(CLUSTER)).sum();
    let size = (bytes + bytes / 8 + 16 * MIB).max(LEAST).next_multiple_of(MIB);
    // Small clusters where the volume would else have too few for FAT32.
    let cluster = if size / u64::from(CLUSTER) > 70_000 { CLUSTER } else { SMALL_CLUSTER };
    let mut volume = Cursor::new(vec![0; usize::try_from(size)?]);
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(cluster)
        .volume_id(VOLUME)
        .volume_label(*b"BALE       ");
    format_volume(&mut volume, options).context("no file system")?;
    let system = FileSystem::new(&mut volume, FsOptions::new()).context("no file system")?;
    let mut seen = BTreeSet::new();
    for file in files {
        // FAT takes `a` and `A` for one name.
        ensure!(seen.insert(file.path.to_lowercase()), "{} is there twice", file.path);
        let mut folder = system.root_dir();
        let (folders, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        for part in folders.split('/').filter(|part| !part.is_empty()) {
            folder =
                folder.create_dir(part).with_context(|| format!("no folder for {}", file.path))?;
        }
        let mut entry =
            folder.create_file(name).with_context(|| format!("no file {}", file.path))?;
        entry.write_all(&file.bytes).with_context(|| format!("{} does not fit", file.path))?;
        entry.flush().with_context(|| format!("{} does not fit", file.path))?;
    }
    system.unmount().context("no file system")?;
    Ok(volume.into_inner())
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read as _};

    use super::{EDGE, File, image};

    fn files() -> Vec<File> {
        let file = |path: &str, bytes: &[u8]| File { path: path.into(), bytes: bytes.into() };
        vec![
            file("EFI/BOOT/BOOTAA64.EFI", b"a loader"),
            file("bale/kernel.elf", &[7; 300_000]),
            file("bale.toml", b""),
        ]
    }

    #[test]
    fn other_readers_find_the_files() {
        let bytes = image(&files()).expect("an image");
        let table =
            gpt::GptConfig::new().open_from_device(Cursor::new(bytes.clone())).expect("a table");
        let partition = table.partitions().get(&1).expect("a partition");
        assert_eq!(partition.part_type_guid, gpt::partition_types::EFI);
        assert_eq!(partition.first_lba * 512, EDGE);
        let end = (partition.last_lba + 1) * 512;
        let volume = bytes
            [usize::try_from(EDGE).expect("small")..usize::try_from(end).expect("small")]
            .to_vec();
        let system = fatfs::FileSystem::new(Cursor::new(volume), fatfs::FsOptions::new())
            .expect("a file system");
        assert_eq!(system.fat_type(), fatfs::FatType::Fat32);
        for file in files() {
            let mut found = Vec::new();
            let mut entry = system.root_dir().open_file(&file.path).expect("the file");
            entry.read_to_end(&mut found).expect("its bytes");
            assert_eq!(found, file.bytes, "{}", file.path);
        }
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        assert!(image(&files()).expect("an image") == image(&files()).expect("an image"));
    }

    #[test]
    fn large_files_make_a_larger_image() {
        let large = File { path: "guest.tar".into(), bytes: vec![1; 100 << 20] };
        assert!(image(&[large]).expect("an image").len() > 110 << 20);
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        for path in ["a/", "what?", "a*b"] {
            let file = File { path: path.into(), bytes: Vec::new() };
            assert!(image(&[file]).is_err(), "{path}");
        }
        let twice = ["EFI/A", "efi/a"].map(|path| File { path: path.into(), bytes: Vec::new() });
        assert!(image(&twice).is_err());
    }
}
