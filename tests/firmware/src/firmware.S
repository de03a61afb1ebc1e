// See main.rs. TPIDR_EL2: x4 while we run. SP_EL2: 16 for each call of a workaround.

.equ TREE, 0x40000000
.equ SYSTEM, 0x40400000
.equ CONSOLE, 0x09000000

.pushsection .firmware, "ax"
.globl _start
_start:
    b       1f
    .word   0
    .quad   0, 0, 0
    .quad   0                           // 32: by HVC
    .quad   0                           // 40: knows the third
    .quad   0
    .ascii  "ARM\x64"                   // the builder of images wants it
    .word   0
1:  ldr     w1, =SYSTEM
    ldr     x2, _start + 32
    cbz     x2, enter
    // "smc" becomes "hvc" in the tree. Its size is big endian.
    ldr     w3, =TREE
    ldr     w4, [x3, #4]
    rev     w4, w4
    add     x4, x4, x3
    ldr     w5, =0x00636d73             // "smc"
    ldr     w6, =0x00637668             // "hvc"
2:  ldr     w7, [x3]
    cmp     w7, w5
    b.ne    3f
    str     w6, [x3]
3:  add     x3, x3, #4
    cmp     x3, x4
    b.lo    2b
    b       enter

// A core that was started. x0 = what it gets in the upper half, where in the lower.
started:
    mov     w1, w0
    lsr     x0, x0, #32
    b       enter_with

// x1 = where.
enter:
    ldr     w0, =TREE
enter_with:
    adrp    x2, vectors
    add     x2, x2, :lo12:vectors
    msr     vbar_el2, x2
    mov     x2, #(1 << 31)              // RW
    orr     x2, x2, #(1 << 19)          // TSC: SMC of EL1 comes here
    msr     hcr_el2, x2
    mov     x2, #0x33ff
    msr     cptr_el2, x2
    mov     x2, #3
    msr     cnthctl_el2, x2
    msr     cntvoff_el2, xzr
    mrs     x2, midr_el1
    msr     vpidr_el2, x2
    mrs     x2, mpidr_el1
    msr     vmpidr_el2, x2
    mov     x2, #0xf
    msr     S3_4_C12_C9_5, x2           // ICC_SRE_EL2
    isb
    msr     S3_4_C12_C11_0, xzr         // ICH_HCR_EL2
    ldr     w2, =0x30d00800
    msr     sctlr_el1, x2
    mov     x2, xzr
    mov     sp, x2
    mov     x2, #0x3c5                  // EL1h, all masked
    msr     spsr_el2, x2
    msr     elr_el2, x1
    isb
    eret

called:
    msr     tpidr_el2, x4
    mrs     x4, esr_el2
    lsr     x4, x4, #26
    cmp     x4, #0x16                   // HVC: ELR_EL2 is behind it
    b.eq    1f
    cmp     x4, #0x17                   // SMC, trapped: ELR_EL2 is at it
    b.ne    stop
    mrs     x4, elr_el2
    add     x4, x4, #4
    msr     elr_el2, x4
1:  ldr     w4, =0x80008000             // SMCCC_ARCH_WORKAROUND_1
    cmp     w0, w4
    b.eq    forget
    ldr     w4, =0x80003fff             // _3
    cmp     w0, w4
    b.eq    forget
    ldr     w4, =0x80007fff             // _2
    cmp     w0, w4
    b.eq    forget
    ldr     w4, =0x80000000             // SMCCC_VERSION
    cmp     w0, w4
    b.eq    version
    ldr     w4, =0x80000001             // SMCCC_ARCH_FEATURES
    cmp     w0, w4
    b.eq    features
    ldr     w4, =0x8400000a             // PSCI_FEATURES
    cmp     w0, w4
    b.eq    functions
    ldr     w4, =0x84000008             // SYSTEM_OFF
    cmp     w0, w4
    b.eq    off
    ldr     w4, =0xc4000003             // CPU_ON
    cmp     w0, w4
    b.ne    pass
    // Both lie below 4 GiB, and there is no memory to leave them in.
    orr     x3, x2, x3, lsl #32
    adr     x2, started
pass:
    mrs     x4, tpidr_el2
    smc     #0
    eret

forget:
    add     sp, sp, #16
    ldr     w0, =0x5eed5eed
    mov     x1, x0
    mov     x2, x0
    mov     x3, x0
answered:
    mrs     x4, tpidr_el2
    eret

version:
    ldr     w0, =0x10001
    b       answered

features:
    ldr     w4, =0x80008000
    cmp     w1, w4
    b.eq    has
    ldr     w4, =0x80007fff
    cmp     w1, w4
    b.eq    has
    ldr     w4, =0x80003fff
    cmp     w1, w4
    b.ne    has_not
    ldr     x4, _start + 40
    cbz     x4, has_not
has:
    mov     w0, wzr
    b       answered
has_not:
    mov     w0, #-1
    b       answered

functions:
    ldr     w4, =0x80000000
    cmp     w1, w4
    b.eq    has
    b       pass

off:
    mov     x1, sp
    adr     x2, often
    cmp     x1, #(16 * 250)
    b.hs    1f
    adr     x2, seldom
1:  ldr     w1, =CONSOLE
2:  ldrb    w3, [x2], #1
    cbz     w3, pass
    str     w3, [x1]
    b       2b

stop:
    wfi
    b       stop

often:
    .asciz  "firmware: called at many entries\n"
seldom:
    .asciz  "firmware: hardly called\n"
    .balign 8
    .ltorg

    .balign 2048
vectors:
.rept 8
    .balign 128
    b       stop
.endr
    .balign 128
    b       called
.rept 7
    .balign 128
    b       stop
.endr
.popsection
