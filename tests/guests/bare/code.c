/*
 * Code that changes: written through other addresses, by every kind of store, remapped at stage 1 and stage 2, run off the
 * end of a page; and more address spaces than any cache of translations has room for. What a machine that keeps decoded
 * instructions and translations is most likely to get wrong. DDI 0487 "Caches in a VMSAv8-64 implementation", "TLB
 * maintenance requirements and the TLB maintenance instructions".
 */
#include "../lib/memory.h"
#include "harness/regimes.h"

#define RET 0xd65f03c0u
/* mov x0, #n */
static uint32_t mov_x0(unsigned n) { return 0xd2800000u | n << 5; }
/* add x0, x0, #n */
static uint32_t add_x0(unsigned n) { return 0x91000000u | n << 10; }

#define CODE UINT64_C(0x10000000) /* executable by both levels */
#define ALIAS UINT64_C(0x20000000) /* the same pages, writable */

static struct tables tables;
static uint64_t pages[4];

static void put(uint64_t physical, unsigned index, uint32_t word) { ((volatile uint32_t *)physical)[index] = word; }

static void map(uint64_t address, uint64_t physical, uint64_t attributes) {
    *tables_descriptor(&tables, address, 3) = physical | attributes | DESC_PAGE;
}

#define EXECUTABLE (DESC_AF | DESC_AP_EL0 | DESC_AP_RO | ATTR_NORMAL)

/* After section(), which resets everything. */
static void start(void) {
    tables_init(&tables, 12, 39);
    for (unsigned i = 0; i < ARRAY_LENGTH(pages); i++) {
        pages[i] = (uintptr_t)pages_allocate(4096, 4096);
        map(CODE + 4096 * i, pages[i], EXECUTABLE);
        map(ALIAS + 4096 * i, pages[i], PAGE_ALL);
    }
    stage1_on(&tables, TCR_AS, 0);
}

/* As far as the instruction cache must know: code at x1 was changed. */
#define SYNCHRONIZE "dc cvau, x1\n dsb ish\n ic ivau, x1\n dsb ish\n isb\n"

/* Each writes x0 (an instruction, or two) to x2 and runs the code at x1, another address of the same place. */
SNIPPET(patch_str, "str w0, [x2]\n" SYNCHRONIZE "br x1");
SNIPPET(patch_str64, "str x0, [x2]\n" SYNCHRONIZE "br x1");
SNIPPET(patch_stp, "lsr x3, x0, #32\n stp w0, w3, [x2]\n" SYNCHRONIZE "br x1");
SNIPPET(patch_bytes, "strb w0, [x2]\n lsr w3, w0, #8\n strb w3, [x2, #1]\n lsr w3, w0, #16\n strh w3, [x2, #2]\n"
                     SYNCHRONIZE "br x1");
SNIPPET(patch_unaligned, "ldur w3, [x2, #-3]\n bfi w3, w0, #24, #8\n stur w3, [x2, #-3]\n"
                         "ldur w3, [x2, #1]\n lsr w4, w0, #8\n bfi w3, w4, #0, #24\n stur w3, [x2, #1]\n" SYNCHRONIZE
                         "br x1");
SNIPPET(patch_exclusive, "1: ldxr w3, [x2]\n stxr w4, w0, [x2]\n cbnz w4, 1b\n" SYNCHRONIZE "br x1");
SNIPPET(patch_release, "stlr w0, [x2]\n" SYNCHRONIZE "br x1");
SNIPPET(patch_unprivileged, "sttr w0, [x2]\n" SYNCHRONIZE "br x1");
SNIPPET(patch_all, "str w0, [x2]\n dsb ish\n ic iallu\n dsb ish\n isb\n br x1");
SNIPPET(patch_vector, ".arch armv8-a+simd\n fmov d0, x0\n st1 {v0.s}[0], [x2]\n" SYNCHRONIZE "br x1");
SNIPPET(patch_vector_pair, ".arch armv8-a+simd\n fmov d0, x0\n lsr x3, x0, #32\n fmov d1, x3\n stp s0, s1, [x2]\n"
                           SYNCHRONIZE "br x1");
SNIPPET(patch_swap, ".arch armv8.1-a\n swpal w0, w3, [x2]\n" SYNCHRONIZE "br x1");
SNIPPET(patch_cas, ".arch armv8.1-a\n ldr w3, [x2]\n casal w3, w0, [x2]\n" SYNCHRONIZE "br x1");
SNIPPET(patch_add, ".arch armv8.1-a\n ldr w3, [x2]\n sub w3, w0, w3\n staddl w3, [x2]\n" SYNCHRONIZE "br x1");
/* Zeroes the block, then writes. */
SNIPPET(patch_zero, "dc zva, x2\n str w0, [x2]\n mov w3, #0x03c0\n movk w3, #0xd65f, lsl #16\n str w3, [x2, #4]\n"
                    SYNCHRONIZE "br x1");

static void stores(void) {
    static const struct {
        const char *name, *snippet;
        bool lse;
    } ways[] = {{"str w", patch_str, false},
                {"str x", patch_str64, false},
                {"stp w", patch_stp, false},
                {"strb, strh", patch_bytes, false},
                {"unaligned", patch_unaligned, false},
                {"ldxr, stxr", patch_exclusive, false},
                {"stlr", patch_release, false},
                {"sttr", patch_unprivileged, false},
                {"st1 lane", patch_vector, false},
                {"stp s", patch_vector_pair, false},
                {"dc zva", patch_zero, false},
                {"swpal", patch_swap, true},
                {"casal", patch_cas, true},
                {"staddl", patch_add, true},
                {"str w, ic iallu", patch_all, false}};
    /* Somewhere in the page, and at its ends. */
    static const unsigned places[] = {64, 0, 4032};
    char name[64];

    section("code written through another address");
    start();
    for (unsigned i = 0; i < ARRAY_LENGTH(ways); i++) {
        if (ways[i].lse && !cpu_has_lse())
            continue;
        for (unsigned p = 0; p < ARRAY_LENGTH(places); p++) {
            for (unsigned level = 0; level < 2; level++) {
                uint64_t at = 4096 + places[p], pstate = level ? PSTATE_EL1H : PSTATE_EL0, sum = 0;
                struct outcome outcome;

                if (level == 0 && ways[i].snippet == patch_all) /* privileged */
                    continue;
                /* Seen and decoded before it is changed, several times. */
                put(pages[1], places[p] / 4, mov_x0(1));
                put(pages[1], places[p] / 4 + 1, RET);
                forget_all();
                outcome = run_with(pstate, call_x1, 0, CODE + at, 0);
                for (unsigned n = 2; n < 6 && outcome.taken == RETURNED; n++) {
                    sum += outcome.x[0];
                    outcome = run_with(pstate, ways[i].snippet, (uint64_t)RET << 32 | mov_x0(n), CODE + at, ALIAS + at);
                }
                print_to(name, sizeof(name), "EL%u %s at 0x%x: sum %u", level, ways[i].name, places[p], (unsigned)sum);
                show(name, &outcome);
            }
        }
    }
}

/* Straight on from one page to the next: another physical page, one that is missing, one that was changed. */
static void page_ends(void) {
    section("from page to page");
    start();
    put(pages[0], 1022, mov_x0(1));
    put(pages[0], 1023, add_x0(2));
    put(pages[1], 0, add_x0(4));
    put(pages[1], 1, RET);
    put(pages[3], 0, add_x0(8));
    put(pages[3], 1, RET);
    forget_all();
    uint64_t at = CODE + 4088;
    show_jump("page 0 to page 1", PSTATE_EL1H, at);
    map(CODE + 4096, pages[3], EXECUTABLE);
    forget_all();
    show_jump("page 0 to page 3", PSTATE_EL1H, at);
    show_jump("page 0 to page 3", PSTATE_EL0, at);
    map(CODE + 4096, pages[3], EXECUTABLE | DESC_PXN);
    forget_all();
    show_jump("page 0 to page 3 with PXN", PSTATE_EL1H, at);
    show_jump("page 0 to page 3 with PXN", PSTATE_EL0, at);
    *tables_descriptor(&tables, CODE + 4096, 3) = DESC_INVALID;
    forget_all();
    show_jump("page 0 to nothing", PSTATE_EL0, at);
    map(CODE + 4096, pages[0], EXECUTABLE); /* its first words are zero */
    forget_all();
    show_jump("page 0 to itself", PSTATE_EL0, at);
    put(pages[0], 0, add_x0(16));
    put(pages[0], 1, RET);
    forget_all();
    show_jump("page 0 to itself, changed", PSTATE_EL0, at);
}

/* Another page at the same address, each time forgotten in another way. */
static void remap_stage1(void) {
    static const char *const names[] = {"vae1", "vaae1", "vale1", "vaale1", "aside1", "vmalle1",
                                        "vae1is", "vaae1is", "aside1is", "vmalle1is", "alle1"};
    uint64_t tag = CODE >> 12;

    section("another page at the same address, stage 1");
    start();
    for (unsigned i = 0; i < 4; i++) {
        put(pages[i], 0, mov_x0(100 + i));
        put(pages[i], 1, RET);
    }
    forget_all();
    show_jump("before", PSTATE_EL1H, CODE);
    for (unsigned i = 0; i < ARRAY_LENGTH(names); i++) {
        map(CODE, pages[(i + 1) % 4], EXECUTABLE);
        dsb();
        switch (i) {
        case 0: asm volatile("tlbi vae1, %0" : : "r"(tag)); break;
        case 1: asm volatile("tlbi vaae1, %0" : : "r"(tag)); break;
        case 2: asm volatile("tlbi vale1, %0" : : "r"(tag)); break;
        case 3: asm volatile("tlbi vaale1, %0" : : "r"(tag)); break;
        case 4: asm volatile("tlbi aside1, %0" : : "r"(UINT64_C(0))); asm volatile("tlbi vaae1, %0" : : "r"(tag)); break;
        case 5: asm volatile("tlbi vmalle1"); break;
        case 6: asm volatile("tlbi vae1is, %0" : : "r"(tag)); break;
        case 7: asm volatile("tlbi vaae1is, %0" : : "r"(tag)); break;
        case 8: asm volatile("tlbi aside1is, %0" : : "r"(UINT64_C(0))); asm volatile("tlbi vaae1, %0" : : "r"(tag)); break;
        case 9: asm volatile("tlbi vmalle1is"); break;
        default: asm volatile("tlbi alle1"); break;
        }
        dsb();
        isb();
        show_jump(names[i], i & 1 ? PSTATE_EL0 : PSTATE_EL1H, CODE);
    }
}

/* The same below: the guest's page moves, its own tables do not change. */
static void remap_stage2(void) {
    struct tables second;
    static const char *const names[] = {"ipas2e1, vmalle1", "ipas2le1is, vmalle1is", "vmalls12e1", "alle1is"};

    section("another page at the same address, stage 2");
    start();
    tables_init_at(&second, 12, 40, 1);
    uint64_t all = DESC_AF | DESC_SH_INNER | S2_ATTR_NORMAL | S2_AP_READ | S2_AP_WRITE;
    for (uint64_t page = 0x40200000; page < RAM_END; page += 0x200000)
        tables_map(&second, page, page, 0x200000, all);
    uint64_t ipa = UINT64_C(0x50000000);
    uint64_t *leaf = tables_descriptor(&second, ipa, 3);
    for (unsigned i = 0; i < 4; i++) {
        put(pages[i], 0, mov_x0(200 + i));
        put(pages[i], 1, RET);
    }
    *leaf = pages[0] | all | DESC_PAGE;
    map(CODE, ipa, EXECUTABLE);
    WRITE(VTCR_EL2, BIT(31) | 2 << 16 | TCR_WALKS0 | 1 << 6 | TCR_T0SZ(40));
    WRITE(VTTBR_EL2, UINT64_C(5) << 48 | (uintptr_t)second.root);
    WRITE(HCR_EL2, HCR_RW | HCR_VM);
    forget_all();
    show_jump("before", PSTATE_EL1H, CODE);
    for (unsigned i = 0; i < ARRAY_LENGTH(names); i++) {
        *leaf = pages[(i + 1) % 4] | all | DESC_PAGE;
        dsb();
        switch (i) {
        case 0: asm volatile("tlbi ipas2e1, %0; dsb sy; tlbi vmalle1" : : "r"(ipa >> 12)); break;
        case 1: asm volatile("tlbi ipas2le1is, %0; dsb sy; tlbi vmalle1is" : : "r"(ipa >> 12)); break;
        case 2: asm volatile("tlbi vmalls12e1"); break;
        default: asm volatile("tlbi alle1is"); break;
        }
        dsb();
        isb();
        show_jump(names[i], i & 1 ? PSTATE_EL0 : PSTATE_EL1H, CODE);
    }
    /* Execute-never below, then gone. */
    *leaf = pages[0] | all | DESC_XN | DESC_PAGE;
    forget_all();
    show_jump("XN", PSTATE_EL1H, CODE);
    *leaf = DESC_INVALID;
    forget_all();
    show_jump("not mapped", PSTATE_EL0, CODE);
    WRITE(HCR_EL2, HCR_RW);
    forget_all();
}

/* A loop that changes an instruction of itself in each round: 1 + 2 + ... + 50. */
SNIPPET(self_changing, "mov x20, x30\n mov x3, #0\n mov x4, #50\n"
                       "1: ldr w5, [x2]\n add w5, w5, #32\n str w5, [x2]\n" SYNCHRONIZE
                       "blr x1\n add x3, x3, x0\n subs x4, x4, #1\n b.ne 1b\n mov x0, x3\n mov x30, x20\n");

/* More address spaces than anything keeps: each has its own page at one address, and code in it. */
static void address_spaces(void) {
    enum { COUNT = 1200 };
    static struct tables spaces[COUNT];
    static uint64_t target[8];
    uint64_t address = 0x123000;
    unsigned wrong = 0, wrong_code = 0;

    section("many address spaces");
    start();
    for (unsigned i = 0; i < 8; i++) {
        target[i] = planted_page(4096);
        put(target[i], 4, mov_x0(300 + i));
        put(target[i], 5, RET);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        tables_init(&spaces[i], 12, 25);
        *tables_descriptor(&spaces[i], address, 3) = target[i % 7] | EXECUTABLE | DESC_NG | DESC_PAGE;
    }
    stage1_on(&spaces[0], TCR_AS, 0);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < COUNT; i++) {
            unsigned n = round ? COUNT - 1 - i : i;
            WRITE(TTBR0_EL1, (uint64_t)(n + 1) << 48 | (uintptr_t)spaces[n].root);
            isb();
            struct outcome loaded = run_with(PSTATE_EL0, load_x1, 0, address, 0);
            struct outcome called = run_with(n & 1 ? PSTATE_EL0 : PSTATE_EL1H, call_x1, 0, address + 16, 0);
            wrong += loaded.taken != RETURNED || loaded.x[0] != target[n % 7];
            wrong_code += called.taken != RETURNED || called.x[0] != 300 + n % 7;
        }
    }
    print("%u address spaces, twice: %u wrong loads, %u wrong calls\n", COUNT, wrong, wrong_code);

    /* An ASID that is used again for another space, once it is forgotten. */
    wrong = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        WRITE(TTBR0_EL1, UINT64_C(7) << 48 | (uintptr_t)spaces[i].root);
        asm volatile("tlbi aside1, %0" : : "r"(UINT64_C(7) << 48));
        dsb();
        isb();
        struct outcome called = run_with(PSTATE_EL0, call_x1, 0, address + 16, 0);
        wrong += called.taken != RETURNED || called.x[0] != 300 + i % 7;
    }
    print("one ASID for all of them in turn: %u wrong calls\n", wrong);
}

static void loops(void) {
    section("a loop that changes itself");
    start();
    put(pages[2], 16, mov_x0(0));
    put(pages[2], 17, RET);
    forget_all();
    struct outcome outcome = run_with(PSTATE_EL0, self_changing, 0, CODE + 8192 + 64, ALIAS + 8192 + 64);
    show("through another address", &outcome);
}

void program(void) {
    stores();
    page_ends();
    remap_stage1();
    remap_stage2();
    loops();
    address_spaces();
}
