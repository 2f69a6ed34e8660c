//! Interrupts masked for a scope, core identity, and the few instructions that wait.

use core::arch::asm;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicUsize, Ordering};

use aarch64_cpu::registers::{DAIF, MPIDR_EL1, Readable, TPIDR_EL2, Writeable};

/// Affinity fields of `MPIDR_EL1`: Aff3 in bits 39:32, Aff2, Aff1, Aff0 in bits 23:0.
pub const AFFINITY_MASK: u64 = 0xff_00ff_ffff;

/// Where the per-core block holds the counter's value at which interrupts were masked last.
pub const MASKED_SINCE_OFFSET: usize = 8;
/// Where the per-core block holds the longest stretch with interrupts masked, in ticks of the
/// counter.
pub const LONGEST_MASKED_OFFSET: usize = 16;
/// Where the per-core block holds the address at which that stretch ended.
pub const LONGEST_ENDED_OFFSET: usize = 24;
/// Of its position among the cores, from 0.
pub const INDEX_OFFSET: usize = 32;

/// Cores that Bale uses at most; further ones stay off.
pub const MAX_CORES: usize = 16;

/// A stretch with interrupts masked begins: notes when. Also in its middle, after a part that was
/// no stretch: a wait that an interrupt ends, or a guest.
#[inline(always)]
pub fn begin_stretch() {
    // SAFETY: TPIDR_EL2 points to this core's block, whose word at this offset is for this; before
    // the kernel has set it up, interrupts are masked and no stretch begins. Without an `isb` the
    // read may be a few instructions early.
    unsafe {
        asm!("mrs {now}, cntpct_el0", "mrs {block}, tpidr_el2", "str {now}, [{block}, #{since}]",
            now = out(reg) _, block = out(reg) _, since = const MASKED_SINCE_OFFSET, options(nostack, preserves_flags));
    }
}

/// The stretch ends: keeps its length, and this address, if no other was longer.
#[inline(always)]
pub fn end_stretch() {
    // SAFETY: as in `begin_stretch`; the core's own words, and it is still masked.
    unsafe {
        asm!("mrs {now}, cntpct_el0", "mrs {block}, tpidr_el2", "ldp {since}, {longest}, [{block}, #{offset}]",
            "sub {now}, {now}, {since}", "cmp {now}, {longest}", "b.ls 2f",
            "str {now}, [{block}, #{longest_offset}]", "adr {now}, .", "str {now}, [{block}, #{ended}]", "2:",
            now = out(reg) _, block = out(reg) _, since = out(reg) _, longest = out(reg) _,
            offset = const MASKED_SINCE_OFFSET, longest_offset = const LONGEST_MASKED_OFFSET,
            ended = const LONGEST_ENDED_OFFSET, options(nostack));
    }
}

/// In the midst of a stretch: ends it, as for [`end_stretch`], and begins another one.
#[inline(always)]
fn begin_stretch_anew() {
    // SAFETY: as in `begin_stretch` and `end_stretch`.
    unsafe {
        asm!("mrs {now}, cntpct_el0", "mrs {block}, tpidr_el2", "ldp {since}, {longest}, [{block}, #{offset}]",
            "str {now}, [{block}, #{offset}]", "sub {now}, {now}, {since}", "cmp {now}, {longest}", "b.ls 2f",
            "str {now}, [{block}, #{longest_offset}]", "adr {now}, .", "str {now}, [{block}, #{ended}]", "2:",
            now = out(reg) _, block = out(reg) _, since = out(reg) _, longest = out(reg) _,
            offset = const MASKED_SINCE_OFFSET, longest_offset = const LONGEST_MASKED_OFFSET,
            ended = const LONGEST_ENDED_OFFSET, options(nostack));
    }
}

/// Whether an interrupt is pending for this core (DDI 0487, ISR_EL1).
#[inline(always)]
fn interrupt_is_pending() -> bool {
    let pending: u64;
    // SAFETY: reads a register; not `nomem`, so that it stays where it stands.
    unsafe { asm!("mrs {}, isr_el1", out(reg) pending, options(nostack, preserves_flags)) };
    pending != 0
}

/// `DAIF.I`: IRQs are masked.
const MASKED: u64 = 1 << 7;
/// `DAIF.A`, and where `SPSR_EL2` keeps it: SErrors are masked.
pub const SERROR_MASKED: u64 = 1 << 8;

/// Interrupts are masked on this core while this lives, and are as before when it is dropped. The
/// stretch is measured.
///
/// Guards nest; they must be dropped in the reverse order of their making, which scopes do by
/// themselves.
#[must_use = "interrupts are unmasked again when the guard is dropped"]
pub struct Masked {
    daif: u64,
    /// Not `Send`: the guard belongs to the core it was made on.
    _here: PhantomData<*mut ()>,
}

impl Masked {
    /// Masks IRQ and FIQ on this core.
    #[inline(always)]
    pub fn new() -> Self {
        let daif = DAIF.get();
        // SAFETY: masking interrupts has no effect on memory; leaving `nomem` out makes it a
        // compiler barrier.
        unsafe { asm!("msr daifset, #3", options(nostack, preserves_flags)) };
        if daif & MASKED == 0 {
            begin_stretch();
        }
        Self { daif, _here: PhantomData }
    }
}

/// As [`Masked`], for a few instructions on a path so short that measuring would double it.
#[must_use = "interrupts are unmasked again when the guard is dropped"]
pub struct BrieflyMasked {
    daif: u64,
    /// Not `Send`: the guard belongs to the core it was made on.
    _here: PhantomData<*mut ()>,
}

impl BrieflyMasked {
    /// Masks IRQ and FIQ on this core.
    #[inline(always)]
    pub fn new() -> Self {
        let daif = DAIF.get();
        // SAFETY: masking interrupts has no effect on memory; leaving `nomem` out makes it a
        // compiler barrier.
        unsafe { asm!("msr daifset, #3", options(nostack, preserves_flags)) };
        Self { daif, _here: PhantomData }
    }
}

/// As [`Masked`], for work that asks every so often whether an interrupt waits: only between two
/// such looks are interrupts kept out, and this is what is measured.
#[must_use = "interrupts are unmasked again when the guard is dropped"]
pub struct MaskedInSteps(BrieflyMasked);

impl MaskedInSteps {
    /// Masks IRQ and FIQ on this core.
    #[inline(always)]
    pub fn new() -> Self {
        let this = Self(BrieflyMasked::new());
        if this.is_outermost() {
            begin_stretch();
        }
        this
    }

    /// Interrupts are unmasked when it is dropped; otherwise the stretch is somebody else's.
    #[inline(always)]
    fn is_outermost(&self) -> bool {
        self.0.daif & MASKED == 0
    }

    /// Whether an interrupt waits for the guard to be dropped. If none does, none has been kept out
    /// so far.
    #[inline(always)]
    pub fn interrupt_waits(&self) -> bool {
        let waits = interrupt_is_pending();
        if !waits && self.is_outermost() {
            begin_stretch_anew();
        }
        waits
    }
}

impl Drop for MaskedInSteps {
    #[inline(always)]
    fn drop(&mut self) {
        if self.is_outermost() {
            end_stretch();
        }
    }
}

impl Default for MaskedInSteps {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for BrieflyMasked {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for BrieflyMasked {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: puts back what `new` found; not `nomem`, so no access moves out of the scope.
        unsafe { asm!("msr daif, {0}", in(reg) self.daif, options(nostack, preserves_flags)) };
    }
}

impl Default for Masked {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Masked {
    #[inline(always)]
    fn drop(&mut self) {
        if self.daif & MASKED == 0 {
            end_stretch();
        }
        // SAFETY: puts back what `new` found; not `nomem`, so no access moves out of the scope.
        unsafe { asm!("msr daif, {0}", in(reg) self.daif, options(nostack, preserves_flags)) };
    }
}

/// Unmasks IRQ and FIQ on this core; SError and debug exceptions stay as they are.
pub fn unmask() {
    // Where nothing is masked there is no stretch, and an interrupt would come between its two
    // reads.
    if is_masked() {
        end_stretch();
    }
    // SAFETY: the caller runs on a stack that the vectors can use; not `nomem`: a compiler barrier.
    unsafe { asm!("msr daifclr, #3", options(nostack, preserves_flags)) };
}

/// Masks every exception class that can be masked, for good: the way into a stop.
pub fn mask_all() {
    // SAFETY: as in `Masked::new`.
    unsafe { asm!("msr daifset, #15", options(nostack, preserves_flags)) };
}

/// Whether IRQs are masked on this core.
pub fn is_masked() -> bool {
    DAIF.is_set(DAIF::I)
}

/// Unmasks SError, so that an external abort is reported when it happens.
pub fn unmask_serror() {
    // SAFETY: the vectors are in place and report it.
    unsafe { asm!("msr daifclr, #4", options(nostack, preserves_flags)) };
}

/// This core's affinity.
pub fn affinity() -> u64 {
    MPIDR_EL1.get() & AFFINITY_MASK
}

/// The word that this core keeps for its owner: the address of the per-core block.
#[inline(always)]
pub fn core_pointer() -> u64 {
    TPIDR_EL2.get()
}

/// Sets the word that [`core_pointer`] returns.
pub fn set_core_pointer(value: u64) {
    TPIDR_EL2.set(value);
}

/// This core's position among the cores, from 0, as its per-core block says it.
#[inline(always)]
pub fn core_index() -> usize {
    let place = core_pointer().wrapping_add(INDEX_OFFSET as u64) as *const AtomicUsize;
    // SAFETY: the per-core block holds the index at this place, and is never written again once
    // this core has claimed it; nobody asks before that.
    unsafe { &*place }.load(Ordering::Relaxed)
}

/// Waits for an interrupt, also with interrupts masked.
pub fn wait_for_interrupt() {
    aarch64_cpu::asm::wfi();
}

/// Stops this core for ever, with everything masked.
pub fn halt() -> ! {
    mask_all();
    loop {
        aarch64_cpu::asm::wfi();
    }
}
