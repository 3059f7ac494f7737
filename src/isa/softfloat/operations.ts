// Software floating-point operations by number, for calls from generated code: one i32 says what to do, up to three i64
// hold the operands (zero-extended bits of the format), one i64 comes back.

import { DOUBLE, type Format, HALF, type Rounding, SINGLE, SoftFloat } from "../softfloat.ts";
import { unsignedRecipEstimate, unsignedRecipSqrtEstimate } from "./estimate.ts";

const NAMES = [
  "add",
  "sub",
  "mul",
  "mulX",
  "div",
  "sqrt",
  /** (addend, op1, op2) */
  "mulAdd",
  "max",
  "min",
  "maxNum",
  "minNum",
  /** NZCV in bits 3 to 0. */
  "compare",
  "compareSignalling",
  /** All ones of the format's width, or 0. */
  "compareEQ",
  "compareGE",
  "compareGT",
  "absoluteGE",
  "absoluteGT",
  "roundInt",
  /** As roundInt, and inexact results are flagged. */
  "roundIntExact",
  /** From `format` to `to`. */
  "convert",
  /** To an integer of `width` bits with `fractionBits`. */
  "toSigned",
  "toUnsigned",
  /** From an integer of `width` bits with `fractionBits`. */
  "fromSigned",
  "fromUnsigned",
  "recipEstimate",
  "recipSqrtEstimate",
  "recipExponent",
  "recipStep",
  "recipSqrtStep",
  /** On 32-bit integers (URECPE, URSQRTE). */
  "unsignedRecipEstimate",
  "unsignedRecipSqrtEstimate",
] as const;
export type OperationName = typeof NAMES[number];

export interface OperationOptions {
  /** Rounding mode; absent: as FPCR says. */
  readonly rounding?: Rounding;
  readonly to?: 16 | 32 | 64;
  /** Bits of the integer (16, 32 or 64). */
  readonly width?: 16 | 32 | 64;
  readonly fractionBits?: number;
}

const BY_FPCR = 7;
const FORMATS: readonly Format[] = [HALF, SINGLE, DOUBLE];
const log = (width: number): number => width === 64 ? 2 : width === 32 ? 1 : 0;

/** The number of an operation on values of `format` bits: operation, format, to, width, rounding, fraction bits. */
export function floatOperation(name: OperationName, format: 16 | 32 | 64, options: OperationOptions = {}): number {
  const { rounding = BY_FPCR, to = format, width = format, fractionBits = 0 } = options;
  return NAMES.indexOf(name) | log(format) << 6 | log(to) << 8 | log(width) << 10 | rounding << 12 | fractionBits << 16;
}

/** Performs the operation that `code` from `floatOperation` stands for; `f.flags` collects its exceptions. */
export function runFloatOperation(f: SoftFloat, code: number, a: bigint, b: bigint, c: bigint): bigint {
  const format = FORMATS[(code >>> 6) & 3]!, to = FORMATS[(code >>> 8) & 3]!, width = 16 << ((code >>> 10) & 3);
  const mode = (code >>> 12) & 7, rounding = mode === BY_FPCR ? f.rounding : mode as Rounding;
  const fractionBits = code >>> 16, mask = (value: boolean) => value ? (format.signBit << 1n) - 1n : 0n;
  a = BigInt.asUintN(64, a);
  b = BigInt.asUintN(64, b);
  c = BigInt.asUintN(64, c);
  switch (NAMES[code & 63]!) {
    case "add":
      return f.add(format, a, b);
    case "sub":
      return f.sub(format, a, b);
    case "mul":
      return f.mul(format, a, b);
    case "mulX":
      return f.mulX(format, a, b);
    case "div":
      return f.div(format, a, b);
    case "sqrt":
      return f.sqrt(format, a);
    case "mulAdd":
      return f.mulAdd(format, a, b, c);
    case "max":
      return f.max(format, a, b);
    case "min":
      return f.min(format, a, b);
    case "maxNum":
      return f.maxNum(format, a, b);
    case "minNum":
      return f.minNum(format, a, b);
    case "compare":
      return BigInt(f.compare(format, a, b, false));
    case "compareSignalling":
      return BigInt(f.compare(format, a, b, true));
    case "compareEQ":
      return mask(f.compareEQ(format, a, b));
    case "compareGE":
      return mask(f.compareGE(format, a, b));
    case "compareGT":
      return mask(f.compareGT(format, a, b));
    case "absoluteGE":
      return mask(f.absoluteGE(format, a, b));
    case "absoluteGT":
      return mask(f.absoluteGT(format, a, b));
    case "roundInt":
      return f.roundInt(format, a, rounding, false);
    case "roundIntExact":
      return f.roundInt(format, a, rounding, true);
    case "convert":
      return f.convert(format, to, a, rounding);
    case "toSigned":
      return f.toFixed(format, a, width, fractionBits, false, rounding);
    case "toUnsigned":
      return f.toFixed(format, a, width, fractionBits, true, rounding);
    case "fromSigned":
      return f.fromFixed(format, a, width, fractionBits, false);
    case "fromUnsigned":
      return f.fromFixed(format, a, width, fractionBits, true);
    case "recipEstimate":
      return f.recipEstimate(format, a);
    case "recipSqrtEstimate":
      return f.recipSqrtEstimate(format, a);
    case "recipExponent":
      return f.recipExponent(format, a);
    case "recipStep":
      return f.recipStep(format, a, b);
    case "recipSqrtStep":
      return f.recipSqrtStep(format, a, b);
    case "unsignedRecipEstimate":
      return BigInt(unsignedRecipEstimate(Number(a)));
    case "unsignedRecipSqrtEstimate":
      return BigInt(unsignedRecipSqrtEstimate(Number(a)));
  }
}

/** The `softFloat` helper of one vCPU: FPCR is read and FPSR's cumulative bits are set in `state`. */
export function softFloatHelper(state: { readonly fpcr: number; fpsr: number }) {
  const f = new SoftFloat();
  return (code: number, a: bigint, b: bigint, c: bigint): bigint => {
    f.fpcr = state.fpcr;
    f.flags = 0;
    const result = runFloatOperation(f, code, a, b, c);
    if (f.flags) state.fpsr |= f.flags;
    return result;
  };
}
