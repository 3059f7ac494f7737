// Hand-made vectors, worked out from the manual's pseudocode: they need no oracle, and where there is one it has to agree
// with them. Everything that a vector does not mention must stay as it was.

import assert from "node:assert/strict";
import { A64 } from "../../src/isa/a64/a64.ts";
import { ALL_FEATURES, Engine, type Result } from "./engine.ts";
import { Batch, CASE_PC, changed, DATA_BASE, isOracleAvailable, type Outcome, PAGE_BYTES } from "./oracle.ts";
import { runOracle, SIGNAL, type TestCase } from "./oracle.ts";
import { VECTORS } from "./vectors.ts";

/** State by name: xN, sp, vN (128 bits), nzcv, fpcr, fpsr, mN (8 bytes at offset N of the data page), pc, signal. */
type State = Map<string, bigint>;

/** "x0=5 v1=1:2 x2=data+8": hexadecimal, halves of a vector apart, addresses in the data page. */
function parse(text: string): State {
  const state: State = new Map();
  for (const token of text.split(" ").filter((t) => t)) {
    const [name, value] = token.split("=") as [string, string];
    const data = /^data(?:\+(\d+))?$/.exec(value);
    const [high, low] = value.includes(":") ? value.split(":") as [string, string] : ["0", value];
    state.set(name, data ? DATA_BASE + BigInt(data[1] ?? 0) : BigInt(`0x${high}`) << 64n | BigInt(`0x${low}`));
  }
  return state;
}

function fill(test: TestCase, state: State) {
  test.x[31] = DATA_BASE + 0x800n;
  test.nzcv = 0n;
  // One patch of 64 bytes holds all memory that a vector starts with.
  for (const [name, value] of state) {
    const number = Number(name.slice(1));
    if (name === "sp") test.x[31] = value;
    else if (name === "nzcv") test.nzcv = value << 28n;
    else if (name === "fpcr") test.fpcr = Number(value);
    else if (name === "fpsr") test.fpsr = Number(value);
    else if (name[0] === "x") test.x[number] = value;
    else if (name[0] === "v") test.v.set([BigInt.asUintN(64, value), value >> 64n], 2 * number);
    else {
      assert.ok(name[0] === "m" && number <= 56, name);
      new DataView(test.patch.buffer, test.patch.byteOffset).setBigUint64(number, value, true);
      test.patchLength = 64;
    }
  }
}

function stateOf(test: TestCase): State {
  const patched = new Uint8Array(PAGE_BYTES);
  patched.set(test.patch);
  const pc = CASE_PC + BigInt(4 * test.words.indexOf(0xd4200020));
  return collect(test.x, test.v, Number(test.nzcv >> 28n), test.fpcr, test.fpsr, patched, pc, SIGNAL.TRAP);
}
function oursOf(r: Result): State {
  return collect(r.x, r.v, r.nzcv, r.fpcr, r.fpsr, r.data, r.pc, r.signal);
}
function theirsOf(test: TestCase, o: Outcome): State {
  const data = new Uint8Array(PAGE_BYTES);
  data.set(test.patch);
  data.set(changed(o), o.diffOffset);
  return collect(o.x, o.v, Number(o.pstate >> 28n) & 15, o.fpcr, o.fpsr, data, o.pc, o.signal);
}
function collect(
  x: BigUint64Array,
  v: BigUint64Array,
  nzcv: number,
  fpcr: number,
  fpsr: number,
  data: Uint8Array,
  pc: bigint,
  signal: number,
): State {
  const state: State = new Map();
  x.forEach((value, i) => state.set(i === 31 ? "sp" : `x${i}`, value));
  for (let i = 0; i < 32; i++) state.set(`v${i}`, v[2 * i + 1]! << 64n | v[2 * i]!);
  for (const [name, value] of Object.entries({ nzcv, fpcr, fpsr, signal })) state.set(name, BigInt(value));
  const view = new DataView(data.buffer, data.byteOffset);
  for (let at = 0; at < PAGE_BYTES; at += 8) state.set(`m${at}`, view.getBigUint64(at, true));
  return state.set("pc", pc);
}

const print = (state: State, names: Iterable<string>) =>
  [...names].map((name) => `${name}=${state.get(name)?.toString(16)}`).join(" ");

/** What of `actual` is not as the vector says; empty when all is well. */
function wrong(test: TestCase, outputs: State, actual: State): string {
  const expected = stateOf(test);
  for (const [name, value] of outputs) expected.set(name, value);
  const differing = [...expected.keys()].filter((name) => expected.get(name) !== actual.get(name));
  return differing.length ? `${print(actual, differing)}, expected ${print(expected, differing)}` : "";
}

const definitions = A64, batch = new Batch();
for (const [, words, inputs] of VECTORS) fill(batch.add(...words), parse(inputs));
const image = new Uint8Array(PAGE_BYTES);

Deno.test("instructions do what the manual's pseudocode says", () => {
  const engine = new Engine(definitions, ALL_FEATURES);
  engine.prepare(VECTORS.flatMap(([, words]) => words));
  const failures = VECTORS.map(([text, , inputs, outputs], i) => {
    const test = batch.at(i), problem = wrong(test, parse(outputs), oursOf(engine.run(test, image)));
    return problem && `${text} with ${inputs}: ${problem}`;
  }).filter((problem) => problem);
  assert.equal(failures.join("\n"), "");
});

Deno.test({
  name: "the vectors agree with qemu-aarch64",
  ignore: !isOracleAvailable(),
  async fn() {
    const outcomes = await runOracle(batch);
    const failures = VECTORS.map(([text, , inputs, outputs], i) => {
      const test = batch.at(i), problem = wrong(test, parse(outputs), theirsOf(test, outcomes[i]!));
      return problem && `${text} with ${inputs}: ${problem}`;
    }).filter((problem) => problem);
    assert.equal(failures.join("\n"), "");
  },
});
