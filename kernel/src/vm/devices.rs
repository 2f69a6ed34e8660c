//! The device bus of a machine: which device answers at a guest-physical address.

use bale_core::guest_tree::{
    CLOCK, CONSOLE_SLOT, DISK_SLOT, DISTRIBUTOR, REDISTRIBUTORS, REPORT, REPORT_SIZE, UART, UART_SPI, VIRTIO,
    VIRTIO_SIZE, VIRTIO_SPI,
};
use bale_core::pl011::{self, Pl011};
use bale_core::pl031::{self, Pl031};
use bale_core::vgic::{DISTRIBUTOR_SIZE, MAX_VCPUS, PRIVATE, REDISTRIBUTOR_SIZE, Refused};
use bale_core::virtio::mmio::Registers;

use super::Slot;
use super::disk::DiskBay;
use super::memory::GuestMemory;
use super::port::Port;
use super::reported::SwapUsed;
use crate::clock;
use crate::sync::{IN_ORDER, Lock, Mutex};

/// A device and the address within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Device {
    /// The interrupt controller's distributor.
    Distributor(u64),
    /// Its redistributors.
    Redistributors(u64),
    /// The UART.
    Uart(u64),
    /// The clock of the day.
    Clock(u64),
    /// The swap disk.
    Disk(u64),
    /// The virtio console.
    Port(u64),
    /// What its user space tells.
    Report(u64),
}

impl Device {
    /// The device at an address.
    pub(super) fn at(ipa: u64) -> Option<Self> {
        let within = |base: u64, size: u64| ipa.checked_sub(base).filter(|offset| *offset < size);
        within(DISTRIBUTOR, DISTRIBUTOR_SIZE)
            .map(Self::Distributor)
            .or_else(|| {
                within(REDISTRIBUTORS, REDISTRIBUTOR_SIZE * MAX_VCPUS as u64).map(Self::Redistributors)
            })
            .or_else(|| within(UART, pl011::SIZE).map(Self::Uart))
            .or_else(|| within(CLOCK, pl031::SIZE).map(Self::Clock))
            .or_else(|| within(virtio(DISK_SLOT), VIRTIO_SIZE).map(Self::Disk))
            .or_else(|| within(virtio(CONSOLE_SLOT), VIRTIO_SIZE).map(Self::Port))
            .or_else(|| within(REPORT, REPORT_SIZE).map(Self::Report))
    }

    /// Whether an access concerns what list registers hold: any write to the interrupt controller, and reads of what is
    /// pending or active.
    pub(super) fn concerns_lists(self, write: bool) -> bool {
        match self {
            Self::Distributor(offset) | Self::Redistributors(offset) => {
                write || (0x200..0x400).contains(&(offset & 0xffff))
            }
            Self::Uart(_) | Self::Clock(_) | Self::Disk(_) | Self::Port(_) | Self::Report(_) => false,
        }
    }
}

/// Where a virtio device is.
fn virtio(slot: u32) -> u64 {
    VIRTIO + u64::from(slot) * VIRTIO_SIZE
}

/// Devices of a machine that have a state of their own; the interrupt controller is the machine's.
pub(super) struct Devices {
    uart: Lock<Pl011>,
    clock: Lock<Pl031>,
    pub(super) disk: DiskBay,
    pub(super) port: Port,
    pub(super) swap_used: SwapUsed,
}

impl Devices {
    pub(super) const fn new() -> Self {
        Self {
            uart: Lock::new(Pl011::new()),
            clock: Lock::new(Pl031::new()),
            disk: DiskBay::new(),
            port: Port::new(),
            swap_used: SwapUsed::new(),
        }
    }

    /// All of them as out of reset.
    pub(super) fn reset(&self) {
        *self.uart.lock() = Pl011::new();
        *self.clock.lock() = Pl031::new();
        self.disk.reset();
        self.port.reset();
        self.swap_used.reset();
    }
}

impl Slot {
    /// An access of `width` bytes to a device; what is read. A device that looks at memory finds the machine's in `memory`.
    pub(super) fn access(
        &self,
        device: Device,
        width: u8,
        write: Option<u64>,
        memory: Option<&GuestMemory>,
    ) -> Result<u64, Refused> {
        match device {
            Device::Distributor(offset) => self.deliver(|vgic| vgic.distributor(offset, width, write)),
            Device::Redistributors(offset) => self.deliver(|vgic| vgic.redistributor(offset, width, write)),
            Device::Uart(offset) => {
                let outcome = self.with_uart(|uart| uart.access(offset, width, write))?;
                if let Some(byte) = outcome.sent {
                    self.console.put(self.number(), byte);
                }
                Ok(outcome.value)
            }
            Device::Clock(offset) => {
                // Where nobody knows the time there is no such device.
                let now = clock::of_day().ok_or(Refused)?;
                self.devices.clock.lock().access(offset, width, write, now)
            }
            Device::Disk(offset) => self.access_disk(offset, width, write, memory).map_err(|_| Refused),
            Device::Report(offset) => self.access_report(offset, width, write),
            Device::Port(offset) => self.access_port(offset, width, write, memory).map_err(|_| Refused),
        }
    }

    /// Does something with the registers of the virtio device in a slot, and passes on what became of its interrupt line.
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
