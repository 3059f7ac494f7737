/*
 * FEAT_VHE, "Virtualization Host Extensions": with HCR_EL2.E2H the EL1 names reach EL2's registers and the _EL12 and _EL02
 * names EL1's; with TGE too, EL0 belongs to EL2 and both share the regime EL2&0. Says so and ends on a core without it.
 *
 * Not here, because QEMU 7.2 differs: WFI of EL0 under TGE (SCTLR_EL2.nTWI), the new names at EL2 while E2H is 0.
 */
#include "../lib/memory.h"
#include "harness/regimes.h"

#define CPTR_FPEN(value) ((uint64_t)(value) << 20) /* the layout of CPTR_EL2 with E2H is that of CPACR_EL1 */

extern char __image_start[], __data_start[];

static void host(uint64_t hcr) {
    WRITE(HCR_EL2, HCR_RW | HCR_E2H | hcr);
    isb();
    WRITE(CPTR_EL2, CPTR_FPEN(3));
    WRITE(CNTHCTL_EL2, 0xf03);
    isb();
}

/* One register: the name at EL1, the encoding of its _EL12 name, and the name at EL2 that the EL1 name reaches. */
#define REDIRECTED(X)                                                                                         \
    X(CONTEXTIDR_EL1, S3_5_C13_C0_1, S3_4_C13_C0_1, 0x11, 0x22)                                               \
    X(ELR_EL1, S3_5_C4_C0_1, ELR_EL2, 0x1110, 0x2220)                                                         \
    X(ESR_EL1, S3_5_C5_C2_0, ESR_EL2, 0x11, 0x22)                                                             \
    X(FAR_EL1, S3_5_C6_C0_0, FAR_EL2, 0x11, 0x22)                                                             \
    X(MAIR_EL1, S3_5_C10_C2_0, MAIR_EL2, 0xff00, 0xff44)                                                      \
    X(SPSR_EL1, S3_5_C4_C0_0, SPSR_EL2, 0x3c4, 0x3c9)                                                         \
    X(TCR_EL1, S3_5_C2_C0_2, TCR_EL2, 0x200190019, 0x200180018)                                               \
    X(TTBR0_EL1, S3_5_C2_C0_0, TTBR0_EL2, 0x11000, 0x22000)                                                   \
    X(TTBR1_EL1, S3_5_C2_C0_1, S3_4_C2_C0_1, 0x33000, 0x44000)                                                \
    X(CNTKCTL_EL1, S3_5_C14_C1_0, CNTHCTL_EL2, 0x3, 0x303)                                                    \
    X(CPACR_EL1, S3_5_C1_C0_2, CPTR_EL2, 0x100000, 0x300000)

static void redirection(void) {
    section("EL1 names at EL2: E2H 1");
#define X(el1, el12, el2, guest_value, host_value)                                                            \
    {                                                                                                         \
        WRITE(HCR_EL2, HCR_RW | HCR_E2H);                                                                     \
        isb();                                                                                                \
        WRITE(el1, host_value);                                                                               \
        WRITE(el12, guest_value);                                                                             \
        isb();                                                                                                \
        uint64_t by_el1 = READ(el1), by_el12 = READ(el12), by_el2 = READ(el2);                                \
        WRITE(HCR_EL2, HCR_RW);                                                                               \
        isb();                                                                                                \
        uint64_t real = READ(el1);                                                                            \
        print("%-15s reads %lx, its EL12 name %lx, the EL2 name %lx; with E2H 0 it reads %lx\n", #el1,        \
              by_el1, by_el12, by_el2, real);                                                                 \
    }
    REDIRECTED(X)
#undef X
    world_reset();

    section("timers: EL0 names at EL2, EL02 names");
    host(0);
    WRITE(CNTP_CVAL_EL0, 0x1111000000000000);
    WRITE(S3_5_C14_C2_2, 0x2222000000000000); /* CNTP_CVAL_EL02 */
    WRITE(CNTV_CVAL_EL0, 0x3333000000000000);
    WRITE(S3_5_C14_C3_2, 0x4444000000000000); /* CNTV_CVAL_EL02 */
    WRITE(CNTP_CTL_EL0, 2);
    WRITE(S3_5_C14_C2_1, 0);
    WRITE(CNTV_CTL_EL0, 2);
    WRITE(S3_5_C14_C3_1, 0);
    isb();
    print("CNTHP_CVAL %lx, CNTHV_CVAL %lx, CNTP_CVAL_EL02 %lx, CNTV_CVAL_EL02 %lx\n", READ(CNTHP_CVAL_EL2),
          READ(S3_4_C14_C3_2), READ(S3_5_C14_C2_2), READ(S3_5_C14_C3_2));
    print("CNTHP_CTL %lx, CNTHV_CTL %lx, CNTP_CTL_EL02 %lx, CNTV_CTL_EL02 %lx\n", READ(CNTHP_CTL_EL2),
          READ(S3_4_C14_C3_1), READ(S3_5_C14_C2_1), READ(S3_5_C14_C3_1));
    WRITE(HCR_EL2, HCR_RW);
    isb();
    print("E2H 0: CNTP_CVAL %lx, CNTV_CVAL %lx\n", READ(CNTP_CVAL_EL0), READ(CNTV_CVAL_EL0));
    WRITE(CNTVOFF_EL2, 0x123400000000);
    isb();
    for (unsigned e2h = 0; e2h < 2; e2h++) {
        WRITE(HCR_EL2, HCR_RW | (e2h ? HCR_E2H : 0));
        isb();
        uint64_t virtual = READ(CNTVCT_EL0);
        isb();
        uint64_t behind = READ(CNTPCT_EL0) - virtual;
        print("E2H %u: CNTVCT at EL2 %s the offset\n", e2h, behind >= 0x123400000000 ? "has" : "has not");
    }
    WRITE(HCR_EL2, HCR_RW);
    WRITE(CNTVOFF_EL2, 0);
    isb();
}

SNIPPET(read_sctlr_el12, "mrs x3, s3_5_c1_c0_0");
SNIPPET(write_vbar_el12, "msr s3_5_c12_c0_0, x4");
SNIPPET(read_cntp_ctl_el02, "mrs x5, s3_5_c14_c2_1");
SNIPPET(read_ttbr1_el2, "mrs x0, s3_4_c2_c0_1; mov x0, #1");
SNIPPET(read_contextidr_el2, "mrs x0, s3_4_c13_c0_1; mov x0, #1");
SNIPPET(read_cnthv, "mrs x0, s3_4_c14_c3_1; mov x0, #1");

static void names(void) {
    static const uint64_t levels[] = {PSTATE_EL0, PSTATE_EL1H, PSTATE_EL2H};

    for (unsigned e2h = 0; e2h < 2; e2h++) {
        section(e2h ? "who may use the new names: E2H 1" : "who may use the new names: E2H 0");
        for (size_t i = 0; i < ARRAY_LENGTH(levels); i++) {
            if (e2h)
                host(0);
            if (levels[i] != PSTATE_EL2H || e2h) { /* QEMU 7.2 does not refuse them at EL2 */
                try("MRS X3, SCTLR_EL12", levels[i], read_sctlr_el12);
                try("MRS X5, CNTP_CTL_EL02", levels[i], read_cntp_ctl_el02);
            }
            if (levels[i] != PSTATE_EL2H)
                try("MSR VBAR_EL12, X4", levels[i], write_vbar_el12);
            try("MRS TTBR1_EL2", levels[i], read_ttbr1_el2);
            try("MRS CONTEXTIDR_EL2", levels[i], read_contextidr_el2);
            try("MRS CNTHV_CTL_EL2", levels[i], read_cnthv);
        }
    }
}

/* EL0 under E2H and TGE: the host's process. */
SNIPPET(svc_5, "svc #5");
SNIPPET(hvc_6, "hvc #6");
SNIPPET(brk_7, "brk #7");
SNIPPET(udf, ".inst 0");
SNIPPET(fp_add, "fadd d0, d0, d0");
SNIPPET(read_ctr, "mrs x6, ctr_el0");
SNIPPET(read_daif, "mrs x7, daif");
SNIPPET(zva, "dc zva, x1");
SNIPPET(cvac, "dc cvac, x1");
SNIPPET(read_cntvct, "mrs x8, cntvct_el0");
SNIPPET(read_cntpct, "mrs x9, cntpct_el0");
SNIPPET(read_cntp_ctl, "mrs x10, cntp_ctl_el0");
SNIPPET(read_cntv_ctl, "mrs x11, cntv_ctl_el0");
SNIPPET(read_sctlr, "mrs x12, sctlr_el1");
SNIPPET(eret_to, "msr spsr_el2, x0; adr x1, 1f; msr elr_el2, x1; eret; 1: nop; brk #2");
SNIPPET(unmask_and_count, "msr daifclr, #15; isb; mov x0, #200; 1: subs x0, x0, #1; b.ne 1b; mov x0, #0x17");
SNIPPET(masked_count, "isb; mov x0, #200; 1: subs x0, x0, #1; b.ne 1b; mov x0, #0x17");

static void processes(void) {
    static const uint64_t controls = SCTLR_UCI | SCTLR_UCT | SCTLR_DZE | SCTLR_UMA;

    section("EL0 with E2H and TGE: exceptions");
    host(HCR_TGE);
    try("SVC #5", PSTATE_EL0, svc_5);
    try("HVC #6", PSTATE_EL0, hvc_6);
    try("BRK #7", PSTATE_EL0, brk_7);
    try("UDF", PSTATE_EL0, udf);
    try("MRS SCTLR_EL1", PSTATE_EL0, read_sctlr);
    try_with("ERET to EL1", PSTATE_EL2H, eret_to, 0x5, 0, 0);
    try_with("ERET to EL0", PSTATE_EL2H, eret_to, 0x0, 0, 0);

    section("EL0 with E2H and TGE: SCTLR_EL2 has its controls");
    host(HCR_TGE);
    for (unsigned on = 0; on < 2; on++) {
        WRITE(SCTLR_EL2, (SCTLR_EL2_RES1 & ~controls) | (on ? controls : 0));
        WRITE(S3_5_C1_C0_0, SCTLR_EL1_RES1 | (on ? 0 : controls)); /* SCTLR_EL12 says the opposite */
        isb();
        print("UCT, UCI, DZE, UMA %u\n", on);
        try("MRS CTR_EL0", PSTATE_EL0, read_ctr);
        try_with("DC CVAC", PSTATE_EL0, cvac, 0, 0x40800000, 0);
        if (!on) /* with the MMU off it may not complete */
            try_with("DC ZVA", PSTATE_EL0, zva, 0, 0x40800000, 0);
        try("MRS DAIF", PSTATE_EL0, read_daif);
    }
    WRITE(SCTLR_EL2, SCTLR_EL2_RES1 | controls);
    isb();

    section("EL0 with E2H and TGE: HCR_EL2's traps do not count");
    host(HCR_TGE | HCR_TID2 | HCR_TPC);
    try("MRS CTR_EL0, TID2", PSTATE_EL0, read_ctr);
    try_with("DC CVAC, TPC", PSTATE_EL0, cvac, 0, 0x40800000, 0);
    host(HCR_TGE | HCR_IMO | HCR_VI);
    try("VI", PSTATE_EL0, masked_count);
    try("VI", PSTATE_EL2H, unmask_and_count);

    section("floating point: CPTR_EL2.FPEN");
    for (unsigned fpen = 0; fpen < 4; fpen++) {
        char name[40];
        host(HCR_TGE);
        WRITE(CPTR_EL2, CPTR_FPEN(fpen));
        WRITE(S3_5_C1_C0_2, 0); /* CPACR_EL12 does not count */
        isb();
        print_to(name, sizeof(name), "FADD, FPEN %u, TGE 1", fpen);
        try(name, PSTATE_EL0, fp_add);
        try(name, PSTATE_EL2H, fp_add);
        host(0);
        WRITE(CPTR_EL2, CPTR_FPEN(fpen));
        WRITE(S3_5_C1_C0_2, CPTR_FPEN(3));
        isb();
        print_to(name, sizeof(name), "FADD, FPEN %u, TGE 0", fpen);
        try(name, PSTATE_EL0, fp_add);
        try(name, PSTATE_EL1H, fp_add);
        try(name, PSTATE_EL2H, fp_add);
    }

    section("timers: CNTHCTL_EL2 with E2H");
    static const uint64_t settings[] = {0, 1, 2, 0x100, 0x200, 0x303};
    for (size_t i = 0; i < ARRAY_LENGTH(settings); i++) {
        host(HCR_TGE);
        WRITE(CNTHCTL_EL2, settings[i]);
        isb();
        print("CNTHCTL_EL2 %lx, EL0 of the host: CNTPCT %s, CNTVCT %s, CNTP_CTL %s, CNTV_CTL %s\n", settings[i],
              run(PSTATE_EL0, read_cntpct).taken == RETURNED ? "yes" : "traps",
              run(PSTATE_EL0, read_cntvct).taken == RETURNED ? "yes" : "traps",
              run(PSTATE_EL0, read_cntp_ctl).taken == RETURNED ? "yes" : "traps",
              run(PSTATE_EL0, read_cntv_ctl).taken == RETURNED ? "yes" : "traps");
    }
    host(HCR_TGE);
    WRITE(CNTHCTL_EL2, 0);
    isb();
    try("MRS X9, CNTPCT_EL0", PSTATE_EL0, read_cntpct);
    static const uint64_t for_guests[] = {0, 0x400, 0x800, 0xc00};
    for (size_t i = 0; i < ARRAY_LENGTH(for_guests); i++) {
        host(0);
        WRITE(CNTHCTL_EL2, for_guests[i]);
        isb();
        print("CNTHCTL_EL2 %lx, EL1: CNTPCT %s, CNTVCT %s, CNTP_CTL %s, CNTV_CTL %s\n", for_guests[i],
              run(PSTATE_EL1H, read_cntpct).taken == RETURNED ? "yes" : "traps",
              run(PSTATE_EL1H, read_cntvct).taken == RETURNED ? "yes" : "traps",
              run(PSTATE_EL1H, read_cntp_ctl).taken == RETURNED ? "yes" : "traps",
              run(PSTATE_EL1H, read_cntv_ctl).taken == RETURNED ? "yes" : "traps");
    }
    WRITE(SCTLR_EL2, SCTLR_EL2_RES1);
    isb();
}

/*
 * The regime EL2&0. The program is mapped where it is, for EL2 only (EL0 may execute it), so that PAN does not stop it;
 * the upper half is under test.
 */
static void forget_host(void) {
    dsb();
    asm volatile("tlbi alle2; tlbi alle1");
    asm volatile("ic iallu");
    dsb();
    isb();
}

static struct tables lower;

static void host_mmu_on(const struct tables *upper, uint64_t sctlr) {
    uint64_t image = (uintptr_t)__image_start, data = (uintptr_t)__data_start;

    if (lower.root == NULL) {
        tables_init(&lower, 12, 39);
        tables_map(&lower, 0x09000000, 0x09000000, 0x1000, DESC_AF | DESC_PXN | DESC_UXN | ATTR_DEVICE);
        tables_map(&lower, image, image, data - image, DESC_AF | DESC_AP_RO | ATTR_NORMAL);
        tables_map(&lower, data, data, 0x42000000 - data, DESC_AF | DESC_PXN | DESC_UXN | ATTR_NORMAL);
    }
    WRITE(MAIR_EL2, MAIR_VALUE);
    WRITE(TCR_EL2, TCR_IPS_40 | TCR_WALKS0 | TCR_WALKS1 | TCR_T0SZ(39) | TCR_T1SZ(upper->input_bits) | tcr_tg0(12) |
                       tcr_tg1(upper->granule_bits));
    WRITE(TTBR0_EL2, (uintptr_t)lower.root);
    WRITE(S3_4_C2_C0_1, (uintptr_t)upper->root); /* TTBR1_EL2 */
    forget_host();
    WRITE(SCTLR_EL2, SCTLR_EL2_RES1 | SCTLR_NTWI | SCTLR_UCT | SCTLR_UCI | SCTLR_DZE | SCTLR_M | SCTLR_C | SCTLR_I |
                         sctlr);
    isb();
}

static void host_mmu_off(void) {
    WRITE(SCTLR_EL2, SCTLR_EL2_RES1);
    isb();
    forget_host();
}

/* LDP has no syndrome (ISV) that QEMU 7.2 would report for an abort from EL2 itself. */
SNIPPET(pair_x1, "ldp x0, x2, [x1]");
SNIPPET(tlbi_vae1, "dsb sy; tlbi vae1, x1; dsb sy; isb");
SNIPPET(ldtr_post, "mov x3, x1; ldtr x0, [x3]");

static void regime(void) {
    struct tables upper;
    uint64_t address = ~UINT64_C(0) << 39 | 0x1234567000, page = planted_page(4096), *leaf;

    for (unsigned granule_bits = 12; granule_bits <= 16; granule_bits += 2) {
        char name[60];

        if (!cpu_has_granule(granule_bits))
            continue;
        print_to(name, sizeof(name), "EL2&0: upper half, granule %uK", 1u << (granule_bits - 10));
        section(name);
        uint64_t target = planted_page(BIT(granule_bits)), at = address & ~(BIT(granule_bits) - 1);
        tables_init(&upper, granule_bits, 39);
        tables_map(&upper, at, target, BIT(granule_bits), PAGE_ALL);
        host(HCR_TGE);
        host_mmu_on(&upper, 0);
        show_load("EL0 load", PSTATE_EL0, at);
        show_load("EL2 load", PSTATE_EL2H, at);
        show_load("EL0 load, next page", PSTATE_EL0, at + BIT(granule_bits));
        show_jump("EL0 jump, next page", PSTATE_EL0, at + BIT(granule_bits));
        struct outcome outcome = run_with(PSTATE_EL2H, pair_x1, 0, at + BIT(granule_bits), 0);
        show("EL2 LDP, next page", &outcome);
        outcome = run_with(PSTATE_EL2H, pair_x1, 0, at - BIT(39), 0);
        show("EL2 LDP, below the upper half", &outcome);
        for (unsigned level = upper.start_level; level <= 3; level++) {
            uint64_t *descriptor = tables_descriptor(&upper, at, level), old = *descriptor;
            *descriptor = 0;
            forget_host();
            print_to(name, sizeof(name), "EL0 store, level %u invalid", level);
            show_store(name, PSTATE_EL0, at);
            *descriptor = old;
        }
        host_mmu_off();
    }

    section("EL2&0: permissions");
    tables_init(&upper, 12, 39);
    leaf = tables_descriptor(&upper, address, 3);
    *(volatile uint64_t *)page = 0xd65f03c0;
    for (unsigned variant = 0; variant < 4; variant++) {
        static const char *const names[] = {"", "WXN", "PAN", "WXN, PAN"};
        uint64_t pan = variant & 2 ? BIT(22) : 0;
        host(HCR_TGE);
        host_mmu_on(&upper, variant & 1 ? SCTLR_WXN : 0);
        for (unsigned bits = 0; bits < 16; bits++) {
            *leaf = page | DESC_AF | ATTR_NORMAL | DESC_PAGE | (bits & 1 ? DESC_AP_EL0 : 0) |
                    (bits & 2 ? DESC_AP_RO : 0) | (bits & 4 ? DESC_PXN : 0) | (bits & 8 ? DESC_UXN : 0);
            forget_host();
            struct rights el0 = rights_of(PSTATE_EL0, address, 3), el2 = rights_of(PSTATE_EL2H | pan, address, 3);
            print("AP=%u PXN=%u UXN=%u %-8s EL0 %s EL2 %s\n", bits & 3, bits >> 2 & 1, bits >> 3, names[variant],
                  el0.text, el2.text);
        }
        host_mmu_off();
    }

    section("EL2&0: LDTR, ASIDs, TLBI");
    host(HCR_TGE);
    host_mmu_on(&upper, 0);
    plant(page);
    *leaf = page | PAGE_ALL | DESC_PAGE;
    forget_host();
    try_with("LDTR, AP=1", PSTATE_EL2H, ldtr_post, 0, address, 0);
    uint64_t other = planted_page(4096);
    unsigned right = 0;
    for (unsigned round = 0; round < 4; round++) {
        *leaf = (round & 1 ? other : page) | PAGE_ALL | DESC_NG | DESC_PAGE;
        run_with(PSTATE_EL2H, tlbi_vae1, 0, address >> 12 & (BIT(44) - 1), 0);
        right += run_with(PSTATE_EL0, load_x1, 0, address, 0).x[0] == (round & 1 ? other : page);
    }
    print("TLBI VAE1 with E2H and TGE is for EL2&0: %u of 4 right\n", right);
    struct tables process[2];
    uint64_t own[2] = {planted_page(4096), planted_page(4096)}, low_address = 0x5000000000;
    for (unsigned i = 0; i < 2; i++) {
        tables_init(&process[i], 12, 39);
        /* The program is in the first gigabytes; share its tables. */
        process[i].root[0] = lower.root[0];
        process[i].root[1] = lower.root[1];
        tables_map(&process[i], low_address, own[i], 4096, PAGE_ALL | DESC_NG);
    }
    right = 0;
    for (unsigned round = 0; round < 8; round++) {
        unsigned i = round & 1;
        WRITE(TTBR0_EL2, (uintptr_t)process[i].root | (uint64_t)(i + 1) << 48);
        isb();
        right += run_with(PSTATE_EL0, load_x1, 0, low_address, 0).x[0] == own[i];
    }
    print("two ASIDs in turn: %u of 8 right\n", right);
    WRITE(TTBR0_EL2, (uintptr_t)lower.root);
    isb();

    section("E2H without TGE: EL0 and EL1 are the guest's");
    struct tables guest;
    tables_init(&guest, 12, 39);
    tables_map(&guest, 0x7000000000, page, 4096, PAGE_ALL);
    /* stage1_on() writes EL1's registers by their EL1 names. */
    WRITE(HCR_EL2, HCR_RW);
    isb();
    host_mmu_off();
    stage1_on(&guest, 0, 0);
    host(0);
    host_mmu_on(&upper, 0);
    show_load("EL1, guest address", PSTATE_EL1H, 0x7000000000);
    show_load("EL0, guest address", PSTATE_EL0, 0x7000000000);
    show_load("EL0, host address", PSTATE_EL0, address);
    show_load("EL2, host address", PSTATE_EL2H, address);
    struct outcome outcome = run_with(PSTATE_EL2H, pair_x1, 0, 0x7000000000, 0);
    show("EL2 LDP, guest address", &outcome);
    try("SVC #5", PSTATE_EL0, svc_5);
    host_mmu_off();
}

void program(void) {
    world_reset();
    if (!cpu_has_vhe()) {
        print("this core has no VHE\n");
        return;
    }
    redirection();
    names();
    processes();
    regime();
}
