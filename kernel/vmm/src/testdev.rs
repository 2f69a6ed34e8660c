//! How test suites say what came of them: a console for the status, as QEMU's `testdev`, on the legacy interface of virtio, which
//! they know; and Arm's semihosting calls. A machine has either only if its description says so.

use core::sync::atomic::{AtomicBool, Ordering};

use bale_core::guest_tree::{TEST_SLOT, VIRTIO_SPI};
use bale_core::testdev::Packets;
use bale_core::vgic::{PRIVATE, Refused};
use bale_core::virtio::console::{self, DEVICE, QUEUES, TRANSMIT};
use bale_core::virtio::legacy::{Legacy, vacant};
use bale_core::virtio::mmio::Effect;
use bale_core::virtio::queue::Chain;

use super::memory::GuestMemory;
use super::{Reason, Slot};
use bale_rt::sync::{IN_ORDER, Mutex};

/// Where a machine's console for tests is plugged in. Its one lock is held while a chain is served: a status is some bytes long.
pub(super) struct TestBay {
    device: Mutex<(Legacy<QUEUES>, Packets)>,
    plugged: AtomicBool,
    semihosting: AtomicBool,
}

impl TestBay {
    pub(super) const fn new() -> Self {
        Self {
            device: Mutex::new((Legacy::new(DEVICE), Packets::new())),
            plugged: AtomicBool::new(false),
            semihosting: AtomicBool::new(false),
        }
    }

    /// Without a device, and as out of reset.
    pub(super) fn reset(&self) {
        *self.device.lock().expect(IN_ORDER) = (Legacy::new(DEVICE), Packets::new());
        self.plug(false, false);
    }

    /// Plugs the device in, and lets semihosting calls be answered, if that is wanted. No virtual CPU runs.
    pub(super) fn plug(&self, device: bool, semihosting: bool) {
        // Relaxed: virtual CPUs are started behind this.
        self.plugged.store(device, Ordering::Relaxed);
        self.semihosting.store(semihosting, Ordering::Relaxed);
    }

    /// Whether semihosting calls are answered.
    pub(super) fn answers_semihosting(&self) -> bool {
        self.semihosting.load(Ordering::Relaxed)
    }
}

impl Slot {
    /// An access to the registers of the console for tests.
    pub(super) fn access_test(
        &self,
        offset: u64,
        width: u8,
        write: Option<u64>,
        memory: Option<&GuestMemory>,
    ) -> Result<u64, Refused> {
        let bay = &self.devices.test;
        if !bay.plugged.load(Ordering::Relaxed) {
            return Ok(vacant(offset));
        }
        let mut device = bay.device.lock().expect(IN_ORDER);
        let (registers, packets) = &mut *device;
        let before = registers.line();
        let (value, effect) = registers.access(offset, width, write).map_err(|_| Refused)?;
        let mut status = None;
        if let (Effect::Notify(TRANSMIT), Some(memory)) = (effect, memory) {
            let mut chain = Chain::default();
            // Whatever waits, unless the machine ends meanwhile: each chain is bounded, and so is the queue, but a guest may fill it anew.
            while status.is_none()
                && !self.stop.load(Ordering::Relaxed)
                && registers.fetch(TRANSMIT, memory, &mut chain)
            {
                let served = console::transmit(&chain, memory, |bytes| {
                    status = status.or_else(|| bytes.iter().find_map(|byte| packets.push(*byte)));
                    status.is_none()
                });
                registers.tell(TRANSMIT, memory, &chain, served);
            }
        }
        let after = registers.line();
        drop(device);
        if before != after {
            self.deliver(|vgic| vgic.set_line(PRIVATE + VIRTIO_SPI + TEST_SLOT, after));
        }
        if let Some(status) = status {
            self.finish(Reason::Exited(status.into()));
        }
        Ok(value)
    }
}
