// Which vCPU runs, for how many instructions, and when a machine that waits must run again. vCPUs take turns, a slice each;
// between slices host events are taken and timers drive their lines. Where a slice ends depends on the guest and on virtual
// time alone: with time that follows the instruction count, a run is a function of its inputs.
//
// A slice ends at the first taken branch after its budget. Deadlines of timers cut the budget when time is counted in
// instructions, so that an interrupt comes with the instruction it is due at, or at the next taken branch.

import { type Clock, COUNTER_HZ, InstructionClock, type InstructionTime } from "../base/clock.ts";
import { struct, type View } from "../base/struct.ts";
import type { Vcpu } from "../cpu/core.ts";
import { countInstructions } from "../cpu/counters.ts";
import { interruptDeliverable, interruptPending, stepped, takePendingInterrupt } from "../cpu/exceptions.ts";
import { stepActive } from "../cpu/self_hosted_debug.ts";
import { HALT } from "../cpu/vcpu.ts";
import { RECORD_BYTES } from "../jit/frames.ts";
import type { Interpreter } from "../jit/interpreter.ts";
import type { Power } from "./machine.ts";
import { HOST_MAP } from "../memory/host_map.ts";
import type { GenericTimers } from "../timer/generic_timer.ts";
import type { BoardDevices } from "./board.ts";
import type { GuestDebug } from "./guest_debug.ts";
import { type Latency, latencyIn } from "./latency.ts";

/** Instructions of a slice: the longest time (some 50 µs) that an event from outside waits. */
export const SLICE_INSTRUCTIONS = 20_000;
/** Lowers a vCPU's limit so far that generated code leaves at the next taken branch: 2^26 instructions. */
const FORCE_INSTRUCTIONS = 1 << 26;
const FORCE_RECORDS = FORCE_INSTRUCTIONS << 4;
const NEVER = Infinity;

/** What the order of execution depends on, besides the guest. */
export const SCHEDULER_STATE = struct("scheduler", {
  /** Instructions that all vCPUs together have retired in finished slices, over all resets. */
  retired: "f64",
  /** See InstructionTime. */
  skippedNs: "f64",
  /** By vCPU: the tick at which an event stream ends its WFE; Infinity when that is not known yet. */
  streamEvents: `f64[${HOST_MAP.vcpus.count}]`,
  /** The vCPU whose turn it is. */
  turn: "u32",
});

/** Parts of a machine, some of which may be made after the scheduler. */
export interface SchedulerParts {
  readonly vcpus: readonly Vcpu[];
  readonly timers: GenericTimers;
  readonly devices: BoardDevices;
  readonly interpreter: Interpreter;
  readonly power: Power;
  readonly guestDebug?: GuestDebug | undefined;
  /** Told where a vCPU goes on after each taken branch, if anybody wants to know. */
  readonly onBlock?: ((vcpu: Vcpu) => void) | undefined;
}

export class Scheduler implements InstructionTime {
  readonly state: View<typeof SCHEDULER_STATE.spec>;
  /** The debugger's: vCPUs that do not run, a bit for each, and the longest slice. */
  held = 0;
  sliceInstructions: number = SLICE_INSTRUCTIONS;
  /** vCPUs that wait for the host to finish a call, a bit for each. */
  blocked = 0;
  /** An exception or a return from one ends the slice: see `leave`. */
  leaving = false;
  /** From host events to the guest's vector. */
  readonly latency: Latency;
  readonly #parts: SchedulerParts;
  readonly #clock: Clock;
  readonly #instructions: InstructionClock | null;
  /** By vCPU: when its timers next change a line; NaN when that must be looked up. */
  readonly #deadlines: Float64Array;
  /** The vCPU that is in generated code, if any, and the budget of its slice. */
  #running: Vcpu | undefined;
  /** The instruction was not executed: see `leaveBefore`. */
  #leftBefore = false;
  #budget = 0;
  /** Host milliseconds at which an event arrived that is being delivered, to which vCPU, and the host's clock. */
  #arrivedMs: number | null = null;
  #target: Vcpu | undefined;
  #targetLines = 0;
  #nowMs: () => number = () => 0;

  constructor(parts: SchedulerParts, clock: Clock, buffer: ArrayBufferLike, stateBase: number) {
    this.#parts = parts;
    this.#clock = clock;
    this.state = SCHEDULER_STATE.at(buffer, stateBase);
    this.latency = latencyIn(buffer);
    this.#deadlines = new Float64Array(this.state.streamEvents.length);
    this.#instructions = clock instanceof InstructionClock ? clock : null;
    this.#instructions?.follow(this);
    this.state.retired = this.state.skippedNs = 0;
    this.reset();
  }

  /** All vCPUs begin anew. Time goes on. */
  reset(): void {
    this.state.turn = 0;
    this.state.streamEvents.fill(NEVER);
    this.#deadlines.fill(NaN);
    this.#arrivedMs = null;
    this.#target = undefined;
  }

  /** The vCPU that is in generated code, if any. */
  get running(): Vcpu | undefined {
    return this.#running;
  }

  get skippedNs(): number {
    return this.state.skippedNs;
  }
  set skippedNs(ns: number) {
    this.state.skippedNs = ns;
  }

  /** Exact also while TypeScript is called from generated code: the instruction that calls has not retired. */
  retired(): number {
    return this.state.retired + this.#executed();
  }

  /** Instructions of the unfinished slice: limit and record move together, 16 bytes for an instruction. */
  #executed(): number {
    const vcpu = this.#running;
    if (vcpu === undefined) return 0;
    const { state } = vcpu, record = (state.pcLo - state.pcDeltaLo) << 2;
    const left = ((state.limit - record) >> 4) + (state.forced ? FORCE_INSTRUCTIONS : 0);
    return this.#budget - left;
  }

  /** Instructions that a vCPU has behind it, the one at `record` included if it is in generated code. */
  retiredAt(vcpu: Vcpu, record: number): number {
    const { state } = vcpu;
    if (this.#running !== vcpu) return state.retired;
    const left = ((state.limit - record - RECORD_BYTES) >> 4) + (state.forced ? FORCE_INSTRUCTIONS : 0);
    return state.retired + this.#budget - left;
  }

  /** Turns the next vCPU that can run for one slice. Returns false when all of them wait. */
  runSlice(): boolean {
    const { vcpus } = this.#parts, { state } = this;
    this.#takeInput();
    for (const { index } of vcpus) this.#drive(index);
    for (let i = 0; i < vcpus.length; i++) {
      const vcpu = vcpus[(state.turn + i) % vcpus.length]!;
      if ((this.held & 1 << vcpu.index) !== 0) continue;
      if (!this.#awake(vcpu)) continue;
      state.turn = (vcpu.index + 1) % vcpus.length;
      this.#run(vcpu);
      return true;
    }
    return false;
  }

  /** Lets the devices take what has come from outside, and sees whom they interrupt for that. */
  #takeInput() {
    const { vcpus, devices } = this.#parts;
    if (this.#arrivedMs === null || this.#target !== undefined) return devices.pump();
    const before = vcpus.map(({ state }) => state.pending);
    devices.pump();
    this.#target = vcpus.find(({ state }, n) => (state.pending & ~before[n]!) !== 0);
    if (this.#target === undefined) this.#arrivedMs = null;
    else this.#targetLines = this.#target.state.pending & ~before[this.#target.index]!;
  }

  /** The counter value at which a waiting machine must run again, Infinity if only an event from outside can wake it. */
  nextWakeUp(): number {
    let at = this.#nextDeadline();
    for (const { index, state } of this.#parts.vcpus) {
      if (state.halt === HALT.WFE) at = Math.min(at, this.#streamEvent(index));
    }
    return at;
  }

  /** Timer registers of a vCPU were written: a slice that would run past the new deadline is cut. */
  rearmed(cpu: number): void {
    this.#deadlines[cpu] = NaN;
    const vcpu = this.#running;
    if (vcpu === undefined || this.#instructions === null) return;
    const deadline = this.#deadlines[cpu] = this.#parts.timers.nextDeadline(cpu);
    const left = this.#budget - this.#executed(), allowed = this.#instructions.instructionsUntil(deadline);
    if (allowed >= left) return;
    vcpu.state.limit -= (left - allowed) << 4;
    this.#budget -= left - allowed;
  }

  /** Makes a vCPU leave generated code at its next taken branch. */
  kick(vcpu: Vcpu): void {
    if (this.#running !== vcpu || vcpu.state.forced) return;
    vcpu.state.forced = 1;
    vcpu.state.limit -= FORCE_RECORDS;
  }

  /** A vCPU that takes an exception or returns from one leaves generated code before the next instruction. */
  leave(vcpu: Vcpu): void {
    this.leaving = true;
    this.kick(vcpu);
  }

  /** The same before the instruction at state.pc, which is not to count as executed. */
  leaveBefore(vcpu: Vcpu): void {
    vcpu.state.limit += RECORD_BYTES;
    this.#leftBefore = true;
    this.kick(vcpu);
  }

  /** Whether a vCPU can execute instructions now. */
  ready(vcpu: Vcpu): boolean {
    this.#parts.timers.update(vcpu.index);
    return this.#awake(vcpu);
  }

  /** Lets `execute` do one instruction of a vCPU, and answer whether it did. It calls `begin` when state.pcDelta is right. */
  single(vcpu: Vcpu, execute: (begin: () => void) => boolean): void {
    const { state } = vcpu;
    const begin = () => {
      state.limit = ((state.pcLo - state.pcDeltaLo) << 2) + RECORD_BYTES;
    };
    const { guestDebug } = this.#parts, stepping = guestDebug !== undefined && stepActive(vcpu);
    const exclusive = stepping && guestDebug.atLoadExclusive(vcpu);
    this.#budget = state.budget = 1;
    this.#leftBefore = false;
    state.forced = 0;
    begin();
    this.#running = vcpu;
    const executed = (guestDebug?.breakpoint(vcpu) || execute(begin)) && !this.#leftBefore;
    this.#running = undefined;
    state.forced = 0;
    this.leaving = false;
    if (!executed) return;
    state.retired++;
    this.state.retired++;
    countInstructions(vcpu.counters, state.el, state.retired);
    // An exception, or a return, has cleared it.
    if (stepping && state.ss !== 0) stepped(vcpu, exclusive);
  }

  /** Between slices: an event from outside arrived at `atMs` and is about to be taken; `nowMs` reads the same clock. */
  hostEvent(atMs: number, nowMs: () => number): void {
    if (this.#target !== undefined) return;
    this.#arrivedMs = atMs;
    this.#nowMs = nowMs;
  }

  #run(vcpu: Vcpu) {
    const { state } = vcpu;
    const taken = takePendingInterrupt(vcpu);
    if (this.#target === vcpu) this.#noteLatency(taken);
    if (this.leaving) {
      this.leaving = false;
      return;
    }
    // Another vCPU may have run meanwhile: the exclusive monitor does not survive that.
    if (this.#parts.vcpus.length > 1) state.exclusiveSize = 0;
    const budget = this.#nextBudget(), { onBlock, guestDebug } = this.#parts;
    if (guestDebug?.singly(vcpu)) this.#executeSingly(vcpu, budget, guestDebug);
    else if (onBlock === undefined) this.#execute(vcpu, budget);
    else this.#executeBlocks(vcpu, budget, onBlock);
  }

  /** Runs generated code for `budget` instructions and what is left to a taken branch. False when it was told to leave. */
  #execute(vcpu: Vcpu, budget: number): boolean {
    const { state } = vcpu;
    this.#budget = state.budget = budget;
    state.forced = 0;
    this.#running = vcpu;
    this.#parts.interpreter.run(vcpu.base);
    this.#running = undefined;
    const kicked = state.forced !== 0, left = kicked ? state.budget + FORCE_INSTRUCTIONS : state.budget;
    state.forced = 0;
    this.leaving = false;
    state.retired += this.#budget - left;
    this.state.retired += this.#budget - left;
    const { counters } = vcpu;
    countInstructions(counters, state.el, state.retired);
    counters.slices++;
    if (kicked) counters.kicks++;
    return !kicked && state.halt === HALT.RUNNING && this.#parts.power === "on";
  }

  /** At most a slice, one instruction at a time, for as long as the guest's debug needs that. */
  #executeSingly(vcpu: Vcpu, budget: number, guestDebug: GuestDebug): void {
    const { state } = vcpu, end = state.retired + budget;
    do {
      this.#parts.onBlock?.(vcpu);
      guestDebug.execute(vcpu);
      if (this.#leftBefore || state.halt !== HALT.RUNNING || this.#parts.power !== "on") return;
    } while (state.retired < end && !takePendingInterrupt(vcpu) && guestDebug.singly(vcpu));
    this.leaving = false;
  }

  /** The same slice, left at every taken branch: it ends where it would have ended. */
  #executeBlocks(vcpu: Vcpu, budget: number, onBlock: (vcpu: Vcpu) => void): void {
    const { state } = vcpu;
    for (let left = budget; left > 0;) {
      onBlock(vcpu);
      const before = state.retired;
      if (!this.#execute(vcpu, 1)) return;
      left -= state.retired - before;
      if (this.#instructions !== null) {
        left = Math.min(left, this.#instructions.instructionsUntil(this.#nextDeadline()));
      }
    }
  }

  #nextBudget(): number {
    if (this.#instructions === null) return this.sliceInstructions;
    return Math.max(1, Math.min(this.sliceInstructions, this.#instructions.instructionsUntil(this.#nextDeadline())));
  }

  /** When a timer of a vCPU that is on, or the real-time clock, next raises its line; past if it is about to. */
  #nextDeadline(): number {
    const seconds = this.#parts.devices.rtc.secondsToAlarm();
    // One tick more, so that a fraction that was rounded off does not make it too early.
    let at = seconds === Infinity ? NEVER : this.#clock.ticks() + Math.ceil(seconds * COUNTER_HZ) + 1;
    for (const { index, state } of this.#parts.vcpus) {
      if (state.halt !== HALT.OFF) at = Math.min(at, this.#deadlines[index]!);
    }
    // What was not looked up yet may be due.
    return Number.isNaN(at) ? this.#clock.ticks() : at;
  }

  /** Between slices: drives the lines of a vCPU's timers when that is due. */
  #drive(cpu: number): void {
    if (this.#deadlines[cpu]! > this.#clock.ticks()) return;
    // In this order: what becomes due in between is found past by the next look.
    this.#deadlines[cpu] = this.#parts.timers.nextDeadline(cpu);
    this.#parts.timers.update(cpu);
  }

  /** Ends waiting where its condition holds. */
  #awake(vcpu: Vcpu): boolean {
    const { state } = vcpu;
    if ((this.blocked & 1 << vcpu.index) !== 0) return false;
    switch (state.halt) {
      case HALT.RUNNING:
        return true;
      case HALT.OFF:
        return false;
      case HALT.WFI:
        if (!interruptPending(vcpu)) return false;
        break;
      case HALT.WFE:
        if (!state.event && !interruptDeliverable(vcpu) && this.#clock.ticks() < this.#streamEvent(vcpu.index)) {
          return false;
        }
        state.event = 0;
        this.state.streamEvents[vcpu.index] = NEVER;
        break;
    }
    state.halt = HALT.RUNNING;
    return true;
  }
  /** When the event stream of a vCPU next ends its WFE. */
  #streamEvent(cpu: number): number {
    const { streamEvents } = this.state, known = streamEvents[cpu]!;
    if (known !== NEVER) return known;
    return streamEvents[cpu] = this.#parts.timers.nextStreamEvent(cpu);
  }

  /** The vCPU that an event interrupts is about to run; an interrupt that it takes now is that one. */
  #noteLatency(taken: boolean) {
    if (!taken) return;
    const { latency } = this, ns = this.#sinceArrivalNs();
    latency.taken++;
    latency.totalNs += ns;
    latency.maxNs = Math.max(latency.maxNs, ns);
  }

  /** Lines of a vCPU went down: the one that an event interrupts has acknowledged that if its line did. */
  lowered(vcpu: Vcpu): void {
    if (this.#target !== vcpu || (vcpu.state.pending & this.#targetLines) !== 0) return;
    const { latency } = this, ns = this.#sinceArrivalNs();
    latency.masked++;
    latency.maskedTotalNs += ns;
    latency.maskedMaxNs = Math.max(latency.maskedMaxNs, ns);
  }

  #sinceArrivalNs(): number {
    const ns = Math.max(0, (this.#nowMs() - this.#arrivedMs!) * 1e6);
    this.#arrivedMs = null;
    this.#target = undefined;
    return ns;
  }
}
