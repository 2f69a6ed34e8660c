//! Every system register that a guest can reach, and why no neighbour finds in it what the guest
//! has left there (DDI 0487, D19 for encodings and names).
//!
//! Encodings with op0 2 and 3 are registers. Those with 0 and 1 are instructions, whose only trace
//! in a register is `PAR_EL1`'s. The test `isolation::registers_on_<core>` asks a guest which of
//! all encodings it can read or write, and refuses one that is not here.

/// Why nothing passes from one machine to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Saved when another virtual CPU takes the core, and loaded when this one comes back.
    Switched,
    /// Each access exits to EL2, and is answered from the virtual CPU's own state, or is undefined.
    Trapped,
    /// It is the core's own, and no write changes what anybody reads.
    Constant,
    /// It changes by itself, for everybody alike.
    Harmless,
}

/// Registers that are neighbours by encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registers {
    /// op0, op1, `CRn`.
    space: [u8; 3],
    /// First and last `CRm`.
    crm: (u8, u8),
    /// First and last op2.
    op2: (u8, u8),
    /// Why nothing passes.
    pub why: Why,
    /// Their names.
    pub name: &'static str,
}

const fn row(
    space: [u8; 3],
    crm: (u8, u8),
    op2: (u8, u8),
    why: Why,
    name: &'static str,
) -> Registers {
    Registers { space, crm, op2, why, name }
}

use Why::{Constant, Harmless, Switched, Trapped};

/// All of them. Where two have an encoding, the first counts.
pub const REGISTERS: &[Registers] = &[
    // MDCR_EL2.TDA, TDOSA, TDRA: `guest_debug`.
    row([2, 0, 0], (0, 15), (0, 7), Trapped, "OSDTRRX_EL1, DBGBVR0_EL1 to DBGWCR15_EL1, MDSCR_EL1"),
    row([2, 0, 1], (0, 15), (0, 7), Trapped, "MDRAR_EL1, OSLAR_EL1 to DBGPRCR_EL1"),
    row([2, 0, 7], (0, 15), (0, 7), Trapped, "DBGCLAIMSET_EL1 to DBGAUTHSTATUS_EL1"),
    row([2, 3, 0], (0, 15), (0, 7), Trapped, "MDCCSR_EL0, DBGDTR_EL0"),
    // VPIDR_EL2 is each core's own MIDR_EL1; VMPIDR_EL2 is the virtual CPU's number.
    row([3, 0, 0], (0, 0), (0, 0), Constant, "MIDR_EL1"),
    row([3, 0, 0], (0, 0), (5, 5), Switched, "MPIDR_EL1"),
    row([3, 0, 0], (0, 0), (6, 6), Constant, "REVIDR_EL1"),
    // HCR_EL2.TID3.
    row([3, 0, 0], (1, 7), (0, 7), Trapped, "ID_PFR0_EL1 to ID_AA64MMFR4_EL1"),
    row([3, 0, 1], (0, 0), (0, 0), Switched, "SCTLR_EL1"),
    // HCR_EL2.TACR.
    row([3, 0, 1], (0, 0), (1, 1), Trapped, "ACTLR_EL1"),
    row([3, 0, 1], (0, 0), (2, 2), Switched, "CPACR_EL1"),
    // Closed by fine-grained traps, which every core with FEAT_SME has; QEMU 7.2's `max` has the
    // one without the other, and shows a constant.
    row([3, 0, 1], (2, 2), (4, 4), Constant, "SMPRI_EL1"),
    row([3, 0, 2], (0, 0), (0, 2), Switched, "TTBR0_EL1, TTBR1_EL1, TCR_EL1"),
    row([3, 0, 4], (0, 0), (0, 1), Switched, "SPSR_EL1, ELR_EL1"),
    row([3, 0, 4], (1, 1), (0, 0), Switched, "SP_EL0"),
    // With SPSR_EL2.
    row([3, 0, 4], (2, 2), (0, 4), Switched, "SPSel, CurrentEL, PAN, UAO"),
    row([3, 0, 4], (6, 6), (0, 0), Switched, "ICC_PMR_EL1"),
    row([3, 0, 5], (1, 1), (0, 1), Switched, "AFSR0_EL1, AFSR1_EL1"),
    row([3, 0, 5], (2, 2), (0, 0), Switched, "ESR_EL1"),
    row([3, 0, 6], (0, 0), (0, 0), Switched, "FAR_EL1"),
    row([3, 0, 7], (4, 4), (0, 0), Switched, "PAR_EL1"),
    // MDCR_EL2.TPM: `guest_pmu`.
    row([3, 0, 9], (14, 14), (1, 2), Trapped, "PMINTENSET_EL1, PMINTENCLR_EL1"),
    row([3, 0, 10], (2, 2), (0, 0), Switched, "MAIR_EL1"),
    row([3, 0, 10], (3, 3), (0, 0), Switched, "AMAIR_EL1"),
    row([3, 0, 12], (0, 0), (0, 0), Switched, "VBAR_EL1"),
    // What is pending in the list registers; the register of deferred errors is VDISR_EL2.
    row([3, 0, 12], (1, 1), (0, 1), Switched, "ISR_EL1, DISR_EL1"),
    // The virtual interface: ICH_VMCR_EL2, ICH_AP0R<n>_EL2, ICH_AP1R<n>_EL2, ICH_LR<n>_EL2.
    row([3, 0, 12], (8, 8), (0, 7), Switched, "ICC_IAR0_EL1 to ICC_BPR0_EL1, ICC_AP0R<n>_EL1"),
    row([3, 0, 12], (9, 9), (0, 3), Switched, "ICC_AP1R<n>_EL1"),
    row([3, 0, 12], (11, 11), (1, 3), Switched, "ICC_DIR_EL1, ICC_RPR_EL1"),
    row([3, 0, 12], (11, 11), (5, 7), Trapped, "ICC_SGI1R_EL1, ICC_ASGI1R_EL1, ICC_SGI0R_EL1"),
    row([3, 0, 12], (12, 12), (0, 4), Switched, "ICC_IAR1_EL1 to ICC_BPR1_EL1, ICC_CTLR_EL1"),
    row([3, 0, 12], (12, 12), (5, 5), Trapped, "ICC_SRE_EL1"),
    row([3, 0, 12], (12, 12), (6, 7), Switched, "ICC_IGRPEN0_EL1, ICC_IGRPEN1_EL1"),
    row([3, 0, 13], (0, 0), (1, 1), Switched, "CONTEXTIDR_EL1"),
    row([3, 0, 13], (0, 0), (4, 4), Switched, "TPIDR_EL1"),
    row([3, 0, 14], (1, 1), (0, 0), Switched, "CNTKCTL_EL1"),
    row([3, 1, 0], (0, 0), (0, 2), Constant, "CCSIDR_EL1, CLIDR_EL1, CCSIDR2_EL1"),
    row([3, 1, 0], (0, 0), (6, 7), Constant, "SMIDR_EL1, AIDR_EL1"),
    // HCR_EL2.TIDCP. QEMU 7.2 does not know that, and shows constants.
    row([3, 1, 11], (0, 15), (0, 7), Trapped, "implementation-defined"),
    row([3, 1, 15], (0, 15), (0, 7), Trapped, "implementation-defined"),
    row([3, 2, 0], (0, 0), (0, 0), Switched, "CSSELR_EL1"),
    row([3, 3, 0], (0, 0), (1, 1), Constant, "CTR_EL0"),
    row([3, 3, 0], (0, 0), (7, 7), Constant, "DCZID_EL0"),
    row([3, 3, 2], (4, 4), (0, 1), Harmless, "RNDR, RNDRRS"),
    // With SPSR_EL2. SVCR, between them, is closed by CPTR_EL2.TSM.
    row([3, 3, 4], (2, 2), (0, 1), Switched, "NZCV, DAIF"),
    row([3, 3, 4], (2, 2), (5, 6), Switched, "DIT, SSBS"),
    row([3, 3, 4], (4, 4), (0, 1), Switched, "FPCR, FPSR"),
    // MDCR_EL2.TPM: `guest_pmu`.
    row([3, 3, 9], (12, 14), (0, 7), Trapped, "PMCR_EL0 to PMOVSSET_EL0"),
    row([3, 3, 13], (0, 0), (2, 3), Switched, "TPIDR_EL0, TPIDRRO_EL0"),
    row([3, 3, 13], (0, 0), (5, 5), Switched, "TPIDR2_EL0"),
    row([3, 3, 14], (0, 0), (0, 0), Constant, "CNTFRQ_EL0"),
    // One counter for all; what the virtual one is behind it (CNTVOFF_EL2) is switched.
    row([3, 3, 14], (0, 0), (1, 2), Harmless, "CNTPCT_EL0, CNTVCT_EL0"),
    row([3, 3, 14], (0, 0), (5, 6), Harmless, "CNTPCTSS_EL0, CNTVCTSS_EL0"),
    // CNTHCTL_EL2.EL1PCEN: `guest_timer`.
    row([3, 3, 14], (2, 2), (0, 2), Trapped, "CNTP_TVAL_EL0, CNTP_CTL_EL0, CNTP_CVAL_EL0"),
    row([3, 3, 14], (3, 3), (0, 2), Switched, "CNTV_TVAL_EL0, CNTV_CTL_EL0, CNTV_CVAL_EL0"),
    row([3, 3, 14], (8, 15), (0, 7), Trapped, "PMEVCNTR0_EL0 to PMCCFILTR_EL0"),
];

/// What is known of the register with this encoding: op0, op1, `CRn`, `CRm`, op2.
pub fn known(encoding: [u8; 5]) -> Option<&'static Registers> {
    let [op0, op1, crn, crm, op2] = encoding;
    REGISTERS.iter().find(|row| {
        row.space == [op0, op1, crn]
            && (row.crm.0..=row.crm.1).contains(&crm)
            && (row.op2.0..=row.op2.1).contains(&op2)
    })
}

#[cfg(test)]
mod tests {
    use super::{REGISTERS, Why, known};
    use crate::exception::SystemAccess;
    use crate::system_registers::{Action, decide};

    /// What the traps answer stands in the table as trapped; nothing that they answer is left out
    /// but what no core has.
    #[test]
    fn what_is_answered_is_trapped() {
        let mut answered = 0;
        for place in 0..1_u32 << 16 {
            let field = |shift: u32, bits: u32| {
                u8::try_from(place >> shift & ((1 << bits) - 1)).expect("four bits at most")
            };
            let encoding = [field(14, 2), field(11, 3), field(7, 4), field(3, 4), field(0, 3)];
            for read in [false, true] {
                let action = decide(SystemAccess { encoding, register: 0, read });
                // Debug registers are answered over all of their space, SYS instructions are none.
                let whole_space = encoding[0] == 2 && known(encoding).is_none();
                if action == Action::Undefined || encoding[0] < 2 || whole_space {
                    continue;
                }
                let row = known(encoding).expect("an answered register is known");
                assert_eq!(row.why, Why::Trapped, "{encoding:?}, {}", row.name);
                answered += 1;
            }
        }
        assert!(answered > 500, "{answered}");
    }

    #[test]
    fn every_row_counts() {
        for row in REGISTERS {
            let [op0, op1, crn] = row.space;
            let encodings = (row.crm.0..=row.crm.1)
                .flat_map(|crm| (row.op2.0..=row.op2.1).map(move |op2| [op0, op1, crn, crm, op2]));
            let mut own = encodings.map(known).filter(|found| *found == Some(row)).count();
            // Nothing but itself is at any of its places.
            own -= usize::from(row.crm.1 - row.crm.0 + 1) * usize::from(row.op2.1 - row.op2.0 + 1);
            assert_eq!(own, 0, "{} has places of another", row.name);
        }
        assert_eq!(known([3, 0, 0, 0, 5]).map(|row| row.name), Some("MPIDR_EL1"));
        assert_eq!(known([3, 3, 4, 2, 2]), None, "SVCR is closed");
    }
}
