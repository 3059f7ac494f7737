/*
 * Into a guest and out of it.
 *
 * enter_guest() keeps the hypervisor's own registers on its stack, fills the CPU with the guest's and leaves by ERET.
 * Whatever then happens that is the hypervisor's business arrives at one of the vectors for "a lower exception level":
 * the guest's registers go back to its `struct vm`, and enter_guest() returns as if it had been an ordinary call.
 */
#define VM_PC 248
#define VM_PSTATE 256
#define FRAME_SIZE 112
#define FRAME_VM 96

        .text
        .global enter_guest
        .type   enter_guest, %function
enter_guest:
        sub     sp, sp, #FRAME_SIZE
        stp     x19, x20, [sp, #0]
        stp     x21, x22, [sp, #16]
        stp     x23, x24, [sp, #32]
        stp     x25, x26, [sp, #48]
        stp     x27, x28, [sp, #64]
        stp     x29, x30, [sp, #80]
        str     x0, [sp, #FRAME_VM]

        ldr     x1, [x0, #VM_PC]
        ldr     x2, [x0, #VM_PSTATE]
        msr     elr_el2, x1
        msr     spsr_el2, x2
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
        .size   enter_guest, . - enter_guest

/* x0 and x1 of the guest are on the stack, w1 says which vector was taken. */
        .type   leave_guest, %function
leave_guest:
        ldr     x0, [sp, #16 + FRAME_VM]
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
        ldp     x2, x3, [sp], #16
        stp     x2, x3, [x0, #0]
        mrs     x2, elr_el2
        mrs     x3, spsr_el2
        str     x2, [x0, #VM_PC]
        str     x3, [x0, #VM_PSTATE]

        mov     w0, w1
        ldp     x19, x20, [sp, #0]
        ldp     x21, x22, [sp, #16]
        ldp     x23, x24, [sp, #32]
        ldp     x25, x26, [sp, #48]
        ldp     x27, x28, [sp, #64]
        ldp     x29, x30, [sp, #80]
        add     sp, sp, #FRAME_SIZE
        ret
        .size   leave_guest, . - leave_guest

        .macro  from_guest kind
        .balign 0x80
        stp     x0, x1, [sp, #-16]!
        mov     w1, #\kind
        b       leave_guest
        .endm

        .macro  own_fault
        .balign 0x80
        mrs     x0, esr_el2
        mrs     x1, elr_el2
        mrs     x2, far_el2
        b       hyp_fault
        .endm

        .balign 0x800
        .global hyp_vectors
hyp_vectors:
        .rept   8                       // from EL2 itself: never meant to happen
        own_fault
        .endr
        from_guest 0                    // from EL1 or EL0 in AArch64 state
        from_guest 1
        from_guest 2
        from_guest 3
        .rept   4                       // from AArch32: these guests have none
        own_fault
        .endr

/* The vector registers, 528 bytes: q0 to q31, FPCR, FPSR. */
        .arch_extension fp
        .arch_extension simd
        .macro  all_vectors instruction
        \instruction q0, q1, [x0], #32
        \instruction q2, q3, [x0], #32
        \instruction q4, q5, [x0], #32
        \instruction q6, q7, [x0], #32
        \instruction q8, q9, [x0], #32
        \instruction q10, q11, [x0], #32
        \instruction q12, q13, [x0], #32
        \instruction q14, q15, [x0], #32
        \instruction q16, q17, [x0], #32
        \instruction q18, q19, [x0], #32
        \instruction q20, q21, [x0], #32
        \instruction q22, q23, [x0], #32
        \instruction q24, q25, [x0], #32
        \instruction q26, q27, [x0], #32
        \instruction q28, q29, [x0], #32
        \instruction q30, q31, [x0], #32
        .endm

        .global vectors_save
        .type   vectors_save, %function
vectors_save:
        all_vectors stp
        mrs     x1, fpcr
        mrs     x2, fpsr
        stp     x1, x2, [x0]
        ret
        .size   vectors_save, . - vectors_save

        .global vectors_load
        .type   vectors_load, %function
vectors_load:
        all_vectors ldp
        ldp     x1, x2, [x0]
        msr     fpcr, x1
        msr     fpsr, x2
        ret
        .size   vectors_load, . - vectors_load
