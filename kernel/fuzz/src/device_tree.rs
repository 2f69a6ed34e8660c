//! A device tree as the boot loader hands it over.

use bale_core::device_tree::Machine;
use bale_core::handover;

pub(crate) fn run(bytes: &[u8]) {
    if let Ok(machine) = Machine::from_dtb(bytes) {
        survives_the_handover(&machine);
    }
}

/// What the loader writes of a machine, the kernel reads back.
pub(crate) fn survives_the_handover(machine: &Machine) {
    let mut tree = vec![0; 1 << 16];
    let Ok(length) = handover::write(machine, &[], &mut tree) else { return };
    let again = Machine::from_dtb(&tree[..length]).expect("our own tree is read");
    assert_eq!(
        (&again.cpus, &again.gic, again.uart, again.timer, again.psci),
        (&machine.cpus, &machine.gic, machine.uart, machine.timer, machine.psci)
    );
}
