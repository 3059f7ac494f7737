/*
 * How the bare-metal programs try things. The program stays at EL2; a snippet, a few instructions ending in RET, runs at
 * EL0, EL1 or EL2 under registers the program has set, until it takes an exception or returns. Either way run() comes
 * back with what happened. Nothing at EL1 has to work for that, except fetching one HVC from the EL1 vectors: all of
 * them just hand over to EL2, which reads what the exception left in the EL1 registers.
 */
#ifndef GUESTS_HARNESS_H
#define GUESTS_HARNESS_H

#include "../../lib/arch.h"
#include "../../lib/console.h"

/* A snippet of one or more instructions. It may change any register; x0 is shown when it returns. */
#define SNIPPET(name, text)                              \
    asm(".pushsection .text.snippets, \"ax\"\n"          \
        "        .balign 16\n"                           \
        "        .type " #name ", %function\n"           \
        #name ":\n" text "\n"                            \
        "        ret\n"                                  \
        "        .size " #name ", . - " #name "\n"       \
        "        .popsection\n");                        \
    extern const char name[]

enum taken { RETURNED, TAKEN };

struct outcome {
    enum taken taken;
    unsigned level;  /* the exception was taken to this exception level, */
    unsigned vector; /* at this offset from its VBAR, */
    uint64_t entry;  /* with this PSTATE (known for EL1 only) */
    uint64_t esr, elr, spsr, far, hpfar;
    uint64_t x[31];
    uint64_t start; /* where the snippet was in memory, as it saw itself */
};

/* What snippets start with; world_reset() sets all of it to something harmless. */
struct world {
    uint64_t x[31];         /* x30 is set by run() */
    uint64_t code_offset;   /* added to all addresses of code and stacks at EL0 and EL1 */
};
extern struct world world;

/* HCR_EL2 = RW, EL1 MMU off, floating point allowed, no traps, FP and timers accessible. */
void world_reset(void);

/* At `pstate` (PSTATE_EL0 and so on, with masks and flags), from the first instruction of `snippet`. */
struct outcome run(uint64_t pstate, const char *snippet);
struct outcome run_with(uint64_t pstate, const char *snippet, uint64_t x0, uint64_t x1, uint64_t x2);

/* One line: what was tried, and what came of it. */
void show(const char *what, const struct outcome *outcome);
/* run() and show() in one, under a name that begins with the exception level. */
void try(const char *what, uint64_t pstate, const char *snippet);
void try_with(const char *what, uint64_t pstate, const char *snippet, uint64_t x0, uint64_t x1, uint64_t x2);

void section(const char *title);

/* Names of exception classes and fault status codes. */
const char *class_name(unsigned ec);
const char *fault_name(unsigned status);

bool cpu_has_vhe(void);
bool cpu_has_pan(void);
bool cpu_has_lse(void);
bool cpu_has_granule(unsigned granule_bits);

/* Each program. */
void program(void);

#endif
