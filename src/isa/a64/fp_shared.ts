// What the tables of floating-point instructions have in common.

import { type Definition, type Insn, insn, type Raw } from "../define.ts";
import type { Lanes, Raw as Bits, Width } from "../float.ts";
import { ROUNDING, type Rounding } from "../softfloat.ts";
import type { FixedBits } from "./simd_shared.ts";

/** The format that `type` of a scalar instruction names (2 is reserved). */
export const widthOfType = (type: number): Width => type === 0 ? 32 : type === 1 ? 64 : 16;
/** A scalar register in assembler text. */
export const typeText = (type: number, n: number): string => `${"sd?h"[type]}${n}`;

/** The definition for single and double precision, and the one for half precision, which is a feature. */
export function formats<const B extends string, const K extends string = never>(spec: Insn<B, K>): Definition[] {
  const has = (f: Raw<B>, isHalf: boolean) => {
    const { type } = f as unknown as { type: number };
    return (isHalf ? type === 3 : type < 2) && (spec.when?.(f) ?? true);
  };
  return [
    insn({ ...spec, when: (f) => has(f, false) }),
    insn({ ...spec, name: `${spec.name}, half precision`, when: (f) => has(f, true), feature: "FEAT_FP16" }),
  ];
}

/** Conversions to integers: letter, rounding, bits rmode and the upper bits of opcode in scalar instructions. */
export const TO_INTEGER = [
  ["N", ROUNDING.TIEEVEN, "00", "00"],
  ["A", ROUNDING.TIEAWAY, "00", "10"],
  ["P", ROUNDING.POSINF, "01", "00"],
  ["M", ROUNDING.NEGINF, "10", "00"],
  ["Z", ROUNDING.ZERO, "11", "00"],
] as const satisfies readonly (readonly [string, Rounding, FixedBits, FixedBits])[];

/** Operations on one operand that are no arithmetic. */
export const SIGN_OPERATIONS = {
  move: (_: Lanes, a: Bits) => a,
  abs: (u: Lanes, a: Bits) => u.abs(a),
  neg: (u: Lanes, a: Bits) => u.negate(a),
};
