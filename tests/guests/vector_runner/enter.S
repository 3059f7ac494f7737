// Entry point, and the switch into and out of a test case. A case always ends in a signal (a BRK behind its last word at the
// latest), so the state afterwards is read from the signal frame and only the way in is written here.

        .text
        .globl  _start
_start: mov     x29, xzr
        mov     x30, xzr
        bl      run
        mov     x8, #93                 // exit(run())
        svc     #0

// void enter(const struct test_case *): saves what the C side needs, loads the whole state, goes to CASE_CODE.
        .globl  enter
enter:  adrp    x1, context
        add     x1, x1, :lo12:context
        stp     x19, x20, [x1]
        stp     x21, x22, [x1, #16]
        stp     x23, x24, [x1, #32]
        stp     x25, x26, [x1, #48]
        stp     x27, x28, [x1, #64]
        stp     x29, x30, [x1, #80]
        mov     x2, sp
        str     x2, [x1, #96]
        mov     x30, x0
        ldr     x0, [x30, #32]
        msr     nzcv, x0
        ldp     w0, w1, [x30, #40]
        msr     fpcr, x0
        msr     fpsr, x1
        add     x0, x30, #384
        ldp     q0, q1, [x0, #0]
        ldp     q2, q3, [x0, #32]
        ldp     q4, q5, [x0, #64]
        ldp     q6, q7, [x0, #96]
        ldp     q8, q9, [x0, #128]
        ldp     q10, q11, [x0, #160]
        ldp     q12, q13, [x0, #192]
        ldp     q14, q15, [x0, #224]
        ldp     q16, q17, [x0, #256]
        ldp     q18, q19, [x0, #288]
        ldp     q20, q21, [x0, #320]
        ldp     q22, q23, [x0, #352]
        ldp     q24, q25, [x0, #384]
        ldp     q26, q27, [x0, #416]
        ldp     q28, q29, [x0, #448]
        ldp     q30, q31, [x0, #480]
        add     x30, x30, #128
        ldr     x0, [x30, #31 * 8]
        mov     sp, x0
        ldp     x0, x1, [x30, #0]
        ldp     x2, x3, [x30, #16]
        ldp     x4, x5, [x30, #32]
        ldp     x6, x7, [x30, #48]
        ldp     x8, x9, [x30, #64]
        ldp     x10, x11, [x30, #80]
        ldp     x12, x13, [x30, #96]
        ldp     x14, x15, [x30, #112]
        ldp     x16, x17, [x30, #128]
        ldp     x18, x19, [x30, #144]
        ldp     x20, x21, [x30, #160]
        ldp     x22, x23, [x30, #176]
        ldp     x24, x25, [x30, #192]
        ldp     x26, x27, [x30, #208]
        ldp     x28, x29, [x30, #224]
        ldr     x30, [x30, #30 * 8]
        b       case_code               // from the linker: the code page + 0x800

// void leave(void): back to the caller of enter(), from the signal handler. The signal frame is abandoned.
        .globl  leave
leave:  adrp    x1, context
        add     x1, x1, :lo12:context
        ldr     x2, [x1, #96]
        mov     sp, x2
        ldp     x19, x20, [x1]
        ldp     x21, x22, [x1, #16]
        ldp     x23, x24, [x1, #32]
        ldp     x25, x26, [x1, #48]
        ldp     x27, x28, [x1, #64]
        ldp     x29, x30, [x1, #80]
        ret

        .bss
        .balign 16
context: .skip  112
