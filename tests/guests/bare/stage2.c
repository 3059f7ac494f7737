/*
 * Stage 2: granules, start levels, faults on the access and on a stage 1 walk, the syndrome a hypervisor emulates
 * devices from (ISV), VMIDs, AT instructions and PAR_EL1. DDI 0487 "Stage 2 translation", "ISS encoding for an
 * exception from a Data Abort", the descriptions of HPFAR_EL2 and PAR_EL1.
 *
 * Not here: the direction (WnR) of a stage 2 fault on a stage 1 walk for a store, which implementations report
 * differently.
 */
#include "../lib/memory.h"
#include "harness/regimes.h"

#define VTCR_RES1 BIT(31)
#define S2_ALL (DESC_AF | DESC_SH_INNER | S2_ATTR_NORMAL | S2_AP_READ | S2_AP_WRITE)

static const char *granule_name(unsigned granule_bits) {
    return granule_bits == 12 ? "4K" : granule_bits == 14 ? "16K" : "64K";
}

/* VTCR_EL2.SL0 for a start level. */
static uint64_t start_level_field(unsigned granule_bits, unsigned level) {
    return (uint64_t)(granule_bits == 12 ? 2 - level : 3 - level) << 6;
}

static void forget_stage2(void) {
    dsb();
    asm volatile("tlbi alle1");
    asm volatile("ic iallu");
    dsb();
    isb();
}

/* Where RAM, program included, is the same at both ends; `hcr` is added to what is usual. */
static void stage2_on(const struct tables *tables, uint64_t vmid, uint64_t hcr) {
    uint64_t physical_size = tables->input_bits > 40 ? 4 : 2; /* 44 or 40 bits */

    WRITE(VTCR_EL2, VTCR_RES1 | physical_size << 16 | tcr_tg0(tables->granule_bits) | TCR_WALKS0 |
                        start_level_field(tables->granule_bits, tables->start_level) | TCR_T0SZ(tables->input_bits));
    WRITE(VTTBR_EL2, vmid << 48 | (uintptr_t)tables->root);
    WRITE(HCR_EL2, HCR_RW | HCR_VM | hcr);
    forget_stage2();
}

static void map_ram(const struct tables *tables) {
    uint64_t image = 0x40200000 & ~(BIT(tables->granule_bits) - 1);
    tables_map(tables, image, image, 0x42000000 - image, S2_ALL);
}

/* The EL1 MMU is off: what EL1 accesses is an intermediate physical address. */
static void levels(void) {
    static const struct {
        unsigned granule_bits, input_bits, start_level;
    } formats[] = {{12, 40, 1}, {12, 39, 1}, {12, 44, 0}, {12, 32, 1}, {12, 33, 2}, {12, 32, 2}, {14, 40, 2},
                   {14, 36, 2}, {16, 40, 2}, {16, 42, 2}, {16, 33, 3}};
    char name[80];

    for (size_t f = 0; f < ARRAY_LENGTH(formats); f++) {
        struct tables tables;
        unsigned granule_bits = formats[f].granule_bits, bits = formats[f].input_bits;

        /* Input sizes above the core's physical address size are not allowed. */
        if (!cpu_has_granule(granule_bits) || (bits > 40 && FIELD(READ(ID_AA64MMFR0_EL1), 3, 0) < 4))
            continue;
        print_to(name, sizeof(name), "stage 2, %s granule, %u bits from level %u", granule_name(granule_bits), bits,
                 formats[f].start_level);
        section(name);
        tables_init_at(&tables, granule_bits, bits, formats[f].start_level);
        if (granule_bits != 16 || bits > 33) {
            map_ram(&tables);
        } else { /* few pages at level 3: the program alone */
            tables_map(&tables, 0x40200000, 0x40200000, 0x400000, S2_ALL);
        }
        uint64_t planted = planted_page(BIT(granule_bits)) + 8 * 7;
        plant(planted);
        uint64_t address = 0xa180000000 & (BIT(bits) - 1);
        if (bits < 34)
            address = (bits == 32 ? 0xc8000000 : 0x1c8000000) & (BIT(bits) - 1);
        stage2_on(&tables, 1, 0);

        for (unsigned level = tables.start_level; level <= 3; level++) {
            uint64_t *descriptor = tables_descriptor(&tables, address, level);
            uint64_t covered = BIT(tables_level_bits(&tables, level)) - 1;
            uint64_t at = (address & ~covered) + (planted & covered);
            uint64_t leaf = (planted & ~covered) | S2_ALL | (level == 3 ? DESC_PAGE : DESC_BLOCK);

            if (descriptor == NULL)
                break;
            *descriptor = DESC_INVALID;
            forget_stage2();
            print_to(name, sizeof(name), "level %u, invalid: load", level);
            show_load(name, PSTATE_EL1H, at);
            if (level == 3 || level == 2 || (level == 1 && granule_bits == 12)) {
                *descriptor = leaf;
                forget_stage2();
                print_to(name, sizeof(name), "level %u, leaf: load", level);
                show_load(name, PSTATE_EL0, at);
                *descriptor = leaf & ~DESC_AF;
                forget_stage2();
                print_to(name, sizeof(name), "level %u, AF=0: load", level);
                show_load(name, PSTATE_EL1H, at);
                *descriptor = leaf & ~S2_AP_WRITE;
                forget_stage2();
                print_to(name, sizeof(name), "level %u, no write: store", level);
                show_store(name, PSTATE_EL1H, at);
                *descriptor = leaf | DESC_XN;
                forget_stage2();
                print_to(name, sizeof(name), "level %u, XN: jump", level);
                show_jump(name, PSTATE_EL1H, at);
                *descriptor = leaf | BIT(46);
                forget_stage2();
                print_to(name, sizeof(name), "level %u, address too large: load", level);
                show_load(name, PSTATE_EL1H, at);
                if (level == 3) {
                    *descriptor = (leaf & ~UINT64_C(3)) | DESC_BLOCK;
                    forget_stage2();
                    print_to(name, sizeof(name), "level %u, reserved type: load", level);
                    show_load(name, PSTATE_EL1H, at);
                }
            }
            *descriptor = DESC_INVALID;
            if (level < 3)
                tables_descriptor(&tables, address, level + 1);
        }
        print_to(name, sizeof(name), "address of %u bits: load", bits + 1);
        show_load(name, PSTATE_EL1H, BIT(bits) + address);
    }
}

static void permissions(void) {
    struct tables tables;
    uint64_t page, address = 0x90000000, *leaf;
    bool by_level = FIELD(READ(ID_AA64MMFR1_EL1), 31, 28) != 0;

    section("stage 2 permissions: S2AP, XN");
    tables_init_at(&tables, 12, 40, 1);
    map_ram(&tables);
    page = planted_page(4096);
    *(volatile uint64_t *)page = 0xd65f03c0; /* RET */
    leaf = tables_descriptor(&tables, address, 3);
    stage2_on(&tables, 1, 0);
    for (unsigned bits = 0; bits < 16; bits++) {
        if ((bits & 4) && !by_level)
            continue; /* XN[0] without FEAT_XNX */
        *leaf = page | DESC_AF | DESC_SH_INNER | S2_ATTR_NORMAL | DESC_PAGE | (bits & 1 ? S2_AP_READ : 0) |
                (bits & 2 ? S2_AP_WRITE : 0) | (bits & 4 ? BIT(53) : 0) | (bits & 8 ? BIT(54) : 0);
        forget_stage2();
        print("S2AP=%u XN=%u EL0 %s EL1 %s\n", bits & 3, bits >> 3 << 1 | (bits >> 2 & 1),
              rights_of(PSTATE_EL0, address, 3).text, rights_of(PSTATE_EL1H, address, 3).text);
    }
}

/* What the hypervisor of the demo decodes: nothing is mapped at the address, for each kind of load and store. */
#define DEVICE_IPA 0x0b000123000

#define ISV_FORMS(X)                                                                                          \
    X(ldrb, "ldrb w5, [x1]") X(ldrh, "ldrh w6, [x1]") X(ldrw, "ldr w7, [x1]") X(ldrx, "ldr x8, [x1]")         \
    X(ldrsb_w, "ldrsb w9, [x1]") X(ldrsb_x, "ldrsb x10, [x1]") X(ldrsh_w, "ldrsh w11, [x1]")                  \
    X(ldrsh_x, "ldrsh x12, [x1]") X(ldrsw, "ldrsw x13, [x1]") X(ldr_zr, "ldr xzr, [x1]")                      \
    X(strb, "strb w14, [x1]") X(strh, "strh w15, [x1]") X(strw, "str w16, [x1]") X(strx, "str x17, [x1]")     \
    X(strb_zr, "strb wzr, [x1]") X(str_zr, "str xzr, [x1]") X(ldr_offset, "ldr w18, [x1, #0x44]")             \
    X(str_offset, "strh w19, [x1, #0x46]") X(ldr_register, "ldr x20, [x1, x2]")                               \
    X(str_register, "str w21, [x1, x2]") X(ldur, "ldur x22, [x1, #8]") X(stur, "stur w23, [x1, #-4]")         \
    X(ldtr, "ldtr x24, [x1]") X(sttrb, "sttrb w25, [x1]") X(ldtrsw, "ldtrsw x26, [x1]")                       \
    X(ldar, "ldar x27, [x1]") X(ldarb, "ldarb w28, [x1]") X(stlr, "stlr w29, [x1]")                           \
    X(stlrh, "stlrh w3, [x1]")
#define NO_ISV_FORMS(X)                                                                                       \
    X(ldr_post, "ldr x5, [x1], #8") X(str_pre, "str w6, [x1, #8]!") X(ldp, "ldp x7, x8, [x1]")                \
    X(stp, "stp w9, w10, [x1]") X(ldpsw, "ldpsw x11, x12, [x1]") X(ldr_q, "ldr q0, [x1]")                     \
    X(str_d, "str d1, [x1]") X(ldxr, "ldxr x13, [x1]") X(ldaxr, "ldaxr w14, [x1]") X(ld1, "ld1 {v0.16b}, [x1]")
#define FORM(identifier, text) SNIPPET(form_##identifier, text);
ISV_FORMS(FORM)
NO_ISV_FORMS(FORM)

struct form {
    const char *name, *snippet;
};

static void syndromes(void) {
#define X(identifier, text) {text, form_##identifier},
    static const struct form with[] = {ISV_FORMS(X)};
    static const struct form without[] = {NO_ISV_FORMS(X)};
#undef X
    struct tables stage2, stage1;
    uint64_t ipa = DEVICE_IPA;

    tables_init_at(&stage2, 12, 40, 1);
    map_ram(&stage2);

    section("stage 2 data aborts: ISV forms, EL1 MMU off");
    stage2_on(&stage2, 1, 0);
    for (size_t i = 0; i < ARRAY_LENGTH(with); i++)
        try_with(with[i].name, PSTATE_EL1H, with[i].snippet, 0, ipa, 0x18);
    section("stage 2 data aborts: forms without ISV");
    stage2_on(&stage2, 1, 0);
    for (size_t i = 0; i < ARRAY_LENGTH(without); i++)
        try_with(without[i].name, PSTATE_EL1H, without[i].snippet, 0, ipa, 0x18);

    section("stage 2 data aborts: EL1 MMU on, virtual address 0x7654321000");
    tables_init(&stage1, 12, 39);
    tables_map(&stage1, 0x7654321000, ipa, 4096, PAGE_ALL);
    stage1_on(&stage1, 0, 0);
    stage2_on(&stage2, 1, 0);
    for (size_t i = 0; i < ARRAY_LENGTH(with); i += 3) {
        try_with(with[i].name, PSTATE_EL0, with[i].snippet, 0, 0x7654321ab8, 0x18);
        try_with(with[i].name, PSTATE_EL1H, with[i].snippet, 0, 0x7654321ab8, 0x18);
    }
    try_with("jump", PSTATE_EL1H, call_x1, 0, 0x7654321ab8, 0);
    try_with("jump", PSTATE_EL0, call_x1, 0, 0x7654321ab8, 0);
    /* Mapped, but not to be written: the IPA is not in HPFAR then. */
    *tables_descriptor(&stage2, ipa, 3) = planted_page(4096) | (S2_ALL & ~S2_AP_WRITE) | DESC_PAGE;
    forget_stage2();
    try_with("str x17, [x1], read-only at stage 2", PSTATE_EL1H, form_strx, 0, 0x7654321ab8, 0);
    try_with("ldr x8, [x1], read-only at stage 2", PSTATE_EL1H, form_ldrx, 0, 0x7654321000, 0);
    /* Stage 1 comes first. */
    *tables_descriptor(&stage2, ipa, 3) = 0;
    *tables_descriptor(&stage1, 0x7654321000, 3) |= DESC_AP_RO;
    forget_stage2();
    try_with("str x17, [x1], read-only at stage 1", PSTATE_EL1H, form_strx, 0, 0x7654321ab8, 0);
}

/*
 * Stage 1 tables at intermediate physical addresses that stage 2 refuses. The level in the syndrome is that of the stage
 * 2 descriptor. QEMU 7.2 gives that of the stage 1 table; here both are the same: the table of level n is seen through a
 * stage 2 leaf of level n, in a 4 GB region of its own.
 */
static void walks(void) {
    struct tables stage1, stage2;
    uint64_t address = 0x7654321000, page = planted_page(4096);

    section("stage 2 faults on a stage 1 walk (S1PTW)");
    tables_init(&stage1, 12, 48);
    tables_map(&stage1, address, page, 4096, PAGE_ALL);
    tables_init_at(&stage2, 12, 40, 1);
    map_ram(&stage2);
    stage1_on(&stage1, 0, 0);
    stage2_on(&stage2, 1, 0);
    show_load("everything there: load", PSTATE_EL1H, address);
    for (unsigned level = 1; level <= 3; level++) {
        static const struct {
            const char *name;
            uint64_t clear, set, hcr;
        } changes[] = {{"unchanged", 0, 0, 0},
                       {"not mapped", 3, 0, 0},
                       {"AF=0", DESC_AF, 0, 0},
                       {"not readable", S2_AP_READ | S2_AP_WRITE, 0, 0},
                       {"not writable", S2_AP_WRITE, 0, 0},
                       {"device memory", S2_ATTR_NORMAL, S2_ATTR_DEVICE, 0},
                       {"device memory, PTW", S2_ATTR_NORMAL, S2_ATTR_DEVICE, HCR_PTW},
                       {"address too large", 0, BIT(46), 0}};
        uint64_t covered = BIT(tables_level_bits(&stage2, level)) - 1;
        uint64_t *parent = tables_descriptor(&stage1, address, level - 1), old = *parent;
        uint64_t table = old & (BIT(48) - BIT(12));
        uint64_t alias = 0x9000000000 + ((uint64_t)level << 32) + (table & (BIT(30) - 1));
        uint64_t *leaf = tables_descriptor(&stage2, alias, level);

        *parent = alias | DESC_TABLE;
        for (size_t i = 0; i < ARRAY_LENGTH(changes); i++) {
            char name[60];
            uint64_t plain = (table & ~covered) | S2_ALL | (level == 3 ? DESC_PAGE : DESC_BLOCK);
            *leaf = (plain & ~changes[i].clear) | changes[i].set;
            stage2_on(&stage2, 1, changes[i].hcr);
            print_to(name, sizeof(name), "level %u table %s: load", level, changes[i].name);
            show_load(name, PSTATE_EL1H, address + 0x128);
            print_to(name, sizeof(name), "level %u table %s: jump", level, changes[i].name);
            show_jump(name, PSTATE_EL0, address + 0x128);
        }
        *parent = old;
    }
    /* TTBR0 at an IPA above RAM that maps to the real table. */
    tables_map(&stage2, 0x9000000000, (uintptr_t)stage1.root, 4096, S2_ALL);
    WRITE(TTBR0_EL1, 0x9000000000);
    forget_stage2();
    show_load("root table at IPA 0x9000000000: load", PSTATE_EL1H, address);
}

static uint64_t value_at(uint64_t address) {
    struct outcome outcome = run_with(PSTATE_EL1H, load_x1, 0, address, 0);
    return outcome.taken == RETURNED ? outcome.x[0] : ~UINT64_C(0);
}

/* The same address in two virtual machines, with MMU off and on; TLBI by IPA and by VMID. */
static void machines(void) {
    struct tables machine[2], stage1;
    uint64_t page[2], ipa = 0x90000000, address = 0x123456000;
    unsigned right = 0;

    section("VMIDs");
    tables_init(&stage1, 12, 39);
    tables_map(&stage1, address, ipa, 4096, PAGE_ALL);
    for (unsigned i = 0; i < 2; i++) {
        tables_init_at(&machine[i], 12, 40, 1);
        map_ram(&machine[i]);
        page[i] = planted_page(4096);
        tables_map(&machine[i], ipa, page[i], 4096, S2_ALL);
    }
    stage1_on(&stage1, 0, 0);
    stage2_on(&machine[0], 1, 0);
    for (unsigned round = 0; round < 8; round++) {
        unsigned i = round & 1;
        WRITE(VTTBR_EL2, (uintptr_t)machine[i].root | (uint64_t)(i + 1) << 48);
        isb();
        right += value_at(address) == page[i];
    }
    print("MMU on, two VMIDs in turn, no TLBI: %u of 8 right\n", right);
    WRITE(SCTLR_EL1, SCTLR_EL1_RES1);
    isb();
    world.code_offset = 0;
    right = 0;
    for (unsigned round = 0; round < 8; round++) {
        unsigned i = round & 1;
        WRITE(VTTBR_EL2, (uintptr_t)machine[i].root | (uint64_t)(i + 1) << 48);
        isb();
        right += value_at(ipa) == page[i];
    }
    print("MMU off, two VMIDs in turn, no TLBI: %u of 8 right\n", right);
    /* The same address with stage 2 off in between. */
    right = 0;
    for (unsigned round = 0; round < 4; round++) {
        WRITE(HCR_EL2, HCR_RW | (round & 1 ? 0 : HCR_VM));
        isb();
        right += value_at(page[0]) == page[0] || !(round & 1);
    }
    print("stage 2 on and off: %u of 4 right\n", right);

    section("TLBI for stage 2");
    stage1_on(&stage1, 0, 0);
    stage2_on(&machine[0], 1, 0);
    uint64_t *leaf = tables_descriptor(&machine[0], ipa, 3);
    static const char *const names[] = {"ipas2e1 + vmalle1", "ipas2le1is + vmalle1is", "vmalls12e1", "vmalls12e1is",
                                        "alle1",             "alle1is"};
    for (unsigned form = 0; form < ARRAY_LENGTH(names); form++) {
        right = 0;
        for (unsigned round = 0; round < 4; round++) {
            *leaf = page[round & 1] | S2_ALL | DESC_PAGE;
            dsb();
            switch (form) {
            case 0:
                asm volatile("tlbi ipas2e1, %0; dsb sy; tlbi vmalle1" : : "r"(ipa >> 12));
                break;
            case 1:
                asm volatile("tlbi ipas2le1is, %0; dsb sy; tlbi vmalle1is" : : "r"(ipa >> 12));
                break;
            case 2:
                asm volatile("tlbi vmalls12e1");
                break;
            case 3:
                asm volatile("tlbi vmalls12e1is");
                break;
            case 4:
                asm volatile("tlbi alle1");
                break;
            case 5:
                asm volatile("tlbi alle1is");
                break;
            }
            dsb();
            isb();
            right += value_at(address) == page[round & 1];
        }
        print("TLBI %-24s %u of 4 right\n", names[form], right);
    }
}

/* HCR_EL2.DC: with the EL1 MMU off stage 1 is normal memory, and stage 2 counts. */
static void default_cacheable(void) {
    struct tables stage2, stage1;
    uint64_t page = planted_page(4096), ipa = 0x90000000;

    section("HCR_EL2.DC");
    tables_init_at(&stage2, 12, 40, 1);
    map_ram(&stage2);
    tables_map(&stage2, ipa, page, 4096, S2_ALL);
    tables_init(&stage1, 12, 39);
    stage2_on(&stage2, 1, HCR_DC);
    show_load("DC, stage 2 maps: load", PSTATE_EL1H, ipa);
    show_load("DC, stage 2 does not: load", PSTATE_EL1H, ipa + 4096);
    /* With DC the EL1 MMU counts as off, whatever SCTLR_EL1.M says. */
    stage1_on(&stage1, 0, 0);
    world.code_offset = 0;
    stage2_on(&stage2, 1, HCR_DC);
    show_load("DC, SCTLR_EL1.M=1: load", PSTATE_EL1H, ipa);
    world.code_offset = 0;
    WRITE(HCR_EL2, HCR_RW | HCR_DC); /* DC makes VM count as set */
    forget_stage2();
    show_load("DC without VM: load", PSTATE_EL1H, ipa);
}

/* AT at EL2 and at EL1, and what PAR_EL1 says. */
#define AT_FORMS(X) X(s1e1r) X(s1e1w) X(s1e0r) X(s1e0w) X(s12e1r) X(s12e1w) X(s12e0r) X(s12e0w)
#define AT_SNIPPET(form) SNIPPET(at_##form, "at " #form ", x1; isb; mrs x0, par_el1");
AT_FORMS(AT_SNIPPET)
SNIPPET(at_s1e2r, "at s1e2r, x1; isb; mrs x0, par_el1; ubfx x0, x0, #0, #48; lsr x1, x0, #12; and x0, x0, #1; orr x0, x0, x1, lsl #12");
SNIPPET(at_s1e2w, "at s1e2w, x1; isb; mrs x0, par_el1; ubfx x0, x0, #0, #48; lsr x1, x0, #12; and x0, x0, #1; orr x0, x0, x1, lsl #12");

/* PAR_EL1 without NS, which says nothing in a Non-secure regime, and without SH of device memory, where QEMU differs. */
static void show_at(const char *name, uint64_t pstate, const char *snippet, uint64_t address) {
    WRITE(PAR_EL1, 0);
    struct outcome outcome = run_with(pstate, snippet, 0, address, 0);
    if (outcome.taken == RETURNED && !(outcome.x[0] & 1)) {
        outcome.x[0] &= ~BIT(9);
        if (outcome.x[0] >> 60 == 0)
            outcome.x[0] &= ~(UINT64_C(3) << 7);
    }
    char line[60];
    print_to(line, sizeof(line), "EL%u %s", (unsigned)FIELD(pstate, 3, 2), name);
    show(line, &outcome);
}

static void show_all_at(const char *what, uint64_t address) {
    static const struct form forms[] = {
#define X(form) {#form, at_##form},
        AT_FORMS(X)
#undef X
    };
    for (size_t i = 0; i < ARRAY_LENGTH(forms); i++) {
        char name[60];
        print_to(name, sizeof(name), "AT %-7s %s", forms[i].name, what);
        show_at(name, PSTATE_EL2H, forms[i].snippet, address);
        if (i < 4)
            show_at(name, PSTATE_EL1H, forms[i].snippet, address);
    }
}

static void address_translation(void) {
    struct tables stage1, stage2;
    uint64_t page = planted_page(4096), ipa = 0x90000000, address = 0x123456000;

    section("AT, EL1 MMU on, stage 2 on");
    tables_init(&stage1, 12, 39);
    tables_init_at(&stage2, 12, 40, 1);
    map_ram(&stage2);
    tables_map(&stage2, ipa, page, 4096, S2_ALL);
    tables_map(&stage2, ipa + 0x1000, page, 4096, S2_ALL & ~S2_AP_WRITE);
    tables_map(&stage1, address, ipa, 4096, PAGE_ALL);
    tables_map(&stage1, address + 0x1000, ipa, 4096, PAGE_ALL & ~DESC_AP_EL0);
    tables_map(&stage1, address + 0x2000, ipa, 4096, PAGE_ALL | DESC_AP_RO);
    tables_map(&stage1, address + 0x3000, ipa + 0x1000, 4096, PAGE_ALL);
    tables_map(&stage1, address + 0x4000, ipa + 0x2000, 4096, PAGE_ALL);
    tables_map(&stage1, address + 0x5000, ipa, 4096, (PAGE_ALL & ~ATTR_NORMAL) | ATTR_DEVICE);
    tables_map(&stage1, address + 0x6000, ipa, 4096, PAGE_ALL & ~DESC_AF);
    stage1_on(&stage1, 0, 0);
    stage2_on(&stage2, 1, 0);
    show_all_at("normal page", address + 0x123);
    show_all_at("page of EL1", address + 0x1123);
    show_all_at("read-only page", address + 0x2123);
    show_all_at("read-only at stage 2", address + 0x3123);
    show_all_at("not there at stage 2", address + 0x4123);
    show_all_at("AF=0", address + 0x6123);
    show_all_at("not there at stage 1", address + 0x200000);
    show_all_at("address too large", BIT(40));
    /* The level 3 table itself is not there at stage 2: in PAR at EL2, an abort of EL1. */
    uint64_t *parent = tables_descriptor(&stage1, address, 2);
    *parent = 0x9000000000 | DESC_TABLE;
    tables_descriptor(&stage2, 0x9000000000, 3);
    forget_stage2();
    show_at("AT s1e1r   table not there", PSTATE_EL2H, at_s1e1r, address);
    show_at("AT s12e1w  table not there", PSTATE_EL2H, at_s12e1w, address);
    show_at("AT s1e1r   table not there", PSTATE_EL1H, at_s1e1r, address);
    show_at("AT s1e0w   table not there", PSTATE_EL1H, at_s1e0w, address);

    section("AT, EL1 MMU off");
    stage2_on(&stage2, 1, 0);
    show_at("AT s12e1r  mapped", PSTATE_EL2H, at_s12e1r, ipa);
    show_at("AT s12e1w  read-only at stage 2", PSTATE_EL2H, at_s12e1w, ipa + 0x1000);
    show_at("AT s12e0r  not there", PSTATE_EL2H, at_s12e0r, ipa + 0x2000);
    show_at("AT s1e1r   MMU off", PSTATE_EL1H, at_s1e1r, ipa);

    section("AT S1E2");
    WRITE(PAR_EL1, 0);
    struct outcome outcome = run_with(PSTATE_EL2H, at_s1e2r, 0, 0x41234567, 0);
    show("AT s1e2r, MMU off", &outcome);
    outcome = run_with(PSTATE_EL2H, at_s1e2w, 0, 0x41234567, 0);
    show("AT s1e2w, MMU off", &outcome);
    outcome = run_with(PSTATE_EL1H, at_s1e2r, 0, 0x41234567, 0);
    show("AT s1e2r at EL1", &outcome);
    outcome = run_with(PSTATE_EL1H, at_s12e1r, 0, 0x41234567, 0);
    show("AT s12e1r at EL1", &outcome);
    outcome = run_with(PSTATE_EL0, at_s1e1r, 0, 0x41234567, 0);
    show("AT s1e1r at EL0", &outcome);
}

void program(void) {
    levels();
    permissions();
    syndromes();
    walks();
    machines();
    default_cacheable();
    address_translation();
}
