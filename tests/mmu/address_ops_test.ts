import assert from "node:assert/strict";
import type { AddressTranslation, CacheMaintenance } from "../../src/arch/sysinsns.ts";
import { addressTranslate, maintainCache } from "../../src/mmu/address_ops.ts";
import { REGIME, type TranslationRegisters } from "../../src/mmu/controls.ts";
import { DebugTranslator } from "../../src/mmu/debug.ts";
import { FAULT } from "../../src/mmu/fault.ts";
import { AF, ALL_FEATURES, attr, EL0, MmuBench, RAM, RAM_HOST, RO, TABLE } from "./bench_memory.ts";

const IPS_48 = 5n << 32n, INNER = 3n << 8n;
const par = (pa: bigint, attributes: bigint, shareability: bigint) =>
  attributes << 56n | pa | shareability << 7n | 1n << 11n | 1n << 9n;
const failed = (fst: bigint, bits = 0n) => 1n | fst << 1n | 1n << 11n | bits;
const PTW = 1n << 8n, STAGE2 = 1n << 9n;

/**
 * EL1&0 with a tree whose tables stage 2 maps as they are (when it is on): IPA 0x4000_0000 up is RAM, and the first 2 MiB
 * of what stage 1 maps is at IPA 0x8000_0000, where `second` maps single pages.
 */
function machine() {
  const bench = new MmuBench(), tree = bench.tree(12, 39), second = bench.tree(12, 40, 1);
  bench.set({
    SCTLR_EL1: 1n | 4n,
    TCR_EL1: 25n | 25n << 16n | 2n << 30n | IPS_48,
    TTBR0_EL1: BigInt(tree.root),
    VTCR_EL2: 24n | 1n << 6n | 5n << 16n,
    VTTBR_EL2: BigInt(second.root),
  });
  bench.map(second, BigInt(RAM), 1, BigInt(RAM) | 3n << 6n | 15n << 2n | AF | 1n);
  bench.state.el = 2;
  const map = (va: bigint, ipa: number, bits = 0n) => bench.map(tree, va, 3, BigInt(ipa) | AF | bits | 3n);
  const map2 = (ipa: number, pa: number, bits: bigint) =>
    bench.map(second, BigInt(ipa), 3, BigInt(pa) | AF | bits | 3n);
  const at = (op: AddressTranslation, va: bigint) =>
    addressTranslate(bench.mmu, op, Number(va & 0xffff_ffffn) | 0, Number(va >> 32n) | 0);
  return { bench, map, map2, at, tree };
}
const S2RW = 3n << 6n, S2_WB = 15n << 2n;

Deno.test("AT S1E1 and S1E0 give PAR_EL1 of stage 1", () => {
  const { map, at } = machine();
  map(0x1000n, 0x8000_5000, INNER);
  map(0x2000n, 0x8000_6000, attr(1) | RO | EL0);
  map(0x3000n, 0x8000_7000, attr(2));
  assert.equal(at("S1E1R", 0x1234n), par(0x8000_5000n, 0xffn, 3n));
  assert.equal(at("S1E1W", 0x1234n), par(0x8000_5000n, 0xffn, 3n));
  assert.equal(at("S1E0R", 0x1234n), failed(0x0fn));
  assert.equal(at("S1E0R", 0x2000n), par(0x8000_6000n, 4n, 2n));
  assert.equal(at("S1E1W", 0x2000n), failed(0x0fn));
  assert.equal(at("S1E1R", 0x3000n), par(0x8000_7000n, 0x44n, 2n));
  assert.equal(at("S1E1R", 0x4000n), failed(7n));
  assert.equal(at("S1E1R", 1n << 40n), failed(4n));
});

Deno.test("AT S12 adds stage 2 and combines attributes", () => {
  const { bench, map, map2, at } = machine();
  bench.set({ HCR_EL2: 1n });
  map(0x1000n, 0x8000_5000, INNER);
  map(0x2000n, 0x8000_6000, attr(1));
  map2(0x8000_5000, 0x7000_5000, S2RW | S2_WB);
  assert.equal(at("S12E1R", 0x1000n), par(0x7000_5000n, 0xffn, 3n));
  assert.equal(at("S1E1R", 0x1000n), par(0x8000_5000n, 0xffn, 3n), "stage 1 only");
  for (
    const [memAttr, attributes, shareability] of [
      [0n, 0x00n, 2n],
      [1n, 0x04n, 2n],
      [5n, 0x44n, 2n],
      [10n, 0xbbn, 3n],
      [15n, 0xffn, 3n],
    ] as const
  ) {
    map2(0x8000_5000, 0x7000_5000, S2RW | memAttr << 2n);
    assert.equal(at("S12E1R", 0x1000n), par(0x7000_5000n, attributes, shareability), `MemAttr ${memAttr}`);
  }
  map2(0x8000_5000, 0x7000_5000, S2RW | S2_WB | 2n << 8n);
  assert.equal(at("S12E1R", 0x1000n), par(0x7000_5000n, 0xffn, 2n), "outer shareable wins");
  bench.set({ HCR_EL2: 1n | 1n << 32n });
  assert.equal(at("S12E1R", 0x1000n), par(0x7000_5000n, 0x44n, 2n), "HCR_EL2.CD");
  bench.set({ HCR_EL2: 1n });
  map2(0x8000_5000, 0x7000_5000, 1n << 6n | S2_WB);
  assert.equal(at("S12E1W", 0x1000n), failed(0x0fn, STAGE2));
  assert.equal(at("S12E1R", 0x2000n), failed(7n, STAGE2));
  assert.equal(at("S12E0R", 0x1000n), failed(0x0fn));
  assert.equal(bench.taken.length, 0);
});

Deno.test("a stage 2 fault on AT's walk goes to PAR_EL1 at EL2 and is taken when EL1 asks", () => {
  const { bench, at, tree } = machine();
  bench.set({ HCR_EL2: 1n });
  bench.map(tree, 0x4000_0000n, 1, 0x9000_0000n | TABLE);
  assert.equal(at("S1E1R", 0x4000_0000n), failed(5n, PTW | STAGE2));
  bench.state.el = 1;
  assert.equal(at("S1E1R", 0x4000_0000n), undefined);
  const { fsc, stage, s1ptw, maintenance, write, ipa } = bench.taken[0]!;
  assert.deepEqual([fsc, stage, s1ptw, maintenance, write, ipa], [5, 2, true, true, true, 0x9000_0000]);
});

Deno.test("AT S1E1RP and S1E1WP mind PAN", () => {
  const { bench, map, at } = machine();
  map(0x1000n, 0x8000_5000, EL0);
  bench.state.el = 1;
  bench.state.pan = 1;
  assert.equal(at("S1E1R", 0x1000n), par(0x8000_5000n, 0xffn, 0n));
  assert.equal(at("S1E1RP", 0x1000n), failed(0x0fn));
  bench.state.pan = 0;
  assert.equal(at("S1E1WP", 0x1000n), par(0x8000_5000n, 0xffn, 0n));
});

Deno.test("AT S1E2 uses the EL2 regime, or EL2&0", () => {
  const { bench, at } = machine(), tree = bench.tree(12, 39);
  bench.set({ SCTLR_EL2: 5n, TCR_EL2: 25n | 5n << 16n, TTBR0_EL2: BigInt(tree.root) });
  bench.map(tree, 0x1000n, 3, 0x5000n | AF | 3n | EL0);
  assert.equal(at("S1E2R", 0x1000n), par(0x5000n, 0xffn, 0n));
  bench.set({ HCR_EL2: 1n << 34n | 1n << 27n, TCR_EL2: 25n | 25n << 16n | 2n << 30n | IPS_48 });
  assert.equal(at("S1E2W", 0x1000n), par(0x5000n, 0xffn, 0n));
  assert.equal(at("S1E1W", 0x1000n), par(0x5000n, 0xffn, 0n), "E2H and TGE: EL1's forms are the host's");
});

Deno.test("cache maintenance checks translations, and permissions where the manual says so", () => {
  const { bench, map } = machine(), { mmu, state, taken } = bench;
  map(0x1000n, RAM + 0x10_0000, RO);
  map(0x2000n, RAM + 0x10_1000, RO | EL0);
  const op = (name: CacheMaintenance, va: number) => maintainCache(mmu, name, va, 0);
  state.el = 1;
  state.pan = 1;
  mmu.contextSwitched();
  assert.equal(op("DC_CVAC", 0x1000), true);
  assert.equal(op("IC_IVAU", 0x2000), true);
  assert.equal(op("DC_IVAC", 0x2000), false);
  assert.equal(op("DC_CIVAC", 0x3000), false);
  assert.equal(op("DC_CISW", 0x3000), true);
  state.el = 0;
  mmu.contextSwitched();
  assert.equal(op("DC_CVAU", 0x2000), true);
  assert.equal(op("DC_CVAU", 0x1000), false);
  assert.equal(op("DC_ZVA", 0x2000), false);
  const seen = taken.map((f) => [f.fsc, f.write, f.maintenance]);
  assert.deepEqual(seen, [
    [FAULT.PERMISSION | 3, true, true],
    [FAULT.TRANSLATION | 3, true, true],
    [FAULT.PERMISSION | 3, true, true],
    [FAULT.PERMISSION | 3, true, false],
  ]);
});

Deno.test("the debugger reads and writes through any regime without a trace in the machine", () => {
  const { bench, map } = machine();
  map(0x1000n, RAM + 0x10_0000, RO);
  map(0x2000n, RAM + 0x11_0000);
  const debug = new DebugTranslator(bench.bus, bench.buffer, ALL_FEATURES);
  const registers = bench.registers as unknown as TranslationRegisters;
  const view = { regime: REGIME.EL10, el0: true, pan: false };
  assert.equal(debug.write(registers, view, 0x1ffen, new Uint8Array([1, 2, 3, 4])), true);
  assert.equal(bench.view.getUint16(RAM_HOST + 0x10_0ffe, true), 0x0201);
  assert.equal(bench.view.getUint16(RAM_HOST + 0x11_0000, true), 0x0403);
  assert.deepEqual([...debug.read(registers, view, 0x1fffn, 3)], [2, 3, 4]);
  assert.equal(debug.read(registers, view, 0x2ffcn, 16).length, 4);
  assert.equal(debug.write(registers, view, 0x2ffcn, new Uint8Array(16)), false);
  const levels: number[] = [];
  const { found, walker } = debug.walk(registers, view, 0x2004n, (_stage, level) => void levels.push(level));
  assert.deepEqual([found, walker.pa, levels], [true, RAM + 0x11_0004, [1, 2, 3]]);
  assert.equal(debug.translate(registers, view, 0x5000n), undefined);
  assert.equal(bench.taken.length, 0);
});
