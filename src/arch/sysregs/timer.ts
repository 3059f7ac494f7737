// The generic timer. All but the frequency and the two control registers are computed by src/timer,
// which knows the time.

import { sysreg } from "../sysreg.ts";

const CTL = "RES0:61 ISTATUS:1 IMASK:1 ENABLE:1";
const TVAL = "RES0:32 TimerValue:32";
const CVAL = "CompareValue:64";
const EL0 = { read: 0, write: 0, owner: "timer" } as const;
const PHYSICAL = { ...EL0, traps: ["EL0PTEN", "EL1PTEN"] } as const;
const VIRTUAL = { ...EL0, traps: ["EL0VTEN"] } as const;
const EL2 = { read: 2, write: 2, owner: "timer" } as const;

export const TIMER = {
  CNTFRQ_EL0: sysreg({
    read: 0,
    write: 1,
    at: [3, 3, 14, 0, 0],
    traps: ["EL0xCTEN", "HIGHEST"],
    bits: "RES0:32 Frequency:32",
    reset: 62_500_000n,
  }),
  CNTPCT_EL0: sysreg({
    read: 0,
    at: [3, 3, 14, 0, 1],
    owner: "timer",
    traps: ["EL0PCTEN", "EL1PCTEN"],
    bits: "Count:64",
  }),
  CNTVCT_EL0: sysreg({ read: 0, at: [3, 3, 14, 0, 2], owner: "timer", traps: ["EL0VCTEN"], bits: "Count:64" }),
  CNTP_TVAL_EL0: sysreg({ ...PHYSICAL, at: [3, 3, 14, 2, 0], e2h: "CNTHP_TVAL_EL2", bits: TVAL }),
  CNTP_CTL_EL0: sysreg({ ...PHYSICAL, at: [3, 3, 14, 2, 1], e2h: "CNTHP_CTL_EL2", bits: CTL }),
  CNTP_CVAL_EL0: sysreg({ ...PHYSICAL, at: [3, 3, 14, 2, 2], e2h: "CNTHP_CVAL_EL2", bits: CVAL }),
  CNTV_TVAL_EL0: sysreg({ ...VIRTUAL, at: [3, 3, 14, 3, 0], e2h: "CNTHV_TVAL_EL2", bits: TVAL }),
  CNTV_CTL_EL0: sysreg({ ...VIRTUAL, at: [3, 3, 14, 3, 1], e2h: "CNTHV_CTL_EL2", bits: CTL }),
  CNTV_CVAL_EL0: sysreg({ ...VIRTUAL, at: [3, 3, 14, 3, 2], e2h: "CNTHV_CVAL_EL2", bits: CVAL }),
  CNTKCTL_EL1: sysreg({
    read: 1,
    write: 1,
    at: [3, 0, 14, 1, 0],
    e2h: "CNTHCTL_EL2",
    bits: "RES0:54 EL0PTEN:1 EL0VTEN:1 EVNTI:4 EVNTDIR:1 EVNTEN:1 EL0VCTEN:1 EL0PCTEN:1",
  }),
  /** The layout with E2H = 1; with E2H = 0, bit 0 is EL1PCTEN and bit 1 EL1PCEN, and bits 8 to 11 are RES0. */
  CNTHCTL_EL2: sysreg({
    read: 2,
    write: 2,
    at: [3, 4, 14, 1, 0],
    bits: "RES0:52 EL1PTEN:1 EL1PCTEN:1 EL0PTEN:1 EL0VTEN:1 EVNTI:4 EVNTDIR:1 EVNTEN:1 EL0VCTEN:1 EL0PCTEN:1",
    reset: 3n,
  }),
  CNTVOFF_EL2: sysreg({ ...EL2, at: [3, 4, 14, 0, 3], bits: "Offset:64" }),
  CNTHP_TVAL_EL2: sysreg({ ...EL2, at: [3, 4, 14, 2, 0], bits: TVAL }),
  CNTHP_CTL_EL2: sysreg({ ...EL2, at: [3, 4, 14, 2, 1], bits: CTL }),
  CNTHP_CVAL_EL2: sysreg({ ...EL2, at: [3, 4, 14, 2, 2], bits: CVAL }),
  CNTHV_TVAL_EL2: sysreg({ ...EL2, feature: "FEAT_VHE", at: [3, 4, 14, 3, 0], bits: TVAL }),
  CNTHV_CTL_EL2: sysreg({ ...EL2, feature: "FEAT_VHE", at: [3, 4, 14, 3, 1], bits: CTL }),
  CNTHV_CVAL_EL2: sysreg({ ...EL2, feature: "FEAT_VHE", at: [3, 4, 14, 3, 2], bits: CVAL }),
} as const;
