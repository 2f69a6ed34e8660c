//! System registers that `aarch64-cpu` does not have, on the same traits of `tock-registers`.
//!
//! Fields are those of the Arm ARM (DDI 0487), section D19 under the register's name.

#![allow(
    missing_docs,
    reason = "`register_bitfields!` makes items of its own beside those that it is given"
)]

use core::arch::asm;

use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::register_bitfields;

register_bitfields! { u64,
    /// Control of the EL2 physical timer.
    pub CNTHP_CTL_EL2 [
        /// The timer's interrupt is masked.
        IMASK OFFSET(1) NUMBITS(1) [],
        /// The timer runs.
        ENABLE OFFSET(0) NUMBITS(1) []
    ],
    /// Control of the PMU.
    pub PMCR_EL0 [
        /// Number of event counters.
        N OFFSET(11) NUMBITS(5) [],
        /// Counters count.
        E OFFSET(0) NUMBITS(1) []
    ],
    /// What an event counter counts.
    pub PMXEVTYPER_EL0 [
        /// Counted at EL2.
        NSH OFFSET(27) NUMBITS(1) [],
        /// Which event.
        EVENT OFFSET(0) NUMBITS(16) [
            /// Instructions architecturally executed.
            InstructionsRetired = 0x08,
            /// Cycles of the core.
            Cycles = 0x11
        ]
    ]
}

macro_rules! system_register {
    ($(#[$about:meta])* $name:ident: $kind:ident, $fields:ty) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy)]
        pub struct $kind;

        $(#[$about])*
        pub const $name: $kind = $kind;

        impl Readable for $kind {
            type T = u64;
            type R = $fields;

            #[inline(always)]
            fn get(&self) -> u64 {
                let value: u64;
                // SAFETY: reading this register has no effect. Not `nomem`: its value changes by
                // itself.
                unsafe { asm!(concat!("mrs {0}, ", stringify!($name)), out(reg) value, options(nostack, preserves_flags)) };
                value
            }
        }

        impl Writeable for $kind {
            type T = u64;
            type R = $fields;

            #[inline(always)]
            fn set(&self, value: u64) {
                // SAFETY: the register controls a timer or counter of EL2's own and touches no
                // memory.
                unsafe { asm!(concat!("msr ", stringify!($name), ", {0}"), in(reg) value, options(nostack, preserves_flags)) };
            }
        }
    };
}

system_register! {
    /// Control of the EL2 physical timer.
    CNTHP_CTL_EL2: TimerControl, CNTHP_CTL_EL2::Register
}
system_register! {
    /// The counter's value at which the EL2 physical timer fires.
    CNTHP_CVAL_EL2: TimerCompare, ()
}
system_register! {
    /// Control of the PMU.
    PMCR_EL0: PmuControl, PMCR_EL0::Register
}
system_register! {
    /// Which event counter the next two are.
    PMSELR_EL0: EventSelect, ()
}
system_register! {
    /// What the selected event counter counts.
    PMXEVTYPER_EL0: EventType, PMXEVTYPER_EL0::Register
}
system_register! {
    /// The selected event counter.
    PMXEVCNTR_EL0: EventCount, ()
}
system_register! {
    /// Turns counters on.
    PMCNTENSET_EL0: CounterEnable, ()
}
