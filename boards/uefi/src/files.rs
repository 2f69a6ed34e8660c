//! Files of the partition that the loader came from, each read whole into pages that stay.

use core::slice;

use uefi::boot::{self, MemoryType, ScopedProtocol};
use uefi::proto::media::file::{Directory, File as _, FileAttribute, FileMode};
use uefi::proto::media::fs::SimpleFileSystem;
use uefi::{CStr16, Status};

use crate::allocate;
use crate::error::LoadError;

/// Files larger than this are not ours.
const LARGEST: u64 = 2 << 30;

/// The partition.
pub(crate) struct Volume {
    root: Directory,
    _system: ScopedProtocol<SimpleFileSystem>,
}

impl Volume {
    pub(crate) fn of_this_program() -> Result<Self, LoadError> {
        let mut system =
            boot::get_image_file_system(boot::image_handle()).map_err(|_| LoadError::NoVolume)?;
        let root = system.open_volume().map_err(|_| LoadError::NoVolume)?;
        Ok(Self { root, _system: system })
    }

    /// The bytes of a file; `None` if it is not there.
    pub(crate) fn read(&mut self, name: &'static str) -> Result<Option<&'static [u8]>, LoadError> {
        let unreadable = LoadError::Unreadable;
        let mut letters = [0; 64];
        let path = CStr16::from_str_with_buf(name, &mut letters).map_err(|_| unreadable(name))?;
        let handle = match self.root.open(path, FileMode::Read, FileAttribute::empty()) {
            Ok(handle) => handle,
            Err(error) if error.status() == Status::NOT_FOUND => return Ok(None),
            Err(_) => return Err(unreadable(name)),
        };
        let mut file = handle.into_regular_file().ok_or(unreadable(name))?;
        // The end of the file, UEFI 2.10, 13.5: SetPosition.
        file.set_position(u64::MAX).map_err(|_| unreadable(name))?;
        let size = file.get_position().map_err(|_| unreadable(name))?;
        file.set_position(0).map_err(|_| unreadable(name))?;
        let size = usize::try_from(size).ok().filter(|_| size <= LARGEST).ok_or(unreadable(name))?;
        let bytes = &mut pages(size.max(1), MemoryType::LOADER_DATA)?[..size];
        let mut filled = 0;
        while filled < size {
            match file.read(&mut bytes[filled..]) {
                Ok(count) if count != 0 => filled += count,
                _ => return Err(unreadable(name)),
            }
        }
        Ok(Some(bytes))
    }
}

/// Zeroed memory in whole pages, for good.
pub(crate) fn pages(bytes: usize, kind: MemoryType) -> Result<&'static mut [u8], LoadError> {
    let start = allocate(bytes, kind)?;
    let length = bytes.next_multiple_of(4096);
    // SAFETY: the firmware gave these pages to us; they are mapped at this address.
    unsafe { start.as_ptr().write_bytes(0, length) };
    // SAFETY: as above, initialised now, and never given back.
    Ok(unsafe { slice::from_raw_parts_mut(start.as_ptr(), length) })
}
