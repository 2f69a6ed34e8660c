//! Which device of a guest answers at an address below its memory.

use crate::guest_tree::{
    CLOCK, CONSOLE_SLOT, DISK_SLOT, DISTRIBUTOR, FIRMWARE, FLASH, REDISTRIBUTORS, REPORT,
    REPORT_SIZE, TEST_SLOT, UART, VIRTIO, VIRTIO_SIZE, VIRTIO_SLOTS,
};
use crate::vgic::{DISTRIBUTOR_SIZE, MAX_VCPUS, REDISTRIBUTOR_SIZE};
use crate::{cfi_flash, pl011, pl031};

/// A device and the address within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The interrupt controller's distributor.
    Distributor(u64),
    /// Its redistributors.
    Redistributors(u64),
    /// The flash that firmware lies in: the part that is not mapped, and writes.
    Firmware(u64),
    /// The flash for firmware's variables.
    Flash(u64),
    /// The UART.
    Uart(u64),
    /// The clock of the day.
    Clock(u64),
    /// The swap disk.
    Disk(u64),
    /// The virtio console.
    Port(u64),
    /// The console for the status of a test.
    Test(u64),
    /// A place for a virtio device where none can be: the address within it.
    Vacant(u64),
    /// What its user space tells.
    Report(u64),
}

impl Device {
    /// The device at an address.
    pub fn at(ipa: u64) -> Option<Self> {
        let within = |base: u64, size: u64| ipa.checked_sub(base).filter(|offset| *offset < size);
        within(DISTRIBUTOR, DISTRIBUTOR_SIZE)
            .map(Self::Distributor)
            .or_else(|| {
                within(REDISTRIBUTORS, REDISTRIBUTOR_SIZE * MAX_VCPUS as u64)
                    .map(Self::Redistributors)
            })
            .or_else(|| within(UART, pl011::SIZE).map(Self::Uart))
            .or_else(|| within(CLOCK, pl031::SIZE).map(Self::Clock))
            .or_else(|| {
                let offset = within(VIRTIO, VIRTIO_SIZE * u64::from(VIRTIO_SLOTS))?;
                let (slot, offset) = (offset / VIRTIO_SIZE, offset % VIRTIO_SIZE);
                // Fewer than 2^32.
                Some(match u32::try_from(slot).unwrap_or(VIRTIO_SLOTS) {
                    DISK_SLOT => Self::Disk(offset),
                    CONSOLE_SLOT => Self::Port(offset),
                    TEST_SLOT => Self::Test(offset),
                    _ => Self::Vacant(offset),
                })
            })
            .or_else(|| within(REPORT, REPORT_SIZE).map(Self::Report))
            .or_else(|| within(FLASH, cfi_flash::SIZE).map(Self::Flash))
            .or_else(|| within(FIRMWARE, FLASH).map(Self::Firmware))
    }

    /// Whether an access concerns what list registers hold: any write to the interrupt controller,
    /// and reads of what is pending or active.
    pub fn concerns_lists(self, write: bool) -> bool {
        match self {
            Self::Distributor(offset) | Self::Redistributors(offset) => {
                write || (0x200..0x400).contains(&(offset & 0xffff))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest_tree::RAM;

    type Make = fn(u64) -> Device;

    /// First and last addresses, as on QEMU's `virt` machine (its hw/arm/virt.c, `base_memmap`),
    /// but for the page of reports.
    const MAP: [(u64, u64, Make); 11] = [
        (0, 0x03ff_ffff, Device::Firmware),
        (0x0400_0000, 0x07ff_ffff, Device::Flash),
        (0x0800_0000, 0x0800_ffff, Device::Distributor),
        (0x080a_0000, 0x0819_ffff, Device::Redistributors),
        (0x0900_0000, 0x0900_0fff, Device::Uart),
        (0x0901_0000, 0x0901_0fff, Device::Clock),
        (0x0a00_0000, 0x0a00_01ff, Device::Disk),
        (0x0a00_0200, 0x0a00_03ff, Device::Port),
        (0x0a00_0400, 0x0a00_05ff, Device::Test),
        (0x0a00_0600, 0x0a00_3fff, |offset| Device::Vacant(offset % 0x200)),
        (0x0b00_0000, 0x0b00_0fff, Device::Report),
    ];

    fn expected(ipa: u64) -> Option<Device> {
        MAP.iter()
            .find(|(first, last, _)| (*first..=*last).contains(&ipa))
            .map(|(first, _, make)| make(ipa - first))
    }

    /// Steps through all that is below memory, smaller ones from the first device to behind the
    /// last, and all addresses around each end.
    #[test]
    fn every_address() {
        for ipa in (0x0700_0000..0x0c00_0000).step_by(0x40).chain((0..RAM).step_by(0x1000)) {
            assert_eq!(Device::at(ipa), expected(ipa), "{ipa:#x}");
        }
        for (first, last, _) in MAP {
            for ipa in (first.saturating_sub(16)..first + 16).chain(last - 16..last + 16) {
                assert_eq!(Device::at(ipa), expected(ipa), "{ipa:#x}");
            }
        }
        // The same lower half with something above it, and the largest of all.
        for (ipa, above) in
            MAP.iter().flat_map(|(first, ..)| (30..64).map(move |bit| (*first, 1 << bit)))
        {
            assert_eq!(Device::at(ipa | above), None, "{:#x}", ipa | above);
        }
        assert_eq!((Device::at(RAM), Device::at(u64::MAX)), (None, None));
    }

    /// Every register of the interrupt controller (IHI 0069, 12.9 and 12.11): what is set or
    /// cleared pending or active is in the lists.
    #[test]
    fn what_the_lists_hold() {
        let frames = 0..REDISTRIBUTOR_SIZE * MAX_VCPUS as u64;
        for offset in frames.step_by(4) {
            let (register, device) = (offset & 0xffff, Device::Redistributors(offset));
            let (pending, active) =
                ((0x200..0x300).contains(&register), (0x300..0x400).contains(&register));
            assert!(device.concerns_lists(true));
            assert_eq!(device.concerns_lists(false), pending || active, "{offset:#x}");
            if offset < DISTRIBUTOR_SIZE {
                assert!(Device::Distributor(offset).concerns_lists(true));
                assert_eq!(Device::Distributor(offset).concerns_lists(false), pending || active);
            }
        }
        for (first, _, make) in
            MAP.iter().filter(|(first, ..)| !(0x0800_0000..0x0900_0000).contains(first))
        {
            assert!(
                !make(*first).concerns_lists(true) && !make(*first).concerns_lists(false),
                "{first:#x}"
            );
        }
    }
}
