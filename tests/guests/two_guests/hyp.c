/*
 * two_guests: a hypervisor small enough to read in an evening. It runs two virtual machines on one CPU and tells of
 * each exit, each time a guest comes back to EL2, what the reason was and what it did about it.
 *
 * Both guests are linked for the same addresses and believe to be alone: same virtual addresses, same intermediate
 * physical addresses, different bytes, because each has its own stage 2 tables. Read on in this order: main() and
 * run() here, switch.S, exits.c, interrupts.c, world.c; then guest/.
 */
#include "hyp.h"

#include "../lib/console.h"
#include "../lib/memory.h"
#include "../lib/psci.h"
#include "../lib/tables.h"
#include "hypercalls.h"

extern char __image_start[], __data_start[], __free_start[], __free_end[];
extern const char guest_a_image[], guest_a_image_end[], guest_b_image[], guest_b_image_end[];

#define GUESTS_RAM 0x44000000UL /* guest RAM lies here, 32 MB apart */
#define GUESTS_RAM_STRIDE 0x2000000UL

static struct vm guests[2];
static struct vm *const vms[] = {&guests[0], &guests[1]};

void hyp_fault(uint64_t esr, uint64_t pc, uint64_t address);
int main(void);

/* An exception out of the hypervisor itself: a mistake of ours. */
void hyp_fault(uint64_t esr, uint64_t pc, uint64_t address) {
    print("[hyp] fault of the hypervisor: ESR_EL2=0x%lx pc=0x%lx FAR_EL2=0x%lx\n", esr, pc, address);
    power_off();
}

/* The hypervisor's own address space: everything where it is, code not writable, data not executable. */
static void own_mmu_on(void) {
    struct tables own;
    uintptr_t image = (uintptr_t)__image_start, data = (uintptr_t)__data_start;

    tables_init(&own, 12, 39);
    tables_map(&own, 0x08000000, 0x08000000, 0x02000000, DESC_AF | DESC_XN | ATTR_DEVICE);
    tables_map(&own, image, image, data - image, DESC_AF | DESC_AP_RO | ATTR_NORMAL);
    tables_map(&own, data, data, 0x48000000 - data, DESC_AF | DESC_XN | ATTR_NORMAL);

    WRITE(MAIR_EL2, MAIR_VALUE);
    /* 39 bits of VA, 40 of PA, 4 KB granule, inner shareable write-back tables. */
    WRITE(TCR_EL2, BIT(31) | BIT(23) | 2 << 16 | 3 << 12 | 1 << 10 | 1 << 8 | 25);
    WRITE(TTBR0_EL2, (uintptr_t)own.root);
    dsb();
    asm volatile("tlbi alle2");
    dsb();
    isb();
    WRITE(SCTLR_EL2, SCTLR_EL2_RES1 | SCTLR_M | SCTLR_C | SCTLR_SA | SCTLR_I);
    isb();
}

/* The guest's MMU and caches are off when it starts: what we wrote has to be in memory, not only in our cache. */
static void push_to_memory(uintptr_t start, size_t size) {
    for (uintptr_t line = start; line < start + size; line += 64)
        asm volatile("dc civac, %0" : : "r"(line) : "memory");
    dsb();
    asm volatile("ic ialluis");
    dsb();
    isb();
}

static void vm_create(struct vm *vm, unsigned id, const char *name, const char *image, const char *image_end) {
    struct tables stage2;
    size_t size = (size_t)(image_end - image);

    vm->id = id;
    vm->name = name;
    vm->ram = GUESTS_RAM + id * GUESTS_RAM_STRIDE;
    memcpy((void *)vm->ram, image, size);
    push_to_memory(vm->ram, size);

    tables_init_at(&stage2, 12, 32, 1);
    tables_map(&stage2, GUEST_RAM_IPA, vm->ram, GUEST_RAM_SIZE,
               DESC_AF | DESC_SH_INNER | S2_ATTR_NORMAL | S2_AP_READ | S2_AP_WRITE);

    /* What a CPU has in these registers after reset, as far as it matters: MMU off, all interrupts masked. */
    vm->pc = GUEST_RAM_IPA;
    vm->pstate = PSTATE_EL1H | PSTATE_DAIF;
    vm->registers.SCTLR_EL1 = SCTLR_EL1_RES1;
    vm->registers.VMPIDR_EL2 = BIT(31); /* each is CPU 0 of its machine */
    vm->registers.VTTBR_EL2 = (uint64_t)(id + 1) << 48 | (uintptr_t)stage2.root;
    vm->registers.CNTVOFF_EL2 = READ(CNTPCT_EL0); /* its virtual time starts at 0 */

    print("[hyp] vm %u: %s, VMID %u, IPA 0x%x..0x%x -> PA 0x%lx..0x%lx\n", id, name, id + 1, GUEST_RAM_IPA,
          GUEST_RAM_IPA + GUEST_RAM_SIZE - 1, vm->ram, vm->ram + GUEST_RAM_SIZE - 1);
}

static bool all_finished(void) {
    for (size_t i = 0; i < ARRAY_LENGTH(vms); i++) {
        if (!vms[i]->finished)
            return false;
    }
    return true;
}

/* The next guest that can run, in turn; sleeps while there is none. */
static struct vm *choose(struct vm *after) {
    for (;;) {
        for (unsigned step = 1; step <= ARRAY_LENGTH(vms); step++) {
            struct vm *vm = vms[(after->id + step) % ARRAY_LENGTH(vms)];
            if (vm->finished)
                continue;
            check_virtual_timer(vm);
            if (!vm->waiting || has_pending_interrupt(vm)) {
                vm->waiting = false;
                return vm;
            }
        }
        print("[hyp] both guests wait: EL2 sleeps until a timer\n");
        world_unload(); /* so that the timers of both are in memory */
        sleep_until_a_timer(vms, ARRAY_LENGTH(vms));
    }
}

static void run(void) {
    struct vm *vm = vms[ARRAY_LENGTH(vms) - 1]; /* so that the first one is next */

    while (!all_finished()) {
        struct vm *next = choose(vm);
        if (next != vm)
            print("[hyp] switch to vm %u (%s)\n", next->id, next->name);
        vm = next;
        world_load(vm);
        start_time_slice();

        enum verdict verdict = KEEP_RUNNING;
        while (verdict == KEEP_RUNNING) {
            deliver_virtual_interrupts(vm);
            switch (enter_guest(vm)) {
            case LEFT_BY_SYNC:
                verdict = handle_sync(vm);
                break;
            case LEFT_BY_IRQ:
                verdict = handle_irq(vm);
                break;
            default:
                print("[hyp] vm %u: FIQ or SError, which nothing here should raise\n", vm->id);
                vm->finished = true;
                verdict = RUN_ANOTHER;
            }
        }
    }
}

static void print_summary(void) {
    static const char names[EXIT_KINDS][28] = {
        [EXIT_HYPERCALL] = "HVC (hypercall)",
        [EXIT_DEVICE] = "data abort, emulated",
        [EXIT_SYSTEM_REGISTER] = "system register",
        [EXIT_SMC] = "SMC",
        [EXIT_ABORT] = "data abort, injected",
        [EXIT_FLOATING_POINT] = "floating point *",
        [EXIT_WFI] = "WFI *",
        [EXIT_VIRTUAL_TIMER] = "virtual timer *",
        [EXIT_TIME_SLICE] = "end of time slice *",
    };
    uint64_t totals[ARRAY_LENGTH(vms)] = {0};

    print("[hyp] exits by reason           vm 0    vm 1\n");
    for (unsigned kind = 0; kind < EXIT_KINDS; kind++) {
        print("[hyp]   %-22s", names[kind]);
        for (size_t i = 0; i < ARRAY_LENGTH(vms); i++) {
            print("%8lu", vms[i]->exits[kind]);
            totals[i] += vms[i]->exits[kind];
        }
        print("\n");
    }
    print("[hyp]   %-22s%8lu%8lu\n", "all *", totals[0], totals[1]);
    print("[hyp]   (* depends on timing)\n");
}

int main(void) {
    print("[hyp] two_guests: one hypervisor at EL%u, two guests at EL1\n", (unsigned)FIELD(READ(CurrentEL), 3, 2));
    print("[hyp] MIDR_EL1=0x%08lx, timer %lu kHz, %u list registers\n", READ(MIDR_EL1), READ(CNTFRQ_EL0) / 1000,
          (unsigned)FIELD(READ(ICH_VTR_EL2), 4, 0) + 1);
    pages_init(__free_start, __free_end);
    own_mmu_on();
    print("[hyp] own MMU on: identity map, code at 0x%lx read-only\n", (uintptr_t)__image_start);
    interrupts_init();
    world_init();
    vm_create(&guests[0], 0, "guest A", guest_a_image, guest_a_image_end);
    vm_create(&guests[1], 1, "guest B", guest_b_image, guest_b_image_end);

    run();
    print_summary();
    print("[hyp] both guests have finished: power off\n");
    power_off();
}
