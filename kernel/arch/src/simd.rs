//! SIMD and floating-point registers of a virtual CPU, in its block and in this core's registers.

use core::arch::asm;

/// The SIMD and floating-point registers of a virtual CPU; of q0 to q3, which travel with the task
/// that runs it, only a look.
#[repr(C, align(16))]
#[derive(Debug, Clone)]
pub struct SimdState {
    q: [u128; 32],
    fpcr: u64,
    fpsr: u64,
}

impl SimdState {
    /// All zero, as nobody's leftovers.
    pub const fn zero() -> Self {
        Self { q: [0; 32], fpcr: 0, fpsr: 0 }
    }

    /// Whether both hold the same q0 to q31.
    pub fn same_registers(&self, other: &Self) -> bool {
        self.q == other.q
    }

    /// Reads the registers of this core into the block.
    #[inline(always)]
    pub fn save(&mut self) {
        // SAFETY: writes the 528 bytes of the block and nothing else.
        unsafe {
            asm!(
                ".arch_extension fp",
                ".arch_extension simd",
                "stp q0, q1, [{q}]",
                "stp q2, q3, [{q}, #32]",
                "stp q4, q5, [{q}, #64]",
                "stp q6, q7, [{q}, #96]",
                "stp q8, q9, [{q}, #128]",
                "stp q10, q11, [{q}, #160]",
                "stp q12, q13, [{q}, #192]",
                "stp q14, q15, [{q}, #224]",
                "stp q16, q17, [{q}, #256]",
                "stp q18, q19, [{q}, #288]",
                "stp q20, q21, [{q}, #320]",
                "stp q22, q23, [{q}, #352]",
                "stp q24, q25, [{q}, #384]",
                "stp q26, q27, [{q}, #416]",
                "stp q28, q29, [{q}, #448]",
                "stp q30, q31, [{q}, #480]",
                "mrs {control}, fpcr",
                "mrs {status}, fpsr",
                ".arch_extension nosimd",
                ".arch_extension nofp",
                q = in(reg) &raw mut self.q,
                control = out(reg) self.fpcr,
                status = out(reg) self.fpsr,
                options(nostack, preserves_flags)
            );
        }
    }

    /// Writes the block into this core's registers, but for q0 to q3.
    #[inline(always)]
    pub fn load(&self) {
        // SAFETY: reads the block; compiled code of EL2 holds nothing in these registers.
        unsafe {
            asm!(
                ".arch_extension fp",
                ".arch_extension simd",
                "ldp q4, q5, [{q}, #64]",
                "ldp q6, q7, [{q}, #96]",
                "ldp q8, q9, [{q}, #128]",
                "ldp q10, q11, [{q}, #160]",
                "ldp q12, q13, [{q}, #192]",
                "ldp q14, q15, [{q}, #224]",
                "ldp q16, q17, [{q}, #256]",
                "ldp q18, q19, [{q}, #288]",
                "ldp q20, q21, [{q}, #320]",
                "ldp q22, q23, [{q}, #352]",
                "ldp q24, q25, [{q}, #384]",
                "ldp q26, q27, [{q}, #416]",
                "ldp q28, q29, [{q}, #448]",
                "ldp q30, q31, [{q}, #480]",
                "msr fpcr, {control}",
                "msr fpsr, {status}",
                ".arch_extension nosimd",
                ".arch_extension nofp",
                q = in(reg) &raw const self.q,
                control = in(reg) self.fpcr,
                status = in(reg) self.fpsr,
                options(nostack, readonly, preserves_flags)
            );
        }
    }
}

/// An instruction on one of the 32 SIMD registers, which the loaded guest's are.
macro_rules! on_simd {
    ($number:expr, $before:literal, $after:literal, $operand:tt $value:ident) => {
        on_simd!(@each $number, $before, $after, $operand $value;
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31)
    };
    (@each $number:expr, $before:literal, $after:literal, $operand:tt $value:ident; $($one:literal)*) => {
        match $number {
            $(
                // SAFETY: compiled code of EL2 holds nothing in these registers; the caller has a
                // guest's loaded.
                $one => unsafe {
                    asm!(".arch_extension fp", ".arch_extension simd", concat!($before, $one, $after),
                        ".arch_extension nosimd", ".arch_extension nofp",
                        $operand(reg) $value, options(nomem, nostack, preserves_flags));
                },
            )*
            _ => {}
        }
    };
}

/// Half of a SIMD register of the guest that is loaded on this core; 0 for one that does not exist.
pub fn half(number: u8, upper: bool) -> u64 {
    let mut value = 0u64;
    if upper {
        on_simd!(number, "mov {0}, v", ".d[1]", out value);
    } else {
        on_simd!(number, "mov {0}, v", ".d[0]", out value);
    }
    value
}

/// Writes the lower half of a SIMD register of the guest that is loaded on this core, and zeros
/// above it; or the upper half.
pub fn set_half(number: u8, upper: bool, value: u64) {
    if upper {
        on_simd!(number, "mov v", ".d[1], {0}", in value);
    } else {
        on_simd!(number, "fmov d", ", {0}", in value);
    }
}
