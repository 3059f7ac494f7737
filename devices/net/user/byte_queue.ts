// Bytes on their way, in a bounded piece of memory: the host fills it in place, or empties it in place. Memory is taken when
// there is something to keep, and more when that is not enough, since most connections carry little.

/** The first memory; each next one is GROWTH times as large. */
const FIRST_BYTES = 16 * 1024, GROWTH = 4;

export class ByteQueue {
  #bytes = new Uint8Array(0);
  #head = 0;
  length = 0;
  /** How much was offered last, and whether there was more to put there. */
  #offered = 0;
  #tight = false;

  constructor(readonly capacity: number) {}

  get space(): number {
    return this.capacity - this.length;
  }

  /** The first stretch of free memory; `added` says how much of it was filled. Nothing else is added meanwhile. */
  free(): Uint8Array {
    const have = this.#bytes.length;
    if (have < this.capacity && (this.#tight || this.length >= have / 2)) this.#grow();
    if (this.length === 0) this.#head = 0;
    const end = this.#bytes.length, at = (this.#head + this.length) % end;
    this.#offered = Math.min(end - this.length, end - at);
    return this.#bytes.subarray(at, at + this.#offered);
  }
  added(count: number): void {
    this.length += count;
    this.#tight = count === this.#offered;
  }

  /** Whoever empties the old memory in place finds everything there. */
  #grow(): void {
    const have = this.#bytes.length;
    const bytes = new Uint8Array(Math.min(this.capacity, have === 0 ? FIRST_BYTES : have * GROWTH));
    if (this.length > 0) this.copy(0, bytes.subarray(0, this.length));
    this.#bytes = bytes;
    this.#head = 0;
  }

  /** As many of `data` as there is room for; how many that were. */
  put(data: Uint8Array): number {
    let done = 0;
    while (done < data.length && this.space > 0) {
      const place = this.free(), count = Math.min(place.length, data.length - done);
      place.set(data.subarray(done, done + count));
      this.added(count);
      done += count;
    }
    return done;
  }

  /** The first stretch of bytes, in place. */
  first(): Uint8Array {
    return this.#bytes.subarray(this.#head, Math.min(this.#head + this.length, this.#bytes.length));
  }

  /** Copies bytes from `offset` on to fill `into`, all of which must be there. */
  copy(offset: number, into: Uint8Array): void {
    const end = this.#bytes.length, at = (this.#head + offset) % end, first = Math.min(into.length, end - at);
    into.set(this.#bytes.subarray(at, at + first));
    if (first < into.length) into.set(this.#bytes.subarray(0, into.length - first), first);
  }

  drop(count: number): void {
    if (count === 0) return;
    this.#head = (this.#head + count) % this.#bytes.length;
    this.length -= count;
  }

  clear(): void {
    this.#bytes = new Uint8Array(0);
    this.#head = this.length = 0;
  }
}
