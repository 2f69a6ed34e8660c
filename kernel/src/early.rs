//! A voice and a map before memory management is up.
//!
//! [`say`] and [`stop`] run with the MMU off as well: byte and aligned word accesses only. [`map`]
//! gives the boot core caches and unaligned accesses while it reads the tables and builds the real
//! map.

use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

use bale_arch::{mask, mmu};
use bale_core::console::STOPPED;
use bale_core::early_map::{self, MapError, Table};
use bale_io::last_words;
use bale_rt::power;

use crate::board::Board;

/// Nothing has looked for a UART yet.
const UNSOUGHT: u64 = 0;
/// The tables name none that can be reached.
const NONE: u64 = u64::MAX;

/// The UART that the tables name, [`UNSOUGHT`] or [`NONE`].
static VOICE: AtomicU64 = AtomicU64::new(UNSOUGHT);

/// From here on [`say`] uses the PL011 that the tables name. It is added to the early map, which is
/// on: an entry that was not valid needs no break before make. The same, if there is one and it can
/// be reached.
pub fn speak_on(uart: Option<u64>) -> Option<u64> {
    let reached = uart.filter(|uart| add(*uart, UART, DEVICE).is_ok());
    mmu::publish_tables();
    VOICE.store(reached.unwrap_or(NONE), Ordering::Relaxed);
    reached
}

/// There are no tables to be read: the UART that the board is known to have is all there is, and
/// [`say`] uses it with the early map on.
pub fn speak_on_own(board: &Board) {
    // Its gigabyte holds the image where the board's page is wrong: then nothing is changed.
    if add(board.early_uart, UART, DEVICE).is_err() {
        VOICE.store(NONE, Ordering::Relaxed);
    }
    mmu::publish_tables();
}

/// Writes text to the UART by polling. Before the tables are found it is the one that the board is
/// known to have; once they are, one that they do not name is not touched, since on another machine
/// nothing, or something else, may be there.
pub fn say(board: &Board, text: &str) {
    let uart = match VOICE.load(Ordering::Relaxed) {
        UNSOUGHT => board.early_uart,
        NONE => return,
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
/// Where no UART is known the words are left for the next boot, and the machine is started anew:
/// that keeps memory, and brings back the firmware, which somebody can see.
pub fn stop(board: &Board, reason: &[&str], psci_by_hvc: bool) -> ! {
    say(board, "\x1e");
    say(board, STOPPED);
    for part in reason {
        say(board, part);
    }
    say(board, "\r\n");
    if VOICE.load(Ordering::Relaxed) == NONE {
        last_words::leave(STOPPED, reason);
        if psci_by_hvc {
            let _ = smccc::psci::system_reset::<smccc::Hvc>();
        } else {
            let _ = smccc::psci::system_reset::<smccc::Smc>();
        }
    }
    if psci_by_hvc {
        let _ = smccc::psci::system_off::<smccc::Hvc>();
    } else {
        let _ = smccc::psci::system_off::<smccc::Smc>();
    }
    mask::halt()
}

/// The same for a reason that is put together.
pub(crate) fn stop_for(board: &Board, reason: core::fmt::Arguments<'_>) -> ! {
    let mut text: heapless::String<256> = heapless::String::new();
    // A longer text is cut, which is better than none.
    let _ = core::fmt::write(&mut text, reason);
    stop(board, &[&text], power::by_hvc())
}

/// Level 0, and a table of level 1 for each part of 512 GiB that the image, the device tree, a
/// UART, room for last words and tables of the real map can lie in: each may cross into another.
const TABLES: usize = 1 + 5 * 2;

struct Tables(UnsafeCell<[Table; TABLES]>);

// SAFETY: written by the boot core alone, before any other core runs.
unsafe impl Sync for Tables {}

static MAP: Tables = Tables(UnsafeCell::new([const { Table::EMPTY }; TABLES]));

/// Bytes of a PL011's registers.
const UART: u64 = 0x1000;
/// Block: valid, accessed, inner shareable, attribute index 1 (normal memory).
const NORMAL: u64 = 1 | 1 << 2 | 3 << 8 | 1 << 10;
/// Block: valid, accessed, attribute index 0 (device memory), never executed.
const DEVICE: u64 = 1 | 1 << 10 | 1 << 54;

fn add(start: u64, length: u64, attributes: u64) -> Result<(), MapError> {
    // SAFETY: the boot core's alone, and nothing else holds a reference.
    early_map::add(unsafe { &mut *MAP.0.get() }, start, length, attributes)
}

/// Adds memory to the early map, which is on: where tables of the real map are to lie.
///
/// # Errors
/// It cannot be mapped.
pub fn reach(start: u64, length: u64) -> Result<(), MapError> {
    add(start, length, NORMAL)?;
    mmu::publish_tables();
    Ok(())
}

/// Turns on the MMU and caches with a coarse identity map: the gigabytes that hold the image and
/// the device tree, wherever they lie in 48 bits of address. It lives for a few milliseconds.
///
/// # Errors
/// One of them cannot be mapped; nothing is turned on.
///
/// # Safety
/// Once, on the boot core, before anything else uses the MMU. The ranges, of start and length, are
/// memory.
pub unsafe fn map(image: (u64, u64), device_tree: (u64, u64)) -> Result<(), MapError> {
    add(image.0, image.1, NORMAL)?;
    add(device_tree.0, device_tree.1, NORMAL)?;
    // SAFETY: image, stack and tables lie in the image's gigabytes, which are mapped at the
    // addresses they have.
    unsafe { mmu::switch_tables(MAP.0.get() as u64, mmu::EARLY_CONTROL) };
    Ok(())
}
