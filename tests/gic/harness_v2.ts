// A GICv2 with shorthands for tests: registers by address, output lines as they were last reported.

import { GIC_STATE_BYTES, OUTPUT } from "../../src/gic/state.ts";
import { GicV2, GICV2_BASES } from "../../src/gic/gic_v2.ts";

export const { IRQ, FIQ, VIRQ, VFIQ } = OUTPUT;
export const GICD = GICV2_BASES.distributor;
export const GICC = GICV2_BASES.cpuInterface;
export const V2M = GICV2_BASES.messages;
export const GICH = GICV2_BASES.hypervisor;
export const GICV = GICV2_BASES.virtualCpuInterface;

/** Offsets in GICC and GICV. */
export const C = {
  CTLR: 0x00,
  PMR: 0x04,
  BPR: 0x08,
  IAR: 0x0c,
  EOIR: 0x10,
  RPR: 0x14,
  HPPIR: 0x18,
  ABPR: 0x1c,
  AIAR: 0x20,
  AEOIR: 0x24,
  AHPPIR: 0x28,
  APR: 0xd0,
  NSAPR: 0xe0,
  DIR: 0x1000,
} as const;

/** Offsets in GICH. */
export const H = { HCR: 0, VTR: 4, VMCR: 8, MISR: 0x10, EISR: 0x20, ELRSR: 0x30, APR: 0xf0, LR: 0x100 } as const;

export const SPURIOUS = 1023;
/** EnableGrp0, EnableGrp1, AckCtl. */
export const ENABLE = 7;
export const FIQ_ENABLE = 8;
export const EOI_MODE = 0x200;

export class BenchV2 {
  readonly gic: GicV2;
  /** Last reported lines of each vCPU. */
  readonly lines: number[];
  readonly errors: string[] = [];

  constructor(cpus = 1, virtualization = true) {
    this.lines = new Array(cpus).fill(0);
    this.gic = new GicV2({
      buffer: new SharedArrayBuffer(GIC_STATE_BYTES + 64),
      base: 64,
      cpus,
      virtualization,
      output: (cpu, lines) => this.lines[cpu] = lines,
      guestError: (message) => this.errors.push(message),
    });
  }

  /** Groups on, mask open: what a kernel does first. */
  enable(control: number = ENABLE): this {
    this.store(GICD, 3);
    this.lines.forEach((_, cpu) => {
      this.store(GICC + C.PMR, 0xff, { cpu });
      this.store(GICC + C.CTLR, control, { cpu });
    });
    return this;
  }

  /** Enables an interrupt with a priority, for CPU 0, in group 0 unless told otherwise. */
  configure(intid: number, priority: number, { group = 0, edge = false, cpu = 0, targets = 1 } = {}): void {
    const word = 4 * (intid >>> 5), bit = (1 << (intid & 31)) >>> 0, groups = this.load(GICD + 0x80 + word, { cpu });
    this.store(GICD + 0x80 + word, group ? groups | bit : groups & ~bit, { cpu });
    this.store(GICD + 0x400 + intid, priority, { cpu, bytes: 1 });
    this.store(GICD + 0x800 + intid, targets, { cpu, bytes: 1 });
    const configuration = GICD + 0xc00 + 4 * (intid >>> 4), shift = 2 * (intid & 15);
    this.store(configuration, (this.load(configuration, { cpu }) & ~(3 << shift)) | ((edge ? 2 : 0) << shift), { cpu });
    this.store(GICD + 0x100 + word, bit, { cpu });
  }

  load(address: number, { cpu = 0, bytes = 4 } = {}): number {
    const region = this.#regionAt(address);
    return region.read(address - region.base, bytes, cpu);
  }

  store(address: number, value: number, { cpu = 0, bytes = 4 } = {}): void {
    const region = this.#regionAt(address);
    region.write(address - region.base, bytes, value >>> 0, cpu);
  }

  #regionAt(address: number) {
    return this.gic.regions.find((r) => address >= r.base && address < r.base + r.size)!;
  }
}
