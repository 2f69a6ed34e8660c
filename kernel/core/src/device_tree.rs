//! What a machine has, read from its device tree (Devicetree Specification 0.4; bindings of Linux's
//! Documentation/devicetree for GICv3, PL011, timer and PSCI).
//!
//! The bytes are not trusted: a tree that is broken or lacks something is an error that says what
//! to do about it. What does not fit into the tables is left out where the machine runs without it,
//! and counted ([`LeftOut`]); reserved ranges that do not fit are joined.

mod error;
mod handed_over;
mod left_out;
mod seeds;
mod whole;

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property, ToCellInt};
use heapless::{String, Vec};

pub use self::error::MachineError;
use self::handed_over::{HandedOver, handed_over};
pub use self::left_out::{LeftOut, add_memory, add_reserved};
pub use self::seeds::take_seeds;

/// Cores that the tables can hold.
pub const MAX_CPUS: usize = 128;
/// Ranges of memory.
pub const MAX_MEMORY: usize = 32;
/// Parts of memory that are left alone.
pub const MAX_RESERVED: usize = 64;
/// Regions of redistributors: a chip of several parts has one for each.
pub const MAX_REGIONS: usize = 16;
/// Places for virtio devices that are looked at, at most: what QEMU's machine has.
pub const MAX_VIRTIO: usize = 32;
/// Bytes of commands for the shell.
pub const COMMANDS: usize = 512;
/// How deep nodes are searched.
const MAX_DEPTH: usize = 8;

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub base: u64,
    /// Length in bytes.
    pub size: u64,
}

/// One core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu {
    /// Affinity fields of its MPIDR.
    pub affinity: u64,
}

/// A GICv3 or GICv4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gic {
    /// Registers of the distributor.
    pub distributor: Range,
    /// Regions of redistributors.
    pub redistributors: Vec<Range, MAX_REGIONS>,
}

/// A PL011.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uart {
    /// Address of its registers.
    pub base: u64,
    /// GIC interrupt number.
    pub interrupt: u32,
}

/// GIC interrupt numbers of the generic timer's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timer {
    /// EL1 physical timer.
    pub physical: u32,
    /// EL1 virtual timer, a guest's.
    pub virtual_timer: u32,
    /// EL2 physical timer, Bale's own.
    pub hypervisor_physical: u32,
}

/// The instruction that reaches PSCI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduit {
    /// SMC: firmware at EL3.
    Smc,
    /// HVC: somebody at EL2 already.
    Hvc,
}

/// A place for a virtio device with memory-mapped registers; whether one is there, its registers
/// say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VirtioPlace {
    /// Its registers.
    pub registers: Range,
    /// GIC interrupt number.
    pub interrupt: u32,
}

/// What a machine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// What it is called; empty if the tables do not say, or call it what they call every machine
    /// of QEMU.
    pub model: String<40>,
    /// It is one of QEMU's, whose cores are emulated, or a host's that looks after them.
    pub emulated: bool,
    /// Memory.
    pub memory: Vec<Range, MAX_MEMORY>,
    /// Parts of memory that must be left alone.
    pub reserved: Vec<Range, MAX_RESERVED>,
    /// Enabled cores, in the tree's order.
    pub cpus: Vec<Cpu, MAX_CPUS>,
    /// Interrupt controller.
    pub gic: Gic,
    /// Console.
    pub uart: Uart,
    /// Timer interrupts.
    pub timer: Timer,
    /// How to reach PSCI.
    pub psci: Conduit,
    /// Boot arguments.
    pub bootargs: String<256>,
    /// The boot bundle.
    pub initrd: Option<Range>,
    /// Places for virtio devices.
    pub virtio: Vec<VirtioPlace, MAX_VIRTIO>,
    /// A PL031, which knows the time of the day.
    pub clock: Option<Range>,
    /// What time it was when the loader left the firmware: seconds since the beginning of 1970,
    /// UTC.
    pub started: Option<u64>,
    /// What the loader saw of the firmware: text.
    pub firmware: Option<Range>,
    /// Room for the kernel's last words, at a place that the next boot finds again.
    pub kept: Option<Range>,
    /// What the shell runs at first, a line each.
    pub commands: String<COMMANDS>,
    /// What the tables name beyond that.
    pub left_out: LeftOut,
}

impl Machine {
    /// Reads a flattened device tree.
    ///
    /// # Errors
    /// See [`MachineError`].
    pub fn from_dtb(bytes: &[u8]) -> Result<Self, MachineError> {
        let machine = Self::without_memory(bytes)?;
        if machine.memory.is_empty() { Err(MachineError::NoMemory) } else { Ok(machine) }
    }

    /// The same of a tree that need not name memory: many leave that to the boot loader, which has
    /// it from elsewhere.
    ///
    /// # Errors
    /// See [`MachineError`].
    pub fn without_memory(bytes: &[u8]) -> Result<Self, MachineError> {
        let tree = whole::read(bytes).ok_or(MachineError::Broken)?;
        let root = tree.root();
        let mut left_out = LeftOut::default();
        let (bootargs, initrd) = chosen(root)?;
        let HandedOver { firmware, kept, commands, started } = handed_over(root)?;
        Ok(Self {
            model: model(root),
            emulated: said_model(root) == Some(EMULATED),
            memory: memory(root, &mut left_out)?,
            reserved: reserved(tree, &mut left_out)?,
            cpus: cpus(root, &mut left_out)?,
            gic: gic(root)?,
            uart: uart(root)?,
            timer: timer(root)?,
            psci: psci(root)?,
            bootargs,
            initrd,
            virtio: virtio(root, &mut left_out)?,
            clock: clock(root)?,
            started,
            firmware,
            kept,
            commands,
            left_out,
        })
    }
}

/// First enabled node, depth first, that has this compatible string.
fn find<'a>(node: FdtNode<'a>, compatible: &str, depth: usize) -> Option<FdtNode<'a>> {
    if enabled(node) && node.compatible().is_some_and(|mut all| all.any(|one| one == compatible)) {
        return Some(node);
    }
    if depth == MAX_DEPTH {
        return None;
    }
    node.children().find_map(|child| find(child, compatible, depth + 1))
}

fn enabled(node: FdtNode<'_>) -> bool {
    match node.property("status") {
        None => true,
        Some(status) => matches!(status.value_as::<&str>(), Ok("okay" | "ok")),
    }
}

/// The `reg` property as ranges; a range that wraps around is malformed.
fn ranges<'a>(
    node: FdtNode<'a>,
    what: &'static str,
) -> Result<impl Iterator<Item = Result<Range, MachineError>> + 'a, MachineError> {
    let registers = node.reg().map_err(|_| MachineError::Malformed(what))?;
    let registers = registers.ok_or(MachineError::Malformed(what))?;
    Ok(registers.map(move |one| {
        let malformed = |_| MachineError::Malformed(what);
        let base: u64 = one.address().map_err(malformed)?;
        let size: u64 = one.size().map_err(malformed)?;
        base.checked_add(size).ok_or(MachineError::Malformed(what))?;
        Ok(Range { base, size })
    }))
}

fn memory(
    root: FdtNode<'_>,
    left_out: &mut LeftOut,
) -> Result<Vec<Range, MAX_MEMORY>, MachineError> {
    let mut all = Vec::new();
    let is_memory = |node: &FdtNode<'_>| {
        node.property("device_type")
            .is_some_and(|kind| matches!(kind.value_as::<&str>(), Ok("memory")))
    };
    for node in root.children().filter(is_memory).filter(|node| enabled(*node)) {
        for range in ranges(node, "memory")? {
            let range = range?;
            if range.size > 0 {
                add_memory(&mut all, range, left_out);
            }
        }
    }
    all.sort_unstable_by_key(|range| range.base);
    if all.windows(2).any(|pair| pair[0].base + pair[0].size > pair[1].base) {
        return Err(MachineError::Malformed("memory"));
    }
    Ok(all)
}

fn reserved(
    tree: Fdt<'_>,
    left_out: &mut LeftOut,
) -> Result<Vec<Range, MAX_RESERVED>, MachineError> {
    let mut all = Vec::new();
    for reservation in tree.memory_reservations() {
        let range = Range { base: reservation.address(), size: reservation.size() };
        range.base.checked_add(range.size).ok_or(MachineError::Malformed("memory reservation"))?;
        add_reserved(&mut all, range, left_out);
    }
    if let Some(parent) = tree.root().child("reserved-memory") {
        for node in
            parent.children().filter(|node| enabled(*node) && node.property("reg").is_some())
        {
            for range in ranges(node, "reserved-memory")? {
                add_reserved(&mut all, range?, left_out);
            }
        }
    }
    Ok(all)
}

fn cpus(root: FdtNode<'_>, left_out: &mut LeftOut) -> Result<Vec<Cpu, MAX_CPUS>, MachineError> {
    let mut all: Vec<Cpu, MAX_CPUS> = Vec::new();
    let parent = root.child("cpus").ok_or(MachineError::NoCpus)?;
    for node in
        parent.children().filter(|node| node.name_without_address() == "cpu" && enabled(*node))
    {
        let by_psci = node
            .property("enable-method")
            .is_some_and(|method| matches!(method.value_as::<&str>(), Ok("psci")));
        // The only core of a machine needs nobody to start it.
        let alone =
            parent.children().filter(|node| node.name_without_address() == "cpu").count() == 1;
        if !by_psci && !alone {
            continue;
        }
        let affinity =
            ranges(node, "cpu reg")?.next().ok_or(MachineError::Malformed("cpu reg"))??.base;
        if all.iter().any(|other| other.affinity == affinity) {
            return Err(MachineError::Malformed("cpu reg"));
        }
        left_out.cores += u32::from(all.push(Cpu { affinity }).is_err());
    }
    if all.is_empty() { Err(MachineError::NoCpus) } else { Ok(all) }
}

fn gic(root: FdtNode<'_>) -> Result<Gic, MachineError> {
    let Some(node) = find(root, "arm,gic-v3", 0) else {
        let old = ["arm,cortex-a15-gic", "arm,gic-400", "arm,cortex-a9-gic", "arm,cortex-a7-gic"];
        let version2 = old.iter().any(|compatible| find(root, compatible, 0).is_some());
        return Err(if version2 { MachineError::GicV2 } else { MachineError::NoGic });
    };
    let regions = match node.property("#redistributor-regions") {
        None => 1,
        Some(count) => count
            .value_as::<u32>()
            .map_err(|_| MachineError::Malformed("#redistributor-regions"))?,
    };
    let mut registers = ranges(node, "GIC reg")?;
    let distributor = registers.next().ok_or(MachineError::Malformed("GIC reg"))??;
    let mut redistributors = Vec::new();
    for _ in 0..regions {
        let region = registers.next().ok_or(MachineError::Malformed("GIC reg"))??;
        redistributors.push(region).map_err(|_| MachineError::TooMany("redistributor regions"))?;
    }
    if redistributors.is_empty() {
        Err(MachineError::Malformed("GIC reg"))
    } else {
        Ok(Gic { distributor, redistributors })
    }
}

/// Cells of an interrupt specifier: kind, number, flags, and with a fourth the cores that a private
/// interrupt is for (arm,gic-v3.yaml).
fn interrupt_cells(root: FdtNode<'_>) -> Result<usize, MachineError> {
    let property = find(root, "arm,gic-v3", 0).and_then(|gic| gic.property("#interrupt-cells"));
    match property.map(|cells| cells.value_as::<u32>()) {
        None | Some(Ok(3)) => Ok(3),
        Some(Ok(4)) => Ok(4),
        Some(_) => Err(MachineError::Malformed("#interrupt-cells")),
    }
}

/// GIC interrupt number of the `index`th interrupt of a node.
fn interrupt(
    root: FdtNode<'_>,
    node: FdtNode<'_>,
    index: usize,
    what: &'static str,
) -> Result<u32, MachineError> {
    let malformed = MachineError::Malformed(what);
    let property = node.property("interrupts").ok_or(malformed)?;
    let shape = [1, 1, interrupt_cells(root)? - 2];
    let mut specifiers = property.as_prop_encoded_array(shape).map_err(|_| malformed)?;
    let [kind, number, _flags] = specifiers.nth(index).ok_or(malformed)?;
    let kind: u32 = kind.to_int().map_err(|_| malformed)?;
    let number: u32 = number.to_int().map_err(|_| malformed)?;
    match (kind, number) {
        (0, 0..988) => Ok(32 + number),
        (1, 0..16) => Ok(16 + number),
        _ => Err(malformed),
    }
}

/// Where the registers of the console's PL011 are, by a tree in which anything else may be wrong or
/// missing.
///
/// # Errors
/// The bytes are no device tree at all.
pub fn console(bytes: &[u8]) -> Result<Option<u64>, MachineError> {
    let tree = whole::read(bytes).ok_or(MachineError::Broken)?;
    let mut registers = console_node(tree.root()).and_then(|node| ranges(node, "UART reg").ok());
    Ok(registers.as_mut().and_then(Iterator::next).and_then(Result::ok).map(|range| range.base))
}

/// Whether the root of a tree is compatible with this.
pub fn is_compatible(bytes: &[u8], wanted: &str) -> bool {
    let Some(root) = whole::read(bytes).map(|tree| tree.root()) else { return false };
    root.compatible().is_some_and(|mut all| all.any(|one| one == wanted))
}

/// The PL011 that the tree names for the console, or else its first.
fn console_node(root: FdtNode<'_>) -> Option<FdtNode<'_>> {
    let named = stdout(root).filter(|node| {
        node.compatible().is_some_and(|mut all| all.any(|one| one == "arm,pl011")) && enabled(*node)
    });
    named.or_else(|| find(root, "arm,pl011", 0))
}

fn uart(root: FdtNode<'_>) -> Result<Uart, MachineError> {
    let node = console_node(root).ok_or(MachineError::NoUart)?;
    let registers =
        ranges(node, "UART reg")?.next().ok_or(MachineError::Malformed("UART reg"))??;
    Ok(Uart { base: registers.base, interrupt: interrupt(root, node, 0, "UART interrupts")? })
}

/// Registers of a clock of the day, if there is one (binding `arm,pl031`).
fn clock(root: FdtNode<'_>) -> Result<Option<Range>, MachineError> {
    let Some(node) = find(root, "arm,pl031", 0) else { return Ok(None) };
    ranges(node, "clock reg")?.next().transpose()
}

/// The node that `/chosen/stdout-path` names, by path or alias; options behind a colon do not
/// matter here.
fn stdout(root: FdtNode<'_>) -> Option<FdtNode<'_>> {
    let path = root.child("chosen")?.property("stdout-path")?.value_as::<&str>().ok()?;
    let path = path.split(':').next()?;
    if path.starts_with('/') {
        return walk(root, path);
    }
    walk(root, root.child("aliases")?.property(path)?.value_as::<&str>().ok()?)
}

fn walk<'a>(root: FdtNode<'a>, path: &str) -> Option<FdtNode<'a>> {
    path.split('/').filter(|part| !part.is_empty()).try_fold(root, |node, part| node.child(part))
}

/// Children of the root, as QEMU has them (binding `virtio,mmio`).
fn virtio(
    root: FdtNode<'_>,
    left_out: &mut LeftOut,
) -> Result<Vec<VirtioPlace, MAX_VIRTIO>, MachineError> {
    let mut all = Vec::new();
    let is_place = |node: &FdtNode<'_>| {
        node.compatible().is_some_and(|mut all| all.any(|one| one == "virtio,mmio"))
    };
    for node in root.children().filter(is_place).filter(|node| enabled(*node)) {
        let registers =
            ranges(node, "virtio reg")?.next().ok_or(MachineError::Malformed("virtio reg"))??;
        let interrupt = interrupt(root, node, 0, "virtio interrupts")?;
        let place = VirtioPlace { registers, interrupt };
        left_out.devices += u32::from(all.push(place).is_err());
    }
    Ok(all)
}

fn timer(root: FdtNode<'_>) -> Result<Timer, MachineError> {
    let node = find(root, "arm,armv8-timer", 0).ok_or(MachineError::NoTimer)?;
    let one = |index| interrupt(root, node, index, "timer interrupts");
    Ok(Timer { physical: one(1)?, virtual_timer: one(2)?, hypervisor_physical: one(3)? })
}

fn psci(root: FdtNode<'_>) -> Result<Conduit, MachineError> {
    let node =
        ["arm,psci-1.0", "arm,psci-0.2"].iter().find_map(|compatible| find(root, compatible, 0));
    let method =
        node.ok_or(MachineError::NoPsci)?.property("method").ok_or(MachineError::NoPsci)?;
    match method.value_as::<&str>() {
        Ok("smc") => Ok(Conduit::Smc),
        Ok("hvc") => Ok(Conduit::Hvc),
        _ => Err(MachineError::Malformed("PSCI method")),
    }
}

/// The model of every `virt` machine of QEMU.
pub(crate) const EMULATED: &str = "linux,dummy-virt";

fn said_model(root: FdtNode<'_>) -> Option<&str> {
    root.property("model").and_then(|model| model.value_as::<&str>().ok())
}

/// The name of the machine, cut where it is long.
fn model(root: FdtNode<'_>) -> String<40> {
    let letters = said_model(root).filter(|name| *name != EMULATED).unwrap_or("").chars();
    letters.filter(|letter| letter.is_ascii_graphic() || *letter == ' ').take(40).collect()
}

type Chosen = (String<256>, Option<Range>);

fn chosen(root: FdtNode<'_>) -> Result<Chosen, MachineError> {
    let mut bootargs = String::new();
    let Some(node) = root.child("chosen") else { return Ok((bootargs, None)) };
    if let Some(property) = node.property("bootargs") {
        let text = property.value_as::<&str>().map_err(|_| MachineError::Malformed("bootargs"))?;
        bootargs.push_str(text).map_err(|_| MachineError::TooMany("bytes of bootargs"))?;
    }
    // One or two cells, whichever the loader wrote.
    let address = |name| -> Result<Option<u64>, MachineError> {
        let Some(property) = node.property(name) else { return Ok(None) };
        match property.value() {
            [a, b, c, d] => Ok(Some(u64::from(u32::from_be_bytes([*a, *b, *c, *d])))),
            value => value
                .try_into()
                .map(|bytes| Some(u64::from_be_bytes(bytes)))
                .map_err(|_| MachineError::Malformed("linux,initrd-start or -end")),
        }
    };
    let initrd = match (address("linux,initrd-start")?, address("linux,initrd-end")?) {
        (Some(base), Some(end)) if base < end => Some(Range { base, size: end - base }),
        (Some(base), Some(end)) if base > end => {
            return Err(MachineError::Malformed("linux,initrd-start or -end"));
        }
        _ => None,
    };
    Ok((bootargs, initrd))
}

#[cfg(test)]
mod tests;
