import assert from "node:assert/strict";
import { ACCESS as DESC } from "../../src/mmu/access_flags.ts";
import { DONE, FAULTED } from "../../src/mmu/access.ts";
import { FAULT } from "../../src/mmu/fault.ts";
import { instructionSyndrome } from "../../src/mmu/syndrome.ts";
import { tlbInvalidate } from "../../src/mmu/tlbi.ts";
import type { TlbInvalidation } from "../../src/arch/sysinsns.ts";
import { AF, attr, EL0, MmuBench, RAM, RAM_HOST, RO } from "./bench_memory.ts";

const IPS_48 = 5n << 32n;
const DEVICE = 0x900_0000;

/** EL1 with 4K pages, 39 bits, both ranges in one tree: `map` puts a page of RAM or of the device. */
function el1() {
  const bench = new MmuBench(), tree = bench.tree(12, 39), log: string[] = [];
  bench.bus.addRegion({
    name: "device",
    base: DEVICE,
    size: 0x1000,
    read: (offset, bytes) => {
      log.push(`r${bytes}@${offset.toString(16)}`);
      return offset === 0xf00 ? -1 : 0x1111_1111 * (offset / 4 + 1);
    },
    write: (offset, bytes, value) => void log.push(`w${bytes}@${offset.toString(16)}=${value.toString(16)}`),
  });
  bench.set({
    SCTLR_EL1: 1n | 4n,
    TCR_EL1: 25n | 25n << 16n | 2n << 30n | IPS_48,
    TTBR0_EL1: BigInt(tree.root) | 5n << 48n,
    TTBR1_EL1: BigInt(tree.root),
  });
  bench.state.el = 1;
  bench.mmu.contextSwitched();
  const map = (va: bigint, pa: number, bits = 0n, level = 3) =>
    bench.map(tree, va & 0x7f_ffff_ffffn, level, BigInt(pa) | AF | bits | (level === 3 ? 3n : 1n));
  return { bench, map, log, mmu: bench.mmu, tree };
}

/** Whether generated code would find `va` in the TLB at `offset` of the vCPU's block, in the current context. */
function hits(
  bench: MmuBench,
  which: "read" | "write" | "fetch",
  va: bigint,
  unprivileged = false,
): number | undefined {
  const base = { read: 0x1_0000, write: 0x2_0000, fetch: 0x3_0000 }[which];
  const at = base + Number((va >> 12n) & 4095n) * 16;
  const context = unprivileged ? bench.state.contextUnprivileged : bench.state.context;
  const tag = (va & ~0xfffn & (2n ** 64n - 1n)) | context;
  if (bench.view.getBigUint64(at, true) !== tag) return undefined;
  return (bench.view.getUint32(at + 8, true) + (which === "fetch" ? 0 : Number(va & 0xffff_ffffn))) >>> 0;
}
const halves = (va: bigint): [number, number] => [Number(va & 0xffff_ffffn) | 0, Number(va >> 32n) | 0];

Deno.test("a read fills the read TLB only, a write the write TLB, a fetch the fetch TLB", () => {
  const { bench, map, mmu } = el1(), va = 0xffff_ff80_0001_2000n;
  map(va, RAM + 0x10_0000);
  assert.equal(mmu.dataRead(...halves(va + 8n), 8), RAM_HOST + 0x10_0008);
  assert.equal(hits(bench, "read", va + 16n), RAM_HOST + 0x10_0010);
  assert.equal(hits(bench, "write", va), undefined);
  assert.equal(mmu.dataWrite(...halves(va + 8n), 4), RAM_HOST + 0x10_0008);
  assert.equal(hits(bench, "write", va + 16n), RAM_HOST + 0x10_0010);
  bench.state.pc = va + 0x24n;
  assert.equal(mmu.fetch(), 0x100 + RAM_HOST + 0x10_0000 + 0x90);
  assert.equal(hits(bench, "fetch", va), 0x100 + RAM_HOST + 0x10_0000);
  bench.state.pc = va + 2n;
  assert.equal(mmu.fetch(), FAULTED);
  assert.equal(bench.pcFaults, 1);
});

Deno.test("fetches replace an ignored top byte of the pc", () => {
  const { bench, map, mmu } = el1(), { state } = bench;
  map(0x2000n, RAM);
  bench.set({ TCR_EL1: bench.registers.TCR_EL1 | 3n << 37n });
  for (const [tagged, plain] of [[0x5a00_0000_0000_2000n, 0x2000n], [0xa5ff_ff80_0000_2004n, 0xffff_ff80_0000_2004n]]) {
    state.pc = tagged!;
    assert.notEqual(mmu.fetch(), FAULTED);
    assert.equal(state.pc, plain);
  }
  bench.set({ TCR_EL1: bench.registers.TCR_EL1 & ~(3n << 37n) });
  state.pc = 0x5a00_0000_0000_2000n;
  assert.equal(mmu.fetch(), FAULTED);
  assert.equal(bench.taken[0]!.vaHi, 0x5a00_0000);
});

Deno.test("faults carry address, direction and status", () => {
  const { bench, map, mmu } = el1();
  map(0x2000n, RAM, RO);
  assert.equal(mmu.dataRead(...halves(0x1000n), 8), FAULTED);
  assert.equal(mmu.dataWrite(...halves(0x1008n), 8), FAULTED);
  assert.equal(mmu.dataWrite(...halves(0x2008n), 8), FAULTED);
  bench.state.pc = 0x8000_0000_0000_1000n;
  assert.equal(mmu.fetch(), FAULTED);
  const seen = bench.taken.map((f) => [f.fsc, f.write, f.fetch, f.vaLo, f.vaHi, f.stage]);
  assert.deepEqual(seen, [
    [FAULT.TRANSLATION | 3, false, false, 0x1000, 0, 1],
    [FAULT.TRANSLATION | 3, true, false, 0x1008, 0, 1],
    [FAULT.PERMISSION | 3, true, false, 0x2008, 0, 1],
    [FAULT.TRANSLATION | 0, false, true, 0x1000, 0x8000_0000, 1],
  ]);
  const faults = bench.traced.filter((line) => line.startsWith("mmu.fault"));
  assert.equal(faults[2], "mmu.fault CPU 0: write to 0x2008, stage 1: permission fault, level 3");
});

Deno.test("a read-modify-write that could not even read reports a read", () => {
  const { bench, map, mmu } = el1();
  map(0x2000n, RAM, RO | EL0);
  map(0x3000n, RAM, EL0);
  mmu.dataWrite(...halves(0x1000n), 8 | DESC.RMW | DESC.ALIGNED);
  mmu.dataWrite(...halves(0x2000n), 8 | DESC.RMW | DESC.ALIGNED);
  assert.deepEqual(bench.taken.map((f) => [f.fsc, f.write]), [[FAULT.TRANSLATION | 3, false], [
    FAULT.PERMISSION | 3,
    true,
  ]]);
  assert.equal(mmu.dataWrite(...halves(0x3000n), 8 | DESC.RMW | DESC.ALIGNED), RAM_HOST);
});

Deno.test("unprivileged accesses have EL0's permissions, unless UAO is set", () => {
  const { bench, map, mmu } = el1();
  map(0x2000n, RAM);
  map(0x3000n, RAM, EL0);
  assert.equal(mmu.dataRead(...halves(0x2000n), 8 | DESC.UNPRIVILEGED), FAULTED);
  assert.equal(bench.taken[0]!.fsc, FAULT.PERMISSION | 3);
  assert.equal(mmu.dataRead(...halves(0x3000n), 8 | DESC.UNPRIVILEGED), RAM_HOST);
  assert.equal(hits(bench, "read", 0x3000n, true), RAM_HOST);
  assert.equal(hits(bench, "read", 0x3000n), undefined, "an entry of EL0's does not serve EL1");
  bench.state.uao = 1;
  mmu.contextSwitched();
  assert.equal(mmu.dataRead(...halves(0x2000n), 8 | DESC.UNPRIVILEGED), RAM_HOST);
});

Deno.test("alignment: only where asked for, on Device memory, with SCTLR_EL1.A and with the MMU off", () => {
  const { bench, map, mmu } = el1();
  map(0x2000n, RAM);
  map(0x3000n, RAM, attr(1));
  assert.equal(mmu.dataRead(...halves(0x2001n), 8), RAM_HOST + 1);
  assert.equal(mmu.dataRead(...halves(0x2004n), 8 | DESC.ALIGNED), FAULTED);
  assert.equal(mmu.dataRead(...halves(0x3004n), 4), RAM_HOST + 4);
  assert.equal(hits(bench, "read", 0x3000n), undefined, "Device pages stay out of the TLB");
  assert.equal(mmu.dataWrite(...halves(0x3004n), 8), FAULTED);
  bench.set({ SCTLR_EL1: bench.registers.SCTLR_EL1 | 2n });
  assert.equal(mmu.dataRead(...halves(0x2001n), 2), FAULTED);
  assert.equal(mmu.dataRead(...halves(0x2002n), 2), RAM_HOST + 2);
  assert.equal(hits(bench, "read", 0x2000n), undefined);
  bench.set({ SCTLR_EL1: 0n });
  assert.equal(mmu.dataRead(...halves(BigInt(RAM) + 2n), 4), FAULTED);
  assert.equal(mmu.dataRead(...halves(BigInt(RAM) + 4n), 4), RAM_HOST + 4);
  assert.equal(hits(bench, "read", BigInt(RAM)), undefined);
  assert.deepEqual(bench.taken.map((f) => f.fsc), [0x21, 0x21, 0x21, 0x21]);
  bench.state.pc = BigInt(RAM);
  assert.notEqual(mmu.fetch(), FAULTED, "fetches are from Normal memory");
  assert.equal(mmu.dataRead(...halves(BigInt(RAM) + 2n), 4), FAULTED, "and do not change that");
});

Deno.test("device registers: values in transfer, wide ones split, external aborts, no atomics", () => {
  const { bench, map, mmu, log } = el1(), { state } = bench;
  map(0x2000n, DEVICE, attr(1));
  map(0x3000n, 0x2000_0000, attr(1));
  assert.equal(mmu.dataRead(...halves(0x2004n), 4), DONE);
  assert.equal(state.transfer[0], 0x2222_2222n);
  assert.equal(mmu.dataRead(...halves(0x2008n), 8), DONE);
  assert.equal(state.transfer[0], 0x4444_4444_3333_3333n);
  state.transfer[0] = 0x8765_4321_1234_5678n;
  assert.equal(mmu.dataWrite(...halves(0x2010n), 8), DONE);
  assert.equal(mmu.dataWrite(...halves(0x2011n), 1), DONE);
  assert.deepEqual(log, ["r4@4", "r4@8", "r4@c", "w4@10=12345678", "w4@14=87654321", "w1@11=78"]);
  assert.equal(mmu.dataRead(...halves(0x2f00n), 4), FAULTED);
  assert.equal(mmu.dataWrite(...halves(0x3000n), 4), FAULTED);
  assert.equal(mmu.dataWrite(...halves(0x2000n), 4 | DESC.RMW | DESC.ALIGNED), FAULTED);
  state.pc = 0x3000n;
  assert.equal(mmu.fetch(), FAULTED);
  const seen = bench.taken.map((f) => [f.fsc, f.write, f.fetch]);
  assert.deepEqual(seen, [[0x10, false, false], [0x10, true, false], [0x35, false, false], [0x10, false, true]]);
});

Deno.test("accesses that cross a page: both pages are checked before a byte is written", () => {
  const { bench, map, mmu } = el1(), { state } = bench;
  map(0x2000n, RAM);
  map(0x3000n, RAM + 0x8000);
  map(0x4000n, RAM + 0x4000, RO);
  bench.write64(RAM + 0xff8, 0x8877_6655_4433_2211n);
  bench.write64(RAM + 0x8000, 0x00ff_eedd_ccbb_aa99n);
  assert.equal(mmu.dataRead(...halves(0x2ffdn), 8), DONE);
  assert.equal(state.transfer[0], 0xddcc_bbaa_9988_7766n);
  state.transfer[0] = 0x0102_0304_0506_0708n;
  assert.equal(mmu.dataWrite(...halves(0x2ffcn), 8), DONE);
  assert.equal(bench.read64(RAM + 0xff8), 0x0506_0708_4433_2211n);
  assert.equal(bench.read64(RAM + 0x8000), 0x00ff_eedd_0102_0304n);
  assert.equal(mmu.dataWrite(...halves(0x3ffcn), 8), FAULTED);
  assert.equal(bench.read64(RAM + 0x8ff8), 0n);
  assert.deepEqual([bench.taken[0]!.fsc, bench.taken[0]!.vaLo, bench.taken[0]!.write], [
    FAULT.PERMISSION | 3,
    0x4000,
    true,
  ]);
  map(0xffff_ffff_ffff_f000n, RAM);
  assert.equal(mmu.dataRead(...halves(0xffff_ffff_ffff_fffcn), 8), FAULTED);
  assert.deepEqual([bench.taken[1]!.vaLo, bench.taken[1]!.vaHi], [0, 0], "addresses wrap");
});

Deno.test("stores to pages with predecoded code always pass here", () => {
  const { bench, map, mmu } = el1();
  map(0x2000n, RAM);
  assert.equal(mmu.dataWrite(...halves(0x2000n), 4), RAM_HOST);
  assert.equal(hits(bench, "write", 0x2000n), RAM_HOST);
  bench.codePages.add(RAM_HOST);
  mmu.protectPage(RAM_HOST);
  assert.equal(hits(bench, "write", 0x2000n), undefined);
  assert.equal(mmu.dataWrite(...halves(0x2010n), 4), RAM_HOST + 0x10);
  assert.deepEqual(bench.invalidated, [[RAM_HOST + 0x10, 4]]);
  assert.equal(hits(bench, "write", 0x2000n), undefined);
  assert.equal(mmu.zeroBlock(...halves(0x2047n)), true);
  assert.deepEqual(bench.invalidated[1], [RAM_HOST + 0x40, 64]);
});

Deno.test("switching contexts back and forth keeps the TLB; numbers stand for register values", () => {
  const { bench, map, mmu, tree } = el1(), { state } = bench;
  map(0x2000n, RAM, EL0);
  mmu.dataRead(...halves(0x2000n), 8);
  const first = state.context;
  bench.set({ TTBR0_EL1: BigInt(tree.root) | 6n << 48n });
  assert.equal(state.context, 0n);
  assert.equal(hits(bench, "read", 0x2000n), undefined);
  mmu.dataRead(...halves(0x2000n), 8);
  assert.notEqual(state.context, first);
  bench.set({ TTBR0_EL1: BigInt(tree.root) | 5n << 48n });
  mmu.dataRead(...halves(0x2000n), 8);
  assert.equal(state.context, first);
  state.el = 0;
  mmu.contextSwitched();
  mmu.dataRead(...halves(0x2000n), 8);
  const user = state.context;
  assert.notEqual(user, first);
  state.el = 1;
  mmu.contextSwitched();
  assert.equal(state.context, first);
  state.pan = 1;
  mmu.contextSwitched();
  assert.equal(mmu.dataRead(...halves(0x2000n), 8), FAULTED);
  assert.equal(state.contextUnprivileged === 0n || state.contextUnprivileged === user, true);
  assert.equal(mmu.dataRead(...halves(0x2000n), 8 | DESC.UNPRIVILEGED), RAM_HOST);
  assert.equal(state.contextUnprivileged, user);
});

Deno.test("running out of context numbers flushes and goes on", () => {
  const { bench, map, mmu, tree } = el1();
  map(0x2000n, RAM);
  for (let asid = 0n; asid < 3000n; asid++) {
    bench.set({ TTBR0_EL1: BigInt(tree.root) | asid << 48n });
    assert.equal(mmu.dataRead(...halves(0x2000n), 8), RAM_HOST);
    assert.ok(bench.state.contextLo >= 4 && bench.state.contextLo <= 1022 << 2);
  }
});

Deno.test("each TLBI makes the changed table visible", () => {
  const forms: [TlbInvalidation, bigint][] = [
    ["VAE1", 0x2n | 5n << 48n],
    ["VAE1IS", 0x2n | 5n << 48n],
    ["VAAE1", 2n],
    ["VALE1IS", 2n | 5n << 48n],
    ["VAALE1", 2n],
    ["ASIDE1", 5n << 48n],
    ["ASIDE1IS", 5n << 48n],
    ["VMALLE1", 0n],
    ["VMALLE1IS", 0n],
    ["ALLE1", 0n],
    ["VMALLS12E1IS", 0n],
    ["IPAS2E1IS", 0n],
  ];
  for (const [op, operand] of forms) {
    const { bench, map, mmu } = el1();
    map(0x2000n, RAM);
    mmu.dataRead(...halves(0x2000n), 8);
    mmu.dataWrite(...halves(0x2000n), 8);
    bench.state.pc = 0x2000n;
    mmu.fetch();
    map(0x2000n, RAM + 0x1000);
    assert.equal(mmu.dataRead(...halves(0x2000n), 8), RAM_HOST, "still cached");
    tlbInvalidate(mmu, [mmu], op, ...halves(operand));
    for (const which of ["read", "write", "fetch"] as const) assert.equal(hits(bench, which, 0x2000n), undefined, op);
    assert.equal(mmu.dataRead(...halves(0x2000n), 8), RAM_HOST + 0x1000, op);
    assert.equal(mmu.dataWrite(...halves(0x2000n), 8), RAM_HOST + 0x1000, op);
    assert.equal(mmu.fetch(), 0x100 + RAM_HOST + 0x1000, op);
  }
});

Deno.test("TLBI by another ASID or VMID leaves entries alone", () => {
  const { bench, map, mmu } = el1();
  map(0x2000n, RAM);
  mmu.dataRead(...halves(0x2000n), 8);
  tlbInvalidate(mmu, [mmu], "ASIDE1", ...halves(6n << 48n));
  assert.equal(hits(bench, "read", 0x2000n), RAM_HOST);
  bench.registers.VTTBR_EL2 = 9n << 48n;
  tlbInvalidate(mmu, [mmu], "VMALLS12E1", 0, 0);
  bench.registers.VTTBR_EL2 = 0n;
  assert.equal(hits(bench, "read", 0x2000n), RAM_HOST);
});

Deno.test("TLBI by an address inside a block drops all of the block", () => {
  for (const level of [1, 2]) {
    const { bench, map, mmu } = el1(), base = 0x4000_0000n;
    map(base, RAM, 0n, level);
    const pages = [0n, 0x1000n, 0x7_f000n, 0x1f_f000n];
    for (const page of pages) assert.equal(mmu.dataRead(...halves(base + page), 8), RAM_HOST + Number(page));
    map(base, RAM, RO | 1n << 54n | attr(1), level);
    tlbInvalidate(mmu, [mmu], "VAE1IS", ...halves((base + 0x12_3000n) >> 12n | 5n << 48n));
    for (const page of pages) {
      assert.equal(hits(bench, "read", base + page), undefined);
      mmu.dataRead(...halves(base + page), 8);
      assert.equal(hits(bench, "read", base + page), undefined, "it is Device memory now");
    }
  }
});

Deno.test("local TLBI stays local unless HCR_EL2.FB; IS forms reach every vCPU", () => {
  const one = el1(), two = el1(), domain = [one.mmu, two.mmu];
  const reload = () => {
    for (const { map, mmu } of [one, two]) {
      map(0x2000n, RAM);
      mmu.dataRead(...halves(0x2000n), 8);
    }
  };
  const left = () => [one, two].map(({ bench }) => hits(bench, "read", 0x2000n) !== undefined);
  reload();
  tlbInvalidate(one.mmu, domain, "VAE1", 2, 5 << 16);
  assert.deepEqual(left(), [false, true]);
  reload();
  tlbInvalidate(one.mmu, domain, "VAE1IS", 2, 5 << 16);
  assert.deepEqual(left(), [false, false]);
  one.bench.set({ HCR_EL2: 1n << 9n });
  reload();
  tlbInvalidate(one.mmu, domain, "VMALLE1", 0, 0);
  assert.deepEqual(left(), [false, false]);
});

Deno.test("stage 2 aborts describe the instruction", () => {
  // Words from GNU as; [word, SAS, SSE, SRT, SF, AR] or nothing where the syndrome is not valid.
  const words: [number, string, number[]?][] = [
    [0xb9400041, "ldr w1, [x2]", [2, 0, 1, 0, 0]],
    [0xf9400041, "ldr x1, [x2]", [3, 0, 1, 1, 0]],
    [0xf900005f, "str xzr, [x2]", [3, 0, 31, 1, 0]],
    [0x39400443, "ldrb w3, [x2, #1]", [0, 0, 3, 0, 0]],
    [0x39c00043, "ldrsb w3, [x2]", [0, 1, 3, 0, 0]],
    [0x39800043, "ldrsb x3, [x2]", [0, 1, 3, 1, 0]],
    [0x79c00043, "ldrsh w3, [x2]", [1, 1, 3, 0, 0]],
    [0xb9800043, "ldrsw x3, [x2]", [2, 1, 3, 1, 0]],
    [0xb8404043, "ldur w3, [x2, #4]", [2, 0, 3, 0, 0]],
    [0xb8636843, "ldr w3, [x2, x3]", [2, 0, 3, 0, 0]],
    [0xb8000843, "sttr w3, [x2]", [2, 0, 3, 0, 0]],
    [0x88dffc43, "ldar w3, [x2]", [2, 0, 3, 0, 1]],
    [0xc89ffc43, "stlr x3, [x2]", [3, 0, 3, 1, 1]],
    [0xb8bfc043, "ldapr w3, [x2]", [2, 0, 3, 0, 1]],
    [0x18000003, "ldr w3, .", [2, 0, 3, 0, 0]],
    [0x58000003, "ldr x3, .", [3, 0, 3, 1, 0]],
    [0x98000003, "ldrsw x3, .", [2, 1, 3, 1, 0]],
    [0xb8404443, "ldr w3, [x2], #4"],
    [0xb8404c43, "ldr w3, [x2, #4]!"],
    [0x29400c42, "ldp w2, w3, [x2]"],
    [0xf8200041, "ldadd x0, x1, [x2]"],
    [0x885f7c43, "ldxr w3, [x2]"],
    [0xc85ffc43, "ldaxr x3, [x2]"],
    [0x88e0fc43, "casal w0, w3, [x2]"],
    [0x3dc00043, "ldr q3, [x2]"],
    [0xf9800040, "prfm pldl1keep, [x2]"],
    [0xd50b7423, "dc zva, x3"],
  ];
  for (const [word, text, fields] of words) {
    const found = instructionSyndrome(word);
    const split = [(found >> 8) & 3, (found >> 7) & 1, (found >> 2) & 31, (found >> 1) & 1, found & 1];
    if (fields === undefined) assert.equal(found, 0, text);
    else assert.deepEqual([found >> 10, ...split], [1, ...fields], text);
  }
});

Deno.test("an access that stage 2 refuses reports IPA and instruction", () => {
  const bench = new MmuBench(), { mmu, state } = bench, second = bench.tree(12, 40, 1);
  bench.set({ HCR_EL2: 1n, VTCR_EL2: 24n | 1n << 6n | 5n << 16n, VTTBR_EL2: BigInt(second.root) });
  bench.map(second, 0x8000_0000n, 3, BigInt(RAM) | 3n << 6n | 15n << 2n | AF | 3n);
  bench.view.setUint32(RAM_HOST + 0x20, 0x39800443, true); // ldrsb x3, [x2, #1]
  state.el = 1;
  state.pc = 0x8000_0020n;
  mmu.contextSwitched();
  assert.notEqual(mmu.fetch(), FAULTED);
  assert.equal(mmu.dataRead(...halves(0x900_0001n), 1), FAULTED);
  const { fsc, stage, ipa, syndrome, write, s1ptw } = bench.taken[0]!;
  assert.deepEqual([fsc, stage, ipa, write, s1ptw], [FAULT.TRANSLATION | 1, 2, 0x900_0001, false, false]);
  assert.equal(syndrome, 1 << 10 | 1 << 7 | 3 << 2 | 2);
  state.pc = 0x900_0000n;
  assert.equal(mmu.fetch(), FAULTED);
  assert.deepEqual([bench.taken[1]!.fetch, bench.taken[1]!.syndrome, bench.taken[1]!.stage], [true, 0, 2]);
});
