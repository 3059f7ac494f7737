// Self-hosted debug: when debug exceptions are enabled and where they go, which instructions breakpoints match, which
// accesses watchpoints match, and the states of software step. DDI 0487 "AArch64 Self-hosted Debug" and its pseudocode:
// AArch64.GenerateDebugExceptionsFrom(), AArch64.BreakpointMatch(), AArch64.WatchpointMatch(), DebugExceptionReturnSS().
// These are judgements only: exceptions.ts takes the exceptions, src/machine/guest_debug.ts sees to it that the right
// instructions and accesses are asked about. Left out: everything of AArch32 (address mismatch, vector catch), and
// halting debug.

import { DBGBCR, DBGWCR, MDCR_EL2, MDSCR_EL1, SYSTEM_REGISTERS } from "../arch/sysregs.ts";
import type { Vcpu } from "./core.ts";
import { HCR, isHost } from "./pstate.ts";
import { PENDING } from "./vcpu.ts";

const bit = (f: { readonly lsb: number }) => 1 << f.lsb;
const SS = bit(MDSCR_EL1.at.SS), KDE = bit(MDSCR_EL1.at.KDE), MDE = bit(MDSCR_EL1.at.MDE);
const TDE = bit(MDCR_EL2.at.TDE), OSLK = 2;
const B = DBGBCR.at, W = DBGWCR.at, ENABLED = 1;

/** How many there are, as ID_AA64DFR0_EL1 says. The last ones of the breakpoints compare contexts too. */
export const BREAKPOINTS = 6, WATCHPOINTS = 4, CONTEXT_BREAKPOINTS = 2;
const FIRST_CONTEXT = BREAKPOINTS - CONTEXT_BREAKPOINTS;

const { offset } = SYSTEM_REGISTERS;
/** Words of the registers: value and control by number. */
const wordsOf = (value: number, next: number) => (n: number) => (value + n * (next - value)) / 4;
const BVR = wordsOf(offset.DBGBVR0_EL1, offset.DBGBVR1_EL1), BCR = wordsOf(offset.DBGBCR0_EL1, offset.DBGBCR1_EL1);
const WVR = wordsOf(offset.DBGWVR0_EL1, offset.DBGWVR1_EL1), WCR = wordsOf(offset.DBGWCR0_EL1, offset.DBGWCR1_EL1);

/** DebugTarget(): the level that debug exceptions go to. */
export const debugTarget = ({ sys, hasEl2 }: Vcpu): 1 | 2 =>
  hasEl2 && ((sys.HCR_EL2Lo & HCR.TGE) !== 0 || (sys.MDCR_EL2Lo & TDE) !== 0) ? 2 : 1;

/** Whether the OS lock or the OS double lock suppresses debug exceptions. */
const locked = ({ sys }: Vcpu): boolean =>
  (sys.OSLSR_EL1Lo & OSLK) !== 0 || ((sys.OSDLR_EL1Lo & 1) !== 0 && (sys.DBGPRCR_EL1Lo & 1) === 0);

/** AArch64.GenerateDebugExceptionsFrom(): whether breakpoints, watchpoints and steps make exceptions at a level. */
function enabledFrom(vcpu: Vcpu, el: number, masked: boolean): boolean {
  if (locked(vcpu)) return false;
  const target = debugTarget(vcpu);
  if (el === target) return (vcpu.sys.MDSCR_EL1Lo & KDE) !== 0 && !masked;
  return target > el;
}
const enabledHere = (vcpu: Vcpu): boolean => enabledFrom(vcpu, vcpu.state.el, (vcpu.state.daif & 8) !== 0);

// --- Software step

/** Whether software step is active: after one instruction, or before any (PSTATE.SS = 0), its exception is taken. */
export const stepActive = (vcpu: Vcpu): boolean => (vcpu.sys.MDSCR_EL1Lo & SS) !== 0 && enabledHere(vcpu);

/** After MDSCR_EL1 was written. */
export function noteStepEnable({ state, sys }: Vcpu): void {
  state.pending = (sys.MDSCR_EL1Lo & SS) !== 0 ? state.pending | PENDING.STEP : state.pending & ~PENDING.STEP;
}

/** DebugExceptionReturnSS(): PSTATE.SS after a return to `el` with `psr`; asked before anything of PSTATE changes. */
export function returnSs(vcpu: Vcpu, el: number, psr: number): number {
  if ((vcpu.sys.MDSCR_EL1Lo & SS) === 0 || enabledHere(vcpu)) return 0;
  return enabledFrom(vcpu, el, (psr & 0x200) !== 0) ? (psr >>> 21) & 1 : 0;
}

/** Whether an instruction is a Load-Exclusive, which the syndrome of a step tells. */
export const isLoadExclusive = (word: number): boolean =>
  // o2 = 0, L = 1; with o1 = 1 only the pairs, whose size has its upper bit set: the rest is CASP.
  (word & 0x3fc0_0000) === 0x0840_0000 && ((word & 0x0020_0000) === 0 || word >>> 31 === 1);

// --- Breakpoints and watchpoints

const field = (control: number, { lsb, width }: { readonly lsb: number; readonly width: number }): number =>
  (control >>> lsb) & ((1 << width) - 1);

/** Whether breakpoints and watchpoints may match at all, at some level: the cheap question of who writes registers. */
export const debugOn = (vcpu: Vcpu): boolean => (vcpu.sys.MDSCR_EL1Lo & MDE) !== 0 && !locked(vcpu);
/** Whether they make exceptions now. */
const monitored = (vcpu: Vcpu): boolean => (vcpu.sys.MDSCR_EL1Lo & MDE) !== 0 && enabledHere(vcpu);

/** Context number is used where an address is not. */
const isAddressType = (type: number): boolean => (type & 0b1110) === 0;

/** AArch64.StateMatch() without EL3: the level as HMC, SSC and PMC or PAC select it, and the linked context. */
function stateMatches(vcpu: Vcpu, control: number, el: number, linked: boolean): boolean {
  const hmc = field(control, B.HMC), ssc = field(control, B.SSC), levels = field(control, B.PMC);
  // What is reserved, or is about Secure state, never matches.
  if (hmc === 0 ? ssc !== 0 || levels === 0 : ssc === 0 ? (levels & 1) === 0 : ssc !== 3 || levels !== 0) return false;
  if (hmc === 1 && ssc === 3 && !vcpu.hasEl2) return false;
  const matches = el === 2 ? hmc === 1 : el === 1 ? (levels & 1) !== 0 : (levels & 2) !== 0;
  return matches && (!linked || contextMatches(vcpu, field(control, B.LBN), true));
}

/** AArch64.BreakpointValueMatch() for context breakpoint `n`. */
function contextMatches(vcpu: Vcpu, n: number, linkedTo: boolean): boolean {
  if (n < FIRST_CONTEXT || n >= BREAKPOINTS) return false;
  const { sys, sysWords, state: { el } } = vcpu, control = sysWords[BCR(n)]!, type = field(control, B.BT);
  if ((control & ENABLED) === 0 || isAddressType(type) || ((type & 1) !== 0) !== linkedTo) return false;
  const lo = sysWords[BVR(n)]!, hi = sysWords[BVR(n) + 1]!, vhe = vcpu.model.has("FEAT_VHE");
  const e2h = (sys.HCR_EL2Hi & HCR.E2H_HI) !== 0, inHost = el === 2 ? e2h : el === 0 && isHost(vcpu);
  const guest = el < 2 && !inHost;
  const ofEl1 = () => guest && sys.CONTEXTIDR_EL1Lo === lo;
  const ofEl2 = () => vhe && vcpu.hasEl2 && sys.CONTEXTIDR_EL2Lo === hi;
  const ofVm = () => {
    const mask = vcpu.model.has("FEAT_VMID16") ? 0xffff : 0xff;
    return vcpu.hasEl2 && guest && ((sys.VTTBR_EL2Hi >>> 16) & mask) === (hi & mask);
  };
  switch (type >>> 1) {
    case 1:
      return inHost ? sys.CONTEXTIDR_EL2Lo === lo : el < 2 && sys.CONTEXTIDR_EL1Lo === lo;
    case 3:
      return vhe && ofEl1();
    case 4:
      return ofVm();
    case 5:
      return ofVm() && ofEl1();
    case 6:
      return ofEl2();
    case 7:
      return vhe && ofEl1() && ofEl2();
  }
  return false;
}

/** Whether two addresses are the same in bits 48 to `from`, below bit 32. */
const sameAddress = (lo: number, hi: number, valueLo: number, valueHi: number, from: number): boolean =>
  ((lo ^ valueLo) >>> from) === 0 && ((hi ^ valueHi) & 0x1_ffff) === 0;

/** An enabled breakpoint that compares addresses: its address, else undefined. */
export function breakpointAddress(vcpu: Vcpu, n: number): { readonly lo: number; readonly hi: number } | undefined {
  const { sysWords } = vcpu, control = sysWords[BCR(n)]!;
  if ((control & ENABLED) === 0 || !isAddressType(field(control, B.BT))) return undefined;
  // As if sign-extended from bit 48.
  return { lo: (sysWords[BVR(n)]! & ~3) >>> 0, hi: (sysWords[BVR(n) + 1]! << 15 >> 15) >>> 0 };
}

/** Whether a breakpoint compares contexts alone: every instruction may match. */
export function hasContextBreakpoint(vcpu: Vcpu): boolean {
  for (let n = FIRST_CONTEXT; n < BREAKPOINTS; n++) {
    const control = vcpu.sysWords[BCR(n)]!, type = field(control, B.BT);
    if ((control & ENABLED) !== 0 && !isAddressType(type) && (type & 1) === 0) return true;
  }
  return false;
}

/** AArch64.CheckBreakpoint(): whether the instruction at `state.pc` makes a Breakpoint exception. */
export function breakpointMatches(vcpu: Vcpu): boolean {
  if (!monitored(vcpu)) return false;
  const { sysWords, state: { pcLo, pcHi, el } } = vcpu;
  for (let n = 0; n < BREAKPOINTS; n++) {
    const control = sysWords[BCR(n)]!, type = field(control, B.BT);
    if ((control & ENABLED) === 0) continue;
    const address = isAddressType(type);
    if (address) { if (!sameAddress(pcLo, pcHi, sysWords[BVR(n)]!, sysWords[BVR(n) + 1]!, 2)) continue; }
    else if (!contextMatches(vcpu, n, false)) continue;
    if (stateMatches(vcpu, control, el, address && (type & 1) !== 0)) return true;
  }
  return false;
}

/** The bytes that a watchpoint watches: first address, as if sign-extended from bit 48, and size, which may be 2^31. */
export interface WatchedRange {
  readonly lo: number;
  readonly hi: number;
  readonly bytes: number;
}

/** What watchpoint `n` covers, undefined if it is off or can match nothing. Bytes in between may be unwatched. */
export function watchedRange(vcpu: Vcpu, n: number): WatchedRange | undefined {
  const { sysWords } = vcpu, control = sysWords[WCR(n)]!, mask = field(control, W.MASK), bas = field(control, W.BAS);
  const value = sysWords[WVR(n)]!, hi = (sysWords[WVR(n) + 1]! << 15 >> 15) >>> 0;
  if ((control & ENABLED) === 0 || field(control, W.LSC) === 0 || bas === 0) return undefined;
  if (mask >= 3) return { lo: Math.floor(value / 2 ** mask) * 2 ** mask, hi, bytes: 2 ** mask };
  // Bit 2 of the address makes it a word: then only the lower four bits of BAS count.
  const word = (value & 4) !== 0, bytes = word ? bas & 15 : bas;
  if (bytes === 0) return undefined;
  const first = 31 - Math.clz32(bytes & -bytes), last = 31 - Math.clz32(bytes);
  return { lo: ((value & ~3) >>> 0) + first, hi, bytes: last - first + 1 };
}

/** An access, and what was found: `at` is the distance of the first watched byte from its address. */
export interface WatchedAccess {
  readonly lo: number;
  readonly hi: number;
  readonly bytes: number;
  readonly read: boolean;
  readonly write: boolean;
  /** LDTR and STTR: as EL0. */
  readonly unprivileged: boolean;
}
export interface WatchMatch {
  readonly at: number;
  readonly write: boolean;
}

/** AArch64.CheckWatchpoint(): the first watchpoint that an access matches. */
export function watchpointMatches(vcpu: Vcpu, access: WatchedAccess): WatchMatch | undefined {
  if (!monitored(vcpu)) return undefined;
  const { sysWords, state } = vcpu;
  for (let n = 0; n < WATCHPOINTS; n++) {
    const range = watchedRange(vcpu, n);
    if (range === undefined) continue;
    const control = sysWords[WCR(n)]!, kinds = field(control, W.LSC);
    if (!((kinds & 1) !== 0 && access.read) && !((kinds & 2) !== 0 && access.write)) continue;
    const at = firstByte(vcpu, n, range, access);
    if (at < 0) continue;
    const unprivileged = access.unprivileged && state.uao === 0 && (state.el === 1 || isHost(vcpu));
    const el = unprivileged ? 0 : state.el;
    if (!stateMatches(vcpu, control, el, field(control, W.WT) !== 0)) continue;
    // WnR of a read-modify-write is 0 when a read would have matched.
    return { at, write: !((kinds & 1) !== 0 && access.read) };
  }
  return undefined;
}

/** How far from the start of an access its first watched byte is, -1 if there is none. */
function firstByte(vcpu: Vcpu, n: number, range: WatchedRange, { lo, hi, bytes }: WatchedAccess): number {
  // The top bits are no part of the comparison; what is near is exact.
  const distance = (((range.hi & 0x1_ffff) - (hi & 0x1_ffff)) * 2 ** 32) + (range.lo - (lo >>> 0));
  const first = Math.max(0, distance), end = Math.min(bytes, distance + range.bytes);
  if (first >= end || range.bytes > 8 || field(vcpu.sysWords[WCR(n)]!, W.MASK) >= 3) return first < end ? first : -1;
  const selected = field(vcpu.sysWords[WCR(n)]!, W.BAS), inside = (vcpu.sysWords[WVR(n)]! & 4) !== 0 ? 3 : 7;
  for (let i = first; i < end; i++) if ((selected >>> ((lo + i) & inside) & 1) !== 0) return i;
  return -1;
}
