//! Instructions that are undefined here, whatever the core has: each is to reach this guest's own
//! vector.

use core::arch::asm;

use bale_abi::report;

use crate::{call, entry};

/// Whether all were undefined; the number of the first that was not is reported.
pub(crate) fn all() -> bool {
    let mut done = 0;
    macro_rules! undefined {
        ($($instruction:literal)*) => {
            $(
                done += 1;
                entry::expect_undefined();
                // SAFETY: the vector skips it; one that is not undefined reads a register.
                unsafe { asm!($instruction, out("x0") _, options(nostack)) };
                if !entry::saw_undefined() {
                    let _ = call::report(report::CHECK_FAILED, done);
                    return false;
                }
            )*
        };
    }
    undefined! {
        "udf #0"
        // ERRIDR_EL1, ERXSTATUS_EL1: RAS.
        "mrs x0, S3_0_C5_C3_0"
        "mrs x0, S3_0_C5_C4_2"
        // PMSCR_EL1, PMBLIMITR_EL1, PMSIDR_EL1: statistical profiling.
        "mrs x0, S3_0_C9_C9_0"
        "mrs x0, S3_0_C9_C10_0"
        "mrs x0, S3_0_C9_C9_7"
        // TRBLIMITR_EL1, TRFCR_EL1: trace.
        "mrs x0, S3_0_C9_C11_0"
        "mrs x0, S3_0_C1_C2_1"
        // MPAM0_EL1, MPAM1_EL1.
        "mrs x0, S3_0_C10_C5_1"
        "mrs x0, S3_0_C10_C5_0"
        // RGSR_EL1, GCR_EL1, TFSR_EL1: tags. Not GMID_EL1, which QEMU 7.2 refuses with another
        // class without them.
        "mrs x0, S3_0_C1_C0_5"
        "mrs x0, S3_0_C1_C0_6"
        "mrs x0, S3_0_C5_C6_0"
        // LORC_EL1: limited ordering regions.
        "mrs x0, S3_0_C10_C4_3"
        // APIAKEYLO_EL1: pointer authentication.
        "mrs x0, S3_0_C2_C1_0"
        // AMCR_EL0: counters of activity.
        "mrs x0, S3_3_C13_C2_0"
    }
    let _ = call::report(report::CHECKS_PASSED, done);
    true
}
