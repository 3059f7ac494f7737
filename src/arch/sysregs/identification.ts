// Identification, cache description and feature registers. Values come from the CPU model (models.ts).

import { type Encoding, sysreg } from "../sysreg.ts";

/** ID_<name>: read-only, trapped by HCR_EL2.TID3. */
const id = <const S extends string>(CRm: number, op2: number, bits: S) =>
  sysreg({ at: [3, 0, 0, CRm, op2], read: 1, bits, traps: ["TID3"] });
/** An identification register that describes AArch32, or is reserved: reads as zero. */
const raz = (CRm: number, op2: number) => id(CRm, op2, "Reserved:64");

export const IDENTIFICATION = {
  MIDR_EL1: sysreg({
    at: [3, 0, 0, 0, 0],
    read: 1,
    owner: "cpu",
    bits: "RES0:32 Implementer:8 Variant:4 Architecture:4 PartNum:12 Revision:4",
  }),
  MPIDR_EL1: sysreg({
    at: [3, 0, 0, 0, 5],
    read: 1,
    owner: "cpu",
    bits: "RES0:24 Aff3:8 RES1:1 U:1 RES0:5 MT:1 Aff2:8 Aff1:8 Aff0:8",
  }),
  REVIDR_EL1: sysreg({ at: [3, 0, 0, 0, 6], read: 1, bits: "Revision:64", traps: ["TID1"] }),
  AIDR_EL1: sysreg({ at: [3, 1, 0, 0, 7], read: 1, bits: "Auxiliary:64", traps: ["TID1"] }),

  ID_PFR0_EL1: raz(1, 0),
  ID_PFR1_EL1: raz(1, 1),
  ID_DFR0_EL1: raz(1, 2),
  ID_AFR0_EL1: raz(1, 3),
  ID_MMFR0_EL1: raz(1, 4),
  ID_MMFR1_EL1: raz(1, 5),
  ID_MMFR2_EL1: raz(1, 6),
  ID_MMFR3_EL1: raz(1, 7),
  ID_ISAR0_EL1: raz(2, 0),
  ID_ISAR1_EL1: raz(2, 1),
  ID_ISAR2_EL1: raz(2, 2),
  ID_ISAR3_EL1: raz(2, 3),
  ID_ISAR4_EL1: raz(2, 4),
  ID_ISAR5_EL1: raz(2, 5),
  ID_MMFR4_EL1: raz(2, 6),
  ID_ISAR6_EL1: raz(2, 7),
  MVFR0_EL1: raz(3, 0),
  MVFR1_EL1: raz(3, 1),
  MVFR2_EL1: raz(3, 2),
  ID_RESERVED_3_3: raz(3, 3),
  ID_PFR2_EL1: raz(3, 4),
  ID_DFR1_EL1: raz(3, 5),
  ID_MMFR5_EL1: raz(3, 6),
  ID_RESERVED_3_7: raz(3, 7),

  ID_AA64PFR0_EL1: id(
    4,
    0,
    "CSV3:4 CSV2:4 RME:4 DIT:4 AMU:4 MPAM:4 SEL2:4 SVE:4 RAS:4 GIC:4 AdvSIMD:4 FP:4 EL3:4 EL2:4 EL1:4 EL0:4",
  ),
  ID_AA64PFR1_EL1: raz(4, 1),
  ID_RESERVED_4_2: raz(4, 2),
  ID_RESERVED_4_3: raz(4, 3),
  ID_AA64ZFR0_EL1: raz(4, 4),
  ID_RESERVED_4_5: raz(4, 5),
  ID_RESERVED_4_6: raz(4, 6),
  ID_RESERVED_4_7: raz(4, 7),
  ID_AA64DFR0_EL1: id(
    5,
    0,
    "RES0:20 DoubleLock:4 PMSVer:4 CTX_CMPs:4 RES0:4 WRPs:4 RES0:4 BRPs:4 PMUVer:4 TraceVer:4 DebugVer:4 RES0:4",
  ),
  ID_AA64DFR1_EL1: raz(5, 1),
  ID_RESERVED_5_2: raz(5, 2),
  ID_RESERVED_5_3: raz(5, 3),
  ID_AA64AFR0_EL1: raz(5, 4),
  ID_AA64AFR1_EL1: raz(5, 5),
  ID_RESERVED_5_6: raz(5, 6),
  ID_RESERVED_5_7: raz(5, 7),
  ID_AA64ISAR0_EL1: id(
    6,
    0,
    "RNDR:4 TLB:4 TS:4 FHM:4 DP:4 SM4:4 SM3:4 SHA3:4 RDM:4 RES0:4 Atomic:4 CRC32:4 SHA2:4 SHA1:4 AES:4 RES0:4",
  ),
  ID_AA64ISAR1_EL1: id(
    6,
    1,
    "RES0:8 I8MM:4 DGH:4 BF16:4 SPECRES:4 SB:4 FRINTTS:4 GPI:4 GPA:4 LRCPC:4 FCMA:4 JSCVT:4 API:4 APA:4 DPB:4",
  ),
  ID_AA64ISAR2_EL1: raz(6, 2),
  ID_RESERVED_6_3: raz(6, 3),
  ID_RESERVED_6_4: raz(6, 4),
  ID_RESERVED_6_5: raz(6, 5),
  ID_RESERVED_6_6: raz(6, 6),
  ID_RESERVED_6_7: raz(6, 7),
  ID_AA64MMFR0_EL1: id(
    7,
    0,
    "ECV:4 FGT:4 RES0:8 ExS:4 TGran4_2:4 TGran64_2:4 TGran16_2:4 TGran4:4 TGran64:4 TGran16:4 BigEndEL0:4 SNSMem:4 BigEnd:4 ASIDBits:4 PARange:4",
  ),
  ID_AA64MMFR1_EL1: id(
    7,
    1,
    "RES0:12 nTLBPA:4 AFP:4 HCX:4 ETS:4 TWED:4 XNX:4 SpecSEI:4 PAN:4 LO:4 HPDS:4 VH:4 VMIDBits:4 HAFDBS:4",
  ),
  ID_AA64MMFR2_EL1: id(
    7,
    2,
    "E0PD:4 EVT:4 BBM:4 TTL:4 RES0:4 FWB:4 IDS:4 AT:4 ST:4 NV:4 CCIDX:4 VARange:4 IESB:4 LSM:4 UAO:4 CnP:4",
  ),
  ID_RESERVED_7_3: raz(7, 3),
  ID_RESERVED_7_4: raz(7, 4),
  ID_RESERVED_7_5: raz(7, 5),
  ID_RESERVED_7_6: raz(7, 6),
  ID_RESERVED_7_7: raz(7, 7),

  CCSIDR_EL1: sysreg({
    at: [3, 1, 0, 0, 0],
    read: 1,
    owner: "cpu",
    traps: ["TID2"],
    bits: "RES0:32 UNKNOWN:4 NumSets:15 Associativity:10 LineSize:3",
  }),
  CLIDR_EL1: sysreg({
    at: [3, 1, 0, 0, 1],
    read: 1,
    traps: ["TID2"],
    bits: "RES0:31 ICB:3 LoUU:3 LoC:3 LoUIS:3 Ctype7:3 Ctype6:3 Ctype5:3 Ctype4:3 Ctype3:3 Ctype2:3 Ctype1:3",
  }),
  CSSELR_EL1: sysreg({
    at: [3, 2, 0, 0, 0],
    read: 1,
    write: 1,
    traps: ["TID2"],
    bits: "RES0:60 Level:3 InD:1",
  }),
  CTR_EL0: sysreg({
    at: [3, 3, 0, 0, 1],
    read: 0,
    traps: ["UCT", "TID2"],
    bits: "RES0:32 RES1:1 RES0:1 DIC:1 IDC:1 CWG:4 ERG:4 DminLine:4 L1Ip:2 RES0:10 IminLine:4",
  }),
  DCZID_EL0: sysreg({ at: [3, 3, 0, 0, 7], read: 0, owner: "cpu", bits: "RES0:59 DZP:1 BS:4" }),
} as const;

/** Whether an encoding lies in the space of the identification registers that HCR_EL2.TID3 covers. */
export const isIdentification = ([op0, op1, CRn, CRm]: Encoding): boolean =>
  op0 === 3 && op1 === 0 && CRn === 0 && CRm >= 1 && CRm <= 7;
