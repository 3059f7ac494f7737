/* Guest A's program at EL0: the sum of 1/n² in floating point, again and again while its time slices come and go. */
#include "user.h"

#define BUSY_US 40000

void user_main(void) {
    uint64_t start = virtual_time_us();
    unsigned rounds = 0, wrong = 0;
    double sum;

    user_print("guest A, EL0: user program at VA 0x%lx, adding up 1/n*n for 40 ms\n", (uint64_t)&user_main, 0);
    do {
        sum = 0;
        for (unsigned n = 200; n > 0; n--)
            sum += 1.0 / ((double)n * n);
        wrong += (uint64_t)(sum * 1e9) != 1639946546;
        rounds++;
    } while (virtual_time_us() - start < BUSY_US || rounds < 3);
    user_print("guest A, EL0: the sum is %lu.%09lu\n", (uint64_t)sum, (uint64_t)(sum * 1e9) % 1000000000);
    user_exit(wrong);
}
