// Random words and register states for an instruction definition. The semantics themselves tell where a word's memory
// access goes: the address is evaluated from the IR and the base register moved so that it falls into the data page.

import { type Definition, fields31, instantiate, matches, rawFields } from "../../src/isa/define.ts";
import type { AccessOptions, Block, Builder, Effect, Expr } from "../../src/isa/ir.ts";
import { DOUBLE, HALF, SINGLE } from "../../src/isa/softfloat.ts";
import { CASE_PC, CODE_BASE, DATA_BASE, PAGE_BYTES, type TestCase } from "./oracle.ts";
import type { Random } from "./random.ts";

/** A word of `definition` that `when` accepts, or undefined when chance finds none. */
export function randomWord(random: Random, definition: Definition): number | undefined {
  for (let attempt = 0; attempt < 5000; attempt++) {
    let word = definition.value;
    const chosen: number[] = [];
    for (const f of definition.fields) {
      let x = random.below(2 ** f.width);
      // Fields that should be ones.
      if (f.kind === "ignored" && /^R/.test(f.name) && f.width === 5) x = 31;
      if (f.kind === "R" || f.kind === "V") {
        if (chosen.length && random.once(6)) x = random.pick(chosen);
        else if (random.once(10)) x = 31;
        chosen.push(x);
      } else if (/^=?imm(14|19|26)?$/.test(f.name) && f.width >= 14 && f.width !== 16 && !random.once(8)) {
        // A word offset: stay in the code page, and do not branch to the word itself.
        x = (random.below(1000) - 500 || 1) & (2 ** f.width - 1);
      }
      word |= x << f.lsb;
    }
    if (matches(definition, word >>> 0)) return word >>> 0;
  }
  return undefined;
}

/** What a word's semantics do, as far as a test has to know. */
export interface Traits {
  /** Memory accesses in order. */
  accesses: { address: Expr; bytes: number; aligned: boolean; several: boolean; isStore: boolean }[];
  jump?: Expr;
  /** Sets or clears the exclusive monitor. */
  exclusive?: boolean;
  /** Why the word cannot be compared, if so. */
  excluded?: string;
  lets: Map<number, Expr>;
}

/** Helpers whose effect is confined to registers. */
const PURE_HELPERS = new Set<string>(["softFloat", "undefined", "brk", "hlt", "hvc", "smc", "eret", "sev", "sevl"]);

export function traitsOf(definition: Definition, word: number): Traits {
  const ir = instantiate(definition, word, "translate", fields31(definition, word));
  const traits: Traits = { accesses: [], lets: new Map() };
  const visit = (e: Effect) => {
    const access = (address: Expr, bytes: number, options: AccessOptions, isStore: boolean) => {
      const { aligned = false, element = bytes } = options;
      traits.accesses.push({ address, bytes, aligned, several: element < bytes, isStore });
    };
    switch (e.kind) {
      case "let":
        traits.lets.set(e.temp, e.value);
        break;
      case "load":
        access(e.address, e.bytes, e.options, false);
        break;
      case "store":
        access(e.address, e.bytes, e.options, true);
        break;
      case "rmwAddress":
        access(e.address, e.bytes, { aligned: true }, true);
        break;
      case "choose":
        for (const block of [e.then, e.else] as Block[]) block.effects.forEach(visit);
        break;
      case "jump":
        traits.jump = e.target;
        break;
      case "helper":
        if (!PURE_HELPERS.has(e.name)) traits.excluded ??= `helper ${e.name}`;
        break;
      case "setSysreg":
        traits.excluded ??= "system register";
        break;
      case "setState":
        if (e.field === "exclusiveSize") traits.exclusive = true;
        break;
    }
  };
  ir.effects.forEach(visit);
  ir.writes.forEach(visit);
  if (usesSysreg(ir)) traits.excluded ??= "system register";
  const reason = unpredictable(definition, word, ir, traits);
  if (reason) traits.excluded ??= reason;
  return traits;
}

/** CONSTRAINED UNPREDICTABLE: two writes to one register, or a write-back base that is also data. */
function unpredictable(definition: Definition, word: number, ir: Builder, traits: Traits): string | undefined {
  const written = ir.writes.filter((w) => w.kind === "setX").map((w) => w.reg.place as number).filter((n) => n !== 31);
  const vectors = ir.writes.filter((w) => w.kind === "setV").map((w) => w.reg.place as number);
  if (new Set(written).size !== written.length || new Set(vectors).size !== vectors.length) return "UNPREDICTABLE";
  if (!traits.accesses.length) return undefined;
  const raw = rawFields(definition, word), base = raw["Rn"];
  const operands = definition.fields.filter((f) => f.kind === "R");
  if (traits.exclusive && operands.some((f) => f.name === "Rs")) {
    // The status register of a store-exclusive is neither base nor data.
    if (operands.some((f) => f.name !== "Rs" && raw[f.name] === raw["Rs"])) return "UNPREDICTABLE";
  }
  const isWrittenBack = ir.writes.some((w) => w.kind === "setX" && w.reg.name === "Rn");
  if (base === undefined || base === 31 || !isWrittenBack) return undefined;
  return operands.some((f) => f.name !== "Rn" && raw[f.name] === base) ? "UNPREDICTABLE" : undefined;
}

function usesSysreg(ir: Builder): boolean {
  const seen = new Set<Expr>();
  const expression = (x: Expr): boolean => {
    if (seen.has(x)) return false;
    seen.add(x);
    return x.node.op === "sysreg" || (x.node.op === "wasm" && x.node.args.some(expression));
  };
  return [...ir.effects, ...ir.writes].some((e) => "value" in e && e.value !== undefined && expression(e.value));
}

/** The value of an address expression in `test`; undefined when it depends on more than registers. */
export function evaluate(x: Expr, test: TestCase, traits: Traits): bigint | undefined {
  const width = x.type === "i32" ? 32 : 64, { node } = x;
  const value = (() => {
    switch (node.op) {
      case "const":
        return node.value;
      case "pc":
        return CASE_PC;
      case "x":
        return node.reg.place === 31 ? 0n : test.x[node.reg.place === 32 ? 31 : node.reg.place as number];
      case "temp": {
        const bound = traits.lets.get(node.id);
        return bound && evaluate(bound, test, traits);
      }
      case "wasm": {
        const [a, b, c] = node.args.map((arg) => evaluate(arg, test, traits));
        if (a === undefined || (node.args.length > 1 && b === undefined)) return undefined;
        return apply(node.name, width, a, b ?? 0n, c);
      }
    }
    return undefined;
  })();
  return value === undefined ? undefined : BigInt.asUintN(width, value);
}
function apply(name: string, width: number, a: bigint, b: bigint, c: bigint | undefined): bigint | undefined {
  const by = b & BigInt(width - 1);
  switch (name.replace(/^i(32|64)\./, "")) {
    case "add":
      return a + b;
    case "sub":
      return a - b;
    case "mul":
      return a * b;
    case "and":
      return a & b;
    case "or":
      return a | b;
    case "xor":
      return a ^ b;
    case "shl":
      return a << by;
    case "shr_u":
      return a >> by;
    case "shr_s":
      return BigInt.asIntN(width, a) >> by;
    case "extend_i32_u":
    case "wrap_i64":
      return a;
    case "extend_i32_s":
    case "extend32_s":
      return BigInt.asIntN(32, a);
    case "extend16_s":
      return BigInt.asIntN(16, a);
    case "extend8_s":
      return BigInt.asIntN(8, a);
    case "select":
      return c === undefined ? undefined : c ? a : b;
  }
  return undefined;
}

/** Fills in registers, flags and memory for `word`; false when the case would write over code, and must not be run. */
export function fillCase(
  random: Random,
  test: TestCase,
  definition: Definition,
  word: number,
  traits: Traits,
): boolean {
  const raw = rawFields(definition, word);
  for (let i = 0; i < 31; i++) test.x[i] = 0x0101_0101_0101_0101n * BigInt(i) + 0x1000n;
  test.x[31] = DATA_BASE + 0x800n;
  for (let i = 0; i < 64; i++) test.v[i] = 0x0102_0408_1020_4080n * BigInt(i + 1) & 0xffff_ffff_ffff_ffffn;
  test.nzcv = BigInt(random.below(16)) << 28n;
  if (definition.usesFp) {
    const special = random.once(3);
    test.fpcr = random.once(2)
      ? 0
      : (random.below(4) << 22) | (special ? random.below(8) << 24 | random.below(2) << 19 : 0);
    // With the inexact flag set already, operations take shorter ways.
    test.fpsr = random.pick([0, 0x10, 0x10, random.u32() & 0x0800_009f]);
  }
  for (const f of definition.fields) {
    const n = raw[f.name]!;
    if (f.kind === "R") {
      for (const m of [n, n + 1]) if (m < 31) test.x[m] = random.integer(64);
      if (n === 31 && f.sp && !traits.accesses.length) test.x[31] = random.integer(64) & ~15n;
    } else if (f.kind === "V") {
      for (let i = n; i < n + 4; i++) {
        if (i > n && !random.once(2)) continue;
        fillVector(random, test.v, (i % 32) * 2);
      }
    }
  }
  if (definition.fields.some((f) => f.kind === "V") && random.once(3)) correlate(random, test, definition, raw);
  aim(random, test, raw, traits);
  return !traits.accesses.some((a) => {
    const offset = BigInt.asUintN(56, evaluate(a.address, test, traits) ?? 0n) - CODE_BASE + 64n;
    return a.isStore && offset >= 0n && offset < PAGE_BYTES + 64;
  });
}

const LANES = [8, 16, 32, 64] as const;
function fillVector(random: Random, v: BigUint64Array, at: number) {
  const kind = random.below(9);
  for (let half = 0; half < 2; half++) {
    let value = 0n;
    const width = kind < 3 ? [16, 32, 64][kind]! : kind < 6 ? [16, 32, 64][kind - 3]! : LANES[random.below(4)]!;
    const format = width === 16 ? HALF : width === 32 ? SINGLE : DOUBLE;
    for (let bit = 0; bit < 64; bit += width) {
      value |= (kind < 6 ? random.float(format) : random.integer(width)) << BigInt(bit);
    }
    v[at + half] = value;
  }
}
/** Makes one vector operand equal or close to another: comparisons and cancellations. */
function correlate(random: Random, test: TestCase, definition: Definition, raw: Record<string, number>) {
  const vectors = definition.fields.filter((f) => f.kind === "V").map((f) => raw[f.name]!);
  const from = random.pick(vectors) * 2, to = random.pick(vectors) * 2;
  for (let half = 0; half < 2; half++) {
    const noise = random.once(2) ? 0n : 1n << BigInt(random.below(64));
    test.v[to + half] = test.v[from + half]! ^ noise;
  }
}

/** Moves the base register so that the access falls into the data page, or the jump into the code page. */
function aim(random: Random, test: TestCase, raw: Record<string, number>, traits: Traits) {
  const isLdapr = (test.words[0]! & 0x3ffffc00) === 0x38bfc000;
  const first = traits.accesses[0], expression = first?.address ?? traits.jump, base = raw["Rn"];
  if (!expression || base === undefined) return;
  const before = evaluate(expression, test, traits);
  if (before === undefined) return;
  let target: bigint;
  if (first) {
    const bytes = BigInt(first.bytes);
    target = DATA_BASE + BigInt(random.below(PAGE_BYTES - 320) + 128);
    if (random.once(24)) target = DATA_BASE + BigInt(random.pick([0, PAGE_BYTES])) - BigInt(random.below(17));
    // QEMU does not check the alignment of a store-exclusive that fails anyway, nor that of LDAPR.
    const isAligned = (traits.exclusive && first.isStore) || isLdapr ||
      (first.aligned ? !random.once(12) : random.once(2));
    if (isAligned) target -= target % (bytes * (random.once(2) ? 2n : 1n));
    // Tagged: the top byte is ignored, as Linux lets EL0 do.
    if (random.once(20)) target |= BigInt(random.below(256)) << 56n;
    if (random.once(40) && !traits.exclusive && !isLdapr) target = random.u64();
  } else {
    target = CODE_BASE + BigInt(random.below(0x1fc) * 4);
    if (random.once(20)) target |= BigInt(random.below(256)) << 56n;
    if (random.once(10)) target = random.integer(64);
  }
  let delta = target - before;
  const index = base === 31 ? 31 : base;
  if (base === 31) delta -= delta & 15n;
  test.x[index] = BigInt.asUintN(64, test.x[index]! + delta);
  if (first?.isStore && first.aligned && raw["Rs"] !== undefined && random.once(2)) plant(test, traits, raw["Rs"]);
}
/** Puts the value of register `n` where the access goes, so that compare-and-swap succeeds. */
function plant(test: TestCase, traits: Traits, n: number) {
  const address = evaluate(traits.accesses[0]!.address, test, traits);
  if (address === undefined) return;
  const offset = BigInt.asUintN(56, address) - DATA_BASE;
  if (offset < 0n || offset > BigInt(PAGE_BYTES - 16)) return;
  const bytes = new DataView(new ArrayBuffer(16)), wide = traits.accesses.reduce((sum, a) => Math.max(sum, a.bytes), 0);
  const at = (i: number) => i >= 31 ? 0n : test.x[i]!;
  const word32 = wide === 8 && traits.accesses.length === 1 && (test.words[0]! & 0x3fa07c00) === 0x08207c00 &&
    !(test.words[0]! & 0x40000000);
  if (word32) {
    bytes.setBigUint64(0, BigInt.asUintN(32, at(n)) | BigInt.asUintN(32, at(n + 1)) << 32n, true);
  } else {
    bytes.setBigUint64(0, at(n), true);
    bytes.setBigUint64(8, at(n + 1), true);
  }
  test.patchOffset = Number(offset);
  test.patchLength = 16;
  test.patch.set(new Uint8Array(bytes.buffer));
}
