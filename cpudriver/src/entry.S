// Where a core enters its CPU driver: MMU off, EL1 or EL2 (docs/015-cpu-driver.md). Text
// and constants are at x21, where we run, and all else at x19, the home memory: the same
// place, or, where another core's text is shared, two. Everything here is PC-relative
// until the branch to the linked address.

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

// By PSCI, whose context (x0) is the home memory of a core that shares this text.
.globl shared_entry
shared_entry:
    msr     daifset, #0xf
    mov     x19, x0
    b       1f

// Anybody else: the home memory holds all of the image.
entry:
    msr     daifset, #0xf
    adr     x19, _header
1:  mrs     x20, cntvct_el0             // for the first domain: when we began
    adr     x21, _header
    mrs     x0, CurrentEL
    cmp     x0, #(2 << 2)
    b.ne    at_el1
    bl      capelin_leave_el2           // sets EL2's vectors first; returns at EL1
at_el1:
    // Vectors before anything can fault: these run wherever they are, MMU off. Until the
    // CPU driver has its own map, TPIDR_EL1 tells them where the home memory is.
    msr     tpidr_el1, x19
    adrp    x0, early_vectors
    add     x0, x0, :lo12:early_vectors
    msr     vbar_el1, x0
    isb
    bl      capelin_reset_el1
    msr     tpidr_el1, x19

    // Nothing is written unless these are the arguments of that home memory: the block
    // that the kernel which started us has entered as ours.
    ldr     x0, =__memory_bytes
    add     x0, x19, x0
    ldr     x1, [x0, #{args_home}]
    cmp     x1, x19
    b.ne    early_stop

    // First map, by pages, of the 2 MiB block that the image is linked in: text and
    // constants from x21, not writable, all else from x19, not executable. It stands at
    // the linked address and at text's physical one, where only text is what it is
    // there. The CPU driver builds the real one and drops this.
    ldr     x0, =__tables_offset
    add     x0, x19, x0
    add     x1, x0, #({early_tables} * 4096)
0:  stp     xzr, xzr, [x0], #16         // the file doesn't hold them; never trust what lay there
    cmp     x0, x1
    b.lo    0b
    ldr     x0, =__tables_offset
    add     x0, x19, x0                 // L0 low, L1 low, L2 low, L0 high, L1 high, L2 high, L3, empty
    mov     x9, #3                      // table descriptor
    // pages
    add     x8, x0, #(6 * 4096)
    ldr     x2, =__memory_bytes
    add     x2, x2, #4096               // the arguments' page, too
    ldr     x3, =__text_bytes
    ldr     x4, ={text_page}
    orr     x4, x4, x21
    ldr     x5, ={data_page}
    orr     x5, x5, x19
    mov     x6, xzr
    mov     x10, x8
2:  cmp     x6, x3
    csel    x7, x4, x5, lo
    str     x7, [x10], #8
    add     x4, x4, #4096
    add     x5, x5, #4096
    add     x6, x6, #4096
    cmp     x6, x2
    b.lo    2b
    orr     x6, x8, x9                  // its place in both halves
    // low half
    ubfx    x2, x21, #39, #9
    add     x3, x0, #4096
    orr     x4, x3, x9
    str     x4, [x0, x2, lsl #3]
    ubfx    x2, x21, #30, #9
    add     x5, x0, #8192
    orr     x4, x5, x9
    str     x4, [x3, x2, lsl #3]
    ubfx    x2, x21, #21, #9
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
    // Written past the caches: whoever zeroed the image may have left lines there.
    mov     x10, x0
    mov     x11, x7
    bl      capelin_discard_lines       // x0..x1

    ldr     x4, ={tcr}
    mrs     x2, id_aa64mmfr0_el1
    bfi     x4, x2, #32, #3             // IPS := PARange, at most 48 bits
    and     x3, x2, #0xf
    cmp     x3, #5
    b.ls    8f
    mov     x3, #5
    bfi     x4, x3, #32, #3
8:  ubfx    x3, x2, #4, #4              // ASIDBits
    cbz     x3, 4f
    orr     x4, x4, #(1 << 36)          // 16-bit ASIDs
4:  mov     x0, x10
    mov     x1, x11
    ldr     x2, ={sctlr}
    ldr     x3, ={mair}
    bl      capelin_enable_translation
    ldr     x1, =start_high
    br      x1
.ltorg

// An exception before the CPU driver's own map: the vectors are reached at their
// physical address, with the MMU off or by the first map's lower half. What we are is
// said on the console that the arguments name, since nobody else would know.
.balign 2048
early_vectors:
.rept 16
    .balign 128
    b       early_exception
.endr

early_exception:
    mrs     x21, esr_el1
    mrs     x22, elr_el1
    mrs     x23, far_el1
    adrp    x0, early_stop_vectors
    add     x0, x0, :lo12:early_stop_vectors
    msr     vbar_el1, x0                // a fault on the way ends in silence
    isb
    mrs     x0, tpidr_el1
    cbz     x0, 1f                      // while that is reset, x19 is what it was
    mov     x19, x0
1:  bl      capelin_reset_el1           // the MMU is off: devices are where they are
    ldr     x0, =__memory_bytes         // there lie the arguments
    add     x19, x19, x0
    adr     x24, early_text
1:  ldrb    w25, [x24], #1
    cbz     w25, early_stop
    cmp     w25, #'%'                   // these stand for the registers
    b.eq    4f
    cmp     w25, #'&'
    b.eq    5f
    cmp     w25, #'@'
    b.eq    6f
    bl      early_put
    b       1b
4:  mov     x26, x21
    b       7f
5:  mov     x26, x22
    b       7f
6:  mov     x26, x23
7:  mov     w27, #16
8:  ror     x26, x26, #60
    and     w25, w26, #0xf
    add     w25, w25, #'0'
    cmp     w25, #'9'
    b.ls    9f
    add     w25, w25, #('a' - '0' - 10)
9:  bl      early_put
    subs    w27, w27, #1
    b.ne    8b
    b       1b

// Writes w25 to the console of the arguments at x19, if there is room within a while.
early_put:
    ldr     w0, [x19, #{console_kind}]
    ldr     x1, [x19, #{console_base}]
    ldr     w2, [x19, #{console_shift}]
    mov     w5, #0x10000
    cmp     w0, #{console_pl011}
    b.eq    2f
    cmp     w0, #{console_ns16550}
    b.ne    4f
    mov     x3, #5                      // line status; bit 5: room
    lsl     x3, x3, x2
    add     x3, x1, x3
1:  subs    w5, w5, #1
    b.eq    4f
    ldrb    w4, [x3]
    tbz     w4, #5, 1b
    strb    w25, [x1]
    ret
2:  add     x3, x1, #0x18               // flags; bit 5: full
3:  subs    w5, w5, #1
    b.eq    4f
    ldr     w4, [x3]
    tbnz    w4, #5, 3b
    str     w25, [x1]
4:  ret

early_text:
    .asciz  "\r\ncapelin: fatal: CPU driver: exception before its own map: ESR 0x% PC 0x& FAR 0x@\r\n"

.balign 2048
early_stop_vectors:
.rept 16
    .balign 128
    b       early_stop
.endr
early_stop:
    wfi
    b       early_stop

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
    mov     x2, x21
    bl      kernel_main
7:  wfi
    b       7b
.ltorg
