//! Random numbers of the core (FEAT_RNG; DDI 0487, D19 under RNDR).

use core::arch::asm;

/// Tries of a core that says it has none to give yet.
const TRIES: usize = 8;

/// A random number; `None` if the core has none to give at the moment. Only where
/// `ID_AA64ISAR0_EL1.RNDR` says that it has them.
pub fn number() -> Option<u64> {
    (0..TRIES).find_map(|_| {
        let (value, failed): (u64, u64);
        // SAFETY: reads RNDR, which says in the flags whether it gave a number.
        unsafe { asm!("mrs {0}, S3_3_C2_C4_0", "cset {1}, eq", out(reg) value, out(reg) failed, options(nomem, nostack)) };
        (failed == 0).then_some(value)
    })
}
