// Floating-point elements as Wasm values: one spelling for a scalar and for the lanes of a vector, in single and double
// precision. Half precision has no Wasm arithmetic; its elements are only moved about and handed to software.

import { type Builder, constant, type Expr, i32, i64, Int, v128, type VReg } from "../ir.ts";
import { CONTROL, FLAGS } from "../softfloat.ts";
import { floatOperation, type OperationName, type OperationOptions } from "../softfloat/operations.ts";
import { every, put, take, Vec } from "../vector.ts";

export type Width = 16 | 32 | 64;
/** Bits of one element (i32 up to 32 bits, zero-extended; else i64), or of all lanes. */
export type Raw = Int | Vec;
type Shape = "f32" | "f64" | "f32x4" | "f64x2";

/** Facts about a format that Wasm computes in. */
interface Facts {
  readonly fractionBits: number;
  readonly maxExponent: number;
  readonly minNormal: number;
  /** Products from here up have an error that is representable (Dekker). */
  readonly minProduct: number;
  /** Dekker's constant for splitting a significand in two halves. */
  readonly splitter: number;
  /** The number before one half. */
  readonly belowHalf: number;
}
const SINGLE: Facts = {
  fractionBits: 23,
  maxExponent: 255,
  minNormal: 2 ** -126,
  minProduct: 2 ** -100,
  splitter: 2 ** 12 + 1,
  belowHalf: 0.5 - 2 ** -25,
};
const DOUBLE: Facts = {
  fractionBits: 52,
  maxExponent: 2047,
  minNormal: 2 ** -1022,
  minProduct: 2 ** -960,
  splitter: 2 ** 27 + 1,
  belowHalf: 0.5 - 2 ** -54,
};

const isVector = (shape: Shape): boolean => shape.length > 3;
const sizeOf = (shape: Shape): 2 | 3 => shape.startsWith("f32") ? 2 : 3;

/** Where a condition holds: an i32, or lanes of ones and zeros. */
export class Mask {
  constructor(readonly x: Expr, readonly shape: Shape) {}
  #combine(name: string, b: Mask): Mask {
    return new Mask(this.x.wasm(this.x.type, `${isVector(this.shape) ? "v128" : "i32"}.${name}`, [b.x]), this.shape);
  }
  and(b: Mask): Mask {
    return this.#combine("and", b);
  }
  or(b: Mask): Mask {
    return this.#combine("or", b);
  }
  not(): Mask {
    return new Mask(isVector(this.shape) ? this.x.wasm("v128", "v128.not") : (this.x as Int).eqz(), this.shape);
  }
  /** All ones or all zeros in an element's bits. */
  raw(): Raw {
    const size = sizeOf(this.shape);
    return isVector(this.shape) ? new Vec(this.x, size) : (this.x as Int).as(size === 2 ? "i32" : "i64").neg();
  }
}

/** Numbers in one of Wasm's floating-point shapes. */
export class Fp {
  constructor(readonly x: Expr, readonly shape: Shape) {}

  get facts(): Facts {
    return sizeOf(this.shape) === 2 ? SINGLE : DOUBLE;
  }
  #apply(name: string, ...args: readonly Fp[]): Fp {
    return new Fp(this.x.wasm(this.x.type, `${this.shape}.${name}`, args.map((a) => a.x)), this.shape);
  }
  #test(name: string, b: Fp): Mask {
    return new Mask(this.x.wasm(isVector(this.shape) ? "v128" : "i32", `${this.shape}.${name}`, [b.x]), this.shape);
  }
  /** A constant of this shape. */
  every(value: number): Fp {
    const wide = sizeOf(this.shape) === 3;
    const bits = wide
      ? new BigUint64Array(Float64Array.of(value).buffer)[0]!
      : BigInt(new Uint32Array(Float32Array.of(value).buffer)[0]!);
    return fromRaw(
      isVector(this.shape) ? every(wide ? 3 : 2, bits) : constant(wide ? "i64" : "i32", bits),
      wide ? 64 : 32,
    );
  }
  add(b: Fp): Fp {
    return this.#apply("add", b);
  }
  sub(b: Fp): Fp {
    return this.#apply("sub", b);
  }
  mul(b: Fp): Fp {
    return this.#apply("mul", b);
  }
  div(b: Fp): Fp {
    return this.#apply("div", b);
  }
  min(b: Fp): Fp {
    return this.#apply("min", b);
  }
  max(b: Fp): Fp {
    return this.#apply("max", b);
  }
  sqrt(): Fp {
    return this.#apply("sqrt");
  }
  abs(): Fp {
    return this.#apply("abs");
  }
  neg(): Fp {
    return this.#apply("neg");
  }
  /** To an integral number: by Wasm's name of the direction. */
  round(direction: "nearest" | "ceil" | "floor" | "trunc"): Fp {
    return this.#apply(direction);
  }
  /** To the nearest integral number, halves away from zero. */
  roundAway(): Fp {
    return this.add(this.every(this.facts.belowHalf).withSign(this)).round("trunc");
  }
  withSign(b: Fp): Fp {
    if (!isVector(this.shape)) return this.#apply("copysign", b);
    const { size } = this.#lanes, sign = every(size, 1n << BigInt((8 << size) - 1));
    return new Fp(sign.select(b.#lanes, this.#lanes).x, this.shape);
  }

  eq(b: Fp): Mask {
    return this.#test("eq", b);
  }
  ne(b: Fp): Mask {
    return this.#test("ne", b);
  }
  lt(b: Fp): Mask {
    return this.#test("lt", b);
  }
  gt(b: Fp): Mask {
    return this.#test("gt", b);
  }
  ge(b: Fp): Mask {
    return this.#test("ge", b);
  }
  isZero(): Mask {
    return this.eq(this.every(0));
  }
  isNumber(): Mask {
    return this.eq(this);
  }
  isFinite(): Mask {
    const { maxExponent } = this.facts;
    if (isVector(this.shape)) return this.abs().lt(this.every(Infinity));
    return new Mask(this.#exponent().ne(maxExponent), this.shape);
  }
  /** Normal, finite, and not what a denormal number may have been rounded to: tininess is detected before rounding. */
  isSafelyNormal(): Mask {
    const { maxExponent, minNormal } = this.facts;
    if (!isVector(this.shape)) return new Mask(this.#exponent().sub(2).ltU(maxExponent - 2), this.shape);
    const magnitude = this.abs();
    return magnitude.ge(this.every(2 * minNormal)).and(magnitude.lt(this.every(Infinity)));
  }
  isAtLeast(magnitude: number): Mask {
    return this.abs().ge(this.every(magnitude));
  }
  #exponent(): Int {
    const { fractionBits, maxExponent } = this.facts;
    return (this.raw() as Int).shrU(fractionBits).i32().and(maxExponent);
  }

  get #lanes(): Vec {
    return new Vec(this.x, sizeOf(this.shape));
  }
  raw(): Raw {
    if (isVector(this.shape)) return this.#lanes;
    return this.shape === "f32"
      ? this.x.wasm("i32", "i32.reinterpret_f32") as Int
      : this.x.wasm("i64", "i64.reinterpret_f64") as Int;
  }
  lane(n: number): Fp {
    if (!isVector(this.shape)) return this;
    const scalar = sizeOf(this.shape) === 2 ? "f32" : "f64";
    return new Fp(this.x.wasm(scalar, `${this.shape}.extract_lane`, [], [n]), scalar);
  }
}

/** The numbers that bits stand for. */
export function fromRaw(raw: Raw, width: 32 | 64): Fp {
  if (raw instanceof Vec) return new Fp(raw.x, width === 32 ? "f32x4" : "f64x2");
  return width === 32
    ? new Fp(raw.wasm("f32", "f32.reinterpret_i32"), "f32")
    : new Fp(raw.wasm("f64", "f64.reinterpret_i64"), "f64");
}

/** Double precision from single: all of it, or of a vector the low (0) or high (1) half. */
export function promote(x: Fp, part = 0): Fp {
  if (x.shape === "f32") return new Fp(x.x.wasm("f64", "f64.promote_f32"), "f64");
  const half = part ? new Vec(x.x, 3).broadcast(1).x : x.x;
  return new Fp(half.wasm("v128", "f64x2.promote_low_f32x4"), "f64x2");
}
/** Single precision from double; a vector's high half becomes zeros. */
export function demote(x: Fp): Fp {
  return x.shape === "f64"
    ? new Fp(x.x.wasm("f32", "f32.demote_f64"), "f32")
    : new Fp(x.x.wasm("v128", "f32x4.demote_f64x2_zero"), "f32x4");
}
/** A condition on lanes of double precision as one on lanes of single precision. */
export function joinMasks(low: Mask, high: Mask): Mask {
  return new Mask(new Vec(low.x, 2).alternate(0, new Vec(high.x, 2)).x, "f32x4");
}
/** The low 64 bits of both. */
export function joinHalves(low: Fp, high: Fp): Fp {
  return new Fp(new Vec(low.x, 3).shuffle(new Vec(high.x, 3), [0, 2]).x, low.shape);
}

/** Bits that an operation has in FPCR. */
export const RMODE = 3 << CONTROL.RMODE, { FZ } = CONTROL;

export interface SoftOptions extends OperationOptions {
  /** Fraction bits that are an operand. */
  readonly scale?: Int;
}

/** The elements that one instruction works on: a scalar, or the lanes of a vector of 64 or 128 bits. */
export class Lanes {
  constructor(readonly e: Builder, readonly width: Width, readonly vectorBits?: 64 | 128) {}

  get size(): 1 | 2 | 3 {
    return this.width === 16 ? 1 : this.width === 32 ? 2 : 3;
  }
  get count(): number {
    return this.vectorBits ? this.vectorBits / this.width : 1;
  }
  /** The same kind of operand with elements of another width. */
  of(width: Width, vectorBits = this.vectorBits): Lanes {
    return new Lanes(this.e, width, vectorBits);
  }
  get #type(): "i32" | "i64" {
    return this.width === 64 ? "i64" : "i32";
  }

  // ---- registers

  read(reg: VReg): Raw {
    const { e, size, vectorBits } = this;
    if (vectorBits) return new Vec(e.let(take(e, reg, size, vectorBits).x), size);
    return e.let(this.width === 64 ? e.v64(reg) : e.v64(reg).i32().zext(this.width));
  }
  /** Element `index` of a register: in every lane. */
  readElement(reg: VReg, index: number): Raw {
    const { e, size } = this, all = take(e, reg, size);
    return this.vectorBits ? new Vec(e.let(all.broadcast(index).x), size) : e.let(all.lane(index));
  }
  write(reg: VReg, value: Raw) {
    if (value instanceof Vec) put(this.e, reg, value, this.vectorBits);
    else this.e.setD(reg, value);
  }

  // ---- bits

  lane(raw: Raw, n: number): Int {
    return raw instanceof Vec ? raw.lane(n) : raw;
  }
  join(lanes: readonly Int[]): Raw {
    if (!this.vectorBits) return lanes[0]!.as(this.#type);
    let all = every(this.size, 0);
    lanes.forEach((lane, n) => all = all.withLane(n, lane));
    return all;
  }
  every(value: bigint): Raw {
    return this.vectorBits ? every(this.size, value) : constant(this.#type, value);
  }
  get #sign(): bigint {
    return 1n << BigInt(this.width - 1);
  }
  negate(raw: Raw): Raw {
    return raw instanceof Vec ? raw.xor(raw.every(this.#sign)) : raw.xor(this.#sign);
  }
  abs(raw: Raw): Raw {
    return raw instanceof Vec ? raw.and(raw.every(this.#sign - 1n)) : raw.and(this.#sign - 1n);
  }
  letRaw<R extends Raw>(raw: R): R {
    return (raw instanceof Vec ? new Vec(this.e.let(raw.x), raw.size) : this.e.let(raw as Int)) as R;
  }

  // ---- numbers

  /** Whether Wasm has arithmetic in this format. */
  get isNative(): boolean {
    return this.width !== 16;
  }
  float(raw: Raw): Fp {
    return fromRaw(raw, this.width as 32 | 64);
  }
  let<T extends Fp | Mask>(x: T): T {
    const bound = this.e.let(x.x);
    return (x instanceof Fp ? new Fp(bound, x.shape) : new Mask(bound, x.shape)) as T;
  }
  /** i32, whether the condition holds in all elements. */
  all(mask: Mask): Int {
    if (!isVector(mask.shape)) return mask.x as Int;
    const unused = v128(((1n << 64n) - 1n) << 64n);
    const used = this.vectorBits === 64 ? mask.x.wasm("v128", "v128.or", [unused]) : mask.x;
    return used.wasm("i32", `i${this.width}x${128 / this.width}.all_true`) as Int;
  }
  /** i32, whether the given bits of FPCR are clear. */
  without(mask: number): Int {
    return this.e.state("fpcr").and(mask).eqz();
  }
  /** i32, the same and FPSR.IXC set: what is inexact changes no flag. */
  steady(mask: number): Int {
    return this.e.state("fpcr").and(mask).or(this.e.state("fpsr").not().and(FLAGS.IXC)).eqz();
  }
  /** i32, whether FPSR.IXC is set: 0 or 1. */
  get isInexact(): Int {
    return this.e.state("fpsr").shrU(Math.log2(FLAGS.IXC)).and(1);
  }

  /** i32, whether flushing denormal numbers to zero would not change any of these. */
  unflushable(...numbers: Fp[]): Int {
    const each = numbers.map((x) => x.isAtLeast(x.facts.minNormal).or(x.isZero()));
    return each.map((mask) => this.all(mask)).reduce((a, b) => a.and(b));
  }
  /** `fast` where the condition holds and no number is flushed to zero, else `slow`. */
  chooseUnflushed(condition: Int, numbers: Fp[], fast: () => Raw, slow: () => Raw): Raw {
    const holds = this.e.let(condition);
    const second = () => this.choose(holds.and(this.unflushable(...numbers)), fast, slow);
    return this.choose(holds.and(this.without(FZ)), fast, second);
  }
  /** `fast` where the condition holds, which is expected, else `slow`. */
  choose(condition: Int, fast: () => Raw, slow: () => Raw): Raw {
    let vector: number | undefined;
    const expression = (make: () => Raw) => () => {
      const raw = make();
      if (raw instanceof Vec) vector = raw.size;
      return raw instanceof Vec ? raw.x : raw;
    };
    const x = this.e.choose<Expr>(condition, expression(fast), expression(slow), true);
    return vector === undefined ? x as Int : new Vec(x, vector);
  }

  /** Each element by software; the results as i64. */
  softEach(name: OperationName, operands: readonly Raw[], options: SoftOptions = {}): Int[] {
    const { scale, ...fixed } = options, number = i32(floatOperation(name, this.width, fixed));
    const code = scale ? number.or(scale.shl(16)) : number;
    return Array.from({ length: this.count }, (_, n) => {
      const [a = i64(0), b = i64(0), c = i64(0)] = operands.map((raw) => this.lane(raw, n).u64());
      return this.e.helper("softFloat", code, a, b, c) as Int;
    });
  }
  /** Each element by software, to elements of the same width. */
  soft(name: OperationName, operands: readonly Raw[], options: SoftOptions = {}): Raw {
    return this.join(this.softEach(name, operands, options));
  }
}
