//! System registers of a guest that trap to EL2: what they read as, and what becomes of a write.
//!
//! Identification registers show what the hardware has, less what needs state or controls that Bale
//! does not switch: every field is named that is let through, so an unknown new one reads as zero.
//! What is hidden and touched all the same is undefined, as the architecture has it. Encodings and
//! fields: DDI 0487, D19.

use crate::exception::SystemAccess;
use crate::guest_timer::TimerRegister;

/// What becomes of a trapped access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A read of this value.
    Value(u64),
    /// A read of an identification register: [`identification`] of what the hardware's holds.
    Identification(u8, u8),
    /// A debug register: [`crate::guest_debug`].
    Debug,
    /// A register of the performance monitors: [`crate::guest_pmu`].
    Pmu,
    /// A register of the physical timer: [`crate::guest_timer`].
    PhysicalTimer(TimerRegister),
    /// A write without effect.
    Ignored,
    /// A software-generated interrupt: group 1 or 0.
    Send {
        /// `ICC_SGI1R_EL1` rather than `ICC_SGI0R_EL1`.
        group1: bool,
    },
    /// No such register.
    Undefined,
}

/// `ICC_SRE_EL1`: system registers, and no bypass of interrupts (DIB, DFB).
const INTERFACE_BY_REGISTERS: u64 = 7;

/// Decides about a trapped access.
pub fn decide(access: SystemAccess) -> Action {
    let read_zero = if access.read { Action::Value(0) } else { Action::Ignored };
    match (access.encoding, access.read) {
        ([3, 0, 0, crm @ 1..=7, op2], true) => Action::Identification(crm, op2),
        ([3, 0, 12, 11, 5], false) => Action::Send { group1: true },
        ([3, 0, 12, 11, 7], false) => Action::Send { group1: false },
        // ICC_ASGI1R_EL1: the other security state's group 1, and there is only one state.
        ([3, 0, 12, 11, 6], false) => Action::Ignored,
        // ACTLR_EL1.
        ([3, 0, 1, 0, 1], _) => read_zero,
        // DC ISW, CSW, CISW: every guest page is cached alike, so no set has to be cleaned.
        ([1, 0, 7, 6 | 10 | 14, 2], false) => Action::Ignored,
        // ICC_SRE_EL1, on cores where it traps.
        ([3, 0, 12, 12, 5], true) => Action::Value(INTERFACE_BY_REGISTERS),
        ([3, 0, 12, 12, 5], false) => Action::Ignored,
        ([2, 0 | 3, ..], _) => Action::Debug,
        // PMCR_EL0 to PMOVSSET_EL0, PMINTENSET_EL1 and PMINTENCLR_EL1; PMEVCNTR0_EL0 to
        // PMCCFILTR_EL0.
        ([3, 3, 9, 12..=14, _] | [3, 0, 9, 14, 1 | 2] | [3, 3, 14, 8..=15, _], _) => Action::Pmu,
        ([3, 3, 14, 2, op2], _) => {
            TimerRegister::of(op2).map_or(Action::Undefined, Action::PhysicalTimer)
        }
        _ => Action::Undefined,
    }
}

/// A field of four bits that is let through, with the largest value that is.
#[derive(Clone, Copy)]
struct Field {
    shift: u32,
    limit: u64,
}

/// A field as it is.
const fn whole(shift: u32) -> Field {
    Field { shift, limit: 0xf }
}

const fn at_most(shift: u32, limit: u64) -> Field {
    Field { shift, limit }
}

/// EL0 and EL1 in AArch64 only, floating point, SIMD, GIC system registers, DIT, CSV2, CSV3.
const PFR0: &[Field] = &[
    at_most(0, 1),
    at_most(4, 1),
    whole(16),
    whole(20),
    at_most(24, 1),
    at_most(48, 1),
    at_most(56, 1),
    at_most(60, 1),
];
/// BTI, SSBS.
const PFR1: &[Field] = &[at_most(0, 1), at_most(4, 2)];
/// Debug version up to 8.8's, PMUv3 up to 8.1's, breakpoints, watchpoints, contexts, DoubleLock; no
/// trace, profiling.
const DFR0: &[Field] =
    &[at_most(0, 0xa), at_most(PMU_SHIFT, 4), whole(12), whole(20), whole(28), whole(36)];
/// All instructions but TME.
const ISAR0: &[Field] = &[
    whole(4),
    whole(8),
    whole(12),
    whole(16),
    whole(20),
    whole(28),
    whole(32),
    whole(36),
    whole(40),
    whole(44),
    whole(48),
    whole(52),
    whole(56),
    whole(60),
];
/// DPB, JSCVT, FCMA, LRCPC, FRINTTS, SB, SPECRES, BF16, DGH, I8MM; no pointer authentication, XS,
/// LS64.
const ISAR1: &[Field] = &[
    whole(0),
    whole(12),
    whole(16),
    whole(20),
    whole(32),
    whole(36),
    at_most(40, 1),
    whole(44),
    whole(48),
    whole(52),
];
/// RPRES, BC, CLRBHB; no WFxT, MOPS, pointer authentication.
const ISAR2: &[Field] = &[whole(4), whole(20), whole(28)];
/// 40 address bits, as stage 2 has; ASID size, endianness, granules.
const MMFR0: &[Field] =
    &[at_most(0, 2), whole(4), whole(8), whole(16), whole(20), whole(24), whole(28)];
/// Access flag and dirty state, HPDS, PAN, ETS, AFP, nTLBPA.
const MMFR1: &[Field] =
    &[at_most(0, 2), whole(12), at_most(20, 3), whole(36), whole(44), whole(48)];
/// CnP, UAO, LSM, address size, CCIDX, ST, AT, IDST, TTL, BBM, E0PD.
const MMFR2: &[Field] = &[
    whole(0),
    whole(4),
    whole(8),
    at_most(16, 1),
    whole(20),
    whole(28),
    whole(32),
    whole(36),
    whole(48),
    whole(52),
    whole(60),
];

/// What a guest reads from the identification register `S3_0_C0_C<crm>_<op2>` where the hardware's
/// holds `value`. Registers that are not named here, those of AArch32 among them, read as zero.
pub fn identification(crm: u8, op2: u8, value: u64) -> u64 {
    let fields = match (crm, op2) {
        (4, 0) => PFR0,
        (4, 1) => PFR1,
        (5, 0) => DFR0,
        (6, 0) => ISAR0,
        (6, 1) => ISAR1,
        (6, 2) => ISAR2,
        (7, 0) => MMFR0,
        (7, 1) => MMFR1,
        (7, 2) => MMFR2,
        _ => return 0,
    };
    let value = if (crm, op2) == DFR0_PLACE && value >> PMU_SHIFT & 0xf == 0xf {
        without_pmu(value)
    } else {
        value
    };
    fields
        .iter()
        .fold(0, |all, field| all | (value >> field.shift & 0xf).min(field.limit) << field.shift)
}

/// `ID_AA64DFR0_EL1`, and its field PMUVer; 0xf there is something that is not PMUv3.
pub const DFR0_PLACE: (u8, u8) = (5, 0);
const PMU_SHIFT: u32 = 8;

/// `ID_AA64DFR0_EL1` of a guest without performance monitors.
pub const fn without_pmu(value: u64) -> u64 {
    value & !(0xf << PMU_SHIFT)
}

/// The identification registers that [`identification`] lets anything through of, as (CRm, op2).
pub const SHOWN: [(u8, u8); 9] =
    [(4, 0), (4, 1), (5, 0), (6, 0), (6, 1), (6, 2), (7, 0), (7, 1), (7, 2)];

/// The smaller of what two cores offer, field by field; fields that count downwards from absence
/// are signed.
pub fn common(crm: u8, op2: u8, one: u64, other: u64) -> u64 {
    (0..16).fold(0, |all, place| {
        let shift = 4 * place;
        let signed =
            matches!((crm, op2, shift), (4, 0, 16 | 20) | (5, 0, PMU_SHIFT | 36) | (7, 0, 24 | 28));
        let key = |value: u64| {
            let field = value >> shift & 0xf;
            // 0xf, "absent", comes before 0.
            if signed { (field + 1) & 0xf } else { field }
        };
        let (first, second) = (key(one), key(other));
        let field = if first <= second { one } else { other } >> shift & 0xf;
        all | field << shift
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn access(encoding: [u8; 5], read: bool) -> SystemAccess {
        SystemAccess { encoding, register: 0, read }
    }

    /// Each of the 2^16 encodings, read and written: reads of the ID space answered, unknown ones
    /// undefined.
    #[test]
    fn every_encoding() {
        let mut known = [0usize; 5];
        for op0 in 0..4 {
            for op1 in 0..8 {
                for crn in 0..16 {
                    for crm in 0..16 {
                        for op2 in 0..8 {
                            for read in [false, true] {
                                let encoding = [op0, op1, crn, crm, op2];
                                match decide(access(encoding, read)) {
                                    Action::Undefined => {}
                                    Action::Value(_) | Action::Identification(..) => {
                                        assert!(read, "{encoding:?}");
                                        known[0] += 1;
                                    }
                                    Action::Debug => known[2] += 1,
                                    Action::PhysicalTimer(_) => known[3] += 1,
                                    Action::Pmu => known[4] += 1,
                                    Action::Ignored | Action::Send { .. } => {
                                        assert!(!read, "{encoding:?}");
                                        known[1] += 1;
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        // Reads: 56 of identification, ACTLR_EL1, ICC_SRE_EL1. Writes: three SGI registers,
        // ACTLR_EL1, three set/way operations, ICC_SRE_EL1. Debug registers: op1 0 and 3, 2048
        // each, read and written. The physical timer: three, read and written. Performance
        // monitors: 24 and 2, and 64 of counters.
        assert_eq!(known, [56 + 2, 3 + 1 + 3 + 1, 2 * 4096, 6, 2 * (24 + 2 + 64)]);
    }

    /// Registers of extensions that are not shown: their traps give an undefined instruction.
    #[test]
    fn what_is_hidden_is_undefined() {
        let hidden = [
            ("ERRIDR_EL1 to ERRSELR_EL1", [3, 0, 5, 3], 0..=1),
            ("ERXFR_EL1 to ERXPFGCDN_EL1", [3, 0, 5, 4], 0..=6),
            ("ERXMISC0_EL1 to ERXMISC3_EL1", [3, 0, 5, 5], 0..=3),
            ("PMSCR_EL1 to PMSIDR_EL1", [3, 0, 9, 9], 0..=7),
            ("PMBLIMITR_EL1 to PMBIDR_EL1", [3, 0, 9, 10], 0..=7),
            ("TRBLIMITR_EL1 to TRBIDR_EL1", [3, 0, 9, 11], 0..=7),
            ("ZCR_EL1, TRFCR_EL1, SMPRI_EL1, SMCR_EL1", [3, 0, 1, 2], 0..=6),
            ("MPAMIDR_EL1 and LORC_EL1 to LORID_EL1", [3, 0, 10, 4], 0..=7),
            ("MPAM1_EL1, MPAM0_EL1", [3, 0, 10, 5], 0..=1),
            ("RGSR_EL1, GCR_EL1", [3, 0, 1, 0], 5..=6),
            ("TFSR_EL1, TFSRE0_EL1", [3, 0, 5, 6], 0..=1),
            ("GMID_EL1", [3, 1, 0, 0], 4..=4),
            ("APIAKEYLO_EL1 to APDBKEYHI_EL1", [3, 0, 2, 2], 0..=3),
            ("AMCR_EL0 to AMCNTENSET0_EL0", [3, 3, 13, 2], 0..=5),
        ];
        for (name, [op0, op1, crn, crm], range) in hidden {
            for op2 in range {
                for read in [false, true] {
                    let action = decide(access([op0, op1, crn, crm, op2], read));
                    assert_eq!(action, Action::Undefined, "{name}: op2 {op2}");
                }
            }
        }
    }

    #[test]
    fn what_is_hidden() {
        let pfr0 = identification(4, 0, 0x1111_1121_1111_2222);
        assert_eq!(pfr0, 0x1101_0000_0111_0011, "no SVE, RAS, EL2, EL3, AArch32");
        assert_eq!(identification(7, 0, 0xffff_ffff_ffff_fff6) & 0xf, 2, "40 bits");
        assert_eq!(
            identification(5, 0, 0xf11f_f0f1_3110_5f08),
            0xf0_3010_5008,
            "no PMU of another kind, trace, profiling"
        );
        assert_eq!(identification(5, 0, 0x608) >> 8, 4, "PMUv3 as of Armv8.1");
        assert_eq!(identification(6, 1, u64::MAX) & 0xff0, 0, "no pointer authentication");
        assert_eq!(identification(1, 0, u64::MAX), 0, "no AArch32");
    }

    #[test]
    fn absence_is_least() {
        // AdvSIMD and FP absent on one core.
        assert_eq!(common(4, 0, 0x00ff_0000, 0x0011_0011), 0x00ff_0000);
        assert_eq!(common(6, 0, 0x21, 0x12), 0x11);
        assert_eq!(common(5, 0, 0xf08, 0x408), 0xf08, "a core with another PMU");
    }

    proptest! {
        /// Nothing is shown that the hardware lacks, and unknown registers read as zero.
        #[test]
        fn never_more_than_there_is(crm in 1..8u8, op2 in 0..8u8, value: u64) {
            let shown = identification(crm, op2, value);
            for shift in (0..64).step_by(4) {
                prop_assert!(shown >> shift & 0xf <= value >> shift & 0xf);
            }
            prop_assert!(shown == 0 || SHOWN.contains(&(crm, op2)));
        }

        #[test]
        fn common_is_commutative(op2 in 0..3u8, one: u64, other: u64) {
            prop_assert_eq!(common(7, op2, one, other), common(7, op2, other, one));
            prop_assert_eq!(common(4, op2, one, one), one);
        }
    }
}
