// How the debugger's two halves reach each other: calls from the stub's side, events from the machine's. In one thread for
// tests and tools that own their machine; between the daemon and the machine's Worker through rings.

import { sharedNowMs } from "../../base/clock.ts";
import type { ByteRing } from "../../base/ring.ts";
import type { Awaitable, Place, StopEvent } from "../../../gdbstub/target.ts";
import type { ControlEvents, DebugControl } from "./control.ts";
import { frame, MessageReader } from "./wire.ts";

/** The calls that the machine's half answers, by name, with their arguments and results as plain data. */
export interface Calls {
  describe(): Description;
  attach(): StopEvent;
  detach: DebugControl["detach"];
  release: DebugControl["release"];
  restart: DebugControl["restart"];
  insert: DebugControl["insert"];
  remove: DebugControl["remove"];
  insertCatch: DebugControl["insertCatch"];
  removeCatch: DebugControl["removeCatch"];
  resume: DebugControl["resume"];
  interrupt: DebugControl["interrupt"];
  setNonStop: DebugControl["setNonStop"];
  readSystem: DebugControl["readSystem"];
  writeRegister: DebugControl["writeRegister"];
  command: DebugControl["command"];
  table: DebugControl["table"];
  fileReply: DebugControl["fileReply"];
}
export type CallName = keyof Calls;

/** What the stub's half must know of the machine. */
export interface Description {
  readonly ranges: readonly {
    readonly name: string;
    readonly base: number;
    readonly size: number;
    readonly host: number;
    readonly writable: boolean;
  }[];
}

/** The stub's end. */
export interface Port {
  call<K extends CallName>(name: K, ...args: Parameters<Calls[K]>): Awaitable<ReturnType<Calls[K]>>;
  /** A call whose result does not matter, and which may wait for the next one that does. */
  post<K extends CallName>(name: K, ...args: Parameters<Calls[K]>): void;
  /** Who is told of events. */
  listener: ControlEvents | undefined;
}

/** Carries out a call. */
export function answer(control: DebugControl, events: ControlEvents, name: string, args: readonly unknown[]): unknown {
  switch (name) {
    case "describe":
      return {
        ranges: control.machine.bus.ranges.map(({ name, base, size, host, writable }) => ({
          name,
          base,
          size,
          host,
          writable,
        })),
      };
    case "attach":
      return control.attach(events);
  }
  const call = control[name as Exclude<CallName, "describe" | "attach">] as (...args: readonly unknown[]) => unknown;
  return call.call(control, ...args);
}

/** Both ends in one thread. */
export class LocalPort implements Port {
  listener: ControlEvents | undefined;
  readonly #events: ControlEvents = {
    stopped: (event) => this.listener?.stopped(event),
    appeared: (context) => this.listener?.appeared(context),
    gone: (context) => this.listener?.gone(context),
    output: (text) => this.listener?.output(text),
    fileRequest: (asked) => this.listener?.fileRequest(asked),
  };
  constructor(readonly control: DebugControl) {}
  call<K extends CallName>(name: K, ...args: Parameters<Calls[K]>): ReturnType<Calls[K]> {
    return answer(this.control, this.#events, name, args) as ReturnType<Calls[K]>;
  }
  post<K extends CallName>(name: K, ...args: Parameters<Calls[K]>): void {
    this.call(name, ...args);
  }
}

/** In place of a call's number: no answer is wanted. */
const POSTED = -1;

function joined(before: Uint8Array, after: Uint8Array): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(before.length + after.length);
  all.set(before);
  all.set(after, before.length);
  return all;
}

type Message =
  | { readonly call: string; readonly number: number; readonly args: readonly unknown[] }
  | { readonly number: number; readonly result: unknown }
  | { readonly event: keyof ControlEvents; readonly about: unknown };

/** The machine's end of the rings. */
export class MachinePort {
  readonly #reader: MessageReader;
  readonly #events: ControlEvents = {
    stopped: (event) => this.#tell("stopped", event),
    appeared: (context) => this.#tell("appeared", context),
    gone: (context) => this.#tell("gone", context),
    output: (text) => this.#tell("output", text),
    fileRequest: (asked) => this.#tell("fileRequest", asked),
  };

  /** An answer that is sent with what comes next. */
  #held: Uint8Array<ArrayBuffer> | undefined;

  constructor(
    readonly control: DebugControl,
    commands: ByteRing,
    /** Writes all of it to the other side, and rings. */
    readonly send: (bytes: Uint8Array) => void,
  ) {
    this.#reader = new MessageReader(commands);
  }

  /** Whether something has been asked for. */
  get waiting(): boolean {
    return this.#reader.ring.length > 0;
  }

  /** Between slices: carries out what was asked for. */
  service(): void {
    for (let message = this.#reader.take(); message !== undefined; message = this.#reader.take()) {
      const { call, number, args } = message as Extract<Message, { call: string }>;
      const result = answer(this.control, this.#events, call, args);
      if (number === POSTED) continue;
      // JSON has no undefined.
      const reply = frame({ number, result: result ?? null });
      // A step ends within the slice that begins now: one awakening of the other thread is enough for both.
      if (call === "resume" && this.control.run.running) this.#held = reply;
      else this.#send(reply);
    }
  }
  /** After a slice: what has been held back is sent. */
  flush(): void {
    if (this.#held !== undefined) this.#send(new Uint8Array(0));
  }
  #send(bytes: Uint8Array<ArrayBuffer>): void {
    const held = this.#held;
    this.#held = undefined;
    this.send(held === undefined ? bytes : joined(held, bytes));
  }
  #tell(event: keyof ControlEvents, about: unknown): void {
    this.#send(frame({ event, about }));
  }
}

/** The daemon waits for an answer for this long before it does other things, and looks all the time at first. */
const PATIENCE_MS = 1, SPIN_MS = 0.1;

/** The daemon's end of the rings. */
export class DaemonPort implements Port {
  listener: ControlEvents | undefined;
  readonly #reader: MessageReader;
  readonly #waiting = new Map<number, (result: unknown) => void>();
  #unsent: Uint8Array = new Uint8Array(0);
  #number = 0;
  /** Events that came while an answer was looked for. */
  readonly #events: (() => void)[] = [];

  /** `looking` are words of the shared memory: see LOOKING. */
  constructor(
    replies: ByteRing,
    readonly commands: ByteRing,
    readonly looking: Int32Array,
    readonly ask: () => void,
  ) {
    this.#reader = new MessageReader(replies);
  }

  call<K extends CallName>(name: K, ...args: Parameters<Calls[K]>): Promise<ReturnType<Calls[K]>> {
    const number = this.#number++;
    const result = new Promise<unknown>((resolve) => this.#waiting.set(number, resolve));
    const message = frame({ call: name, number, args });
    this.#look(() => this.#waiting.has(number), () => this.#send(message));
    return result as Promise<ReturnType<Calls[K]>>;
  }
  post<K extends CallName>(name: K, ...args: Parameters<Calls[K]>): void {
    this.#unsent = joined(this.#unsent, frame({ call: name, number: POSTED, args }));
  }
  /**
   * Looks for messages while `wanted`, for a moment in which this thread does nothing else: most come within some
   * microseconds. Where cores are few, others need to run; so it soon sleeps, which takes a fraction of what a promise does.
   */
  #look(wanted: () => boolean, first: () => void): void {
    const { looking } = this;
    Atomics.store(looking, 0, 1);
    first();
    const start = sharedNowMs();
    while (wanted()) {
      const seen = Atomics.load(looking, 1);
      this.#receive();
      const passedMs = sharedNowMs() - start;
      if (!wanted() || passedMs > PATIENCE_MS) break;
      if (passedMs > SPIN_MS) Atomics.wait(looking, 1, seen, PATIENCE_MS - passedMs);
    }
    Atomics.store(looking, 0, 0);
    // What came just before has not been rung for.
    this.#receive();
    if (this.#events.length > 0) queueMicrotask(() => this.#tell());
  }
  #send(bytes: Uint8Array): void {
    const all = joined(this.#unsent, bytes);
    this.#unsent = all.subarray(this.commands.write(all));
    this.ask();
  }
  #receive(): void {
    for (let message = this.#reader.take(); message !== undefined; message = this.#reader.take()) {
      const { number, result, event, about } = message as { number: number; result: unknown } & {
        event?: keyof ControlEvents;
        about: never;
      };
      if (event !== undefined) this.#events.push(() => this.listener?.[event](about));
      else {
        this.#waiting.get(number)?.(result ?? undefined);
        this.#waiting.delete(number);
      }
    }
  }
  #tell(): void {
    for (let event = this.#events.shift(); event !== undefined; event = this.#events.shift()) event();
  }

  // As a pump of the daemon's loop:

  get idle(): boolean {
    return this.#reader.ring.length === 0 && (this.#unsent.length === 0 || this.commands.space === 0);
  }
  service(): void {
    if (this.#unsent.length > 0) this.#send(new Uint8Array(0));
    this.#receive();
    this.#tell();
  }
  /** After resuming: a step ends so soon that looking for its end is faster than waiting for the bell. */
  spin(): void {
    this.#look(() => this.#events.length === 0, () => {});
  }
}
export type { Place };
