// Short programs against qemu-aarch64: what one instruction leaves for the next (flags, the exclusive monitor, FPSR, the
// place to go on after a branch). SEQUENCES: programs per test. SEED: other ones.

import assert from "node:assert/strict";
import { type Definition, fields31, instantiate, rawFields } from "../../src/isa/define.ts";
import { differences, report } from "./compare.ts";
import { A64 } from "../../src/isa/a64/a64.ts";
import { ALL_FEATURES, Engine } from "./engine.ts";
import { fillCase, randomWord, traitsOf } from "./generate.ts";
import { Batch, DATA_BASE, isOracleAvailable, PAGE_BYTES, runOracle } from "./oracle.ts";
import { hasErratum } from "./qemu_errata.ts";
import { Random } from "./random.ts";

const SEQUENCES = Number(Deno.env.get("SEQUENCES") ?? 4000);
const SEED = Number(Deno.env.get("SEED") ?? 1);
const ignore = !isOracleAvailable();

/** Runs everything in `batch` on both sides and fails with the first differences. */
async function compareAll(definitions: readonly Definition[], batch: Batch, image: Uint8Array<ArrayBuffer>) {
  const words = new Set<number>(), random = new Random(SEED);
  for (let i = 0; i < batch.count; i++) batch.at(i).words.forEach((w) => words.add(w));
  const inline = Array.from({ length: 200 }, () => random.pick([...words]));
  const engine = new Engine(definitions, ALL_FEATURES, inline);
  engine.prepare(words);
  const failures: string[] = [];
  let differing = 0;
  (await runOracle(batch, { image })).forEach((theirs, i) => {
    const test = batch.at(i), ours = engine.run(test, image, i % 5 === 0);
    if (!differences(test, ours, theirs, image).length) return;
    if (differing++ < 3) failures.push(report((word) => engine.decoder.decode(word), test, ours, theirs, image));
  });
  assert.equal(differing, 0, `${differing} of ${batch.count} differ\n${failures.join("\n")}`);
}

/** The field `name` of `word` replaced. */
function withField(d: Definition, word: number, name: string, value: number): number {
  const f = d.fields.find((field) => field.name === name);
  if (!f) return word;
  const mask = (2 ** f.width - 1) << f.lsb;
  return ((word & ~mask) | ((value << f.lsb) & mask)) >>> 0;
}

Deno.test({
  name: "load-exclusive and store-exclusive work together",
  ignore,
  async fn() {
    const definitions = A64, random = new Random(SEED), batch = new Batch();
    const named = (name: string) => {
      const d = definitions.find((x) => x.name === name);
      assert.ok(d, `${name} is defined`);
      return d;
    };
    const pairs = [[named("LDXR, LDAXR"), named("STXR, STLXR")], [named("LDXP, LDAXP"), named("STXP, STLXP")]] as const;
    const between = ["CLREX", "LDUR, STUR", "SWP", "ADD, SUB (immediate)"].map(named);
    const image = random.bytes(PAGE_BYTES);
    const fix = (d: Definition, size: number, base: number): number => {
      for (;;) {
        let word = randomWord(random, d)!;
        for (const [name, value] of [["size", size], ["sz", size & 1], ["Rn", base]] as const) {
          word = withField(d, word, name, value);
        }
        const raw = rawFields(d, word);
        const others = d.fields.filter((f) => f.kind === "R" && f.name !== "Rn").map((f) => raw[f.name]!);
        // The base stays, and nothing is UNPREDICTABLE.
        if (new Set([...others, base]).size === others.length + 1 && !traitsOf(d, word).excluded) return word;
      }
    };
    while (batch.count < SEQUENCES) {
      const [load, store] = random.pick(pairs), size = random.below(4), base = random.below(31);
      const words = [fix(load, size, base)];
      if (random.once(2)) {
        const d = random.pick(between), word = randomWord(random, d)!, raw = rawFields(d, word);
        if (d.name === "CLREX") words.push(word);
        else if (raw["Rt"] !== base && raw["Rd"] !== base) {
          words.push(withField(d, withField(d, word, "Rn", base), "imm9", random.pick([0, 0, 16, 64])));
        }
      }
      words.push(fix(store, size, base));
      if (random.once(4)) words.push(fix(store, size, base));
      const test = batch.add(...words);
      for (let i = 0; i < 31; i++) test.x[i] = random.u64();
      test.x[31] = DATA_BASE + 0x100n;
      test.x[base] = DATA_BASE + BigInt(random.below(200) * 16);
    }
    await compareAll(definitions, batch, image);
  },
});

Deno.test({
  name: "programs without memory accesses agree with qemu-aarch64",
  ignore,
  async fn() {
    const definitions = A64, random = new Random(SEED), batch = new Batch();
    const image = random.bytes(PAGE_BYTES);
    // Each definition is tried once: whether it stays in registers shows in its semantics.
    const usable = definitions.filter((d) => {
      const word = randomWord(random, d);
      // FPSR's AArch32 flags exist in QEMU and not here.
      if (d.name === "MSR FPSR") return false;
      if (word === undefined || d.name.startsWith("M") && d.insn.bits.includes("_CRn")) return false;
      const traits = traitsOf(d, word), ir = instantiate(d, word, "translate", fields31(d, word));
      return (!traits.excluded || traits.excluded === "UNPREDICTABLE") && !traits.accesses.length && !traits.jump &&
        !ir.effects.some((e) => e.kind === "helper" && e.name !== "softFloat");
    });
    const branches = usable.filter((d) => d.branches), plain = usable.filter((d) => !d.branches && d.name !== "BRK");
    const weighted = [...plain.filter((d) => !d.usesFp), ...plain];
    while (batch.count < SEQUENCES) {
      const length = 2 + random.below(6), words: number[] = [], used: Definition[] = [];
      while (words.length < length) {
        const left = length - words.length;
        const d = left > 1 && random.once(5) ? random.pick(branches) : random.pick(weighted);
        let word = randomWord(random, d)!;
        // Forward, at most to the BRK behind the last word.
        for (const name of ["imm14", "imm19", "imm26"]) word = withField(d, word, name, 1 + random.below(left));
        if (hasErratum(word) || traitsOf(d, word).excluded) continue;
        words.push(word);
        used.push(d);
      }
      const test = batch.add(...words), vectors = used.find((d) => d.usesFp) ?? used[0]!;
      fillCase(random, test, vectors, words[used.indexOf(vectors)]!, { accesses: [], lets: new Map() });
      // Few registers would make few dependencies: let all words use the same four.
      for (let i = 0; i < 31; i++) if (random.once(2)) test.x[i] = random.integer(64);
    }
    await compareAll(definitions, batch, image);
  },
});
