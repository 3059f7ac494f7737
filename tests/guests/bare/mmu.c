/*
 * Stage 1 of the regimes EL1&0 and EL2: granules, levels, blocks, faults, permissions, ASIDs, TLBI, alignment. DDI 0487
 * "The AArch64 Virtual Memory System Architecture". Stage 2 has its own program, EL2&0 too.
 *
 * Not here, because QEMU 7.2 does not model it: blocks at levels that have none, alignment faults of device memory and of
 * STXR, faults of cache maintenance (beyond.c). FAR of an access that crosses a page is that of the first byte that faults.
 */
#include "../lib/memory.h"
#include "harness/regimes.h"

static const char *granule_name(unsigned granule_bits) {
    return granule_bits == 12 ? "4K" : granule_bits == 14 ? "16K" : "64K";
}

/* An address in the lower half that uses an index other than 0 at every level, inside `bits`. */
static uint64_t sample_address(unsigned bits) { return UINT64_C(0x0000345678000000) & (BIT(bits) - 1); }

/* What a leaf at `level` maps: the part of RAM it covers, and the planted word in it. */
static uint64_t leaf_output(const struct tables *tables, unsigned level, uint64_t planted) {
    return planted & ~(BIT(tables_level_bits(tables, level)) - 1);
}

static bool leaf_exists(unsigned granule_bits, unsigned level) {
    return level == 3 || level == 2 || (level == 1 && granule_bits == 12);
}

static void levels(void) {
    static const struct {
        unsigned granule_bits, input_bits;
    } formats[] = {{12, 48}, {12, 39}, {12, 36}, {12, 30}, {12, 25}, {14, 48}, {14, 47}, {14, 36},
                   {14, 25}, {16, 48}, {16, 42}, {16, 36}, {16, 29}, {16, 25}};
    char name[80];

    for (size_t f = 0; f < ARRAY_LENGTH(formats); f++) {
        struct tables tables;
        unsigned granule_bits = formats[f].granule_bits;

        if (!cpu_has_granule(granule_bits))
            continue;
        print_to(name, sizeof(name), "stage 1, %s granule, %u bits", granule_name(granule_bits), formats[f].input_bits);
        section(name);
        tables_init(&tables, granule_bits, formats[f].input_bits);
        uint64_t planted = planted_page(BIT(granule_bits)) + 8 * 5;
        plant(planted);
        uint64_t address = sample_address(formats[f].input_bits);
        stage1_on(&tables, 0, 0);

        for (unsigned level = tables.start_level; level <= 3; level++) {
            uint64_t *descriptor = tables_descriptor(&tables, address, level);
            uint64_t covered = BIT(tables_level_bits(&tables, level)) - 1;
            uint64_t at = (address & ~covered) + (planted & covered);
            uint64_t output = leaf_output(&tables, level, planted);
            uint64_t leaf = output | PAGE_ALL | (level == 3 ? DESC_PAGE : DESC_BLOCK);

            *descriptor = DESC_INVALID;
            forget_all();
            print_to(name, sizeof(name), "level %u, invalid: load", level);
            show_load(name, PSTATE_EL1H, at);
            if (leaf_exists(granule_bits, level)) {
                *descriptor = leaf;
                forget_all();
                print_to(name, sizeof(name), "level %u, leaf: load at EL1", level);
                show_load(name, PSTATE_EL1H, at);
                print_to(name, sizeof(name), "level %u, leaf: load at EL0", level);
                show_load(name, PSTATE_EL0, at);
                *descriptor = leaf & ~DESC_AF;
                forget_all();
                print_to(name, sizeof(name), "level %u, AF=0: load", level);
                show_load(name, PSTATE_EL0, at);
                *descriptor = leaf | DESC_AP_RO;
                forget_all();
                print_to(name, sizeof(name), "level %u, read-only: store", level);
                show_store(name, PSTATE_EL1H, at);
                *descriptor = leaf | DESC_UXN;
                forget_all();
                print_to(name, sizeof(name), "level %u, UXN: jump at EL0", level);
                show_jump(name, PSTATE_EL0, at);
                *descriptor = leaf | BIT(44); /* PA beyond the 40 bits of IPS */
                forget_all();
                print_to(name, sizeof(name), "level %u, address too large: load", level);
                show_load(name, PSTATE_EL1H, at);
                if (level == 3) {
                    *descriptor = (leaf & ~UINT64_C(3)) | DESC_BLOCK; /* 0b01 at level 3 */
                    forget_all();
                    print_to(name, sizeof(name), "level %u, reserved type: load", level);
                    show_load(name, PSTATE_EL1H, at);
                }
            }
            *descriptor = DESC_INVALID;
            if (level < 3) { /* make the table for the next round */
                tables_descriptor(&tables, address, level + 1);
                uint64_t table = *descriptor;
                *descriptor = table | BIT(45);
                forget_all();
                print_to(name, sizeof(name), "level %u, table address too large: load", level);
                show_load(name, PSTATE_EL1H, at);
                *descriptor = table;
            }
        }
        if (formats[f].input_bits < 48) {
            print_to(name, sizeof(name), "address of %u bits: load", formats[f].input_bits + 1);
            show_load(name, PSTATE_EL1H, BIT(formats[f].input_bits) + address);
        }
        WRITE(TTBR0_EL1, (uintptr_t)tables.root | BIT(46));
        forget_all();
        show_load("TTBR0 too large: load", PSTATE_EL1H, address);
        WRITE(TTBR0_EL1, (uintptr_t)tables.root);
    }
}

/* A page of code (RET) in the lower half with a level 2 table above it: AP, XN, and what tables take away. */
static void permissions(void) {
    struct tables tables;
    uint64_t page, address = 0x12345678000, *leaf, *table;

    section("permissions: EL0, EL1 by AP, PXN, UXN");
    tables_init(&tables, 12, 48);
    page = planted_page(4096);
    *(volatile uint64_t *)page = 0xd65f03c0; /* RET */
    table = tables_descriptor(&tables, address, 2);
    leaf = tables_descriptor(&tables, address, 3);
    uint64_t plain_table = *table;

    for (unsigned variant = 0; variant < 4; variant++) {
        static const char *const names[] = {"", "WXN", "PAN", "WXN, PAN"};
        uint64_t wxn = variant & 1 ? SCTLR_WXN : 0;
        uint64_t pan = variant & 2 ? BIT(22) : 0;

        if (pan && !cpu_has_pan())
            break;
        stage1_on(&tables, 0, wxn);
        for (unsigned bits = 0; bits < 16; bits++) {
            *leaf = page | DESC_AF | ATTR_NORMAL | DESC_PAGE | (bits & 1 ? DESC_AP_EL0 : 0) |
                    (bits & 2 ? DESC_AP_RO : 0) | (bits & 4 ? DESC_PXN : 0) | (bits & 8 ? DESC_UXN : 0);
            forget_all();
            print("AP=%u PXN=%u UXN=%u %-8s EL0 %s EL1 %s\n", bits & 3, bits >> 2 & 1, bits >> 3, names[variant],
                  rights_of(PSTATE_EL0, address, 3).text, rights_of(PSTATE_EL1H | pan, address, 3).text);
        }
    }

    section("permissions: what the table above takes away (APTable, PXNTable, UXNTable)");
    stage1_on(&tables, 0, 0);
    for (unsigned ap = 0; ap < 4; ap++) {
        for (unsigned bits = 0; bits < 16; bits++) {
            *leaf = page | DESC_AF | ATTR_NORMAL | DESC_PAGE | (uint64_t)ap << 6;
            *table = plain_table | (uint64_t)(bits & 3) << 61 | (bits & 4 ? TABLE_PXN : 0) | (bits & 8 ? TABLE_UXN : 0);
            forget_all();
            print("AP=%u APTable=%u PXNTable=%u UXNTable=%u EL0 %s EL1 %s\n", ap, bits & 3, bits >> 2 & 1, bits >> 3,
                  rights_of(PSTATE_EL0, address, 3).text, rights_of(PSTATE_EL1H, address, 3).text);
        }
    }
    *table = plain_table;
}

/* LDTR and STTR use EL0's permissions at EL1; UAO and PAN. */
SNIPPET(ldtr, "ldtr x0, [x1]");
SNIPPET(sttr, "sttr x0, [x1]");
SNIPPET(ldtr_uao, ".inst 0xd500417f; ldtr x0, [x1]");

static void unprivileged(void) {
    struct tables tables;
    uint64_t page, address = 0x5000;
    char name[60];

    section("LDTR, STTR");
    tables_init(&tables, 12, 39);
    page = planted_page(4096);
    stage1_on(&tables, 0, 0);
    for (unsigned ap = 0; ap < 4; ap++) {
        *tables_descriptor(&tables, address, 3) = page | DESC_AF | ATTR_NORMAL | DESC_PAGE | (uint64_t)ap << 6;
        forget_all();
        print_to(name, sizeof(name), "AP=%u, LDTR", ap);
        try_with(name, PSTATE_EL1H, ldtr, 0, address, 0);
        print_to(name, sizeof(name), "AP=%u, STTR", ap);
        try_with(name, PSTATE_EL1H, sttr, page, address, 0);
        try_with(name, PSTATE_EL0, sttr, page, address, 0);
        if (cpu_has_pan()) {
            print_to(name, sizeof(name), "AP=%u, PAN, LDTR", ap);
            try_with(name, PSTATE_EL1H | BIT(22), ldtr, 0, address, 0);
            print_to(name, sizeof(name), "AP=%u, PAN, LDR", ap);
            try_with(name, PSTATE_EL1H | BIT(22), load_x1, 0, address, 0);
            print_to(name, sizeof(name), "AP=%u, UAO, LDTR", ap);
            try_with(name, PSTATE_EL1H, ldtr_uao, 0, address, 0);
        }
    }
}

static void halves(void) {
    struct tables tables;
    uint64_t page = planted_page(4096), top = UPPER + 0x700000000000;
    uint64_t address = 0x7ffff000;

    section("TBI, EPD, size of the halves");
    tables_init(&tables, 12, 39);
    tables_map(&tables, address, page, 4096, PAGE_ALL);
    stage1_on(&tables, 0, 0);
    show_load("no tag: load", PSTATE_EL0, address);
    show_load("tag 0x5a without TBI0: load", PSTATE_EL0, UINT64_C(0x5a) << 56 | address);
    show_load("tag 0x80 without TBI0: load", PSTATE_EL0, UINT64_C(0x80) << 56 | address);
    show_load("upper half, not mapped: load", PSTATE_EL1H, top);
    stage1_on(&tables, TCR_TBI0, 0);
    show_load("tag 0x5a, TBI0: load", PSTATE_EL0, UINT64_C(0x5a) << 56 | address);
    show_load("tag 0xff, TBI0: load", PSTATE_EL0, UINT64_C(0xff) << 56 | address);
    show_load("tag 0xa5, TBI0, not mapped: load", PSTATE_EL0, UINT64_C(0xa5) << 56 | (address + 4096));
    show_jump("tag 0x5a, TBI0: jump, not mapped", PSTATE_EL0, UINT64_C(0x5a) << 56 | (address + 4096));
    show_load("tag 0x5a, TBI0 only, upper half: load", PSTATE_EL0, top ^ UINT64_C(0x5a) << 56);
    stage1_on(&tables, TCR_TBI1, 0);
    show_load("tag 0xa5, TBI1, upper half: load", PSTATE_EL0, top ^ UINT64_C(0x5a) << 56);
    show_jump("tag 0xa5, TBI1, upper half: jump", PSTATE_EL0, top ^ UINT64_C(0x5a) << 56);
    stage1_on(&tables, TCR_EPD0, 0);
    show_load("EPD0: load", PSTATE_EL0, address);
    show_load("hole between the halves: load", PSTATE_EL1H, UINT64_C(0x0100000000000000));
    show_load("hole between the halves, bit 55: load", PSTATE_EL1H, UINT64_C(0x0080000000000000));
    show_load("bit 47 of the lower half, 39 bits: load", PSTATE_EL1H, UINT64_C(0x0000800000000000));

    section("TTBR1 with each granule");
    for (unsigned granule_bits = 12; granule_bits <= 16; granule_bits += 2) {
        if (!cpu_has_granule(granule_bits))
            continue;
        struct tables low, high;
        char name[60];
        uint64_t at = ~UINT64_C(0) << 36 | 0xabcde0000, output = planted_page(BIT(granule_bits));

        tables_init(&low, 12, 39);
        map_program(&low, 0);
        tables_init(&high, granule_bits, 36);
        tables_map(&high, at, output, BIT(granule_bits), PAGE_ALL);
        stage1_on(&low, 0, 0);
        WRITE(TCR_EL1, (READ(TCR_EL1) & ~(UINT64_C(3) << 30 | UINT64_C(0x3f) << 16)) | tcr_tg1(granule_bits) |
                           TCR_T1SZ(36));
        WRITE(TTBR1_EL1, (uintptr_t)high.root);
        forget_all();
        world.code_offset = 0;
        print_to(name, sizeof(name), "%s, upper half: load", granule_name(granule_bits));
        show_load(name, PSTATE_EL1H, at);
        print_to(name, sizeof(name), "%s, next page: load", granule_name(granule_bits));
        show_load(name, PSTATE_EL0, at + BIT(granule_bits));
        print_to(name, sizeof(name), "%s, below the upper half: load", granule_name(granule_bits));
        show_load(name, PSTATE_EL0, at - BIT(36));
        WRITE(TCR_EL1, READ(TCR_EL1) | TCR_EPD1);
        forget_all();
        print_to(name, sizeof(name), "%s, EPD1: load", granule_name(granule_bits));
        show_load(name, PSTATE_EL1H, at);
    }
}

static uint64_t value_at(uint64_t address) {
    struct outcome outcome = run_with(PSTATE_EL1H, load_x1, 0, address, 0);
    return outcome.taken == RETURNED ? outcome.x[0] : ~UINT64_C(0);
}

static void address_spaces(void) {
    struct tables spaces[2];
    uint64_t own[2], shared = planted_page(4096), address = 0x400000;

    section("ASIDs");
    for (unsigned i = 0; i < 2; i++) {
        tables_init(&spaces[i], 12, 39);
        own[i] = planted_page(4096);
        tables_map(&spaces[i], address, own[i], 4096, PAGE_ALL | DESC_NG);
        tables_map(&spaces[i], address + 4096, shared, 4096, PAGE_ALL);
    }
    stage1_on(&spaces[0], 0, 0);
    unsigned right = 0;
    for (unsigned round = 0; round < 8; round++) {
        unsigned i = round & 1;
        WRITE(TTBR0_EL1, (uintptr_t)spaces[i].root | (uint64_t)(i + 1) << 48);
        isb();
        right += value_at(address) == own[i] && value_at(address + 4096) == shared;
    }
    print("two ASIDs in turn, no TLBI: %u of 8 right\n", right);

    /* The ASID in TTBR1 instead. */
    uint64_t ttbr1 = READ(TTBR1_EL1);
    WRITE(TCR_EL1, READ(TCR_EL1) | TCR_A1);
    forget_all();
    right = 0;
    for (unsigned round = 0; round < 8; round++) {
        unsigned i = round & 1;
        WRITE(TTBR0_EL1, (uintptr_t)spaces[i].root);
        WRITE(TTBR1_EL1, ttbr1 | (uint64_t)(i + 1) << 48);
        isb();
        right += value_at(address) == own[i] && value_at(address + 4096) == shared;
    }
    print("two ASIDs in TTBR1, no TLBI: %u of 8 right\n", right);
    WRITE(TTBR1_EL1, ttbr1);

    stage1_on(&spaces[0], TCR_AS, 0);
    right = 0;
    for (unsigned round = 0; round < 8; round++) {
        unsigned i = round & 1;
        WRITE(TTBR0_EL1, (uintptr_t)spaces[i].root | (uint64_t)(i ? 0x1234 : 0x5634) << 48);
        isb();
        right += value_at(address) == own[i];
    }
    print("two ASIDs that differ in the upper 8 bits: %u of 8 right\n", right);
}

/* After a change of the descriptor and the TLBI, the new page must be there. At EL1 and from EL2. */
#define TLBI_FORMS(X)                                                                                         \
    X(vmalle1) X(vae1) X(aside1) X(vaae1) X(vale1) X(vaale1) X(vmalle1is) X(vae1is) X(aside1is) X(vaae1is)    \
    X(vale1is) X(vaale1is)
#define TLBI_SNIPPET(form) SNIPPET(tlbi_##form, "dsb sy; tlbi " #form TLBI_ARGUMENT_##form "; dsb sy; isb");
#define TLBI_ARGUMENT_vmalle1
#define TLBI_ARGUMENT_vmalle1is
#define TLBI_ARGUMENT_vae1 ", x1"
#define TLBI_ARGUMENT_aside1 ", x1"
#define TLBI_ARGUMENT_vaae1 ", x1"
#define TLBI_ARGUMENT_vale1 ", x1"
#define TLBI_ARGUMENT_vaale1 ", x1"
#define TLBI_ARGUMENT_vae1is ", x1"
#define TLBI_ARGUMENT_aside1is ", x1"
#define TLBI_ARGUMENT_vaae1is ", x1"
#define TLBI_ARGUMENT_vale1is ", x1"
#define TLBI_ARGUMENT_vaale1is ", x1"
TLBI_FORMS(TLBI_SNIPPET)

static void invalidation(void) {
    static const struct {
        const char *name, *snippet;
    } forms[] = {
#define X(form) {#form, tlbi_##form},
        TLBI_FORMS(X)
#undef X
    };
    struct tables tables;
    uint64_t address = 0x400000, pages[2];

    section("TLBI makes a new descriptor visible");
    tables_init(&tables, 12, 39);
    pages[0] = planted_page(4096);
    pages[1] = planted_page(4096);
    stage1_on(&tables, 0, 0);
    WRITE(TTBR0_EL1, (uintptr_t)tables.root | UINT64_C(7) << 48);
    isb();
    uint64_t *leaf = tables_descriptor(&tables, address, 3);
    for (size_t i = 0; i < ARRAY_LENGTH(forms); i++) {
        for (unsigned level = 1; level <= 2; level++) {
            uint64_t attributes = PAGE_ALL | DESC_NG | DESC_PAGE;
            unsigned right = 0;
            for (unsigned round = 0; round < 4; round++) {
                *leaf = pages[round & 1] | attributes;
                run_with(level == 1 ? PSTATE_EL1H : PSTATE_EL2H, forms[i].snippet, 0,
                         UINT64_C(7) << 48 | address >> 12, 0);
                right += value_at(address) == pages[round & 1];
            }
            print("TLBI %-11s at EL%u: %u of 4 right\n", forms[i].name, level, right);
        }
    }
}

static void contiguous(void) {
    section("contiguous bit");
    for (unsigned granule_bits = 12; granule_bits <= 16; granule_bits += 2) {
        if (!cpu_has_granule(granule_bits))
            continue;
        struct tables tables;
        unsigned count = granule_bits == 12 ? 16 : granule_bits == 14 ? 128 : 32;
        uint64_t size = BIT(granule_bits), address = 0x40000000;
        uint64_t block = planted_page(size * count);
        unsigned right = 0;

        tables_init(&tables, granule_bits, 39);
        for (unsigned i = 0; i < count; i++) {
            plant(block + i * size + 0x800);
            *tables_descriptor(&tables, address + i * size, 3) =
                (block + i * size) | PAGE_ALL | DESC_CONTIGUOUS | DESC_PAGE;
        }
        stage1_on(&tables, 0, 0);
        for (unsigned i = 0; i < count; i++)
            right += value_at(address + i * size + 0x800) == block + i * size + 0x800;
        print("%s: %u of %u right\n", granule_name(granule_bits), right, count);
    }
}

/* Alignment, accesses across pages. */
SNIPPET(load16_x1, "ldrh w0, [x1]");
SNIPPET(store4_x1, "str w0, [x1]");
SNIPPET(pair_x1, "ldp x0, x2, [x1]; eor x0, x0, x2");
SNIPPET(store_pair_x1, "stp x0, x2, [x1]");
SNIPPET(ldxr_x1, "ldxr x0, [x1]");
SNIPPET(ldar_x1, "ldar x0, [x1]");
SNIPPET(stlr_x1, "stlr w0, [x1]");
SNIPPET(vector_x1, "ldr q0, [x1]; fmov x0, d0");

static void alignment(void) {
    struct tables tables;
    uint64_t first = planted_page(4096), second = planted_page(4096), address = 0x7000;

    section("accesses across two pages that are apart");
    tables_init(&tables, 12, 39);
    tables_map(&tables, address, second, 4096, PAGE_ALL);
    tables_map(&tables, address + 4096, first, 4096, PAGE_ALL);
    *(volatile uint64_t *)(second + 4088) = 0x8877665544332211;
    *(volatile uint64_t *)first = 0xffeeddccbbaa9988;
    stage1_on(&tables, 0, 0);
    for (unsigned offset = 1; offset < 8; offset += 3) {
        char name[60];
        print_to(name, sizeof(name), "LDR X, %u bytes before the end", offset);
        try_with(name, PSTATE_EL0, load_x1, 0, address + 4096 - offset, 0);
    }
    try_with("LDRH, 1 byte before the end", PSTATE_EL0, load16_x1, 0, address + 4095, 0);
    try_with("LDP, 8 bytes before the end", PSTATE_EL1H, pair_x1, 0, address + 4088, 0);
    try_with("LDP, 12 bytes before the end", PSTATE_EL1H, pair_x1, 0, address + 4084, 0);
    try_with("LDR Q, 5 bytes before the end", PSTATE_EL1H, vector_x1, 0, address + 4091, 0);
    try_with("STR W, 2 bytes before the end", PSTATE_EL0, store4_x1, 0x44434241, address + 4094, 0);
    print("the two pages: %016lx %016lx\n", *(volatile uint64_t *)(second + 4088), *(volatile uint64_t *)first);

    section("accesses that run into a page that is not there");
    *tables_descriptor(&tables, address + 4096, 3) = 0;
    stage1_on(&tables, 0, 0);
    try_with("LDR X, 3 bytes before the end", PSTATE_EL0, load_x1, 0, address + 4093, 0);
    try_with("LDRH, 1 byte before the end", PSTATE_EL1H, load16_x1, 0, address + 4095, 0);
    try_with("LDP, 8 bytes before the end", PSTATE_EL1H, pair_x1, 0, address + 4088, 0);
    try_with("STR X, 3 bytes before the end", PSTATE_EL1H, store_x1, 0x1111111111111111, address + 4093, 0);
    print("the page before: %016lx\n", *(volatile uint64_t *)(second + 4088));
    *tables_descriptor(&tables, address + 4096, 3) = first | PAGE_ALL | DESC_AP_RO | DESC_PAGE;
    forget_all();
    try_with("STR X into a read-only page", PSTATE_EL1H, store_x1, 0x1111111111111111, address + 4093, 0);
    print("the page before: %016lx\n", *(volatile uint64_t *)(second + 4088));

    section("alignment faults");
    stage1_on(&tables, 0, 0);
    try_with("LDXR +4", PSTATE_EL1H, ldxr_x1, 0, address + 4, 0);
    try_with("LDAR +1", PSTATE_EL0, ldar_x1, 0, address + 1, 0);
    try_with("STLR W +2", PSTATE_EL0, stlr_x1, 0, address + 2, 0);
    stage1_on(&tables, 0, SCTLR_A);
    try_with("SCTLR.A: LDR X +8", PSTATE_EL1H, load_x1, 0, address + 8, 0);
    try_with("SCTLR.A: LDR X +4", PSTATE_EL1H, load_x1, 0, address + 4, 0);
    try_with("SCTLR.A: LDR X +4", PSTATE_EL0, load_x1, 0, address + 4, 0);
    try_with("SCTLR.A: LDRH +1", PSTATE_EL0, load16_x1, 0, address + 1, 0);
    try_with("SCTLR.A: LDRB +1", PSTATE_EL0, load_byte_x1, 0, address + 1, 0);
    try_with("SCTLR.A: STR W +2", PSTATE_EL0, store4_x1, 0, address + 2, 0);
    try_with("SCTLR.A: LDP +4", PSTATE_EL0, pair_x1, 0, address + 4, 0);
    try_with("SCTLR.A: STP +4", PSTATE_EL0, store_pair_x1, 0, address + 4, 0);
    try_with("SCTLR.A: LDP X +8", PSTATE_EL0, pair_x1, 0, address + 8, 0);
    try_with("SCTLR.A: LDR +1 where nothing is mapped", PSTATE_EL1H, load_x1, 0, 0x123001, 0);
}

SNIPPET(dc_zva, "dc zva, x1");

static void zero_block(void) {
    struct tables tables;
    uint64_t page = planted_page(4096), address = 0x9000;
    unsigned size = 4u << FIELD(READ(DCZID_EL0), 3, 0), zeros = 0;

    section("DC ZVA");
    for (unsigned i = 0; i < 512; i++)
        ((volatile uint64_t *)page)[i] = ~UINT64_C(0);
    tables_init(&tables, 12, 39);
    tables_map(&tables, address, page, 4096, PAGE_ALL);
    stage1_on(&tables, 0, 0);
    try_with("in the middle of a block", PSTATE_EL0, dc_zva, 0, address + 0x400 + size / 2 + 3, 0);
    for (unsigned i = 0; i < 4096; i++)
        zeros += ((volatile uint8_t *)page)[i] == 0;
    print("zeroed %u bytes, block of %u, starts %s\n", zeros, size,
          ((volatile uint8_t *)page)[0x400] == 0 && ((volatile uint8_t *)page)[0x3ff] != 0 ? "right" : "wrong");
    try_with("not mapped", PSTATE_EL0, dc_zva, 0, 0x10000, 0);
    *tables_descriptor(&tables, address, 3) |= DESC_AP_RO;
    forget_all();
    try_with("read-only", PSTATE_EL1H, dc_zva, 0, address, 0);
}

/* Access flag and dirty state in hardware, where the core has them. */
static void hardware_updates(void) {
    struct tables tables;
    uint64_t page = planted_page(4096), address = 0x9000, *leaf;

    section("hardware access flag and dirty state");
    if (FIELD(READ(ID_AA64MMFR1_EL1), 3, 0) < 2) {
        print("not in this core\n");
        return;
    }
    tables_init(&tables, 12, 39);
    leaf = tables_descriptor(&tables, address, 3);
    *leaf = page | (PAGE_ALL & ~DESC_AF) | DESC_PAGE;
    stage1_on(&tables, TCR_HA, 0);
    show_load("HA, AF=0: load", PSTATE_EL0, address);
    print("AF is now %u\n", (*leaf & DESC_AF) != 0);
    *leaf = page | PAGE_ALL | DESC_AP_RO | DESC_DBM | DESC_PAGE;
    forget_all();
    show_store("HA, read-only with DBM: store", PSTATE_EL0, address);
    stage1_on(&tables, TCR_HA | TCR_HD, 0);
    show_load("HA HD, read-only with DBM: load", PSTATE_EL0, address);
    print("AP[2] is %u\n", (*leaf & DESC_AP_RO) != 0);
    show_store("HA HD, read-only with DBM: store", PSTATE_EL0, address);
    print("AP[2] is now %u\n", (*leaf & DESC_AP_RO) != 0);
    *leaf = page | PAGE_ALL | DESC_AP_RO | DESC_PAGE;
    forget_all();
    show_store("HA HD, read-only without DBM: store", PSTATE_EL0, address);
    *leaf = page | (PAGE_ALL & ~DESC_AF) | DESC_AP_RO | DESC_DBM | DESC_PAGE;
    forget_all();
    show_store("HA HD, AF=0, read-only with DBM: store", PSTATE_EL1H, address);
    print("AF is now %u, AP[2] %u\n", (*leaf & DESC_AF) != 0, (*leaf & DESC_AP_RO) != 0);
}

/* EL2's own regime: one half, one privilege level. The program is mapped where it is. */
static void el2_regime(void) {
    for (unsigned granule_bits = 12; granule_bits <= 16; granule_bits += 2) {
        if (!cpu_has_granule(granule_bits))
            continue;
        struct tables tables;
        char name[60];
        uint64_t address = 0x23456780000, page, device = 0x09000000, *leaf;
        uint64_t image = 0x40200000, mask = BIT(granule_bits) - 1;

        print_to(name, sizeof(name), "EL2, %s granule", granule_name(granule_bits));
        section(name);
        tables_init(&tables, granule_bits, 42);
        page = planted_page(BIT(granule_bits));
        *(volatile uint64_t *)page = 0xd65f03c0;
        tables_map(&tables, device, device, 0x10000, DESC_AF | DESC_AP_EL0 | DESC_XN | ATTR_DEVICE);
        tables_map(&tables, image & ~mask, image & ~mask, RAM_END - (image & ~mask), PAGE_ALL);
        leaf = tables_descriptor(&tables, address, 3);
        *leaf = page | PAGE_ALL | DESC_PAGE;

        WRITE(MAIR_EL2, MAIR_VALUE);
        WRITE(TCR_EL2, BIT(31) | BIT(23) | 2 << 16 | tcr_tg0(granule_bits) | TCR_WALKS0 | TCR_T0SZ(42));
        WRITE(TTBR0_EL2, (uintptr_t)tables.root);
        dsb();
        asm volatile("tlbi alle2");
        dsb();
        isb();
        WRITE(SCTLR_EL2, SCTLR_EL2_RES1 | SCTLR_M | SCTLR_C | SCTLR_I);
        isb();
        for (unsigned bits = 0; bits < 4; bits++) {
            *leaf = page | PAGE_ALL | DESC_PAGE | (bits & 1 ? DESC_AP_RO : 0) | (bits & 2 ? DESC_XN : 0);
            dsb();
            asm volatile("tlbi vae2, %0" : : "r"(address >> 12));
            dsb();
            isb();
            print("AP[2]=%u XN=%u %s\n", bits & 1, bits >> 1, rights_of(PSTATE_EL2H, address, 3).text);
        }
        for (unsigned level = 3; level >= tables.start_level && level <= 3; level--) {
            uint64_t *descriptor = tables_descriptor(&tables, address, level), old = *descriptor;
            *descriptor = 0;
            dsb();
            asm volatile("tlbi alle2");
            dsb();
            isb();
            struct outcome outcome = run_with(PSTATE_EL2H, pair_x1, 0, address, 0);
            print_to(name, sizeof(name), "level %u, invalid: LDP", level);
            show(name, &outcome);
            *descriptor = old;
        }
        struct outcome outcome = run_with(PSTATE_EL2H, pair_x1, 0, UPPER, 0);
        show("no upper half: LDP", &outcome);
        WRITE(SCTLR_EL2, SCTLR_EL2_RES1);
        isb();
    }
}

void program(void) {
    levels();
    permissions();
    unprivileged();
    halves();
    address_spaces();
    invalidation();
    contiguous();
    alignment();
    zero_block();
    hardware_updates();
    el2_regime();
}
