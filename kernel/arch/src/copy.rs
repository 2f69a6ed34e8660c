//! `memcpy`, `memmove`, `memset`, `memcmp`: what compiled code calls for its copies, and the only
//! users of SIMD registers at EL2.
//!
//! A length that is no multiple of the step is finished by one more step that ends where the range
//! ends and overlaps the one before. Below [`SIMD_FROM`] bytes a copy moves two to eight general
//! registers, all loaded before the first is stored. From there on it saves q0-q3 on the stack
//! (they may be a guest's), moves 64 bytes with two instructions, and puts them back. A copy that
//! is preempted finds them in its task's context.
//!
//! Instructions of a copy of n >= 64 bytes, counted: 18 + 10 (m / 256) + 4 (m / 128 % 2) + 2 (m /
//! 64 % 2), where m = n - 1: 90 for 1870 bytes, 174 for a page, at any alignment; of a shorter one:
//! 17 at most.
//!
//! [`is_zero`] looks at a whole page in 353.
//!
//! Before the MMU is on, all memory is device memory, where an access must be aligned to the size
//! of its elements: the SIMD accesses here have elements of one byte, the others of eight, four,
//! two. There, a copy or a fill works if both addresses and the length are multiples of eight.

use core::arch::global_asm;

/// Bytes from which a copy uses SIMD registers.
pub const SIMD_FROM: usize = 64;

global_asm!(
    r#"
    .arch_extension fp
    .arch_extension simd
    .section .text.copy, "ax"
    .balign 64
    .global memmove
memmove:
    cmp     x2, #{simd_from}
    b.lo    5f
    sub     x3, x0, x1
    cmp     x3, x2
    b.lo    30f                     // the destination starts inside the source: from the end
    sub     x3, x1, x0
    cmp     x3, x2
    b.lo    20f                     // the source starts inside the destination
    b       10f
    .global memcpy
memcpy:
    cmp     x2, #{simd_from}
    b.hs    10f
5:  add     x3, x1, x2
    add     x16, x0, x2
    cmp     x2, #16
    b.lo    7f
    cmp     x2, #32
    b.hi    6f
    ldp     x4, x5, [x1]
    ldp     x6, x7, [x3, #-16]
    stp     x4, x5, [x0]
    stp     x6, x7, [x16, #-16]
    ret
6:  ldp     x4, x5, [x1]
    ldp     x6, x7, [x1, #16]
    ldp     x8, x9, [x3, #-32]
    ldp     x10, x11, [x3, #-16]
    stp     x4, x5, [x0]
    stp     x6, x7, [x0, #16]
    stp     x8, x9, [x16, #-32]
    stp     x10, x11, [x16, #-16]
    ret
7:  tbz     x2, #3, 8f
    ldr     x4, [x1]
    ldur    x5, [x3, #-8]
    str     x4, [x0]
    stur    x5, [x16, #-8]
    ret
8:  tbz     x2, #2, 9f
    ldr     w4, [x1]
    ldur    w5, [x3, #-4]
    str     w4, [x0]
    stur    w5, [x16, #-4]
    ret
9:  cbz     x2, 4f
    ldrb    w4, [x1]
    tbz     x2, #1, 3f
    ldurh   w5, [x3, #-2]
    sturh   w5, [x16, #-2]
3:  strb    w4, [x0]
4:  ret

10: stp     q0, q1, [sp, #-64]!
    stp     q2, q3, [sp, #32]
    sub     x5, x2, #64
    add     x4, x1, x5              // the last 64 bytes
    add     x5, x0, x5
    mov     x3, x0
    sub     x2, x2, #1              // what comes before the last step: a multiple of 64
    subs    x2, x2, #256
    b.lo    12f
11: ld1     {{v0.16b-v3.16b}}, [x1], #64
    st1     {{v0.16b-v3.16b}}, [x3], #64
    ld1     {{v0.16b-v3.16b}}, [x1], #64
    st1     {{v0.16b-v3.16b}}, [x3], #64
    ld1     {{v0.16b-v3.16b}}, [x1], #64
    st1     {{v0.16b-v3.16b}}, [x3], #64
    ld1     {{v0.16b-v3.16b}}, [x1], #64
    st1     {{v0.16b-v3.16b}}, [x3], #64
    subs    x2, x2, #256
    b.hs    11b
12: tbz     x2, #7, 13f
    ld1     {{v0.16b-v3.16b}}, [x1], #64
    st1     {{v0.16b-v3.16b}}, [x3], #64
    ld1     {{v0.16b-v3.16b}}, [x1], #64
    st1     {{v0.16b-v3.16b}}, [x3], #64
13: tbz     x2, #6, 14f
    ld1     {{v0.16b-v3.16b}}, [x1], #64
    st1     {{v0.16b-v3.16b}}, [x3], #64
14: ld1     {{v0.16b-v3.16b}}, [x4]
    st1     {{v0.16b-v3.16b}}, [x5]
15: ldp     q2, q3, [sp, #32]
    ldp     q0, q1, [sp], #64
    ret

20: // Forwards; the last 64 bytes are loaded before any is overwritten.
    stp     q0, q1, [sp, #-64]!
    stp     q2, q3, [sp, #32]
    add     x16, x1, x2
    add     x17, x0, x2
    ldp     x4, x5, [x16, #-64]
    ldp     x6, x7, [x16, #-48]
    ldp     x8, x9, [x16, #-32]
    ldp     x10, x11, [x16, #-16]
    mov     x3, x0
    sub     x2, x2, #1
    subs    x2, x2, #64
    b.lo    22f
21: ld1     {{v0.16b-v3.16b}}, [x1], #64
    st1     {{v0.16b-v3.16b}}, [x3], #64
    subs    x2, x2, #64
    b.hs    21b
22: stp     x4, x5, [x17, #-64]
    stp     x6, x7, [x17, #-48]
    stp     x8, x9, [x17, #-32]
    stp     x10, x11, [x17, #-16]
    b       15b

30: // Backwards; the first 64 bytes are loaded before any is overwritten.
    stp     q0, q1, [sp, #-64]!
    stp     q2, q3, [sp, #32]
    ldp     x4, x5, [x1]
    ldp     x6, x7, [x1, #16]
    ldp     x8, x9, [x1, #32]
    ldp     x10, x11, [x1, #48]
    mov     x12, #-64
    add     x1, x1, x2
    add     x3, x0, x2
    sub     x1, x1, #64
    sub     x3, x3, #64
    sub     x2, x2, #1
    subs    x2, x2, #64
    b.lo    32f
31: ld1     {{v0.16b-v3.16b}}, [x1], x12
    st1     {{v0.16b-v3.16b}}, [x3], x12
    subs    x2, x2, #64
    b.hs    31b
32: stp     x4, x5, [x0]
    stp     x6, x7, [x0, #16]
    stp     x8, x9, [x0, #32]
    stp     x10, x11, [x0, #48]
    b       15b

    .balign 64
    .global memset
memset:
    cmp     x2, #{simd_from}
    b.hs    44f
    and     x1, x1, #0xff
    mov     x4, #0x0101010101010101
    mul     x1, x1, x4
    add     x3, x0, x2
    cmp     x2, #16
    b.lo    41f
    stp     x1, x1, [x0]
    cmp     x2, #32
    b.ls    40f
    stp     x1, x1, [x0, #16]
    stp     x1, x1, [x3, #-32]
40: stp     x1, x1, [x3, #-16]
    ret
41: tbz     x2, #3, 42f
    str     x1, [x0]
    stur    x1, [x3, #-8]
    ret
42: tbz     x2, #2, 43f
    str     w1, [x0]
    stur    w1, [x3, #-4]
    ret
43: cbz     x2, 4b
    strb    w1, [x0]
    tbz     x2, #1, 4b
    sturh   w1, [x3, #-2]
    ret
44: stp     q0, q1, [sp, #-64]!
    stp     q2, q3, [sp, #32]
    dup     v0.16b, w1
    mov     v1.16b, v0.16b
    mov     v2.16b, v0.16b
    mov     v3.16b, v0.16b
    add     x5, x0, x2
    sub     x5, x5, #64             // the last 64 bytes
    mov     x3, x0
    sub     x2, x2, #1
    subs    x2, x2, #256
    b.lo    46f
45: st1     {{v0.16b-v3.16b}}, [x3], #64
    st1     {{v0.16b-v3.16b}}, [x3], #64
    st1     {{v0.16b-v3.16b}}, [x3], #64
    st1     {{v0.16b-v3.16b}}, [x3], #64
    subs    x2, x2, #256
    b.hs    45b
46: tbz     x2, #7, 47f
    st1     {{v0.16b-v3.16b}}, [x3], #64
    st1     {{v0.16b-v3.16b}}, [x3], #64
47: tbz     x2, #6, 48f
    st1     {{v0.16b-v3.16b}}, [x3], #64
48: st1     {{v0.16b-v3.16b}}, [x5]
    b       15b

    .balign 64
    .global bale_is_zero_page
bale_is_zero_page:                  // of 4096 bytes: 16, and 85 times 48
    stp     q0, q1, [sp, #-64]!
    stp     q2, q3, [sp, #32]
    ldr     q0, [x0], #16
    .rept   85
    ld1     {{v1.16b-v3.16b}}, [x0], #48
    orr     v0.16b, v0.16b, v1.16b
    orr     v2.16b, v2.16b, v3.16b
    orr     v0.16b, v0.16b, v2.16b
    .endr
    mov     x3, v0.d[0]
    mov     x4, v0.d[1]
    orr     x3, x3, x4
    cmp     x3, #0
    cset    w0, eq
    ldp     q2, q3, [sp, #32]
    ldp     q0, q1, [sp], #64
    ret

    .balign 64
    .global bcmp
bcmp:
    .global memcmp
memcmp:
    subs    x2, x2, #16
    b.lo    53f
    add     x7, x0, x2              // the last 16 bytes
    add     x8, x1, x2
    b.eq    51f
50: ldp     x3, x4, [x0], #16
    ldp     x5, x6, [x1], #16
    cmp     x3, x5
    ccmp    x4, x6, #0, eq
    b.ne    52f
    subs    x2, x2, #16
    b.hi    50b
51: ldp     x3, x4, [x7]
    ldp     x5, x6, [x8]
    cmp     x3, x5
    ccmp    x4, x6, #0, eq
    b.eq    57f
52: cmp     x3, x5
    csel    x3, x3, x4, ne
    csel    x5, x5, x6, ne
    // The first differing byte decides: compare as big-endian numbers.
54: rev     x3, x3
    rev     x5, x5
    cmp     x3, x5
    mov     w0, #1
    cneg    w0, w0, lo
    ret
53: tbz     x2, #3, 55f             // the low bits are those of the length
    add     x2, x2, #8
    ldr     x3, [x0]
    ldr     x5, [x1]
    cmp     x3, x5
    b.ne    54b
    ldr     x3, [x0, x2]            // the last 8 bytes
    ldr     x5, [x1, x2]
    cmp     x3, x5
    b.ne    54b
    b       57f
55: ands    x2, x2, #7
    b.eq    57f
56: ldrb    w3, [x0], #1
    ldrb    w4, [x1], #1
    subs    w3, w3, w4
    b.ne    58f
    subs    x2, x2, #1
    b.ne    56b
57: mov     w0, #0
    ret
58: mov     w0, w3
    ret
    .arch_extension nosimd
    .arch_extension nofp
    "#,
    simd_from = const SIMD_FROM,
);

unsafe extern "C" {
    fn bale_is_zero_page(page: *const u8) -> bool;
}

/// Whether a page is all zeros: 353 instructions, whether it is or not.
#[inline]
pub fn is_zero(page: &[u8; 4096]) -> bool {
    // SAFETY: the routine reads the 4096 bytes, and puts back the registers that it uses.
    unsafe { bale_is_zero_page(page.as_ptr()) }
}
