//! State of a virtual CPU that only some cores have, and no trap keeps guests from.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::identity::Extensions;

/// Such state: a field that the core has not stays 0.
#[derive(Debug, Clone, Default)]
pub struct FurtherState {
    /// `VDISR_EL2`, which a guest reaches as `DISR_EL1` while SErrors go to EL2 (FEAT_RAS).
    deferred_error: u64,
    /// `TPIDR2_EL0` (FEAT_SME), which only fine-grained traps keep a guest from.
    thread: u64,
    /// `AMAIR_EL1`, `AFSR0_EL1`, `AFSR1_EL1`: up to the implementation, and RES0 on most.
    auxiliary: [u64; 3],
}

/// Which of it this core has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Further {
    deferred_error: bool,
    thread: bool,
    auxiliary: bool,
}

/// Whether the auxiliary registers of some core keep what is written.
static AUXILIARY: AtomicBool = AtomicBool::new(false);

macro_rules! read {
    ($register:literal) => {{
        let value: u64;
        // SAFETY: reads a register that is the guest's alone, and that this core has.
        unsafe { asm!(concat!("mrs {0}, ", $register), out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }};
}

macro_rules! write {
    ($register:literal, $value:expr) => {
        // SAFETY: EL2 does not use this register, which this core has.
        unsafe { asm!(concat!("msr ", $register, ", {0}"), in(reg) $value, options(nomem, nostack, preserves_flags)) }
    };
}

/// Looks whether the auxiliary registers keep anything on this core, and leaves them 0. No guest
/// has run here, and walks are stopped.
pub fn probe() {
    let mut kept = 0;
    macro_rules! probe {
        ($($register:literal)*) => {
            $(
                write!($register, u64::MAX);
                kept |= read!($register);
                write!($register, 0u64);
            )*
        };
    }
    probe!("amair_el1" "afsr0_el1" "afsr1_el1");
    if kept != 0 {
        // Relaxed: a core's own virtual CPUs come after it.
        AUXILIARY.store(true, Ordering::Relaxed);
    }
}

impl Further {
    /// Of a core with these extensions.
    pub fn of(extensions: Extensions) -> Self {
        Self {
            deferred_error: extensions.error_records,
            thread: extensions.matrices && extensions.fine_grained_traps == 0,
            auxiliary: AUXILIARY.load(Ordering::Relaxed),
        }
    }

    /// Whether it has any.
    pub fn is_any(self) -> bool {
        self.deferred_error || self.thread || self.auxiliary
    }
}

impl FurtherState {
    /// Reads this core's registers into the block.
    pub fn save(&mut self, has: Further) {
        if has.deferred_error {
            self.deferred_error = read!("S3_4_C12_C1_1");
        }
        if has.thread {
            self.thread = read!("S3_3_C13_C0_5");
        }
        if has.auxiliary {
            self.auxiliary = [read!("amair_el1"), read!("afsr0_el1"), read!("afsr1_el1")];
        }
    }

    /// Writes the block into this core's registers; its walks are stopped.
    pub fn load(&self, has: Further) {
        if has.deferred_error {
            write!("S3_4_C12_C1_1", self.deferred_error);
        }
        if has.thread {
            write!("S3_3_C13_C0_5", self.thread);
        }
        if has.auxiliary {
            let [attributes, fault, second] = self.auxiliary;
            write!("amair_el1", attributes);
            write!("afsr0_el1", fault);
            write!("afsr1_el1", second);
        }
    }
}
