//! Files that a user or a boot loader gives: descriptions of machines, the boot configuration, a guest's kernel.

use bale_core::boot_config;
use bale_core::guest_image::GuestImage;
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
    if let Ok(image) = GuestImage::parse(bytes) {
        assert!(image.load_address(RAM_BASE) >= RAM_BASE);
    }
}
