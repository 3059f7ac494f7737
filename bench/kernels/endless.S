/* For the debugger's benchmark: with the MMU on over an identity map, counts in X0 and stores to a page for ever. */
        .text
        .global _start
_start: adr     x0, table
        mov     x1, #0x0401
        mov     x2, #0x40000000
        mov     x3, #0x0705
        orr     x3, x3, x2
        str     x1, [x0]
        str     x3, [x0, #8]
        mov     x4, #0xff04
        ldr     x5, =0x80823519
        msr     mair_el2, x4
        msr     tcr_el2, x5
        msr     ttbr0_el2, x0
        isb
        mrs     x8, sctlr_el2
        mov     x6, #0x1005
        orr     x8, x8, x6
        msr     sctlr_el2, x8
        isb
        adr     x1, page
        mov     x0, #0x1000
loop:   add     x0, x0, #1
        str     x0, [x1]
        ldr     x2, [x1, #16]
        eor     x3, x3, x2
        b       loop
        .ltorg
        .balign 4096
table:  .skip   4096
page:   .skip   4096
