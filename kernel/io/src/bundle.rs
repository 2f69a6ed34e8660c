//! The boot bundle: a tar archive handed over as the initrd, with guests' images and the pages they
//! swap.
//!
//! | entry | content |
//! |---|---|
//! | `guests/NAME` | an arm64 Image |
//! | `pages` | 4096-byte pages, one after the other |
//! | `NAME.vm` | description of a virtual machine (see [`bale_core::vm_description`]) |
//! | any other | a kernel or initial RAM disk that a description names |
//!
//! The bundle is not trusted: an archive that cannot be read, or pages that are not whole, are
//! errors.

use core::fmt;

use bale_core::device_tree::Machine;
use spin::Once;
use tar_no_std::TarArchiveRef;

use bale_memory::PAGE_SIZE;

/// What the name of a description ends with.
const DESCRIPTION: &str = ".vm";

static BUNDLE: Once<Bundle> = Once::new();

/// What the bundle holds.
#[derive(Debug)]
pub struct Bundle {
    archive: &'static [u8],
    pages: &'static [u8],
}

/// What is wrong with the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BundleError {
    /// Not a tar archive.
    NotTar,
    /// `pages` is empty or not a multiple of the page size.
    PagesNotWhole(usize),
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTar => f.write_str("it is not a tar archive; `cargo bale run` makes one"),
            Self::PagesNotWhole(length) => {
                write!(
                    f,
                    "its `pages` hold {length} bytes, which is no whole number of {PAGE_SIZE}-byte pages"
                )
            }
        }
    }
}

/// Finds and checks the bundle that the machine was started with; none is no error.
///
/// # Errors
/// See [`BundleError`].
pub fn find(machine: &Machine) -> Result<(), BundleError> {
    let Some(initrd) = &machine.initrd else { return Ok(()) };
    // SAFETY: the boot loader put the bundle there, it is mapped, and the frame allocator leaves it
    // alone.
    let archive =
        unsafe { core::slice::from_raw_parts(initrd.base as *const u8, initrd.size as usize) };
    let mut bundle = Bundle { archive, pages: &[] };
    if let Some(pages) = entry(archive, "pages")? {
        if pages.is_empty() || pages.len() % PAGE_SIZE != 0 {
            return Err(BundleError::PagesNotWhole(pages.len()));
        }
        bundle.pages = pages;
    }
    BUNDLE.call_once(|| bundle);
    Ok(())
}

fn entry(archive: &'static [u8], name: &str) -> Result<Option<&'static [u8]>, BundleError> {
    let archive = TarArchiveRef::new(archive).map_err(|_| BundleError::NotTar)?;
    let found = archive.entries().find(|entry| entry.filename().as_str() == Ok(name));
    Ok(found.map(|entry| entry.data()))
}

/// The captured pages; empty without a bundle.
pub fn pages() -> &'static [u8] {
    BUNDLE.get().map_or(&[], |bundle| bundle.pages)
}

/// Image of the guest with this name.
pub fn guest(name: &str) -> Option<&'static [u8]> {
    let mut path: heapless::String<64> = heapless::String::new();
    path.push_str("guests/").ok()?;
    path.push_str(name).ok()?;
    entry(BUNDLE.get()?.archive, &path).ok().flatten()
}

/// A file of the bundle, by its whole name.
pub fn file(name: &str) -> Option<&'static [u8]> {
    entry(BUNDLE.get()?.archive, name).ok().flatten()
}

/// The description of the virtual machine with this name.
pub fn description(name: &str) -> Option<&'static [u8]> {
    let mut path: heapless::String<64> = heapless::String::new();
    path.push_str(name).ok()?;
    path.push_str(DESCRIPTION).ok()?;
    file(&path)
}

/// Calls `visit` with the name of each virtual machine that the bundle describes. Of several files
/// of a name, as a boot loader may have put one in front, the first counts, here and elsewhere.
pub fn for_each_description(mut visit: impl FnMut(&str)) {
    let Some(archive) = BUNDLE.get().and_then(|bundle| TarArchiveRef::new(bundle.archive).ok())
    else {
        return;
    };
    for (place, entry) in archive.entries().enumerate() {
        let file = entry.filename();
        let Some(name) = file.as_str().ok().and_then(|name| name.strip_suffix(DESCRIPTION)) else {
            continue;
        };
        if archive.entries().take(place).all(|before| before.filename() != file) {
            visit(name);
        }
    }
}
