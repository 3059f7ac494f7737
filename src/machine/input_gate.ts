// The one way into a machine for what happens outside: console bytes and requests. The gate lets them in as they come, or
// writes each down with its moment, or brings them back from a log and says where the run is not the one that was recorded.

import type { InputGate as FrameGate } from "../../devices/net/input.ts";
import { assert, HostError } from "../base/errors.ts";
import { REQUEST } from "./channel.ts";
import {
  END_REASON,
  EVENT,
  type EventKind,
  type InputLog,
  type LogEvent,
  type LogWriter,
  type Moment,
} from "./input_log.ts";
import type { Machine } from "./machine.ts";
import { memoryHash, registerHashes } from "./state_hash.ts";

/** Instructions between two checkpoints of a log: some 20 ms. */
const CHECKPOINT_INSTRUCTIONS = 1 << 23;

export type EndReason = keyof typeof END_REASON;

export interface InputGate extends FrameGate {
  /** The machine that the input is for; before anything else. */
  attach(machine: Machine): void;
  /** Between slices, first of all. */
  boundary(): void;
  /** The REQUEST bits to act on, of those that the host asks for. */
  requests(asked: number): number;
  /** The next byte for UART `port`, -1 when there is none now. `host` takes one from outside. */
  console(port: number, host: () => number): number;
  /**
   * All vCPUs wait, and `skippedNs` will be `dueNs` (or Infinity) when a timer is due: up to where time passes now. Null
   * when input comes from outside, so that it must be waited for.
   */
  waiting(dueNs: number): number | null;
  /** The run has ended. */
  end(reason: EndReason): void;
}

/** Input as it comes. */
export class LiveGate implements InputGate {
  readonly replaying = false;
  attach(): void {}
  boundary(): void {}
  requests(asked: number): number {
    return asked;
  }
  console(_port: number, host: () => number): number {
    return host();
  }
  frame(_port: number, host: () => Uint8Array | null): Uint8Array | null {
    return host();
  }
  frameTaken(_port: number, host: () => void): void {
    host();
  }
  waiting(): null {
    return null;
  }
  end(): void {}
}

const bytesOf = (hashes: readonly number[]) => new Uint8Array(Uint32Array.from(hashes).buffer);
const endPayload = (machine: Machine, reason: EndReason) =>
  Uint8Array.of(END_REASON[reason], ...new TextEncoder().encode(memoryHash(machine)));
const momentOf = ({ scheduler: { state: { retired, skippedNs } } }: Machine) => ({ retired, skippedNs });

/** Input as it comes, written down. */
export class RecordingGate implements InputGate {
  readonly replaying = false;
  #machine!: Machine;
  #nextCheckpoint = 0;
  /** A port and bytes that it took at one moment. */
  #bytes: number[] = [];
  #moment: Moment = { retired: 0, skippedNs: 0 };
  /** The record that was looked at last. */
  #frame: Uint8Array | null = null;

  constructor(readonly log: LogWriter, readonly checkpointInstructions: number = CHECKPOINT_INSTRUCTIONS) {}

  attach(machine: Machine): void {
    this.#machine = machine;
  }

  boundary(): void {
    this.#flush();
    const { retired } = this.#machine.scheduler.state;
    if (retired < this.#nextCheckpoint) return;
    this.#nextCheckpoint = retired + this.checkpointInstructions;
    this.#write(EVENT.CHECKPOINT, bytesOf(registerHashes(this.#machine)));
  }

  requests(asked: number): number {
    const logged = asked & REQUEST.RESET;
    if (logged !== 0) this.#write(EVENT.REQUEST, Uint8Array.of(logged));
    return asked;
  }

  console(port: number, host: () => number): number {
    const byte = host();
    if (byte < 0) return byte;
    if (this.#bytes[0] !== port) this.#flush();
    if (this.#bytes.length === 0) {
      this.#moment = momentOf(this.#machine);
      this.#bytes.push(port);
    }
    this.#bytes.push(byte);
    return byte;
  }

  frame(_port: number, host: () => Uint8Array | null): Uint8Array | null {
    return this.#frame = host();
  }
  frameTaken(port: number, host: () => void): void {
    assert(this.#frame !== null, "a record was looked at before it is taken");
    const payload = new Uint8Array(1 + this.#frame.length);
    payload[0] = port;
    payload.set(this.#frame, 1);
    this.#write(EVENT.FRAME, payload);
    this.#frame = null;
    host();
  }

  waiting(): null {
    return null;
  }

  end(reason: EndReason): void {
    this.#write(EVENT.END, endPayload(this.#machine, reason));
  }

  /** Writes the bytes down with the moment at which they were taken: that is before the slice that has run since. */
  #flush(): void {
    if (this.#bytes.length === 0) return;
    this.log.write({ kind: EVENT.CONSOLE, ...this.#moment, payload: Uint8Array.from(this.#bytes) });
    this.#bytes = [];
  }
  #write(kind: EventKind, payload: Uint8Array): void {
    this.#flush();
    this.log.write({ kind, ...momentOf(this.#machine), payload });
  }
}

/** Input from a log; the host is asked only to stop, continue and quit. */
export class ReplayingGate implements InputGate {
  readonly replaying = true;
  #machine!: Machine;
  #next = 0;
  /** Bytes of the current console event that were delivered, its port included. */
  #taken = 0;
  /** The event that the machine waited for when it last waited. */
  #waitedFor = -1;
  /** Where the runs were last found to be the same. */
  #agreedAt = 0;

  constructor(readonly name: string, readonly log: InputLog) {}

  attach(machine: Machine): void {
    this.#machine = machine;
  }

  boundary(): void {
    const now = momentOf(this.#machine), event = this.#event;
    if (event.retired < now.retired || (event.retired === now.retired && event.skippedNs < now.skippedNs)) {
      this.#diverged(`${NAMES[event.kind]} is due at instruction ${event.retired}, which was passed over`);
    }
    if (event.kind !== EVENT.CHECKPOINT || !this.#isDue(event)) return;
    const { vcpus } = this.#machine, hashes = new Uint32Array(event.payload.slice().buffer);
    const differs = registerHashes(this.#machine).flatMap((hash, n) =>
      hash === hashes[n] ? [] : [n < vcpus.length ? `the registers of CPU ${n}` : "the devices"]
    );
    if (differs.length > 0) this.#diverged(`${differs.join(" and ")} differ at instruction ${now.retired}`);
    this.#agreedAt = now.retired;
    this.#next++;
  }

  requests(asked: number): number {
    let bits = asked & ~REQUEST.RESET;
    const event = this.#event;
    if (this.#isDue(event)) {
      if (event.kind === EVENT.REQUEST) {
        bits |= event.payload[0]! | REQUEST.CONTINUE;
        this.#next++;
      } else if (event.kind === EVENT.END && event.payload[0] === END_REASON.QUIT) bits |= REQUEST.QUIT;
    }
    return bits;
  }

  console(port: number, _host: () => number): number {
    const event = this.#event;
    if (event.kind !== EVENT.CONSOLE || !this.#isDue(event) || event.payload[0] !== port) return -1;
    const byte = event.payload[1 + this.#taken++];
    assert(byte !== undefined, "a console event has bytes left");
    if (this.#taken === event.payload.length - 1) {
      this.#next++;
      this.#taken = 0;
    }
    return byte;
  }

  frame(port: number): Uint8Array | null {
    const event = this.#event;
    if (event.kind !== EVENT.FRAME || !this.#isDue(event) || event.payload[0] !== port) return null;
    return event.payload.subarray(1);
  }
  frameTaken(): void {
    this.#next++;
  }

  waiting(dueNs: number): number {
    const { retired, skippedNs } = momentOf(this.#machine), event = this.#event;
    if (event.retired === retired && event.skippedNs <= dueNs) {
      if (event.skippedNs === skippedNs && this.#waitedFor === this.#next) {
        this.#diverged(`${NAMES[event.kind]} is not taken at instruction ${retired}`);
      }
      this.#waitedFor = this.#next;
      return event.skippedNs;
    }
    if (dueNs === Infinity) {
      this.#diverged(`all CPUs wait at instruction ${retired}, with ${NAMES[event.kind]} due at ${event.retired}`);
    }
    return dueNs;
  }

  end(reason: EndReason): void {
    const event = this.#event, { retired } = this.#machine.scheduler.state;
    // Whoever looks on may leave before the end.
    if (event.kind !== EVENT.END && reason === "QUIT") return;
    if (event.kind !== EVENT.END || !this.#isDue(event)) {
      this.#diverged(`it ends at instruction ${retired}, the recorded one goes on with ${NAMES[event.kind]}`);
    }
    const [expected, ours] = [event.payload, endPayload(this.#machine, reason)];
    if (expected[0] !== ours[0]) this.#diverged(`it ends otherwise, at instruction ${retired}`);
    if (!expected.every((byte, n) => byte === ours[n])) this.#diverged(`memory differs at the end, ${retired}`);
  }

  get #event(): LogEvent {
    const event = this.log.events[this.#next];
    assert(event !== undefined, "a log goes on until its end");
    return event;
  }
  #isDue({ retired, skippedNs }: LogEvent): boolean {
    const now = momentOf(this.#machine);
    return retired === now.retired && skippedNs === now.skippedNs;
  }
  #diverged(how: string): never {
    throw new HostError(
      `the replay of ${this.name} diverged after instruction ${this.#agreedAt}, where it was last the same: ${how}`,
    );
  }
}

const NAMES: Readonly<Record<EventKind, string>> = {
  [EVENT.CONSOLE]: "console input",
  [EVENT.REQUEST]: "a request",
  [EVENT.CHECKPOINT]: "a checkpoint",
  [EVENT.END]: "the end",
  [EVENT.FRAME]: "a network frame",
};
