// PSTATE as SPSR_ELx holds it (DDI 0487 "SPSR_EL1"). AArch64 only: nRW is always 0.

import { layout } from "../base/bits.ts";

export const SPSR_BITS =
  "RES0:32 N:1 Z:1 C:1 V:1 RES0:4 UAO:1 PAN:1 SS:1 IL:1 RES0:10 D:1 A:1 I:1 F:1 RES0:1 nRW:1 EL:2 RES0:1 SP:1";

export const SPSR = layout(64, SPSR_BITS);

/** Bits of the low word of SPSR_ELx. */
export const PSR = {
  N: 0x8000_0000,
  Z: 0x4000_0000,
  C: 0x2000_0000,
  V: 0x1000_0000,
  UAO: 0x0080_0000,
  PAN: 0x0040_0000,
  SS: 0x0020_0000,
  IL: 0x0010_0000,
  D: 0x200,
  A: 0x100,
  I: 0x80,
  F: 0x40,
  nRW: 0x10,
} as const;

/** Bits of the vCPU's `daif` word, as DAIFSet's operand has them. */
export const DAIF = { D: 8, A: 4, I: 2, F: 1 } as const;
