// The ring buffer backend: keeps the last bytes of what the guest sent, to be read later through the monitor, and passes
// on what is written to it from there. Output is never waited for: the oldest bytes make room.

import { assert } from "../../src/base/errors.ts";
import { type CharacterBackend, Signal } from "./character.ts";

/** QEMU's default. */
export const RING_BUFFER_BYTES = 65536;

export class RingBuffer implements CharacterBackend {
  readonly name = "ringbuf";
  readonly #bytes: Uint8Array;
  /** Positions are counts of bytes since the start. */
  #written = 0;
  #read = 0;
  #input: Uint8Array = new Uint8Array(0);
  #closed = false;
  readonly #changed = new Signal();

  /** `sizeBytes` is a power of two. */
  constructor(sizeBytes: number = RING_BUFFER_BYTES) {
    assert(sizeBytes > 0 && Number.isInteger(Math.log2(sizeBytes)), "a ring buffer's size is a power of two");
    this.#bytes = new Uint8Array(sizeBytes);
  }

  get state(): string {
    return `${this.length} of ${this.#bytes.length} bytes`;
  }

  /** Bytes that are kept and were not taken. */
  get length(): number {
    return this.#written - this.#read;
  }

  write(data: Uint8Array): Promise<void> {
    const size = this.#bytes.length, kept = data.subarray(Math.max(0, data.length - size));
    const at = (this.#written + data.length - kept.length) % size, first = Math.min(kept.length, size - at);
    this.#bytes.set(kept.subarray(0, first), at);
    this.#bytes.set(kept.subarray(first), 0);
    this.#written += data.length;
    this.#read = Math.max(this.#read, this.#written - size);
    return Promise.resolve();
  }

  /** Takes at most `limit` of the oldest bytes that are kept. */
  take(limit: number = this.length): Uint8Array {
    const count = Math.min(limit, this.length), size = this.#bytes.length, from = this.#read;
    this.#read += count;
    return Uint8Array.from({ length: count }, (_, n) => this.#bytes[(from + n) % size]!);
  }

  /** Input for the guest. What it has not taken may be as long as the buffer; says how many bytes were accepted. */
  put(data: Uint8Array): number {
    const accepted = data.subarray(0, this.#bytes.length - this.#input.length);
    const joined = new Uint8Array(this.#input.length + accepted.length);
    joined.set(this.#input);
    joined.set(accepted, this.#input.length);
    this.#input = joined;
    this.#changed.fire();
    return accepted.length;
  }

  async read(): Promise<Uint8Array | null> {
    while (this.#input.length === 0 && !this.#closed) await this.#changed.fired;
    const data = this.#input;
    this.#input = new Uint8Array(0);
    return data.length > 0 ? data : null;
  }

  close(): void {
    this.#closed = true;
    this.#changed.fire();
  }
}
