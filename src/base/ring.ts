// A bounded byte ring for one producer and one consumer in different threads, over a range of shared memory. Positions
// are free-running 32-bit counters; the capacity is a power of two. Nothing here waits: a doorbell (channel.ts) wakes the
// other side. A full ring refuses bytes, so that neither side can make the other grow.

import { assert } from "./errors.ts";

/** Words of the header that stands before the bytes. Producer and consumer words lie in different cache lines. */
const TAIL = 0, CLOSED = 1, DROPPED = 2, HEAD = 16;
const HEADER_BYTES = 128;

/** One end's view of a ring; both ends use the same class, each only its own half of the methods. */
export class ByteRing {
  readonly capacityBytes: number;
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #mask: number;

  /** `offset` is 8-aligned; `sizeBytes` includes the header. The capacity is the largest power of two that fits. */
  constructor(buffer: SharedArrayBuffer, offset: number, sizeBytes: number) {
    assert(offset % 8 === 0 && sizeBytes > HEADER_BYTES, "a ring needs an aligned range with room for its header");
    this.capacityBytes = 2 ** Math.floor(Math.log2(sizeBytes - HEADER_BYTES));
    this.#mask = this.capacityBytes - 1;
    this.#words = new Int32Array(buffer, offset, HEADER_BYTES / 4);
    this.#bytes = new Uint8Array(buffer, offset + HEADER_BYTES, this.capacityBytes);
  }

  /** Empties the ring; only while the other side is not running. */
  reset(): void {
    for (const word of [TAIL, CLOSED, DROPPED, HEAD]) Atomics.store(this.#words, word, 0);
  }

  /** Bytes that wait to be read. */
  get length(): number {
    const used = (Atomics.load(this.#words, TAIL) - Atomics.load(this.#words, HEAD)) >>> 0;
    assert(used <= this.capacityBytes, "a ring's counters agree");
    return used;
  }

  /** Bytes that can be written now. */
  get space(): number {
    return this.capacityBytes - this.length;
  }

  /** Producer: copies as many of `data` as fit and says how many that were. */
  write(data: Uint8Array): number {
    const count = Math.min(data.length, this.space);
    if (count === 0) return 0;
    const tail = Atomics.load(this.#words, TAIL), at = tail & this.#mask;
    const first = Math.min(count, this.capacityBytes - at);
    this.#bytes.set(data.subarray(0, first), at);
    this.#bytes.set(data.subarray(first, count), 0);
    Atomics.store(this.#words, TAIL, (tail + count) | 0);
    return count;
  }

  /** Producer: one byte; false when the ring is full. */
  push(byte: number): boolean {
    if (this.space === 0) return false;
    const tail = Atomics.load(this.#words, TAIL);
    this.#bytes[tail & this.#mask] = byte;
    Atomics.store(this.#words, TAIL, (tail + 1) | 0);
    return true;
  }

  /** Consumer: takes at most `limit` bytes, as a copy. */
  read(limit: number = this.capacityBytes): Uint8Array<ArrayBuffer> {
    const out = new Uint8Array(Math.min(limit, this.length));
    const head = Atomics.load(this.#words, HEAD), at = head & this.#mask;
    const first = Math.min(out.length, this.capacityBytes - at);
    out.set(this.#bytes.subarray(at, at + first), 0);
    out.set(this.#bytes.subarray(0, out.length - first), first);
    Atomics.store(this.#words, HEAD, (head + out.length) | 0);
    return out;
  }

  /** Consumer: one byte, or -1 when the ring is empty. */
  pop(): number {
    if (this.length === 0) return -1;
    const head = Atomics.load(this.#words, HEAD);
    const byte = this.#bytes[head & this.#mask]!;
    Atomics.store(this.#words, HEAD, (head + 1) | 0);
    return byte;
  }

  /** Producer: no more bytes will come. */
  close(): void {
    Atomics.store(this.#words, CLOSED, 1);
  }

  /** Whether the producer has closed the ring; bytes may still wait. */
  get closed(): boolean {
    return Atomics.load(this.#words, CLOSED) === 1;
  }

  /** Producer: counts bytes (or records) that found no room. */
  countDropped(count: number): void {
    Atomics.add(this.#words, DROPPED, count);
  }

  /** Consumer: how many were dropped since the last call. */
  takeDropped(): number {
    return Atomics.exchange(this.#words, DROPPED, 0);
  }
}
