// The TLBI instructions of Armv8.0 to Armv8.2. DDI 0487 "TLB maintenance instructions". By address they clear what the
// address can index, in every context; by ASID and VMID they retire context numbers. The caller has checked traps and that
// the instruction exists at this exception level. All vCPUs are in one Inner Shareable domain.

import type { Mmu } from "./access.ts";
import { isHost, REGIME, type Regime } from "./controls.ts";

const HCR_FB = 1 << 9;

/** CRm of the Inner Shareable and of the local form. */
const INNER_SHAREABLE = 3;

/**
 * Carries out TLBI with these encoding fields and operand hi:lo on `mmu`, and on all of `domain` where it is broadcast.
 * False: there is no such TLBI.
 */
export function tlbInvalidate(
  mmu: Mmu,
  domain: readonly Mmu[],
  op1: number,
  crm: number,
  op2: number,
  lo: number,
  hi: number,
): boolean {
  const { el } = mmu.state, registers = mmu.registers;
  const forced = mmu.features.el2 && el === 1 && (registers.HCR_EL2Lo & HCR_FB) !== 0;
  const stage2 = op1 === 4 && (crm === 0 || crm === 4);
  if (!stage2 && crm !== INNER_SHAREABLE && crm !== 7) return false;
  const shared = forced || crm === INNER_SHAREABLE || (stage2 && crm === 0);
  const act = operation(mmu, op1, stage2, op2, lo, hi);
  if (act === undefined) return false;
  if (shared) { for (const each of domain) act(each); }
  else act(mmu);
  return true;
}

function operation(
  mmu: Mmu,
  op1: number,
  stage2: boolean,
  op2: number,
  lo: number,
  hi: number,
): ((each: Mmu) => void) | undefined {
  const vmid = currentVmid(mmu);
  const byPage = (each: Mmu) => each.tlb.invalidatePage(lo, hi & 0xfff);
  const byGuest = (each: Mmu) => retireGuest(each, vmid);
  if (op1 === 0) {
    // At EL2 with HCR_EL2.{E2H,TGE} = {1,1} these apply to the EL2&0 regime.
    const host = mmu.state.el === 2 && isHost(mmu.registers);
    switch (op2) {
      case 0: // VMALLE1
        return host ? (each) => retireRegime(each, REGIME.EL20) : byGuest;
      case 2: // ASIDE1
        return host
          ? (each) => retireAsid(each, REGIME.EL20, 0, hi >>> 16)
          : (each) => retireAsid(each, REGIME.EL10, vmid, hi >>> 16);
      case 1: // VAE1
      case 3: // VAAE1
      case 5: // VALE1
      case 7: // VAALE1
        return byPage;
    }
    return undefined;
  }
  if (op1 !== 4) return undefined;
  // IPAS2E1 and IPAS2LE1 concern cached stage 2 translations. Ours are always combined with stage 1, which software
  // invalidates as well; while stage 1 is off the two are the same thing, so everything of the guest goes.
  if (stage2) return op2 === 1 || op2 === 5 ? byGuest : undefined;
  switch (op2) {
    case 0: // ALLE2
      return (each) => each.contexts.retire((c) => c.regime !== REGIME.EL10);
    case 1: // VAE2
    case 5: // VALE2
      return byPage;
    case 4: // ALLE1
      return (each) => retireRegime(each, REGIME.EL10);
    case 6: // VMALLS12E1
      return byGuest;
  }
  return undefined;
}

/** VTTBR_EL2.VMID as it counts now. */
function currentVmid(mmu: Mmu): number {
  if (!mmu.features.el2) return 0;
  const { VTTBR_EL2Hi, VTCR_EL2Lo } = mmu.registers, vmid = VTTBR_EL2Hi >>> 16;
  return mmu.features.vmid16 && (VTCR_EL2Lo & (1 << 19)) !== 0 ? vmid : vmid & 0xff;
}

function retireRegime(mmu: Mmu, regime: Regime): void {
  mmu.contexts.retire((c) => c.regime === regime);
}

function retireGuest(mmu: Mmu, vmid: number): void {
  mmu.contexts.retire((c) => c.regime === REGIME.EL10 && c.vmid === vmid);
}

/** An 8-bit ASID is compared without the upper half of the operand. */
function retireAsid(mmu: Mmu, regime: Regime, vmid: number, asid: number): void {
  mmu.contexts.retire((c) => c.regime === regime && c.vmid === vmid && (c.asid === asid || c.asid === (asid & 0xff)));
}
