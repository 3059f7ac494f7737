// Exception syndromes in words, for traces and for people: DDI 0487 "ESR_EL1", "ISS encoding for ...".

import { extract, type Layout } from "../base/bits.ts";
import { EC, FSC, ISS } from "./esr.ts";
import { genericName, sysregKey } from "./sysreg.ts";
import { ENCODINGS } from "./sysregs.ts";
import { SYSTEM_INSTRUCTIONS, type SystemInstruction } from "./sysinsns.ts";

interface Class {
  readonly name: string;
  readonly iss?: Layout;
  /** More than the name says, from the ISS. */
  readonly words?: (iss: number) => string;
}

const hex = (value: number) => `0x${value.toString(16)}`;
const immediate = (name: string): Class => ({
  name,
  iss: ISS.IMMEDIATE,
  words: (iss) => `${name} #${hex(iss & 0xffff)}`,
});
const bit = (iss: number, lsb: number) => extract(iss, lsb, 1) === 1;

function dataAbort(name: string): Class {
  return {
    name,
    iss: ISS.DATA_ABORT,
    words(iss) {
      const write = bit(iss, 6), register = extract(iss, 16, 5), bytes = 1 << extract(iss, 22, 2);
      const operand = `${bit(iss, 15) ? "x" : "w"}${register === 31 ? "zr" : register}`;
      const what = bit(iss, 8)
        ? "cache maintenance"
        : !bit(iss, 24)
        ? write ? "write" : "read"
        : `${write ? "write" : bit(iss, 21) ? "signed read" : "read"} of ${bytes} byte${bytes === 1 ? "" : "s"} ` +
          `${write ? "from" : "into"} ${operand}`;
      return `${name}: ${faultStatusWords(iss & 63)}${bit(iss, 7) ? ", on the walk of stage 1" : ""}; ${what}`;
    },
  };
}
const instructionAbort = (name: string): Class => ({
  name,
  iss: ISS.INSTRUCTION_ABORT,
  words: (iss) => `${name}: ${faultStatusWords(iss & 63)}${bit(iss, 7) ? ", on the walk of stage 1" : ""}`,
});

/** As an assembler writes it, without its register. */
export function systemInstructionName({ kind, op }: SystemInstruction): string {
  return kind === "cache" ? op.replace("_", " ") : `${kind.toUpperCase()} ${op}`;
}

/** MSR, MRS or System instruction, as AArch64.SystemAccessTrapSyndrome() packs it. */
function systemAccess(iss: number): string {
  const key = sysregKey([
    extract(iss, 20, 2),
    extract(iss, 14, 3),
    extract(iss, 10, 4),
    extract(iss, 1, 4),
    extract(iss, 17, 3),
  ]);
  const rt = extract(iss, 5, 5), read = bit(iss, 0), instruction = SYSTEM_INSTRUCTIONS.get(key);
  const register = rt === 31 ? "xzr" : `x${rt}`;
  if (instruction !== undefined) return `trapped ${systemInstructionName(instruction)}, ${register}`;
  const name = ENCODINGS.get(key)?.spelling ?? genericName(key);
  return `trapped ${read ? `read of ${name} into` : `write of ${name} from`} ${register}`;
}

const CLASSES: ReadonlyMap<number, Class> = new Map<number, Class>([
  [EC.UNKNOWN, { name: "unknown reason (undefined instruction)" }],
  [EC.WFX, {
    name: "trapped WFI or WFE",
    iss: ISS.WFX,
    words: (iss) => `trapped ${bit(iss, 0) ? "WFE" : "WFI"}`,
  }],
  [EC.FP_ACCESS, { name: "trapped access to SIMD or floating point", iss: ISS.FP_ACCESS }],
  [EC.ILLEGAL_STATE, { name: "illegal execution state" }],
  [EC.SVC, immediate("SVC")],
  [EC.HVC, immediate("HVC")],
  [EC.SMC, immediate("SMC")],
  [EC.SYSREG, { name: "trapped MSR, MRS or System instruction", iss: ISS.SYSREG, words: systemAccess }],
  [EC.INSTRUCTION_ABORT_LOWER, instructionAbort("instruction abort from a lower level")],
  [EC.INSTRUCTION_ABORT, instructionAbort("instruction abort")],
  [EC.PC_ALIGNMENT, { name: "PC alignment fault" }],
  [EC.DATA_ABORT_LOWER, dataAbort("data abort from a lower level")],
  [EC.DATA_ABORT, dataAbort("data abort")],
  [EC.SP_ALIGNMENT, { name: "SP alignment fault" }],
  [EC.FP_EXCEPTION, { name: "floating-point exception" }],
  [EC.SERROR, { name: "SError", iss: ISS.SERROR }],
  [EC.BREAKPOINT_LOWER, { name: "breakpoint from a lower level" }],
  [EC.BREAKPOINT, { name: "breakpoint" }],
  [EC.STEP_LOWER, { name: "software step from a lower level" }],
  [EC.STEP, { name: "software step" }],
  [EC.WATCHPOINT_LOWER, { name: "watchpoint from a lower level" }],
  [EC.WATCHPOINT, { name: "watchpoint" }],
  [EC.BRK, immediate("BRK")],
]);

/** The name of an exception class, ESR_ELx.EC. */
export const exceptionClassName = (ec: number): string => CLASSES.get(ec)?.name ?? `class ${hex(ec)}`;

/** The layout of ESR_ELx.ISS for a class; undefined where all of it is RES0. */
export const issLayout = (ec: number): Layout | undefined => CLASSES.get(ec)?.iss;

/** What ESR_ELx (its low word) says, in words. */
export function syndromeWords(esr: number): string {
  const ec = esr >>> 26, iss = esr & 0x1ff_ffff;
  return CLASSES.get(ec)?.words?.(iss) ?? exceptionClassName(ec);
}

/** Whether a class is an abort, so that FAR_ELx and perhaps HPFAR_EL2 belong to it. */
export const hasFaultAddress = (ec: number): boolean =>
  ec === EC.PC_ALIGNMENT || ec === EC.WATCHPOINT || ec === EC.WATCHPOINT_LOWER || isAbort(ec);
export const isAbort = (ec: number): boolean =>
  ec === EC.DATA_ABORT || ec === EC.DATA_ABORT_LOWER || ec === EC.INSTRUCTION_ABORT ||
  ec === EC.INSTRUCTION_ABORT_LOWER;

/** What a fault status code (DFSC, IFSC) says. */
export function faultStatusWords(fsc: number): string {
  switch (fsc) {
    case FSC.EXTERNAL:
      return "external abort";
    case FSC.ALIGNMENT:
      return "alignment fault";
    case FSC.TLB_CONFLICT:
      return "TLB conflict abort";
    case FSC.UNSUPPORTED_EXCLUSIVE:
      return "exclusive or atomic access that the target does not support";
  }
  const level = `level ${fsc & 3}`;
  if (fsc < 16) {
    const kinds = ["address size fault", "translation fault", "access flag fault", "permission fault"];
    return `${kinds[fsc >> 2]}, ${level}`;
  }
  if ((fsc & ~3) === FSC.EXTERNAL_ON_WALK) return `external abort on the walk, ${level}`;
  return `fault status ${hex(fsc)}`;
}
