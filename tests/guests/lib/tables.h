/*
 * A builder of translation tables (DDI 0487 "The AArch64 Virtual Memory System Architecture"): any granule, any start
 * level, stage 1 or stage 2. It only finds the place of a descriptor and makes the tables above it; what a
 * descriptor says is the caller's business, so that a test can also write nonsense.
 */
#ifndef GUESTS_TABLES_H
#define GUESTS_TABLES_H

#include "arch.h"

struct tables {
    uint64_t *root;
    unsigned granule_bits; /* 12, 14 or 16 */
    unsigned start_level;
    unsigned input_bits; /* size of the input address space */
};

/* Descriptor types and attributes. */
#define DESC_INVALID UINT64_C(0)
#define DESC_BLOCK UINT64_C(1)
#define DESC_TABLE UINT64_C(3)
#define DESC_PAGE UINT64_C(3)
#define DESC_ATTR(index) ((uint64_t)(index) << 2)
#define DESC_NS BIT(5)
#define DESC_AP_EL0 BIT(6)
#define DESC_AP_RO BIT(7)
#define DESC_SH_INNER (UINT64_C(3) << 8)
#define DESC_AF BIT(10)
#define DESC_NG BIT(11)
#define DESC_DBM BIT(51)
#define DESC_CONTIGUOUS BIT(52)
#define DESC_PXN BIT(53)
#define DESC_UXN BIT(54)
#define DESC_XN BIT(54) /* in a regime with one exception level, and at stage 2 */
#define TABLE_PXN BIT(59)
#define TABLE_UXN BIT(60)
#define TABLE_XN BIT(60)
#define TABLE_AP_NO_EL0 BIT(61)
#define TABLE_AP_RO BIT(62)
#define S2_ATTR_NORMAL (UINT64_C(0xf) << 2)
#define S2_ATTR_DEVICE (UINT64_C(0x1) << 2)
#define S2_AP_READ BIT(6)
#define S2_AP_WRITE BIT(7)

/* The memory attributes all programs use: index 0 is Device-nGnRnE, index 1 Normal write-back. */
#define MAIR_VALUE UINT64_C(0x000000000000ff00)
#define ATTR_DEVICE DESC_ATTR(0)
#define ATTR_NORMAL (DESC_ATTR(1) | DESC_SH_INNER)

/* Pages for tables and tests come from here, cleared; there is no way back. */
void pages_init(void *start, void *end);
void *pages_allocate(size_t size, size_t alignment);

void tables_init(struct tables *tables, unsigned granule_bits, unsigned input_bits);
/* As above, but a start level chosen by the caller: at stage 2 up to 16 tables stand side by side. */
void tables_init_at(struct tables *tables, unsigned granule_bits, unsigned input_bits, unsigned start_level);

/* The descriptor of `address` at `level`; missing tables on the way are made. NULL: a block is in the way. */
uint64_t *tables_descriptor(const struct tables *tables, uint64_t address, unsigned level);

/* Map a range, by the largest blocks that fit. `attributes` are the bits of the leaf descriptor without its type. */
void tables_map(const struct tables *tables, uint64_t address, uint64_t output, uint64_t size, uint64_t attributes);

/* Bits of address that one descriptor of a level covers. */
static inline unsigned tables_level_bits(const struct tables *tables, unsigned level) {
    return tables->granule_bits + (3 - level) * (tables->granule_bits - 3);
}

#endif
