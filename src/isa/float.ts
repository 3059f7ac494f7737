// Floating-point operations for instruction semantics, exact under every FPCR, FPSR's cumulative flags included. What Wasm
// computes is used where it is provably right; everything else goes to software (softfloat.ts):
// - rounding to nearest, no flushing of denormals, FPSR.IXC already set, result normal: nothing else can be flagged;
// - an exact result is right and flags nothing, whether IXC is set or not. The error of a sum or product is itself a
//   number (Knuth's TwoSum, Dekker's TwoProduct), so that exactness can be seen;
// - with FPCR.FZ the same holds as long as no denormal number occurs.

import { constant, type Flags, i64, type Int } from "./ir.ts";
import { ROUNDING, type Rounding } from "./softfloat.ts";
import type { OperationName } from "./softfloat/operations.ts";
import {
  demote,
  Fp,
  fromRaw,
  FZ,
  joinHalves,
  joinMasks,
  type Lanes,
  Mask,
  promote,
  type Raw,
  RMODE,
} from "./float/lanes.ts";
import { splat, Vec } from "./vector.ts";

import type { Width } from "./float/lanes.ts";
export { Lanes, type Raw, type Width } from "./float/lanes.ts";

/** An operation on elements of one format. */
export type FloatOp = (u: Lanes, ...operands: Raw[]) => Raw;

// ---- arithmetic

interface Result {
  readonly value: Fp;
  /** Right when inexactness need not be told. */
  readonly safe: Mask;
  /** Evaluated only where `safe` does not settle it: right, and exact. */
  readonly exact: () => Mask;
}

function arithmetic(name: OperationName, compute: (u: Lanes, ...x: Fp[]) => Result): FloatOp {
  return (u, ...operands) => {
    const soft = () => u.soft(name, operands);
    if (!u.isNative) return soft();
    const x = operands.map((raw) => u.let(u.float(raw))), { value, safe, exact } = compute(u, ...x);
    const second = () => {
      const right = exact(), settled = u.all(right).or(u.isInexact.and(u.all(safe.or(right))));
      const unflushed = u.without(FZ).or(u.unflushable(value, ...x));
      return u.choose(u.without(RMODE).and(settled).and(unflushed), () => value.raw(), soft);
    };
    return u.choose(u.steady(RMODE | FZ).and(u.all(safe)), () => value.raw(), second);
  };
}

/** a + b = sum + error exactly. */
function twoSum(u: Lanes, a: Fp, b: Fp): [sum: Fp, error: Fp] {
  const sum = u.let(a.add(b)), part = u.let(sum.sub(a));
  return [sum, u.let(a.sub(sum.sub(part)).add(b.sub(part)))];
}
/** a × b = product + error exactly, unless something overflows (the error is not finite then) or the product is tiny. */
function twoProduct(u: Lanes, a: Fp, b: Fp): [product: Fp, error: Fp] {
  const split = (x: Fp): [Fp, Fp] => {
    const scaled = u.let(x.mul(x.every(x.facts.splitter))), high = u.let(scaled.sub(scaled.sub(x)));
    return [high, u.let(x.sub(high))];
  };
  const product = u.let(a.mul(b)), [a1, a0] = split(a), [b1, b0] = split(b);
  return [product, u.let(a1.mul(b1).sub(product).add(a1.mul(b0)).add(a0.mul(b1)).add(a0.mul(b0)))];
}

export const add: FloatOp = arithmetic("add", (u, a, b) => {
  const value = u.let(a.add(b));
  return { value, safe: value.isFinite(), exact: () => value.sub(a).eq(b).and(value.sub(b).eq(a)) };
});
export const sub: FloatOp = arithmetic("sub", (u, a, b) => {
  const value = u.let(a.sub(b));
  return { value, safe: value.isFinite(), exact: () => value.add(b).eq(a).and(a.sub(value).eq(b)) };
});
const product = (u: Lanes, a: Fp, b: Fp): Result => {
  const value = u.let(a.mul(b));
  const exact = () => {
    const [, error] = twoProduct(u, a, b);
    return error.isZero().and(value.isAtLeast(a.facts.minProduct))
      .or(value.isZero().and(a.isZero().or(b.isZero())));
  };
  return { value, safe: value.isSafelyNormal(), exact };
};
export const mul: FloatOp = arithmetic("mul", product);
export const mulX: FloatOp = arithmetic("mulX", product);
export const div: FloatOp = arithmetic("div", (u, a, b) => {
  const value = u.let(a.div(b));
  const exact = () => {
    const [back, error] = twoProduct(u, value, b);
    return back.eq(a).and(error.isZero()).and(a.isAtLeast(a.facts.minProduct)).or(value.isZero().and(a.isZero()));
  };
  return { value, safe: value.isSafelyNormal(), exact };
});
export const sqrt: FloatOp = arithmetic("sqrt", (u, a) => {
  const value = u.let(a.sqrt());
  const exact = () => {
    const [back, error] = twoProduct(u, value, value);
    return back.eq(a).and(error.isZero()).and(a.isAtLeast(a.facts.minProduct)).or(a.isZero());
  };
  return { value, safe: value.isSafelyNormal(), exact };
});

// ---- fused multiply-add

const multiplyAdd = (u: Lanes, c: Fp, a: Fp, b: Fp): Result =>
  u.width === 64 ? fusedDouble(u, c, a, b) : fusedSingle(u, c, a, b);

/** c + ab in double precision: Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", with rounding to odd. */
function fusedDouble(u: Lanes, c: Fp, a: Fp, b: Fp): Result {
  const [high, low] = twoProduct(u, a, b), [middle, tail] = twoSum(u, c, low), [top, rest] = twoSum(u, high, middle);
  const [nearest, error] = twoSum(u, tail, rest), odd = u.let(toOdd(u, nearest, error));
  const sum = u.let(top.add(odd));
  // The sign of a zero is lost on the way.
  const zero = u.let(sum.isZero()), value = u.let(selectFloat(u, zero, high.add(c), sum));
  const trusted = u.let(high.isAtLeast(a.facts.minProduct));
  return {
    value,
    safe: trusted.and(value.isSafelyNormal()),
    exact: () =>
      trusted.or(a.isZero().or(b.isZero())).and(error.isZero()).and(sum.sub(top).eq(odd)).and(sum.sub(odd).eq(top)),
  };
}
/** The neighbour of x on the side of the error whose last bit is one, where there is an error. */
function toOdd(u: Lanes, x: Fp, error: Fp): Fp {
  const bits = u.letRaw(x.raw()), sign = u.letRaw(error.raw()), inexact = error.ne(error.every(0)).raw();
  if (bits instanceof Vec) {
    const step = bits.xor(sign as Vec).shr(0, 63).or(bits.every(1));
    const even = bits.and(bits.every(1)).sub(bits.every(1));
    return fromRaw(bits.add(step.and(even).and(inexact as Vec)), 64);
  }
  const step = bits.xor(sign as Int).shrS(63).or(1), even = bits.and(1).sub(1);
  return fromRaw(bits.add(step.and(even).and(inexact as Int)), 64);
}
function selectFloat(u: Lanes, condition: Mask, a: Fp, b: Fp): Fp {
  if (u.vectorBits) {
    return fromRaw(new Vec(condition.x, u.size).select(new Vec(a.x, u.size), new Vec(b.x, u.size)), u.width as 32 | 64);
  }
  return u.float((a.raw() as Int).select(condition.x as Int, b.raw() as Int));
}

/** c + ab in single precision: in double precision the product is exact, and the sum is rounded twice rightly unless the
 * first rounding ends half-way between two numbers. */
function fusedSingle(u: Lanes, c: Fp, a: Fp, b: Fp): Result {
  const parts = (u.vectorBits === 128 ? [0, 1] : [0]).map((part) => {
    const [x, y, z] = [a, b, c].map((v) => u.let(promote(v, part))) as [Fp, Fp, Fp];
    const ab = u.let(x.mul(y)), sum = u.let(ab.add(z)), narrow = u.let(demote(sum));
    return {
      narrow,
      safe: u.let(isHalfway(sum).not()),
      exact: () => u.let(sum.sub(ab).eq(z).and(sum.sub(z).eq(ab)).and(promote(narrow).eq(sum))),
    };
  });
  const [low, high = low] = parts as [typeof parts[number], typeof parts[number]];
  const join = (x: Mask, y: Mask) => u.vectorBits ? joinMasks(x, y) : x;
  const value = u.vectorBits === 128 ? u.let(joinHalves(low.narrow, high.narrow)) : low.narrow;
  return {
    value,
    safe: join(low.safe, high.safe).and(value.isSafelyNormal()),
    exact: () => join(low.exact(), high.exact()),
  };
}
/** Whether a double is in the middle between two numbers of single precision (of the normal range). */
function isHalfway(x: Fp): Mask {
  const bits = x.raw(), below = (1n << 29n) - 1n, half = 1n << 28n;
  return bits instanceof Vec
    ? new Mask(bits.and(bits.every(below)).eq(bits.every(half)).x, x.shape)
    : new Mask(bits.and(below).eq(half), x.shape);
}

/** (addend, op1, op2) */
export const mulAdd: FloatOp = arithmetic("mulAdd", multiplyAdd);
/** 2 - ab, for reciprocals. */
export const recipStep: FloatOp = arithmetic("recipStep", (u, a, b) => multiplyAdd(u, a.every(2), u.let(a.neg()), b));
/** (3 - ab) / 2, for reciprocal square roots. */
export const recipSqrtStep: FloatOp = arithmetic("recipSqrtStep", (u, a, b) => {
  const whole = multiplyAdd(u, a.every(3), u.let(a.neg()), b), value = u.let(whole.value.mul(a.every(0.5)));
  // Halving is exact unless it leaves the normal range.
  return {
    value,
    safe: whole.safe.and(value.isSafelyNormal()),
    exact: () => whole.exact().and(value.isSafelyNormal().or(value.isZero())),
  };
});

// ---- minimum, maximum, comparison

function extremum(name: "max" | "min" | "maxNum" | "minNum"): FloatOp {
  return (u, a, b) => {
    const soft = () => u.soft(name, [a, b]);
    if (!u.isNative) return soft();
    const x = u.float(a), y = u.float(b), value = u.let(name.startsWith("max") ? x.max(y) : x.min(y));
    return u.chooseUnflushed(u.all(value.isNumber()), [x, y], () => value.raw(), soft);
  };
}
export const max: FloatOp = extremum("max"), min: FloatOp = extremum("min");
/** A number is preferred to a quiet NaN. */
export const maxNum: FloatOp = extremum("maxNum"), minNum: FloatOp = extremum("minNum");

/** Ones in elements that compare so, else zeros. */
function comparison(name: "compareEQ" | "compareGE" | "compareGT" | "absoluteGE" | "absoluteGT"): FloatOp {
  return (u, a, b) => {
    const soft = () => u.soft(name, [a, b]);
    if (!u.isNative) return soft();
    const [x, y] = [a, b].map((raw) => u.let(u.float(name.startsWith("abs") ? u.abs(raw) : raw))) as [Fp, Fp];
    const holds = name.endsWith("EQ") ? x.eq(y) : name.endsWith("GE") ? x.ge(y) : x.gt(y);
    return u.chooseUnflushed(u.all(x.isNumber().and(y.isNumber())), [x, y], () => holds.raw(), soft);
  };
}
export const compareEQ: FloatOp = comparison("compareEQ"), compareGE: FloatOp = comparison("compareGE");
export const compareGT: FloatOp = comparison("compareGT");
export const absoluteGE: FloatOp = comparison("absoluteGE"), absoluteGT: FloatOp = comparison("absoluteGT");
/** The same operation with its operands exchanged, and compared with zero. */
export const swapped = (op: FloatOp): FloatOp => (u, a, b) => op(u, b, a);

/** The order of two scalars as i64: -1, 0, 1, or 2 when unordered. */
export function order(u: Lanes, a: Int, b: Int, signalling: boolean): Int {
  const soft = () => {
    const [nzcv] = u.softEach(signalling ? "compareSignalling" : "compare", [a, b]) as [Int];
    // 1000, 0110, 0010 and 0011.
    return i64(-1).select(nzcv.eq(8), i64(0).select(nzcv.eq(6), nzcv.sub(1)));
  };
  if (!u.isNative) return soft();
  const x = u.let(u.float(a)), y = u.let(u.float(b));
  const difference = () => u.all(x.gt(y)).sub(u.all(x.lt(y))).s64();
  return u.chooseUnflushed(u.all(x.isNumber().and(y.isNumber())), [x, y], difference, soft) as Int;
}
/** NZCV of an order. */
export const orderFlags = (order: Int): Flags => ({
  nf: order,
  zf: order,
  cf: order.geS(0).u64(),
  // Bit 63 of 2 << 62 only.
  vf: order.xor(order.shl(62)),
});

// ---- rounding and conversion

const DIRECTIONS = ["nearest", "ceil", "floor", "trunc"] as const;
function rounded(x: Fp, rounding: Rounding): Fp {
  return rounding === ROUNDING.TIEAWAY ? x.roundAway() : x.round(DIRECTIONS[rounding as 0]);
}

/** To an integral number, in the direction that is given, else in FPCR's; `flagged`: what is inexact sets FPSR.IXC. */
export function roundIntegral(rounding?: Rounding, flagged = false): FloatOp {
  return (u, a) => {
    const soft = () => u.soft(flagged ? "roundIntExact" : "roundInt", [a], rounding === undefined ? {} : { rounding });
    if (!u.isNative) return soft();
    const x = u.let(u.float(a)), value = u.let(rounded(x, rounding ?? ROUNDING.TIEEVEN));
    // Denormal numbers may have to be flushed.
    const same = value.eq(x), plain = u.all(same.or(x.isAtLeast(x.facts.minNormal)));
    const right = flagged
      ? u.all(same).or(u.steady(RMODE).and(plain))
      : rounding === undefined
      ? u.without(RMODE).and(plain)
      : plain;
    return u.choose(right, () => value.raw(), soft);
  };
}

/** Fixed-point and integer numbers. */
export interface Fixed {
  readonly width: Width;
  readonly unsigned: boolean;
  /** Number of fraction bits (i32). */
  readonly scale?: Int | undefined;
}
/** 2 to the power of ±n, of the same shape as x. */
function power(x: Fp, n: Int, sign: 1 | -1): Fp {
  const { fractionBits, maxExponent } = x.facts, bias = constant("i32", maxExponent >> 1);
  const exponent = sign > 0 ? bias.add(n) : bias.sub(n);
  const bits = fractionBits === 52 ? exponent.u64().shl(52) : exponent.shl(23);
  return fromRaw(
    x.raw() instanceof Vec ? splat(fractionBits === 52 ? 3 : 2, bits) : bits,
    fractionBits === 52 ? 64 : 32,
  );
}

/** To fixed point, saturating. Elements of a vector keep their width. */
export function toFixed(u: Lanes, a: Raw, rounding: Rounding, { width, unsigned, scale }: Fixed): Raw {
  const type = width === 64 ? "i64" : "i32", sign = unsigned ? "u" : "s";
  const soft = () => {
    const results = u.softEach(unsigned ? "toUnsigned" : "toSigned", [a], {
      rounding,
      width,
      ...(scale ? { scale } : {}),
    });
    return u.vectorBits ? u.join(results) : results[0]!.as(type);
  };
  if (!u.isNative) return soft();
  const number = u.let(u.float(a)), x = u.vectorBits || u.width === 64 ? number : promote(number);
  const scaled = u.let(scale ? x.mul(power(x, scale, 1)) : x), value = u.let(rounded(scaled, rounding));
  const limit = 2 ** (unsigned ? width : width - 1);
  const inRange = u.all(value.ge(x.every(unsigned ? 0 : -limit)).and(value.lt(x.every(limit))));
  const exact = u.all(value.eq(scaled));
  const convert = (y: Fp): Int => y.x.wasm(type, `${type}.trunc_sat_f64_${sign}`) as Int;
  return u.chooseUnflushed(inRange.and(exact.or(u.isInexact)), [number], () => {
    if (!u.vectorBits) return convert(value);
    if (u.width === 64) return u.join([convert(value.lane(0)), convert(value.lane(1))]);
    return new Vec(value.x.wasm("v128", `i32x4.trunc_sat_f32x4_${sign}`), 2);
  }, soft);
}

/** From fixed point. Elements of a vector keep their width. */
export function fromFixed(u: Lanes, a: Raw, { width, unsigned, scale }: Fixed): Raw {
  const sign = unsigned ? "u" : "s";
  const soft = () => u.soft(unsigned ? "fromUnsigned" : "fromSigned", [a], { width, ...(scale ? { scale } : {}) });
  if (!u.isNative) return soft();
  const shape = u.width === 64 ? "f64" : "f32", digits = u.width === 64 ? 53 : 24;
  const scalar = (x: Int) => new Fp(x.wasm(shape, `${shape}.convert_${x.type}_${sign}`), shape);
  const convert = () => {
    if (!(a instanceof Vec)) return scalar(a);
    if (u.width === 64) return u.float(u.join([scalar(a.lane(0)).raw() as Int, scalar(a.lane(1)).raw() as Int]));
    return new Fp(a.x.wasm("v128", `f32x4.convert_i32x4_${sign}`), "f32x4");
  };
  const x = convert(), value = () => (scale ? x.mul(power(x, scale, -1)) : x).raw();
  if (width < digits) return value();
  // Numbers of few digits are exact.
  const exact = a instanceof Vec
    ? u.all(
      new Mask(
        (unsigned ? a : a.add(a.every(2 ** digits))).gt(1, a.every(2 ** (digits + (unsigned ? 0 : 1)))).not().x,
        x.shape,
      ),
    )
    : unsigned
    ? a.leU(2 ** digits)
    : a.add(2 ** digits).leU(2 ** (digits + 1));
  return u.choose(exact.or(u.steady(RMODE)), value, soft);
}

/** To another format: from elements of `u` to those of `to`, of which there are as many. */
export function convert(u: Lanes, to: Lanes, a: Raw, rounding?: Rounding): Raw {
  const soft = () =>
    to.join(u.softEach("convert", [a], { to: to.width, ...(rounding === undefined ? {} : { rounding }) }));
  if (!u.isNative || !to.isNative || rounding !== undefined) return soft();
  const x = u.let(u.float(a));
  if (to.width === 64) {
    const value = to.let(promote(x));
    return u.chooseUnflushed(to.all(value.isNumber()), [x], () => value.raw(), soft);
  }
  const value = to.let(demote(x)), safe = to.let(value.isSafelyNormal());
  // Results that are not flushed come from numbers that are not.
  const second = () => {
    const same = promote(value).eq(x), exact = to.let(u.vectorBits ? joinMasks(same, same) : same);
    const settled = to.all(exact).or(to.steady(RMODE).and(to.all(safe.or(exact))));
    return to.choose(settled.and(to.without(FZ).or(to.unflushable(value))), () => value.raw(), soft);
  };
  return to.choose(to.steady(RMODE | FZ).and(to.all(safe)), () => value.raw(), second);
}

// ---- what is left to software

const software = (name: OperationName): FloatOp => (u, ...operands) => u.soft(name, operands);
export const recipEstimate: FloatOp = software("recipEstimate");
export const recipSqrtEstimate: FloatOp = software("recipSqrtEstimate");
export const recipExponent: FloatOp = software("recipExponent");
/** On 32-bit integers. */
export const unsignedRecipEstimate: FloatOp = software("unsignedRecipEstimate");
export const unsignedRecipSqrtEstimate: FloatOp = software("unsignedRecipSqrtEstimate");
