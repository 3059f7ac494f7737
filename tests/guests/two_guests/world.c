/*
 * The world switch: which guest the registers of EL1, the virtual interrupt interface and the vector registers belong
 * to at the moment. Entering and leaving a guest (switch.S) leaves them alone; only a change of guest moves them.
 */
#include "../lib/gic.h"
#include "hyp.h"

static struct vm *loaded;
static struct vm *vectors_owner;

/*
 * What brings a guest to EL2: stage 2 is on; interrupts and SError are ours; WFI, SMC, the identification registers
 * and the auxiliary control register trap. Not set: TWE, TVM (guests may switch their address space freely), TGE, E2H.
 */
#define HCR_GUEST \
    (HCR_RW | HCR_VM | HCR_SWIO | HCR_IMO | HCR_FMO | HCR_AMO | HCR_TWI | HCR_TSC | HCR_TID3 | HCR_TACR)

/* Stage 2: 32 bits of IPA, 4 KB granule, walks start at level 1, write-back tables. */
#define VTCR_GUEST (BIT(31) | 3 << 12 | 1 << 10 | 1 << 8 | 1 << 6 | 32)

void world_init(void) {
    WRITE(HCR_EL2, HCR_GUEST);
    WRITE(VTCR_EL2, VTCR_GUEST);
    WRITE(VPIDR_EL2, READ(MIDR_EL1));
    WRITE(HSTR_EL2, 0);
    WRITE(CPTR_EL2, CPTR_EL2_RES1 | CPTR_EL2_TFP);
    WRITE(CNTHCTL_EL2, 0); /* the physical counter and timer trap; guests have the virtual ones */
    WRITE(ICH_HCR_EL2, ICH_HCR_EN);
    WRITE(VBAR_EL2, (uintptr_t)hyp_vectors);
    isb();
}

struct vm *world_loaded(void) { return loaded; }

void world_unload(void) {
    if (loaded == NULL)
        return;
#define SAVE(reg) loaded->registers.reg = READ(reg);
    GUEST_REGISTERS(SAVE)
#undef SAVE
    loaded = NULL;
    WRITE(CNTV_CTL_EL0, 0); /* the timer of a guest that is away must not interrupt */
    isb();
}

void world_load(struct vm *vm) {
    if (loaded == vm)
        return;
    world_unload();
#define LOAD(reg) WRITE(reg, vm->registers.reg);
    GUEST_REGISTERS(LOAD)
#undef LOAD
    loaded = vm;

    /* The vector registers stay with whoever used them last; a guest that has not got them traps and then takes them. */
    WRITE(CPTR_EL2, CPTR_EL2_RES1 | (vectors_owner == vm ? 0 : CPTR_EL2_TFP));
    isb();
}

void world_take_vectors(struct vm *vm) {
    WRITE(CPTR_EL2, CPTR_EL2_RES1);
    isb();
    if (vectors_owner != NULL)
        vectors_save(&vectors_owner->vectors);
    vectors_load(&vm->vectors);
    vectors_owner = vm;
}

/* The CPU translates for us, by the tables of the guest that is loaded: stage 1 as EL1 reads, then stage 2. */
bool guest_to_physical(uint64_t address, uintptr_t *physical) {
    uint64_t of_the_guest = READ(PAR_EL1);

    asm volatile("at s12e1r, %0" : : "r"(address));
    isb();
    uint64_t result = READ(PAR_EL1);
    WRITE(PAR_EL1, of_the_guest);
    if (result & 1)
        return false;
    *physical = (result & (BIT(48) - BIT(12))) | (address & (BIT(12) - 1));
    return true;
}
