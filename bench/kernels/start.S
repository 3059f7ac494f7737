/*
 * Entry of the benchmark program, at EL2 or EL1: a stack, the MMU on over an identity map (as any real program runs), FP
 * enabled, then main(). When main() returns, the machine is switched off.
 */
        .section .text.start, "ax"
        .global _start
_start:
        adrp    x1, __stack_end
        add     sp, x1, :lo12:__stack_end
        mov     x29, xzr
        mov     x30, xzr
        adrp    x1, __bss_start
        add     x1, x1, :lo12:__bss_start
        adrp    x2, __bss_end
        add     x2, x2, :lo12:__bss_end
1:      cmp     x1, x2
        b.hs    2f
        stp     xzr, xzr, [x1], #16
        b       1b

2:      // Level 1 of a 39-bit space: 1 GiB of devices, then 3 GiB of normal memory.
        adrp    x0, table
        add     x0, x0, :lo12:table
        mov     x1, #0x0401             // block, AF, attribute 0
        mov     x2, #0x40000000
        mov     x3, #0x0705             // block, AF, inner shareable, attribute 1
        orr     x3, x3, x2
        str     x1, [x0]
        str     x3, [x0, #8]
        add     x3, x3, x2
        str     x3, [x0, #16]
        add     x3, x3, x2
        str     x3, [x0, #24]
        adrp    x9, vectors
        add     x9, x9, :lo12:vectors
        mov     x4, #0xff04             // attribute 0: device nGnRE, 1: normal write-back
        mov     x6, #0x1005             // SCTLR: M, C, I
        mrs     x7, CurrentEL
        cmp     x7, #8
        b.ne    3f

        ldr     x5, =0x80823519         // T0SZ 25, write-back, inner shareable, 40 bits
        msr     vbar_el2, x9
        msr     mair_el2, x4
        msr     tcr_el2, x5
        msr     ttbr0_el2, x0
        mov     x8, #0x33ff
        msr     cptr_el2, x8
        isb
        mrs     x8, sctlr_el2
        orr     x8, x8, x6
        msr     sctlr_el2, x8
        isb
        bl      main
off_el2:
        ldr     w0, =0x84000008         // PSCI SYSTEM_OFF
        smc     #0
        b       4f

3:      ldr     x5, =0x200803519        // the same, and no walks of TTBR1
        msr     vbar_el1, x9
        msr     mair_el1, x4
        msr     tcr_el1, x5
        msr     ttbr0_el1, x0
        mov     x8, #0x300000
        msr     cpacr_el1, x8
        isb
        mrs     x8, sctlr_el1
        orr     x8, x8, x6
        msr     sctlr_el1, x8
        isb
        bl      main
off_el1:
        ldr     w0, =0x84000008
        hvc     #0
4:      wfi
        b       4b

// No exception is expected: say which, and end.
        .balign 2048
vectors:
        .rept   16
        b       exception
        .balign 128
        .endr
exception:
        mrs     x19, CurrentEL
        cmp     x19, #8
        b.ne    5f
        mrs     x0, esr_el2
        mrs     x1, elr_el2
        bl      failed
        b       off_el2
5:      mrs     x0, esr_el1
        mrs     x1, elr_el1
        bl      failed
        b       off_el1

        .bss
        .balign 4096
table:  .skip   4096
