// What the machine sees of an interrupt controller, whichever architecture it has: memory-mapped regions, input lines,
// output lines to the vCPUs and, with GICv3, system registers. Both controllers are this base with their own registers.

import { assert } from "../base/errors.ts";
import type { MmioRegion } from "../memory/bus.ts";
import type { Line } from "../memory/line.ts";
import { type Architecture, GicCore, type GicOptions } from "./core.ts";
import type { Access } from "./interrupt_registers.ts";
import type { MmioTable } from "./mmio_table.ts";
import { INTERRUPTS } from "./state.ts";

/** Whether an ICC_* access goes to the physical interface or, from a virtual machine, to ICV_*. */
export type SysregView = "physical" | "virtual";

/** The CPU interface and the virtualization interface as system registers. */
export interface GicSysregs {
  /** Reads a register by its name. Write-only registers read as 0. */
  readSysreg(name: string, cpu: number, view?: SysregView): bigint;
  /** Writes a register by its name. Read-only registers ignore it. */
  writeSysreg(name: string, cpu: number, value: bigint, view?: SysregView): void;
  /** ICH_HCR_EL2 of a vCPU, whose TC, TALL0, TALL1 and TDIR trap accesses from EL1. */
  hypControl(cpu: number): number;
}

export abstract class InterruptController {
  abstract readonly regions: readonly MmioRegion[];
  /** Absent where everything is memory-mapped. */
  readonly sysregs?: GicSysregs;
  protected readonly core: GicCore;
  /** One for each vCPU. */
  protected readonly accesses: readonly Access[];

  constructor(options: GicOptions, architecture: Architecture) {
    const core = this.core = new GicCore(options, architecture);
    this.accesses = core.privates.map((_, cpu) => ({ core, cpu }));
  }

  /** Power-on state, all input lines low. */
  reset(): void {
    this.core.reset();
  }

  /** After the state was written from a snapshot: recomputes what follows from it and reports all output lines. */
  refresh(): void {
    this.core.refresh();
  }

  /** The input line of shared interrupt `n`, 0 to 255: interrupt number 32 + n. */
  spi(n: number): Line {
    assert(Number.isInteger(n) && n >= 0 && n < INTERRUPTS - 32, "an SPI has a number from 0 to 255");
    return (level) => this.core.setLine(0, 32 + n, level);
  }

  /** The input line of private interrupt `id`, 16 to 31, of a vCPU. */
  ppi(cpu: number, id: number): Line {
    assert(this.core.privates[cpu] && id >= 16 && id < 32, "a PPI has a vCPU and a number from 16 to 31");
    return (level) => this.core.setLine(cpu, id, level);
  }

  /** OUTPUT bits that are now asserted into a vCPU. */
  outputs(cpu: number): number {
    return this.core.privates[cpu]!.outputs;
  }

  /** A block of registers on the bus. `locate` says whose registers and which offset in the table an access means. */
  protected region<C>(
    table: MmioTable<C>,
    base: number,
    size: number,
    locate: (offset: number, cpu: number) => [C, number],
  ): MmioRegion {
    const name = table.name.toLowerCase();
    const complain = (what: string, offset: number, bytes: number) =>
      this.core.guestError(`${name}: no register for a ${what} of ${bytes} bytes at offset 0x${offset.toString(16)}`);
    return {
      name,
      base,
      size,
      read(offset, bytes, cpu) {
        const [context, at] = locate(offset, cpu), value = table.read(context, at, bytes);
        if (value === undefined) complain("read", offset, bytes);
        return value ?? 0;
      },
      write(offset, bytes, value, cpu) {
        const [context, at] = locate(offset, cpu);
        if (!table.write(context, at, bytes, value)) complain("write", offset, bytes);
      },
    };
  }

  /** A block whose registers are those of the vCPU that asks; of vCPU 0 where none does. */
  protected banked(table: MmioTable<Access>, base: number): MmioRegion {
    return this.region(table, base, table.size, (offset, cpu) => [this.accesses[Math.max(cpu, 0)]!, offset]);
  }
}
