//! How test suites say what came of them: a console for the status, as QEMU's `testdev`, on the
//! legacy interface of virtio, which they know; and Arm's semihosting calls. A machine has either
//! only if its description says so.

use core::sync::atomic::{AtomicBool, Ordering};

use bale_core::guest_ram::GuestRam;
use bale_core::testdev::Packets;
use bale_core::vgic::Refused;
use bale_core::virtio::console::{self, DEVICE, QUEUES, TRANSMIT};
use bale_core::virtio::legacy::{Legacy, vacant};
use bale_core::virtio::mmio::Effect;
use bale_core::virtio::queue::Chain;

use bale_rt::sync::{IN_ORDER, Mutex};

/// What came of an access.
pub(super) struct Accessed {
    /// What is read.
    pub(super) value: u64,
    /// Its interrupt line, if it has changed.
    pub(super) line: Option<bool>,
    /// The machine ends with this.
    pub(super) status: Option<u32>,
}

/// Where a machine's console for tests is plugged in. Its one lock is held while a chain is served:
/// a status is some bytes long.
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

    /// Plugs the device in, and lets semihosting calls be answered, if that is wanted. No virtual
    /// CPU runs.
    pub(super) fn plug(&self, device: bool, semihosting: bool) {
        // Relaxed: virtual CPUs are started behind this.
        self.plugged.store(device, Ordering::Relaxed);
        self.semihosting.store(semihosting, Ordering::Relaxed);
    }

    /// Whether semihosting calls are answered.
    pub(super) fn answers_semihosting(&self) -> bool {
        self.semihosting.load(Ordering::Relaxed)
    }

    /// An access to the registers of the console, unless the machine is to stop meanwhile.
    pub(super) fn access(
        &self,
        offset: u64,
        width: u8,
        write: Option<u64>,
        ram: Option<&impl GuestRam>,
        stop: &AtomicBool,
    ) -> Result<Accessed, Refused> {
        if !self.plugged.load(Ordering::Relaxed) {
            return Ok(Accessed { value: vacant(offset), line: None, status: None });
        }
        let mut device = self.device.lock().expect(IN_ORDER);
        let (registers, packets) = &mut *device;
        let before = registers.line();
        let (value, effect) = registers.access(offset, width, write).map_err(|_| Refused)?;
        let mut status = None;
        if let (Effect::Notify(TRANSMIT), Some(ram)) = (effect, ram) {
            let mut chain = Chain::default();
            // Whatever waits, unless the machine ends meanwhile: each chain is bounded, and so is
            // the queue, but a guest may fill it anew.
            while status.is_none()
                && !stop.load(Ordering::Relaxed)
                && registers.fetch(TRANSMIT, ram, &mut chain)
            {
                let served = console::transmit(&chain, ram, |bytes| {
                    status = status.or_else(|| bytes.iter().find_map(|byte| packets.push(*byte)));
                    status.is_none()
                });
                registers.tell(TRANSMIT, ram, &chain, served);
            }
        }
        let after = registers.line();
        Ok(Accessed { value, line: (before != after).then_some(after), status })
    }
}
