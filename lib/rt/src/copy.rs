//! `memcpy`, which the compiler calls for whatever it moves and doesn't keep in registers.
//!
//! The one that comes with the compiler makes no unaligned access, since the target promises none
//! that early code (MMU off) can't make. So it shifts words together where source and target aren't
//! aligned alike, as they mostly aren't for the payload of an enum: 285 instructions for 92 bytes.
//! A program runs with the MMU on and `SCTLR_EL1.A` clear, and moves Rust's values in ordinary
//! memory alone (what is device memory is reached by volatile accesses of its own), where
//! an access of any alignment is one (Arm ARM, "Alignment of data accesses"). So this one takes 92 bytes with 25
//! instructions:
//!
//! | bytes | how |
//! | --- | --- |
//! | 0 – 16 | by the largest unit that fits, from the start and up to the end: they overlap |
//! | 17 – 64 | one or two pairs of words from the start, as many up to the end |
//! | more | 32 at a time; the last 32 up to the end |
//!
//! The definition is strong, and the compiler's own weak. Tested by `tests/runtime`
//! (`rt_copies`), for every length and alignment that make a difference.
#![expect(unsafe_code, reason = "defines a symbol by its name")]

use core::arch::global_asm;

global_asm!(
    ".section .text.memcpy, \"ax\", %progbits",
    ".global memcpy",
    ".type memcpy, %function",
    ".balign 16",
    // x0 target, kept and returned; x1 source; x2 bytes. x4 and x5: the ends of both.
    "memcpy:",
    "    add x4, x1, x2",
    "    add x5, x0, x2",
    "    cmp x2, #16",
    "    b.ls 2f",
    "    ldp x6, x7, [x1]",
    "    ldp x8, x9, [x4, #-16]",
    "    cmp x2, #32",
    "    b.hi 1f",
    "    stp x6, x7, [x0]",
    "    stp x8, x9, [x5, #-16]",
    "    ret",
    // More than 32.
    "1:  ldp x10, x11, [x1, #16]",
    "    ldp x12, x13, [x4, #-32]",
    "    stp x6, x7, [x0]",
    "    stp x10, x11, [x0, #16]",
    "    sub x2, x2, #64",
    "    mov x3, x0",
    "    cmp x2, #0",
    "    b.le 4f",
    // x2: what lies between the first 32 and the last 32.
    "3:  ldp x6, x7, [x1, #32]!",
    "    ldp x10, x11, [x1, #16]",
    "    stp x6, x7, [x3, #32]!",
    "    stp x10, x11, [x3, #16]",
    "    subs x2, x2, #32",
    "    b.gt 3b",
    "4:  stp x12, x13, [x5, #-32]",
    "    stp x8, x9, [x5, #-16]",
    "    ret",
    // At most 16.
    "2:  cmp x2, #8",
    "    b.lo 5f",
    "    ldr x6, [x1]",
    "    ldr x7, [x4, #-8]",
    "    str x6, [x0]",
    "    str x7, [x5, #-8]",
    "    ret",
    "5:  tbz x2, #2, 6f",
    "    ldr w6, [x1]",
    "    ldr w7, [x4, #-4]",
    "    str w6, [x0]",
    "    str w7, [x5, #-4]",
    "    ret",
    "6:  cbz x2, 7f",
    "    ldrb w6, [x1]",
    "    tbz x2, #1, 8f",
    "    ldrh w7, [x4, #-2]",
    "    strh w7, [x5, #-2]",
    "8:  strb w6, [x0]",
    "7:  ret",
    ".size memcpy, . - memcpy",
);
