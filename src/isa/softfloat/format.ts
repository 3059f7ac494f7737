// Formats and control bits of Arm floating point (IEEE 754 binary16, binary32 and binary64), and values taken apart.
// DDI 0487, "The Floating-point Control Register" and shared/functions/float.

/** One of the three formats. Values are bigints of `width` bits. */
export interface Format {
  readonly width: 16 | 32 | 64;
  readonly fractionBits: number;
  /** Exponent field of infinities and NaNs. */
  readonly maxExponent: number;
  /** Exponent (of a significand in [1, 2)) of the smallest normal number. */
  readonly minNormal: number;
  readonly shift: bigint;
  readonly fractionMask: bigint;
  readonly signBit: bigint;
  /** Set in quiet NaNs. */
  readonly quietBit: bigint;
  readonly infinity: bigint;
  readonly maxNormal: bigint;
  readonly defaultNaN: bigint;
  readonly one: bigint;
}

function format(width: 16 | 32 | 64, exponentBits: number): Format {
  const fractionBits = width - 1 - exponentBits, shift = BigInt(fractionBits);
  const maxExponent = 2 ** exponentBits - 1, infinity = BigInt(maxExponent) << shift;
  return {
    width,
    fractionBits,
    maxExponent,
    minNormal: 2 - 2 ** (exponentBits - 1),
    shift,
    fractionMask: (1n << shift) - 1n,
    signBit: 1n << BigInt(width - 1),
    quietBit: 1n << (shift - 1n),
    infinity,
    maxNormal: infinity - 1n,
    defaultNaN: infinity | (1n << (shift - 1n)),
    one: BigInt(2 ** (exponentBits - 1) - 1) << shift,
  };
}

export const HALF = format(16, 5), SINGLE = format(32, 8), DOUBLE = format(64, 11);

/** Cumulative exception bits, as in FPSR. */
export const FLAGS = { IOC: 1, DZC: 2, OFC: 4, UFC: 8, IXC: 16, IDC: 128 } as const;
/** Control bits, as in FPCR. RMODE is the position of the two-bit field. */
export const CONTROL = { FZ16: 1 << 19, RMODE: 22, FZ: 1 << 24, DN: 1 << 25, AHP: 1 << 26 } as const;
/** Rounding modes: the first four as FPCR.RMode encodes them. */
export const ROUNDING = { TIEEVEN: 0, POSINF: 1, NEGINF: 2, ZERO: 3, TIEAWAY: 4, ODD: 5 } as const;
export type Rounding = typeof ROUNDING[keyof typeof ROUNDING];

export const KIND = { ZERO: 0, FINITE: 1, INFINITY: 2, QNAN: 3, SNAN: 4 } as const;

/** A floating-point value taken apart: for KIND.FINITE it is significand × 2^exponent with the sign. */
export class Unpacked {
  kind = 0;
  sign = false;
  significand = 0n;
  exponent = 0;
  /** The bits below the sign, 0 for a flushed denormal: orders magnitudes. */
  magnitude = 0n;

  get isNaN(): boolean {
    return this.kind >= KIND.QNAN;
  }
  /** Orders numbers like integers: -0 equals +0. */
  get key(): bigint {
    return this.sign ? -this.magnitude : this.magnitude;
  }
}

const LARGE = 1n << 1000n;

/** Number of bits of `x` > 0. */
export function bitLength(x: bigint): number {
  let n = 0;
  while (x >= LARGE) {
    x >>= 512n;
    n += 512;
  }
  if (x < 0x1_0000_0000n) return n + 32 - Math.clz32(Number(x));
  // Number() rounds, at worst up to the next power of two.
  const estimate = Math.floor(Math.log2(Number(x)));
  return n + estimate + (x >> BigInt(estimate) === 0n ? 0 : 1);
}

/** Floor of the square root of `x` > 0, x < 2^1000. */
export function integerSquareRoot(x: bigint): bigint {
  let root = BigInt(Math.floor(Math.sqrt(Number(x))));
  // From 50 good bits, Newton's method has more than 90 after one step.
  root = (root + x / root) >> 1n;
  root = (root + x / root) >> 1n;
  while (root * root > x) root--;
  while ((root + 1n) * (root + 1n) <= x) root++;
  return root;
}
