// The intermediate representation of one instruction's semantics: typed expressions and ordered effects. Pure operations
// carry their Wasm names, so that code generation is a table look-up. The interpreter generator and the translator read
// the same IR; operands are constants or slots of a predecoded record (see define.ts).
//
// Rules that make exceptions precise by construction:
// - loads, stores, atomics and calls happen in the order they are written;
// - writes to registers and flags take effect together when the instruction ends, so that every read sees the old state
//   and a fault leaves no trace;
// - a branch is the last thing that happens.

import { assert } from "../base/errors.ts";
import { type Helper, type HelperName, HELPERS } from "./helpers.ts";

export type Type = "i32" | "i64" | "f32" | "f64" | "v128";
/** Machine state beside the register files that semantics may read and write by name (fields of the vCPU's state). */
export type StateField = "nf" | "zf" | "cf" | "vf" | "exclusiveAddress" | "exclusiveValue" | "exclusiveValueHigh";
const STATE_32 = ["fpcr", "fpsr", "el", "direct", "daif", "pending", "exclusiveSize"] as const;
export type StateField32 = (typeof STATE_32)[number];

/** A general-purpose register operand: a known number or a slot that holds its byte offset. */
export class Reg {
  constructor(
    /** Field name in the instruction's pattern, or "X30". */
    readonly name: string,
    /** Register number 0..32 (31 = zero register, 32 = SP) or the slot that holds 8 × number. */
    readonly place: number | Slot,
    /** Statically known to be number 31 as the zero register, or as SP. */
    readonly is31: boolean,
    readonly analysis?: { needs31: Set<string> },
    /** Counts on from the slot's register. */
    readonly plus = 0,
  ) {}
}
/** A SIMD and floating-point register operand: number 0..31, or the slot that holds 16 × number; `plus` counts on from it, modulo 32. */
export class VReg {
  constructor(readonly place: number | Slot, readonly plus = 0) {}
  /** The register `n` after this one, wrapping from V31 to V0. */
  next(n: number): VReg {
    return typeof this.place === "number" ? new VReg((this.place + n) % 32) : new VReg(this.place, this.plus + n);
  }
}
/** An operand of a predecoded record. */
export interface Slot {
  readonly offset: number;
  readonly kind: "u16" | "i32" | "i64";
}

export type Node =
  | { readonly op: "const"; readonly value: bigint }
  | { readonly op: "slot"; readonly slot: Slot }
  | { readonly op: "pc" }
  | { readonly op: "x"; readonly reg: Reg }
  /** The low `bits` bits of a vector register, zero-extended. */
  | { readonly op: "v"; readonly reg: VReg; readonly bits: 32 | 64 | 128 }
  /** 64 bits of a vector register: `part` 0 or 1. */
  | { readonly op: "v64"; readonly reg: VReg; readonly part: number }
  | { readonly op: "state"; readonly field: StateField | StateField32 }
  /** A 64-bit system register by its byte offset in the vCPU block. */
  | { readonly op: "sysreg"; readonly offset: Expr }
  | { readonly op: "temp"; readonly id: number }
  | { readonly op: "wasm"; readonly name: string; readonly args: readonly Expr[]; readonly imm?: readonly number[] };

/** Anything with a Wasm type. */
export class Expr {
  constructor(readonly type: Type, readonly node: Node) {}
  /** Applies a Wasm instruction by name to this and `args`; `imm` are immediate bytes (lane numbers, shuffles). */
  wasm(type: Type, name: string, args: readonly Expr[] = [], imm?: readonly number[]): Expr {
    return make(type, { op: "wasm", name, args: [this, ...args], ...(imm ? { imm } : {}) });
  }
}

/** An i32 or i64 value. Binary operations need equal types; JavaScript numbers and bigints become constants. */
export class Int extends Expr {
  declare readonly type: "i32" | "i64";
  get bits(): number {
    return this.type === "i32" ? 32 : 64;
  }
  get known(): bigint | undefined {
    return this.node.op === "const" ? this.node.value : undefined;
  }
  #lift(b: Operand): Int {
    const x = b instanceof Int ? b : constant(this.type, BigInt(b));
    assert(x.type === this.type, `operands of ${this.type} and ${x.type}`);
    return x;
  }
  #binary(name: string, b: Operand): Int {
    const right = this.#lift(b), folded = fold(name, this.bits, this.known, right.known);
    if (folded !== undefined) return constant(this.type, folded);
    if (right.known === 0n && IDENTITY_0.has(name)) return this;
    return new Int(this.type, { op: "wasm", name: `${this.type}.${name}`, args: [this, right] });
  }
  #compare(name: string, b: Operand): Int {
    return new Int("i32", { op: "wasm", name: `${this.type}.${name}`, args: [this, this.#lift(b)] });
  }
  #unary(name: string): Int {
    return new Int(this.type, { op: "wasm", name: `${this.type}.${name}`, args: [this] });
  }
  add(b: Operand): Int {
    return this.#binary("add", b);
  }
  sub(b: Operand): Int {
    return this.#binary("sub", b);
  }
  mul(b: Operand): Int {
    return this.#binary("mul", b);
  }
  /** Wasm division traps on zero (and overflow for signed): the caller excludes those. */
  divU(b: Operand): Int {
    return this.#binary("div_u", b);
  }
  divS(b: Operand): Int {
    return this.#binary("div_s", b);
  }
  and(b: Operand): Int {
    return this.#binary("and", b);
  }
  or(b: Operand): Int {
    return this.#binary("or", b);
  }
  xor(b: Operand): Int {
    return this.#binary("xor", b);
  }
  /** Shift amounts are taken modulo the width, as Wasm and A64's variable shifts do. */
  shl(b: Operand): Int {
    return this.#binary("shl", b);
  }
  shrU(b: Operand): Int {
    return this.#binary("shr_u", b);
  }
  shrS(b: Operand): Int {
    return this.#binary("shr_s", b);
  }
  rotr(b: Operand): Int {
    return this.#binary("rotr", b);
  }
  not(): Int {
    return this.xor(-1n);
  }
  neg(): Int {
    return constant(this.type, 0n).sub(this);
  }
  clz(): Int {
    return this.#unary("clz");
  }
  popcnt(): Int {
    return this.#unary("popcnt");
  }
  eqz(): Int {
    return new Int("i32", { op: "wasm", name: `${this.type}.eqz`, args: [this] });
  }
  eq(b: Operand): Int {
    return this.#compare("eq", b);
  }
  ne(b: Operand): Int {
    return this.#compare("ne", b);
  }
  ltS(b: Operand): Int {
    return this.#compare("lt_s", b);
  }
  ltU(b: Operand): Int {
    return this.#compare("lt_u", b);
  }
  gtS(b: Operand): Int {
    return this.#compare("gt_s", b);
  }
  gtU(b: Operand): Int {
    return this.#compare("gt_u", b);
  }
  leS(b: Operand): Int {
    return this.#compare("le_s", b);
  }
  leU(b: Operand): Int {
    return this.#compare("le_u", b);
  }
  geS(b: Operand): Int {
    return this.#compare("ge_s", b);
  }
  geU(b: Operand): Int {
    return this.#compare("ge_u", b);
  }
  /** As i64: i32 zero-extended. */
  u64(): Int {
    if (this.type === "i64") return this;
    if (this.known !== undefined) return constant("i64", this.known);
    return new Int("i64", { op: "wasm", name: "i64.extend_i32_u", args: [this] });
  }
  /** As i64: i32 sign-extended. */
  s64(): Int {
    if (this.type === "i64") return this;
    if (this.known !== undefined) return constant("i64", BigInt.asIntN(32, this.known));
    return new Int("i64", { op: "wasm", name: "i64.extend_i32_s", args: [this] });
  }
  /** The low 32 bits. */
  i32(): Int {
    if (this.type === "i32") return this;
    if (this.known !== undefined) return constant("i32", this.known);
    return new Int("i32", { op: "wasm", name: "i32.wrap_i64", args: [this] });
  }
  /** As `type`, zero-extended or truncated. */
  as(type: "i32" | "i64"): Int {
    return type === "i32" ? this.i32() : this.u64();
  }
  /** The low `width` bits (8, 16, 32 or full), zero-extended. */
  zext(width: number): Int {
    return width >= this.bits ? this : this.and((1n << BigInt(width)) - 1n);
  }
  /** The low `width` bits, sign-extended to the full type. */
  sext(width: number): Int {
    if (width >= this.bits) return this;
    if (width === 8 || width === 16 || width === 32) return this.#unary(`extend${width}_s`);
    return this.shl(this.bits - width).shrS(this.bits - width);
  }
  /** This where `condition` (i32) is not zero, else `b`. */
  select(condition: Int, b: Operand): Int {
    return new Int(this.type, { op: "wasm", name: "select", args: [this, this.#lift(b), condition] });
  }
}
export type Operand = Int | number | bigint;

const IDENTITY_0 = new Set(["add", "sub", "or", "xor", "shl", "shr_u", "shr_s", "rotr"]);

function fold(name: string, bits: number, a?: bigint, b?: bigint): bigint | undefined {
  if (a === undefined || b === undefined) return undefined;
  const by = b & BigInt(bits - 1);
  switch (name) {
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
      return BigInt.asIntN(bits, a) >> by;
    case "rotr":
      return (a >> by) | (a << (BigInt(bits) - by));
  }
  return undefined;
}

function make(type: Type, node: Node): Expr {
  return type === "i32" || type === "i64" ? new Int(type, node) : new Expr(type, node);
}
/** A constant, kept as an unsigned number of its width. */
export function constant(type: "i32" | "i64", value: bigint | number): Int {
  return new Int(type, { op: "const", value: BigInt.asUintN(type === "i32" ? 32 : 64, BigInt(value)) });
}
export const i32 = (value: number): Int => constant("i32", value);
export const i64 = (value: bigint | number): Int => constant("i64", value);
/** A 128-bit constant. */
export const v128 = (value: bigint): Expr => new Expr("v128", { op: "const", value: BigInt.asUintN(128, value) });

export interface AccessOptions {
  /** Several elements of so many bytes each (pairs, SIMD structures): alignment is that of an element. */
  readonly element?: 1 | 2 | 4 | 8;
  /** As EL0 would (LDTR, STTR). */
  readonly unprivileged?: boolean;
  /** Must be aligned to its size whatever SCTLR_ELx.A says (exclusives, atomics, acquire and release). */
  readonly aligned?: boolean;
}
export type AtomicOp = "add" | "sub" | "and" | "or" | "xor" | "xchg" | "cmpxchg";

export interface Block {
  readonly effects: Effect[];
  value?: Expr;
}
export type Effect =
  | { readonly kind: "let"; readonly temp: number; readonly value: Expr }
  | {
    readonly kind: "load";
    readonly temp: number;
    readonly bytes: number;
    readonly address: Int;
    readonly options: AccessOptions;
  }
  | {
    readonly kind: "store";
    readonly bytes: number;
    readonly address: Int;
    readonly value: Expr;
    readonly options: AccessOptions;
  }
  /** temp = the host address of aligned, writable RAM, for read-modify-write; faults like a store. */
  | { readonly kind: "rmwAddress"; readonly temp: number; readonly bytes: number; readonly address: Int }
  /** temp = the old value; operates on a host address. */
  | {
    readonly kind: "atomic";
    readonly temp: number;
    readonly name: AtomicOp;
    readonly bytes: number;
    readonly host: Int;
    readonly args: readonly Int[];
  }
  | { readonly kind: "hostLoad"; readonly temp: number; readonly host: Int; readonly bytes: number }
  | { readonly kind: "hostStore"; readonly host: Int; readonly value: Expr; readonly bytes: number }
  | { readonly kind: "setX"; readonly reg: Reg; readonly value: Int }
  | { readonly kind: "setV"; readonly reg: VReg; readonly value: Expr }
  | { readonly kind: "setV64"; readonly reg: VReg; readonly part: number; readonly value: Int }
  | { readonly kind: "setState"; readonly field: StateField | StateField32; readonly value: Int }
  /** Immediately, not at the end: cumulative FPSR bits. */
  | { readonly kind: "orState"; readonly field: StateField32; readonly value: Int }
  | { readonly kind: "setSysreg"; readonly offset: Expr; readonly value: Int }
  | {
    readonly kind: "choose";
    readonly temp?: number;
    readonly type?: Type;
    readonly condition: Int;
    readonly then: Block;
    readonly else: Block;
    readonly likely?: boolean;
  }
  | { readonly kind: "helper"; readonly temp?: number; readonly name: HelperName; readonly args: readonly Expr[] }
  /** SP is the base: SP alignment check. */
  | { readonly kind: "checkSp" }
  /** To pc + offset when the condition (i32) holds, or always. */
  | { readonly kind: "branch"; readonly offset: Int; readonly condition?: Int }
  /** To an address. */
  | { readonly kind: "jump"; readonly target: Int };

/** NZCV as the state keeps them, all i64: N is bit 63 of nf, Z is zf = 0, C is cf (0 or 1), V is bit 63 of vf. */
export type Flags = Readonly<Record<"nf" | "zf" | "cf" | "vf", Int>>;

/** Collects the semantics of one instruction. */
export class Builder {
  readonly #stack: Block[] = [{ effects: [] }];
  /** Register and flag writes, in order; they happen when the instruction ends. */
  readonly writes: Effect[] = [];
  #temps = 0;
  readonly tempTypes: Type[] = [];
  readonly pc: Int = new Int("i64", { op: "pc" });

  get effects(): readonly Effect[] {
    assert(this.#stack.length === 1, "a block is still open");
    return this.#stack[0]!.effects;
  }
  #emit(effect: Effect) {
    this.#stack.at(-1)!.effects.push(effect);
  }
  #write(effect: Effect) {
    assert(this.#stack.length === 1, "a register write inside a conditional block");
    this.writes.push(effect);
  }
  #temp(type: Type): { id: number; expr: Expr } {
    const id = this.#temps++;
    this.tempTypes.push(type);
    return { id, expr: make(type, { op: "temp", id }) };
  }
  /** Evaluates `value` here, once. */
  let<E extends Expr>(value: E): E {
    const { id, expr } = this.#temp(value.type);
    this.#emit({ kind: "let", temp: id, value });
    return expr as E;
  }

  // ---- general-purpose registers

  /** The register X0..X30 by number. */
  X(number: number): Reg {
    return new Reg(`X${number}`, number, false);
  }
  /** The register after an even-numbered one (CASP's pairs). */
  next(reg: Reg): Reg {
    if (typeof reg.place === "number") return new Reg(reg.name, reg.place + 1, reg.place === 30);
    return new Reg(reg.name, reg.place, false, undefined, 1);
  }
  /** A register as i32 (sf = 0) or i64 (sf = 1). */
  get(reg: Reg, sf: number): Int {
    const type = sf ? "i64" : "i32";
    if (reg.is31 && reg.place === 31) return constant(type, 0n);
    return new Int(type, { op: "x", reg });
  }
  /** Writes a register; an i32 is zero-extended. A write to the zero register is nothing. */
  set(reg: Reg, value: Int) {
    reg.analysis?.needs31.add(reg.name);
    if (reg.is31 && reg.place === 31) return;
    this.#write({ kind: "setX", reg, value });
  }
  /** Whether the register is number 31, where that selects other semantics. */
  is31(reg: Reg): boolean {
    reg.analysis?.needs31.add(reg.name);
    return reg.is31;
  }
  /** A base register of a load or store, with the SP alignment check where it is SP. */
  base(reg: Reg): Int {
    reg.analysis?.needs31.add(reg.name);
    if (reg.is31) this.#emit({ kind: "checkSp" });
    return this.let(this.get(reg, 1));
  }

  // ---- SIMD and floating-point registers

  /** All 128 bits, or the low 64 or 32 with zeros above. */
  v(reg: VReg, bits: 32 | 64 | 128 = 128): Expr {
    return new Expr("v128", { op: "v", reg, bits });
  }
  /** Bits 63:0 (part 0) or 127:64 (part 1) as i64. */
  v64(reg: VReg, part = 0): Int {
    return new Int("i64", { op: "v64", reg, part });
  }
  /** Writes all 128 bits. */
  setV(reg: VReg, value: Expr) {
    assert(value.type === "v128", "a vector register takes a v128");
    this.#write({ kind: "setV", reg, value });
  }
  /** Writes the low 64 bits (an i32 is zero-extended) and clears the rest, as scalar and 64-bit vector results do. */
  setD(reg: VReg, value: Int) {
    this.#write({ kind: "setV64", reg, part: 0, value: value.u64() });
    this.#write({ kind: "setV64", reg, part: 1, value: i64(0) });
  }
  /** Writes one 64-bit half and keeps the other. */
  setV64(reg: VReg, part: number, value: Int) {
    this.#write({ kind: "setV64", reg, part, value });
  }

  // ---- flags and other state

  state(field: StateField | StateField32): Int {
    return new Int((STATE_32 as readonly string[]).includes(field) ? "i32" : "i64", { op: "state", field });
  }
  setState(field: StateField | StateField32, value: Int) {
    this.#write({ kind: "setState", field, value });
  }
  /** ORs bits into a state word at once (FPSR's cumulative flags). */
  orState(field: StateField32, value: Int) {
    this.#emit({ kind: "orState", field, value });
  }
  /** Like `setState`, but at once: for system instructions, inside conditional blocks. */
  setStateNow(field: StateField | StateField32, value: Int) {
    this.#emit({ kind: "setState", field, value });
  }
  /** N and Z from `result`, C and V cleared. */
  setFlagsLogic(result: Int) {
    const r = this.let(result.s64());
    this.setFlags({ nf: r, zf: r, cf: i64(0), vf: i64(0) });
  }
  /** NZCV of a + b [+ carry]; returns the sum. */
  setFlagsAdd(a: Int, b: Int, carry?: Int): Int {
    const { result, flags } = this.flagsAdd(a, b, carry);
    this.setFlags(flags);
    return result;
  }
  /** NZCV of a − b, C meaning "no borrow"; returns the difference. */
  setFlagsSub(a: Int, b: Int): Int {
    const { result, flags } = this.flagsSub(a, b);
    this.setFlags(flags);
    return result;
  }
  flagsAdd(a: Int, b: Int, carry?: Int): { result: Int; flags: Flags } {
    const x = this.let(a), y = this.let(b), sum = this.let(carry ? x.add(y).add(carry.as(x.type)) : x.add(y));
    const cf = carry ? sum.ltU(x).or(sum.eq(x).and(carry.i32())) : sum.ltU(x);
    const flags = { nf: sum.s64(), zf: sum.s64(), cf: cf.u64(), vf: x.xor(sum).and(y.xor(sum)).s64() };
    return { result: sum, flags };
  }
  flagsSub(a: Int, b: Int): { result: Int; flags: Flags } {
    const x = this.let(a), y = this.let(b), result = this.let(x.sub(y));
    const flags = { nf: result.s64(), zf: result.s64(), cf: x.geU(y).u64(), vf: x.xor(y).and(x.xor(result)).s64() };
    return { result, flags };
  }
  /** Flags from an i32 whose bits 3..0 are N, Z, C, V. */
  flagsOf(nzcv: Int): Flags {
    const bit = (n: number) => nzcv.shrU(n).and(1).u64();
    return { nf: bit(3).neg(), zf: bit(2).xor(1), cf: bit(1), vf: bit(0).neg() };
  }
  setFlags({ nf, zf, cf, vf }: Flags) {
    this.setState("nf", nf);
    this.setState("zf", zf);
    this.setState("cf", cf);
    this.setState("vf", vf);
  }
  /** NZCV as an i32, N in bit 3. */
  nzcv(): Int {
    const n = this.state("nf").shrU(63).i32(), z = this.state("zf").eqz(), v = this.state("vf").shrU(63).i32();
    return n.shl(3).or(z.shl(2)).or(this.state("cf").i32().shl(1)).or(v);
  }
  /** ConditionHolds(): i32, not zero when condition code `cond` (0..15) holds. */
  condition(cond: number): Int {
    const nf = this.state("nf"), zf = this.state("zf"), cf = this.state("cf"), vf = this.state("vf");
    const base = () => {
      switch (cond >> 1) {
        case 0:
          return zf.eqz();
        case 1:
          return cf.i32();
        case 2:
          return nf.ltS(0);
        case 3:
          return vf.ltS(0);
        case 4:
          return cf.i32().and(zf.ne(0));
        case 5:
          return nf.xor(vf).geS(0);
        case 6:
          return zf.ne(0).and(nf.xor(vf).geS(0));
        default:
          return i32(1);
      }
    };
    return (cond & 1) && cond !== 15 ? base().eqz() : base();
  }
  /** A 64-bit system register at a byte offset in the vCPU block (i32 expression). */
  sysreg(offset: Int): Int {
    return new Int("i64", { op: "sysreg", offset });
  }
  /** At once, so that it can stand inside a conditional block. */
  setSysreg(offset: Int, value: Int) {
    this.#emit({ kind: "setSysreg", offset, value });
  }

  // ---- memory

  /** Loads 1, 2, 4 or 8 bytes as i64, zero-extended. */
  load(address: Int, bytes: number, options: AccessOptions = {}): Int {
    const { id, expr } = this.#temp("i64");
    this.#emit({ kind: "load", temp: id, bytes, address, options });
    return expr as Int;
  }
  /** Loads 16 bytes. */
  load128(address: Int, options: AccessOptions = {}): Expr {
    const { id, expr } = this.#temp("v128");
    this.#emit({ kind: "load", temp: id, bytes: 16, address, options });
    return expr;
  }
  /** Stores the low `bytes` bytes of an i64, or 16 bytes of a v128. */
  store(address: Int, bytes: number, value: Expr, options: AccessOptions = {}) {
    assert((bytes === 16) === (value.type === "v128") && value.type !== "i32", "a store of i64 or v128");
    this.#emit({ kind: "store", bytes, address, value, options });
  }
  /** Host address (i32) for an atomic read-modify-write of `bytes` bytes: readable, writable, aligned RAM, or a fault. */
  rmwAddress(address: Int, bytes: number): Int {
    const { id, expr } = this.#temp("i32");
    this.#emit({ kind: "rmwAddress", temp: id, bytes, address });
    return expr as Int;
  }
  /** An atomic operation on a host address of 1, 2, 4 or 8 aligned bytes; returns the old value, zero-extended. cmpxchg takes (expected, new). */
  atomic(name: AtomicOp, host: Int, bytes: number, ...args: Int[]): Int {
    const { id, expr } = this.#temp("i64");
    this.#emit({ kind: "atomic", temp: id, name, bytes, host, args });
    return expr as Int;
  }
  /** Plain access to a host address from `rmwAddress`. */
  hostLoad(host: Int, bytes: number): Int {
    const { id, expr } = this.#temp("i64");
    this.#emit({ kind: "hostLoad", temp: id, host, bytes });
    return expr as Int;
  }
  hostStore(host: Int, bytes: number, value: Expr) {
    this.#emit({ kind: "hostStore", host, bytes, value });
  }

  // ---- control

  /** `then()` where `condition` (i32) is not zero, else `otherwise()`; only the chosen side is evaluated. */
  choose<E extends Expr>(condition: Int, then: () => E, otherwise: () => E, likely?: boolean): E {
    const a = this.#block(then), b = this.#block(otherwise);
    const { id, expr } = this.#temp(a.value!.type);
    assert(a.value!.type === b.value!.type, "both sides of a choice have one type");
    this.#emit({
      kind: "choose",
      temp: id,
      type: expr.type,
      condition,
      then: a,
      else: b,
      ...(likely === undefined ? {} : { likely }),
    });
    return expr as E;
  }
  /** Effects (stores, helpers, not register writes) that happen only where `condition` is not zero. */
  when(condition: Int, then: () => void) {
    const block = this.#block(then as () => undefined);
    this.#emit({ kind: "choose", condition, then: block, else: { effects: [] } });
  }
  #block(body: () => Expr | undefined): Block {
    const block: Block = { effects: [] };
    this.#stack.push(block);
    const value = body();
    this.#stack.pop();
    if (value) block.value = value;
    return block;
  }
  /** Branches by an immediate offset. */
  branch(offset: Int, condition?: Int) {
    this.#emit({ kind: "branch", offset, ...(condition ? { condition } : {}) });
  }
  /** Branches to an address. */
  jump(target: Int) {
    this.#emit({ kind: "jump", target: this.let(target) });
  }
  /** Calls a TypeScript function; the result is what its row in helpers.ts says. A status helper may end the instruction. */
  helper(name: HelperName, ...args: Expr[]): Expr | undefined {
    const helper: Helper = HELPERS[name];
    assert(
      helper.params.length === args.length && args.every((a, i) => a.type === helper.params[i]),
      `arguments of ${name}`,
    );
    if (helper.result === "status" || helper.result === "none") {
      this.#emit({ kind: "helper", name, args });
      return undefined;
    }
    const { id, expr } = this.#temp(helper.result);
    this.#emit({ kind: "helper", temp: id, name, args });
    return expr;
  }
}
