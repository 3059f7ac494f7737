// The language in which system registers are declared: one row of data per register, from which encoding, access checks,
// traps, VHE redirection, reset, write masks, storage and the debugger's description follow. The rows are in sysregs/.

import { type Layout, layout, type Names } from "../base/bits.ts";
import type { DirectClass } from "./direct.ts";
import type { Feature } from "./features.ts";
import type { TrapName } from "./traps.ts";

export type Encoding = readonly [op0: number, op1: number, CRn: number, CRm: number, op2: number];
export type El = 0 | 1 | 2;

/** Who computes a register whose value is not simply what was written last: the CPU itself, the GIC or the timers. */
export type Owner = "cpu" | "gic" | "timer";

/** What has to be worked out again after a write. */
export type Effect =
  /** Something that selects or configures a translation. */
  | "translation"
  /** Traps and enables that are cached per exception level, and with them translations and interrupt routing. */
  | "control"
  /** What breakpoints, watchpoints and software step follow from. */
  | "debug";

interface Row<S extends string> {
  /** Absent for registers that are reached by redirection only (ICV_*). */
  readonly at?: Encoding;
  /** Lowest exception level that may read or write; higher levels may too. Absent: nobody. */
  readonly read?: El;
  readonly write?: El;
  /** Fields from bit 63 down. RES0 bits are not stored. */
  readonly bits: S;
  /** Fields that are RES0 without a feature. */
  readonly only?: { readonly [K in Names<S>]?: Feature };
  /** Bits that are read-only and keep their reset value. */
  readonly fixed?: bigint;
  /** The register is UNDEFINED without this feature. */
  readonly feature?: Feature;
  /** Checked in this order, the order of the access pseudocode. */
  readonly traps?: readonly TrapName[];
  /** At EL2 with HCR_EL2.E2H = 1 this encoding reaches that register, and op1 = 5 reaches this one. */
  readonly e2h?: string;
  /** At EL1 this encoding reaches that register while one of these HCR_EL2 bits is set. */
  readonly virtual?: { readonly name: string; readonly when: readonly ("IMO" | "FMO")[] };
  readonly reset?: bigint;
  readonly owner?: Owner;
  readonly effect?: Effect;
  /** Classes whose bit in `direct` says that a plain load or store does it. */
  readonly direct?: { readonly read?: DirectClass; readonly write?: DirectClass; readonly el12?: DirectClass };
}

export interface Sysreg<N extends string = string> extends Row<string> {
  readonly layout: Layout<N>;
}

/** Declares a register. */
export function sysreg<const S extends string>(row: Row<S>): Sysreg<Names<S>> {
  return { ...(row as unknown as Row<string>), layout: layout(64, row.bits) };
}

/** The number under which generated code names a register: bits 20..5 of MRS and MSR. */
export const sysregKey = ([op0, op1, CRn, CRm, op2]: Encoding): number =>
  op0 << 14 | op1 << 11 | CRn << 7 | CRm << 3 | op2;

/** The encoding that a key stands for. */
export const sysregEncoding = (
  key: number,
): Encoding => [key >> 14, key >> 11 & 7, key >> 7 & 15, key >> 3 & 15, key & 7];

/** The name that assemblers understand for any encoding. */
export const genericName = (key: number): string => {
  const [op0, op1, CRn, CRm, op2] = sysregEncoding(key);
  return `S${op0}_${op1}_C${CRn}_C${CRm}_${op2}`;
};
