/* GICv3; see gic.h. */
#include "gic.h"

volatile uint32_t *gic_register(uint32_t offset, unsigned intid) {
    uintptr_t base = intid < 32 ? GICR_SGI_BASE : GICD_BASE;
    return (volatile uint32_t *)(base + offset + 4 * (intid / 32));
}

void gic_configure(unsigned intid, uint8_t priority, bool enabled) {
    uintptr_t base = intid < 32 ? GICR_SGI_BASE : GICD_BASE;

    *gic_register(GICD_IGROUPR, intid) |= gic_bit(intid);
    *(volatile uint8_t *)(base + GICD_IPRIORITYR + intid) = priority;
    *gic_register(enabled ? GICD_ISENABLER : GICD_ICENABLER, intid) = gic_bit(intid);
}

void gic_init(void) {
    /* System registers, not the memory-mapped interface; and EL1 may use them too (SRE, DFB, DIB, Enable). */
    WRITE(ICC_SRE_EL2, 0xf);
    isb();
    WRITE(ICC_SRE_EL1, 0x7);
    isb();

    GICD(GICD_CTLR) = GICD_CTLR_ARE;
    GICD(GICD_CTLR) = GICD_CTLR_ARE | GICD_CTLR_ENABLE_GROUP1;
    while (GICD(GICD_CTLR) & GICD_CTLR_RWP) {
    }
    GICR(GICR_WAKER) &= ~GICR_WAKER_PROCESSOR_SLEEP;
    while (GICR(GICR_WAKER) & GICR_WAKER_CHILDREN_ASLEEP) {
    }
    GICR_SGI(GICD_ICENABLER) = 0xffffffff;
    GICR_SGI(GICD_IGROUPR) = 0xffffffff;

    WRITE(ICC_PMR_EL1, 0xff);
    WRITE(ICC_BPR1_EL1, 0);
    WRITE(ICC_CTLR_EL1, 0);
    WRITE(ICC_IGRPEN1_EL1, 1);
    isb();
}
