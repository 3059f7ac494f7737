// The TLBI instructions of Armv8.0 to Armv8.2. DDI 0487 "TLB maintenance instructions". By address they clear what the
// address can index, in every context; by ASID and VMID they retire context numbers. The caller has checked traps and that
// the instruction exists at this exception level. All vCPUs are in one Inner Shareable domain.

import { hex, tracePoint, Tracer, wide } from "../base/trace.ts";
import type { TlbInvalidation } from "../arch/sysinsns.ts";
import type { Mmu } from "./access.ts";
import { isHost, REGIME, type Regime } from "./controls.ts";

const HCR_FB = 1 << 9;

const INVALIDATE = tracePoint(
  "mmu",
  "tlbi",
  ({ op, operand }: { cpu: number; op: TlbInvalidation; operand: bigint }) => `TLBI ${op}, ${hex(operand)}`,
);
const MMU = Tracer.bit("mmu");

/** Carries out TLBI `op` with operand hi:lo on `mmu`, and on all of `domain` where it is broadcast. */
export function tlbInvalidate(mmu: Mmu, domain: readonly Mmu[], op: TlbInvalidation, lo: number, hi: number): void {
  const { features, state, registers } = mmu;
  const forced = features.el2 && state.el === 1 && (registers.HCR_EL2Lo & HCR_FB) !== 0;
  mmu.counters.invalidations++;
  if ((mmu.trace.mask & MMU) !== 0) mmu.trace.emit(INVALIDATE, { cpu: mmu.cpu, op, operand: wide(hi, lo) });
  const act = operation(mmu, op, lo, hi);
  if (forced || op.endsWith("IS")) { for (const each of domain) act(each); }
  else act(mmu);
}

function operation(mmu: Mmu, op: TlbInvalidation, lo: number, hi: number): (each: Mmu) => void {
  switch (op) {
    case "VAE1":
    case "VAE1IS":
    case "VAAE1":
    case "VAAE1IS":
    case "VALE1":
    case "VALE1IS":
    case "VAALE1":
    case "VAALE1IS":
    case "VAE2":
    case "VAE2IS":
    case "VALE2":
    case "VALE2IS":
      return (each) => each.tlb.invalidatePage(lo, hi & 0xfff);
    case "ASIDE1":
    case "ASIDE1IS": {
      const host = actsOnHost(mmu), vmid = host ? 0 : currentVmid(mmu);
      return (each) => retireAsid(each, host ? REGIME.EL20 : REGIME.EL10, vmid, hi >>> 16);
    }
    case "VMALLE1":
    case "VMALLE1IS":
      if (actsOnHost(mmu)) return (each) => retireRegime(each, REGIME.EL20);
      return retireGuest(currentVmid(mmu));
    // IPAS2E1 and IPAS2LE1 concern cached stage 2 translations. Ours are always combined with stage 1, which software
    // invalidates as well; while stage 1 is off the two are the same thing, so everything of the guest goes.
    case "IPAS2E1":
    case "IPAS2E1IS":
    case "IPAS2LE1":
    case "IPAS2LE1IS":
    case "VMALLS12E1":
    case "VMALLS12E1IS":
      return retireGuest(currentVmid(mmu));
    case "ALLE1":
    case "ALLE1IS":
      return (each) => retireRegime(each, REGIME.EL10);
    case "ALLE2":
    case "ALLE2IS":
      return (each) => each.contexts.retire((c) => c.regime !== REGIME.EL10);
  }
}

/** At EL2 with HCR_EL2.{E2H,TGE} = {1,1} the EL1 forms apply to the EL2&0 regime. */
const actsOnHost = (mmu: Mmu): boolean => mmu.state.el === 2 && isHost(mmu.registers);

/** VTTBR_EL2.VMID as it counts now. */
function currentVmid(mmu: Mmu): number {
  if (!mmu.features.el2) return 0;
  const { VTTBR_EL2Hi, VTCR_EL2Lo } = mmu.registers, vmid = VTTBR_EL2Hi >>> 16;
  return mmu.features.vmid16 && (VTCR_EL2Lo & (1 << 19)) !== 0 ? vmid : vmid & 0xff;
}

function retireRegime(mmu: Mmu, regime: Regime): void {
  mmu.contexts.retire((c) => c.regime === regime);
}

const retireGuest = (vmid: number) => (mmu: Mmu): void =>
  mmu.contexts.retire((c) => c.regime === REGIME.EL10 && c.vmid === vmid);

/** An 8-bit ASID is compared without the upper half of the operand. */
function retireAsid(mmu: Mmu, regime: Regime, vmid: number, asid: number): void {
  mmu.contexts.retire((c) => c.regime === regime && c.vmid === vmid && (c.asid === asid || c.asid === (asid & 0xff)));
}
