//! Archives in the "new ASCII" format of cpio, which Linux unpacks as its initial RAM disk
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

const MAGIC: &str = "070701";
const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_777;
/// What of a mode says who may do what, set-user-ID and its like among it.
const RIGHTS: u32 = 0o7777;
const TRAILER: &str = "TRAILER!!!";

/// An archive that grows.
#[derive(Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    inode: u32,
}

impl Archive {
    /// Adds a folder.
    pub(crate) fn folder(&mut self, name: &str) {
        self.entry(name, FOLDER, (0, 0), &[]);
    }

    /// Adds a file that may be executed. The size has 32 bits.
    pub(crate) fn file(&mut self, name: &str, content: &[u8]) {
        self.entry(name, PROGRAM, (0, 0), content);
    }

    /// Adds a file with these rights.
    pub(crate) fn file_with(&mut self, name: &str, rights: u32, content: &[u8]) {
        self.entry(name, REGULAR | rights & RIGHTS, (0, 0), content);
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, name: &str, target: &str) {
        self.entry(name, LINK, (0, 0), target.as_bytes());
    }

    /// Adds a character device.
    pub(crate) fn device(&mut self, name: &str, major: u32, minor: u32) {
        self.entry(name, CHARACTER_DEVICE, (major, minor), &[]);
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.inode = 0;
        self.entry(TRAILER, 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        let fields = [
            self.inode,
            mode,
            0,
            0,
            1,
            0,
            u32::try_from(content.len()).unwrap_or(u32::MAX),
            0,
            0,
            device.0,
            device.1,
            u32::try_from(name.len() + 1).unwrap_or(u32::MAX),
            0,
        ];
        self.inode += 1;
        self.bytes.extend(MAGIC.bytes());
        for field in fields {
            self.bytes.extend(format!("{field:08X}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    /// Name, mode, device and content.
    type Entry = (String, u32, (u32, u32), Vec<u8>);

    /// The entries, read as the format says.
    fn read(bytes: &[u8]) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            assert_eq!(&bytes[at..at + 6], b"070701");
            let field = |index: usize| {
                let text = &bytes[at + 6 + 8 * index..at + 14 + 8 * index];
                u32::from_str_radix(core::str::from_utf8(text).expect("text"), 16)
                    .expect("hexadecimal")
            };
            let name = &bytes[at + 110..at + 110 + field(11) as usize];
            assert_eq!(name.last(), Some(&0));
            let start = (at + 110 + name.len()).next_multiple_of(4);
            let content = bytes[start..start + field(6) as usize].to_vec();
            let next = (start + content.len()).next_multiple_of(4);
            let name = String::from_utf8(name[..name.len() - 1].to_vec()).expect("text");
            entries.push((name, field(1), (field(9), field(10)), content));
            at = next;
        }
        entries
    }

    #[test]
    fn what_went_in_comes_out() {
        for length in 0..9 {
            let mut archive = Archive::default();
            archive.folder("dev");
            archive.device("dev/console", 5, 1);
            archive.file("init", &vec![7; length]);
            archive.file_with("etc/motd", 0o644, b"x");
            archive.link("bin", "usr/bin");
            let entries = read(&archive.finish());
            assert_eq!(entries[0], ("dev".into(), 0o040_755, (0, 0), vec![]));
            assert_eq!(entries[1], ("dev/console".into(), 0o020_600, (5, 1), vec![]));
            assert_eq!(entries[2], ("init".into(), 0o100_755, (0, 0), vec![7; length]));
            assert_eq!(entries[3], ("etc/motd".into(), 0o100_644, (0, 0), b"x".to_vec()));
            assert_eq!(entries[4], ("bin".into(), 0o120_777, (0, 0), b"usr/bin".to_vec()));
            assert_eq!(entries[5].0, "TRAILER!!!");
            assert_eq!(entries.len(), 6);
        }
    }
}
