// Exceptions: routing, entry and return, for EL0 to EL2 in AArch64. DDI 0487 "The AArch64 System Level Programmers' Model";
// AArch64.TakeException(), AArch64.ExceptionReturn() and what they call. Which debug exceptions there are to take is
// self_hosted_debug.ts's to say.

import { EC, FSC } from "../arch/esr.ts";
import { exceptionClassName, hasFaultAddress, isAbort, syndromeWords } from "../arch/esr_text.ts";
import { DAIF, PSR } from "../arch/pstate.ts";
import { SCTLR } from "../arch/sysregs.ts";
import { hex, tracePoint, Tracer, wide } from "../base/trace.ts";
import type { Vcpu } from "./core.ts";
import { FP_TRAP, HCR, isHost, packSpsr, setLevel, unpackFlags } from "./pstate.ts";
import { debugTarget, noteStepEnable, returnSs, stepActive } from "./self_hosted_debug.ts";
import { CONTINUE, LEAVE, REFETCH, type Status } from "./status.ts";
import { countInstructions, INTERRUPT_CLASS } from "./counters.ts";
import { HALT, PENDING, type VcpuState } from "./vcpu.ts";

/** Offsets in the vector table of the kinds of exceptions, for the current level with SP_EL0. */
export const VECTOR = { SYNC: 0x000, IRQ: 0x080, FIQ: 0x100, SERROR: 0x180 } as const;
type Vector = (typeof VECTOR)[keyof typeof VECTOR];

const VECTOR_NAMES = ["synchronous", "IRQ", "FIQ", "SError"];
interface Taken {
  readonly cpu: number;
  /** The level it came from. */
  readonly el: number;
  readonly to: number;
  /** Where it returns to: ELR_ELx. */
  readonly pc: bigint;
  readonly kind: string;
  /** Only of synchronous exceptions and SErrors. */
  readonly esr: number | undefined;
  readonly class: string | undefined;
  /** Only where the class has them. */
  readonly far: bigint | undefined;
  readonly ipa: bigint | undefined;
  readonly spsr: number;
  readonly vector: bigint;
}
const TAKEN = tracePoint("int", "taken", ({ to, pc, kind, esr, far, ipa, spsr, vector }: Readonly<Taken>) => {
  const registers = [
    esr === undefined ? "" : `ESR ${hex(esr)}, `,
    far === undefined ? "" : `FAR ${hex(far)}, `,
    ipa === undefined ? "" : `IPA ${hex(ipa)}, `,
    `ELR ${hex(pc)}, SPSR ${hex(spsr)}, vector ${hex(vector)}`,
  ];
  return `to EL${to}: ${kind}, ${registers.join("")}`;
});
const RETURNED = tracePoint(
  "int",
  "returned",
  (
    { to, target, spsr, illegal }: {
      cpu: number;
      el: number;
      to: number;
      target: bigint;
      spsr: number;
      illegal: boolean;
    },
  ) => `to EL${to} at ${hex(target)}, SPSR ${hex(spsr)}${illegal ? ", illegal return" : ""}`,
);
const INT = Tracer.bit("int");

const SPAN = 1 << SCTLR.at.SPAN.lsb;
/** ESR_ELx.IL: every exception from AArch64 has it, since its instructions are 32 bits or the syndrome says so. */
const IL = 1 << 25;
const ISS_MASK = 0x1ff_ffff;
/** ISS.CV and COND for instructions that have no condition. */
export const UNCONDITIONAL = 0x1e0_0000;

/** Record of the instruction at `state.pc`, in generated code. */
const recordOf = (state: VcpuState): number => (state.pcLo - state.pcDeltaLo) << 2;
/** In place of a record: the instruction has been counted. */
const COUNTED = -1;

/** Before the level may change: counts what was executed at it, up to and including the instruction at `record`. */
function countLevel(vcpu: Vcpu, record: number): void {
  const { environment } = vcpu;
  if (environment.retiredAt === undefined || record === COUNTED) return;
  countInstructions(vcpu.counters, vcpu.state.el, environment.retiredAt(vcpu, record));
}

/** The place in the counters for an exception that was just taken. */
function exceptionClass(vcpu: Vcpu, target: number, vector: Vector): number {
  const { sys } = vcpu, esr = target === 2 ? sys.ESR_EL2Lo : sys.ESR_EL1Lo;
  const virtual = target === 1 && vcpu.hasEl2 && isVirtual(vcpu, vector);
  switch (vector) {
    case VECTOR.SYNC:
      return esr >>> 26;
    case VECTOR.IRQ:
      return virtual ? INTERRUPT_CLASS.VIRQ : INTERRUPT_CLASS.IRQ;
    case VECTOR.FIQ:
      return virtual ? INTERRUPT_CLASS.VFIQ : INTERRUPT_CLASS.FIQ;
    case VECTOR.SERROR:
      return virtual ? INTERRUPT_CLASS.VSERROR : EC.SERROR;
  }
}

/** Whether an interrupt that came to EL1 is a virtual one: the physical one goes to EL2. */
function isVirtual({ sys }: Vcpu, vector: Vector): boolean {
  const route = vector === VECTOR.IRQ ? HCR.IMO : vector === VECTOR.FIQ ? HCR.FMO : HCR.AMO;
  return (sys.HCR_EL2Lo & route) !== 0;
}

/**
 * Takes an exception to EL1 or EL2 that will return to `returnHi`:`returnLo`. ESR_ELx, FAR_ELx and HPFAR_EL2 are the
 * caller's. Afterwards `state.pc` is the vector.
 */
function enter(vcpu: Vcpu, target: number, vector: Vector, returnLo: number, returnHi: number): void {
  const { state, sys, environment } = vcpu, from = state.el, psr = packSpsr(state);
  const offset = vector | (target > from ? 0x400 : state.spsel === 0 ? 0 : 0x200);
  let sctlr: number;
  if (target === 2) {
    sys.SPSR_EL2Lo = psr;
    sys.SPSR_EL2Hi = 0;
    sys.ELR_EL2Lo = returnLo;
    sys.ELR_EL2Hi = returnHi;
    state.pcLo = (sys.VBAR_EL2Lo & ~0x7ff) | offset;
    state.pcHi = sys.VBAR_EL2Hi;
    sctlr = sys.SCTLR_EL2Lo;
  } else {
    sys.SPSR_EL1Lo = psr;
    sys.SPSR_EL1Hi = 0;
    sys.ELR_EL1Lo = returnLo;
    sys.ELR_EL1Hi = returnHi;
    state.pcLo = (sys.VBAR_EL1Lo & ~0x7ff) | offset;
    state.pcHi = sys.VBAR_EL1Hi;
    sctlr = sys.SCTLR_EL1Lo;
  }
  state.daif = 15;
  state.il = 0;
  state.ss = 0;
  state.uao = 0;
  if (vcpu.hasPan && (sctlr & SPAN) === 0 && (target === 1 || isHost(vcpu))) state.pan = 1;
  state.halt = HALT.RUNNING;
  setLevel(vcpu, target, 1);
  const counts = target === 2 ? vcpu.counters.exceptionsToEl2 : vcpu.counters.exceptionsToEl1;
  counts[exceptionClass(vcpu, target, vector)]!++;
  if ((environment.trace.mask & INT) !== 0) traceTaken(vcpu, from, target, vector, psr, wide(returnHi, returnLo));
  // Where the level that was entered is stepped by a higher one, not even its first instruction is executed.
  if (stepActive(vcpu)) environment.kick(vcpu);
  environment.exceptionTaken?.(vcpu, from);
}

const S1PTW = 1 << 7;

/** Tells of an exception that was just taken; its registers have been set. */
function traceTaken(vcpu: Vcpu, el: number, to: number, vector: Vector, spsr: number, pc: bigint): void {
  const { sys, state } = vcpu, esr = to === 2 ? sys.ESR_EL2Lo : sys.ESR_EL1Lo, ec = esr >>> 26;
  const syndrome = vector === VECTOR.SYNC || vector === VECTOR.SERROR, synchronous = vector === VECTOR.SYNC;
  // From below EL2 and not the host's own, an abort that came here is one of stage 2 (or HCR_EL2.TEA sent it).
  const stage2 = synchronous && to === 2 && el < 2 && isAbort(ec) && (sys.HCR_EL2Lo & HCR.TGE) === 0 &&
    ((esr & 0x30) !== FSC.EXTERNAL || (esr & S1PTW) !== 0);
  const virtual = to === 1 && vcpu.hasEl2 && isVirtual(vcpu, vector);
  const far = wide(to === 2 ? sys.FAR_EL2Hi : sys.FAR_EL1Hi, to === 2 ? sys.FAR_EL2Lo : sys.FAR_EL1Lo);
  vcpu.environment.trace.emit(TAKEN, {
    cpu: vcpu.index,
    el,
    to,
    pc,
    kind: synchronous ? syndromeWords(esr) : `${virtual ? "virtual " : ""}${VECTOR_NAMES[vector >> 7]}`,
    esr: syndrome ? esr : undefined,
    class: synchronous ? exceptionClassName(ec) : undefined,
    far: synchronous && hasFaultAddress(ec) ? far : undefined,
    ipa: stage2 ? sys.HPFAR_EL2 << 8n | far & 0xfffn : undefined,
    spsr,
    vector: state.pc,
  });
}

/** Takes a synchronous exception with its syndrome. */
function takeException(
  vcpu: Vcpu,
  target: number,
  ec: number,
  iss: number,
  returnLo: number,
  returnHi: number,
  record: number = recordOf(vcpu.state),
): void {
  countLevel(vcpu, record);
  const esr = ec << 26 | IL | (iss & ISS_MASK);
  const { sys } = vcpu;
  if (target === 2) {
    sys.ESR_EL2Lo = esr;
    sys.ESR_EL2Hi = 0;
  } else {
    sys.ESR_EL1Lo = esr;
    sys.ESR_EL1Hi = 0;
  }
  enter(vcpu, target, VECTOR.SYNC, returnLo, returnHi);
}

/** Takes a synchronous exception whose preferred return address is the instruction itself. */
export function takeAtInstruction(vcpu: Vcpu, target: number, ec: number, iss: number, record?: number): Status {
  takeException(vcpu, target, ec, iss, vcpu.state.pcLo, vcpu.state.pcHi, record);
  return REFETCH;
}

/** Takes a synchronous exception that returns to the next instruction. */
function takeAfterInstruction(vcpu: Vcpu, target: number, ec: number, iss: number): Status {
  const lo = (vcpu.state.pcLo + 4) >>> 0;
  // SSAdvance(): the instruction that is stepped is done.
  vcpu.state.ss = 0;
  takeException(vcpu, target, ec, iss, lo, lo === 0 ? vcpu.state.pcHi + 1 : vcpu.state.pcHi);
  return REFETCH;
}

/** Moves `state.pc` past the instruction. */
export function advance(vcpu: Vcpu): void {
  const { state } = vcpu, lo = (state.pcLo + 4) >>> 0;
  state.pcLo = lo;
  if (lo === 0) state.pcHi = state.pcHi + 1;
}

/** Where an exception that the current level handles goes: EL0's go to EL1, or to EL2 with HCR_EL2.TGE. */
export const ownTarget = (vcpu: Vcpu): number =>
  vcpu.state.el !== 0 ? vcpu.state.el : (vcpu.sys.HCR_EL2Lo & HCR.TGE) !== 0 ? 2 : 1;

/** AArch64.UndefinedFault() */
export const undefined_ = (vcpu: Vcpu): Status => takeAtInstruction(vcpu, ownTarget(vcpu), EC.UNKNOWN, 0);

/** AArch64.CallSupervisor() */
export const svc = (vcpu: Vcpu, imm: number): Status => takeAfterInstruction(vcpu, ownTarget(vcpu), EC.SVC, imm);

/** HVC: AArch64.CheckForHVCUndef..., AArch64.CallHypervisor(); PSCI's conduit where there is no EL2. */
export function hvc(vcpu: Vcpu, imm: number): Status {
  const { state, sys, environment } = vcpu;
  if (state.el === 0) return undefined_(vcpu);
  if (!vcpu.hasEl2) return environment.psciConduit === "hvc" ? environment.psci(vcpu) : undefined_(vcpu);
  if ((sys.HCR_EL2Lo & HCR.HCD) !== 0) return undefined_(vcpu);
  return takeAfterInstruction(vcpu, 2, EC.HVC, imm);
}

/** SMC: AArch64.CheckForSMCUndefOrTrap(). There is no EL3; the firmware that would be there is PSCI's. */
export function smc(vcpu: Vcpu, imm: number): Status {
  const { state, sys, environment } = vcpu;
  if (state.el === 0) return undefined_(vcpu);
  if (state.el === 1 && (sys.HCR_EL2Lo & HCR.TSC) !== 0) return takeAtInstruction(vcpu, 2, EC.SMC, imm);
  return environment.psciConduit === "smc" ? environment.psci(vcpu) : undefined_(vcpu);
}

/** AArch64.SoftwareBreakpoint() */
export function brk(vcpu: Vcpu, imm: number): Status {
  return takeAtInstruction(vcpu, debugLevel(vcpu), EC.BRK, imm);
}

/** The level that takes a debug exception. */
const debugLevel = (vcpu: Vcpu): number => vcpu.state.el === 2 ? 2 : debugTarget(vcpu);
const DEBUG_EVENT = 0x22;

/** AArch64.BreakpointException(), before the instruction at `state.pc`. */
export function breakpointException(vcpu: Vcpu): Status {
  const target = debugLevel(vcpu), ec = target > vcpu.state.el ? EC.BREAKPOINT_LOWER : EC.BREAKPOINT;
  return takeAtInstruction(vcpu, target, ec, DEBUG_EVENT);
}

/** AArch64.WatchpointException() for the access at hi:lo of the instruction at `state.pc`. */
export function watchpointException(vcpu: Vcpu, lo: number, hi: number, write: boolean, maintenance: boolean): Status {
  const { sys } = vcpu, target = debugLevel(vcpu), ec = target > vcpu.state.el ? EC.WATCHPOINT_LOWER : EC.WATCHPOINT;
  if (target === 2) {
    sys.FAR_EL2Lo = lo;
    sys.FAR_EL2Hi = hi;
  } else {
    sys.FAR_EL1Lo = lo;
    sys.FAR_EL1Hi = hi;
  }
  return takeAtInstruction(vcpu, target, ec, (maintenance ? 1 << 8 : 0) | (write ? 1 << 6 : 0) | DEBUG_EVENT);
}

/** AArch64.SoftwareStepException(), before the instruction at `state.pc`; `iss` tells of the one that was stepped. */
export function stepException(vcpu: Vcpu, iss: number): Status {
  const target = debugLevel(vcpu), ec = target > vcpu.state.el ? EC.STEP_LOWER : EC.STEP;
  return takeAtInstruction(vcpu, target, ec, iss | DEBUG_EVENT, COUNTED);
}
const STEPPED = 1 << 24, STEPPED_EXCLUSIVE = 1 << 6;

/** The instruction of a step was executed, and PSTATE.SS tells that it took no exception: the step's comes. */
export function stepped(vcpu: Vcpu, exclusive: boolean): void {
  vcpu.state.ss = 0;
  if (stepActive(vcpu)) stepException(vcpu, STEPPED | (exclusive ? STEPPED_EXCLUSIVE : 0));
}

/** What HLT's immediate is in a semihosting call of A64. */
const SEMIHOSTING = 0xf000;

/** HLT is UNDEFINED, since halting debug is never enabled; but for semihosting, where the machine has it. */
export function hlt(vcpu: Vcpu, imm: number): Status {
  const status = imm === SEMIHOSTING ? vcpu.environment.semihosting?.(vcpu) : undefined;
  return status ?? undefined_(vcpu);
}

/** The SP used by a load or store at the current level is not 16-byte aligned: AArch64.SPAlignmentFault(). */
export function spAlignment(vcpu: Vcpu): Status {
  const { state, sys } = vcpu, SA = 1 << 3, SA0 = 1 << 4;
  const sctlr = state.el === 2 || (state.el === 0 && isHost(vcpu)) ? sys.SCTLR_EL2Lo : sys.SCTLR_EL1Lo;
  if ((sctlr & (state.el === 0 ? SA0 : SA)) === 0) return CONTINUE;
  return takeAtInstruction(vcpu, ownTarget(vcpu), EC.SP_ALIGNMENT, 0);
}

/** `state.pc` is not a multiple of 4: AArch64.PCAlignmentFault(). */
export function pcAlignment(vcpu: Vcpu): Status {
  const { state, sys } = vcpu, target = ownTarget(vcpu);
  if (target === 2) {
    sys.FAR_EL2Lo = state.pcLo;
    sys.FAR_EL2Hi = state.pcHi;
  } else {
    sys.FAR_EL1Lo = state.pcLo;
    sys.FAR_EL1Hi = state.pcHi;
  }
  return takeAtInstruction(vcpu, target, EC.PC_ALIGNMENT, 0, state.fetchFrom);
}

/** PSTATE.IL is set: the next instruction does not execute. */
export const illegalState = (vcpu: Vcpu): Status =>
  takeAtInstruction(vcpu, ownTarget(vcpu), EC.ILLEGAL_STATE, 0, COUNTED);

/** An FP or Advanced SIMD instruction, with `state.fpTrap` set: AArch64.AdvSIMDFPAccessTrap(). */
export function fpTrapped(vcpu: Vcpu): Status {
  const trap = vcpu.state.fpTrap;
  if (trap === FP_TRAP.UNKNOWN_TO_EL2) return takeAtInstruction(vcpu, 2, EC.UNKNOWN, 0);
  return takeAtInstruction(vcpu, trap === FP_TRAP.TO_EL2 ? 2 : 1, EC.FP_ACCESS, UNCONDITIONAL);
}

/** What the MMU tells of a fault. */
export interface MemoryFault {
  /** Fault status code with the level. */
  readonly fsc: number;
  readonly stage: 1 | 2;
  /** A stage 2 fault on the walk of stage 1. */
  readonly s1ptw: boolean;
  readonly write: boolean;
  /** The access was of a cache maintenance or address translation instruction. */
  readonly maintenance: boolean;
  readonly vaLo: number;
  readonly vaHi: number;
  /** For stage 2: the intermediate physical address. */
  readonly ipa: number;
  /** ISS bits 24 to 14 for a stage 2 data abort, 0 when there is no valid instruction syndrome. */
  readonly syndrome: number;
}

const isExternal = (fsc: number): boolean => fsc === FSC.EXTERNAL || (fsc & ~3) === FSC.EXTERNAL_ON_WALK;

/** AArch64.Abort(): routing and the address registers. Returns the target. */
function routeAbort(vcpu: Vcpu, fault: MemoryFault): number {
  const { state, sys } = vcpu;
  const toEl2 = state.el === 2 || fault.stage === 2 || (sys.HCR_EL2Lo & HCR.TGE) !== 0 ||
    ((sys.HCR_EL2Hi & HCR.TEA_HI) !== 0 && isExternal(fault.fsc));
  if (!toEl2) {
    sys.FAR_EL1Lo = fault.vaLo;
    sys.FAR_EL1Hi = fault.vaHi;
    return 1;
  }
  sys.FAR_EL2Lo = fault.vaLo;
  sys.FAR_EL2Hi = fault.vaHi;
  if (fault.stage === 2) {
    // HPFAR_EL2.FIPA, at bit 4, is bits 51 to 12 of the address. It is set for every stage 2 fault; the architecture
    // leaves it UNKNOWN for a permission fault that is not on a walk.
    const page = Math.floor(fault.ipa / 4096);
    sys.HPFAR_EL2Lo = (page % 2 ** 28) * 16;
    sys.HPFAR_EL2Hi = Math.floor(page / 2 ** 28);
  }
  return 2;
}

/** Takes a Data Abort for the instruction at `state.pc`. */
export function dataAbort(vcpu: Vcpu, fault: MemoryFault): Status {
  const target = routeAbort(vcpu, fault), ec = target > vcpu.state.el ? EC.DATA_ABORT_LOWER : EC.DATA_ABORT;
  const syndrome = fault.stage === 2 && !fault.s1ptw ? fault.syndrome << 14 : 0;
  const iss = syndrome | (fault.maintenance ? 1 << 8 : 0) | (fault.s1ptw ? 1 << 7 : 0) | (fault.write ? 1 << 6 : 0) |
    fault.fsc;
  return takeAtInstruction(vcpu, target, ec, iss);
}

/** Takes an Instruction Abort for the instruction at `state.pc`. */
export function instructionAbort(vcpu: Vcpu, fault: MemoryFault): Status {
  const target = routeAbort(vcpu, fault);
  const ec = target > vcpu.state.el ? EC.INSTRUCTION_ABORT_LOWER : EC.INSTRUCTION_ABORT;
  return takeAtInstruction(vcpu, target, ec, (fault.s1ptw ? 1 << 7 : 0) | fault.fsc, vcpu.state.fetchFrom);
}

/** Bits of HCR_EL2 that make virtual interrupts pending. */
const HCR_VIRTUAL = HCR.VSE | HCR.VI | HCR.VF;

/** Everything that is pending at the current level, virtual interrupts only where they can be taken. */
function pendingNow(vcpu: Vcpu): number {
  const { state, sys } = vcpu, hcr = sys.HCR_EL2Lo;
  let bits = state.pending & (PENDING.IRQ | PENDING.FIQ | PENDING.SERROR);
  if (state.el < 2 && (hcr & HCR.TGE) === 0) {
    if ((hcr & HCR.IMO) !== 0 && ((state.pending & PENDING.VIRQ) !== 0 || (hcr & HCR.VI) !== 0)) bits |= PENDING.VIRQ;
    if ((hcr & HCR.FMO) !== 0 && ((state.pending & PENDING.VFIQ) !== 0 || (hcr & HCR.VF) !== 0)) bits |= PENDING.VFIQ;
    if ((hcr & HCR.AMO) !== 0 && ((state.pending & PENDING.VSERROR) !== 0 || (hcr & HCR.VSE) !== 0)) {
      bits |= PENDING.VSERROR;
    }
  }
  return bits;
}

/** The level that a physical interrupt goes to, 0 if it is masked: "Asynchronous exception routing" and "masking". */
function physicalTarget(vcpu: Vcpu, route: number, mask: number): number {
  const { state, sys } = vcpu;
  const target = (sys.HCR_EL2Lo & (route | HCR.TGE)) !== 0 ? 2 : 1;
  if (target < state.el) return 0;
  if (target === 2 && state.el < 2 && !isHost(vcpu)) return 2;
  return (state.daif & mask) !== 0 ? 0 : target;
}

/** The interrupt to take now: its bit of PENDING, 0 if there is none. Physical ones come first; FIQ before IRQ. */
function deliverable(vcpu: Vcpu): number {
  const { state } = vcpu;
  if ((state.pending | (vcpu.sys.HCR_EL2Lo & HCR_VIRTUAL)) === 0) return 0;
  const bits = pendingNow(vcpu);
  if ((bits & PENDING.FIQ) !== 0 && physicalTarget(vcpu, HCR.FMO, DAIF.F) !== 0) return PENDING.FIQ;
  if ((bits & PENDING.IRQ) !== 0 && physicalTarget(vcpu, HCR.IMO, DAIF.I) !== 0) return PENDING.IRQ;
  if ((bits & PENDING.SERROR) !== 0 && physicalTarget(vcpu, HCR.AMO, DAIF.A) !== 0) return PENDING.SERROR;
  if ((bits & PENDING.VFIQ) !== 0 && (state.daif & DAIF.F) === 0) return PENDING.VFIQ;
  if ((bits & PENDING.VIRQ) !== 0 && (state.daif & DAIF.I) === 0) return PENDING.VIRQ;
  if ((bits & PENDING.VSERROR) !== 0 && (state.daif & DAIF.A) === 0) return PENDING.VSERROR;
  return 0;
}

/**
 * Takes the highest-priority interrupt that is pending and not masked, before the instruction at `state.pc`, or the
 * exception of a step whose instruction was executed. Returns whether one was taken; `state.pc` is its vector then.
 */
export function takePendingInterrupt(vcpu: Vcpu): boolean {
  const line = deliverable(vcpu);
  if (line === 0) {
    if (!stepActive(vcpu) || vcpu.state.ss !== 0) return false;
    stepException(vcpu, 0);
    return true;
  }
  const { state, sys } = vcpu;
  switch (line) {
    case PENDING.FIQ:
      enter(vcpu, physicalTarget(vcpu, HCR.FMO, DAIF.F), VECTOR.FIQ, state.pcLo, state.pcHi);
      break;
    case PENDING.IRQ:
      enter(vcpu, physicalTarget(vcpu, HCR.IMO, DAIF.I), VECTOR.IRQ, state.pcLo, state.pcHi);
      break;
    case PENDING.VFIQ:
      enter(vcpu, 1, VECTOR.FIQ, state.pcLo, state.pcHi);
      break;
    case PENDING.VIRQ:
      enter(vcpu, 1, VECTOR.IRQ, state.pcLo, state.pcHi);
      break;
    case PENDING.SERROR: {
      const target = physicalTarget(vcpu, HCR.AMO, DAIF.A), esr = EC.SERROR << 26 | IL;
      state.pending &= ~PENDING.SERROR;
      if (target === 2) sys.ESR_EL2 = BigInt(esr >>> 0);
      else sys.ESR_EL1 = BigInt(esr >>> 0);
      enter(vcpu, target, VECTOR.SERROR, state.pcLo, state.pcHi);
      break;
    }
    case PENDING.VSERROR:
      // AArch64.TakeVirtualSErrorException(): taking it clears HCR_EL2.VSE.
      sys.HCR_EL2Lo = sys.HCR_EL2Lo & ~HCR.VSE;
      state.pending &= ~PENDING.VSERROR;
      sys.ESR_EL1Lo = EC.SERROR << 26 | IL | (vcpu.hasRas ? sys.VSESR_EL2Lo & ISS_MASK : 0);
      sys.ESR_EL1Hi = 0;
      enter(vcpu, 1, VECTOR.SERROR, state.pcLo, state.pcHi);
      break;
  }
  return true;
}

/** Whether an interrupt is pending that ends WFI: masks do not matter ("WFI wake-up events"). */
export const interruptPending = (vcpu: Vcpu): boolean => pendingNow(vcpu) !== 0;

/** Whether an interrupt is pending that ends WFE, or execution at this place: one that would be taken. */
export const interruptDeliverable = (vcpu: Vcpu): boolean => deliverable(vcpu) !== 0;

/** ISR_EL1: physical interrupts, or virtual ones where EL1's interrupts are routed to EL2. */
export function interruptStatus(vcpu: Vcpu): number {
  const { state, sys } = vcpu, hcr = sys.HCR_EL2Lo, bits = pendingNow(vcpu);
  const of = (route: number, physical: number, virtual: number) =>
    (bits & (state.el < 2 && (hcr & route) !== 0 ? virtual : physical)) !== 0;
  return (of(HCR.AMO, PENDING.SERROR, PENDING.VSERROR) ? 1 << 8 : 0) |
    (of(HCR.IMO, PENDING.IRQ, PENDING.VIRQ) ? 1 << 7 : 0) |
    (of(HCR.FMO, PENDING.FIQ, PENDING.VFIQ) ? 1 << 6 : 0);
}

/**
 * After an instruction that may have unmasked an interrupt or made one pending: takes it, to return to the next
 * instruction. `state.pc` is still at the instruction.
 */
export function afterUnmask(vcpu: Vcpu): Status {
  if (deliverable(vcpu) === 0) return CONTINUE;
  vcpu.state.ss = 0;
  countLevel(vcpu, recordOf(vcpu.state));
  advance(vcpu);
  takePendingInterrupt(vcpu);
  return REFETCH;
}

/**
 * After an instruction that may have changed which instructions and accesses are stepped, matched or watched: goes on by
 * looking the next one up again, if anything did change. `state.pc` is still at the instruction.
 */
export function afterDebugChange(vcpu: Vcpu): Status {
  noteStepEnable(vcpu);
  const { environment } = vcpu, changed = environment.debugChanged?.(vcpu) ?? false, steps = stepActive(vcpu);
  if (steps) environment.kick(vcpu);
  // An instruction that is itself stepped ends as any other does.
  if (vcpu.state.ss !== 0 || !(changed || steps)) return CONTINUE;
  advance(vcpu);
  return REFETCH;
}

/** After PSTATE.D was cleared, or interrupts unmasked. */
export function afterDaif(vcpu: Vcpu): Status {
  const status = afterUnmask(vcpu);
  return status === CONTINUE && stepActive(vcpu) ? afterDebugChange(vcpu) : status;
}

/** Whether `psr` cannot be returned to from the current level: IllegalExceptionReturn(). */
function illegalReturn(vcpu: Vcpu, psr: number): boolean {
  const el = (psr >>> 2) & 3;
  // No AArch32; M[1] is reserved; no EL3; not to a higher level; EL0 has no stack pointer of its own to select.
  if ((psr & (PSR.nRW | 2)) !== 0 || el > vcpu.state.el) return true;
  if (el === 0) return (psr & 1) !== 0;
  return el === 1 && (vcpu.sys.HCR_EL2Lo & HCR.TGE) !== 0;
}

/** ERET: AArch64.ExceptionReturn(), SetPSTATEFromPSR(). */
export function eret(vcpu: Vcpu): Status {
  const { state, sys, environment } = vcpu, from = state.el;
  if (from === 0) return undefined_(vcpu);
  countLevel(vcpu, recordOf(state));
  vcpu.counters.returns[from]!++;
  const atLo = state.pcLo, atHi = state.pcHi;
  const psr = from === 2 ? sys.SPSR_EL2Lo : sys.SPSR_EL1Lo;
  const lo = from === 2 ? sys.ELR_EL2Lo : sys.ELR_EL1Lo, hi = from === 2 ? sys.ELR_EL2Hi : sys.ELR_EL1Hi;
  const illegal = illegalReturn(vcpu, psr);
  const ss = returnSs(vcpu, illegal ? from : (psr >>> 2) & 3, psr);
  state.exclusiveSize = 0;
  state.event = 1;
  unpackFlags(state, psr);
  state.daif = (psr >>> 6) & 15;
  if (vcpu.hasPan) state.pan = (psr >>> 22) & 1;
  if (vcpu.hasUao) state.uao = (psr >>> 23) & 1;
  state.ss = ss;
  if (illegal) {
    state.il = 1;
    environment.levelChanged(vcpu);
  } else {
    state.il = (psr >>> 20) & 1;
    setLevel(vcpu, (psr >>> 2) & 3, psr & 1);
  }
  const targetHi = branchHigh(vcpu, hi);
  if ((environment.trace.mask & INT) !== 0) {
    const { index: cpu } = vcpu, target = wide(targetHi, lo);
    environment.trace.emit(RETURNED, { cpu, el: from, to: state.el, target, spsr: psr, illegal });
  }
  state.pcLo = lo;
  state.pcHi = targetHi;
  environment.exceptionReturned?.(vcpu, from, atLo, atHi);
  if (takePendingInterrupt(vcpu)) return REFETCH;
  if (ss !== 0) environment.kick(vcpu);
  // A misaligned pc comes first; fetching finds that.
  if (state.il !== 0 && (lo & 3) === 0) return illegalState(vcpu);
  return REFETCH;
}

/** The high word of a branch target, with an ignored top byte replaced: AArch64.BranchAddr(). */
function branchHigh(vcpu: Vcpu, hi: number): number {
  const upper = (hi & 0x80_0000) !== 0, top = upper ? 0xff : 0;
  if (hi >>> 24 === top) return hi;
  const { state, sys } = vcpu;
  let ignored: boolean, extends_ = true;
  if (state.el === 2 && (sys.HCR_EL2Hi & HCR.E2H_HI) === 0) {
    // One range only: the top byte becomes zero.
    ignored = (sys.TCR_EL2Lo & (1 << 20)) !== 0;
    extends_ = false;
  } else {
    const tcrHi = state.el === 2 || (state.el === 0 && isHost(vcpu)) ? sys.TCR_EL2Hi : sys.TCR_EL1Hi;
    ignored = (tcrHi & (upper ? 1 << 6 : 1 << 5)) !== 0;
  }
  if (!ignored) return hi;
  return extends_ && upper ? (hi | 0xff00_0000) >>> 0 : hi & 0xff_ffff;
}

/** Waits: `state.pc` is the next instruction, generated code is left. */
export function wait(vcpu: Vcpu, reason: typeof HALT.WFI | typeof HALT.WFE): Status {
  advance(vcpu);
  vcpu.state.halt = reason;
  return LEAVE;
}
