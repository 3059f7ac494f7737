/* Translation tables; see tables.h. */
#include "tables.h"

#include "memory.h"

/* Where free memory is. One per program, since each is alone on its machine. */
static struct {
    uintptr_t next, end;
} pages;

void pages_init(void *start, void *end) {
    pages.next = (uintptr_t)start;
    pages.end = (uintptr_t)end;
}

void *pages_allocate(size_t size, size_t alignment) {
    uintptr_t start = (pages.next + alignment - 1) & ~(alignment - 1);

    if (start + size > pages.end)
        return NULL;
    pages.next = start + size;
    /* Word by word: this runs before any MMU is on, on memory that may be far larger than a few pages. */
    for (uint64_t *word = (uint64_t *)start; word < (uint64_t *)(start + size); word++)
        *word = 0;
    return (void *)start;
}

void tables_init_at(struct tables *tables, unsigned granule_bits, unsigned input_bits, unsigned start_level) {
    tables->granule_bits = granule_bits;
    tables->input_bits = input_bits;
    tables->start_level = start_level;

    size_t entries = BIT(input_bits - tables_level_bits(tables, start_level));
    size_t size = entries * sizeof(uint64_t);
    tables->root = pages_allocate(size, size < 64 ? 64 : size);
}

void tables_init(struct tables *tables, unsigned granule_bits, unsigned input_bits) {
    unsigned level = 3;

    for (unsigned bits = 2 * granule_bits - 3; bits < input_bits; bits += granule_bits - 3)
        level--;
    tables_init_at(tables, granule_bits, input_bits, level);
}

uint64_t *tables_descriptor(const struct tables *tables, uint64_t address, unsigned level) {
    uint64_t offset = address & (BIT(tables->input_bits) - 1);
    uint64_t *table = tables->root;
    uint64_t index = offset >> tables_level_bits(tables, tables->start_level);

    for (unsigned at = tables->start_level; at < level; at++) {
        uint64_t *descriptor = &table[index];

        if (*descriptor == DESC_INVALID) {
            void *next = pages_allocate(BIT(tables->granule_bits), BIT(tables->granule_bits));
            *descriptor = (uint64_t)next | DESC_TABLE;
        } else if ((*descriptor & 3) != DESC_TABLE) {
            return NULL;
        }
        table = (uint64_t *)(*descriptor & (BIT(48) - BIT(tables->granule_bits)));
        index = (offset >> tables_level_bits(tables, at + 1)) & (BIT(tables->granule_bits - 3) - 1);
    }
    return &table[index];
}

void tables_map(const struct tables *tables, uint64_t address, uint64_t output, uint64_t size, uint64_t attributes) {
    /* The 4 KB granule has blocks at levels 1 and 2, the others at level 2 only. */
    unsigned first_block_level = tables->granule_bits == 12 ? 1 : 2;

    if (first_block_level < tables->start_level)
        first_block_level = tables->start_level;
    while (size > 0) {
        unsigned level = first_block_level;
        while (level < 3 && ((address | output) & (BIT(tables_level_bits(tables, level)) - 1)))
            level++;
        while (level < 3 && size < BIT(tables_level_bits(tables, level)))
            level++;
        uint64_t step = BIT(tables_level_bits(tables, level));
        *tables_descriptor(tables, address, level) = output | attributes | (level == 3 ? DESC_PAGE : DESC_BLOCK);
        address += step;
        output += step;
        size = size > step ? size - step : 0;
    }
}
