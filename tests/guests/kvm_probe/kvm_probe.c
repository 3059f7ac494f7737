// A virtual machine in 150 lines, for Linux's KVM on arm64: one vCPU, one page of code, no device. The guest counts,
// writes to an address where nothing is (an MMIO exit that this program answers), reads back, uses its virtual timer and
// its own page of data, and powers off through PSCI. Prints each exit. Built without a C library, so that it fits into
// any initial RAM disk: `kvm_probe` exits with 0 when everything was as it should be.

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

static long syscall6(long number, long a, long b, long c, long d, long e, long f) {
  register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return x0;
}
enum { SYS_ioctl = 29, SYS_openat = 56, SYS_write = 64, SYS_exit = 93, SYS_mmap = 222 };
static long ioctl(long fd, unsigned long request, long argument) {
  return syscall6(SYS_ioctl, fd, (long)request, argument, 0, 0, 0);
}
static void *map(long size, long fd) {
  enum { READ_WRITE = 3, SHARED = 1, ANONYMOUS = 0x20 };
  return (void *)syscall6(SYS_mmap, 0, size, READ_WRITE, SHARED | (fd < 0 ? ANONYMOUS : 0), fd, 0);
}
static void print(const char *text) {
  long n = 0;
  while (text[n]) n++;
  syscall6(SYS_write, 1, (long)text, n, 0, 0, 0);
}
static void print_number(uint64_t value) {
  char digits[19] = "0x0000000000000000";
  for (int i = 0; i < 16; i++) digits[17 - i] = "0123456789abcdef"[(value >> (4 * i)) & 15];
  print(digits);
}
__attribute__((noreturn)) static void leave(int code) {
  syscall6(SYS_exit, code, 0, 0, 0, 0, 0);
  __builtin_unreachable();
}
static long check(long result, const char *what) {
  if (result >= 0) return result;
  print("kvm_probe: cannot ");
  print(what);
  print(": error ");
  print_number((uint64_t)-result);
  print("\n");
  leave(1);
}

extern const char guest_start[], guest_end[];
// The guest. x19 = 0x9000000, an address without memory; results are written there one by one.
__asm__(
    ".pushsection .rodata\n"
    ".global guest_start, guest_end\n"
    "guest_start:\n"
    "  mov x19, #0x09000000\n"
    "  mov x0, #0\n"
    "  mov x1, #1000\n"
    "1: add x0, x0, x1\n"
    "  subs x1, x1, #1\n"
    "  b.ne 1b\n"
    "  str x0, [x19]\n"         // 500500
    "  ldr w2, [x19, #8]\n"     // answered with 0x11223344
    "  str w2, [x19, #16]\n"
    "  adr x3, guest_data\n"    // a store of its own
    "  str w2, [x3]\n"
    "  ldrh w4, [x3, #2]\n"
    "  strh w4, [x19, #24]\n"   // 0x1122
    "  mrs x5, CurrentEL\n"
    "  str x5, [x19, #32]\n"    // 4: EL1
    "  mrs x6, cntvct_el0\n"
    "  add x6, x6, #0x1000\n"
    "2: mrs x7, cntvct_el0\n"   // the virtual counter runs
    "  cmp x7, x6\n"
    "  b.lo 2b\n"
    "  mov w8, #1\n"
    "  str w8, [x19, #40]\n"
    "  movz x0, #0x8400, lsl #16\n"
    "  movk x0, #0x0008\n"      // PSCI SYSTEM_OFF
    "  hvc #0\n"
    "  b .\n"
    "guest_data: .quad 0\n"
    "guest_end:\n"
    ".popsection\n");

static const struct { uint64_t address, value; } EXPECTED[] = {
    {0x09000000, 500500}, {0x09000010, 0x11223344}, {0x09000018, 0x1122}, {0x09000020, 4}, {0x09000028, 1},
};

__attribute__((noreturn, used)) void probe(void) {
  enum { READ_WRITE = 2, CLOEXEC = 02000000, MEMORY = 0x10000 };
  const uint64_t base = 0x40000000;
  long kvm = check(syscall6(SYS_openat, -100, (long)"/dev/kvm", READ_WRITE | CLOEXEC, 0, 0, 0), "open /dev/kvm");
  long vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "create a VM");
  char *memory = map(MEMORY, -1);
  for (ptrdiff_t i = 0; i < guest_end - guest_start; i++) memory[i] = guest_start[i];
  struct kvm_userspace_memory_region region = {0, 0, base, MEMORY, (uint64_t)memory};
  check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, (long)&region), "give it memory");
  long vcpu = check(ioctl(vm, KVM_CREATE_VCPU, 0), "create a vCPU");
  struct kvm_vcpu_init init = {0};
  check(ioctl(vm, KVM_ARM_PREFERRED_TARGET, (long)&init), "ask for the CPU");
  init.features[0] |= 1u << KVM_ARM_VCPU_PSCI_0_2;
  check(ioctl(vcpu, KVM_ARM_VCPU_INIT, (long)&init), "initialise the vCPU");
  const uint64_t core_pc = 0x6030000000100000 | offsetof(struct kvm_regs, regs.pc) / 4;
  struct kvm_one_reg pc = {core_pc, (uint64_t)&base};
  check(ioctl(vcpu, KVM_SET_ONE_REG, (long)&pc), "set the pc");
  struct kvm_run *run = map(check(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "ask for a size"), vcpu);

  unsigned wrote = 0;
  for (;;) {
    check(ioctl(vcpu, KVM_RUN, 0), "run");
    if (run->exit_reason == KVM_EXIT_MMIO && run->mmio.is_write) {
      uint64_t value = 0;
      for (unsigned i = 0; i < run->mmio.len; i++) value |= (uint64_t)run->mmio.data[i] << (8 * i);
      print("kvm_probe: guest writes ");
      print_number(value);
      print(" to ");
      print_number(run->mmio.phys_addr);
      print("\n");
      if (wrote == 5 || run->mmio.phys_addr != EXPECTED[wrote].address || value != EXPECTED[wrote].value) {
        print("kvm_probe: WRONG\n");
        leave(1);
      }
      wrote++;
    } else if (run->exit_reason == KVM_EXIT_MMIO) {
      print("kvm_probe: guest reads ");
      print_number(run->mmio.phys_addr);
      print("\n");
      *(uint32_t *)run->mmio.data = 0x11223344;
    } else if (run->exit_reason == KVM_EXIT_SYSTEM_EVENT) {
      print(wrote == 5 ? "kvm_probe: guest powers off: ok\n" : "kvm_probe: guest powers off too early: WRONG\n");
      leave(wrote != 5);
    } else {
      print("kvm_probe: unexpected exit ");
      print_number(run->exit_reason);
      print("\n");
      leave(1);
    }
  }
}
__asm__(".global _start\n_start:\n  mov x29, #0\n  b probe\n");
