//! First instructions, a flat map of everything, and vectors that end the guest.
//!
//! The image starts with the arm64 boot protocol's header and relocates itself. The map has one
//! gigabyte block for each of the first eight gigabytes, all normal memory: what a guest has is
//! stage 2's business. The MMU is on because with it off unaligned accesses, which compiled code
//! makes, would fault.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use crate::call;

/// Status of a guest that took an exception of its own.
const OWN_EXCEPTION: u64 = 103;

/// A static that the one thread of the guest borrows once.
pub(crate) struct Static<T>(UnsafeCell<T>, AtomicBool);

// SAFETY: a guest has one thread, and `borrow` hands the value out once.
unsafe impl<T> Sync for Static<T> {}

impl<T> Static<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value), AtomicBool::new(false))
    }

    /// The value; a second call ends the guest.
    #[expect(clippy::mut_from_ref, reason = "handed out once")]
    pub(crate) fn borrow(&'static self) -> &'static mut T {
        if self.1.swap(true, Ordering::Relaxed) {
            call::exit(OWN_EXCEPTION);
        }
        // SAFETY: handed out this once.
        unsafe { &mut *self.0.get() }
    }
}

static EXPECTED: AtomicBool = AtomicBool::new(false);
static SEEN: AtomicBool = AtomicBool::new(false);

/// An undefined instruction comes next: skip it.
pub(crate) fn expect_undefined() {
    SEEN.store(false, Ordering::Relaxed);
    EXPECTED.store(true, Ordering::Relaxed);
}

/// Whether it came.
pub(crate) fn saw_undefined() -> bool {
    SEEN.load(Ordering::Relaxed)
}

static SKIPPING: AtomicBool = AtomicBool::new(false);

/// From now on every exception of our own is skipped.
pub(crate) fn skip_everything() {
    SKIPPING.store(true, Ordering::Relaxed);
}

/// Answers an exception with how many bytes to skip; `None` for one that is not its own.
pub(crate) type Handler = fn(u64) -> Option<u64>;

/// A [`Handler`]; null for none.
static HANDLER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// From now on every exception is shown to this handler first.
pub(crate) fn handle_by(handler: Handler) {
    HANDLER.store(handler as *mut (), Ordering::Relaxed);
}

/// What the handler says, if there is one.
fn handled(syndrome: u64) -> Option<u64> {
    let handler = HANDLER.load(Ordering::Relaxed);
    if handler.is_null() {
        return None;
    }
    // SAFETY: not null, so it is what `handle_by` stored: a function of this type.
    let handler = unsafe { core::mem::transmute::<*mut (), Handler>(handler) };
    handler(syndrome)
}

/// Where another virtual CPU begins, with the end of its stack in x0.
pub(crate) fn secondary_address() -> u64 {
    unsafe extern "C" {
        safe static guest_secondary_entry: u8;
    }
    (&raw const guest_secondary_entry) as u64
}

/// Address of the level 1 table.
pub(crate) fn table_address() -> u64 {
    GUEST_TABLE.0.get() as u64
}

/// From the vectors: returns how many bytes to skip, or ends the guest.
#[unsafe(no_mangle)]
extern "C" fn guest_exception(syndrome: u64) -> u64 {
    if SKIPPING.load(Ordering::Relaxed) {
        // Of whatever kind.
        if EXPECTED.swap(false, Ordering::Relaxed) {
            SEEN.store(true, Ordering::Relaxed);
        }
        return 4;
    }
    if let Some(bytes) = handled(syndrome) {
        return bytes;
    }
    let undefined = syndrome >> 26 == 0;
    if undefined && EXPECTED.swap(false, Ordering::Relaxed) {
        SEEN.store(true, Ordering::Relaxed);
        return 4;
    }
    call::print("guest: an exception of my own\n");
    call::exit(OWN_EXCEPTION)
}

/// Level 1 table of the flat map; the entry code fills it.
#[repr(C, align(4096))]
struct Table(UnsafeCell<[u64; 512]>);

// SAFETY: the entry code writes it before the MMU is on; only the MMU reads it afterwards.
unsafe impl Sync for Table {}

#[unsafe(no_mangle)]
static GUEST_TABLE: Table = Table(UnsafeCell::new([0; 512]));

/// The stack.
#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; 16384]>);

// SAFETY: used through the stack pointer only.
unsafe impl Sync for Stack {}

#[unsafe(no_mangle)]
static GUEST_STACK: Stack = Stack(UnsafeCell::new([0; 16384]));

global_asm!(
    r#"
    .section .head.text, "ax"
    .global guest_header
guest_header:
    b       guest_entry
    .word   0
    .quad   0                       // text_offset
    .quad   __image_size
    .quad   0xa                     // little-endian, 4 KiB pages, anywhere
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .word   0

    .text
guest_entry:
    mov     x19, x0
    adrp    x20, __image_start
    add     x20, x20, :lo12:__image_start
    adrp    x1, __rela_start
    add     x1, x1, :lo12:__rela_start
    adrp    x2, __rela_end
    add     x2, x2, :lo12:__rela_end
1:  cmp     x1, x2
    b.hs    2f
    ldp     x3, x4, [x1]
    ldr     x5, [x1, #16]
    add     x1, x1, #24
    cmp     w4, #0x403              // R_AARCH64_RELATIVE
    b.ne    1b
    add     x5, x5, x20
    str     x5, [x20, x3]
    b       1b
2:  adrp    x1, __bss_start
    add     x1, x1, :lo12:__bss_start
    adrp    x2, __bss_end
    add     x2, x2, :lo12:__bss_end
3:  cmp     x1, x2
    b.hs    4f
    stp     xzr, xzr, [x1], #16
    b       3b
    // Eight blocks of a gigabyte: valid, attribute 0 (normal), inner shareable, accessed.
4:  adrp    x1, GUEST_TABLE
    add     x1, x1, :lo12:GUEST_TABLE
    mov     x2, #0x701
    mov     x3, #8
    mov     x4, x1
    mov     x5, #0x40000000
5:  str     x2, [x4], #8
    add     x2, x2, x5
    subs    x3, x3, #1
    b.ne    5b
    bl      guest_mmu_on
    adrp    x1, GUEST_STACK
    add     x1, x1, :lo12:GUEST_STACK
    add     sp, x1, #16384
    mov     x0, x19
    mov     x29, xzr
    mov     x30, xzr
    bl      guest_main
6:  b       6b

    .global guest_secondary_entry
guest_secondary_entry:
    mov     x19, x0
    adrp    x1, GUEST_TABLE
    add     x1, x1, :lo12:GUEST_TABLE
    bl      guest_mmu_on
    mov     sp, x19
    mov     x0, x19
    mov     x29, xzr
    mov     x30, xzr
    bl      guest_secondary_main
7:  b       7b

guest_mmu_on:
    dsb     sy
    mov     x2, #0xff               // attribute 0: normal, write-back
    msr     mair_el1, x2
    // T0SZ = 25 (39 bits), walks write-back and inner shareable, EPD1, 4 KiB, 40-bit physical
    // addresses.
    mov     x2, #0x3519
    movk    x2, #0x0080, lsl #16
    movk    x2, #0x2, lsl #32
    msr     tcr_el1, x2
    msr     ttbr0_el1, x1
    adrp    x2, guest_vectors
    add     x2, x2, :lo12:guest_vectors
    msr     vbar_el1, x2
    tlbi    vmalle1
    dsb     nsh
    isb
    mrs     x2, sctlr_el1
    mov     x3, #0x1005             // M, C, I
    orr     x2, x2, x3
    msr     sctlr_el1, x2
    isb
    ret

    .macro vector
    .balign 128
    b       guest_vector
    .endm
    .balign 2048
guest_vectors:
    .rept 5
    vector
    .endr
    .balign 128
    b       guest_interrupt         // from this exception level with its own stack pointer
    .rept 10
    vector
    .endr

    // Notes time and number of the interrupt for this virtual CPU, and ends it; the timer, whose
    // line stays up, is stopped.
guest_interrupt:
    stp     x0, x1, [sp, #-32]!
    mrs     x0, cntvct_el0
    str     x2, [sp, #16]
    mrs     x2, mpidr_el1
    and     x2, x2, #0xff
    adrp    x1, GUEST_TAKEN
    add     x1, x1, :lo12:GUEST_TAKEN
    add     x1, x1, x2, lsl #4
    str     x0, [x1]
    mrs     x0, icc_iar1_el1
    cmp     x0, #27
    b.ne    8f
    msr     cntv_ctl_el0, xzr
    isb
8:  msr     icc_eoir1_el1, x0
    str     x0, [x1, #8]
    ldr     x2, [sp, #16]
    ldp     x0, x1, [sp], #32
    eret

guest_vector:
    sub     sp, sp, #192
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x30, [sp, #144]
    mrs     x0, esr_el1
    bl      guest_exception
    mrs     x1, elr_el1
    add     x1, x1, x0
    msr     elr_el1, x1
    ldp     x18, x30, [sp, #144]
    ldp     x16, x17, [sp, #128]
    ldp     x14, x15, [sp, #112]
    ldp     x12, x13, [sp, #96]
    ldp     x10, x11, [sp, #80]
    ldp     x8, x9, [sp, #64]
    ldp     x6, x7, [sp, #48]
    ldp     x4, x5, [sp, #32]
    ldp     x2, x3, [sp, #16]
    ldp     x0, x1, [sp]
    add     sp, sp, #192
    eret
    "#
);
