// GICv3: a distributor, a redistributor for each vCPU, and CPU interfaces as system registers. Architecture: Arm IHI 0069,
// single security state, as on QEMU's `virt` without `secure=on`. Left out: LPIs and the ITS, legacy operation,
// message-based SPIs.

import { assert } from "../base/errors.ts";
import type { MmioRegion } from "../memory/bus.ts";
import { type GicSysregs, InterruptController, type SysregView } from "./controller.ts";
import { type GicOptions, GICV3 } from "./core.ts";
import { GICD, route } from "./distributor.ts";
import { ICC, ICV_COMMON, ICV_GROUP0, ICV_GROUP1, type SysregAccess } from "./icc_registers.ts";
import { ICH } from "./ich_registers.ts";
import { GICR, GICR_BYTES } from "./redistributor.ts";
import { CONTROL, INTERRUPTS } from "./state.ts";

export type { SysregView } from "./controller.ts";
export type { GicOptions } from "./core.ts";
export { GIC_STATE_BYTES, MAINTENANCE_INTERRUPT, OUTPUT } from "./state.ts";
export { ICH_HCR } from "./virtual_interface.ts";

export const GICD_BASE = 0x0800_0000;
export const GICR_BASE = 0x080a_0000;

/** HCR_EL2 bits (FMO is bit 3, IMO is bit 4) any of which gives an access from EL1 the virtual view. */
const FMO = 1 << 3, IMO = 1 << 4;

interface Sysreg {
  readonly physical: SysregAccess;
  /** Equal to `physical` for registers without a virtual counterpart. */
  readonly virtual: SysregAccess;
  readonly virtualBy: number;
}

const SYSREGS = new Map<string, Sysreg>();
for (const [name, physical] of Object.entries({ ...ICC, ...ICH })) {
  SYSREGS.set(name, { physical, virtual: physical, virtualBy: 0 });
}
for (const [virtualBy, registers] of [[FMO, ICV_GROUP0], [IMO, ICV_GROUP1], [FMO | IMO, ICV_COMMON]] as const) {
  for (const [name, virtual] of Object.entries(registers)) {
    SYSREGS.set(name, { physical: ICC[name]!, virtual, virtualBy });
    SYSREGS.set(name.replace("ICC_", "ICV_"), { physical: virtual, virtual, virtualBy: 0 });
  }
}

/**
 * The system registers this device implements; others of the ICC_ and ICH_ families are UNDEFINED on such a core. Names
 * with ICV_ are the virtual view of the same name with ICC_, for a caller that has made the choice already.
 */
export const GIC_SYSREGS: readonly string[] = [...SYSREGS.keys()];

/** Mask of HCR_EL2 bits (FMO 0x8, IMO 0x10) of which any set one makes an access from EL1 virtual; 0: never. */
export const virtualViewBits = (name: string): number => SYSREGS.get(name)?.virtualBy ?? 0;

export class GicV3 extends InterruptController implements GicSysregs {
  readonly regions: readonly MmioRegion[];
  override readonly sysregs: GicSysregs = this;

  constructor(options: GicOptions) {
    super(options, GICV3);
    this.regions = [
      this.banked(GICD, GICD_BASE),
      this.region(GICR, GICR_BASE, GICR.size * this.accesses.length, (offset) => [
        this.accesses[Math.floor(offset / GICR_BYTES)]!,
        offset % GICR_BYTES,
      ]),
    ];
    this.reset();
  }

  override reset(): void {
    super.reset();
    // Group 0 is always signalled as FIQ.
    for (const i of [...this.core.physical, ...this.core.virtual]) i.change(0, CONTROL.FIQEn);
    for (let intid = 32; intid < INTERRUPTS; intid++) route(this.core, intid);
  }

  hypControl(cpu: number): number {
    return this.core.virtual[cpu]!.hcr;
  }

  /** Reads one of GIC_SYSREGS. */
  readSysreg(name: string, cpu: number, view: SysregView = "physical"): bigint {
    const value = find(name)[view].read?.(this.core, cpu) ?? 0;
    return typeof value === "bigint" ? value : BigInt(value >>> 0);
  }

  /** Writes one of GIC_SYSREGS. */
  writeSysreg(name: string, cpu: number, value: bigint, view: SysregView = "physical"): void {
    const low = Number(value & 0xffffffffn), high = Number((value >> 32n) & 0xffffffffn);
    find(name)[view].write?.(this.core, cpu, low, high);
  }
}

function find(name: string): Sysreg {
  const register = SYSREGS.get(name);
  assert(register, `${name} is a register of the interrupt controller`);
  return register;
}
