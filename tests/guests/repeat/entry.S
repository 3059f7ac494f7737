/* Where the other CPUs begin (X0: their number), and the vectors of EL2. */
        .text
        .global secondary_entry
secondary_entry:
        adrp    x1, stacks
        add     x1, x1, :lo12:stacks
        add     x2, x0, #1
        add     x1, x1, x2, lsl #12
        mov     sp, x1
        mov     x29, xzr
        mov     x30, xzr
        bl      secondary_main
1:      wfi
        b       1b

        .macro  vector target
        .balign 0x80
        b       \target
        .endm

        .balign 0x800
        .global vectors
vectors:
        .rept   4
        vector  unexpected
        .endr
        vector  unexpected
        vector  irq
        .rept   10
        vector  unexpected
        .endr

irq:    stp     x0, x1, [sp, #-192]!
        stp     x2, x3, [sp, #16]
        stp     x4, x5, [sp, #32]
        stp     x6, x7, [sp, #48]
        stp     x8, x9, [sp, #64]
        stp     x10, x11, [sp, #80]
        stp     x12, x13, [sp, #96]
        stp     x14, x15, [sp, #112]
        stp     x16, x17, [sp, #128]
        stp     x18, x29, [sp, #144]
        str     x30, [sp, #160]
        bl      interrupt
        ldr     x30, [sp, #160]
        ldp     x18, x29, [sp, #144]
        ldp     x16, x17, [sp, #128]
        ldp     x14, x15, [sp, #112]
        ldp     x12, x13, [sp, #96]
        ldp     x10, x11, [sp, #80]
        ldp     x8, x9, [sp, #64]
        ldp     x6, x7, [sp, #48]
        ldp     x4, x5, [sp, #32]
        ldp     x2, x3, [sp, #16]
        ldp     x0, x1, [sp], #192
        eret
