/* Guest B: linked for the same addresses as guest A, and tries what it must not do. */
#include "guest.h"

#define MARK UINT64_C(0xbbbbbbbbbbbbbbbb)

void guest_main(void) {
    print("guest B at EL%u, own MMU on, guest_main at VA 0x%lx\n", (unsigned)FIELD(READ(CurrentEL), 3, 2),
          (uint64_t)&guest_main);

    *MEETING_POINT = MARK;
    print("guest B writes 0x%lx to VA 0x%lx\n", *MEETING_POINT, (uint64_t)MEETING_POINT);
    HYPERCALL(HYPERCALL_YIELD, 0);
    print("guest B reads  0x%lx there: %s\n", *MEETING_POINT, *MEETING_POINT == MARK ? "its own" : "NOT ITS OWN");

    print("guest B tries hypercall 77: result %d\n", (int)HYPERCALL(77, 0));

    WRITE(ACTLR_EL1, 1);
    print("guest B wrote ACTLR_EL1, and it is 0x%lx\n", READ(ACTLR_EL1));

    register uint64_t x0 asm("x0") = 0x84000008; /* PSCI SYSTEM_OFF */
    asm volatile("smc #0" : "+r"(x0) : : "memory");
    int64_t result = (int64_t)x0;
    print("guest B tried to switch off the machine: result %d\n", (int)result);

    register uint64_t value asm("x0") = 0x1234;
    asm volatile("ldr x0, [%1]" : "+r"(value) : "r"(NOWHERE_VA) : "memory");
    uint64_t got = value;
    print("guest B read from nowhere: %u external abort, value %lu\n", aborts_taken(), got);

    TALLY(uint16_t, TALLY_SCRATCH) = 0xb0b;
    uint32_t count = TALLY(uint32_t, TALLY_COUNT);
    print("guest B: its own scratch 0x%x, its own count %u\n", TALLY(uint16_t, TALLY_SCRATCH), count);

    print("guest B sleeps for two ticks of its virtual timer\n");
    wait_for_ticks(2, 4000);
    print("guest B had its ticks\n");

    uint64_t wrong = run_user();
    print("guest B: its user program %s\n", wrong == 0 ? "kept its registers all the time" : "LOST ITS REGISTERS");

    HYPERCALL(HYPERCALL_EXIT, 0);
    __builtin_unreachable();
}
