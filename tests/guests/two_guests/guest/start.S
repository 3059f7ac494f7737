/*
 * A guest's first instructions, its exception vectors, and the way to EL0 and back. Entered at EL1 at intermediate
 * physical address 0x40000000 with the MMU off: until it is on, only addresses relative to the pc are right.
 */
        .section .text.start, "ax"
        .global _start
        .type   _start, %function
_start:
        adrp    x1, __stack_end
        add     x1, x1, :lo12:__stack_end
        mov     sp, x1
        adrp    x1, __bss_start
        add     x1, x1, :lo12:__bss_start
        adrp    x2, __bss_end
        add     x2, x2, :lo12:__bss_end
1:      cmp     x1, x2
        b.hs    2f
        stp     xzr, xzr, [x1], #16
        b       1b

2:      bl      build_tables            // sets everything but SCTLR_EL1, whose value it returns
        msr     sctlr_el1, x0
        isb                             // the next instruction is fetched through the MMU, still at the low address

        ldr     x1, =KERNEL_OFFSET
        mov     x2, sp
        add     sp, x2, x1
        ldr     x0, =guest_main
        mov     x29, xzr
        mov     x30, xzr
        br      x0
        .ltorg
        .size   _start, . - _start

/* Everything a C function may change, and what the exception itself overwrites if another one follows. */
        .macro  save_frame
        sub     sp, sp, #192
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
        mrs     x0, elr_el1
        mrs     x1, spsr_el1
        stp     x0, x1, [sp, #160]
        str     x29, [sp, #176]
        .endm

        .text
restore_frame:
        ldp     x0, x1, [sp, #160]
        msr     elr_el1, x0
        msr     spsr_el1, x1
        ldp     x2, x3, [sp, #16]
        ldp     x4, x5, [sp, #32]
        ldp     x6, x7, [sp, #48]
        ldp     x8, x9, [sp, #64]
        ldp     x10, x11, [sp, #80]
        ldp     x12, x13, [sp, #96]
        ldp     x14, x15, [sp, #112]
        ldp     x16, x17, [sp, #128]
        ldp     x18, x30, [sp, #144]
        ldr     x29, [sp, #176]
        ldp     x0, x1, [sp, #0]
        add     sp, sp, #192
        eret

handle_irq:
        save_frame
        bl      guest_irq
        b       restore_frame

handle_sync:
        save_frame
        mov     x0, sp                  // struct frame
        mrs     x1, esr_el1
        mrs     x2, far_el1
        bl      guest_sync
        b       restore_frame

        .macro  vector to
        .balign 0x80
        b       \to
        .endm

        .balign 0x800
        .global guest_vectors
guest_vectors:
        .rept   4                       // SP_EL0 in use at EL1: not in this kernel
        vector  .
        .endr
        vector  handle_sync             // from EL1
        vector  handle_irq
        vector  .
        vector  .
        vector  handle_sync             // from EL0
        vector  handle_irq
        vector  .
        vector  .
        .rept   4                       // from AArch32
        vector  .
        .endr

/* uint64_t enter_user(entry, stack): runs EL0 until it calls leave_user(result). */
        .global enter_user
        .type   enter_user, %function
enter_user:
        stp     x29, x30, [sp, #-96]!
        stp     x19, x20, [sp, #16]
        stp     x21, x22, [sp, #32]
        stp     x23, x24, [sp, #48]
        stp     x25, x26, [sp, #64]
        stp     x27, x28, [sp, #80]
        adrp    x2, kernel_sp
        mov     x3, sp
        str     x3, [x2, :lo12:kernel_sp]
        msr     elr_el1, x0
        msr     spsr_el1, xzr           // EL0, interrupts not masked
        msr     sp_el0, x1
        mov     x29, xzr
        mov     x30, xzr
        eret
        .size   enter_user, . - enter_user

        .global leave_user
        .type   leave_user, %function
leave_user:
        adrp    x2, kernel_sp
        ldr     x3, [x2, :lo12:kernel_sp]
        mov     sp, x3
        ldp     x19, x20, [sp, #16]
        ldp     x21, x22, [sp, #32]
        ldp     x23, x24, [sp, #48]
        ldp     x25, x26, [sp, #64]
        ldp     x27, x28, [sp, #80]
        ldp     x29, x30, [sp], #96
        ret
        .size   leave_user, . - leave_user

        .bss
        .balign 8
kernel_sp:
        .skip   8
