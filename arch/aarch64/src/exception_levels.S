// From EL2 to EL1, and what firmware may have left at either (docs/055-arch.md has the
// table: register, value, reason). Called with a branch and link before there is a
// stack, MMU off; position independent; only x0-x9 change.

.macro field target, register, shift
    mrs     \target, \register
    ubfx    \target, \target, #\shift, #4
.endm

// Leaves EL2 for EL1, where it returns to the caller. EL2 keeps vectors of its own in
// this image, which make an undefined instruction of whatever gets there.
.pushsection .text.capelin_leave_el2, "ax"
.globl capelin_leave_el2
capelin_leave_el2:
    ldr     x0, ={hcr}
// x0 = HCR_EL2. For the test of cores that can't clear E2H.
.globl capelin_leave_el2_with
capelin_leave_el2_with:
    adrp    x1, capelin_el2_vectors
    add     x1, x1, :lo12:capelin_el2_vectors
    msr     vbar_el2, x1
    ldr     x1, ={sctlr_el2}
    msr     sctlr_el2, x1
    dsb     nsh                         // AmpereOne, erratum AC04_CPU_23
    msr     hcr_el2, x0
    isb
    // Layouts differ with E2H, which some cores can't clear (FEAT_E2H0 absent): what
    // the register says now decides.
    mrs     x0, hcr_el2
    ldr     x1, ={sctlr_el1}
    tbnz    x0, #{e2h_bit}, 1f
    mov     x2, #{cptr}
    mov     x3, #{cnthctl}
    msr     sctlr_el1, x1
    b       2f
1:  mov     x2, #{cptr_e2h}
    mov     x3, #{cnthctl_e2h}
    msr     S3_5_C1_C0_0, x1            // SCTLR_EL12
    msr     S3_4_C14_C3_1, xzr          // CNTHV_CTL_EL2
2:  msr     cptr_el2, x2
    msr     cnthctl_el2, x3
    msr     cnthp_ctl_el2, xzr
    msr     cntvoff_el2, xzr
    mrs     x0, midr_el1
    msr     vpidr_el2, x0
    mrs     x0, mpidr_el1
    msr     vmpidr_el2, x0
    msr     hstr_el2, xzr
    msr     vttbr_el2, xzr
    mov     x0, #{vtcr}
    msr     vtcr_el2, x0
    // MDCR_EL2.HPMN: all event counters to EL1.
    field   x1, id_aa64dfr0_el1, 8
    mov     x2, xzr
    cbz     x1, 3f
    cmp     x1, #0xf
    b.eq    3f
    mrs     x2, pmcr_el0
    ubfx    x2, x2, #11, #5
3:  msr     mdcr_el2, x2
    // The GIC's system registers.
    field   x0, id_aa64pfr0_el1, 24
    cbz     x0, 4f
    mrs     x0, S3_4_C12_C9_5           // ICC_SRE_EL2
    orr     x0, x0, #1                  // SRE
    orr     x0, x0, #8                  // Enable: EL1 may set its own
    msr     S3_4_C12_C9_5, x0
    isb
    mrs     x0, S3_4_C12_C9_5
    tbz     x0, #0, 4f                  // EL3 keeps them
    msr     S3_4_C12_C11_0, xzr         // ICH_HCR_EL2
4:  // Fine-grained traps (FEAT_FGT).
    field   x0, id_aa64mmfr0_el1, 56
    cbz     x0, 5f
    msr     S3_4_C1_C1_4, xzr           // HFGRTR_EL2
    msr     S3_4_C1_C1_5, xzr           // HFGWTR_EL2
    msr     S3_4_C1_C1_6, xzr           // HFGITR_EL2
    msr     S3_4_C3_C1_4, xzr           // HDFGRTR_EL2
    msr     S3_4_C3_C1_5, xzr           // HDFGWTR_EL2
    field   x0, id_aa64pfr0_el1, 44
    cbz     x0, 5f
    msr     S3_4_C3_C1_6, xzr           // HAFGRTR_EL2
5:  // FEAT_HCX.
    field   x0, id_aa64mmfr1_el1, 40
    cbz     x0, 6f
    mov     x0, #{hcrx}
    msr     S3_4_C1_C2_2, x0            // HCRX_EL2
6:  // MPAM: the default partition, nothing trapped.
    field   x0, id_aa64pfr0_el1, 40
    field   x1, id_aa64pfr1_el1, 16
    orr     x0, x0, x1
    cbz     x0, 7f
    msr     S3_4_C10_C5_0, xzr          // MPAM2_EL2
    mrs     x0, S3_0_C10_C4_4           // MPAMIDR_EL1
    tbz     x0, #17, 7f                 // HAS_HCR
    msr     S3_4_C10_C4_0, xzr          // MPAMHCR_EL2
7:  mov     x0, #{spsr}
    msr     spsr_el2, x0
    msr     elr_el2, x30
    eret
    .ltorg
.popsection

// At EL1, however it was reached: nothing of firmware's is left that EL1 or EL0 would
// notice. Translation is off, and SCTLR_EL1 is x0's from here on.
.pushsection .text.capelin_reset_el1, "ax"
.globl capelin_reset_el1
capelin_reset_el1:
    msr     spsel, #1
    ldr     x0, ={sctlr_el1}
    msr     sctlr_el1, x0
    isb
    field   x0, id_aa64mmfr2_el1, 4
    cbz     x0, 1f
    .inst   0xd500407f                  // MSR UAO, #0
1:  mov     x0, #{mdscr}
    msr     mdscr_el1, x0
    msr     contextidr_el1, xzr
    msr     tpidr_el0, xzr
    msr     tpidrro_el0, xzr
    msr     tpidr_el1, xzr
    msr     cpacr_el1, xzr
    msr     cntkctl_el1, xzr
    msr     cntp_ctl_el0, xzr
    msr     cntv_ctl_el0, xzr
    // Event counters: stopped, and not EL0's.
    field   x0, id_aa64dfr0_el1, 8
    cbz     x0, 2f
    cmp     x0, #0xf
    b.eq    2f
    mov     x0, #{pmcr}
    msr     pmcr_el0, x0
    mov     x0, #-1
    msr     pmintenclr_el1, x0
    msr     pmuserenr_el0, xzr
2:  field   x0, id_aa64pfr0_el1, 44     // activity monitors
    cbz     x0, 3f
    msr     S3_3_C13_C2_3, xzr          // AMUSERENR_EL0
3:  field   x0, id_aa64pfr0_el1, 40     // MPAM
    field   x1, id_aa64pfr1_el1, 16
    orr     x0, x0, x1
    cbz     x0, 4f
    msr     S3_0_C10_C5_0, xzr          // MPAM1_EL1
    msr     S3_0_C10_C5_1, xzr          // MPAM0_EL1
4:  field   x0, S3_0_C0_C7_3, 0         // ID_AA64MMFR3_EL1.TCRX
    cbz     x0, 5f
    msr     S3_0_C2_C0_3, xzr           // TCR2_EL1
5:  field   x0, S3_0_C0_C7_3, 4         // ID_AA64MMFR3_EL1.SCTLRX
    cbz     x0, 6f
    msr     S3_0_C1_C0_3, xzr           // SCTLR2_EL1
    // The key that EL0 can use whatever SCTLR_EL1 says (PACGA): not firmware's.
6:  field   x0, id_aa64isar1_el1, 24    // GPA
    field   x1, id_aa64isar1_el1, 28    // GPI
    orr     x0, x0, x1
    field   x1, S3_0_C0_C6_2, 8         // ID_AA64ISAR2_EL1.GPA3
    orr     x0, x0, x1
    cbz     x0, 7f
    msr     S3_0_C2_C3_0, xzr           // APGAKeyLo_EL1
    msr     S3_0_C2_C3_1, xzr           // APGAKeyHi_EL1
7:  isb
    ret
    .ltorg
.popsection

// What gets to EL2 after it was left: HVC where EL3 lets it through, and whatever a
// core traps that the table doesn't know. It becomes an undefined instruction of the
// level that it came from; interrupts and aborts aren't routed here at all.
.pushsection .text.capelin_el2_vectors, "ax"
.balign 2048
.globl capelin_el2_vectors
capelin_el2_vectors:
.rept 8                                 // from EL2: nothing of ours runs there
    .balign 128
    b       capelin_el2_stop
.endr
    .balign 128
    b       capelin_el2_reflect         // synchronous, from EL1 or EL0
.rept 7
    .balign 128
    b       capelin_el2_stop
.endr

capelin_el2_stop:
    wfi
    b       capelin_el2_stop

capelin_el2_reflect:
    msr     tpidr_el2, x0               // two words to keep, and no memory
    mov     sp, x1
    mrs     x0, esr_el2
    lsr     x0, x0, #26
    cmp     x0, #0x16                   // HVC: ELR_EL2 is behind it, we want it at it
    mrs     x0, elr_el2
    b.ne    1f
    sub     x0, x0, #4
1:  mrs     x1, hcr_el2
    tbnz    x1, #{e2h_bit}, 2f
    msr     elr_el1, x0
    mrs     x0, spsr_el2
    msr     spsr_el1, x0
    mov     x1, #{undefined}
    msr     esr_el1, x1
    mrs     x1, vbar_el1
    b       3f
2:  msr     S3_5_C4_C0_1, x0            // ELR_EL12
    mrs     x0, spsr_el2
    msr     S3_5_C4_C0_0, x0            // SPSR_EL12
    mov     x1, #{undefined}
    msr     S3_5_C5_C2_0, x1            // ESR_EL12
    mrs     x1, S3_5_C12_C0_0           // VBAR_EL12
3:  and     x0, x0, #0xf                // EL0t 0, EL1t 4, EL1h 5
    cbz     x0, 4f
    tbz     x0, #0, 5f
    add     x1, x1, #0x200
    b       5f
4:  add     x1, x1, #0x400
5:  msr     elr_el2, x1
    ldr     x0, ={reflected_spsr}
    msr     spsr_el2, x0
    mrs     x0, tpidr_el2
    mov     x1, sp
    eret
    .ltorg
.popsection
