//! What a way into the hypervisor and back costs, by the guest's own counter. Under QEMU with `-icount shift=0` a
//! nanosecond is an instruction, those of the loop included (two to four a turn).

use core::arch::asm;
use core::fmt::{self, Write};

use bale_abi::VENDOR_REVISION;

use crate::{call, entry};

const TURNS: u64 = 10_000;
/// `GICD_IIDR`: a register without side effects.
const REGISTER: u64 = 0x0800_0008;

/// One line of text on the hypervisor's console.
struct Text {
    bytes: [u8; 80],
    length: usize,
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            *self.bytes.get_mut(self.length).ok_or(fmt::Error)? = byte;
            self.length += 1;
        }
        Ok(())
    }
}

fn now() -> u64 {
    let ticks;
    // SAFETY: reads the counter.
    unsafe { asm!("isb", "mrs {0}, cntvct_el0", out(reg) ticks, options(nostack)) };
    ticks
}

fn frequency() -> u64 {
    let hertz;
    // SAFETY: reads a constant.
    unsafe { asm!("mrs {0}, cntfrq_el0", out(reg) hertz, options(nostack)) };
    hertz
}

fn measure(name: &str, mut turn: impl FnMut()) {
    // Once to warm up.
    turn();
    let start = now();
    for _ in 0..TURNS {
        turn();
    }
    let nanoseconds = (now() - start) * 1_000_000_000 / frequency() / TURNS;
    let mut text = Text { bytes: [0; 80], length: 0 };
    // A name that is too long is cut.
    let _ = writeln!(text, "guest: {name}: {nanoseconds} ns");
    if let Ok(text) = core::str::from_utf8(&text.bytes[..text.length]) {
        call::print(text);
    }
}

pub(crate) fn run() -> ! {
    entry::skip_everything();
    measure("hypercall", || {
        let _ = call::raw(VENDOR_REVISION.into(), [0; 3]);
    });
    measure("firmware call", || {
        let _ = call::raw(0x8400_0000, [0; 3]);
    });
    measure("identification register", || {
        // SAFETY: reads an identification register, which traps.
        unsafe { asm!("mrs {0}, id_aa64pfr0_el1", out(reg) _, options(nostack)) };
    });
    measure("device register", || {
        // SAFETY: a register of the interrupt controller.
        unsafe { asm!("ldr {0:w}, [{1}]", out(reg) _, in(reg) REGISTER, options(nostack)) };
    });
    // SAFETY: its own virtual interface, with interrupts masked; groups, enables and control of the interrupt controller.
    unsafe {
        asm!("msr icc_igrpen1_el1, {0}", "msr icc_pmr_el1, {1}", "str {2:w}, [{3}, #0x80]", "str {2:w}, [{3}, #0x100]",
            "str {2:w}, [{4}]", in(reg) 1u64, in(reg) 0xf0u64, in(reg) 0xffff_ffffu64, in(reg) 0x080b_0000u64,
            in(reg) 0x0800_0000u64, options(nostack));
    }
    measure("interrupt to itself, taken and ended", || {
        // SAFETY: as above.
        unsafe {
            asm!("msr icc_sgi1r_el1, {0}", "isb", "mrs {1}, icc_iar1_el1", "msr icc_eoir1_el1, {1}",
                in(reg) 1u64 << 24 | 1, out(reg) _, options(nostack));
        }
    });
    call::exit(0)
}
