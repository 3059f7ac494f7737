// What is allocated: random words over the whole encoding space, where our decoder and qemu-aarch64 must agree on what is
// UNDEFINED at EL0. Words with side effects outside the registers are only decoded, and system instructions are left out.
// DECODE_WORDS: words per run. SEED: another sequence.

import assert from "node:assert/strict";
import { Decoder } from "../../src/isa/decoder.ts";
import { disassemble } from "../../src/isa/define.ts";
import { UNALLOCATED } from "../../src/isa/decoder.ts";
import { allDefinitions } from "./definitions.ts";
import { ALL_FEATURES } from "./engine.ts";
import { Batch, DATA_BASE, isOracleAvailable, runOracle, SIGNAL } from "./oracle.ts";
import { Random } from "./random.ts";

const WORDS = Number(Deno.env.get("DECODE_WORDS") ?? 60_000);
const SEED = Number(Deno.env.get("SEED") ?? 1);

/** Encodings that are not compared: what QEMU decides about them is not about allocation at EL0. */
const LEFT_OUT: readonly { mask: number; value: number; why: string }[] = [
  { mask: 0xff000000, value: 0xd4000000, why: "exception generation" },
  {
    mask: 0xffc00000,
    value: 0xd5000000,
    why: "system registers, hints, barriers: EL0 access is not a matter of decoding",
  },
];

Deno.test("no word belongs to two definitions", async () => {
  const decoder = new Decoder(await allDefinitions(), ALL_FEATURES), random = new Random(SEED);
  const check = (word: number) => {
    const all = decoder.all(word);
    assert.ok(all.length <= 1, `0x${word.toString(16)} is ${all.map((d) => d.name).join(" and ")}`);
  };
  for (let i = 0; i < WORDS; i++) check(random.u32());
  for (const d of decoder.definitions) {
    for (let i = 0; i < 200; i++) check(((random.u32() & ~d.mask) | d.value) >>> 0);
  }
});

Deno.test({
  name: "what is UNDEFINED agrees with qemu-aarch64",
  ignore: !isOracleAvailable(),
  async fn() {
    const definitions = await allDefinitions(), decoder = new Decoder(definitions, ALL_FEATURES);
    const random = new Random(SEED), batch = new Batch();
    while (batch.count < WORDS) {
      // Half of the words are near a definition, one or two bits away.
      let word = random.u32();
      if (definitions.length && random.once(2)) {
        const d = random.pick(definitions);
        word = (word & ~d.mask) | d.value;
        for (let n = random.below(3); n > 0; n--) word ^= 1 << random.below(32);
      }
      word >>>= 0;
      if (LEFT_OUT.some(({ mask, value }) => ((word & mask) >>> 0) === value) || branchesToItself(word)) continue;
      const test = batch.add(word);
      test.x.fill(DATA_BASE + 0x800n);
    }
    const outcomes = await runOracle(batch), missing = new Map<string, number[]>(), extra = new Map<string, number[]>();
    outcomes.forEach((outcome, i) => {
      const word = batch.at(i).words[0]!, definition = decoder.decode(word);
      const isDefined = definition !== UNALLOCATED, isAllocated = outcome.signal !== SIGNAL.ILL;
      if (isDefined === isAllocated) return;
      const group = isDefined ? extra : missing,
        key = isDefined ? definition.name : `top bits ${(word >>> 21).toString(2).padStart(11, "0")}`;
      group.set(key, [...group.get(key) ?? [], word]);
    });
    const text = (group: Map<string, number[]>, isDefined: boolean) =>
      [...group].map(([key, words]) => {
        const [word] = words as [number];
        return `  ${key}: ${words.length}, as 0x${word.toString(16).padStart(8, "0")} ${
          isDefined ? disassemble(decoder.decode(word), word) : ""
        }`;
      }).sort().join("\n");
    if (extra.size) console.log(`defined here, undefined in QEMU:\n${text(extra, true)}`);
    if (missing.size) console.log(`defined in QEMU, undefined here:\n${text(missing, false)}`);
    assert.equal(extra.size + missing.size, 0, "decoders differ");
  },
});

/** A direct branch to itself would never end under the oracle. */
function branchesToItself(word: number): boolean {
  const isZero = (lsb: number, width: number) => ((word >>> lsb) & (2 ** width - 1)) === 0;
  if ((word & 0x7c000000) === 0x14000000) return isZero(0, 26);
  if ((word & 0x7e000000) === 0x34000000 || (word & 0xff000010) >>> 0 === 0x54000000) return isZero(5, 19);
  return (word & 0x7e000000) === 0x36000000 && isZero(5, 14);
}
