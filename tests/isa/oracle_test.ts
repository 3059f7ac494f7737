// Every instruction definition against qemu-aarch64: random words on random states, in our engine and in the oracle.
// ORACLE_WORDS: words per definition. ORACLE_ONLY: a regular expression for names. SEED: another sequence. ORACLE_VERBOSE:
// a line per definition.

import assert from "node:assert/strict";
import type { Definition } from "../../src/isa/define.ts";
import { differences, report } from "./compare.ts";
import { allDefinitions } from "./definitions.ts";
import { ALL_FEATURES, Engine } from "./engine.ts";
import { fillCase, randomWord, type Traits, traitsOf } from "./generate.ts";
import { Batch, isOracleAvailable, type Outcome, PAGE_BYTES, runOracle } from "./oracle.ts";
import { Random } from "./random.ts";

const WORDS = Number(Deno.env.get("ORACLE_WORDS") ?? 150);
const ONLY = new RegExp(Deno.env.get("ORACLE_ONLY") ?? "");
const SEED = Number(Deno.env.get("SEED") ?? 1);
/** How many failures of each definition are printed. */
const SHOWN = Number(Deno.env.get("ORACLE_SHOWN") ?? 2);
const ignore = !isOracleAvailable();

/** Definitions that are not compared, with the reason; a definition that the generator excludes itself need not be here. */
const EXCLUDED: Readonly<Record<string, string>> = {
  "MRS (direct)": "system register",
  "MSR (register, direct)": "system register",
  "FCVTZS, FCVTZU (vector, scalar fixed-point), half precision": "QEMU 7.2 writes the sign of FCVTZS to bits 31 to 16",
};

interface Plan {
  definition: Definition;
  traits: Traits;
}
interface Tally {
  cases: number;
  completed: number;
  failures: string[];
  excluded: Map<string, number>;
}

Deno.test({
  name: "every instruction definition agrees with qemu-aarch64",
  ignore,
  async fn() {
    const definitions = await allDefinitions(), random = new Random(SEED), image = random.bytes(PAGE_BYTES);
    const chosen = definitions.filter((d) => ONLY.test(d.name));
    const tallies = new Map<Definition, Tally>();
    const batch = new Batch(), plans: Plan[] = [];
    for (const definition of chosen) {
      const tally: Tally = { cases: 0, completed: 0, failures: [], excluded: new Map() };
      tallies.set(definition, tally);
      const reason = EXCLUDED[definition.name];
      if (reason) {
        tally.excluded.set(reason, WORDS);
        continue;
      }
      for (let i = 0; i < WORDS; i++) {
        const word = randomWord(random, definition);
        if (word === undefined) {
          tally.failures.push(`  no word of ${definition.name} was found by chance`);
          break;
        }
        const traits = traitsOf(definition, word);
        if (traits.excluded) {
          tally.excluded.set(traits.excluded, (tally.excluded.get(traits.excluded) ?? 0) + 1);
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
    const words = plans.map((_, i) => batch.at(i).words[0]!);
    // Some handlers inside the interpreter's main function, the others as functions of their own.
    const inline = Array.from({ length: Math.min(words.length, 200) }, () => random.pick(words));
    const engine = new Engine(definitions, ALL_FEATURES, inline);
    engine.prepare(words);
    const outcomes: Outcome[] = await runOracle(batch, { image });
    for (let i = 0; i < plans.length; i++) {
      const { definition, traits } = plans[i]!, tally = tallies.get(definition)!;
      const test = batch.at(i), theirs = outcomes[i]!, ours = engine.run(test, image, random.once(6));
      if (theirs.signal === 5) tally.completed++;
      if (!differences(test, ours, theirs, image, traits).length) continue;
      tally.failures.push(report((word) => engine.decoder.decode(word), test, ours, theirs, image, traits));
    }
    const lines: string[] = [], failing: string[] = [];
    for (const [definition, tally] of tallies) {
      const excluded = [...tally.excluded].map(([reason, n]) => `${reason}: ${n}`).join(", ");
      const { cases, completed, failures } = tally;
      lines.push(
        `${definition.name}: ${cases} words, ${completed} without a fault${excluded && `; left out: ${excluded}`}`,
      );
      if (failures.length) {
        failing.push(
          `${definition.name}: ${failures.length} of ${cases} differ\n${failures.slice(0, SHOWN).join("\n")}`,
        );
      }
    }
    if (Deno.env.has("ORACLE_VERBOSE")) console.log(lines.join("\n"));
    const compared = [...tallies.values()].filter((tally) => tally.cases).length;
    console.log(`${compared} of ${chosen.length} definitions compared, ${plans.length} words`);
    if (failing.length) console.log(failing.join("\n\n"));
    assert.equal(failing.length, 0, `${failing.length} definitions differ from the oracle`);
  },
});
