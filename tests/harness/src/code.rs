//! What children run when Rust can't say it: one routine a misdeed, and position-independent
//! programs that are copied into address spaces of their own.
#![cfg_attr(
    target_os = "none",
    expect(unsafe_code, reason = "declares routines written in assembly")
)]

#[cfg(target_os = "none")]
mod imp {
    use core::arch::global_asm;

    global_asm!(
        ".section .text.guest_code, \"ax\", %progbits",
        // x0 = address.
        ".global code_read",
        "code_read: ldr x0, [x0]",
        "    ret",
        ".global code_write",
        "code_write: str x0, [x0]",
        "    ret",
        ".global code_jump",
        "code_jump: br x0",
        ".global code_breakpoint",
        "code_breakpoint: brk #77",
        "    ret",
        ".global code_undefined",
        "code_undefined: udf #5",
        "    ret",
        ".global code_fp",
        "code_fp:",
        ".arch_extension fp",
        "    fmov d0, x0",
        ".arch_extension nofp",
        "    ret",
        // Grows its stack down until it hits something.
        ".global code_overflow",
        "code_overflow: sub sp, sp, #256",
        "    stp x0, x0, [sp]",
        "    b code_overflow",
        ".global code_bad_stack",
        "code_bad_stack: mov x9, #8",
        "    mov sp, x9",
        "    ldr x0, [sp]",
        "    ret",
        ".global code_privileged",
        "code_privileged: msr daifset, #2",
        "    mrs x0, sctlr_el1",
        "    ret",
        // Encodings, since the target has none of these extensions.
        ".global code_sve",
        "code_sve: .inst 0x04bf5020",       // rdvl x0, #1
        "    ret",
        ".global code_sme",
        "code_sme: .inst 0xd503477f",       // smstart
        "    ret",
        ".global code_event_counter",
        "code_event_counter: mrs x0, pmccntr_el0",
        "    ret",
        ".global code_activity_monitor",
        "code_activity_monitor: mrs x0, S3_3_C13_C4_0", // AMEVCNTR00_EL0
        "    ret",
        ".global code_context_number",
        "code_context_number: mrs x0, S3_3_C13_C0_7", // SCXTNUM_EL0
        "    ret",
        ".global code_second_thread_register",
        "code_second_thread_register: mrs x0, S3_3_C13_C0_5", // TPIDR2_EL0
        "    ret",
        ".global code_unknown_call",
        "code_unknown_call: svc #9999",
        "    ret",
        ".global code_hvc",
        "code_hvc: hvc #0",
        "    ret",
        ".global code_smc",
        "code_smc: smc #0",
        "    ret",
        // Only after x0 is made non-zero in its saved registers does it go on.
        ".global code_spin",
        "code_spin: cbz x0, code_spin",
        "    ret",
        // Fills x18-x30, makes a call, and compares: x0 counts what changed; x1 is 0.
        ".global code_kept_yield",
        "code_kept_yield:",
        "    mov x1, #1",
        ".global code_kept",
        "code_kept:",
        "    stp x29, x30, [sp, #-96]!",
        "    stp x19, x20, [sp, #16]",
        "    stp x21, x22, [sp, #32]",
        "    stp x23, x24, [sp, #48]",
        "    stp x25, x26, [sp, #64]",
        "    stp x27, x28, [sp, #80]",
        "    mov x18, #0x1818",
        "    mov x19, #0x1919",
        "    mov x20, #0x2020",
        "    mov x21, #0x2121",
        "    mov x22, #0x2222",
        "    mov x23, #0x2323",
        "    mov x24, #0x2424",
        "    mov x25, #0x2525",
        "    mov x26, #0x2626",
        "    mov x27, #0x2727",
        "    mov x28, #0x2828",
        "    mov x29, #0x2929",
        "    mov x30, #0x3030",
        "    mov x0, xzr",
        "    cbz x1, 1f",
        "    svc #5",
        "    b 2f",
        "1:  svc #0",
        "2:  mov x0, #0",
        "    mov x1, #0",
        "    mov x9, #0x1818",
        "    cmp x18, x9",
        "    cinc x0, x0, ne",
        "    mov x9, #0x1919",
        "    cmp x19, x9",
        "    cinc x0, x0, ne",
        "    mov x9, #0x2020",
        "    cmp x20, x9",
        "    cinc x0, x0, ne",
        "    mov x9, #0x2121",
        "    cmp x21, x9",
        "    cinc x0, x0, ne",
        "    mov x9, #0x2222",
        "    cmp x22, x9",
        "    cinc x0, x0, ne",
        "    mov x9, #0x2323",
        "    cmp x23, x9",
        "    cinc x0, x0, ne",
        "    mov x9, #0x2424",
        "    cmp x24, x9",
        "    cinc x0, x0, ne",
        "    mov x9, #0x2525",
        "    cmp x25, x9",
        "    cinc x0, x0, ne",
        "    mov x9, #0x2626",
        "    cmp x26, x9",
        "    cinc x0, x0, ne",
        "    mov x9, #0x2727",
        "    cmp x27, x9",
        "    cinc x0, x0, ne",
        "    mov x9, #0x2828",
        "    cmp x28, x9",
        "    cinc x0, x0, ne",
        "    mov x9, #0x2929",
        "    cmp x29, x9",
        "    cinc x0, x0, ne",
        "    mov x9, #0x3030",
        "    cmp x30, x9",
        "    cinc x0, x0, ne",
        "    ldp x19, x20, [sp, #16]",
        "    ldp x21, x22, [sp, #32]",
        "    ldp x23, x24, [sp, #48]",
        "    ldp x25, x26, [sp, #64]",
        "    ldp x27, x28, [sp, #80]",
        "    ldp x29, x30, [sp], #96",
        "    ret",
        // x0 = rounds << 32 | seed. All of v0-v31, FPSR, FPCR and TPIDR_EL0 hold the
        // seed's values; each round yields and compares. x0 counts what changed.
        ".global code_fp_worker",
        "code_fp_worker:",
        ".arch_extension fp",
        ".arch_extension simd",
        "    lsr x20, x0, #32",
        "    and x21, x0, #0xffffffff",
        "    mov x22, #0",
        "    msr tpidr_el0, x21",
        "    and x9, x21, #3",
        "    lsl x23, x9, #22",              // FPCR.RMode
        "    msr fpcr, x23",
        "    and x9, x21, #0x1f",            // FPSR's cumulative flags
        "    msr fpsr, x9",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
        "    add x9, x21, #\\n",
        "    mov v\\n\\().d[0], x9",
        "    mvn x9, x9",
        "    mov v\\n\\().d[1], x9",
        ".endr",
        "3:  mov x0, #0",
        "    svc #5",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
        "    add x9, x21, #\\n",
        "    mov x10, v\\n\\().d[0]",
        "    cmp x9, x10",
        "    cinc x22, x22, ne",
        "    mvn x9, x9",
        "    mov x10, v\\n\\().d[1]",
        "    cmp x9, x10",
        "    cinc x22, x22, ne",
        ".endr",
        "    mrs x9, tpidr_el0",
        "    cmp x9, x21",
        "    cinc x22, x22, ne",
        "    mrs x9, fpcr",
        "    cmp x9, x23",
        "    cinc x22, x22, ne",
        "    mrs x9, fpsr",
        "    and x10, x21, #0x1f",
        "    cmp x9, x10",
        "    cinc x22, x22, ne",
        "    subs x20, x20, #1",
        "    b.ne 3b",
        "    mov x0, x22",
        ".arch_extension nosimd",
        ".arch_extension nofp",
        "    ret",
        // x0 = whether any FP register holds anything at the start.
        ".global code_fp_fresh",
        "code_fp_fresh:",
        ".arch_extension fp",
        ".arch_extension simd",
        "    mov x0, #0",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
        "    mov x9, v\\n\\().d[0]",
        "    orr x0, x0, x9",
        "    mov x9, v\\n\\().d[1]",
        "    orr x0, x0, x9",
        ".endr",
        "    mrs x9, fpcr",
        "    orr x0, x0, x9",
        "    mrs x9, fpsr",
        "    orr x0, x0, x9",
        "    cmp x0, #0",
        "    cset x0, ne",
        ".arch_extension nosimd",
        ".arch_extension nofp",
        "    ret",
        // The same as the worker for TPIDR_EL0 alone, for a dispatcher without FP.
        ".global code_tpidr_worker",
        "code_tpidr_worker:",
        "    lsr x20, x0, #32",
        "    and x21, x0, #0xffffffff",
        "    mov x22, #0",
        "    msr tpidr_el0, x21",
        "4:  mov x0, #0",
        "    svc #5",
        "    mrs x9, tpidr_el0",
        "    cmp x9, x21",
        "    cinc x22, x22, ne",
        "    subs x20, x20, #1",
        "    b.ne 4b",
        "    mov x0, x22",
        "    ret",
        // A program for an address space of its own, entered as a run upcall (x0 = frame). It adds
        // 1 to the word at {data}, waits by yielding, until the word's high half isn't 0; then
        // exits through capability {exit} of its CSpace with the low half.
        ".balign 8",
        ".global code_island",
        "code_island:",
        "    ldr x1, 9f",
        "5:  ldr x2, [x1]",
        "    lsr x3, x2, #32",
        "    cbnz x3, 6f",
        "    add x2, x2, #1",
        "    str x2, [x1]",
        "    mov x0, #0",
        "    svc #5",
        "    b 5b",
        "6:  mov w1, w2",
        "    ldr x0, 10f",
        "    svc #1",
        "    brk #1",
        "    .balign 8",
        "9:  .quad {data}",
        "10: .quad {exit}",
        ".global code_island_end",
        "code_island_end:",
        // For benches: answers each request with the words that came, through slot 3.
        ".balign 8",
        ".global code_echo",
        "code_echo:",
        "    mov x0, #1",
        "    mov x10, xzr",
        "    mov x11, #-1",
        "    svc #4",
        "7:  mov x0, #3",
        "    movk x0, #0x0100, lsl #48",     // one word
        "    mov x1, xzr",
        "    mov x10, xzr",
        "    mov x11, #-1",
        "    svc #3",
        "    b 7b",
        ".balign 8",
        ".global code_echo_end",
        "code_echo_end:",
        // For benches: yields for ever.
        ".global code_yielder",
        "code_yielder:",
        "    mov x0, xzr",
        "    svc #5",
        "    b code_yielder",
        ".balign 8",
        ".global code_yielder_end",
        "code_yielder_end:",
        data = const super::ISLAND_DATA,
        exit = const super::ISLAND_EXIT,
    );
}

macro_rules! routines {
    ($($(#[$doc:meta])* $name:ident = $symbol:ident,)*) => {
        #[cfg(target_os = "none")]
        mod symbols {
            // SAFETY: labels of the assembly above; only their addresses are used.
            unsafe extern "C" { $(pub(super) fn $symbol();)* }
        }

        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name() -> u64 {
                #[cfg(target_os = "none")]
                return symbols::$symbol as *const () as u64;
                #[cfg(not(target_os = "none"))]
                return 0;
            }
        )*
    };
}

/// Where an island has its data.
pub const ISLAND_DATA: u64 = 0x60_0000;
/// Where an island's code is mapped.
pub const ISLAND_CODE: u64 = 0x40_0000;
/// x0 with which an island ends: `Exit` on slot 2 of its first CNode.
pub const ISLAND_EXIT: u64 = 2 | (capelin_abi::syscall::Invocation::Exit as u64) << 48;

routines! {
    /// Reads at its argument.
    read = code_read,
    /// Writes at its argument.
    write = code_write,
    /// Jumps to its argument.
    jump = code_jump,
    /// `BRK`.
    breakpoint = code_breakpoint,
    /// An undefined instruction.
    undefined = code_undefined,
    /// Uses an FP register.
    fp = code_fp,
    /// Overflows its stack.
    overflow = code_overflow,
    /// Uses a misaligned stack at no address.
    bad_stack = code_bad_stack,
    /// Masks interrupts.
    privileged = code_privileged,
    /// Asks for the length of SVE's registers.
    sve = code_sve,
    /// Turns SME on.
    sme = code_sme,
    /// Reads the cycle counter.
    event_counter = code_event_counter,
    /// Reads an activity monitor.
    activity_monitor = code_activity_monitor,
    /// Reads `SCXTNUM_EL0`.
    context_number = code_context_number,
    /// Reads `TPIDR2_EL0`.
    second_thread_register = code_second_thread_register,
    /// Calls a system call that isn't.
    unknown_call = code_unknown_call,
    /// Calls a hypervisor.
    hvc = code_hvc,
    /// Calls the secure monitor.
    smc = code_smc,
    /// Loops while x0 is 0.
    spin = code_spin,
    /// Counts the registers that Nop changed and shouldn't have; [`crate::fault::jump`] calls it.
    kept = code_kept,
    /// The same for Yield.
    kept_by_yield = code_kept_yield,
    /// Counts the FP registers that change while others run.
    fp_worker = code_fp_worker,
    /// 1 if any FP register isn't zero at the start, else 0.
    fp_fresh = code_fp_fresh,
    /// Counts changes of `TPIDR_EL0` while others run.
    tpidr_worker = code_tpidr_worker,
    /// First byte of the island program.
    island = code_island,
    /// End of the island program.
    island_end = code_island_end,
    /// First byte of the island program that answers requests.
    echo = code_echo,
    /// Its end.
    echo_end = code_echo_end,
    /// First byte of the island program that yields.
    yielder = code_yielder,
    /// Its end.
    yielder_end = code_yielder_end,
}
