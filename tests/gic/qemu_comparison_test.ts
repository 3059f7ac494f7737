// The interrupt controller against QEMU's: random operations on the distributor, the redistributor, the CPU interface at
// EL2, the hypervisor's registers and the virtual interface at EL1 are assembled into a bare-metal program, run under
// qemu-system-aarch64, and repeated on our model; every value read and every output line (by ISR_EL1) must agree.
// Where QEMU deviates from the architecture on purpose or by omission, the generator keeps away; each place says so.

import assert from "node:assert/strict";
import { Bench, FIQ, IRQ, VFIQ, VIRQ } from "./harness.ts";

type Level = 1 | 2;
type Operation =
  | { kind: "read" | "write"; el: Level; name: string; value: bigint }
  | { kind: "load" | "store"; el: Level; address: number; bytes: number; value: bigint };

/** Encodings of system registers the assembler may not know by name. */
const ENCODING: Record<string, string> = Object.fromEntries([
  ...[0, 1].flatMap((g) => {
    const crm = g === 0 ? 8 : 12;
    return [
      [`ICC_IAR${g}_EL1`, `S3_0_C12_C${crm}_0`],
      [`ICC_EOIR${g}_EL1`, `S3_0_C12_C${crm}_1`],
      [`ICC_HPPIR${g}_EL1`, `S3_0_C12_C${crm}_2`],
      [`ICC_BPR${g}_EL1`, `S3_0_C12_C${crm}_3`],
      [`ICC_AP${g}R0_EL1`, g === 0 ? "S3_0_C12_C8_4" : "S3_0_C12_C9_0"],
      [`ICC_IGRPEN${g}_EL1`, `S3_0_C12_C12_${6 + g}`],
      [`ICH_AP${g}R0_EL2`, `S3_4_C12_C${8 + g}_0`],
    ];
  }),
  ["ICC_PMR_EL1", "S3_0_C4_C6_0"],
  ["ICC_DIR_EL1", "S3_0_C12_C11_1"],
  ["ICC_RPR_EL1", "S3_0_C12_C11_3"],
  ["ICC_SGI1R_EL1", "S3_0_C12_C11_5"],
  ["ICC_ASGI1R_EL1", "S3_0_C12_C11_6"],
  ["ICC_SGI0R_EL1", "S3_0_C12_C11_7"],
  ["ICC_CTLR_EL1", "S3_0_C12_C12_4"],
  ["ICC_SRE_EL1", "S3_0_C12_C12_5"],
  ["ICC_SRE_EL2", "S3_4_C12_C9_5"],
  ["ICH_HCR_EL2", "S3_4_C12_C11_0"],
  ["ICH_VTR_EL2", "S3_4_C12_C11_1"],
  ["ICH_MISR_EL2", "S3_4_C12_C11_2"],
  ["ICH_EISR_EL2", "S3_4_C12_C11_3"],
  ["ICH_ELRSR_EL2", "S3_4_C12_C11_5"],
  ["ICH_VMCR_EL2", "S3_4_C12_C11_7"],
  ...[0, 1, 2, 3].map((n) => [`ICH_LR${n}_EL2`, `S3_4_C12_C12_${n}`]),
]);

const GICD = 0x08000000, SGI = 0x080b0000;

class Random {
  constructor(private state: number) {}
  below(n: number): number {
    this.state = (Math.imul(this.state, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.state / 2 ** 32) * n);
  }
  word(): number {
    return (this.below(0x10000) * 0x10000 + this.below(0x10000)) >>> 0;
  }
  of<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}

/** Few interrupts, so that they meet: SGIs, the maintenance interrupt, SPIs. */
const INTERRUPTS = [1, 5, 25, 40, 41, 63] as const;

function generate(random: Random, count: number): Operation[] {
  const operations: Operation[] = [];
  let virtualSplit = false;
  const write = (el: Level, name: string, value: number | bigint) => {
    // QEMU counts an EOI without list register also when it would not deactivate: keeps the count 0 and without effect.
    const miscounted = el === 1 && virtualSplit && name.startsWith("ICC_EOIR");
    if (miscounted) write(2, "ICH_HCR_EL2", 1);
    operations.push({ kind: "write", el, name, value: BigInt(value) });
    if (miscounted) write(2, "ICH_HCR_EL2", 1);
    if (el === 1 && name === "ICC_CTLR_EL1") virtualSplit = (Number(value) & 2) !== 0;
    if (name === "ICH_VMCR_EL2") virtualSplit = (Number(value) & 0x200) !== 0;
  };
  const read = (el: Level, name: string) => operations.push({ kind: "read", el, name, value: 0n });
  const store = (address: number, value: number, bytes = 4) =>
    operations.push({ kind: "store", el: 2, address, bytes, value: BigInt(value >>> 0) });
  const load = (address: number) => operations.push({ kind: "load", el: 2, address, bytes: 4, value: 0n });
  const frame = (intid: number) => intid < 32 ? SGI : GICD;
  /** QEMU keeps eight bits of priority in the distributor: only values with five. */
  const priority = () => random.below(32) << 3;
  const intid = () => random.of(INTERRUPTS);
  const bits = () => [intid(), intid()].reduce((set, id) => set | (1 << (id & 31)), 0);

  store(GICD, 0x13);
  for (const id of INTERRUPTS) {
    if (id % 2) store(frame(id) + 0x80 + 4 * (id >>> 5), 0xffff5555);
    store(frame(id) + 0x400 + id, priority(), 1);
    store(frame(id) + 0x100 + 4 * (id >>> 5), 1 << (id & 31));
  }
  for (const el of [2, 1] as const) {
    write(el, "ICC_PMR_EL1", 0xf8);
    write(el, "ICC_IGRPEN0_EL1", 1);
    write(el, "ICC_IGRPEN1_EL1", 1);
  }
  write(2, "ICH_HCR_EL2", 1);

  const anyInterface = (el: Level) => {
    const group = random.below(2), id = el === 2 ? intid() : random.of([1020, 1023, 27, 28, 29, 40]);
    random.of([
      () => read(el, `ICC_IAR${group}_EL1`),
      () => read(el, `ICC_IAR${group}_EL1`),
      () => read(el, `ICC_IAR${group}_EL1`),
      () => write(el, `ICC_EOIR${group}_EL1`, id),
      () => write(el, `ICC_EOIR${group}_EL1`, id),
      () => write(el, "ICC_DIR_EL1", id),
      () => read(el, `ICC_HPPIR${group}_EL1`),
      () => write(el, "ICC_PMR_EL1", random.of([0xff, 0xf0, priority()])),
      () => read(el, "ICC_PMR_EL1"),
      () => write(el, "ICC_CTLR_EL1", random.of([0, 0, 1, 2, 3])),
      () => read(el, "ICC_CTLR_EL1"),
      () => write(el, `ICC_BPR${group}_EL1`, random.below(8)),
      () => read(el, `ICC_BPR${group}_EL1`),
      () => read(el, "ICC_RPR_EL1"),
      () => write(el, `ICC_AP${group}R0_EL1`, random.below(4) ? 0 : 1 << random.below(32)),
      () => read(el, `ICC_AP${group}R0_EL1`),
      // QEMU's physical interface lets a disabled group hide the other one's interrupts: the virtual one only.
      () => el === 1 && write(el, `ICC_IGRPEN${group}_EL1`, random.below(3) ? 1 : 0),
      () => read(el, `ICC_IGRPEN${group}_EL1`),
    ])();
  };
  const anyDistributor = () => {
    const id = intid(), at = frame(id) + 4 * (id >>> 5);
    random.of([
      () => store(at + 0x200, bits()),
      () => store(at + 0x200, bits()),
      () => store(at + 0x280, bits()),
      () => store(at + 0x380, bits()),
      () => store(at + 0x300, 1 << (id & 31)),
      () => store(at + 0x100, bits()),
      () => store(at + 0x100, bits()),
      () => store(at + 0x180, 1 << (id & 31)),
      () => store(frame(id) + 0x400 + id, priority(), 1),
      () => store(at + 0x80, random.word()),
      () => store(frame(id) + 0xc00 + 4 * (id >>> 4), random.word()),
      () => store(GICD, random.of([3, 3, 3, 1, 2, 0x50])),
      () => store(GICD + 0x6000 + 8 * (id | 32), random.of([0, 0, 1, 0x10000])),
      ...[0x80, 0x100, 0x180, 0x200, 0x280, 0x300, 0x380].map((offset) => () => load(at + offset)),
      () => load(frame(id) + 0xc00 + 4 * (id >>> 4)),
      () => load(frame(id) + 0x400 + (id & ~3)),
      () => load(GICD),
      () => load(GICD + 0x6000 + 8 * (id | 32)),
      // QEMU's SGI1R reaches group 1 only even in a single security state.
      () => write(2, random.of(["ICC_SGI0R_EL1", "ICC_ASGI1R_EL1"]), (BigInt(random.of([1, 5])) << 24n) | 1n),
    ])();
  };
  const listRegister = (): bigint => {
    const virtual = random.of([27, 28, 29, 40, 1021]), hardware = random.below(3) === 0;
    const low = hardware ? BigInt(random.of([40, 41, 5])) << 32n : BigInt(random.below(2)) << 41n;
    return (BigInt(random.of([0, 1, 1, 1, 2, 3])) << 62n) | (hardware ? 1n << 61n : 0n) |
      (BigInt(random.below(2)) << 60n) | (BigInt(priority()) << 48n) | low | BigInt(virtual);
  };
  const anyHypervisor = () => {
    const n = random.below(4);
    random.of([
      () => write(2, `ICH_LR${n}_EL2`, listRegister()),
      () => write(2, `ICH_LR${n}_EL2`, listRegister()),
      () => write(2, `ICH_LR${n}_EL2`, listRegister()),
      () => read(2, `ICH_LR${n}_EL2`),
      // QEMU's VGrp0D follows group 1's enable: VGrp0DIE is never set.
      () => write(2, "ICH_HCR_EL2", (random.word() & 0xf80000df) >>> 0),
      () => write(2, "ICH_HCR_EL2", 1),
      () => write(2, "ICH_HCR_EL2", 1 | (1 << random.of([1, 2, 3, 4, 6, 7]))),
      () => read(2, "ICH_HCR_EL2"),
      () => read(2, "ICH_VTR_EL2"),
      () => read(2, "ICH_MISR_EL2"),
      () => read(2, "ICH_EISR_EL2"),
      () => read(2, "ICH_ELRSR_EL2"),
      () => read(2, "ICH_VMCR_EL2"),
      // QEMU keeps the bits of VPMR that do not exist.
      () => write(2, "ICH_VMCR_EL2", (random.word() & 0xf8fc021b) >>> 0),
      () => write(2, `ICH_AP${n & 1}R0_EL2`, random.below(4) ? 0 : 1 << random.below(32)),
      () => read(2, `ICH_AP${n & 1}R0_EL2`),
    ])();
  };
  while (operations.length < count) {
    random.of([() => anyInterface(1), () => anyInterface(2), anyDistributor, anyHypervisor])();
  }
  return maskAtEl1(operations);
}

/** Physical interrupts are never masked at EL1 when they go to EL2: closes the priority mask around what runs at EL1. */
function maskAtEl1(operations: readonly Operation[]): Operation[] {
  const out: Operation[] = [];
  const setMask = (value: bigint) => out.push({ kind: "write", el: 2, name: "ICC_PMR_EL1", value });
  let el: Level = 2, mask = 0n;
  for (const op of operations) {
    if (op.el !== el) setMask(op.el === 1 ? 0n : mask);
    if (op.el === 2 && op.kind === "write" && op.name === "ICC_PMR_EL1") mask = op.value;
    el = op.el;
    out.push(op);
  }
  return out;
}

const constant = (register: string, value: bigint): string =>
  [0n, 16n, 32n, 48n].map((shift) =>
    `mov${shift ? "k" : "z"} ${register}, #${(value >> shift) & 0xffffn}, lsl #${shift}`
  )
    .join("\n");

/** Each operation stores what it read (0 for a write) and ISR_EL1. */
function assemble(operations: readonly Operation[]): string {
  const lines = [
    ".arch armv8-a+crc",
    ".globl _start",
    "_start:",
    "msr daifset, #15",
    "adrp x0, vectors\nadd x0, x0, :lo12:vectors\nmsr vbar_el2, x0",
    // RW, AMO, IMO, FMO.
    "mov x0, #0x38\norr x0, x0, #0x80000000\nmsr hcr_el2, x0",
    "mov x0, #15\nmsr S3_4_C12_C9_5, x0\nisb\nmov x0, #7\nmsr S3_0_C12_C12_5, x0\nisb",
    "mov x0, #0x3c5\nmsr spsr_el2, x0",
    "adrp x20, results\nadd x20, x20, :lo12:results",
  ];
  let el: Level = 2;
  const enter = (next: Level) => {
    if (next === el) return;
    lines.push(next === 1 ? "adr x0, 1f\nmsr elr_el2, x0\nmov x0, #0x3c5\nmsr spsr_el2, x0\neret\n1:" : "hvc #0");
    el = next;
  };
  for (const op of operations) {
    enter(op.el);
    lines.push(constant("x1", op.value));
    if ("name" in op) {
      const register = ENCODING[op.name]!;
      lines.push(op.kind === "write" ? `msr ${register}, x1\nmov x1, #0` : `mrs x1, ${register}`, "isb");
    } else {
      lines.push(constant("x2", BigInt(op.address)));
      const suffix = op.bytes === 1 ? "b" : "";
      lines.push(op.kind === "store" ? `str${suffix} w1, [x2]\nmov x1, #0` : `ldr${suffix} w1, [x2]`, "dsb sy\nisb");
    }
    lines.push("mrs x3, isr_el1\nstp x1, x3, [x20], #16");
  }
  enter(2);
  // Prints the results as hexadecimal words on the PL011 and powers off.
  lines.push(
    "adrp x21, results\nadd x21, x21, :lo12:results\nmov x22, #0x09000000",
    "2: cmp x21, x20\nb.hs 5f\nldr x1, [x21], #8\nmov x4, #64",
    "3: sub x4, x4, #4\nlsr x5, x1, x4\nand x5, x5, #15\nadd x5, x5, #48\ncmp x5, #58\nb.lo 4f\nadd x5, x5, #39",
    "4: str w5, [x22]\ncbnz x4, 3b\nmov x5, #10\nstr w5, [x22]\nb 2b",
    "5: ldr x0, =0x84000008\nsmc #0\nb .",
    ".ltorg\n.balign 2048\nvectors:",
    // HVC from EL1 goes on behind it at EL2; anything else ends the program with a mark.
    ".rept 8\nmov x0, #0x21\nmov x1, #0x09000000\nstr w0, [x1]\nldr x0, =0x84000008\nsmc #0\nb .\n.balign 128\n.endr",
    "mrs x0, spsr_el2\nmov x0, #0x3c9\nmsr spsr_el2, x0\neret\n.balign 2048",
    ".bss\n.balign 16\nresults: .skip 0x100000",
  );
  return lines.join("\n") + "\n";
}

function repeat(operations: readonly Operation[]): bigint[] {
  const b = new Bench();
  const out: bigint[] = [];
  for (const op of operations) {
    let value = 0n;
    if ("name" in op) {
      const view = op.el === 1 ? "virtual" : "physical";
      if (op.kind === "read") value = b.gic.readSysreg(op.name, 0, view);
      else b.gic.writeSysreg(op.name, 0, op.value, view);
    } else if (op.kind === "load") value = BigInt(b.load(op.address, op.bytes));
    else b.store(op.address, Number(op.value), op.bytes);
    const lines = b.lines[0]!;
    // ISR_EL1: I is bit 7, F is bit 6; EL1 sees the virtual lines.
    const [i, f] = op.el === 1 ? [VIRQ, VFIQ] : [IRQ, FIQ];
    out.push(value, BigInt((lines & i ? 0x80 : 0) | (lines & f ? 0x40 : 0)));
  }
  return out;
}

async function run(command: string, args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(command, { args, stdin: "null" }).output();
  assert.equal(code, 0, `${command}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

async function available(...commands: string[]): Promise<boolean> {
  try {
    for (const command of commands) await new Deno.Command(command, { args: ["--version"], stdout: "null" }).output();
    return true;
  } catch {
    return false;
  }
}

const show = (op: Operation): string =>
  `EL${op.el} ${op.kind} ${"name" in op ? op.name : "0x" + op.address.toString(16)} 0x${op.value.toString(16)}`;

Deno.test({
  name: "random operations read the same values and lines as QEMU's GICv3",
  ignore: !await available("qemu-system-aarch64", "aarch64-linux-gnu-gcc"),
  async fn() {
    const directory = await Deno.makeTempDir();
    try {
      const first = Number(Deno.env.get("VITRINE_SEED") ?? 1);
      for (let seed = first; seed < first + 4; seed++) {
        const operations = generate(new Random(seed), 4000);
        await Deno.writeTextFile(`${directory}/test.S`, assemble(operations));
        const flags = ["-nostdlib", "-static", "-Wl,-Ttext=0x40100000", "-Wl,--build-id=none", "-o"];
        await run("aarch64-linux-gnu-gcc", [...flags, `${directory}/test.elf`, `${directory}/test.S`]);
        const machine = "virt,gic-version=3,virtualization=on";
        const text = await run("qemu-system-aarch64", [
          ...[
            "-M",
            machine,
            "-cpu",
            "cortex-a57",
            "-m",
            "128",
            "-display",
            "none",
            "-monitor",
            "none",
            "-serial",
            "stdio",
          ],
          ...["-net", "none", "-kernel", `${directory}/test.elf`],
        ]);
        const theirs = text.trim().split("\n").map((word) => BigInt("0x" + word));
        const ours = repeat(operations);
        const at = ours.findIndex((value, i) => value !== theirs[i]);
        if (at >= 0) {
          const n = at >>> 1;
          const history = operations.slice(Math.max(0, n - 40), n + 1).map((op, i, all) => {
            const k = n - all.length + 1 + i;
            return `${show(op)} -> 0x${ours[2 * k]!.toString(16)} lines ${ours[2 * k + 1]!.toString(16)}`;
          });
          assert.fail(
            `seed ${seed}, operation ${n}: ${at & 1 ? "ISR_EL1" : "value"} is 0x${ours[at]!.toString(16)}, ` +
              `QEMU has 0x${theirs[at]?.toString(16)}\n${history.join("\n")}`,
          );
        }
      }
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
});
