// Guest memory as virtio devices see it: ranges of guest physical addresses become places in the shared memory, where rings
// are read in place and data goes between guest and host without a copy in between. The bytes are the host's order, which
// is little-endian wherever this program runs, as virtio's is.

import type { PhysicalBus } from "../../src/memory/bus.ts";

export class GuestMemory {
  /** The whole shared memory, as bytes, half-words and words. */
  readonly bytes: Uint8Array;
  readonly halfWords: Uint16Array;
  readonly words: Uint32Array;

  constructor(buffer: ArrayBufferLike, private readonly bus: PhysicalBus) {
    this.bytes = new Uint8Array(buffer);
    this.halfWords = new Uint16Array(buffer);
    this.words = new Uint32Array(buffer);
  }

  /** Host address of `count` bytes of RAM at `pa`, 0 when some of them are not RAM. ROM can be read. */
  place(pa: number, count: number, write: boolean): number {
    return this.bus.hostBytes(pa, count, write);
  }

  /** Bytes at this host address were written: code that was there is no longer what it was. */
  wrote(host: number, count: number): void {
    this.bus.onCodeWrite(host, count);
  }
}
