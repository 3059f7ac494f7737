// A seeded random number generator and the operand values that tests like: the same seed gives the same cases.

import type { Format } from "../../src/isa/softfloat.ts";

/** mulberry32. */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }
  /** 32 random bits. */
  u32(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }
  /** 0 .. n - 1. */
  below(n: number): number {
    return Math.floor((this.u32() / 2 ** 32) * n);
  }
  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }
  bits(width: number): bigint {
    return BigInt.asUintN(width, this.u64());
  }
  bytes(n: number): Uint8Array<ArrayBuffer> {
    return Uint8Array.from({ length: n }, () => this.u32());
  }
  /** True once in `n`. */
  once(n: number): boolean {
    return this.below(n) === 0;
  }
  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }

  /** An integer of `width` bits: edges, small ones, powers of two and neighbours, runs of ones, noise. */
  integer(width: number): bigint {
    const value = (): bigint => {
      switch (this.below(8)) {
        case 0:
          return this.pick([0n, 1n, -1n, 1n << BigInt(width - 1), (1n << BigInt(width - 1)) - 1n]);
        case 1:
          return BigInt(this.below(256)) - 128n;
        case 2:
          return (1n << BigInt(this.below(width))) + BigInt(this.below(3)) - 1n;
        case 3:
          return this.u64() >> BigInt(this.below(64));
        case 4:
          return -(this.u64() >> BigInt(this.below(64)));
        case 5:
          // The same pattern in every 32, 16 or 8 bits.
          return this.pick([0x1_0000_0001n, 0x1_0001_0001_0001n, 0x0101_0101_0101_0101n]) * BigInt(this.below(65536));
        default:
          return this.u64();
      }
    };
    return BigInt.asUintN(width, value());
  }

  /** A floating-point value: zeros, infinities, NaNs, denormals, edges, integers, noise around one and everywhere. */
  float(format: Format): bigint {
    const { shift, width } = format, sign = this.below(2) ? format.signBit : 0n;
    const fraction = (): bigint =>
      (this.below(2)
        ? this.bits(format.fractionBits)
        : this.pick([0n, 1n, format.fractionMask, format.quietBit, format.quietBit - 1n, format.quietBit + 1n]) ^
          (BigInt(this.below(4)) << BigInt(this.below(format.fractionBits)))) & format.fractionMask;
    const bias = format.one >> shift;
    switch (this.below(12)) {
      case 0:
        return sign | this.pick([0n, 0n, 1n, format.fractionMask, format.fractionMask + 1n, format.infinity]);
      case 1:
        return sign | this.pick([format.infinity, format.maxNormal, format.one, format.one + 1n, format.one - 1n]);
      case 2:
        return sign | format.infinity | fraction();
      case 3:
        return sign | (fraction() >> BigInt(this.below(format.fractionBits)));
      case 4:
        return sign | (BigInt(1 + this.below(format.fractionBits + 3)) << shift) | fraction();
      case 5:
        return sign | (BigInt(format.maxExponent - 1 - this.below(format.fractionBits + 3)) << shift) | fraction();
      case 6:
      case 7:
      case 8:
        return sign | ((bias + BigInt(this.below(9)) - 4n) << shift) | fraction();
      case 9:
      case 10: {
        const exponent = bias + BigInt(this.below(width === 16 ? 15 : 68)) - 2n;
        // Clear low fraction bits: integers and halves, so that ties happen.
        const clear = BigInt(this.below(format.fractionBits + 1));
        return sign | (exponent << shift) | ((fraction() >> clear) << clear);
      }
      default:
        return this.bits(width);
    }
  }
}
