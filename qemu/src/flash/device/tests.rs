//! Devices of a made-up machine.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{Device, Host, LARGE, Refusal};

/// Folders as the kernel shows them.
struct Machine(PathBuf);

impl Machine {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("bale-flash-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let machine = Self(root);
        machine.put("proc/self/mountinfo", "");
        machine.put("proc/swaps", "Filename Type Size Used Priority\n");
        machine
    }

    fn put(&self, path: &str, content: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, content).expect("written");
    }

    /// A disk at `place` under sys/devices, of so many bytes, with parts.
    fn disk(
        &self,
        place: &str,
        numbers: &str,
        bytes: u64,
        removable: bool,
        parts: &[(&str, &str)],
    ) {
        let folder = format!("sys/devices/{place}");
        self.put(&format!("{folder}/size"), &(bytes / 512).to_string());
        self.put(&format!("{folder}/removable"), if removable { "1\n" } else { "0\n" });
        self.put(&format!("{folder}/ro"), "0\n");
        self.put(&format!("{folder}/dev"), numbers);
        self.put(&format!("{folder}/device/model"), "Stick 3000\n");
        self.link(numbers, place);
        for (name, numbers) in parts {
            self.put(&format!("{folder}/{name}/partition"), "1\n");
            self.put(&format!("{folder}/{name}/size"), "2048\n");
            self.put(&format!("{folder}/{name}/dev"), numbers);
            self.link(numbers, &format!("{place}/{name}"));
        }
    }

    fn link(&self, numbers: &str, place: &str) {
        let links = self.0.join("sys/dev/block");
        fs::create_dir_all(&links).expect("made");
        symlink(self.0.join("sys/devices").join(place), links.join(numbers)).expect("linked");
    }

    fn device(&self, numbers: &str) -> Device {
        Device::describe(&Host::at(&self.0), Path::new("/dev/it"), numbers).expect("a device")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const STICK: &str = "pci0/usb2/2-1/host4/block/sdb";
const GB: u64 = 1_000_000_000;

#[test]
fn a_stick_is_shown_and_taken() {
    let machine = Machine::new("stick");
    machine.disk(STICK, "8:16", 16 * GB, true, &[("sdb1", "8:17")]);
    let stick = machine.device("8:16");
    assert_eq!(stick.refusal(GB, false), None);
    assert_eq!(stick.lines(), ["/dev/it: Stick 3000, 16 GB", "  sdb1: 1048576 bytes"]);
}

#[test]
fn what_is_in_use_is_refused() {
    let machine = Machine::new("use");
    machine.disk(STICK, "8:16", 16 * GB, true, &[("sdb1", "8:17"), ("sdb2", "8:18")]);
    machine.put("proc/self/mountinfo", "36 35 8:17 / /media/s rw - vfat /dev/sdb1 rw\n");
    let refusal = machine.device("8:16").refusal(GB, true);
    assert_eq!(refusal, Some(Refusal::InUse("mounted on /media/s".into())));
    // A file system of several devices.
    machine.put("proc/self/mountinfo", "36 35 0:40 / /media/b rw - btrfs /dev/sdb2 rw\n");
    let refusal = machine.device("8:16").refusal(GB, true);
    assert_eq!(refusal, Some(Refusal::InUse("mounted on /media/b".into())));
    machine.put("proc/self/mountinfo", "");
    machine.put("proc/swaps", "Filename Type\n/dev/sdb2 partition 1 0 -2\n");
    assert_eq!(machine.device("8:16").refusal(GB, true), Some(Refusal::InUse("swap".into())));
    machine.put("proc/swaps", "Filename Type\n");
    machine.put(&format!("sys/devices/{STICK}/sdb2/holders/dm-0/dev"), "254:0");
    assert_eq!(
        machine.device("8:16").refusal(GB, true),
        Some(Refusal::InUse("part of dm-0".into()))
    );
}

#[test]
fn the_systems_own_disk_is_refused_also_by_force() {
    let machine = Machine::new("system");
    machine.disk("pci0/nvme/nvme0/nvme0n1", "259:0", 500 * GB, false, &[("nvme0n1p2", "259:2")]);
    assert_eq!(machine.device("259:0").refusal(GB, false), Some(Refusal::Fixed));
    assert_eq!(machine.device("259:0").refusal(GB, true), None);
    machine.put("proc/self/mountinfo", "22 1 259:2 / / rw - ext4 /dev/nvme0n1p2 rw\n");
    assert_eq!(
        machine.device("259:0").refusal(GB, true),
        Some(Refusal::System("mounted on /".into()))
    );
}

#[test]
fn sectors_that_no_firmware_finds_the_table_in_are_refused() {
    let machine = Machine::new("sectors");
    machine.disk(STICK, "8:16", 16 * GB, true, &[]);
    machine.put(&format!("sys/devices/{STICK}/queue/logical_block_size"), "4096\n");
    let refusal = machine.device("8:16").refusal(GB, true);
    assert_eq!(refusal, Some(Refusal::Sectors(4096)));
    let said = refusal.map(|refusal| refusal.to_string()).unwrap_or_default();
    assert!(said.contains("4096 bytes") && said.contains("sectors of 512 bytes"), "{said}");
    machine.put(&format!("sys/devices/{STICK}/queue/logical_block_size"), "512\n");
    assert_eq!(machine.device("8:16").refusal(GB, false), None);
}

#[test]
fn sizes_parts_and_protection() {
    let machine = Machine::new("sizes");
    machine.disk(STICK, "8:16", 16 * GB, true, &[("sdb1", "8:17")]);
    let wants = 17 * GB;
    assert_eq!(
        machine.device("8:16").refusal(wants, true),
        Some(Refusal::TooSmall { has: 16 * GB / 512 * 512, wants })
    );
    assert_eq!(machine.device("8:17").refusal(1, true), Some(Refusal::Part("sdb".into())));
    machine.put(&format!("sys/devices/{STICK}/ro"), "1\n");
    assert_eq!(machine.device("8:16").refusal(GB, true), Some(Refusal::ReadOnly));
    machine.disk("pci0/usb2/2-2/block/sdc", "8:32", LARGE + 512, false, &[]);
    let large = machine.device("8:32");
    assert!(matches!(large.refusal(GB, false), Some(Refusal::TooLarge(_))));
    assert_eq!(large.refusal(GB, true), None);
}

#[test]
fn other_things_are_no_devices() {
    let host = Host::at(Path::new("/nonexistent"));
    for path in ["/nonexistent/sdx", "/dev/null", "/tmp"] {
        assert!(Device::find(&host, Path::new(path)).is_err(), "{path}");
    }
}
