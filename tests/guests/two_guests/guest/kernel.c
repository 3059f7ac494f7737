/*
 * The kernel both guests share: its own translation tables, the virtual timer, exceptions from EL1 and EL0, text through
 * the hypervisor. It knows nothing of stage 2 or of the other guest.
 */
#include "../../lib/tables.h"
#include "guest.h"
#include "user.h"

extern char __image_start[], __data_start[], __user_load[], __bss_start[], __user_stack[], __free_start[], __free_end[];
extern char guest_vectors[];

struct frame {
    uint64_t x[18];
    uint64_t x18, x30;
    uint64_t pc, pstate;
    uint64_t x29;
};

uint64_t build_tables(void);
void guest_irq(void);
void guest_sync(struct frame *frame, uint64_t esr, uint64_t address);
uint64_t enter_user(uint64_t entry, uint64_t stack);
void leave_user(uint64_t result) __attribute__((noreturn));

static volatile unsigned ticks;
static unsigned ticks_wanted;
static uint64_t tick_period;
static unsigned aborts;

/* Runs with the MMU off, where the address of a symbol is its IPA, and returns the value that switches it on. */
uint64_t build_tables(void) {
    struct tables kernel, user;
    uintptr_t image = (uintptr_t)__image_start, data = (uintptr_t)__data_start;
    uintptr_t user_image = (uintptr_t)__user_load, bss = (uintptr_t)__bss_start, user_stack = (uintptr_t)__user_stack;
    uintptr_t end = GUEST_RAM_IPA + GUEST_RAM_SIZE;

    pages_init(__free_start, __free_end);

    /* The upper half: code to execute, data to write, the device; nothing of it for EL0. */
    tables_init(&kernel, 12, 39);
    tables_map(&kernel, KERNEL_OFFSET + image, image, data - image, DESC_AF | DESC_UXN | DESC_AP_RO | ATTR_NORMAL);
    tables_map(&kernel, KERNEL_OFFSET + data, data, user_image - data, DESC_AF | DESC_UXN | DESC_PXN | ATTR_NORMAL);
    tables_map(&kernel, KERNEL_OFFSET + bss, bss, end - bss, DESC_AF | DESC_UXN | DESC_PXN | ATTR_NORMAL);
    tables_map(&kernel, TALLY_VA, TALLY_IPA, 0x1000, DESC_AF | DESC_UXN | DESC_PXN | ATTR_DEVICE);
    tables_map(&kernel, NOWHERE_VA, NOWHERE_IPA, 0x1000, DESC_AF | DESC_UXN | DESC_PXN | ATTR_DEVICE);

    /* The lower half: the user program, and the kernel's code where it runs now, for the moment of switching on. */
    tables_init(&user, 12, 39);
    tables_map(&user, USER_BASE, user_image, bss - user_image,
               DESC_AF | DESC_NG | DESC_PXN | DESC_AP_EL0 | DESC_AP_RO | ATTR_NORMAL);
    tables_map(&user, USER_STACK, user_stack, 0x1000,
               DESC_AF | DESC_NG | DESC_PXN | DESC_UXN | DESC_AP_EL0 | ATTR_NORMAL);
    tables_map(&user, image, image, data - image, DESC_AF | DESC_NG | DESC_UXN | DESC_AP_RO | ATTR_NORMAL);

    WRITE(MAIR_EL1, MAIR_VALUE);
    /* Both halves: 39 bits, 4 KB granule, inner shareable write-back tables. IPS: 32 bits. */
    WRITE(TCR_EL1, UINT64_C(2) << 30 | 3 << 28 | 1 << 26 | 1 << 24 | 25 << 16 | 3 << 12 | 1 << 10 | 1 << 8 | 25);
    WRITE(TTBR0_EL1, UINT64_C(1) << 48 | (uintptr_t)user.root);
    WRITE(TTBR1_EL1, (uintptr_t)kernel.root);
    WRITE(VBAR_EL1, KERNEL_OFFSET + (uintptr_t)guest_vectors);
    WRITE(CPACR_EL1, 3 << 20); /* floating point at EL0 and EL1 */
    WRITE(CNTKCTL_EL1, 2);     /* EL0 may read the virtual counter */

    WRITE(ICC_SRE_EL1, 7);
    isb();
    WRITE(ICC_PMR_EL1, 0xff);
    WRITE(ICC_IGRPEN1_EL1, 1);
    dsb();
    asm volatile("tlbi vmalle1");
    dsb();
    isb();
    return SCTLR_EL1_RES1 | SCTLR_M | SCTLR_C | SCTLR_I | SCTLR_SA | SCTLR_SA0;
}

/* Characters are gathered to lines; a line is one hypercall. */
void console_putc(char c) {
    static char line[160];
    static unsigned length;

    if (c != '\n' && length < sizeof(line) - 1) {
        line[length++] = c;
    } else {
        line[length] = '\0';
        length = 0;
        HYPERCALL(HYPERCALL_PUTS, line);
    }
}

static void set_timer(void) {
    WRITE(CNTV_TVAL_EL0, tick_period);
    WRITE(CNTV_CTL_EL0, TIMER_ENABLE);
    isb();
}

/* A virtual interrupt: the ICC_* names below are the virtual interface of the GIC, without an exit. */
void guest_irq(void) {
    uint64_t intid = READ(ICC_IAR1_EL1);

    if (intid == INTID_VIRTUAL_TIMER) {
        if (++ticks < ticks_wanted)
            set_timer();
        else
            WRITE(CNTV_CTL_EL0, 0);
    }
    WRITE(ICC_EOIR1_EL1, intid);
}

static void start_ticks(unsigned count, uint64_t microseconds) {
    ticks = 0;
    ticks_wanted = count;
    tick_period = READ(CNTFRQ_EL0) / 1000 * microseconds / 1000;
    set_timer();
}

void wait_for_ticks(unsigned count, uint64_t microseconds) {
    start_ticks(count, microseconds);
    while (ticks < count) {
        wfi(); /* with interrupts masked, so that none comes between the test and the sleep */
        asm volatile("msr daifclr, #2; isb; msr daifset, #2" : : : "memory");
    }
}

unsigned aborts_taken(void) { return aborts; }

uint64_t run_user(void) {
    start_ticks(4, 7000);
    uint64_t result = enter_user(USER_BASE, USER_STACK + 0x1000);
    WRITE(CNTV_CTL_EL0, 0);
    return result;
}

void guest_sync(struct frame *frame, uint64_t esr, uint64_t address) {
    switch (ESR_EC(esr)) {
    case EC_SVC:
        /* A call of the user program: between it and this kernel alone. */
        switch (ESR_ISS(esr) & 0xffff) {
        case SVC_EXIT:
            leave_user(frame->x[0]);
        case SVC_PRINT:
            print((const char *)frame->x[0], frame->x[1], frame->x[2]);
            frame->x[0] = 0;
            return;
        }
        break;
    case EC_DATA_ABORT:
        if ((esr & 0x3f) == 0x10) {
            /* External: report it, give the load a zero, go on behind it. */
            aborts++;
            frame->x[0] = 0;
            frame->pc += 4;
            return;
        }
        break;
    }
    print("unexpected exception: ESR_EL1=0x%lx ELR_EL1=0x%lx FAR_EL1=0x%lx\n", esr, frame->pc, address);
    HYPERCALL(HYPERCALL_EXIT, 1);
}
