// Exception syndromes: the exception classes and the layouts of their instruction specific syndromes (DDI 0487 "ESR_EL1").
// AArch32 classes are left out: no modelled core has AArch32.

import { layout } from "../base/bits.ts";

/** Exception classes, ESR_ELx.EC. */
export const EC = {
  UNKNOWN: 0x00,
  WFX: 0x01,
  FP_ACCESS: 0x07,
  ILLEGAL_STATE: 0x0e,
  SVC: 0x15,
  HVC: 0x16,
  SMC: 0x17,
  SYSREG: 0x18,
  INSTRUCTION_ABORT_LOWER: 0x20,
  INSTRUCTION_ABORT: 0x21,
  PC_ALIGNMENT: 0x22,
  DATA_ABORT_LOWER: 0x24,
  DATA_ABORT: 0x25,
  SP_ALIGNMENT: 0x26,
  FP_EXCEPTION: 0x2c,
  SERROR: 0x2f,
  BREAKPOINT_LOWER: 0x30,
  BREAKPOINT: 0x31,
  STEP_LOWER: 0x32,
  STEP: 0x33,
  WATCHPOINT_LOWER: 0x34,
  WATCHPOINT: 0x35,
  BRK: 0x3c,
} as const;
export type ExceptionClass = (typeof EC)[keyof typeof EC];

export const ESR_BITS = "RES0:32 EC:6 IL:1 ISS:25";

/** Layouts of the ISS field. */
export const ISS = {
  WFX: layout(25, "CV:1 COND:4 RES0:18 TI:2"),
  FP_ACCESS: layout(25, "CV:1 COND:4 RES0:20"),
  /** SVC, HVC, SMC, BRK. */
  IMMEDIATE: layout(25, "RES0:9 imm16:16"),
  SYSREG: layout(25, "RES0:3 Op0:2 Op2:3 Op1:3 CRn:4 Rt:5 CRm:4 Direction:1"),
  INSTRUCTION_ABORT: layout(25, "RES0:12 SET:2 FnV:1 EA:1 RES0:1 S1PTW:1 RES0:1 IFSC:6"),
  DATA_ABORT: layout(
    25,
    "ISV:1 SAS:2 SSE:1 SRT:5 SF:1 AR:1 VNCR:1 SET:2 FnV:1 EA:1 CM:1 S1PTW:1 WnR:1 DFSC:6",
  ),
  SERROR: layout(25, "IDS:1 RES0:10 IESB:1 AET:3 EA:1 RES0:3 DFSC:6"),
} as const;

/** Fault status codes, ISS.DFSC and IFSC; those with a level are to be added to it (0 to 3). */
export const FSC = {
  ADDRESS_SIZE: 0x00,
  TRANSLATION: 0x04,
  ACCESS_FLAG: 0x08,
  PERMISSION: 0x0c,
  EXTERNAL: 0x10,
  EXTERNAL_ON_WALK: 0x14,
  ALIGNMENT: 0x21,
  TLB_CONFLICT: 0x30,
  UNSUPPORTED_EXCLUSIVE: 0x35,
} as const;
