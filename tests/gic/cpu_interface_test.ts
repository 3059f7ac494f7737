import assert from "node:assert/strict";
import { REGISTERS, SYSREG_NAMES } from "../../src/arch/sysregs.ts";
import { GIC_SYSREGS, virtualViewBits } from "../../src/gic/gic_v3.ts";
import { Bench, FIQ, IRQ, SPURIOUS } from "./harness.ts";

Deno.test("a level-sensitive interrupt is pending while its line is high and again after deactivation", () => {
  const b = new Bench().enable(), line = b.gic.spi(1);
  b.configure(33, 0xa0);
  line(true);
  assert.deepEqual(b.lines, [IRQ]);
  assert.equal(b.read("ICC_HPPIR1_EL1"), 33);
  assert.equal(b.read("ICC_IAR1_EL1"), 33);
  assert.deepEqual(b.lines, [0], "active, not pending for the CPU");
  assert.equal(b.distributor(0x204), 2, "still pending in the distributor");
  b.write("ICC_EOIR1_EL1", 33);
  assert.deepEqual(b.lines, [IRQ], "the line is still high");
  line(false);
  assert.deepEqual(b.lines, [0]);
  assert.equal(b.read("ICC_IAR1_EL1"), SPURIOUS);
});

Deno.test("an edge latches once, also while its interrupt is active", () => {
  const b = new Bench().enable(), line = b.gic.spi(1);
  b.configure(33, 0xa0, { edge: true });
  line(true);
  line(false);
  assert.deepEqual(b.lines, [IRQ]);
  assert.equal(b.read("ICC_IAR1_EL1"), 33);
  assert.equal(b.distributor(0x204), 0);
  line(true);
  assert.equal(b.distributor(0x204), 2);
  assert.deepEqual(b.lines, [0]);
  b.write("ICC_EOIR1_EL1", 33);
  assert.deepEqual(b.lines, [IRQ]);
  assert.equal(b.read("ICC_IAR1_EL1"), 33);
  b.write("ICC_EOIR1_EL1", 33);
  assert.deepEqual(b.lines, [0], "a high line makes no new edge");
});

Deno.test("GICD_ISPENDR makes a level-sensitive interrupt pending until it is acknowledged or cleared", () => {
  const b = new Bench().enable();
  b.configure(33, 0xa0);
  b.distributor(0x204, 2);
  assert.deepEqual(b.lines, [IRQ]);
  b.distributor(0x284, 2);
  assert.deepEqual(b.lines, [0]);
  b.distributor(0x204, 2);
  assert.equal(b.read("ICC_IAR1_EL1"), 33);
  b.write("ICC_EOIR1_EL1", 33);
  assert.deepEqual(b.lines, [0]);
});

Deno.test("the lowest priority value is delivered first, the lowest number among equals", () => {
  const b = new Bench().enable();
  for (const [intid, priority] of [[50, 0xa0], [40, 0xa0], [60, 0x80], [20, 0xa8]] as const) {
    b.configure(intid, priority);
    (intid < 32 ? b.gic.ppi(0, intid) : b.gic.spi(intid - 32))(true);
  }
  b.write("ICC_CTLR_EL1", 2);
  const order: number[] = [];
  for (let i = 0; i < 4; i++) {
    order.push(b.read("ICC_IAR1_EL1"));
    b.write("ICC_EOIR1_EL1", order[i]!);
  }
  assert.deepEqual(order, [60, 40, 50, 20]);
});

Deno.test("an interrupt must be above the priority mask", () => {
  const b = new Bench().enable();
  b.configure(33, 0xa0);
  b.write("ICC_PMR_EL1", 0xa0);
  b.gic.spi(1)(true);
  assert.deepEqual(b.lines, [0]);
  assert.equal(b.read("ICC_IAR1_EL1"), SPURIOUS);
  assert.equal(b.read("ICC_HPPIR1_EL1"), 33, "the mask does not hide it from HPPIR");
  b.write("ICC_PMR_EL1", 0xa8);
  assert.deepEqual(b.lines, [IRQ]);
  b.write("ICC_PMR_EL1", 0xff);
  assert.equal(b.read("ICC_PMR_EL1"), 0xf8, "five bits of priority");
});

Deno.test("a higher priority preempts and the running priority follows", () => {
  const b = new Bench().enable();
  b.configure(33, 0xa0);
  b.configure(34, 0x80);
  b.gic.spi(1)(true);
  assert.equal(b.read("ICC_RPR_EL1"), 0xff);
  assert.equal(b.read("ICC_IAR1_EL1"), 33);
  assert.equal(b.read("ICC_RPR_EL1"), 0xa0);
  b.gic.spi(2)(true);
  assert.deepEqual(b.lines, [IRQ]);
  assert.equal(b.read("ICC_IAR1_EL1"), 34);
  assert.equal(b.read("ICC_RPR_EL1"), 0x80);
  assert.equal(b.read("ICC_AP1R0_EL1"), (1 << 16) | (1 << 20));
  b.gic.spi(2)(false);
  b.write("ICC_EOIR1_EL1", 34);
  assert.equal(b.read("ICC_RPR_EL1"), 0xa0);
  b.gic.spi(1)(false);
  b.write("ICC_EOIR1_EL1", 33);
  assert.equal(b.read("ICC_RPR_EL1"), 0xff);
});

Deno.test("the binary point keeps subpriorities from preempting", () => {
  const b = new Bench().enable();
  b.configure(33, 0xb0);
  b.configure(34, 0xa0);
  b.write("ICC_BPR1_EL1", 6); // group priority in bits 7:6
  b.gic.spi(1)(true);
  assert.equal(b.read("ICC_IAR1_EL1"), 33);
  assert.equal(b.read("ICC_RPR_EL1"), 0x80);
  b.gic.spi(2)(true);
  assert.deepEqual(b.lines, [0]);
  b.write("ICC_BPR1_EL1", 3);
  assert.deepEqual(b.lines, [0], "the running priority was cut at acknowledge");
  b.write("ICC_EOIR1_EL1", 33);
  assert.equal(b.read("ICC_IAR1_EL1"), 34);
});

Deno.test("binary points have minima, and CBPR gives group 1 the register of group 0", () => {
  const b = new Bench().enable();
  b.write("ICC_BPR0_EL1", 0);
  b.write("ICC_BPR1_EL1", 0);
  assert.deepEqual([b.read("ICC_BPR0_EL1"), b.read("ICC_BPR1_EL1")], [2, 3]);
  b.write("ICC_BPR0_EL1", 5);
  b.write("ICC_CTLR_EL1", 1);
  assert.equal(b.read("ICC_BPR1_EL1"), 6);
  b.write("ICC_BPR1_EL1", 7);
  assert.equal(b.read("ICC_BPR1_EL1"), 6);
  b.write("ICC_CTLR_EL1", 0);
  assert.equal(b.read("ICC_BPR1_EL1"), 3);
});

Deno.test("group 0 is an FIQ with its own registers, group 1 an IRQ", () => {
  const b = new Bench().enable();
  b.configure(33, 0x80, { group: 0 });
  b.configure(34, 0xa0);
  b.gic.spi(1)(true);
  b.gic.spi(2)(true);
  assert.deepEqual(b.lines, [FIQ]);
  assert.equal(b.read("ICC_IAR1_EL1"), SPURIOUS);
  assert.equal(b.read("ICC_HPPIR1_EL1"), SPURIOUS);
  assert.equal(b.read("ICC_IAR0_EL1"), 33);
  b.gic.spi(1)(false);
  b.write("ICC_EOIR1_EL1", 33);
  assert.equal(b.read("ICC_RPR_EL1"), 0x80, "the wrong group's EOIR is ignored");
  b.write("ICC_EOIR0_EL1", 33);
  assert.deepEqual(b.lines, [IRQ]);
});

Deno.test("a disabled group does not hide the other one", () => {
  const b = new Bench().enable();
  b.configure(33, 0x80, { group: 0 });
  b.configure(34, 0xa0);
  b.gic.spi(1)(true);
  b.gic.spi(2)(true);
  b.write("ICC_IGRPEN0_EL1", 0);
  assert.deepEqual(b.lines, [IRQ]);
  b.distributor(0, 1);
  assert.deepEqual(b.lines, [0]);
});

Deno.test("EOImode 1 drops the priority at EOIR and deactivates at DIR", () => {
  const b = new Bench().enable();
  b.write("ICC_CTLR_EL1", 2);
  b.configure(33, 0xa0);
  b.configure(34, 0xa0);
  b.gic.spi(1)(true);
  b.gic.spi(2)(true);
  assert.equal(b.read("ICC_IAR1_EL1"), 33);
  assert.deepEqual(b.lines, [0]);
  b.write("ICC_EOIR1_EL1", 33);
  assert.equal(b.read("ICC_RPR_EL1"), 0xff);
  assert.equal(b.distributor(0x304), 2, "still active");
  assert.deepEqual(b.lines, [IRQ]);
  assert.equal(b.read("ICC_IAR1_EL1"), 34);
  b.write("ICC_EOIR1_EL1", 34);
  b.write("ICC_DIR_EL1", 33);
  assert.equal(b.distributor(0x304), 4);
  assert.equal(b.read("ICC_IAR1_EL1"), 33);
});

Deno.test("DIR with EOImode 0 and EOIR of what cannot run are ignored", () => {
  const b = new Bench().enable();
  b.configure(33, 0xa0);
  b.gic.spi(1)(true);
  assert.equal(b.read("ICC_IAR1_EL1"), 33);
  b.write("ICC_DIR_EL1", 33);
  b.write("ICC_EOIR1_EL1", 1023);
  b.write("ICC_EOIR1_EL1", 5000);
  assert.equal(b.distributor(0x304), 2);
  assert.equal(b.read("ICC_RPR_EL1"), 0xa0);
  b.write("ICC_EOIR1_EL1", 33);
  b.write("ICC_EOIR1_EL1", 33);
  assert.equal(b.errors.length, 3);
});

Deno.test("an SGI reaches the vCPUs of its target list", () => {
  const b = new Bench(4).enable();
  for (let cpu = 0; cpu < 4; cpu++) b.configure(5, 0x80, { cpu });
  b.write("ICC_SGI1R_EL1", (5n << 24n) | 0b1010n, 0);
  assert.deepEqual(b.lines, [0, IRQ, 0, IRQ]);
  assert.equal(b.read("ICC_IAR1_EL1", 3), 5);
  b.write("ICC_EOIR1_EL1", 5, 3);
  assert.deepEqual(b.lines, [0, IRQ, 0, 0]);
  b.write("ICC_SGI1R_EL1", (5n << 24n) | (1n << 16n) | 1n, 0);
  assert.deepEqual(b.lines, [0, IRQ, 0, 0], "no vCPU has Aff1 = 1");
});

Deno.test("an SGI with IRM reaches all but its sender", () => {
  const b = new Bench(3).enable();
  for (let cpu = 0; cpu < 3; cpu++) b.configure(5, 0x80, { cpu });
  b.write("ICC_SGI1R_EL1", (1n << 40n) | (5n << 24n), 1);
  assert.deepEqual(b.lines, [IRQ, 0, IRQ]);
});

Deno.test("SGI0R and ASGI1R reach group 0 only, SGI1R both groups of the one security state", () => {
  const b = new Bench().enable();
  b.configure(1, 0x80, { group: 0 });
  b.configure(2, 0x80);
  const pending = () => b.sgiFrame(0x200);
  b.write("ICC_SGI0R_EL1", (2n << 24n) | 1n);
  b.write("ICC_ASGI1R_EL1", (2n << 24n) | 1n);
  assert.equal(pending(), 0);
  b.write("ICC_ASGI1R_EL1", (1n << 24n) | 1n);
  assert.equal(pending(), 2);
  b.write("ICC_SGI1R_EL1", (2n << 24n) | 1n);
  assert.equal(pending(), 6);
});

Deno.test("outputs are reported when they change and not otherwise", () => {
  const b = new Bench().enable();
  b.configure(33, 0xa0);
  b.configure(34, 0xa0);
  const before = b.reports;
  b.gic.spi(1)(true);
  b.gic.spi(1)(true);
  b.gic.spi(2)(true);
  assert.equal(b.reports, before + 1);
});

Deno.test("a restored state reports its lines", () => {
  const b = new Bench().enable();
  b.configure(33, 0xa0);
  b.gic.spi(1)(true);
  b.lines[0] = 0;
  b.gic.refresh();
  assert.deepEqual(b.lines, [IRQ]);
});

Deno.test("every register answers in both views, and HCR_EL2 decides by the register's group", () => {
  const b = new Bench().enable();
  for (const name of GIC_SYSREGS) {
    b.read(name);
    b.vread(name);
    b.write(name, 0);
    b.vwrite(name, 0);
  }
  assert.deepEqual(
    ["ICC_IAR0_EL1", "ICC_AP0R0_EL1", "ICC_AP1R0_EL1", "ICC_DIR_EL1", "ICC_SRE_EL1", "ICC_SGI1R_EL1", "ICH_HCR_EL2"]
      .map(virtualViewBits),
    [0x08, 0x08, 0x10, 0x18, 0, 0, 0],
  );
  assert.equal(b.read("ICC_SRE_EL1"), 7);
  assert.equal(b.read("ICC_SRE_EL2"), 15);
  assert.equal(b.read("ICC_CTLR_EL1"), 0x8c00);
});

Deno.test("every register whose owner is the interrupt controller is there", () => {
  const owned = SYSREG_NAMES.filter((name) => REGISTERS[name].owner === "gic");
  assert.deepEqual(owned.filter((name) => !GIC_SYSREGS.includes(name)), []);
});

Deno.test("a name with ICV_ is the virtual view", () => {
  const b = new Bench();
  b.write("ICV_PMR_EL1", 0x80);
  assert.deepEqual([b.read("ICV_PMR_EL1"), b.vread("ICC_PMR_EL1"), b.read("ICC_PMR_EL1")], [0x80, 0x80, 0]);
});
