//! A tree with the topology of the Radxa Orion O6 with 32 GiB, made here: numbers from Linux's
//! sky1.dtsi and sky1-orion-o6.dts, memory and reserved ranges from boot logs and the vendor's
//! tree. What the firmware leaves off (other UARTs) is in the tree and disabled.

use dtoolkit::ToPropertyValue;
use dtoolkit::memreserve::MemoryReservation;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

use super::*;
use crate::acpi::keep_out;

const SPI: u32 = 0;
const PPI: u32 = 1;
const HIGH: u32 = 4;
const LOW: u32 = 8;
const GIC: u32 = 1;

/// The cores as the vendor's tree lists them, the boot core last but one.
const AFFINITIES: [u64; 12] =
    [0, 0x100, 0x200, 0x300, 0x400, 0x500, 0x600, 0x700, 0x800, 0x900, 0xa00, 0xb00];

fn node(name: &str, properties: impl IntoIterator<Item = DeviceTreeProperty>) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new(name).expect("a name");
    properties.into_iter().for_each(|property| node.add_property(property));
    node
}

fn with(name: &str, value: impl ToPropertyValue) -> DeviceTreeProperty {
    DeviceTreeProperty::new(name, value).expect("a property")
}

fn empty(name: &str) -> DeviceTreeProperty {
    with(name, [0_u8; 0])
}

/// Addresses and sizes of two cells each.
fn reg(ranges: &[(u64, u64)]) -> DeviceTreeProperty {
    let bytes = ranges.iter().flat_map(|(base, size)| [base.to_be_bytes(), size.to_be_bytes()]);
    with("reg", bytes.flatten().collect::<std::vec::Vec<u8>>())
}

/// Names, with the address and the size in cells of the children.
fn parent(name: &str, size_cells: u32) -> DeviceTreeNode {
    node(name, [with("#address-cells", 2_u32), with("#size-cells", size_cells)])
}

fn uart(number: u32, enabled: bool) -> DeviceTreeNode {
    let base = 0x040b_0000 + 0x1_0000 * u64::from(number);
    let status = if enabled { "okay" } else { "disabled" };
    node(
        &format!("serial@{base:x}"),
        [
            with("compatible", ["arm,pl011", "arm,primecell"].as_slice()),
            reg(&[(base, 0x1000)]),
            with("interrupts", [SPI, 296 + number, HIGH, 0]),
            with("status", status),
        ],
    )
}

fn interrupt_controller() -> DeviceTreeNode {
    let mut gic = node(
        "interrupt-controller@e010000",
        [
            with("compatible", "arm,gic-v3"),
            reg(&[(0x0e01_0000, 0x1_0000), (0x0e09_0000, 12 * 0x4_0000)]),
            with("interrupts", [PPI, 9, LOW, 0]),
            with("#interrupt-cells", 4_u32),
            empty("interrupt-controller"),
            with("#address-cells", 2_u32),
            with("#size-cells", 2_u32),
            empty("ranges"),
            with("phandle", GIC),
        ],
    );
    let its = [with("compatible", "arm,gic-v3-its"), reg(&[(0x0e05_0000, 0x3_0000)])];
    gic.add_child(node("msi-controller@e050000", its));
    gic
}

/// The tree; a core that is absent from a binned chip is disabled.
fn tree(absent: Option<u64>) -> DeviceTree {
    let mut tree = DeviceTree::new();
    tree.memory_reservations.push(MemoryReservation::new(0x8000_0000, 0x0600_0000));
    let root = &mut tree.root;
    for property in [
        with("model", "Radxa Orion O6"),
        with("compatible", ["radxa,orion-o6", "cix,sky1"].as_slice()),
        with("interrupt-parent", GIC),
        with("#address-cells", 2_u32),
        with("#size-cells", 2_u32),
    ] {
        root.add_property(property);
    }
    root.add_child(node("aliases", [with("serial2", "/soc@0/serial@40d0000")]));
    root.add_child(node("chosen", [with("stdout-path", "serial2:115200n8")]));
    let banks: [(u64, u64); 2] = [(0x80_0000_0000, 0x8000_0000), (0x8000_0000, 0x7_8000_0000)];
    for (base, size) in banks {
        let memory = [with("device_type", "memory"), reg(&[(base, size)])];
        root.add_child(node(&format!("memory@{base:x}"), memory));
    }
    let mut reserved = parent("reserved-memory", 2);
    reserved.add_property(empty("ranges"));
    for (name, base, size) in
        [("shared-dma", 0x9000_0000, 0x2000_0000), ("boot-image", 0xa000_0000_u64, 0x0800_0000_u64)]
    {
        reserved
            .add_child(node(&format!("{name}@{base:x}"), [reg(&[(base, size)]), empty("no-map")]));
    }
    // Linux's pool has a size and no place: nothing that anybody must keep out of.
    let pool =
        [with("compatible", "shared-dma-pool"), empty("reusable"), with("size", 0x2800_0000_u64)];
    reserved.add_child(node("linux,cma", pool));
    root.add_child(reserved);
    let mut cpus = parent("cpus", 0);
    for affinity in AFFINITIES {
        let kind = if affinity < 0x400 { "arm,cortex-a520" } else { "arm,cortex-a720" };
        let mut cpu = node(
            &format!("cpu@{affinity:x}"),
            [
                with("compatible", kind),
                with("device_type", "cpu"),
                with("enable-method", "psci"),
                with("reg", affinity),
            ],
        );
        if absent == Some(affinity) {
            cpu.add_property(with("status", "disabled"));
        }
        cpus.add_child(cpu);
    }
    cpus.add_child(node("cpu-map", []));
    root.add_child(cpus);
    root.add_child(node("psci", [with("compatible", "arm,psci-1.0"), with("method", "smc")]));
    let timers: std::vec::Vec<u32> =
        [13, 14, 11, 10, 12].into_iter().flat_map(|number| [PPI, number, LOW, 0]).collect();
    root.add_child(node(
        "timer",
        [with("compatible", "arm,armv8-timer"), with("interrupts", timers)],
    ));
    let mut soc = parent("soc@0", 2);
    soc.add_property(with("compatible", "simple-bus"));
    soc.add_property(with("ranges", [0_u32, 0, 0, 0, 0x20, 0]));
    for number in 0..4 {
        soc.add_child(uart(number, number == 2));
    }
    soc.add_child(interrupt_controller());
    root.add_child(soc);
    tree
}

fn machine(tree: &DeviceTree) -> Result<Machine, MachineError> {
    Machine::from_dtb(&tree.to_dtb())
}

#[test]
fn everything_is_found_where_the_board_has_it() {
    let range = |base, size| Range { base, size };
    let found = machine(&tree(None)).expect("a machine");
    let expected = Machine {
        model: "Radxa Orion O6".try_into().expect("short"),
        emulated: false,
        memory: [range(0x8000_0000, 0x7_8000_0000), range(0x80_0000_0000, 0x8000_0000)]
            .into_iter()
            .collect(),
        // The third that the tree names, at 0xa000_0000, lies in the second.
        reserved: [range(0x8000_0000, 0x0600_0000), range(0x9000_0000, 0x2000_0000)]
            .into_iter()
            .collect(),
        cpus: AFFINITIES.into_iter().map(|affinity| Cpu { affinity }).collect(),
        gic: Gic {
            distributor: range(0x0e01_0000, 0x1_0000),
            redistributors: [range(0x0e09_0000, 0x30_0000)].into_iter().collect(),
        },
        uart: Uart { base: 0x040d_0000, interrupt: 330 },
        timer: Timer { physical: 30, virtual_timer: 27, hypervisor_physical: 26 },
        psci: Conduit::Smc,
        bootargs: String::new(),
        initrd: None,
        virtio: Vec::new(),
        clock: None,
        started: None,
        firmware: None,
        kept: None,
        commands: String::new(),
        left_out: LeftOut::default(),
    };
    assert_eq!(found, expected);
    assert!(found.cpus.contains(&Cpu { affinity: 0xa00 }), "the boot core");
    // CPU_ON reads the size of the memory here (Trusted Firmware-A, plat/cix/sky1).
    let record = 0x83c0_000c;
    assert!(found.reserved.iter().any(|kept| (kept.base..kept.base + kept.size).contains(&record)));
}

#[test]
fn an_absent_core_is_left_out() {
    let found = machine(&tree(Some(0x500))).expect("a machine");
    assert_eq!(found.cpus.len(), 11);
    assert!(found.cpus.iter().all(|cpu| cpu.affinity != 0x500));
}

#[test]
fn without_a_console_path_the_enabled_uart_is_taken() {
    let mut tree = tree(None);
    tree.root.remove_child("chosen");
    assert_eq!(machine(&tree).expect("a machine").uart, Uart { base: 0x040d_0000, interrupt: 330 });
}

#[test]
fn specifiers_of_other_lengths_are_malformed() {
    let mut tree = tree(None);
    let timer = tree.root.child_mut("timer").expect("there");
    let four = timer.property_mut("interrupts").expect("there");
    four.set_value(vec![PPI, 13, LOW, PPI, 14, LOW, PPI, 11, LOW, PPI, 10, LOW, PPI, 12, LOW]);
    assert_eq!(machine(&tree), Err(MachineError::Malformed("timer interrupts")));
    let gic = tree.find_node_mut("/soc@0/interrupt-controller@e010000").expect("there");
    gic.property_mut("#interrupt-cells").expect("there").set_value(2_u32);
    assert_eq!(machine(&tree), Err(MachineError::Malformed("#interrupt-cells")));
    let gic = tree.find_node_mut("/soc@0/interrupt-controller@e010000").expect("there");
    gic.property_mut("#interrupt-cells").expect("there").set_value(1_u32);
    assert_eq!(machine(&tree), Err(MachineError::Malformed("#interrupt-cells")));
}

#[test]
fn what_firmware_needs_is_kept_also_without_a_reservation() {
    let mut tree = tree(None);
    tree.memory_reservations.clear();
    let bytes = tree.to_dtb();
    let mut found = machine(&tree).expect("a machine");
    let record = 0x83c0_000c;
    let kept = |found: &Machine| {
        found.reserved.iter().any(|kept| (kept.base..kept.base + kept.size).contains(&record))
    };
    assert!(!kept(&found));
    keep_out(&mut found, &bytes);
    assert!(kept(&found));
    assert_eq!(found.model, "CIX P1 (Radxa Orion O6)", "as its ACPI tables have it");
    // No other machine is touched.
    let mut other = Machine::from_dtb(VIRT_12).expect("a machine");
    keep_out(&mut other, VIRT_12);
    assert!(other.reserved.is_empty() && other.model.is_empty());
    // Where there is no room for one more it is kept all the same, and what that cost is counted.
    let mut full = machine(&tree).expect("a machine");
    let mut at = 0x1_0000_0000;
    while !full.reserved.is_full() {
        full.reserved.push(Range { base: at, size: 0x1000 }).expect("room");
        at += 0x10_0000;
    }
    keep_out(&mut full, &bytes);
    assert!(kept(&full) && full.left_out.joined > 0, "{:?}", full.left_out);
}
