//! Writing an image and reading it back.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Bytes between two reports of progress.
const STEP: usize = 4 << 20;
/// Bytes at the end of a disk in which an older partition table may keep its copy.
const TAIL: u64 = 34 * 512;

/// Bytes at the start that hold the partition table, before the first partition.
const TABLE: usize = 34 * 512;

/// What an image is written to.
pub(super) trait Medium: Read + Write + Seek {
    /// Lets everything written reach the device, and forgets what is cached, so that reading asks
    /// the device.
    fn settle(&mut self) -> io::Result<()>;
}

/// A disk or a file, nobody else's for as long as it is open.
pub(super) struct Opened {
    file: File,
    is_disk: bool,
}

impl Opened {
    pub(super) fn new(path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        // On a block device without O_CREAT, O_EXCL fails while somebody else uses it (open(2)).
        options.read(true).write(true).custom_flags(libc::O_EXCL);
        let file =
            options.open(path).with_context(|| match rustix::process::getuid().is_root() {
                true => format!("cannot open {}", path.display()),
                false => {
                    format!("cannot open {}; writing to disks wants root (sudo)", path.display())
                }
            })?;
        let is_disk = file.metadata()?.file_type().is_block_device();
        Ok(Self { file, is_disk })
    }
}

impl Read for Opened {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read(bytes)
    }
}

impl Write for Opened {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Opened {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// BLKFLSBUF of linux/fs.h: writes back and drops what the kernel holds of a block device.
const FLUSH_BUFFERS: libc::Ioctl = 0x1261;

impl Medium for Opened {
    fn settle(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        if self.is_disk {
            // SAFETY: a request without an argument, on a file that is open.
            if unsafe { libc::ioctl(self.file.as_raw_fd(), FLUSH_BUFFERS, 0) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed)?;
        Ok(())
    }
}

/// What is being done, for the progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Write,
    Verify,
}

/// Writes an image to the start of a medium of `bytes`, wipes what an older partition table left at
/// its end, and reads everything back.
///
/// # Errors
/// What the medium says, with the place where it said so; or the first place that reads back
/// differently.
pub(super) fn write(
    medium: &mut impl Medium,
    bytes: u64,
    image: &[u8],
    mut progress: impl FnMut(Phase, u64),
) -> Result<()> {
    let mut at = 0;
    let tail = bytes.saturating_sub(TAIL).max(image.len() as u64);
    if tail < bytes {
        // The old copy goes first: a half-written medium must not look like what it was.
        let zeroes = vec![0; usize::try_from(bytes - tail)?];
        medium.seek(SeekFrom::Start(tail))?;
        medium.write_all(&zeroes).context("the end of the device cannot be written")?;
    }
    // The partition table goes last: half an image must not look like a whole one.
    let (table, rest) = image.split_at(TABLE.min(image.len()));
    medium.seek(SeekFrom::Start(0))?;
    medium.write_all(&vec![0; table.len()]).context("the first bytes cannot be written")?;
    for part in rest.chunks(STEP) {
        medium.write_all(part).with_context(|| format!("writing stopped after {at} bytes"))?;
        at += part.len() as u64;
        progress(Phase::Write, at);
    }
    medium.flush().and_then(|()| medium.settle()).context("not everything reached the device")?;
    medium.seek(SeekFrom::Start(0))?;
    medium.write_all(table).context("the partition table cannot be written")?;
    progress(Phase::Write, image.len() as u64);
    medium.flush().and_then(|()| medium.settle()).context("not everything reached the device")?;
    verify(medium, image, |at| progress(Phase::Verify, at))
}

fn verify(medium: &mut impl Medium, image: &[u8], mut progress: impl FnMut(u64)) -> Result<()> {
    medium.seek(SeekFrom::Start(0))?;
    let (mut at, mut back) = (0, vec![0; STEP]);
    for part in image.chunks(STEP) {
        let back = &mut back[..part.len()];
        medium
            .read_exact(back)
            .with_context(|| format!("reading back stopped after {at} bytes"))?;
        if let Some(place) = part.iter().zip(&*back).position(|(wrote, read)| wrote != read) {
            let place = at + place as u64;
            bail!(
                "byte {place} reads back differently: the device is broken, or smaller than it says"
            );
        }
        at += part.len() as u64;
        progress(at);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};

    use super::{Medium, Opened, Phase, STEP, TABLE, TAIL, write};

    /// A medium in memory that can fail.
    struct Fake {
        bytes: Cursor<Vec<u8>>,
        fails_at: Option<u64>,
        flips: Option<usize>,
    }

    impl Fake {
        fn new(size: usize) -> Self {
            Self { bytes: Cursor::new(vec![0xee; size]), fails_at: None, flips: None }
        }
    }

    impl Read for Fake {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.bytes.read(bytes)
        }
    }

    impl Seek for Fake {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.bytes.seek(to)
        }
    }

    impl Write for Fake {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let end = self.bytes.position() + bytes.len() as u64;
            if self.fails_at.is_some_and(|place| (self.bytes.position()..end).contains(&place)) {
                return Err(io::Error::other("a bad block"));
            }
            self.bytes.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Medium for Fake {
        fn settle(&mut self) -> io::Result<()> {
            if let Some(place) = self.flips {
                // No byte of the image.
                self.bytes.get_mut()[place] = 0xfe;
            }
            Ok(())
        }
    }

    const SIZE: usize = 2 * STEP + 1000;

    fn image() -> Vec<u8> {
        (0..SIZE).map(|place| u8::try_from(place % 251).unwrap_or(0)).collect()
    }

    fn flash(medium: &mut Fake) -> Result<Vec<(Phase, u64)>, String> {
        let mut steps = Vec::new();
        let bytes = medium.bytes.get_ref().len() as u64;
        write(medium, bytes, &image(), |phase, at| steps.push((phase, at)))
            .map(|()| steps)
            .map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn everything_arrives_and_old_tables_go() {
        let mut medium = Fake::new(3 * STEP);
        let steps = flash(&mut medium).expect("written");
        assert_eq!(steps.first(), Some(&(Phase::Write, STEP as u64)));
        assert!(steps.contains(&(Phase::Write, SIZE as u64)));
        assert_eq!(steps.last(), Some(&(Phase::Verify, SIZE as u64)));
        let bytes = medium.bytes.into_inner();
        assert!(bytes[..SIZE] == image());
        let tail = bytes.len() - usize::try_from(TAIL).expect("small");
        assert!(bytes[SIZE..tail].iter().all(|&byte| byte == 0xee));
        assert!(bytes[tail..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_medium_of_the_images_size_is_enough() {
        assert!(flash(&mut Fake::new(SIZE)).is_ok());
    }

    #[test]
    fn a_write_error_half_way_is_said() {
        let place = (TABLE + STEP + 5) as u64;
        let mut medium = Fake { fails_at: Some(place), ..Fake::new(3 * STEP) };
        let error = flash(&mut medium).expect_err("a bad block");
        assert!(
            error.contains(&format!("after {STEP} bytes")) && error.contains("a bad block"),
            "{error}"
        );
        assert!(
            medium.bytes.get_ref()[..TABLE].iter().all(|&byte| byte == 0),
            "half an image has a table"
        );
    }

    #[test]
    fn what_reads_back_differently_is_said() {
        let mut medium = Fake { flips: Some(STEP + 7), ..Fake::new(3 * STEP) };
        let error = flash(&mut medium).expect_err("a flipped bit");
        assert!(error.contains(&format!("byte {} reads back differently", STEP + 7)), "{error}");
    }

    #[test]
    fn a_plain_file_is_a_medium() {
        let path = std::env::temp_dir().join(format!("bale-flash-file-{}", std::process::id()));
        std::fs::write(&path, vec![1; SIZE + 99]).expect("a file");
        let mut medium = Opened::new(&path).expect("opened");
        write(&mut medium, SIZE as u64 + 99, &image(), |_, _| {}).expect("written");
        assert!(std::fs::read(&path).expect("there")[..SIZE] == image());
        std::fs::remove_file(&path).expect("removed");
    }
}
