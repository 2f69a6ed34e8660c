//! What a device is and who uses it, by what the kernel shows of it (sysfs, proc), and whether it
//! may be written to.

use std::fmt;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Devices larger than this are hardly meant.
const LARGE: u64 = 2_000_000_000_000;

/// Bytes of the sectors that the image's partition table counts in. Firmware looks for the table in
/// the device's second sector, so that on a device with larger ones it finds none.
const SECTOR: u64 = 512;

/// Where the kernel shows its devices.
pub(super) struct Host {
    sys: PathBuf,
    proc: PathBuf,
}

impl Host {
    pub(super) fn this() -> Self {
        Self { sys: "/sys".into(), proc: "/proc".into() }
    }

    #[cfg(test)]
    pub(super) fn at(root: &Path) -> Self {
        Self { sys: root.join("sys"), proc: root.join("proc") }
    }
}

/// A part of a disk.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Partition {
    pub(super) name: String,
    pub(super) bytes: u64,
}

/// A disk, or a plain file in its place.
#[derive(Debug, Default)]
pub(super) struct Device {
    pub(super) path: PathBuf,
    pub(super) model: String,
    pub(super) bytes: u64,
    pub(super) partitions: Vec<Partition>,
    /// Whether it is meant to be taken out: removable, on USB, or a memory card.
    pub(super) removable: bool,
    read_only: bool,
    /// Bytes of its sectors, if it is a disk.
    sector: Option<u64>,
    /// The disk that it is a part of.
    part_of: Option<String>,
    /// Who uses it: where it is mounted, swap, other devices.
    users: Vec<String>,
    plain_file: bool,
}

/// Why a device is not written to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Part(String),
    /// The system runs from it.
    System(String),
    InUse(String),
    ReadOnly,
    /// Its sectors are not those of the image.
    Sectors(u64),
    TooSmall {
        has: u64,
        wants: u64,
    },
    TooLarge(u64),
    Fixed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let force = "if it is the right one, name it once more with --force";
        match self {
            Self::Part(disk) => write!(f, "it is a part of the disk {disk}; name the whole disk"),
            Self::System(user) => write!(f, "this system runs from it ({user})"),
            Self::InUse(user) => write!(f, "it is in use ({user}); unmount it first"),
            Self::ReadOnly => f.write_str("it is write-protected"),
            Self::Sectors(bytes) => write!(
                f,
                "its sectors have {bytes} bytes, and the image is made for {SECTOR}: no firmware would find the image's \
                 partition table there; use a stick or card with sectors of {SECTOR} bytes"
            ),
            Self::TooSmall { has, wants } => {
                write!(f, "it has {}, the image takes {}", Size(*has), Size(*wants))
            }
            Self::TooLarge(has) => write!(f, "it has {}, more than any stick; {force}", Size(*has)),
            Self::Fixed => write!(f, "it is neither removable nor on USB; {force}"),
        }
    }
}

/// Bytes as people say them.
pub(super) struct Size(pub(super) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes < 10_000_000 => write!(f, "{bytes} bytes"),
            bytes if bytes < 10_000_000_000 => write!(f, "{} MB", bytes / 1_000_000),
            bytes => write!(f, "{} GB", bytes / 1_000_000_000),
        }
    }
}

fn text(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

impl Device {
    /// Looks at what lies at a path.
    pub(super) fn find(host: &Host, path: &Path) -> Result<Self> {
        let name = path.display();
        let metadata = fs::metadata(path).with_context(|| format!("there is no device {name}"))?;
        if metadata.is_file() {
            let bytes = metadata.len();
            let path = path.to_owned();
            return Ok(Self { path, bytes, removable: true, plain_file: true, ..Self::default() });
        }
        ensure!(metadata.file_type().is_block_device(), "{name} is neither a disk nor a file");
        let (major, minor) = (libc::major(metadata.rdev()), libc::minor(metadata.rdev()));
        Self::describe(host, path, &format!("{major}:{minor}"))
    }

    /// The block device of these numbers.
    fn describe(host: &Host, path: &Path, numbers: &str) -> Result<Self> {
        let folder = fs::canonicalize(host.sys.join("dev/block").join(numbers))
            .with_context(|| format!("the kernel shows nothing about {}", path.display()))?;
        let sectors =
            |folder: &Path| text(&folder.join("size")).and_then(|size| size.parse::<u64>().ok());
        let bytes = sectors(&folder).context("its size is not known")? * 512;
        if folder.join("partition").exists() {
            let disk =
                folder.parent().and_then(Path::file_name).map(|name| name.display().to_string());
            return Ok(Self { path: path.into(), bytes, part_of: disk, ..Self::default() });
        }
        let mut parts: Vec<PathBuf> =
            fs::read_dir(&folder)?.flatten().map(|entry| entry.path()).collect();
        parts.retain(|part| part.join("partition").exists());
        parts.sort();
        let last = |path: &Path| {
            path.file_name().map(|name| name.display().to_string()).unwrap_or_default()
        };
        let mut users = Vec::new();
        for place in [&folder].into_iter().chain(&parts) {
            users.extend(host.users(&last(place), &text(&place.join("dev")).unwrap_or_default()));
            users.extend(holders(place));
        }
        let partitions = parts
            .iter()
            .map(|part| Partition { name: last(part), bytes: sectors(part).unwrap_or(0) * 512 })
            .collect();
        let words = ["device/vendor", "device/model", "device/name"];
        let model: Vec<String> = words.iter().filter_map(|word| text(&folder.join(word))).collect();
        let on_usb =
            folder.components().any(|part| part.as_os_str().as_encoded_bytes().starts_with(b"usb"));
        let card = last(&folder).starts_with("mmcblk");
        let set = |name: &str| text(&folder.join(name)).is_some_and(|value| value == "1");
        Ok(Self {
            path: path.into(),
            model: model.join(" "),
            bytes,
            partitions,
            removable: set("removable") || on_usb || card,
            read_only: set("ro"),
            sector: text(&folder.join("queue/logical_block_size"))
                .and_then(|size| size.parse().ok()),
            part_of: None,
            users,
            plain_file: false,
        })
    }

    /// Why an image of so many bytes may not be written; `forced` if the user named the device
    /// twice.
    pub(super) fn refusal(&self, image: u64, forced: bool) -> Option<Refusal> {
        if let Some(disk) = &self.part_of {
            return Some(Refusal::Part(disk.clone()));
        }
        let system = |user: &&String| {
            ["/", "/boot", "/boot/efi", "/usr", "/var", "/home"]
                .iter()
                .any(|place| **user == format!("mounted on {place}"))
        };
        if let Some(user) = self.users.iter().find(system) {
            return Some(Refusal::System(user.clone()));
        }
        if let Some(user) = self.users.first() {
            return Some(Refusal::InUse(user.clone()));
        }
        if self.read_only {
            return Some(Refusal::ReadOnly);
        }
        if let Some(sector) = self.sector.filter(|sector| *sector != SECTOR) {
            return Some(Refusal::Sectors(sector));
        }
        if self.bytes < image {
            return Some(Refusal::TooSmall { has: self.bytes, wants: image });
        }
        if self.bytes > LARGE && !forced {
            return Some(Refusal::TooLarge(self.bytes));
        }
        (!self.removable && !forced).then_some(Refusal::Fixed)
    }

    /// A few lines for the user to recognise it by.
    pub(super) fn lines(&self) -> Vec<String> {
        let what = match (self.plain_file, self.model.is_empty()) {
            (true, _) => "a plain file",
            (false, true) => "a disk of unknown make",
            (false, false) => &self.model,
        };
        let mut lines = vec![format!("{}: {what}, {}", self.path.display(), Size(self.bytes))];
        lines.extend(
            self.partitions.iter().map(|part| format!("  {}: {}", part.name, Size(part.bytes))),
        );
        if self.partitions.is_empty() && !self.plain_file {
            lines.push("  no partitions".into());
        }
        lines
    }
}

impl Host {
    /// Where a block device is mounted, or that it is swap (proc(5): mountinfo, swaps).
    fn users(&self, name: &str, numbers: &str) -> Vec<String> {
        let is_it = |source: &str| Path::new(source).file_name().is_some_and(|last| last == name);
        let mut users = Vec::new();
        for line in text(&self.proc.join("self/mountinfo")).unwrap_or_default().lines() {
            let mut words = line.split(' ');
            let of = words.nth(2).unwrap_or_default();
            let place = words.nth(1).unwrap_or_default();
            // A file system of several devices has numbers of its own; its source tells.
            let source = line
                .split_once(" - ")
                .and_then(|(_, rest)| rest.split(' ').nth(1))
                .unwrap_or_default();
            if of == numbers || is_it(source) {
                users.push(format!("mounted on {place}"));
            }
        }
        let swaps = text(&self.proc.join("swaps")).unwrap_or_default();
        if swaps.lines().skip(1).any(|line| line.split_whitespace().next().is_some_and(is_it)) {
            users.push("swap".into());
        }
        users
    }
}

/// Devices that are made of it: volumes, encryption, arrays.
fn holders(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder.join("holders")).into_iter().flatten().flatten();
    entries.map(|entry| format!("part of {}", entry.file_name().display())).collect()
}

#[cfg(test)]
mod tests;
