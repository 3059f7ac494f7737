// Plain data as text between the two threads: JSON, with numbers of 64 bits, bytes and refusals marked. A message is its
// length, then its text.

import { ByteRing } from "../../base/ring.ts";
import { fromHex, toHex } from "../../../gdbstub/bytes.ts";
import { Refusal } from "../../../gdbstub/target.ts";

const encoder = new TextEncoder(), decoder = new TextDecoder();

export function encode(value: unknown): Uint8Array<ArrayBuffer> {
  return encoder.encode(JSON.stringify(value, (_, item) => {
    if (typeof item === "bigint") return { $n: item.toString(16) };
    if (item instanceof Uint8Array) return { $b: toHex(item) };
    if (item instanceof Refusal) return { $r: item.text, errno: item.errno };
    return item;
  }));
}

export function decode(bytes: Uint8Array): unknown {
  return JSON.parse(decoder.decode(bytes), (_, item) => {
    if (typeof item !== "object" || item === null) return item;
    if (typeof item.$n === "string") return BigInt(`0x${item.$n}`);
    if (typeof item.$b === "string") return fromHex(encoder.encode(item.$b));
    if (typeof item.$r === "string") return new Refusal(item.$r, item.errno);
    return item;
  });
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
