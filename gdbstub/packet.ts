// Reads the arguments of a packet: hexadecimal numbers, thread ids, digits, text. Whatever does not fit throws
// MalformedPacket, which the dispatcher turns into an error reply; a packet can do no more harm than that.

import { digitValue, fromHex, textOf } from "./bytes.ts";

/** The packet does not have the form that its command needs. */
export class MalformedPacket extends Error {
  override readonly name = "MalformedPacket";
}

/** A thread id of a packet, `p2.1`. -1 stands for all, 0 for any; context null: the packet named none. */
export interface ThreadId {
  readonly context: number | null;
  readonly thread: number;
}

/** Ids of contexts and threads are below this. */
const MAX_ID = 0x7fffffff;

export class PacketReader {
  #at: number;

  constructor(readonly data: Uint8Array<ArrayBuffer>, from = 0) {
    this.#at = from;
  }

  get atEnd(): boolean {
    return this.#at >= this.data.length;
  }

  /** Goes past `text` if it comes next. */
  accept(text: string): boolean {
    for (let i = 0; i < text.length; i++) if (this.data[this.#at + i] !== text.charCodeAt(i)) return false;
    this.#at += text.length;
    return true;
  }

  expect(text: string): this {
    if (!this.accept(text)) throw new MalformedPacket(`"${text}" is missing`);
    return this;
  }

  /** An unsigned number of up to 64 bits. */
  wide(): bigint {
    let value = 0n, digits = 0;
    for (; digitValue(this.data[this.#at] ?? 0) < 16; this.#at++, digits++) {
      value = value << 4n | BigInt(digitValue(this.data[this.#at]!));
    }
    if (digits === 0 || value >= 1n << 64n) throw new MalformedPacket("a number is missing or too large");
    return value;
  }

  /** A number of up to 48 bits: lengths, offsets, register numbers. */
  number(): number {
    const value = this.wide();
    if (value >= 1n << 48n) throw new MalformedPacket("a number is too large");
    return Number(value);
  }

  #id(): number {
    if (this.accept("-1")) return -1;
    const id = this.number();
    if (id > MAX_ID) throw new MalformedPacket("an id is too large");
    return id;
  }

  /** `p1.2`, `p1` (all threads), `2`, `-1`. */
  thread(): ThreadId {
    if (!this.accept("p")) return { context: null, thread: this.#id() };
    const context = this.#id();
    return { context, thread: this.accept(".") ? this.#id() : -1 };
  }

  /** Text up to the next of `ends` (which stays) or the end. */
  until(ends: string): string {
    const from = this.#at;
    while (this.#at < this.data.length && !ends.includes(String.fromCharCode(this.data[this.#at]!))) this.#at++;
    return textOf(this.data.subarray(from, this.#at));
  }

  /** All that is left, as it stands. */
  rest(): Uint8Array<ArrayBuffer> {
    const rest = this.data.subarray(this.#at);
    this.#at = this.data.length;
    return rest;
  }

  /** `count` bytes written as digits; all that is left without `count`. */
  hex(count?: number): Uint8Array<ArrayBuffer> {
    const end = count === undefined ? this.data.length : this.#at + 2 * count;
    const bytes = end > this.data.length ? null : fromHex(this.data.subarray(this.#at, end));
    if (bytes === null) throw new MalformedPacket("digits are missing");
    this.#at = end;
    return bytes;
  }

  /** Digits up to the next of `ends`, as text. */
  hexText(ends = ""): string {
    const from = this.#at;
    this.until(ends);
    const bytes = fromHex(this.data.subarray(from, this.#at));
    if (bytes === null) throw new MalformedPacket("digits are missing");
    return textOf(bytes);
  }
}
