// A bounded ring of records for one producer and one consumer in different threads, over shared memory. A record lies in
// one piece, so that it is filled and read in place: where it would not fit before the end of the range, the rest of the
// range is skipped. Nothing here waits; a full ring refuses, and whoever fills it holds back what it has.

import { assert } from "../../src/base/errors.ts";

/** Words of the header. Producer's and consumer's lie in different cache lines. */
const TAIL = 0, HEAD = 16;
const HEADER_BYTES = 128;
/** In place of a record's length: go on at the start of the range. */
const SKIP = 0xffff_ffff;
const LENGTH_BYTES = 4;

const taken = (length: number): number => LENGTH_BYTES + ((length + 3) & ~3);

/** One end's view; both ends use the same class, each only its own half of the methods. */
export class FrameRing {
  readonly capacityBytes: number;
  readonly #positions: Int32Array;
  readonly #words: Uint32Array;
  readonly #bytes: Uint8Array;
  readonly #mask: number;
  /** Producer: where the record that is being filled begins. */
  #filling = 0;
  /** Sees every record that this end commits or releases. */
  tap: ((record: Uint8Array) => void) | null = null;

  /** Bytes of shared memory for a ring of this capacity, a power of two. */
  static sizeBytes(capacityBytes: number): number {
    return HEADER_BYTES + capacityBytes;
  }

  constructor(buffer: SharedArrayBuffer, offset: number, capacityBytes: number) {
    assert(
      offset % 8 === 0 && Number.isInteger(Math.log2(capacityBytes)),
      "a ring is aligned, its size a power of two",
    );
    this.capacityBytes = capacityBytes;
    this.#mask = capacityBytes - 1;
    this.#positions = new Int32Array(buffer, offset, HEADER_BYTES / 4);
    this.#words = new Uint32Array(buffer, offset + HEADER_BYTES, capacityBytes / 4);
    this.#bytes = new Uint8Array(buffer, offset + HEADER_BYTES, capacityBytes);
  }

  /** The longest record: any that is not longer fits into an empty ring, wherever that begins. */
  get longestBytes(): number {
    return this.capacityBytes / 2 - LENGTH_BYTES;
  }

  get usedBytes(): number {
    const used = (Atomics.load(this.#positions, TAIL) - Atomics.load(this.#positions, HEAD)) >>> 0;
    assert(used <= this.capacityBytes, "a ring's positions agree");
    return used;
  }

  get empty(): boolean {
    return Atomics.load(this.#positions, TAIL) === Atomics.load(this.#positions, HEAD);
  }

  /** Whether a record of `length` bytes would find room now. */
  hasRoom(length: number): boolean {
    const at = Atomics.load(this.#positions, TAIL) & this.#mask, need = taken(length);
    const skipped = at + need > this.capacityBytes ? this.capacityBytes - at : 0;
    return this.usedBytes + skipped + need <= this.capacityBytes;
  }

  /** Producer: where a record of up to `length` bytes goes, or null when there is no room. `commit` makes it one. */
  reserve(length: number): Uint8Array | null {
    assert(length <= this.longestBytes, "a record is not too long for its ring");
    if (!this.hasRoom(length)) return null;
    let tail = Atomics.load(this.#positions, TAIL), at = tail & this.#mask;
    if (at + taken(length) > this.capacityBytes) {
      this.#words[at >>> 2] = SKIP;
      tail = (tail + this.capacityBytes - at) | 0;
      at = 0;
    }
    this.#filling = tail;
    return this.#bytes.subarray(at + LENGTH_BYTES, at + LENGTH_BYTES + length);
  }

  /** Producer: the reserved record has `length` bytes and may be read. */
  commit(length: number): void {
    if (this.tap !== null) this.tap(this.#record(this.#filling & this.#mask, length));
    this.#words[(this.#filling & this.#mask) >>> 2] = length;
    Atomics.store(this.#positions, TAIL, (this.#filling + taken(length)) | 0);
  }

  /** Producer: a record with a copy of `data`; false when there is no room. */
  push(data: Uint8Array): boolean {
    const place = this.reserve(data.length);
    if (place === null) return false;
    place.set(data);
    this.commit(data.length);
    return true;
  }

  /** Consumer: the next record, in place until `release`; null when there is none. */
  peek(): Uint8Array | null {
    let head = Atomics.load(this.#positions, HEAD);
    if (Atomics.load(this.#positions, TAIL) === head) return null;
    let at = head & this.#mask;
    if (this.#words[at >>> 2] === SKIP) {
      head = (head + this.capacityBytes - at) | 0;
      Atomics.store(this.#positions, HEAD, head);
      at = 0;
    }
    return this.#record(at, this.#words[at >>> 2]!);
  }

  #record(at: number, length: number): Uint8Array {
    return this.#bytes.subarray(at + LENGTH_BYTES, at + LENGTH_BYTES + length);
  }

  /** Consumer: the record that `peek` showed is done with. */
  release(): void {
    const head = Atomics.load(this.#positions, HEAD), length = this.#words[(head & this.#mask) >>> 2]!;
    assert(!this.empty && length !== SKIP, "a record was looked at before it is released");
    if (this.tap !== null) this.tap(this.#record(head & this.#mask, length));
    Atomics.store(this.#positions, HEAD, (head + taken(length)) | 0);
  }
}
