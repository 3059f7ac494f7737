/*
 * Runs every kernel twice, a little and then for real, and prints for each "bench NAME CHECKSUM TICKS", ticks of the
 * virtual counter. Under QEMU with -icount shift=0 a tick of 16 ns is 16 instructions, which counts them.
 */
#include "kernels.h"

static const struct {
    const char *name;
    kernel_function *run;
    uint64_t rounds;
} KERNELS[] = {
    { "int/crc32", crc32, 300 },
    { "int/memcpy", copy, 10000 },
    { "int/list-walk", list_walk, 40000 },
    { "int/matmul", matmul, 120 },
    { "int/switch", bytecode, 12000 },
    { "int/string-hash", string_hash, 1000 },
    { "int/fibonacci", fibonacci, 800 },
    { "int/function-pointers", calls, 15000 },
    { "int/quicksort", quicksort, 150 },
    { "int/pointer-chase", pointer_chase, 100 },
    { "fp/nbody", nbody, 150000 },
    { "fp/mandelbrot", mandelbrot, 80 },
    { "fp/spectral-norm", spectral_norm, 2000 },
    { "switch/hypercall", hypercalls, 1000000 },
    { "switch/system-call", system_calls, 1000000 },
};

static void put(char c)
{
    volatile uint32_t *const uart = (volatile uint32_t *)0x09000000;
    while (uart[6] & 1u << 5)
        ;
    uart[0] = c;
}

static void print(const char *text)
{
    while (*text)
        put(*text++);
}

static void print_number(uint64_t value, unsigned base)
{
    char digits[21], *at = digits + 20;
    *at = 0;
    do {
        *--at = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    print(at);
}

static uint64_t ticks(void)
{
    uint64_t value;
    __asm__ volatile("isb\n\tmrs %0, cntvct_el0" : "=r"(value) : : "memory");
    return value;
}

void failed(uint64_t esr, uint64_t elr);
void failed(uint64_t esr, uint64_t elr)
{
    print("bench failed: exception ");
    print_number(esr, 16);
    print(" at ");
    print_number(elr, 16);
    put('\n');
}

void main(void)
{
    *(volatile uint32_t *)0x09000030 = 0x301; // UARTCR: enabled, both directions
    for (size_t i = 0; i < sizeof KERNELS / sizeof KERNELS[0]; i++) {
        KERNELS[i].run(KERNELS[i].rounds / 20 + 1);
        uint64_t start = ticks(), checksum = KERNELS[i].run(KERNELS[i].rounds), end = ticks();
        print("bench ");
        print(KERNELS[i].name);
        put(' ');
        print_number(checksum, 16);
        put(' ');
        print_number(end - start, 10);
        put('\n');
    }
    print("bench done\n");
}
