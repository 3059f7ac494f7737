// Every AArch64 system register of the modelled cores (DDI 0487 "AArch64 System Register Descriptions"), collected from the
// groups in sysregs/, with what follows from the rows: the structure that stores them, the encodings, the layouts.

import { assert } from "../base/errors.ts";
import { layout } from "../base/bits.ts";
import { struct, type View } from "../base/struct.ts";
import { DIRECT, type DirectClass } from "./direct.ts";
import { type Sysreg, sysregKey } from "./sysreg.ts";
import { CONTROL } from "./sysregs/control.ts";
import { BREAKPOINT_CONTROL, DEBUG, WATCHPOINT_CONTROL } from "./sysregs/debug.ts";
import { GIC_REGISTERS } from "./sysregs/gic.ts";
import { IDENTIFICATION } from "./sysregs/identification.ts";
import { IMPLEMENTATION } from "./sysregs/implementation.ts";
import { TIMER } from "./sysregs/timer.ts";
import { TCR_EL2_NVHE_BITS, TRANSLATION } from "./sysregs/translation.ts";

/** Where the registers lie in a vCPU's block. */
export const SYSREGS_OFFSET = 0x1000;
const SYSREGS_END = 0x4000;

// Registers that generated code and world switches touch come first, to share cache lines.
const ROWS = {
  ...CONTROL,
  ...TRANSLATION,
  ...TIMER,
  ...GIC_REGISTERS,
  ...DEBUG,
  ...IDENTIFICATION,
  ...IMPLEMENTATION,
} as const;

export type SysregName = keyof typeof ROWS;
/** The rows by name. */
export const REGISTERS: Readonly<Record<SysregName, Sysreg>> = ROWS;
export const SYSREG_NAMES = Object.keys(ROWS) as readonly SysregName[];

/** One u64 per register, at SYSREGS_OFFSET of the vCPU's block. */
export const SYSTEM_REGISTERS = struct(
  "system registers",
  Object.fromEntries(SYSREG_NAMES.map((name) => [name, "u64"])) as { readonly [N in SysregName]: "u64" },
);
export type SystemRegisters = View<{ readonly [N in SysregName]: "u64" }>;
assert(SYSTEM_REGISTERS.size <= SYSREGS_END - SYSREGS_OFFSET, "the system registers fit their range");

/** What an encoding stands for. */
export interface SysregEntry {
  /** As an assembler writes it: SCTLR_EL12 for the VHE alias of SCTLR_EL1. */
  readonly spelling: string;
  /** The register that is reached, before redirection by E2H or to the virtual GIC interface. */
  readonly name: SysregName;
  readonly row: Sysreg;
  /** A VHE alias, _EL12 or _EL02: UNDEFINED except at EL2 with E2H = 1. */
  readonly alias: boolean;
}

function encodings(): ReadonlyMap<number, SysregEntry> {
  const map = new Map<number, SysregEntry>();
  const add = (key: number, entry: SysregEntry) => {
    assert(!map.has(key), `${entry.spelling} has the encoding of ${map.get(key)?.spelling}`);
    map.set(key, entry);
  };
  for (const name of SYSREG_NAMES) {
    const row = REGISTERS[name];
    if (!row.at) continue;
    add(sysregKey(row.at), { spelling: name, name, row, alias: false });
    if (!row.e2h) continue;
    assert(row.e2h in REGISTERS, `${name} is redirected to a register that exists: ${row.e2h}`);
    const [op0, , CRn, CRm, op2] = row.at;
    const spelling = name.replace(/_EL1$/, "_EL12").replace(/_EL0$/, "_EL02");
    add(sysregKey([op0, 5, CRn, CRm, op2]), { spelling, name, row, alias: true });
  }
  return map;
}

/** All encodings, by `sysregKey`. */
export const ENCODINGS = encodings();

/** How generated code may access a register without a call. */
export interface DirectAccess {
  /** The classes whose bit in the vCPU's `direct` word must be set; absent: always call. */
  readonly readClass?: DirectClass;
  readonly writeClass?: DirectClass;
  /** Byte offset from the vCPU's base. */
  readonly offset: number;
}

/** What is known about plain access to the register with this key; undefined when there is none. */
export function directOf(key: number): DirectAccess | undefined {
  const entry = ENCODINGS.get(key), direct = entry?.row.direct;
  // Generated code does not know the CPU model, which may lack the register.
  if (!entry || !direct || entry.row.feature !== undefined) return undefined;
  const offset = SYSREGS_OFFSET + SYSTEM_REGISTERS.offset[entry.name];
  const as = (c: DirectClass | undefined) => c !== undefined && entry.alias ? DIRECT.EL12 : c;
  const readClass = as(direct.read), writeClass = as(direct.write);
  return {
    ...(readClass === undefined ? {} : { readClass }),
    ...(writeClass === undefined ? {} : { writeClass }),
    offset,
  };
}

/** The register an assembler's name stands for, _EL12 names included. */
export function findSysreg(spelling: string): { key: number; entry: SysregEntry } | undefined {
  for (const [key, entry] of ENCODINGS) if (entry.spelling === spelling) return { key, entry };
  return undefined;
}

// Layouts that the rest of the program reads fields by.
export const SCTLR = ROWS.SCTLR_EL1.layout;
export const HCR_EL2 = ROWS.HCR_EL2.layout;
export const CPACR_EL1 = ROWS.CPACR_EL1.layout;
/** CPTR_EL2 with E2H = 1. */
export const CPTR_EL2 = ROWS.CPTR_EL2.layout;
/** CPTR_EL2 with E2H = 0. */
export const CPTR_EL2_NVHE = layout(64, "RES0:32 TCPAC:1 RES0:10 TTA:1 RES0:6 RES1:2 RES0:1 TFP:1 RES1:10");
/** TCR_EL1, and TCR_EL2 with E2H = 1. */
export const TCR_EL1 = ROWS.TCR_EL1.layout;
/** TCR_EL2 with E2H = 0. */
export const TCR_EL2_NVHE = layout(64, TCR_EL2_NVHE_BITS);
export const TTBR = ROWS.TTBR0_EL1.layout;
export const VTTBR_EL2 = ROWS.VTTBR_EL2.layout;
export const VTCR_EL2 = ROWS.VTCR_EL2.layout;
export const MAIR = ROWS.MAIR_EL1.layout;
export const PAR_EL1 = ROWS.PAR_EL1.layout;
export const MDSCR_EL1 = ROWS.MDSCR_EL1.layout;
export const MDCR_EL2 = ROWS.MDCR_EL2.layout;
export const DBGBCR = BREAKPOINT_CONTROL, DBGWCR = WATCHPOINT_CONTROL;
/** CNTHCTL_EL2 with E2H = 0. */
export const CNTHCTL_EL2_NVHE = layout(64, "RES0:56 EVNTI:4 EVNTDIR:1 EVNTEN:1 EL1PCEN:1 EL1PCTEN:1");
export const CNTKCTL_EL1 = ROWS.CNTKCTL_EL1.layout;
export const CNTHCTL_EL2 = ROWS.CNTHCTL_EL2.layout;
export const TIMER_CTL = ROWS.CNTP_CTL_EL0.layout;
export const ICC_CTLR_EL1 = ROWS.ICC_CTLR_EL1.layout;
export const ICC_SGI1R_EL1 = ROWS.ICC_SGI1R_EL1.layout;
export const ICH_HCR_EL2 = ROWS.ICH_HCR_EL2.layout;
export const ICH_VTR_EL2 = ROWS.ICH_VTR_EL2.layout;
export const ICH_VMCR_EL2 = ROWS.ICH_VMCR_EL2.layout;
export const ICH_MISR_EL2 = ROWS.ICH_MISR_EL2.layout;
export const ICH_LR_EL2 = ROWS.ICH_LR0_EL2.layout;
export const ID_AA64MMFR0_EL1 = ROWS.ID_AA64MMFR0_EL1.layout;
export const ID_AA64MMFR1_EL1 = ROWS.ID_AA64MMFR1_EL1.layout;
