// What every part of the interrupt controller works on: the state of all interrupts, the choice of the highest priority
// pending interrupt for each vCPU, and the lines that go out to it (IHI 0048, IHI 0069 "Interrupt handling and
// prioritization"). One security state. GICv2 and GICv3 are tables of registers in front of this.

import { assert } from "../base/errors.ts";
import { silentTracer, type Tracer } from "../base/trace.ts";
import { PhysicalInterface } from "./physical_interface.ts";
import { lowestBit, PriorityScheme } from "./priorities.ts";
import {
  type Bitmap,
  type Distributor,
  GIC_STATE_BYTES,
  GICR_WAKER,
  MAX_CPUS,
  OUTPUT,
  placeState,
  type Private,
  SGIS,
  SPURIOUS,
  WORDS,
} from "./state.ts";
import { GIC, LINE, SGI, SIGNAL } from "./trace_points.ts";
import { VirtualInterface } from "./virtual_interface.ts";

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

/** In what the architectures differ below their registers. */
export interface Architecture {
  readonly version: 2 | 3;
  readonly physicalPriorities: PriorityScheme;
  readonly virtualPriorities: PriorityScheme;
}

/** All priority bits of the physical interface, one word of active priorities in the virtual one, as QEMU has them. */
export const GICV2: Architecture = {
  version: 2,
  physicalPriorities: new PriorityScheme(8, 7),
  virtualPriorities: new PriorityScheme(5, 5, 1),
};

/** Five bits in both, as in Cortex-A57 and later cores. */
export const GICV3: Architecture = {
  version: 3,
  physicalPriorities: new PriorityScheme(5, 5),
  virtualPriorities: new PriorityScheme(5, 5),
};

export class GicCore {
  readonly distributor: Distributor;
  readonly privates: readonly Private[];
  readonly physical: readonly PhysicalInterface[];
  readonly virtual: readonly VirtualInterface[];
  readonly affinities: readonly number[];
  readonly guestError: (message: string) => void;
  readonly trace: Tracer;
  readonly #output: (cpu: number, lines: number) => void;

  constructor(options: GicOptions, readonly architecture: Architecture) {
    const { buffer, base, cpus } = options;
    assert(cpus >= 1 && cpus <= MAX_CPUS, "the state has room for 1 to 8 vCPUs");
    assert(base % 16 === 0 && base + GIC_STATE_BYTES <= buffer.byteLength, "the state lies aligned inside the memory");
    const state = placeState(buffer, base, cpus);
    this.distributor = state.distributor;
    this.privates = state.privates;
    this.physical = state.physical.map((view, cpu) => new PhysicalInterface(this, cpu, view));
    this.virtual = state.virtual.map((view, cpu) => new VirtualInterface(this, cpu, view));
    this.affinities = options.affinities ?? state.privates.map((_, n) => n);
    assert(this.affinities.length === cpus, "every vCPU has an affinity");
    this.guestError = options.guestError ?? (() => {});
    this.trace = options.trace ?? silentTracer();
    this.#output = options.output;
  }

  /** Power-on state; input lines are low, no SPI has a target. */
  reset(): void {
    this.distributor.bytes.fill(0);
    this.privates.forEach((p, cpu) => {
      const { outputs } = p;
      p.bytes.fill(0);
      p.waker = GICR_WAKER.ProcessorSleep | GICR_WAKER.ChildrenAsleep;
      p.edge[0] = 0xffff;
      p.routed[0] = 0xffffffff;
      this.physical[cpu]!.reset();
      this.virtual[cpu]!.reset();
      if (outputs) this.#output(cpu, 0);
    });
  }

  /** The struct that holds the bits of interrupts `32 * word` and up, as `cpu` sees them. */
  bank(cpu: number, word: number): Distributor | Private {
    return word === 0 ? this.privates[cpu]! : this.distributor;
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

  /** vCPU `cpu` sends a software-generated interrupt. GICv2 remembers who did. */
  sendSgi(cpu: number, intid: number, target: number): void {
    if ((this.trace.mask & GIC) !== 0) this.trace.emit(SGI, { cpu, intid, target });
    const { sgiSources } = this.privates[target]!;
    if (this.architecture.version === 2) sgiSources[intid] = sgiSources[intid]! | (1 << cpu);
    this.setBit("pending", target, intid, true);
    this.update(target);
  }

  /** Pending to active, for an acknowledge. An SGI stays pending while other vCPUs have sent it too. */
  activate(cpu: number, intid: number): void {
    let pending = false;
    if (intid < SGIS) {
      const { sgiSources } = this.privates[cpu]!, sources = sgiSources[intid]!;
      sgiSources[intid] = sources & (sources - 1);
      pending = sgiSources[intid] !== 0;
    }
    this.setBit("pending", cpu, intid, pending);
    this.setBit("active", cpu, intid, true);
    this.updateFor(cpu, intid);
  }

  /** Makes an interrupt inactive, for EOIR, DIR and list registers with HW = 1. */
  deactivate(cpu: number, intid: number): void {
    this.setBit("active", cpu, intid, false);
    this.updateFor(cpu, intid);
  }

  /** Sets the vCPUs, one bit each, that an SPI may go to. The first that acknowledges it has it. */
  setTargets(intid: number, targets: number): void {
    const word = intid >>> 5, mask = 1 << (intid & 31);
    this.distributor.targets[intid] = targets;
    this.privates.forEach(({ routed }, cpu) => {
      routed[word] = (targets >>> cpu) & 1 ? routed[word]! | mask : routed[word]! & ~mask;
    });
  }

  /** After a change to one interrupt: `cpu` matters for SGIs and PPIs only. */
  updateFor(cpu: number, intid: number): void {
    if (intid < 32) this.update(cpu);
    else for (let left = this.distributor.targets[intid]!; left !== 0; left &= left - 1) this.update(lowestBit(left));
  }

  updateAll(): void {
    for (let cpu = 0; cpu < this.privates.length; cpu++) this.update(cpu);
  }

  /** Chooses the highest priority pending interrupt of a vCPU again, then its output lines. */
  update(cpu: number): void {
    const d = this.distributor, p = this.privates[cpu]!, { state } = this.physical[cpu]!;
    const enabled = d.ctlr & state.control;
    const group0 = enabled & 1 ? -1 : 0, group1 = enabled & 2 ? -1 : 0;
    let best = SPURIOUS, bestPriority = 0x100;
    for (let word = 0; (group0 | group1) !== 0 && word < WORDS; word++) {
      const routed = p.routed[word]!;
      if (routed === 0) continue;
      const b = word === 0 ? p : d;
      let ready = (b.pending[word]! | (b.level[word]! & ~b.edge[word]!)) & b.enabled[word]! & ~b.active[word]! & routed;
      if (ready === 0) continue;
      const group = b.group[word]!;
      ready &= (group & group1) | (~group & group0);
      for (; ready !== 0; ready &= ready - 1) {
        const intid = word * 32 + lowestBit(ready);
        const priority = b.priority[intid]!;
        if (priority < bestPriority) best = intid, bestPriority = priority;
      }
    }
    state.best = best;
    state.bestPriority = bestPriority;
    state.bestGroup = best === SPURIOUS ? 0 : Number(this.bit("group", cpu, best));
    this.signal(cpu);
  }

  /** Sets the output lines from what both interfaces have found; enough after a change to masks or active priorities. */
  signal(cpu: number): void {
    const p = this.privates[cpu]!;
    const outputs = this.physical[cpu]!.line(OUTPUT.IRQ, OUTPUT.FIQ) | p.virtualOutputs;
    if (outputs === p.outputs) return;
    p.outputs = outputs;
    if ((this.trace.mask & GIC) !== 0) {
      const { best, bestPriority } = this.physical[cpu]!.state;
      this.trace.emit(SIGNAL, { target: cpu, lines: outputs, best, priority: bestPriority });
    }
    this.#output(cpu, outputs);
  }

  /** Recomputes what follows from the state and reports all lines, for a state that was restored. */
  refresh(): void {
    this.privates.forEach((p, cpu) => {
      const before = p.outputs;
      this.virtual[cpu]!.select();
      this.update(cpu);
      if (p.outputs === before) this.#output(cpu, before);
    });
  }
}
