/*
 * Translation for the programs that test it. In the regime EL1&0 one half of the address space runs the snippets and the
 * other is the one under test, so that nothing written there can take the ground from under the test:
 *
 *   upper half, TTBR1: program and stacks at UPPER + physical address, 4 KB granule, for EL0 and EL1;
 *   lower half, TTBR0: under test.
 *
 * Memory to look at is "planted": a word at a physical address that holds this address, so that a load shows where a
 * translation ended.
 */
#ifndef GUESTS_REGIMES_H
#define GUESTS_REGIMES_H

#include "../../lib/tables.h"
#include "harness.h"

#define UPPER UINT64_C(0xffff000000000000)
#define RAM_END 0x48000000UL

/* TCR_EL1 fields. */
#define TCR_T0SZ(bits) ((uint64_t)(64 - (bits)))
#define TCR_T1SZ(bits) ((uint64_t)(64 - (bits)) << 16)
#define TCR_EPD0 BIT(7)
#define TCR_EPD1 BIT(23)
#define TCR_A1 BIT(22)
#define TCR_AS BIT(36)
#define TCR_TBI0 BIT(37)
#define TCR_TBI1 BIT(38)
#define TCR_HA BIT(39)
#define TCR_HD BIT(40)
#define TCR_IPS_MASK (UINT64_C(7) << 32)
#define TCR_IPS_40 (UINT64_C(2) << 32)
#define TCR_WALKS0 (3 << 12 | 1 << 10 | 1 << 8)
#define TCR_WALKS1 (3 << 28 | 1 << 26 | 1 << 24)

/* Fields of a page that both levels may use in every way that is possible: RW, AF, normal memory. */
#define PAGE_ALL (DESC_AF | DESC_AP_EL0 | ATTR_NORMAL)

uint64_t tcr_tg0(unsigned granule_bits);
uint64_t tcr_tg1(unsigned granule_bits);

/* The program for EL0 and EL1 at `offset` + physical address in `tables`. */
void map_program(const struct tables *tables, uint64_t offset);
/* Stage 1 of EL1&0 on, with `lower` under test; `tcr` and `sctlr` are added to what is usual. */
void stage1_on(const struct tables *lower, uint64_t tcr, uint64_t sctlr);
/* Everything cached is forgotten. */
void forget_all(void);

/* Make the word at a physical address tell where it is. */
void plant(uint64_t physical);
/* A page of memory, planted. */
uint64_t planted_page(uint64_t alignment);

extern const char load_x1[], store_x1[], call_x1[], load_byte_x1[];

/* A load, store or jump at an address; one line. */
void show_load(const char *name, uint64_t pstate, uint64_t address);
void show_store(const char *name, uint64_t pstate, uint64_t address);
void show_jump(const char *name, uint64_t pstate, uint64_t address);

/* "rwx" with `-` for what is refused by a permission fault of `level`, `?` for any other end. */
struct rights {
    char text[4];
};
struct rights rights_of(uint64_t pstate, uint64_t address, unsigned level);

#endif
