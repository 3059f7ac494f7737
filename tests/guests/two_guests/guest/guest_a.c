/* Guest A: what a well-behaved guest makes the hypervisor do. */
#include "guest.h"

#define MARK UINT64_C(0xaaaaaaaaaaaaaaaa)

void guest_main(void) {
    print("guest A at EL%u, own MMU on, guest_main at VA 0x%lx\n", (unsigned)FIELD(READ(CurrentEL), 3, 2),
          (uint64_t)&guest_main);

    *MEETING_POINT = MARK;
    print("guest A writes 0x%lx to VA 0x%lx\n", *MEETING_POINT, (uint64_t)MEETING_POINT);
    HYPERCALL(HYPERCALL_YIELD, 0);
    print("guest A reads  0x%lx there: %s\n", *MEETING_POINT, *MEETING_POINT == MARK ? "its own" : "NOT ITS OWN");

    uint64_t features = READ(ID_AA64PFR0_EL1);
    print("guest A sees a CPU with EL1%s\n", FIELD(features, 11, 8) == 0 ? " and no EL2" : " AND EL2");

    print("guest A finds a device: id 0x%x\n", TALLY(uint32_t, TALLY_ID));
    TALLY(uint64_t, TALLY_SCRATCH) = 0x8877665544332211;
    TALLY(uint8_t, TALLY_SCRATCH + 1) = 0xfe;
    int64_t signed_byte;
    asm volatile("ldrsb %0, [%1]" : "=r"(signed_byte) : "r"(TALLY_VA + TALLY_SCRATCH + 1) : "memory");
    uint64_t whole = TALLY(uint64_t, TALLY_SCRATCH);
    uint32_t count = TALLY(uint32_t, TALLY_COUNT);
    count = TALLY(uint32_t, TALLY_COUNT);
    print("guest A: scratch 0x%lx, signed byte %ld, count %u\n", whole, signed_byte, count);

    print("guest A sleeps for three ticks of its virtual timer\n");
    wait_for_ticks(3, 3000);
    print("guest A had its ticks\n");

    uint64_t wrong = run_user();
    print("guest A: its user program %s\n", wrong == 0 ? "kept its registers all the time" : "LOST ITS REGISTERS");

    HYPERCALL(HYPERCALL_EXIT, 0);
    __builtin_unreachable();
}
