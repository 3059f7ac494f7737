/*
 * What QEMU 7.2 does not model or gets wrong, so that it cannot give the expected output: here the expected values are
 * in the program, by DDI 0487. Each line begins with `ok` or `WRONG`. Under QEMU 7.2 most are WRONG; that is no mistake
 * of this program.
 */
#include "../lib/gic.h"
#include "../lib/memory.h"
#include "harness/regimes.h"

/* What a line expects of an exception; ANY for what the manual leaves open. */
#define ANY (~UINT64_C(0))

static void expect(const char *what, const struct outcome *outcome, unsigned level, unsigned vector, uint64_t esr,
                   uint64_t pc_offset, uint64_t far) {
    bool right = outcome->taken == TAKEN && outcome->level == level && outcome->vector == vector &&
                 outcome->esr == esr && (pc_offset == ANY || outcome->elr - outcome->start == pc_offset) &&
                 (far == ANY || outcome->far == far);

    print("%-5s %s\n", right ? "ok" : "WRONG", what);
    if (!right) {
        print("      expected: EL%u+%03x ESR=%08lx", level, vector, esr);
        if (pc_offset != ANY)
            print(" ELR=+%lx", pc_offset);
        if (far != ANY)
            print(" FAR=%lx", far);
        print("\n");
        show("      got:", outcome);
    }
}

static void expect_value(const char *what, const struct outcome *outcome, uint64_t x0) {
    bool right = outcome->taken == RETURNED && (x0 == ANY || outcome->x[0] == x0);

    print("%-5s %s\n", right ? "ok" : "WRONG", what);
    if (!right)
        show("      got:", outcome);
}

/* SP alignment is checked by each load and store whose base is SP, if SCTLR_ELx.SA or SA0 says so. */
SNIPPET(odd_stack, "mov x1, sp; sub x2, x1, #8; mov sp, x2; ldr x0, [sp]; mov sp, x1");
SNIPPET(odd_stack_store, "mov x1, sp; sub x2, x1, #24; mov sp, x2; stp x1, x2, [sp, #-16]!; mov sp, x1");
SNIPPET(odd_stack_no_access, "mov x1, sp; sub x2, x1, #8; mov sp, x2; mov sp, x1; mov x0, #1");
SNIPPET(odd_stack_survives, "mov x1, sp; sub x2, x1, #8; mov sp, x2; ldr x0, [sp]; mov sp, x1; mov x0, #1");

static void stack_alignment(void) {
    struct outcome outcome;

    section("SP alignment");
    WRITE(SCTLR_EL1, SCTLR_EL1_RES1 | SCTLR_SA | SCTLR_SA0);
    outcome = run(PSTATE_EL0, odd_stack);
    expect("EL0, LDR", &outcome, 1, 0x400, 0x9a000000, 12, ANY);
    outcome = run(PSTATE_EL1H, odd_stack);
    expect("EL1, LDR", &outcome, 1, 0x200, 0x9a000000, 12, ANY);
    outcome = run(PSTATE_EL1T, odd_stack_store);
    expect("EL1t, STP with write-back", &outcome, 1, 0x000, 0x9a000000, 12, ANY);
    outcome = run(PSTATE_EL1H, odd_stack_no_access);
    expect_value("EL1, no access", &outcome, 1);
    WRITE(SCTLR_EL1, SCTLR_EL1_RES1);
    outcome = run(PSTATE_EL1H, odd_stack_survives);
    expect_value("EL1, SA 0", &outcome, 1);
    outcome = run(PSTATE_EL0, odd_stack_survives);
    expect_value("EL0, SA0 0", &outcome, 1);
    WRITE(SCTLR_EL1, SCTLR_EL1_RES1 | SCTLR_SA0);
    WRITE(HCR_EL2, HCR_RW | HCR_TGE);
    outcome = run(PSTATE_EL0, odd_stack);
    expect("EL0, TGE, LDR", &outcome, 2, 0x400, 0x9a000000, 12, ANY);
    world_reset();
    WRITE(SCTLR_EL2, SCTLR_EL2_RES1 | SCTLR_SA);
    isb();
    outcome = run(PSTATE_EL2H, odd_stack);
    WRITE(SCTLR_EL2, SCTLR_EL2_RES1);
    isb();
    expect("EL2, LDR", &outcome, 2, 0x200, 0x9a000000, 12, ANY);
}

/* With the MMU off, data is Device-nGnRnE: every unaligned access is an alignment fault, SCTLR_ELx.A or not. */
SNIPPET(load2, "ldrh w0, [x1]");
SNIPPET(store4, "str w0, [x1]");
SNIPPET(load_pair, "ldp x0, x2, [x1]");
SNIPPET(load_vector, "ldr q0, [x1]");
SNIPPET(dc_zva, "dc zva, x1");

static void device_alignment(void) {
    uint64_t page = planted_page(4096), address = 0x7654000;
    struct tables tables;
    struct outcome outcome;

    section("unaligned accesses to device memory");
    outcome = run_with(PSTATE_EL1H, load_x1, 0, page + 1, 0);
    expect("EL1, MMU off, LDR X +1", &outcome, 1, 0x200, 0x96000021, 0, page + 1);
    outcome = run_with(PSTATE_EL0, load2, 0, page + 3, 0);
    expect("EL0, MMU off, LDRH +3", &outcome, 1, 0x400, 0x92000021, 0, page + 3);
    outcome = run_with(PSTATE_EL1H, store4, 0, page + 2, 0);
    expect("EL1, MMU off, STR W +2", &outcome, 1, 0x200, 0x96000061, 0, page + 2);
    outcome = run_with(PSTATE_EL1H, load_pair, 0, page + 4, 0);
    expect("EL1, MMU off, LDP X +4", &outcome, 1, 0x200, 0x96000021, 0, page + 4);
    outcome = run_with(PSTATE_EL1H, load_pair, 0, page + 8, 0);
    expect_value("EL1, MMU off, LDP X +8", &outcome, 0);
    outcome = run_with(PSTATE_EL1H, load_vector, 0, page + 8, 0);
    expect("EL1, MMU off, LDR Q +8", &outcome, 1, 0x200, 0x96000021, 0, page + 8);
    outcome = run_with(PSTATE_EL2H, load_x1, 0, page + 1, 0);
    expect("EL2, MMU off, LDR X +1", &outcome, 2, 0x200, 0x96000021, 0, page + 1);
    outcome = run_with(PSTATE_EL1H, dc_zva, 0, page, 0);
    expect("EL1, MMU off, DC ZVA", &outcome, 1, 0x200, 0x96000061, 0, page);

    tables_init(&tables, 12, 39);
    tables_map(&tables, address, page, 4096, (PAGE_ALL & ~ATTR_NORMAL) | ATTR_DEVICE);
    tables_map(&tables, address + 4096, page, 4096, PAGE_ALL);
    stage1_on(&tables, 0, 0);
    outcome = run_with(PSTATE_EL0, load_x1, 0, address + 1, 0);
    expect("EL0, device page, LDR X +1", &outcome, 1, 0x400, 0x92000021, 0, address + 1);
    outcome = run_with(PSTATE_EL0, load_x1, 0, address + 4096 + 1, 0);
    expect_value("EL0, normal page, LDR X +1", &outcome, ANY);
    outcome = run_with(PSTATE_EL0, dc_zva, 0, address, 0);
    expect("EL0, device page, DC ZVA", &outcome, 1, 0x400, 0x92000061, 0, address);
}

/* Cache maintenance by address translates, and faults as a write with CM set. */
SNIPPET(dc_cvac, "dc cvac, x1");
SNIPPET(dc_cvau, "dc cvau, x1");
SNIPPET(dc_civac, "dc civac, x1");
SNIPPET(dc_ivac, "dc ivac, x1");

static void stage2_on(const struct tables *stage2) {
    WRITE(VTCR_EL2, BIT(31) | 2 << 16 | TCR_WALKS0 | 1 << 6 | TCR_T0SZ(40));
    WRITE(VTTBR_EL2, UINT64_C(1) << 48 | (uintptr_t)stage2->root);
    WRITE(HCR_EL2, HCR_RW | HCR_VM);
    forget_all();
}

static void cache_maintenance(void) {
    uint64_t page = planted_page(4096), address = 0x7654000;
    struct tables tables, stage2;
    struct outcome outcome;

    section("faults of cache maintenance");
    tables_init(&tables, 12, 39);
    tables_map(&tables, address, page, 4096, PAGE_ALL | DESC_AP_RO);
    stage1_on(&tables, 0, 0);
    outcome = run_with(PSTATE_EL0, dc_cvac, 0, address + 0x1040, 0);
    expect("EL0, DC CVAC, not mapped", &outcome, 1, 0x400, 0x92000147, 0, address + 0x1040);
    outcome = run_with(PSTATE_EL0, dc_cvau, 0, address + 0x1048, 0);
    expect("EL0, DC CVAU, not mapped", &outcome, 1, 0x400, 0x92000147, 0, address + 0x1048);
    outcome = run_with(PSTATE_EL1H, dc_civac, 0, address + 0x1043, 0);
    expect("EL1, DC CIVAC, not mapped", &outcome, 1, 0x200, 0x96000147, 0, address + 0x1043);
    outcome = run_with(PSTATE_EL1H, dc_ivac, 0, address, 0);
    expect("EL1, DC IVAC, read-only", &outcome, 1, 0x200, 0x9600014f, 0, address);
    outcome = run_with(PSTATE_EL1H, dc_cvac, 0, address, 0);
    expect_value("EL1, DC CVAC, read-only", &outcome, 0);

    tables_init_at(&stage2, 12, 40, 1);
    tables_map(&stage2, 0x40200000, 0x40200000, 0x02000000,
               DESC_AF | DESC_SH_INNER | S2_ATTR_NORMAL | S2_AP_READ | S2_AP_WRITE);
    tables_map(&tables, address + 0x3000, 0x90000000, 4096, PAGE_ALL);
    stage2_on(&stage2);
    outcome = run_with(PSTATE_EL1H, dc_cvac, 0, address + 0x3010, 0);
    expect("EL1, DC CVAC, not mapped at stage 2", &outcome, 2, 0x400, 0x92000145, 0, address + 0x3010);

    /* A stage 1 table of level 2 behind a stage 2 page that is not there: the level is that of stage 2. */
    section("a stage 2 fault on a stage 1 walk has stage 2's level");
    uint64_t *parent = tables_descriptor(&tables, address, 1);
    uint64_t table = *parent & (BIT(48) - BIT(12));
    tables_map(&stage2, 0x9040000000, table, 4096,
               DESC_AF | DESC_SH_INNER | S2_ATTR_NORMAL | S2_AP_READ | S2_AP_WRITE);
    *parent = 0x9040000000 | DESC_TABLE;
    stage1_on(&tables, 0, 0);
    stage2_on(&stage2);
    outcome = run_with(PSTATE_EL1H, load_pair, 0, address, 0);
    expect_value("level 2 table through a page of stage 2", &outcome, ANY);
    *tables_descriptor(&stage2, 0x9040000000, 3) = 0;
    forget_all();
    outcome = run_with(PSTATE_EL1H, load_pair, 0, address, 0);
    expect("level 2 table, stage 2 page missing", &outcome, 2, 0x400, 0x92000087, 0, address);
}

/* WFE traps only when it would wait: not when the event register is set. */
SNIPPET(wait_for_event, "sevl; wfe; wfe");
SNIPPET(event_is_set, "sevl; wfe; mov x0, #1");

static void waits(void) {
    struct outcome outcome;

    section("WFE and WFI");
    WRITE(HCR_EL2, HCR_RW | HCR_TWE);
    outcome = run(PSTATE_EL1H, wait_for_event);
    expect("EL1, WFE, TWE", &outcome, 2, 0x400, 0x07e00001, 8, ANY);
    outcome = run(PSTATE_EL1H, event_is_set);
    expect_value("EL1, SEVL and WFE, TWE", &outcome, 1);
    outcome = run(PSTATE_EL0, wait_for_event);
    expect("EL0, WFE, TWE", &outcome, 2, 0x400, 0x07e00001, 8, ANY);
    WRITE(SCTLR_EL1, SCTLR_EL1_RES1);
    outcome = run(PSTATE_EL0, wait_for_event);
    expect("EL0, WFE, nTWE 0", &outcome, 1, 0x400, 0x07e00001, 8, ANY);
}

static void blocks(void) {
    static const struct {
        const char *name;
        unsigned granule_bits, level;
    } cases[] = {{"4K granule, level 0", 12, 0},
                 {"16K granule, level 0", 14, 0},
                 {"16K granule, level 1", 14, 1},
                 {"64K granule, level 1", 16, 1}};

    section("block descriptors where the level has none");
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct tables tables;
        uint64_t address = 0x345678000000;

        if (!cpu_has_granule(cases[i].granule_bits))
            continue;
        tables_init(&tables, cases[i].granule_bits, 48);
        *tables_descriptor(&tables, address, cases[i].level) = PAGE_ALL | DESC_BLOCK;
        stage1_on(&tables, 0, 0);
        struct outcome outcome = run_with(PSTATE_EL1H, load_x1, 0, address, 0);
        expect(cases[i].name, &outcome, 1, 0x200, 0x96000004 | cases[i].level, 0, address);
    }
}

SNIPPET(at_s1e1r, "at s1e1r, x1; isb; mrs x0, par_el1; bic x0, x0, #0x200"); /* NS says nothing here */
SNIPPET(read_sctlr_el12, "mrs x0, s3_5_c1_c0_0");
SNIPPET(read_cntp_ctl_el02, "mrs x0, s3_5_c14_c2_1");

static void others(void) {
    struct outcome outcome;
    uint64_t page = planted_page(4096);

    section("others");
    outcome = run_with(PSTATE_EL2H, load_x1, 0, 0x0b000000, 0);
    expect("EL2, external abort: no ISV", &outcome, 2, 0x200, 0x96000010, 0, 0x0b000000);
    outcome = run_with(PSTATE_EL1H, at_s1e1r, 0, page, 0);
    expect_value("AT S1E1R, MMU off: device memory, outer shareable", &outcome, page | 0x900);
    if (cpu_has_vhe()) {
        outcome = run(PSTATE_EL2H, read_sctlr_el12);
        expect("SCTLR_EL12 at EL2, E2H 0", &outcome, 2, 0x200, 0x02000000, 0, ANY);
        outcome = run(PSTATE_EL2H, read_cntp_ctl_el02);
        expect("CNTP_CTL_EL02 at EL2, E2H 0", &outcome, 2, 0x200, 0x02000000, 0, ANY);
    }
    gic_init();
    WRITE(ICH_VMCR_EL2, 0);
    WRITE(ICH_HCR_EL2, ICH_HCR_EN | BIT(5)); /* VGrp0DIE */
    isb();
    uint64_t disabled = READ(ICH_MISR_EL2);
    WRITE(ICH_VMCR_EL2, 2); /* Group 1 on */
    isb();
    print("%-5s ICH_MISR_EL2.VGrp0D is about Group 0\n",
          (disabled & BIT(5)) && (READ(ICH_MISR_EL2) & BIT(5)) ? "ok" : "WRONG");
    WRITE(ICH_HCR_EL2, 0);
}

/* Taking an exception leaves the condition flags alone; a trapped MSR (immediate) has Op2 before Op1 in its syndrome. */
SNIPPET(svc_1, "svc #1");
SNIPPET(daifset, "msr daifset, #15");

static void exception_entry(void) {
    static const uint64_t flags = UINT64_C(0xa) << 28;
    struct outcome outcome;

    section("exception entry");
    outcome = run(PSTATE_EL0 | flags, svc_1);
    print("%-5s flags at the vector: %lx\n", (outcome.entry & UINT64_C(0xf) << 28) == flags ? "ok" : "WRONG",
          outcome.entry >> 28 & 0xf);
    outcome = run(PSTATE_EL0, daifset);
    expect("MSR DAIFSet, #15 at EL0, UMA 0", &outcome, 1, 0x400, 0x620cd3fe, 0, ANY);
}

/* Self-hosted debug: the OS lock, contexts without an address, VMIDs, what atomic instructions and DC IVAC are. */
SNIPPET(three_nops, "nop; nop; nop");
SNIPPET(enter_context, "nop; msr contextidr_el1, x1; isb; nop; nop");
SNIPPET(add_atomically, ".inst 0xf8220020"); /* LDADD X2, X0, [X1] */
SNIPPET(store_exclusively, "ldxr x0, [x2]; stxr w0, x3, [x1]");
SNIPPET(invalidate, "dc ivac, x1");

static void debug(uint64_t mdscr, uint64_t bvr0, uint64_t bcr0, uint64_t bvr5, uint64_t bcr5, uint64_t wcr3) {
    WRITE(OSLAR_EL1, 0);
    WRITE(MDSCR_EL1, mdscr);
    WRITE(DBGBVR0_EL1, bvr0);
    WRITE(DBGBCR0_EL1, bcr0);
    WRITE(DBGBVR5_EL1, bvr5);
    WRITE(DBGBCR5_EL1, bcr5);
    WRITE(DBGWCR3_EL1, wcr3);
    isb();
}

static void self_hosted_debug(void) {
    static const uint64_t SS = 1, KDE = BIT(13), MDE = BIT(15), SPSR_SS = BIT(21), EL10 = 0x1e7;
    static const uint64_t LINK5 = 5 << 16 | 1 << 20, LOADS = 0x1fef, STORES = 0x1ff7, BOTH = 0x1fff;
    uint64_t page = planted_page(4096), word = page + 64;
    struct outcome outcome;

    section("self-hosted debug");
    WRITE(DBGWVR3_EL1, word);
    debug(MDE | KDE, (uintptr_t)three_nops + 4, EL10, 0, 0, BOTH);
    outcome = run(PSTATE_EL0, three_nops);
    expect("breakpoint", &outcome, 1, 0x400, 0xc2000022, 4, ANY);
    WRITE(OSLAR_EL1, 1);
    outcome = run(PSTATE_EL0, three_nops);
    expect_value("OS lock, breakpoint", &outcome, ANY);
    outcome = run_with(PSTATE_EL0, load_x1, 0, word, 0);
    expect_value("OS lock, watchpoint", &outcome, ANY);
    WRITE(MDSCR_EL1, SS | KDE);
    outcome = run(PSTATE_EL0 | SPSR_SS, three_nops);
    expect_value("OS lock, step", &outcome, ANY);

    debug(MDE | KDE, 0, 0, 0x55, EL10 | 2 << 20, 0);
    WRITE(CONTEXTIDR_EL1, 0x55);
    outcome = run(PSTATE_EL0, three_nops);
    expect("a context alone: its first instruction", &outcome, 1, 0x400, 0xc2000022, 0, ANY);
    WRITE(CONTEXTIDR_EL1, 0x54);
    outcome = run(PSTATE_EL0, three_nops);
    expect_value("a context alone: another", &outcome, ANY);
    outcome = run_with(PSTATE_EL1H, enter_context, 0, 0x55, 0);
    expect("a context alone: entered", &outcome, 1, 0x200, 0xc6000022, ANY, ANY);
    WRITE(CONTEXTIDR_EL1, 0);

    debug(MDE | KDE, (uintptr_t)three_nops + 8, EL10 | LINK5, UINT64_C(7) << 32, EL10 | 9 << 20, 0);
    WRITE(VTTBR_EL2, UINT64_C(7) << 48);
    isb();
    outcome = run(PSTATE_EL1H, three_nops);
    expect("linked to a VMID: the same", &outcome, 1, 0x200, 0xc6000022, 8, ANY);
    WRITE(VTTBR_EL2, UINT64_C(6) << 48);
    isb();
    outcome = run(PSTATE_EL1H, three_nops);
    expect_value("linked to a VMID: another", &outcome, ANY);
    WRITE(VTTBR_EL2, 0);

    debug(MDE | KDE, 0, 0, 0, 0, LOADS);
    outcome = run_with(PSTATE_EL0, store_exclusively, 0, word, word - 64);
    expect_value("STXR is no load", &outcome, ANY);
    debug(MDE | KDE, 0, 0, 0, 0, STORES);
    outcome = run_with(PSTATE_EL0, store_exclusively, 0, word, word);
    expect("STXR is a store", &outcome, 1, 0x400, 0xd2000062, 4, word);
    outcome = run_with(PSTATE_EL1H, invalidate, 0, word, 0);
    expect("DC IVAC is a store", &outcome, 1, 0x200, 0xd6000162, 0, word);
    if (cpu_has_lse()) {
        outcome = run_with(PSTATE_EL0, add_atomically, 0, word, 0);
        expect("LDADD, stores watched", &outcome, 1, 0x400, 0xd2000062, 0, word);
        debug(MDE | KDE, 0, 0, 0, 0, LOADS);
        outcome = run_with(PSTATE_EL0, add_atomically, 0, word, 0);
        expect("LDADD, loads watched", &outcome, 1, 0x400, 0xd2000022, 0, word);
        debug(MDE | KDE, 0, 0, 0, 0, BOTH);
        outcome = run_with(PSTATE_EL0, add_atomically, 0, word, 0);
        expect("LDADD, both watched", &outcome, 1, 0x400, 0xd2000022, 0, word);
    }
    debug(0, 0, 0, 0, 0, 0);
}

void program(void) {
    world_reset();
    exception_entry();
    stack_alignment();
    device_alignment();
    cache_maintenance();
    waits();
    blocks();
    others();
    self_hosted_debug();
}
