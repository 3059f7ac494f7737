/* What a user program at EL0 may ask its kernel, and where it lies. */
#ifndef TWO_GUESTS_USER_H
#define TWO_GUESTS_USER_H

#include <stdint.h>

#define USER_BASE 0x400000
#define USER_STACK 0x800000

#define SVC_EXIT 0
#define SVC_PRINT 1

static inline void __attribute__((always_inline, noreturn)) user_exit(uint64_t status) {
    register uint64_t x0 asm("x0") = status;
    asm volatile("svc %1" : : "r"(x0), "i"(SVC_EXIT) : "memory");
    __builtin_unreachable();
}

/* A format with up to two 64-bit numbers. */
static inline void __attribute__((always_inline)) user_print(const char *format, uint64_t first, uint64_t second) {
    register uint64_t x0 asm("x0") = (uint64_t)format;
    register uint64_t x1 asm("x1") = first;
    register uint64_t x2 asm("x2") = second;
    asm volatile("svc %1" : "+r"(x0) : "i"(SVC_PRINT), "r"(x1), "r"(x2) : "memory");
}

static inline uint64_t virtual_time_us(void) {
    uint64_t count, frequency;
    asm volatile("isb; mrs %0, cntvct_el0; mrs %1, cntfrq_el0" : "=r"(count), "=r"(frequency) : : "memory");
    return count / (frequency / 1000000);
}

/* The first instruction of the program. */
void user_main(void) __attribute__((section(".text.user_main"), noreturn));

#endif
