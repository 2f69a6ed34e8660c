//! Exceptions given to a guest: what its registers hold as its own handler begins (DDI 0487, D1.3
//! and the pseudocode of `AArch64.TakeException`).

/// Registers that an exception changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Address of the vector.
    pub pc: u64,
    /// Processor state in the handler.
    pub pstate: u64,
    /// `ESR_EL1`.
    pub syndrome: u64,
    /// `FAR_EL1`, if the exception sets it.
    pub fault_address: Option<u64>,
}

/// What a guest is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exception {
    /// An undefined instruction: what Bale does not offer.
    Undefined,
    /// A synchronous external abort on a data access to this virtual address.
    DataAbort(u64, Place),
    /// A synchronous external abort on the fetch from this virtual address.
    InstructionAbort(u64, Place),
}

/// What an external abort met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The access itself.
    Access,
    /// The walk of the guest's own tables for it, at this level: see
    /// [`crate::guest_walk::level_of`].
    TableWalk(u8),
}

const INSTRUCTION_LENGTH: u64 = 1 << 25;

impl Place {
    /// Fault status: synchronous external abort, not on a table walk, or on one at level 0 to 3.
    const fn status(self) -> u64 {
        match self {
            Self::Access => 0x10,
            Self::TableWalk(level) => 0x14 | level as u64 & 3,
        }
    }
}

/// EL1 with its own stack pointer, everything masked.
const HANDLER: u64 = 0x3c5;
/// Condition flags and DIT, which an exception leaves alone.
const KEPT: u64 = 0xf << 28 | 1 << 24;
const PAN: u64 = 1 << 22;
const SSBS: u64 = 1 << 12;
/// `SCTLR_EL1`: SPAN (0: PAN is set) and DSSBS.
const SPAN: u64 = 1 << 23;
const DSSBS: u64 = 1 << 44;

impl Exception {
    /// The guest's registers at its vector, from its processor state, `VBAR_EL1` and `SCTLR_EL1`.
    /// `pan` says whether the processor has FEAT_PAN.
    pub fn entry(self, pstate: u64, vectors: u64, control: u64, pan: bool) -> Entry {
        let from_el0 = pstate & 0xc == 0;
        let offset = match (from_el0, pstate & 1) {
            (true, _) => 0x400,
            (false, 1) => 0x200,
            (false, _) => 0,
        };
        // Exception class: from a lower level, or from the same one.
        let (class, status, fault_address) = match self {
            Self::Undefined => (0, 0, None),
            Self::InstructionAbort(address, place) => {
                (if from_el0 { 0x20 } else { 0x21 }, place.status(), Some(address))
            }
            Self::DataAbort(address, place) => {
                (if from_el0 { 0x24 } else { 0x25 }, place.status(), Some(address))
            }
        };
        let raised = pan && control & SPAN == 0;
        let mut state = HANDLER | pstate & KEPT | pstate & PAN;
        if raised {
            state |= PAN;
        }
        if control & DSSBS != 0 {
            state |= SSBS;
        }
        Entry {
            pc: vectors.wrapping_add(offset),
            pstate: state,
            syndrome: class << 26 | INSTRUCTION_LENGTH | status,
            fault_address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTORS: u64 = 0xffff_8000_0001_0000;

    #[test]
    fn vectors_by_level_and_stack() {
        for (pstate, offset) in [(0x3c0, 0x400), (0x3c4, 0), (0x3c5, 0x200)] {
            let entry = Exception::Undefined.entry(pstate, VECTORS, SPAN, true);
            assert_eq!(entry.pc, VECTORS + offset, "{pstate:#x}");
            assert_eq!(
                (entry.pstate, entry.syndrome, entry.fault_address),
                (0x3c5, 0x0200_0000, None)
            );
        }
    }

    #[test]
    fn aborts_name_address_and_class() {
        let kernel =
            Exception::DataAbort(0x1234, Place::Access).entry(0x6000_0005, VECTORS, 0, true);
        assert_eq!((kernel.syndrome, kernel.fault_address), (0x9600_0010, Some(0x1234)));
        assert_eq!(kernel.pstate, 0x6000_03c5 | PAN);
        let user = Exception::InstructionAbort(0x1000, Place::Access).entry(
            0,
            VECTORS,
            SPAN | DSSBS,
            true,
        );
        assert_eq!((user.syndrome, user.pstate), (0x8200_0010, 0x3c5 | SSBS));
    }

    /// A handler is not stepped through, has debug exceptions masked, and begins with no other
    /// state of the code that it interrupts (DDI 0487, AArch64.TakeException): SS, IL, UAO, BTYPE
    /// go, flags and DIT stay.
    #[test]
    fn handlers_begin_afresh() {
        const STEP: u64 = 1 << 21;
        for extra in [STEP, 1 << 20, 1 << 23, 3 << 10, STEP | 3 << 10] {
            let entry = Exception::Undefined.entry(0xf100_0005 | extra, VECTORS, SPAN, true);
            assert_eq!(entry.pstate, 0xf100_03c5, "{extra:#x}");
        }
    }

    #[test]
    fn aborts_on_a_walk_name_its_level() {
        for level in 0..4 {
            let data = Exception::DataAbort(0, Place::TableWalk(level)).entry(5, VECTORS, 0, true);
            assert_eq!(data.syndrome, 0x9600_0014 + u64::from(level));
            let fetch =
                Exception::InstructionAbort(0, Place::TableWalk(level)).entry(5, VECTORS, 0, true);
            assert_eq!(fetch.syndrome, 0x8600_0014 + u64::from(level));
        }
    }
}
