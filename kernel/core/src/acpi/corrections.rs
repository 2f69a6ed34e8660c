//! Boards whose firmware is known to say something wrong, or to leave something out, by the maker's name in its tables.

use crate::device_tree::{Machine, MachineError, Range, Uart};

/// What is put right on a board.
pub(super) struct Correction {
    /// OEM id of the XSDT.
    maker: [u8; 6],
    /// What such machines are called here.
    pub(super) model: &'static str,
    /// The UART that is led out.
    pub(super) uart: Uart,
    /// Memory that is left alone, whatever the memory map says.
    pub(super) kept: &'static [Range],
    /// What its device tree calls itself.
    tree_model: &'static str,
    /// Registers that say how it was set up: what, and the address of 32 bits.
    watched: &'static [(&'static str, u64)],
}

static KNOWN: &[Correction] = &[
    // CIX P1, the Radxa Orion O6's. Sources: the vendor's device tree (sky1.dtsi: serial@40d0000, SPI 298), its EDK2 port and its
    // Trusted Firmware-A (plat/cix/sky1). None of it was seen on a board by us.
    Correction {
        maker: *b"CIXTEK",
        model: "CIX P1 (Radxa Orion O6)",
        // Early firmware has no SPCR, and some names a UART without a clock; UART2 is on the header, and firmware talks there.
        uart: Uart { base: 0x040d_0000, interrupt: 330 },
        kept: &[
            // Firmware at EL3 and OP-TEE read records here at each CPU_ON; overwritten, cores do not start any more.
            Range { base: 0x8000_0000, size: 0x0680_0000 },
            // The vendor's kernel boot image, which its map calls reserved on some versions only.
            Range { base: 0xa000_0000, size: 0x0800_0000 },
        ],
        tree_model: "Radxa Orion O6",
        // In the domain that is always on (Trusted Firmware-A, plat/cix/sky1: cix_topology.c, watchdog.c).
        watched: &[
            ("cores masked (bits 0 to 11), boot core (12 to 15)", 0x1600_0508),
            ("watchdog, control and status", 0x1600_3000),
        ],
    },
];

/// The correction for a maker's machines.
pub(super) fn of(maker: [u8; 6]) -> Option<&'static Correction> {
    KNOWN.iter().find(|known| known.maker == maker)
}

/// Adds to a machine that was read from a device tree what its tree forgets to reserve.
///
/// # Errors
/// There is no room for it.
pub fn keep_out(machine: &mut Machine) -> Result<(), MachineError> {
    let known = KNOWN.iter().find(|known| known.tree_model == machine.model);
    let kept = known.map_or(&[][..], |known| known.kept);
    machine.reserved.extend_from_slice(kept).map_err(|_| MachineError::TooMany("reserved ranges"))
}

/// Registers of a machine of this name that are worth a look when it behaves strangely; none of those that are not known here.
pub fn watched(model: &str) -> &'static [(&'static str, u64)] {
    let known = KNOWN.iter().find(|known| known.model == model || known.tree_model == model);
    known.map_or(&[], |known| known.watched)
}
