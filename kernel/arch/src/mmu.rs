//! EL2 stage 1 on, the registers of stage 2, TLB and cache maintenance (DDI 0487, D8 and D7.5).

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use aarch64_cpu::registers::{ID_AA64DFR0_EL1, ID_AA64MMFR0_EL1, Readable};

use crate::identity::{self, Extensions};

use crate::registers::PMCR_EL0;

/// `MAIR_EL2`: attribute 0 is Device-nGnRE, attribute 1 is Normal, write-back, read and write
/// allocate.
pub const MEMORY_ATTRIBUTES: u64 = 0xff04;
/// Attribute index of device memory.
pub const DEVICE: usize = 0;
/// Attribute index of normal memory.
pub const NORMAL: usize = 1;

/// `SCTLR_EL2` with the first map, whose blocks of a gigabyte hold code and data alike: RES1 bits,
/// plus MMU (M), data cache (C), instruction cache (I), stack alignment (SA).
pub const EARLY_CONTROL: u64 = 0x30c5_0830 | 1 | 1 << 2 | 1 << 12 | 1 << 3;
/// WXN: nothing that can be written is executed, whatever a descriptor says.
pub const WRITE_NEVER_EXECUTE: u64 = 1 << 19;
/// `SCTLR_EL2` with the map that stays.
pub const SYSTEM_CONTROL: u64 = EARLY_CONTROL | WRITE_NEVER_EXECUTE;

/// `TCR_EL2` for 48-bit addresses and 4 KiB pages, walks cached and inner shareable, as many
/// physical address bits as the core has.
pub fn translation_control() -> u64 {
    const RES1: u64 = 1 << 31 | 1 << 23;
    const T0SZ: u64 = 64 - 48;
    const WALKS: u64 = 1 << 8 | 1 << 10 | 3 << 12;
    RES1 | T0SZ | WALKS | physical_address_range().min(5) << 16
}

/// `ID_AA64MMFR0_EL1.PARange`, as encoded.
pub fn physical_address_range() -> u64 {
    ID_AA64MMFR0_EL1.read(ID_AA64MMFR0_EL1::PARange)
}

unsafe extern "C" {
    fn bale_mmu_switch(
        tables: u64,
        translation_control: u64,
        memory_attributes: u64,
        system_control: u64,
    );
}

core::arch::global_asm!(
    r#"
    .section .text.mmu, "ax"
    .balign 64
    .global bale_mmu_switch
bale_mmu_switch:
    // Off while the tables change: the old and the new may differ in block size, which needs break
    // before make.
    mrs     x4, sctlr_el2
    bic     x4, x4, #1
    dsb     sy
    msr     sctlr_el2, x4
    isb
    msr     mair_el2, x2
    msr     tcr_el2, x1
    msr     ttbr0_el2, x0
    isb
    tlbi    alle2
    ic      iallu
    dsb     sy
    isb
    msr     sctlr_el2, x3
    isb
    ret
    "#
);

/// Switches EL2 to the tables at `tables`, with `control` in `SCTLR_EL2`: [`EARLY_CONTROL`] or
/// [`SYSTEM_CONTROL`].
///
/// # Safety
/// The tables map the running code, the stack and all data in use at the addresses they have now,
/// and stay alive; with [`SYSTEM_CONTROL`] the code is not writable in them. Interrupts are masked.
pub unsafe fn switch_tables(tables: u64, control: u64) {
    // SAFETY: the caller's promise.
    unsafe { bale_mmu_switch(tables, translation_control(), MEMORY_ATTRIBUTES, control) };
}

/// `TTBR0_EL2` and `SCTLR_EL2` of this core: the map that is on, and how it is used.
pub fn map_in_use() -> (u64, u64) {
    let (tables, control): (u64, u64);
    // SAFETY: reads registers.
    unsafe {
        asm!("mrs {0}, ttbr0_el2", "mrs {1}, sctlr_el2", out(reg) tables, out(reg) control,
            options(nomem, nostack, preserves_flags));
    }
    (tables, control)
}

/// Cleans and invalidates the data cache over a range, to the point of coherency.
pub fn clean_invalidate(address: u64, length: usize) {
    let line = data_cache_line();
    let end = address + length as u64;
    let mut at = address & !(line - 1);
    while at < end {
        // SAFETY: maintenance by address changes no value.
        unsafe { asm!("dc civac, {0}", in(reg) at, options(nostack, preserves_flags)) };
        at += line;
    }
    // SAFETY: waits for the maintenance.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
}

/// Lets every core fetch what memory holds, after code was written and cleaned.
pub fn invalidate_instruction_caches() {
    // SAFETY: invalidating instruction caches changes no value.
    unsafe { asm!("ic ialluis", "dsb ish", "isb", options(nostack, preserves_flags)) };
}

/// Bytes in the smallest data cache line (`CTR_EL0.DminLine`).
fn data_cache_line() -> u64 {
    let ctr: u64;
    // SAFETY: reads an identification register.
    unsafe { asm!("mrs {0}, ctr_el0", out(reg) ctr, options(nomem, nostack, preserves_flags)) };
    4 << ((ctr >> 16) & 0xf)
}

/// `HCR_EL2` while no guest is loaded: interrupts come to EL2, EL1 is AArch64.
pub const HOST_CONTROL: u64 = 1 << 31 | 1 << 5 | 1 << 4 | 1 << 3;

/// `HCR_EL2` with a guest: stage 2 on (VM), set/way operations and translation of its tables bound
/// (SWIO, PTW, FB, BSU), interrupts and aborts to EL2, SMC, identification, implementation-defined
/// and auxiliary registers and set/way maintenance trapped (TSC, TID3, TIDCP, TACR, TSW, TLOR), WFI
/// trapped (TWI), and what is hidden: error records and the tags' identification (TERR, TID5).
const GUEST_CONTROL: u64 = 0x8_807c_063f | 1 << 13 | 1 << 36 | 1 << 58;
/// FWB: stage 2 alone says how memory is cached.
const FORCED_WRITE_BACK: u64 = 1 << 46;

/// `HCR_EL2` with a guest on this machine.
static GUEST: AtomicU64 = AtomicU64::new(GUEST_CONTROL);

/// From now on guests run with `HCR_EL2.FWB`, which changes what the attributes of their tables
/// mean. Every core has FEAT_S2FWB, and there is no guest yet.
pub fn force_write_back() {
    GUEST.store(GUEST_CONTROL | FORCED_WRITE_BACK, Ordering::Release);
}

/// Whether guests run with `HCR_EL2.FWB`.
pub fn forces_write_back() -> bool {
    GUEST.load(Ordering::Acquire) & FORCED_WRITE_BACK != 0
}

/// Brings this core's EL2 controls from whatever the firmware left to known values. All are written
/// whole.
///
/// `CPTR_EL2` leaves SIMD open and traps SVE, SME, AMU and trace; `MDCR_EL2` traps the PMU's and
/// the debug registers, hides the profiling and trace buffers from guests, keeps an event counter
/// for EL2, and leaves debug exceptions to EL1 (TDE is 0), so that none is ever taken at EL2;
/// `CNTHCTL_EL2` lets EL1 read the physical counter only. A guest's `MIDR_EL1` is the core's, and
/// `MDSCR_EL1` enables nothing until a guest's is loaded.
///
/// False if the core has no PMU that counts.
pub fn initialise_controls() -> bool {
    // SAFETY: EL2's own controls; no guest is loaded.
    unsafe { asm!("msr hcr_el2, {0}", in(reg) HOST_CONTROL, options(nostack, preserves_flags)) };
    // SAFETY: as above.
    unsafe { asm!("msr cptr_el2, {0}", in(reg) 0x4010_33ffu64, options(nostack, preserves_flags)) };
    // 0: no PMU; 15: one that is not the architecture's.
    let pmu = !matches!(ID_AA64DFR0_EL1.read(ID_AA64DFR0_EL1::PMUVer), 0 | 0xf);
    let counters = if pmu { PMCR_EL0.read(PMCR_EL0::N) } else { 0 };
    // The last counter is Bale's own (HPME), the others serve guests (HPMN): one that is alone is
    // not divided.
    let divided = if counters > 1 { (counters - 1) | 1 << 7 } else { counters };
    // TPM, TPMCR, TDRA, TDOSA, TDA, TPMS, TTRF.
    let debug = 1u64 << 6 | 1 << 5 | 1 << 11 | 1 << 10 | 1 << 9 | 1 << 14 | 1 << 19 | divided;
    // SAFETY: as above.
    unsafe { asm!("msr mdcr_el2, {0}", in(reg) debug, options(nostack, preserves_flags)) };
    // SAFETY: as above.
    unsafe { asm!("msr cnthctl_el2, {0}", in(reg) 1u64, options(nostack, preserves_flags)) };
    // SAFETY: as above.
    unsafe {
        asm!("mrs {0}, midr_el1", "msr vpidr_el2, {0}", "msr mdscr_el1, xzr", out(reg) _, options(nostack, preserves_flags));
    }
    // SAFETY: as above.
    unsafe {
        asm!(
            "msr cntv_ctl_el0, xzr",
            "msr cntp_ctl_el0, xzr",
            "msr cntvoff_el2, xzr",
            "msr hstr_el2, xzr",
            "isb",
            options(nostack, preserves_flags)
        )
    };
    initialise_further_controls(identity::extensions());
    // What an earlier owner left in EL1's translation registers is never walked.
    crate::vcpu::stop_walks();
    crate::further::probe();
    if counters > 0 {
        crate::pmu::stop();
    }
    counters > 0
}

/// Controls that only some cores have, and which are UNKNOWN after a reset where there is no
/// firmware to set them: fine-grained traps off, except from what guests are not shown, and MPAM's
/// registers trapped.
fn initialise_further_controls(has: Extensions) {
    macro_rules! write {
        ($condition:expr, $value:expr, $($register:literal)*) => {
            if $condition {
                // SAFETY: EL2's own controls, of an extension that this core has; no guest is
                // loaded.
                unsafe {
                    asm!($(concat!("msr ", $register, ", {0}"),)* "isb", in(reg) $value, options(nostack, preserves_flags));
                }
            }
        };
    }
    // HCRX_EL2: nothing that it would let a guest have is shown.
    write!(has.extended_control, 0u64, "S3_4_C1_C2_2");
    // HFGRTR_EL2, HFGWTR_EL2, HFGITR_EL2, HDFGRTR_EL2, HDFGWTR_EL2: their positive traps off, their
    // negative ones on.
    write!(has.fine_grained_traps >= 1, 0u64,
        "S3_4_C1_C1_4" "S3_4_C1_C1_5" "S3_4_C1_C1_6" "S3_4_C3_C1_4" "S3_4_C3_C1_5");
    // HAFGRTR_EL2, whose registers CPTR_EL2.TAM traps.
    write!(has.fine_grained_traps >= 1 && has.activity_monitors, 0u64, "S3_4_C3_C1_6");
    // HFGRTR2_EL2, HFGWTR2_EL2, HFGITR2_EL2, HDFGRTR2_EL2, HDFGWTR2_EL2.
    write!(has.fine_grained_traps >= 2, 0u64,
        "S3_4_C3_C1_2" "S3_4_C3_C1_3" "S3_4_C3_C1_7" "S3_4_C3_C1_0" "S3_4_C3_C1_1");
    // VSESR_EL2 and VDISR_EL2: no virtual SError, which a guest would find in its DISR_EL1.
    write!(has.error_records, 0u64, "S3_4_C5_C2_3" "S3_4_C12_C1_1");
    // MPAM2_EL2: partition 0 for EL2, TRAPMPAM0EL1 and TRAPMPAM1EL1; TIDR, RES0 where MPAMHCR_EL2
    // has it.
    write!(has.partitioning, 1u64 << 48 | 1 << 49 | 1 << 58, "S3_4_C10_C5_0");
}

/// Loads a guest's machine: its stage 2 tables and the traps that guard EL2 from it.
///
/// # Safety
/// `vttbr` names tables that stay alive while the guest may run, `vtcr` describes them. Interrupts
/// are masked.
pub unsafe fn load_stage2(vtcr: u64, vttbr: u64) {
    // SAFETY: the caller's promise. The first barrier makes the tables' last entries visible to the
    // walker, the last one separates the new VMID from any later TLB maintenance.
    unsafe {
        asm!("dsb ishst", "msr vtcr_el2, {0}", "msr vttbr_el2, {1}", "msr hcr_el2, {2}", "isb",
            in(reg) vtcr, in(reg) vttbr, in(reg) GUEST.load(Ordering::Relaxed), options(nostack, preserves_flags));
    }
}

/// Leaves guests behind: stage 2 off.
pub fn unload_stage2() {
    // SAFETY: no guest runs on this core until `load_stage2`.
    unsafe {
        asm!("msr hcr_el2, {0}", "msr vttbr_el2, xzr", "isb", in(reg) HOST_CONTROL, options(nostack, preserves_flags))
    };
}

/// Drops the translations of EL1's tables that this core has cached for the virtual machine whose
/// `VTTBR_EL2` is loaded. Walks are stopped, and begin behind the barrier of
/// [`crate::vcpu::SystemState::resume`].
#[inline(always)]
pub fn invalidate_current_guest_here() {
    // SAFETY: TLB maintenance changes no translation.
    unsafe { asm!("tlbi vmalle1", "dsb nsh", options(nostack, preserves_flags)) };
}

/// Drops every cached translation of the virtual machine whose `VTTBR_EL2` is loaded on this core,
/// on all cores.
pub fn invalidate_current_guest() {
    // SAFETY: TLB maintenance changes no translation.
    unsafe {
        asm!("dsb ishst", "tlbi vmalls12e1is", "dsb ish", "isb", options(nostack, preserves_flags))
    };
}

/// Drops cached translations of pages or blocks of guest-physical memory, by an address in each, of
/// the machine that is loaded on this core, on all cores; accesses that used them are over after
/// it.
pub fn invalidate_ipas(ipas: &[u64]) {
    // SAFETY: TLB maintenance changes no translation; the barrier makes the changes of the tables
    // visible first.
    unsafe { asm!("dsb ishst", options(nostack, preserves_flags)) };
    for ipa in ipas {
        // SAFETY: as above.
        unsafe {
            asm!("tlbi ipas2e1is, {0}", in(reg) ipa >> 12, options(nostack, preserves_flags))
        };
    }
    // SAFETY: as above. Stage 2 entries are gone before the combined ones go.
    unsafe {
        asm!("dsb ish", "tlbi vmalle1is", "dsb ish", "isb", options(nostack, preserves_flags));
    }
}

/// Lets every core's walks see what was written to translation tables.
pub fn publish_tables() {
    // SAFETY: a barrier.
    unsafe { asm!("dsb ishst", "isb", options(nostack, preserves_flags)) };
}

/// Guest-physical address of a virtual address of the guest that is loaded on this core, by its own
/// tables; `None` if they do not map it for reading. For permission faults, where `HPFAR_EL2` need
/// not hold it.
pub fn guest_physical(address: u64) -> Option<u64> {
    let (kept, result): (u64, u64);
    // SAFETY: translates without access; PAR_EL1 is the guest's and is put back.
    unsafe {
        asm!("mrs {0}, par_el1", "at s1e1r, {2}", "isb", "mrs {1}, par_el1", "msr par_el1, {0}",
            out(reg) kept, out(reg) result, in(reg) address, options(nostack, preserves_flags));
    }
    let _ = kept;
    (result & 1 == 0).then_some(result & 0xf_ffff_ffff_f000 | address & 0xfff)
}

/// `TCR_EL1`, `TTBR0_EL1` and `TTBR1_EL1` of the guest that is loaded on this core.
pub fn guest_translation() -> (u64, [u64; 2]) {
    let (control, lower, upper): (u64, u64, u64);
    // SAFETY: reads the guest's registers.
    unsafe {
        asm!("mrs {0}, tcr_el1", "mrs {1}, ttbr0_el1", "mrs {2}, ttbr1_el1",
            out(reg) control, out(reg) lower, out(reg) upper, options(nostack, preserves_flags));
    }
    (control, [lower, upper])
}

/// Syndrome of the last exception to EL2.
pub fn syndrome() -> u64 {
    let value: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {0}, esr_el2", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Faulting virtual address of the last abort to EL2.
pub fn fault_address() -> u64 {
    let value: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {0}, far_el2", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// `HPFAR_EL2`: the faulting page of a stage 2 abort.
pub fn fault_page() -> u64 {
    let value: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {0}, hpfar_el2", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}
