//! Hypercalls, as `bale_abi` lays them down.

use core::arch::asm;

use bale_abi::{
    CONSOLE_LIMIT, CONSOLE_WRITE, EXIT, REPORT, SWAP_FREE, SWAP_IN, SWAP_INFO, SWAP_OUT,
};

/// A page the hypervisor reads or writes.
#[repr(C, align(4096))]
pub(crate) struct Page(pub(crate) [u8; 4096]);

/// Results in x0 to x3.
pub(crate) type Results = [u64; 4];

/// Any call at all.
pub(crate) fn raw(function: u64, arguments: [u64; 3]) -> Results {
    let mut x = [function, arguments[0], arguments[1], arguments[2]];
    let [x0, x1, x2, x3] = &mut x;
    // SAFETY: the hypervisor touches memory only where the arguments say; not `nomem`, so the
    // compiler knows.
    unsafe {
        asm!(
            "hvc #0",
            inout("x0") * x0,
            inout("x1") * x1,
            inout("x2") * x2,
            inout("x3") * x3,
            options(nostack)
        );
    }
    x
}

macro_rules! numbered {
    ($name:ident, $instruction:literal, $what:literal) => {
        #[doc = $what]
        ///
        /// It bears a number; with the results comes how often what lies behind it was done.
        pub(crate) fn $name<const NUMBER: u16>(function: u64, arguments: [u64; 3]) -> (Results, u64) {
            let mut x = [function, arguments[0], arguments[1], arguments[2]];
            let [x0, x1, x2, x3] = &mut x;
            let mut behind = 0;
            // SAFETY: as `raw`.
            unsafe {
                asm!(
                    concat!($instruction, " #{number}"),
                    "add {behind}, {behind}, #1",
                    number = const NUMBER,
                    behind = inout(reg) behind,
                    inout("x0") * x0,
                    inout("x1") * x1,
                    inout("x2") * x2,
                    inout("x3") * x3,
                    options(nostack)
                );
            }
            (x, behind)
        }
    };
}

numbered!(hvc, "hvc", "Any call by HVC.");
numbered!(smc, "smc", "Any call by SMC.");

/// (status, slots, stored).
pub(crate) fn swap_info() -> (u64, u64, u64) {
    let [status, slots, stored, _] = raw(SWAP_INFO.into(), [0; 3]);
    (status, slots, stored)
}

/// Stores a page; the status.
pub(crate) fn swap_out(slot: u64, page: &Page) -> u64 {
    raw(SWAP_OUT.into(), [slot, core::ptr::from_ref(page) as u64, 0])[0]
}

/// Reads a page back; the status.
pub(crate) fn swap_in(slot: u64, page: &mut Page) -> u64 {
    raw(SWAP_IN.into(), [slot, core::ptr::from_mut(page) as u64, 0])[0]
}

/// Releases slots: (status, how many held something).
pub(crate) fn swap_free(first: u64, count: u64) -> (u64, u64) {
    let [status, held, ..] = raw(SWAP_FREE.into(), [first, count, 0]);
    (status, held)
}

/// Hands over a figure; the status.
pub(crate) fn report(key: u64, value: u64) -> u64 {
    raw(REPORT.into(), [key, value, 0])[0]
}

/// Prints text on the hypervisor's console.
pub(crate) fn print(text: &str) {
    const LIMIT: usize = 256;
    const { assert!(LIMIT as u64 == CONSOLE_LIMIT) };
    for piece in text.as_bytes().chunks(LIMIT) {
        // The text is for people; a refusal changes nothing for the guest.
        let _ = raw(CONSOLE_WRITE.into(), [piece.as_ptr() as u64, piece.len() as u64, 0]);
    }
}

/// Ends the guest.
pub(crate) fn exit(status: u64) -> ! {
    let _ = raw(EXIT.into(), [status, 0, 0]);
    loop {
        core::hint::spin_loop();
    }
}
