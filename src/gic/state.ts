// State of the interrupt controller in shared memory: one struct for the distributor, and per vCPU one for its private
// interrupts and list registers and two for its CPU interfaces, the physical and the virtual one. The structs serve both
// architectures, GICv2 (IHI 0048) and GICv3 (IHI 0069); names and bit positions are theirs where they agree. Bitmaps hold
// 32 interrupts per word; word 0 (SGIs and PPIs) is banked and lives in the per-vCPU struct.

import { struct, type View } from "../base/struct.ts";

/** vCPUs the layout has room for. */
export const MAX_CPUS = 8;
/** Interrupts 0 to 287: 16 SGIs, 16 PPIs and 256 SPIs, as QEMU's `virt` has them. */
export const INTERRUPTS = 288;
export const SGIS = 16;
export const WORDS = INTERRUPTS / 32;
/** List registers per vCPU. */
export const LIST_REGISTERS = 4;

/** Number that is read where there is no interrupt; also stands for "none" in the state. */
export const SPURIOUS = 1023;
/** GICv2: what is pending is of group 1, and the reader does not take that here. */
export const OTHER_GROUP = 1022;
/** The running priority when nothing runs. */
export const IDLE_PRIORITY = 0xff;
/** Interrupt the virtualization interface raises on its own vCPU. */
export const MAINTENANCE_INTERRUPT = 25;

/** Output lines of one vCPU, as a bitmask. The values are those of PENDING in src/cpu (a test compares them). */
export const OUTPUT = { IRQ: 1, FIQ: 2, VIRQ: 4, VFIQ: 8 } as const;

export const GICD_CTLR = { EnableGrp0: 1 << 0, EnableGrp1: 1 << 1, ARE: 1 << 4, DS: 1 << 6 } as const;
export const GICR_WAKER = { ProcessorSleep: 1 << 1, ChildrenAsleep: 1 << 2 } as const;

/**
 * Fields of an interface's `control`: the layout of ICH_VMCR_EL2 and GICH_VMCR, whose low bits are those of GICC_CTLR.
 * The virtual interface is defined to be held in such a word; the physical one is held in the same way.
 */
export const CONTROL = {
  EnableGrp0: 1 << 0,
  EnableGrp1: 1 << 1,
  AckCtl: 1 << 2,
  FIQEn: 1 << 3,
  CBPR: 1 << 4,
  EOImode: 1 << 9,
  BPR1_SHIFT: 18,
  BPR0_SHIFT: 21,
  PMR_SHIFT: 24,
} as const;

/** One bit per interrupt. `pending` is the latch (edges and writes); a level-sensitive interrupt is pending by `level` too. */
export type Bitmap = "group" | "enabled" | "pending" | "active" | "level" | "edge";

export const DISTRIBUTOR = struct("gicd", {
  ctlr: "u32",
  /** Word 0 of these is unused. */
  group: "u32[9]",
  enabled: "u32[9]",
  pending: "u32[9]",
  active: "u32[9]",
  level: "u32[9]",
  edge: "u32[9]",
  /** GICD_IROUTER, low and high words; GICv3 only. */
  routeLow: "u32[288]",
  routeHigh: "u32[288]",
  priority: "u8[288]",
  /** The vCPUs an SPI may go to, one bit each: GICD_ITARGETSR, or the one that GICD_IROUTER names. */
  targets: "u8[288]",
});

/** What belongs to one vCPU besides its CPU interfaces. */
export const PRIVATE = struct("gicr", {
  /** GICR_WAKER; GICv3 only. */
  waker: "u32",
  group: "u32[1]",
  enabled: "u32[1]",
  pending: "u32[1]",
  active: "u32[1]",
  level: "u32[1]",
  edge: "u32[1]",
  /** The SPIs that may go to this vCPU; all ones in word 0. */
  routed: "u32[9]",
  /** ICH_HCR_EL2 or GICH_HCR. */
  hcr: "u32",
  /** As ICH_LR<n>_EL2. */
  lr: "u64[16]",
  /** Output lines as last reported, and the virtual ones as last computed. */
  outputs: "u32",
  virtualOutputs: "u32",
  priority: "u8[32]",
  /** For each SGI the vCPUs that sent it, while it is pending; GICv2 only. */
  sgiSources: "u8[16]",
});

/** One CPU interface. */
export const INTERFACE = struct("gicc", {
  control: "u32",
  /** Active priorities as PriorityScheme lays them out. */
  active: "u32[8]",
  /** Highest priority pending interrupt of the enabled groups, or SPURIOUS; in the virtual interface a list register. */
  best: "u32",
  bestPriority: "u32",
  bestGroup: "u32",
});

export type Distributor = View<typeof DISTRIBUTOR.spec>;
export type Private = View<typeof PRIVATE.spec>;
export type Interface = View<typeof INTERFACE.spec>;

const CPU_BYTES = PRIVATE.size + 2 * INTERFACE.size;

/** Bytes of shared memory the controller needs. */
export const GIC_STATE_BYTES = DISTRIBUTOR.size + MAX_CPUS * CPU_BYTES;

/** The structs of `cpus` vCPUs in the GIC_STATE_BYTES bytes at `base`. */
export function placeState(buffer: ArrayBufferLike, base: number, cpus: number) {
  const at = (cpu: number) => base + DISTRIBUTOR.size + cpu * CPU_BYTES;
  const numbers = Array.from({ length: cpus }, (_, n) => n);
  return {
    distributor: DISTRIBUTOR.at(buffer, base),
    privates: numbers.map((n) => PRIVATE.at(buffer, at(n))),
    physical: numbers.map((n) => INTERFACE.at(buffer, at(n) + PRIVATE.size)),
    virtual: numbers.map((n) => INTERFACE.at(buffer, at(n) + PRIVATE.size + INTERFACE.size)),
  };
}
