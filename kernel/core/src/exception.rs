//! What a syndrome register says: exception classes and the fields that the kernel acts on.
//!
//! Encodings are those of `ESR_EL2` in the Arm ARM (DDI 0487), section "ESR_EL2, Exception Syndrome
//! Register".

#![expect(clippy::cast_possible_truncation, reason = "fields of a register, masked to their width")]

use core::fmt;

/// A value of `ESR_EL2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Syndrome(u64);

/// What an exception is about, as far as somebody decides by it; the syndrome tells the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// WFI or WFE (class 0x01).
    Wait,
    /// HVC from AArch64 (0x16).
    HypervisorCall,
    /// SMC from AArch64 (0x17), trapped.
    SecureMonitorCall,
    /// MSR, MRS or a system instruction (0x18), trapped: see [`Syndrome::system_access`].
    SystemRegister,
    /// Instruction abort from a lower level (0x20): see [`Syndrome::fault`].
    InstructionAbort,
    /// Data abort from a lower level (0x24): see [`Syndrome::fault`] and
    /// [`Syndrome::memory_access`].
    DataAbort,
    /// Any other class.
    Other,
}

/// Kind of a fault, from the fault status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The address is wider than the tables allow, at this level.
    AddressSize(u8),
    /// Nothing is mapped, at this level.
    Translation(u8),
    /// The access flag is clear, at this level.
    AccessFlag(u8),
    /// The mapping does not allow it, at this level.
    Permission(u8),
    /// The bus answered with an error.
    External,
    /// Alignment.
    Alignment,
    /// Any other status code.
    Other(u8),
}

/// A data access that the syndrome describes well enough to emulate (ISV = 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryAccess {
    /// Bytes: 1, 2, 4 or 8.
    pub size: u8,
    /// Number of the general register; 31 is the zero register.
    pub register: u8,
    /// A store rather than a load.
    pub write: bool,
    /// A load extends the sign.
    pub sign_extend: bool,
    /// The register is 64 bits wide.
    pub wide: bool,
}

/// A trapped system register access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SystemAccess {
    /// Op0, Op1, CRn, CRm, Op2.
    pub encoding: [u8; 5],
    /// Number of the general register; 31 is the zero register.
    pub register: u8,
    /// MRS rather than MSR.
    pub read: bool,
}

impl Syndrome {
    /// From the register's value.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// Exception class, bits 31:26.
    pub const fn class(self) -> u8 {
        (self.0 >> 26 & 0x3f) as u8
    }

    /// Bytes of the instruction: 2 or 4 (IL, bit 25).
    pub const fn instruction_length(self) -> u64 {
        2 + 2 * (self.0 >> 25 & 1)
    }

    /// Immediate of HVC or SMC.
    pub const fn immediate(self) -> u16 {
        self.0 as u16
    }

    /// What it is about.
    pub fn cause(self) -> Cause {
        match self.class() {
            0x01 => Cause::Wait,
            0x16 => Cause::HypervisorCall,
            0x17 => Cause::SecureMonitorCall,
            0x18 => Cause::SystemRegister,
            0x20 => Cause::InstructionAbort,
            0x24 => Cause::DataAbort,
            _ => Cause::Other,
        }
    }

    /// Fault status code, bits 5:0, of an abort.
    pub fn fault(self) -> Fault {
        let code = (self.0 & 0x3f) as u8;
        let level = code & 3;
        match code {
            0x00..=0x03 => Fault::AddressSize(level),
            0x04..=0x07 => Fault::Translation(level),
            0x08..=0x0b => Fault::AccessFlag(level),
            0x0c..=0x0f => Fault::Permission(level),
            0x10 | 0x13..=0x17 => Fault::External,
            0x21 => Fault::Alignment,
            code => Fault::Other(code),
        }
    }

    /// Whether a data abort was on a write (WnR, bit 6).
    pub const fn is_write(self) -> bool {
        self.0 >> 6 & 1 == 1
    }

    /// Whether an abort happened on a walk of the guest's own tables (S1PTW, bit 7).
    pub const fn on_guest_table_walk(self) -> bool {
        self.0 >> 7 & 1 == 1
    }

    /// The data access that aborted, if the syndrome describes it.
    pub fn memory_access(self) -> Option<MemoryAccess> {
        (self.0 >> 24 & 1 == 1).then(|| MemoryAccess {
            size: 1 << (self.0 >> 22 & 3),
            register: (self.0 >> 16 & 31) as u8,
            write: self.is_write(),
            sign_extend: self.0 >> 21 & 1 == 1,
            wide: self.0 >> 15 & 1 == 1,
        })
    }

    /// The general register that a write to `ICC_SGI1R_EL1` takes its value from; `None` for any
    /// other exception. What guests trap for most often is told by one comparison.
    pub const fn sends_interrupt(self) -> Option<u8> {
        // Class, IL (in AArch64 instructions are four bytes), Op0, Op2, Op1, CRn, CRm and direction
        // of S3_0_C12_C11_5, written.
        const SEND: u32 = 0x18 << 26 | 1 << 25 | 3 << 20 | 5 << 17 | 12 << 10 | 11 << 1;
        const REGISTER: u32 = 31 << 5;
        if self.0 as u32 & !REGISTER == SEND { Some((self.0 >> 5 & 31) as u8) } else { None }
    }

    /// The access that a trapped MSR, MRS or system instruction made.
    pub fn system_access(self) -> SystemAccess {
        let field = |shift: u32, mask: u64| (self.0 >> shift & mask) as u8;
        SystemAccess {
            encoding: [field(20, 3), field(14, 7), field(10, 15), field(1, 15), field(17, 7)],
            register: field(5, 31),
            read: self.0 & 1 == 1,
        }
    }

    fn class_name(self) -> &'static str {
        match self.class() {
            0x00 => "unknown reason",
            0x01 => "WFI or WFE",
            0x07 => "access to SIMD, SVE or floating point",
            0x0a => "other trapped instruction",
            0x0d => "branch target",
            0x0e => "illegal execution state",
            0x15 => "SVC",
            0x16 => "HVC",
            0x17 => "SMC",
            0x18 => "system register access",
            0x19 => "SVE access",
            0x1a => "ERET",
            0x1c => "pointer authentication failure",
            0x20 => "instruction abort in the guest",
            0x21 => "instruction abort",
            0x22 => "misaligned PC",
            0x24 => "data abort in the guest",
            0x25 => "data abort",
            0x26 => "misaligned SP",
            0x2c => "floating-point exception",
            0x2f => "SError",
            0x30 | 0x31 => "breakpoint",
            0x32 | 0x33 => "software step",
            0x34 | 0x35 => "watchpoint",
            0x3c => "BRK",
            _ => "unallocated class",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressSize(level) => write!(f, "address too wide at level {level}"),
            Self::Translation(level) => write!(f, "nothing mapped at level {level}"),
            Self::AccessFlag(level) => write!(f, "access flag clear at level {level}"),
            Self::Permission(level) => write!(f, "not permitted at level {level}"),
            Self::External => f.write_str("external abort"),
            Self::Alignment => f.write_str("misaligned"),
            Self::Other(code) => write!(f, "fault status {code:#x}"),
        }
    }
}

impl fmt::Display for Syndrome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.class_name())?;
        match self.class() {
            0x20 | 0x21 => write!(f, ", {}", self.fault()),
            0x24 | 0x25 => {
                let verb = if self.is_write() { "write" } else { "read" };
                write!(f, " on a {verb}, {}", self.fault())
            }
            0x15..=0x17 | 0x3c => write!(f, " #{}", self.immediate()),
            0x18 => {
                let SystemAccess { encoding: [op0, op1, crn, crm, op2], read, .. } =
                    self.system_access();
                write!(
                    f,
                    ", {} of S{op0}_{op1}_C{crn}_C{crm}_{op2}",
                    if read { "read" } else { "write" }
                )
            }
            _ => Ok(()),
        }
    }
}

/// Guest-physical address of a stage 2 abort, from `HPFAR_EL2` (page) and `FAR_EL2` (offset in the
/// page).
pub const fn fault_ipa(hpfar: u64, far: u64) -> u64 {
    (hpfar >> 4 & 0xfff_ffff_ffff) << 12 | far & 0xfff
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values were written down from faults that QEMU raised.
    #[test]
    fn reads_like_the_manual() {
        assert_eq!(
            Syndrome::new(0x971f_0005).to_string(),
            "data abort on a read, nothing mapped at level 1"
        );
        assert_eq!(
            Syndrome::new(0x9600_0047).to_string(),
            "data abort on a write, nothing mapped at level 3"
        );
        assert_eq!(Syndrome::new(0x5a00_0000).to_string(), "HVC #0");
        assert_eq!(Syndrome::new(0xf200_002a).to_string(), "BRK #42");
    }

    #[test]
    fn memory_access_needs_isv() {
        let bare = Syndrome::new(0x24 << 26 | 0x47);
        assert_eq!((bare.cause(), bare.fault()), (Cause::DataAbort, Fault::Translation(3)));
        assert_eq!(bare.memory_access(), None);
        // A store of w5, four bytes: ISV, SAS = 2, SRT = 5, WnR.
        let value = 0x24 << 26 | 1 << 24 | 2 << 22 | 5 << 16 | 1 << 6 | 0x7;
        let access =
            MemoryAccess { size: 4, register: 5, write: true, sign_extend: false, wide: false };
        assert_eq!(Syndrome::new(value).memory_access(), Some(access));
    }

    #[test]
    fn system_register_encoding() {
        // MRS x3, ID_AA64PFR0_EL1 (S3_0_C0_C4_0).
        let value = 0x18 << 26 | 3 << 20 | 4 << 1 | 3 << 5 | 1;
        let access = SystemAccess { encoding: [3, 0, 0, 4, 0], register: 3, read: true };
        assert_eq!(Syndrome::new(value).cause(), Cause::SystemRegister);
        assert_eq!(Syndrome::new(value).system_access(), access);
        assert_eq!(
            Syndrome::new(value).to_string(),
            "system register access, read of S3_0_C0_C4_0"
        );
    }

    /// MSR ICC_SGI1R_EL1, x7; and its neighbours ICC_SGI0R_EL1, ICC_IAR1_EL1 and another class.
    #[test]
    fn sends_of_interrupts() {
        let send = 0x18 << 26 | 1 << 25 | 3 << 20 | 5 << 17 | 12 << 10 | 11 << 1 | 7 << 5;
        assert_eq!(Syndrome::new(send).sends_interrupt(), Some(7));
        for other in [
            send | 1,
            send ^ 2 << 17,
            send ^ 1 << 14,
            send ^ 1 << 21,
            send ^ 1 << 26,
            send ^ 1 << 13,
        ] {
            assert_eq!(Syndrome::new(other).sends_interrupt(), None, "{other:#x}");
        }
    }

    /// Every class has words, and none panics with any fault status.
    #[test]
    fn every_class_and_status_prints() {
        for class in 0..64u64 {
            for status in 0..64u64 {
                let syndrome = Syndrome::new(class << 26 | status);
                assert!(!syndrome.to_string().is_empty());
                let _ = (syndrome.cause(), syndrome.fault());
            }
        }
    }

    #[test]
    fn ipa_from_two_registers() {
        assert_eq!(fault_ipa(0x9_0000 << 4, 0xffff_0000_0000_0123), 0x9000_0123);
    }
}
