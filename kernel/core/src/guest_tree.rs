//! The device tree that a guest is given (Devicetree Specification 0.4; bindings of Linux's
//! Documentation/devicetree), and the addresses it names: those of QEMU's `virt` machine, so that
//! images built for that run as they are.

pub(crate) mod flat;

use self::flat::Flat;
pub use self::flat::TreeFull;
use crate::cfi_flash;

/// Read-only memory for firmware, where a core starts that is given one.
pub const FIRMWARE: u64 = 0;
/// Flash for firmware's variables.
pub const FLASH: u64 = 0x0400_0000;
/// Distributor of the interrupt controller.
pub const DISTRIBUTOR: u64 = 0x0800_0000;
/// Redistributors, one after the other.
pub const REDISTRIBUTORS: u64 = 0x080a_0000;
/// PL011.
pub const UART: u64 = 0x0900_0000;
/// Its interrupt, of the shared ones.
pub const UART_SPI: u32 = 1;
/// PL031.
pub const CLOCK: u64 = 0x0901_0000;
/// Its alarm's interrupt, of the shared ones.
pub const CLOCK_SPI: u32 = 2;
/// What user space of the guest tells: a page of registers.
pub const REPORT: u64 = 0x0b00_0000;
/// Its bytes.
pub const REPORT_SIZE: u64 = 0x1000;
/// virtio-mmio devices, one after the other.
pub const VIRTIO: u64 = 0x0a00_0000;
/// Bytes of one of them.
pub const VIRTIO_SIZE: u64 = 0x200;
/// Interrupt of the first of them, of the shared ones; the others follow.
pub const VIRTIO_SPI: u32 = 16;
/// Places of virtio-mmio devices: those without one answer as QEMU's do.
pub const VIRTIO_SLOTS: u32 = 32;
/// Slot of the swap disk.
pub const DISK_SLOT: u32 = 0;
/// Slot of the virtio console.
pub const CONSOLE_SLOT: u32 = 1;
/// Slot of the console for the status of a test.
pub const TEST_SLOT: u32 = 2;
/// Memory.
pub const RAM: u64 = 0x4000_0000;

const PHANDLE_GIC: u32 = 1;
const PHANDLE_CLOCK: u32 = 2;
const SPI: u32 = 0;
const PPI: u32 = 1;
const EDGE: u32 = 1;
const LEVEL: u32 = 4;

/// What is told to a guest.
#[derive(Debug, Clone, Copy)]
pub struct GuestTree<'a> {
    /// Bytes of memory from [`RAM`].
    pub memory: u64,
    /// Virtual CPUs; their affinity is their number.
    pub vcpus: u32,
    /// Kernel command line.
    pub command_line: &'a str,
    /// First byte of the initial RAM disk, and one past its last.
    pub initrd: Option<(u64, u64)>,
    /// Whether there is a flash for firmware's variables.
    pub flash: bool,
    /// Whether there are performance monitors.
    pub pmu: bool,
    /// Whether there is a clock of the day.
    pub clock: bool,
    /// virtio-mmio devices by slot.
    pub virtio: &'a [u32],
    /// Random bytes for the guest's own generator.
    pub seed: [u8; 64],
}

impl GuestTree<'_> {
    /// Writes the tree; its length in bytes.
    ///
    /// # Errors
    /// It does not fit.
    pub fn write(&self, into: &mut [u8]) -> Result<usize, TreeFull> {
        let mut tree = Flat::new(into)?;
        tree.begin("")?;
        tree.cells("#address-cells", &[2])?;
        tree.cells("#size-cells", &[2])?;
        tree.text("compatible", &["linux,dummy-virt"])?;
        tree.text("model", &["Bale virtual machine"])?;
        tree.cells("interrupt-parent", &[PHANDLE_GIC])?;
        self.chosen(&mut tree)?;
        tree.begin("memory@40000000")?;
        tree.text("device_type", &["memory"])?;
        tree.pair("reg", RAM, self.memory)?;
        tree.end()?;
        self.cpus(&mut tree)?;
        tree.begin("psci")?;
        tree.text("compatible", &["arm,psci-1.0", "arm,psci-0.2"])?;
        tree.text("method", &["hvc"])?;
        tree.end()?;
        tree.begin("timer")?;
        tree.text("compatible", &["arm,armv8-timer"])?;
        tree.empty("always-on")?;
        // The binding wants all four; a guest has the second and the third, physical and virtual.
        let ppi = |number| [PPI, number, LEVEL];
        tree.cells("interrupts", [ppi(13), ppi(14), ppi(11), ppi(10)].as_flattened())?;
        tree.end()?;
        if self.flash {
            tree.begin_at("flash", FLASH)?;
            tree.text("compatible", &["cfi-flash"])?;
            tree.pair("reg", FLASH, cfi_flash::SIZE)?;
            tree.cells("bank-width", &[4])?;
            tree.end()?;
        }
        if self.pmu {
            tree.begin("pmu")?;
            tree.text("compatible", &["arm,armv8-pmuv3"])?;
            tree.cells("interrupts", &ppi(7))?;
            tree.end()?;
        }
        self.interrupt_controller(&mut tree)?;
        uart(&mut tree)?;
        if self.clock {
            clock(&mut tree)?;
        }
        for slot in self.virtio {
            virtio(&mut tree, *slot)?;
        }
        tree.begin_at("report", REPORT)?;
        tree.text("compatible", &["bale,report"])?;
        tree.pair("reg", REPORT, REPORT_SIZE)?;
        tree.end()?;
        tree.end()?;
        tree.finish()
    }

    fn chosen(&self, tree: &mut Flat<'_>) -> Result<(), TreeFull> {
        let (random, place) = self.seed.split_at(56);
        tree.begin("chosen")?;
        tree.text("bootargs", &[self.command_line])?;
        tree.text("stdout-path", &["/pl011@9000000"])?;
        if let Some((start, end)) = self.initrd {
            tree.long("linux,initrd-start", start)?;
            tree.long("linux,initrd-end", end)?;
        }
        tree.bytes("rng-seed", random)?;
        tree.bytes("kaslr-seed", place)?;
        tree.end()
    }

    fn cpus(&self, tree: &mut Flat<'_>) -> Result<(), TreeFull> {
        tree.begin("cpus")?;
        tree.cells("#address-cells", &[1])?;
        tree.cells("#size-cells", &[0])?;
        for number in 0..self.vcpus {
            tree.begin_at("cpu", number.into())?;
            tree.text("device_type", &["cpu"])?;
            tree.text("compatible", &["arm,armv8"])?;
            tree.text("enable-method", &["psci"])?;
            tree.cells("reg", &[number])?;
            tree.end()?;
        }
        tree.end()
    }

    fn interrupt_controller(&self, tree: &mut Flat<'_>) -> Result<(), TreeFull> {
        use crate::vgic::{DISTRIBUTOR_SIZE, REDISTRIBUTOR_SIZE};
        tree.begin("intc@8000000")?;
        tree.text("compatible", &["arm,gic-v3"])?;
        tree.cells("#interrupt-cells", &[3])?;
        tree.empty("interrupt-controller")?;
        tree.cells("#address-cells", &[2])?;
        tree.cells("#size-cells", &[2])?;
        tree.cells("phandle", &[PHANDLE_GIC])?;
        let redistributors = REDISTRIBUTOR_SIZE * u64::from(self.vcpus);
        tree.longs("reg", &[DISTRIBUTOR, DISTRIBUTOR_SIZE, REDISTRIBUTORS, redistributors])?;
        tree.end()
    }
}

fn uart(tree: &mut Flat<'_>) -> Result<(), TreeFull> {
    tree.begin("apb-pclk")?;
    tree.text("compatible", &["fixed-clock"])?;
    tree.cells("#clock-cells", &[0])?;
    tree.cells("clock-frequency", &[24_000_000])?;
    tree.cells("phandle", &[PHANDLE_CLOCK])?;
    tree.end()?;
    tree.begin_at("pl011", UART)?;
    tree.text("compatible", &["arm,pl011", "arm,primecell"])?;
    tree.pair("reg", UART, crate::pl011::SIZE)?;
    tree.cells("interrupts", &[SPI, UART_SPI, LEVEL])?;
    tree.cells("clocks", &[PHANDLE_CLOCK, PHANDLE_CLOCK])?;
    tree.text("clock-names", &["uartclk", "apb_pclk"])?;
    tree.end()
}

/// Without an interrupt: its alarm is not offered.
fn clock(tree: &mut Flat<'_>) -> Result<(), TreeFull> {
    tree.begin_at("pl031", CLOCK)?;
    tree.text("compatible", &["arm,pl031", "arm,primecell"])?;
    tree.pair("reg", CLOCK, crate::pl031::SIZE)?;
    tree.cells("interrupts", &[SPI, CLOCK_SPI, LEVEL])?;
    tree.cells("clocks", &[PHANDLE_CLOCK])?;
    tree.text("clock-names", &["apb_pclk"])?;
    tree.end()
}

fn virtio(tree: &mut Flat<'_>, slot: u32) -> Result<(), TreeFull> {
    let base = VIRTIO + u64::from(slot) * VIRTIO_SIZE;
    tree.begin_at("virtio_mmio", base)?;
    tree.text("compatible", &["virtio,mmio"])?;
    tree.pair("reg", base, VIRTIO_SIZE)?;
    tree.cells("interrupts", &[SPI, VIRTIO_SPI + slot, EDGE])?;
    tree.empty("dma-coherent")?;
    tree.end()
}

#[cfg(test)]
mod tests;
