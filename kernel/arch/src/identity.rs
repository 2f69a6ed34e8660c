//! What a core says of itself, for the report of a board.

use core::arch::asm;

macro_rules! read {
    ($register:literal) => {{
        let value: u64;
        // SAFETY: reads a register that every AArch64 core with EL2 and a GICv3 has, or an encoding
        // that is reserved and reads as zero.
        unsafe { asm!(concat!("mrs {0}, ", $register), out(reg) value, options(nostack, preserves_flags)) };
        value
    }};
}

macro_rules! identity {
    ($($name:literal = $register:literal;)*) => {
        /// Names of what [`read`] reads.
        pub const NAMES: &[&str] = &[$($name),*];

        /// Reads this core's registers, in the order of [`NAMES`]. The GIC's registers are on.
        pub fn read() -> Registers {
            [$(read!($register)),*]
        }
    };
}

/// One value for each of [`NAMES`].
pub type Registers = [u64; 17];

identity! {
    "CurrentEL" = "CurrentEL";
    "MIDR_EL1" = "midr_el1";
    "MPIDR_EL1" = "mpidr_el1";
    "CTR_EL0" = "ctr_el0";
    "CNTFRQ_EL0" = "cntfrq_el0";
    "ICH_VTR_EL2" = "ich_vtr_el2";
    "ID_AA64PFR0_EL1" = "id_aa64pfr0_el1";
    "ID_AA64PFR1_EL1" = "id_aa64pfr1_el1";
    "ID_AA64DFR0_EL1" = "id_aa64dfr0_el1";
    "ID_AA64ISAR0_EL1" = "id_aa64isar0_el1";
    "ID_AA64ISAR1_EL1" = "id_aa64isar1_el1";
    "ID_AA64ISAR2_EL1" = "S3_0_C0_C6_2";
    "ID_AA64MMFR0_EL1" = "id_aa64mmfr0_el1";
    "ID_AA64MMFR1_EL1" = "id_aa64mmfr1_el1";
    "ID_AA64MMFR2_EL1" = "S3_0_C0_C7_2";
    "ID_AA64MMFR3_EL1" = "S3_0_C0_C7_3";
    "ID_AA64ZFR0_EL1" = "S3_0_C0_C4_4";
}

/// Extensions whose controls at EL2 have to be written before a guest may run.
#[derive(Debug, Clone, Copy)]
pub struct Extensions {
    /// `HCRX_EL2` (FEAT_HCX).
    pub extended_control: bool,
    /// Fine-grained traps: 1 for FEAT_FGT, 2 for FEAT_FGT2.
    pub fine_grained_traps: u64,
    /// FEAT_AMUv1.
    pub activity_monitors: bool,
    /// FEAT_MPAM.
    pub partitioning: bool,
    /// FEAT_RAS.
    pub error_records: bool,
    /// FEAT_SME.
    pub matrices: bool,
}

/// What this core has (`ID_AA64MMFR1_EL1.HCX`, `ID_AA64MMFR0_EL1.FGT`, `ID_AA64PFR0_EL1.AMU`, MPAM
/// and RAS, `ID_AA64PFR1_EL1.MPAM_frac` and SME).
pub fn extensions() -> Extensions {
    let field = |value: u64, shift: u32| value >> shift & 0xf;
    let processor = read!("id_aa64pfr0_el1");
    Extensions {
        extended_control: field(read!("id_aa64mmfr1_el1"), 40) != 0,
        fine_grained_traps: field(read!("id_aa64mmfr0_el1"), 56),
        activity_monitors: field(processor, 44) != 0,
        partitioning: field(processor, 40) != 0 || field(read!("id_aa64pfr1_el1"), 16) != 0,
        error_records: field(processor, 28) != 0,
        matrices: field(read!("id_aa64pfr1_el1"), 24) != 0,
    }
}

/// Whether this core checks where indirect branches lead (FEAT_BTI; `ID_AA64PFR1_EL1.BT`).
pub fn has_branch_targets() -> bool {
    read!("id_aa64pfr1_el1") & 0xf != 0
}

/// `MIDR_EL1`: who made the core, and which one it is.
pub fn main_id() -> u64 {
    read!("midr_el1")
}

/// `HCR_EL2` as it is now: read first thing, what whoever ran before us left in it.
pub fn hypervisor_control() -> u64 {
    read!("hcr_el2")
}
