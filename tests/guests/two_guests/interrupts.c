/*
 * Physical interrupts always come to EL2 (HCR_EL2.IMO). Two are in use: the hypervisor's own timer, which ends time
 * slices, and the virtual timer, which belongs to the guest that runs. The latter reaches its guest as a virtual
 * interrupt of the same number through a list register: acknowledged, ended and deactivated by the guest without any
 * further exit.
 */
#include "../lib/console.h"
#include "../lib/gic.h"
#include "hyp.h"

#define TIME_SLICE_US 10000
#define LIST_REGISTERS 2 /* as many as GUEST_REGISTERS switches; every implementation has at least these */
#define SLICES_PRINTED 12

static uint64_t slices_ended;

void interrupts_init(void) {
    gic_init();
    gic_configure(INTID_HYP_TIMER, 0x80, true);
    gic_configure(INTID_VIRTUAL_TIMER, 0x80, true);
}

static void set_hyp_timer(uint64_t deadline) {
    WRITE(CNTHP_CVAL_EL2, deadline);
    WRITE(CNTHP_CTL_EL2, TIMER_ENABLE);
    isb();
}

void start_time_slice(void) { set_hyp_timer(READ(CNTPCT_EL0) + READ(CNTFRQ_EL0) / 1000 * TIME_SLICE_US / 1000); }

static void make_pending(struct vm *vm, unsigned intid) {
    vm->virtual_pending |= 1u << intid;
    vm->waiting = false;
}

enum verdict handle_irq(struct vm *vm) {
    uint64_t intid = READ(ICC_IAR1_EL1);
    enum verdict verdict = KEEP_RUNNING;

    switch (intid) {
    case INTID_HYP_TIMER:
        WRITE(CNTHP_CTL_EL2, 0);
        isb();
        if (slices_ended++ < SLICES_PRINTED)
            report_exit(vm, EXIT_TIME_SLICE, "IRQ %lu (hypervisor timer: end of the time slice)", intid);
        else
            vm->exits[EXIT_TIME_SLICE]++;
        if (slices_ended == SLICES_PRINTED)
            print("[hyp]       (further ends of time slices are counted, not printed)\n");
        verdict = RUN_ANOTHER;
        break;
    case INTID_VIRTUAL_TIMER:
        /* The line stays up until the guest sets its timer again: masked at the timer, so that it does not come back. */
        WRITE(CNTV_CTL_EL0, READ(CNTV_CTL_EL0) | TIMER_IMASK);
        isb();
        report_exit(vm, EXIT_VIRTUAL_TIMER, "IRQ %lu (virtual timer)", intid);
        print("[hyp]       forwarded as virtual interrupt %lu\n", intid);
        make_pending(vm, INTID_VIRTUAL_TIMER);
        break;
    case INTID_SPURIOUS:
        return KEEP_RUNNING;
    default:
        print("[hyp] interrupt %lu is not in use\n", intid);
    }
    WRITE(ICC_EOIR1_EL1, intid);
    return verdict;
}

/* The timer of a guest that is not loaded is only a number in memory: has its time come? */
void check_virtual_timer(struct vm *vm) {
    uint64_t control = vm->registers.CNTV_CTL_EL0;

    if (vm == world_loaded() || (control & (TIMER_ENABLE | TIMER_IMASK)) != TIMER_ENABLE)
        return;
    if (READ(CNTPCT_EL0) - vm->registers.CNTVOFF_EL2 < vm->registers.CNTV_CVAL_EL0)
        return;
    vm->registers.CNTV_CTL_EL0 = control | TIMER_IMASK;
    print("[hyp] vm %u: its virtual timer ran out while it was away\n", vm->id);
    print("[hyp]       forwarded as virtual interrupt %u\n", INTID_VIRTUAL_TIMER);
    make_pending(vm, INTID_VIRTUAL_TIMER);
}

/* Move what is pending into list registers; the guest must be loaded. What finds no place waits for the next entry. */
void deliver_virtual_interrupts(struct vm *vm) {
    uint64_t empty = READ(ICH_ELRSR_EL2) & (BIT(LIST_REGISTERS) - 1);

    for (unsigned intid = 0; vm->virtual_pending != 0 && intid < 32 && empty != 0; intid++) {
        if (!(vm->virtual_pending & (1u << intid)))
            continue;
        uint64_t entry = ICH_LR_PENDING | ICH_LR_GROUP1 | ICH_LR_PRIORITY(0x80) | ICH_LR_VIRTUAL(intid);
        if (empty & BIT(0))
            WRITE(ICH_LR0_EL2, entry);
        else
            WRITE(ICH_LR1_EL2, entry);
        empty &= empty - 1;
        vm->virtual_pending &= ~(1u << intid);
    }
    isb();
}

bool has_pending_interrupt(struct vm *vm) {
    bool here = vm == world_loaded();
    uint64_t lr0 = here ? READ(ICH_LR0_EL2) : vm->registers.ICH_LR0_EL2;
    uint64_t lr1 = here ? READ(ICH_LR1_EL2) : vm->registers.ICH_LR1_EL2;

    return vm->virtual_pending != 0 || ((lr0 | lr1) & ICH_LR_PENDING);
}

/* All guests wait. Sleep at EL2 until the first of their timers; the hypervisor's timer stands in for them. */
void sleep_until_a_timer(struct vm *const *vms, size_t count) {
    uint64_t deadline = READ(CNTPCT_EL0) + READ(CNTFRQ_EL0); /* a second, should no timer be set at all */

    for (size_t i = 0; i < count; i++) {
        if (vms[i]->finished)
            continue;
        uint64_t control = vms[i]->registers.CNTV_CTL_EL0;
        uint64_t due = vms[i]->registers.CNTV_CVAL_EL0 + vms[i]->registers.CNTVOFF_EL2;
        if ((control & (TIMER_ENABLE | TIMER_IMASK)) == TIMER_ENABLE && due < deadline)
            deadline = due;
    }
    set_hyp_timer(deadline);
    while (READ(ICC_IAR1_EL1) != INTID_HYP_TIMER)
        wfi();
    WRITE(CNTHP_CTL_EL2, 0);
    isb();
    WRITE(ICC_EOIR1_EL1, INTID_HYP_TIMER);
}
