// Pseudocode functions that several instruction groups share.

import type { Builder, Int, Reg } from "../ir.ts";

/** DecodeBitMasks() for logical immediates: the mask as 64 bits (32 when sf = 0), undefined when reserved. */
export function decodeBitMasks(sf: number, N: number, imms: number, immr: number): bigint | undefined {
  if (!sf && N) return undefined;
  const length = 31 - Math.clz32((N << 6) | (~imms & 63));
  if (length < 1) return undefined;
  const size = 1 << length, levels = size - 1, S = imms & levels, R = immr & levels;
  if (S === levels) return undefined;
  const ones = (1n << BigInt(S + 1)) - 1n, width = BigInt(size);
  let element = R === 0 ? ones : ((ones >> BigInt(R)) | (ones << (width - BigInt(R)))) & ((1n << width) - 1n);
  for (let n = size; n < 64; n *= 2) element |= element << BigInt(n);
  return BigInt.asUintN(sf ? 64 : 32, element);
}

/** ShiftReg(): LSL, LSR, ASR, ROR by a known kind and an amount below the width. */
export function shift(value: Int, kind: number, amount: Int): Int {
  const by = amount.as(value.type);
  return kind === 0 ? value.shl(by) : kind === 1 ? value.shrU(by) : kind === 2 ? value.shrS(by) : value.rotr(by);
}

/** ExtendReg(): a register extended by `option` and shifted left, as i32 or i64. */
export function extend(e: Builder, reg: Reg, sf: number, option: number, amount: Int | number): Int {
  const x = e.get(reg, sf), width = 8 << (option & 3);
  const extended = width >= x.bits ? x : option & 4 ? x.sext(width) : x.zext(width);
  return extended.shl(typeof amount === "number" ? amount : amount.as(x.type));
}
export const EXTENDS = ["uxtb", "uxth", "uxtw", "uxtx", "sxtb", "sxth", "sxtw", "sxtx"] as const;
export const SHIFTS = ["lsl", "lsr", "asr", "ror"] as const;
export const CONDITIONS = [
  "eq",
  "ne",
  "cs",
  "cc",
  "mi",
  "pl",
  "vs",
  "vc",
  "hi",
  "ls",
  "ge",
  "lt",
  "gt",
  "le",
  "al",
  "nv",
] as const;
