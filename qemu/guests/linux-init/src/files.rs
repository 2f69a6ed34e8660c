//! Files by name.

use core::ffi::CStr;

use linux_init::work::PAGE;

use crate::call::{File, READ_ONLY, Region, WRITE_ONLY};
use crate::print::Failure;

/// A small file as a text.
pub(crate) fn text<'a>(path: &CStr, buffer: &'a mut [u8]) -> Result<&'a str, Failure> {
    let file = File::open(path, READ_ONLY)?;
    let mut length = 0;
    loop {
        let count = file.read(&mut buffer[length..])?;
        length += count;
        if count == 0 || length == buffer.len() {
            break;
        }
    }
    core::str::from_utf8(&buffer[..length]).map_err(|_| Failure::Content("a text file"))
}

/// Writes a setting.
pub(crate) fn set(path: &CStr, value: &str) -> Result<(), Failure> {
    File::open(path, WRITE_ONLY)?.write(value.as_bytes())
}

/// All captured pages, in memory.
pub(crate) fn pages() -> Result<Region, Failure> {
    let captured = Pages::open()?;
    let mut content = Region::map(captured.count() as usize * PAGE)?;
    for (number, page) in content.bytes().chunks_exact_mut(PAGE).enumerate() {
        let page = page.try_into().map_err(|_| Failure::Content("/pages"))?;
        captured.read(number as u64, page)?;
    }
    Ok(content)
}

/// The captured pages of the initramfs.
pub(crate) struct Pages {
    file: File,
    count: u64,
}

impl Pages {
    /// Opens them.
    pub(crate) fn open() -> Result<Self, Failure> {
        let file = File::open(c"/pages", READ_ONLY)?;
        let length = file.length()?;
        if length == 0 || !length.is_multiple_of(PAGE as u64) {
            return Err(Failure::Content("/pages"));
        }
        Ok(Self { file, count: length / PAGE as u64 })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Reads one.
    pub(crate) fn read(&self, number: u64, page: &mut [u8; PAGE]) -> Result<(), Failure> {
        self.file.read_at(page, number * PAGE as u64)
    }
}
