// Priorities: how many bits of them a CPU interface has and which of them preempt, and the active priorities that remember
// what runs (IHI 0048, IHI 0069 "Interrupt prioritization"). The lower the value, the higher the priority.

import { IDLE_PRIORITY } from "./state.ts";

/** The group priority: what is left of a priority under a binary point that counts as that of group 0. */
export const groupPriorityMask = (bpr: number): number => 0xff & (0xff << (bpr + 1));

/** Whether `priority` is of sufficient priority to preempt, by the group priority bits in `mask`. */
export const preempts = (priority: number, running: number, mask: number): boolean =>
  running === IDLE_PRIORITY || (priority & mask) < (running & mask);

/** Active priorities are words of one bit per preemption level, highest priority first; group 1's follow group 0's. */
export class PriorityScheme {
  /** The bits of a priority that exist. */
  readonly mask: number;
  /** Smallest values of the binary points, by group: that of group 1 counts one bit less. */
  readonly minBpr: readonly [number, number];
  /** Words of active priorities per group. */
  readonly words: number;
  readonly #shift: number;
  readonly #groups: 1 | 2;

  /** `groups` is 1 where one set of active priorities serves both groups. */
  constructor(bits: number, preemptionBits: number, groups: 1 | 2 = 2) {
    this.mask = 0xff & (0xff << (8 - bits));
    this.minBpr = [7 - preemptionBits, 8 - preemptionBits];
    this.words = Math.max(1, 2 ** preemptionBits / 32);
    this.#shift = 8 - preemptionBits;
    this.#groups = groups;
  }

  /** Remembers that an interrupt of this group priority runs. */
  activate(active: Uint32Array, group: number, priority: number): void {
    const level = priority >>> this.#shift, word = this.#first(group) + (level >>> 5);
    active[word] = active[word]! | (1 << (level & 31));
  }

  /** The highest active priority of both groups, or IDLE_PRIORITY. */
  running(active: Uint32Array): number {
    for (let word = 0; word < this.words; word++) {
      const bits = active[word]! | active[this.#first(1) + word]!;
      if (bits !== 0) return (32 * word + lowestBit(bits)) << this.#shift;
    }
    return IDLE_PRIORITY;
  }

  /** The group of the highest active priority, -1 if nothing is active; group 0 at equal priorities. */
  runningGroup(active: Uint32Array): number {
    for (let word = 0; word < this.words; word++) {
      const bits = active[word]! | active[this.#first(1) + word]!;
      if (bits !== 0) return active[word]! & bits & -bits ? 0 : 1;
    }
    return -1;
  }

  /** Forgets the highest active priority of `group`. */
  drop(active: Uint32Array, group: number): void {
    const first = this.#first(group);
    for (let word = first; word < first + this.words; word++) {
      const bits = active[word]!;
      if (bits === 0) continue;
      active[word] = bits & (bits - 1);
      return;
    }
  }

  #first(group: number): number {
    return group === 1 && this.#groups === 2 ? this.words : 0;
  }
}

export const lowestBit = (bits: number): number => 31 - Math.clz32(bits & -bits);
