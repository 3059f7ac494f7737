// The debugger's half in the machine's thread: runs, stops and steps vCPUs for it, and carries out everything that changes
// the machine. Called between slices, and from generated code through the marks and watched ranges that it set. Its other
// half, target.ts, is where the stub is; they exchange plain data.

import { hex } from "../../base/trace.ts";
import type { Vcpu } from "../../cpu/core.ts";
import { LEAVE } from "../../cpu/status.ts";
import { HOST_MAP, VCPU_BLOCK } from "../../memory/host_map.ts";
import type { AgentMachine } from "../../../gdbstub/agent_expression.ts";
import {
  actionFor,
  type AddressSpace,
  type Breakpoint,
  type Catchpoint,
  ERRNO,
  type FileReply,
  type FileRequest,
  type Outcome,
  type Place,
  Refusal,
  type Resumption,
  SIGNAL,
  type StopEvent,
  type StopReason,
  type Watchpoint,
} from "../../../gdbstub/target.ts";
import type { Machine } from "../machine.ts";
import type { FileDebugger } from "../semihosting/semihosting.ts";
import { DebugArea } from "./area.ts";
import { Breakpoints } from "./breakpoints.ts";
import { Catchpoints } from "./catchpoints.ts";
import { COMMANDS, OS_TABLES } from "./commands.ts";
import type { CommandPlace } from "./commands/row.ts";
import { GuestMemory } from "./memory.ts";
import { unfitPoint } from "./points.ts";
import { generalValue, RegisterAccess, systemRegister } from "./registers.ts";
import { Stepper } from "./stepping.ts";
import { Watchpoints } from "./watchpoints.ts";
import { Worlds } from "./worlds.ts";

/** What the debugger's half there needs of the run loop. */
export interface RunControl {
  /** Stops the machine, with its clock, at the end of this slice. */
  halt(): void;
  proceed(): void;
  /** Resets the machine; it does afterwards what it did before. */
  reset(): void;
  /** Ends the run. */
  quit(): void;
  /** A slice follows. */
  readonly running: boolean;
}

/** What it tells its other half. */
export interface ControlEvents {
  stopped(event: StopEvent): void;
  appeared(context: number): void;
  gone(context: number): void;
  output(text: string): void;
  /** The debugger's host is asked for something; fileReply follows. */
  fileRequest(asked: { readonly place: Place; readonly request: FileRequest }): void;
}

const SILENT: ControlEvents = { stopped() {}, appeared() {}, gone() {}, output() {}, fileRequest() {} };
/** Instructions that other vCPUs execute for each step of one. */
const BESIDE_A_STEP = 500;
const keyOf = ({ context, thread }: Place): string => `${context}.${thread}`;

/** An instruction of a vCPU, and the vCPU's count of them. */
interface Moment {
  readonly pc: bigint;
  readonly count: number;
}

export class DebugControl {
  readonly area: DebugArea;
  readonly worlds: Worlds;
  readonly memory: GuestMemory;
  readonly registers: RegisterAccess;
  readonly breakpoints: Breakpoints;
  readonly watchpoints: Watchpoints;
  readonly catchpoints: Catchpoints;
  readonly stepper: Stepper;
  run!: RunControl;
  #events: ControlEvents = SILENT;
  #attached = false;
  /** Whether the debugger wants to see virtual machines before they run. */
  #stopsAtNew = false;
  #nonStop = false;
  /** All-stop: the machine stands still for the debugger. */
  #halted = false;
  /** A stop that is delivered when the slice has ended, and whether its instruction was not executed. */
  #pending: StopEvent | undefined;
  #before = false;
  /** Non-stop: threads that do not run. */
  readonly #stopped = new Set<string>();
  /** All-stop: threads that no action names although their context has others that are named. */
  #left: ((place: Place) => boolean) | undefined;
  /** By vCPU: the instruction, and the vCPU's count of them, before which a watched access stopped it. */
  readonly #watchedAt = new Map<number, Moment>();
  /** The same for breakpoints: a debugger that goes on with another context does not step over this one's. */
  readonly #brokenAt = new Map<number, Moment>();
  #lastCpu = 0;

  constructor(readonly machine: Machine) {
    const { vcpus, mmus } = machine, { buffer } = machine.around.memory;
    this.area = new DebugArea(buffer, vcpus.length);
    this.worlds = new Worlds(this.area, vcpus, machine.around.memory);
    this.memory = new GuestMemory(this.area, machine.bus, mmus[0]!.features);
    this.registers = new RegisterAccess(this.area, vcpus);
    this.breakpoints = new Breakpoints(machine, this.worlds, (vcpu) => this.#sight(vcpu));
    this.watchpoints = new Watchpoints(machine, this.worlds, (cpu, reason) => this.#watched(cpu, reason));
    this.catchpoints = new Catchpoints(this.area);
    this.stepper = new Stepper(
      machine,
      this.area,
      this.worlds,
      () => this.#pending !== undefined,
      () => this.#before,
      (place, cpu) => {
        this.#lastCpu = cpu;
        this.#stop({ ...place, reason: { kind: "signal", signal: SIGNAL.TRAP } });
      },
      (cpu) => this.#stopped.has(keyOf({ context: 1, thread: cpu + 1 })),
    );
    this.worlds.listener = {
      taken: (vcpu, from, left) => {
        this.stepper.switched(vcpu, false);
        if (left >= 0) this.#moved(vcpu);
        this.#caught(vcpu, this.catchpoints.taken(vcpu, from, left));
      },
      returned: (vcpu, from, entered) => {
        this.stepper.switched(vcpu, true);
        if (entered >= 0) this.#moved(vcpu);
        this.#caught(vcpu, this.catchpoints.returned(vcpu, from, entered));
        if (entered >= 0 && this.#stopsAtNew) this.#introduce(vcpu, entered);
      },
      appeared: (id) => this.#events.appeared(id),
      gone: (id) => {
        this.#forget(id);
        this.#events.gone(id);
      },
    };
    const { environment } = vcpus[0]!;
    environment.exceptionTaken = (vcpu, from) => this.worlds.taken(vcpu, from);
    environment.exceptionReturned = (vcpu, from, lo, hi) => this.worlds.returned(vcpu, from, lo, hi);
    machine.interpreter.onMarked = (base, record) => this.#marked(base, record);
    machine.wasReset = () => this.#reset();
    if (machine.semihosting !== null) machine.semihosting.debugger = this.fileDebugger;
  }

  // --- While the machine runs

  /** One slice, or what a step asks for. Answers whether anything was executed. */
  runSlice(): boolean {
    const { machine, stepper } = this;
    let ran: boolean;
    if (!stepper.active) {
      ran = machine.runSlice();
      if (ran && this.#pending === undefined) this.#lastCpu = this.#lastTurn();
    } else {
      machine.devices.pump();
      const stepping = stepper.cpus;
      ran = (machine.vcpus.length > 1 || stepping === 0) && this.#runBeside(stepping);
      if (this.#pending === undefined && machine.power === "on") ran = stepper.advance() || ran;
    }
    this.#deliver();
    return ran || this.#halted;
  }
  #lastTurn(): number {
    const { vcpus, scheduler } = this.machine;
    return (scheduler.state.turn + vcpus.length - 1) % vcpus.length;
  }
  /** A slice of the vCPUs that did not just step; a short one, if some did. */
  #runBeside(busy: number): boolean {
    const { scheduler } = this.machine, { held, sliceInstructions } = scheduler;
    scheduler.held |= busy;
    if (busy !== 0) scheduler.sliceInstructions = BESIDE_A_STEP;
    const ran = this.machine.runSlice();
    scheduler.sliceInstructions = sliceInstructions;
    scheduler.held &= ~busy;
    // A world may have stopped meanwhile, or have come to where it may run.
    if ((held & busy) !== 0) scheduler.held |= held & busy;
    return ran;
  }

  /** A marked instruction is about to be executed. */
  #marked(base: number, record: number): number {
    const { scheduler, code, vcpus } = this.machine, vcpu = vcpus[(base - HOST_MAP.vcpus.base) / VCPU_BLOCK.size]!;
    if (this.#stoppedHere(this.#brokenAt, vcpu)) return code.handlerOf(record);
    const point = this.#pending === undefined ? this.breakpoints.hit(vcpu) : undefined;
    if (point === undefined) return code.handlerOf(record);
    this.#brokenAt.set(vcpu.index, this.#moment(vcpu));
    this.#request(vcpu, { kind: point.kind === "software" ? "swbreak" : "hwbreak" });
    scheduler.leaveBefore(vcpu);
    return LEAVE;
  }
  #moment({ state }: Vcpu): Moment {
    const { scheduler } = this.machine;
    return { pc: state.pc, count: state.retired + scheduler.retired() - scheduler.state.retired };
  }
  /** It stopped there already, so it passes now; the next time the same instruction is executed the count is another. */
  #stoppedHere(before: ReadonlyMap<number, Moment>, vcpu: Vcpu): boolean {
    const last = before.get(vcpu.index);
    if (last?.pc !== vcpu.state.pc) return false;
    return last.count === this.#moment(vcpu).count;
  }
  #watched(cpu: number, reason: StopReason): boolean {
    const { scheduler, vcpus } = this.machine, vcpu = vcpus[cpu]!;
    if (this.#stoppedHere(this.#watchedAt, vcpu)) return false;
    if (this.#pending === undefined) {
      this.#watchedAt.set(cpu, this.#moment(vcpu));
      this.#before = true;
      this.#request(vcpu, reason);
    }
    scheduler.leaveBefore(vcpu);
    return true;
  }
  #caught(vcpu: Vcpu, text: string | undefined): void {
    if (text === undefined || this.#pending !== undefined) return;
    this.#request(vcpu, { kind: "signal", signal: SIGNAL.TRAP }, text);
    this.machine.scheduler.leave(vcpu);
  }
  /** Before the first instruction of a virtual machine. */
  #introduce(vcpu: Vcpu, entered: number): void {
    const { area } = this;
    if (this.#pending !== undefined || area.contexts[area.world(entered).context]!.entries !== 1) return;
    this.#request(vcpu, { kind: "appeared" });
    this.machine.scheduler.leave(vcpu);
  }
  /** A vCPU has changed its context. */
  #moved(vcpu: Vcpu): void {
    if (this.watchpoints.active) this.watchpoints.entered(vcpu.index);
    if (this.#stopped.size === 0 && this.#left === undefined) return;
    if (this.#holdIfStopped(vcpu.index)) this.machine.scheduler.leave(vcpu);
  }
  #request(vcpu: Vcpu, reason: StopReason, text?: string): void {
    this.#lastCpu = vcpu.index;
    this.#pending = { ...this.#placeOf(vcpu.index), reason, ...(text === undefined ? {} : { text }) };
  }
  #placeOf(cpu: number): Place {
    return { context: this.worlds.contextOf(cpu), thread: this.worlds.threadOf(cpu) };
  }
  #stop(event: StopEvent): void {
    this.#pending ??= event;
  }

  /** Tells of the stop that the slice ended with. */
  #deliver(): void {
    const event = this.#pending;
    if (event === undefined) return;
    this.#pending = undefined;
    this.#before = false;
    if (!this.#attached) return;
    if (this.#nonStop) {
      this.#stopped.add(keyOf(event));
      this.#holdAll();
      this.stepper.cancel(event);
    } else this.#halt(event.reason.kind === "appeared");
    this.#sweep();
    this.#events.stopped(event);
  }
  /** Virtual machines that are no more leave when something stops. */
  #sweep(): void {
    this.worlds.sweep((world) => this.memory.stage2Table(world));
  }
  #halt(stepsStay = false): void {
    if (!stepsStay) this.stepper.cancel();
    this.#left = undefined;
    this.machine.scheduler.held = 0;
    if (this.#halted) return;
    this.#halted = true;
    this.run.halt();
  }
  #holdAll(): void {
    this.machine.scheduler.held = 0;
    this.machine.vcpus.forEach((_, cpu) => this.#holdIfStopped(cpu));
  }
  #holdIfStopped(cpu: number): boolean {
    const place = this.#placeOf(cpu), { scheduler } = this.machine;
    const stays = this.#stopped.has(keyOf(place)) || this.#left?.(place) === true;
    if (stays) scheduler.held |= 1 << cpu;
    else scheduler.held &= ~(1 << cpu);
    return stays;
  }

  #reset(): void {
    this.#pending = undefined;
    this.#before = false;
    this.stepper.cancel();
    this.#watchedAt.clear();
    this.#brokenAt.clear();
    this.#stopped.clear();
    this.#left = undefined;
    this.machine.scheduler.held = 0;
    this.worlds.reset(this.#attached);
    if (this.watchpoints.active) this.machine.vcpus.forEach((_, cpu) => this.watchpoints.entered(cpu));
  }
  /** A context is gone, or nobody debugs it any more. */
  #forget(id: number): void {
    this.breakpoints.clear(id);
    this.watchpoints.clear(id);
    this.stepper.cancel(id);
    for (const key of [...this.#stopped]) if (key.startsWith(`${id}.`)) this.#stopped.delete(key);
  }

  /** What a condition sees. */
  #sight(vcpu: Vcpu): AgentMachine {
    const world = this.worlds.current[vcpu.index]!, { memory, registers, area } = this;
    return {
      register(number) {
        const value = generalValue(area.live[vcpu.index]!, number);
        if (value !== undefined) return value;
        const name = systemRegister(number), read = name && registers.readSystem(world, name);
        return typeof read === "bigint" ? read : undefined;
      },
      memory: (address, bytes) => memory.value(world, "auto", address, bytes),
      print: (text) => this.#events.output(text),
    };
  }

  // --- What the other half asks for, between slices

  attach(events: ControlEvents): StopEvent {
    this.#events = events;
    this.#attached = true;
    this.#nonStop = false;
    this.#stopped.clear();
    this.#halt();
    this.#sweep();
    return { ...this.#placeOf(this.#lastCpu), reason: { kind: "signal", signal: SIGNAL.TRAP } };
  }
  detach(context: number): void {
    this.#forget(context);
    if (this.#nonStop) this.#holdAll();
    else this.#apply();
  }
  release(): void {
    this.#attached = false;
    this.#stopsAtNew = false;
    this.#nonStop = false;
    this.#events = SILENT;
    this.#pending = undefined;
    this.#before = false;
    this.breakpoints.clear();
    this.watchpoints.clear();
    this.catchpoints.clear();
    this.stepper.cancel();
    this.#stopped.clear();
    this.#left = undefined;
    this.#watchedAt.clear();
    this.#brokenAt.clear();
    this.machine.scheduler.held = 0;
    this.#apply();
    this.worlds.dropAwaited();
    if (this.#halted) this.#proceed();
  }
  restart(): StopEvent {
    this.run.reset();
    this.#halt();
    return { ...this.#placeOf(0), reason: { kind: "signal", signal: SIGNAL.TRAP } };
  }

  insert(point: Breakpoint | Watchpoint): Outcome {
    this.breakpoints.remove(point.id);
    this.watchpoints.remove(point.id);
    const refusal = unfitPoint(point);
    if (refusal !== undefined) return refusal;
    if ("length" in point) this.watchpoints.insert(point);
    else this.breakpoints.insert(point);
    if (!this.#halted) this.#apply();
    return;
  }
  remove(id: number): void {
    this.breakpoints.remove(id);
    this.watchpoints.remove(id);
    if (!this.#halted) this.#apply();
  }
  insertCatch(point: Catchpoint): Outcome {
    return this.catchpoints.insert(point);
  }
  removeCatch(id: number): void {
    this.catchpoints.remove(id);
  }
  #apply(): void {
    this.breakpoints.apply();
    this.watchpoints.apply();
  }

  resume(resumptions: readonly Resumption[], stopsAtNew = false): Outcome {
    this.#stopsAtNew = stopsAtNew;
    return this.#nonStop ? this.#resumeThreads(resumptions) : this.#resumeAll(resumptions);
  }
  #resumeAll(resumptions: readonly Resumption[]): Outcome {
    this.#apply();
    this.stepper.drop((place) => actionFor(resumptions, place) !== undefined);
    for (const { context, thread, action } of resumptions) {
      if (action.kind !== "step" && action.kind !== "range") continue;
      const place = context !== null && thread !== null ? { context, thread } : this.#placeOf(this.#lastCpu);
      if (this.area.worldOf(place.context, place.thread) < 0) {
        return new Refusal(`there is no thread ${place.thread} in context ${place.context}`, ERRNO.EINVAL);
      }
      const range = action.kind === "range" ? { start: action.start, end: action.end } : undefined;
      this.stepper.start({ place, intoExceptions: action.intoExceptions, range });
    }
    // Threads that are left out while others of their context are named stay where they are.
    const named = new Set(resumptions.map(({ context }) => context));
    this.#left = named.has(null)
      ? undefined
      : (place) => named.has(place.context) && actionFor(resumptions, place) === undefined;
    this.#holdAll();
    if (this.#halted) this.#proceed();
    return;
  }
  #proceed(): void {
    this.#halted = false;
    this.run.proceed();
  }
  #resumeThreads(resumptions: readonly Resumption[]): Outcome {
    this.#apply();
    const handled = new Set<string>();
    for (const { context, thread, action } of resumptions) {
      for (const place of this.#threads(context, thread)) {
        const key = keyOf(place);
        if (handled.has(key)) continue;
        handled.add(key);
        if (action.kind === "stop") this.#stopThread(place, SIGNAL.NONE);
        else if (this.#stopped.delete(key)) {
          if (action.kind === "continue") continue;
          const range = action.kind === "range" ? { start: action.start, end: action.end } : undefined;
          this.stepper.start({ place, intoExceptions: action.intoExceptions, range });
        }
      }
    }
    this.#holdAll();
    if (this.#halted) this.#proceed();
    return;
  }
  #threads(context: number | null, thread: number | null): Place[] {
    const { area } = this;
    return area.places().map((n) => area.contexts[n]!).filter(({ id }) => context === null || id === context)
      .flatMap(({ id, threads, worlds }) =>
        [...worlds.subarray(0, threads)].map((n) => ({ context: id, thread: area.world(n).thread }))
      )
      .filter((place) => thread === null || place.thread === thread);
  }
  #stopThread(place: Place, signal: number): void {
    const key = keyOf(place);
    if (this.#stopped.has(key)) return;
    this.#stopped.add(key);
    this.stepper.cancel(place);
    this.#holdAll();
    this.#events.stopped({ ...place, reason: { kind: "signal", signal } });
  }

  /** For semihosting: the debugger's host. */
  get fileDebugger(): FileDebugger {
    const attached = () => this.#attached && !this.#nonStop;
    return {
      get attached() {
        return attached();
      },
      request: (cpu, request) => {
        if (!attached()) return false;
        this.#events.fileRequest({ place: this.#placeOf(cpu), request });
        return true;
      },
    };
  }
  /** Null: the debugger does not take the request. */
  fileReply(reply: FileReply | null): void {
    this.machine.semihosting?.replied(reply);
    if (reply?.interrupted === true) this.interrupt(null);
  }

  interrupt(place: Place | null): void {
    if (this.#nonStop) {
      for (const one of this.#threads(place?.context ?? null, place?.thread ?? null)) this.#stopThread(one, SIGNAL.INT);
      return;
    }
    if (this.#halted || !this.#attached) return;
    this.#stop({ ...this.#placeOf(this.#lastCpu), reason: { kind: "signal", signal: SIGNAL.INT } });
    this.#deliver();
  }
  setNonStop(on: boolean): Outcome {
    if (on === this.#nonStop) return;
    this.#nonStop = on;
    if (on) { for (const place of this.#threads(null, null)) this.#stopped.add(keyOf(place)); }
    else {
      this.#stopped.clear();
      this.#halt();
    }
    return;
  }

  /** Whether a thread stands still. */
  isStopped(place: Place): boolean {
    return this.#nonStop ? this.#stopped.has(keyOf(place)) : this.#halted;
  }

  readSystem(place: Place, number: number): bigint | Refusal {
    const world = this.#world(place), name = systemRegister(number);
    if (world instanceof Refusal) return world;
    return name === undefined
      ? new Refusal(`register ${number} is not known`, ERRNO.EINVAL)
      : this.registers.readSystem(world, name);
  }
  writeRegister(place: Place, number: number, bytes: Uint8Array): Outcome {
    const world = this.#world(place);
    return world instanceof Refusal ? world : this.registers.write(world, number, bytes);
  }
  #world({ context, thread }: Place): number | Refusal {
    const world = this.area.worldOf(context, thread);
    return world >= 0 ? world : new Refusal(`there is no thread ${thread} in context ${context}`, ERRNO.EINVAL);
  }

  /** Runs a monitor command, by its place in the table. */
  command(name: string, args: string, place: Place, space: AddressSpace): string | Refusal {
    const command = COMMANDS.find((c) => c.name === name);
    if (command === undefined) return new Refusal(`${name} is not known`, ERRNO.EINVAL);
    const world = this.area.worldOf(place.context, place.thread);
    const at: CommandPlace = { control: this, world: Math.max(0, world), space };
    return command.run(at, args);
  }
  table(name: string): readonly (readonly string[])[] {
    return OS_TABLES.find((table) => table.name === name)?.rows(this) ?? [];
  }

  /** Words for messages: where a world is. */
  describe(world: number): string {
    const { pc, el } = this.memory.bank(world).state;
    return `EL${el}, pc ${hex(pc)}`;
  }
}
