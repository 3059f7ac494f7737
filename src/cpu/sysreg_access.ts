// What generated code calls for MRS, MSR, SYS, hints and the like. A register or instruction is found by its key, the
// access is judged as the manual's access pseudocode does, redirected, and carried out. Values move in the register file.

import { EC } from "../arch/esr.ts";
import { systemInstructionName } from "../arch/esr_text.ts";
import { SYSTEM_INSTRUCTIONS } from "../arch/sysinsns.ts";
import { genericName } from "../arch/sysreg.ts";
import { ENCODINGS, SCTLR } from "../arch/sysregs.ts";
import { tracePoint, Tracer } from "../base/trace.ts";
import type { Vcpu } from "./core.ts";
import { CPU_REGISTERS } from "./cpu_registers.ts";
import {
  afterDaif,
  afterDebugChange,
  afterUnmask,
  fpTrapped,
  interruptPending,
  ownTarget,
  takeAtInstruction,
  UNCONDITIONAL,
  undefined_,
  wait,
} from "./exceptions.ts";
import { HCR, isHost, recomputeControls, setLevel } from "./pstate.ts";
import { CONTINUE, type Status } from "./status.ts";
import type { Access, Target } from "./sysreg_table.ts";
import { judge, VERDICT, type Verdict } from "./traps.ts";
import { HALT, PENDING } from "./vcpu.ts";

export {
  brk,
  eret,
  fpTrapped,
  hlt,
  hvc,
  smc,
  spAlignment,
  svc,
  takePendingInterrupt,
  undefined_ as undefined,
} from "./exceptions.ts";

interface Refused {
  readonly cpu: number;
  readonly register: string;
  readonly write: boolean;
  readonly verdict: string;
}
const VERDICTS = ["", "trapped to EL1", "trapped to EL2", "undefined", "trapped as SIMD or floating point"];
const refusedWords = ({ register, write, verdict }: Readonly<Refused>) =>
  `${write ? "write of" : "read of"} ${register}: ${verdict}`;
const REFUSED = tracePoint("sysreg", "refused", refusedWords);
const UNKNOWN = tracePoint("unimp", "sysreg", refusedWords);
const TRACED = Tracer.bit("sysreg") | Tracer.bit("unimp");

/** What an assembler calls the register or system instruction with this key. */
function nameOf(key: number): string {
  const instruction = SYSTEM_INSTRUCTIONS.get(key);
  return ENCODINGS.get(key)?.spelling ?? (instruction ? systemInstructionName(instruction) : genericName(key));
}

/** Tells of an access that was not allowed; one that no register or instruction of this CPU answers is not implemented. */
function traceRefused(vcpu: Vcpu, verdict: Verdict, key: number, write: boolean): void {
  const { access, environment: { trace }, index: cpu } = vcpu;
  const event = { cpu, register: nameOf(key), write, verdict: VERDICTS[verdict]! };
  trace.emit(REFUSED, event);
  if (access.registers[key] === undefined && !access.instructions.has(key) && key >>> 14 !== 0) {
    trace.emit(UNKNOWN, event);
  }
}

/** The syndrome of a trapped MSR, MRS or System instruction: AArch64.SystemAccessTrapSyndrome(). */
const accessSyndrome = (key: number, rt: number, read: boolean): number =>
  (key >> 14 & 3) << 20 | (key & 7) << 17 | (key >> 11 & 7) << 14 | (key >> 7 & 15) << 10 | rt << 5 |
  (key >> 3 & 15) << 1 | (read ? 1 : 0);

/** Takes the exception of an access that was not allowed. */
function refuse(vcpu: Vcpu, verdict: Verdict, key: number, rt: number, read: boolean): Status {
  if ((vcpu.environment.trace.mask & TRACED) !== 0) traceRefused(vcpu, verdict, key, !read);
  if (verdict === VERDICT.UNDEFINED) return undefined_(vcpu);
  if (verdict === VERDICT.FP) return fpTrapped(vcpu);
  return takeAtInstruction(vcpu, verdict, EC.SYSREG, accessSyndrome(key, rt, read));
}

/** What becomes of an access without a register: IMPLEMENTATION DEFINED space is trapped by HCR_EL2.TIDCP. */
function unallocated(vcpu: Vcpu, key: number): Verdict {
  const CRn = key >> 7 & 15, op0 = key >> 14;
  const implementationDefined = (op0 === 3 || op0 === 1) && (CRn === 11 || CRn === 15);
  const trapped = implementationDefined && vcpu.state.el === 1 && (vcpu.sys.HCR_EL2Lo & HCR.TIDCP) !== 0;
  return trapped ? VERDICT.TO_EL2 : VERDICT.UNDEFINED;
}

/** The register that an allowed access reaches. */
function resolve(vcpu: Vcpu, access: Access): Target {
  const { state, sys } = vcpu;
  if (access.redirect !== undefined) {
    if (state.el === 2 ? (sys.HCR_EL2Hi & HCR.E2H_HI) !== 0 : state.el === 0 && access.hostRedirect && isHost(vcpu)) {
      return access.redirect;
    }
  } else if (access.virtual !== undefined && state.el === 1 && (sys.HCR_EL2Lo & access.virtualMask) !== 0) {
    return access.virtual;
  }
  return access.target;
}

/** AArch64.SysRegRead(): reads a register into X<rt>; 31 discards the value. */
export function readSysreg(vcpu: Vcpu, key: number, rt: number): Status {
  const access = vcpu.access.registers[key], { state } = vcpu;
  if (access === undefined) return refuse(vcpu, unallocated(vcpu, key), key, rt, true);
  if (state.el < access.read || (access.alias && (vcpu.sys.HCR_EL2Hi & HCR.E2H_HI) === 0)) {
    return refuse(vcpu, VERDICT.UNDEFINED, key, rt, true);
  }
  const verdict = judge(vcpu, access.readChecks);
  if (verdict !== VERDICT.ALLOWED) return refuse(vcpu, verdict, key, rt, true);
  const target = resolve(vcpu, access), { xWords } = vcpu;
  if (target.owner === undefined) {
    if (rt === 31) return CONTINUE;
    xWords[2 * rt] = vcpu.sysWords[target.word]!;
    xWords[2 * rt + 1] = vcpu.sysWords[target.word + 1]!;
    return CONTINUE;
  }
  const value = readOwned(vcpu, target);
  if (rt === 31) return CONTINUE;
  if (typeof value === "bigint") state.x[rt] = value;
  else {
    xWords[2 * rt] = value;
    xWords[2 * rt + 1] = 0;
  }
  return CONTINUE;
}

/** A register that is computed. A number stands for an unsigned 32-bit value. */
function readOwned(vcpu: Vcpu, target: Target): number | bigint {
  if (target.owner === "cpu") return CPU_REGISTERS[target.name]?.read?.(vcpu) ?? 0;
  // The virtual counter has no offset for a host that runs at EL2 with E2H, nor for its applications.
  const name = target.name === "CNTVCT_EL0" && noOffset(vcpu) ? "CNTPCT_EL0" : target.name;
  return vcpu.environment.readHook(name, vcpu);
}

const noOffset = (vcpu: Vcpu): boolean =>
  vcpu.state.el === 2 ? (vcpu.sys.HCR_EL2Hi & HCR.E2H_HI) !== 0 : vcpu.state.el === 0 && isHost(vcpu);

/** AArch64.SysRegWrite(): writes X<rt>, or zero for 31, into a register. */
export function writeSysreg(vcpu: Vcpu, key: number, rt: number): Status {
  const access = vcpu.access.registers[key], { state } = vcpu;
  if (access === undefined) return refuse(vcpu, unallocated(vcpu, key), key, rt, false);
  if (state.el < access.write || (access.alias && (vcpu.sys.HCR_EL2Hi & HCR.E2H_HI) === 0)) {
    return refuse(vcpu, VERDICT.UNDEFINED, key, rt, false);
  }
  const verdict = judge(vcpu, access.writeChecks);
  if (verdict !== VERDICT.ALLOWED) return refuse(vcpu, verdict, key, rt, false);
  const target = resolve(vcpu, access), { xWords, sysWords } = vcpu;
  // Word 62 is the zero register's.
  const lo = xWords[2 * rt]!, hi = xWords[2 * rt + 1]!;
  if (target.owner === "cpu") return CPU_REGISTERS[target.name]?.write?.(vcpu, lo, hi) ?? CONTINUE;
  if (target.owner === undefined || target.mirrored) {
    const { word, maskLo, maskHi } = target;
    sysWords[word] = (sysWords[word]! & ~maskLo) | (lo & maskLo);
    sysWords[word + 1] = (sysWords[word + 1]! & ~maskHi) | (hi & maskHi);
  }
  if (target.owner !== undefined) {
    vcpu.environment.writeHook(target.name, vcpu, state.x[rt]!);
    return afterUnmask(vcpu);
  }
  if (target.effect === undefined) return CONTINUE;
  if (target.effect === "translation") {
    vcpu.environment.translationChanged(vcpu);
    return CONTINUE;
  }
  if (target.effect === "debug") return afterDebugChange(vcpu);
  recomputeControls(vcpu);
  return afterUnmask(vcpu);
}

/** SYS: cache maintenance, address translation, TLB invalidation. */
export function sysInstruction(vcpu: Vcpu, key: number, rt: number): Status {
  const instruction = vcpu.access.instructions.get(key);
  if (instruction === undefined) return refuse(vcpu, unallocated(vcpu, key), key, rt, false);
  const { row, checks } = instruction;
  if (vcpu.state.el < row.el) return refuse(vcpu, VERDICT.UNDEFINED, key, rt, false);
  const verdict = judge(vcpu, checks);
  if (verdict !== VERDICT.ALLOWED) return refuse(vcpu, verdict, key, rt, false);
  switch (row.kind) {
    case "cache":
      return vcpu.environment.cacheOp(vcpu, row.op, vcpu.xWords[2 * rt]!, vcpu.xWords[2 * rt + 1]!);
    case "at":
      return vcpu.environment.at(vcpu, row.op, vcpu.state.x[rt]!);
    case "tlbi":
      vcpu.environment.tlbi(vcpu, row.op, vcpu.state.x[rt]!);
      return CONTINUE;
  }
}

/** Key of MSR (immediate) as its trap reports it: op0 = 0, CRn = 4, CRm = the immediate. */
const immediateKey = (op1: number, op2: number, imm: number): number => op1 << 11 | 4 << 7 | imm << 3 | op2;
const UMA = 1 << SCTLR.at.UMA.lsb;

/** MSR (immediate): UAO, PAN, SPSel, DAIFSet, DAIFClr. Other encodings are UNDEFINED. */
export function msrImmediate(vcpu: Vcpu, op1: number, op2: number, imm: number): Status {
  const { state, sys } = vcpu;
  if (op1 === 3 && (op2 === 6 || op2 === 7)) {
    // AArch64.CheckDAIFAccess
    if (state.el === 0 && ((isHost(vcpu) ? sys.SCTLR_EL2Lo : sys.SCTLR_EL1Lo) & UMA) === 0) {
      const target = ownTarget(vcpu) as typeof VERDICT.TO_EL1 | typeof VERDICT.TO_EL2;
      return refuse(vcpu, target, immediateKey(op1, op2, imm), 31, false);
    }
    if (op2 === 6) {
      state.daif |= imm;
      return CONTINUE;
    }
    state.daif &= ~imm;
    return afterDaif(vcpu);
  }
  if (op1 !== 0 || state.el === 0) return undefined_(vcpu);
  switch (op2) {
    case 3:
      if (!vcpu.hasUao) break;
      state.uao = imm & 1;
      vcpu.environment.levelChanged(vcpu);
      return CONTINUE;
    case 4:
      if (!vcpu.hasPan) break;
      state.pan = imm & 1;
      vcpu.environment.levelChanged(vcpu);
      return CONTINUE;
    case 5:
      setLevel(vcpu, state.el, imm & 1);
      return CONTINUE;
  }
  return undefined_(vcpu);
}

const NTWI = 1 << SCTLR.at.nTWI.lsb, NTWE = 1 << SCTLR.at.nTWE.lsb;

/** The level to which a WFI or WFE that would wait is trapped, 0 if it is not: AArch64.CheckForWFxTrap(). */
function waitTrap(vcpu: Vcpu, notTrapped: number, hcr: number): number {
  const { state, sys } = vcpu, host = isHost(vcpu);
  if (state.el === 0 && ((host ? sys.SCTLR_EL2Lo : sys.SCTLR_EL1Lo) & notTrapped) === 0) return ownTarget(vcpu);
  return state.el < 2 && !(state.el === 0 && host) && (sys.HCR_EL2Lo & hcr) !== 0 ? 2 : 0;
}

/** WFI: waits until an interrupt is pending, masked or not. */
export function wfi(vcpu: Vcpu): Status {
  if (interruptPending(vcpu)) return afterUnmask(vcpu);
  const trap = waitTrap(vcpu, NTWI, HCR.TWI);
  if (trap !== 0) return takeAtInstruction(vcpu, trap, EC.WFX, UNCONDITIONAL);
  return wait(vcpu, HALT.WFI);
}

/** WFE: takes an event that is there, else waits for one. */
export function wfe(vcpu: Vcpu): Status {
  const { state } = vcpu;
  if (state.event !== 0) {
    state.event = 0;
    return CONTINUE;
  }
  const trap = waitTrap(vcpu, NTWE, HCR.TWE);
  if (trap !== 0) return takeAtInstruction(vcpu, trap, EC.WFX, UNCONDITIONAL | 1);
  return wait(vcpu, HALT.WFE);
}

/** SEV: an event for every vCPU. */
export function sev(vcpu: Vcpu): Status {
  vcpu.environment.sendEvent(vcpu);
  return CONTINUE;
}

/** SEVL: an event for this vCPU. */
export function sevl(vcpu: Vcpu): Status {
  vcpu.state.event = 1;
  return CONTINUE;
}

/**
 * ESB, when RAS is implemented: an SError that is pending and masked is recorded in DISR_EL1, a virtual one in VDISR_EL2
 * (AArch64.ESBOperation(), AArch64.vESBOperation()); a NOP when there is none, which physical ones never are here.
 */
export function esb(vcpu: Vcpu): Status {
  const { state, sys } = vcpu, hcr = sys.HCR_EL2Lo;
  if (!vcpu.hasRas) return CONTINUE;
  if (state.el < 2 && (hcr & HCR.AMO) !== 0 && (hcr & HCR.TGE) === 0) {
    const pending = (hcr & HCR.VSE) !== 0 || (state.pending & PENDING.VSERROR) !== 0;
    if (pending && (state.daif & 4) !== 0) {
      sys.VDISR_EL2Lo = 0x8000_0000 | (sys.VSESR_EL2Lo & 0x1ff_ffff);
      sys.VDISR_EL2Hi = 0;
      sys.HCR_EL2Lo = hcr & ~HCR.VSE;
      state.pending &= ~PENDING.VSERROR;
    }
  }
  return CONTINUE;
}
