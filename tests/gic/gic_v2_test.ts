// GICv2 where the comparison with QEMU does not go: several targets, senders, aliased registers, the board's places.

import assert from "node:assert/strict";
import { MEMORY_MAP, SPI } from "../../src/machine/memory_map.ts";
import { V2M_FIRST_SPI } from "../../src/gic/v2m.ts";
import {
  BenchV2,
  C,
  ENABLE,
  EOI_MODE,
  FIQ,
  FIQ_ENABLE,
  GICC,
  GICD,
  GICH,
  GICV,
  H,
  IRQ,
  SPURIOUS,
  V2M,
  VFIQ,
  VIRQ,
} from "./harness_v2.ts";

const pendingWord = (b: BenchV2, word: number, cpu = 0) => b.load(GICD + 0x200 + 4 * word, { cpu });

Deno.test("regions lie where the board has them, those for a hypervisor only with EL2", () => {
  const { gicDistributor, gicV2Cpu, gicV2m, gicV2Hypervisor, gicV2VirtualCpu } = MEMORY_MAP;
  const windows = [gicDistributor, gicV2Cpu, gicV2m, gicV2Hypervisor, gicV2VirtualCpu];
  const { regions } = new BenchV2().gic;
  assert.deepEqual(regions.map(({ base }) => base), windows.map(({ base }) => base));
  regions.forEach(({ name, size }, n) => assert(size <= windows[n]!.size, name));
  assert.equal(V2M_FIRST_SPI, SPI.gicV2m);
  assert.deepEqual(new BenchV2(1, false).gic.regions.map(({ name }) => name), ["gicd", "gicc", "v2m"]);
});

Deno.test("the distributor announces its CPUs, groups and architecture version 2", () => {
  const b = new BenchV2(8);
  assert.equal(b.load(GICD + 4), 8 | (7 << 5));
  assert.equal((b.load(GICD + 0xfe8) >>> 4) & 0xf, 2);
  assert.equal((b.load(GICC + 0xfc) >>> 16) & 0xf, 2);
  b.store(GICD, 0xffffffff);
  assert.equal(b.load(GICD), 3);
});

Deno.test("all eight bits of a priority exist, seven of them preempt", () => {
  const b = new BenchV2().enable();
  b.configure(40, 0x81);
  b.configure(41, 0x80);
  b.configure(42, 0x7f);
  b.gic.spi(8)(true);
  assert.equal(b.load(GICC + C.IAR), 40);
  assert.equal(b.load(GICC + C.RPR), 0x80);
  b.gic.spi(9)(true);
  assert.deepEqual(b.lines, [0], "the same group priority");
  b.gic.spi(10)(true);
  assert.deepEqual(b.lines, [IRQ]);
  assert.equal(b.load(GICC + C.IAR), 42);
  assert.deepEqual([1, 2].map((n) => b.load(GICC + C.APR + 4 * n)), [0x8000_0000, 1]);
});

Deno.test("registers of private interrupts are banked", () => {
  const b = new BenchV2(2).enable();
  b.store(GICD + 0x100, 1 << 27, { cpu: 1 });
  b.store(GICD + 0x41b, 0x40, { cpu: 1, bytes: 1 });
  assert.equal(b.load(GICD + 0x100), 0xffff);
  assert.equal(b.load(GICD + 0x100, { cpu: 1 }), 0x0800ffff);
  assert.equal(b.load(GICD + 0x418), 0);
  b.gic.ppi(0, 27)(true);
  b.gic.ppi(1, 27)(true);
  assert.deepEqual(b.lines, [0, IRQ]);
  assert.deepEqual([0, 1].map((cpu) => b.load(GICD + 0x800, { cpu })), [0x01010101, 0x02020202]);
});

Deno.test("an interrupt with several targets goes to the first that takes it", () => {
  const b = new BenchV2(3).enable();
  b.configure(40, 0x80, { targets: 0xfe });
  assert.equal(b.load(GICD + 0x828, { bytes: 1 }), 6, "targets that exist");
  b.gic.spi(8)(true);
  assert.deepEqual(b.lines, [0, IRQ, IRQ]);
  assert.equal(b.load(GICC + C.IAR, { cpu: 2 }), 40);
  assert.deepEqual(b.lines, [0, 0, 0]);
  assert.equal(b.load(GICC + C.IAR, { cpu: 1 }), SPURIOUS);
  b.store(GICC + C.EOIR, 40, { cpu: 2 });
  assert.deepEqual(b.lines, [0, IRQ, IRQ]);
  b.store(GICD + 0x828, 1, { bytes: 1 });
  assert.deepEqual(b.lines, [IRQ, 0, 0], "pending follows the target");
  b.store(GICD + 0x828, 0, { bytes: 1 });
  assert.deepEqual(b.lines, [0, 0, 0]);
  assert.equal(pendingWord(b, 1), 1 << 8, "and is kept without one");
});

Deno.test("with one CPU there are no targets to choose", () => {
  const b = new BenchV2().enable();
  b.configure(40, 0x80, { targets: 0 });
  assert.equal(b.load(GICD + 0x828), 0);
  assert.equal(b.load(GICD + 0x800), 0);
  b.gic.spi(8)(true);
  assert.deepEqual(b.lines, [IRQ]);
});

Deno.test("an SGI is taken once for each CPU that sent it", () => {
  const b = new BenchV2(4).enable();
  const send = (value: number, cpu: number) => b.store(GICD + 0xf00, value, { cpu });
  send((2 << 16) | 3, 2);
  send((1 << 24) | 3, 0);
  send((2 << 24) | 3, 1);
  send((3 << 24) | 3, 3);
  assert.equal(b.errors.length, 1, "a reserved filter");
  assert.deepEqual(b.lines, [0, IRQ, IRQ, IRQ]);
  assert.equal(b.load(GICD + 0xf20, { cpu: 1 }) >>> 24, 0b0111);
  assert.equal(b.load(GICC + C.HPPIR, { cpu: 1 }), 3);
  assert.equal(b.load(GICC + C.IAR, { cpu: 1 }), 3);
  assert.equal(b.load(GICC + C.IAR, { cpu: 1 }), SPURIOUS, "active");
  b.store(GICC + C.EOIR, 3, { cpu: 1 });
  assert.equal(b.load(GICC + C.HPPIR, { cpu: 1 }), 3 | (1 << 10));
  assert.equal(b.load(GICC + C.IAR, { cpu: 1 }), 3 | (1 << 10));
  b.store(GICC + C.EOIR, 3 | (1 << 10), { cpu: 1 });
  assert.equal(b.load(GICD + 0x300, { cpu: 1 }), 0);
  b.store(GICD + 0xf13, 0b0100, { cpu: 1, bytes: 1 });
  assert.deepEqual(b.lines, [0, 0, IRQ, IRQ]);
  b.store(GICD + 0x280, 0xffff, { cpu: 2 });
  assert.deepEqual(b.lines, [0, 0, IRQ, IRQ], "ICPENDR does not reach SGIs");
});

Deno.test("SGIs are always enabled", () => {
  const b = new BenchV2();
  b.store(GICD + 0x180, 0xffffffff);
  assert.equal(b.load(GICD + 0x100), 0xffff);
});

Deno.test("group 0 is an FIQ only with FIQEn, group 1 never", () => {
  const b = new BenchV2().enable(ENABLE | FIQ_ENABLE);
  b.configure(40, 0x40);
  b.configure(41, 0x80, { group: 1 });
  b.gic.spi(8)(true);
  b.gic.spi(9)(true);
  assert.deepEqual(b.lines, [FIQ]);
  b.store(GICC + C.CTLR, ENABLE);
  assert.deepEqual(b.lines, [IRQ]);
  assert.equal(b.load(GICC + C.IAR), 40);
  b.gic.spi(8)(false);
  b.store(GICC + C.CTLR, ENABLE | FIQ_ENABLE);
  b.store(GICC + C.EOIR, 40);
  assert.deepEqual(b.lines, [IRQ]);
});

Deno.test("without AckCtl interrupts of group 1 are taken through the aliased registers", () => {
  const b = new BenchV2().enable(3);
  b.configure(41, 0x80, { group: 1 });
  b.gic.spi(9)(true);
  assert.deepEqual([C.HPPIR, C.IAR].map((at) => b.load(GICC + at)), [1022, 1022]);
  assert.deepEqual([C.AHPPIR, C.AIAR, C.AIAR].map((at) => b.load(GICC + at)), [41, 41, SPURIOUS]);
  b.gic.spi(9)(false);
  b.store(GICC + C.AEOIR, 41);
  assert.equal(b.load(GICC + C.RPR), 0xff);
  assert.equal(b.load(GICD + 0x304), 0);
  b.configure(40, 0x80);
  b.gic.spi(8)(true);
  assert.deepEqual([C.AHPPIR, C.AIAR, C.IAR].map((at) => b.load(GICC + at)), [SPURIOUS, SPURIOUS, 40]);
});

Deno.test("a disabled group does not hide the other one, nor is it taken", () => {
  const b = new BenchV2().enable();
  b.configure(40, 0x40);
  b.configure(41, 0x80, { group: 1 });
  b.gic.spi(8)(true);
  b.gic.spi(9)(true);
  b.store(GICC + C.CTLR, ENABLE & ~1);
  assert.equal(b.load(GICC + C.IAR), 41);
});

Deno.test("EOImode separates the end from deactivation, which any CPU may do", () => {
  const b = new BenchV2(2).enable(ENABLE | EOI_MODE);
  b.configure(40, 0x80);
  b.gic.spi(8)(true);
  assert.equal(b.load(GICC + C.IAR), 40);
  b.store(GICC + C.EOIR, 40);
  assert.equal(b.load(GICC + C.RPR), 0xff);
  assert.deepEqual(b.lines, [0, 0]);
  b.store(GICC + C.DIR, 40, { cpu: 1 });
  assert.deepEqual(b.lines, [IRQ, 0]);
});

Deno.test("the message frame makes edges of its SPIs", () => {
  const b = new BenchV2().enable();
  assert.equal(b.load(V2M + 8), (80 << 16) | 64);
  b.configure(80, 0x80, { edge: true });
  b.configure(143, 0x80, { edge: true });
  b.store(V2M + 0x40, 80);
  b.store(V2M + 0x40, 143, { bytes: 2 });
  b.store(V2M + 0x40, 79);
  b.store(V2M + 0x40, 144);
  assert.deepEqual([2, 4].map((word) => pendingWord(b, word)), [1 << 16, 1 << 15]);
  assert.equal(b.load(GICC + C.IAR), 80);
});

Deno.test("a virtual machine takes, ends and is told who sent an SGI", () => {
  const b = new BenchV2(2), cpu = 1, at = { cpu };
  b.store(GICH + H.HCR, 1, at);
  b.store(GICV + C.PMR, 0xff, at);
  b.store(GICV + C.CTLR, ENABLE | FIQ_ENABLE, at);
  // Number 5 from CPU 2, priority 8 << 3, pending, group 1.
  b.store(GICH + H.LR, 5 | (2 << 10) | (8 << 23) | (1 << 28) | (1 << 30), at);
  b.store(GICH + H.LR + 4, 5 | (3 << 10) | (9 << 23) | (1 << 28), at);
  assert.deepEqual(b.lines, [0, VIRQ]);
  assert.equal(b.load(GICV + C.HPPIR, at), 5 | (2 << 10));
  assert.equal(b.load(GICV + C.IAR, at), 5 | (2 << 10));
  assert.equal(b.load(GICH + H.APR, at), 1 << 8);
  b.store(GICV + C.EOIR, 5 | (2 << 10), at);
  assert.equal(b.load(GICH + H.ELRSR, at), 0b1101);
  assert.deepEqual(b.lines, [0, VFIQ]);
  assert.equal(b.load(GICV + C.IAR, at), 5 | (3 << 10));
  assert.equal(b.load(GICH + H.LR + 4, at), 5 | (3 << 10) | (9 << 23) | (2 << 28));
  assert.equal(b.load(GICH + H.HCR), 0, "CPU 0 has its own");
});

Deno.test("a hardware list register ends its physical interrupt, and the maintenance interrupt is number 25", () => {
  const b = new BenchV2().enable(ENABLE | EOI_MODE);
  b.configure(40, 0x80);
  b.configure(25, 0x10);
  b.gic.spi(8)(true);
  assert.equal(b.load(GICC + C.IAR), 40);
  b.store(GICC + C.EOIR, 40);
  b.store(GICH + H.HCR, 1);
  b.store(GICV + C.PMR, 0xff);
  b.store(GICV + C.CTLR, 1);
  b.store(GICH + H.LR, (30 | (40 << 10) | (8 << 23) | (1 << 28) | (1 << 31)) >>> 0);
  assert.equal(b.load(GICV + C.IAR), 30);
  b.store(GICV + C.EOIR, 30);
  assert.deepEqual(b.lines, [IRQ], "the level is still there");
  b.gic.spi(8)(false);
  assert.deepEqual(b.lines, [0]);
  b.store(GICH + H.HCR, 1 | 8);
  assert.equal(b.load(GICH + H.MISR), 8);
  assert.deepEqual(b.lines, [IRQ]);
  assert.equal(b.load(GICC + C.IAR), 25);
});

Deno.test("GICH_VMCR and the virtual machine's registers are the same state", () => {
  const b = new BenchV2();
  assert.equal(b.load(GICH + H.VMCR), (2 << 21) | (3 << 18));
  b.store(GICV + C.PMR, 0xff);
  b.store(GICV + C.BPR, 4);
  b.store(GICV + C.ABPR, 0);
  b.store(GICV + C.CTLR, 0xffff_ffff);
  assert.equal(b.load(GICH + H.VMCR), ((0xf8 << 24) | (4 << 21) | (3 << 18) | 0x21f) >>> 0);
  b.store(GICH + H.VMCR, 0x80fc_0010);
  assert.deepEqual([C.PMR, C.BPR, C.ABPR, C.CTLR].map((at) => b.load(GICV + at)), [0x80, 7, 7, 0x10]);
});

Deno.test("reset lowers all lines, and a restored state reports them", () => {
  const b = new BenchV2().enable();
  b.configure(40, 0x80);
  b.gic.spi(8)(true);
  b.lines[0] = 0;
  b.gic.refresh();
  assert.deepEqual(b.lines, [IRQ]);
  b.gic.reset();
  assert.deepEqual(b.lines, [0]);
  assert.equal(b.load(GICC + C.CTLR), 0);
  assert.equal(b.load(GICD + 0x100), 0xffff);
});

Deno.test("malformed accesses read as zero, ignore writes and are traced", () => {
  const b = new BenchV2();
  for (const [address, bytes] of [[GICD + 0x104, 1], [GICD + 0xf00, 2], [GICC + 0x50, 4], [GICC + C.PMR, 1]] as const) {
    b.store(address, 0xff, { bytes });
    assert.equal(b.load(address, { bytes }), 0);
  }
  assert.equal(b.errors.length, 8);
});
