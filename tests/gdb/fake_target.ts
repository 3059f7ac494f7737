// A machine for the stub's tests, without instructions: in every context pc walks in a circle of 64 bytes, x0 counts the
// steps of the thread, and at one address of the circle the count is stored. Contexts take turns, an instruction each.
// Memory is a sparse map of pages per context, so that the same address can hold different bytes.

import { AARCH64_REGISTERS, GENERAL_BYTES } from "../../gdbstub/aarch64_registers.ts";
import { AgentExpression, parseAgentExpression } from "../../gdbstub/agent_expression.ts";
import {
  type Action,
  actionFor,
  type AddressSpace,
  type Breakpoint,
  type Catchpoint,
  type Context,
  ERRNO,
  type FileReply,
  type FileRequest,
  type MonitorCommand,
  type OsTable,
  type Outcome,
  type Place,
  Refusal,
  type RegisterDescription,
  type Resumption,
  SIGNAL,
  type StopEvent,
  type StopReason,
  type Target,
  type TargetListener,
  type Thread,
  type Watchpoint,
} from "../../gdbstub/target.ts";

const PAGE = 4096;
const LOOP_BYTES = 64n;
/** Offset in the circle where x0 is stored at FakeContext.counter. */
const STORE_AT = 32n;
const BATCH = 200;

export class FakeContext implements Context {
  readonly pages = new Map<bigint, Uint8Array>();
  readonly general: Uint8Array[] = [];
  /** Where the counter is stored. */
  counter: bigint;
  exec: Uint8Array | null = null;

  constructor(
    readonly id: number,
    readonly name: string,
    public execFile: string | null,
    readonly start: bigint,
    threads = 1,
  ) {
    this.counter = start + 0x8000n;
    for (let i = 0; i < threads; i++) {
      this.general.push(new Uint8Array(GENERAL_BYTES));
      this.setPc(i, start);
    }
  }

  view(thread: number): DataView {
    return new DataView(this.general[thread]!.buffer);
  }
  pc(thread: number): bigint {
    return this.view(thread).getBigUint64(32 * 8, true);
  }
  setPc(thread: number, pc: bigint): void {
    this.view(thread).setBigUint64(32 * 8, pc, true);
  }

  map(start: bigint, bytes: number): void {
    for (let at = start / 4096n; at <= (start + BigInt(bytes) - 1n) / 4096n; at++) {
      if (!this.pages.has(at)) this.pages.set(at, new Uint8Array(PAGE));
    }
  }

  /** How many bytes could be moved. */
  move(address: bigint, data: Uint8Array, write: boolean): number {
    let done = 0;
    while (done < data.length) {
      const at = BigInt.asUintN(64, address + BigInt(done)),
        page = this.pages.get(at / 4096n),
        from = Number(at % 4096n);
      if (page === undefined) break;
      const count = Math.min(PAGE - from, data.length - done);
      if (write) page.set(data.subarray(done, done + count), from);
      else data.set(page.subarray(from, from + count), done);
      done += count;
    }
    return done;
  }
}

/** Another virtual machine with the same memory contents. */
export function copyOf(context: FakeContext, id: number): FakeContext {
  const copy = new FakeContext(id, `vm ${id - 1}`, context.execFile, context.start);
  for (const [at, page] of context.pages) copy.pages.set(at, page.slice());
  copy.exec = context.exec;
  return copy;
}

const SYSTEM = "vitrine.system";
/** System registers of the fake: two with fields, one that is read-only. */
export const SYSTEM_REGISTERS: readonly RegisterDescription[] = [
  {
    number: 68,
    name: "HCR_EL2",
    bits: 64,
    feature: SYSTEM,
    group: "virtualization",
    type: {
      kind: "fields",
      fields: [
        { name: "VM", lsb: 0, width: 1 },
        { name: "FMO", lsb: 3, width: 1 },
        { name: "IMO", lsb: 4, width: 1 },
        { name: "BSU", lsb: 10, width: 2 },
        { name: "RW", lsb: 31, width: 1 },
      ],
    },
    writable: true,
    general: false,
  },
  {
    number: 69,
    name: "ESR_EL2",
    bits: 64,
    feature: SYSTEM,
    group: "exception",
    type: {
      kind: "fields",
      fields: [
        { name: "ISS", lsb: 0, width: 25 },
        { name: "IL", lsb: 25, width: 1 },
        { name: "EC", lsb: 26, width: 6, values: { HVC64: 0x16, DABT_LOWER: 0x24 } },
      ],
    },
    writable: true,
    general: false,
  },
  {
    number: 70,
    name: "MIDR_EL1",
    bits: 64,
    feature: SYSTEM,
    group: "identification",
    type: { kind: "int" },
    writable: false,
    general: false,
  },
];

export class FakeTarget implements Target {
  readonly list: FakeContext[];
  listener: TargetListener | null = null;
  readonly points = new Map<
    number,
    { point: Breakpoint | Watchpoint; conditions: AgentExpression[]; commands: AgentExpression[] }
  >();
  readonly catches = new Map<number, Catchpoint>();
  readonly system = new Map<number, bigint>([[68, 0x80000019n], [69, 0x92000007n], [70, 0x410fd0b1n]]);
  readonly log: string[] = [];
  attachments = 0;
  nonStop = false;
  /** What an exit of the machine will do: kinds of file replies, for the tests. */
  readonly fileReplies: FileReply[] = [];
  lastSpace: AddressSpace = "auto";
  lastAction: Action | null = null;
  #running = new Map<string, Action>();
  #allRunning: readonly Resumption[] | null = null;
  #interrupted = false;
  #fileCall: Place | null = null;
  #looping = false;

  constructor(contexts: FakeContext[]) {
    this.list = contexts;
    for (const context of contexts) {
      context.map(context.start, Number(LOOP_BYTES));
      context.map(context.counter, 8);
    }
  }

  // Session

  attach(listener: TargetListener): StopEvent {
    if (this.listener !== null) throw new Error("attached twice");
    this.attachments++;
    this.listener = listener;
    this.#allRunning = null;
    return { context: 1, thread: 1, reason: { kind: "signal", signal: SIGNAL.TRAP } };
  }
  detach(context: number): void {
    this.log.push(`detach ${context}`);
    for (const [id, { point }] of this.points) if (point.context === context) this.points.delete(id);
  }
  release(): void {
    this.log.push("release");
    this.listener = null;
    this.points.clear();
    this.catches.clear();
    this.nonStop = false;
    this.#running.clear();
    this.#allRunning = null;
  }
  restart(): Promise<StopEvent> {
    this.log.push("restart");
    for (const context of this.list) context.general.forEach((_, i) => context.setPc(i, context.start));
    return Promise.resolve({ context: 1, thread: 1, reason: { kind: "signal", signal: SIGNAL.TRAP } });
  }
  kill(context: number): Outcome {
    if (context !== 1) return new Refusal("a virtual machine is the hypervisor's to end", ERRNO.EPERM);
    this.log.push("kill");
    while (this.list.length > 1) this.vanish(this.list.at(-1)!.id);
    return undefined;
  }

  // Contexts

  contexts(): readonly FakeContext[] {
    return this.list;
  }
  #context(id: number): FakeContext | undefined {
    return this.list.find((context) => context.id === id);
  }
  threads(id: number): readonly Thread[] {
    const context = this.#context(id);
    return (context?.general ?? []).map((_, i) => ({
      id: i + 1,
      name: `${context!.name} vcpu ${i}`,
      state: id === 1 ? "running at EL2" : "descheduled, exit WFx at EL1",
      core: i,
    }));
  }
  execFile(id: number): Promise<Uint8Array | null> {
    return Promise.resolve(this.#context(id)?.exec ?? null);
  }

  // Registers

  registers(): readonly RegisterDescription[] {
    return [...AARCH64_REGISTERS, ...SYSTEM_REGISTERS];
  }
  #general(place: Place): Uint8Array | Refusal {
    return this.#context(place.context)?.general[place.thread - 1] ?? new Refusal("no such vCPU");
  }
  #slice(number: number): [number, number] {
    if (number < 33) return [number * 8, 8];
    if (number === 33) return [264, 4];
    return number < 66 ? [268 + (number - 34) * 16, 16] : [780 + (number - 66) * 4, 4];
  }
  readRegister(place: Place, number: number): Uint8Array | Refusal {
    const system = this.system.get(number);
    if (system !== undefined) return new Uint8Array(BigUint64Array.of(system).buffer);
    const general = this.#general(place);
    if (general instanceof Refusal) return general;
    if (number > 67) return new Refusal(`there is no register ${number}`);
    const [at, size] = this.#slice(number);
    return general.slice(at, at + size);
  }
  writeRegister(place: Place, number: number, value: Uint8Array): Outcome {
    if (this.system.has(number)) {
      this.system.set(number, new DataView(value.slice().buffer).getBigUint64(0, true));
      return undefined;
    }
    const general = this.#general(place);
    if (general instanceof Refusal) return general;
    general.set(value, this.#slice(number)[0]);
    return undefined;
  }
  readGeneral(place: Place): Uint8Array | Refusal {
    return this.#general(place);
  }
  writeGeneral(place: Place, values: Uint8Array): Outcome {
    const general = this.#general(place);
    if (general instanceof Refusal) return general;
    general.set(values);
    return undefined;
  }

  // Memory

  readMemory(place: Place, space: AddressSpace, address: bigint, into: Uint8Array): number | Refusal {
    this.lastSpace = space;
    const count = this.#context(place.context)?.move(address, into, false) ?? 0;
    return count === 0 ? new Refusal(`nothing is mapped at 0x${address.toString(16)}`) : count;
  }
  async writeMemory(place: Place, _: AddressSpace, address: bigint, data: Uint8Array): Promise<Outcome> {
    await Promise.resolve();
    const context = this.#context(place.context);
    if (context?.move(address, data.slice(), false) !== data.length) return new Refusal("not mapped");
    context.move(address, data, true);
    return undefined;
  }
  memoryMap() {
    return [{ kind: "rom" as const, start: 0n, length: 0x0800_0000n }];
  }

  // Breakpoints

  insert(point: Breakpoint | Watchpoint): Outcome {
    const parse = (codes: readonly Uint8Array[]) =>
      codes.map((code) => parseAgentExpression(code)).filter((e) => e instanceof AgentExpression);
    const parsed = "conditions" in point
      ? { conditions: parse(point.conditions), commands: parse(point.commands) }
      : { conditions: [], commands: [] };
    this.points.set(point.id, { point: structuredClone(point), ...parsed });
    return undefined;
  }
  remove(id: number): void {
    this.points.delete(id);
  }
  readonly catchClasses = { exit: ["hvc", "wfx"], enter: [], exception: ["svc", "hvc"], eret: [] };
  insertCatch(point: Catchpoint): Outcome {
    this.catches.set(point.id, point);
    return undefined;
  }
  removeCatch(id: number): void {
    this.catches.delete(id);
  }

  // Running

  resume(resumptions: readonly Resumption[]): Outcome {
    if (resumptions.length === 0) return new Refusal("nothing to resume", ERRNO.EINVAL);
    this.lastAction = resumptions[0]!.action;
    if (this.nonStop) {
      for (const { context, thread, action } of resumptions) {
        const key = `${context}.${thread}`, place = { context: context!, thread: thread! };
        if (action.kind === "stop") {
          if (this.#running.delete(key)) {
            setTimeout(() => this.#tell(place, { kind: "signal", signal: SIGNAL.NONE }), 0);
          }
        } else this.#running.set(key, action);
      }
    } else this.#allRunning = resumptions;
    this.#start();
    return undefined;
  }
  interrupt(): void {
    this.#interrupted = true;
  }
  setNonStop(on: boolean): Outcome {
    this.nonStop = on;
    return undefined;
  }
  fileReply(place: Place, reply: FileReply): void {
    this.fileReplies.push(reply);
    this.#fileCall = null;
    this.log.push(`file ${place.context} ${reply.result}`);
  }

  readonly commands: readonly MonitorCommand[] = [
    { name: "info contexts", args: "", help: "contexts", run: () => this.list.map(({ name }) => name).join("\n") },
    { name: "info exits", args: "", help: "counted exits", run: () => Promise.resolve("none") },
    {
      name: "walk",
      args: "[CONTEXT] VA",
      help: "a walk",
      run: (args) => args === "" ? new Refusal("walk takes an address") : `walk of ${args}`,
    },
    {
      name: "vanish",
      args: "CONTEXT MS",
      help: "lets a virtual machine end a little later",
      run: (args) => this.#later(args, (id) => this.vanish(id)),
    },
    {
      name: "appear",
      args: "CONTEXT MS",
      help: "lets a virtual machine begin a little later",
      run: (args) => this.#later(args, (id) => this.appear(copyOf(this.list.at(-1)!, id))),
    },
    {
      name: "flood",
      args: "",
      help: "writes until it is interrupted",
      async run(_, call) {
        let lines = 0;
        while (!call.cancelled) {
          call.write(`line ${lines++}\n`);
          await new Promise((resolve) => setTimeout(resolve, 0));
        }
        return "stopped";
      },
    },
    { name: "large", args: "", help: "much text", run: () => "x".repeat(300_000) },
  ];
  readonly osTables: readonly OsTable[] = [{
    name: "contexts",
    title: "Contexts",
    description: "The hypervisor & its <guests>",
    columns: ["id", "name"],
    rows: () => this.list.map(({ id, name }) => [`${id}`, name]),
  }];

  // What tests make happen

  #later(args: string, what: (id: number) => void): string {
    const [id, ms] = args.split(" ").map(Number);
    setTimeout(() => what(id!), ms);
    return "";
  }

  /** A virtual machine comes while the machine runs. */
  appear(context: FakeContext): void {
    this.list.push(context);
    this.listener?.contextAppeared(context);
  }
  vanish(id: number): void {
    this.list.splice(this.list.findIndex((context) => context.id === id), 1);
    this.listener?.contextGone(id);
  }
  /** A semihosting call of the guest: the machine waits for its reply. */
  call(place: Place, request: FileRequest): boolean {
    const taken = this.listener?.fileRequest(place, request) ?? false;
    if (taken) this.#fileCall = place;
    return taken;
  }

  #tell(place: Place, reason: StopReason, text?: string): void {
    const event = { context: place.context, thread: place.thread, reason };
    this.listener?.stopped(text === undefined ? event : { ...event, text });
  }

  #start(): void {
    if (this.#looping) return;
    this.#looping = true;
    this.#loop().finally(() => this.#looping = false);
  }

  get #active(): boolean {
    return this.nonStop ? this.#running.size > 0 : this.#allRunning !== null;
  }

  async #loop(): Promise<void> {
    while (this.#active) {
      await new Promise((resolve) => setTimeout(resolve, 0));
      if (this.#fileCall !== null) continue;
      for (let i = 0; i < BATCH && this.#active; i++) this.#turn();
      if (this.#interrupted && this.#active) this.#interrupt();
      this.#interrupted = false;
    }
  }

  #interrupt(): void {
    if (this.nonStop) {
      for (const key of [...this.#running.keys()]) {
        this.#running.delete(key);
        const [context, thread] = key.split(".").map(Number);
        this.#tell({ context: context!, thread: thread! }, { kind: "signal", signal: SIGNAL.INT });
      }
      return;
    }
    this.#allRunning = null;
    this.#tell({ context: 1, thread: 1 }, { kind: "signal", signal: SIGNAL.INT });
  }

  #turn(): void {
    for (const context of this.list) {
      for (let i = 0; i < context.general.length; i++) {
        const place = { context: context.id, thread: i + 1 }, key = `${place.context}.${place.thread}`;
        const action = this.nonStop
          ? this.#running.get(key)
          : actionFor(this.#allRunning ?? [], place) ?? { kind: "continue" as const };
        if (!this.#active) return;
        if (action === undefined) continue;
        const reason = this.#step(context, i, place, action);
        if (reason === null) continue;
        if (this.nonStop) this.#running.delete(key);
        else this.#allRunning = null;
        this.#tell(place, reason, reason.kind === "hwbreak" ? `${context.name}: at a hardware breakpoint` : undefined);
      }
    }
  }

  #step(context: FakeContext, thread: number, place: Place, action: Action): StopReason | null {
    const view = context.view(thread), pc = context.pc(thread);
    const x0 = view.getBigUint64(0, true);
    let reason: StopReason | null = null;
    if (pc - context.start === STORE_AT) {
      context.move(context.counter, new Uint8Array(BigUint64Array.of(x0).buffer), true);
      reason = this.#watched(context);
    }
    view.setBigUint64(0, x0 + 1n, true);
    const inLoop = pc >= context.start && pc < context.start + LOOP_BYTES;
    const next = inLoop ? context.start + (pc + 4n - context.start) % LOOP_BYTES : context.start;
    context.setPc(thread, next);
    if (reason !== null) return reason;
    if (action.kind === "step") return { kind: "signal", signal: SIGNAL.TRAP };
    if (action.kind === "range" && !(next >= action.start && next < action.end)) {
      return { kind: "signal", signal: SIGNAL.TRAP };
    }
    return this.#breakpoint(context, place, next);
  }

  #watched(context: FakeContext): StopReason | null {
    for (const { point } of this.points.values()) {
      if (point.context !== context.id || !("length" in point) || point.kind === "read") continue;
      const first = point.address > context.counter ? point.address : context.counter;
      if (first < point.address + BigInt(point.length) && first < context.counter + 8n) {
        return { kind: point.kind === "write" ? "watch" : "awatch", address: first };
      }
    }
    return null;
  }

  #breakpoint(context: FakeContext, place: Place, pc: bigint): StopReason | null {
    for (const { point, conditions, commands } of this.points.values()) {
      if (point.context !== context.id || point.address !== pc || !("conditions" in point)) continue;
      const machine = {
        register: (number: number) => {
          const value = this.readRegister(place, number);
          return value instanceof Refusal || value.length !== 8
            ? undefined
            : new DataView(value.buffer).getBigUint64(0, true);
        },
        memory: (address: bigint, bytes: number) => {
          const data = new Uint8Array(8);
          if (context.move(address, data.subarray(0, bytes), false) !== bytes) return undefined;
          return new DataView(data.buffer).getBigUint64(0, true);
        },
        print: (text: string) => this.listener?.output(text),
      };
      const holds = conditions.length === 0 || conditions.some((e) => e.evaluate(machine) !== 0n);
      if (!holds) continue;
      if (commands.length === 0) return { kind: point.kind === "software" ? "swbreak" : "hwbreak" };
      for (const command of commands) command.evaluate(machine);
    }
    return null;
  }
}

/** The hypervisor and two guests at one virtual address, as the demo guest has them but with our own bytes. */
export function threeContexts(): FakeTarget {
  const hypervisor = new FakeContext(1, "hypervisor", "hypervisor.elf", 0x40200000n, 2);
  const guests = [2, 3].map((id) => new FakeContext(id, `vm ${id - 1}`, `guest_${id}.elf`, 0xffffff8040000000n));
  const target = new FakeTarget([hypervisor, ...guests]);
  for (const context of target.list) {
    context.exec = new TextEncoder().encode(`ELF of ${context.name}`);
    context.map(context.start, 0x10000);
    context.move(context.start + 0x1000n, Uint8Array.from({ length: 4096 }, (_, i) => i * context.id & 0xff), true);
  }
  return target;
}
