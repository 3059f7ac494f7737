// Bytes on their way, in a fixed piece of memory: the host fills it in place, or empties it in place. Memory is taken when
// there is something to keep.

export class ByteQueue {
  #bytes = new Uint8Array(0);
  #head = 0;
  length = 0;

  constructor(readonly capacity: number) {}

  get space(): number {
    return this.capacity - this.length;
  }

  /** The first stretch of free memory; `added` says how much of it was filled. */
  free(): Uint8Array {
    if (this.#bytes.length === 0) this.#bytes = new Uint8Array(this.capacity);
    if (this.length === 0) this.#head = 0;
    const at = (this.#head + this.length) % this.capacity;
    return this.#bytes.subarray(at, Math.min(at + this.space, this.capacity));
  }
  added(count: number): void {
    this.length += count;
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
    return this.#bytes.subarray(this.#head, Math.min(this.#head + this.length, this.capacity));
  }

  /** Copies bytes from `offset` on to fill `into`, all of which must be there. */
  copy(offset: number, into: Uint8Array): void {
    const at = (this.#head + offset) % this.capacity, first = Math.min(into.length, this.capacity - at);
    into.set(this.#bytes.subarray(at, at + first));
    if (first < into.length) into.set(this.#bytes.subarray(0, into.length - first), first);
  }

  drop(count: number): void {
    this.#head = (this.#head + count) % this.capacity;
    this.length -= count;
  }

  clear(): void {
    this.#bytes = new Uint8Array(0);
    this.#head = this.length = 0;
  }
}
