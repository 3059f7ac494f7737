// A small machine for MMU tests: one vCPU block, RAM, registers as a plain object, and a builder of translation tables that
// shares nothing with the walk under test.

import { Tracer } from "../../src/base/trace.ts";
import { struct } from "../../src/base/struct.ts";
import { VCPU, type VcpuState } from "../../src/cpu/vcpu.ts";
import { type CodeCache, Mmu } from "../../src/mmu/access.ts";
import {
  contextKey,
  Controls,
  decodeControls,
  type Features,
  type TranslationRegisters,
  type Viewpoint,
} from "../../src/mmu/controls.ts";
import type { Fault } from "../../src/mmu/fault.ts";
import { Walker } from "../../src/mmu/walk.ts";
import { PhysicalBus } from "../../src/memory/bus.ts";

export const RAM = 0x4000_0000, RAM_BYTES = 0x40_0000, RAM_HOST = 0x8_0000;

export const ALL_FEATURES: Features = {
  el2: true,
  paBits: 48,
  granule4K: true,
  granule16K: true,
  granule64K: true,
  vmid16: true,
  asid16: true,
  accessFlagUpdate: true,
  dirtyUpdate: true,
  hpd: true,
  pan: true,
  panAddressTranslation: true,
  xnx: true,
};

const NAMES = [
  "SCTLR_EL1",
  "TCR_EL1",
  "TTBR0_EL1",
  "TTBR1_EL1",
  "MAIR_EL1",
  "SCTLR_EL2",
  "TCR_EL2",
  "TTBR0_EL2",
  "TTBR1_EL2",
  "MAIR_EL2",
  "HCR_EL2",
  "VTCR_EL2",
  "VTTBR_EL2",
] as const;
const REGISTERS = struct(
  "registers",
  Object.fromEntries(NAMES.map((n) => [n, "u64"])) as Record<typeof NAMES[number], "u64">,
);

export type RegisterName = typeof NAMES[number];

/** log2 of the granule; what the TG0 and TG1 fields say for it. */
export const GRANULES = [
  { bits: 12, tg0: 0n, tg1: 2n },
  { bits: 14, tg0: 2n, tg1: 1n },
  { bits: 16, tg0: 1n, tg1: 3n },
];

export const VALID = 1n, TABLE = 3n, AF = 1n << 10n, EL0 = 1n << 6n, RO = 1n << 7n;
export const attr = (index: number): bigint => BigInt(index) << 2n;
/** MAIR: 0 Normal write-back, 1 Device-nGnRE, 2 Normal non-cacheable. */
export const MAIR = 0x4404ffn;

export class Bench {
  readonly buffer = new SharedArrayBuffer(RAM_HOST + RAM_BYTES);
  readonly bus = new PhysicalBus(this.buffer);
  readonly registers = REGISTERS.at(new ArrayBuffer(REGISTERS.size), 0);
  readonly walker: Walker;
  readonly view = new DataView(this.buffer);
  #next = RAM;

  constructor(readonly features: Features = ALL_FEATURES) {
    this.bus.addMemory({ name: "ram", base: RAM, size: RAM_BYTES, host: RAM_HOST, writable: true });
    this.walker = new Walker(this.bus, this.buffer);
    this.registers.MAIR_EL1 = MAIR;
    this.registers.MAIR_EL2 = MAIR;
  }

  set(values: Partial<Record<RegisterName, bigint>>): void {
    Object.assign(this.registers, values);
  }

  controls(viewpoint: Viewpoint): Controls {
    const c = new Controls();
    contextKey(c.key, this.registers as unknown as TranslationRegisters, this.features, viewpoint);
    decodeControls(c, this.features);
    return c;
  }

  read64(pa: number): bigint {
    return this.view.getBigUint64(pa - RAM + RAM_HOST, true);
  }
  write64(pa: number, value: bigint): void {
    this.view.setBigUint64(pa - RAM + RAM_HOST, value, true);
  }

  /** Zeroed RAM, aligned to its size (a power of two). */
  allocate(bytes: number): number {
    this.#next = Math.ceil(this.#next / bytes) * bytes;
    const at = this.#next;
    this.#next += bytes;
    if (this.#next > RAM + RAM_BYTES) throw new RangeError("the bench is out of RAM");
    return at;
  }

  /**
   * Makes `va` lead to `descriptor` at `level` in the tree at `root`, whose first level is `first`; answers the address of
   * the descriptor. Tables on the way are made, with `tableBits`.
   */
  map(
    tree: { root: number; granule: number; first: number; firstBits: number },
    va: bigint,
    level: number,
    descriptor: bigint,
    tableBits = TABLE,
  ): number {
    const stride = tree.granule - 3;
    let table = tree.root;
    for (let at = tree.first;; at++) {
      const shift = BigInt(tree.granule + (3 - at) * stride);
      const width = at === tree.first ? tree.firstBits : stride;
      const entry = table + Number((va >> shift) & ((1n << BigInt(width)) - 1n)) * 8;
      if (at === level) {
        this.write64(entry, descriptor);
        return entry;
      }
      const old = this.read64(entry);
      if ((old & 3n) === 3n) {
        table = Number(old & 0xffff_ffff_f000n);
        continue;
      }
      const next = this.allocate(1 << tree.granule);
      this.write64(entry, BigInt(next) | tableBits);
      table = next;
    }
  }

  /** An empty tree for inputs of `inputBits`; stage 2 may start later, with concatenated tables. */
  tree(granule: number, inputBits: number, first = firstLevel(granule, inputBits)) {
    const stride = granule - 3, firstBits = inputBits - (granule + (3 - first) * stride);
    return { root: this.allocate(Math.max(64, 8 << firstBits)), granule, first, firstBits };
  }
}

/** DDI 0487: the level at which a walk of this many bits starts, when tables are not concatenated. */
export function firstLevel(granule: number, inputBits: number): number {
  for (let level = 3, reach = granule;; level--) {
    reach += granule - 3;
    if (inputBits <= reach) return level;
  }
}

/** A bench with an Mmu; faults are collected instead of taken. */
export class MmuBench extends Bench {
  readonly state: VcpuState = VCPU.at(this.buffer, 0);
  readonly taken: Fault[] = [];
  readonly traced: string[] = [];
  pcFaults = 0;
  readonly codePages = new Set<number>();
  readonly invalidated: number[][] = [];
  readonly mmu: Mmu;

  constructor(features: Features = ALL_FEATURES) {
    super(features);
    const code: CodeCache = {
      isCodePage: (page) => this.codePages.has(page),
      invalidate: (host, bytes) => void this.invalidated.push([host, bytes]),
      recordsFor: (page) => 0x100 + page,
    };
    this.bus.onCodeWrite = (host, bytes) => {
      if (this.codePages.has(host - host % 4096)) code.invalidate(host, bytes);
    };
    const take = (fault: Fault) => void this.taken.push({ ...fault });
    this.mmu = new Mmu({
      cpu: 0,
      base: 0,
      memory: this.buffer,
      state: this.state,
      registers: this.registers as unknown as TranslationRegisters,
      features,
      bus: this.bus,
      code,
      faults: { dataAbort: take, instructionAbort: take, pcAlignmentFault: () => void this.pcFaults++ },
      trace: new Tracer(["mmu"], (line) => void this.traced.push(line)),
    });
  }

  /** Sets registers and tells the MMU. */
  override set(values: Partial<Record<RegisterName, bigint>>): void {
    super.set(values);
    this.mmu?.registersChanged();
  }
}
