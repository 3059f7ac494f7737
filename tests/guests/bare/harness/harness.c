/* See harness.h. */
#include "harness.h"

#include "../../lib/memory.h"
#include "../../lib/psci.h"
#include "../../lib/tables.h"

#define MARK_VECTOR 0xe000 /* HVC numbers of entry.S */
#define MARK_DONE 0xd0e

extern char __free_start[], __free_end[];
extern char el1_vectors[], el2_vectors[], done_el0[], done_el1[];

/* The layout entry.S knows. */
struct record {
    uint64_t x[31];
    uint64_t pc, pstate;
    uint64_t sp;
    uint64_t vector;
    uint64_t active;
};
extern struct record record;
struct record record;
struct world world;

void run_record(void);
void own_fault(void);
int main(void);

static char stack_el0[4096] __attribute__((aligned(4096)));
static char stack_el1[4096] __attribute__((aligned(4096)));

void own_fault(void) {
    print("!! exception out of the test itself: vector 0x%lx ESR_EL2=0x%lx ELR_EL2=0x%lx FAR_EL2=0x%lx\n",
          record.vector * 0x80, READ(ESR_EL2), record.pc, READ(FAR_EL2));
    power_off();
}

bool cpu_has_vhe(void) { return FIELD(READ(ID_AA64MMFR1_EL1), 11, 8) != 0; }
bool cpu_has_pan(void) { return FIELD(READ(ID_AA64MMFR1_EL1), 23, 20) != 0; }
bool cpu_has_lse(void) { return FIELD(READ(ID_AA64ISAR0_EL1), 23, 20) != 0; }

bool cpu_has_granule(unsigned granule_bits) {
    uint64_t features = READ(ID_AA64MMFR0_EL1);

    return granule_bits == 12   ? FIELD(features, 31, 28) != 0xf
           : granule_bits == 14 ? FIELD(features, 23, 20) != 0
                                : FIELD(features, 27, 24) != 0xf;
}

static bool e2h(void) { return READ(HCR_EL2) & HCR_E2H; }

void world_reset(void) {
    memset(&world, 0, sizeof(world));
    WRITE(HCR_EL2, HCR_RW);
    isb();
    WRITE(CPTR_EL2, CPTR_EL2_RES1);
    WRITE(HSTR_EL2, 0);
    WRITE(CNTHCTL_EL2, 3);
    WRITE(MDCR_EL2, READ(MDCR_EL2) & 0x1f); /* HPMN stays */
    WRITE(VPIDR_EL2, READ(MIDR_EL1));
    WRITE(VMPIDR_EL2, READ(MPIDR_EL1));
    WRITE(CPACR_EL1, 3 << 20);
    WRITE(CNTKCTL_EL1, 3);
    WRITE(SCTLR_EL1, SCTLR_EL1_RES1 | SCTLR_NTWI | SCTLR_NTWE | SCTLR_UCI | SCTLR_UCT | SCTLR_DZE);
    WRITE(VTTBR_EL2, 0);
    isb();
}

struct outcome run(uint64_t pstate, const char *snippet) {
    unsigned level = (unsigned)FIELD(pstate, 3, 2);
    uint64_t offset = level == 2 ? 0 : world.code_offset;
    struct outcome outcome = {.start = (uintptr_t)snippet + offset};
    bool host = e2h();

    WRITE(SP_EL0, (uintptr_t)stack_el0 + sizeof(stack_el0) + offset);
    WRITE(SP_EL1, (uintptr_t)stack_el1 + sizeof(stack_el1) + offset);
    if (host)
        WRITE(S3_5_C12_C0_0, (uintptr_t)el1_vectors + offset); /* VBAR_EL12 */
    else
        WRITE(VBAR_EL1, (uintptr_t)el1_vectors + offset);
    memcpy(record.x, world.x, sizeof(record.x));
    record.x[30] = (uintptr_t)(level == 0 ? done_el0 : done_el1) + offset;
    record.pc = outcome.start;
    record.pstate = pstate;
    run_record();

    uint64_t esr = READ(ESR_EL2);
    bool from_call = ESR_EC(esr) == EC_HVC || ESR_EC(esr) == EC_SVC;
    unsigned number = ESR_ISS(esr) & 0xffff;

    memcpy(outcome.x, record.x, sizeof(outcome.x));
    outcome.taken = TAKEN;
    if (record.vector % 4 == 0 && ESR_EC(esr) == EC_HVC && (number & ~0xfu) == MARK_VECTOR) {
        outcome.level = 1;
        outcome.vector = (number & 0xf) * 0x80;
        outcome.entry = record.pstate;
        outcome.esr = host ? READ(S3_5_C5_C2_0) : READ(ESR_EL1);
        outcome.elr = host ? READ(S3_5_C4_C0_1) : READ(ELR_EL1);
        outcome.spsr = host ? READ(S3_5_C4_C0_0) : READ(SPSR_EL1);
        outcome.far = host ? READ(S3_5_C6_C0_0) : READ(FAR_EL1);
        esr = outcome.esr;
        if (outcome.vector == 0x400 && ESR_EC(esr) == EC_SVC && (esr & 0xffff) == MARK_DONE)
            outcome.taken = RETURNED;
    } else {
        outcome.level = 2;
        outcome.vector = (unsigned)record.vector * 0x80;
        outcome.esr = esr;
        outcome.elr = record.pc;
        outcome.spsr = record.pstate;
        outcome.far = READ(FAR_EL2);
        outcome.hpfar = READ(HPFAR_EL2);
        if (record.vector % 4 == 0 && from_call && number == MARK_DONE)
            outcome.taken = RETURNED;
    }
    return outcome;
}

struct outcome run_with(uint64_t pstate, const char *snippet, uint64_t x0, uint64_t x1, uint64_t x2) {
    world.x[0] = x0;
    world.x[1] = x1;
    world.x[2] = x2;
    return run(pstate, snippet);
}

const char *class_name(unsigned ec) {
    switch (ec) {
    case 0x00: return "unknown";
    case 0x01: return "WFx";
    case 0x07: return "FP access";
    case 0x0e: return "illegal state";
    case 0x15: return "SVC";
    case 0x16: return "HVC";
    case 0x17: return "SMC";
    case 0x18: return "MSR/MRS/sys";
    case 0x20: return "fetch abort, lower EL";
    case 0x21: return "fetch abort, same EL";
    case 0x22: return "PC alignment";
    case 0x24: return "data abort, lower EL";
    case 0x25: return "data abort, same EL";
    case 0x26: return "SP alignment";
    case 0x2f: return "SError";
    case 0x3c: return "BRK";
    }
    return "?";
}

const char *fault_name(unsigned status) {
    switch (status) {
    case 0x00: return "address size, level 0";
    case 0x01: return "address size, level 1";
    case 0x02: return "address size, level 2";
    case 0x03: return "address size, level 3";
    case 0x04: return "translation, level 0";
    case 0x05: return "translation, level 1";
    case 0x06: return "translation, level 2";
    case 0x07: return "translation, level 3";
    case 0x09: return "access flag, level 1";
    case 0x0a: return "access flag, level 2";
    case 0x0b: return "access flag, level 3";
    case 0x0d: return "permission, level 1";
    case 0x0e: return "permission, level 2";
    case 0x0f: return "permission, level 3";
    case 0x10: return "external";
    case 0x14: return "external on walk, level 0";
    case 0x15: return "external on walk, level 1";
    case 0x16: return "external on walk, level 2";
    case 0x17: return "external on walk, level 3";
    case 0x21: return "alignment";
    }
    return "?";
}

static bool is_abort(unsigned ec) {
    return ec == EC_INSTRUCTION_ABORT_LOWER || ec == EC_INSTRUCTION_ABORT || ec == EC_DATA_ABORT_LOWER ||
           ec == EC_DATA_ABORT;
}

/* HPFAR_EL2 is defined for stage 2 faults of these kinds, and for any stage 2 fault on a stage 1 walk. */
static bool has_ipa(const struct outcome *outcome) {
    unsigned ec = ESR_EC(outcome->esr), status = outcome->esr & 0x3f;
    bool walk = outcome->esr & BIT(7);

    return outcome->level == 2 && (ec == EC_INSTRUCTION_ABORT_LOWER || ec == EC_DATA_ABORT_LOWER) &&
           (READ(HCR_EL2) & HCR_VM) && (status < 0x0c || (walk && status < 0x10));
}

void show(const char *what, const struct outcome *outcome) {
    unsigned ec = ESR_EC(outcome->esr);

    print("%-46s ", what);
    if (outcome->taken == RETURNED) {
        print("-> returned, x0=%lx\n", outcome->x[0]);
        return;
    }
    print("-> EL%u+%03x", outcome->level, outcome->vector);
    if (outcome->vector & 0x180) { /* IRQ, FIQ, SError: no syndrome, and any pc of a loop */
        print(" %s", (outcome->vector & 0x180) == 0x080   ? "IRQ"
                     : (outcome->vector & 0x180) == 0x100 ? "FIQ"
                                                          : "SError");
    } else {
        print(" ESR=%08lx (%s%s%s)", outcome->esr, class_name(ec), is_abort(ec) ? ": " : "",
              is_abort(ec) ? fault_name(outcome->esr & 0x3f) : "");
    }
    if (outcome->elr - outcome->start < 0x100)
        print(" ELR=+%lx", outcome->elr - outcome->start);
    else
        print(" ELR=%lx", outcome->elr);
    print(" SPSR=%lx", outcome->spsr);
    if (outcome->level == 1)
        print(" PSTATE=%lx", outcome->entry);
    if ((is_abort(ec) || ec == EC_PC_ALIGNMENT) && !(outcome->vector & 0x180)) {
        if (outcome->far - outcome->start < 0x100)
            print(" FAR=+%lx", outcome->far - outcome->start);
        else
            print(" FAR=%lx", outcome->far);
        if (has_ipa(outcome))
            print(" HPFAR=%lx", outcome->hpfar);
    }
    print("\n");
}

void try(const char *what, uint64_t pstate, const char *snippet) {
    char name[80];
    struct outcome outcome = run(pstate, snippet);

    print_to(name, sizeof(name), "EL%u%s %s", (unsigned)FIELD(pstate, 3, 2),
             pstate & 0xc ? (pstate & 1 ? "h" : "t") : " ", what);
    show(name, &outcome);
}

void try_with(const char *what, uint64_t pstate, const char *snippet, uint64_t x0, uint64_t x1, uint64_t x2) {
    world.x[0] = x0;
    world.x[1] = x1;
    world.x[2] = x2;
    try(what, pstate, snippet);
}

void section(const char *title) {
    print("\n== %s\n", title);
    world_reset();
}

int main(void) {
    pages_init(__free_start, __free_end);
    WRITE(VBAR_EL2, (uintptr_t)el2_vectors);
    WRITE(SCTLR_EL2, SCTLR_EL2_RES1);
    isb();
    program();
    print("\n== end\n");
    power_off();
}
