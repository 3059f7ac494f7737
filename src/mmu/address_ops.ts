// System instructions that take a virtual address: AT (address translation into PAR_EL1) and cache maintenance by address.
// DDI 0487 "AArch64.AT()", "AArch64.EncodePAR()", "Cache maintenance instructions". There are no caches, so maintenance only
// checks its address. The caller has checked traps and that the instruction exists at this exception level.

import type { AddressTranslation, CacheMaintenance } from "../arch/sysinsns.ts";
import { type Mmu, WATCH_MAINTENANCE, WATCH_WRITE } from "./access.ts";
import { finalAttributes } from "./attributes.ts";
import { VIEW, type View } from "./context.ts";
import { hasE2H, isHost } from "./controls.ts";
import { ACCESS, type Access, FAULT } from "./fault.ts";
import { WALK } from "./walk.ts";

/** The value for PAR_EL1, or undefined when an exception was taken instead. */
export type AtResult = bigint | undefined;

interface AtForm {
  readonly view: View;
  readonly write: boolean;
  /** Both stages. */
  readonly both: boolean;
}

function formOf(mmu: Mmu, op: AddressTranslation): AtForm {
  const { state, registers } = mmu, host = state.el === 2 && isHost(registers);
  const write = op.endsWith("W") || op.endsWith("WP"), both = op.startsWith("S12");
  const form = (view: View): AtForm => ({ view, write, both });
  switch (op) {
    case "S1E1R":
    case "S1E1W":
    case "S12E1R":
    case "S12E1W":
      return form(host ? VIEW.EL20_EL2 : VIEW.EL1);
    case "S1E0R":
    case "S1E0W":
    case "S12E0R":
    case "S12E0W":
      return form(host ? VIEW.EL20_EL0 : VIEW.EL10_EL0);
    case "S1E1RP":
    case "S1E1WP":
      if (state.pan === 0) return form(host ? VIEW.EL20_EL2 : VIEW.EL1);
      return form(host ? VIEW.EL20_EL2_PAN : VIEW.EL1_PAN);
    case "S1E2R":
    case "S1E2W":
      return form(hasE2H(registers) ? VIEW.EL20_EL2 : VIEW.EL2);
  }
}

/** AT `op` on address hi:lo. */
export function addressTranslate(mmu: Mmu, op: AddressTranslation, lo: number, hi: number): AtResult {
  const form = formOf(mmu, op), { walker } = mmu, c = mmu.contexts.controlsOf(form.view);
  const access = form.write ? ACCESS.WRITE : ACCESS.READ;
  const done = walker.translate(c, lo, hi, access, form.both ? 0 : WALK.STAGE1_ONLY);
  if (done) {
    const { attributes, shareability } = finalAttributes(c, walker, form.both);
    // Bit 11 is RES1; NS is UNKNOWN in Non-secure state and set, as on other implementations.
    const flags = BigInt(shareability << 7 | 1 << 11 | 1 << 9);
    return BigInt(attributes) << 56n | BigInt(walker.pa - walker.pa % 4096) | flags;
  }
  // External aborts are taken; so is a stage 2 fault of the walk when EL1 asks, which EL2 must see.
  const external = (walker.fault & 0x3c) === FAULT.EXTERNAL_WALK;
  if (external || (walker.s1ptw && mmu.state.el === 1)) {
    mmu.reportWalk(lo, hi, access, true);
    return undefined;
  }
  const stage = (walker.s1ptw ? 1 << 8 : 0) | (walker.stage === 2 ? 1 << 9 : 0);
  return BigInt(1 | walker.fault << 1 | stage | 1 << 11);
}

/** Cache maintenance `op` on address hi:lo. False after a fault was taken. */
export function maintainCache(mmu: Mmu, op: CacheMaintenance, lo: number, hi: number): boolean {
  switch (op) {
    case "DC_ZVA":
      return mmu.zeroBlock(lo, hi);
    case "DC_IVAC":
      return maintainAddress(mmu, ACCESS.WRITE, true, lo, hi);
    case "IC_IVAU":
    case "DC_CVAC":
    case "DC_CVAU":
    case "DC_CVAP":
    case "DC_CIVAC":
      return maintainAddress(mmu, ACCESS.READ, mmu.state.el === 0, lo, hi);
    // By set and way, or everything: there is no address to check, and no cache.
    case "IC_IALLU":
    case "IC_IALLUIS":
    case "DC_ISW":
    case "DC_CSW":
    case "DC_CISW":
      return true;
  }
}

/** DC IVAC needs write permission; the others need read permission at EL0 and none above. PAN does not apply. */
function maintainAddress(mmu: Mmu, access: Access, checked: boolean, lo: number, hi: number): boolean {
  const { walker } = mmu, c = mmu.contexts.controls(mmu.contexts.current(false) >>> 2);
  if (walker.translate(c, lo, hi, access, WALK.IGNORE_PAN | (checked ? 0 : WALK.UNCHECKED))) {
    // Of these, only DC IVAC is a write to watchpoints: of a whole line.
    const line = access === ACCESS.WRITE ? mmu.guestWatcher : undefined;
    return !line?.matches(mmu.cpu, lo & ~63, hi, 64, WATCH_WRITE, WATCH_MAINTENANCE);
  }
  mmu.reportWalk(lo, hi, access, true);
  return false;
}
