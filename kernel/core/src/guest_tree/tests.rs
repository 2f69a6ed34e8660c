#![expect(clippy::cast_possible_truncation, reason = "numbers of a test are small")]

use super::*;
use crate::device_tree::{Conduit, Machine, Range};
use dtoolkit::fdt::Fdt;
use dtoolkit::{Node, Property};
use proptest::prelude::*;

fn tree(command_line: &str) -> GuestTree<'_> {
    GuestTree {
        memory: 256 << 20,
        vcpus: 4,
        command_line,
        initrd: Some((0x4800_0000, 0x4812_3456)),
        flash: false,
        pmu: true,
        clock: true,
        virtio: &[0, 3],
        seed: core::array::from_fn(|at| at as u8),
    }
}

fn written(tree: &GuestTree<'_>) -> Vec<u8> {
    let mut bytes = vec![0xff; 16384];
    let length = tree.write(&mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

/// Bale's own reader takes it for a machine, but for the EL2 timer, which a guest has not to use
/// and has named.
#[test]
fn reads_back_as_a_machine() {
    let machine = Machine::from_dtb(&written(&tree("console=ttyAMA0 quiet"))).unwrap();
    assert_eq!(machine.memory.as_slice(), [Range { base: RAM, size: 256 << 20 }]);
    assert_eq!(machine.cpus.iter().map(|cpu| cpu.affinity).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(machine.gic.distributor.base, DISTRIBUTOR);
    assert_eq!(
        machine.gic.redistributors.as_slice(),
        [Range { base: REDISTRIBUTORS, size: 4 * 0x2_0000 }]
    );
    assert_eq!((machine.uart.base, machine.uart.interrupt), (UART, 33));
    assert_eq!(machine.timer.virtual_timer, 27);
    assert_eq!(machine.psci, Conduit::Hvc);
    assert_eq!(machine.clock, Some(Range { base: CLOCK, size: 0x1000 }));
    let without = GuestTree { clock: false, ..tree("") };
    assert_eq!(Machine::from_dtb(&written(&without)).unwrap().clock, None);
    assert_eq!(machine.bootargs.as_str(), "console=ttyAMA0 quiet");
    assert_eq!(machine.initrd, Some(Range { base: 0x4800_0000, size: 0x12_3456 }));
}

#[test]
fn devices_and_seeds_are_there() {
    let bytes = written(&tree(""));
    let fdt = Fdt::new(&bytes).unwrap();
    let device = fdt.find_node("/virtio_mmio@a000600").unwrap();
    assert!(device.property("dma-coherent").is_some());
    let interrupt = device.property("interrupts").unwrap();
    assert_eq!(interrupt.value(), [0, 0, 0, 0, 0, 0, 0, 19, 0, 0, 0, 1]);
    let chosen = fdt.find_node("/chosen").unwrap();
    assert_eq!(chosen.property("rng-seed").unwrap().value().len(), 56);
    assert_eq!(chosen.property("kaslr-seed").unwrap().value(), [56, 57, 58, 59, 60, 61, 62, 63]);
    assert!(fdt.find_node("/virtio_mmio@a000200").is_none());
    let reg = fdt.find_node("/report@b000000").unwrap().property("reg").unwrap();
    assert_eq!(reg.value()[..8], REPORT.to_be_bytes());
}

#[test]
fn firmware_finds_its_flash() {
    let bytes = written(&GuestTree { flash: true, ..tree("") });
    let fdt = Fdt::new(&bytes).unwrap();
    let flash = fdt.find_node("/flash@4000000").unwrap();
    assert_eq!(
        flash.property("reg").unwrap().value(),
        [0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0]
    );
    assert!(Fdt::new(&written(&tree(""))).unwrap().find_node("/flash@4000000").is_none());
}

#[test]
fn no_room_is_an_error_at_every_length() {
    let tree = tree("console=ttyAMA0");
    let length = written(&tree).len();
    let mut bytes = vec![0; length];
    for room in 0..length {
        assert_eq!(tree.write(&mut bytes[..room]), Err(TreeFull), "{room}");
    }
    assert_eq!(tree.write(&mut bytes), Ok(length));
}

proptest! {
    #[test]
    fn any_command_line_and_size(line in "[ -~]{0,200}", vcpus in 1..8u32, mib in 1..4096u64) {
        let tree = GuestTree { memory: mib << 20, vcpus, ..tree(&line) };
        let bytes = written(&tree);
        let machine = Machine::from_dtb(&bytes).unwrap();
        prop_assert_eq!(machine.bootargs.as_str(), line);
        prop_assert_eq!(machine.cpus.len(), vcpus as usize);
        prop_assert_eq!(machine.memory[0].size, mib << 20);
    }
}
