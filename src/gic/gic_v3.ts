// GICv3 as the machine sees it: memory-mapped regions, input lines, system registers, and output lines to the vCPUs.
// Architecture: Arm IHI 0069, single security state, as on QEMU's `virt` without `secure=on`. Left out: LPIs and the ITS,
// legacy operation, message-based SPIs.

import { assert } from "../base/errors.ts";
import type { MmioRegion } from "../memory/bus.ts";
import type { Line } from "../memory/line.ts";
import { GicCore, type GicOptions } from "./core.ts";
import { ICC, type SysregAccess } from "./cpu_interface.ts";
import { GICD } from "./distributor.ts";
import type { MmioTable } from "./mmio_table.ts";
import { type Frame, GICR, GICR_BYTES } from "./redistributor.ts";
import { INTERRUPTS } from "./state.ts";
import { ICH, ICV_COMMON, ICV_GROUP0, ICV_GROUP1, updateVirtual } from "./virtual_interface.ts";

export type { GicOptions } from "./core.ts";
export { GIC_STATE_BYTES, MAINTENANCE_INTERRUPT, OUTPUT } from "./state.ts";
export { ICH_HCR } from "./virtual_interface.ts";

export const GICD_BASE = 0x0800_0000;
export const GICR_BASE = 0x080a_0000;

/** Whether an ICC_* access goes to the physical interface or, from a virtual machine, to ICV_*. */
export type SysregView = "physical" | "virtual";

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

export class GicV3 {
  readonly regions: readonly MmioRegion[];
  readonly #core: GicCore;

  constructor(options: GicOptions) {
    const core = this.#core = new GicCore(options);
    const frames: Frame[] = core.redistributors.map((state, cpu) => ({ core, cpu, state }));
    this.regions = [
      region("gicd", GICD_BASE, GICD.size, core, (offset) => [GICD, core, offset]),
      region("gicr", GICR_BASE, GICR.size * frames.length, core, (offset) => [
        GICR,
        frames[Math.floor(offset / GICR_BYTES)]!,
        offset % GICR_BYTES,
      ]),
    ];
    this.reset();
  }

  /** Power-on state, all input lines low. */
  reset(): void {
    this.#core.reset();
  }

  /** After the state was written from a snapshot: recomputes what follows from it and reports all output lines. */
  refresh(): void {
    this.#core.redistributors.forEach((_, cpu) => updateVirtual(this.#core, cpu));
    this.#core.refresh();
  }

  /** The input line of shared interrupt `n`, 0 to 255: interrupt number 32 + n. */
  spi(n: number): Line {
    assert(Number.isInteger(n) && n >= 0 && n < INTERRUPTS - 32, "an SPI has a number from 0 to 255");
    return (level) => this.#core.setLine(0, 32 + n, level);
  }

  /** The input line of private interrupt `id`, 16 to 31, of a vCPU. */
  ppi(cpu: number, id: number): Line {
    assert(this.#core.redistributors[cpu] && id >= 16 && id < 32, "a PPI has a vCPU and a number from 16 to 31");
    return (level) => this.#core.setLine(cpu, id, level);
  }

  /** OUTPUT bits that are now asserted into a vCPU. */
  outputs(cpu: number): number {
    return this.#core.redistributors[cpu]!.outputs;
  }

  /** ICH_HCR_EL2 of a vCPU, whose TC, TALL0, TALL1 and TDIR trap accesses from EL1. */
  hypControl(cpu: number): number {
    return this.#core.redistributors[cpu]!.hcr;
  }

  /** Reads one of GIC_SYSREGS. Write-only registers read as 0. */
  readSysreg(name: string, cpu: number, view: SysregView = "physical"): bigint {
    const value = find(name)[view].read?.(this.#core, cpu) ?? 0;
    return typeof value === "bigint" ? value : BigInt(value >>> 0);
  }

  /** Writes one of GIC_SYSREGS. Read-only registers ignore it. */
  writeSysreg(name: string, cpu: number, value: bigint, view: SysregView = "physical"): void {
    const low = Number(value & 0xffffffffn), high = Number((value >> 32n) & 0xffffffffn);
    find(name)[view].write?.(this.#core, cpu, low, high);
  }
}

function find(name: string): Sysreg {
  const register = SYSREGS.get(name);
  assert(register, `${name} is a register of the interrupt controller`);
  return register;
}

/** The bus side: accesses no register allows read as zero and ignore writes, with a trace. */
function region<C>(
  name: string,
  base: number,
  size: number,
  core: GicCore,
  locate: (offset: number) => [MmioTable<C>, C, number],
): MmioRegion {
  const complain = (what: string, offset: number, bytes: number) =>
    core.guestError(`${name}: no register for a ${what} of ${bytes} bytes at offset 0x${offset.toString(16)}`);
  return {
    name,
    base,
    size,
    read(offset, bytes) {
      const [table, context, at] = locate(offset);
      const value = table.read(context, at, bytes);
      if (value === undefined) complain("read", offset, bytes);
      return value ?? 0;
    },
    write(offset, bytes, value) {
      const [table, context, at] = locate(offset);
      if (!table.write(context, at, bytes, value)) complain("write", offset, bytes);
    },
  };
}
