// The walk against the model on random registers and random tables, which are invented as the model reads them.

import assert from "node:assert/strict";
import { REGIME } from "../../src/mmu/controls.ts";
import { ACCESS, FAULT } from "../../src/mmu/fault.ts";
import { WALK } from "../../src/mmu/walk.ts";
import { ALL_FEATURES, Bench, RAM, RAM_BYTES } from "./bench_memory.ts";
import { type ModelAccess, modelTranslate, type Outcome, type Registers } from "./model.ts";

/** A small repeatable generator (xorshift). */
function generator(seed: number) {
  let state = seed;
  const word = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
  const below = (n: number) => word() % n;
  return {
    below,
    chance: (percent: number) => below(100) < percent,
    wide: () => BigInt(word()) << 32n | BigInt(word()),
    pick: <T>(list: readonly T[]): T => list[below(list.length)]!,
  };
}
type Random = ReturnType<typeof generator>;

const RAM_END = BigInt(RAM + RAM_BYTES);

function randomRegisters(random: Random): Registers {
  const { below, chance, wide } = random, n = (x: number) => BigInt(x);
  const size = () => n(chance(95) ? 16 + below(24) : below(64));
  const table = () => BigInt(RAM) + (wide() % n(RAM_BYTES)) | (chance(3) ? 1n << 40n : 0n);
  const flags = (...bits: number[]) => bits.reduce((sum, bit) => chance(50) ? sum | 1n << n(bit) : sum, 0n);
  const tcr = () =>
    size() | size() << 16n | n(below(4)) << 14n | n(below(4)) << 30n |
    (chance(85) ? 5n : n(below(8))) << 32n | flags(37, 38, 39, 40, 41, 42) | (chance(5) ? 1n << 7n : 0n) |
    (chance(5) ? 1n << 23n : 0n);
  const sctlr = () => (chance(90) ? 1n : 0n) | (chance(30) ? 1n << 19n : 0n) | (chance(20) ? 1n << 25n : 0n);
  // Stage 2: mostly sizes that go with the starting level.
  const tg = below(3), granule = [12, 16, 14][tg]!, sl0 = below(3), start = granule === 12 ? 2 - sl0 : 3 - sl0;
  const least = (3 - start) * (granule - 3) + granule + 1, most = Math.min(48, least + granule);
  const bits = chance(95) && least <= most ? least + below(most - least + 1) : 16 + below(48);
  return {
    SCTLR_EL1: sctlr(),
    SCTLR_EL2: sctlr(),
    TCR_EL1: tcr(),
    TCR_EL2: chance(50) ? tcr() : size() | n(below(4)) << 14n | 5n << 16n | flags(20, 21, 22, 24),
    TTBR0_EL1: table(),
    TTBR1_EL1: table(),
    TTBR0_EL2: table(),
    TTBR1_EL2: table(),
    MAIR_EL1: wide(),
    MAIR_EL2: 0xff44_ff00_ff04_ffffn,
    HCR_EL2: (chance(60) ? 1n : 0n) | (chance(20) ? 4n : 0n) | (chance(10) ? 1n << 12n : 0n) |
      (chance(10) ? 1n << 27n : 0n) | (chance(20) ? 1n << 34n : 0n),
    VTCR_EL2: n(64 - bits & 63) | n(chance(98) ? sl0 : below(4)) << 6n | n(tg) << 14n |
      (chance(90) ? 5n : n(below(8))) << 16n | flags(21, 22),
    VTTBR_EL2: table(),
  };
}

/** A descriptor: mostly valid, mostly accessed, tables and stage 2's pages mostly in RAM. */
function randomDescriptor(random: Random, stage: 1 | 2): bigint {
  const { chance, wide } = random;
  const near = BigInt(RAM) + (wide() % BigInt(RAM_BYTES));
  const address = (chance(92) ? near : wide()) & 0xffff_ffff_f000n;
  let d = address | (wide() & 0xfff8_0000_0000_0ffcn) | (chance(80) ? 3n : chance(75) ? 1n : 0n);
  if (chance(75)) d |= 1n << 10n;
  if (chance(70)) d &= ~(0xf8n << 56n);
  if (stage === 2 && chance(80)) d |= 0xfcn;
  if (stage === 1 && chance(50)) d &= ~(1n << 7n);
  return d;
}

const REGIMES = { "EL1&0": REGIME.EL10, EL2: REGIME.EL2, "EL2&0": REGIME.EL20 } as const;

function outcomeOf(bench: Bench, r: Registers, a: ModelAccess): Outcome {
  Object.assign(bench.registers, r);
  const { walker } = bench, c = bench.controls({ regime: REGIMES[a.regime], el0: a.el0, pan: a.pan });
  const options = WALK.UPDATE | (a.aligned ? 0 : WALK.UNALIGNED);
  const kind = { read: ACCESS.READ, write: ACCESS.WRITE, fetch: ACCESS.FETCH }[a.kind];
  const done = walker.translate(c, Number(a.va & 0xffff_ffffn) | 0, Number(a.va >> 32n) | 0, kind, options);
  if (done) return { pa: BigInt(walker.pa), device: walker.device };
  const names = new Map<number, string>([
    [FAULT.ADDRESS_SIZE, "address size"],
    [FAULT.TRANSLATION, "translation"],
    [FAULT.ACCESS_FLAG, "access flag"],
    [FAULT.PERMISSION, "permission"],
    [FAULT.EXTERNAL_WALK, "external"],
  ]);
  const alignment = walker.fault === FAULT.ALIGNMENT, code = walker.fault & ~3;
  if (!alignment) assert.equal(walker.fault & 3, walker.level);
  return {
    fault: alignment ? "alignment" : names.get(code) ?? `code ${code}`,
    stage: walker.stage,
    level: walker.level,
    walk: walker.s1ptw,
    ipa: walker.stage === 2 ? BigInt(walker.ipa) : 0n,
  };
}

Deno.test("random translations agree with the model", () => {
  const seed = Number(Deno.env.get("SEED") ?? 20240501), random = generator(seed);
  const trials = Number(Deno.env.get("TRIALS") ?? 6000);
  const seen = new Map<string, number>(), bench = new Bench();
  for (let trial = 0; trial < trials; trial++) {
    const features = {
      ...ALL_FEATURES,
      paBits: random.pick([40, 44, 48, 48]),
      granule16K: random.chance(80),
      accessFlagUpdate: random.chance(70),
      dirtyUpdate: random.chance(70),
      hpd: random.chance(70),
      pan: random.chance(80),
      xnx: random.chance(50),
      el2: random.chance(95),
    };
    (bench as { features: typeof features }).features = features;
    const registers = randomRegisters(random),
      regime = random.pick(["EL1&0", "EL1&0", "EL1&0", "EL2", "EL2&0"] as const);
    const el0 = regime !== "EL2" && random.chance(30), upper = random.chance(40);
    const bits = 64 - Number(registers[regime === "EL1&0" ? "TCR_EL1" : "TCR_EL2"]! >> (upper ? 16n : 0n) & 63n);
    let va = random.wide() & ((1n << BigInt(bits)) - 1n);
    if (upper) va |= (1n << 64n) - (1n << BigInt(bits));
    if (random.chance(10)) va = va & 0xff_ffff_ffff_ffffn | random.wide() & 0xff00_0000_0000_0000n;
    if (random.chance(3)) va = random.wide();
    const access: ModelAccess = {
      va: BigInt.asUintN(64, va),
      regime,
      el0,
      pan: !el0 && random.chance(40),
      kind: random.pick(["read", "write", "fetch"]),
      aligned: random.chance(80),
    };
    // The model reads first and invents descriptors; what it would update is kept aside.
    const invented = new Set<bigint>(), updates = new Map<bigint, bigint>();
    const expected = modelTranslate(registers, features, access, {
      read(address, stage) {
        if (address < BigInt(RAM) || address + 8n > RAM_END) return undefined;
        if (!invented.has(address)) {
          invented.add(address);
          bench.write64(Number(address), randomDescriptor(random, stage));
        }
        return updates.get(address) ?? bench.read64(Number(address));
      },
      write: (address, value) => void updates.set(address, value),
    });
    const found = outcomeOf(bench, registers, access);
    const context = () => `trial ${trial} of seed ${seed}: ${JSON.stringify({ access, registers, features }, shown)}`;
    assert.deepEqual(found, expected, context());
    for (const address of invented) {
      const value = updates.get(address);
      if (value !== undefined) assert.equal(bench.read64(Number(address)), value, context());
    }
    for (const address of invented) bench.write64(Number(address), 0n);
    const key = "fault" in expected
      ? `${expected.stage} ${expected.fault}${expected.walk ? " on walk" : ""}`
      : "translated";
    seen.set(key, (seen.get(key) ?? 0) + 1);
  }
  // The trials must reach what they are for.
  for (
    const key of [
      "translated",
      "1 translation",
      "1 address size",
      "1 access flag",
      "1 permission",
      "1 alignment",
      "1 external",
      "2 translation",
      "2 access flag",
      "2 permission",
      "2 translation on walk",
      "2 access flag on walk",
      "2 permission on walk",
      "2 external on walk",
    ]
  ) assert.ok((seen.get(key) ?? 0) > 0, `${key}: ${seen.get(key)} of ${JSON.stringify([...seen])}`);
});
const shown = (_key: string, value: unknown) => typeof value === "bigint" ? `0x${value.toString(16)}` : value;
