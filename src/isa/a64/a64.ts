// The A64 instruction set of Armv8.2, all groups.

import type { Definition } from "../define.ts";
import { ATOMICS } from "./atomics.ts";
import { BRANCHES } from "./branches.ts";
import { DATA_IMMEDIATE } from "./data_immediate.ts";
import { DATA_REGISTER } from "./data_register.ts";
import { FP_SCALAR } from "./fp_scalar.ts";
import { FP_THREE_SAME } from "./fp_three_same.ts";
import { FP_TWO_REGISTER } from "./fp_two_register.ts";
import { LOADS_STORES } from "./loads_stores.ts";
import { SIMD_CRYPTO } from "./simd_crypto.ts";
import { SIMD_LOADS_STORES } from "./simd_loads_stores.ts";
import { SIMD_PERMUTE } from "./simd_permute.ts";
import { SIMD_SHIFT } from "./simd_shift.ts";
import { SIMD_STRUCTURES } from "./simd_structures.ts";
import { SIMD_THREE_DIFFERENT } from "./simd_three_different.ts";
import { SIMD_THREE_SAME } from "./simd_three_same.ts";
import { SIMD_TWO_REGISTER } from "./simd_two_register.ts";
import { SYSTEM } from "./system.ts";

export const A64: readonly Definition[] = [
  ...DATA_IMMEDIATE,
  ...DATA_REGISTER,
  ...BRANCHES,
  ...LOADS_STORES,
  ...ATOMICS,
  ...SYSTEM,
  ...SIMD_LOADS_STORES,
  ...SIMD_STRUCTURES,
  ...SIMD_THREE_SAME,
  ...SIMD_THREE_DIFFERENT,
  ...SIMD_TWO_REGISTER,
  ...SIMD_SHIFT,
  ...SIMD_PERMUTE,
  ...SIMD_CRYPTO,
  ...FP_SCALAR,
  ...FP_THREE_SAME,
  ...FP_TWO_REGISTER,
];
