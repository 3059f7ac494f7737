// Every instruction definition against qemu-aarch64: random words on random states, in our engine and in the oracle.
// ORACLE_WORDS: words per definition. ORACLE_ONLY: a regular expression for names. SEED: another sequence. ORACLE_VERBOSE:
// a line per definition.

import assert from "node:assert/strict";
import type { Definition } from "../../src/isa/define.ts";
import { differences, report } from "./compare.ts";
import { A64 } from "../../src/isa/a64/a64.ts";
import { ALL_FEATURES, Engine } from "./engine.ts";
import { fillCase, randomWord, type Traits, traitsOf } from "./generate.ts";
import { Batch, isOracleAvailable, PAGE_BYTES, runOracle, SIGNAL } from "./oracle.ts";
import { Random } from "./random.ts";

const WORDS = Number(Deno.env.get("ORACLE_WORDS") ?? 150);
const ONLY = new RegExp(Deno.env.get("ORACLE_ONLY") ?? "");
const SEED = Number(Deno.env.get("SEED") ?? 1);
/** How many failures of each definition are printed. */
const SHOWN = Number(Deno.env.get("ORACLE_SHOWN") ?? 2);
const ignore = !isOracleAvailable();

/** Definitions that are not compared, with the reason. Any other must have words that are. */
const EXCLUDED: Readonly<Record<string, string>> = {
  "SVC": "would act on the host",
  "MRS (direct)": "system registers: tests/cpu, tests/guests",
  "MSR (register, direct)": "system registers",
  "MRS": "system registers",
  "MSR (register)": "system registers",
  "MRS DAIF": "system registers",
  "MSR DAIF": "system registers",
  "MSR DAIFSet": "system registers",
  "MSR DAIFClr": "system registers",
  "MSR (immediate)": "system registers",
  "SYS": "system instructions",
  "WFE": "waits",
  "ESB": "nothing happens where RAS is absent",
  "WFI": "waits",
};
/** Cases per run of the oracle. */
const CHUNK = 30_000;

interface Plan {
  definition: Definition;
  traits: Traits;
}
interface Tally {
  cases: number;
  completed: number;
  failures: string[];
  /** Words left out, by reason. */
  left: Map<string, number>;
}

/** Runs a batch on both sides. */
async function compareBatch(
  engine: Engine,
  batch: Batch,
  plans: readonly Plan[],
  tallies: ReadonlyMap<Definition, Tally>,
  image: Uint8Array<ArrayBuffer>,
) {
  engine.prepare(plans.map((_, i) => batch.at(i).words[0]!));
  const outcomes = await runOracle(batch, { image });
  plans.forEach(({ definition, traits }, i) => {
    const tally = tallies.get(definition)!, test = batch.at(i), theirs = outcomes[i]!;
    const ours = engine.run(test, image, i % 6 === 0);
    if (theirs.signal === SIGNAL.TRAP) tally.completed++;
    if (!differences(test, ours, theirs, image, traits).length) return;
    tally.failures.push(report((word) => engine.decoder.decode(word), test, ours, theirs, image, traits));
  });
}

/** Adds up to WORDS cases of `definition`. */
function addCases(random: Random, definition: Definition, batch: Batch, plans: Plan[], tally: Tally) {
  for (let i = 0; i < WORDS; i++) {
    const word = randomWord(random, definition);
    if (word === undefined) {
      tally.failures.push(`  no word of ${definition.name} was found by chance`);
      return;
    }
    const traits = traitsOf(definition, word);
    if (traits.excluded) {
      tally.left.set(traits.excluded, (tally.left.get(traits.excluded) ?? 0) + 1);
      continue;
    }
    if (!fillCase(random, batch.add(word), definition, word, traits)) {
      batch.count--;
      continue;
    }
    plans.push({ definition, traits });
    tally.cases++;
  }
}

Deno.test({
  name: "every instruction definition agrees with qemu-aarch64",
  ignore,
  async fn() {
    const random = new Random(SEED), image = random.bytes(PAGE_BYTES);
    const chosen = A64.filter((d) => ONLY.test(d.name) && !EXCLUDED[d.name]);
    // Some handlers inside the interpreter's main function, the others as functions of their own.
    const inline = Array.from({ length: 200 }, () => randomWord(random, random.pick(chosen))!);
    const engine = new Engine(A64, ALL_FEATURES, inline), tallies = new Map<Definition, Tally>();
    let batch = new Batch(), plans: Plan[] = [], words = 0;
    const flush = async () => {
      await compareBatch(engine, batch, plans, tallies, image);
      words += batch.count;
      batch = new Batch();
      plans = [];
    };
    for (const definition of chosen) {
      const tally: Tally = { cases: 0, completed: 0, failures: [], left: new Map() };
      tallies.set(definition, tally);
      addCases(random, definition, batch, plans, tally);
      if (batch.count >= CHUNK) await flush();
    }
    await flush();
    const lines: string[] = [], failing: string[] = [];
    for (const [definition, { cases, completed, failures, left }] of tallies) {
      const rest = [...left].map(([reason, n]) => `${reason}: ${n}`).join(", ");
      lines.push(`${definition.name}: ${cases} words, ${completed} without a fault${rest && `; left out: ${rest}`}`);
      if (!cases) failures.push("  no word of it was compared");
      if (!failures.length) continue;
      failing.push(`${definition.name}: ${failures.length} of ${cases} differ\n${failures.slice(0, SHOWN).join("\n")}`);
    }
    if (Deno.env.has("ORACLE_VERBOSE")) console.log(lines.join("\n"));
    console.log(`${chosen.length} of ${A64.length} definitions compared, ${words} words`);
    const excluded = Object.entries(EXCLUDED).map(([name, reason]) => `${name} (${reason})`);
    console.log(`not compared: ${excluded.join(", ")}`);
    if (failing.length) console.log(failing.join("\n\n"));
    assert.equal(failing.length, 0, `${failing.length} definitions differ from the oracle`);
    for (const name of Object.keys(EXCLUDED)) assert.ok(A64.some((d) => d.name === name), `${name} is a definition`);
  },
});
