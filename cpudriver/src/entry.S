// Where a core enters its CPU driver: MMU off, EL1 or EL2, x0 = physical base of
// the core image (docs/015-cpu-driver.md). Everything here is PC-relative until
// the branch to the linked address.

.section .capelin.header, "ax"
.globl _header
_header:
    b       entry
    .word   0
    .quad   {kernel_magic}
    .quad   {abi_version}
    .quad   __file_bytes
    .quad   __memory_bytes
    .quad   __doorbell_offset
    .quad   {layout_hash}
    .quad   0

entry:
    msr     daifset, #0xf
    mrs     x20, cntvct_el0             // for the first domain: when we began
    adr     x19, _header                // the image's physical base
    mrs     x0, CurrentEL
    cmp     x0, #(2 << 2)
    b.ne    at_el1

    // EL2: give EL1 everything, then drop to it. Arm ARM D19.2.48 (HCR_EL2).
    mov     x0, #(1 << 31)              // HCR_EL2.RW: EL1 is AArch64
    orr     x0, x0, #(3 << 40)          // API, APK: PACGA at EL0 mustn't trap to an EL2 without vectors
    msr     hcr_el2, x0
    mov     x0, #3                      // EL1 may use the counter and the timer
    msr     cnthctl_el2, x0
    msr     cntvoff_el2, xzr
    mrs     x0, midr_el1
    msr     vpidr_el2, x0
    mrs     x0, mpidr_el1
    msr     vmpidr_el2, x0
    mov     x0, #0x33ff                 // CPTR_EL2: RES1 only, nothing trapped
    msr     cptr_el2, x0
    msr     hstr_el2, xzr
    msr     vttbr_el2, xzr
    mrs     x0, id_aa64dfr0_el1         // MDCR_EL2.HPMN: all event counters to EL1
    ubfx    x1, x0, #8, #4
    mov     x2, xzr
    cbz     x1, 1f
    cmp     x1, #0xf
    b.eq    1f
    mrs     x2, pmcr_el0
    ubfx    x2, x2, #11, #5
1:  msr     mdcr_el2, x2
    mrs     x0, id_aa64pfr0_el1         // GIC system registers, if there are any
    ubfx    x0, x0, #24, #4
    cbz     x0, 2f
    mrs     x0, S3_4_C12_C9_5           // ICC_SRE_EL2: SRE, and EL1 may enable its own
    orr     x0, x0, #1
    orr     x0, x0, #8
    msr     S3_4_C12_C9_5, x0
    isb
    msr     S3_4_C12_C11_0, xzr         // ICH_HCR_EL2: no virtual interrupts
2:  mov     x0, #0x0800
    movk    x0, #0x30d0, lsl #16        // SCTLR_EL1: RES1 bits, MMU and caches off
    msr     sctlr_el1, x0
    mov     x0, #0x3c5                  // EL1h, DAIF masked
    msr     spsr_el2, x0
    adr     x0, at_el1
    msr     elr_el2, x0
    eret

at_el1:
    msr     mdscr_el1, xzr              // no debug exceptions, whatever firmware left on
    msr     contextidr_el1, xzr
    mrs     x0, id_aa64dfr0_el1         // EL0 stays away from the event counters
    ubfx    x0, x0, #8, #4
    cbz     x0, 3f
    cmp     x0, #0xf
    b.eq    3f
    msr     pmuserenr_el0, xzr
3:
    // First map: the 2 MiB block that holds the image, at its physical and at
    // its linked address. The CPU driver builds the real one and drops this.
    adrp    x0, __tables
    add     x0, x0, :lo12:__tables
    add     x1, x0, #({early_tables} * 4096)
0:  stp     xzr, xzr, [x0], #16         // the file doesn't hold them; never trust what lay there
    cmp     x0, x1
    b.lo    0b
    adrp    x0, __tables
    add     x0, x0, :lo12:__tables      // L0 low, L1 low, L2 low, L0 high, L1 high, L2 high
    mov     x9, #3                      // table descriptor
    // low half
    ubfx    x2, x19, #39, #9
    add     x3, x0, #4096
    orr     x4, x3, x9
    str     x4, [x0, x2, lsl #3]
    ubfx    x2, x19, #30, #9
    add     x5, x0, #8192
    orr     x4, x5, x9
    str     x4, [x3, x2, lsl #3]
    ubfx    x2, x19, #21, #9
    mov     x6, #{block}
    orr     x6, x6, x19
    str     x6, [x5, x2, lsl #3]
    // high half: 0xffff_ffff_8000_0000 is L0 511, L1 510, L2 0
    add     x7, x0, #(3 * 4096)
    add     x3, x0, #(4 * 4096)
    orr     x4, x3, x9
    str     x4, [x7, #(511 * 8)]
    add     x5, x0, #(5 * 4096)
    orr     x4, x5, x9
    str     x4, [x3, #(510 * 8)]
    str     x6, [x5]

    ldr     x1, ={mair}
    msr     mair_el1, x1
    ldr     x1, ={tcr}
    mrs     x2, id_aa64mmfr0_el1
    bfi     x1, x2, #32, #3             // IPS := PARange, at most 48 bits
    and     x3, x2, #0xf
    cmp     x3, #5
    b.ls    8f
    mov     x3, #5
    bfi     x1, x3, #32, #3
8:  ubfx    x3, x2, #4, #4              // ASIDBits
    cbz     x3, 4f
    orr     x1, x1, #(1 << 36)          // 16-bit ASIDs
4:  msr     tcr_el1, x1
    msr     ttbr0_el1, x0
    msr     ttbr1_el1, x7
    dsb     sy                          // tables before walks (D8.17)
    tlbi    vmalle1
    ic      iallu                       // the image was written as data, by another core (B2.7.4)
    dsb     nsh
    isb
    ldr     x1, ={sctlr}
    msr     sctlr_el1, x1
    isb
    ldr     x1, =start_high
    br      x1

.text
start_high:
    ldr     x1, =__stack_top
    mov     sp, x1
    // zero the rest of .bss (the first tables are in use; the stack is not yet)
    adrp    x2, __tables
    add     x2, x2, :lo12:__tables
    add     x2, x2, #({early_tables} * 4096)
    ldr     x3, =__image_end
5:  stp     xzr, xzr, [x2], #16
    cmp     x2, x3
    b.lo    5b
    adrp    x2, __bss_start
    add     x2, x2, :lo12:__bss_start
    ldr     x3, =__tables
6:  stp     xzr, xzr, [x2], #16
    cmp     x2, x3
    b.lo    6b
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x19
    mov     x1, x20
    bl      kernel_main
7:  wfi
    b       7b
.ltorg
