// The interrupt controller against QEMU's: random operations on the distributor, the redistributor, the CPU interface at
// EL2, the hypervisor's registers and the virtual interface at EL1; see qemu_program.ts. Every value read and every output
// line (by ISR_EL1) must agree.
// Where QEMU deviates from the architecture on purpose or by omission, the generator keeps away; each place says so.

import { Bench, FIQ, IRQ, VFIQ, VIRQ } from "./harness.ts";
import {
  assemble,
  assertAgree,
  canRun,
  type Level,
  maskAtEl1,
  type Operation,
  Random,
  runOnQemu,
} from "./qemu_program.ts";

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
  return maskAtEl1(operations, MASK);
}

const PMR = "ICC_PMR_EL1";
const MASK = {
  write: (value: bigint): Operation => ({ kind: "write", el: 2, name: PMR, value }),
  written: (op: Operation) => op.kind === "write" && op.name === PMR ? op.value : undefined,
};

const PROLOGUE = ["mov x0, #15\nmsr S3_4_C12_C9_5, x0\nisb\nmov x0, #7\nmsr S3_0_C12_C12_5, x0\nisb"];

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

Deno.test({
  name: "random operations read the same values and lines as QEMU's GICv3",
  ignore: !await canRun(),
  async fn() {
    const first = Number(Deno.env.get("VITRINE_SEED") ?? 1);
    for (let seed = first; seed < first + 4; seed++) {
      const operations = generate(new Random(seed), 4000);
      const theirs = await runOnQemu(assemble(operations, PROLOGUE, ENCODING), "virt,gic-version=3,virtualization=on");
      assertAgree(operations, repeat(operations), theirs, `seed ${seed}`);
    }
  },
});
