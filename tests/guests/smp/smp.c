/*
 * Several CPUs at EL2 on one memory: load- and store-exclusive, locks, the atomics of FEAT_LSE where the CPU has them, a
 * store by another CPU between an exclusive pair, SGIs to one CPU, to a list and to all others, their order by priority,
 * and PSCI's view of CPUs that go off. Everything printed is a total, so it does not depend on who was faster. To be run
 * with -smp 4.
 */
#include "../lib/arch.h"
#include "../lib/console.h"
#include "../lib/gic.h"
#include "../lib/psci.h"
#include "../lib/tables.h"

enum { CPUS = 4, ROUNDS = 3000, SGIS = 8 };

extern char vectors[], secondary_entry[], __free_start[], __free_end[];
void secondary_main(uint64_t cpu);
void interrupt(void);
void unexpected(void);

char stacks[CPUS][4096] __attribute__((aligned(16)));
static struct tables map;
static volatile uint64_t exclusive_sum, locked_sum, atomic_sum, pair[2] __attribute__((aligned(16)));
static volatile uint32_t bits, arrived, finished, turn, lock;
static volatile uint8_t bytes[8];
static volatile uint32_t received[CPUS][SGIS];
static volatile uint32_t order[SGIS], ordered;

static inline unsigned self(void) { return READ(MPIDR_EL1) & 0xff; }
static bool has_atomics(void) { return FIELD(READ(ID_AA64ISAR0_EL1), 23, 20) != 0; }

static void add_exclusive(volatile uint64_t *at, uint64_t value) {
    uint64_t old;
    uint32_t failed;
    asm volatile("1: ldxr %0, [%2]\n   add %0, %0, %3\n   stxr %w1, %0, [%2]\n   cbnz %w1, 1b\n"
                 : "=&r"(old), "=&r"(failed)
                 : "r"(at), "r"(value)
                 : "memory");
}
static void add_pair(uint64_t value) {
    uint64_t low, high;
    uint32_t failed;
    asm volatile("1: ldaxp %0, %1, [%3]\n   add %0, %0, %4\n   sub %1, %1, %4\n   stlxp %w2, %0, %1, [%3]\n   cbnz %w2, 1b\n"
                 : "=&r"(low), "=&r"(high), "=&r"(failed)
                 : "r"(pair), "r"(value)
                 : "memory");
}
static void acquire(void) {
    uint32_t taken, failed;
    asm volatile("   sevl\n1: wfe\n2: ldaxr %w0, [%2]\n   cbnz %w0, 1b\n   stxr %w1, %w3, [%2]\n   cbnz %w1, 2b\n"
                 : "=&r"(taken), "=&r"(failed)
                 : "r"(&lock), "r"(1)
                 : "memory");
}
static void release(void) { asm volatile("stlr wzr, [%0]" : : "r"(&lock) : "memory"); }

static void atomics(unsigned cpu) {
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t old;
        asm volatile(".arch_extension lse\n ldaddal %1, %0, [%2]" : "=&r"(old) : "r"((uint64_t)(cpu + 1)), "r"(&atomic_sum) : "memory");
        asm volatile(".arch_extension lse\n ldeorb %w1, %w0, [%2]" : "=&r"(old) : "r"(1u << cpu), "r"(bytes + 1) : "memory");
        asm volatile(".arch_extension lse\n ldsmaxb %w1, %w0, [%2]" : "=&r"(old) : "r"(i & 0x7f), "r"(bytes + 2) : "memory");
    }
    uint64_t expected, seen;
    do {
        seen = expected = pair[0];
        asm volatile(".arch_extension lse\n casal %0, %1, [%2]" : "+&r"(seen) : "r"(expected + 7), "r"(&pair[0]) : "memory");
    } while (seen != expected);
}

/* Everybody waits until everybody has come. */
static void meet(volatile uint32_t *at, uint32_t count) {
    uint32_t value, failed;
    asm volatile("1: ldaxr %w0, [%2]\n   add %w0, %w0, #1\n   stlxr %w1, %w0, [%2]\n   cbnz %w1, 1b\n   sev\n"
                 : "=&r"(value), "=&r"(failed)
                 : "r"(at)
                 : "memory");
    while (*at < count)
        asm volatile("wfe" : : : "memory");
}

static void mmu_on(void) {
    WRITE(MAIR_EL2, MAIR_VALUE);
    WRITE(TCR_EL2, (64 - 39) | 1 << 8 | 1 << 10 | 3 << 12 | BIT(31) | BIT(23));
    WRITE(TTBR0_EL2, (uint64_t)map.root);
    asm volatile("tlbi alle2\n dsb sy\n isb" : : : "memory");
    WRITE(SCTLR_EL2, SCTLR_EL2_RES1 | SCTLR_M | SCTLR_C | SCTLR_I);
    isb();
}

static void cpu_on(unsigned cpu) {
    uintptr_t frame = GICR_BASE + 0x20000UL * cpu, sgi = frame + 0x10000;

    WRITE(VBAR_EL2, (uint64_t)vectors);
    WRITE(HCR_EL2, HCR_RW | HCR_IMO | HCR_FMO);
    WRITE(ICC_SRE_EL2, 0xf);
    isb();
    *(volatile uint32_t *)(frame + GICR_WAKER) &= ~GICR_WAKER_PROCESSOR_SLEEP;
    while (*(volatile uint32_t *)(frame + GICR_WAKER) & GICR_WAKER_CHILDREN_ASLEEP) {
    }
    *(volatile uint32_t *)(sgi + GICD_IGROUPR) = 0xffffffff;
    for (unsigned n = 0; n < SGIS; n++)
        *(volatile uint8_t *)(sgi + GICD_IPRIORITYR + n) = (uint8_t)(0xc0 - 8 * n);
    *(volatile uint32_t *)(sgi + GICD_ISENABLER) = 0xff;
    WRITE(ICC_PMR_EL1, 0xff);
    WRITE(ICC_IGRPEN1_EL1, 1);
    isb();
}

void interrupt(void) {
    unsigned intid = READ(ICC_IAR1_EL1) & 0xffffff;

    if (intid < SGIS) {
        received[self()][intid]++;
        if (self() == 1 && ordered < SGIS)
            order[ordered++] = intid;
    }
    WRITE(ICC_EOIR1_EL1, intid);
    isb();
}
void unexpected(void) {
    print("unexpected: ESR=%lx ELR=%lx FAR=%lx\n", READ(ESR_EL2), READ(ELR_EL2), READ(FAR_EL2));
    power_off();
}

static void send(unsigned sgi, unsigned targets) {
    WRITE(ICC_SGI1R_EL1, (uint64_t)sgi << 24 | targets);
    isb();
}
static void send_others(unsigned sgi) {
    WRITE(ICC_SGI1R_EL1, (uint64_t)sgi << 24 | BIT(40));
    isb();
}
static void unmask(void) { asm volatile("msr daifclr, #2" : : : "memory"); }
static void mask(void) { asm volatile("msr daifset, #2" : : : "memory"); }

static void common(unsigned cpu) {
    for (unsigned i = 0; i < ROUNDS; i++) {
        add_exclusive(&exclusive_sum, cpu + 1);
        add_pair(cpu + 1);
        acquire();
        locked_sum = locked_sum + cpu + 1;
        bits ^= 1u << cpu;
        release();
    }
    meet(&arrived, CPUS);
    if (has_atomics())
        atomics(cpu);
    meet(&finished, CPUS);
}

void secondary_main(uint64_t cpu) {
    mmu_on();
    cpu_on((unsigned)cpu);
    common((unsigned)cpu);
    if (cpu == 1) {
        /* A store between CPU 0's exclusive pair. */
        while (turn != 1)
            asm volatile("" : : : "memory");
        exclusive_sum = 1;
        dsb();
        turn = 2;
        /* Three SGIs wait while masked: the highest priority comes first, whatever the order they were sent in. */
        while (turn != 3)
            asm volatile("" : : : "memory");
        unmask();
        while (ordered < 3)
            asm volatile("" : : : "memory");
        turn = 4;
    }
    unmask();
    while (received[cpu][7] == 0)
        wfi();
    mask();
    psci(PSCI_CPU_OFF, 0, 0, 0);
}

int main(void) {
    pages_init(__free_start, __free_end);
    tables_init(&map, 12, 39);
    tables_map(&map, 0, 0, 0x40000000, DESC_AF | ATTR_DEVICE | DESC_XN);
    tables_map(&map, 0x40000000, 0x40000000, 0x40000000, DESC_AF | ATTR_NORMAL);
    mmu_on();
    gic_init();
    cpu_on(0);
    print("== smp\n");
    unsigned cpus = 1;
    while (cpus < CPUS && psci(PSCI_CPU_ON_64, cpus, (uint64_t)secondary_entry, cpus) == 0)
        cpus++;
    common(0);
    print("%u CPUs, CPU_ON of a fifth: %ld, of one that is on: %ld\n", cpus, psci(PSCI_CPU_ON_64, 4, 0, 0),
          psci(PSCI_CPU_ON_64, 1, (uint64_t)secondary_entry, 0));
    print("exclusives %lu, locked %lu, bits %x, pair %ld %ld\n", exclusive_sum, locked_sum, bits, pair[0] - (has_atomics() ? 28 : 0),
          pair[1]);
    if (has_atomics())
        print("atomics: sum %lu, eor %x, max %x\n", atomic_sum, bytes[1], bytes[2]);

    uint64_t value;
    uint32_t failed;
    asm volatile("   ldxr %0, [%2]\n   str %w3, [%4]\n   dsb sy\n1: ldr %w1, [%4]\n   cmp %w1, #2\n   b.ne 1b\n   stxr %w1, %0, [%2]\n"
                 : "=&r"(value), "=&r"(failed)
                 : "r"(&exclusive_sum), "r"(1), "r"(&turn)
                 : "memory", "cc");
    print("store-exclusive after another CPU's store: status %u, memory %lu\n", failed, exclusive_sum);

    send(2, 1 << 1);
    send(4, 1 << 1);
    send(3, 1 << 1);
    turn = 3;
    while (turn != 4)
        asm volatile("" : : : "memory");
    print("SGIs by priority: %u %u %u\n", order[0], order[1], order[2]);
    unmask();
    send(5, 1 << 0 | 1 << 2);
    while (received[0][5] == 0 || received[2][5] == 0)
        asm volatile("" : : : "memory");
    send_others(6);
    while (received[1][6] == 0 || received[2][6] == 0 || received[3][6] == 0)
        asm volatile("" : : : "memory");
    send_others(7);
    for (unsigned cpu = 1; cpu < CPUS; cpu++)
        while (psci(PSCI_AFFINITY_INFO_64, cpu, 0, 0) != 1) {
        }
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        print("CPU %u got SGIs 5: %u, 6: %u, 7: %u\n", cpu, received[cpu][5], received[cpu][6], received[cpu][7]);
    print("== end\n");
    power_off();
}
