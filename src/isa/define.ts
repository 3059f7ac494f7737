// How an instruction is declared: a pattern of fixed bits and named fields, assembler text, and semantics. The field names
// decide what a field is, and TypeScript checks them:
//   R…      general-purpose register operand (`Rn|SP`: 31 means SP, else the zero register)
//   V…      SIMD and floating-point register operand
//   imm…    immediate operand (an i32), unless `derive` makes operands from the raw fields
//   others  selectors: known numbers, part of which handler executes the instruction; `=imm…` makes an immediate a selector
//   _…      bits that change nothing here (hints, ordering): seen by `asm` and `when` only
// Operands are constants when translating, slots of a predecoded record when interpreting.

import { extract } from "../base/bits.ts";
import type { Feature } from "../arch/features.ts";
import { assert } from "../base/errors.ts";
import { Builder, constant, i32, Int, Reg, type Slot, VReg } from "./ir.ts";

export type { Feature };

type Tokens<S extends string, A = never> = S extends `${infer H} ${infer T}` ? Tokens<T, A | H> : A | S;
type NameOf<T> = T extends `${"=" | "_"}${infer N}:${number}` ? N
  : T extends `${infer N}|SP:${number}` ? N
  : T extends `${infer N}:${number}` ? N
  : never;
type SelectorOf<T> = T extends `=${infer N}:${number}` ? N : never;
type IgnoredOf<T> = T extends `_${infer N}:${number}` ? N : never;
/** The raw numbers of all fields. */
export type Raw<B extends string> = { readonly [N in NameOf<Tokens<B>>]: number };
type Bound<N extends string> = N extends `R${string}` ? Reg : N extends `V${string}` ? VReg
: N extends `imm${string}` ? Int
: number;
/** A derived operand: bigint results are i64, numbers i32; `small` marks numbers below 65536. */
export type Derive<B extends string, K extends string = string> = Readonly<
  Record<K, ((f: Raw<B>) => bigint | number) | Small<B>>
>;
export interface Small<B extends string> {
  readonly small: (f: Raw<B>) => number;
}
/** What the semantics see. `K` names the derived operands; where there are any, raw immediates are no operands. */
export type Fields<B extends string, K extends string> =
  & { readonly [N in Visible<B, K>]: N extends SelectorOf<Tokens<B>> ? number : Bound<N> }
  & { readonly [N in K]: Int };
type Visible<B extends string, K> = Exclude<
  [K] extends [never] ? NameOf<Tokens<B>> : Exclude<NameOf<Tokens<B>>, `imm${string}`> | SelectorOf<Tokens<B>>,
  IgnoredOf<Tokens<B>>
>;

export interface Insn<B extends string = string, K extends string = never> {
  readonly name: string;
  readonly bits: B;
  /** Text with `{field}`, or a function of the raw fields. */
  readonly asm: string | ((f: Raw<B>) => string);
  /** Further conditions on the encoding; where it is false the word is not this instruction. */
  readonly when?: (f: Raw<B>) => boolean;
  readonly derive?: Derive<B, K>;
  /** ID register feature that must be present (models.ts); absent: always. */
  readonly feature?: Feature;
  /** Executes without access to the SIMD&FP registers being checked although it has V fields, or the reverse. */
  readonly fp?: boolean;
  /** A branch by the derived operand `offset` (a number of bytes); "always" when it is unconditional. */
  readonly branch?: "always" | "conditional";
  /** Ends a basic block by other means than `branch`. */
  readonly endsBlock?: boolean;
  readonly exec: (e: Builder, f: Fields<B, K>) => void;
}
interface Field {
  readonly name: string;
  readonly lsb: number;
  readonly width: number;
  readonly sp: boolean;
  readonly kind: "R" | "V" | "imm" | "selector" | "ignored";
}
/** An operand with its place in a record. */
export interface OperandSlot {
  readonly name: string;
  readonly slot: Slot;
  /** The value that the slot holds for an instruction word. */
  readonly value: (raw: Record<string, number>) => bigint | number;
}

/** A parsed definition. */
export interface Definition {
  readonly name: string;
  readonly insn: Insn<string, string>;
  readonly mask: number;
  readonly value: number;
  readonly fields: readonly Field[];
  readonly selectors: readonly Field[];
  readonly operands: readonly OperandSlot[];
  readonly usesFp: boolean;
  /** Branches by an immediate: the derived operand named `offset`, in bytes. */
  readonly branches: boolean;
  /** Nothing after it in memory is executed next. */
  readonly endsBlock: boolean;
}

/** Declares an instruction. Throws RangeError when the pattern does not total 32 bits. */
export function insn<const B extends string, const K extends string = never>(spec: Insn<B, K>): Definition {
  let lsb = 32, mask = 0, value = 0;
  const fields: Field[] = [];
  for (const token of spec.bits.trim().split(/\s+/)) {
    const match = /^([=_])?([A-Za-z]\w*?)(\|SP)?:(\d+)$/.exec(token);
    if (match) {
      const name = match[2]!, width = Number(match[4]);
      lsb -= width;
      const kind = match[1] === "_"
        ? "ignored"
        : match[1]
        ? "selector"
        : name.startsWith("R")
        ? "R"
        : name.startsWith("V")
        ? "V"
        : name.startsWith("imm")
        ? "imm"
        : "selector";
      fields.push({ name, lsb, width, sp: match[3] !== undefined, kind });
      continue;
    }
    if (!/^[01]+$/.test(token)) {
      throw new RangeError(`Cannot define ${spec.name}: a token is bits or NAME:WIDTH: token is "${token}"`);
    }
    for (const bit of token) {
      lsb--;
      mask |= 1 << lsb;
      if (bit === "1") value |= 1 << lsb;
    }
  }
  if (lsb !== 0) throw new RangeError(`Cannot define ${spec.name}: bits must total 32: total is ${32 - lsb}`);
  const usesFp = spec.fp ?? fields.some((f) => f.kind === "V");
  const definition = {
    name: spec.name,
    insn: spec as unknown as Definition["insn"],
    mask: mask >>> 0,
    value: value >>> 0,
    fields,
    selectors: fields.filter((f) => f.kind === "selector"),
    usesFp,
    branches: spec.branch !== undefined,
    endsBlock: spec.branch === "always" || (spec.endsBlock ?? false),
  };
  return { ...definition, operands: placeOperands(spec.name, fields, definition.insn.derive) };
}

/** Gives every operand a place in the 16-byte record (bytes 0-1 hold the handler number). */
function placeOperands(name: string, fields: readonly Field[], derive: Derive<string> | undefined): OperandSlot[] {
  const wanted: { name: string; kind: Slot["kind"]; value: OperandSlot["value"] }[] = [];
  for (const f of fields) {
    if (f.kind === "R") wanted.push({ name: f.name, kind: "u16", value: (raw) => registerPlace(f, raw[f.name]!) * 8 });
    if (f.kind === "V") wanted.push({ name: f.name, kind: "u16", value: (raw) => raw[f.name]! * 16 });
    if (f.kind === "imm" && !derive) {
      wanted.push({
        name: f.name,
        kind: f.width <= 16 ? "u16" : "i32",
        value: (raw) => raw[f.name]!,
      });
    }
  }
  for (const [key, d] of Object.entries(derive ?? {})) {
    if (typeof d !== "function") wanted.push({ name: key, kind: "u16", value: d.small });
    else wanted.push({ name: key, kind: typeof d(ZERO_FIELDS) === "bigint" ? "i64" : "i32", value: d });
  }
  const bytes = { u16: 2, i32: 4, i64: 8 } as const, used = new Set<number>([0]);
  const free = (at: number, n: number) =>
    Array.from({ length: n / 2 }, (_, i) => at + 2 * i).every((x) => !used.has(x));
  const order = (["i64", "i32", "u16"] as const).flatMap((kind) => wanted.filter((w) => w.kind === kind));
  return order.map((w) => {
    const n = bytes[w.kind], places = Array.from({ length: 16 / n }, (_, i) => i * n);
    const at = (w.kind === "u16" ? places : places.reverse()).find((x) => free(x, n));
    assert(at !== undefined, `operands of ${name} do not fit a record`);
    for (let i = 0; i < n; i += 2) used.add(at + i);
    return { name: w.name, slot: { offset: at, kind: w.kind }, value: w.value };
  });
}
/** Stands for any encoding when only the type of a derived operand is asked. */
const ZERO_FIELDS: Record<string, number> = new Proxy({}, { get: () => 0 });

function registerPlace(f: Field, number: number): number {
  return number === 31 && f.sp ? 32 : number;
}

/** The field values of a word. */
export function rawFields(d: Definition, word: number): Record<string, number> {
  const raw: Record<string, number> = {};
  for (const f of d.fields) raw[f.name] = extract(word, f.lsb, f.width);
  return raw;
}
/** Whether `word` is this instruction. */
export function matches(d: Definition, word: number): boolean {
  return ((word & d.mask) >>> 0) === d.value && (d.insn.when?.(rawFields(d, word) as never) ?? true);
}

/** The semantics of `word` with operands as constants (`translate`) or as record slots (`interpret`). `is31` names the
 * register fields that are known to be number 31; `needs31` collects the fields for which that matters. */
export function instantiate(
  d: Definition,
  word: number,
  mode: "translate" | "interpret",
  is31: ReadonlySet<string>,
  needs31: Set<string> = new Set(),
): Builder {
  const raw = rawFields(d, word), bound: Record<string, unknown> = {}, e = new Builder();
  for (const f of d.selectors) bound[f.name] = raw[f.name];
  for (const { name, slot, value } of d.operands) {
    const field = d.fields.find((f) => f.name === name && (f.kind === "R" || f.kind === "V"));
    if (field?.kind === "R") {
      const zero = is31.has(name) && !field.sp, place = registerPlace(field, raw[name]!);
      bound[name] = new Reg(name, zero ? 31 : mode === "translate" ? place : slot, is31.has(name), { needs31 });
    } else if (field?.kind === "V") {
      bound[name] = new VReg(mode === "translate" ? raw[name]! : slot);
    } else if (mode === "translate") {
      const v = value(raw);
      bound[name] = typeof v === "bigint" ? constant("i64", v) : i32(v);
    } else {
      bound[name] = new Int(slot.kind === "i64" ? "i64" : "i32", { op: "slot", slot });
    }
  }
  d.insn.exec(e, bound as never);
  return e;
}
/** The register fields of `word` that hold 31. */
export function fields31(d: Definition, word: number): Set<string> {
  return new Set(d.fields.filter((f) => f.kind === "R" && extract(word, f.lsb, f.width) === 31).map((f) => f.name));
}

/** The assembler text of `word` at address `pc`. */
export function disassemble(d: Definition, word: number): string {
  const raw = rawFields(d, word), { asm } = d.insn;
  if (typeof asm === "function") return asm(raw as never);
  return asm
    .replace(/\{(\w+)\?([^}]*)\}/g, (_, name, text) => (raw[name] ? text : ""))
    .replace(/\{(?:(\w+):)?(\w+)\}/g, (_, width: string | undefined, name: string) => {
      const field = d.fields.find((f) => f.name === name);
      if (field?.kind === "R") {
        return xName(raw[name]!, width === undefined || width === "x" || raw[width] === 1, field.sp);
      }
      if (field?.kind === "V") return `${width ?? "v"}${raw[name]}`;
      if (field) return String(raw[name]);
      const derived = d.operands.find((o) => o.name === name);
      assert(derived, `${d.name}: no field "${name}" to print`);
      const v = derived.value(raw);
      return typeof v === "bigint" ? `0x${v.toString(16)}` : String(v);
    });
}
/** The name of a general-purpose register in assembler text. */
export function xName(number: number, wide: boolean | number, sp = false): string {
  if (number === 31) return sp ? (wide ? "sp" : "wsp") : wide ? "xzr" : "wzr";
  return (wide ? "x" : "w") + number;
}
