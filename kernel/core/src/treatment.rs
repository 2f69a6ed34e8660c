//! What becomes of a guest that came out: the decision alone, from the syndrome (DDI 0487,
//! "ESR_EL2", field EC).

use crate::exception::{Fault, Syndrome};
use crate::guest_tree::RAM;

/// What is done about an exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// HVC: a call is answered.
    Call,
    /// A trapped SMC: the same, behind the instruction.
    TrappedCall,
    /// WFI or WFE: it waits for an interrupt.
    Wait,
    /// A trapped system register is emulated, or undefined.
    SystemRegister,
    /// An access below memory: a device's register is emulated, or there is none, and the guest is
    /// given an abort.
    Device,
    /// Data or instructions in memory or beyond: the page comes back, or the guest is given an
    /// abort.
    Memory {
        /// A fetch.
        fetch: bool,
    },
    /// The guest is given an undefined instruction.
    Undefined,
    /// The guest is stopped.
    Stop(Stop),
}

/// Why it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The bus answered with an error.
    Hardware,
    /// A small guest reached beyond its memory.
    StrayAccess,
    /// A small guest went beyond its memory.
    StrayFetch,
    /// A small guest did what only one with devices may.
    Unsupported,
}

/// Decides about a synchronous exit: `full` is a machine with devices and handlers of its own, the
/// others are small guests. `ipa` is the guest-physical address of an abort.
#[inline(always)]
pub fn treatment(syndrome: Syndrome, full: bool, ipa: u64) -> Treatment {
    match (syndrome.class(), full) {
        (0x01, _) => Treatment::Wait,
        (0x16, _) => Treatment::Call,
        (0x17, _) => Treatment::TrappedCall,
        (0x18, _) => Treatment::SystemRegister,
        (0x20 | 0x24, _) if syndrome.fault() == Fault::External => Treatment::Stop(Stop::Hardware),
        (0x24, true) if ipa < RAM => Treatment::Device,
        (0x24, true) => Treatment::Memory { fetch: false },
        (0x20, true) => Treatment::Memory { fetch: true },
        (0x24, false) => Treatment::Stop(Stop::StrayAccess),
        (0x20, false) => Treatment::Stop(Stop::StrayFetch),
        (_, true) => Treatment::Undefined,
        (_, false) => Treatment::Stop(Stop::Unsupported),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of the 64 classes with each of the 64 status codes, of both kinds of guests, below
    /// memory and in it.
    #[test]
    fn every_class() {
        let external = |status: u64| matches!(status, 0x10 | 0x13..=0x17);
        for (class, status) in
            (0..64u64).flat_map(|class| (0..64u64).map(move |status| (class, status)))
        {
            let syndrome = Syndrome::new(class << 26 | 1 << 25 | status);
            let [full, device, small] = [(true, RAM), (true, RAM - 1), (false, RAM)]
                .map(|(full, ipa)| treatment(syndrome, full, ipa));
            let stops = |why| Treatment::Stop(why);
            let memory = |fetch| Treatment::Memory { fetch };
            let expected = match class {
                0x01 => [Treatment::Wait; 3],
                0x16 => [Treatment::Call; 3],
                0x17 => [Treatment::TrappedCall; 3],
                0x18 => [Treatment::SystemRegister; 3],
                0x20 | 0x24 if external(status) => [stops(Stop::Hardware); 3],
                0x20 => [memory(true), memory(true), stops(Stop::StrayFetch)],
                0x24 => [memory(false), Treatment::Device, stops(Stop::StrayAccess)],
                _ => [Treatment::Undefined, Treatment::Undefined, stops(Stop::Unsupported)],
            };
            assert_eq!([full, device, small], expected, "class {class:#x}, status {status:#x}");
            // A machine with handlers of its own is stopped for the bus alone.
            assert!(!matches!(full, Treatment::Stop(why) if why != Stop::Hardware));
        }
    }

    /// What trapped features of those that are hidden come as: SIMD and SVE, pointer
    /// authentication, SME, branch targets, and what nobody has allocated.
    #[test]
    fn hidden_features_are_undefined() {
        for class in [
            0x00, 0x07, 0x08, 0x09, 0x0a, 0x0d, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x27, 0x2d,
            0x3d, 0x3f,
        ] {
            assert_eq!(
                treatment(Syndrome::new(class << 26), true, 0),
                Treatment::Undefined,
                "{class:#x}"
            );
        }
    }
}
