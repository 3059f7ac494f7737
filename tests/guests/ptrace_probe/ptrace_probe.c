// A debugger in 200 lines, for Linux on arm64: steps a child through a loop, an exclusive access and a system call, stops
// it at a hardware breakpoint and at hardware watchpoints, while the same code runs in the parent without stopping. Says
// what happened; each line that is not as it should be contains WRONG. Built without a C library, so that it fits into any
// initial RAM disk: `ptrace_probe` exits with 0 when everything was as it should be.

#include <stddef.h>
#include <stdint.h>

static long call(long number, long a, long b, long c, long d, long e) {
  register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d, x4 __asm__("x4") = e;
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
  return x0;
}
enum { SYS_write = 64, SYS_exit = 93, SYS_ptrace = 117, SYS_kill = 129, SYS_getpid = 172, SYS_clone = 220, SYS_wait4 = 260 };
enum { TRACEME = 0, CONT = 7, SINGLESTEP = 9, GETSIGINFO = 0x4202, GETREGSET = 0x4204, SETREGSET = 0x4205 };
enum { REGISTERS = 1, BREAKPOINTS = 0x402, WATCHPOINTS = 0x403 };
enum { SIGTRAP = 5, SIGCHLD = 17, SIGSTOP = 19, TRAP_TRACE = 2, TRAP_HWBKPT = 4 };

static long failures;
static void print(const char *text) {
  long n = 0;
  while (text[n]) n++;
  call(SYS_write, 1, (long)text, n, 0, 0);
}
static void print_number(uint64_t value) {
  char digits[21];
  int at = 20;
  digits[at] = 0;
  do digits[--at] = (char)('0' + value % 10);
  while (value /= 10);
  print(digits + at);
}
static void expect(const char *what, uint64_t value, uint64_t expected) {
  print(what);
  print(": ");
  print_number(value);
  if (value != expected) {
    print(" WRONG, should be ");
    print_number(expected);
    failures++;
  }
  print("\n");
}

extern const char traced[], traced_loop[], traced_exclusive[], traced_call[], traced_store[], traced_load[], traced_end[];
volatile uint64_t watched[4];
// x0 = watched
__asm__(
    ".pushsection .text\n"
    ".global traced, traced_loop, traced_exclusive, traced_call, traced_store, traced_load, traced_end\n"
    "traced: mov x9, #3\n"
    "traced_loop: subs x9, x9, #1\n"
    "  b.ne traced_loop\n"
    "traced_exclusive: ldxr x10, [x0]\n"
    "  nop\n"
    "traced_call: mov x8, #172\n" // getpid
    "  mov x11, x0\n"
    "  svc #0\n"
    "  mov x0, x11\n"
    "  mov x9, #1000\n"
    "1: subs x9, x9, #1\n"
    "  b.ne 1b\n"
    "traced_store: str x9, [x0, #8]\n"
    "  strb w9, [x0, #20]\n"
    "traced_load: ldr x10, [x0, #8]\n"
    "traced_end: ret\n"
    ".popsection\n");
static void run_traced(void) {
  register volatile void *x0 __asm__("x0") = watched;
  __asm__ volatile("bl traced" : "+r"(x0) : : "x8", "x9", "x10", "x11", "x30", "cc", "memory");
}

static long child;
struct iov {
  void *base;
  size_t length;
};
static struct {
  uint64_t x[31], sp, pc, pstate;
} registers;
static struct {
  uint32_t info, pad;
  struct {
    uint64_t address;
    uint32_t control, pad;
  } slots[16];
} slots;

static uint64_t pc(void) {
  struct iov iov = {&registers, sizeof(registers)};
  call(SYS_ptrace, GETREGSET, child, REGISTERS, (long)&iov, 0);
  return registers.pc;
}
// Waits for a stop; answers the signal, 256 for the end.
static unsigned stop(void) {
  int status = 0;
  call(SYS_wait4, child, (long)&status, 0, 0, 0);
  return (status & 0x7f) == 0x7f ? (unsigned)status >> 8 & 0xff : 256 + ((unsigned)status >> 8 & 0xff);
}
static unsigned resume(long request) {
  call(SYS_ptrace, request, child, 0, 0, 0);
  return stop();
}
static struct {
  int signal, error, code, pad;
  uint64_t address, more[13];
} information;
static int code(void) {
  call(SYS_ptrace, GETSIGINFO, child, 0, (long)&information, 0);
  return information.code;
}
static unsigned count_slots(long set) {
  struct iov iov = {&slots, sizeof(slots)};
  call(SYS_ptrace, GETREGSET, child, set, (long)&iov, 0);
  return slots.info & 0xff;
}
static void set_slot(long set, unsigned n, uint64_t address, uint32_t control) {
  struct iov iov = {&slots, 8 + 16 * (n + 1)};
  count_slots(set);
  slots.slots[n].address = address;
  slots.slots[n].control = control;
  long result = call(SYS_ptrace, SETREGSET, child, set, (long)&iov, 0);
  if (result < 0) expect("PTRACE_SETREGSET fails with error", (uint64_t)-result, 0);
}
static uint64_t from(const char *place) { return pc() - (uint64_t)place; }

__attribute__((noreturn, used)) static void program(void) {
  enum { STORE = 2, LOAD = 1 };
  child = call(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  if (child == 0) {
    call(SYS_ptrace, TRACEME, 0, 0, 0, 0);
    call(SYS_kill, call(SYS_getpid, 0, 0, 0, 0, 0), SIGSTOP, 0, 0, 0);
    for (int i = 0; i < 4; i++) run_traced();
    call(SYS_exit, 42, 0, 0, 0, 0);
  }
  expect("signal of the first stop", stop(), SIGSTOP);
  expect("breakpoints", count_slots(BREAKPOINTS), 6);
  expect("watchpoints", count_slots(WATCHPOINTS), 4);

  set_slot(BREAKPOINTS, 0, (uint64_t)traced, 0xf << 5 | 1);
  run_traced();
  expect("continue to a breakpoint", resume(CONT), SIGTRAP);
  expect("distance from the breakpoint", from(traced), 0);
  expect("code of the signal", (uint64_t)code(), TRAP_HWBKPT);
  set_slot(BREAKPOINTS, 0, (uint64_t)traced, 0xf << 5);

  unsigned steps = 0;
  while (steps < 100 && pc() != (uint64_t)traced_exclusive) {
    if (resume(SINGLESTEP) != SIGTRAP) break;
    steps++;
  }
  expect("code of the signal", (uint64_t)code(), TRAP_TRACE);
  expect("steps through the loop", steps, 7);
  resume(SINGLESTEP);
  expect("step of an exclusive", from(traced_exclusive), 4);
  resume(SINGLESTEP);
  resume(SINGLESTEP);
  resume(SINGLESTEP);
  expect("step before the system call", from(traced_call), 8);
  expect("step over the system call", resume(SINGLESTEP), SIGTRAP);
  expect("distance", from(traced_call), 12);
  expect("result of the system call", registers.x[0], (uint64_t)child);

  set_slot(BREAKPOINTS, 5, (uint64_t)traced_store, 0xf << 5 | 1);
  set_slot(BREAKPOINTS, 2, (uint64_t)traced_end, 0xf << 5 | 1);
  run_traced();
  expect("continue to the second breakpoint", resume(CONT), SIGTRAP);
  expect("distance", from(traced_store), 0);
  set_slot(BREAKPOINTS, 5, (uint64_t)traced_store, 0xf << 5);
  expect("continue to the third breakpoint", resume(CONT), SIGTRAP);
  expect("distance", from(traced_end), 0);
  set_slot(BREAKPOINTS, 2, (uint64_t)traced_end, 0xf << 5);

  set_slot(WATCHPOINTS, 0, (uint64_t)&watched[1], 0xff << 5 | STORE << 3 | 1);
  run_traced();
  expect("continue to a watchpoint", resume(CONT), SIGTRAP);
  expect("distance", from(traced_store), 0);
  expect("code of the signal", (uint64_t)code(), TRAP_HWBKPT);
  expect("distance of the address", information.address - (uint64_t)watched, 8);
  set_slot(WATCHPOINTS, 0, (uint64_t)&watched[1], 0xff << 5 | LOAD << 3 | 1);
  set_slot(WATCHPOINTS, 3, (uint64_t)watched + 20, 0x1 << 5 | STORE << 3 | 1);
  expect("continue to a byte", resume(CONT), SIGTRAP);
  expect("distance", from(traced_store), 4);
  expect("code of the signal", (uint64_t)code(), TRAP_HWBKPT);
  expect("distance of the address", information.address - (uint64_t)watched, 20);
  set_slot(WATCHPOINTS, 3, (uint64_t)watched + 20, 0x1 << 5 | STORE << 3);
  expect("continue to the load", resume(CONT), SIGTRAP);
  expect("distance", from(traced_load), 0);
  set_slot(WATCHPOINTS, 0, (uint64_t)&watched[1], 0xff << 5 | LOAD << 3);
  expect("step of the load", resume(SINGLESTEP), SIGTRAP);
  expect("distance", from(traced_load), 4);
  expect("the child ends with", resume(CONT), 256 + 42);
  print(failures ? "ptrace_probe: WRONG\n" : "ptrace_probe: ok\n");
  call(SYS_exit, failures != 0, 0, 0, 0, 0);
  __builtin_unreachable();
}


__asm__(".global _start\n_start: b program\n");
