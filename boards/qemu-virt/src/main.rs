//! Bale on QEMU's `virt` machine: a page of facts and the two entries.
//!
//! Facts are from QEMU's hw/arm/virt.c (memory map) and docs/system/arm/virt.rst; whatever the device tree says
//! wins over them.
#![no_std]
#![no_main]

use bale_kernel::board::Board;
use bale_kernel::boot;

static BOARD: Board = Board {
    name: "QEMU virt",
    early_uart: 0x0900_0000, // VIRT_UART
    least_memory: 96 << 20,
};

/// The boot core, at EL2 with the MMU off; `device_tree` as the boot protocol hands it over.
#[unsafe(no_mangle)]
extern "C" fn bale_boot(device_tree: u64) -> ! {
    boot::boot_core(&BOARD, device_tree)
}

/// The boot core at another exception level than 2.
#[unsafe(no_mangle)]
extern "C" fn bale_wrong_exception_level(level: u64) -> ! {
    boot::wrong_exception_level(&BOARD, level)
}

/// Each further core, with the MMU on.
#[unsafe(no_mangle)]
extern "C" fn bale_secondary(index: u64) -> ! {
    boot::further_core(index)
}
