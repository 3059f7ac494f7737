/*
 * The first instructions of a program that owns the machine: a stack, a cleared .bss, then main(). Entered with all
 * interrupts masked, at EL2 with its MMU off. When main() returns, the machine is switched off.
 */
        .section .text.start, "ax"
        .global _start
        .type   _start, %function
_start:
        adrp    x1, __stack_end
        add     x1, x1, :lo12:__stack_end
        mov     sp, x1
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

2:      bl      main

        ldr     w0, =0x84000008         // PSCI SYSTEM_OFF
        smc     #0
3:      wfi
        b       3b
        .size   _start, . - _start
