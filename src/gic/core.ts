// What every part of the interrupt controller works on: the state of all interrupts, the choice of the highest priority
// pending interrupt for each vCPU, and the lines that go out to it (IHI 0069 "Interrupt handling and prioritization").
// Single security state (GICD_CTLR.DS = 1), affinity routing always on. An SPI with 1-of-N routing (IRM) goes to the first
// vCPU whose redistributor is awake. A sleeping redistributor still forwards interrupts, as QEMU's does.

import { assert } from "../base/errors.ts";
import { silentTracer, type Tracer } from "../base/trace.ts";
import {
  type Bitmap,
  DISTRIBUTOR,
  type Distributor,
  GIC_STATE_BYTES,
  GICR_WAKER,
  ICC_CTLR,
  IDLE_PRIORITY,
  INTERRUPTS,
  MAX_CPUS,
  NO_TARGET,
  OUTPUT,
  PRIORITY_MASK,
  REDISTRIBUTOR,
  type Redistributor,
  resetRedistributor,
  SPURIOUS,
  WORDS,
} from "./state.ts";
import { GIC, LINE, SIGNAL } from "./trace_points.ts";

export interface GicOptions {
  /** Shared memory and the address in it of GIC_STATE_BYTES bytes, 16-aligned. */
  readonly buffer: ArrayBufferLike;
  readonly base: number;
  /** Number of vCPUs, 1 to 8. */
  readonly cpus: number;
  /** Affinity of each vCPU as Aff3.Aff2.Aff1.Aff0 in 32 bits; vCPU n is 0.0.0.n if absent. */
  readonly affinities?: readonly number[];
  /** Called when the output lines of a vCPU change, with all of them as OUTPUT bits. */
  readonly output: (cpu: number, lines: number) => void;
  /** Trace of what a guest does wrong. */
  readonly guestError?: (message: string) => void;
  readonly trace?: Tracer;
}

export class GicCore {
  readonly distributor: Distributor;
  readonly redistributors: readonly Redistributor[];
  readonly affinities: readonly number[];
  readonly guestError: (message: string) => void;
  readonly trace: Tracer;
  readonly #output: (cpu: number, lines: number) => void;

  constructor(options: GicOptions) {
    const { buffer, base, cpus } = options;
    assert(cpus >= 1 && cpus <= MAX_CPUS, "the state has room for 1 to 8 vCPUs");
    assert(base % 16 === 0 && base + GIC_STATE_BYTES <= buffer.byteLength, "the state lies aligned inside the memory");
    this.distributor = DISTRIBUTOR.at(buffer, base);
    const all = Array.from({ length: cpus }, (_, n) => n);
    this.redistributors = all.map((n) => REDISTRIBUTOR.at(buffer, base + DISTRIBUTOR.size + n * REDISTRIBUTOR.size));
    this.affinities = options.affinities ?? all;
    assert(this.affinities.length === cpus, "every vCPU has an affinity");
    this.guestError = options.guestError ?? (() => {});
    this.trace = options.trace ?? silentTracer();
    this.#output = options.output;
  }

  /** Power-on state; input lines are low. */
  reset(): void {
    this.distributor.bytes.fill(0);
    this.redistributors.forEach((r, cpu) => {
      const outputs = r.outputs;
      resetRedistributor(r);
      if (outputs) this.#output(cpu, 0);
    });
    for (let intid = 32; intid < INTERRUPTS; intid++) this.route(intid);
  }

  /** The struct that holds the bits of interrupts `32 * word` and up, as `cpu` sees them. */
  bank(cpu: number, word: number): Distributor | Redistributor {
    return word === 0 ? this.redistributors[cpu]! : this.distributor;
  }

  bit(map: Bitmap, cpu: number, intid: number): boolean {
    const word = intid >>> 5;
    return (this.bank(cpu, word)[map][word]! & (1 << (intid & 31))) !== 0;
  }

  setBit(map: Bitmap, cpu: number, intid: number, on: boolean): void {
    const word = intid >>> 5, mask = 1 << (intid & 31), bits = this.bank(cpu, word)[map];
    bits[word] = on ? bits[word]! | mask : bits[word]! & ~mask;
  }

  /** An input line changes. Edges latch; levels are remembered. */
  setLine(cpu: number, intid: number, high: boolean): void {
    if (this.bit("level", cpu, intid) === high) return;
    this.setBit("level", cpu, intid, high);
    if ((this.trace.mask & GIC) !== 0) {
      this.trace.emit(LINE, { target: intid < 32 ? cpu : undefined, intid, high, edge: this.bit("edge", cpu, intid) });
    }
    if (this.bit("edge", cpu, intid)) {
      if (!high) return;
      this.setBit("pending", cpu, intid, true);
    }
    this.updateFor(cpu, intid);
  }

  /** Makes an interrupt inactive, for EOIR, DIR and list registers with HW = 1. */
  deactivate(cpu: number, intid: number): void {
    this.setBit("active", cpu, intid, false);
    this.updateFor(cpu, intid);
  }

  /** Finds the target of an SPI again after its route changed. */
  route(intid: number): void {
    const d = this.distributor, word = intid >>> 5, mask = 1 << (intid & 31);
    let target: number;
    if (d.routeLow[intid]! >>> 31) {
      target = Math.max(0, this.redistributors.findIndex((r) => !(r.waker & GICR_WAKER.ProcessorSleep)));
    } else {
      const affinity = ((d.routeLow[intid]! & 0xffffff) | (d.routeHigh[intid]! << 24)) >>> 0;
      target = this.affinities.indexOf(affinity);
    }
    const old = d.target[intid]!;
    d.target[intid] = target < 0 ? NO_TARGET : target;
    for (const cpu of [old, target]) {
      const r = this.redistributors[cpu];
      if (r) r.routed[word] = cpu === target ? r.routed[word]! | mask : r.routed[word]! & ~mask;
    }
  }

  /** After a change to one interrupt: `cpu` matters for SGIs and PPIs only. */
  updateFor(cpu: number, intid: number): void {
    const target = intid < 32 ? cpu : this.distributor.target[intid]!;
    if (target !== NO_TARGET) this.update(target);
  }

  updateAll(): void {
    for (let cpu = 0; cpu < this.redistributors.length; cpu++) this.update(cpu);
  }

  /** Chooses the highest priority pending interrupt of a vCPU again, then its output lines. */
  update(cpu: number): void {
    const d = this.distributor, r = this.redistributors[cpu]!;
    const group0 = d.ctlr & 1 & r.igrpen[0]! ? -1 : 0;
    const group1 = (d.ctlr >>> 1) & 1 & r.igrpen[1]! ? -1 : 0;
    let best = SPURIOUS, bestPriority = 0x100;
    for (let word = 0; (group0 | group1) !== 0 && word < WORDS; word++) {
      const routed = r.routed[word]!;
      if (routed === 0) continue;
      const b = word === 0 ? r : d;
      let ready = (b.pending[word]! | (b.level[word]! & ~b.edge[word]!)) & b.enabled[word]! & ~b.active[word]! & routed;
      if (ready === 0) continue;
      const group = b.group[word]!;
      ready &= (group & group1) | (~group & group0);
      for (; ready !== 0; ready &= ready - 1) {
        const intid = word * 32 + 31 - Math.clz32(ready & -ready);
        const priority = b.priority[intid]!;
        if (priority < bestPriority) best = intid, bestPriority = priority;
      }
    }
    r.best = best;
    r.bestPriority = bestPriority;
    r.bestGroup = best === SPURIOUS ? 0 : Number(this.bit("group", cpu, best));
    this.signal(cpu);
  }

  /** Sets the output lines from `best` and the virtual lines; enough after a change to PMR, BPR, CTLR or active priorities. */
  signal(cpu: number): void {
    const r = this.redistributors[cpu]!;
    const physical = this.canSignal(cpu) ? (r.bestGroup === 0 ? OUTPUT.FIQ : OUTPUT.IRQ) : 0;
    const outputs = physical | r.virtualOutputs;
    if (outputs === r.outputs) return;
    r.outputs = outputs;
    if ((this.trace.mask & GIC) !== 0) {
      this.trace.emit(SIGNAL, { target: cpu, lines: outputs, best: r.best, priority: r.bestPriority });
    }
    this.#output(cpu, outputs);
  }

  /** Whether the best pending interrupt passes the priority mask and preempts what runs. */
  canSignal(cpu: number): boolean {
    const r = this.redistributors[cpu]!;
    if (r.best === SPURIOUS || r.bestPriority >= r.pmr) return false;
    const mask = this.groupPriorityMask(cpu, r.bestGroup);
    return preempts(r.bestPriority, runningPriority(r.apr), mask);
  }

  /** The group priority bits by ICC_BPR<n>_EL1 (IHI 0069 "Priority grouping"). */
  groupPriorityMask(cpu: number, group: number): number {
    const r = this.redistributors[cpu]!;
    return priorityMask(group === 0 || r.ctlr & ICC_CTLR.CBPR ? r.bpr[0]! : r.bpr[1]! - 1);
  }

  /** Recomputes and reports all lines, for a state that was restored. */
  refresh(): void {
    this.redistributors.forEach((r, cpu) => {
      const before = r.outputs;
      this.update(cpu);
      if (r.outputs === before) this.#output(cpu, before);
    });
  }
}

/** Mask of the group priority for a binary point that counts as ICC_BPR0_EL1 does. */
export const priorityMask = (bpr: number): number => 0xff & (0xff << (bpr + 1));

/** Whether `priority` is of sufficient priority to preempt, by the group priority bits in `mask`. */
export const preempts = (priority: number, running: number, mask: number): boolean =>
  running === IDLE_PRIORITY || (priority & mask) < (running & mask);

/** Bit n of an active priorities register stands for priority n << 3. */
const APR_SHIFT = 31 - Math.clz32(PRIORITY_MASK & -PRIORITY_MASK);
export const aprBit = (priority: number): number => 1 << (priority >>> APR_SHIFT);

/** The highest active priority of both groups. */
export function runningPriority(apr: Uint32Array): number {
  const bits = apr[0]! | apr[1]!;
  return bits === 0 ? IDLE_PRIORITY : (31 - Math.clz32(bits & -bits)) << APR_SHIFT;
}

/** The group of the highest active priority, -1 if nothing is active; group 0 at equal priorities. */
export function runningGroup(apr: Uint32Array): number {
  const bits = apr[0]! | apr[1]!;
  return bits === 0 ? -1 : apr[0]! & bits & -bits ? 0 : 1;
}

/** Clears the highest active priority of `group`. */
export const dropPriority = (apr: Uint32Array, group: number): void => {
  apr[group] = apr[group]! & (apr[group]! - 1);
};
