//! Trees of real machines, one written by hand, and broken ones.

mod orion_o6;

use super::*;
use proptest::prelude::*;

const VIRT_1: &[u8] = include_bytes!("../../tests/data/virt-1.dtb");
const VIRT_12: &[u8] = include_bytes!("../../tests/data/virt-12.dtb");
const VIRT_GICV2: &[u8] = include_bytes!("../../tests/data/virt-gicv2.dtb");
const VIRT_GICV4: &[u8] = include_bytes!("../../tests/data/virt-gicv4-8g.dtb");
const SCATTERED: &[u8] = include_bytes!("../../tests/data/scattered.dtb");

#[test]
fn qemu_virt_with_twelve_cores() {
    let machine = Machine::from_dtb(VIRT_12).unwrap();
    assert_eq!(machine.memory.as_slice(), [Range { base: 0x4000_0000, size: 1 << 30 }]);
    assert_eq!(
        machine.cpus.iter().map(|cpu| cpu.affinity).collect::<std::vec::Vec<_>>(),
        (0..12).collect::<std::vec::Vec<_>>()
    );
    assert_eq!(machine.gic.distributor, Range { base: 0x0800_0000, size: 0x1_0000 });
    assert_eq!(machine.gic.redistributors[0].base, 0x080a_0000);
    assert_eq!(machine.uart, Uart { base: 0x0900_0000, interrupt: 33 });
    assert_eq!(machine.timer, Timer { physical: 30, virtual_timer: 27, hypervisor_physical: 26 });
    assert_eq!(machine.psci, Conduit::Smc);
    assert_eq!(machine.initrd, None);
}

#[test]
fn qemu_virt_with_one_core() {
    assert_eq!(Machine::from_dtb(VIRT_1).unwrap().cpus.len(), 1);
}

#[test]
fn gicv2_is_named() {
    assert_eq!(Machine::from_dtb(VIRT_GICV2), Err(MachineError::GicV2));
}

#[test]
fn gicv4_and_memory_above_four_gigabytes() {
    let machine = Machine::from_dtb(VIRT_GICV4).unwrap();
    assert_eq!(machine.cpus.len(), 4);
    assert_eq!(machine.memory.iter().map(|range| range.size).sum::<u64>(), 8 << 30);
}

#[test]
fn a_machine_unlike_qemu() {
    let machine = Machine::from_dtb(SCATTERED).unwrap();
    assert_eq!(machine.memory.len(), 2);
    assert_eq!(machine.memory[1], Range { base: 0x80_0000_0000, size: 0x8000_0000 });
    // The other range that the tree reserves, 64 KiB at 0x83c0_0000, lies in this one.
    assert_eq!(machine.reserved.as_slice(), [Range { base: 0x8000_0000, size: 0x0600_0000 }]);
    // The disabled core is left out; the order is the tree's.
    assert_eq!(machine.cpus.as_slice(), [0xa00, 0, 0x100].map(|affinity| Cpu { affinity }));
    assert_eq!(machine.gic.redistributors.len(), 2);
    assert_eq!(machine.uart, Uart { base: 0x040d_0000, interrupt: 330 });
    assert_eq!(machine.psci, Conduit::Hvc);
    assert_eq!(machine.bootargs, "log=defmt exec");
    assert_eq!(machine.initrd, Some(Range { base: 0x9000_0000, size: 0x10_0000 }));
}

#[test]
fn not_a_tree() {
    for bytes in [&[][..], &[0; 64], &VIRT_1[..100], b"\xd0\x0d\xfe\xed"] {
        assert_eq!(Machine::from_dtb(bytes), Err(MachineError::Broken));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever bytes are changed: a machine or an error, never a panic, and never overlapping
    /// memory.
    #[test]
    fn hostile_bytes(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12), which in 0usize..3) {
        let mut bytes = [VIRT_12, VIRT_GICV4, SCATTERED][which].to_vec();
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Ok(machine) = Machine::from_dtb(&bytes) {
            prop_assert!(!machine.memory.is_empty() && !machine.cpus.is_empty());
            for pair in machine.memory.windows(2) {
                prop_assert!(pair[0].base + pair[0].size <= pair[1].base);
            }
        }
    }

    /// Cut off anywhere.
    #[test]
    fn truncated(length in 0..VIRT_12.len()) {
        prop_assert!(Machine::from_dtb(&VIRT_12[..length]).is_err());
    }
}
