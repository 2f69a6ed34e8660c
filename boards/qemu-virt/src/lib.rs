//! Bale on QEMU's `virt` machine: a page of facts, and the entries for an image.
//!
//! Facts are from QEMU's hw/arm/virt.c (memory map) and docs/system/arm/virt.rst; whatever the
//! device tree says wins over them.
#![no_std]
#![cfg(target_arch = "aarch64")]

use bale_kernel::board::Board;

pub use bale_kernel::board::{App, Extras};
pub use bale_kernel::boot;

/// The facts.
pub static BOARD: Board = Board {
    name: "QEMU virt",
    early_uart: 0x0900_0000, // VIRT_UART
    least_memory: 96 << 20,
};

/// Defines the entries of an image: of the kernel alone, of one with further commands
/// (`image!(commands: [..])`), or with an application (`image!(APP)`).
#[macro_export]
macro_rules! image {
    () => {
        $crate::image!(@ None, []);
    };
    (commands: $commands:expr) => {
        $crate::image!(@ None, $commands);
    };
    ($app:path) => {
        $crate::image!(@ Some(&$app), []);
    };
    (@ $app:expr, $commands:expr) => {
        static EXTRAS: $crate::Extras = $crate::Extras { app: $app, commands: &$commands };

        /// The boot core, at EL2 with the MMU off; `device_tree` as the boot protocol hands it
        /// over.
        #[unsafe(no_mangle)]
        extern "C" fn bale_boot(device_tree: u64) -> ! {
            $crate::boot::boot_core(&$crate::BOARD, device_tree, &EXTRAS)
        }

        /// The boot core at another exception level than 2.
        #[unsafe(no_mangle)]
        extern "C" fn bale_wrong_exception_level(level: u64) -> ! {
            $crate::boot::wrong_exception_level(&$crate::BOARD, level)
        }

        /// Each further core, with the MMU on.
        #[unsafe(no_mangle)]
        extern "C" fn bale_secondary(index: u64) -> ! {
            $crate::boot::further_core(index)
        }
    };
}
