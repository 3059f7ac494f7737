import assert from "node:assert/strict";
import { PENDING } from "../../src/cpu/vcpu.ts";
import { OUTPUT } from "../../src/gic/gic_v3.ts";
import { MmioTable } from "../../src/gic/mmio_table.ts";
import { Bench, GICD_BASE, GICR_BASE, IRQ, SPURIOUS } from "./harness.ts";

Deno.test("output bits are the vCPU's pending bits", () => {
  for (const name of ["IRQ", "FIQ", "VIRQ", "VFIQ"] as const) assert.equal(OUTPUT[name], PENDING[name]);
});

Deno.test("the distributor announces 288 interrupts, one security state, affinity routing", () => {
  const b = new Bench();
  assert.equal(b.distributor(0x0000), 0x50);
  assert.equal(b.distributor(0x0004) & 0x1f, 8);
  assert.equal((b.distributor(0x0004) >>> 10) & 1, 0, "SecurityExtn");
  assert.equal(b.distributor(0x0008), 0x43b);
  assert.equal(b.distributor(0xffe8), 0x3b, "GICv3 in PIDR2");
  b.distributor(0x0000, 0xffffffff);
  assert.equal(b.distributor(0x0000), 0x53);
});

Deno.test("redistributors announce their affinity, number and the last of them", () => {
  const b = new Bench(3);
  for (let cpu = 0; cpu < 3; cpu++) {
    assert.equal(b.load(GICR_BASE + cpu * 0x20000 + 8), (0x01000000 | (cpu << 8) | (cpu === 2 ? 0x10 : 0)) >>> 0);
    assert.equal(b.load(GICR_BASE + cpu * 0x20000 + 12), cpu);
  }
});

Deno.test("GICR_WAKER wakes the children with the processor", () => {
  const b = new Bench();
  assert.equal(b.load(GICR_BASE + 0x14), 6);
  b.store(GICR_BASE + 0x14, 0);
  assert.equal(b.load(GICR_BASE + 0x14), 0);
  b.store(GICR_BASE + 0x14, 2);
  assert.equal(b.load(GICR_BASE + 0x14), 6);
});

Deno.test("priorities have five bits and take bytes and words", () => {
  const b = new Bench();
  b.store(GICD_BASE + 0x423, 0xff, 1);
  assert.equal(b.load(GICD_BASE + 0x423, 1), 0xf8);
  assert.equal(b.distributor(0x420), 0xf8000000);
  b.distributor(0x420, 0x11223344);
  assert.equal(b.distributor(0x420), 0x10203040);
  assert.equal(b.sgiFrame(0x400, 0xffffffff), 0xf8f8f8f8);
});

Deno.test("the distributor's banked words read as zero", () => {
  const b = new Bench();
  for (const offset of [0x080, 0x100, 0x200, 0x300, 0x400, 0xc00, 0xc04]) assert.equal(b.distributor(offset, -1), 0);
  assert.equal(b.sgiFrame(0x100), 0);
});

Deno.test("set and clear registers act on the bits that are written as 1", () => {
  const b = new Bench();
  assert.equal(b.distributor(0x104, 0xf0), 0xf0);
  assert.equal(b.distributor(0x184, 0x30), 0xc0);
  assert.equal(b.distributor(0x104, 0), 0xc0);
  assert.equal(b.distributor(0x304, 5), 5);
  assert.equal(b.distributor(0x384, 4), 1);
});

Deno.test("SGIs are edge-triggered for ever, PPIs can be set", () => {
  const b = new Bench();
  assert.equal(b.sgiFrame(0xc00, 0), 0xaaaaaaaa);
  assert.equal(b.sgiFrame(0xc04), 0);
  assert.equal(b.sgiFrame(0xc04, 0xffffffff), 0xaaaaaaaa);
});

Deno.test("malformed and reserved accesses read as zero, ignore writes and are traced", () => {
  const b = new Bench();
  const bad: [number, number][] = [[GICD_BASE + 0x104, 1], [GICD_BASE + 0x420, 2], [GICD_BASE + 0x5000, 4], [
    GICR_BASE + 0x10000 + 0x100,
    2,
  ]];
  for (const [address, bytes] of bad) {
    b.store(address, 0xff, bytes);
    assert.equal(b.load(address, bytes), 0);
  }
  assert.equal(b.errors.length, 2 * bad.length);
  assert.equal(b.distributor(0x104), 0);
  assert.equal(b.distributor(0x420), 0);
});

Deno.test("an SPI goes to the vCPU its route names, and moves with the route", () => {
  const b = new Bench(2).enable();
  b.configure(40, 0xa0);
  b.distributor(0x6000 + 8 * 40, 1);
  b.gic.spi(8)(true);
  assert.deepEqual(b.lines, [0, IRQ]);
  b.distributor(0x6000 + 8 * 40, 0);
  assert.deepEqual(b.lines, [IRQ, 0]);
  b.distributor(0x6000 + 8 * 40, 7);
  assert.deepEqual(b.lines, [0, 0], "no such vCPU");
});

Deno.test("an SPI for any vCPU goes to one whose redistributor is awake", () => {
  const b = new Bench(2).enable();
  b.configure(40, 0xa0);
  b.distributor(0x6000 + 8 * 40, 0x80000000);
  b.store(GICR_BASE + 0x20000 + 0x14, 0);
  b.gic.spi(8)(true);
  assert.deepEqual(b.lines, [0, IRQ]);
  b.store(GICR_BASE + 0x14, 0);
  assert.deepEqual(b.lines, [IRQ, 0]);
});

Deno.test("reset lowers all lines and forgets configuration", () => {
  const b = new Bench().enable();
  b.configure(40, 0xa0);
  b.gic.spi(8)(true);
  assert.deepEqual(b.lines, [IRQ]);
  b.gic.reset();
  assert.deepEqual(b.lines, [0]);
  assert.equal(b.distributor(0x104), 0);
  assert.equal(b.read("ICC_HPPIR1_EL1"), SPURIOUS);
});

Deno.test("a register table refuses rows that overlap or leave the block", () => {
  const row = (offset: number, count = 1) => ({ name: "A", offset, count });
  assert.throws(() => new MmioTable("t", 16, [row(0, 2), row(4)]), RangeError);
  assert.throws(() => new MmioTable("t", 16, [row(12, 2)]), RangeError);
  assert.throws(() => new MmioTable("t", 16, [row(2)]), RangeError);
});
