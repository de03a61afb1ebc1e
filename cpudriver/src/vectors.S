// Exception vectors and the way back to EL0 (docs/015-cpu-driver.md).
//
// In the kernel all interrupts are masked, so the vectors for the current EL
// serve faults only: those of the unprivileged accesses (which have a fix-up)
// and those of a broken CPU driver.
//
// There are several tables, which differ in what is done at entry from EL0 about what
// predicts branches; a core uses the one that `capelin_aarch64::speculation` chooses.
//
// At EL0: TPIDR_EL1 = KCB, SP_EL1 = __stack_top. KCB words used here:
//   [{k_frame}]    linear address of the current dispatcher's frame
//   [{k_area}]     out: address of the save area filled at this entry
//   [{k_disabled}] out: not 0 when the dispatcher was disabled

.macro entry_slot target
    .balign 128
    b       \target
.endm

// Current EL: the same in all tables.
.macro own_vectors
    // SP_EL0: never used (Arm ARM D1.3.1.3)
    entry_slot bad_0
    entry_slot bad_1
    entry_slot bad_2
    entry_slot bad_3
    // SP_ELx
    entry_slot kernel_fault             // synchronous: fix-up or panic
    entry_slot bad_5                    // IRQ: masked in the kernel
    entry_slot bad_6                    // FIQ: masked in the kernel
    entry_slot bad_7                    // SError: masked in the kernel
.endm

.section .capelin.vectors, "ax"
.balign 2048
.globl capelin_vectors
capelin_vectors:
    own_vectors
    // Lower EL, AArch64
    entry_slot user_sync
    entry_slot user_irq
    entry_slot user_fiq
    entry_slot user_serror
    // Lower EL, AArch32: no program of ours; the dispatcher is stopped
    entry_slot user_aarch32
    entry_slot user_irq
    entry_slot user_fiq
    entry_slot user_serror

// x13 is free. So many times two taken branches (Arm, "Spectre-BHB: Mitigations on Arm
// cores"); nothing is executed ahead of the barriers.
.macro forget_by_branches count
    mov     x13, #\count
7:  b       8f
8:  subs    x13, x13, #1
    b.ne    7b
    dsb     nsh
    isb
.endm

.macro forget_by_clrbhb
    hint    #22                         // CLRBHB
    isb
.endm

// Firmware changes x0-x3 (SMCCC 1.1, DEN 0028 2.6), and returns by ERET, a barrier. SP is at
// the stack's top.
.macro forget_by_call conduit
    stp     x0, x1, [sp, #-32]
    stp     x2, x3, [sp, #-48]
    adrp    x0, {firmware_function}
    ldr     w0, [x0, :lo12:{firmware_function}]
    \conduit #0
    ldp     x2, x3, [sp, #-48]
    ldp     x0, x1, [sp, #-32]
.endm

// Firmware's first workaround does nothing about the history.
.macro forget_by_call_and_branches conduit
    forget_by_call \conduit
    forget_by_branches 8
.endm

.macro forgetful_slot target, forget, argument
    .balign 128
    stp     x13, x15, [sp, #-16]        // below SP: nothing interrupts the kernel
    \forget \argument
    b       \target
.endm

.macro forgetful_vectors name, forget, argument
    .balign 2048
.globl \name
\name:
    own_vectors
    forgetful_slot user_sync_saved, \forget, \argument
    forgetful_slot user_irq_saved, \forget, \argument
    forgetful_slot user_fiq_saved, \forget, \argument
    forgetful_slot user_serror_saved, \forget, \argument
    forgetful_slot user_aarch32_saved, \forget, \argument
    forgetful_slot user_irq_saved, \forget, \argument
    forgetful_slot user_fiq_saved, \forget, \argument
    forgetful_slot user_serror_saved, \forget, \argument
    .balign 2048
.endm

forgetful_vectors capelin_vectors_8, forget_by_branches, 8
forgetful_vectors capelin_vectors_24, forget_by_branches, 24
forgetful_vectors capelin_vectors_32, forget_by_branches, 32
forgetful_vectors capelin_vectors_132, forget_by_branches, 132
forgetful_vectors capelin_vectors_clrbhb, forget_by_clrbhb
forgetful_vectors capelin_vectors_hvc, forget_by_call, hvc
forgetful_vectors capelin_vectors_smc, forget_by_call, smc
forgetful_vectors capelin_vectors_hvc_8, forget_by_call_and_branches, hvc
forgetful_vectors capelin_vectors_smc_8, forget_by_call_and_branches, smc

.irp n, 0, 1, 2, 3, 5, 6, 7
bad_\n:
    mov     x0, #\n
    mrs     x1, esr_el1
    mrs     x2, elr_el1
    mrs     x3, far_el1
    ldr     x4, =__stack_top            // whatever SP was, it may be the trouble
    mov     sp, x4
    bl      kernel_exception
    b       .
.endr

// A fault at EL1. Kept apart from user entries: the stack is in use. x0-x17 and
// x30 are saved, Rust keeps the others.
kernel_fault:
    sub     sp, sp, #176
    add     sp, sp, x0                  // is SP still on the stack? x0 and SP are all we have
    sub     x0, sp, x0                  // x0 = SP
    tbz     x0, #14, stack_overflow     // the stack is the upper half of an aligned 32 KiB
    sub     x0, sp, x0                  // x0 = x0
    sub     sp, sp, x0
    stp     x0, x1, [sp, #0]
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
    mrs     x1, elr_el1
    mrs     x2, far_el1
    add     x3, sp, #176
    bl      kernel_sync_fault           // x0 := where to go on; doesn't return otherwise
    msr     elr_el1, x0
    ldp     x0, x1, [sp, #0]
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x30, [sp, #144]
    add     sp, sp, #176
    eret

stack_overflow:
    mov     x0, #4                      // a number that no vector has
    mrs     x1, esr_el1
    mrs     x2, elr_el1
    mrs     x3, far_el1
    ldr     x4, =__stack_top
    mov     sp, x4
    bl      kernel_exception
    b       .

// Chooses the save area. Out: x14 = KCB, x15 = area, which the KCB gets too; x16,
// x17 are lost. "Disabled" is the flag or a PC inside the critical range.
.macro choose_area
    mrs     x14, tpidr_el1
    ldr     x15, [x14, #{k_frame}]
    ldr     x17, [x15, #{f_disabled}]
    cbnz    x17, 8f
    ldp     x17, x16, [x15, #{f_critical_start}]
    mrs     x14, elr_el1
    sub     x14, x14, x17
    cmp     x14, x16                    // below: the PC is inside
    mrs     x14, tpidr_el1
    b.lo    8f
    add     x15, x15, #{f_enabled_area}
    stp     x15, xzr, [x14, #{k_area}]
    b       9f
8:  add     x15, x15, #{f_disabled_area}
    stp     x15, x15, [x14, #{k_area}]  // "disabled" is any number but 0
9:
.endm

.macro save_rest                        // x18-x30, SP, PC, SPSR, TPIDR_EL0 into x15's area
    stp     x18, x19, [x15, #(18 * 8)]
    stp     x20, x21, [x15, #(20 * 8)]
    stp     x22, x23, [x15, #(22 * 8)]
    stp     x24, x25, [x15, #(24 * 8)]
    stp     x26, x27, [x15, #(26 * 8)]
    stp     x28, x29, [x15, #(28 * 8)]
    mrs     x16, sp_el0
    stp     x30, x16, [x15, #(30 * 8)]
    mrs     x16, elr_el1
    mrs     x17, spsr_el1
    stp     x16, x17, [x15, #(32 * 8)]
    mrs     x16, tpidr_el0
    str     x16, [x15, #(34 * 8)]
.endm

.macro save_low                         // x0-x11 into x15's area
    stp     x0, x1, [x15, #0]
    stp     x2, x3, [x15, #16]
    stp     x4, x5, [x15, #32]
    stp     x6, x7, [x15, #48]
    stp     x8, x9, [x15, #64]
    stp     x10, x11, [x15, #80]
.endm

// Everything, with x14-x17 spilled to the stack first.
.macro save_all
    stp     x14, x15, [sp, #-32]!
    stp     x16, x17, [sp, #16]
    choose_area
    save_low
    stp     x12, x13, [x15, #(12 * 8)]
    ldp     x0, x1, [sp, #0]
    ldp     x2, x3, [sp, #16]
    stp     x0, x1, [x15, #(14 * 8)]
    stp     x2, x3, [x15, #(16 * 8)]
    add     sp, sp, #32
    save_rest
    mov     x0, x14
.endm

// A system call saves x0-x11, x18, x30, PC and SPSR first. What Rust keeps, x19-
// x29, and SP are saved only once it is known that somebody else runs, in
// user_switch; TPIDR_EL0 by whoever gives the processor away (dispatch.rs).
user_sync:
    stp     x13, x15, [sp, #-16]        // below SP: nothing interrupts the kernel
user_sync_saved:
    mrs     x13, esr_el1
    lsr     x15, x13, #26
    cmp     x15, #0x15                  // SVC from AArch64 (ESR_EL1.EC)
    b.ne    user_fault
    choose_area                         // the call's ABI gives us x0-x17
    save_low
    stp     x18, x19, [x15, #(18 * 8)]
    str     x30, [x15, #(30 * 8)]
    mrs     x16, elr_el1
    mrs     x17, spsr_el1
    stp     x16, x17, [x15, #(32 * 8)]
    and     x0, x13, #0xffff
    mov     x1, x15
    bl      handle_syscall              // x0: this area, x1: 0 or the area to enter from
    cbnz    x1, user_switch
    ldp     x2, x3, [x0, #16]
    ldp     x4, x5, [x0, #32]
    ldp     x6, x7, [x0, #48]
    ldp     x8, x9, [x0, #64]
    ldp     x10, x11, [x0, #80]
    ldr     x18, [x0, #(18 * 8)]
    ldr     x30, [x0, #(30 * 8)]
    ldp     x0, x1, [x0, #0]
    mov     x12, xzr                    // nothing of the kernel's leaves with them
    mov     x13, xzr
    mov     x14, xzr
    mov     x15, xzr
    mov     x16, xzr
    mov     x17, xzr
    eret

user_fault:
    ldp     x13, x15, [sp, #-16]
    save_all
    mrs     x1, esr_el1
    mrs     x2, far_el1
    bl      handle_fault
    b       enter_user

user_irq_saved:
    ldp     x13, x15, [sp, #-16]
user_irq:
    save_all
    bl      handle_interrupt
    b       enter_user

user_fiq_saved:
    ldp     x13, x15, [sp, #-16]
user_fiq:                               // group 0 isn't ours; counted and ignored
    save_all
    bl      handle_fiq
    b       enter_user

user_serror_saved:
    ldp     x13, x15, [sp, #-16]
user_serror:
    save_all
    mrs     x1, esr_el1
    bl      handle_serror
    b       enter_user

user_aarch32_saved:
    ldp     x13, x15, [sp, #-16]
user_aarch32:
    save_all
    mrs     x1, esr_el1
    mov     x2, xzr
    bl      handle_fault
    b       enter_user

// Enters EL0 from the save area at KCB[k_area], or at x15. SPSR is sanitised here, at every
// restore: NZCV only, so EL0t with nothing masked.
.globl enter_user
enter_user:
    ldr     x16, =__stack_top
    mov     sp, x16
    mrs     x14, tpidr_el1
    ldr     x15, [x14, #{k_area}]
    b       enter_area

user_switch:
    mrs     x16, sp_el0
    stp     x20, x21, [x0, #(20 * 8)]
    stp     x22, x23, [x0, #(22 * 8)]
    stp     x24, x25, [x0, #(24 * 8)]
    stp     x26, x27, [x0, #(26 * 8)]
    stp     x28, x29, [x0, #(28 * 8)]
    str     x16, [x0, #(31 * 8)]
    mov     x15, x1
enter_area:
    ldp     x16, x17, [x15, #(32 * 8)]
    and     x17, x17, #0xf0000000
    msr     elr_el1, x16
    msr     spsr_el1, x17
    ldr     x16, [x15, #(34 * 8)]
    msr     tpidr_el0, x16
    ldp     x30, x16, [x15, #(30 * 8)]
    msr     sp_el0, x16
    ldp     x28, x29, [x15, #(28 * 8)]
    ldp     x26, x27, [x15, #(26 * 8)]
    ldp     x24, x25, [x15, #(24 * 8)]
    ldp     x22, x23, [x15, #(22 * 8)]
    ldp     x20, x21, [x15, #(20 * 8)]
    ldp     x18, x19, [x15, #(18 * 8)]
    ldp     x16, x17, [x15, #(16 * 8)]
    ldp     x12, x13, [x15, #(12 * 8)]
    ldp     x10, x11, [x15, #80]
    ldp     x8, x9, [x15, #64]
    ldp     x6, x7, [x15, #48]
    ldp     x4, x5, [x15, #32]
    ldp     x2, x3, [x15, #16]
    ldp     x0, x1, [x15, #0]
    ldp     x14, x15, [x15, #(14 * 8)]
    eret
.ltorg
