// Runs single instructions on a given register state and reports the state afterwards: the oracle that our own execution
// of A64 is compared with, under qemu-aarch64 or on an Arm host.
//
// Standard input: the 4096 bytes that the data page holds before every case, then any number of `struct test_case`.
// Standard output: for each case a `struct outcome`, followed by the bytes of the data page that changed
// (diff_length bytes, padded to a multiple of 8). Both little-endian; tests/isa/oracle.ts is the other end.
//
// Addresses: data page at 0x1000'0000, code page at 0x2000'0000 (filled with BRK #1, the words of the case at +0x800),
// 64 KiB around both are inaccessible. SVC and the semihosting HLT are refused (signal 0), they would act on the host.

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long i64;

#define PAGE 4096
#define GUARD 65536
#define DATA 0x10000000ul
#define CODE 0x20000000ul
#define CASE_OFFSET 0x800
#define WORDS 8
#define PATCH 64
#define BRK 0xd4200020u

struct registers {
  u64 x[31], sp;
  u64 v[64];
};
struct test_case {
  u32 words[WORDS]; // unused ones are BRK #1
  u64 nzcv;
  u32 fpcr, fpsr;
  u32 patch_offset, patch_length; // bytes of the data page that differ for this case
  u64 unused;
  u8 patch[PATCH];
  struct registers regs;
};
struct outcome {
  u32 signal, code;
  u64 address; // si_addr
  u64 pc, pstate;
  u32 fpcr, fpsr;
  u32 diff_offset, diff_length;
  u64 unused[10];
  struct registers regs;
};
_Static_assert(sizeof(struct test_case) == 896 && sizeof(struct outcome) == 896, "layout shared with oracle.ts");

// Kernel interface (arch/arm64/include/uapi/asm/sigcontext.h).
struct siginfo {
  int signo, errno, code, pad;
  u64 addr;
};
struct ucontext {
  u64 flags, link, stack[3], mask[16], pad;
  u64 fault_address, x[31], sp, pc, pstate, pad2;
  u32 magic, size, fpsr, fpcr;
  u64 v[64];
};
_Static_assert(__builtin_offsetof(struct ucontext, fault_address) == 176, "struct ucontext");
_Static_assert(__builtin_offsetof(struct ucontext, magic) == 464, "struct ucontext");
#define FPSIMD_MAGIC 0x46508001

void enter(const struct test_case *);
void leave(void) __attribute__((noreturn));

static u64 image[PAGE / 8] __attribute__((aligned(16))), base[PAGE / 8] __attribute__((aligned(16)));
static u8 signal_stack[65536] __attribute__((aligned(16)));
static struct outcome now;
static u8 input[64 * sizeof(struct test_case)] __attribute__((aligned(16)));
static u8 output[65536 + 2 * PAGE] __attribute__((aligned(16)));

static i64 call(i64 number, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f) {
  register i64 x8 __asm__("x8") = number;
  register u64 x0 __asm__("x0") = a;
  register u64 x1 __asm__("x1") = b;
  register u64 x2 __asm__("x2") = c;
  register u64 x3 __asm__("x3") = d;
  register u64 x4 __asm__("x4") = e;
  register u64 x5 __asm__("x5") = f;
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return (i64)x0;
}

static void copy(void *to, const void *from, u64 bytes) {
  u8 *t = to;
  const u8 *f = from;
  for (; bytes >= 8; bytes -= 8, t += 8, f += 8) *(u64 *)t = *(const u64 *)f;
  for (; bytes; bytes--) *t++ = *f++;
}

static void on_signal(int signo, const struct siginfo *info, const struct ucontext *uc) {
  now.signal = signo;
  now.code = info->code;
  now.address = info->addr;
  now.pc = uc->pc;
  now.pstate = uc->pstate;
  copy(now.regs.x, uc->x, 31 * 8);
  now.regs.sp = uc->sp;
  if (uc->magic == FPSIMD_MAGIC) {
    now.fpsr = uc->fpsr;
    now.fpcr = uc->fpcr;
    copy(now.regs.v, uc->v, sizeof now.regs.v);
  }
  leave();
}

// Reads exactly `bytes`, or fewer at the end of the input.
static u64 fill(void *to, u64 bytes) {
  u64 have = 0;
  while (have < bytes) {
    i64 n = call(63, 0, (u64)to + have, bytes - have, 0, 0, 0);
    if (n <= 0) break;
    have += n;
  }
  return have;
}

static int drain(const u8 *from, u64 bytes) {
  while (bytes) {
    i64 n = call(64, 1, (u64)from, bytes, 0, 0, 0);
    if (n <= 0) return 0;
    from += n;
    bytes -= n;
  }
  return 1;
}

static int map(u64 address, u64 protection) {
  // PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE
  i64 at = call(222, address - GUARD, PAGE + 2 * GUARD, 0, 0x100022, -1ul, 0);
  return at == (i64)(address - GUARD) && call(226, address, PAGE, protection, 0, 0, 0) == 0;
}

static int is_refused(u32 word) {
  return (word & 0xffe0001f) == 0xd4000001 /* SVC */ || word == 0xd45e0000 /* HLT #0xf000 */;
}

static void place(const u32 *words) {
  volatile u32 *code = (volatile u32 *)(CODE + CASE_OFFSET);
  int same = 1;
  for (int i = 0; i < WORDS; i++) same &= code[i] == words[i];
  if (same) return;
  for (int i = 0; i < WORDS; i++) code[i] = words[i];
  // The words lie in one cache line of any size from 32 bytes up.
  __asm__ volatile("dc cvau, %0\n dsb ish\n ic ivau, %0\n dsb ish\n isb" ::"r"(code) : "memory");
}

static void compare(void) {
  const u64 *data = (const u64 *)DATA;
  u32 first = PAGE / 8, last = 0;
  for (u32 i = 0; i < PAGE / 8; i++) {
    if (data[i] == image[i]) continue;
    if (first == PAGE / 8) first = i;
    last = i + 1;
  }
  now.diff_offset = last ? first * 8 : 0;
  now.diff_length = last ? (last - first) * 8 : 0;
}

int run(void) {
  if (!map(DATA, 3) || !map(CODE, 7)) return 2;
  for (u32 i = 0; i < PAGE / 4; i++) ((volatile u32 *)CODE)[i] = BRK;
  struct { u64 sp; u64 flags; u64 size; } stack = { (u64)signal_stack, 0, sizeof signal_stack };
  if (call(132, (u64)&stack, 0, 0, 0, 0, 0) != 0) return 2;
  // SA_SIGINFO | SA_ONSTACK | SA_NODEFER: the handler never returns through sigreturn.
  struct { void (*handler)(int, const struct siginfo *, const struct ucontext *); u64 flags; u64 restorer, mask; } action =
    { on_signal, 0x48000004, 0, 0 };
  static const u8 signals[] = { 4 /* ILL */, 5 /* TRAP */, 7 /* BUS */, 8 /* FPE */, 11 /* SEGV */ };
  for (u32 i = 0; i < sizeof signals; i++) {
    if (call(134, signals[i], (u64)&action, 0, 8, 0, 0) != 0) return 2;
  }
  if (fill(base, PAGE) != PAGE) return 3;
  copy(image, base, PAGE);
  copy((void *)DATA, base, PAGE);
  u64 used = 0, have;
  while ((have = fill(input, sizeof input)) != 0) {
    if (have % sizeof(struct test_case)) return 3;
    for (u64 at = 0; at < have; at += sizeof(struct test_case)) {
      const struct test_case *test = (const struct test_case *)(input + at);
      if (test->patch_length > PATCH || test->patch_offset > PAGE - test->patch_length) return 3;
      int refused = 0;
      for (int i = 0; i < WORDS; i++) refused |= is_refused(test->words[i]);
      now.signal = now.diff_length = now.diff_offset = 0;
      if (!refused) {
        copy((u8 *)image + test->patch_offset, test->patch, test->patch_length);
        copy((u8 *)DATA + test->patch_offset, test->patch, test->patch_length);
        place(test->words);
        enter(test);
        compare();
      }
      copy(output + used, &now, sizeof now);
      used += sizeof now;
      copy(output + used, (u8 *)DATA + now.diff_offset, now.diff_length);
      used += now.diff_length;
      copy((u8 *)image + test->patch_offset, (u8 *)base + test->patch_offset, test->patch_length);
      copy((u8 *)DATA + test->patch_offset, (u8 *)base + test->patch_offset, test->patch_length);
      copy((u8 *)DATA + now.diff_offset, (u8 *)base + now.diff_offset, now.diff_length);
      if (used > sizeof output - sizeof now - PAGE) {
        if (!drain(output, used)) return 4;
        used = 0;
      }
    }
  }
  return drain(output, used) ? 0 : 4;
}
