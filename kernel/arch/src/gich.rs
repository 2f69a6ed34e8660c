//! The hypervisor's side of the GIC's CPU interface: list registers and what belongs to them (IHI
//! 0069, 12.4), and the end of a physical interrupt in two steps.

use core::arch::asm;

macro_rules! read {
    ($register:literal) => {{
        let value: u64;
        // SAFETY: reads a register of EL2's own; not `nomem`, so it stays in order with the others.
        unsafe { asm!(concat!("mrs {0}, ", $register), out(reg) value, options(nostack, preserves_flags)) };
        value
    }};
}

macro_rules! write {
    ($register:literal, $value:expr) => {
        // SAFETY: a register of EL2's own, which acts on a guest's interrupts only; not `nomem`, as
        // above.
        unsafe { asm!(concat!("msr ", $register, ", {0}"), in(reg) $value, options(nostack, preserves_flags)) }
    };
}

/// `ICH_HCR_EL2`: the virtual interface is on.
pub const ENABLE: u64 = 1;
/// `ICH_HCR_EL2`: a maintenance interrupt for ends of interrupts that are in no list register.
pub const NOT_PRESENT: u64 = 1 << 2;
/// `ICH_HCR_EL2`: a maintenance interrupt while no list register holds anything pending.
pub const NO_PENDING: u64 = 1 << 3;

/// List registers of this core.
pub fn list_registers() -> usize {
    (read!("ich_vtr_el2") & 0x1f) as usize + 1
}

/// Words of active priorities of each group: 1, 2 or 4, by the number of preemption levels.
fn priority_words() -> usize {
    match read!("ich_vtr_el2") >> 26 & 7 {
        ..=4 => 1,
        5 => 2,
        _ => 4,
    }
}

macro_rules! list_registers {
    ($($index:literal = $register:literal;)*) => {
        /// Reads a list register; 0 beyond the sixteenth.
        pub fn list(index: usize) -> u64 {
            match index {
                $($index => read!($register),)*
                _ => 0,
            }
        }

        /// Writes a list register that this core has.
        pub fn set_list(index: usize, value: u64) {
            match index {
                $($index => write!($register, value),)*
                _ => {}
            }
        }

        /// Reads as many list registers, from the first, as there are values, and empties them.
        #[inline(always)]
        pub fn take_lists(values: &mut [u64]) {
            $(
                let Some(value) = values.get_mut($index) else { return };
                *value = read!($register);
                write!($register, 0u64);
            )*
        }

        /// Writes values to list registers, from the first.
        #[inline(always)]
        pub fn put_lists(values: &[u64]) {
            $(
                let Some(value) = values.get($index) else { return };
                write!($register, *value);
            )*
        }
    };
}

list_registers! {
    0 = "ich_lr0_el2";
    1 = "ich_lr1_el2";
    2 = "ich_lr2_el2";
    3 = "ich_lr3_el2";
    4 = "ich_lr4_el2";
    5 = "ich_lr5_el2";
    6 = "ich_lr6_el2";
    7 = "ich_lr7_el2";
    8 = "ich_lr8_el2";
    9 = "ich_lr9_el2";
    10 = "ich_lr10_el2";
    11 = "ich_lr11_el2";
    12 = "ich_lr12_el2";
    13 = "ich_lr13_el2";
    14 = "ich_lr14_el2";
    15 = "ich_lr15_el2";
}

/// Whether none of the first `used` list registers holds an interrupt that is pending or active
/// (`ICH_ELRSR_EL2`), or whose end is to be told.
pub fn is_empty(used: usize) -> bool {
    !read!("ich_elrsr_el2") & ((1 << used) - 1) == 0
}

/// Empties all list registers of a core where they are nobody's.
pub fn empty_lists() {
    (0..list_registers()).for_each(|index| set_list(index, 0));
}

/// Ends of interrupts that were in no list register (`ICH_HCR_EL2.EOIcount`), since [`control`] was
/// last called.
pub fn ended_elsewhere() -> u32 {
    (read!("ich_hcr_el2") >> 27 & 0x1f) as u32
}

/// Writes `ICH_HCR_EL2`; the count of ends starts anew.
pub fn control(value: u64) {
    write!("ich_hcr_el2", value);
}

/// Turns the virtual interface off, so that no maintenance interrupt stands, and keeps the count of
/// ends.
pub fn silence() {
    control(read!("ich_hcr_el2") & 0x1f << 27);
}

/// What the guest's priority mask lets through: priorities below this (`ICH_VMCR_EL2.VPMR`).
pub fn priority_mask() -> u8 {
    (read!("ich_vmcr_el2") >> 24 & 0xff) as u8
}

/// A virtual CPU's interface beside its list registers.
#[derive(Debug, Clone)]
pub struct VirtualInterface {
    /// Words of active priorities, as in [`priority_words`].
    words: usize,
    /// `ICH_VMCR_EL2`.
    control: u64,
    /// `ICH_AP0R<n>_EL2`, then `ICH_AP1R<n>_EL2`.
    active: [u64; 8],
}

impl VirtualInterface {
    /// Out of reset: nothing enabled, everything masked. For this core, or one of the same kind.
    pub fn new() -> Self {
        Self { words: priority_words(), control: 0, active: [0; 8] }
    }

    /// Reads this core's registers.
    pub fn save(&mut self) {
        self.control = read!("ich_vmcr_el2");
        self.active[0] = read!("ich_ap0r0_el2");
        self.active[4] = read!("ich_ap1r0_el2");
        if self.words > 1 {
            self.save_further();
        }
    }

    #[cold]
    fn save_further(&mut self) {
        self.active[1] = read!("ich_ap0r1_el2");
        self.active[5] = read!("ich_ap1r1_el2");
        if self.words > 2 {
            self.active[2] = read!("ich_ap0r2_el2");
            self.active[3] = read!("ich_ap0r3_el2");
            self.active[6] = read!("ich_ap1r2_el2");
            self.active[7] = read!("ich_ap1r3_el2");
        }
    }

    /// Writes this core's registers, whose list registers are empty.
    pub fn load(&self) {
        write!("ich_vmcr_el2", self.control);
        write!("ich_ap0r0_el2", self.active[0]);
        write!("ich_ap1r0_el2", self.active[4]);
        if self.words > 1 {
            self.load_further();
        }
    }

    #[cold]
    fn load_further(&self) {
        write!("ich_ap0r1_el2", self.active[1]);
        write!("ich_ap1r1_el2", self.active[5]);
        if self.words > 2 {
            write!("ich_ap0r2_el2", self.active[2]);
            write!("ich_ap0r3_el2", self.active[3]);
            write!("ich_ap1r2_el2", self.active[6]);
            write!("ich_ap1r3_el2", self.active[7]);
        }
    }
}

impl Default for VirtualInterface {
    fn default() -> Self {
        Self::new()
    }
}

/// From now on an end of interrupt on this core only drops the running priority; [`deactivate`]
/// does the rest.
pub fn split_end_of_interrupt() {
    let value = read!("icc_ctlr_el1") | 1 << 1;
    write!("icc_ctlr_el1", value);
    // SAFETY: makes the write effective.
    unsafe { asm!("isb", options(nostack, preserves_flags)) };
}

/// Keeps guests from `ICC_SRE_EL1`, which is EL2's to say where the core lets it
/// (`ICC_SRE_EL2.Enable`; RAO/WI on some).
pub fn keep_interface_selection() {
    let value = read!("icc_sre_el2") & !(1 << 3);
    write!("icc_sre_el2", value);
    // SAFETY: makes the write effective.
    unsafe { asm!("isb", options(nostack, preserves_flags)) };
}

/// Deactivates a physical interrupt of this core.
pub fn deactivate(interrupt: u32) {
    write!("icc_dir_el1", u64::from(interrupt));
}
