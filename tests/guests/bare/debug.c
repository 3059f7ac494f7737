/*
 * Self-hosted debug: software step, hardware breakpoints and watchpoints; when they are enabled, where their exceptions
 * go, and what the syndrome says. DDI 0487 "AArch64 Self-hosted Debug".
 *
 * Not here, because QEMU 7.2 does not model it: breakpoints that compare contexts without an address, VMIDs, the OS locks,
 * WnR of atomic instructions (tests/cpu/self_hosted_debug_test.ts has those).
 */
#include "harness/harness.h"

#include "../lib/memory.h"

#define MDSCR_SS BIT(0)
#define MDSCR_KDE BIT(13)
#define MDSCR_MDE BIT(15)
#define MDCR_TDE BIT(8)
#define SPSR_SS BIT(21)

#define BCR(type, linked, levels) ((uint64_t)(type) << 20 | (uint64_t)(linked) << 16 | 0xf << 5 | (levels) | 1)
#define WCR(bytes, kinds, levels) ((uint64_t)(bytes) << 5 | (kinds) << 3 | (levels) | 1)
#define EL1_ONLY (1 << 1)
#define EL0_ONLY (2 << 1)
#define EL10 (3 << 1)
#define EL210 (BIT(13) | 3 << 1)
#define EL21 (BIT(13) | 1 << 1)
#define EL2_ONLY (BIT(13) | 3 << 14)
#define LOADS 1
#define STORES 2

static uint64_t data[64] __attribute__((aligned(256)));

static const char *name_of(unsigned ec) {
    switch (ec) {
    case 0x30: return "breakpoint, lower EL";
    case 0x31: return "breakpoint, same EL";
    case 0x32: return "step, lower EL";
    case 0x33: return "step, same EL";
    case 0x34: return "watchpoint, lower EL";
    case 0x35: return "watchpoint, same EL";
    }
    return class_name(ec);
}

static void tell(const char *what, uint64_t pstate, const struct outcome *outcome, const char *start) {
    unsigned ec = ESR_EC(outcome->esr);

    print("EL%u %-42s ", (unsigned)FIELD(pstate, 3, 2), what);
    if (outcome->taken == RETURNED) {
        print("-> returned, x0=%lx\n", outcome->x[0]);
        return;
    }
    print("-> EL%u+%03x ESR=%08lx (%s)", outcome->level, outcome->vector, outcome->esr, name_of(ec));
    uint64_t from = outcome->elr - (uintptr_t)start;
    if (from < 0x100)
        print(" ELR=+%lx", from);
    else
        print(" ELR=%lx", outcome->elr);
    print(" SPSR=%lx", outcome->spsr);
    if (ec == 0x34 || ec == 0x35)
        print(" FAR=+%lx", outcome->far - (uintptr_t)data);
    print("\n");
}

static void once(const char *what, uint64_t pstate, const char *snippet) {
    struct outcome outcome = run(pstate, snippet);
    tell(what, pstate, &outcome, snippet);
}

/* One instruction after the other, as a debugger steps. */
static void steps(const char *what, uint64_t pstate, const char *snippet, unsigned most) {
    const char *pc = snippet;

    for (unsigned n = 0; n < most; n++) {
        struct outcome outcome = run(pstate | SPSR_SS, pc);
        unsigned ec = ESR_EC(outcome.esr);

        tell(what, pstate, &outcome, snippet);
        if (outcome.taken == RETURNED || (ec != 0x32 && ec != 0x33)) break;
        memcpy(world.x, outcome.x, sizeof(world.x));
        pc = (const char *)outcome.elr;
        pstate = outcome.spsr & ~SPSR_SS;
    }
    memset(&world, 0, sizeof(world));
}

static void unlock(void) {
    WRITE(OSLAR_EL1, 0);
    isb();
}
static void control(uint64_t mdscr, uint64_t mdcr) {
    WRITE(MDSCR_EL1, mdscr);
    WRITE(MDCR_EL2, (READ(MDCR_EL2) & 0x1f) | mdcr);
    isb();
}

SNIPPET(nops, "nop; nop; nop");
SNIPPET(arithmetic, "mov x0, #3; 1: subs x0, x0, #1; b.ne 1b; cbz x0, 2f; nop; 2: mov x0, #7");
SNIPPET(call_svc, "nop; svc #0x1234; nop");
SNIPPET(call_hvc, "hvc #0x42; nop");
SNIPPET(exclusive, "ldxr x2, [x1]; stxr w3, x2, [x1]; ldaxp x4, x5, [x1]; ldar x6, [x1]; clrex");
SNIPPET(undefined, "nop; .inst 0");
SNIPPET(unmask, "msr daifclr, #8; nop; nop");
SNIPPET(mask, "msr daifset, #8; nop; nop");
SNIPPET(breakpoint, "brk #5");
SNIPPET(to_el0, "adr x0, 1f; msr elr_el1, x0; mov x0, #0x200000; msr spsr_el1, x0; eret; 1: nop; nop; svc #0xd0e");
SNIPPET(enable_step, "mrs x0, mdscr_el1; orr x0, x0, #1; msr mdscr_el1, x0; isb; nop; nop");

static void software_step(void) {
    section("software step from EL0 and EL1 to EL1");
    unlock();
    once("no MDSCR.SS, SPSR.SS", PSTATE_EL0 | SPSR_SS, call_svc);
    control(MDSCR_SS, 0);
    once("SPSR.SS", PSTATE_EL0 | SPSR_SS, nops);
    once("no SPSR.SS", PSTATE_EL0, nops);
    once("SPSR.SS, masked", PSTATE_EL0 | PSTATE_D | SPSR_SS, nops);
    once("SPSR.SS, no KDE", PSTATE_EL1H | SPSR_SS, nops);
    once("SPSR.SS, no KDE", PSTATE_EL2H | SPSR_SS, nops);
    control(MDSCR_SS | MDSCR_KDE, 0);
    once("KDE, SPSR.SS", PSTATE_EL1H | SPSR_SS, nops);
    once("KDE, SPSR.SS", PSTATE_EL1T | SPSR_SS, nops);
    once("KDE, no SPSR.SS", PSTATE_EL1H, nops);
    once("KDE, SPSR.SS, masked", PSTATE_EL1H | PSTATE_D | SPSR_SS, nops);
    once("KDE, SPSR.SS", PSTATE_EL2H | SPSR_SS, nops);
    once("KDE, DAIFClr #8", PSTATE_EL1H | PSTATE_D | SPSR_SS, unmask);
    once("KDE, flags and masks", PSTATE_EL1H | SPSR_SS | UINT64_C(0xa) << 28 | PSTATE_I | PSTATE_A, nops);

    section("software step, instruction by instruction");
    unlock();
    control(MDSCR_SS | MDSCR_KDE, 0);
    steps("loop", PSTATE_EL0, arithmetic, 12);
    steps("loop", PSTATE_EL1H, arithmetic, 12);
    world.x[1] = (uintptr_t)data;
    steps("exclusives", PSTATE_EL0, exclusive, 6);
    steps("SVC", PSTATE_EL0, call_svc, 4);
    once("SVC alone", PSTATE_EL0 | SPSR_SS, call_svc + 4);
    once("SVC alone, not pending", PSTATE_EL0, call_svc + 4);
    once("SVC alone", PSTATE_EL1H | SPSR_SS, call_svc + 4);
    once("HVC", PSTATE_EL1H | SPSR_SS, call_hvc);
    steps("UDF", PSTATE_EL0, undefined, 4);
    once("BRK", PSTATE_EL0 | SPSR_SS, breakpoint);
    once("MSR MDSCR, ISB", PSTATE_EL1H, enable_step);
    control(MDSCR_KDE, 0);
    once("MSR MDSCR, ISB", PSTATE_EL1H, enable_step);
    control(MDSCR_SS, 0);
    once("ERET to EL0", PSTATE_EL1H, to_el0);

    section("software step to EL2");
    unlock();
    control(MDSCR_SS, MDCR_TDE);
    once("TDE", PSTATE_EL0 | SPSR_SS, nops);
    once("TDE", PSTATE_EL1H | SPSR_SS, nops);
    once("TDE, masked", PSTATE_EL1H | PSTATE_D | SPSR_SS, nops);
    once("TDE, no KDE", PSTATE_EL2H | SPSR_SS, nops);
    once("TDE, SVC to EL1", PSTATE_EL0 | SPSR_SS, call_svc + 4);
    once("TDE, HVC", PSTATE_EL1H | SPSR_SS, call_hvc);
    once("TDE, BRK", PSTATE_EL0 | SPSR_SS, breakpoint);
    control(MDSCR_SS | MDSCR_KDE, MDCR_TDE);
    once("TDE, KDE", PSTATE_EL2H | SPSR_SS, nops);
    once("TDE, KDE", PSTATE_EL2H, nops);
    once("TDE, KDE, masked", PSTATE_EL2H | PSTATE_D | SPSR_SS, nops);
    once("TDE, KDE, DAIFClr #8", PSTATE_EL2H | PSTATE_D | SPSR_SS, unmask);
    control(MDSCR_SS, 0);
    WRITE(HCR_EL2, HCR_RW | HCR_TGE);
    isb();
    once("TGE", PSTATE_EL0 | SPSR_SS, nops);
    once("TGE, SVC", PSTATE_EL0 | SPSR_SS, call_svc + 4);
    control(0, 0);
}

#define SET_BREAKPOINT(n, value, control)  \
    do {                                   \
        WRITE(DBGBVR##n##_EL1, value);     \
        WRITE(DBGBCR##n##_EL1, control);   \
        isb();                             \
    } while (0)

static void each_level(const char *what, const char *snippet) {
    once(what, PSTATE_EL0, snippet);
    once(what, PSTATE_EL1H, snippet);
    once(what, PSTATE_EL2H, snippet);
}

SNIPPET(counting, "mov x0, #0; mov x1, #100; 1: add x0, x0, #1; cmp x0, x1; b.ne 1b; nop");
SNIPPET(set_own, "adr x0, 1f; msr dbgbvr0_el1, x0; mov x0, #0x1e7; msr dbgbcr0_el1, x0; isb; mov x0, #1; 1: mov x0, #2");

static void breakpoints(void) {
    static const struct {
        const char *name;
        uint64_t levels;
    } levels[] = {{"EL1", EL1_ONLY}, {"EL0", EL0_ONLY},   {"EL0, EL1", EL10}, {"EL0, EL1, EL2", EL210},
                  {"EL1, EL2", EL21}, {"EL2", EL2_ONLY}};
    static const struct {
        const char *name;
        uint64_t mdscr, mdcr;
    } modes[] = {{"MDE", MDSCR_MDE, 0},
                 {"MDE, KDE", MDSCR_MDE | MDSCR_KDE, 0},
                 {"MDE, TDE", MDSCR_MDE, MDCR_TDE},
                 {"MDE, KDE, TDE", MDSCR_MDE | MDSCR_KDE, MDCR_TDE},
                 {"KDE", MDSCR_KDE, 0}};
    char name[60];

    section("breakpoints");
    unlock();
    for (size_t m = 0; m < ARRAY_LENGTH(modes); m++) {
        control(modes[m].mdscr, modes[m].mdcr);
        for (size_t l = 0; l < ARRAY_LENGTH(levels); l++) {
            SET_BREAKPOINT(0, (uintptr_t)counting + 12, BCR(0, 0, levels[l].levels));
            print_to(name, sizeof(name), "%s at %s", modes[m].name, levels[l].name);
            each_level(name, counting);
        }
    }
    control(MDSCR_MDE | MDSCR_KDE, 0);
    once("masked", PSTATE_EL1H | PSTATE_D, counting);
    SET_BREAKPOINT(0, (uintptr_t)counting + 12, BCR(0, 0, EL10));
    once("masked", PSTATE_EL1H | PSTATE_D, counting);
    once("masked", PSTATE_EL0 | PSTATE_D, counting);
    once("at the first instruction", PSTATE_EL0, counting + 12);
    SET_BREAKPOINT(0, (uintptr_t)counting + 12, BCR(0, 0, EL10) & ~1);
    each_level("not enabled", counting);
    SET_BREAKPOINT(0, BIT(47) | ((uintptr_t)counting + 12), BCR(0, 0, EL10));
    once("another address", PSTATE_EL0, counting);
    SET_BREAKPOINT(0, 0, 0);
    SET_BREAKPOINT(5, (uintptr_t)counting + 20, BCR(0, 0, EL10));
    once("number 5, after the loop", PSTATE_EL0, counting);
    once("number 5, after the loop", PSTATE_EL1H, counting);
    SET_BREAKPOINT(2, (uintptr_t)counting + 8, BCR(0, 0, EL10));
    once("two of them", PSTATE_EL0, counting);
    SET_BREAKPOINT(2, 0, 0);
    SET_BREAKPOINT(5, 0, 0);
    once("none", PSTATE_EL0, counting);
    once("set from EL1 for itself", PSTATE_EL1H, set_own);
    SET_BREAKPOINT(0, (uintptr_t)call_svc + 4, BCR(0, 0, EL10));
    once("at SVC", PSTATE_EL0, call_svc);
    SET_BREAKPOINT(0, (uintptr_t)breakpoint, BCR(0, 0, EL10));
    once("at BRK", PSTATE_EL0, breakpoint);
    SET_BREAKPOINT(0, (uintptr_t)undefined + 4, BCR(0, 0, EL10));
    once("at UDF", PSTATE_EL0, undefined);

    section("breakpoints linked to a context");
    unlock();
    control(MDSCR_MDE | MDSCR_KDE, 0);
    SET_BREAKPOINT(0, (uintptr_t)counting + 12, BCR(1, 5, EL10));
    SET_BREAKPOINT(5, 0x1234567, BCR(3, 0, EL10));
    WRITE(CONTEXTIDR_EL1, 0x1234567);
    each_level("the same CONTEXTIDR", counting);
    WRITE(CONTEXTIDR_EL1, 0x1234566);
    each_level("another CONTEXTIDR", counting);
    SET_BREAKPOINT(5, 0x1234566, BCR(3, 0, EL10) & ~1);
    each_level("linked to one that is off", counting);
    SET_BREAKPOINT(0, (uintptr_t)counting + 12, BCR(1, 2, EL10));
    SET_BREAKPOINT(2, 0x1234566, BCR(3, 0, EL10));
    SET_BREAKPOINT(0, 0, 0);
    SET_BREAKPOINT(2, 0, 0);
    SET_BREAKPOINT(5, 0, 0);
    WRITE(CONTEXTIDR_EL1, 0);

    section("steps and breakpoints");
    unlock();
    control(MDSCR_MDE | MDSCR_SS, 0);
    SET_BREAKPOINT(0, (uintptr_t)nops + 4, BCR(0, 0, EL10));
    steps("onto a breakpoint", PSTATE_EL0, nops, 4);
    once("from a breakpoint", PSTATE_EL0 | SPSR_SS, nops + 4);
    once("from a breakpoint, pending", PSTATE_EL0, nops + 4);
    SET_BREAKPOINT(0, 0, 0);
    control(0, 0);
}

#define SET_WATCHPOINT(n, value, control)  \
    do {                                   \
        WRITE(DBGWVR##n##_EL1, value);     \
        WRITE(DBGWCR##n##_EL1, control);   \
        isb();                             \
    } while (0)

SNIPPET(load8, "nop; ldr x0, [x1]");
SNIPPET(store8, "nop; str xzr, [x1]");
SNIPPET(load4, "ldr w0, [x1]");
SNIPPET(load2, "ldrh w0, [x1]");
SNIPPET(load1, "ldrb w0, [x1]");
SNIPPET(store1, "strb wzr, [x1]");
SNIPPET(load_pair, "ldp x2, x3, [x1], #16");
SNIPPET(store_pair, "stp xzr, xzr, [x1, #-16]!");
SNIPPET(load_q, "ldr q0, [x1]");
SNIPPET(load_user, "ldtr x0, [x1]");
SNIPPET(store_user, "sttr xzr, [x1]");
SNIPPET(load_exclusive, "ldxr x0, [x1]");
SNIPPET(store_exclusive, "ldxr x0, [x2]; stxr w0, xzr, [x1]");
SNIPPET(prefetch, "prfm pldl1keep, [x1]; mov x0, #1");
SNIPPET(store_loop, "mov x0, #0; 1: str x0, [x1], #8; add x0, x0, #1; cmp x0, #64; b.ne 1b");

static void access(const char *what, uint64_t pstate, const char *snippet, uint64_t offset) {
    world.x[1] = (uintptr_t)data + offset;
    world.x[2] = (uintptr_t)data + offset;
    /* QEMU 7.2 remembers in a watchpoint that it was hit by a write, until it is set anew. */
    WRITE(DBGWCR0_EL1, READ(DBGWCR0_EL1));
    WRITE(DBGWCR1_EL1, READ(DBGWCR1_EL1));
    WRITE(DBGWCR3_EL1, READ(DBGWCR3_EL1));
    isb();
    once(what, pstate, snippet);
    memset(&world, 0, sizeof(world));
}

static void watchpoints(void) {
    char name[60];

    section("watchpoints: kinds of accesses");
    unlock();
    control(MDSCR_MDE | MDSCR_KDE, 0);
    for (unsigned kinds = 0; kinds < 4; kinds++) {
        static const char *const words[] = {"nothing", "loads", "stores", "both"};
        SET_WATCHPOINT(0, (uintptr_t)data + 64, WCR(0xff, kinds, EL10));
        for (uint64_t level = 0; level < 3; level++) {
            uint64_t pstate = level << 2 | (level != 0);
            print_to(name, sizeof(name), "%s: LDR", words[kinds]);
            access(name, pstate, load8, 64);
            print_to(name, sizeof(name), "%s: STR", words[kinds]);
            access(name, pstate, store8, 64);
        }
        print_to(name, sizeof(name), "%s: LDP", words[kinds]);
        access(name, PSTATE_EL0, load_pair, 64);
        access(name, PSTATE_EL0, load_pair, 56);
        access(name, PSTATE_EL0, load_pair, 48);
        print_to(name, sizeof(name), "%s: STP", words[kinds]);
        access(name, PSTATE_EL0, store_pair, 80);
        access(name, PSTATE_EL0, store_pair, 72);
        print_to(name, sizeof(name), "%s: LDR Q", words[kinds]);
        access(name, PSTATE_EL1H, load_q, 64);
        print_to(name, sizeof(name), "%s: LDXR", words[kinds]);
        access(name, PSTATE_EL0, load_exclusive, 64);
        print_to(name, sizeof(name), "%s: PRFM", words[kinds]);
        access(name, PSTATE_EL0, prefetch, 64);
    }

    section("watchpoints: bytes and masks");
    unlock();
    control(MDSCR_MDE | MDSCR_KDE, 0);
    static const unsigned bytes[] = {0xff, 0x0f, 0xf0, 0x01, 0x04, 0x18, 0x80};
    for (size_t n = 0; n < ARRAY_LENGTH(bytes); n++) {
        SET_WATCHPOINT(3, (uintptr_t)data + 64, WCR(bytes[n], LOADS | STORES, EL10));
        for (uint64_t at = 62; at < 74; at++) {
            print_to(name, sizeof(name), "BAS=%02x: LDRB +%lx", bytes[n], at);
            access(name, PSTATE_EL0, load1, at);
        }
        for (uint64_t at = 60; at < 72; at += 4) {
            print_to(name, sizeof(name), "BAS=%02x: LDR W +%lx", bytes[n], at);
            access(name, PSTATE_EL0, load4, at);
        }
        print_to(name, sizeof(name), "BAS=%02x: LDR X", bytes[n]);
        access(name, PSTATE_EL0, load8, 64);
    }
    SET_WATCHPOINT(3, (uintptr_t)data + 68, WCR(0x0f, LOADS | STORES, EL10));
    for (uint64_t at = 64; at < 76; at += 2) {
        print_to(name, sizeof(name), "word: LDRH +%lx", at);
        access(name, PSTATE_EL0, load2, at);
    }
    access("word: LDR X", PSTATE_EL0, load8, 64);
    SET_WATCHPOINT(3, (uintptr_t)data + 68, WCR(0x06, STORES, EL10));
    for (uint64_t at = 68; at < 72; at++) {
        print_to(name, sizeof(name), "word, BAS=06: STRB +%lx", at);
        access(name, PSTATE_EL0, store1, at);
    }
    for (uint64_t mask = 3; mask < 8; mask++) {
        SET_WATCHPOINT(3, (uintptr_t)data + 256, WCR(0xff, STORES, EL10) | mask << 24);
        print_to(name, sizeof(name), "MASK=%lu", mask);
        access(name, PSTATE_EL0, store1, 255);
        access(name, PSTATE_EL0, store1, 256);
        access(name, PSTATE_EL0, store1, 255 + BIT(mask));
        access(name, PSTATE_EL0, store1, 256 + BIT(mask));
        access(name, PSTATE_EL0, store_loop, 0);
    }
    SET_WATCHPOINT(3, 0, WCR(0xff, STORES, EL10) | UINT64_C(31) << 24);
    access("MASK=31", PSTATE_EL0, store1, 0);
    SET_WATCHPOINT(3, BIT(30), WCR(0xff, STORES, EL10) | UINT64_C(30) << 24);
    access("MASK=30", PSTATE_EL0, store1, 0);
    SET_WATCHPOINT(3, BIT(29), WCR(0xff, STORES, EL10) | UINT64_C(29) << 24);
    access("MASK=29", PSTATE_EL0, store1, 0);
    SET_WATCHPOINT(3, 0, 0);
    access("none", PSTATE_EL0, store_loop, 0);

    section("watchpoints: levels and routing");
    unlock();
    static const struct {
        const char *name;
        uint64_t levels;
    } levels[] = {{"EL1", EL1_ONLY}, {"EL0", EL0_ONLY},   {"EL0, EL1", EL10}, {"EL0, EL1, EL2", EL210},
                  {"EL1, EL2", EL21}, {"EL2", EL2_ONLY}};
    for (unsigned tde = 0; tde < 2; tde++)
        for (unsigned kde = 0; kde < 2; kde++) {
            control(MDSCR_MDE | (kde ? MDSCR_KDE : 0), tde ? MDCR_TDE : 0);
            for (size_t l = 0; l < ARRAY_LENGTH(levels); l++) {
                SET_WATCHPOINT(1, (uintptr_t)data + 64, WCR(0xff, LOADS | STORES, levels[l].levels));
                for (uint64_t level = 0; level < 3; level++) {
                    print_to(name, sizeof(name), "TDE=%u, KDE=%u, at %s", tde, kde, levels[l].name);
                    access(name, level << 2 | (level != 0), store8, 64);
                }
                access("LDTR", PSTATE_EL1H, load_user, 64);
                access("STTR", PSTATE_EL1H, store_user, 64);
            }
        }
    control(MDSCR_MDE | MDSCR_KDE, 0);
    SET_WATCHPOINT(1, (uintptr_t)data + 64, WCR(0xff, LOADS | STORES, EL10));
    access("masked", PSTATE_EL1H | PSTATE_D, store8, 64);
    access("masked", PSTATE_EL0 | PSTATE_D, store8, 64);
    control(MDSCR_KDE, 0);
    access("no MDE", PSTATE_EL0, store8, 64);
    control(MDSCR_MDE | MDSCR_SS, 0);
    access("stepped", PSTATE_EL0 | SPSR_SS, store8 + 4, 64);
    control(MDSCR_MDE, 0);
    SET_WATCHPOINT(1, (uintptr_t)data + 64, WCR(0xff, LOADS | STORES, EL10) | BIT(20) | 4 << 16);
    SET_BREAKPOINT(4, 0x77, BCR(3, 0, EL10));
    WRITE(CONTEXTIDR_EL1, 0x77);
    access("linked, the same CONTEXTIDR", PSTATE_EL0, store8, 64);
    WRITE(CONTEXTIDR_EL1, 0x78);
    access("linked, another CONTEXTIDR", PSTATE_EL0, store8, 64);
    SET_BREAKPOINT(4, 0, 0);
    SET_WATCHPOINT(1, 0, 0);
    WRITE(CONTEXTIDR_EL1, 0);
    control(0, 0);
}

void program(void) {
    world_reset();
    software_step();
    breakpoints();
    watchpoints();
}
