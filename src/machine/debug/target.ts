// The stub's view of the machine: gdb's contexts, threads, registers, memory and running. What lies in shared memory is read
// here, in the stub's thread; everything else is asked of the machine's half (control.ts) through a port.

import type { CpuModel } from "../../arch/models.ts";
import { invalidateCode } from "../../jit/code_cache.ts";
import { PhysicalBus } from "../../memory/bus.ts";
import { featuresFromId } from "../../mmu/controls.ts";
import { GENERAL_BYTES } from "../../../gdbstub/aarch64_registers.ts";
import {
  type AddressSpace,
  type Awaitable,
  type Breakpoint,
  type CatchKind,
  type Catchpoint,
  type Context,
  ERRNO,
  type FileReply,
  type MemoryRegion,
  type MonitorCommand,
  type OsTable,
  type Outcome,
  type Place,
  Refusal,
  type RegisterDescription,
  type Resumption,
  type StopEvent,
  type Target,
  type TargetListener,
  type Thread,
  type Watchpoint,
} from "../../../gdbstub/target.ts";
import { DebugArea } from "./area.ts";
import { CATCH_CLASSES } from "./catchpoints.ts";
import { COMMANDS, OS_TABLES } from "./commands.ts";
import { GuestMemory } from "./memory.ts";
import { unfitPoint } from "./points.ts";
import type { Port } from "./port.ts";
import { describeRegisters, generalRange, readGeneralInto } from "./registers.ts";
import type { Symbols } from "./symbols.ts";
import { contextName, stateOf } from "./words.ts";

export interface TargetParts {
  readonly buffer: ArrayBufferLike;
  readonly cpus: number;
  readonly model: CpuModel;
  readonly port: Port;
  readonly symbols: Symbols;
  /** Commands that are not asked of the machine's half; of two with one name these count. */
  readonly hostCommands?: readonly MonitorCommand[];
  /** After resuming: where looking for a stop that comes at once is worth while. */
  readonly spin?: () => void;
}

export class MachineTarget implements Target {
  readonly area: DebugArea;
  readonly catchClasses: Readonly<Record<CatchKind, readonly string[]>> = CATCH_CLASSES;
  readonly commands: readonly MonitorCommand[];
  readonly osTables: readonly OsTable[];
  readonly #memory: GuestMemory;
  readonly #bus: PhysicalBus;
  readonly #registers: readonly [readonly RegisterDescription[], readonly RegisterDescription[]];
  readonly #general = new Uint8Array(GENERAL_BYTES);
  #listener: TargetListener | undefined;
  #described = false;
  /** What stands still, as far as is known here. */
  #stopped = false;
  #nonStop = false;
  #ended = false;
  readonly #running = new Set<string>();

  constructor(readonly parts: TargetParts) {
    const { buffer, cpus, model, port, hostCommands = [] } = parts, { values } = model;
    this.area = new DebugArea(buffer, cpus);
    this.#bus = new PhysicalBus(buffer);
    const words = new Uint32Array(buffer);
    this.#bus.onCodeWrite = (host, bytes) => invalidateCode(words, host, bytes);
    const features = featuresFromId(
      values.ID_AA64PFR0_EL1 ?? 0n,
      values.ID_AA64MMFR0_EL1 ?? 0n,
      values.ID_AA64MMFR1_EL1 ?? 0n,
    );
    this.#memory = new GuestMemory(this.area, this.#bus, features);
    this.#registers = [describeRegisters(model, true), describeRegisters(model, false)];
    const asked = COMMANDS.filter(({ name }) => !hostCommands.some((command) => command.name === name));
    this.commands = [
      ...asked.map(({ name, args, help }): MonitorCommand => ({
        name,
        args,
        help,
        run: (given, { place, space }) => port.call("command", name, given, place, space),
      })),
      ...hostCommands,
    ];
    this.osTables = OS_TABLES.map(({ name, title, description, columns }) => ({
      name,
      title,
      description,
      columns,
      rows: () => port.call("table", name),
    }));
    port.listener = {
      stopped: (event) => {
        if (this.#nonStop) this.#running.delete(`${event.context}.${event.thread}`);
        else this.#stopped = true;
        this.#listener?.stopped(event);
      },
      appeared: (id) => {
        const context = this.contexts().find((c) => c.id === id);
        if (context !== undefined) this.#listener?.contextAppeared(context);
      },
      gone: (id) => this.#listener?.contextGone(id),
      output: (text) => this.#listener?.output(text),
      fileRequest: ({ place, request }) => {
        if (this.#listener?.fileRequest(place, request) !== true) void port.call("fileReply", null);
      },
    };
  }

  /** The machine has ended; the debugger is told. */
  ended(exitCode: number): void {
    this.#ended = true;
    this.#listener?.ended(exitCode);
  }

  // --- Session

  async attach(listener: TargetListener): Promise<StopEvent> {
    const { port } = this.parts;
    if (!this.#described) {
      const { ranges } = await port.call("describe");
      for (const range of ranges) this.#bus.addMemory(range);
      this.#described = true;
    }
    const event = await port.call("attach");
    this.#listener = listener;
    this.#stopped = true;
    this.#nonStop = false;
    this.#running.clear();
    return event;
  }
  detach(context: number): Awaitable<void> {
    return this.parts.port.call("detach", context);
  }
  release(): Awaitable<void> {
    this.#listener = undefined;
    // Where the machine was, nobody answers.
    return this.#ended ? undefined : this.parts.port.call("release");
  }
  async restart(): Promise<StopEvent> {
    const event = await this.parts.port.call("restart");
    this.#stopped = true;
    return event;
  }
  async kill(context: number): Promise<Outcome> {
    if (context !== 1) return new Refusal("a virtual machine is the hypervisor's to end", ERRNO.EPERM);
    await this.restart();
    return;
  }

  // --- Contexts

  contexts(): readonly Context[] {
    const { area } = this;
    return area.places().map((place) => {
      const { id, vmid } = area.contexts[place]!, name = contextName(area, place);
      return { id, name, execFile: this.parts.symbols.nameFor(id, id === 1 ? null : vmid) };
    });
  }
  threads(context: number): readonly Thread[] {
    const { area } = this, place = area.places().find((n) => area.contexts[n]!.id === context);
    if (place === undefined) return [];
    const { threads, worlds } = area.contexts[place]!, name = contextName(area, place);
    return [...worlds.subarray(0, threads)].map((world) => {
      const { thread, cpu } = area.world(world);
      return {
        id: thread,
        name: `${name} vcpu ${thread - 1}`,
        state: stateOf(area, world),
        core: cpu >= 0 ? cpu : world < area.cpus ? world : 0,
      };
    }).sort((a, b) => a.id - b.id);
  }
  execFile(context: number): Awaitable<Uint8Array | null> {
    const { vmid } = this.area.context(context) ?? { vmid: -1 };
    return this.parts.symbols.bytesFor(context, context === 1 ? null : vmid);
  }

  // --- Registers

  registers(context: number): readonly RegisterDescription[] {
    return this.#registers[context === 1 ? 0 : 1];
  }
  #stands({ context, thread }: Place): boolean {
    return this.#nonStop ? !this.#running.has(`${context}.${thread}`) : this.#stopped;
  }
  /** The world of a stopped thread. */
  #world(place: Place): number | Refusal {
    const world = this.area.worldOf(place.context, place.thread);
    if (world < 0) return new Refusal(`there is no thread ${place.thread} in context ${place.context}`, ERRNO.EINVAL);
    return this.#stands(place) ? world : new Refusal("the vCPU is running", ERRNO.EACCES);
  }
  readGeneral(place: Place): Uint8Array | Refusal {
    const world = this.#world(place);
    if (world instanceof Refusal) return world;
    readGeneralInto(this.#memory.bank(world), this.#general);
    return this.#general;
  }
  readRegister(place: Place, number: number): Awaitable<Uint8Array | Refusal> {
    const range = generalRange(number), world = this.#world(place);
    if (world instanceof Refusal) return world;
    if (range === undefined) return this.#readSystem(place, number);
    const general = this.readGeneral(place);
    return general instanceof Refusal ? general : general.slice(range.at, range.at + range.bytes);
  }
  async #readSystem(place: Place, number: number): Promise<Uint8Array | Refusal> {
    const value = await this.parts.port.call("readSystem", place, number);
    return value instanceof Refusal ? value : new Uint8Array(BigUint64Array.of(value).buffer);
  }
  writeRegister(place: Place, number: number, value: Uint8Array): Awaitable<Outcome> {
    const world = this.#world(place);
    return world instanceof Refusal ? world : this.parts.port.call("writeRegister", place, number, value);
  }
  async writeGeneral(place: Place, values: Uint8Array): Promise<Outcome> {
    const before = this.readGeneral(place);
    if (before instanceof Refusal) return before;
    const old = before.slice();
    for (let number = 0; number < 68; number++) {
      const { at, bytes } = generalRange(number)!;
      if (values.subarray(at, at + bytes).every((byte, n) => byte === old[at + n])) continue;
      const outcome = await this.writeRegister(place, number, values.slice(at, at + bytes));
      if (outcome !== undefined) return outcome;
    }
    return;
  }

  // --- Memory

  readMemory(place: Place, space: AddressSpace, address: bigint, into: Uint8Array): number | Refusal {
    const world = this.area.worldOf(place.context, place.thread);
    if (world < 0) return new Refusal(`there is no thread ${place.thread} in context ${place.context}`, ERRNO.EINVAL);
    return this.#memory.read(world, space, address, into);
  }
  writeMemory(place: Place, space: AddressSpace, address: bigint, data: Uint8Array): Outcome {
    const world = this.area.worldOf(place.context, place.thread);
    if (world < 0) return new Refusal(`there is no thread ${place.thread} in context ${place.context}`, ERRNO.EINVAL);
    return this.#memory.write(world, space, address, data);
  }
  /** Addresses of a context are virtual: nothing can be said about them. */
  memoryMap(): readonly MemoryRegion[] {
    return [];
  }

  // --- Breakpoints and running

  insert(point: Breakpoint | Watchpoint): Awaitable<Outcome> {
    if (!this.#allStopped) return this.parts.port.call("insert", point);
    // Nothing runs before the next call, so that this needs no exchange of its own.
    const refusal = unfitPoint(point);
    if (refusal === undefined) this.parts.port.post("insert", point);
    return refusal;
  }
  remove(id: number): Awaitable<void> {
    if (!this.#allStopped) return this.parts.port.call("remove", id);
    this.parts.port.post("remove", id);
  }
  get #allStopped(): boolean {
    return this.#stopped && !this.#nonStop;
  }
  insertCatch(point: Catchpoint): Awaitable<Outcome> {
    return this.parts.port.call("insertCatch", point);
  }
  removeCatch(id: number): Awaitable<void> {
    return this.parts.port.call("removeCatch", id);
  }
  async resume(resumptions: readonly Resumption[], stopsAtNew = false): Promise<Outcome> {
    // Before the call: the stop may come before its answer.
    if (this.#nonStop) this.#noteRunning(resumptions);
    this.#stopped = false;
    const outcome = await this.parts.port.call("resume", resumptions, stopsAtNew);
    if (outcome !== undefined) this.#stopped = true;
    else if (!this.#stopped) this.parts.spin?.();
    return outcome;
  }
  #noteRunning(resumptions: readonly Resumption[]): void {
    for (const { id } of this.contexts()) {
      for (const thread of this.threads(id)) {
        const place = { context: id, thread: thread.id };
        const action = resumptions.find((r) =>
          (r.context === null || r.context === id) && (r.thread === null || r.thread === thread.id)
        )?.action;
        if (action !== undefined && action.kind !== "stop") this.#running.add(`${place.context}.${place.thread}`);
      }
    }
  }
  interrupt(place: Place | null): Awaitable<void> {
    return this.parts.port.call("interrupt", place);
  }
  async setNonStop(on: boolean): Promise<Outcome> {
    const outcome = await this.parts.port.call("setNonStop", on);
    if (outcome === undefined) {
      this.#nonStop = on;
      this.#running.clear();
    }
    return outcome;
  }
  fileReply(_place: Place, reply: FileReply): Awaitable<void> {
    return this.parts.port.call("fileReply", reply);
  }
}
