/* The small kernel both guests share: what guest_a.c and guest_b.c can call. */
#ifndef TWO_GUESTS_GUEST_H
#define TWO_GUESTS_GUEST_H

#include "../../lib/arch.h"
#include "../../lib/console.h"
#include "../hypercalls.h"

#define KERNEL_OFFSET UINT64_C(0xffffff8000000000)
#define TALLY_VA (KERNEL_OFFSET + TALLY_IPA)
#define NOWHERE_VA (KERNEL_OFFSET + NOWHERE_IPA)

/* The same virtual address in both guests; stage 2 decides what is there. */
#define MEETING_POINT ((volatile uint64_t *)(KERNEL_OFFSET + GUEST_RAM_IPA + 0x1ff000))

#define TALLY(type, offset) (*(volatile type *)(TALLY_VA + (offset)))

/* A macro, since the number is part of the instruction. */
#define HYPERCALL(number, argument)                                               \
    ({                                                                            \
        register uint64_t x0_ asm("x0") = (uint64_t)(argument);                   \
        asm volatile("hvc %1" : "+r"(x0_) : "i"(number) : "memory");              \
        (int64_t) x0_;                                                            \
    })

/* Sleep until the virtual timer has interrupted `count` times, `microseconds` apart. */
void wait_for_ticks(unsigned count, uint64_t microseconds);
/* Run the user program at EL0 until it exits, with a few more ticks meanwhile. */
uint64_t run_user(void);
/* External aborts taken so far; the load that met one reads as zero. */
unsigned aborts_taken(void);

void guest_main(void) __attribute__((noreturn));

#endif
