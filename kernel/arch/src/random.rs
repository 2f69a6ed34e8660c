//! What a core has that nobody can foretell: random numbers (FEAT_RNG; DDI 0487, D19 under RNDR),
//! and the jitter of its timing.

use core::arch::asm;
use core::sync::atomic::AtomicU64;

use aarch64_cpu::registers::{ID_AA64ISAR0_EL1, Readable};

use crate::mask::Masked;
use crate::timer;

/// Tries of a core that says it has none to give yet.
const TRIES: usize = 8;
/// Accesses that a sample times.
const ACCESSES: usize = 256;

/// A random number; `None` if this core has none, or none to give at the moment.
pub fn number() -> Option<u64> {
    // The core that is asked whether it has them is the one that gives them.
    let _masked = Masked::new();
    if !ID_AA64ISAR0_EL1.is_set(ID_AA64ISAR0_EL1::RNDR) {
        return None;
    }
    (0..TRIES).find_map(|_| {
        let (value, failed): (u64, u64);
        // SAFETY: reads RNDR, which says in the flags whether it gave a number.
        unsafe { asm!("mrs {0}, S3_3_C2_C4_0", "cset {1}, eq", out(reg) value, out(reg) failed, options(nomem, nostack)) };
        (failed == 0).then_some(value)
    })
}

/// How long, in ticks of the counter, accesses take that go to memory itself: each time it is
/// refreshed, or somebody else's accesses come between, they take longer.
pub fn jitter(samples: &mut [u16]) {
    let word = AtomicU64::new(0);
    let mut last = timer::now();
    for sample in samples {
        for _ in 0..ACCESSES {
            // SAFETY: maintenance of our own word, which changes no value, and a load of it.
            unsafe {
                asm!("dc civac, {0}", "dsb sy", "ldr {1}, [{0}]", "dsb sy", in(reg) word.as_ptr(), out(reg) _,
                    options(nostack, preserves_flags));
            }
        }
        let now = timer::now();
        // The low bits are what cannot be foretold.
        *sample = (now.wrapping_sub(last) & 0xffff) as u16;
        last = now;
    }
}
