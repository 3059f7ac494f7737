// PSTATE: packing into SPSR_ELx and back, changes of exception level with the banked stack pointers, and what follows from
// the level and the control registers: which system registers generated code may access directly, whether floating point
// is trapped. DDI 0487 "Process state, PSTATE"; SetPSTATEFromPSR(), AArch64.CheckFPAdvSIMDEnabled().

import { DIRECT } from "../arch/direct.ts";
import { PSR } from "../arch/pstate.ts";
import { SYSTEM_REGISTERS } from "../arch/sysregs.ts";
import { CPACR_EL1, CPTR_EL2_NVHE, HCR_EL2, SCTLR } from "../arch/sysregs.ts";
import type { Vcpu } from "./core.ts";
import type { VcpuState } from "./vcpu.ts";

const bit = (f: { readonly lsb: number }) => (1 << (f.lsb & 31)) >>> 0;
/** Bits of the words of HCR_EL2. */
export const HCR = {
  TGE: bit(HCR_EL2.at.TGE),
  TVM: bit(HCR_EL2.at.TVM),
  TRVM: bit(HCR_EL2.at.TRVM),
  TDZ: bit(HCR_EL2.at.TDZ),
  HCD: bit(HCR_EL2.at.HCD),
  TSC: bit(HCR_EL2.at.TSC),
  TWI: bit(HCR_EL2.at.TWI),
  TWE: bit(HCR_EL2.at.TWE),
  TIDCP: bit(HCR_EL2.at.TIDCP),
  AMO: bit(HCR_EL2.at.AMO),
  IMO: bit(HCR_EL2.at.IMO),
  FMO: bit(HCR_EL2.at.FMO),
  VSE: bit(HCR_EL2.at.VSE),
  VI: bit(HCR_EL2.at.VI),
  VF: bit(HCR_EL2.at.VF),
  /** In the high word. */
  E2H_HI: bit(HCR_EL2.at.E2H),
  TEA_HI: bit(HCR_EL2.at.TEA),
} as const;
const DZE = bit(SCTLR.at.DZE);
const TFP = bit(CPTR_EL2_NVHE.at.TFP);
const FPEN_LSB = CPACR_EL1.at.FPEN.lsb;

/** Values of `state.fpTrap`: who the FP access trap goes to. */
export const FP_TRAP = {
  NONE: 0,
  TO_EL1: 1,
  TO_EL2: 2,
  /** CPACR_EL1 traps while HCR_EL2.TGE is set: reported to EL2 as an unknown reason. */
  UNKNOWN_TO_EL2: 3,
} as const;

/** Whether HCR_EL2.{E2H,TGE} = {1,1}: EL0 belongs to the host at EL2 (ELIsInHost()). */
export const isHost = (vcpu: Vcpu): boolean =>
  (vcpu.sys.HCR_EL2Hi & HCR.E2H_HI) !== 0 && (vcpu.sys.HCR_EL2Lo & HCR.TGE) !== 0;

/** The flags N, Z, C, V in bits 31 to 28. */
export function packFlags(state: VcpuState): number {
  return (state.nfHi & PSR.N) | ((state.zfLo | state.zfHi) === 0 ? PSR.Z : 0) | (state.cfLo & 1) << 29 |
    (state.vfHi >>> 31) << 28;
}

export function unpackFlags(state: VcpuState, psr: number): void {
  state.nfHi = psr & PSR.N;
  state.nfLo = 0;
  state.zfLo = (psr & PSR.Z) !== 0 ? 0 : 1;
  state.zfHi = 0;
  state.cfLo = (psr >>> 29) & 1;
  state.cfHi = 0;
  state.vfHi = psr << 3 & PSR.N;
  state.vfLo = 0;
}

/** PSTATE as SPSR_ELx holds it, as an unsigned 32-bit number. */
export function packSpsr(state: VcpuState): number {
  return (packFlags(state) | state.uao << 23 | state.pan << 22 | state.ss << 21 | state.il << 20 | state.daif << 6 |
    state.el << 2 | state.spsel) >>> 0;
}

/** Words of the system registers that bank the stack pointers. */
const SP_WORD = [
  SYSTEM_REGISTERS.offset.SP_EL0 / 4,
  SYSTEM_REGISTERS.offset.SP_EL1 / 4,
  SYSTEM_REGISTERS.offset.SP_EL2 / 4,
];
/** The live stack pointer among the words of X. */
const LIVE_SP = 64;

/** Moves to an exception level and stack pointer; PAN and UAO must be set before, since translations depend on them. */
export function setLevel(vcpu: Vcpu, el: number, spsel: number): void {
  const { state, sysWords, xWords } = vcpu;
  const from = state.spsel === 0 ? 0 : state.el, to = spsel === 0 ? 0 : el;
  if (from !== to) {
    const save = SP_WORD[from]!, load = SP_WORD[to]!;
    sysWords[save] = xWords[LIVE_SP]!;
    sysWords[save + 1] = xWords[LIVE_SP + 1]!;
    xWords[LIVE_SP] = sysWords[load]!;
    xWords[LIVE_SP + 1] = sysWords[load + 1]!;
  }
  state.el = el;
  state.spsel = spsel;
  state.direct = vcpu.directFor[el << 1 | spsel]!;
  state.fpTrap = vcpu.fpTrapFor[el]!;
  vcpu.environment.levelChanged(vcpu);
}

/** Reads SP_EL<n>, live or banked. */
export function readSp(vcpu: Vcpu, n: 0 | 1 | 2): bigint {
  const { state, sys } = vcpu;
  if ((state.spsel === 0 ? 0 : state.el) === n) return state.x[32]!;
  return n === 0 ? sys.SP_EL0 : n === 1 ? sys.SP_EL1 : sys.SP_EL2;
}

/** Writes SP_EL<n>, live or banked. */
export function writeSp(vcpu: Vcpu, n: 0 | 1 | 2, value: bigint): void {
  const { state, sys } = vcpu;
  if ((state.spsel === 0 ? 0 : state.el) === n) state.x[32] = value;
  else if (n === 0) sys.SP_EL0 = value;
  else if (n === 1) sys.SP_EL1 = value;
  else sys.SP_EL2 = value;
}

/** Sets PSTATE from an SPSR value as the debugger means it: no exception return, no checks. Bits outside are ignored. */
export function writePstate(vcpu: Vcpu, psr: number): void {
  const { state } = vcpu, el = (psr >>> 2) & 3;
  unpackFlags(state, psr);
  state.daif = (psr >>> 6) & 15;
  state.il = (psr >>> 20) & 1;
  state.pan = vcpu.hasPan ? (psr >>> 22) & 1 : 0;
  state.uao = vcpu.hasUao ? (psr >>> 23) & 1 : 0;
  if (el <= (vcpu.hasEl2 ? 2 : 1)) setLevel(vcpu, el, el === 0 ? 0 : psr & 1);
}

/** FP_TRAP at an exception level, AArch64.CheckFPAdvSIMDEnabled(). */
function fpTrapAt(vcpu: Vcpu, el: number): number {
  const { sys } = vcpu, tge = (sys.HCR_EL2Lo & HCR.TGE) !== 0, e2h = (sys.HCR_EL2Hi & HCR.E2H_HI) !== 0;
  if (el < 2 && !(el === 0 && e2h && tge)) {
    const fpen = (sys.CPACR_EL1Lo >>> FPEN_LSB) & 3;
    if ((fpen & 1) === 0 || (fpen === 1 && el === 0)) return tge ? FP_TRAP.UNKNOWN_TO_EL2 : FP_TRAP.TO_EL1;
  }
  if (!vcpu.hasEl2) return FP_TRAP.NONE;
  if (!e2h) return (sys.CPTR_EL2Lo & TFP) !== 0 ? FP_TRAP.TO_EL2 : FP_TRAP.NONE;
  const fpen = (sys.CPTR_EL2Lo >>> FPEN_LSB) & 3;
  const trapped = (fpen & 1) === 0 || (fpen === 1 && el === 0 && tge);
  return trapped ? FP_TRAP.TO_EL2 : FP_TRAP.NONE;
}

/** The classes of DIRECT that are plain at an exception level. */
function directAt(vcpu: Vcpu, el: number, spsel: number): number {
  const { sys } = vcpu, hcr = sys.HCR_EL2Lo, e2h = (sys.HCR_EL2Hi & HCR.E2H_HI) !== 0;
  const host = isHost(vcpu);
  let bits = 1 << DIRECT.EL0;
  if (el >= 1) {
    bits |= 1 << DIRECT.EL1;
    if (spsel === 1) bits |= 1 << DIRECT.SP_EL0;
  }
  if (el === 1) {
    bits |= 1 << DIRECT.EL1_REDIRECTED;
    if ((hcr & HCR.TRVM) === 0) bits |= 1 << DIRECT.EL1_VM_READ;
    if ((hcr & HCR.TVM) === 0) bits |= 1 << DIRECT.EL1_VM_WRITE;
  } else if (el === 2) {
    bits |= 1 << DIRECT.EL2;
    bits |= e2h ? 1 << DIRECT.EL12 : 1 << DIRECT.EL1_REDIRECTED | 1 << DIRECT.EL1_VM_READ | 1 << DIRECT.EL1_VM_WRITE;
  }
  const enabled = el !== 0 || ((host ? sys.SCTLR_EL2Lo : sys.SCTLR_EL1Lo) & DZE) !== 0;
  const trapped = el < 2 && !(el === 0 && host) && (hcr & HCR.TDZ) !== 0;
  if (enabled && !trapped) bits |= 1 << DIRECT.DC_ZVA;
  return bits;
}

/** After a write to a control register (HCR_EL2, SCTLR_ELx, CPACR_EL1, CPTR_EL2), or to all of them. */
export function recomputeControls(vcpu: Vcpu): void {
  const { state } = vcpu;
  for (let el = 0; el <= 2; el++) {
    vcpu.directFor[el << 1] = directAt(vcpu, el, 0);
    vcpu.directFor[el << 1 | 1] = directAt(vcpu, el, 1);
    vcpu.fpTrapFor[el] = fpTrapAt(vcpu, el);
  }
  state.direct = vcpu.directFor[state.el << 1 | state.spsel]!;
  state.fpTrap = vcpu.fpTrapFor[state.el]!;
  vcpu.environment.translationChanged(vcpu);
  vcpu.environment.levelChanged(vcpu);
}
