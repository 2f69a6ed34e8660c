//! Where kernel, device tree and initial RAM disk go in a guest's memory, and whether they fit.
//!
//! From the start of memory: the kernel at its text offset, the device tree at the next 2 MiB boundary, the initial RAM
//! disk at the one after.

use core::fmt;

use crate::guest_image::{GuestImage, ImageError};
use crate::guest_tree::RAM;

/// What the device tree and the initial RAM disk begin at; the tree has one to itself.
const BOUNDARY: u64 = 2 << 20;

/// Guest-physical addresses of what a machine starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestLayout {
    /// Of the kernel, which is its entry too.
    pub kernel: u64,
    /// Of the device tree.
    pub tree: u64,
    /// Start and end of the initial RAM disk.
    pub initrd: Option<(u64, u64)>,
}

/// Why a machine cannot be laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayoutError {
    /// The kernel cannot be started.
    Image(ImageError),
    /// It does not fit into the memory.
    ImageTooLarge,
    /// The initial RAM disk does not fit beside it.
    InitrdTooLarge,
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(error) => write!(f, "the image cannot be started: {error}"),
            Self::ImageTooLarge => f.write_str("the image does not fit into the guest's memory"),
            Self::InitrdTooLarge => {
                f.write_str("the initrd does not fit into the guest's memory beside its kernel")
            }
        }
    }
}

impl GuestLayout {
    /// That of a kernel, and of an initial RAM disk of so many bytes, in so many bytes of memory.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub fn new(memory: u64, kernel: &[u8], initrd: Option<u64>) -> Result<Self, LayoutError> {
        let image = GuestImage::parse(kernel).map_err(LayoutError::Image)?;
        let end = RAM.saturating_add(memory);
        let kernel = image.load_address(RAM);
        let tree = kernel
            .checked_add(image.image_size)
            .and_then(|end| end.checked_next_multiple_of(BOUNDARY))
            .filter(|tree| tree.checked_add(BOUNDARY).is_some_and(|behind| behind <= end))
            .ok_or(LayoutError::ImageTooLarge)?;
        let initrd = match initrd {
            None => None,
            Some(length) => {
                let start = tree + BOUNDARY;
                let last = start.checked_add(length).filter(|last| *last <= end);
                Some((start, last.ok_or(LayoutError::InitrdTooLarge)?))
            }
        };
        Ok(Self { kernel, tree, initrd })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    /// An image of so many bytes of memory that has nothing but its header.
    fn image(size: u64) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[0x10..0x18].copy_from_slice(&size.to_le_bytes());
        bytes[0x38..0x3c].copy_from_slice(b"ARM\x64");
        bytes
    }

    #[test]
    fn one_behind_the_other() {
        let layout = GuestLayout::new(8 * MIB, &image(3 * MIB), Some(2 * MIB)).unwrap();
        assert_eq!((layout.kernel, layout.tree), (RAM, RAM + 4 * MIB));
        assert_eq!(layout.initrd, Some((RAM + 6 * MIB, RAM + 8 * MIB)));
        assert_eq!(GuestLayout::new(8 * MIB, &image(3 * MIB), None).unwrap().initrd, None);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let with = |memory, size, initrd| GuestLayout::new(memory, &image(size), initrd);
        assert_eq!(with(4 * MIB, 3 * MIB, None), Err(LayoutError::ImageTooLarge));
        assert_eq!(with(8 * MIB, 3 * MIB, Some(2 * MIB + 1)), Err(LayoutError::InitrdTooLarge));
        assert_eq!(with(8 * MIB, 3 * MIB, Some(u64::MAX)), Err(LayoutError::InitrdTooLarge));
        let broken = GuestLayout::new(8 * MIB, &[0; 64], None);
        assert_eq!(broken, Err(LayoutError::Image(ImageError::NoMagic)));
    }

    proptest! {
        #[test]
        fn any_sizes(memory: u64, size: u64, initrd: Option<u64>) {
            if let Ok(layout) = GuestLayout::new(memory, &image(size), initrd) {
                let end = RAM.saturating_add(memory);
                prop_assert!(layout.kernel < layout.tree && layout.tree < end);
                let initrd = layout.initrd.is_none_or(|(start, last)| start > layout.tree && last <= end);
                prop_assert!(initrd);
            }
        }
    }
}
