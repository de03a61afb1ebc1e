// Sequences around the MMU that can't be compiled code: they run before there is a
// stack, or while their own address changes its meaning. Called with a branch and
// link; position independent; only x0-x9 change. What each issues, in which order, is
// held against the manual by the tests of translation.rs.

// Drops the data lines of [x0, x1), which were written with the MMU off, so that
// nothing a cache kept or fetched meanwhile hides what was written (Arm ARM D7.5.9.4,
// B2.8.1: mismatched attributes). What caches hold of them is lost.
.pushsection .text.capelin_discard_lines, "ax"
.globl capelin_discard_lines
capelin_discard_lines:
    mrs     x2, ctr_el0
    ubfx    x2, x2, #16, #4             // DminLine: log2 of words
    mov     x3, #4
    lsl     x2, x3, x2
    sub     x3, x2, #1
    bic     x0, x0, x3
1:  cmp     x0, x1
    b.hs    2f
    dc      ivac, x0
    add     x0, x0, x2
    b       1b
2:  dsb     sy
    ret
.popsection

// Writes back and drops the data lines of [x0, x1), before they are written with the MMU
// off: nothing older is left that could overwrite that later (D7.5.9.4, B2.8.1).
.pushsection .text.capelin_write_back_lines, "ax"
.globl capelin_write_back_lines
capelin_write_back_lines:
    mrs     x2, ctr_el0
    ubfx    x2, x2, #16, #4             // DminLine: log2 of words
    mov     x3, #4
    lsl     x2, x3, x2
    sub     x3, x2, #1
    bic     x0, x0, x3
1:  cmp     x0, x1
    b.hs    2f
    dc      civac, x0
    add     x0, x0, x2
    b       1b
2:  dsb     sy
    ret
.popsection

// Turns translation on: x0 = TTBR0_EL1, x1 = TTBR1_EL1, x2 = SCTLR_EL1, x3 = MAIR_EL1,
// x4 = TCR_EL1. The caller's code is mapped at its physical address. Stores to the
// tables complete before any walk (D8.17.1), nothing older is left in the TLB, and
// instructions that were written as data are fetched anew (B2.7.4).
.pushsection .text.capelin_enable_translation, "ax"
.globl capelin_enable_translation
capelin_enable_translation:
    msr     mair_el1, x3
    msr     tcr_el1, x4
    msr     ttbr0_el1, x0
    msr     ttbr1_el1, x1
    dsb     sy
    tlbi    vmalle1
    ic      iallu
    dsb     nsh
    isb
    msr     sctlr_el1, x2
    isb
    ret
.popsection

// The same at EL2: x0 = TTBR0_EL2, x2 = SCTLR_EL2, x3 = MAIR_EL2, x4 = TCR_EL2. With
// HCR_EL2.E2H set, `tlbi alle2` empties both halves (D8.17.5).
.pushsection .text.capelin_enable_translation_el2, "ax"
.globl capelin_enable_translation_el2
capelin_enable_translation_el2:
    msr     mair_el2, x3
    msr     tcr_el2, x4
    msr     ttbr0_el2, x0
    dsb     sy
    tlbi    alle2
    ic      iallu
    dsb     nsh
    isb
    msr     sctlr_el2, x2
    isb
    ret
.popsection

// Turns translation and caches off at EL1, where this code is mapped at its physical
// address, and goes to x4 with x0 = x4: x0 = SCTLR_EL1 from then on; what was written
// in [x1, x2) is written back, and dropped, once nothing can be cached any more
// (D7.5.9.4, B2.8.1), so that neither an old line overwrites what is written there past the
// caches, nor hides it. What was translated (D8.17.1) or fetched (B2.7.4) until now is
// forgotten. Nothing is on the stack.
.pushsection .text.capelin_leave_translation, "ax"
.globl capelin_leave_translation
capelin_leave_translation:
    isb
    msr     sctlr_el1, x0
    isb
    mov     x0, x1
    mov     x1, x2
    bl      capelin_write_back_lines
    tlbi    vmalle1
    ic      iallu
    dsb     nsh
    isb
    mov     x0, x4
    br      x4
.popsection

// The same at EL2, with SCTLR_EL2.
.pushsection .text.capelin_leave_translation_el2, "ax"
.globl capelin_leave_translation_el2
capelin_leave_translation_el2:
    isb
    msr     sctlr_el2, x0
    isb
    mov     x0, x1
    mov     x1, x2
    bl      capelin_write_back_lines
    tlbi    alle2
    ic      iallu
    dsb     nsh
    isb
    mov     x0, x4
    br      x4
.popsection

// Replaces TTBR1_EL1 by x0 while running in its half. x1 = a table that maps nothing,
// x2 = what to subtract from an address of the image to get its physical one, where
// TTBR0_EL1 maps it, x3 = VBAR_EL1 from then on. On entry VBAR_EL1 is valid in TTBR0_EL1's
// half.
//
// Break before make (D8.16.1): the new tables map by pages what the old ones map by a
// block, and both mappings are global, so no TLB may ever hold one of each. Between
// them TTBR1_EL1 maps nothing and the TLB has been emptied, while we run in the other
// half.
.pushsection .text.capelin_replace_root, "ax"
.globl capelin_replace_root
capelin_replace_root:
    adr     x9, 1f
    sub     x9, x9, x2
    br      x9
1:  msr     ttbr1_el1, x1
    isb
    dsb     nshst
    tlbi    vmalle1
    dsb     nsh
    isb
    msr     ttbr1_el1, x0
    isb
    msr     vbar_el1, x3
    isb
    ret                                 // in the new map, where we were called
.popsection
