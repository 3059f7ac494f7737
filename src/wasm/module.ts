// A writer of Wasm binary modules: types, imports, functions, one table of elements, exports and branch hints. It knows
// nothing of Arm. Written for speed of generation: bytes go straight into one growing buffer per function.

import { opcode } from "./opcodes.ts";

export type ValueType = "i32" | "i64" | "f32" | "f64" | "v128";
const VALUE_TYPE: Record<ValueType, number> = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b };
const EMPTY_BLOCK = 0x40, FUNCREF = 0x70;

/** A growing byte buffer with LEB128 numbers. */
export class Bytes {
  #data = new Uint8Array(256);
  length = 0;

  #reserve(n: number) {
    if (this.length + n <= this.#data.length) return;
    const grown = new Uint8Array(Math.max(this.#data.length * 2, this.length + n));
    grown.set(this.#data);
    this.#data = grown;
  }
  byte(b: number) {
    this.#reserve(1);
    this.#data[this.length++] = b;
  }
  bytes(list: ArrayLike<number>) {
    this.#reserve(list.length);
    this.#data.set(list, this.length);
    this.length += list.length;
  }
  /** Unsigned LEB128 of an integer below 2^32. */
  u32(n: number) {
    for (; n > 0x7f; n = n >>> 7) this.byte((n & 0x7f) | 0x80);
    this.byte(n);
  }
  /** Signed LEB128 of a 32-bit integer. */
  s32(n: number) {
    for (n |= 0;; n >>= 7) {
      if (n >= -64 && n < 64) return this.byte(n & 0x7f);
      this.byte((n & 0x7f) | 0x80);
    }
  }
  /** Signed LEB128 of a 64-bit integer. */
  s64(value: bigint) {
    for (let n = BigInt.asIntN(64, value);; n >>= 7n) {
      if (n >= -64n && n < 64n) return this.byte(Number(n & 0x7fn));
      this.byte(Number(n & 0x7fn) | 0x80);
    }
  }
  name(text: string) {
    const utf8 = new TextEncoder().encode(text);
    this.u32(utf8.length);
    this.bytes(utf8);
  }
  view(): Uint8Array {
    return this.#data.subarray(0, this.length);
  }
}

/** The body of one function. Instructions are appended in text-format spelling. */
export class Code extends Bytes {
  readonly hints: { at: number; likely: boolean }[] = [];
  /** Number of open blocks: the branch depth of the function's end. */
  depth = 0;
  readonly #locals: ValueType[] = [];

  constructor(readonly params: readonly ValueType[], readonly results: readonly ValueType[]) {
    super();
  }
  /** Declares a local and returns its index. */
  local(type: ValueType): number {
    this.#locals.push(type);
    return this.params.length + this.#locals.length - 1;
  }
  get locals(): readonly ValueType[] {
    return this.#locals;
  }
  op(name: string) {
    const code = opcode(name);
    for (let i = 0; i < code.length; i++) this.byte(code[i]!);
  }
  get(local: number) {
    this.byte(0x20);
    this.u32(local);
  }
  set(local: number) {
    this.byte(0x21);
    this.u32(local);
  }
  tee(local: number) {
    this.byte(0x22);
    this.u32(local);
  }
  i32(value: number) {
    this.byte(0x41);
    this.s32(value);
  }
  i64(value: bigint) {
    this.byte(0x42);
    this.s64(value);
  }
  v128(value: bigint) {
    this.op("v128.const");
    for (let i = 0n; i < 16n; i++) this.byte(Number((value >> (8n * i)) & 0xffn));
  }
  /** A load or store with its static offset; `align` is log2 of the alignment (0 unless atomic). */
  memory(name: string, offset: number, align = 0) {
    this.op(name);
    this.u32(align);
    this.u32(offset);
  }
  block(kind: "block" | "loop" | "if", result?: ValueType) {
    this.op(kind);
    this.byte(result ? VALUE_TYPE[result] : EMPTY_BLOCK);
    this.depth++;
  }
  /** An `if` whose condition the engine should expect to be true or false. */
  hintedIf(likely: boolean, result?: ValueType) {
    this.hints.push({ at: this.length, likely });
    this.block("if", result);
  }
  else() {
    this.op("else");
  }
  end() {
    this.op("end");
    this.depth--;
  }
  /** Branches to the block that was opened when `depth` had the value `target` (before opening). */
  br(target: number, name: "br" | "br_if" = "br") {
    this.op(name);
    this.u32(this.depth - 1 - target);
  }
  call(index: number) {
    this.byte(0x10);
    this.u32(index);
  }
  callIndirect(typeIndex: number, table = 0) {
    this.byte(0x11);
    this.u32(typeIndex);
    this.u32(table);
  }
}

interface Import {
  readonly name: string;
  readonly write: (b: Bytes) => void;
}

export class Module {
  readonly #types: { params: readonly ValueType[]; results: readonly ValueType[] }[] = [];
  readonly #imports: Import[] = [];
  #importedFunctions = 0;
  readonly #functions: { type: number; code: Code }[] = [];
  readonly #exports: { name: string; index: number }[] = [];
  readonly #elements: { start: number; index: number }[] = [];

  type(params: readonly ValueType[], results: readonly ValueType[]): number {
    const found = this.#types.findIndex((t) => `${t.params}` === `${params}` && `${t.results}` === `${results}`);
    return found >= 0 ? found : this.#types.push({ params, results }) - 1;
  }
  importFunction(name: string, params: readonly ValueType[], results: readonly ValueType[]): number {
    const type = this.type(params, results);
    this.#imports.push({ name, write: (b) => (b.byte(0), b.u32(type)) });
    return this.#importedFunctions++;
  }
  importMemory(name: string, initialPages: number, maximumPages: number) {
    const SHARED_WITH_MAXIMUM = 3;
    this.#imports.push({
      name,
      write: (b) => (b.byte(2), b.byte(SHARED_WITH_MAXIMUM), b.u32(initialPages), b.u32(maximumPages)),
    });
  }
  importTable(name: string, initial: number) {
    this.#imports.push({ name, write: (b) => (b.byte(1), b.byte(FUNCREF), b.byte(0), b.u32(initial)) });
  }
  /** Adds a function and returns its index. All imports come first. */
  add(code: Code, exportName?: string): number {
    const index = this.#importedFunctions + this.#functions.length;
    this.#functions.push({ type: this.type(code.params, code.results), code });
    if (exportName) this.#exports.push({ name: exportName, index });
    return index;
  }
  /** Puts function `index` into the imported table at `start` when the module is instantiated. */
  element(start: number, index: number) {
    this.#elements.push({ start, index });
  }

  build(): Uint8Array<ArrayBuffer> {
    const out = new Bytes();
    out.bytes([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
    const section = (id: number, write: (b: Bytes) => void) => {
      const b = new Bytes();
      write(b);
      out.byte(id);
      out.u32(b.length);
      out.bytes(b.view());
    };
    const vector = <T>(b: Bytes, items: readonly T[], write: (item: T) => void) => {
      b.u32(items.length);
      for (const item of items) write(item);
    };
    const types = (b: Bytes, list: readonly ValueType[]) => vector(b, list, (t) => b.byte(VALUE_TYPE[t]));
    section(1, (b) => vector(b, this.#types, (t) => (b.byte(0x60), types(b, t.params), types(b, t.results))));
    section(2, (b) => vector(b, this.#imports, (i) => (b.name("env"), b.name(i.name), i.write(b))));
    section(3, (b) => vector(b, this.#functions, (f) => b.u32(f.type)));
    section(7, (b) => vector(b, this.#exports, (e) => (b.name(e.name), b.byte(0), b.u32(e.index))));
    if (this.#elements.length) {
      section(
        9,
        (b) =>
          vector(b, this.#elements, (e) => (b.bytes([0, 0x41]), b.s32(e.start), b.bytes([0x0b, 1]), b.u32(e.index))),
      );
    }
    const bodies = this.#functions.map(({ code }) => {
      const b = new Bytes();
      const groups: { type: ValueType; count: number }[] = [];
      for (const type of code.locals) {
        const last = groups.at(-1);
        if (last?.type === type) last.count++;
        else groups.push({ type, count: 1 });
      }
      vector(b, groups, (g) => (b.u32(g.count), b.byte(VALUE_TYPE[g.type])));
      const header = b.length;
      b.bytes(code.view());
      b.byte(0x0b);
      return { bytes: b, hints: code.hints.map((h) => ({ at: h.at + header, likely: h.likely })) };
    });
    const hinted = bodies.map((body, i) => ({ index: this.#importedFunctions + i, hints: body.hints })).filter((f) =>
      f.hints.length
    );
    if (hinted.length) {
      section(0, (b) => {
        b.name("metadata.code.branch_hint");
        vector(b, hinted, (f) => {
          b.u32(f.index);
          vector(b, f.hints, (h) => (b.u32(h.at), b.u32(1), b.byte(h.likely ? 1 : 0)));
        });
      });
    }
    section(10, (b) => vector(b, bodies, (body) => (b.u32(body.bytes.length), b.bytes(body.bytes.view()))));
    return out.view().slice();
  }
}
