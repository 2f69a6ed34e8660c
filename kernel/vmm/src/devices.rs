//! The device bus of a machine: what becomes of an access to one of its devices.

use core::sync::atomic::AtomicBool;

use bale_core::device_map::Device;
use bale_core::guest_tree::{TEST_SLOT, UART_SPI, VIRTIO_SPI};
use bale_core::pl011::Pl011;
use bale_core::pl031::Pl031;
use bale_core::vgic::{PRIVATE, Refused};
use bale_core::virtio::legacy::vacant;
use bale_core::virtio::mmio::Registers;

use super::disk::DiskBay;
use super::flash::FlashBay;
use super::memory::GuestMemory;
use super::port::Port;
use super::reported::SwapUsed;
use super::testdev::TestBay;
use super::{Reason, Slot};
use bale_rt::sync::{IN_ORDER, Lock, Mutex};

/// A machine's clock of the day, and whether a task looks at its alarm: see `alarm`.
pub(super) struct Clock {
    pub(super) device: Lock<Pl031>,
    pub(super) watched: AtomicBool,
}

impl Clock {
    pub(super) const fn new() -> Self {
        Self { device: Lock::new(Pl031::new()), watched: AtomicBool::new(false) }
    }

    /// As out of reset, without an alarm: a task that looked at one finds none, and ends.
    pub(super) fn reset(&self) {
        *self.device.lock() = Pl031::new();
    }
}

/// Devices of a machine that have a state of their own; the interrupt controller is the machine's.
pub(super) struct Devices {
    uart: Lock<Pl011>,
    pub(super) clock: Clock,
    pub(super) disk: DiskBay,
    pub(super) port: Port,
    pub(super) swap_used: SwapUsed,
    pub(super) test: TestBay,
    pub(super) flash: FlashBay,
}

impl Devices {
    pub(super) const fn new() -> Self {
        Self {
            uart: Lock::new(Pl011::new()),
            clock: Clock::new(),
            disk: DiskBay::new(),
            port: Port::new(),
            swap_used: SwapUsed::new(),
            test: TestBay::new(),
            flash: FlashBay::new(),
        }
    }

    /// All of them as out of reset.
    pub(super) fn reset(&self) {
        *self.uart.lock() = Pl011::new();
        self.clock.reset();
        self.disk.reset();
        self.port.reset();
        self.swap_used.reset();
        self.test.reset();
        self.flash.reset();
    }
}

impl Slot {
    /// An access of `width` bytes to a device; what is read. A device that looks at memory finds
    /// the machine's in `memory`.
    pub(super) fn access(
        &self,
        device: Device,
        width: u8,
        write: Option<u64>,
        memory: Option<&GuestMemory>,
    ) -> Result<u64, Refused> {
        match device {
            Device::Distributor(offset) => {
                self.deliver(|vgic| vgic.distributor(offset, width, write))
            }
            Device::Redistributors(offset) => {
                self.deliver(|vgic| vgic.redistributor(offset, width, write))
            }
            Device::Uart(offset) => {
                let outcome = self.with_uart(|uart| uart.access(offset, width, write))?;
                if let Some(byte) = outcome.sent {
                    self.console.put(self.number(), &[byte]);
                }
                Ok(outcome.value)
            }
            Device::Clock(offset) => self.access_clock(offset, width, write),
            // A command to a flash that firmware runs from would take it away beneath it: none is
            // taken.
            Device::Firmware(_) if self.devices.flash.is_plugged() => Ok(0),
            Device::Firmware(_) => Err(Refused),
            Device::Flash(offset) => self.devices.flash.access(offset, width, write).ok_or(Refused),
            Device::Disk(offset) => {
                self.access_disk(offset, width, write, memory).map_err(|_| Refused)
            }
            Device::Report(offset) => self.access_report(offset, width, write),
            Device::Test(offset) => self.access_test(offset, width, write, memory),
            Device::Vacant(offset) => Ok(vacant(offset)),
            Device::Port(offset) => {
                self.access_port(offset, width, write, memory).map_err(|_| Refused)
            }
        }
    }

    /// An access to the console for the status of a test, which may end the machine.
    fn access_test(
        &self,
        offset: u64,
        width: u8,
        write: Option<u64>,
        memory: Option<&GuestMemory>,
    ) -> Result<u64, Refused> {
        let found = self.devices.test.access(offset, width, write, memory, &self.stop)?;
        if let Some(line) = found.line {
            self.deliver(|vgic| vgic.set_line(PRIVATE + VIRTIO_SPI + TEST_SLOT, line));
        }
        if let Some(status) = found.status {
            self.finish(Reason::Exited(status.into()));
        }
        Ok(found.value)
    }

    /// Does something with the registers of the virtio device in a slot, and passes on what became
    /// of its interrupt line.
    pub(super) fn with_virtio<const QUEUES: usize, R>(
        &self,
        registers: &Mutex<Registers<QUEUES>>,
        slot: u32,
        f: impl FnOnce(&mut Registers<QUEUES>) -> R,
    ) -> R {
        let mut registers = registers.lock().expect(IN_ORDER);
        let before = registers.line();
        let result = f(&mut registers);
        let after = registers.line();
        if before != after {
            self.deliver(|vgic| vgic.set_line(PRIVATE + VIRTIO_SPI + slot, after));
        }
        result
    }

    /// Does something with the UART, and passes on what became of its interrupt line.
    pub(super) fn with_uart<R>(&self, f: impl FnOnce(&mut Pl011) -> R) -> R {
        let mut uart = self.devices.uart.lock();
        let before = uart.line();
        let result = f(&mut uart);
        let after = uart.line();
        if before != after {
            self.deliver(|vgic| vgic.set_line(PRIVATE + UART_SPI, after));
        }
        result
    }
}
