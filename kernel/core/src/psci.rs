//! What a guest's firmware calls get for an answer: PSCI 1.1 (Arm DEN 0022) and SMCCC 1.1 (DEN
//! 0028).
//!
//! HVC and SMC are answered alike, and nothing is ever passed on to the firmware. Identifiers are
//! those of the two documents' tables of functions.

#![expect(
    clippy::cast_possible_truncation,
    reason = "function identifiers are the lower half of a register"
)]

mod power;

pub use power::Power;

/// PSCI_VERSION.
pub const VERSION: u32 = 0x8400_0000;
/// CPU_SUSPEND, 32-bit and 64-bit.
pub const CPU_SUSPEND: [u32; 2] = [0x8400_0001, 0xc400_0001];
/// CPU_OFF.
pub const CPU_OFF: u32 = 0x8400_0002;
/// CPU_ON, 32-bit and 64-bit.
pub const CPU_ON: [u32; 2] = [0x8400_0003, 0xc400_0003];
/// AFFINITY_INFO, 32-bit and 64-bit.
pub const AFFINITY_INFO: [u32; 2] = [0x8400_0004, 0xc400_0004];
/// MIGRATE_INFO_TYPE.
pub const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
/// SYSTEM_OFF.
pub const SYSTEM_OFF: u32 = 0x8400_0008;
/// SYSTEM_RESET.
pub const SYSTEM_RESET: u32 = 0x8400_0009;
/// PSCI_FEATURES.
pub const FEATURES: u32 = 0x8400_000a;
/// SYSTEM_RESET2, 32-bit and 64-bit.
pub const SYSTEM_RESET2: [u32; 2] = [0x8400_0012, 0xc400_0012];
/// Bits of CPU_SUSPEND's power state that the original format (5.4.2.1) reserves, and a power level
/// above a core's own: those there are none of.
const NO_SUCH_STATE: u64 = 0xfffe_0000;
/// Highest affinity level (MPIDR_EL1.Aff3), and bits of one.
const LEVELS: u64 = 3;
const LEVEL_BITS: u64 = 8;
/// SMCCC_VERSION.
pub const SMCCC_VERSION: u32 = 0x8000_0000;
/// SMCCC_ARCH_FEATURES.
pub const SMCCC_ARCH_FEATURES: u32 = 0x8000_0001;

/// SMCCC_ARCH_WORKAROUND_1 (CVE-2017-5715), 2 (CVE-2018-3639) and 3 (CVE-2017-5715 and
/// CVE-2022-23960).
pub const WORKAROUNDS: [u32; 3] = [0x8000_8000, 0x8000_7fff, 0x8000_3fff];

/// NOT_SUPPORTED.
pub const NOT_SUPPORTED: u64 = -1i64 as u64;
/// INVALID_PARAMETERS.
pub const INVALID_PARAMETERS: u64 = -2i64 as u64;
/// ALREADY_ON.
pub const ALREADY_ON: u64 = -4i64 as u64;
/// INVALID_ADDRESS.
pub const INVALID_ADDRESS: u64 = -9i64 as u64;
/// AFFINITY_INFO: the core is on.
pub const ON: u64 = 0;
/// AFFINITY_INFO: the core is off.
pub const OFF: u64 = 1;
/// PSCI 1.1.
const PSCI_1_1: u64 = 1 << 16 | 1;
/// SMCCC 1.1.
const SMCCC_1_1: u64 = 1 << 16 | 1;
/// MIGRATE_INFO_TYPE: no trusted OS that would have to be migrated.
const NO_MIGRATION: u64 = 2;

/// What is to be done for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// This value in x0.
    Value(u64),
    /// No such function.
    NotSupported,
    /// Wait for an interrupt, then 0 in x0.
    Suspend,
    /// The calling core goes off.
    CpuOff,
    /// Another core goes on: its affinity, entry point and the value of its x0. Whoever knows the
    /// cores answers.
    CpuOn {
        /// Affinity fields of the core's MPIDR.
        target: u64,
        /// Address of the first instruction.
        entry: u64,
        /// Value of x0 there.
        context: u64,
    },
    /// Is the core of this affinity on? Whoever knows the cores answers.
    AffinityInfo(u64),
    /// Is this workaround, of [`WORKAROUNDS`], needed? [`Mitigations::discovered`] answers, for
    /// whoever knows the cores.
    Discover(Workaround),
    /// A workaround. [`Mitigations::called`] answers.
    Apply(Workaround),
    /// The machine goes off.
    SystemOff,
    /// The machine starts anew.
    SystemReset,
}

/// Answers a call with its function identifier (x0) and arguments (x1 to x3).
pub fn answer(function: u64, arguments: [u64; 3]) -> Answer {
    // The identifier is w0 (DEN 0028, 2.5); a 32-bit call's arguments are w1 to w3.
    let function = function as u32;
    let wide = function >> 30 & 1 == 1;
    let [x1, x2, x3] =
        if wide { arguments } else { arguments.map(|argument| argument & 0xffff_ffff) };
    match function {
        VERSION => Answer::Value(PSCI_1_1),
        MIGRATE_INFO_TYPE => Answer::Value(NO_MIGRATION),
        FEATURES => Answer::Value(if is_offered(x1 as u32) { 0 } else { NOT_SUPPORTED }),
        SMCCC_VERSION => Answer::Value(SMCCC_1_1),
        SMCCC_ARCH_FEATURES => match x1 as u32 {
            SMCCC_VERSION | SMCCC_ARCH_FEATURES => Answer::Value(0),
            asked => Workaround::of(asked).map_or(Answer::Value(NOT_SUPPORTED), Answer::Discover),
        },
        CPU_OFF => Answer::CpuOff,
        SYSTEM_OFF => Answer::SystemOff,
        SYSTEM_RESET => Answer::SystemReset,
        // A request to power down is met by standby, which may be done (5.4.5): the caller's
        // registers are all there then.
        function if CPU_SUSPEND.contains(&function) => match x1 & NO_SUCH_STATE {
            0 => Answer::Suspend,
            _ => Answer::Value(INVALID_PARAMETERS),
        },
        // SYSTEM_WARM_RESET is the one that there is; a vendor's own have bit 31 set.
        function if SYSTEM_RESET2.contains(&function) => match x1 as u32 {
            0 => Answer::SystemReset,
            _ => Answer::Value(INVALID_PARAMETERS),
        },
        function if CPU_ON.contains(&function) => {
            Answer::CpuOn { target: x1, entry: x2, context: x3 }
        }
        function if AFFINITY_INFO.contains(&function) => affinity_info(x1, x2),
        function => Workaround::of(function).map_or(Answer::NotSupported, Answer::Apply),
    }
}

/// Of a whole cluster: all cores are in the first one of each level, and the caller is one of them
/// that is on.
const fn affinity_info(target: u64, level: u64) -> Answer {
    match level {
        0 => Answer::AffinityInfo(target),
        1..=LEVELS if target >> (LEVEL_BITS * level) == 0 => Answer::Value(ON),
        _ => Answer::Value(INVALID_PARAMETERS),
    }
}

/// A workaround in the firmware against what cores speculate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workaround {
    /// SMCCC_ARCH_WORKAROUND_1: branch targets that others have trained.
    BranchTargets,
    /// SMCCC_ARCH_WORKAROUND_2: loads before older stores.
    StoreBypass,
    /// SMCCC_ARCH_WORKAROUND_3: branch history that others have made, and branch targets.
    BranchHistory,
}

impl Workaround {
    fn of(function: u32) -> Option<Self> {
        const ALL: [Workaround; 3] =
            [Workaround::BranchTargets, Workaround::StoreBypass, Workaround::BranchHistory];
        WORKAROUNDS.iter().position(|known| *known == function).map(|place| ALL[place])
    }
}

/// What all cores have against what they speculate, from their identification registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mitigations {
    /// `ID_AA64PFR0_EL1.CSV2`: 1 for branch targets of their own in each context, 3 for branch
    /// history as well.
    pub contexts: u64,
    /// `ID_AA64PFR1_EL1.SSBS`: a guest keeps loads behind stores by itself.
    pub store_bypass: bool,
    /// `ID_AA64MMFR1_EL1.ECBHB`: history of a lower exception level is not used in a higher one.
    pub exceptions_clear_history: bool,
    /// `ID_AA64ISAR2_EL1.CLRBHB`: a guest clears the history by itself.
    pub clears_history: bool,
}

/// The call is there and does nothing, for no core needs it (DEN 0028, SMCCC_ARCH_WORKAROUND_1 to
/// 3).
pub const NOT_REQUIRED: u64 = 1;

impl Mitigations {
    /// From `ID_AA64PFR0_EL1`, `ID_AA64PFR1_EL1`, `ID_AA64ISAR2_EL1` and `ID_AA64MMFR1_EL1` of all
    /// cores.
    pub const fn new(pfr0: u64, pfr1: u64, isar2: u64, mmfr1: u64) -> Self {
        Self {
            contexts: pfr0 >> 56 & 0xf,
            store_bypass: pfr1 >> 4 & 0xf != 0,
            exceptions_clear_history: mmfr1 >> 60 & 0xf != 0,
            clears_history: isar2 >> 28 & 0xf != 0,
        }
    }

    /// SMCCC_ARCH_FEATURES of a workaround: [`NOT_REQUIRED`], or [`NOT_SUPPORTED`] where a core may
    /// need one; there is none in Bale.
    pub const fn discovered(self, workaround: Workaround) -> u64 {
        let spared = match workaround {
            Workaround::BranchTargets => self.contexts >= 1,
            Workaround::StoreBypass => self.store_bypass,
            // It stands for the first one too.
            Workaround::BranchHistory => {
                self.contexts >= 3
                    || self.contexts >= 1 && (self.exceptions_clear_history || self.clears_history)
            }
        };
        if spared { NOT_REQUIRED } else { NOT_SUPPORTED }
    }

    /// The workaround itself: it does nothing where it is not required.
    pub const fn called(self, workaround: Workaround) -> u64 {
        if self.discovered(workaround) == NOT_REQUIRED { 0 } else { NOT_SUPPORTED }
    }
}

/// Whether a guest may count on a function.
fn is_offered(function: u32) -> bool {
    matches!(
        function,
        VERSION
            | CPU_OFF
            | MIGRATE_INFO_TYPE
            | SYSTEM_OFF
            | SYSTEM_RESET
            | FEATURES
            | SMCCC_VERSION
    ) || [CPU_SUSPEND, CPU_ON, AFFINITY_INFO, SYSTEM_RESET2]
        .iter()
        .any(|pair| pair.contains(&function))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_asks_at_boot() {
        assert_eq!(answer(0x8400_0000, [0; 3]), Answer::Value(0x1_0001));
        assert_eq!(answer(0x8400_0006, [0; 3]), Answer::Value(2));
        assert_eq!(answer(0x8400_000a, [0x8000_0000, 0, 0]), Answer::Value(0));
        assert_eq!(answer(0x8400_000a, [0xc400_0001, 0, 0]), Answer::Value(0));
        assert_eq!(answer(0x8400_000a, [0xc400_000e, 0, 0]), Answer::Value(NOT_SUPPORTED));
        assert_eq!(
            answer(0x8000_0001, [0x8000_0002, 0, 0]),
            Answer::Value(NOT_SUPPORTED),
            "SOC_ID"
        );
        let on = Answer::CpuOn { target: 1, entry: 0x4020_0000, context: 7 };
        assert_eq!(answer(0xc400_0003, [1, 0x4020_0000, 7]), on);
        assert_eq!(answer(0x8400_0008, [0; 3]), Answer::SystemOff);
    }

    #[test]
    fn upper_halves_do_not_count() {
        assert_eq!(answer(0xffff_ffff_8400_0000, [0; 3]), Answer::Value(0x1_0001));
        let info = Answer::AffinityInfo(1);
        assert_eq!(answer(0x8400_0004, [1 << 40 | 1, 1 << 32, 0]), info);
    }

    #[test]
    fn clusters_states_and_resets() {
        let info = |target, level| answer(AFFINITY_INFO[1].into(), [target, level, 0]);
        for level in 1..=3 {
            assert_eq!(info(0, level), Answer::Value(ON), "the caller is in it");
            assert_eq!(info(1, level), Answer::Value(ON), "fields below the level do not count");
            assert_eq!(info(1 << (8 * level), level), Answer::Value(INVALID_PARAMETERS));
        }
        assert_eq!(info(1 << 32, 3), Answer::Value(INVALID_PARAMETERS));
        assert_eq!(info(0, 4), Answer::Value(INVALID_PARAMETERS));
        for function in CPU_SUSPEND {
            for state in [0, 1, 0xffff, 1 << 16, 1 << 16 | 0xffff] {
                assert_eq!(answer(function.into(), [state, 0, 0]), Answer::Suspend, "{state:#x}");
            }
            for state in [1 << 17, 1 << 24, 1 << 25, 1 << 26, 1 << 31] {
                assert_eq!(
                    answer(function.into(), [state, 0, 0]),
                    Answer::Value(INVALID_PARAMETERS)
                );
            }
        }
        for function in SYSTEM_RESET2 {
            assert_eq!(answer(function.into(), [0, 7, 0]), Answer::SystemReset);
            for kind in [1, 1 << 31, 0xffff_ffff] {
                assert_eq!(
                    answer(function.into(), [kind, 0, 0]),
                    Answer::Value(INVALID_PARAMETERS)
                );
            }
        }
    }

    #[test]
    fn workarounds_by_what_all_cores_have() {
        use Workaround::{BranchHistory, BranchTargets, StoreBypass};
        // Registers of identification, and which of the three workarounds is not required.
        let [csv2, ssbs, clrbhb, ecbhb] = [1 << 56, 1 << 4, 1 << 28, 1 << 60];
        for (registers, spared) in [
            ([0; 4], [false; 3]),
            ([csv2, 0, 0, 0], [true, false, false]),
            ([2 * csv2, 0, 0, 0], [true, false, false]),
            ([3 * csv2, 0, 0, 0], [true, false, true]),
            ([csv2, 0, clrbhb, 0], [true, false, true]),
            ([csv2, 0, 0, ecbhb], [true, false, true]),
            ([0, 0, clrbhb, ecbhb], [false, false, false]),
            ([0, ssbs, 0, 0], [false, true, false]),
            ([0, 2 * ssbs, 0, 0], [false, true, false]),
            ([!0, !0, !0, !0], [true; 3]),
            ([!(0xf * csv2), !(0xf * ssbs), !0, !0], [false; 3]),
        ] {
            let [pfr0, pfr1, isar2, mmfr1] = registers;
            let has = Mitigations::new(pfr0, pfr1, isar2, mmfr1);
            for ((workaround, identifier), spared) in
                [BranchTargets, StoreBypass, BranchHistory].into_iter().zip(WORKAROUNDS).zip(spared)
            {
                let (found, done) =
                    if spared { (NOT_REQUIRED, 0) } else { (NOT_SUPPORTED, NOT_SUPPORTED) };
                let asked = answer(SMCCC_ARCH_FEATURES.into(), [identifier.into(), 0, 0]);
                assert_eq!(asked, Answer::Discover(workaround));
                assert_eq!(has.discovered(workaround), found, "{has:?} {workaround:?}");
                assert_eq!(answer(identifier.into(), [0; 3]), Answer::Apply(workaround));
                assert_eq!(has.called(workaround), done, "{has:?} {workaround:?}");
            }
        }
    }

    /// Every identifier of the standard and architecture ranges: what FEATURES offers is answered,
    /// all else refused.
    #[test]
    fn features_and_answers_agree() {
        for base in
            [0x8400_0000u32, 0xc400_0000, 0x8000_0000, 0xc000_0000, 0x8600_0000, 0xc600_0000, 0]
        {
            for function in base..base + 0x1_0000 {
                let supported = answer(function.into(), [0; 3]) != Answer::NotSupported;
                let offered = answer(FEATURES.into(), [function.into(), 0, 0]) == Answer::Value(0);
                // ARCH_FEATURES is found through SMCCC_VERSION, and workarounds through it.
                let of_smccc = function == SMCCC_ARCH_FEATURES || WORKAROUNDS.contains(&function);
                assert_eq!(supported, offered || of_smccc, "{function:#x}");
            }
        }
    }
}
