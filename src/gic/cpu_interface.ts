// One CPU interface: priority mask, binary points and active priorities, and by them whether the best pending interrupt is
// signalled, taken and ended. The physical interface and the virtual one differ in where pending interrupts come from and
// what becomes of an interrupt that was taken; the registers in front of them differ by architecture (ICC_*, ICV_*, GICC_*,
// GICV_*). Where a guest ends another interrupt than the one that runs GICv3's checks hold in the one, and GICv2's
// interface, where that is UNPREDICTABLE, does what was written (`trusting`).

import { groupPriorityMask, preempts, type PriorityScheme } from "./priorities.ts";
import { CONTROL, type Interface, SPURIOUS } from "./state.ts";

export type Group = 0 | 1;

/** 1020 to 1023 are not interrupts. */
export const isSpecial = (intid: number): boolean => intid >= 1020 && intid <= 1023;

const ENABLE = [CONTROL.EnableGrp0, CONTROL.EnableGrp1] as const;
const BPR_SHIFT = [CONTROL.BPR0_SHIFT, CONTROL.BPR1_SHIFT] as const;

export abstract class CpuInterface {
  constructor(readonly state: Interface, readonly priorities: PriorityScheme, readonly trusting: boolean) {}

  /** The best pending interrupt as acknowledge registers give it, its group being `state.bestGroup`. */
  abstract get pendingId(): number;
  /** Makes the best pending interrupt active. */
  protected abstract take(): void;
  /** Ends the interrupt `id` of `group`: drops the running priority and, unless that is separate, deactivates. */
  abstract endOfInterrupt(id: number, group: Group): void;
  /** Makes an interrupt inactive, where that is separate from its end. */
  abstract deactivate(id: number): void;
  /** Follows a change of what selects the best pending interrupt. */
  abstract select(): void;
  /** Follows a change of what decides whether it is signalled. */
  abstract signal(): void;

  reset(): void {
    this.state.bytes.fill(0);
    this.state.best = SPURIOUS;
    this.setControl(0);
  }

  has(flag: number): boolean {
    return (this.state.control & flag) !== 0;
  }

  enabled(group: Group): boolean {
    return this.has(ENABLE[group]);
  }

  get priorityMask(): number {
    return this.state.control >>> CONTROL.PMR_SHIFT;
  }

  binaryPoint(group: Group): number {
    return (this.state.control >>> BPR_SHIFT[group]) & 7;
  }

  get runningPriority(): number {
    return this.priorities.running(this.state.active);
  }

  get runningGroup(): number {
    return this.priorities.runningGroup(this.state.active);
  }

  /** Replaces the word of all fields. Binary points are raised to what exists. */
  setControl(value: number): void {
    const mask = (this.priorities.mask << CONTROL.PMR_SHIFT) | 0xff_ffff;
    this.state.control = value & mask;
    for (const group of [0, 1] as const) {
      const bpr = Math.max(this.binaryPoint(group), this.priorities.minBpr[group]), shift = BPR_SHIFT[group];
      this.state.control = (this.state.control & ~(7 << shift)) | (bpr << shift);
    }
    this.select();
  }

  /** Replaces the fields in `clear` by those in `set`. */
  change(clear: number, set: number): void {
    this.setControl((this.state.control & ~clear) | set);
  }

  setEnabled(group: Group, on: boolean): void {
    this.change(ENABLE[group], on ? ENABLE[group] : 0);
  }

  setPriorityMask(value: number): void {
    this.change(0xff << CONTROL.PMR_SHIFT, value << CONTROL.PMR_SHIFT);
  }

  setBinaryPoint(group: Group, value: number): void {
    this.change(7 << BPR_SHIFT[group], (value & 7) << BPR_SHIFT[group]);
  }

  /** Word `n` of the active priorities of a group. */
  activePriorities(group: Group, n = 0): number {
    return this.state.active[group * this.priorities.words + n]!;
  }

  setActivePriorities(group: Group, n: number, value: number): void {
    this.state.active[group * this.priorities.words + n] = value;
    this.signal();
  }

  /** The bits of a priority of `group` that decide about preemption. */
  groupPriorityMask(group: number): number {
    return groupPriorityMask(group === 0 || this.has(CONTROL.CBPR) ? this.binaryPoint(0) : this.binaryPoint(1) - 1);
  }

  /** Whether the best pending interrupt passes the priority mask and preempts what runs. */
  canSignal(): boolean {
    const { best, bestPriority, bestGroup } = this.state;
    if (best === SPURIOUS || bestPriority >= this.priorityMask) return false;
    return preempts(bestPriority, this.runningPriority, this.groupPriorityMask(bestGroup));
  }

  /** The line that is up, of the two that the interface drives. */
  line(irq: number, fiq: number): number {
    if (!this.canSignal()) return 0;
    return this.state.bestGroup === 0 && this.has(CONTROL.FIQEn) ? fiq : irq;
  }

  /** Takes the best pending interrupt, if it is signalled; SPURIOUS otherwise. */
  acknowledge(): number {
    if (!this.canSignal()) return SPURIOUS;
    const { bestPriority, bestGroup, active } = this.state, id = this.pendingId;
    if (!isSpecial(id)) {
      this.priorities.activate(active, bestGroup, bestPriority & this.groupPriorityMask(bestGroup));
    }
    this.take();
    return id;
  }
}
