//! Where kernel, device tree and initial RAM disk go in a guest's memory, and whether they fit.
//!
//! An arm64 Image says how much memory is its own: from the start of memory come the kernel at its
//! text offset, the device tree at the next 2 MiB boundary, the initial RAM disk at the one after.
//! A binary without a header does not say it, so everything keeps away from it as under QEMU's
//! `virt` machine (its hw/arm/boot.c): the initial RAM disk is in the middle of memory, or 128 MiB
//! in, and the device tree at the next 2 MiB boundary. That machine has one at the start of memory
//! for ELF files and for firmware; so a copy is there where the binary leaves room.

use core::fmt;

use crate::guest_image::{ImageError, Placement, Raw};
use crate::guest_tree::{FIRMWARE, FLASH, RAM};

/// What the device tree and the initial RAM disk begin at; behind an Image the tree has one to
/// itself.
const BOUNDARY: u64 = 2 << 20;
/// Room that a device tree has at least.
const TREE_ROOM: u64 = 64 << 10;
/// How far into memory an initial RAM disk begins at most, unless the kernel reaches further.
const FAR: u64 = 128 << 20;

/// Guest-physical addresses of what a machine starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestLayout {
    /// Of the kernel's first byte; [`FIRMWARE`] for what lies in read-only memory.
    pub kernel: u64,
    /// Where the first virtual CPU starts.
    pub entry: u64,
    /// Of the device tree.
    pub tree: u64,
    /// Of a copy of it.
    pub copy: Option<u64>,
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
    /// A raw binary begins in front of the memory.
    BelowMemory,
    /// It starts outside of itself, or at no instruction's address.
    Entry,
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(error) => write!(f, "the image cannot be started: {error}"),
            Self::ImageTooLarge => f.write_str("the image does not fit into the guest's memory"),
            Self::InitrdTooLarge => {
                f.write_str("the initrd does not fit into the guest's memory beside its kernel")
            }
            Self::BelowMemory => {
                write!(
                    f,
                    "the image is loaded below the guest's memory, which begins at {RAM:#x}; firmware goes to 0"
                )
            }
            Self::Entry => f.write_str("the image's entry is no instruction of its own"),
        }
    }
}

impl GuestLayout {
    /// That of a kernel, raw if it is said how, and of an initial RAM disk of so many bytes, in so
    /// many bytes of memory.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub fn new(
        memory: u64,
        kernel: &[u8],
        raw: Option<Raw>,
        initrd: Option<u64>,
    ) -> Result<Self, LayoutError> {
        let image = Placement::new(kernel, raw).map_err(LayoutError::Image)?;
        let Placement { load, entry, size, raw } = image;
        let end = RAM.saturating_add(memory);
        let flash = load == FIRMWARE;
        if load < RAM && !flash {
            return Err(LayoutError::BelowMemory);
        }
        let limit = if flash { FLASH } else { end };
        let last = load
            .checked_add(size)
            .filter(|last| *last <= limit)
            .ok_or(LayoutError::ImageTooLarge)?;
        if !(load..last).contains(&entry) || !entry.is_multiple_of(4) {
            return Err(LayoutError::Entry);
        }
        let room = |start: u64, length: u64| start.checked_add(length).filter(|last| *last <= end);
        let boundary =
            |address: u64| address.checked_next_multiple_of(BOUNDARY).unwrap_or(u64::MAX);
        if !raw {
            let tree = boundary(last);
            let behind = room(tree, BOUNDARY).ok_or(LayoutError::ImageTooLarge)?;
            let initrd = initrd.map(|length| room(behind, length).map(|last| (behind, last)));
            let initrd =
                initrd.map(|place| place.ok_or(LayoutError::InitrdTooLarge)).transpose()?;
            return Ok(Self { kernel: load, entry, tree, copy: None, initrd });
        }
        let away = boundary(last.max(RAM + (memory / 2).min(FAR)));
        let initrd = initrd.map(|length| room(away, length).map(|last| (away, last)));
        let initrd = initrd.map(|place| place.ok_or(LayoutError::InitrdTooLarge)).transpose()?;
        let behind = initrd.map_or(away, |(_, last)| boundary(last));
        let first = (flash || load - RAM >= TREE_ROOM).then_some(RAM);
        // A small machine has room in one of the places alone.
        let (tree, copy) = match room(behind, TREE_ROOM) {
            Some(_) => (behind, first),
            None => (first.ok_or(LayoutError::ImageTooLarge)?, None),
        };
        Ok(Self { kernel: load, entry, tree, copy, initrd })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest_image::{Format, RAW_LOAD};
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    /// An image of so many bytes of memory that has nothing but its header.
    fn image(size: u64) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[0x10..0x18].copy_from_slice(&size.to_le_bytes());
        bytes[0x38..0x3c].copy_from_slice(b"ARM\x64");
        bytes
    }

    fn raw(
        memory: u64,
        load: u64,
        entry: u64,
        initrd: Option<u64>,
    ) -> Result<GuestLayout, LayoutError> {
        GuestLayout::new(memory, &[0; 4096], Some(Raw { load, entry }), initrd)
    }

    #[test]
    fn one_behind_the_other() {
        let layout = GuestLayout::new(8 * MIB, &image(3 * MIB), None, Some(2 * MIB)).unwrap();
        assert_eq!((layout.kernel, layout.entry, layout.tree), (RAM, RAM, RAM + 4 * MIB));
        assert_eq!(layout.initrd, Some((RAM + 6 * MIB, RAM + 8 * MIB)));
        assert_eq!(GuestLayout::new(8 * MIB, &image(3 * MIB), None, None).unwrap().initrd, None);
    }

    #[test]
    fn raw_binaries_as_under_qemu() {
        let layout = raw(256 * MIB, RAW_LOAD, RAW_LOAD, Some(MIB)).unwrap();
        assert_eq!(
            (layout.kernel, layout.tree, layout.copy),
            (RAW_LOAD, RAM + 130 * MIB, Some(RAM))
        );
        assert_eq!(layout.initrd, Some((RAM + 128 * MIB, RAM + 129 * MIB)));
        // As QEMU 7.2 gives it to a raw binary in 256 MiB.
        assert_eq!(raw(256 * MIB, RAW_LOAD, RAW_LOAD, None).unwrap().tree, 0x4800_0000);
        // One that begins where memory does.
        let first = raw(64 * MIB, RAM, RAM + 4, Some(MIB)).unwrap();
        assert_eq!((first.entry, first.tree, first.copy), (RAM + 4, RAM + 34 * MIB, None));
        assert_eq!(first.initrd, Some((RAM + 32 * MIB, RAM + 33 * MIB)));
        // The smallest machine has room for a small one.
        assert_eq!(raw(2 * MIB, RAW_LOAD, RAW_LOAD, None).unwrap().tree, RAM);
        assert_eq!(raw(2 * MIB, RAM, RAM, None), Err(LayoutError::ImageTooLarge));
        assert_eq!(raw(2 * MIB, RAW_LOAD, RAW_LOAD, Some(1)), Err(LayoutError::InitrdTooLarge));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let with = |memory, size, initrd| GuestLayout::new(memory, &image(size), None, initrd);
        assert_eq!(with(4 * MIB, 3 * MIB, None), Err(LayoutError::ImageTooLarge));
        assert_eq!(with(8 * MIB, 3 * MIB, Some(2 * MIB + 1)), Err(LayoutError::InitrdTooLarge));
        assert_eq!(with(8 * MIB, 3 * MIB, Some(u64::MAX)), Err(LayoutError::InitrdTooLarge));
        let broken = GuestLayout::new(8 * MIB, &[0; 64], None, None);
        assert_eq!(broken, Err(LayoutError::Image(ImageError::Other(Format::Unknown))));
        assert_eq!(raw(8 * MIB, 4096, 4096, None), Err(LayoutError::BelowMemory));
        // Firmware is in a memory of its own, and finds the tree where memory begins.
        let firmware = raw(8 * MIB, 0, 0, None).unwrap();
        assert_eq!((firmware.kernel, firmware.entry, firmware.copy), (0, 0, Some(RAM)));
        assert_eq!(raw(8 * MIB, RAM + 8 * MIB - 4095, RAM, None), Err(LayoutError::ImageTooLarge));
        assert_eq!(raw(8 * MIB, u64::MAX - 4094, RAM, None), Err(LayoutError::ImageTooLarge));
        for entry in [RAM + MIB - 4, RAM + MIB + 4096, RAM + MIB + 2] {
            assert_eq!(raw(8 * MIB, RAM + MIB, entry, None), Err(LayoutError::Entry), "{entry:#x}");
        }
        let empty = GuestLayout::new(8 * MIB, &[], Some(Raw { load: RAM, entry: RAM }), None);
        assert_eq!(empty, Err(LayoutError::Entry));
    }

    proptest! {
        #[test]
        fn any_sizes(memory: u64, size: u64, initrd: Option<u64>) {
            if let Ok(layout) = GuestLayout::new(memory, &image(size), None, initrd) {
                let end = RAM.saturating_add(memory);
                prop_assert!(layout.kernel < layout.tree && layout.tree < end);
                let initrd = layout.initrd.is_none_or(|(start, last)| start > layout.tree && last <= end);
                prop_assert!(initrd);
            }
        }

        /// Nothing of a raw binary, its tree and its initial RAM disk lies on another, nor outside.
        #[test]
        fn any_raw(blocks in 1..2048u64, load in 0..8 * MIB, entry in 0..4096u64, initrd: Option<u32>) {
            let (memory, load) = (blocks * 2 * MIB, RAM + load);
            if let Ok(layout) = raw(memory, load, load + entry, initrd.map(u64::from)) {
                let mut parts = vec![(layout.kernel, layout.kernel + 4096), (layout.tree, layout.tree + TREE_ROOM)];
                parts.extend(layout.copy.map(|copy| (copy, copy + TREE_ROOM)));
                parts.extend(layout.initrd);
                parts.sort_unstable();
                prop_assert!(parts.windows(2).all(|pair| pair[0].1 <= pair[1].0));
                prop_assert!(parts[0].0 >= RAM && parts.iter().all(|part| part.1 <= RAM + memory));
            }
        }
    }
}
