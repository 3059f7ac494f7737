/*
 * The assembly half of the harness. `record` is one struct of registers: run_record() starts a snippet from it, and the
 * EL2 vectors fill it again. They use no stack, since a test may have misaligned or unmapped it.
 */
#define R_PC 248
#define R_PSTATE 256
#define R_SP 264
#define R_VECTOR 272
#define R_ACTIVE 280

        .text
        .global run_record
        .type   run_record, %function
run_record:
        stp     x29, x30, [sp, #-96]!
        stp     x19, x20, [sp, #16]
        stp     x21, x22, [sp, #32]
        stp     x23, x24, [sp, #48]
        stp     x25, x26, [sp, #64]
        stp     x27, x28, [sp, #80]
        adrp    x0, record
        add     x0, x0, :lo12:record
        mov     x1, sp
        str     x1, [x0, #R_SP]
        mov     x1, #1
        str     x1, [x0, #R_ACTIVE]
        ldr     x1, [x0, #R_PC]
        ldr     x2, [x0, #R_PSTATE]
        msr     elr_el2, x1
        msr     spsr_el2, x2
        isb
        ldp     x2, x3, [x0, #16]
        ldp     x4, x5, [x0, #32]
        ldp     x6, x7, [x0, #48]
        ldp     x8, x9, [x0, #64]
        ldp     x10, x11, [x0, #80]
        ldp     x12, x13, [x0, #96]
        ldp     x14, x15, [x0, #112]
        ldp     x16, x17, [x0, #128]
        ldp     x18, x19, [x0, #144]
        ldp     x20, x21, [x0, #160]
        ldp     x22, x23, [x0, #176]
        ldp     x24, x25, [x0, #192]
        ldp     x26, x27, [x0, #208]
        ldp     x28, x29, [x0, #224]
        ldr     x30, [x0, #240]
        ldp     x0, x1, [x0, #0]
        eret
        .size   run_record, . - run_record

        .type   finish, %function
finish: /* x0: record; x1: number of the vector; their old values are saved */
        stp     x2, x3, [x0, #16]
        stp     x4, x5, [x0, #32]
        stp     x6, x7, [x0, #48]
        stp     x8, x9, [x0, #64]
        stp     x10, x11, [x0, #80]
        stp     x12, x13, [x0, #96]
        stp     x14, x15, [x0, #112]
        stp     x16, x17, [x0, #128]
        stp     x18, x19, [x0, #144]
        stp     x20, x21, [x0, #160]
        stp     x22, x23, [x0, #176]
        stp     x24, x25, [x0, #192]
        stp     x26, x27, [x0, #208]
        stp     x28, x29, [x0, #224]
        str     x30, [x0, #240]
        mrs     x2, tpidr_el2
        str     x2, [x0, #0]
        str     x1, [x0, #R_VECTOR]
        mrs     x2, elr_el2
        str     x2, [x0, #R_PC]
        mrs     x2, spsr_el2
        str     x2, [x0, #R_PSTATE]
        ldr     x2, [x0, #R_ACTIVE]
        cbz     x2, own_fault
        str     xzr, [x0, #R_ACTIVE]
        ldr     x1, [x0, #R_SP]
        mov     sp, x1
        ldp     x19, x20, [sp, #16]
        ldp     x21, x22, [sp, #32]
        ldp     x23, x24, [sp, #48]
        ldp     x25, x26, [sp, #64]
        ldp     x27, x28, [sp, #80]
        ldp     x29, x30, [sp], #96
        ret
        .size   finish, . - finish

        .macro  el2_vector number
        .balign 0x80
        msr     tpidr_el2, x0
        adrp    x0, record
        add     x0, x0, :lo12:record
        str     x1, [x0, #8]
        mov     x1, #\number
        b       finish
        .endm

        .macro  el1_vector number
        .balign 0x80
        hvc     #0xe000 + \number
        .endm

        .balign 0x800
        .global el2_vectors
el2_vectors:
        .irp    number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        el2_vector \number
        .endr
        .balign 0x800
        .global el1_vectors
el1_vectors:
        .irp    number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        el1_vector \number
        .endr

/* Where snippets return to. */
        .balign 16
        .global done_el0, done_el1
done_el0:
        svc     #0xd0e
done_el1:
        hvc     #0xd0e
