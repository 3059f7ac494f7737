// Compares what our engine and the oracle made of a case, and prints both with a star on what differs.

import type { Definition } from "../../src/isa/define.ts";
import { disassemble } from "../../src/isa/define.ts";
import type { Result } from "./engine.ts";
import type { Traits } from "./generate.ts";
import { BRK, CASE_PC, changed, DATA_BASE, type Outcome, SIGNAL, type TestCase } from "./oracle.ts";

const FPSR_MASK = 0x0800_009f;
const SIGNALS: Record<number, string> = {
  [-1]: "none",
  0: "refused",
  4: "SIGILL",
  5: "SIGTRAP",
  7: "SIGBUS",
  11: "SIGSEGV",
};

interface Row {
  name: string;
  before: string;
  ours: string;
  theirs: string;
}

const hex = (x: bigint | number, digits = 16): string => BigInt(x).toString(16).padStart(digits, "0");
const flags = (nzcv: number): string =>
  ["n", "z", "c", "v"].map((c, i) => nzcv & (8 >> i) ? c.toUpperCase() : c).join("");

/** Everything that was observed, ours and the oracle's; rows whose two values differ are failures. */
function rows(test: TestCase, ours: Result, theirs: Outcome, image: Uint8Array, traits?: Traits): Row[] {
  const list: Row[] = [];
  const row = (name: string, before: string, a: string, b: string) => list.push({ name, before, ours: a, theirs: b });
  // A misaligned pc outside any mapping: which fault comes first is the host kernel's choice.
  const fetchFault = ours.signal === SIGNAL.BUS && theirs.signal === SIGNAL.SEGV && (theirs.pc & 3n) !== 0n;
  row("signal", "", ours.unsupported ?? SIGNALS[fetchFault ? SIGNAL.SEGV : ours.signal]!, SIGNALS[theirs.signal]!);
  row("pc", hex(CASE_PC), hex(ours.pc), hex(theirs.pc));
  row("nzcv", flags(Number(test.nzcv >> 28n)), flags(ours.nzcv), flags(Number(theirs.pstate >> 28n) & 15));
  row("fpcr", hex(test.fpcr, 8), hex(ours.fpcr, 8), hex(theirs.fpcr, 8));
  row("fpsr", hex(test.fpsr, 8), hex(ours.fpsr & FPSR_MASK, 8), hex(theirs.fpsr & FPSR_MASK, 8));
  // Where one of several accesses faults, or a part of a wide one, the others may or may not have happened.
  const faults = theirs.signal === SIGNAL.SEGV || theirs.signal === SIGNAL.BUS, accesses = traits?.accesses ?? [];
  const partialMemory = faults && accesses.some((a) => a.isStore);
  const partial = faults && (accesses.length > 1 || accesses.some((a) => a.bytes > 8 || a.several));
  for (let i = 0; i < 32 && !partial; i++) {
    row(i === 31 ? "sp" : `x${i}`, hex(test.x[i]!), hex(ours.x[i]!), hex(theirs.x[i]!));
  }
  const vector = (v: BigUint64Array, i: number) => `${hex(v[2 * i + 1]!)}_${hex(v[2 * i]!)}`;
  for (let i = 0; i < 32 && !partial; i++) row(`v${i}`, vector(test.v, i), vector(ours.v, i), vector(theirs.v, i));
  if (!partialMemory) {
    const initial = image.slice();
    initial.set(test.patch.subarray(0, test.patchLength), test.patchOffset);
    const expected = initial.slice();
    expected.set(changed(theirs), theirs.diffOffset);
    for (let at = 0; at < expected.length; at += 8) {
      const text = (bytes: Uint8Array) => [...bytes.subarray(at, at + 8)].map((b) => hex(b, 2)).join(" ");
      if (same(expected, initial, at) && same(expected, ours.data, at)) continue;
      row(`[${hex(DATA_BASE + BigInt(at), 8)}]`, text(initial), text(ours.data), text(expected));
    }
  }
  return list;
}
/** Whether everything is equal: quick, for nearly every case. */
function isSame(ours: Result, theirs: Outcome, image: Uint8Array, test: TestCase): boolean {
  if (ours.signal !== theirs.signal || ours.unsupported || ours.pc !== theirs.pc) return false;
  if (ours.nzcv !== (Number(theirs.pstate >> 28n) & 15) || ours.fpcr !== theirs.fpcr) return false;
  if ((ours.fpsr ^ theirs.fpsr) & FPSR_MASK) return false;
  for (let i = 0; i < 32; i++) if (ours.x[i] !== theirs.x[i]) return false;
  for (let i = 0; i < 64; i++) if (ours.v[i] !== theirs.v[i]) return false;
  if (!theirs.diffLength && !test.patchLength) return isEqual(ours.data, image);
  const diff = changed(theirs), from = theirs.diffOffset, patch = test.patchOffset, patchEnd = patch + test.patchLength;
  for (let i = 0; i < image.length; i++) {
    const expected = i >= from && i < from + diff.length
      ? diff[i - from]
      : i >= patch && i < patchEnd
      ? test.patch[i - patch]
      : image[i];
    if (ours.data[i] !== expected) return false;
  }
  return true;
}
function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  const x = new Uint32Array(a.buffer, a.byteOffset, a.length >> 2),
    y = new Uint32Array(b.buffer, b.byteOffset, b.length >> 2);
  for (let i = 0; i < x.length; i++) if (x[i] !== y[i]) return false;
  return true;
}
function same(a: Uint8Array, b: Uint8Array, at: number): boolean {
  for (let i = at; i < at + 8; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** The names of what differs. */
export function differences(
  test: TestCase,
  ours: Result,
  theirs: Outcome,
  image: Uint8Array,
  traits?: Traits,
): string[] {
  if (isSame(ours, theirs, image, test)) return [];
  return rows(test, ours, theirs, image, traits).filter((r) => r.ours !== r.theirs).map((r) => r.name);
}

/** A report on one case: words, text, and the registers that the case or a difference makes interesting. */
export function report(
  definition: (word: number) => Definition,
  test: TestCase,
  ours: Result,
  theirs: Outcome,
  image: Uint8Array,
  traits?: Traits,
): string {
  const lines: string[] = [];
  for (const word of test.words) {
    if (word === BRK) break;
    lines.push(`  ${hex(word, 8)}  ${disassemble(definition(word), word)}    (${definition(word).name})`);
  }
  lines.push(`    ${"".padEnd(11)} ${"before".padEnd(33)}   ${"ours".padEnd(33)}   oracle`);
  const text = lines.slice(0, -1).join(" ");
  for (const r of rows(test, ours, theirs, image, traits)) {
    const differs = r.ours !== r.theirs;
    const mentioned = r.before !== r.theirs || r.name.startsWith("fp") || isOperand(r.name, test, text, definition);
    if (!differs && !mentioned) continue;
    lines.push(
      `  ${differs ? "*" : " "} ${r.name.padEnd(11)} ${r.before.padEnd(33)}   ${r.ours.padEnd(33)}   ${r.theirs}`,
    );
  }
  return lines.join("\n");
}
function isOperand(name: string, test: TestCase, _text: string, definition: (word: number) => Definition): boolean {
  const [, letter, digits] = /^([xv])(\d+)$/.exec(name) ?? [];
  if (!letter) return false;
  return [...test.words].filter((w) => w !== BRK).some((word) =>
    definition(word).fields.some((f) =>
      f.kind === (letter === "x" ? "R" : "V") && ((word >>> f.lsb) & (2 ** f.width - 1)) === Number(digits)
    )
  );
}
