/*
 * Changes of exception level: a hypercall and its return (EL1 to EL2), a system call and its return (EL0 to EL1). Only at
 * EL2; elsewhere they return 0. The lower levels run with their MMU off and touch no memory.
 */
        .text
        .macro  save
        mrs     x10, CurrentEL
        cmp     x10, #8
        b.ne    refuse
        mrs     x11, vbar_el2
        mov     x12, x0                 // rounds
        adr     x9, hyp_vectors
        msr     vbar_el2, x9
        mov     x9, #1 << 31            // HCR_EL2.RW: EL1 is AArch64
        msr     hcr_el2, x9
        ldr     x9, =0x30d00800         // SCTLR_EL1: RES1, MMU off
        msr     sctlr_el1, x9
        .endm

        .global hypercalls
hypercalls:
        save
        adr     x9, guest
        mov     x10, #0x3c5             // EL1h, masked
        b       enter

        .global system_calls
system_calls:
        save
        adr     x9, os_vectors
        msr     vbar_el1, x9
        adr     x9, user
        mov     x10, #0x3c0             // EL0, masked
enter:  msr     elr_el2, x9
        msr     spsr_el2, x10
        isb
        eret
refuse: mov     x0, #0
        ret

guest:  hvc     #0
        subs    x0, x0, #1
        b.ne    guest
        hvc     #1

user:   svc     #0
        subs    x0, x0, #1
        b.ne    user
        svc     #1

        .balign 2048
hyp_vectors:
        .skip   0x400
        mrs     x9, esr_el2
        tbnz    x9, #0, 1f
        eret
1:      msr     vbar_el2, x11
        isb
        mov     x0, x12
        ret
        .balign 2048
os_vectors:
        .skip   0x400
        mrs     x9, esr_el1
        tbnz    x9, #0, 1f
        eret
1:      hvc     #1
        .balign 2048
