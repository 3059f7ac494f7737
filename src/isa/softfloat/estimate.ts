// Table-free reciprocal and reciprocal square root estimates: DDI 0487 FPRecipEstimate(), FPRSqrtEstimate(),
// UnsignedRecipEstimate(), UnsignedRSqrtEstimate() (Armv8.2: no FEAT_RPRES).

import type { Format } from "./format.ts";

/** RecipEstimate(): `a` in 256..511 stands for [0.5, 1); the result in 256..511 for [1, 2). */
function recip(a: number): number {
  return (Math.floor(2 ** 19 / (a * 2 + 1)) + 1) >> 1;
}

/** RecipSqrtEstimate(): `a` in 128..511 stands for [0.25, 1); the result in 256..511 for [1, 2). */
function recipSqrt(a: number): number {
  const x = a < 256 ? a * 2 + 1 : ((a >> 1) * 2 + 1) * 2;
  let b = 512;
  while (x * (b + 1) * (b + 1) < 2 ** 28) b++;
  return (b + 1) >> 1;
}

/** The estimate of 1 / `magnitude`, which is finite, not zero, and not so small that its reciprocal overflows. */
export function recipEstimate(format: Format, magnitude: bigint): bigint {
  let fraction = magnitude & format.fractionMask, exponent = Number(magnitude >> format.shift);
  if (exponent === 0) {
    // A denormal in the upper three quarters: normalize by one or two places.
    const places = fraction & format.quietBit ? 1 : 2;
    exponent = 1 - places;
    fraction = (fraction << BigInt(places)) & format.fractionMask;
  }
  const scaled = 256 | Number(fraction >> (format.shift - 8n));
  const estimate = BigInt(recip(scaled) & 0xff) << (format.shift - 8n);
  const result = 2 * (1 - format.minNormal) - 1 - exponent;
  if (result > 0) return (BigInt(result) << format.shift) | estimate;
  // The reciprocal is denormal: the hidden bit comes into view.
  return (estimate | (format.fractionMask + 1n)) >> BigInt(1 - result);
}

/** The estimate of 1 / sqrt(`magnitude`), which is finite and not zero. */
export function recipSqrtEstimate(format: Format, magnitude: bigint): bigint {
  let fraction = magnitude & format.fractionMask, exponent = Number(magnitude >> format.shift);
  if (exponent === 0) {
    while (!(fraction & format.quietBit)) {
      fraction <<= 1n;
      exponent--;
    }
    fraction = (fraction << 1n) & format.fractionMask;
  }
  const scaled = exponent & 1
    ? 128 | Number(fraction >> (format.shift - 7n))
    : 256 | Number(fraction >> (format.shift - 8n));
  const bias = 1 - format.minNormal, result = Math.floor((3 * bias - 1 - exponent) / 2);
  return (BigInt(result) << format.shift) | (BigInt(recipSqrt(scaled) & 0xff) << (format.shift - 8n));
}

/** URECPE on a 32-bit element. */
export function unsignedRecipEstimate(op: number): number {
  return op >>> 31 ? (recip(op >>> 23) << 23) >>> 0 : 0xffff_ffff;
}

/** URSQRTE on a 32-bit element. */
export function unsignedRecipSqrtEstimate(op: number): number {
  return op >>> 30 ? (recipSqrt(op >>> 23) << 23) >>> 0 : 0xffff_ffff;
}
