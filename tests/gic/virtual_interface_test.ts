import assert from "node:assert/strict";
import { Bench, IRQ, SPURIOUS, VFIQ, VIRQ } from "./harness.ts";

const PENDING = 1n << 62n, ACTIVE = 1n << 63n, GROUP1 = 1n << 60n, EOI = 1n << 41n;
const hardware = (pintid: number) => (1n << 61n) | (BigInt(pintid) << 32n);
const entry = (vintid: number, priority: number, flags: bigint) => BigInt(vintid) | (BigInt(priority) << 48n) | flags;
const stateOf = (b: Bench, n: number) => Number(b.gic.readSysreg(`ICH_LR${n}_EL2`, 0, "physical") >> 62n);

/** A virtual machine with both groups on and its mask open. */
function virtualMachine(): Bench {
  const b = new Bench().enable();
  b.write("ICH_HCR_EL2", 1);
  b.vwrite("ICC_PMR_EL1", 0xff);
  b.vwrite("ICC_IGRPEN0_EL1", 1);
  b.vwrite("ICC_IGRPEN1_EL1", 1);
  return b;
}

const MAINTENANCE = 1 << 25;
const maintenance = (b: Bench) => (b.sgiFrame(0x200) & MAINTENANCE) !== 0;

Deno.test("ICH_VTR announces four list registers and five bits of priority", () => {
  const vtr = new Bench().read("ICH_VTR_EL2");
  assert.equal(vtr & 0x1f, 3);
  assert.equal((vtr >>> 26) & 7, 4);
  assert.equal(vtr >>> 29, 4);
});

Deno.test("a pending list register is acknowledged, runs and becomes invalid at EOI", () => {
  const b = virtualMachine();
  b.write("ICH_LR1_EL2", entry(27, 0xa0, PENDING | GROUP1));
  assert.deepEqual(b.lines, [VIRQ]);
  assert.equal(b.vread("ICC_HPPIR1_EL1"), 27);
  assert.equal(b.vread("ICC_IAR0_EL1"), SPURIOUS);
  assert.equal(b.vread("ICC_IAR1_EL1"), 27);
  assert.deepEqual(b.lines, [0]);
  assert.equal(stateOf(b, 1), 2);
  assert.equal(b.vread("ICC_RPR_EL1"), 0xa0);
  assert.equal(b.read("ICH_AP1R0_EL2"), 1 << 20);
  assert.equal(b.read("ICC_RPR_EL1"), 0xff, "the physical interface runs nothing");
  b.vwrite("ICC_EOIR1_EL1", 27);
  assert.equal(stateOf(b, 1), 0);
  assert.equal(b.vread("ICC_RPR_EL1"), 0xff);
});

Deno.test("virtual group 0 is a virtual FIQ", () => {
  const b = virtualMachine();
  b.write("ICH_LR0_EL2", entry(40, 0x80, PENDING));
  assert.deepEqual(b.lines, [VFIQ]);
  assert.equal(b.vread("ICC_IAR0_EL1"), 40);
  b.vwrite("ICC_EOIR0_EL1", 40);
  assert.deepEqual(b.lines, [0]);
});

Deno.test("list registers are delivered in priority order and preempt each other", () => {
  const b = virtualMachine();
  b.write("ICH_LR0_EL2", entry(40, 0xa0, PENDING | GROUP1));
  assert.equal(b.vread("ICC_IAR1_EL1"), 40);
  b.write("ICH_LR1_EL2", entry(41, 0xa0, PENDING | GROUP1));
  assert.deepEqual(b.lines, [0], "equal priority waits");
  b.write("ICH_LR3_EL2", entry(42, 0x40, PENDING | GROUP1));
  assert.deepEqual(b.lines, [VIRQ]);
  assert.equal(b.vread("ICC_IAR1_EL1"), 42);
  b.vwrite("ICC_EOIR1_EL1", 42);
  assert.equal(b.vread("ICC_RPR_EL1"), 0xa0);
  b.vwrite("ICC_EOIR1_EL1", 40);
  assert.equal(b.vread("ICC_IAR1_EL1"), 41);
});

Deno.test("the virtual priority mask and ICH_HCR.En hold interrupts back", () => {
  const b = virtualMachine();
  b.vwrite("ICC_PMR_EL1", 0x80);
  b.write("ICH_LR0_EL2", entry(40, 0x80, PENDING | GROUP1));
  assert.deepEqual(b.lines, [0]);
  assert.equal(b.vread("ICC_IAR1_EL1"), SPURIOUS);
  b.vwrite("ICC_PMR_EL1", 0x88);
  assert.deepEqual(b.lines, [VIRQ]);
  b.write("ICH_HCR_EL2", 0);
  assert.deepEqual(b.lines, [0]);
  assert.equal(b.vread("ICC_IAR1_EL1"), SPURIOUS);
});

Deno.test("virtual group enables select what is pending", () => {
  const b = virtualMachine();
  b.write("ICH_LR0_EL2", entry(40, 0x40, PENDING));
  b.write("ICH_LR1_EL2", entry(41, 0x80, PENDING | GROUP1));
  assert.deepEqual(b.lines, [VFIQ]);
  b.vwrite("ICC_IGRPEN0_EL1", 0);
  assert.deepEqual(b.lines, [VIRQ]);
  b.vwrite("ICC_IGRPEN1_EL1", 0);
  assert.deepEqual(b.lines, [0]);
});

Deno.test("what is pending and active becomes pending at EOI", () => {
  const b = virtualMachine();
  b.write("ICH_LR0_EL2", entry(40, 0x80, PENDING | GROUP1));
  b.vread("ICC_IAR1_EL1");
  b.write("ICH_LR0_EL2", entry(40, 0x80, PENDING | ACTIVE | GROUP1));
  assert.deepEqual(b.lines, [0]);
  b.vwrite("ICC_EOIR1_EL1", 40);
  assert.equal(stateOf(b, 0), 1);
  assert.deepEqual(b.lines, [VIRQ]);
});

Deno.test("a hardware list register deactivates its physical interrupt", () => {
  const b = virtualMachine();
  b.write("ICC_CTLR_EL1", 2);
  b.configure(27, 0xa0);
  b.gic.ppi(0, 27)(true);
  assert.equal(b.read("ICC_IAR1_EL1"), 27);
  b.write("ICC_EOIR1_EL1", 27);
  assert.equal(b.sgiFrame(0x300), 1 << 27);
  b.write("ICH_LR0_EL2", entry(40, 0x80, PENDING | GROUP1 | hardware(27)));
  assert.equal(b.vread("ICC_IAR1_EL1"), 40);
  assert.deepEqual(b.lines, [0]);
  b.vwrite("ICC_EOIR1_EL1", 40);
  assert.equal(b.sgiFrame(0x300), 0);
  assert.deepEqual(b.lines, [IRQ], "the level is still there");
});

Deno.test("virtual EOImode 1 splits priority drop and deactivation", () => {
  const b = virtualMachine();
  b.vwrite("ICC_CTLR_EL1", 2);
  b.write("ICH_LR0_EL2", entry(40, 0x80, PENDING | GROUP1));
  b.vread("ICC_IAR1_EL1");
  b.vwrite("ICC_EOIR1_EL1", 40);
  assert.equal(b.vread("ICC_RPR_EL1"), 0xff);
  assert.equal(stateOf(b, 0), 2);
  b.vwrite("ICC_DIR_EL1", 40);
  assert.equal(stateOf(b, 0), 0);
});

Deno.test("an EOI or DIR without a list register is counted", () => {
  const b = virtualMachine();
  const count = () => b.read("ICH_HCR_EL2") >>> 27;
  b.vwrite("ICC_EOIR1_EL1", 40);
  assert.equal(count(), 0, "nothing was running");
  b.write("ICH_AP1R0_EL2", 1 << 16);
  b.vwrite("ICC_EOIR1_EL1", 40);
  assert.equal(count(), 1);
  assert.equal(b.vread("ICC_RPR_EL1"), 0xff);
  b.vwrite("ICC_CTLR_EL1", 2);
  b.vwrite("ICC_DIR_EL1", 40);
  assert.equal(count(), 2);
  b.vwrite("ICC_DIR_EL1", 9000);
  assert.equal(count(), 2, "LPIs are not counted");
  assert.equal(maintenance(b), false);
  b.write("ICH_HCR_EL2", b.read("ICH_HCR_EL2") | 4);
  assert.equal(b.read("ICH_MISR_EL2"), 4);
  assert.equal(maintenance(b), true);
});

Deno.test("underflow is due with less than two valid list registers", () => {
  const b = virtualMachine();
  b.configure(25, 0x10);
  b.write("ICH_LR0_EL2", entry(40, 0x80, ACTIVE | GROUP1));
  b.write("ICH_LR1_EL2", entry(41, 0x80, ACTIVE | GROUP1));
  b.write("ICH_HCR_EL2", 1 | 2);
  assert.equal(b.read("ICH_MISR_EL2"), 0);
  assert.deepEqual(b.lines, [0]);
  b.write("ICH_LR1_EL2", 0);
  assert.equal(b.read("ICH_MISR_EL2"), 2);
  assert.deepEqual(b.lines, [IRQ], "the maintenance interrupt is a physical one");
  assert.equal(b.read("ICC_IAR1_EL1"), 25);
  b.write("ICH_HCR_EL2", 1);
  b.write("ICC_EOIR1_EL1", 25);
  assert.deepEqual(b.lines, [0]);
});

Deno.test("EOI maintenance is due for a list register that asked for it, and keeps it from being empty", () => {
  const b = virtualMachine();
  b.write("ICH_LR2_EL2", entry(40, 0x80, PENDING | GROUP1 | EOI));
  assert.equal(b.read("ICH_ELRSR_EL2"), 0b1011);
  b.vread("ICC_IAR1_EL1");
  assert.equal(b.read("ICH_EISR_EL2"), 0);
  b.vwrite("ICC_EOIR1_EL1", 40);
  assert.equal(b.read("ICH_EISR_EL2"), 4);
  assert.equal(b.read("ICH_ELRSR_EL2"), 0b1011);
  assert.equal(b.read("ICH_MISR_EL2"), 1);
  assert.equal(maintenance(b), true);
  b.write("ICH_LR2_EL2", 0);
  assert.equal(b.read("ICH_ELRSR_EL2"), 0b1111);
  assert.equal(maintenance(b), false);
});

Deno.test("no-pending maintenance is due when nothing waits", () => {
  const b = virtualMachine();
  b.write("ICH_LR0_EL2", entry(40, 0x80, PENDING | GROUP1));
  b.write("ICH_HCR_EL2", 1 | 8);
  assert.equal(b.read("ICH_MISR_EL2"), 0);
  b.vread("ICC_IAR1_EL1");
  assert.equal(b.read("ICH_MISR_EL2"), 8);
  assert.equal(maintenance(b), true);
});

Deno.test("group enable and disable maintenance follow the virtual enables", () => {
  const b = virtualMachine();
  b.write("ICH_HCR_EL2", 1 | 0xf0);
  assert.equal(b.read("ICH_MISR_EL2"), 0x50);
  b.vwrite("ICC_IGRPEN0_EL1", 0);
  assert.equal(b.read("ICH_MISR_EL2"), 0x60);
  b.vwrite("ICC_IGRPEN1_EL1", 0);
  assert.equal(b.read("ICH_MISR_EL2"), 0xa0);
  assert.equal(maintenance(b), true);
  b.write("ICH_HCR_EL2", 0xf0);
  assert.equal(maintenance(b), false, "ICH_HCR.En is off");
});

Deno.test("ICH_VMCR and the virtual machine's registers are the same state", () => {
  const b = new Bench();
  b.vwrite("ICC_PMR_EL1", 0xff);
  b.vwrite("ICC_BPR0_EL1", 4);
  b.vwrite("ICC_BPR1_EL1", 5);
  b.vwrite("ICC_CTLR_EL1", 2);
  b.vwrite("ICC_IGRPEN1_EL1", 1);
  assert.equal(b.read("ICH_VMCR_EL2"), ((0xf8 << 24) | (4 << 21) | (5 << 18) | (1 << 9) | (1 << 3) | 2) >>> 0);
  b.write("ICH_VMCR_EL2", (0x80 << 24) | (1 << 4) | 1);
  assert.equal(b.vread("ICC_PMR_EL1"), 0x80);
  assert.equal(b.vread("ICC_CTLR_EL1"), 0x8c01);
  assert.deepEqual([b.vread("ICC_BPR0_EL1"), b.vread("ICC_BPR1_EL1")], [2, 3]);
  assert.deepEqual([b.vread("ICC_IGRPEN0_EL1"), b.vread("ICC_IGRPEN1_EL1")], [1, 0]);
  assert.equal(b.read("ICC_PMR_EL1"), 0, "the physical interface is untouched");
});

Deno.test("a special number in a list register is returned without becoming active", () => {
  const b = virtualMachine();
  b.write("ICH_LR0_EL2", entry(1021, 0x80, PENDING | GROUP1));
  assert.equal(b.vread("ICC_IAR1_EL1"), 1021);
  assert.equal(stateOf(b, 0), 0);
  assert.equal(b.vread("ICC_RPR_EL1"), 0xff);
});

Deno.test("list registers keep what is writable", () => {
  const b = new Bench();
  b.write("ICH_LR0_EL2", (1n << 64n) - 1n);
  assert.equal(b.gic.readSysreg("ICH_LR0_EL2", 0, "physical"), 0xf0f81fffffffffffn);
});
