// What the encodings of system registers mean to one CPU model: the rows of src/arch, compiled for fast access.

import { DIRECT } from "../arch/direct.ts";
import type { Feature } from "../arch/features.ts";
import type { CpuModel } from "../arch/models.ts";
import type { Sysreg } from "../arch/sysreg.ts";
import { ENCODINGS, REGISTERS, type SysregName, SYSTEM_REGISTERS } from "../arch/sysregs.ts";
import { SYSTEM_INSTRUCTIONS, type SystemInstruction } from "../arch/sysinsns.ts";
import { assert } from "../base/errors.ts";
import { HCR } from "./pstate.ts";
import { type Check, checksFor } from "./traps.ts";

/** A register without its encoding. */
export interface Target {
  readonly name: SysregName;
  /** Index of its low word among the words of the system registers. */
  readonly word: number;
  readonly owner: Sysreg["owner"];
  readonly effect: Sysreg["effect"];
  /** Bits that a write changes. */
  readonly maskLo: number;
  readonly maskHi: number;
  /** Writes are also stored before the owner is told: its bits trap accesses. */
  readonly mirrored: boolean;
}

/** A register as reached by one encoding. */
export interface Access {
  readonly target: Target;
  /** Lowest exception level with access; 3: none. */
  readonly read: number;
  readonly write: number;
  readonly readChecks: readonly Check[];
  readonly writeChecks: readonly Check[];
  /** An _EL12 or _EL02 name. */
  readonly alias: boolean;
  /** At EL2 with E2H = 1; `hostRedirect`: also at EL0 of the host. */
  readonly redirect: Target | undefined;
  readonly hostRedirect: boolean;
  /** At EL1 when HCR_EL2 has one of these bits. */
  readonly virtual: Target | undefined;
  readonly virtualMask: number;
}

/** A system instruction with its checks. */
export interface Instruction {
  readonly row: SystemInstruction;
  readonly checks: readonly Check[];
}

export interface AccessTable {
  /** By key; holes are UNDEFINED. */
  readonly registers: readonly (Access | undefined)[];
  readonly instructions: ReadonlyMap<number, Instruction>;
}

const LOW = 0xffff_ffffn;

function compileTarget(name: SysregName, model: CpuModel): Target {
  const row = REGISTERS[name];
  let mask = ~(row.layout.res0 | row.layout.res1 | (row.fixed ?? 0n));
  for (const [field, feature] of Object.entries<Feature>(row.only ?? {})) {
    if (!model.has(feature)) mask &= ~row.layout.at[field]!.mask;
  }
  // Generated code stores these whole, which RES0 allows; the slow path does the same.
  if (row.direct?.write !== undefined) mask = -1n;
  return {
    name,
    word: SYSTEM_REGISTERS.offset[name] / 4,
    owner: row.owner,
    effect: row.effect,
    maskLo: Number(mask & LOW) | 0,
    maskHi: Number((mask >> 32n) & LOW) | 0,
    mirrored: name === "ICH_HCR_EL2",
  };
}

/** Compiles the tables of src/arch for a model: a register or instruction whose feature is missing has no entry. */
export function compileAccess(model: CpuModel): AccessTable {
  const targets = new Map<SysregName, Target>();
  const target = (name: SysregName): Target => {
    let t = targets.get(name);
    if (!t) targets.set(name, t = compileTarget(name, model));
    return t;
  };
  const registers: (Access | undefined)[] = new Array(0x1_0000).fill(undefined);
  for (const [key, { name, row, alias }] of ENCODINGS) {
    if ((row.feature && !model.has(row.feature)) || (alias && !model.has("FEAT_VHE"))) continue;
    const redirect = alias ? undefined : row.e2h as SysregName | undefined;
    registers[key] = {
      target: target(name),
      read: row.read === undefined ? 3 : alias ? 2 : row.read,
      write: row.write === undefined ? 3 : alias ? 2 : row.write,
      readChecks: alias ? [] : checksFor(row.traps ?? [], "r"),
      writeChecks: alias ? [] : checksFor(row.traps ?? [], "w"),
      alias,
      redirect: redirect && model.has("FEAT_VHE") ? target(redirect) : undefined,
      hostRedirect: row.owner === "timer",
      virtual: row.virtual ? target(row.virtual.name as SysregName) : undefined,
      virtualMask: (row.virtual?.when ?? []).reduce((mask, field) => mask | HCR[field], 0),
    };
  }
  const instructions = new Map<number, Instruction>();
  for (const [key, row] of SYSTEM_INSTRUCTIONS) {
    if (row.feature && !model.has(row.feature)) continue;
    instructions.set(key, { row, checks: checksFor(row.traps, "w") });
  }
  assert(DIRECT.DC_ZVA < 32, "the classes fit a word");
  return { registers, instructions };
}
