//! The Image header and the code before Rust.
//!
//! The header is that of Linux, Documentation/arch/arm64/booting.rst: `text_offset`
//! 0, flags "little endian, 4 KiB pages, anywhere in memory". `image_size` is the
//! memory that must be free for the image; the image builder writes there the
//! length with the archive.

#![expect(unsafe_code, reason = "entered from firmware")]

use core::arch::global_asm;

use capelin_boot::BootError;

use crate::translation::Image;
use crate::{report, translation};

global_asm!(
    ".pushsection .capelin.image_header, \"ax\"",
    ".globl _start",
    "_start:",
    "    b       1f",
    "    .word   0",
    "    .quad   0",             // text_offset
    "    .quad   __image_bytes", // image_size
    "    .quad   0xa",           // flags
    "    .quad   0, 0, 0",
    "    .ascii  \"ARM\\x64\"",
    "    .word   0",
    // x0 = device tree. Kept in x19–x21 on the way: tree, counter, image base.
    "1:  msr     daifset, #0xf",
    "    mrs     x20, cntvct_el0",
    "    mov     x19, x0",
    "    adr     x21, _start",
    // Vectors first. At EL1 nothing that firmware left may change what the tables mean.
    "    adrp    x1, boot_vectors",
    "    add     x1, x1, :lo12:boot_vectors",
    "    mrs     x2, CurrentEL",
    "    cmp     x2, #(2 << 2)",
    "    b.eq    7f",
    "    msr     vbar_el1, x1",
    "    isb",
    "    bl      capelin_reset_el1",
    "    b       8f",
    "7:  msr     vbar_el2, x1",
    "    isb",
    // Before anything is written past the caches: they may hold the image, too.
    "8:  mov     x0, x21",
    "    adrp    x1, __heap_start",
    "    add     x1, x1, :lo12:__heap_start",
    "    bl      capelin_write_back_lines",
    // Linked at 0: each record's word becomes its addend plus our base.
    "    adrp    x1, __rela_start",
    "    add     x1, x1, :lo12:__rela_start",
    "    adrp    x2, __rela_end",
    "    add     x2, x2, :lo12:__rela_end",
    "2:  cmp     x1, x2",
    "    b.hs    4f",
    "    ldp     x3, x4, [x1], #16", // offset, type
    "    ldr     x5, [x1], #8",      // addend
    "    cmp     x4, #1027",         // R_AARCH64_RELATIVE
    "    b.ne    3f",
    "    add     x5, x5, x21",
    "    str     x5, [x3, x21]",
    "    b       2b",
    // A record of another type would be a mistake of the build.
    "3:  wfi",
    "    b       3b",
    "4:  adrp    x1, __zero_start",
    "    add     x1, x1, :lo12:__zero_start",
    "    adrp    x2, __zero_end",
    "    add     x2, x2, :lo12:__zero_end",
    "5:  cmp     x1, x2",
    "    b.hs    6f",
    "    stp     xzr, xzr, [x1], #16",
    "    b       5b",
    "6:  adrp    x1, __stack_top",
    "    add     x1, x1, :lo12:__stack_top",
    "    mov     sp, x1",
    "    adrp    x1, __image_end",
    "    add     x1, x1, :lo12:__image_end",
    "    adrp    x2, __heap_start",
    "    add     x2, x2, :lo12:__heap_start",
    "    stp     x2, x1, [sp, #-16]!", // `Image`, on the stack
    "    adrp    x1, __constants_start",
    "    add     x1, x1, :lo12:__constants_start",
    "    adrp    x2, __data_start",
    "    add     x2, x2, :lo12:__data_start",
    "    stp     x1, x2, [sp, #-16]!",
    "    stp     xzr, x21, [sp, #-16]!",
    "    mov     x0, x19",
    "    mov     x1, x20",
    "    add     x2, sp, #8",
    "    mov     x29, xzr",
    "    mov     x30, xzr",
    "    bl      boot_main",
    "9:  wfi",
    "    b       9b",
    ".popsection",
    // Arm ARM D1.3.1: sixteen vectors of 128 bytes. All mean the same here.
    ".pushsection .text.boot_vectors, \"ax\"",
    ".balign 2048",
    "boot_vectors:",
    ".rept 16",
    ".balign 128",
    "    b       boot_exception_entry",
    ".endr",
    "boot_exception_entry:",
    "    adrp    x9, __stack_top",
    "    add     x9, x9, :lo12:__stack_top",
    "    mov     sp, x9",
    "    mrs     x9, CurrentEL",
    "    cmp     x9, #(2 << 2)",
    "    b.eq    1f",
    "    mrs     x0, esr_el1",
    "    mrs     x1, elr_el1",
    "    mrs     x2, far_el1",
    "    b       boot_exception",
    "1:  mrs     x0, esr_el2",
    "    mrs     x1, elr_el2",
    "    mrs     x2, far_el2",
    "    b       boot_exception",
    ".popsection",
);

/// From the entry code: physical address of the device tree, the counter at entry, and
/// where the image is.
#[unsafe(no_mangle)]
extern "C" fn boot_main(device_tree: u64, entry_ticks: u64, image: &Image) -> ! {
    // SAFETY: firmware enters us with MMU and data caches off, and the entry code passes
    // what the linker said (1); it has written back and dropped the lines (2).
    let error = match unsafe { translation::begin(image) } {
        Ok(()) => crate::run::main(device_tree, entry_ticks, image),
        Err(error) => error,
    };
    report::give_up(&error)
}

/// From the exception vectors. A second exception on the way is for ever silent.
#[unsafe(no_mangle)]
extern "C" fn boot_exception(syndrome: u64, address: u64, fault: u64) -> ! {
    report::give_up(&BootError::Exception {
        syndrome,
        address,
        fault,
    })
}
