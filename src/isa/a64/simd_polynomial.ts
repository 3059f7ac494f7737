// Products of polynomials over GF(2). Bytes: shifted copies of one factor, one for each bit of the other. Doublewords:
// integer multiplication; where the factors' bits are four apart, the carries of the at most sixteen terms of one position
// cannot reach the next, and the lowest bit of each sum is their parity.

import { i64, type Int } from "../ir.ts";
import type { Vec } from "../vector.ts";

/** Product over GF(2) of elements with factors below 256. */
export function polynomialProduct(a: Vec, b: Vec): Vec {
  let sum = a.every(0);
  for (let i = 0; i < 8; i++) {
    const bit = b.every(1 << i);
    sum = sum.xor(b.and(bit).eq(bit).and(a.shl(i)));
  }
  return sum;
}

const EVERY_FOURTH = 0x1111_1111_1111_1111n;

/** The product of two polynomials of degree below 64. */
export function carrylessProduct(a: Int, b: Int): { low: Int; high: Int } {
  // The high half is the low half of the product of the reversed factors, reversed: bit i moves to bit 127 - 1 - i.
  return { low: lowProduct(a, b), high: reverseBits(lowProduct(reverseBits(a), reverseBits(b))).shrU(1) };
}

function lowProduct(a: Int, b: Int): Int {
  const part = (x: Int, i: number) => x.and(EVERY_FOURTH << BigInt(i));
  const x = [0, 1, 2, 3].map((i) => part(a, i)), y = [0, 1, 2, 3].map((i) => part(b, i));
  let product = i64(0);
  for (let i = 0; i < 4; i++) {
    const terms = x.map((p, j) => p.mul(y[(i - j) & 3]!));
    const sum = terms.reduce((s, t) => s.xor(t));
    product = product.or(part(sum, i));
  }
  return product;
}

/** Swaps neighbouring bits, pairs, nibbles, bytes, halfwords, words. */
function reverseBits(x: Int): Int {
  const masks = [
    0x5555_5555_5555_5555n,
    0x3333_3333_3333_3333n,
    0x0f0f_0f0f_0f0f_0f0fn,
    0x00ff_00ff_00ff_00ffn,
    0x0000_ffff_0000_ffffn,
  ];
  const swapped = masks.reduce((y, mask, i) => y.shrU(1 << i).and(mask).or(y.and(mask).shl(1 << i)), x);
  return swapped.rotr(32);
}
