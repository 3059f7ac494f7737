// The A64 instruction set of Armv8.2, all groups.

import type { Definition } from "../define.ts";
import { ATOMICS } from "./atomics.ts";
import { BRANCHES } from "./branches.ts";
import { DATA_IMMEDIATE } from "./data_immediate.ts";
import { DATA_REGISTER } from "./data_register.ts";
import { LOADS_STORES } from "./loads_stores.ts";
import { SYSTEM } from "./system.ts";

export const A64: readonly Definition[] = [
  ...DATA_IMMEDIATE,
  ...DATA_REGISTER,
  ...BRANCHES,
  ...LOADS_STORES,
  ...ATOMICS,
  ...SYSTEM,
];
