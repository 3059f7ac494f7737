// Steps: retiring one instruction of a vCPU in a context, whatever the machine has to run for it. The instruction is
// executed by its handler, called from here; until the vCPU is in the context, and while an interrupt or exception is run
// through, the machine runs as usual. What is left out: a program that replaces itself during a system call (execve) does
// not come back to the place where the step would end.

import type { SystemRegisters } from "../../arch/sysregs.ts";
import type { Vcpu } from "../../cpu/core.ts";
import { takePendingInterrupt } from "../../cpu/exceptions.ts";
import { CONTINUE } from "../../cpu/status.ts";
import type { VcpuState } from "../../cpu/vcpu.ts";
import { isHost } from "../../mmu/controls.ts";
import type { Place } from "../../../gdbstub/target.ts";
import type { Machine } from "../machine.ts";
import type { Bank, DebugArea } from "./area.ts";
import type { Worlds } from "./worlds.ts";

/** Where an interrupted program goes on: level, and what tells it from others there. */
interface Return {
  readonly el: number;
  readonly key: string;
  readonly pc: bigint;
  /** The instruction is done when it comes back there; otherwise it is to be executed then. */
  readonly retired: boolean;
}

export interface Step {
  readonly place: Place;
  readonly intoExceptions: boolean;
  /** Ends outside of it; undefined for one instruction. */
  readonly range: { readonly start: bigint; readonly end: bigint } | undefined;
}

interface Stepping extends Step {
  /** Ends as soon as the vCPU is in the context again. */
  arriving: boolean;
  /** Something is run through until it comes back there, and whether it has; an interrupt may come right then. */
  back: Return | undefined;
  isBack: boolean;
}

/** What happened to a vCPU during one instruction. */
interface Events {
  taken: boolean;
  returned: boolean;
}

/** TTBR0_ELx without ASID and CnP. */
const TABLE = 0xffff_ffff_fffen;
/** Steps of a range before the machine looks at requests again. */
const BATCH = 2000;

export class Stepper {
  #steps: Stepping[] = [];
  readonly #events: Events = { taken: false, returned: false };

  constructor(
    readonly machine: Machine,
    readonly area: DebugArea,
    readonly worlds: Worlds,
    /** Something else has stopped the machine; `before` the instruction that was to be executed. */
    readonly interrupted: () => boolean,
    readonly before: () => boolean,
    readonly done: (place: Place, cpu: number) => void,
    /** Non-stop: the hypervisor's thread on this vCPU stands still, so that nobody would come back from an exit. */
    readonly noWayBack: (cpu: number) => boolean = () => false,
  ) {}

  get active(): boolean {
    return this.#steps.length > 0;
  }
  start(step: Step): void {
    this.cancel(step.place);
    const stepping: Stepping = { ...step, arriving: false, back: undefined, isBack: false };
    const world = this.#worldOf(stepping);
    if (world >= 0 && this.area.world(world).cpu < 0) {
      // The hypervisor's instruction was its ERET. A virtual machine's may be emulated before it runs again, or it may be
      // awaited after a reset.
      if (world < this.area.cpus || this.area.world(world).saved === 0) stepping.arriving = true;
      else stepping.back = { ...positionOf(this.area.saved(world)), retired: false };
    }
    this.#steps.push(stepping);
  }
  /** Gives up the steps of a thread, of a context, or all. */
  cancel(place?: Place | number): void {
    this.#steps = place === undefined
      ? []
      : this.#steps.filter(({ place: of }) =>
        typeof place === "number" ? of.context !== place : of.context !== place.context || of.thread !== place.thread
      );
  }

  /** Gives up the steps of these threads. */
  drop(which: (place: Place) => boolean): void {
    this.#steps = this.#steps.filter(({ place }) => !which(place));
  }

  #worldOf({ place }: Stepping): number {
    return this.area.worldOf(place.context, place.thread);
  }

  /** An exception was taken, or returned from: who waits for that wants control before the next instruction. */
  switched(vcpu: Vcpu, returned: boolean): void {
    if (this.#steps.length === 0) return;
    if (returned) this.#events.returned = true;
    else this.#events.taken = true;
    const world = this.worlds.current[vcpu.index]!;
    for (const step of this.#steps) {
      if (this.#worldOf(step) !== world) continue;
      const { back } = step;
      if (back !== undefined) {
        step.isBack = returned && vcpu.state.el === back.el && keyOf(vcpu.state, vcpu.sys) === back.key;
        if (!step.isBack) continue;
      }
      this.machine.scheduler.leave(vcpu);
    }
  }

  /** The vCPUs that are where they step, a bit for each. */
  get cpus(): number {
    let bits = 0;
    for (const step of this.#steps) {
      const world = this.#worldOf(step), cpu = world < 0 ? -1 : this.area.world(world).cpu;
      if (cpu >= 0 && (step.back === undefined || step.isBack)) bits |= 1 << cpu;
    }
    return bits;
  }

  /** Does as much as can be done now; answers whether anything was executed. */
  advance(): boolean {
    let busy = false;
    for (const step of [...this.#steps]) {
      for (let n = 0; n < BATCH && this.#steps.includes(step) && !this.interrupted(); n++) {
        const world = this.#worldOf(step), cpu = world < 0 ? -1 : this.area.world(world).cpu;
        if (cpu < 0) break;
        const vcpu = this.machine.vcpus[cpu]!, { back } = step;
        if (this.#isBlocked(vcpu)) break;
        if (back !== undefined) {
          if (!step.isBack) break;
          step.back = undefined;
          step.isBack = false;
          step.arriving = back.retired || vcpu.state.pc !== back.pc;
        }
        if (step.arriving) {
          this.#finish(step, vcpu);
          break;
        }
        if (!this.machine.scheduler.ready(vcpu)) break;
        busy = true;
        this.#one(step, vcpu, world);
      }
    }
    return busy;
  }

  /** One instruction, or an interrupt that comes before it. */
  #one(step: Stepping, vcpu: Vcpu, world: number): void {
    const { state } = vcpu, before = positionOf(vcpu), events = this.#events;
    // While this step looks for itself, a switch has nothing to tell it.
    step.back = { el: -1, key: "", pc: 0n, retired: false };
    events.taken = events.returned = false;
    const masked = world >= this.area.cpus && this.noWayBack(vcpu.index);
    if (!masked && takePendingInterrupt(vcpu)) {
      this.machine.scheduler.leaving = false;
      step.back = undefined;
      if (!step.intoExceptions) step.back = { ...before, retired: false };
      else step.arriving = true;
      return;
    }
    this.execute(vcpu);
    step.back = undefined;
    // A return from an exception has retired, whatever stops the machine behind it.
    if (this.interrupted() && !events.returned) return;
    // The instruction has retired, but the host has not finished what it asked for.
    if (this.#isBlocked(vcpu)) {
      step.arriving = true;
      return;
    }
    const here = this.worlds.current[vcpu.index] === world;
    if (events.returned || !events.taken) {
      // An exception return that leads elsewhere has retired: the step ends where the vCPU comes back.
      if (!here) step.arriving = true;
      else this.#ended(step, vcpu);
      return;
    }
    if (here && step.intoExceptions) return this.#finish(step, vcpu);
    const target = state.el === 2 ? vcpu.sys.ELR_EL2 : vcpu.sys.ELR_EL1;
    // The first exception of several counts, but the one that is returned from last has its return address.
    if (step.intoExceptions) step.arriving = true;
    else step.back = { ...before, retired: target !== before.pc };
  }

  #isBlocked({ index }: Vcpu): boolean {
    return (this.machine.scheduler.blocked & 1 << index) !== 0;
  }
  #ended(step: Stepping, vcpu: Vcpu): void {
    const { pc } = vcpu.state, { range } = step;
    if (range === undefined || pc < range.start || pc >= range.end) this.#finish(step, vcpu);
  }
  #finish(step: Stepping, vcpu: Vcpu): void {
    const { range } = step, { pc } = vcpu.state;
    if (range !== undefined && step.arriving && pc >= range.start && pc < range.end) {
      step.arriving = false;
      return;
    }
    this.#steps = this.#steps.filter((other) => other !== step);
    this.done(step.place, vcpu.index);
  }

  /** Executes the instruction at a vCPU's pc, or takes the exception that it causes. */
  execute(vcpu: Vcpu): void {
    const { machine } = this, { state, index } = vcpu, mmu = machine.mmus[index]!;
    machine.scheduler.single(vcpu, (begin) => {
      const record = mmu.fetch();
      if (record === 0) return true;
      const inPage = (state.pcLo & 0xffc) << 2;
      const delta = (BigInt(state.pcHi) << 32n | BigInt((state.pcLo & ~0xfff) >>> 0)) - BigInt((record - inPage) >>> 2);
      state.pcDelta = BigInt.asUintN(64, delta);
      begin();
      const status = machine.interpreter.handler(machine.code.handlerOf(record))(vcpu.base, record);
      if (this.before()) return false;
      if (status === CONTINUE) {
        const lo = (state.pcLo + 4) >>> 0;
        if (lo === 0) state.pcHi = state.pcHi + 1;
        state.pcLo = lo;
      }
      return true;
    });
  }
}

/** What tells a program from others at its exception level: the stack above EL0, address space and thread pointer at EL0. */
function keyOf(state: VcpuState, sys: SystemRegisters): string {
  if (state.el > 0) return `${state.x[32]!}`;
  return `${(isHost(sys) ? sys.TTBR0_EL2 : sys.TTBR0_EL1) & TABLE}:${sys.TPIDR_EL0}`;
}
const positionOf = ({ state, sys }: Bank) => ({ el: state.el, key: keyOf(state, sys), pc: state.pc });
