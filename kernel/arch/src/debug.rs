//! A guest's debug registers in this core's (DDI 0487, D19.3).
//!
//! Exceptions of break- and watchpoints and of software step go to EL1 (`MDCR_EL2.TDE` = 0), and
//! none of them is ever taken at a higher level than they go to (D2.4): EL2 runs with a guest's
//! registers loaded as if there were none.

use core::arch::asm;

macro_rules! points {
    ($($index:literal: $breakpoint:literal, $breakpoint_control:literal, $watchpoint:literal, $watchpoint_control:literal;)*) => {
        /// Writes breakpoints, as many as this core has, from the first: value and control.
        pub fn set_breakpoints(points: &[[u64; 2]]) {
            $(
                let Some([value, control]) = points.get($index) else { return };
                // SAFETY: a guest's register, which has no effect on EL2; this core has it, as the
                // caller says.
                unsafe {
                    asm!(concat!("msr ", $breakpoint, ", {0}"), concat!("msr ", $breakpoint_control, ", {1}"),
                        in(reg) *value, in(reg) *control, options(nomem, nostack, preserves_flags));
                }
            )*
        }

        /// Writes watchpoints, as many as this core has, from the first: value and control.
        pub fn set_watchpoints(points: &[[u64; 2]]) {
            $(
                let Some([value, control]) = points.get($index) else { return };
                // SAFETY: as above.
                unsafe {
                    asm!(concat!("msr ", $watchpoint, ", {0}"), concat!("msr ", $watchpoint_control, ", {1}"),
                        in(reg) *value, in(reg) *control, options(nomem, nostack, preserves_flags));
                }
            )*
        }
    };
}

points! {
    0: "dbgbvr0_el1", "dbgbcr0_el1", "dbgwvr0_el1", "dbgwcr0_el1";
    1: "dbgbvr1_el1", "dbgbcr1_el1", "dbgwvr1_el1", "dbgwcr1_el1";
    2: "dbgbvr2_el1", "dbgbcr2_el1", "dbgwvr2_el1", "dbgwcr2_el1";
    3: "dbgbvr3_el1", "dbgbcr3_el1", "dbgwvr3_el1", "dbgwcr3_el1";
    4: "dbgbvr4_el1", "dbgbcr4_el1", "dbgwvr4_el1", "dbgwcr4_el1";
    5: "dbgbvr5_el1", "dbgbcr5_el1", "dbgwvr5_el1", "dbgwcr5_el1";
    6: "dbgbvr6_el1", "dbgbcr6_el1", "dbgwvr6_el1", "dbgwcr6_el1";
    7: "dbgbvr7_el1", "dbgbcr7_el1", "dbgwvr7_el1", "dbgwcr7_el1";
    8: "dbgbvr8_el1", "dbgbcr8_el1", "dbgwvr8_el1", "dbgwcr8_el1";
    9: "dbgbvr9_el1", "dbgbcr9_el1", "dbgwvr9_el1", "dbgwcr9_el1";
    10: "dbgbvr10_el1", "dbgbcr10_el1", "dbgwvr10_el1", "dbgwcr10_el1";
    11: "dbgbvr11_el1", "dbgbcr11_el1", "dbgwvr11_el1", "dbgwcr11_el1";
    12: "dbgbvr12_el1", "dbgbcr12_el1", "dbgwvr12_el1", "dbgwcr12_el1";
    13: "dbgbvr13_el1", "dbgbcr13_el1", "dbgwvr13_el1", "dbgwcr13_el1";
    14: "dbgbvr14_el1", "dbgbcr14_el1", "dbgwvr14_el1", "dbgwcr14_el1";
    15: "dbgbvr15_el1", "dbgbcr15_el1", "dbgwvr15_el1", "dbgwcr15_el1";
}

/// Writes `MDSCR_EL1`: 0 keeps every break- and watchpoint and software step from having an effect.
pub fn set_control(value: u64) {
    // SAFETY: debug exceptions are never taken at EL2 here; see the module's text.
    unsafe { asm!("msr mdscr_el1, {0}", in(reg) value, options(nomem, nostack, preserves_flags)) };
}
