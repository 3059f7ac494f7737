// The log of everything that came into a machine from outside, and when: with the configuration in its header it repeats
// the run. When is the count of retired instructions, and the nanoseconds that were skipped while all vCPUs waited.
//
//   "VITRLOG1", u32 length, JSON header, u32 check, then records:
//   u8 kind, varint instructions since the last record, varint skipped ns since then, varint length, payload, u32 check
//
// A check is the CRC-32 of everything before it. The last record is END: a log without it was cut off.

import { crc32 } from "node:zlib";
import { assert, HostError } from "../base/errors.ts";
import type { IcountConfig } from "./config.ts";

const MAGIC = "VITRLOG1";
/** No header and no payload is longer than this. */
const LONGEST = 1 << 24;

/** When something happened. Moments only grow, in both of their parts. */
export interface Moment {
  /** Retired instructions of all vCPUs. */
  readonly retired: number;
  readonly skippedNs: number;
}

/** Kinds of records. New ones go to the end: numbers are in files. */
export const EVENT = {
  /** Bytes that a UART took: its number, then the bytes. */
  CONSOLE: 1,
  /** REQUEST bits that the machine acted on. */
  REQUEST: 2,
  /** Hashes to compare with, u32 each: one for each vCPU, then the devices'. */
  CHECKPOINT: 3,
  /** Why the run ended, then 16 characters of memory hash. */
  END: 4,
  /** A record that a network port took: the port's number, then its net header and frame, or its link state. */
  FRAME: 5,
} as const;
export type EventKind = (typeof EVENT)[keyof typeof EVENT];
export const END_REASON = { OFF: 1, QUIT: 2 } as const;

export interface LogEvent extends Moment {
  readonly kind: EventKind;
  readonly payload: Uint8Array;
}

/** What must be the same for a run to repeat. */
export interface LogHeader {
  readonly icount: IcountConfig;
  readonly seed: number;
  /** Seconds since 1970 at the start. */
  readonly rtcBase: number;
  /** What the machine is made of, by name: each must be the same to replay. */
  readonly machine: Readonly<Record<string, string>>;
}

/** The bytes of a log as they come about. */
export class LogWriter {
  #check = 0;
  #last: Moment = { retired: 0, skippedNs: 0 };

  constructor(readonly sink: (bytes: Uint8Array) => void, header: LogHeader) {
    const json = new TextEncoder().encode(JSON.stringify(header));
    const start = new Uint8Array(MAGIC.length + 4);
    new TextEncoder().encodeInto(MAGIC, start);
    new DataView(start.buffer).setUint32(MAGIC.length, json.length, true);
    this.#put([...start, ...json]);
  }

  write({ kind, retired, skippedNs, payload }: LogEvent): void {
    const bytes: number[] = [kind];
    for (const value of [retired - this.#last.retired, skippedNs - this.#last.skippedNs, payload.length]) {
      assert(Number.isSafeInteger(value) && value >= 0, "moments grow");
      varint(bytes, value);
    }
    this.#last = { retired, skippedNs };
    this.#put([...bytes, ...payload]);
  }

  #put(bytes: readonly number[]): void {
    const out = new Uint8Array(bytes.length + 4);
    out.set(bytes);
    this.#check = crc32(out.subarray(0, bytes.length), this.#check);
    new DataView(out.buffer).setUint32(bytes.length, this.#check, true);
    this.sink(out);
  }
}

function varint(out: number[], value: number): void {
  for (; value >= 128; value = Math.floor(value / 128)) out.push(value % 128 | 128);
  out.push(value);
}

/** A log that was read and found whole. */
export interface InputLog {
  readonly header: LogHeader;
  readonly events: readonly LogEvent[];
}

/** Reads a log. Throws HostError when `name` is not one, was cut off, or has changed since it was written. */
export function readLog(name: string, data: Uint8Array): InputLog {
  const reader = new LogReader(name, data);
  const header = reader.header(), events: LogEvent[] = [];
  for (let event = reader.event(); event !== null; event = reader.event()) events.push(event);
  return { header, events };
}

class LogReader {
  #at = 0;
  #checkedTo = 0;
  #check = 0;
  #last: Moment = { retired: 0, skippedNs: 0 };
  #ended = false;
  readonly #view: DataView;

  constructor(readonly name: string, readonly data: Uint8Array) {
    this.#view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  }

  header(): LogHeader {
    const magic = new TextDecoder("latin1").decode(this.data.subarray(0, MAGIC.length));
    if (magic !== MAGIC) this.#fail("it is not an input log");
    this.#at = MAGIC.length;
    const json = this.#bytes(this.#word());
    this.#verify();
    try {
      return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(json)) as LogHeader;
    } catch {
      this.#fail("its header makes no sense");
    }
  }

  /** The next event, or null after END. */
  event(): LogEvent | null {
    if (this.#at === this.data.length) {
      if (!this.#ended) this.#fail(`it was cut off after instruction ${this.#last.retired}`);
      return null;
    }
    if (this.#ended) this.#fail("something follows its end");
    const kind = this.#byte();
    const retired = this.#last.retired + this.#varint(), skippedNs = this.#last.skippedNs + this.#varint();
    const payload = this.#bytes(this.#varint());
    this.#verify();
    if (!Object.values(EVENT).some((known) => known === kind)) this.#fail(`an event of kind ${kind} is not known`);
    this.#last = { retired, skippedNs };
    this.#ended = kind === EVENT.END;
    return { kind: kind as EventKind, retired, skippedNs, payload };
  }

  #byte(): number {
    return this.#bytes(1)[0]!;
  }
  #word(): number {
    this.#bytes(4);
    return this.#view.getUint32(this.#at - 4, true);
  }
  #varint(): number {
    let value = 0;
    for (let weight = 1; weight <= 2 ** 49; weight *= 128) {
      const byte = this.#byte();
      value += (byte & 127) * weight;
      if (byte < 128 && Number.isSafeInteger(value)) return value;
    }
    this.#fail(`it is damaged at byte ${this.#at}`);
  }
  #bytes(count: number): Uint8Array {
    if (count > LONGEST) this.#fail(`it is damaged at byte ${this.#at}`);
    if (this.#at + count > this.data.length) this.#fail(`it was cut off after instruction ${this.#last.retired}`);
    this.#at += count;
    return this.data.subarray(this.#at - count, this.#at);
  }
  #verify(): void {
    this.#check = crc32(this.data.subarray(this.#checkedTo, this.#at), this.#check);
    if (this.#word() !== this.#check) this.#fail(`it is damaged before byte ${this.#at}`);
    this.#checkedTo = this.#at;
  }
  #fail(state: string): never {
    throw new HostError(`cannot replay ${this.name}: ${state}`);
  }
}
