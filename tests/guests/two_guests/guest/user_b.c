/* Guest B's program at EL0: a square root by Newton's method, at the same addresses as guest A's sum. */
#include "user.h"

#define BUSY_US 40000

void user_main(void) {
    uint64_t start = virtual_time_us();
    unsigned rounds = 0, wrong = 0;
    double root;

    user_print("guest B, EL0: user program at VA 0x%lx, taking roots of 2 for 40 ms\n", (uint64_t)&user_main, 0);
    do {
        root = 1;
        for (unsigned n = 0; n < 40; n++)
            root = (root + 2 / root) / 2;
        wrong += (uint64_t)(root * 1e9) != 1414213562;
        rounds++;
    } while (virtual_time_us() - start < BUSY_US || rounds < 3);
    user_print("guest B, EL0: the root is %lu.%09lu\n", (uint64_t)root, (uint64_t)(root * 1e9) % 1000000000);
    user_exit(wrong);
}
