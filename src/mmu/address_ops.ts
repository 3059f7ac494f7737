// System instructions that take a virtual address: AT (address translation into PAR_EL1) and cache maintenance by address.
// DDI 0487 "AArch64.AT()", "AArch64.EncodePAR()", "Cache maintenance instructions". There are no caches, so maintenance only
// checks its address. The caller has checked traps and that the instruction exists at this exception level.

import type { Mmu } from "./access.ts";
import { finalAttributes } from "./attributes.ts";
import { VIEW, type View } from "./context.ts";
import { hasE2H, isHost } from "./controls.ts";
import { ACCESS, FAULT } from "./fault.ts";
import { WALK } from "./walk.ts";

/** PAR_EL1 holds the answer; AT did not exist (UNDEFINED); an exception was taken. */
export type AtResult = { par: bigint } | "undefined" | "exception";

interface AtForm {
  readonly view: View;
  readonly write: boolean;
  readonly both: boolean;
  readonly pan: boolean;
}

function decode(mmu: Mmu, op1: number, crm: number, op2: number): AtForm | undefined {
  const { state, registers, features } = mmu, write = (op2 & 1) !== 0;
  const host = state.el === 2 && isHost(registers);
  const form = (view: View, both = false, pan = false): AtForm => ({ view, write, both, pan });
  const el1 = host ? VIEW.EL20_EL2 : VIEW.EL1, el0 = host ? VIEW.EL20_EL0 : VIEW.EL10_EL0;
  if (op1 === 0 && crm === 8 && op2 < 4) return form(op2 < 2 ? el1 : el0);
  if (op1 === 0 && crm === 9 && op2 < 2 && features.panAddressTranslation) {
    const pan = state.pan !== 0;
    return form(host ? (pan ? VIEW.EL20_EL2_PAN : el1) : pan ? VIEW.EL1_PAN : el1, false, pan);
  }
  if (op1 !== 4 || crm !== 8) return undefined;
  if (op2 < 2) return form(hasE2H(registers) ? VIEW.EL20_EL2 : VIEW.EL2);
  if (op2 < 4) return undefined;
  return form(op2 < 6 ? el1 : el0, true);
}

/** AT with these encoding fields on address hi:lo. */
export function addressTranslate(mmu: Mmu, op1: number, crm: number, op2: number, lo: number, hi: number): AtResult {
  const form = decode(mmu, op1, crm, op2);
  if (form === undefined) return "undefined";
  const { walker } = mmu, c = mmu.contexts.controlsOf(form.view);
  const access = form.write ? ACCESS.WRITE : ACCESS.READ;
  const done = walker.translate(c, lo, hi, access, form.both ? 0 : WALK.STAGE1_ONLY);
  if (done) {
    const { attributes, shareability } = finalAttributes(c, walker, form.both);
    // Bit 11 is RES1; NS is UNKNOWN in Non-secure state and set, as on other implementations.
    const flags = BigInt(shareability << 7 | 1 << 11 | 1 << 9);
    return { par: BigInt(attributes) << 56n | BigInt(walker.pa - walker.pa % 4096) | flags };
  }
  // External aborts are taken; so is a stage 2 fault of the walk when EL1 asks, which EL2 must see.
  const external = (walker.fault & 0x3c) === FAULT.EXTERNAL_WALK;
  if (external || (walker.s1ptw && mmu.state.el === 1)) {
    mmu.reportWalk(lo, hi, access, true);
    return "exception";
  }
  const stage = (walker.s1ptw ? 1 << 8 : 0) | (walker.stage === 2 ? 1 << 9 : 0);
  return { par: BigInt(1 | walker.fault << 1 | stage | 1 << 11) };
}

/**
 * Cache maintenance by virtual address (DC …VA…, IC IVAU): checks the address. `invalidate`: DC IVAC, which needs write
 * permission; the others need read permission at EL0 and none above. False after a fault was taken.
 */
export function maintainAddress(mmu: Mmu, invalidate: boolean, lo: number, hi: number): boolean {
  const { walker, state } = mmu, c = mmu.contexts.controls(mmu.contexts.current(false) >>> 2);
  const access = invalidate ? ACCESS.WRITE : ACCESS.READ, checked = invalidate || state.el === 0;
  const options = WALK.IGNORE_PAN | (checked ? 0 : WALK.UNCHECKED);
  if (walker.translate(c, lo, hi, access, options)) return true;
  mmu.reportWalk(lo, hi, access, true);
  return false;
}
