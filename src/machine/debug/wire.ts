// Plain data as text between the two threads: JSON, with numbers of 64 bits, bytes and refusals marked. A message is its
// length, then its text.

import { ByteRing } from "../../base/ring.ts";
import { fromHex, toHex } from "../../../gdbstub/bytes.ts";
import { Refusal } from "../../../gdbstub/target.ts";

const encoder = new TextEncoder(), decoder = new TextDecoder();

/** What JSON has no form for. */
function marked(_: string, item: unknown): unknown {
  if (typeof item === "bigint") return { $n: item.toString(16) };
  if (item instanceof Uint8Array) return { $b: toHex(item) };
  if (item instanceof Refusal) return { $r: item.text, errno: item.errno };
  return item;
}
function unmarked(_: string, item: Record<string, unknown> | null): unknown {
  if (typeof item !== "object" || item === null) return item;
  if (typeof item["$n"] === "string") return BigInt(`0x${item["$n"]}`);
  if (typeof item["$b"] === "string") return fromHex(encoder.encode(item["$b"]));
  if (typeof item["$r"] === "string") return new Refusal(item["$r"], item["errno"] as number);
  return item;
}
/** Whether JSON has all of it as it is, which makes most messages cheap. */
function isPlain(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return typeof value !== "bigint";
  if (value instanceof Uint8Array || value instanceof Refusal) return false;
  for (const key in value) if (!isPlain((value as Record<string, unknown>)[key])) return false;
  return true;
}

export function encode(value: unknown): Uint8Array<ArrayBuffer> {
  return encoder.encode(isPlain(value) ? JSON.stringify(value) : JSON.stringify(value, marked));
}

export function decode(bytes: Uint8Array): unknown {
  const text = decoder.decode(bytes);
  return text.includes('"$') ? JSON.parse(text, unmarked) : JSON.parse(text);
}

const LENGTH_BYTES = 4;

/** Messages through a ring that takes bytes. */
export class MessageReader {
  #bytes: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  constructor(readonly ring: ByteRing) {}

  /** The next whole message, undefined when there is none yet. */
  take(): unknown | undefined {
    if (this.ring.length > 0) {
      const more = this.ring.read(), joined = new Uint8Array(this.#bytes.length + more.length);
      joined.set(this.#bytes);
      joined.set(more, this.#bytes.length);
      this.#bytes = joined;
    }
    if (this.#bytes.length < LENGTH_BYTES) return undefined;
    const end = LENGTH_BYTES + new DataView(this.#bytes.buffer).getUint32(0, true);
    if (this.#bytes.length < end) return undefined;
    const message = decode(this.#bytes.subarray(LENGTH_BYTES, end));
    this.#bytes = this.#bytes.slice(end);
    return message;
  }
}

/** A message as it goes into a ring. */
export function frame(value: unknown): Uint8Array<ArrayBuffer> {
  const text = encode(value), framed = new Uint8Array(LENGTH_BYTES + text.length);
  new DataView(framed.buffer).setUint32(0, text.length, true);
  framed.set(text, LENGTH_BYTES);
  return framed;
}
