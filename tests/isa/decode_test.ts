// What is allocated: random words over the whole encoding space, where our decoder and qemu-aarch64 must agree on what is
// UNDEFINED at EL0. Words with side effects outside the registers are only decoded, and system instructions are left out.
// DECODE_WORDS: words per run. SEED: another sequence.

import assert from "node:assert/strict";
import { cpuModel } from "../../src/arch/models.ts";
import { Decoder } from "../../src/isa/decoder.ts";
import { disassemble } from "../../src/isa/define.ts";
import { UNALLOCATED } from "../../src/isa/decoder.ts";
import { A64 } from "../../src/isa/a64/a64.ts";
import { ALL_FEATURES } from "./engine.ts";
import { Batch, DATA_BASE, isOracleAvailable, runOracle, SIGNAL } from "./oracle.ts";
import { Random } from "./random.ts";

const WORDS = Number(Deno.env.get("DECODE_WORDS") ?? 40_000);
/** Groups of words that are named in a failure. */
const SHOWN = 40;
const SEED = Number(Deno.env.get("SEED") ?? 1);

/** Encodings that are not compared: what QEMU decides about them is not about allocation at EL0. */
const LEFT_OUT: readonly { mask: number; value: number; why: string }[] = [
  { mask: 0xff000000, value: 0xd4000000, why: "exception generation" },
  {
    mask: 0xffc00000,
    value: 0xd5000000,
    why: "system registers, hints, barriers: EL0 access is not a matter of decoding",
  },
  { mask: 0xfffffc1f, value: 0xd69f0000, why: "ERET, UNDEFINED at EL0" },
  { mask: 0x3fe0fc00, value: 0x38a0c000, why: "LDAPR's Rs should be ones: CONSTRAINED UNPREDICTABLE" },
  { mask: 0x3fa08000, value: 0x08800000, why: "LDLAR, STLLR: UNDEFINED here, since LORegions are not announced" },
  { mask: 0xbffffc00, value: 0x0ef9f800, why: "a half-precision FRECPX of vectors ends QEMU 7.2 by an assertion" },
  { mask: 0xfffffc00, value: 0x7ef9f800, why: "a half-precision FSQRT of scalars, likewise" },
  { mask: 0xdffffc00, value: 0x5ef8f800, why: "half-precision FABS and FNEG of scalars, likewise or accepted" },
  { mask: 0xbf7fcc00, value: 0x0e70c800, why: "QEMU 7.2 ignores bit 22 of half-precision FMAXNMV and FMAXV" },
  { mask: 0xff7f0c00, value: 0x5e700800, why: "and of half-precision scalar FADDP, FMAXNMP and FMAXP" },
  { mask: 0xbff8fc00, value: 0x2f00fc00, why: "QEMU 7.2 ignores bit 11 of FMOV (vector, immediate) with op set" },
];

Deno.test("no word belongs to two definitions", () => {
  const decoder = new Decoder(A64, ALL_FEATURES), random = new Random(SEED);
  const check = (word: number) => {
    const all = decoder.all(word);
    assert.ok(all.length <= 1, `0x${word.toString(16)} is ${all.map((d) => d.name).join(" and ")}`);
  };
  for (let i = 0; i < WORDS; i++) check(random.u32());
  for (const d of decoder.definitions) {
    for (let i = 0; i < 200; i++) check(((random.u32() & ~d.mask) | d.value) >>> 0);
  }
});

for (const cpu of ["cortex-a57", "cortex-a76"] as const) {
  Deno.test({
    name: `what is UNDEFINED agrees with qemu-aarch64 as ${cpu}`,
    ignore: !isOracleAvailable(),
    fn: () => compareAllocation(cpu),
  });
}

async function compareAllocation(cpu: "cortex-a57" | "cortex-a76") {
  const definitions = A64;
  const decoder = new Decoder(definitions, cpuModel(cpu, { el2: true, gicv3: true }).features);
  const random = new Random(SEED), batch = new Batch();
  while (batch.count < WORDS) {
    // Half of the words are near a definition, one or two bits away.
    let word = random.u32();
    if (random.once(2)) {
      const d = random.pick(definitions);
      word = (word & ~d.mask) | d.value;
      for (let n = random.below(3); n > 0; n--) word ^= 1 << random.below(32);
    }
    word >>>= 0;
    if (LEFT_OUT.some(({ mask, value }) => ((word & mask) >>> 0) === value) || branchesToItself(word)) continue;
    batch.add(word).x.fill(DATA_BASE + 0x800n);
  }
  const extra = new Map<string, number[]>(), missing = new Map<string, number[]>();
  (await runOracle(batch, { cpu })).forEach((outcome, i) => {
    const word = batch.at(i).words[0]!, definition = decoder.decode(word);
    const isDefined = definition !== UNALLOCATED, isAllocated = outcome.signal !== SIGNAL.ILL;
    if (isDefined === isAllocated) return;
    const group = isDefined ? extra : missing;
    const key = isDefined ? definition.name : `bits 31 to 21: ${(word >>> 21).toString(2).padStart(11, "0")}`;
    group.set(key, [...group.get(key) ?? [], word]);
  });
  const text = (group: Map<string, number[]>) =>
    [...group].map(([key, words]) => {
      const word = words[0]!;
      return `  ${key}: ${words.length}, as 0x${word.toString(16).padStart(8, "0")} ${
        disassemble(decoder.decode(word), word)
      }`;
    }).sort().slice(0, SHOWN).join("\n");
  const report = (extra.size ? `\ndefined here, UNDEFINED in QEMU:\n${text(extra)}` : "") +
    (missing.size ? `\ndefined in QEMU, UNDEFINED here (${missing.size} groups):\n${text(missing)}` : "");
  assert.equal(report, "");
}

/** A direct branch to itself would never end under the oracle. */
function branchesToItself(word: number): boolean {
  const isZero = (lsb: number, width: number) => ((word >>> lsb) & (2 ** width - 1)) === 0;
  if ((word & 0x7c000000) === 0x14000000) return isZero(0, 26);
  if ((word & 0x7e000000) === 0x34000000 || (word & 0xff000010) >>> 0 === 0x54000000) return isZero(5, 19);
  return (word & 0x7e000000) === 0x36000000 && isZero(5, 14);
}
