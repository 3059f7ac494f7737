/*
 * Programs whose output depends on when everything happens: interrupts, turns of several CPUs, bytes that come in. Two
 * runs print the same only if the machine does everything at the same moments. Another counts resets.
 *
 * The word at MODE says which; the machine's loader puts it there at every reset. All at EL2, with an identity map.
 */
#include "../lib/arch.h"
#include "../lib/console.h"
#include "../lib/gic.h"
#include "../lib/psci.h"
#include "../lib/tables.h"

#define MODE (*(volatile uint32_t *)0x47ff0000)
enum { TURNS = 0, RESETS = 1, ECHO = 2, IDLE = 3 };
/* RAM keeps this over a reset: it is no part of the image. */
#define BOOTS (*(volatile uint32_t *)0x47ff1000)

#define MAX_CPUS 8
#define PL011(offset) (*(volatile uint32_t *)(0x09000000UL + (offset)))
#define UART_INTID 33

extern char vectors[], secondary_entry[], __free_start[], __free_end[];
void secondary_main(uint64_t cpu);
void interrupt(void);
void unexpected(void);

char stacks[MAX_CPUS][4096] __attribute__((aligned(16)));
static struct tables map;
static volatile uint32_t ticks[MAX_CPUS];
static volatile uint64_t mixture = 0x243f6a8885a308d3;
static volatile uint32_t finished;
static uint32_t lock;
static unsigned letters;

static volatile char received[64];
static volatile unsigned received_in, received_out;

static inline uint64_t counter(void) {
    isb();
    return READ(CNTPCT_EL0);
}
static inline unsigned self(void) { return READ(MPIDR_EL1) & 0xff; }

static void acquire(void) {
    uint32_t taken, failed;
    asm volatile("   sevl\n"
                 "1: wfe\n"
                 "2: ldaxr %w0, [%2]\n"
                 "   cbnz  %w0, 1b\n"
                 "   stxr  %w1, %w3, [%2]\n"
                 "   cbnz  %w1, 2b\n"
                 : "=&r"(taken), "=&r"(failed)
                 : "r"(&lock), "r"(1)
                 : "memory");
}
static void release(void) {
    asm volatile("stlr wzr, [%0]\n sev" : : "r"(&lock) : "memory");
}

static void mix(uint64_t value) { mixture = (mixture ^ value) * 0x9e3779b97f4a7c15 + (mixture >> 29); }

static void mmu_on(void) {
    WRITE(MAIR_EL2, MAIR_VALUE);
    WRITE(TCR_EL2, (64 - 39) | 1 << 8 | 1 << 10 | 3 << 12 | BIT(31) | BIT(23));
    WRITE(TTBR0_EL2, (uint64_t)map.root);
    asm volatile("tlbi alle2\n dsb sy\n isb" : : : "memory");
    WRITE(SCTLR_EL2, SCTLR_EL2_RES1 | SCTLR_M | SCTLR_C | SCTLR_I);
    isb();
}

static void arm_timer(unsigned cpu) {
    WRITE(CNTHP_TVAL_EL2, 1500 + 211 * cpu);
    WRITE(CNTHP_CTL_EL2, TIMER_ENABLE);
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
    *(volatile uint8_t *)(sgi + GICD_IPRIORITYR + INTID_HYP_TIMER) = 0x80;
    *(volatile uint32_t *)(sgi + GICD_ISENABLER) = gic_bit(INTID_HYP_TIMER);
    WRITE(ICC_PMR_EL1, 0xff);
    WRITE(ICC_IGRPEN1_EL1, 1);
    isb();
    arm_timer(cpu);
    asm volatile("msr daifclr, #2" : : : "memory");
}

void interrupt(void) {
    unsigned cpu = self(), intid = READ(ICC_IAR1_EL1) & 0xffffff;

    if (intid == INTID_HYP_TIMER) {
        ticks[cpu]++;
        arm_timer(cpu);
    } else if (intid == UART_INTID) {
        while (!(PL011(0x18) & 1u << 4)) {
            received[received_in % sizeof received] = (char)PL011(0);
            received_in++;
        }
        PL011(0x44) = 0x7ff;
    }
    WRITE(ICC_EOIR1_EL1, intid);
    isb();
}

void unexpected(void) {
    print("unexpected: ESR=%lx ELR=%lx FAR=%lx\n", READ(ESR_EL2), READ(ELR_EL2), READ(FAR_EL2));
    power_off();
}

static void work(unsigned cpu, unsigned rounds) {
    for (unsigned round = 0; round < rounds; round++) {
        acquire();
        mix(counter() << 8 | cpu);
        console_putc('A' + (char)cpu);
        if (++letters % 64 == 0)
            print(" %016lx\n", mixture);
        unsigned pause = mixture & 0x3ff;
        release();
        while (pause--)
            asm volatile("");
        if (round % 16 == 15)
            wfi();
    }
}

static unsigned start_others(void) {
    unsigned cpus = 1;

    while (cpus < MAX_CPUS && psci(PSCI_CPU_ON_64, cpus, (uint64_t)secondary_entry, cpus) == 0)
        cpus++;
    return cpus;
}

void secondary_main(uint64_t cpu) {
    mmu_on();
    cpu_on((unsigned)cpu);
    if (MODE == TURNS)
        work((unsigned)cpu, 200);
    else
        for (;;) {
            acquire();
            mix(counter() << 8 | cpu);
            release();
            wfi();
        }
    acquire();
    finished++;
    release();
    psci(PSCI_CPU_OFF, 0, 0, 0);
}

static void turns(void) {
    unsigned cpus = start_others();

    work(0, 200);
    while (finished < cpus - 1)
        wfi();
    print("\n%u CPUs:", cpus);
    for (unsigned cpu = 0; cpu < cpus; cpu++)
        print(" %u", ticks[cpu]);
    print(" interrupts, %lu ticks, mixture %016lx\n", counter(), mixture);
}

static void resets(void) {
    BOOTS++;
    print("boot %u\n", BOOTS);
    start_others();
    work(0, 20);
    if (BOOTS < 100)
        psci(PSCI_SYSTEM_RESET, 0, 0, 0);
}

static void echo(void) {
    BOOTS++;
    gic_configure(UART_INTID, 0x40, true);
    GICD64(GICD_IROUTER + 8 * UART_INTID) = 0;
    PL011(0x2c) = 0x70;
    PL011(0x30) = 0x301;
    PL011(0x38) = 1u << 4 | 1u << 6;
    unsigned cpus = start_others();
    print("boot %u, %u CPUs\n", BOOTS, cpus);
    for (;;) {
        asm volatile("msr daifset, #2" : : : "memory");
        if (received_in == received_out)
            wfi();
        asm volatile("msr daifclr, #2" : : : "memory");
        while (received_in != received_out) {
            char c = received[received_out++ % sizeof received];
            acquire();
            mix(counter() ^ (uint64_t)c << 56);
            uint64_t now = mixture;
            release();
            print("%c at %lu after %u ticks: %016lx\n", c, counter(), ticks[0], now);
            if (c == 'q')
                return;
            if (c == 'R')
                psci(PSCI_SYSTEM_RESET, 0, 0, 0);
        }
    }
}

/* Woken by its timer some thousand times a second at first, then never again. */
static void idle(void) {
    print("idle\n");
    while (ticks[0] < 100)
        wfi();
    WRITE(CNTHP_CTL_EL2, 0);
    print("asleep\n");
    for (;;)
        wfi();
}

int main(void) {
    pages_init(__free_start, __free_end);
    tables_init(&map, 12, 39);
    tables_map(&map, 0, 0, 0x40000000, DESC_AF | ATTR_DEVICE | DESC_XN);
    tables_map(&map, 0x40000000, 0x40000000, 0x40000000, DESC_AF | ATTR_NORMAL);
    mmu_on();
    gic_init();
    cpu_on(0);
    switch (MODE) {
    case TURNS:
        turns();
        break;
    case RESETS:
        resets();
        break;
    case ECHO:
        echo();
        break;
    default:
        idle();
    }
    return 0;
}
