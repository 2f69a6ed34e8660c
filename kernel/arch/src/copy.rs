//! `memcpy`, `memmove`, `memset`, `memcmp`: what compiled code calls for its copies, and the only users of SIMD
//! registers at EL2.
//!
//! Below [`SIMD_FROM`] bytes a copy moves general registers; from there on it saves q0-q3 on the stack (they may be
//! a guest's), moves 64 bytes with two instructions, the rest as 64 bytes that overlap, and puts them back. A copy that is preempted finds them in its task's
//! context. Instructions of a copy of n >= 256 bytes, counted from the listing: 22 to 31, and 10 for each 256 bytes.

use core::arch::global_asm;

/// Bytes from which a copy uses SIMD registers.
pub const SIMD_FROM: usize = 128;

global_asm!(
    r#"
    .arch_extension fp
    .arch_extension simd
    .section .text.copy, "ax"
    .balign 64
    .global memmove
memmove:
    sub     x3, x0, x1
    cmp     x3, x2
    b.lo    20f                     // the destination starts inside the source: from the end
    sub     x3, x1, x0
    cmp     x3, x2
    mov     x3, x0
    b.lo    1f                      // the source starts inside the destination: strictly in order
    .global memcpy
memcpy:
    mov     x3, x0
    cmp     x2, #{simd_from}
    b.hs    10f
    // Short: 16, 8, then single bytes.
1:  subs    x2, x2, #16
    b.lo    2f
    ldp     x4, x5, [x1], #16
    stp     x4, x5, [x3], #16
    b       1b
2:  add     x2, x2, #16
    tbz     x2, #3, 3f
    ldr     x4, [x1], #8
    str     x4, [x3], #8
3:  tbz     x2, #2, 4f
    ldr     w4, [x1], #4
    str     w4, [x3], #4
4:  tbz     x2, #1, 5f
    ldrh    w4, [x1], #2
    strh    w4, [x3], #2
5:  tbz     x2, #0, 6f
    ldrb    w4, [x1]
    strb    w4, [x3]
6:  ret
10: stp     q0, q1, [sp, #-64]!
    stp     q2, q3, [sp, #32]
    add     x4, x1, x2
    add     x5, x3, x2
    subs    x2, x2, #256
    b.lo    12f
11: ld1     {{v0.16b - v3.16b}}, [x1], #64
    st1     {{v0.16b - v3.16b}}, [x3], #64
    ld1     {{v0.16b - v3.16b}}, [x1], #64
    st1     {{v0.16b - v3.16b}}, [x3], #64
    ld1     {{v0.16b - v3.16b}}, [x1], #64
    st1     {{v0.16b - v3.16b}}, [x3], #64
    ld1     {{v0.16b - v3.16b}}, [x1], #64
    st1     {{v0.16b - v3.16b}}, [x3], #64
    subs    x2, x2, #256
    b.hs    11b
12: tbz     x2, #7, 13f             // what is left below 256, counted by its bits
    ld1     {{v0.16b - v3.16b}}, [x1], #64
    st1     {{v0.16b - v3.16b}}, [x3], #64
    ld1     {{v0.16b - v3.16b}}, [x1], #64
    st1     {{v0.16b - v3.16b}}, [x3], #64
13: tbz     x2, #6, 14f
    ld1     {{v0.16b - v3.16b}}, [x1]
    st1     {{v0.16b - v3.16b}}, [x3]
14: tst     x2, #63
    b.eq    15f
    sub     x4, x4, #64             // the rest as the last 64 bytes, some of them once more
    sub     x5, x5, #64
    ld1     {{v0.16b - v3.16b}}, [x4]
    st1     {{v0.16b - v3.16b}}, [x5]
15: ldp     q2, q3, [sp, #32]
    ldp     q0, q1, [sp], #64
    ret
20: // From the end, for overlapping moves; x2 > 0 here.
    add     x1, x1, x2
    add     x3, x0, x2
21: subs    x2, x2, #16
    b.lo    22f
    ldp     x4, x5, [x1, #-16]!
    stp     x4, x5, [x3, #-16]!
    b       21b
22: add     x2, x2, #16
23: cbz     x2, 24f
    ldrb    w4, [x1, #-1]!
    strb    w4, [x3, #-1]!
    sub     x2, x2, #1
    b       23b
24: ret

    .balign 64
    .global memset
memset:
    and     x1, x1, #0xff
    mov     x4, #0x0101010101010101
    mul     x1, x1, x4
    mov     x3, x0
30: subs    x2, x2, #64
    b.lo    31f
    stp     x1, x1, [x3], #16
    stp     x1, x1, [x3], #16
    stp     x1, x1, [x3], #16
    stp     x1, x1, [x3], #16
    b       30b
31: add     x2, x2, #64
32: subs    x2, x2, #8
    b.lo    33f
    str     x1, [x3], #8
    b       32b
33: add     x2, x2, #8
34: cbz     x2, 35f
    strb    w1, [x3], #1
    sub     x2, x2, #1
    b       34b
35: ret

    .balign 64
    .global bcmp
bcmp:
    .global memcmp
memcmp:
40: subs    x2, x2, #8
    b.lo    42f
    ldr     x3, [x0], #8
    ldr     x4, [x1], #8
    cmp     x3, x4
    b.eq    40b
    // The first differing byte decides: compare as big-endian numbers.
    rev     x3, x3
    rev     x4, x4
    cmp     x3, x4
    mov     w0, #1
    cneg    w0, w0, lo
    ret
42: add     x2, x2, #8
43: cbz     x2, 44f
    ldrb    w3, [x0], #1
    ldrb    w4, [x1], #1
    sub     x2, x2, #1
    subs    w3, w3, w4
    b.eq    43b
    mov     w0, w3
    ret
44: mov     w0, #0
    ret
    .arch_extension nosimd
    .arch_extension nofp
    "#,
    simd_from = const SIMD_FROM,
);
