//! The Image header and the code before Rust.
//!
//! The header is that of Linux, Documentation/arch/arm64/booting.rst: `text_offset`
//! 0, flags "little endian, 4 KiB pages, anywhere in memory". `image_size` is the
//! memory that must be free for the image; the image builder writes there the
//! length with the archive.

#![expect(unsafe_code, reason = "entered from firmware")]

use core::arch::global_asm;

use capelin_boot::BootError;

use crate::report;

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
    "    adrp    x1, boot_vectors",
    "    add     x1, x1, :lo12:boot_vectors",
    "    mrs     x2, CurrentEL",
    "    cmp     x2, #(2 << 2)",
    "    b.eq    7f",
    "    msr     vbar_el1, x1",
    "    b       8f",
    "7:  msr     vbar_el2, x1",
    "8:  isb",
    "    mov     x0, x19",
    "    mov     x1, x20",
    "    mov     x2, x21",
    "    adrp    x3, __image_end",
    "    add     x3, x3, :lo12:__image_end",
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

/// From the entry code: physical addresses of device tree and image, and the
/// counter at entry.
#[unsafe(no_mangle)]
extern "C" fn boot_main(device_tree: u64, entry_ticks: u64, image: u64, image_end: u64) -> ! {
    let error = crate::run::main(device_tree, entry_ticks, image, image_end);
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

/// Enters the CPU driver at `home`, with x0 = `home`, at the exception level we
/// are at, MMU off.
///
/// # Safety
/// 1. `home` holds a CPU driver and its arguments, clean to the point of coherency,
///    and instruction fetches there see it.
pub(crate) unsafe fn enter(home: u64) -> ! {
    // SAFETY: there is a CPU driver (1), which never returns.
    unsafe {
        core::arch::asm!(
            "dsb sy",
            "isb",
            "br x0",
            in("x0") home,
            options(noreturn)
        )
    }
}
