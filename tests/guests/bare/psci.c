/*
 * PSCI (DEN 0022) of the board, through SMC. With one CPU only what returns can be tried: asking, and asking for what
 * cannot be done. The program ends by SYSTEM_OFF like all others.
 */
#include "../lib/psci.h"

#include "../lib/gic.h"
#include "harness/harness.h"

#define PSCI_CPU_SUSPEND_32 0x84000001u
#define PSCI_CPU_ON_32 0x84000003u
#define PSCI_AFFINITY_INFO_32 0x84000004u
#define PSCI_MIGRATE 0x84000005u
#define PSCI_SYSTEM_SUSPEND_64 0xc400000eu

SNIPPET(smc_0, "smc #0");
SNIPPET(hvc_0, "hvc #0");

static void show_call(const char *what, uint64_t function, uint64_t a, uint64_t b, uint64_t c) {
    print("%-40s %ld\n", what, psci(function, a, b, c));
}

static void versions(void) {
    static const struct {
        const char *name;
        uint64_t function;
    } functions[] = {{"PSCI_VERSION", PSCI_VERSION},
                     {"CPU_SUSPEND 32", PSCI_CPU_SUSPEND_32},
                     {"CPU_SUSPEND 64", PSCI_CPU_SUSPEND_64},
                     {"CPU_OFF", PSCI_CPU_OFF},
                     {"CPU_ON 32", PSCI_CPU_ON_32},
                     {"CPU_ON 64", PSCI_CPU_ON_64},
                     {"AFFINITY_INFO 32", PSCI_AFFINITY_INFO_32},
                     {"AFFINITY_INFO 64", PSCI_AFFINITY_INFO_64},
                     {"MIGRATE_INFO_TYPE", PSCI_MIGRATE_INFO_TYPE},
                     {"SYSTEM_OFF", PSCI_SYSTEM_OFF},
                     {"SYSTEM_RESET", PSCI_SYSTEM_RESET},
                     {"PSCI_FEATURES", PSCI_FEATURES},
                     {"MIGRATE", PSCI_MIGRATE},
                     {"a number nobody knows", 0x8400f00d}};

    section("version and features");
    int64_t version = psci(PSCI_VERSION, 0, 0, 0);
    print("PSCI %ld.%ld\n", version >> 16, version & 0xffff);
    for (size_t i = 0; i < ARRAY_LENGTH(functions); i++)
        print("PSCI_FEATURES(%s) %ld\n", functions[i].name, psci(PSCI_FEATURES, functions[i].function, 0, 0));
    show_call("MIGRATE_INFO_TYPE", PSCI_MIGRATE_INFO_TYPE, 0, 0, 0);
    show_call("MIGRATE", PSCI_MIGRATE, 0, 0, 0);
    show_call("a number nobody knows", 0x8400f00d, 0, 0, 0);
}

static void processors(void) {
    uint64_t self = READ(MPIDR_EL1) & 0xff00ffffff;

    section("processors");
    show_call("AFFINITY_INFO of this CPU (32)", PSCI_AFFINITY_INFO_32, self, 0, 0);
    show_call("AFFINITY_INFO of this CPU (64)", PSCI_AFFINITY_INFO_64, self, 0, 0);
    show_call("AFFINITY_INFO of no CPU", PSCI_AFFINITY_INFO_64, 0xff, 0, 0);
    show_call("CPU_ON of this CPU (64)", PSCI_CPU_ON_64, self, 0x40200000, 0);
    show_call("CPU_ON of this CPU (32)", PSCI_CPU_ON_32, self, 0x40200000, 0);
    show_call("CPU_ON of no CPU", PSCI_CPU_ON_64, 0xff, 0x40200000, 0);

    /* Standby ends by any interrupt that is pending. */
    gic_init();
    gic_configure(INTID_PHYSICAL_TIMER, 0x80, true);
    WRITE(CNTP_TVAL_EL0, READ(CNTFRQ_EL0) / 1000);
    WRITE(CNTP_CTL_EL0, TIMER_ENABLE);
    isb();
    show_call("CPU_SUSPEND to standby", PSCI_CPU_SUSPEND_64, 0, 0, 0);
    WRITE(CNTP_CTL_EL0, 0);
    isb();
}

static void conduits(void) {
    section("who may call");
    try_with("SMC #0 PSCI_VERSION", PSTATE_EL2H, smc_0, PSCI_VERSION, 0, 0);
    try_with("SMC #0 PSCI_VERSION", PSTATE_EL1H, smc_0, PSCI_VERSION, 0, 0);
    try_with("SMC #0 PSCI_VERSION", PSTATE_EL0, smc_0, PSCI_VERSION, 0, 0);
    try_with("HVC #0 PSCI_VERSION", PSTATE_EL1H, hvc_0, PSCI_VERSION, 0, 0);
    WRITE(HCR_EL2, HCR_RW | HCR_TSC);
    try_with("SMC #0 PSCI_SYSTEM_OFF, TSC", PSTATE_EL1H, smc_0, PSCI_SYSTEM_OFF, 0, 0);
}

void program(void) {
    world_reset();
    versions();
    processors();
    conduits();
}
