// State of the interrupt controller in shared memory: one struct for the distributor, one per vCPU for the redistributor,
// the CPU interface and the virtualization interface. Names and bit positions are those of the GICv3 architecture
// (IHI 0069). Bitmaps hold 32 interrupts per word; word 0 (SGIs and PPIs) is banked and lives in the per-vCPU struct.

import { struct, type View } from "../base/struct.ts";

/** vCPUs the layout has room for. */
export const MAX_CPUS = 8;
/** Interrupts 0 to 287: 16 SGIs, 16 PPIs and 256 SPIs, as QEMU's `virt` has them. */
export const INTERRUPTS = 288;
export const WORDS = INTERRUPTS / 32;
/** Priority and preemption bits of both CPU interfaces, as in Cortex-A57 and later cores. */
export const PRIORITY_BITS = 5;
/** The bits of a priority that exist. */
export const PRIORITY_MASK = 0xff & (0xff << (8 - PRIORITY_BITS));
/** List registers per vCPU. */
export const LIST_REGISTERS = 4;

export const SPURIOUS = 1023;
/** The priority that stands for "nothing is running". */
export const IDLE_PRIORITY = 0xff;
/** Interrupt the virtualization interface raises on its own vCPU. */
export const MAINTENANCE_INTERRUPT = 25;

/** Output lines of one vCPU, as a bitmask. The values are those of PENDING in src/cpu (a test compares them). */
export const OUTPUT = { IRQ: 1, FIQ: 2, VIRQ: 4, VFIQ: 8 } as const;

/** Smallest values of the binary point registers, by group: group 1 counts one bit less (IHI 0069 "Priority grouping"). */
export const MIN_BPR = [7 - PRIORITY_BITS, 8 - PRIORITY_BITS] as const;

export const GICD_CTLR = { EnableGrp0: 1 << 0, EnableGrp1: 1 << 1, ARE: 1 << 4, DS: 1 << 6 } as const;
export const GICR_WAKER = { ProcessorSleep: 1 << 1, ChildrenAsleep: 1 << 2 } as const;
export const ICC_CTLR = { CBPR: 1 << 0, EOImode: 1 << 1 } as const;

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
  /** GICD_IROUTER, low and high words. */
  routeLow: "u32[288]",
  routeHigh: "u32[288]",
  priority: "u8[288]",
  /** The vCPU each SPI goes to, from its route; NO_TARGET when there is no such vCPU. */
  target: "u8[288]",
});

export const NO_TARGET = 0xff;

export const REDISTRIBUTOR = struct("gicr", {
  waker: "u32",
  group: "u32[1]",
  enabled: "u32[1]",
  pending: "u32[1]",
  active: "u32[1]",
  level: "u32[1]",
  edge: "u32[1]",
  /** The SPIs whose target is this vCPU; all ones in word 0. */
  routed: "u32[9]",
  /** Highest priority pending interrupt of the enabled groups: SPURIOUS if there is none. */
  best: "u32",
  bestPriority: "u32",
  bestGroup: "u32",
  /** CPU interface. Arrays are indexed by group. */
  pmr: "u32",
  ctlr: "u32",
  bpr: "u32[2]",
  apr: "u32[2]",
  igrpen: "u32[2]",
  /** Virtualization interface. */
  hcr: "u32",
  vmcr: "u32",
  vapr: "u32[2]",
  lr: "u64[16]",
  /** Output lines as last reported, and the virtual ones as last computed. */
  outputs: "u32",
  virtualOutputs: "u32",
  priority: "u8[32]",
});

export type Distributor = View<typeof DISTRIBUTOR.spec>;
export type Redistributor = View<typeof REDISTRIBUTOR.spec>;

/** What is not zero after reset. */
export function resetRedistributor(r: Redistributor): void {
  r.bytes.fill(0);
  r.waker = GICR_WAKER.ProcessorSleep | GICR_WAKER.ChildrenAsleep;
  r.edge[0] = 0xffff;
  r.routed[0] = 0xffffffff;
  r.best = SPURIOUS;
  r.bestPriority = IDLE_PRIORITY;
  r.bpr.set(MIN_BPR);
  r.vmcr = RESET_VMCR;
}

/** ICH_VMCR_EL2 fields. */
export const VMCR = {
  VENG0: 1 << 0,
  VENG1: 1 << 1,
  VFIQEn: 1 << 3,
  VCBPR: 1 << 4,
  VEOIM: 1 << 9,
  VBPR1_SHIFT: 18,
  VBPR0_SHIFT: 21,
  VPMR_SHIFT: 24,
} as const;

const RESET_VMCR = VMCR.VFIQEn | (MIN_BPR[1] << VMCR.VBPR1_SHIFT) | (MIN_BPR[0] << VMCR.VBPR0_SHIFT);

/** Bytes of shared memory the controller needs. */
export const GIC_STATE_BYTES = DISTRIBUTOR.size + MAX_CPUS * REDISTRIBUTOR.size;
