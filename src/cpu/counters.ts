// Counters of one vCPU in shared memory: what it did, for `-stats` and for a monitor that looks while it runs. TypeScript
// counts where generated code calls it; generated code itself counts nothing. Instructions are divided among exception
// levels by the difference at each change of the level. They are no state of the machine: resets leave them, snapshots too.

import { EC } from "../arch/esr.ts";
import { struct, type View } from "../base/struct.ts";

/** Where they lie in the vCPU block. */
export const COUNTERS_OFFSET = 0x6000;

/** Places for the imports of generated code; their order is the reader's business. */
export const CALLS = 48;

/** In `exceptionsToEl1` and `exceptionsToEl2` besides the classes of ESR_ELx: interrupts, and virtual ones. */
export const INTERRUPT_CLASS = { IRQ: 64, FIQ: 65, VIRQ: 66, VFIQ: 67, VSERROR: 68 } as const;

export const COUNTERS = struct("counters", {
  /** Instructions retired at each level, but for those since the count was `accounted`. */
  retired: "f64[3]",
  accounted: "f64",
  exceptionsToEl1: "f64[69]",
  exceptionsToEl2: "f64[69]",
  /** Exception returns, by the level they come from. */
  returns: "f64[3]",
  /** Translation table walks for an access, and those that ended in a fault. */
  walks: "f64",
  faults: "f64",
  /** Accesses that went to a device, or to nothing. */
  deviceReads: "f64",
  deviceWrites: "f64",
  /** Stores to pages that hold predecoded code. */
  codeWrites: "f64",
  /** TLBI instructions. */
  invalidations: "f64",
  /** Records filled. */
  predecoded: "f64",
  slices: "f64",
  /** Slices that an interrupt or another event cut short. */
  kicks: "f64",
  /** Calls of TypeScript by generated code. */
  calls: `f64[${CALLS}]`,
});

export type Counters = View<typeof COUNTERS.spec>;

/** The counters in the vCPU block at `base`. */
export const countersAt = (buffer: ArrayBufferLike, base: number): Counters =>
  COUNTERS.at(buffer, base + COUNTERS_OFFSET);

/** Counts the instructions since the last call to `level`, of the `retired` that the vCPU has behind it. */
export function countInstructions(counters: Counters, level: number, retired: number): void {
  counters.retired[level]! += retired - counters.accounted;
  counters.accounted = retired;
}

/** Names of the places of `exceptionsToEl1` and `exceptionsToEl2`. */
export const EXCEPTION_NAMES: readonly string[] = Array.from({ length: 69 }, (_, n) => {
  const named = [...Object.entries(EC), ...Object.entries(INTERRUPT_CLASS)].find(([, number]) => number === n);
  return named?.[0] ?? `class 0x${n.toString(16)}`;
});
