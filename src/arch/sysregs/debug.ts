// Self-hosted debug: breakpoints, watchpoints, software step. External debug and the debug communication channel have nobody
// at the other end.

import { layout } from "../../base/bits.ts";
import { type Sysreg, sysreg } from "../sysreg.ts";

const BREAKPOINT_BITS = "RES0:40 BT:4 LBN:4 SSC:2 HMC:1 RES0:4 BAS:4 RES0:2 PMC:2 E:1";
const WATCHPOINT_BITS = "RES0:35 MASK:5 RES0:3 WT:1 LBN:4 SSC:2 HMC:1 BAS:8 LSC:2 PAC:2 E:1";
export const BREAKPOINT_CONTROL = layout(64, BREAKPOINT_BITS), WATCHPOINT_CONTROL = layout(64, WATCHPOINT_BITS);

const EL1 = { read: 1, write: 1, traps: ["TDA"] } as const;
/** What debug exceptions follow from. */
const MONITOR = { ...EL1, effect: "debug" } as const;
type Index6 = 0 | 1 | 2 | 3 | 4 | 5;
type Index4 = 0 | 1 | 2 | 3;

/** A family of registers, one per CRm. */
function family<P extends string, I extends number>(prefix: P, count: number, op2: number, bits: string) {
  return Object.fromEntries(
    Array.from({ length: count }, (_, n) => [`${prefix}${n}_EL1`, sysreg({ ...MONITOR, at: [2, 0, 0, n, op2], bits })]),
  ) as Record<`${P}${I}_EL1`, Sysreg>;
}

export const DEBUG = {
  // All 64 bits: a context breakpoint compares two CONTEXTIDRs, or a VMID.
  ...family<"DBGBVR", Index6>("DBGBVR", 6, 4, "VALUE:64"),
  ...family<"DBGBCR", Index6>("DBGBCR", 6, 5, BREAKPOINT_BITS),
  ...family<"DBGWVR", Index4>("DBGWVR", 4, 6, "VA:62 RES0:2"),
  ...family<"DBGWCR", Index4>("DBGWCR", 4, 7, WATCHPOINT_BITS),
  MDCCINT_EL1: sysreg({ ...EL1, at: [2, 0, 0, 2, 0], bits: "RES0:33 RX:1 TX:1 RES0:29" }),
  MDSCR_EL1: sysreg({
    ...MONITOR,
    at: [2, 0, 0, 2, 2],
    bits:
      "RES0:33 RXfull:1 TXfull:1 RES0:1 RXO:1 TXU:1 RES0:2 INTdis:2 TDA:1 RES0:1 SC2:1 RES0:3 MDE:1 HDE:1 KDE:1 TDCC:1 RES0:5 ERR:1 RES0:5 SS:1",
  }),
  OSDTRRX_EL1: sysreg({ ...EL1, at: [2, 0, 0, 0, 2], bits: "RES0:32 DTRRX:32" }),
  OSDTRTX_EL1: sysreg({ ...EL1, at: [2, 0, 0, 3, 2], bits: "RES0:32 DTRTX:32" }),
  OSECCR_EL1: sysreg({ ...EL1, at: [2, 0, 0, 6, 2], bits: "RES0:64" }),
  MDRAR_EL1: sysreg({ read: 1, at: [2, 0, 1, 0, 0], traps: ["TDRA"], bits: "RES0:12 ROMADDR:40 RES0:10 Valid:2" }),
  OSLAR_EL1: sysreg({ write: 1, at: [2, 0, 1, 0, 4], traps: ["TDOSA"], owner: "cpu", bits: "RES0:63 OSLK:1" }),
  OSLSR_EL1: sysreg({
    read: 1,
    at: [2, 0, 1, 1, 4],
    traps: ["TDOSA"],
    bits: "RES0:60 OSLM1:1 nTT:1 OSLK:1 OSLM0:1",
    reset: 0b1010n,
  }),
  OSDLR_EL1: sysreg({
    read: 1,
    write: 1,
    at: [2, 0, 1, 3, 4],
    traps: ["TDOSA"],
    effect: "debug",
    bits: "RES0:63 DLK:1",
  }),
  DBGPRCR_EL1: sysreg({
    read: 1,
    write: 1,
    at: [2, 0, 1, 4, 4],
    traps: ["TDOSA"],
    effect: "debug",
    bits: "RES0:63 CORENPDRQ:1",
  }),
  DBGCLAIMSET_EL1: sysreg({ ...EL1, at: [2, 0, 7, 8, 6], owner: "cpu", bits: "RES0:56 CLAIM:8" }),
  DBGCLAIMCLR_EL1: sysreg({ ...EL1, at: [2, 0, 7, 9, 6], owner: "cpu", bits: "RES0:56 CLAIM:8" }),
  DBGAUTHSTATUS_EL1: sysreg({
    read: 1,
    at: [2, 0, 7, 14, 6],
    traps: ["TDA"],
    bits: "RES0:56 SNID:2 SID:2 NSNID:2 NSID:2",
  }),
  MDCCSR_EL0: sysreg({ read: 0, at: [2, 3, 0, 1, 0], traps: ["TDCC", "TDA"], bits: "RES0:64" }),
  DBGDTR_EL0: sysreg({ read: 0, write: 0, at: [2, 3, 0, 4, 0], traps: ["TDCC", "TDA"], bits: "RES0:64" }),
  DBGDTRRXTX_EL0: sysreg({ read: 0, write: 0, at: [2, 3, 0, 5, 0], traps: ["TDCC", "TDA"], bits: "RES0:64" }),
  DBGVCR32_EL2: sysreg({ read: 2, write: 2, at: [2, 4, 0, 7, 0], bits: "RES0:64" }),
  // TPM, TPMCR, HPME and HPMN are RES0: no performance monitors.
  MDCR_EL2: sysreg({ read: 2, write: 2, at: [3, 4, 1, 1, 1], bits: "RES0:52 TDRA:1 TDOSA:1 TDA:1 TDE:1 RES0:8" }),
} as const;
