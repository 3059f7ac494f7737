/*
 * Synchronous exits: ESR_EL2 says why the guest stopped ("ISS encoding for ..." in the description of ESR_ELx), FAR_EL2
 * and HPFAR_EL2 say where. Everything the hypervisor does for a guest on request is here.
 */
#include "../lib/console.h"
#include "hyp.h"
#include "hypercalls.h"

#define PSCI_NOT_SUPPORTED (-1)

/* Print one exit, so that a reader can follow what brought the CPU to EL2, and count it. */
void report_exit(struct vm *vm, enum exit_kind kind, const char *format, ...) {
    va_list arguments;

    vm->exits[kind]++;
    print("[hyp] vm %u: exit ", vm->id);
    va_start(arguments, format);
    print_arguments(format, arguments);
    va_end(arguments);
    print(" at EL%u pc=0x%016lx\n", (unsigned)FIELD(vm->pstate, 3, 2), vm->pc);
}

static void then(const char *what) { print("[hyp]       %s\n", what); }

/* Exits on an instruction that shall not run leave the pc at it; HVC and SVC leave it behind. */
static void skip_instruction(struct vm *vm) { vm->pc += 4; }

static uint64_t get_register(const struct vm *vm, unsigned number) { return number == 31 ? 0 : vm->x[number]; }

static void set_register(struct vm *vm, unsigned number, uint64_t value) {
    if (number != 31)
        vm->x[number] = value;
}

/*
 * Make the guest take an exception to its own EL1, as the CPU would: the way to say "there is nothing at this address"
 * to a guest that has a handler for it.
 */
static void inject_external_abort(struct vm *vm, uint64_t address) {
    bool from_el0 = FIELD(vm->pstate, 3, 2) == 0;
    uint64_t vector = from_el0 ? 0x400 : vm->pstate & 1 ? 0x200 : 0x000;
    uint64_t class = from_el0 ? EC_DATA_ABORT_LOWER : EC_DATA_ABORT;

    WRITE(ELR_EL1, vm->pc);
    WRITE(SPSR_EL1, vm->pstate);
    WRITE(ESR_EL1, class << 26 | BIT(25) | 0x10); /* DFSC: synchronous External abort, not on a walk */
    WRITE(FAR_EL1, address);
    vm->pc = READ(VBAR_EL1) + vector;
    vm->pstate = PSTATE_EL1H | PSTATE_DAIF;
}

static void print_guest_line(struct vm *vm, uint64_t address) {
    print("[vm %u] ", vm->id);
    for (unsigned i = 0; i < 160; i++, address++) {
        uintptr_t physical;
        if (!guest_to_physical(address, &physical)) {
            print("(text at 0x%016lx is not readable)", address);
            break;
        }
        char c = *(const volatile char *)physical;
        if (c == '\0' || c == '\n')
            break;
        print("%c", c >= ' ' && c <= '~' ? c : '.');
    }
    print("\n");
}

static enum verdict handle_hypercall(struct vm *vm, unsigned number) {
    switch (number) {
    case HYPERCALL_PUTS:
        report_exit(vm, EXIT_HYPERCALL, "HVC #1 (puts)");
        print_guest_line(vm, vm->x[0]);
        vm->x[0] = 0;
        return KEEP_RUNNING;
    case HYPERCALL_YIELD:
        report_exit(vm, EXIT_HYPERCALL, "HVC #2 (yield)");
        vm->x[0] = 0;
        return RUN_ANOTHER;
    case HYPERCALL_EXIT:
        report_exit(vm, EXIT_HYPERCALL, "HVC #3 (exit)");
        print("[hyp]       vm %u has finished, status %d\n", vm->id, (int)vm->x[0]);
        vm->finished = true;
        return RUN_ANOTHER;
    default:
        report_exit(vm, EXIT_HYPERCALL, "HVC #%u (unknown)", number);
        then("answered with -1");
        vm->x[0] = (uint64_t)(int64_t)HYPERCALL_UNKNOWN;
        return KEEP_RUNNING;
    }
}

/* The tally device. `size` is 1, 2, 4 or 8 bytes, the address is inside the device. */
static uint64_t tally_read(struct vm *vm, unsigned offset, unsigned size) {
    uint64_t value = 0;

    if (offset >= TALLY_SCRATCH)
        value = vm->tally_scratch >> (8 * (offset - TALLY_SCRATCH));
    else if (offset >= TALLY_COUNT)
        value = (uint64_t)++vm->tally_count >> (8 * (offset - TALLY_COUNT));
    else
        value = 0x74616c79u >> (8 * (offset - TALLY_ID));
    return size == 8 ? value : value & (BIT(8 * size) - 1);
}

static void tally_write(struct vm *vm, unsigned offset, unsigned size, uint64_t value) {
    if (offset < TALLY_SCRATCH)
        return; /* read-only */
    unsigned shift = 8 * (offset - TALLY_SCRATCH);
    uint64_t mask = size == 8 ? ~UINT64_C(0) : BIT(8 * size) - 1;
    vm->tally_scratch = (vm->tally_scratch & ~(mask << shift)) | ((value & mask) << shift);
}

/*
 * A load or store to an intermediate physical address that stage 2 does not map. For plain loads and stores of one
 * register the syndrome is complete (ISV): size, register, sign extension, direction. The hypervisor does the access
 * in the guest's place and never looks at the instruction.
 */
static void handle_data_abort(struct vm *vm, uint32_t iss) {
    uint64_t ipa = FIELD(READ(HPFAR_EL2), 39, 4) << 12 | FIELD(READ(FAR_EL2), 11, 0);
    bool isv = iss & BIT(24);
    bool sign_extend = iss & BIT(21);
    bool is_64_bit = iss & BIT(15);
    bool is_write = iss & BIT(6);
    unsigned size = 1u << FIELD(iss, 23, 22);
    unsigned number = (unsigned)FIELD(iss, 20, 16);

    if (!isv || ipa < TALLY_IPA || ipa + size > TALLY_IPA + TALLY_SIZE) {
        report_exit(vm, EXIT_ABORT, "data abort (stage 2, IPA 0x%lx: nothing there)", ipa);
        then("injected an External abort: the guest's own EL1 handler runs next");
        inject_external_abort(vm, READ(FAR_EL2));
        return;
    }
    report_exit(vm, EXIT_DEVICE, "data abort (stage 2, IPA 0x%lx: tally device)", ipa);
    unsigned offset = (unsigned)(ipa - TALLY_IPA);
    uint64_t value;
    if (is_write) {
        value = get_register(vm, number);
        value = size == 8 ? value : value & (BIT(8 * size) - 1);
        tally_write(vm, offset, size, value);
    } else {
        value = tally_read(vm, offset, size);
        if (sign_extend && (value >> (8 * size - 1)))
            value |= ~UINT64_C(0) << (8 * size - 1);
        if (!is_64_bit)
            value &= 0xffffffff;
        set_register(vm, number, value);
    }
    print("[hyp]       emulated: %s %u byte%s %s %c%u%s = 0x%lx\n", is_write ? "store" : "load", size,
          size == 1 ? "" : "s", is_write ? "from" : "into", is_64_bit ? 'x' : 'w', number,
          sign_extend ? ", sign-extended" : "", value);
    skip_instruction(vm);
}

/* MRS and MSR that HCR_EL2 traps: the encoding is in the syndrome as op0, op2, op1, CRn, register, CRm, direction. */
#define SYSREG(op0, op1, crn, crm, op2) ((op0) << 20 | (op2) << 17 | (op1) << 14 | (crn) << 10 | (crm) << 1)
#define SYSREG_MASK SYSREG(3, 7, 15, 15, 7)

static void handle_system_register(struct vm *vm, uint32_t iss) {
    unsigned number = (unsigned)FIELD(iss, 9, 5);
    bool is_read = iss & 1;
    const char *name = NULL;
    uint64_t value = 0;

    switch (iss & SYSREG_MASK) {
    case SYSREG(3, 0, 0, 4, 0):
        name = "ID_AA64PFR0_EL1";
        value = READ(ID_AA64PFR0_EL1) & ~UINT64_C(0xff00); /* no EL2, no EL3 */
        break;
    case SYSREG(3, 0, 0, 7, 0):
        name = "ID_AA64MMFR0_EL1";
        value = READ(ID_AA64MMFR0_EL1);
        break;
    case SYSREG(3, 0, 1, 0, 1):
        name = "ACTLR_EL1";
        break;
    }
    if (name != NULL) {
        report_exit(vm, EXIT_SYSTEM_REGISTER, "%s %s", is_read ? "MRS" : "MSR", name);
        then(!is_read                                        ? "the write is ignored"
             : (iss & SYSREG_MASK) == SYSREG(3, 0, 0, 4, 0) ? "answered for it, with EL2 and EL3 hidden"
                                                             : "answered for it");
    } else {
        report_exit(vm, EXIT_SYSTEM_REGISTER, "%s S%u_%u_C%u_C%u_%u", is_read ? "MRS" : "MSR",
                    (unsigned)FIELD(iss, 21, 20), (unsigned)FIELD(iss, 16, 14), (unsigned)FIELD(iss, 13, 10),
                    (unsigned)FIELD(iss, 4, 1), (unsigned)FIELD(iss, 19, 17));
        then("not known here: reads as zero");
    }
    if (is_read)
        set_register(vm, number, value);
    skip_instruction(vm);
}

enum verdict handle_sync(struct vm *vm) {
    uint64_t esr = READ(ESR_EL2);
    uint32_t iss = ESR_ISS(esr);

    switch (ESR_EC(esr)) {
    case EC_HVC:
        return handle_hypercall(vm, iss & 0xffff);
    case EC_DATA_ABORT_LOWER:
        handle_data_abort(vm, iss);
        return KEEP_RUNNING;
    case EC_SYSREG:
        handle_system_register(vm, iss);
        return KEEP_RUNNING;
    case EC_SMC:
        report_exit(vm, EXIT_SMC, "SMC #%u, x0=0x%lx", iss & 0xffff, vm->x[0]);
        then("refused: the firmware is not the guest's to call");
        vm->x[0] = (uint64_t)(int64_t)PSCI_NOT_SUPPORTED;
        skip_instruction(vm);
        return KEEP_RUNNING;
    case EC_FP:
        report_exit(vm, EXIT_FLOATING_POINT, "floating point");
        then("the vector registers are its own now");
        world_take_vectors(vm);
        return KEEP_RUNNING;
    case EC_WFX:
        report_exit(vm, EXIT_WFI, "WFI");
        skip_instruction(vm);
        vm->waiting = true;
        return RUN_ANOTHER;
    default:
        report_exit(vm, EXIT_ABORT, "for an unexpected reason, ESR_EL2=0x%lx", esr);
        print("[hyp]       FAR_EL2=0x%lx HPFAR_EL2=0x%lx: vm %u is stopped\n", READ(FAR_EL2), READ(HPFAR_EL2), vm->id);
        vm->finished = true;
        return RUN_ANOTHER;
    }
}
