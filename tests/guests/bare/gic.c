/*
 * GICv3 (IHI 0069): distributor, redistributor and CPU interface with one security state; then the virtual interface: list
 * registers, what EL1 sees as ICC_* (ICV_*), maintenance interrupts, traps. The CPU interface is polled with interrupts
 * masked wherever possible, so that nothing depends on when an interrupt arrives.
 */
#include "../lib/gic.h"
#include "harness/harness.h"

#define SPI_A 100 /* nothing of the board uses these */
#define SPI_B 101
#define SPI_C 133

static bool bit_of(uint32_t offset, unsigned intid) { return *gic_register(offset, intid) & gic_bit(intid); }
static void set_bit_of(uint32_t offset, unsigned intid) { *gic_register(offset, intid) = gic_bit(intid); }

static void show_state(unsigned intid) {
    print("  INTID %u: enabled %u, pending %u, active %u\n", intid, bit_of(GICD_ISENABLER, intid),
          bit_of(GICD_ISPENDR, intid), bit_of(GICD_ISACTIVER, intid));
}

static void configure_edge(unsigned intid, bool edge) {
    uintptr_t base = intid < 32 ? GICR_SGI_BASE : GICD_BASE;
    volatile uint32_t *config = (volatile uint32_t *)(base + GICD_ICFGR + 4 * (intid / 16));
    uint32_t bit = 2u << (2 * (intid % 16));

    *config = edge ? *config | bit : *config & ~bit;
}

static uint64_t acknowledge(void) {
    uint64_t intid = READ(ICC_IAR1_EL1);
    dsb();
    return intid;
}

static void end(uint64_t intid) {
    WRITE(ICC_EOIR1_EL1, intid);
    isb();
}

static void show_interface(const char *what) {
    print("%s: HPPIR1 %lu, RPR %02lx, AP1R0 %lx\n", what, READ(ICC_HPPIR1_EL1), READ(ICC_RPR_EL1), READ(ICC_AP1R0_EL1));
}

static void identification(void) {
    section("identification");
    print("GICD_PIDR2.ArchRev %u\n", GICD(GICD_PIDR2) >> 4 & 0xf);
    print("GICD_CTLR %08x\n", GICD(GICD_CTLR));
    print("GICR_TYPER: Last %u\n", GICR(GICR_TYPER) >> 4 & 1);
    print("ICC_SRE_EL2 %lx, ICC_SRE_EL1 %lx\n", READ(ICC_SRE_EL2), READ(ICC_SRE_EL1));
    print("ICH_VTR_EL2: %u list registers, %u priority bits, %u preemption bits\n",
          (unsigned)FIELD(READ(ICH_VTR_EL2), 4, 0) + 1, (unsigned)FIELD(READ(ICH_VTR_EL2), 31, 29) + 1,
          (unsigned)FIELD(READ(ICH_VTR_EL2), 28, 26) + 1);
    WRITE(ICC_PMR_EL1, 0xff);
    print("ICC_PMR_EL1 holds %02lx of ff\n", READ(ICC_PMR_EL1));
    print("nothing pending: IAR1 %lu\n", acknowledge());
    show_interface("nothing pending");
}

static void shared_interrupts(void) {
    section("an SPI from pending to inactive");
    gic_configure(SPI_A, 0x80, false);
    configure_edge(SPI_A, true);
    GICD64(GICD_IROUTER + 8 * SPI_A) = 0;
    set_bit_of(GICD_ISPENDR, SPI_A);
    show_interface("pending, not enabled");
    show_state(SPI_A);
    set_bit_of(GICD_ISENABLER, SPI_A);
    show_interface("enabled");
    WRITE(ICC_PMR_EL1, 0x80);
    show_interface("PMR 80, priority 80");
    WRITE(ICC_PMR_EL1, 0x88);
    show_interface("PMR 88, priority 80");
    WRITE(ICC_PMR_EL1, 0xff);
    WRITE(ICC_IGRPEN1_EL1, 0);
    isb();
    show_interface("IGRPEN1 0");
    WRITE(ICC_IGRPEN1_EL1, 1);
    isb();
    print("IAR1 %lu\n", acknowledge());
    show_interface("acknowledged");
    show_state(SPI_A);
    set_bit_of(GICD_ISPENDR, SPI_A);
    show_interface("pending again while active");
    show_state(SPI_A);
    print("IAR1 %lu\n", acknowledge());
    end(SPI_A);
    show_interface("ended");
    show_state(SPI_A);
    set_bit_of(GICD_ICPENDR, SPI_A);
    show_interface("pending cleared");
    set_bit_of(GICD_ISACTIVER, SPI_A);
    show_state(SPI_A);
    set_bit_of(GICD_ISPENDR, SPI_A);
    show_interface("active by ISACTIVER, pending");
    set_bit_of(GICD_ICACTIVER, SPI_A);
    show_interface("not active by ICACTIVER, pending");
    set_bit_of(GICD_ICPENDR, SPI_A);

    section("EOImode 1: drop and deactivation apart");
    WRITE(ICC_CTLR_EL1, 2);
    isb();
    set_bit_of(GICD_ISPENDR, SPI_A);
    print("IAR1 %lu\n", acknowledge());
    end(SPI_A);
    show_interface("EOIR1");
    show_state(SPI_A);
    WRITE(ICC_DIR_EL1, SPI_A);
    isb();
    show_interface("DIR");
    show_state(SPI_A);
    WRITE(ICC_CTLR_EL1, 0);
    isb();
}

static void priorities(void) {
    static const unsigned intids[] = {SPI_C, SPI_B, SPI_A};

    section("priorities: highest first, then the lowest number");
    for (size_t i = 0; i < ARRAY_LENGTH(intids); i++) {
        gic_configure(intids[i], intids[i] == SPI_C ? 0x40 : 0xa0, true);
        configure_edge(intids[i], true);
        GICD64(GICD_IROUTER + 8 * intids[i]) = 0;
        set_bit_of(GICD_ISPENDR, intids[i]);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(intids); i++) {
        uint64_t intid = acknowledge();
        print("IAR1 %lu, then %lu\n", intid, acknowledge());
        show_interface("  active");
        end(intid);
    }

    section("preemption by binary point: 90 active, then one of a higher priority");
    for (unsigned point = 0; point < 8; point++) {
        WRITE(ICC_BPR1_EL1, point);
        isb();
        print("BPR1 %u reads %lu:", point, READ(ICC_BPR1_EL1));
        for (unsigned priority = 0x88; priority >= 0x40; priority -= 0x18) {
            gic_configure(SPI_A, 0x90, true);
            gic_configure(SPI_B, (uint8_t)priority, true);
            set_bit_of(GICD_ISPENDR, SPI_A);
            uint64_t first = acknowledge();
            set_bit_of(GICD_ISPENDR, SPI_B);
            uint64_t second = acknowledge();
            print(" %02x %s", priority, second == SPI_B ? "yes" : "no");
            if (second == SPI_B)
                print(" AP1R0 %lx", READ(ICC_AP1R0_EL1));
            if (second == SPI_B)
                end(second);
            end(first);
            set_bit_of(GICD_ICPENDR, SPI_B);
            if (priority < 0x58)
                break;
        }
        print("\n");
    }
    WRITE(ICC_BPR1_EL1, 0);
    isb();
    for (size_t i = 0; i < ARRAY_LENGTH(intids); i++)
        set_bit_of(GICD_ICENABLER, intids[i]);
}

static void groups(void) {
    section("Group 0");
    GICD(GICD_CTLR) = GICD_CTLR_ARE | GICD_CTLR_ENABLE_GROUP1 | GICD_CTLR_ENABLE_GROUP0;
    WRITE(ICC_IGRPEN0_EL1, 1);
    WRITE(ICC_BPR0_EL1, 2);
    isb();
    gic_configure(SPI_A, 0x80, true);
    *gic_register(GICD_IGROUPR, SPI_A) &= ~gic_bit(SPI_A);
    set_bit_of(GICD_ISPENDR, SPI_A);
    print("HPPIR0 %lu, HPPIR1 %lu\n", READ(ICC_HPPIR0_EL1), READ(ICC_HPPIR1_EL1));
    print("IAR1 %lu\n", acknowledge());
    uint64_t intid = READ(ICC_IAR0_EL1);
    print("IAR0 %lu, RPR %02lx, AP0R0 %lx, AP1R0 %lx\n", intid, READ(ICC_RPR_EL1), READ(ICC_AP0R0_EL1),
          READ(ICC_AP1R0_EL1));
    WRITE(ICC_EOIR0_EL1, intid);
    isb();
    print("ended: RPR %02lx\n", READ(ICC_RPR_EL1));
    GICD(GICD_CTLR) = GICD_CTLR_ARE | GICD_CTLR_ENABLE_GROUP1;
    set_bit_of(GICD_ISPENDR, SPI_A);
    print("Group 0 off in GICD_CTLR: IAR0 %lu\n", READ(ICC_IAR0_EL1));
    set_bit_of(GICD_ICPENDR, SPI_A);
    GICD(GICD_CTLR) = GICD_CTLR_ARE | GICD_CTLR_ENABLE_GROUP1 | GICD_CTLR_ENABLE_GROUP0;
    *gic_register(GICD_IGROUPR, SPI_A) |= gic_bit(SPI_A);
    set_bit_of(GICD_ICENABLER, SPI_A);
}

static void software_interrupts(void) {
    section("SGIs");
    for (unsigned intid = 0; intid < 16; intid++)
        gic_configure(intid, (uint8_t)(0x80 - 8 * (intid & 3)), true);
    WRITE(ICC_SGI1R_EL1, UINT64_C(3) << 24 | 1); /* 3 to Aff0 = 0 */
    WRITE(ICC_SGI1R_EL1, UINT64_C(9) << 24 | 1);
    WRITE(ICC_SGI1R_EL1, UINT64_C(4) << 24 | 1);
    WRITE(ICC_SGI1R_EL1, UINT64_C(5) << 24 | 2);             /* to nobody */
    WRITE(ICC_SGI1R_EL1, UINT64_C(6) << 24 | BIT(40));       /* to all others */
    WRITE(ICC_SGI1R_EL1, UINT64_C(7) << 24 | BIT(16) | 1);   /* to another cluster */
    WRITE(ICC_SGI0R_EL1, UINT64_C(8) << 24 | 1);             /* Group 0, but 8 is Group 1 */
    isb();
    print("pending %08x\n", GICR_SGI(GICD_ISPENDR));
    for (uint64_t intid; (intid = acknowledge()) != INTID_SPURIOUS;) {
        print("IAR1 %lu, pending %08x, active %08x\n", intid, GICR_SGI(GICD_ISPENDR), GICR_SGI(GICD_ISACTIVER));
        end(intid);
    }
    GICR_SGI(GICD_ISPENDR) = gic_bit(2);
    print("by GICR_ISPENDR0: IAR1 %lu\n", acknowledge());
    end(2);
    for (unsigned intid = 0; intid < 16; intid++)
        set_bit_of(GICD_ICENABLER, intid);
}

static void level_interrupts(void) {
    section("a level-sensitive PPI: the physical timer");
    gic_configure(INTID_PHYSICAL_TIMER, 0x60, true);
    WRITE(CNTP_CVAL_EL0, 0);
    WRITE(CNTP_CTL_EL0, TIMER_ENABLE);
    isb();
    show_state(INTID_PHYSICAL_TIMER);
    print("IAR1 %lu\n", acknowledge());
    show_state(INTID_PHYSICAL_TIMER);
    WRITE(CNTP_CTL_EL0, 0);
    isb();
    show_state(INTID_PHYSICAL_TIMER);
    end(INTID_PHYSICAL_TIMER);
    show_interface("ended, line low");
    WRITE(CNTP_CTL_EL0, TIMER_ENABLE);
    isb();
    print("IAR1 %lu\n", acknowledge());
    end(INTID_PHYSICAL_TIMER);
    show_interface("ended, line high");
    set_bit_of(GICD_ICPENDR, INTID_PHYSICAL_TIMER);
    show_interface("ICPENDR, line high");
    WRITE(CNTP_CTL_EL0, TIMER_ENABLE | TIMER_IMASK);
    isb();
    show_interface("masked at the timer");
    set_bit_of(GICD_ISPENDR, INTID_PHYSICAL_TIMER);
    show_interface("ISPENDR, line low");
    print("IAR1 %lu\n", acknowledge());
    end(INTID_PHYSICAL_TIMER);
    show_interface("ended");
    WRITE(CNTP_CTL_EL0, 0);
    set_bit_of(GICD_ICENABLER, INTID_PHYSICAL_TIMER);
}

SNIPPET(loop, "b .");
SNIPPET(unmask_and_count, "msr daifclr, #15; isb; mov x0, #200; 1: subs x0, x0, #1; b.ne 1b; msr daifset, #15; mov x0, #0x17");
SNIPPET(read_isr, "mrs x0, isr_el1");
SNIPPET(wfi_only, "wfi; mov x0, #0x17");

static void delivery(void) {
    section("where physical interrupts go");
    gic_configure(SPI_A, 0x80, true);
    set_bit_of(GICD_ISPENDR, SPI_A);
    WRITE(HCR_EL2, HCR_RW | HCR_IMO);
    try("IRQ, IMO", PSTATE_EL0, loop);
    try("IRQ, IMO", PSTATE_EL1H, loop);
    try("IRQ, IMO, masked at EL1", PSTATE_EL1H | PSTATE_DAIF, loop);
    try("IRQ, IMO", PSTATE_EL2H, loop);
    try("ISR_EL1", PSTATE_EL2H | PSTATE_DAIF, read_isr);
    try("WFI, masked", PSTATE_EL2H | PSTATE_DAIF, wfi_only);
    WRITE(HCR_EL2, HCR_RW);
    try("IRQ, no IMO", PSTATE_EL0, loop);
    try("IRQ, no IMO", PSTATE_EL1H, loop);
    try("IRQ, no IMO", PSTATE_EL2H, unmask_and_count);
    WRITE(HCR_EL2, HCR_RW | HCR_TGE);
    try("IRQ, TGE", PSTATE_EL0, loop);
    WRITE(HCR_EL2, HCR_RW | HCR_FMO);
    *gic_register(GICD_IGROUPR, SPI_A) &= ~gic_bit(SPI_A);
    try("FIQ, FMO", PSTATE_EL1H, loop);
    try("FIQ, FMO", PSTATE_EL2H, loop);
    try("ISR_EL1", PSTATE_EL2H | PSTATE_DAIF, read_isr);
    WRITE(HCR_EL2, HCR_RW);
    try("FIQ, no FMO", PSTATE_EL1H, loop);
    *gic_register(GICD_IGROUPR, SPI_A) |= gic_bit(SPI_A);
    set_bit_of(GICD_ICPENDR, SPI_A);
    set_bit_of(GICD_ICENABLER, SPI_A);
}

/* The virtual interface, from EL1. */
SNIPPET(v_iar1, "mrs x0, icc_iar1_el1");
SNIPPET(v_iar0, "mrs x0, icc_iar0_el1");
SNIPPET(v_eoir1, "msr icc_eoir1_el1, x1; isb");
SNIPPET(v_eoir0, "msr icc_eoir0_el1, x1; isb");
SNIPPET(v_dir, "msr icc_dir_el1, x1; isb");
SNIPPET(v_hppir1, "mrs x0, icc_hppir1_el1");
SNIPPET(v_rpr, "mrs x0, icc_rpr_el1");
SNIPPET(v_read_pmr, "mrs x0, icc_pmr_el1");
SNIPPET(v_write_pmr, "msr icc_pmr_el1, x1; isb");
SNIPPET(v_read_bpr1, "mrs x0, icc_bpr1_el1");
SNIPPET(v_write_bpr1, "msr icc_bpr1_el1, x1; isb");
SNIPPET(v_read_ctlr, "mrs x0, icc_ctlr_el1; and x0, x0, #3");
SNIPPET(v_write_ctlr, "msr icc_ctlr_el1, x1; isb");
SNIPPET(v_read_igrpen1, "mrs x0, icc_igrpen1_el1");
SNIPPET(v_write_igrpen1, "msr icc_igrpen1_el1, x1; isb");
SNIPPET(v_write_igrpen0, "msr icc_igrpen0_el1, x1; isb");
SNIPPET(v_sre, "mrs x0, icc_sre_el1");
SNIPPET(v_sgi1r, "msr icc_sgi1r_el1, x1");
SNIPPET(v_asgi1r, "msr icc_asgi1r_el1, x1");
SNIPPET(v_sgi0r, "msr icc_sgi0r_el1, x1");

static uint64_t guest(const char *snippet, uint64_t x1) {
    struct outcome outcome = run_with(PSTATE_EL1H | PSTATE_DAIF, snippet, 0, x1, 0);

    if (outcome.taken == RETURNED)
        return outcome.x[0];
    show("unexpected", &outcome);
    return ~UINT64_C(0);
}

static uint64_t guest_acknowledge(void) { return guest(v_iar1, 0); }

static void show_guest(const char *what) {
    uint64_t highest = guest(v_hppir1, 0), running = guest(v_rpr, 0);
    print("%s: HPPIR1 %lu, RPR %02lx\n", what, highest, running);
}

static void show_guest_controls(void) {
    uint64_t pmr = guest(v_read_pmr, 0), point = guest(v_read_bpr1, 0), control = guest(v_read_ctlr, 0);
    print("PMR %02lx, BPR1 %lx, CTLR %lx, IGRPEN1 %lx; ICH_VMCR_EL2 %08lx\n", pmr, point, control,
          guest(v_read_igrpen1, 0), READ(ICH_VMCR_EL2));
}

static uint64_t read_lr(unsigned n) {
    return n == 0 ? READ(ICH_LR0_EL2) : n == 1 ? READ(ICH_LR1_EL2) : n == 2 ? READ(ICH_LR2_EL2) : READ(ICH_LR3_EL2);
}

static void write_lr(unsigned n, uint64_t value) {
    switch (n) {
    case 0: WRITE(ICH_LR0_EL2, value); break;
    case 1: WRITE(ICH_LR1_EL2, value); break;
    case 2: WRITE(ICH_LR2_EL2, value); break;
    case 3: WRITE(ICH_LR3_EL2, value); break;
    }
    isb();
}

static const char *const state_names[] = {"inactive", "pending", "active", "pending and active"};

static void show_lists(const char *what) {
    print("%s:", what);
    for (unsigned n = 0; n < 4; n++)
        print(" LR%u %s%s", n, state_names[ICH_LR_STATE(read_lr(n))], n < 3 ? "," : "");
    print("; EISR %lx, ELRSR %lx, MISR %lx, AP1R0 %lx\n", READ(ICH_EISR_EL2), READ(ICH_ELRSR_EL2), READ(ICH_MISR_EL2),
          READ(ICH_AP1R0_EL2));
}

static void virtual_section(const char *title) {
    section(title);
    WRITE(HCR_EL2, HCR_RW | HCR_IMO | HCR_FMO);
    WRITE(ICH_HCR_EL2, ICH_HCR_EN);
    WRITE(ICH_VMCR_EL2, 0);
    WRITE(ICH_AP0R0_EL2, 0);
    WRITE(ICH_AP1R0_EL2, 0);
    isb();
    for (unsigned n = 0; n < 4; n++)
        write_lr(n, 0);
    guest(v_write_pmr, 0xff);
    guest(v_write_igrpen1, 1);
    guest(v_write_bpr1, 0);
}

static uint64_t pending(unsigned intid, unsigned priority) {
    return ICH_LR_PENDING | ICH_LR_GROUP1 | ICH_LR_PRIORITY(priority) | ICH_LR_VIRTUAL(intid);
}

static void virtual_interrupts(void) {
    virtual_section("virtual interface: registers and ICH_VMCR_EL2");
    show_guest_controls();
    print("SRE %lx\n", guest(v_sre, 0));
    guest(v_write_pmr, 0xa8);
    guest(v_write_bpr1, 5);
    guest(v_write_ctlr, 2);
    guest(v_write_igrpen0, 1);
    show_guest_controls();
    WRITE(ICH_VMCR_EL2, UINT64_C(0x50) << 24 | 6 << 21 | 3 << 18 | 2);
    isb();
    show_guest_controls();
    print("nothing listed: IAR1 %lu\n", guest_acknowledge());
    show_guest("nothing listed");

    virtual_section("virtual interface: one interrupt");
    write_lr(0, pending(27, 0x80));
    show_lists("pending");
    try("not masked", PSTATE_EL1H, loop);
    try("not masked", PSTATE_EL0, loop);
    try("not masked", PSTATE_EL2H, unmask_and_count);
    try("ISR_EL1", PSTATE_EL1H | PSTATE_DAIF, read_isr);
    guest(v_write_pmr, 0x80);
    show_guest("PMR 80");
    print("IAR1 %lu\n", guest_acknowledge());
    guest(v_write_pmr, 0xf8);
    guest(v_write_igrpen1, 0);
    show_guest("IGRPEN1 0");
    print("IAR1 %lu\n", guest_acknowledge());
    guest(v_write_igrpen1, 1);
    WRITE(ICH_HCR_EL2, 0);
    isb();
    try("ICH_HCR_EL2.En 0", PSTATE_EL1H, unmask_and_count);
    WRITE(ICH_HCR_EL2, ICH_HCR_EN);
    isb();
    print("IAR1 %lu\n", guest_acknowledge());
    show_guest("active");
    show_lists("acknowledged");
    guest(v_eoir1, 27);
    show_lists("ended");
    show_guest("ended");

    virtual_section("virtual interface: four list registers, priorities, preemption");
    write_lr(0, pending(40, 0xa0));
    write_lr(1, pending(41, 0x60));
    write_lr(2, pending(42, 0xa0));
    write_lr(3, pending(1019, 0x20));
    print("IAR1 %lu\n", guest_acknowledge());
    show_guest("active");
    print("IAR1 %lu\n", guest_acknowledge());
    show_lists("one acknowledged");
    guest(v_eoir1, 1019);
    show_lists("ended");
    print("IAR1 %lu\n", guest_acknowledge());
    write_lr(3, pending(43, 0x40));
    print("IAR1 %lu\n", guest_acknowledge());
    show_guest("active");
    show_lists("preempted");
    guest(v_eoir1, 43);
    guest(v_eoir1, 41);
    print("IAR1 %lu\n", guest_acknowledge());
    guest(v_eoir1, 40);
    print("IAR1 %lu\n", guest_acknowledge());
    guest(v_eoir1, 42);
    show_lists("all ended");

    virtual_section("virtual interface: binary point");
    for (unsigned point = 0; point < 8; point++) {
        guest(v_write_bpr1, point);
        write_lr(0, pending(50, 0x90));
        guest(v_iar1, 0);
        print("BPR1 %u reads %lu:", point, guest(v_read_bpr1, 0));
        for (unsigned priority = 0x88; priority > 0x40; priority -= 0x18) {
            write_lr(1, pending(51, priority));
            uint64_t intid = guest(v_iar1, 0);
            print(" %02x %s", priority, intid == 51 ? "yes" : "no");
            if (intid == 51)
                guest(v_eoir1, 51);
            write_lr(1, 0);
        }
        guest(v_eoir1, 50);
        print("\n");
    }

    virtual_section("virtual interface: EOImode 1");
    guest(v_write_ctlr, 2);
    write_lr(0, pending(60, 0x80));
    print("IAR1 %lu\n", guest_acknowledge());
    guest(v_eoir1, 60);
    show_lists("EOIR1");
    guest(v_dir, 60);
    show_lists("DIR");
    guest(v_write_ctlr, 0);

    virtual_section("virtual interface: pending and active");
    write_lr(0, pending(61, 0x80) | ICH_LR_ACTIVE);
    WRITE(ICH_AP1R0_EL2, 0x10000);
    isb();
    show_lists("listed");
    print("IAR1 %lu\n", guest_acknowledge());
    guest(v_eoir1, 61);
    show_lists("ended");
    print("IAR1 %lu\n", guest_acknowledge());
    guest(v_eoir1, 61);
    guest(v_eoir1, 99); /* listed nowhere */
    show_lists("ended, and one that is listed nowhere");
    print("ICH_HCR_EL2.EOIcount %u\n", (unsigned)FIELD(READ(ICH_HCR_EL2), 31, 27));

    virtual_section("virtual interface: Group 0");
    guest(v_write_igrpen0, 1);
    write_lr(0, pending(70, 0x80) & ~ICH_LR_GROUP1);
    try("FIQ, not masked", PSTATE_EL1H, loop);
    print("IAR1 %lu\n", guest_acknowledge());
    print("IAR0 %lu\n", guest(v_iar0, 0));
    print("AP0R0 %lx\n", READ(ICH_AP0R0_EL2));
    guest(v_eoir0, 70);
    show_lists("ended");
    guest(v_write_igrpen0, 0);
}

static void hardware_interrupts(void) {
    virtual_section("virtual interface: HW, a list register with a physical interrupt");
    gic_configure(SPI_A, 0x80, true);
    configure_edge(SPI_A, true);
    WRITE(ICC_CTLR_EL1, 2); /* EL2 only drops the priority */
    isb();
    set_bit_of(GICD_ISPENDR, SPI_A);
    print("physical IAR1 %lu\n", acknowledge());
    end(SPI_A);
    show_state(SPI_A);
    write_lr(0, pending(80, 0x80) | ICH_LR_HW | ICH_LR_PHYSICAL(SPI_A));
    print("virtual IAR1 %lu\n", guest(v_iar1, 0));
    show_state(SPI_A);
    guest(v_eoir1, 80);
    show_lists("ended by the guest");
    show_state(SPI_A);
    WRITE(ICC_CTLR_EL1, 0);
    isb();
    set_bit_of(GICD_ICENABLER, SPI_A);
}

static void maintenance(void) {
    virtual_section("maintenance interrupts");
    gic_configure(INTID_MAINTENANCE, 0x20, false); /* watched by its pending bit, so that it does not interrupt the guest */
    show_lists("nothing asked for");
    show_state(INTID_MAINTENANCE);
    WRITE(ICH_HCR_EL2, ICH_HCR_EN | ICH_HCR_UIE);
    isb();
    show_lists("UIE, all empty");
    show_state(INTID_MAINTENANCE);
    set_bit_of(GICD_ISENABLER, INTID_MAINTENANCE);
    print("physical IAR1 %lu\n", acknowledge());
    set_bit_of(GICD_ICENABLER, INTID_MAINTENANCE);
    write_lr(0, pending(40, 0x80));
    show_lists("UIE, one listed");
    write_lr(1, pending(41, 0x88));
    show_lists("UIE, two listed");
    end(INTID_MAINTENANCE);
    show_state(INTID_MAINTENANCE);
    print("IAR1 %lu\n", guest_acknowledge());
    guest(v_eoir1, 40);
    show_lists("UIE, the guest has ended one");
    set_bit_of(GICD_ISENABLER, INTID_MAINTENANCE);
    try("the guest runs, IRQ to EL2", PSTATE_EL1H, loop);
    set_bit_of(GICD_ICENABLER, INTID_MAINTENANCE);
    WRITE(ICH_HCR_EL2, ICH_HCR_EN | ICH_HCR_NPIE);
    isb();
    show_lists("NPIE, one pending");
    print("IAR1 %lu\n", guest_acknowledge());
    show_lists("NPIE, none pending");
    guest(v_eoir1, 41);
    WRITE(ICH_HCR_EL2, ICH_HCR_EN);
    write_lr(2, pending(44, 0x80) | ICH_LR_EOI);
    print("IAR1 %lu\n", guest_acknowledge());
    show_lists("EOI asked for, active");
    guest(v_eoir1, 44);
    show_lists("EOI asked for, ended");
    show_state(INTID_MAINTENANCE);
    write_lr(2, 0);
    show_lists("list register cleared");
    WRITE(ICH_HCR_EL2, ICH_HCR_EN | ICH_HCR_LRENPIE);
    isb();
    WRITE(ICH_AP1R0_EL2, 0x10000);
    guest(v_eoir1, 99);
    show_lists("LRENPIE, end of one that is not listed");
    print("ICH_HCR_EL2 %lx\n", READ(ICH_HCR_EL2));
    /* VGrp0EIE, VGrp1EIE, VGrp1DIE; not VGrp0DIE, for which QEMU 7.2 looks at the enable of Group 1. */
    WRITE(ICH_HCR_EL2, ICH_HCR_EN | BIT(4) | BIT(6) | BIT(7));
    isb();
    show_lists("Group 0 off, Group 1 on");
    guest(v_write_igrpen1, 0);
    guest(v_write_igrpen0, 1);
    show_lists("Group 0 on, Group 1 off");
    WRITE(ICH_HCR_EL2, 0);
    isb();
}

static void traps(void) {
    virtual_section("traps");
    try_with("MSR ICC_SGI1R_EL1, IMO", PSTATE_EL1H, v_sgi1r, 0, 1, 0);
    try_with("MSR ICC_ASGI1R_EL1, IMO", PSTATE_EL1H, v_asgi1r, 0, 1, 0);
    try_with("MSR ICC_SGI0R_EL1, FMO", PSTATE_EL1H, v_sgi0r, 0, 1, 0);
    WRITE(ICH_HCR_EL2, ICH_HCR_EN | ICH_HCR_TALL1);
    isb();
    try("MRS ICC_IAR1_EL1, TALL1", PSTATE_EL1H, v_iar1);
    try("MSR ICC_EOIR1_EL1, TALL1", PSTATE_EL1H, v_eoir1);
    try("MRS ICC_BPR1_EL1, TALL1", PSTATE_EL1H, v_read_bpr1);
    try("MRS ICC_HPPIR1_EL1, TALL1", PSTATE_EL1H, v_hppir1);
    try("MSR ICC_IGRPEN1_EL1, TALL1", PSTATE_EL1H, v_write_igrpen1);
    try("MRS ICC_IAR0_EL1, TALL1", PSTATE_EL1H, v_iar0);
    WRITE(ICH_HCR_EL2, ICH_HCR_EN | ICH_HCR_TALL0);
    isb();
    try("MRS ICC_IAR0_EL1, TALL0", PSTATE_EL1H, v_iar0);
    try("MSR ICC_IGRPEN0_EL1, TALL0", PSTATE_EL1H, v_write_igrpen0);
    try("MRS ICC_IAR1_EL1, TALL0", PSTATE_EL1H, v_iar1);
    WRITE(ICH_HCR_EL2, ICH_HCR_EN | ICH_HCR_TC);
    isb();
    try("MRS ICC_PMR_EL1, TC", PSTATE_EL1H, v_read_pmr);
    try("MRS ICC_RPR_EL1, TC", PSTATE_EL1H, v_rpr);
    try("MSR ICC_CTLR_EL1, TC", PSTATE_EL1H, v_write_ctlr);
    try("MSR ICC_DIR_EL1, TC", PSTATE_EL1H, v_dir);
    try("MRS ICC_IAR1_EL1, TC", PSTATE_EL1H, v_iar1);
    try("MRS ICC_IAR1_EL1", PSTATE_EL0, v_iar1);
    WRITE(ICH_HCR_EL2, 0);
    isb();
    /* QEMU ignores writes of ICC_SRE_EL2.Enable, so that its trap has no case here. */
}

void program(void) {
    world_reset();
    gic_init();
    identification();
    shared_interrupts();
    priorities();
    groups();
    software_interrupts();
    level_interrupts();
    delivery();
    virtual_interrupts();
    hardware_interrupts();
    maintenance();
    traps();
}
