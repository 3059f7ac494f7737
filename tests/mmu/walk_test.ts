import assert from "node:assert/strict";
import { REGIME, type Viewpoint } from "../../src/mmu/controls.ts";
import { ACCESS, type Access, FAULT } from "../../src/mmu/fault.ts";
import { WALK } from "../../src/mmu/walk.ts";
import { AF, ALL_FEATURES, attr, Bench, EL0, GRANULES, RAM, RO, TABLE, VALID } from "./bench_memory.ts";

const EL1: Viewpoint = { regime: REGIME.EL10, el0: false, pan: false };
const EL0_VIEW: Viewpoint = { regime: REGIME.EL10, el0: true, pan: false };
const EL2: Viewpoint = { regime: REGIME.EL2, el0: false, pan: false };
const EL20: Viewpoint = { regime: REGIME.EL20, el0: false, pan: false };
const IPS_48 = 5n << 32n, E2H = 1n << 34n;
const UXN = 1n << 54n, PXN = 1n << 53n;

/** Translates and answers the physical address, or a line that names the fault. */
function go(
  bench: Bench,
  viewpoint: Viewpoint,
  va: bigint,
  access: Access = ACCESS.READ,
  options: number = WALK.UPDATE,
) {
  const { walker } = bench, c = bench.controls(viewpoint);
  const done = walker.translate(
    c,
    Number(va & 0xffff_ffffn) | 0,
    Number((va >> 32n) & 0xffff_ffffn) | 0,
    access,
    options,
  );
  if (done) return walker.pa;
  const names: Record<number, string> = { 0: "address size", 4: "translation", 8: "access flag", 12: "permission" };
  const name = (walker.fault & 0x30) === 0 ? names[walker.fault & 12]! : `code ${walker.fault.toString(16)}`;
  if ((walker.fault & 0x30) === 0) assert.equal(walker.level, walker.fault & 3);
  return `stage ${walker.stage} ${name} ${walker.level}${walker.s1ptw ? " on walk" : ""}`;
}

/** Stage 1 of EL1&0 with one tree in both ranges. */
function stage1(granule: typeof GRANULES[number], inputBits: number, features = ALL_FEATURES) {
  const bench = new Bench(features), size = BigInt(64 - inputBits), tree = bench.tree(granule.bits, inputBits);
  bench.set({
    SCTLR_EL1: 1n | 4n,
    TCR_EL1: size | size << 16n | granule.tg0 << 14n | granule.tg1 << 30n | IPS_48,
    TTBR0_EL1: BigInt(tree.root),
    TTBR1_EL1: BigInt(tree.root),
  });
  return { bench, tree };
}

for (const granule of GRANULES) {
  const blocks = granule.bits === 12 ? [1, 2, 3] : [2, 3];
  for (const inputBits of [25, 31, 36, 39, 42, 47, 48]) {
    Deno.test(`stage 1 maps all sizes: granule ${1 << (granule.bits - 10)}K, ${inputBits} bits`, () => {
      const { bench, tree } = stage1(granule, inputBits), stride = granule.bits - 3;
      for (const level of blocks.filter((l) => l >= tree.first)) {
        const shift = BigInt(granule.bits + (3 - level) * stride), inside = (1n << shift) - 1n;
        const low = (0x5a5a_a5a5_5a5a_a5a5n & ((1n << BigInt(inputBits)) - 1n)) & ~inside;
        const target = 0x7000_0000_0000n | (0x123_4567_0000n & ~inside & 0xfff_ffff_ffffn) & ~inside;
        bench.map(tree, low, level, target | AF | (level === 3 ? 3n : 1n));
        for (const top of [0n, (1n << 64n) - (1n << BigInt(inputBits))]) {
          const va = top | low | (0x1234_5678_9abcn & inside);
          assert.equal(go(bench, EL1, va), Number(target | (0x1234_5678_9abcn & inside)), `level ${level}`);
          assert.equal(bench.walker.sizeBits, Number(shift));
        }
        bench.map(tree, low, level, 0n);
        assert.equal(go(bench, EL1, low), `stage 1 translation ${level}`);
        bench.map(tree, low, level, target | (level === 3 ? 3n : 1n));
        assert.equal(go(bench, EL1, low), `stage 1 access flag ${level}`);
        bench.map(tree, low, level, 0n);
      }
      const beyond = 1n << BigInt(inputBits);
      assert.equal(go(bench, EL1, beyond), "stage 1 translation 0");
      if (inputBits < 48) assert.equal(go(bench, EL1, (1n << 64n) - beyond - 1n), "stage 1 translation 0");
    });
  }
}

Deno.test("descriptors that are reserved at their level are translation faults", () => {
  for (const granule of GRANULES) {
    const { bench, tree } = stage1(granule, 48);
    bench.map(tree, 0n, 3, AF | VALID);
    assert.equal(go(bench, EL1, 0n), "stage 1 translation 3");
    for (let level = tree.first; level < (granule.bits === 12 ? 1 : 2); level++) {
      bench.map(tree, 0x4000_0000_0000n, level, AF | VALID);
      assert.equal(go(bench, EL1, 0x4000_0000_0000n), `stage 1 translation ${level}`);
    }
  }
});

Deno.test("addresses beyond the output size are address size faults", () => {
  const { bench, tree } = stage1(GRANULES[0]!, 39);
  bench.set({ TCR_EL1: bench.registers.TCR_EL1 & ~IPS_48 });
  bench.map(tree, 0x1000n, 3, 0x1_0000_0000n | AF | 3n);
  assert.equal(go(bench, EL1, 0x1000n), "stage 1 address size 3");
  bench.map(tree, 0x4000_0000n, 1, 0x1_0000_0000n | AF | 1n);
  assert.equal(go(bench, EL1, 0x4000_0000n), "stage 1 address size 1");
  bench.map(tree, 0x8000_0000n, 1, 0x1_0000_0000n | TABLE);
  assert.equal(go(bench, EL1, 0x8000_0000n), "stage 1 address size 1");
  bench.set({ TTBR0_EL1: 0x1_0000_0000n });
  assert.equal(go(bench, EL1, 0x1000n), "stage 1 address size 0");
});

Deno.test("a table outside memory is an external abort on the walk", () => {
  const { bench, tree } = stage1(GRANULES[0]!, 39);
  bench.map(tree, 0n, 1, 0x2000_0000n | TABLE);
  assert.equal(go(bench, EL1, 0n), "stage 1 code 16 2");
});

Deno.test("EPD, sizes out of bounds and the top byte", () => {
  const { bench, tree } = stage1(GRANULES[0]!, 39), tcr = bench.registers.TCR_EL1;
  bench.map(tree, 0x1000n, 3, 0x5000n | AF | 3n);
  const high = 0xffff_ff80_0000_1000n;
  assert.equal(go(bench, EL1, high), 0x5000);
  for (
    const [change, va, expected] of [
      [1n << 7n, 0x1000n, "stage 1 translation 0"],
      [1n << 7n, high, 0x5000],
      [1n << 23n, 0x1000n, 0x5000],
      [1n << 23n, high, "stage 1 translation 0"],
      [0n, 0xab00_0000_0000_1000n, "stage 1 translation 0"],
      [1n << 37n, 0xab00_0000_0000_1000n, 0x5000],
      [1n << 38n, 0xab00_0000_0000_1000n, "stage 1 translation 0"],
      [1n << 38n, 0xabff_ff80_0000_1000n, 0x5000],
      [1n << 37n, 0xab80_0000_0000_1000n, "stage 1 translation 0"],
    ] as const
  ) {
    bench.set({ TCR_EL1: tcr | change });
    assert.equal(go(bench, EL1, va), expected, `${change.toString(16)} ${va.toString(16)}`);
  }
  bench.set({ TCR_EL1: (tcr & ~63n) | 15n });
  assert.equal(go(bench, EL1, 0x1000n), "stage 1 translation 0");
  bench.set({ TCR_EL1: (tcr & ~63n) | 40n });
  assert.equal(go(bench, EL1, 0x1000n), "stage 1 translation 0");
});

/** Permissions as "rwx" by descriptor bits, from the tables in DDI 0487 "Data access permissions" and "Instruction …". */
function permissions(bench: Bench, viewpoint: Viewpoint, va = 0x1000n): string {
  const may = (access: Access) => typeof go(bench, viewpoint, va, access, 0) === "number";
  return (may(ACCESS.READ) ? "r" : "-") + (may(ACCESS.WRITE) ? "w" : "-") + (may(ACCESS.FETCH) ? "x" : "-");
}

Deno.test("stage 1 permissions of EL1&0", () => {
  const PAN: Viewpoint = { ...EL1, pan: true }, WXN = 1n << 19n;
  for (
    const [bits, tableBits, sctlr, el1, el0, pan] of [
      [0n, 0n, 0n, "rwx", "--x", "rwx"],
      [EL0, 0n, 0n, "rw-", "rwx", "---"],
      [RO, 0n, 0n, "r-x", "--x", "r-x"],
      [RO | EL0, 0n, 0n, "r-x", "r-x", "--x"],
      [PXN, 0n, 0n, "rw-", "--x", "rw-"],
      [UXN, 0n, 0n, "rwx", "---", "rwx"],
      [RO | EL0 | PXN | UXN, 0n, 0n, "r--", "r--", "---"],
      [0n, 0n, WXN, "rw-", "--x", "rw-"],
      [EL0, 0n, WXN, "rw-", "rw-", "---"],
      [RO | EL0, 0n, WXN, "r-x", "r-x", "--x"],
      // Hierarchical: APTable[1] read-only, APTable[0] not for EL0, UXNTable, PXNTable.
      [EL0, 1n << 62n, 0n, "r-x", "r-x", "--x"],
      [EL0, 1n << 61n, 0n, "rwx", "--x", "rwx"],
      [EL0 | RO, 1n << 60n, 0n, "r-x", "r--", "--x"],
      [EL0 | RO, 1n << 59n, 0n, "r--", "r-x", "---"],
    ] as const
  ) {
    const { bench, tree } = stage1(GRANULES[0]!, 39);
    bench.map(tree, 0x1000n, 3, 0x5000n | AF | 3n | bits, TABLE | tableBits);
    bench.set({ SCTLR_EL1: bench.registers.SCTLR_EL1 | sctlr });
    const found = [EL1, EL0_VIEW, PAN].map((v) => permissions(bench, v));
    assert.deepEqual(found, [el1, el0, pan], `${bits.toString(16)} ${tableBits.toString(16)} ${sctlr}`);
    if (tableBits === 0n) continue;
    bench.set({ TCR_EL1: bench.registers.TCR_EL1 | 1n << 41n });
    const plain = bits === EL0 ? ["rw-", "rwx"] : ["r-x", "r-x"];
    assert.deepEqual([EL1, EL0_VIEW].map((v) => permissions(bench, v)), plain, "HPD0");
  }
  const { bench, tree } = stage1(GRANULES[0]!, 39);
  bench.map(tree, 0x1000n, 3, 0x5000n | AF | 3n | RO);
  assert.equal(go(bench, EL1, 0x1000n, ACCESS.WRITE), "stage 1 permission 3");
  bench.map(tree, 0x4000_0000n, 1, 0x4000_0000n | AF | 1n | RO);
  assert.equal(go(bench, EL1, 0x4000_0000n, ACCESS.WRITE), "stage 1 permission 1");
});

Deno.test("the EL2 regime has one range and one execute-never bit; EL2&0 is like EL1&0", () => {
  const bench = new Bench(), tree = bench.tree(12, 39);
  bench.set({ SCTLR_EL2: 1n, TCR_EL2: 25n | 5n << 16n, TTBR0_EL2: BigInt(tree.root) });
  bench.map(tree, 0x1000n, 3, 0x5000n | AF | 3n | EL0);
  assert.equal(permissions(bench, EL2), "rwx");
  bench.map(tree, 0x1000n, 3, 0x5000n | AF | 3n | EL0 | UXN);
  assert.equal(permissions(bench, EL2), "rw-");
  bench.map(tree, 0x1000n, 3, 0x5000n | AF | 3n | EL0 | PXN | RO);
  assert.equal(permissions(bench, EL2), "r-x");
  assert.equal(go(bench, EL2, 0xffff_ff80_0000_1000n), "stage 1 translation 0");
  bench.set({ TCR_EL2: 25n | 5n << 16n | 1n << 20n });
  assert.equal(go(bench, EL2, 0x7700_0000_0000_1000n), 0x5000);

  bench.set({ HCR_EL2: E2H, TCR_EL2: 25n | 25n << 16n | 2n << 30n | IPS_48, TTBR1_EL2: BigInt(tree.root) });
  assert.equal(go(bench, EL20, 0xffff_ff80_0000_1000n), 0x5000);
  bench.map(tree, 0x1000n, 3, 0x5000n | AF | 3n | EL0);
  assert.equal(permissions(bench, EL20), "rw-");
  assert.equal(permissions(bench, { ...EL20, el0: true }), "rwx");
  assert.equal(permissions(bench, { ...EL20, pan: true }), "---");
});

Deno.test("the Access flag and dirty state are updated in memory where that is enabled", () => {
  const { bench, tree } = stage1(GRANULES[0]!, 39), DBM = 1n << 51n, tcr = bench.registers.TCR_EL1;
  const at = bench.map(tree, 0x1000n, 3, 0x5000n | 3n | RO | DBM);
  assert.equal(go(bench, EL1, 0x1000n), "stage 1 access flag 3");
  bench.set({ TCR_EL1: tcr | 1n << 39n });
  assert.equal(go(bench, EL1, 0x1000n, ACCESS.READ, 0), 0x5000, "a look without effects");
  assert.equal(bench.read64(at), 0x5000n | 3n | RO | DBM);
  assert.equal(go(bench, EL1, 0x1000n, ACCESS.WRITE), "stage 1 permission 3");
  assert.equal(bench.read64(at), 0x5000n | 3n | RO | DBM, "a fault leaves the flag");
  assert.equal(go(bench, EL1, 0x1000n), 0x5000);
  assert.equal(bench.read64(at), 0x5000n | 3n | RO | DBM | AF);
  bench.set({ TCR_EL1: tcr | 3n << 39n });
  assert.equal(go(bench, EL1, 0x1000n), 0x5000);
  assert.equal(bench.walker.permit & 2, 2);
  assert.equal(bench.walker.lasting & 2, 0, "the first write must come back to the walk");
  assert.equal(go(bench, EL1, 0x1000n, ACCESS.WRITE), 0x5000);
  assert.equal(bench.read64(at), 0x5000n | 3n | DBM | AF);
  assert.equal(bench.walker.lasting & 2, 2);

  const old = stage1(GRANULES[0]!, 39, { ...ALL_FEATURES, accessFlagUpdate: false, dirtyUpdate: false });
  old.bench.map(old.tree, 0x1000n, 3, 0x5000n | 3n);
  old.bench.set({ TCR_EL1: old.bench.registers.TCR_EL1 | 3n << 39n });
  assert.equal(go(old.bench, EL1, 0x1000n), "stage 1 access flag 3", "a core without the feature");
});

Deno.test("memory types: Device memory refuses unaligned accesses before permissions are looked at", () => {
  const { bench, tree } = stage1(GRANULES[0]!, 39);
  bench.map(tree, 0x1000n, 3, 0x5000n | AF | 3n | attr(1) | RO);
  assert.equal(go(bench, EL1, 0x1001n, ACCESS.WRITE, WALK.UNALIGNED), "stage 1 code 21 3");
  assert.equal(bench.walker.fault, FAULT.ALIGNMENT | 0);
  bench.map(tree, 0x1000n, 3, 0x5000n | AF | 3n | attr(2));
  assert.equal(go(bench, EL1, 0x1001n, ACCESS.WRITE, WALK.UNALIGNED), 0x5001);
  assert.equal(bench.walker.attributes, 0x44);
});

Deno.test("with stage 1 off addresses pass unchanged, as Device memory", () => {
  const bench = new Bench({ ...ALL_FEATURES, paBits: 40 });
  bench.set({ TCR_EL1: 25n });
  assert.equal(go(bench, EL1, 0xff_1234_5678n), 0xff_1234_5678);
  assert.equal(bench.walker.device, true);
  assert.equal(go(bench, EL1, 0x100_0000_0000n), "stage 1 address size 0");
  assert.equal(go(bench, EL1, 0x1001n, ACCESS.READ, WALK.UNALIGNED), "stage 1 code 21 0");
  assert.equal(go(bench, EL1, 0xaa00_0000_0000_1000n), "stage 1 address size 0");
  bench.set({ TCR_EL1: 25n | 1n << 37n });
  assert.equal(go(bench, EL1, 0xaa00_0000_0000_1000n), 0x1000);
  // HCR_EL2.TGE switches stage 1 of EL1&0 off; DC makes it Normal memory (and stage 2 on).
  bench.set({ SCTLR_EL1: 1n, HCR_EL2: 1n << 27n });
  assert.equal(go(bench, EL0_VIEW, 0x1000n), 0x1000);
});

// ---- stage 2

const VM = 1n;

/** Stage 2 with a tree of its own; stage 1 is off. */
function stage2(granule: typeof GRANULES[number], inputBits: number, sl0: bigint, first: number) {
  const bench = new Bench(), tree = bench.tree(granule.bits, inputBits, first);
  bench.set({
    HCR_EL2: VM,
    VTCR_EL2: BigInt(64 - inputBits) | sl0 << 6n | granule.tg0 << 14n | 5n << 16n,
    VTTBR_EL2: BigInt(tree.root) | 7n << 48n,
  });
  return { bench, tree };
}
const S2RW = 3n << 6n, S2_NORMAL = 15n << 2n;

for (
  const [index, inputBits, sl0, first] of [
    [0, 48, 2n, 0],
    [0, 44, 2n, 0],
    [0, 40, 1n, 1],
    [0, 43, 1n, 1],
    [0, 32, 1n, 1],
    [0, 34, 0n, 2],
    [0, 25, 0n, 2],
    [1, 48, 2n, 1],
    [1, 40, 1n, 2],
    [1, 29, 0n, 3],
    [2, 48, 2n, 1],
    [2, 46, 1n, 2],
    [2, 40, 1n, 2],
    [2, 33, 0n, 3],
  ] as const
) {
  const granule = GRANULES[index]!;
  Deno.test(`stage 2 maps: granule ${1 << (granule.bits - 10)}K, ${inputBits} bits from level ${first}`, () => {
    const { bench, tree } = stage2(granule, inputBits, sl0, first), stride = granule.bits - 3;
    for (const level of granule.bits === 12 ? [1, 2, 3] : [2, 3]) {
      if (level < first) continue;
      const shift = BigInt(granule.bits + (3 - level) * stride), inside = (1n << shift) - 1n;
      const ipa = (0xf5a5_a5a5_5a5a_a5a5n & ((1n << BigInt(inputBits)) - 1n)) & ~inside;
      const target = 0x6123_4567_0000n & ~inside;
      bench.map(tree, ipa, level, target | AF | S2RW | S2_NORMAL | (level === 3 ? 3n : 1n));
      assert.equal(go(bench, EL1, ipa | (0x1234_5678n & inside)), Number(target | (0x1234_5678n & inside)));
      bench.map(tree, ipa, level, 0n);
      assert.equal(go(bench, EL1, ipa | 0x234n), `stage 2 translation ${level}`);
      assert.equal(bench.walker.ipa, Number(ipa | 0x234n));
      bench.map(tree, ipa, level, target | S2RW | (level === 3 ? 3n : 1n));
      assert.equal(go(bench, EL1, ipa), `stage 2 access flag ${level}`);
      bench.map(tree, ipa, level, target | AF | 1n << 6n | S2_NORMAL | (level === 3 ? 3n : 1n));
      assert.equal(go(bench, EL1, ipa, ACCESS.WRITE), `stage 2 permission ${level}`);
      bench.map(tree, ipa, level, 0n);
    }
    if (inputBits < 48) assert.equal(go(bench, EL1, 1n << BigInt(inputBits)), "stage 2 translation 0");
  });
}

Deno.test("inconsistent stage 2 starting levels are level 0 translation faults", () => {
  for (
    const [index, inputBits, sl0] of [[0, 44, 1n], [0, 35, 0n], [0, 40, 3n], [0, 30, 1n], [2, 43, 0n], [
      1,
      48,
      1n,
    ]] as const
  ) {
    const granule = GRANULES[index]!, { bench } = stage2(granule, 40, 1n, granule.bits === 12 ? 1 : 2);
    bench.set({ VTCR_EL2: BigInt(64 - inputBits) | sl0 << 6n | granule.tg0 << 14n | 5n << 16n });
    assert.equal(go(bench, EL1, 0x1000n), "stage 2 translation 0", `${index} ${inputBits} ${sl0}`);
  }
});

Deno.test("stage 2 execute-never tells EL0 from EL1 where the core can", () => {
  for (
    const [xn, both, el1, el0] of [
      [0n, "rwx", "rwx", "rwx"],
      [1n, "rwx", "rw-", "rwx"],
      [2n, "rw-", "rw-", "rw-"],
      [3n, "rw-", "rwx", "rw-"],
    ] as const
  ) {
    const { bench, tree } = stage2(GRANULES[0]!, 40, 1n, 1);
    bench.map(tree, 0x1000n, 3, 0x5000n | AF | S2RW | S2_NORMAL | 3n | xn << 53n);
    assert.deepEqual([permissions(bench, EL1), permissions(bench, EL0_VIEW)], [el1, el0]);
    const plain = new Bench({ ...ALL_FEATURES, xnx: false });
    Object.assign(plain.registers, { HCR_EL2: VM, VTCR_EL2: bench.registers.VTCR_EL2 });
    const copy = plain.tree(12, 40, 1);
    plain.set({ VTTBR_EL2: BigInt(copy.root) });
    plain.map(copy, 0x1000n, 3, 0x5000n | AF | S2RW | S2_NORMAL | 3n | xn << 53n);
    assert.deepEqual([permissions(plain, EL1), permissions(plain, EL0_VIEW)], [both, both]);
  }
});

/** Both stages: stage 1's tables lie in IPA space at RAM + offset, mapped by 4K pages of stage 2 at 0x8000_0000 + offset. */
function nested() {
  const { bench, tree } = stage1(GRANULES[0]!, 39), second = bench.tree(12, 40, 1);
  const BASE = 0x8000_0000n, RAM_N = BigInt(RAM);
  const guestTree = bench.tree(12, 39);
  bench.set({
    HCR_EL2: VM,
    VTCR_EL2: 24n | 1n << 6n | 5n << 16n,
    VTTBR_EL2: BigInt(second.root),
    TTBR0_EL1: BigInt(guestTree.root) - RAM_N + BASE,
  });
  // Descriptors hold IPAs: build with physical ones, then move table addresses.
  const at3 = bench.map(guestTree, 0x1000n, 3, 0xc000_5000n | AF | 3n);
  const level1 = guestTree.root, level2 = Number(bench.read64(level1) & 0xffff_f000n), level3 = at3 - at3 % 4096;
  const move = (at: number) => bench.write64(at, bench.read64(at) - RAM_N + BASE);
  move(level1);
  move(level2);
  const page = (pa: number) => BigInt(pa - pa % 4096) - RAM_N + BASE;
  const allow = (pa: number, bits = S2RW | S2_NORMAL | AF | 3n) =>
    bench.map(second, page(pa), 3, BigInt(pa - pa % 4096) | bits);
  const deny = (pa: number) => bench.map(second, page(pa), 3, 0n);
  for (const table of [level1, level2, level3]) allow(table);
  bench.map(second, 0xc000_5000n, 3, 0x4010_0000n | S2RW | S2_NORMAL | AF | 3n);
  return {
    bench,
    second,
    tables: [level1, level2, level3],
    allow,
    deny,
    ipaOf: (pa: number) => pa - RAM + 0x8000_0000,
    at3,
    tree,
  };
}

Deno.test("every descriptor read of stage 1 passes stage 2", () => {
  const { bench, second, tables, allow, deny, ipaOf } = nested();
  assert.equal(go(bench, EL1, 0x1234n), 0x4010_0234);
  for (const table of tables) {
    deny(table);
    assert.equal(go(bench, EL1, 0x1234n, ACCESS.WRITE), "stage 2 translation 3 on walk");
    assert.equal(bench.walker.ipa & ~0xfff, ipaOf(table) & ~0xfff);
    allow(table, 2n << 6n | S2_NORMAL | AF | 3n);
    assert.equal(go(bench, EL1, 0x1234n), "stage 2 permission 3 on walk", "read permission is needed");
    allow(table, 1n << 6n | S2_NORMAL | AF | 3n);
    assert.equal(go(bench, EL1, 0x1234n), 0x4010_0234, "write permission is not");
    // Tables in what stage 2 calls Device memory: refused with HCR_EL2.PTW only.
    allow(table, S2RW | AF | 3n);
    assert.equal(go(bench, EL1, 0x1234n), 0x4010_0234);
    bench.set({ HCR_EL2: VM | 4n });
    assert.equal(go(bench, EL1, 0x1234n), "stage 2 permission 3 on walk");
    bench.set({ HCR_EL2: VM });
    allow(table);
  }
  bench.map(second, 0xc000_5000n, 3, 0n);
  assert.equal(go(bench, EL1, 0x1234n), "stage 2 translation 3");
  assert.equal(bench.walker.ipa, 0xc000_5234);
});

Deno.test("updates of stage 1 descriptors need stage 2's write permission", () => {
  const { bench, tables, allow, at3, ipaOf } = nested();
  bench.set({ TCR_EL1: bench.registers.TCR_EL1 | 3n << 39n });
  bench.write64(at3, bench.read64(at3) & ~AF);
  allow(tables[2]!, 1n << 6n | S2_NORMAL | AF | 3n);
  assert.equal(go(bench, EL1, 0x1234n), "stage 2 permission 3 on walk");
  assert.equal(bench.walker.updating, true);
  assert.equal(bench.walker.ipa, ipaOf(at3));
  allow(tables[2]!, S2RW | S2_NORMAL | AF | 3n | 2n << 53n);
  assert.equal(go(bench, EL1, 0x1234n), 0x4010_0234);
  assert.equal(bench.read64(at3) & AF, AF);
  assert.equal(bench.walker.lasting, 7, "what stage 2 permits for the table does not matter to the page");
});

Deno.test("stage 2 dirty state is updated where VTCR_EL2 says so", () => {
  const { bench, tree } = stage2(GRANULES[0]!, 40, 1n, 1), DBM = 1n << 51n;
  const at = bench.map(tree, 0x1000n, 3, 0x5000n | 1n << 6n | S2_NORMAL | 3n | DBM);
  bench.set({ VTCR_EL2: bench.registers.VTCR_EL2 | 3n << 21n });
  assert.equal(go(bench, EL1, 0x1000n), 0x5000);
  assert.equal(bench.read64(at), 0x5000n | 1n << 6n | S2_NORMAL | 3n | DBM | AF);
  assert.equal(bench.walker.lasting & 2, 0);
  assert.equal(go(bench, EL1, 0x1000n, ACCESS.WRITE), 0x5000);
  assert.equal(bench.read64(at), 0x5000n | S2RW | S2_NORMAL | 3n | DBM | AF);
});

Deno.test("the trace sees each descriptor in the order of the walk", () => {
  const { bench } = nested(), seen: string[] = [];
  bench.walker.trace = (stage, level) => void seen.push(`${stage}.${level}`);
  go(bench, EL1, 0x1234n);
  const two = ["2.1", "2.2", "2.3"];
  assert.deepEqual(seen, [...two, "1.1", ...two, "1.2", ...two, "1.3", ...two]);
});
