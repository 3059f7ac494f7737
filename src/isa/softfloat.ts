// Exact floating point in software for binary16, binary32 and binary64 with Arm's semantics: FPCR rounding modes, flush to
// zero, default NaN, alternative half precision; FPSR's cumulative flags; NaN propagation. The slow path of floating-point
// instructions, for whatever the host's arithmetic cannot be trusted with. Follows the pseudocode of DDI 0487,
// shared/functions/float (Armv8.2: no FPCR.AH, FIZ, NEP, no trapped exceptions, no BFloat16); methods are named after it.
//
// Values are bigints of the format's width. Arithmetic is on exact integers: one rounding, in `#round`.

import { bitLength, CONTROL, FLAGS, type Format, integerSquareRoot, KIND, type Rounding } from "./softfloat/format.ts";
import { HALF, ROUNDING, Unpacked } from "./softfloat/format.ts";
import { recipEstimate, recipSqrtEstimate } from "./softfloat/estimate.ts";

export { CONTROL, DOUBLE, FLAGS, type Format, HALF, ROUNDING, type Rounding, SINGLE } from "./softfloat/format.ts";

/** The floating-point unit: set `fpcr`, call operations, collect `flags` (they accumulate, as in FPSR). */
export class SoftFloat {
  fpcr = 0;
  flags = 0;
  // Scratch, so that operations allocate nothing but their bigints.
  readonly #a = new Unpacked();
  readonly #b = new Unpacked();
  readonly #c = new Unpacked();
  #inexact = false;

  /** The rounding mode in FPCR. */
  get rounding(): Rounding {
    return ((this.fpcr >>> CONTROL.RMODE) & 3) as Rounding;
  }

  // ---- arithmetic

  add(format: Format, op1: bigint, op2: bigint): bigint {
    return this.#add(format, op1, op2, 0n);
  }

  sub(format: Format, op1: bigint, op2: bigint): bigint {
    return this.#add(format, op1, op2, format.signBit);
  }

  #add(format: Format, op1: bigint, op2: bigint, negate: bigint): bigint {
    const a = this.#unpack(this.#a, format, op1), b = this.#unpack(this.#b, format, op2);
    if (a.isNaN || b.isNaN) return this.#processNaNs(format, op1, op2);
    if (negate) b.sign = !b.sign;
    const infinite = a.kind === KIND.INFINITY ? a : b.kind === KIND.INFINITY ? b : undefined;
    if (infinite) {
      if (a.kind === b.kind && a.sign !== b.sign) return this.#invalid(format);
      return signed(format, infinite.sign, format.infinity);
    }
    return this.#sum(format, a, b);
  }

  /** a + b, both finite, rounded. */
  #sum(format: Format, a: Unpacked, b: Unpacked): bigint {
    if (a.kind === KIND.ZERO && b.kind === KIND.ZERO && a.sign === b.sign) return signed(format, a.sign, 0n);
    // The larger exponent may belong to a zero.
    const exponent = a.kind === KIND.ZERO
      ? b.exponent
      : b.kind === KIND.ZERO
      ? a.exponent
      : Math.min(a.exponent, b.exponent);
    const x = a.kind === KIND.ZERO ? 0n : a.significand << BigInt(a.exponent - exponent);
    const y = b.kind === KIND.ZERO ? 0n : b.significand << BigInt(b.exponent - exponent);
    const sum = (a.sign ? -x : x) + (b.sign ? -y : y);
    if (sum === 0n) return signed(format, this.rounding === ROUNDING.NEGINF, 0n);
    return this.#round(format, sum < 0n, sum < 0n ? -sum : sum, exponent);
  }

  mul(format: Format, op1: bigint, op2: bigint): bigint {
    return this.#mul(format, op1, op2, false);
  }

  /** Multiply extended: infinity times zero is 2. */
  mulX(format: Format, op1: bigint, op2: bigint): bigint {
    return this.#mul(format, op1, op2, true);
  }

  #mul(format: Format, op1: bigint, op2: bigint, extended: boolean): bigint {
    const a = this.#unpack(this.#a, format, op1), b = this.#unpack(this.#b, format, op2);
    if (a.isNaN || b.isNaN) return this.#processNaNs(format, op1, op2);
    const sign = a.sign !== b.sign;
    const infinite = a.kind === KIND.INFINITY || b.kind === KIND.INFINITY;
    const zero = a.kind === KIND.ZERO || b.kind === KIND.ZERO;
    if (infinite && zero) return extended ? signed(format, sign, two(format)) : this.#invalid(format);
    if (infinite) return signed(format, sign, format.infinity);
    if (zero) return signed(format, sign, 0n);
    return this.#round(format, sign, a.significand * b.significand, a.exponent + b.exponent);
  }

  div(format: Format, op1: bigint, op2: bigint): bigint {
    const a = this.#unpack(this.#a, format, op1), b = this.#unpack(this.#b, format, op2);
    if (a.isNaN || b.isNaN) return this.#processNaNs(format, op1, op2);
    const sign = a.sign !== b.sign;
    if (a.kind === b.kind && a.kind !== KIND.FINITE) return this.#invalid(format);
    if (a.kind === KIND.INFINITY || b.kind === KIND.ZERO) {
      if (a.kind !== KIND.INFINITY) this.flags |= FLAGS.DZC;
      return signed(format, sign, format.infinity);
    }
    if (a.kind === KIND.ZERO || b.kind === KIND.INFINITY) return signed(format, sign, 0n);
    // Enough quotient bits for any rounding; what remains is one sticky bit.
    const shift = 2 * format.fractionBits + 4, dividend = a.significand << BigInt(shift);
    const quotient = dividend / b.significand;
    const sticky = quotient * b.significand === dividend ? 0n : 1n;
    return this.#round(format, sign, (quotient << 1n) | sticky, a.exponent - b.exponent - shift - 1);
  }

  sqrt(format: Format, op: bigint): bigint {
    const a = this.#unpack(this.#a, format, op);
    if (a.isNaN) return this.#processNaN(format, op);
    if (a.kind === KIND.ZERO) return signed(format, a.sign, 0n);
    if (a.sign) return this.#invalid(format);
    if (a.kind === KIND.INFINITY) return format.infinity;
    let shift = 2 * format.fractionBits + 6;
    if ((a.exponent - shift) & 1) shift++;
    const radicand = a.significand << BigInt(shift), root = integerSquareRoot(radicand);
    const sticky = root * root === radicand ? 0n : 1n;
    return this.#round(format, false, (root << 1n) | sticky, (a.exponent - shift) / 2 - 1);
  }

  /** addend + op1 × op2 with one rounding. FMSUB and the like negate operands before. */
  mulAdd(format: Format, addend: bigint, op1: bigint, op2: bigint): bigint {
    const c = this.#unpack(this.#c, format, addend);
    const a = this.#unpack(this.#a, format, op1), b = this.#unpack(this.#b, format, op2);
    const infinite = a.kind === KIND.INFINITY || b.kind === KIND.INFINITY;
    const zero = a.kind === KIND.ZERO || b.kind === KIND.ZERO;
    if (c.isNaN || a.isNaN || b.isNaN) {
      // Infinity times zero outranks a quiet NaN as addend.
      if (c.kind === KIND.QNAN && infinite && zero) return this.#invalid(format);
      return this.#processNaNs(format, addend, op1, op2);
    }
    const sign = a.sign !== b.sign;
    if ((infinite && zero) || (c.kind === KIND.INFINITY && infinite && c.sign !== sign)) return this.#invalid(format);
    if (c.kind === KIND.INFINITY) return signed(format, c.sign, format.infinity);
    if (infinite) return signed(format, sign, format.infinity);
    return this.#sum(format, c, this.#product(a, b, sign, zero));
  }

  /** Leaves the exact product in `a`. */
  #product(a: Unpacked, b: Unpacked, sign: boolean, zero: boolean): Unpacked {
    a.kind = zero ? KIND.ZERO : KIND.FINITE;
    a.sign = sign;
    a.significand *= b.significand;
    a.exponent += b.exponent;
    return a;
  }

  // ---- minimum, maximum, comparison

  max(format: Format, op1: bigint, op2: bigint): bigint {
    return this.#extremum(format, op1, op2, true);
  }

  min(format: Format, op1: bigint, op2: bigint): bigint {
    return this.#extremum(format, op1, op2, false);
  }

  /** A number is preferred to a quiet NaN. */
  maxNum(format: Format, op1: bigint, op2: bigint): bigint {
    return this.#extremumNum(format, op1, op2, true);
  }

  minNum(format: Format, op1: bigint, op2: bigint): bigint {
    return this.#extremumNum(format, op1, op2, false);
  }

  #extremum(format: Format, op1: bigint, op2: bigint, max: boolean): bigint {
    const a = this.#unpack(this.#a, format, op1), b = this.#unpack(this.#b, format, op2);
    if (a.isNaN || b.isNaN) return this.#processNaNs(format, op1, op2);
    if (a.magnitude === 0n && b.magnitude === 0n) return signed(format, max ? a.sign && b.sign : a.sign || b.sign, 0n);
    const chosen = a.key > b.key === max ? a : b;
    return signed(format, chosen.sign, chosen.magnitude);
  }

  #extremumNum(format: Format, op1: bigint, op2: bigint, max: boolean): bigint {
    const kind1 = this.#unpack(this.#a, format, op1).kind, kind2 = this.#unpack(this.#b, format, op2).kind;
    const least = signed(format, max, format.infinity);
    if (kind1 === KIND.QNAN && kind2 !== KIND.QNAN) op1 = least;
    else if (kind2 === KIND.QNAN && kind1 !== KIND.QNAN) op2 = least;
    return this.#extremum(format, op1, op2, max);
  }

  /** NZCV in bits 3 to 0. `signalling`: quiet NaNs are invalid operands too (FCMPE). */
  compare(format: Format, op1: bigint, op2: bigint, signalling: boolean): number {
    const a = this.#unpack(this.#a, format, op1), b = this.#unpack(this.#b, format, op2);
    if (this.#unordered(a, b, signalling)) return 0b0011;
    return a.key === b.key ? 0b0110 : a.key < b.key ? 0b1000 : 0b0010;
  }

  compareEQ(format: Format, op1: bigint, op2: bigint): boolean {
    const a = this.#unpack(this.#a, format, op1), b = this.#unpack(this.#b, format, op2);
    return !this.#unordered(a, b, false) && a.key === b.key;
  }

  compareGE(format: Format, op1: bigint, op2: bigint): boolean {
    const a = this.#unpack(this.#a, format, op1), b = this.#unpack(this.#b, format, op2);
    return !this.#unordered(a, b, true) && a.key >= b.key;
  }

  compareGT(format: Format, op1: bigint, op2: bigint): boolean {
    const a = this.#unpack(this.#a, format, op1), b = this.#unpack(this.#b, format, op2);
    return !this.#unordered(a, b, true) && a.key > b.key;
  }

  /** |op1| >= |op2| (FACGE). */
  absoluteGE(format: Format, op1: bigint, op2: bigint): boolean {
    return this.compareGE(format, op1 & ~format.signBit, op2 & ~format.signBit);
  }

  /** |op1| > |op2| (FACGT). */
  absoluteGT(format: Format, op1: bigint, op2: bigint): boolean {
    return this.compareGT(format, op1 & ~format.signBit, op2 & ~format.signBit);
  }

  #unordered(a: Unpacked, b: Unpacked, signalling: boolean): boolean {
    if (!a.isNaN && !b.isNaN) return false;
    if (signalling || a.kind === KIND.SNAN || b.kind === KIND.SNAN) this.flags |= FLAGS.IOC;
    return true;
  }

  // ---- conversion

  /** To an integral value in the same format. `exact`: inexact results are flagged (FRINTX). */
  roundInt(format: Format, op: bigint, rounding: Rounding, exact: boolean): bigint {
    const a = this.#unpack(this.#a, format, op);
    if (a.isNaN) return this.#processNaN(format, op);
    if (a.kind === KIND.INFINITY) return op;
    if (a.kind === KIND.ZERO) return signed(format, a.sign, 0n);
    const integer = this.#toInteger(a, 0, rounding);
    if (this.#inexact && exact) this.flags |= FLAGS.IXC;
    return integer === 0n ? signed(format, a.sign, 0n) : this.#round(format, a.sign, integer, 0, ROUNDING.ZERO);
  }

  /** To another format. */
  convert(from: Format, to: Format, op: bigint, rounding: Rounding = this.rounding): bigint {
    const alternative = to === HALF && (this.fpcr & CONTROL.AHP) !== 0;
    const a = this.#unpack(this.#a, from, op, true);
    if (a.isNaN) {
      if (a.kind === KIND.SNAN || alternative) this.flags |= FLAGS.IOC;
      if (alternative) return signed(to, a.sign, 0n);
      if (this.fpcr & CONTROL.DN) return to.defaultNaN;
      const fraction = op & from.fractionMask, shift = to.shift - from.shift;
      return signed(to, a.sign, to.defaultNaN | (shift < 0n ? fraction >> -shift : fraction << shift));
    }
    if (a.kind === KIND.INFINITY) {
      if (!alternative) return signed(to, a.sign, to.infinity);
      this.flags |= FLAGS.IOC;
      return signed(to, a.sign, to.signBit - 1n);
    }
    if (a.kind === KIND.ZERO) return signed(to, a.sign, 0n);
    return this.#round(to, a.sign, a.significand, a.exponent, rounding, true);
  }

  /** To an integer of `width` bits with `fractionBits` fraction bits, saturating; the result is `width` raw bits. */
  toFixed(
    format: Format,
    op: bigint,
    width: number,
    fractionBits: number,
    unsigned: boolean,
    rounding: Rounding,
  ): bigint {
    const a = this.#unpack(this.#a, format, op);
    if (a.isNaN) {
      this.flags |= FLAGS.IOC;
      return 0n;
    }
    if (a.kind === KIND.ZERO) return 0n;
    const bits = BigInt(width), max = unsigned ? (1n << bits) - 1n : (1n << (bits - 1n)) - 1n;
    const limit = a.sign ? (unsigned ? 0n : max + 1n) : max;
    const infinite = a.kind === KIND.INFINITY;
    const integer = infinite ? limit + 1n : this.#toInteger(a, fractionBits, rounding);
    if (integer > limit) this.flags |= FLAGS.IOC;
    else if (this.#inexact) this.flags |= FLAGS.IXC;
    const magnitude = integer > limit ? limit : integer;
    return BigInt.asUintN(width, a.sign ? -magnitude : magnitude);
  }

  /** From `width` raw bits with `fractionBits` fraction bits. */
  fromFixed(format: Format, op: bigint, width: number, fractionBits: number, unsigned: boolean): bigint {
    const value = unsigned ? BigInt.asUintN(width, op) : BigInt.asIntN(width, op);
    if (value === 0n) return 0n;
    return this.#round(format, value < 0n, value < 0n ? -value : value, -fractionBits);
  }

  /** The magnitude of a × 2^fractionBits as an integer; #inexact tells whether it was rounded. */
  #toInteger(a: Unpacked, fractionBits: number, rounding: Rounding): bigint {
    const exponent = a.exponent + fractionBits;
    this.#inexact = false;
    if (exponent >= 0) return a.significand << BigInt(exponent);
    const shift = BigInt(-exponent), integer = a.significand >> shift, error = a.significand - (integer << shift);
    if (error === 0n) return integer;
    this.#inexact = true;
    return isRoundedUp(rounding, a.sign, integer, error, 1n << (shift - 1n)) ? integer + 1n : integer;
  }

  // ---- estimates and Newton steps

  /** FRECPE: about 1 / op, 8 bits. */
  recipEstimate(format: Format, op: bigint): bigint {
    const a = this.#unpack(this.#a, format, op);
    if (a.isNaN) return this.#processNaN(format, op);
    if (a.kind === KIND.INFINITY) return signed(format, a.sign, 0n);
    if (a.kind === KIND.ZERO) {
      this.flags |= FLAGS.DZC;
      return signed(format, a.sign, format.infinity);
    }
    const exponent = bitLength(a.significand) - 1 + a.exponent;
    // Below a quarter of the smallest normal number 1 / op overflows.
    if (exponent < format.minNormal - 2) {
      this.flags |= FLAGS.OFC | FLAGS.IXC;
      return signed(format, a.sign, isOverflowInfinite(this.rounding, a.sign) ? format.infinity : format.maxNormal);
    }
    if (this.#flushes(format) && exponent >= -format.minNormal) {
      this.flags |= FLAGS.UFC;
      return signed(format, a.sign, 0n);
    }
    return signed(format, a.sign, recipEstimate(format, a.magnitude));
  }

  /** FRSQRTE: about 1 / sqrt(op), 8 bits. */
  recipSqrtEstimate(format: Format, op: bigint): bigint {
    const a = this.#unpack(this.#a, format, op);
    if (a.isNaN) return this.#processNaN(format, op);
    if (a.kind === KIND.ZERO) {
      this.flags |= FLAGS.DZC;
      return signed(format, a.sign, format.infinity);
    }
    if (a.sign) return this.#invalid(format);
    if (a.kind === KIND.INFINITY) return 0n;
    return recipSqrtEstimate(format, a.magnitude);
  }

  /** FRECPX: reciprocal exponent. */
  recipExponent(format: Format, op: bigint): bigint {
    const a = this.#unpack(this.#a, format, op);
    if (a.isNaN) return this.#processNaN(format, op);
    const exponent = op & format.infinity;
    return signed(
      format,
      a.sign,
      exponent ? exponent ^ format.infinity : BigInt(format.maxExponent - 1) << format.shift,
    );
  }

  /** FRECPS: 2 - op1 × op2, fused. */
  recipStep(format: Format, op1: bigint, op2: bigint): bigint {
    return this.#step(format, op1 ^ format.signBit, op2, two(format), 2n, 0);
  }

  /** FRSQRTS: (3 - op1 × op2) / 2, fused. */
  recipSqrtStep(format: Format, op1: bigint, op2: bigint): bigint {
    return this.#step(format, op1 ^ format.signBit, op2, format.one | format.quietBit, 3n, -1);
  }

  /** (constant + op1 × op2) × 2^scale; `special` is the result for infinity times zero. */
  #step(format: Format, op1: bigint, op2: bigint, special: bigint, constant: bigint, scale: number): bigint {
    const a = this.#unpack(this.#a, format, op1), b = this.#unpack(this.#b, format, op2);
    if (a.isNaN || b.isNaN) return this.#processNaNs(format, op1, op2);
    const infinite = a.kind === KIND.INFINITY || b.kind === KIND.INFINITY;
    const zero = a.kind === KIND.ZERO || b.kind === KIND.ZERO;
    if (infinite) return zero ? special : signed(format, a.sign !== b.sign, format.infinity);
    const c = this.#c;
    c.kind = KIND.FINITE;
    c.sign = false;
    c.significand = constant;
    c.exponent = scale;
    const product = this.#product(a, b, a.sign !== b.sign, zero);
    product.exponent += scale;
    return this.#sum(format, c, product);
  }

  // ---- NaNs

  /** FPProcessNaN(). */
  #processNaN(format: Format, op: bigint): bigint {
    if (!(op & format.quietBit)) this.flags |= FLAGS.IOC;
    return this.fpcr & CONTROL.DN ? format.defaultNaN : op | format.quietBit;
  }

  /** FPProcessNaNs() and FPProcessNaNs3(): the first signalling NaN, else the first quiet one. */
  #processNaNs(format: Format, op1: bigint, op2: bigint, op3 = 0n): bigint {
    const chosen = isSignalling(format, op1)
      ? op1
      : isSignalling(format, op2)
      ? op2
      : isSignalling(format, op3)
      ? op3
      : isNaN(format, op1)
      ? op1
      : isNaN(format, op2)
      ? op2
      : op3;
    return this.#processNaN(format, chosen);
  }

  #invalid(format: Format): bigint {
    this.flags |= FLAGS.IOC;
    return format.defaultNaN;
  }

  // ---- taking apart and rounding

  #flushes(format: Format): boolean {
    return (this.fpcr & (format.width === 16 ? CONTROL.FZ16 : CONTROL.FZ)) !== 0;
  }

  /** FPUnpack(), or FPUnpackCV() for `conversion`: alternative half precision, and FZ16 without effect. */
  #unpack(out: Unpacked, format: Format, op: bigint, conversion = false): Unpacked {
    const fraction = op & format.fractionMask, exponent = Number((op >> format.shift) & BigInt(format.maxExponent));
    out.sign = (op & format.signBit) !== 0n;
    out.magnitude = op & (format.signBit - 1n);
    out.significand = fraction;
    const half = format.width === 16;
    if (exponent === 0) {
      out.kind = fraction === 0n ? KIND.ZERO : KIND.FINITE;
      out.exponent = format.minNormal - format.fractionBits;
      if (fraction !== 0n && this.#flushes(format) && !(half && conversion)) {
        // A half-precision input is flushed without telling.
        if (!half) this.flags |= FLAGS.IDC;
        out.kind = KIND.ZERO;
        out.magnitude = out.significand = 0n;
      }
    } else if (exponent === format.maxExponent && !(half && conversion && this.fpcr & CONTROL.AHP)) {
      out.kind = fraction === 0n ? KIND.INFINITY : fraction & format.quietBit ? KIND.QNAN : KIND.SNAN;
    } else {
      out.kind = KIND.FINITE;
      out.significand |= 1n << format.shift;
      out.exponent = format.minNormal - format.fractionBits + exponent - 1;
    }
    return out;
  }

  /** FPRoundBase(): significand × 2^scale (not zero), rounded. `conversion` as for #unpack. */
  #round(
    format: Format,
    sign: boolean,
    significand: bigint,
    scale: number,
    rounding: Rounding = this.rounding,
    conversion = false,
  ): bigint {
    const half = format.width === 16, exponent = scale + bitLength(significand) - 1;
    const tiny = exponent < format.minNormal;
    // Tininess is detected before rounding.
    if (tiny && this.#flushes(format) && !(half && conversion)) {
      this.flags |= FLAGS.UFC;
      return signed(format, sign, 0n);
    }
    const shift = (tiny ? format.minNormal : exponent) - format.fractionBits - scale;
    let integer = significand << BigInt(-shift), inexact = false;
    if (shift > 0) {
      const s = BigInt(shift);
      integer = significand >> s;
      const error = significand - (integer << s);
      if (error !== 0n) {
        inexact = true;
        if (tiny) this.flags |= FLAGS.UFC;
        if (rounding === ROUNDING.ODD) integer |= 1n;
        else if (isRoundedUp(rounding, sign, integer, error, 1n << (s - 1n))) integer++;
      }
    }
    // The hidden bit of a normal number and a carry out of the fraction both add to the exponent field.
    const biased = tiny ? 0 : exponent - format.minNormal;
    let result = (BigInt(biased) << format.shift) + integer;
    if (half && conversion && this.fpcr & CONTROL.AHP) {
      if (result >= format.signBit) {
        this.flags |= FLAGS.IOC;
        return signed(format, sign, format.signBit - 1n);
      }
    } else if (result >= format.infinity) {
      this.flags |= FLAGS.OFC;
      result = isOverflowInfinite(rounding, sign) ? format.infinity : format.maxNormal;
      inexact = true;
    }
    if (inexact) this.flags |= FLAGS.IXC;
    return signed(format, sign, result);
  }
}

const signed = (format: Format, sign: boolean, magnitude: bigint): bigint =>
  sign ? magnitude | format.signBit : magnitude;
const two = (format: Format): bigint => format.one + format.fractionMask + 1n;
const isNaN = (format: Format, op: bigint): boolean => (op & (format.signBit - 1n)) > format.infinity;
const isSignalling = (format: Format, op: bigint): boolean => isNaN(format, op) && !(op & format.quietBit);

/** Whether the magnitude `integer` + `error` (not zero, `half` is one half) goes to the next integer. */
function isRoundedUp(rounding: Rounding, sign: boolean, integer: bigint, error: bigint, half: bigint): boolean {
  switch (rounding) {
    case ROUNDING.TIEEVEN:
      return error > half || (error === half && (integer & 1n) === 1n);
    case ROUNDING.POSINF:
      return !sign;
    case ROUNDING.NEGINF:
      return sign;
    case ROUNDING.TIEAWAY:
      return error >= half;
    default:
      return false;
  }
}

function isOverflowInfinite(rounding: Rounding, sign: boolean): boolean {
  return rounding === ROUNDING.POSINF ? !sign : rounding === ROUNDING.NEGINF ? sign : rounding === ROUNDING.TIEEVEN;
}
