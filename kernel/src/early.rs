//! A voice and a map before memory management is up.
//!
//! [`say`] and [`stop`] run with the MMU off: byte and aligned word accesses only. [`map`] gives the boot core
//! caches and unaligned accesses while it reads the tables and builds the real map.

use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

use bale_arch::{mask, mmu};
use bale_core::console::STOPPED;

use crate::board::Board;

/// The UART that the tables name; 0 before they are read.
static NAMED: AtomicU64 = AtomicU64::new(0);

/// From here on [`say`] uses the PL011 that the tables name, which lies in the early map's gigabyte of devices, or else stays with the board's.
pub fn speak_on(uart: u64) {
    if uart < GIGABYTE {
        NAMED.store(uart, Ordering::Relaxed);
    }
}

/// Writes text to the UART by polling.
pub fn say(board: &Board, text: &str) {
    let uart = match NAMED.load(Ordering::Relaxed) {
        0 => board.early_uart,
        named => named,
    };
    const DATA: u64 = 0x00;
    const FLAGS: u64 = 0x18;
    const TRANSMIT_FULL: u32 = 1 << 5;
    for byte in text.bytes() {
        loop {
            // SAFETY: the board's page, or the tables, name a PL011 here (DDI 0183, UARTFR).
            let flags = unsafe { ptr::read_volatile((uart + FLAGS) as *const u32) };
            if flags & TRANSMIT_FULL == 0 {
                break;
            }
        }
        // SAFETY: as above (UARTDR).
        unsafe { ptr::write_volatile((uart + DATA) as *mut u32, u32::from(byte)) };
    }
}

/// Says why Bale cannot start, then turns the machine off, or halts where PSCI does not answer.
pub fn stop(board: &Board, reason: &[&str], psci_by_hvc: bool) -> ! {
    say(board, "\x1e");
    say(board, STOPPED);
    for part in reason {
        say(board, part);
    }
    say(board, "\r\n");
    if psci_by_hvc {
        let _ = smccc::psci::system_off::<smccc::Hvc>();
    } else {
        let _ = smccc::psci::system_off::<smccc::Smc>();
    }
    mask::halt()
}

#[repr(C, align(4096))]
struct Table(UnsafeCell<[u64; 512]>);

// SAFETY: written by the boot core alone, before any other core runs.
unsafe impl Sync for Table {}

static LEVEL0: Table = Table(UnsafeCell::new([0; 512]));
static LEVEL1: Table = Table(UnsafeCell::new([0; 512]));

const GIGABYTE: u64 = 1 << 30;
/// Block: valid, accessed, inner shareable, attribute index 1 (normal memory).
const NORMAL: u64 = 1 | 1 << 2 | 3 << 8 | 1 << 10;
/// Block: valid, accessed, attribute index 0 (device memory), never executed.
const DEVICE: u64 = 1 | 1 << 10 | 1 << 54;

/// Turns on the MMU and caches with a coarse identity map: the gigabytes that hold the image and the device tree as
/// memory, the one that holds the UART as device. All must lie below 512 GiB. It lives for a few milliseconds.
///
/// # Safety
/// Once, on the boot core, before anything else uses the MMU.
pub unsafe fn map(board: &Board, image: u64, device_tree: u64) {
    let level1 = LEVEL1.0.get().cast::<u64>();
    let level0 = LEVEL0.0.get().cast::<u64>();
    for (address, attributes) in [(board.early_uart, DEVICE), (device_tree, NORMAL), (image, NORMAL)] {
        let index = (address / GIGABYTE) as usize & 511;
        // SAFETY: the index is below 512.
        let entry = unsafe { level1.add(index) };
        // SAFETY: our own table, not in use yet.
        unsafe { entry.write_volatile(address & !(GIGABYTE - 1) | attributes) };
    }
    // SAFETY: entry 0 of our own table.
    unsafe { level0.write_volatile(level1 as u64 | 3) };
    // SAFETY: image, stack and tables lie in the image's gigabyte, which is mapped at the addresses it has.
    unsafe { mmu::switch_tables(level0 as u64) };
}
