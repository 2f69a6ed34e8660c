//! Files that a user or a boot loader gives: descriptions of machines, the boot configuration, a
//! guest's kernel.

use bale_core::boot_config;
use bale_core::guest_image::{GuestImage, Raw};
use bale_core::guest_layout::GuestLayout;
use bale_core::guest_tree::{FIRMWARE, FLASH};
use bale_core::vgic::MAX_VCPUS;
use bale_core::vm_description::VmDescription;

const RAM_BASE: u64 = 0x4000_0000;

pub(crate) fn run(bytes: &[u8]) {
    match VmDescription::parse(bytes) {
        Ok(description) => {
            assert!((1..=MAX_VCPUS).contains(&description.vcpus), "{} vCPUs", description.vcpus);
            assert!(description.memory > 0 && description.memory % (2 << 20) == 0);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Err(error) = boot_config::parse(bytes) {
        assert!(!error.to_string().is_empty());
    }
    match GuestImage::parse(bytes) {
        Ok(image) => assert!(image.load_address(RAM_BASE) >= RAM_BASE),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    // The first bytes say how it is placed.
    let word = |at: usize| {
        bytes
            .get(at..at + 8)
            .map_or(0, |word| word.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)))
    };
    let raw = Raw { load: word(0), entry: word(8) };
    for raw in [None, Some(raw)] {
        match GuestLayout::new(word(16), bytes, raw, Some(word(24))) {
            Ok(layout) => {
                // Firmware lies in a memory of its own, in front of the flash.
                let (first, last) = if layout.kernel == FIRMWARE {
                    (FIRMWARE, FLASH)
                } else {
                    (RAM_BASE, u64::MAX)
                };
                assert!((first..last).contains(&layout.kernel) && layout.tree >= RAM_BASE);
                assert!(layout.entry >= layout.kernel && layout.entry < last);
                assert!(
                    layout.initrd.is_some_and(
                        |(start, end)| start >= layout.kernel && end - start == word(24)
                    )
                );
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
