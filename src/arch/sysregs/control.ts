// Control of the exception levels: what is enabled, what traps, where exceptions go and what they report.

import { DIRECT } from "../direct.ts";
import { ESR_BITS } from "../esr.ts";
import { SPSR_BITS } from "../pstate.ts";
import { sysreg } from "../sysreg.ts";

const VM = { read: 1, write: 1, traps: ["TVM", "TRVM"] } as const;
const EL1 = { read: 1, write: 1 } as const;
const EL2 = { read: 2, write: 2 } as const;
const READ_EL2 = { direct: { read: DIRECT.EL2 } } as const;
const DIRECT_EL2 = { direct: { read: DIRECT.EL2, write: DIRECT.EL2 } } as const;

// EE and E0E are RES0: BigEnd is 0. Bits that are RES1 in Armv8.0 are stored as written.
const SCTLR_BITS =
  "RES0:32 RES0:1 LSMAOE_nTLSMD:1 A28:1 A29:1 RES0:1 UCI:1 EE:1 E0E:1 SPAN:1 EIS:1 IESB:1 TSCXT:1 WXN:1 nTWE:1 RES0:1 nTWI:1 UCT:1 DZE:1 RES0:1 I:1 EOS:1 RES0:1 UMA:1 SED:1 ITD:1 nAA:1 CP15BEN:1 SA0:1 SA:1 C:1 A:1 M:1";

export const CONTROL = {
  SCTLR_EL1: sysreg({
    ...VM,
    at: [3, 0, 1, 0, 0],
    e2h: "SCTLR_EL2",
    bits: SCTLR_BITS,
    fixed: 0x0300_0000n,
    effect: "control",
    direct: { read: DIRECT.EL1_VM_READ },
  }),
  SCTLR_EL2: sysreg({
    ...EL2,
    ...READ_EL2,
    at: [3, 4, 1, 0, 0],
    bits: SCTLR_BITS,
    fixed: 0x0300_0000n,
    effect: "control",
  }),
  ACTLR_EL1: sysreg({ ...EL1, at: [3, 0, 1, 0, 1], traps: ["TACR"], bits: "RES0:64" }),
  ACTLR_EL2: sysreg({ ...EL2, at: [3, 4, 1, 0, 1], bits: "RES0:64" }),
  CPACR_EL1: sysreg({
    ...EL1,
    at: [3, 0, 1, 0, 2],
    traps: ["TCPAC"],
    e2h: "CPTR_EL2",
    bits: "RES0:35 TTA:1 RES0:6 FPEN:2 RES0:20",
    fixed: 0x1000_0000n,
    effect: "control",
  }),
  /** Two layouts: this one with E2H = 1, CPTR_EL2_NVHE with E2H = 0. TTA is RAZ/WI: no trace registers. */
  CPTR_EL2: sysreg({
    ...EL2,
    ...READ_EL2,
    at: [3, 4, 1, 1, 2],
    bits: "RES0:32 TCPAC:1 RES0:2 TTA:1 RES0:6 FPEN:2 RES0:6 NVHE:14",
    effect: "control",
    reset: 0x33ffn,
  }),
  HCR_EL2: sysreg({
    ...EL2,
    ...READ_EL2,
    at: [3, 4, 1, 1, 0],
    bits:
      "RES0:25 MIOCNCE:1 TEA:1 TERR:1 TLOR:1 E2H:1 ID:1 CD:1 RW:1 TRVM:1 HCD:1 TDZ:1 TGE:1 TVM:1 TTLB:1 TPU:1 TPC:1 TSW:1 TACR:1 TIDCP:1 TSC:1 TID3:1 TID2:1 TID1:1 TID0:1 TWE:1 TWI:1 DC:1 BSU:2 FB:1 VSE:1 VI:1 VF:1 AMO:1 IMO:1 FMO:1 PTW:1 SWIO:1 VM:1",
    only: { MIOCNCE: "FEAT_VHE", TEA: "FEAT_RAS", TERR: "FEAT_RAS", E2H: "FEAT_VHE" },
    // RW is RAO/WI, since EL1 has no AArch32; TLOR is RES0 without LORegions.
    fixed: 0x8_8000_0000n,
    reset: 0x8000_0000n,
    effect: "control",
  }),
  HACR_EL2: sysreg({ ...EL2, at: [3, 4, 1, 1, 7], bits: "RES0:64" }),
  /** Traps AArch32 coprocessor accesses only: stored, without effect. */
  HSTR_EL2: sysreg({ ...EL2, ...READ_EL2, at: [3, 4, 1, 1, 3], bits: "RES0:48 T:16" }),
  VPIDR_EL2: sysreg({ ...EL2, ...READ_EL2, at: [3, 4, 0, 0, 0], bits: "RES0:32 MIDR:32" }),
  VMPIDR_EL2: sysreg({ ...EL2, ...READ_EL2, at: [3, 4, 0, 0, 5], bits: "MPIDR:64" }),

  AFSR0_EL1: sysreg({ ...VM, at: [3, 0, 5, 1, 0], e2h: "AFSR0_EL2", bits: "RES0:64" }),
  AFSR1_EL1: sysreg({ ...VM, at: [3, 0, 5, 1, 1], e2h: "AFSR1_EL2", bits: "RES0:64" }),
  ESR_EL1: sysreg({
    ...VM,
    at: [3, 0, 5, 2, 0],
    e2h: "ESR_EL2",
    bits: ESR_BITS,
    direct: { read: DIRECT.EL1_VM_READ, write: DIRECT.EL1_VM_WRITE },
  }),
  FAR_EL1: sysreg({
    ...VM,
    at: [3, 0, 6, 0, 0],
    e2h: "FAR_EL2",
    bits: "VA:64",
    direct: { read: DIRECT.EL1_VM_READ, write: DIRECT.EL1_VM_WRITE },
  }),
  VBAR_EL1: sysreg({
    ...EL1,
    at: [3, 0, 12, 0, 0],
    e2h: "VBAR_EL2",
    bits: "BASE:53 RES0:11",
    direct: { read: DIRECT.EL1_REDIRECTED },
  }),
  SPSR_EL1: sysreg({
    ...EL1,
    at: [3, 0, 4, 0, 0],
    e2h: "SPSR_EL2",
    bits: SPSR_BITS,
    direct: { read: DIRECT.EL1_REDIRECTED, write: DIRECT.EL1_REDIRECTED },
  }),
  ELR_EL1: sysreg({
    ...EL1,
    at: [3, 0, 4, 0, 1],
    e2h: "ELR_EL2",
    bits: "Address:64",
    direct: { read: DIRECT.EL1_REDIRECTED, write: DIRECT.EL1_REDIRECTED },
  }),
  AFSR0_EL2: sysreg({ ...EL2, at: [3, 4, 5, 1, 0], bits: "RES0:64" }),
  AFSR1_EL2: sysreg({ ...EL2, at: [3, 4, 5, 1, 1], bits: "RES0:64" }),
  ESR_EL2: sysreg({ ...EL2, ...DIRECT_EL2, at: [3, 4, 5, 2, 0], bits: ESR_BITS }),
  FAR_EL2: sysreg({ ...EL2, ...DIRECT_EL2, at: [3, 4, 6, 0, 0], bits: "VA:64" }),
  HPFAR_EL2: sysreg({ ...EL2, ...DIRECT_EL2, at: [3, 4, 6, 0, 4], bits: "RES0:24 FIPA:36 RES0:4" }),
  VBAR_EL2: sysreg({ ...EL2, ...READ_EL2, at: [3, 4, 12, 0, 0], bits: "BASE:53 RES0:11" }),
  SPSR_EL2: sysreg({ ...EL2, ...DIRECT_EL2, at: [3, 4, 4, 0, 0], bits: SPSR_BITS }),
  ELR_EL2: sysreg({ ...EL2, ...DIRECT_EL2, at: [3, 4, 4, 0, 1], bits: "Address:64" }),

  /** Banked while another stack pointer is in use: the live one is X[32] of the register file. */
  SP_EL0: sysreg({
    ...EL1,
    at: [3, 0, 4, 1, 0],
    traps: ["SPSEL"],
    bits: "SP:64",
    direct: { read: DIRECT.SP_EL0, write: DIRECT.SP_EL0 },
  }),
  SP_EL1: sysreg({ ...EL2, ...DIRECT_EL2, at: [3, 4, 4, 1, 0], bits: "SP:64" }),
  /** Has no encoding below EL3; here for its storage. */
  SP_EL2: sysreg({ bits: "SP:64" }),

  // PSTATE fields. Their state is in the vCPU structure.
  SPSel: sysreg({ ...EL1, at: [3, 0, 4, 2, 0], owner: "cpu", bits: "RES0:63 SP:1" }),
  CurrentEL: sysreg({ read: 1, at: [3, 0, 4, 2, 2], owner: "cpu", bits: "RES0:60 EL:2 RES0:2" }),
  PAN: sysreg({ ...EL1, at: [3, 0, 4, 2, 3], owner: "cpu", feature: "FEAT_PAN", bits: "RES0:41 PAN:1 RES0:22" }),
  UAO: sysreg({ ...EL1, at: [3, 0, 4, 2, 4], owner: "cpu", feature: "FEAT_UAO", bits: "RES0:40 UAO:1 RES0:23" }),
  NZCV: sysreg({ read: 0, write: 0, at: [3, 3, 4, 2, 0], owner: "cpu", bits: "RES0:32 N:1 Z:1 C:1 V:1 RES0:28" }),
  DAIF: sysreg({
    read: 0,
    write: 0,
    at: [3, 3, 4, 2, 1],
    owner: "cpu",
    traps: ["UMA"],
    bits: "RES0:54 D:1 A:1 I:1 F:1 RES0:6",
  }),
  FPCR: sysreg({
    read: 0,
    write: 0,
    at: [3, 3, 4, 4, 0],
    owner: "cpu",
    traps: ["FP"],
    // Trapped FP exceptions are not implemented: the enable bits are RAZ/WI. Stride and Len are for AArch32.
    bits: "RES0:37 AHP:1 DN:1 FZ:1 RMode:2 RES0:2 FZ16:1 RES0:19",
    only: { FZ16: "FEAT_FP16" },
  }),
  FPSR: sysreg({
    read: 0,
    write: 0,
    at: [3, 3, 4, 4, 1],
    owner: "cpu",
    traps: ["FP"],
    bits: "RES0:36 QC:1 RES0:19 IDC:1 RES0:2 IXC:1 UFC:1 OFC:1 DZC:1 IOC:1",
  }),

  TPIDR_EL0: sysreg({
    read: 0,
    write: 0,
    at: [3, 3, 13, 0, 2],
    bits: "ThreadID:64",
    direct: { read: DIRECT.EL0, write: DIRECT.EL0 },
  }),
  TPIDRRO_EL0: sysreg({
    read: 0,
    write: 1,
    at: [3, 3, 13, 0, 3],
    bits: "ThreadID:64",
    direct: { read: DIRECT.EL0, write: DIRECT.EL1 },
  }),
  TPIDR_EL1: sysreg({
    ...EL1,
    at: [3, 0, 13, 0, 4],
    bits: "ThreadID:64",
    direct: { read: DIRECT.EL1, write: DIRECT.EL1 },
  }),
  TPIDR_EL2: sysreg({ ...EL2, ...DIRECT_EL2, at: [3, 4, 13, 0, 2], bits: "ThreadID:64" }),

  ISR_EL1: sysreg({ read: 1, at: [3, 0, 12, 1, 0], owner: "cpu", bits: "RES0:55 A:1 I:1 F:1 RES0:6" }),
  RVBAR_EL1: sysreg({ read: 1, at: [3, 0, 12, 0, 1], traps: ["WITHOUT_EL2"], bits: "Address:64" }),
  RVBAR_EL2: sysreg({ read: 2, at: [3, 4, 12, 0, 1], bits: "Address:64" }),
  // RMR_ELx is not implemented, as a core without AArch32 at its highest level may choose.

  // RAS, minimal: no error records. ERRSELR_EL1 and the ERX* registers are UNDEFINED then.
  ERRIDR_EL1: sysreg({ read: 1, at: [3, 0, 5, 3, 0], feature: "FEAT_RAS", traps: ["TERR"], bits: "RES0:48 NUM:16" }),
  DISR_EL1: sysreg({
    ...EL1,
    at: [3, 0, 12, 1, 1],
    feature: "FEAT_RAS",
    owner: "cpu",
    bits: "RES0:32 A:1 RES0:6 IDS:1 ISS:24",
  }),
  VDISR_EL2: sysreg({ ...EL2, at: [3, 4, 12, 1, 1], feature: "FEAT_RAS", bits: "RES0:32 A:1 RES0:6 IDS:1 ISS:24" }),
  VSESR_EL2: sysreg({ ...EL2, at: [3, 4, 5, 2, 3], feature: "FEAT_RAS", bits: "RES0:39 IDS:1 ISS:24" }),

  // AArch32 state that a hypervisor saves for its guests: RAZ/WI, as EL1 has no AArch32.
  DACR32_EL2: sysreg({ ...EL2, at: [3, 4, 3, 0, 0], bits: "RES0:64" }),
  IFSR32_EL2: sysreg({ ...EL2, at: [3, 4, 5, 0, 1], bits: "RES0:64" }),
  FPEXC32_EL2: sysreg({ ...EL2, at: [3, 4, 5, 3, 0], traps: ["FP"], bits: "RES0:64" }),
  SPSR_irq: sysreg({ ...EL2, at: [3, 4, 4, 3, 0], bits: "RES0:64" }),
  SPSR_abt: sysreg({ ...EL2, at: [3, 4, 4, 3, 1], bits: "RES0:64" }),
  SPSR_und: sysreg({ ...EL2, at: [3, 4, 4, 3, 2], bits: "RES0:64" }),
  SPSR_fiq: sysreg({ ...EL2, at: [3, 4, 4, 3, 3], bits: "RES0:64" }),
} as const;
