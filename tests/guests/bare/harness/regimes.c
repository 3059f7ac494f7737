/* See regimes.h. */
#include "regimes.h"

extern char __image_start[], __data_start[], __image_end[];

static struct tables upper;

SNIPPET(load_x1, "ldr x0, [x1]");
SNIPPET(load_byte_x1, "ldrb w0, [x1]");
SNIPPET(store_x1, "str x0, [x1]");
SNIPPET(call_x1, "br x1");
asm(".global load_x1, load_byte_x1, store_x1, call_x1");

uint64_t tcr_tg0(unsigned granule_bits) { return (granule_bits == 12 ? 0 : granule_bits == 14 ? 2 : 1) << 14; }

uint64_t tcr_tg1(unsigned granule_bits) {
    return (granule_bits == 12 ? UINT64_C(2) : granule_bits == 14 ? UINT64_C(1) : UINT64_C(3)) << 30;
}

void forget_all(void) {
    dsb();
    asm volatile("tlbi alle1");
    asm volatile("ic iallu");
    dsb();
    isb();
}

void map_program(const struct tables *tables, uint64_t offset) {
    uint64_t mask = BIT(tables->granule_bits) - 1;
    uint64_t text = (uintptr_t)__image_start, data = (uintptr_t)__data_start & ~mask;
    uint64_t end = ((uintptr_t)__image_end + mask) & ~mask;

    /* Read-only for both, so that both may execute it; data both may write is not executable at EL1 anyway. */
    if (text < data)
        tables_map(tables, offset + text, text, data - text, DESC_AF | DESC_AP_EL0 | DESC_AP_RO | ATTR_NORMAL);
    tables_map(tables, offset + data, data, end - data, PAGE_ALL | DESC_UXN | DESC_PXN);
}

void stage1_on(const struct tables *lower, uint64_t tcr, uint64_t sctlr) {
    if (upper.root == NULL) {
        tables_init(&upper, 12, 48);
        map_program(&upper, UPPER);
    }
    if (!(tcr & TCR_IPS_MASK))
        tcr |= TCR_IPS_40;
    WRITE(MAIR_EL1, MAIR_VALUE);
    WRITE(TCR_EL1, tcr | TCR_WALKS0 | TCR_WALKS1 | tcr_tg0(lower->granule_bits) | TCR_T0SZ(lower->input_bits) |
                       tcr_tg1(12) | TCR_T1SZ(48));
    WRITE(TTBR0_EL1, (uintptr_t)lower->root);
    WRITE(TTBR1_EL1, (uintptr_t)upper.root);
    WRITE(SCTLR_EL1, SCTLR_EL1_RES1 | SCTLR_NTWI | SCTLR_NTWE | SCTLR_UCI | SCTLR_UCT | SCTLR_DZE | SCTLR_M | SCTLR_C |
                         SCTLR_I | sctlr);
    forget_all();
    world.code_offset = UPPER;
}

void plant(uint64_t physical) { *(volatile uint64_t *)physical = physical; }

uint64_t planted_page(uint64_t alignment) {
    uint64_t page = (uintptr_t)pages_allocate(alignment, alignment);
    plant(page);
    return page;
}

void show_load(const char *name, uint64_t pstate, uint64_t address) {
    struct outcome outcome = run_with(pstate, load_x1, 0, address, 0);
    show(name, &outcome);
}

void show_store(const char *name, uint64_t pstate, uint64_t address) {
    struct outcome outcome = run_with(pstate, store_x1, 0x5707e, address, 0);
    show(name, &outcome);
}

void show_jump(const char *name, uint64_t pstate, uint64_t address) {
    struct outcome outcome = run_with(pstate, call_x1, 0, address, 0);
    show(name, &outcome);
}

static char right(struct outcome outcome, char letter, unsigned level) {
    unsigned ec = ESR_EC(outcome.esr);

    if (outcome.taken == RETURNED)
        return letter;
    bool abort = letter == 'x' ? ec == EC_INSTRUCTION_ABORT || ec == EC_INSTRUCTION_ABORT_LOWER
                               : ec == EC_DATA_ABORT || ec == EC_DATA_ABORT_LOWER;
    return abort && (outcome.esr & 0x3f) == (0x0c | level) ? '-' : '?';
}

struct rights rights_of(uint64_t pstate, uint64_t address, unsigned level) {
    struct rights rights = {""};

    rights.text[0] = right(run_with(pstate, load_x1, 0, address, 0), 'r', level);
    /* The instruction there is RET: a store of the same keeps it. */
    rights.text[1] = right(run_with(pstate, store_x1, 0xd65f03c0, address, 0), 'w', level);
    rights.text[2] = right(run_with(pstate, call_x1, 0, address, 0), 'x', level);
    return rights;
}
