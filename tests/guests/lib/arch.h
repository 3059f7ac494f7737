/*
 * The few architectural words every guest program needs: access to system registers, barriers, fields of the registers
 * that several programs share. Names and values are those of DDI 0487 ("AArch64 System Register Descriptions").
 */
#ifndef GUESTS_ARCH_H
#define GUESTS_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The name of a system register is text for the assembler, so a register it does not know is S<op0>_<op1>_C<n>_C<m>_<op2>. */
#define READ(reg)                                                    \
    ({                                                               \
        uint64_t value_;                                             \
        asm volatile("mrs %0, " #reg : "=r"(value_) : : "memory");   \
        value_;                                                      \
    })
#define WRITE(reg, value) asm volatile("msr " #reg ", %x0" : : "rZ"((uint64_t)(value)) : "memory")

static inline void isb(void) { asm volatile("isb" : : : "memory"); }
static inline void dsb(void) { asm volatile("dsb sy" : : : "memory"); }
static inline void wfi(void) { asm volatile("wfi" : : : "memory"); }

#define BIT(n) (UINT64_C(1) << (n))
#define FIELD(value, high, low) (((uint64_t)(value) >> (low)) & (BIT((high) - (low)) * 2 - 1))

#define ARRAY_LENGTH(a) (sizeof(a) / sizeof((a)[0]))

/* HCR_EL2, "Hypervisor Configuration Register". */
#define HCR_VM BIT(0)
#define HCR_SWIO BIT(1)
#define HCR_PTW BIT(2)
#define HCR_FMO BIT(3)
#define HCR_IMO BIT(4)
#define HCR_AMO BIT(5)
#define HCR_VF BIT(6)
#define HCR_VI BIT(7)
#define HCR_VSE BIT(8)
#define HCR_DC BIT(12)
#define HCR_TWI BIT(13)
#define HCR_TWE BIT(14)
#define HCR_TID0 BIT(15)
#define HCR_TID1 BIT(16)
#define HCR_TID2 BIT(17)
#define HCR_TID3 BIT(18)
#define HCR_TSC BIT(19)
#define HCR_TIDCP BIT(20)
#define HCR_TACR BIT(21)
#define HCR_TSW BIT(22)
#define HCR_TPC BIT(23)
#define HCR_TPU BIT(24)
#define HCR_TTLB BIT(25)
#define HCR_TVM BIT(26)
#define HCR_TGE BIT(27)
#define HCR_TDZ BIT(28)
#define HCR_HCD BIT(29)
#define HCR_TRVM BIT(30)
#define HCR_RW BIT(31)
#define HCR_CD BIT(32)
#define HCR_ID BIT(33)
#define HCR_E2H BIT(34)
#define HCR_TLOR BIT(35)

/* SCTLR_ELx. The RES1 values are those of Armv8.0. */
#define SCTLR_M BIT(0)
#define SCTLR_A BIT(1)
#define SCTLR_C BIT(2)
#define SCTLR_SA BIT(3)
#define SCTLR_SA0 BIT(4)
#define SCTLR_UMA BIT(9)
#define SCTLR_I BIT(12)
#define SCTLR_DZE BIT(14)
#define SCTLR_UCT BIT(15)
#define SCTLR_NTWI BIT(16)
#define SCTLR_NTWE BIT(18)
#define SCTLR_WXN BIT(19)
#define SCTLR_SPAN BIT(23)
#define SCTLR_UCI BIT(26)
#define SCTLR_EL1_RES1 (BIT(11) | BIT(20) | BIT(22) | BIT(23) | BIT(28) | BIT(29))
#define SCTLR_EL2_RES1 \
    (BIT(4) | BIT(5) | BIT(11) | BIT(16) | BIT(18) | BIT(22) | BIT(23) | BIT(28) | BIT(29))

/* CPTR_EL2 without VHE: these bits are RES1, TFP traps Advanced SIMD and floating point. */
#define CPTR_EL2_RES1 UINT64_C(0x33ff)
#define CPTR_EL2_TFP BIT(10)

/* PSTATE as SPSR_ELx holds it. */
#define PSTATE_EL0 UINT64_C(0x0)
#define PSTATE_EL1T UINT64_C(0x4)
#define PSTATE_EL1H UINT64_C(0x5)
#define PSTATE_EL2T UINT64_C(0x8)
#define PSTATE_EL2H UINT64_C(0x9)
#define PSTATE_F BIT(6)
#define PSTATE_I BIT(7)
#define PSTATE_A BIT(8)
#define PSTATE_D BIT(9)
#define PSTATE_DAIF (PSTATE_D | PSTATE_A | PSTATE_I | PSTATE_F)

/* ESR_ELx: exception class, instruction length, syndrome. */
#define ESR_EC(esr) ((unsigned)FIELD(esr, 31, 26))
#define ESR_ISS(esr) ((uint32_t)FIELD(esr, 24, 0))
#define EC_UNKNOWN 0x00
#define EC_WFX 0x01
#define EC_FP 0x07
#define EC_ILLEGAL_STATE 0x0e
#define EC_SVC 0x15
#define EC_HVC 0x16
#define EC_SMC 0x17
#define EC_SYSREG 0x18
#define EC_INSTRUCTION_ABORT_LOWER 0x20
#define EC_INSTRUCTION_ABORT 0x21
#define EC_PC_ALIGNMENT 0x22
#define EC_DATA_ABORT_LOWER 0x24
#define EC_DATA_ABORT 0x25
#define EC_SP_ALIGNMENT 0x26
#define EC_SERROR 0x2f
#define EC_BRK 0x3c

/* CNTx_CTL_ELx. */
#define TIMER_ENABLE BIT(0)
#define TIMER_IMASK BIT(1)
#define TIMER_ISTATUS BIT(2)

/* Interrupt numbers of QEMU's `virt` board. */
#define INTID_MAINTENANCE 25
#define INTID_HYP_TIMER 26
#define INTID_VIRTUAL_TIMER 27
#define INTID_HYP_VIRTUAL_TIMER 28
#define INTID_PHYSICAL_TIMER 30
#define INTID_SPURIOUS 1023

#endif
