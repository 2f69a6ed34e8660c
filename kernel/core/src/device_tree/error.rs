//! Why tables are refused.

use core::fmt;

/// Why a tree does not describe a machine that Bale can start on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineError {
    /// The bytes are no device tree.
    Broken,
    /// No usable memory.
    NoMemory,
    /// No core that PSCI can start.
    NoCpus,
    /// The interrupt controller is a GICv2.
    GicV2,
    /// No GICv3.
    NoGic,
    /// No PL011.
    NoUart,
    /// No generic timer with an EL2 interrupt.
    NoTimer,
    /// No PSCI node with a method.
    NoPsci,
    /// A property has a shape that its binding does not allow; its name.
    Malformed(&'static str),
    /// More of these than the tables hold; their name.
    TooMany(&'static str),
}

impl fmt::Display for MachineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken => f.write_str("the device tree is broken"),
            Self::NoMemory => f.write_str(
                "the device tree names no memory: the boot loader has to fill it in, or Bale's own to start it",
            ),
            Self::NoCpus => f.write_str("the device tree names no core with enable-method psci"),
            Self::GicV2 => f.write_str(
                "the interrupt controller is a GICv2; Bale needs a GICv3 (QEMU: -M virt,gic-version=3)",
            ),
            Self::NoGic => f.write_str("the device tree names no GICv3 (QEMU: -M virt,gic-version=3)"),
            Self::NoUart => f.write_str("the device tree names no PL011 UART for the console"),
            Self::NoTimer => f.write_str("the device tree names no armv8 timer with an EL2 interrupt"),
            Self::NoPsci => f.write_str("the device tree names no PSCI (QEMU: without secure=on)"),
            Self::Malformed(what) => write!(f, "the device tree's {what} is malformed"),
            Self::TooMany(what) => write!(f, "the device tree names more {what} than Bale has room for"),
        }
    }
}
