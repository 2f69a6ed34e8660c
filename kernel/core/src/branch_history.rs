//! What a core has to do when it comes from a guest, so that the branches which the guest took do
//! not steer those of EL2 (Spectre-BHB, CVE-2022-23960).
//!
//! Facts are from Arm's page and white paper "Spectre-BHB", and from DDI 0487, D19, for the fields:
//! `ID_AA64PFR0_EL1.CSV2`, `ID_AA64MMFR1_EL1.ECBHB`, `ID_AA64ISAR2_EL1.CLRBHB`, `MIDR_EL1`.

use core::fmt;

/// What is done at each entry from a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing: the core keeps contexts apart by itself, predicts nothing from history, or is none.
    None,
    /// The instruction CLRBHB.
    Clear,
    /// So many taken branches, after which nothing of the guest's is left.
    Loop(u8),
    /// Nothing: only firmware could (`SMCCC_ARCH_WORKAROUND_3`), which Bale does not call.
    Firmware,
}

/// What of a core's identity is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// `MIDR_EL1`.
    pub main_id: u64,
    /// `ID_AA64PFR0_EL1`.
    pub processor: u64,
    /// `ID_AA64MMFR1_EL1`.
    pub memory_model: u64,
    /// `ID_AA64ISAR2_EL1`.
    pub instructions: u64,
}

/// Makers: Arm, and Ampere.
const ARM: u64 = 0x41;
const AMPERE: u64 = 0xc0;

/// Cores that take no branch by history: Cortex-A34, A35, A53, A55, A510 and A520, which execute in
/// order.
const UNAFFECTED: [u64; 6] = [0xd02, 0xd04, 0xd03, 0xd05, 0xd46, 0xd80];

/// Parts of Arm's, and how many branches fill their history.
const LOOPS: [(u64, u8); 19] = [
    (0xd07, 8),       // Cortex-A57
    (0xd08, 8),       // Cortex-A72
    (0xd0b, 24),      // Cortex-A76
    (0xd0e, 24),      // Cortex-A76AE
    (0xd0d, 24),      // Cortex-A77
    (0xd0c, 24),      // Neoverse N1
    (0xd41, 32),      // Cortex-A78
    (0xd42, 32),      // Cortex-A78AE
    (0xd4b, 32),      // Cortex-A78C
    (0xd44, 32),      // Cortex-X1
    (0xd4c, 32),      // Cortex-X1C
    (0xd47, 32),      // Cortex-A710
    (0xd48, 32),      // Cortex-X2
    (0xd49, 32),      // Neoverse N2
    (0xd40, 32),      // Neoverse V1
    (0xd4d, 38),      // Cortex-A715
    (0xd81, 38),      // Cortex-A720
    (0xd4e, LONGEST), // Cortex-X3
    (0xd4f, LONGEST), // Neoverse V2
];
/// The longest of them, which does for cores that are not known.
const LONGEST: u8 = 132;
/// Cortex-A73 and A75: firmware invalidates their predictors.
const BY_FIRMWARE: [u64; 2] = [0xd09, 0xd0a];

impl Action {
    /// For a core of this identity. An emulated one is none that predicts: what runs the emulator
    /// sees to its own.
    pub fn of(core: Identity, emulated: bool) -> Self {
        let field = |value: u64, shift: u32| value >> shift & 0xf;
        let (maker, part) = (core.main_id >> 24 & 0xff, core.main_id >> 4 & 0xfff);
        // CSV2_3 and ECBHB: no history of a lower exception level steers a branch of a higher one.
        if emulated || field(core.processor, 56) >= 3 || field(core.memory_model, 60) != 0 {
            return Self::None;
        }
        if maker == ARM && UNAFFECTED.contains(&part) {
            return Self::None;
        }
        if field(core.instructions, 28) != 0 {
            return Self::Clear;
        }
        if maker == ARM && BY_FIRMWARE.contains(&part) {
            return Self::Firmware;
        }
        if maker == AMPERE && part == 0xac3 {
            // Ampere-1.
            return Self::Loop(11);
        }
        let known = LOOPS.iter().find(|(known, _)| maker == ARM && *known == part);
        Self::Loop(known.map_or(LONGEST, |(_, branches)| *branches))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no action needed"),
            Self::Clear => f.write_str("CLRBHB"),
            Self::Loop(branches) => write!(f, "{branches} branches"),
            Self::Firmware => f.write_str("left as it is: it takes a call of firmware"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, Identity, LONGEST, LOOPS};

    fn core(main_id: u64) -> Identity {
        Identity { main_id, processor: 0, memory_model: 0, instructions: 0 }
    }

    #[test]
    fn each_core_has_what_arm_says() {
        for (main_id, action) in [
            (0x410f_d083, Action::Loop(8)),
            (0x414f_d0b1, Action::Loop(24)),
            (0x413f_d0c1, Action::Loop(24)),
            (0x410f_d490, Action::Loop(32)),
            (0x410f_d4f0, Action::Loop(132)),
            (0xc00f_ac30, Action::Loop(11)),
            (0x410f_d034, Action::None),
            (0x410f_d801, Action::None),
            (0x410f_d0a1, Action::Firmware),
            (0x510f_8041, Action::Loop(LONGEST)),
        ] {
            assert_eq!(Action::of(core(main_id), false), action, "{main_id:#x}");
            assert_eq!(Action::of(core(main_id), true), Action::None, "{main_id:#x}");
        }
    }

    /// What a core says of itself comes before what is known of its kind.
    #[test]
    fn a_core_that_needs_none_says_so() {
        let a720 = core(0x410f_d811);
        assert_eq!(Action::of(a720, false), Action::Loop(38));
        let says = |processor: u64, memory_model: u64, instructions: u64| {
            let core = Identity { processor, memory_model, instructions, ..a720 };
            Action::of(core, false)
        };
        assert_eq!(says(3 << 56, 0, 0), Action::None, "CSV2_3");
        assert_eq!(says(2 << 56, 0, 0), Action::Loop(38), "CSV2_2");
        assert_eq!(says(0, 1 << 60, 0), Action::None, "ECBHB");
        assert_eq!(says(1 << 56, 0, 1 << 28), Action::Clear, "CLRBHB");
        assert_eq!(says(0, 1 << 60, 1 << 28), Action::None, "both");
    }

    #[test]
    fn no_core_is_listed_twice() {
        for (place, (part, branches)) in LOOPS.iter().enumerate() {
            assert!(*branches <= LONGEST);
            assert!(LOOPS[..place].iter().all(|(other, _)| other != part), "{part:#x}");
        }
    }
}
