//! Every system register that can be reached, by its encoding: a pattern of this machine's own is
//! written to each, and whatever is read afterwards has to be read again and again, while another
//! machine on the same core does the same with patterns of its own. What changes by itself, and
//! what this program stands on, is left out, each by name.

use core::arch::asm;
use core::cell::UnsafeCell;

use bale_abi::{GuestInfo, report};

use crate::{call, entry, measure};

/// Encodings with op0 2 and 3: op1, `CRn`, `CRm`, op2.
const ENCODINGS: usize = 2 << 14;
/// Milliseconds between two looks: several turns of the other machine.
const PAUSE_MS: u64 = 20;

#[repr(C, align(4096))]
struct Words<T>(UnsafeCell<T>);

// SAFETY: there is one virtual CPU.
unsafe impl<T> Sync for Words<T> {}

static FOUND: Words<[u64; ENCODINGS]> = Words(UnsafeCell::new([0; ENCODINGS]));
static READABLE: Words<[bool; ENCODINGS]> = Words(UnsafeCell::new([false; ENCODINGS]));
static CODE: Words<[u32; 16]> = Words(UnsafeCell::new([0; 16]));

/// A register's fields, from its place in the tables.
#[derive(Clone, Copy)]
struct Encoding {
    op0: u64,
    op1: u64,
    crn: u64,
    crm: u64,
    op2: u64,
}

impl Encoding {
    fn of(place: usize) -> Self {
        Self::of_any(INSTRUCTIONS + place)
    }

    /// As [`Self::of`], from op0 0 on.
    fn of_any(place: usize) -> Self {
        let place = place as u64;
        Self {
            op0: place >> 14,
            op1: place >> 11 & 7,
            crn: place >> 7 & 15,
            crm: place >> 3 & 15,
            op2: place & 7,
        }
    }

    const fn fields(self) -> (u64, u64, u64, u64, u64) {
        (self.op0, self.op1, self.crn, self.crm, self.op2)
    }

    /// Whether a write would end this program, or the emulator.
    fn is_spared(self) -> bool {
        match self.fields() {
            // SCTLR_EL1; TTBR0_EL1, TTBR1_EL1, TCR_EL1; MAIR_EL1; VBAR_EL1; SP_EL0 is nobody's
            // here.
            (3, 0, 1, 0, 0) | (3, 0, 2, 0, _) | (3, 0, 10, 2, 0) | (3, 0, 12, 0, 0) => true,
            // Fields of PSTATE.
            (3, 0 | 3, 4, 2, _) => true,
            // SPSR_EL1 and ELR_EL1, ESR_EL1, FAR_EL1: every undefined encoding writes them.
            (3, 0, 4, 0, _) | (3, 0, 5, 2, 0) | (3, 0, 6, 0, 0) => true,
            // Acknowledge, end and send interrupts.
            (3, 0, 12, 8, 0..=2) | (3, 0, 12, 11, _) | (3, 0, 12, 12, 0..=2) => true,
            // ICC_BPR1_EL1 and ICC_CTLR_EL1, whose writes QEMU 7.2 answers with an assertion of its
            // own.
            (3, 0, 12, 12, 3 | 4) => true,
            // A compare value or a control that would let a timer fire, or QEMU 7.2 hang.
            (3, 3, 14, 2 | 3, 0 | 1) => true,
            _ => false,
        }
    }

    /// Whether it changes by itself.
    fn is_volatile(self) -> bool {
        match self.fields() {
            // What every exception writes, and pending interrupts.
            (3, 0, 4, 0, _) | (3, 0, 5, 2, 0) | (3, 0, 6, 0, 0) | (3, 0, 12, 1, 0) => true,
            (3, 0, 12, 8 | 12, 0..=2) | (3, 0, 12, 11, _) => true,
            // NZCV, and random numbers.
            (3, 3, 4, 2, _) | (3, 3, 2, 4, _) => true,
            // The counters, and what timers have left of theirs.
            (3, 3, 14, 0, 1..=7) | (3, 3, 14, 2 | 3, 0) => true,
            _ => false,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the fields have 22 bits")]
    fn instruction(self, read: bool) -> u32 {
        let fields = u64::from(read) << 21
            | self.op0 << 19
            | self.op1 << 16
            | self.crn << 12
            | self.crm << 8
            | self.op2 << 5;
        0xd500_0000 | fields as u32
    }
}

/// Executes one of its accesses; what is in x0 afterwards.
fn access(encoding: Encoding, read: bool, value: u64) -> u64 {
    let place = CODE.0.get();
    let result;
    // SAFETY: writes an instruction and a return into this program's own place and calls it; x0
    // alone changes, and what faults is skipped by the vectors.
    unsafe {
        asm!(
            "stp {code:w}, {ret:w}, [{place}]",
            "dc cvau, {place}",
            "dsb ish",
            "ic ivau, {place}",
            "dsb ish",
            "isb",
            "blr {place}",
            code = in(reg) u64::from(encoding.instruction(read)),
            ret = in(reg) 0xd65f_03c0u64,
            place = in(reg) place,
            inout("x0") value => result,
            out("x30") _,
        );
    }
    result
}

/// Reads one; `None` if it cannot be read.
fn read(encoding: Encoding) -> Option<u64> {
    entry::expect_undefined();
    let value = access(encoding, true, 0);
    (!entry::saw_undefined()).then_some(value)
}

/// The UART's data register, of a machine with devices.
const UART: *mut u32 = 0x0900_0000 as *mut u32;

/// Prints each encoding that can be read or written: `reach` and its five fields in hexadecimal,
/// then `r`, `w`, both, or `r?` where a write is not tried.
#[expect(clippy::cast_possible_truncation, reason = "a field has four bits")]
fn list(place: usize, encoding: Encoding) {
    let found = read(encoding);
    let mut can = 0;
    if found.is_some() {
        can |= 1;
    }
    if encoding.is_spared() {
        can |= 4;
    } else if place >= INSTRUCTIONS {
        entry::expect_undefined();
        let _ = access(encoding, false, found.unwrap_or(0));
        can |= if entry::saw_undefined() { 0 } else { 2 };
    }
    if can & 3 == 0 {
        return;
    }
    let (op0, op1, crn, crm, op2) = encoding.fields();
    say(b"reach");
    for field in [op0, op1, crn, crm, op2] {
        say(&[b' ', b"0123456789abcdef"[field as usize & 15]]);
    }
    say(match can {
        1 => b" r",
        2 => b" w",
        3 => b" rw",
        _ => b" r?",
    });
    say(b"\n");
}

fn say(bytes: &[u8]) {
    for byte in bytes {
        // SAFETY: the machine's UART, of which every value may be written to this register.
        unsafe { UART.write_volatile((*byte).into()) };
    }
}

/// Encodings with op0 0 and 1, which are instructions: a read of one gives a result that none of
/// them should have, a write would do what the instruction does.
const INSTRUCTIONS: usize = 2 << 14;

/// Lists all that can be reached.
fn list_all() {
    for place in 0..2 * ENCODINGS {
        let encoding = Encoding::of_any(place);
        list(place, encoding);
    }
}

pub(crate) fn run(info: &GuestInfo) -> ! {
    entry::skip_everything();
    // SAFETY: there is one virtual CPU, and this is the only borrow.
    let found = unsafe { &mut *FOUND.0.get() };
    // SAFETY: as above.
    let readable = unsafe { &mut *READABLE.0.get() };
    // So that SIMD's are there, too.
    // SAFETY: compiled code of this program does not use them.
    unsafe { asm!("msr cpacr_el1, {0}", "isb", in(reg) 3u64 << 20) };
    if info.steps == 0 {
        list_all();
        call::exit(0);
    }
    let mut kept = 0;
    for place in 0..ENCODINGS {
        let encoding = Encoding::of(place);
        if encoding.is_volatile() {
            continue;
        }
        if !encoding.is_spared() {
            // All bits of the seed, alternately: what one machine sets the other one clears.
            let pattern =
                (info.seed & 15).wrapping_mul(0x1111_1111_1111_1111) & !debugging(encoding);
            entry::expect_undefined();
            let _ = access(encoding, false, pattern);
        }
    }
    for place in 0..ENCODINGS {
        let encoding = Encoding::of(place);
        if encoding.is_volatile() {
            continue;
        }
        if let Some(value) = read(encoding) {
            found[place] = value;
            readable[place] = true;
            kept += u64::from(value != 0);
        }
    }
    for _ in 0..info.steps {
        let until = measure::now() + measure::frequency() * PAUSE_MS / 1000;
        while measure::now() < until {
            core::hint::spin_loop();
        }
        for place in 0..ENCODINGS {
            let encoding = Encoding::of(place);
            if readable[place] && read(encoding) != Some(found[place]) {
                let _ = call::report(report::CHECK_FAILED, 0x1_0000 | place as u64);
                call::exit(1);
            }
        }
    }
    let _ = call::report(report::CHECKS_PASSED, kept);
    call::exit(0)
}

/// Bits that would let debug exceptions come: E of break- and watchpoints, SS and MDE of
/// `MDSCR_EL1`.
const fn debugging(encoding: Encoding) -> u64 {
    match encoding.fields() {
        (2, 0, 0, _, 5 | 7) => 1,
        (2, 0, 0, 2, 2) => 1 | 1 << 15,
        _ => 0,
    }
}
