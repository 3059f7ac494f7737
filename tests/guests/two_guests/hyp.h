/* A virtual machine as the hypervisor sees it, and the functions its parts call of each other. */
#ifndef TWO_GUESTS_HYP_H
#define TWO_GUESTS_HYP_H

#include "../lib/arch.h"

/*
 * The EL1 (and EL0) registers that belong to a guest. There is one set in the CPU, so the hypervisor exchanges them
 * when it switches from one guest to the other. Guests that do not use a register need it here all the same: what one
 * guest leaves in it would show in the other.
 */
#define GUEST_REGISTERS(X)                                                                          \
    X(SP_EL0) X(SP_EL1) X(ELR_EL1) X(SPSR_EL1) X(SCTLR_EL1) X(CPACR_EL1) X(TTBR0_EL1) X(TTBR1_EL1)  \
    X(TCR_EL1) X(ESR_EL1) X(AFSR0_EL1) X(AFSR1_EL1) X(FAR_EL1) X(MAIR_EL1) X(AMAIR_EL1) X(VBAR_EL1) \
    X(CONTEXTIDR_EL1) X(TPIDR_EL0) X(TPIDRRO_EL0) X(TPIDR_EL1) X(PAR_EL1) X(CSSELR_EL1)             \
    X(CNTKCTL_EL1) X(CNTV_CVAL_EL0) X(CNTV_CTL_EL0) X(CNTVOFF_EL2) X(VTTBR_EL2) X(VMPIDR_EL2)       \
    X(ICH_VMCR_EL2) X(ICH_AP1R0_EL2) X(ICH_LR0_EL2) X(ICH_LR1_EL2)

enum exit_kind {
    EXIT_HYPERCALL,
    EXIT_DEVICE,
    EXIT_SYSTEM_REGISTER,
    EXIT_SMC,
    EXIT_ABORT,
    EXIT_FLOATING_POINT,
    EXIT_WFI,
    EXIT_VIRTUAL_TIMER,
    EXIT_TIME_SLICE,
    EXIT_KINDS
};

struct vector_state {
    uint64_t q[32][2];
    uint64_t fpcr, fpsr;
};

struct vm {
    /* switch.S knows these first three. */
    uint64_t x[31];
    uint64_t pc;
    uint64_t pstate;

    unsigned id;
    const char *name;
    uintptr_t ram; /* where the guest's RAM is in the machine's RAM */

    struct {
#define DECLARE(reg) uint64_t reg;
        GUEST_REGISTERS(DECLARE)
#undef DECLARE
    } registers;
    struct vector_state vectors __attribute__((aligned(16)));

    bool finished;
    bool waiting;             /* in WFI: runs again when an interrupt is pending */
    uint32_t virtual_pending; /* interrupts 0 to 31 not yet in a list register */

    uint32_t tally_count;
    uint64_t tally_scratch;

    uint64_t exits[EXIT_KINDS];
};

/* switch.S */
#define LEFT_BY_SYNC 0
#define LEFT_BY_IRQ 1
#define LEFT_BY_FIQ 2
#define LEFT_BY_SERROR 3
/* Run a guest until something brings the CPU back to EL2: one of the above. */
unsigned enter_guest(struct vm *vm);
void vectors_save(struct vector_state *state);
void vectors_load(const struct vector_state *state);
extern char hyp_vectors[];

/* world.c: which guest the CPU's registers belong to */
void world_init(void);
void world_load(struct vm *vm);
void world_unload(void);
struct vm *world_loaded(void);
void world_take_vectors(struct vm *vm);
bool guest_to_physical(uint64_t address, uintptr_t *physical);

/* exits.c: why a guest stopped, and what is done about it */
enum verdict { KEEP_RUNNING, RUN_ANOTHER };
enum verdict handle_sync(struct vm *vm);
void report_exit(struct vm *vm, enum exit_kind kind, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* interrupts.c: timers, and interrupts for the guests */
void interrupts_init(void);
enum verdict handle_irq(struct vm *vm);
void start_time_slice(void);
void check_virtual_timer(struct vm *vm);
void deliver_virtual_interrupts(struct vm *vm);
bool has_pending_interrupt(struct vm *vm);
void sleep_until_a_timer(struct vm *const *vms, size_t count);

#endif
