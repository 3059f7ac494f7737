// One descriptor chain as a device sees it: what the driver sent, then room for the answer, each as bytes from 0 however
// they lie in memory. The queue has checked every piece: it is RAM, and the answer's is writable.

import type { GuestMemory } from "./memory.ts";

export class Chain {
  /** Index of the first descriptor, by which the driver knows the chain. */
  head = 0;
  /** Host address and length of each piece; the first `readablePieces` hold what the driver sent. */
  readonly hosts: number[] = [];
  readonly lengths: number[] = [];
  pieces = 0;
  readablePieces = 0;
  /** Bytes that the driver sent, and bytes of room for the answer. */
  readableBytes = 0;
  writableBytes = 0;
  /** How often the queue was reset when the chain was taken: an answer to an older one is dropped. */
  epoch = 0;

  constructor(private readonly memory: GuestMemory) {}

  /** The queue: an empty chain. */
  begin(head: number, epoch: number): void {
    this.head = head;
    this.epoch = epoch;
    this.pieces =
      this.readablePieces =
      this.readableBytes =
      this.writableBytes =
        0;
  }

  /** The queue: one more piece. Neighbours of one kind become one piece, so that the host is asked less often. */
  add(host: number, length: number, writable: boolean): void {
    const last = this.pieces - 1, writableBefore = this.writableBytes > 0;
    if (writable) this.writableBytes += length;
    else this.readableBytes += length;
    if (last >= 0 && writable === writableBefore && this.hosts[last]! + this.lengths[last]! === host) {
      this.lengths[last]! += length;
      return;
    }
    this.hosts[this.pieces] = host;
    this.lengths[this.pieces++] = length;
    if (!writable) this.readablePieces++;
  }

  /** Copies what the driver sent, from byte `at`, into `into`; returns how many bytes there were. */
  read(at: number, into: Uint8Array): number {
    const { bytes } = this.memory;
    return this.#each(0, this.readablePieces, at, into.length, (host, length, done) => {
      if (length > COPY_LOOP_BYTES) into.set(bytes.subarray(host, host + length), done);
      else for (let i = 0; i < length; i++) into[done + i] = bytes[host + i]!;
    });
  }

  /** Copies `from` into the answer from byte `at`; returns how many bytes there was room for. */
  write(at: number, from: Uint8Array): number {
    const { bytes } = this.memory;
    return this.#each(this.readablePieces, this.pieces, at, from.length, (host, length, done) => {
      if (length > COPY_LOOP_BYTES) bytes.set(from.subarray(done, done + length), host);
      else for (let i = 0; i < length; i++) bytes[host + i] = from[done + i]!;
      this.memory.wrote(host, length);
    });
  }

  /** Fills `count` bytes of the answer from byte `at` with zeros; returns how many there was room for. */
  clear(at: number, count: number): number {
    return this.#each(this.readablePieces, this.pieces, at, count, (host, length) => {
      this.memory.bytes.fill(0, host, host + length);
      this.memory.wrote(host, length);
    });
  }

  /** What the driver sent from byte `at`, in place: at most `count` bytes in as many views as there are pieces. */
  sent(at: number, count: number): Uint8Array[] {
    return this.#views(0, this.readablePieces, at, count);
  }

  /** Room for the answer from byte `at`, in place. Whoever writes there calls `wrote` afterwards. */
  room(at: number, count: number): Uint8Array[] {
    return this.#views(this.readablePieces, this.pieces, at, count);
  }

  /** `count` bytes of the answer from byte `at` were written in place. */
  wrote(at: number, count: number): void {
    this.#each(this.readablePieces, this.pieces, at, count, (host, length) => this.memory.wrote(host, length));
  }

  #views(first: number, end: number, at: number, count: number): Uint8Array[] {
    const views: Uint8Array[] = [], { bytes } = this.memory;
    this.#each(first, end, at, count, (host, length) => views.push(bytes.subarray(host, host + length)));
    return views;
  }

  /** Calls `use` for every part of bytes `at` to `at + count` of pieces `first` to `end`; returns how many there are. */
  #each(
    first: number,
    end: number,
    at: number,
    count: number,
    use: (host: number, length: number, done: number) => void,
  ): number {
    let skip = at, done = 0;
    for (let piece = first; piece < end && done < count; piece++) {
      const length = this.lengths[piece]!;
      if (skip >= length) {
        skip -= length;
        continue;
      }
      const part = Math.min(length - skip, count - done);
      use(this.hosts[piece]! + skip, part, done);
      done += part;
      skip = 0;
    }
    return done;
  }
}

/** Up to here a loop is faster than making a view. */
const COPY_LOOP_BYTES = 32;
