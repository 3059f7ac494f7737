// Vectors of integer lanes over v128 expressions: one spelling for all element sizes, by a Wasm instruction where there is
// one and by a few others where not. `U` chooses signed (0) or unsigned (1), as the bit of that name in an encoding does.

import { type Builder, constant, type Expr, Int, v128, type VReg } from "./ir.ts";

const SHAPES = ["i8x16", "i16x8", "i32x4", "i64x2"] as const;
/** Where the elements of an operation come from: a whole register, or its low 64, 32, 16 or 8 bits. */
export type Bits = 8 | 16 | 32 | 64 | 128;

/** A 128-bit value seen as lanes of 1 << size bytes. */
export class Vec {
  constructor(readonly x: Expr, readonly size: number) {}

  get bits(): number {
    return 8 << this.size;
  }
  get lanes(): number {
    return 16 >> this.size;
  }
  /** The same bits as lanes of another size. */
  as(size: number): Vec {
    return new Vec(this.x, size);
  }
  /** A constant with `value` in every lane of this size. */
  every(value: bigint | number): Vec {
    return every(this.size, value);
  }
  get #signBit(): Vec {
    return this.every(1n << BigInt(this.bits - 1));
  }
  /** Applies the Wasm instruction `name` of this shape. */
  apply(name: string, ...args: readonly Expr[]): Vec {
    return new Vec(this.x.wasm("v128", `${SHAPES[this.size]}.${name}`, args), this.size);
  }
  #bitwise(name: string, ...args: readonly Expr[]): Vec {
    return new Vec(this.x.wasm("v128", `v128.${name}`, args), this.size);
  }

  and(b: Vec): Vec {
    return this.#bitwise("and", b.x);
  }
  or(b: Vec): Vec {
    return this.#bitwise("or", b.x);
  }
  xor(b: Vec): Vec {
    return this.#bitwise("xor", b.x);
  }
  andNot(b: Vec): Vec {
    return this.#bitwise("andnot", b.x);
  }
  not(): Vec {
    return this.#bitwise("not");
  }
  /** Bits of `a` where this has ones, bits of `b` where zeros. */
  select(a: Vec, b: Vec): Vec {
    return new Vec(a.x.wasm("v128", "v128.bitselect", [b.x, this.x]), a.size);
  }
  /** i32, 1 when any bit is set. */
  anyTrue(): Int {
    return this.x.wasm("i32", "v128.any_true") as Int;
  }

  add(b: Vec): Vec {
    return this.apply("add", b.x);
  }
  sub(b: Vec): Vec {
    return this.apply("sub", b.x);
  }
  neg(): Vec {
    return this.apply("neg");
  }
  abs(): Vec {
    return this.apply("abs");
  }
  mul(b: Vec): Vec {
    if (this.size) return this.apply("mul", b.x);
    const x = this.as(1), y = b.as(1);
    return x.mul(y).and(x.every(0xff)).or(x.shr(1, 8).mul(y.shr(1, 8)).shl(8)).as(0);
  }
  /** Shifts by a known number or an i32, taken modulo the lane's width. */
  shl(n: Int | number): Vec {
    return this.apply("shl", amount(n));
  }
  shr(U: number, n: Int | number): Vec {
    return this.apply(U ? "shr_u" : "shr_s", amount(n));
  }
  /** Shifts every lane by its own number of bits 0 .. width - 1, in one step per bit of that number. */
  shiftEach(step: (x: Vec, by: number) => Vec, counts: Vec): Vec {
    let x: Vec = this.as(this.size);
    for (let by = 1; by < this.bits; by *= 2) x = counts.and(x.every(by)).eq(x.every(by)).select(step(x, by), x);
    return x;
  }

  eq(b: Vec): Vec {
    return this.apply("eq", b.x);
  }
  gt(U: number, b: Vec): Vec {
    if (U && this.size === 3) return this.xor(this.#signBit).gt(0, b.xor(this.#signBit));
    return this.apply(U ? "gt_u" : "gt_s", b.x);
  }
  ge(U: number, b: Vec): Vec {
    return U && this.size === 3 ? b.gt(U, this).not() : this.apply(U ? "ge_u" : "ge_s", b.x);
  }
  min(U: number, b: Vec): Vec {
    return this.size === 3 ? this.gt(U, b).select(b, this) : this.apply(U ? "min_u" : "min_s", b.x);
  }
  max(U: number, b: Vec): Vec {
    return this.size === 3 ? this.gt(U, b).select(this, b) : this.apply(U ? "max_u" : "max_s", b.x);
  }
  /** All ones in lanes that are negative. */
  negative(): Vec {
    return this.shr(0, this.bits - 1);
  }
  /** The largest or smallest signed number, by the sign of each lane. */
  signedLimit(): Vec {
    return this.negative().xor(this.#signBit.not());
  }

  addSat(U: number, b: Vec): Vec {
    if (this.size < 2) return this.apply(U ? "add_sat_u" : "add_sat_s", b.x);
    const sum = this.add(b);
    if (U) return sum.or(this.gt(1, sum));
    return this.xor(sum).and(b.xor(sum)).negative().select(this.signedLimit(), sum);
  }
  subSat(U: number, b: Vec): Vec {
    if (this.size < 2) return this.apply(U ? "sub_sat_u" : "sub_sat_s", b.x);
    const difference = this.sub(b);
    if (U) return difference.andNot(b.gt(1, this));
    return this.xor(b).and(this.xor(difference)).negative().select(this.signedLimit(), difference);
  }

  /** Lanes of the low (part 0) or high half, extended to twice the size. */
  widen(U: number, part: number): Vec {
    return this.#wide(`extend_${part ? "high" : "low"}`, U);
  }
  /** Full products of lanes of the low or high half. */
  mulWide(U: number, part: number, b: Vec): Vec {
    return this.#wide(`extmul_${part ? "high" : "low"}`, U, b.x);
  }
  /** Sums of adjacent lanes, at twice the size. */
  addPairs(U: number): Vec {
    if (this.size < 2) return this.#wide("extadd_pairwise", U);
    const wide = this.as(3);
    return wide.shl(32).shr(U, 32).add(wide.shr(U, 32));
  }
  #wide(name: string, U: number, ...args: readonly Expr[]): Vec {
    return this.as(this.size + 1).apply(`${name}_${SHAPES[this.size]}_${U ? "u" : "s"}`, ...args);
  }

  /** Lanes by number: those from `lanes` up are of `b`. */
  shuffle(b: Vec, lanes: readonly number[]): Vec {
    const bytes = lanes.flatMap((n) => Array.from({ length: 1 << this.size }, (_, i) => (n << this.size) + i));
    return new Vec(this.x.wasm("v128", "i8x16.shuffle", [b.x], bytes), this.size);
  }
  /** The even-numbered (0) or odd-numbered (1) lanes of this, then of `b`. */
  alternate(odd: number, b: Vec): Vec {
    return this.shuffle(b, Array.from({ length: this.lanes }, (_, i) => 2 * i + odd));
  }
  /** The low or high halves of the lanes, at half the size, in the low 64 bits. */
  halves(high: number): Vec {
    const narrow = this.as(this.size - 1);
    return narrow.alternate(high, narrow);
  }
  /** Lane `n` in every lane. */
  broadcast(n: number): Vec {
    return this.shuffle(this, Array<number>(this.lanes).fill(n));
  }
  /** Lane `n` as i32, or as i64 when it has 64 bits; small ones are zero- or sign-extended. */
  lane(n: number, U = 1): Int {
    const suffix = this.size < 2 ? (U ? "_u" : "_s") : "";
    return this.x.wasm(this.size === 3 ? "i64" : "i32", `${SHAPES[this.size]}.extract_lane${suffix}`, [], [n]) as Int;
  }
  withLane(n: number, value: Int): Vec {
    const x = this.x.wasm("v128", `${SHAPES[this.size]}.replace_lane`, [value.as(laneType(this.size))], [n]);
    return new Vec(x, this.size);
  }
  /** Byte table look-up: indices above 15 give 0. */
  lookUp(indices: Vec): Vec {
    return new Vec(this.x.wasm("v128", "i8x16.swizzle", [indices.x]), 0);
  }

  /** Numbers of ones. */
  popcnt(): Vec {
    let sums: Vec = this.as(0).apply("popcnt");
    while (sums.size < this.size) sums = sums.addPairs(1);
    return sums;
  }
  /** Numbers of leading zeros. */
  clz(): Vec {
    let smeared: Vec = this.as(this.size);
    for (let by = 1; by < this.bits; by *= 2) smeared = smeared.or(smeared.shr(1, by));
    return smeared.not().popcnt();
  }
}

const laneType = (size: number) => size === 3 ? "i64" : "i32";
const amount = (n: Int | number) => typeof n === "number" ? constant("i32", n) : n;

/** A constant with `value` in every lane. */
export function every(size: number, value: bigint | number): Vec {
  const width = 8 << size, lane = BigInt.asUintN(width, BigInt(value));
  let all = 0n;
  for (let i = 0; i < 128; i += width) all |= lane << BigInt(i);
  return new Vec(v128(all), size);
}
/** A constant of 16 bytes. */
export function byteVector(bytes: ArrayLike<number>): Vec {
  let all = 0n;
  for (let i = 15; i >= 0; i--) all = (all << 8n) | BigInt(bytes[i]!);
  return new Vec(v128(all), 0);
}
/** `value` in every lane. */
export function splat(size: number, value: Int): Vec {
  const lane = value.as(laneType(size));
  return new Vec(lane.wasm("v128", `${SHAPES[size]}.splat`), size);
}

/** The low `bits` of a register with zeros above, as lanes. */
export function take(e: Builder, reg: VReg, size: number, bits: Bits = 128): Vec {
  if (bits >= 32) return new Vec(e.v(reg, bits as 32 | 64 | 128), size);
  return new Vec(e.v(reg, 32), size).and(new Vec(v128((1n << BigInt(bits)) - 1n), size));
}
/** Writes the low `bits` of a value to a register and clears the rest. */
export function put(e: Builder, reg: VReg, value: Vec, bits: Bits = 128) {
  if (bits === 128) e.setV(reg, value.x);
  else e.setD(reg, value.as(Math.log2(bits) - 3).lane(0));
}
/** Writes 64 bits: to the low half and zeros above, or (`part` 1) to the high half only. */
export function putHalf(e: Builder, reg: VReg, part: number, value: Vec) {
  const half = value.as(3).lane(0);
  if (part) e.setV64(reg, 1, half);
  else e.setD(reg, half);
}
/** Sets FPSR.QC where any bit of `mask` is set. */
export function saturatedWhere(e: Builder, mask: Vec) {
  e.orState("fpsr", mask.anyTrue().shl(27));
}
/** Sets FPSR.QC when `value` is not `exact`; returns `value`. */
export function saturated(e: Builder, value: Vec, exact: Vec): Vec {
  saturatedWhere(e, value.xor(exact));
  return value;
}
