/* What the guests and the hypervisor agree on: the number in the HVC instruction, arguments and result in x0. */
#ifndef TWO_GUESTS_HYPERCALLS_H
#define TWO_GUESTS_HYPERCALLS_H

#define HYPERCALL_PUTS 1  /* x0: virtual address of a line of text */
#define HYPERCALL_YIELD 2 /* let the other guest run */
#define HYPERCALL_EXIT 3  /* x0: status; does not return */

#define HYPERCALL_UNKNOWN (-1) /* result of any other number */

/* Both guests see the same intermediate physical addresses. */
#define GUEST_RAM_IPA 0x40000000
#define GUEST_RAM_SIZE 0x200000

/* The tally device: nothing is mapped here, so each access is an exit that the hypervisor decodes and emulates. */
#define TALLY_IPA 0x0b000000
#define TALLY_ID 0x00      /* reads 0x74616c79, "taly" */
#define TALLY_COUNT 0x04   /* how often this register has been read */
#define TALLY_SCRATCH 0x08 /* 8 bytes to write and read in any size */
#define TALLY_SIZE 0x10

/* Nothing is here either, and the hypervisor has no device for it. */
#define NOWHERE_IPA 0x0c000000

#endif
