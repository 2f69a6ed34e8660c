//! Files of the partition that the loader came from, each read whole into pages that stay.

use core::slice;

use heapless::{String, Vec};
use uefi::boot::{self, MemoryType, ScopedProtocol};
use uefi::proto::media::file::{Directory, File as _, FileAttribute, FileMode, RegularFile};
use uefi::proto::media::fs::SimpleFileSystem;
use uefi::{CStr16, Status};

use crate::allocate;
use crate::error::LoadError;
use crate::name::{LONGEST, MOST, Name, left_out};

/// Room for what the firmware says of a file, aligned as it has to be (UEFI 2.10, 13.5:
/// EFI_FILE_INFO); a name has 255 letters at most.
#[repr(C, align(8))]
struct Entry([u8; 1024]);

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

    /// The names of the files beside `bale.toml` that are `wanted`. Those that are too long or too
    /// many are left out, which is said.
    pub(crate) fn names(&mut self, wanted: fn(&str) -> bool) -> Result<Vec<Name, MOST>, LoadError> {
        let mut names = Vec::new();
        let mut entry = Entry([0; 1024]);
        self.root.reset_entry_readout().map_err(|_| LoadError::NoVolume)?;
        while let Some(info) =
            self.root.read_entry(&mut entry.0).map_err(|_| LoadError::NoVolume)?
        {
            let mut name = String::<{ 3 * 255 }>::new();
            // It fits: three bytes are enough for a letter.
            let _ = info.file_name().as_str_in_buf(&mut name);
            if info.attribute().contains(FileAttribute::DIRECTORY) || !wanted(&name) {
                continue;
            }
            match Name::try_from(name.as_str()) {
                Ok(name) => {
                    if let Err(name) = names.push(name) {
                        left_out(&name, "there are too many descriptions");
                    }
                }
                Err(_) => left_out(&name, "its name is too long"),
            }
        }
        Ok(names)
    }

    /// A file; `None` if it is not there.
    pub(crate) fn open(&mut self, name: &str) -> Result<Option<Opened>, LoadError> {
        let copy = Name::try_from(name).map_err(|_| LoadError::Unreadable(Name::new()))?;
        let unreadable = || LoadError::Unreadable(copy.clone());
        let mut letters = [0; LONGEST + 1];
        let path = CStr16::from_str_with_buf(name, &mut letters).map_err(|_| unreadable())?;
        let handle = match self.root.open(path, FileMode::Read, FileAttribute::empty()) {
            Ok(handle) => handle,
            Err(error) if error.status() == Status::NOT_FOUND => return Ok(None),
            Err(_) => return Err(unreadable()),
        };
        let mut file = handle.into_regular_file().ok_or_else(unreadable)?;
        // The end of the file, UEFI 2.10, 13.5: SetPosition.
        file.set_position(u64::MAX).map_err(|_| unreadable())?;
        let size = file.get_position().map_err(|_| unreadable())?;
        file.set_position(0).map_err(|_| unreadable())?;
        let size = usize::try_from(size).ok().filter(|_| size <= LARGEST).ok_or_else(unreadable)?;
        Ok(Some(Opened { file, name: copy, size }))
    }

    /// The bytes of a file, in memory that stays; `None` if it is not there.
    pub(crate) fn read(&mut self, name: &str) -> Result<Option<&'static [u8]>, LoadError> {
        let Some(file) = self.open(name)? else { return Ok(None) };
        let size = file.size();
        let bytes = &mut pages(size.max(1), MemoryType::LOADER_DATA)?[..size];
        file.read(bytes)?;
        Ok(Some(bytes))
    }
}

/// A file that is there.
pub(crate) struct Opened {
    file: RegularFile,
    name: Name,
    size: usize,
}

impl Opened {
    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Reads all of it into so much room.
    pub(crate) fn read(mut self, into: &mut [u8]) -> Result<(), LoadError> {
        let mut filled = 0;
        while filled < into.len() {
            match self.file.read(&mut into[filled..]) {
                Ok(count) if count != 0 => filled += count,
                _ => return Err(LoadError::Unreadable(self.name)),
            }
        }
        Ok(())
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
