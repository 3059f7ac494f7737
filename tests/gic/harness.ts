// A controller with shorthands for tests: registers by name, output lines as they were last reported.

import { GIC_STATE_BYTES, GICD_BASE, GICR_BASE, GicV3, OUTPUT, type SysregView } from "../../src/gic/gic_v3.ts";

export const { IRQ, FIQ, VIRQ, VFIQ } = OUTPUT;
export { GICD_BASE, GICR_BASE };

export class Bench {
  readonly gic: GicV3;
  /** Last reported lines of each vCPU. */
  readonly lines: number[];
  readonly errors: string[] = [];
  reports = 0;

  constructor(cpus = 1) {
    this.lines = new Array(cpus).fill(0);
    this.gic = new GicV3({
      buffer: new SharedArrayBuffer(GIC_STATE_BYTES + 64),
      base: 64,
      cpus,
      output: (cpu, lines) => {
        this.lines[cpu] = lines;
        this.reports++;
      },
      guestError: (message) => this.errors.push(message),
    });
  }

  /** Groups on, mask open: what a kernel does first. */
  enable(): this {
    this.distributor(0x0000, 3);
    for (let cpu = 0; cpu < this.lines.length; cpu++) {
      this.write("ICC_PMR_EL1", 0xffn, cpu);
      this.write("ICC_IGRPEN0_EL1", 1n, cpu);
      this.write("ICC_IGRPEN1_EL1", 1n, cpu);
    }
    return this;
  }

  /** Enables an interrupt with a priority, in group 1 unless told otherwise. */
  configure(intid: number, priority: number, { group = 1, edge = false, cpu = 0 } = {}): void {
    const base = intid < 32 ? GICR_BASE + cpu * 0x20000 + 0x10000 : GICD_BASE;
    const word = 4 * (intid >>> 5), bit = (1 << (intid & 31)) >>> 0;
    const groups = this.load(base + 0x80 + word);
    this.store(base + 0x80 + word, group ? groups | bit : groups & ~bit);
    this.store(base + 0x400 + intid, priority, 1);
    const configuration = base + 0xc00 + 4 * (intid >>> 4), shift = 2 * (intid & 15);
    this.store(configuration, (this.load(configuration) & ~(3 << shift)) | ((edge ? 2 : 0) << shift));
    this.store(base + 0x100 + word, bit);
  }

  load(address: number, bytes = 4): number {
    const region = this.gic.regions.find((r) => address >= r.base && address < r.base + r.size)!;
    return region.read(address - region.base, bytes, 0);
  }

  store(address: number, value: number, bytes = 4): void {
    const region = this.gic.regions.find((r) => address >= r.base && address < r.base + r.size)!;
    region.write(address - region.base, bytes, value >>> 0, 0);
  }

  distributor(offset: number, value?: number): number {
    if (value !== undefined) this.store(GICD_BASE + offset, value);
    return this.load(GICD_BASE + offset);
  }

  /** A register of the SGI frame. */
  sgiFrame(offset: number, value?: number, cpu = 0): number {
    const address = GICR_BASE + cpu * 0x20000 + 0x10000 + offset;
    if (value !== undefined) this.store(address, value);
    return this.load(address);
  }

  read(name: string, cpu = 0, view: SysregView = "physical"): number {
    return Number(this.gic.readSysreg(name, cpu, view));
  }

  write(name: string, value: bigint | number, cpu = 0, view: SysregView = "physical"): void {
    this.gic.writeSysreg(name, cpu, BigInt(value), view);
  }

  /** As a virtual machine. */
  vread(name: string, cpu = 0): number {
    return this.read(name, cpu, "virtual");
  }

  vwrite(name: string, value: bigint | number, cpu = 0): void {
    this.write(name, value, cpu, "virtual");
  }
}

export const SPURIOUS = 1023;
