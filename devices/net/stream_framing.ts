// QEMU's framing of Ethernet frames on a stream: the length as 32 bits, big-endian, then the frame. A peer may send
// anything and stop anywhere: a frame is given out when it is whole, and a length that no frame has ends the stream.

import { ETHERNET_BYTES, LONGEST_FRAME } from "./offload.ts";

const LENGTH_BYTES = 4;
/** QEMU's own limit, NET_BUFSIZE. */
const LONGEST_ACCEPTED = 4096 + 65536;

/** Length and frame, as they go out. */
export function putFramed(into: Uint8Array, at: number, frame: Uint8Array): number {
  new DataView(into.buffer, into.byteOffset + at, LENGTH_BYTES).setUint32(0, frame.length);
  into.set(frame, at + LENGTH_BYTES);
  return at + LENGTH_BYTES + frame.length;
}
export const FRAMING_BYTES = LENGTH_BYTES;

export class FrameDecoder {
  /** Bytes that were received and not given out yet, from `#at` to `#end`. */
  readonly #buffer = new Uint8Array(4 * LONGEST_ACCEPTED);
  #at = 0;
  #end = 0;
  /** Frames that were too short to be any, or longer than a guest can take. */
  ignored = 0;

  /** Where the next bytes from the peer go; `received` says how many came. Never empty after `next` gave null. */
  get room(): Uint8Array {
    if (this.#at > 0 && (this.#at === this.#end || this.#buffer.length - this.#end < LONGEST_ACCEPTED)) {
      this.#buffer.copyWithin(0, this.#at, this.#end);
      this.#end -= this.#at;
      this.#at = 0;
    }
    return this.#buffer.subarray(this.#end);
  }
  received(count: number): void {
    this.#end += count;
  }

  /** The next whole frame, in place until `room` is asked for; null when there is none; "garbage" when there never will be. */
  next(): Uint8Array | null | "garbage" {
    while (this.#end - this.#at >= LENGTH_BYTES) {
      const at = this.#at, length = new DataView(this.#buffer.buffer, at, LENGTH_BYTES).getUint32(0);
      if (length > LONGEST_ACCEPTED) return "garbage";
      if (this.#end - at < LENGTH_BYTES + length) return null;
      this.#at = at + LENGTH_BYTES + length;
      if (length >= ETHERNET_BYTES && length <= LONGEST_FRAME) {
        return this.#buffer.subarray(at + LENGTH_BYTES, at + LENGTH_BYTES + length);
      }
      this.ignored++;
    }
    return null;
  }

  /** Whether the peer stopped inside a frame. */
  get partial(): boolean {
    return this.#end > this.#at;
  }

  /** A new stream begins. */
  clear(): void {
    this.#at = this.#end = 0;
  }
}
