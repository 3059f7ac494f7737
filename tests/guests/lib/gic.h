/* GICv3 (IHI 0069) of the `virt` board, as software at EL2 or EL1 without EL3 sees it: one security state. */
#ifndef GUESTS_GIC_H
#define GUESTS_GIC_H

#include "arch.h"

#define GICD_BASE 0x08000000UL
#define GICR_BASE 0x080a0000UL
#define GICR_SGI_BASE (GICR_BASE + 0x10000)

#define GICD(offset) (*(volatile uint32_t *)(GICD_BASE + (offset)))
#define GICD64(offset) (*(volatile uint64_t *)(GICD_BASE + (offset)))
#define GICR(offset) (*(volatile uint32_t *)(GICR_BASE + (offset)))
#define GICR_SGI(offset) (*(volatile uint32_t *)(GICR_SGI_BASE + (offset)))

#define GICD_CTLR 0x0000
#define GICD_TYPER 0x0004
#define GICD_IIDR 0x0008
#define GICD_IGROUPR 0x0080
#define GICD_ISENABLER 0x0100
#define GICD_ICENABLER 0x0180
#define GICD_ISPENDR 0x0200
#define GICD_ICPENDR 0x0280
#define GICD_ISACTIVER 0x0300
#define GICD_ICACTIVER 0x0380
#define GICD_IPRIORITYR 0x0400
#define GICD_ICFGR 0x0c00
#define GICD_IROUTER 0x6000
#define GICD_PIDR2 0xffe8

#define GICD_CTLR_ENABLE_GROUP0 (1u << 0)
#define GICD_CTLR_ENABLE_GROUP1 (1u << 1)
#define GICD_CTLR_ARE (1u << 4)
#define GICD_CTLR_DS (1u << 6)
#define GICD_CTLR_RWP (1u << 31)

#define GICR_CTLR 0x0000
#define GICR_TYPER 0x0008
#define GICR_WAKER 0x0014
#define GICR_WAKER_PROCESSOR_SLEEP (1u << 1)
#define GICR_WAKER_CHILDREN_ASLEEP (1u << 2)

/* Bits of list registers and the hypervisor control register. */
#define ICH_HCR_EN BIT(0)
#define ICH_HCR_UIE BIT(1)
#define ICH_HCR_LRENPIE BIT(2)
#define ICH_HCR_NPIE BIT(3)
#define ICH_HCR_TC BIT(10)
#define ICH_HCR_TALL0 BIT(11)
#define ICH_HCR_TALL1 BIT(12)
#define ICH_LR_PENDING BIT(62)
#define ICH_LR_ACTIVE BIT(63)
#define ICH_LR_STATE(lr) ((unsigned)FIELD(lr, 63, 62))
#define ICH_LR_HW BIT(61)
#define ICH_LR_GROUP1 BIT(60)
#define ICH_LR_EOI BIT(41) /* without HW: a maintenance interrupt when it ends */
#define ICH_LR_PRIORITY(priority) ((uint64_t)(priority) << 48)
#define ICH_LR_PHYSICAL(intid) ((uint64_t)(intid) << 32)
#define ICH_LR_VIRTUAL(intid) ((uint64_t)(intid))

/* Distributor and this CPU's redistributor on, everything Group 1 and masked; the CPU interface takes any priority. */
void gic_init(void);
/* One interrupt of Group 1: its priority (0 is highest), and whether it may be forwarded. */
void gic_configure(unsigned intid, uint8_t priority, bool enabled);

/* The banked view: interrupts below 32 belong to the redistributor. */
volatile uint32_t *gic_register(uint32_t offset, unsigned intid);
static inline uint32_t gic_bit(unsigned intid) { return 1u << (intid % 32); }

#endif
