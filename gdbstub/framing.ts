// Packets on a stream of bytes: `$data#checksum`, acknowledgements, and the break byte 0x03 between packets ("Overview").
// Whatever the peer sends, the framer finds the next `$` again and never holds more than one packet of the agreed size.

import { checksum, digitValue, MARK, Scan } from "./bytes.ts";

/** What gdb is told as PacketSize. gdb takes at most this; twice as many bytes of memory need two packets. */
export const PACKET_BYTES = 0x80000;

/** Packets up to this size are many; larger ones carry memory. */
const SMALL_BYTES = 4096;
const DOLLAR = 0x24, HASH = 0x23, PLUS = 0x2b, MINUS = 0x2d, BREAK = 0x03;

export type Frame =
  /** A packet with the right checksum; still escaped. */
  | { readonly kind: "packet"; readonly data: Uint8Array<ArrayBuffer> }
  /** A packet that was damaged: it has a wrong checksum, or is longer than allowed. */
  | { readonly kind: "bad"; readonly why: "checksum" | "length" }
  | { readonly kind: "ack" | "nak" | "break" };

/** Takes chunks of the stream as they come and gives the frames that they complete. */
export class Framer {
  #data: Uint8Array<ArrayBuffer>;
  /** Fresh memory for each packet of half a megabyte would take longer than its bytes. */
  #spare: Uint8Array<ArrayBuffer> | undefined;
  #length = 0;
  #state: "idle" | "data" | "high" | "low" = "idle";
  /** The first digit of the checksum. */
  #high = 0;
  #tooLong = false;

  constructor(readonly limitBytes: number = PACKET_BYTES) {
    this.#data = new Uint8Array(Math.min(SMALL_BYTES, limitBytes));
  }

  /** Bytes of the unfinished packet. */
  get pendingBytes(): number {
    return this.#length;
  }

  *push(chunk: Uint8Array): Generator<Frame, void> {
    const scan = new Scan(chunk);
    for (let at = 0; at < chunk.length;) {
      switch (this.#state) {
        case "idle":
          switch (chunk[at++]) {
            case DOLLAR:
              this.#begin();
              break;
            case PLUS:
              yield { kind: "ack" };
              break;
            case MINUS:
              yield { kind: "nak" };
              break;
            case BREAK:
              yield { kind: "break" };
              break;
          }
          break;
        case "data": {
          const end = scan.next(at, chunk.length, MARK.HASH | MARK.DOLLAR);
          // A dollar cannot be data: the packet before it lost its end.
          if (chunk[end] === DOLLAR) this.#begin();
          else {
            this.#append(chunk.subarray(at, end));
            if (end < chunk.length) this.#state = "high";
          }
          at = end + 1;
          break;
        }
        case "high":
          this.#high = chunk[at++]!;
          this.#state = "low";
          break;
        case "low":
          yield this.#finish(chunk[at++]!);
          break;
      }
    }
  }

  #begin(): void {
    this.#state = "data";
    this.#length = 0;
    this.#tooLong = false;
  }

  #append(part: Uint8Array): void {
    const length = this.#length + part.length;
    if (this.#tooLong || length > this.limitBytes) {
      this.#tooLong = true;
      this.#length = 0;
      return;
    }
    if (length > this.#data.length) {
      const larger = new Uint8Array(Math.min(this.limitBytes, Math.max(length, 2 * this.#data.length)));
      larger.set(this.#data.subarray(0, this.#length));
      this.#data = larger;
    }
    this.#data.set(part, this.#length);
    this.#length = length;
  }

  #finish(low: number): Frame {
    const data = this.#data.subarray(0, this.#length);
    this.#state = "idle";
    this.#length = 0;
    if (this.#tooLong) return { kind: "bad", why: "length" };
    const expected = digitValue(this.#high) << 4 | digitValue(low);
    if (checksum(data) !== expected) return { kind: "bad", why: "checksum" };
    // Small packets are copied; the buffer of a large one goes with it.
    if (data.length <= SMALL_BYTES) return { kind: "packet", data: data.slice() };
    this.#data = this.#spare ?? new Uint8Array(SMALL_BYTES);
    this.#spare = undefined;
    return { kind: "packet", data };
  }

  /** Nobody needs a packet's bytes any more: its buffer may be used again. */
  recycle(data: Uint8Array<ArrayBuffer>): void {
    if (data.length > SMALL_BYTES) this.#spare = new Uint8Array(data.buffer);
  }
}

/** Where the data of a frame that is built in place starts: after the `$`, at an even index for writeHex. */
export const FRAME_DATA_AT = 2;
/** Bytes that a frame needs in a buffer besides its data. */
export const FRAME_OVERHEAD = FRAME_DATA_AT + 3;
const DIGITS = "0123456789abcdef";

/** `$data#checksum` in place: the (escaped) data lies in `buffer` from FRAME_DATA_AT to `end`. `%` starts a notification. */
export function finishFrame(buffer: Uint8Array<ArrayBuffer>, end: number, start: "$" | "%"): Uint8Array<ArrayBuffer> {
  const sum = checksum(buffer.subarray(FRAME_DATA_AT, end));
  buffer[FRAME_DATA_AT - 1] = start.charCodeAt(0);
  buffer[end] = HASH;
  buffer[end + 1] = DIGITS.charCodeAt(sum >> 4);
  buffer[end + 2] = DIGITS.charCodeAt(sum & 15);
  return buffer.subarray(FRAME_DATA_AT - 1, end + 3);
}

/** A frame around (escaped) data. */
export function frame(data: Uint8Array, start: "$" | "%" = "$"): Uint8Array<ArrayBuffer> {
  const buffer = new Uint8Array(data.length + FRAME_OVERHEAD);
  buffer.set(data, FRAME_DATA_AT);
  return finishFrame(buffer, FRAME_DATA_AT + data.length, start);
}
