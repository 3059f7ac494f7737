// Translation table control. What the fields mean to a walk is in src/mmu.

import { DIRECT } from "../direct.ts";
import { sysreg } from "../sysreg.ts";

const VM = { read: 1, write: 1, traps: ["TVM", "TRVM"], effect: "translation" } as const;
const EL2 = { read: 2, write: 2, effect: "translation", direct: { read: DIRECT.EL2 } } as const;
const READ = { direct: { read: DIRECT.EL1_VM_READ } } as const;

const TTBR_BITS = "ASID:16 BADDR:47 CnP:1";
/** TCR_EL1, and TCR_EL2 with E2H = 1. */
export const TCR_BITS =
  "RES0:13 HWU162:1 HWU161:1 HWU160:1 HWU159:1 HWU062:1 HWU061:1 HWU060:1 HWU059:1 HPD1:1 HPD0:1 HD:1 HA:1 TBI1:1 TBI0:1 AS:1 RES0:1 IPS:3 TG1:2 SH1:2 ORGN1:2 IRGN1:2 EPD1:1 A1:1 T1SZ:6 TG0:2 SH0:2 ORGN0:2 IRGN0:2 EPD0:1 RES0:1 T0SZ:6";
/** TCR_EL2 with E2H = 0. */
export const TCR_EL2_NVHE_BITS =
  "RES0:32 RES1:1 RES0:2 HWU62:1 HWU61:1 HWU60:1 HWU59:1 HPD:1 RES1:1 HD:1 HA:1 TBI:1 RES0:1 PS:3 TG0:2 SH0:2 ORGN0:2 IRGN0:2 RES0:2 T0SZ:6";

const MAIR_BITS = "Attr7:8 Attr6:8 Attr5:8 Attr4:8 Attr3:8 Attr2:8 Attr1:8 Attr0:8";
const PAR_BITS = "ATTR:8 RES0:4 PA:40 RES1:1 RES0:1 NS:1 SH:2 RES0:6 F:1";

export const TRANSLATION = {
  TTBR0_EL1: sysreg({ ...VM, ...READ, at: [3, 0, 2, 0, 0], e2h: "TTBR0_EL2", bits: TTBR_BITS }),
  TTBR1_EL1: sysreg({ ...VM, ...READ, at: [3, 0, 2, 0, 1], e2h: "TTBR1_EL2", bits: TTBR_BITS }),
  TCR_EL1: sysreg({
    ...VM,
    ...READ,
    at: [3, 0, 2, 0, 2],
    e2h: "TCR_EL2",
    bits: TCR_BITS,
    only: { HA: "FEAT_HAFDBS", HD: "FEAT_HAFDBS", HPD0: "FEAT_HPDS", HPD1: "FEAT_HPDS" },
  }),
  MAIR_EL1: sysreg({ ...VM, ...READ, at: [3, 0, 10, 2, 0], e2h: "MAIR_EL2", bits: MAIR_BITS }),
  AMAIR_EL1: sysreg({
    read: 1,
    write: 1,
    traps: ["TVM", "TRVM"],
    at: [3, 0, 10, 3, 0],
    e2h: "AMAIR_EL2",
    bits: "RES0:64",
  }),
  CONTEXTIDR_EL1: sysreg({
    read: 1,
    write: 1,
    traps: ["TVM", "TRVM"],
    at: [3, 0, 13, 0, 1],
    e2h: "CONTEXTIDR_EL2",
    bits: "RES0:32 PROCID:32",
    direct: { read: DIRECT.EL1_VM_READ, write: DIRECT.EL1_VM_WRITE },
  }),
  PAR_EL1: sysreg({
    read: 1,
    write: 1,
    at: [3, 0, 7, 4, 0],
    bits: PAR_BITS,
    direct: { read: DIRECT.EL1, write: DIRECT.EL1 },
  }),

  TTBR0_EL2: sysreg({ ...EL2, at: [3, 4, 2, 0, 0], bits: TTBR_BITS }),
  TTBR1_EL2: sysreg({ ...EL2, at: [3, 4, 2, 0, 1], feature: "FEAT_VHE", bits: TTBR_BITS }),
  /** The layout with E2H = 1; TCR_EL2_NVHE is the other. */
  TCR_EL2: sysreg({ ...EL2, at: [3, 4, 2, 0, 2], bits: TCR_BITS }),
  MAIR_EL2: sysreg({ ...EL2, at: [3, 4, 10, 2, 0], bits: MAIR_BITS }),
  AMAIR_EL2: sysreg({ read: 2, write: 2, at: [3, 4, 10, 3, 0], bits: "RES0:64" }),
  CONTEXTIDR_EL2: sysreg({
    read: 2,
    write: 2,
    at: [3, 4, 13, 0, 1],
    feature: "FEAT_VHE",
    bits: "RES0:32 PROCID:32",
    direct: { read: DIRECT.EL2, write: DIRECT.EL2 },
  }),
  VTTBR_EL2: sysreg({ ...EL2, at: [3, 4, 2, 1, 0], bits: "VMID:16 BADDR:47 CnP:1" }),
  VTCR_EL2: sysreg({
    ...EL2,
    at: [3, 4, 2, 1, 2],
    bits:
      "RES0:32 RES1:1 RES0:2 HWU62:1 HWU61:1 HWU60:1 HWU59:1 RES0:2 HD:1 HA:1 RES0:1 VS:1 PS:3 TG0:2 SH0:2 ORGN0:2 IRGN0:2 SL0:2 T0SZ:6",
    only: { HA: "FEAT_HAFDBS", HD: "FEAT_HAFDBS", VS: "FEAT_VMID16" },
  }),
} as const;
