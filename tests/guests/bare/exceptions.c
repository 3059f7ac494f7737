/*
 * Exceptions: where each is taken to, and what ESR, ELR, SPSR and FAR say; traps by HCR_EL2, CPACR_EL1, CPTR_EL2 and
 * MDCR_EL2; returns; virtual interrupts. DDI 0487 "The AArch64 System Level Programmers' Model", and the descriptions
 * of ESR_ELx and HCR_EL2.
 *
 * Not here, because QEMU 7.2 does not model it: SP alignment, WFE traps, alignment of device accesses (beyond.c).
 */
#include "harness/harness.h"

/* Calls, breakpoints, what is not an instruction. */
SNIPPET(svc_1234, "svc #0x1234");
SNIPPET(hvc_42, "hvc #0x42");
SNIPPET(smc_7, "smc #7");
SNIPPET(brk_f00d, "nop; brk #0xf00d");
SNIPPET(hlt_1, "hlt #1");
SNIPPET(udf, "nop; nop; .inst 0x00000000");
SNIPPET(unallocated, ".inst 0xffffffff");
SNIPPET(eret_only, "eret");
SNIPPET(pacga, ".inst 0x9ac23020"); /* Armv8.3 */
SNIPPET(sve, ".inst 0x04a0e3e0");   /* CNTW X0 */
SNIPPET(ldadd, "sub sp, sp, #16; str xzr, [sp]; mov x1, #5; .inst 0xf82103e0; ldr x0, [sp]; add sp, sp, #16");

#define EACH_LEVEL(what, snippet)          \
    do {                                   \
        try(what, PSTATE_EL0, snippet);    \
        try(what, PSTATE_EL1T, snippet);   \
        try(what, PSTATE_EL1H, snippet);   \
        try(what, PSTATE_EL2T, snippet);   \
        try(what, PSTATE_EL2H, snippet);   \
    } while (0)

static void calls(void) {
    section("SVC, HVC, SMC, BRK and undefined instructions");
    EACH_LEVEL("SVC #0x1234", svc_1234);
    EACH_LEVEL("HVC #0x42", hvc_42);
    EACH_LEVEL("BRK #0xf00d", brk_f00d);
    EACH_LEVEL("HLT #1", hlt_1);
    EACH_LEVEL("UDF #0", udf);
    EACH_LEVEL("0xffffffff", unallocated);
    EACH_LEVEL("PACGA", pacga);
    EACH_LEVEL("CNTW (SVE)", sve);
    EACH_LEVEL("LDADD (LSE)", ldadd);
    try("ERET", PSTATE_EL0, eret_only);

    /* No EL3, so SMC is the firmware's: EL0 may not, a number PSCI does not know gives -1. */
    try_with("SMC #7, x0=0x84001234", PSTATE_EL0, smc_7, 0x84001234, 0, 0);
    try_with("SMC #7, x0=0x84001234", PSTATE_EL1H, smc_7, 0x84001234, 0, 0);
    try_with("SMC #7, x0=0x84001234", PSTATE_EL2H, smc_7, 0x84001234, 0, 0);
    WRITE(HCR_EL2, HCR_RW | HCR_TSC);
    try("SMC #7, TSC", PSTATE_EL0, smc_7);
    try("SMC #7, TSC", PSTATE_EL1H, smc_7);
    try_with("SMC #7, TSC", PSTATE_EL2H, smc_7, 0x84001234, 0, 0);
    WRITE(HCR_EL2, HCR_RW | HCR_HCD);
    try("HVC #0x42, HCD", PSTATE_EL2H, hvc_42); /* only here: at EL1 the harness itself needs HVC */

    section("flags and masks are kept in SPSR");
    try("SVC, NZCV=1010, DAIF=0101", PSTATE_EL0 | UINT64_C(0xa) << 28 | PSTATE_A | PSTATE_F, svc_1234);
    try("SVC, NZCV=0101, DAIF=1010", PSTATE_EL1H | UINT64_C(0x5) << 28 | PSTATE_D | PSTATE_I, svc_1234);
    try("HVC, NZCV=1111, DAIF=1111", PSTATE_EL1H | UINT64_C(0xf) << 28 | PSTATE_DAIF, hvc_42);
    try("SVC, NZCV=0110, DAIF=1110", PSTATE_EL2H | UINT64_C(0x6) << 28 | PSTATE_D | PSTATE_A | PSTATE_I, svc_1234);
}

/* HCR_EL2.TGE: exceptions of EL0 that would go to EL1 go to EL2. */
SNIPPET(read_sctlr, "mrs x0, sctlr_el1");
SNIPPET(branch_odd, "adr x0, branch_odd; add x0, x0, #6; br x0");
SNIPPET(fp_add, "fadd d0, d0, d0");

static void general_exceptions(void) {
    section("HCR_EL2.TGE");
    WRITE(HCR_EL2, HCR_RW | HCR_TGE);
    try("SVC #0x1234", PSTATE_EL0, svc_1234);
    try("HVC #0x42", PSTATE_EL0, hvc_42);
    try("SMC #7", PSTATE_EL0, smc_7);
    try("BRK #0xf00d", PSTATE_EL0, brk_f00d);
    try("UDF #0", PSTATE_EL0, udf);
    try("MRS SCTLR_EL1", PSTATE_EL0, read_sctlr);
    try("BR to pc+6", PSTATE_EL0, branch_odd);
    try("SVC #0x1234", PSTATE_EL2H, svc_1234);
    WRITE(CPACR_EL1, 0);
    try("FADD, FPEN=00", PSTATE_EL0, fp_add);
}

SNIPPET(ldr_q, "ldr q0, [sp, #-16]");
SNIPPET(read_fpcr, "mrs x0, fpcr");
SNIPPET(read_cpacr, "mrs x3, cpacr_el1");
SNIPPET(write_cpacr, "msr cpacr_el1, x9");

static void floating_point(void) {
    section("floating point: CPACR_EL1.FPEN and CPTR_EL2.TFP");
    for (unsigned fpen = 0; fpen < 4; fpen++) {
        char name[40];
        WRITE(CPACR_EL1, fpen << 20);
        print_to(name, sizeof(name), "FADD, FPEN=%u", fpen);
        try_with(name, PSTATE_EL0, fp_add, 0, 0, 0);
        try(name, PSTATE_EL1H, fp_add);
        try(name, PSTATE_EL2H, fp_add);
    }
    WRITE(CPACR_EL1, 0);
    try("LDR Q, FPEN=0", PSTATE_EL1H, ldr_q);
    try("MRS FPCR, FPEN=0", PSTATE_EL1H, read_fpcr);
    WRITE(CPTR_EL2, CPTR_EL2_RES1 | CPTR_EL2_TFP);
    try("FADD, FPEN=0, TFP", PSTATE_EL0, fp_add);
    try("FADD, FPEN=0, TFP", PSTATE_EL1H, fp_add);
    WRITE(CPACR_EL1, 3 << 20);
    try("FADD, TFP", PSTATE_EL0, fp_add);
    try("FADD, TFP", PSTATE_EL1H, fp_add);
    try("FADD, TFP", PSTATE_EL2H, fp_add);
    try("MRS FPCR, TFP", PSTATE_EL1H, read_fpcr);
    world_reset();
    WRITE(CPTR_EL2, CPTR_EL2_RES1 | BIT(31)); /* TCPAC */
    try("MRS X3, CPACR_EL1, TCPAC", PSTATE_EL1H, read_cpacr);
    try("MSR CPACR_EL1, X9, TCPAC", PSTATE_EL1H, write_cpacr);
    try("MRS X3, CPACR_EL1, TCPAC", PSTATE_EL2H, read_cpacr);
}

/* One instruction each, under one bit of HCR_EL2. */
struct trap {
    const char *name;
    const char *snippet;
};

#define TRAP(identifier, text) SNIPPET(trap_##identifier, text);
#define ENTRY(identifier, text) {text, trap_##identifier}

#define TVM_WRITES(X)                                                                                         \
    X(w_sctlr, "msr sctlr_el1, x1") X(w_ttbr0, "msr ttbr0_el1, x2") X(w_ttbr1, "msr ttbr1_el1, x3")           \
    X(w_tcr, "msr tcr_el1, x4") X(w_esr, "msr esr_el1, x5") X(w_far, "msr far_el1, x6")                       \
    X(w_afsr0, "msr afsr0_el1, x7") X(w_afsr1, "msr afsr1_el1, x8") X(w_mair, "msr mair_el1, x9")             \
    X(w_amair, "msr amair_el1, x10") X(w_contextidr, "msr contextidr_el1, xzr")
#define TRVM_READS(X)                                                                                         \
    X(r_sctlr, "mrs x1, sctlr_el1") X(r_ttbr0, "mrs x2, ttbr0_el1") X(r_ttbr1, "mrs x3, ttbr1_el1")           \
    X(r_tcr, "mrs x4, tcr_el1") X(r_esr, "mrs x5, esr_el1") X(r_far, "mrs x6, far_el1")                       \
    X(r_afsr0, "mrs x7, afsr0_el1") X(r_afsr1, "mrs x8, afsr1_el1") X(r_mair, "mrs x9, mair_el1")             \
    X(r_amair, "mrs x10, amair_el1") X(r_contextidr, "mrs xzr, contextidr_el1")
#define TID1_READS(X) X(r_revidr, "mrs x11, revidr_el1") X(r_aidr, "mrs x12, aidr_el1")
#define TID2_ACCESSES(X)                                                                                      \
    X(r_ctr, "mrs x13, ctr_el0") X(r_ccsidr, "mrs x14, ccsidr_el1") X(r_clidr, "mrs x15, clidr_el1")          \
    X(r_csselr, "mrs x16, csselr_el1") X(w_csselr, "msr csselr_el1, x17")
#define TID3_READS(X)                                                                                         \
    X(r_pfr0, "mrs x18, id_aa64pfr0_el1") X(r_pfr1, "mrs x19, id_aa64pfr1_el1")                               \
    X(r_dfr0, "mrs x20, id_aa64dfr0_el1") X(r_dfr1, "mrs x21, id_aa64dfr1_el1")                               \
    X(r_isar0, "mrs x22, id_aa64isar0_el1") X(r_isar1, "mrs x23, id_aa64isar1_el1")                           \
    X(r_mmfr0, "mrs x24, id_aa64mmfr0_el1") X(r_mmfr1, "mrs x25, id_aa64mmfr1_el1")                           \
    X(r_mmfr2, "mrs x26, id_aa64mmfr2_el1") X(r_afr0, "mrs x27, id_aa64afr0_el1")                             \
    X(r_afr1, "mrs x28, id_aa64afr1_el1") X(r_pfr0_32, "mrs x29, id_pfr0_el1") X(r_mvfr0, "mrs x0, mvfr0_el1")
#define TACR_ACCESSES(X) X(r_actlr, "mrs x1, actlr_el1") X(w_actlr, "msr actlr_el1, x2")
#define TSW_WRITES(X) X(isw, "dc isw, x1") X(csw, "dc csw, x2") X(cisw, "dc cisw, x3")
#define TPC_WRITES(X) X(ivac, "dc ivac, x1") X(cvac, "dc cvac, x2") X(civac, "dc civac, x3")
#define TPU_WRITES(X)                                                                                         \
    X(ivau, "ic ivau, x1") X(iallu, "ic iallu") X(ialluis, "ic ialluis") X(cvau, "dc cvau, x2")
#define TTLB_WRITES(X)                                                                                        \
    X(vmalle1, "tlbi vmalle1") X(vae1, "tlbi vae1, x1") X(aside1, "tlbi aside1, x2")                          \
    X(vaae1, "tlbi vaae1, x3") X(vale1, "tlbi vale1, x4") X(vaale1, "tlbi vaale1, x5")                        \
    X(vmalle1is, "tlbi vmalle1is") X(vae1is, "tlbi vae1is, x6") X(aside1is, "tlbi aside1is, x7")              \
    X(vaae1is, "tlbi vaae1is, x8") X(vale1is, "tlbi vale1is, x9") X(vaale1is, "tlbi vaale1is, x10")
#define TDZ_WRITES(X) X(zva, "dc zva, x0")
#define DEBUG_ACCESSES(X)                                                                                     \
    X(r_mdscr, "mrs x1, mdscr_el1") X(w_mdscr, "msr mdscr_el1, x2") X(r_bvr0, "mrs x3, dbgbvr0_el1")          \
    X(r_bcr0, "mrs x4, dbgbcr0_el1") X(r_wvr0, "mrs x5, dbgwvr0_el1") X(r_wcr0, "mrs x6, dbgwcr0_el1")        \
    X(r_mdrar, "mrs x7, mdrar_el1") X(w_oslar, "msr oslar_el1, xzr") X(r_oslsr, "mrs x8, oslsr_el1")          \
    X(r_osdlr, "mrs x9, osdlr_el1")

TVM_WRITES(TRAP) TRVM_READS(TRAP) TID1_READS(TRAP) TID2_ACCESSES(TRAP) TID3_READS(TRAP) TACR_ACCESSES(TRAP)
TSW_WRITES(TRAP) TPC_WRITES(TRAP) TPU_WRITES(TRAP) TTLB_WRITES(TRAP) TDZ_WRITES(TRAP) DEBUG_ACCESSES(TRAP)

#define X(identifier, text) ENTRY(identifier, text),
static const struct trap tvm[] = {TVM_WRITES(X)};
static const struct trap trvm[] = {TRVM_READS(X)};
static const struct trap tid1[] = {TID1_READS(X)};
static const struct trap tid2[] = {TID2_ACCESSES(X)};
static const struct trap tid3[] = {TID3_READS(X)};
static const struct trap tacr[] = {TACR_ACCESSES(X)};
static const struct trap tsw[] = {TSW_WRITES(X)};
static const struct trap tpc[] = {TPC_WRITES(X)};
static const struct trap tpu[] = {TPU_WRITES(X)};
static const struct trap ttlb[] = {TTLB_WRITES(X)};
static const struct trap tdz[] = {TDZ_WRITES(X)};
static const struct trap debug[] = {DEBUG_ACCESSES(X)};
#undef X

/* Under the bit, and under all other bits but this one: the instruction must complete or trap by another name. */
static void traps(const char *title, uint64_t bit, uint64_t pstate, const struct trap *list, size_t count) {
    section(title);
    for (size_t i = 0; i < count; i++) {
        WRITE(HCR_EL2, HCR_RW | bit);
        isb();
        for (unsigned r = 0; r < 30; r++)
            world.x[r] = 0x40800000; /* an address that may be cleaned or zeroed */
        try(list[i].name, pstate, list[i].snippet);
        world_reset();
    }
}

/* x0 is not a value to print where the instruction read a register that differs between implementations. */
static void complete(const char *title, uint64_t hcr, uint64_t pstate, const struct trap *list, size_t count) {
    unsigned returned = 0;

    for (size_t i = 0; i < count; i++) {
        WRITE(HCR_EL2, HCR_RW | hcr);
        isb();
        for (unsigned r = 0; r < 30; r++)
            world.x[r] = 0x40800000;
        /* The registers EL1 may really change now have to keep it alive. */
        world.x[1] = list == tvm || list == tacr ? SCTLR_EL1_RES1 : 0x40800000;
        returned += run(pstate, list[i].snippet).taken == RETURNED;
        world_reset();
    }
    print("%s: %u of %u complete\n", title, returned, (unsigned)count);
}

#define LIST(list) (list), ARRAY_LENGTH(list)

static void hypervisor_traps(void) {
    static const uint64_t all = HCR_TVM | HCR_TRVM | HCR_TID1 | HCR_TID2 | HCR_TID3 | HCR_TACR | HCR_TSW | HCR_TPC |
                                HCR_TPU | HCR_TTLB | HCR_TDZ;

    traps("HCR_EL2.TVM", HCR_TVM, PSTATE_EL1H, LIST(tvm));
    traps("HCR_EL2.TRVM", HCR_TRVM, PSTATE_EL1H, LIST(trvm));
    traps("HCR_EL2.TID1", HCR_TID1, PSTATE_EL1H, LIST(tid1));
    traps("HCR_EL2.TID2", HCR_TID2, PSTATE_EL1H, LIST(tid2));
    traps("HCR_EL2.TID3", HCR_TID3, PSTATE_EL1H, LIST(tid3));
    traps("HCR_EL2.TACR", HCR_TACR, PSTATE_EL1H, LIST(tacr));
    traps("HCR_EL2.TSW", HCR_TSW, PSTATE_EL1H, LIST(tsw));
    traps("HCR_EL2.TPC", HCR_TPC, PSTATE_EL1H, LIST(tpc));
    traps("HCR_EL2.TPU", HCR_TPU, PSTATE_EL1H, LIST(tpu));
    traps("HCR_EL2.TTLB", HCR_TTLB, PSTATE_EL1H, LIST(ttlb));
    traps("HCR_EL2.TDZ", HCR_TDZ, PSTATE_EL1H, LIST(tdz));

    section("the same without their bits, but with all others");
    complete("TVM", all & ~HCR_TVM, PSTATE_EL1H, LIST(tvm));
    complete("TRVM", all & ~HCR_TRVM, PSTATE_EL1H, LIST(trvm));
    complete("TID1", all & ~HCR_TID1, PSTATE_EL1H, LIST(tid1));
    complete("TID2", all & ~HCR_TID2, PSTATE_EL1H, LIST(tid2));
    complete("TID3", all & ~HCR_TID3, PSTATE_EL1H, LIST(tid3));
    complete("TACR", all & ~HCR_TACR, PSTATE_EL1H, LIST(tacr));
    complete("TSW", all & ~HCR_TSW, PSTATE_EL1H, LIST(tsw));
    complete("TPC", all & ~HCR_TPC, PSTATE_EL1H, LIST(tpc));
    complete("TPU", all & ~HCR_TPU, PSTATE_EL1H, LIST(tpu));
    complete("TTLB", all & ~HCR_TTLB, PSTATE_EL1H, LIST(ttlb));

    section("EL2 is not trapped");
    complete("TVM, at EL2", all, PSTATE_EL2H, LIST(trvm));
    complete("TID3, at EL2", all, PSTATE_EL2H, LIST(tid3));
    complete("TTLB, at EL2", all, PSTATE_EL2H, LIST(ttlb));

    section("EL0: EL1's controls come first");
    WRITE(HCR_EL2, HCR_RW | all);
    try("mrs x13, ctr_el0", PSTATE_EL0, trap_r_ctr);
    try_with("dc cvau, x2", PSTATE_EL0, trap_cvau, 0, 0, 0x40800000);
    try_with("dc cvac, x2", PSTATE_EL0, trap_cvac, 0, 0, 0x40800000);
    try_with("ic ivau, x1", PSTATE_EL0, trap_ivau, 0, 0x40800000, 0);
    try_with("dc zva, x0", PSTATE_EL0, trap_zva, 0x40800000, 0, 0);
    WRITE(SCTLR_EL1, SCTLR_EL1_RES1);
    try("mrs x13, ctr_el0, UCT=0", PSTATE_EL0, trap_r_ctr);
    try_with("dc cvau, x2, UCI=0", PSTATE_EL0, trap_cvau, 0, 0, 0x40800000);
    try_with("dc cvac, x2, UCI=0", PSTATE_EL0, trap_cvac, 0, 0, 0x40800000);
    try_with("ic ivau, x1, UCI=0", PSTATE_EL0, trap_ivau, 0, 0x40800000, 0);
    try_with("dc zva, x0, DZE=0", PSTATE_EL0, trap_zva, 0x40800000, 0, 0);
    WRITE(HCR_EL2, HCR_RW);
    try("mrs x13, ctr_el0, UCT=0", PSTATE_EL0, trap_r_ctr);
    try_with("dc cvau, x2, UCI=0", PSTATE_EL0, trap_cvau, 0, 0, 0x40800000);

    section("MDCR_EL2.TDA, TDRA, TDOSA");
    WRITE(MDCR_EL2, READ(MDCR_EL2) | BIT(9));
    for (size_t i = 0; i < ARRAY_LENGTH(debug) - 4; i++)
        try(debug[i].name, PSTATE_EL1H, debug[i].snippet);
    WRITE(MDCR_EL2, (READ(MDCR_EL2) & ~BIT(9)) | BIT(10));
    for (size_t i = ARRAY_LENGTH(debug) - 3; i < ARRAY_LENGTH(debug); i++)
        try(debug[i].name, PSTATE_EL1H, debug[i].snippet);
    WRITE(MDCR_EL2, (READ(MDCR_EL2) & ~BIT(10)) | BIT(11));
    try("mrs x7, mdrar_el1", PSTATE_EL1H, trap_r_mdrar);

    section("MDCR_EL2.TDE: breakpoints of EL0 and EL1 go to EL2");
    WRITE(MDCR_EL2, READ(MDCR_EL2) | BIT(8));
    EACH_LEVEL("BRK #0xf00d", brk_f00d);
}

/* System registers that are not there for this level, or not in this direction. */
SNIPPET(read_hcr, "mrs x0, hcr_el2");
SNIPPET(read_scr, "mrs x0, scr_el3");
SNIPPET(write_midr, "msr s3_0_c0_c0_0, x0");
SNIPPET(read_oslar, "mrs x0, s2_0_c1_c0_4");
SNIPPET(unallocated_register, "mrs x0, s3_0_c0_c2_6; nop");
SNIPPET(no_register, "mrs x0, s3_7_c9_c9_7");
SNIPPET(read_elr, "mrs x0, elr_el1; mov x0, #1");
SNIPPET(read_sp_el0, "mrs x0, sp_el0; mov x0, #1");
SNIPPET(read_sp_el1, "mrs x0, sp_el1; mov x0, #1");
SNIPPET(read_daif, "mrs x0, daif");
SNIPPET(write_daif_0, "msr daifclr, #15; mrs x0, daif");
SNIPPET(write_daif_f, "msr daifset, #15; mrs x0, daif");
SNIPPET(set_daif_5, "msr daifclr, #15; msr daifset, #5; mrs x0, daif");
SNIPPET(write_daif, "mov x0, #0x280; msr daif, x0; mrs x0, daif");
SNIPPET(read_nzcv, "mrs x0, nzcv");
SNIPPET(write_nzcv, "mov x0, #0x90000000; msr nzcv, x0; mrs x0, nzcv");
SNIPPET(read_level, "mrs x0, CurrentEL");
SNIPPET(read_spsel, "mrs x0, spsel");
SNIPPET(tick_spsel, "mov x1, sp; msr spsel, #0; mov x2, sp; msr spsel, #1; mov x3, sp; cmp x1, x3; cset x0, eq;"
                    "cmp x1, x2; cset x1, ne; orr x0, x0, x1, lsl #1");
SNIPPET(exception_in_el1t, "msr spsel, #0; svc #2");
SNIPPET(read_pan, "mrs x0, s3_0_c4_c2_3");
SNIPPET(set_pan, ".inst 0xd500419f; mrs x0, s3_0_c4_c2_3; .inst 0xd500409f; mrs x1, s3_0_c4_c2_3; orr x0, x0, x1, lsr #4");
SNIPPET(read_uao, "mrs x0, s3_0_c4_c2_4");
SNIPPET(set_pan_svc, ".inst 0xd500419f; svc #3");
SNIPPET(read_cntvct_trap, "mrs x5, cntvct_el0");
SNIPPET(read_isr, "mrs x0, isr_el1");
SNIPPET(read_midr_mpidr, "mrs x0, midr_el1; mrs x1, mpidr_el1; eor x0, x0, x1, lsl #32");
SNIPPET(tpidr, "mov x0, #5; msr tpidr_el0, x0; mrs x0, tpidr_el0; mrs x1, tpidrro_el0; add x0, x0, x1");
SNIPPET(write_tpidrro, "msr tpidrro_el0, x0");

static void system_registers(void) {
    section("system registers: levels and directions");
    EACH_LEVEL("MRS ELR_EL1", read_elr);
    EACH_LEVEL("MRS HCR_EL2", read_hcr);
    EACH_LEVEL("MRS SCR_EL3", read_scr);
    try("MSR MIDR_EL1", PSTATE_EL1H, write_midr);
    try("MRS OSLAR_EL1", PSTATE_EL1H, read_oslar);
    try("MRS S3_7_C9_C9_7", PSTATE_EL1H, no_register);
    try("MRS S3_7_C9_C9_7", PSTATE_EL2H, no_register);
    EACH_LEVEL("MRS SP_EL0", read_sp_el0);
    EACH_LEVEL("MRS SP_EL1", read_sp_el1);
    WRITE(TPIDRRO_EL0, 7);
    try("TPIDR_EL0, TPIDRRO_EL0", PSTATE_EL0, tpidr);
    try("MSR TPIDRRO_EL0", PSTATE_EL0, write_tpidrro);
    WRITE(CNTKCTL_EL1, 0);
    try("MRS X5, CNTVCT_EL0, EL0VCTEN=0", PSTATE_EL0, read_cntvct_trap);
    WRITE(CNTKCTL_EL1, 3);
    WRITE(VPIDR_EL2, 0x12345678);
    WRITE(VMPIDR_EL2, 0x87);
    try("MIDR_EL1 ^ MPIDR_EL1 << 32 (virtual)", PSTATE_EL1H, read_midr_mpidr);

    section("PSTATE");
    EACH_LEVEL("CurrentEL", read_level);
    EACH_LEVEL("SPSel", read_spsel);
    EACH_LEVEL("DAIF", read_daif);
    EACH_LEVEL("DAIFClr #15", write_daif_0);
    EACH_LEVEL("DAIFSet #15", write_daif_f);
    EACH_LEVEL("DAIFSet #5", set_daif_5);
    EACH_LEVEL("MSR DAIF", write_daif);
    WRITE(SCTLR_EL1, SCTLR_EL1_RES1 | SCTLR_UMA);
    try("DAIF, UMA", PSTATE_EL0, read_daif);
    try("DAIFSet #5, UMA", PSTATE_EL0, set_daif_5);
    try("MSR DAIF, UMA", PSTATE_EL0, write_daif);
    world_reset();
    try("NZCV", PSTATE_EL0 | UINT64_C(6) << 28, read_nzcv);
    try("MSR NZCV", PSTATE_EL0, write_nzcv);
    try("SPSel 1, 0, 1", PSTATE_EL1H, tick_spsel);
    try("SPSel 1, 0, 1", PSTATE_EL2H, tick_spsel);
    try("SPSel 0, then SVC", PSTATE_EL1H, exception_in_el1t);
    try("SPSel 0, then SVC", PSTATE_EL2H, exception_in_el1t);
    EACH_LEVEL("MRS PAN", read_pan);
    try("PAN 1, 0", PSTATE_EL1H, set_pan);
    try("PAN 1, 0", PSTATE_EL2H, set_pan);
    try("MRS UAO", PSTATE_EL1H, read_uao);
    try("PAN 1, then SVC (SPAN=1)", PSTATE_EL1H, set_pan_svc);
    if (cpu_has_pan()) {
        WRITE(SCTLR_EL1, SCTLR_EL1_RES1 & ~SCTLR_SPAN);
        try("SVC (SPAN=0)", PSTATE_EL0, svc_1234);
        try("SVC (SPAN=0)", PSTATE_EL1H, svc_1234);
        try("PAN 1, then SVC (SPAN=0)", PSTATE_EL1H, set_pan_svc);
    }
}

/* Returns. x0: SPSR, x1: where to, x2: not used. */
SNIPPET(eret_el1, "msr spsr_el1, x0; adr x1, 1f; msr elr_el1, x1; eret; 1: nop; brk #1");
SNIPPET(eret_el2, "msr spsr_el2, x0; adr x1, 1f; msr elr_el2, x1; eret; 1: nop; brk #2");
SNIPPET(branch_2, "adr x0, branch_2; add x0, x0, #2; br x0");
SNIPPET(eret_odd, "mov x0, #0x3c5; msr spsr_el1, x0; adr x1, eret_odd; add x1, x1, #2; msr elr_el1, x1; eret");

static void returns(void) {
    static const uint64_t from_el1[] = {0x0, 0x3c4, 0x3c5, UINT64_C(0xa0000345), 0x9, 0x8, 0xd, 0x1, 0x2, 0x3, 0x6, 0x7,
                                        UINT64_C(0x60000289), 0x100005};
    static const uint64_t from_el2[] = {0x0, 0x4, 0x5, 0x3c8, 0x3c9, UINT64_C(0xf00003c9), 0xc, 0xd, 0x1, 0x2, 0x6, 0xb,
                                        0x100000, 0x100009};
    char name[60];

    section("ERET at EL1 to each SPSR_EL1, then BRK #1");
    for (size_t i = 0; i < ARRAY_LENGTH(from_el1); i++) {
        print_to(name, sizeof(name), "ERET, SPSR_EL1=%lx", from_el1[i]);
        try_with(name, PSTATE_EL1H, eret_el1, from_el1[i], 0, 0);
    }
    section("ERET at EL2 to each SPSR_EL2, then BRK #2");
    for (size_t i = 0; i < ARRAY_LENGTH(from_el2); i++) {
        print_to(name, sizeof(name), "ERET, SPSR_EL2=%lx", from_el2[i]);
        try_with(name, PSTATE_EL2H, eret_el2, from_el2[i], 0, 0);
    }
    WRITE(HCR_EL2, HCR_RW | HCR_TGE);
    try_with("ERET to EL1, TGE", PSTATE_EL2H, eret_el2, 0x5, 0, 0);
    try_with("ERET to EL0, TGE", PSTATE_EL2H, eret_el2, 0x0, 0, 0);

    section("PC alignment");
    try("BR to pc+2", PSTATE_EL0, branch_2);
    try("BR to pc+6", PSTATE_EL1H, branch_odd);
    try("BR to pc+2", PSTATE_EL2H, branch_2);
    try("ERET to pc+2", PSTATE_EL1H, eret_odd);
}

/* Virtual interrupts. The loops wait for them for ever, the others see that they do not come. */
SNIPPET(loop, "b .");
SNIPPET(unmask_and_count, "msr daifclr, #15; isb; mov x0, #200; 1: subs x0, x0, #1; b.ne 1b; mov x0, #0x17");
SNIPPET(masked_count, "isb; mov x0, #200; 1: subs x0, x0, #1; b.ne 1b; mov x0, #0x17");

static void virtual_interrupts(void) {
    static const struct {
        const char *name;
        uint64_t route, pending;
    } kinds[] = {{"VI", HCR_IMO, HCR_VI}, {"VF", HCR_FMO, HCR_VF}, {"VSE", HCR_AMO, HCR_VSE}};
    char name[60];

    section("virtual interrupts");
    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
        WRITE(HCR_EL2, HCR_RW | kinds[i].route | kinds[i].pending);
        print_to(name, sizeof(name), "%s, not masked", kinds[i].name);
        try(name, PSTATE_EL0, loop);
        if (kinds[i].pending == HCR_VSE)
            print("HCR_EL2.VSE after it was taken: %u\n", (READ(HCR_EL2) & HCR_VSE) != 0);
        WRITE(HCR_EL2, HCR_RW | kinds[i].route | kinds[i].pending);
        try(name, PSTATE_EL1T, loop);
        WRITE(HCR_EL2, HCR_RW | kinds[i].route | kinds[i].pending);
        try(name, PSTATE_EL1H, loop);
        WRITE(HCR_EL2, HCR_RW | kinds[i].route | kinds[i].pending);
        print_to(name, sizeof(name), "%s, masked", kinds[i].name);
        try(name, PSTATE_EL0 | PSTATE_DAIF, masked_count);
        try(name, PSTATE_EL1H | PSTATE_DAIF, masked_count);
        try("ISR_EL1", PSTATE_EL1H | PSTATE_DAIF, read_isr);
        print_to(name, sizeof(name), "%s at EL2", kinds[i].name);
        try(name, PSTATE_EL2H, unmask_and_count);
        WRITE(HCR_EL2, HCR_RW | kinds[i].pending);
        print_to(name, sizeof(name), "%s without its routing bit", kinds[i].name);
        try(name, PSTATE_EL1H, unmask_and_count);
        WRITE(HCR_EL2, HCR_RW | HCR_TGE | kinds[i].route | kinds[i].pending);
        print_to(name, sizeof(name), "%s with TGE", kinds[i].name);
        try(name, PSTATE_EL0, masked_count);
        WRITE(HCR_EL2, HCR_RW);
    }
}

SNIPPET(wfi_only, "wfi; mov x0, #0x17");

static void waits(void) {
    section("WFI: SCTLR_EL1.nTWI, HCR_EL2.TWI");
    WRITE(HCR_EL2, HCR_RW | HCR_TWI);
    try("WFI, TWI", PSTATE_EL0, wfi_only);
    try("WFI, TWI", PSTATE_EL1H, wfi_only);
    WRITE(SCTLR_EL1, SCTLR_EL1_RES1);
    try("WFI, TWI, nTWI=0", PSTATE_EL0, wfi_only);
    try("WFI, TWI, nTWI=0", PSTATE_EL1H, wfi_only);
    WRITE(HCR_EL2, HCR_RW);
    try("WFI, nTWI=0", PSTATE_EL0, wfi_only);
    WRITE(HCR_EL2, HCR_RW | HCR_TGE);
    try("WFI, nTWI=0, TGE", PSTATE_EL0, wfi_only);
    /* An interrupt that is pending ends the wait, masked or not. */
    WRITE(HCR_EL2, HCR_RW | HCR_IMO | HCR_VI);
    try("WFI, VI pending but masked", PSTATE_EL1H | PSTATE_DAIF, wfi_only);
}

/* Nothing answers at this physical address. */
#define HOLE 0x0b000000
SNIPPET(load_x1, "ldr w0, [x1]");
SNIPPET(store_x1, "strb w0, [x1]");
SNIPPET(load_post, "ldr w0, [x1], #4");
SNIPPET(store_post, "strb w0, [x1], #1");
SNIPPET(call_x1, "br x1");

static void external_aborts(void) {
    section("external aborts: nothing at physical address 0x0b000000");
    try_with("LDR", PSTATE_EL0, load_x1, 0, HOLE, 0);
    try_with("STRB", PSTATE_EL0, store_x1, 0, HOLE + 1, 0);
    try_with("BR", PSTATE_EL0, call_x1, 0, HOLE, 0);
    try_with("LDR", PSTATE_EL1H, load_x1, 0, HOLE, 0);
    try_with("STRB", PSTATE_EL1H, store_x1, 0, HOLE + 1, 0);
    try_with("BR", PSTATE_EL1H, call_x1, 0, HOLE, 0);
    /* With write-back, for which ISV is never set: QEMU 7.2 sets it at EL2 although this is no stage 2 fault. */
    try_with("LDR", PSTATE_EL2H, load_post, 0, HOLE, 0);
    try_with("STRB", PSTATE_EL2H, store_post, 0, HOLE + 1, 0);
    try_with("BR", PSTATE_EL2H, call_x1, 0, HOLE, 0);
    WRITE(HCR_EL2, HCR_RW | HCR_TGE);
    try_with("LDR, TGE", PSTATE_EL0, load_x1, 0, HOLE, 0);
    try_with("BR, TGE", PSTATE_EL0, call_x1, 0, HOLE, 0);
}

void program(void) {
    world_reset();
    calls();
    general_exceptions();
    floating_point();
    hypervisor_traps();
    system_registers();
    returns();
    virtual_interrupts();
    waits();
    external_aborts();
}
