/*
 * The generic timer (DDI 0487 "The Generic Timer in AArch64 state"): the condition of each timer, its interrupt, the
 * offset of the virtual counter, and who may use what. Counts are compared, never printed.
 */
#include "../lib/gic.h"
#include "harness/harness.h"

/* A timer's three registers and its interrupt. Names the assembler may not know are given by encoding. */
struct timer {
    const char *name;
    unsigned intid;
    uint64_t (*read_ctl)(void);
    void (*write_ctl)(uint64_t value);
    uint64_t (*read_tval)(void);
    void (*write_tval)(uint64_t value);
    uint64_t (*read_cval)(void);
    void (*write_cval)(uint64_t value);
    uint64_t (*count)(void);
};

#define ACCESSORS(name, reg)                                                   \
    static uint64_t read_##name(void) { isb(); return READ(reg); }             \
    static void write_##name(uint64_t value) { WRITE(reg, value); isb(); }

ACCESSORS(cntp_ctl, CNTP_CTL_EL0)
ACCESSORS(cntp_tval, CNTP_TVAL_EL0)
ACCESSORS(cntp_cval, CNTP_CVAL_EL0)
ACCESSORS(cntv_ctl, CNTV_CTL_EL0)
ACCESSORS(cntv_tval, CNTV_TVAL_EL0)
ACCESSORS(cntv_cval, CNTV_CVAL_EL0)
ACCESSORS(cnthp_ctl, CNTHP_CTL_EL2)
ACCESSORS(cnthp_tval, CNTHP_TVAL_EL2)
ACCESSORS(cnthp_cval, CNTHP_CVAL_EL2)
ACCESSORS(cnthv_tval, S3_4_C14_C3_0)
ACCESSORS(cnthv_ctl, S3_4_C14_C3_1)
ACCESSORS(cnthv_cval, S3_4_C14_C3_2)

static uint64_t physical_count(void) { isb(); return READ(CNTPCT_EL0); }
static uint64_t virtual_count(void) { isb(); return READ(CNTVCT_EL0); }

#define TIMER(name, intid, count)                                                                               \
    {#name, intid, read_##name##_ctl, write_##name##_ctl, read_##name##_tval, write_##name##_tval,              \
     read_##name##_cval, write_##name##_cval, count}
static const struct timer timers[] = {
    TIMER(cntp, INTID_PHYSICAL_TIMER, physical_count),
    TIMER(cntv, INTID_VIRTUAL_TIMER, virtual_count),
    TIMER(cnthp, INTID_HYP_TIMER, physical_count),
    TIMER(cnthv, 0, physical_count), /* its offset is 0; its interrupt (28) is not connected in QEMU 7.2 */
};
#define TIMERS (ARRAY_LENGTH(timers) - (cpu_has_vhe() ? 0 : 1))

static void show_timer(const struct timer *timer, const char *what) {
    uint64_t control = timer->read_ctl();

    print("%-5s %-34s ISTATUS %u", timer->name, what, (control & TIMER_ISTATUS) != 0);
    if (timer->intid != 0)
        print(", pending %u", (*gic_register(GICD_ISPENDR, timer->intid) & gic_bit(timer->intid)) != 0);
    print("\n");
}

static void conditions(void) {
    section("conditions");
    print("CNTFRQ_EL0 %lu\n", READ(CNTFRQ_EL0));
    WRITE(CNTVOFF_EL2, 0);
    isb();
    for (size_t i = 0; i < TIMERS; i++) {
        const struct timer *timer = &timers[i];

        timer->write_ctl(0);
        timer->write_cval(~UINT64_C(0) >> 1);
        timer->write_ctl(TIMER_ENABLE);
        show_timer(timer, "far in the future");
        timer->write_cval(0);
        show_timer(timer, "CVAL 0");
        timer->write_ctl(TIMER_ENABLE | TIMER_IMASK);
        show_timer(timer, "CVAL 0, IMASK");
        timer->write_ctl(TIMER_ENABLE);
        show_timer(timer, "CVAL 0, not masked");
        timer->write_tval(0x7fffffff);
        show_timer(timer, "TVAL 7fffffff");
        uint64_t now = timer->count(), ahead = timer->read_cval() - now;
        print("      CVAL is count + TVAL: %s\n", ahead <= 0x7fffffff && ahead > 0x7fff0000 - 0x4000000 ? "yes" : "NO");
        timer->write_tval(0xffffff00);
        show_timer(timer, "TVAL ffffff00 (negative)");
        now = timer->count();
        print("      CVAL is in the past: %s\n", now - timer->read_cval() < 0x10000000 ? "yes" : "NO");
        uint64_t left = timer->read_tval();
        print("      TVAL reads negative, 32 bits: %s\n", left >> 31 == 1 ? "yes" : "NO");
        timer->write_cval(0x123456789abcdef0);
        print("      CVAL %lx\n", timer->read_cval());
        timer->write_ctl(~UINT64_C(0));
        print("      CTL holds %lx of all ones\n", timer->read_ctl());
        timer->write_ctl(0);
        if (timer->intid != 0)
            print("      disabled: pending %u\n",
                  (*gic_register(GICD_ISPENDR, timer->intid) & gic_bit(timer->intid)) != 0);
    }
}

static void interrupts(void) {
    section("interrupts, 1 ms ahead");
    uint64_t millisecond = READ(CNTFRQ_EL0) / 1000;

    for (size_t i = 0; i < TIMERS; i++) {
        const struct timer *timer = &timers[i];
        uint64_t start = timer->count(), intid;

        if (timer->intid == 0)
            continue;
        gic_configure(timer->intid, 0x80, true);
        timer->write_tval(millisecond);
        timer->write_ctl(TIMER_ENABLE);
        wfi();
        while ((intid = READ(ICC_IAR1_EL1)) == INTID_SPURIOUS && timer->count() - start < 1000 * millisecond) {
        }
        uint64_t took = timer->count() - start;
        print("%-5s INTID %lu, not early: %s, not late: %s\n", timer->name, intid, took >= millisecond ? "yes" : "NO",
              took < 1000 * millisecond ? "yes" : "NO");
        timer->write_ctl(0);
        WRITE(ICC_EOIR1_EL1, intid);
        isb();
        *gic_register(GICD_ICENABLER, timer->intid) = gic_bit(timer->intid);
    }
}

SNIPPET(loop, "b .");
SNIPPET(read_cntvct, "mrs x0, cntvct_el0");

static void offset(void) {
    section("CNTVOFF_EL2");
    static const uint64_t offsets[] = {0, 0x100000000, UINT64_C(0) - 0x10000000000};

    for (size_t i = 0; i < ARRAY_LENGTH(offsets); i++) {
        WRITE(CNTVOFF_EL2, offsets[i]);
        isb();
        uint64_t before = physical_count() - offsets[i];
        uint64_t from_el1 = run(PSTATE_EL1H | PSTATE_DAIF, read_cntvct).x[0];
        uint64_t at_el2 = virtual_count();
        uint64_t after = physical_count() - offsets[i];
        print("offset %lx: EL1 %s, EL2 %s\n", offsets[i], from_el1 - before <= after - before ? "right" : "WRONG",
              at_el2 - before <= after - before ? "right" : "WRONG");
    }
    write_cntv_cval(0x10000000000);
    write_cntv_ctl(TIMER_ENABLE);
    show_timer(&timers[1], "CVAL 10000000000, offset -10000000000");
    WRITE(CNTVOFF_EL2, 0);
    isb();
    show_timer(&timers[1], "CVAL 10000000000, offset 0");
    write_cntv_ctl(0);

    section("an interrupt for EL1");
    gic_configure(INTID_VIRTUAL_TIMER, 0x80, true);
    write_cntv_cval(0);
    write_cntv_ctl(TIMER_ENABLE);
    WRITE(HCR_EL2, HCR_RW);
    try("CNTV due", PSTATE_EL1H, loop);
    WRITE(HCR_EL2, HCR_RW | HCR_IMO);
    try("CNTV due, IMO", PSTATE_EL1H, loop);
    write_cntv_ctl(0);
    *gic_register(GICD_ICENABLER, INTID_VIRTUAL_TIMER) = gic_bit(INTID_VIRTUAL_TIMER);
}

#define ACCESSES(X)                                                                                           \
    X(r_cntfrq, "mrs x1, cntfrq_el0") X(r_cntpct, "mrs x2, cntpct_el0") X(r_cntvct, "mrs x3, cntvct_el0")     \
    X(r_p_ctl, "mrs x4, cntp_ctl_el0") X(w_p_ctl, "msr cntp_ctl_el0, xzr")                                    \
    X(r_p_cval, "mrs x5, cntp_cval_el0") X(w_p_cval, "msr cntp_cval_el0, x6")                                 \
    X(r_p_tval, "mrs x7, cntp_tval_el0") X(w_p_tval, "msr cntp_tval_el0, x8")                                 \
    X(r_v_ctl, "mrs x9, cntv_ctl_el0") X(w_v_ctl, "msr cntv_ctl_el0, xzr")                                    \
    X(r_v_cval, "mrs x10, cntv_cval_el0") X(w_v_cval, "msr cntv_cval_el0, x11")                               \
    X(r_v_tval, "mrs x12, cntv_tval_el0") X(w_v_tval, "msr cntv_tval_el0, x13")                               \
    X(r_cntkctl, "mrs x14, cntkctl_el1") X(r_cntvoff, "mrs x15, cntvoff_el2")                                 \
    X(r_hp_ctl, "mrs x16, cnthp_ctl_el2") X(r_hv_ctl, "mrs x17, s3_4_c14_c3_1")
#define ACCESS_SNIPPET(identifier, text) SNIPPET(access_##identifier, text);
ACCESSES(ACCESS_SNIPPET)

static void access(void) {
    static const struct {
        const char *name, *snippet;
    } accesses[] = {
#define X(identifier, text) {text, access_##identifier},
        ACCESSES(X)
#undef X
    };
    static const struct {
        const char *title;
        uint64_t pstate, cntkctl, cnthctl;
    } settings[] = {
        {"EL0, CNTKCTL_EL1 0", PSTATE_EL0, 0, 3},
        {"EL0, CNTKCTL_EL1.EL0PCTEN", PSTATE_EL0, 1, 3},
        {"EL0, CNTKCTL_EL1.EL0VCTEN", PSTATE_EL0, 2, 3},
        {"EL0, CNTKCTL_EL1.EL0VTEN", PSTATE_EL0, 0x100, 3},
        {"EL0, CNTKCTL_EL1.EL0PTEN", PSTATE_EL0, 0x200, 3},
        {"EL0, all of CNTKCTL_EL1, CNTHCTL_EL2 0", PSTATE_EL0, 0x303, 0},
        {"EL1, CNTHCTL_EL2 3", PSTATE_EL1H, 0, 3},
        {"EL1, CNTHCTL_EL2.EL1PCTEN", PSTATE_EL1H, 0, 1},
        {"EL1, CNTHCTL_EL2.EL1PCEN", PSTATE_EL1H, 0, 2},
        {"EL2, CNTHCTL_EL2 0", PSTATE_EL2H, 0, 0},
    };

    for (size_t s = 0; s < ARRAY_LENGTH(settings); s++) {
        section(settings[s].title);
        WRITE(CNTKCTL_EL1, settings[s].cntkctl);
        WRITE(CNTHCTL_EL2, settings[s].cnthctl);
        for (size_t i = 0; i < ARRAY_LENGTH(accesses); i++) {
            struct outcome outcome = run(settings[s].pstate | PSTATE_DAIF, accesses[i].snippet);
            outcome.x[0] = 0;
            show(accesses[i].name, &outcome);
        }
        /* What was written must not fire later. */
        write_cntp_ctl(0);
        write_cntv_ctl(0);
    }
}

void program(void) {
    world_reset();
    gic_init();
    conditions();
    interrupts();
    offset();
    access();
}
