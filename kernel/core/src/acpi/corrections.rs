//! Chips whose firmware is known to say something wrong, or to leave something out, by the maker's
//! name in its tables. Boards with the same chip have the same maker there; which of them it is,
//! the product's name says.

use core::fmt::Write as _;

use heapless::String;

use crate::device_tree::{Machine, Range, Uart, add_reserved, is_compatible};

/// What is put right on a chip.
pub(super) struct Correction {
    /// OEM id of the XSDT.
    maker: [u8; 6],
    /// What the chip is called here.
    chip: &'static str,
    /// The UART that is led out.
    pub(super) uart: Uart,
    /// Memory that is left alone, whatever the memory map says.
    pub(super) kept: &'static [Range],
    /// What its device tree is compatible with.
    compatible: &'static str,
    /// Registers that say how it was set up: what, and the address of 32 bits.
    watched: &'static [(&'static str, u64)],
}

static KNOWN: &[Correction] = &[
    // CIX P1, the Radxa Orion O6's. Sources: the vendor's device tree (sky1.dtsi: serial@40d0000,
    // SPI 298), its EDK2 port and its Trusted Firmware-A (plat/cix/sky1). None of it was seen on a
    // board by us.
    Correction {
        maker: *b"CIXTEK",
        chip: "CIX P1",
        // Early firmware has no SPCR, and some names a UART without a clock; UART2 is on the
        // header, and firmware talks there.
        uart: Uart { base: 0x040d_0000, interrupt: 330 },
        kept: &[
            // Firmware at EL3 and OP-TEE read records here at each CPU_ON; overwritten, cores do
            // not start any more.
            Range { base: 0x8000_0000, size: 0x0680_0000 },
            // The vendor's kernel boot image, which its map calls reserved on some versions only.
            Range { base: 0xa000_0000, size: 0x0800_0000 },
        ],
        compatible: "cix,sky1",
        // In the domain that is always on (Trusted Firmware-A, plat/cix/sky1: cix_topology.c,
        // watchdog.c).
        watched: &[
            ("cores masked (bits 0 to 11), boot core (12 to 15)", 0x1600_0508),
            ("watchdog, control and status", 0x1600_3000),
        ],
    },
];

impl Correction {
    /// What a machine is called: the chip, and the board where its name is known.
    pub(super) fn name(&self, product: Option<&str>) -> String<40> {
        let mut name = String::new();
        let product = product.unwrap_or("of unknown make");
        // A name that is too long is cut.
        let _ = write!(name, "{} ({product:.28})", self.chip);
        name
    }
}

/// The correction for a maker's machines.
pub(super) fn of(maker: [u8; 6]) -> Option<&'static Correction> {
    KNOWN.iter().find(|known| known.maker == maker)
}

/// Adds to a machine that was read from a device tree what its tree forgets to reserve, and calls
/// it as its ACPI tables would.
pub fn keep_out(machine: &mut Machine, tree: &[u8]) {
    let Some(known) = KNOWN.iter().find(|known| is_compatible(tree, known.compatible)) else {
        return;
    };
    for range in known.kept {
        add_reserved(&mut machine.reserved, *range, &mut machine.left_out);
    }
    machine.model =
        known.name(Some(&machine.model).filter(|model| !model.is_empty()).map(|model| &**model));
}

/// Registers of a machine of this name that are worth a look when it behaves strangely; none of
/// those that are not known here.
pub fn watched(model: &str) -> &'static [(&'static str, u64)] {
    let known = KNOWN
        .iter()
        .find(|known| model.strip_prefix(known.chip).is_some_and(|rest| rest.starts_with(" (")));
    known.map_or(&[], |known| known.watched)
}
