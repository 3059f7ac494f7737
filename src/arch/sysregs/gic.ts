// The GICv3 CPU interface (ICC_*), the virtual one a guest sees under the same encodings (ICV_*), and the hypervisor's
// control of it (ICH_*): IHI 0069 "AArch64 System register descriptions". Computed by src/gic. The system register
// interface is always on: the ICC_SRE_ELx are constants. Five priority bits, so one active-priority register per group.

import { sysreg } from "../sysreg.ts";

const GIC = { owner: "gic", feature: "gicv3" } as const;
const RW = { ...GIC, read: 1, write: 1 } as const;
const R = { ...GIC, read: 1 } as const;
const W = { ...GIC, write: 1 } as const;
const EL2 = { ...GIC, read: 2, write: 2 } as const;
const GROUP0 = ["TALL0"] as const, GROUP1 = ["TALL1"] as const, COMMON = ["TC"] as const;
const FMO = ["FMO"] as const, IMO = ["IMO"] as const, EITHER = ["FMO", "IMO"] as const;

const INTID = "RES0:40 INTID:24";
const ENABLE = "RES0:63 Enable:1";
const BPR = "RES0:61 BinaryPoint:3";
const PRIORITY = "RES0:56 Priority:8";
const AP = "RES0:32 P:32";
const CTLR = "RES0:44 ExtRange:1 RSS:1 RES0:2 A3V:1 SEIS:1 IDbits:3 PRIbits:3 RES0:1 PMHE:1 RES0:4 EOImode:1 CBPR:1";
const SGI = "RES0:8 Aff3:8 RS:4 RES0:3 IRM:1 Aff2:8 RES0:4 INTID:4 Aff1:8 TargetList:16";
const LR = "State:2 HW:1 Group:1 RES0:4 Priority:8 RES0:3 pINTID:13 vINTID:32";
const lr = (n: number) => sysreg({ ...EL2, at: [3, 4, 12, 12 + (n >> 3), n & 7], bits: LR });
/** A virtual register: reached from EL1 under its ICC name. */
const icv = <const S extends string>(bits: S) => sysreg({ ...RW, bits });

export const GIC_REGISTERS = {
  ICC_PMR_EL1: sysreg({
    ...RW,
    at: [3, 0, 4, 6, 0],
    traps: COMMON,
    virtual: { name: "ICV_PMR_EL1", when: EITHER },
    bits: PRIORITY,
  }),
  ICC_IAR0_EL1: sysreg({
    ...R,
    at: [3, 0, 12, 8, 0],
    traps: GROUP0,
    virtual: { name: "ICV_IAR0_EL1", when: FMO },
    bits: INTID,
  }),
  ICC_EOIR0_EL1: sysreg({
    ...W,
    at: [3, 0, 12, 8, 1],
    traps: GROUP0,
    virtual: { name: "ICV_EOIR0_EL1", when: FMO },
    bits: INTID,
  }),
  ICC_HPPIR0_EL1: sysreg({
    ...R,
    at: [3, 0, 12, 8, 2],
    traps: GROUP0,
    virtual: { name: "ICV_HPPIR0_EL1", when: FMO },
    bits: INTID,
  }),
  ICC_BPR0_EL1: sysreg({
    ...RW,
    at: [3, 0, 12, 8, 3],
    traps: GROUP0,
    virtual: { name: "ICV_BPR0_EL1", when: FMO },
    bits: BPR,
  }),
  ICC_AP0R0_EL1: sysreg({
    ...RW,
    at: [3, 0, 12, 8, 4],
    traps: GROUP0,
    virtual: { name: "ICV_AP0R0_EL1", when: FMO },
    bits: AP,
  }),
  ICC_AP1R0_EL1: sysreg({
    ...RW,
    at: [3, 0, 12, 9, 0],
    traps: GROUP1,
    virtual: { name: "ICV_AP1R0_EL1", when: IMO },
    bits: AP,
  }),
  ICC_DIR_EL1: sysreg({
    ...W,
    at: [3, 0, 12, 11, 1],
    traps: ["TC", "TDIR"],
    virtual: { name: "ICV_DIR_EL1", when: EITHER },
    bits: INTID,
  }),
  ICC_RPR_EL1: sysreg({
    ...R,
    at: [3, 0, 12, 11, 3],
    traps: COMMON,
    virtual: { name: "ICV_RPR_EL1", when: EITHER },
    bits: PRIORITY,
  }),
  ICC_SGI1R_EL1: sysreg({ ...W, at: [3, 0, 12, 11, 5], traps: ["TC", "SGI"], bits: SGI }),
  ICC_ASGI1R_EL1: sysreg({ ...W, at: [3, 0, 12, 11, 6], traps: ["TC", "SGI"], bits: SGI }),
  ICC_SGI0R_EL1: sysreg({ ...W, at: [3, 0, 12, 11, 7], traps: ["TC", "SGI"], bits: SGI }),
  ICC_IAR1_EL1: sysreg({
    ...R,
    at: [3, 0, 12, 12, 0],
    traps: GROUP1,
    virtual: { name: "ICV_IAR1_EL1", when: IMO },
    bits: INTID,
  }),
  ICC_EOIR1_EL1: sysreg({
    ...W,
    at: [3, 0, 12, 12, 1],
    traps: GROUP1,
    virtual: { name: "ICV_EOIR1_EL1", when: IMO },
    bits: INTID,
  }),
  ICC_HPPIR1_EL1: sysreg({
    ...R,
    at: [3, 0, 12, 12, 2],
    traps: GROUP1,
    virtual: { name: "ICV_HPPIR1_EL1", when: IMO },
    bits: INTID,
  }),
  ICC_BPR1_EL1: sysreg({
    ...RW,
    at: [3, 0, 12, 12, 3],
    traps: GROUP1,
    virtual: { name: "ICV_BPR1_EL1", when: IMO },
    bits: BPR,
  }),
  ICC_CTLR_EL1: sysreg({
    ...RW,
    at: [3, 0, 12, 12, 4],
    traps: COMMON,
    virtual: { name: "ICV_CTLR_EL1", when: EITHER },
    bits: CTLR,
  }),
  ICC_SRE_EL1: sysreg({
    read: 1,
    write: 1,
    feature: "gicv3",
    at: [3, 0, 12, 12, 5],
    bits: "RES0:61 DIB:1 DFB:1 SRE:1",
    fixed: 7n,
    reset: 7n,
  }),
  ICC_IGRPEN0_EL1: sysreg({
    ...RW,
    at: [3, 0, 12, 12, 6],
    traps: GROUP0,
    virtual: { name: "ICV_IGRPEN0_EL1", when: FMO },
    bits: ENABLE,
  }),
  ICC_IGRPEN1_EL1: sysreg({
    ...RW,
    at: [3, 0, 12, 12, 7],
    traps: GROUP1,
    virtual: { name: "ICV_IGRPEN1_EL1", when: IMO },
    bits: ENABLE,
  }),
  ICC_SRE_EL2: sysreg({
    read: 2,
    write: 2,
    feature: "gicv3",
    at: [3, 4, 12, 9, 5],
    bits: "RES0:60 Enable:1 DIB:1 DFB:1 SRE:1",
    fixed: 15n,
    reset: 15n,
  }),

  ICV_PMR_EL1: icv(PRIORITY),
  ICV_IAR0_EL1: icv(INTID),
  ICV_EOIR0_EL1: icv(INTID),
  ICV_HPPIR0_EL1: icv(INTID),
  ICV_BPR0_EL1: icv(BPR),
  ICV_AP0R0_EL1: icv(AP),
  ICV_AP1R0_EL1: icv(AP),
  ICV_DIR_EL1: icv(INTID),
  ICV_RPR_EL1: icv(PRIORITY),
  ICV_IAR1_EL1: icv(INTID),
  ICV_EOIR1_EL1: icv(INTID),
  ICV_HPPIR1_EL1: icv(INTID),
  ICV_BPR1_EL1: icv(BPR),
  ICV_CTLR_EL1: icv(CTLR),
  ICV_IGRPEN0_EL1: icv(ENABLE),
  ICV_IGRPEN1_EL1: icv(ENABLE),

  ICH_AP0R0_EL2: sysreg({ ...EL2, at: [3, 4, 12, 8, 0], bits: AP }),
  ICH_AP1R0_EL2: sysreg({ ...EL2, at: [3, 4, 12, 9, 0], bits: AP }),
  ICH_HCR_EL2: sysreg({
    ...EL2,
    at: [3, 4, 12, 11, 0],
    bits:
      "RES0:32 EOIcount:5 RES0:12 TDIR:1 TSEI:1 TALL1:1 TALL0:1 TC:1 RES0:2 VGrp1DIE:1 VGrp1EIE:1 VGrp0DIE:1 VGrp0EIE:1 NPIE:1 LRENPIE:1 UIE:1 En:1",
  }),
  ICH_VTR_EL2: sysreg({
    ...GIC,
    read: 2,
    at: [3, 4, 12, 11, 1],
    bits: "RES0:32 PRIbits:3 PREbits:3 IDbits:3 SEIS:1 A3V:1 nV4:1 TDS:1 RES0:14 ListRegs:5",
  }),
  ICH_MISR_EL2: sysreg({
    ...GIC,
    read: 2,
    at: [3, 4, 12, 11, 2],
    bits: "RES0:56 VGrp1D:1 VGrp1E:1 VGrp0D:1 VGrp0E:1 NP:1 LRENP:1 U:1 EOI:1",
  }),
  ICH_EISR_EL2: sysreg({ ...GIC, read: 2, at: [3, 4, 12, 11, 3], bits: "RES0:48 Status:16" }),
  ICH_ELRSR_EL2: sysreg({ ...GIC, read: 2, at: [3, 4, 12, 11, 5], bits: "RES0:48 Status:16" }),
  ICH_VMCR_EL2: sysreg({
    ...EL2,
    at: [3, 4, 12, 11, 7],
    bits: "RES0:32 VPMR:8 VBPR0:3 VBPR1:3 RES0:8 VEOIM:1 RES0:4 VCBPR:1 VFIQEn:1 VAckCtl:1 VENG1:1 VENG0:1",
  }),
  ICH_LR0_EL2: lr(0),
  ICH_LR1_EL2: lr(1),
  ICH_LR2_EL2: lr(2),
  ICH_LR3_EL2: lr(3),
} as const;
