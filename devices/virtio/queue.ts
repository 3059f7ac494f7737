// The split virtqueue, VIRTIO 1.2 §2.7: takes chains that the driver made available, direct and indirect, gives them back
// as used, and keeps notifications down in both directions, with flags or event indices. Nothing that the driver wrote is
// believed: a ring or a chain that is not as it must be stops the device (DEVICE_NEEDS_RESET). Left out: the packed ring,
// in-order use, the reset of a single queue.

import { assert } from "../../src/base/errors.ts";
import { struct, type View } from "../../src/base/struct.ts";
import { Chain } from "./chain.ts";
import { FEATURE, STATUS } from "./device.ts";
import type { GuestMemory } from "./memory.ts";

export const VIRTQUEUE_STATE = struct("virtqueue", {
  /** Guest physical addresses: descriptor table, available ring, used ring. */
  desc: "u64",
  driver: "u64",
  device: "u64",
  /** Chains taken since the last reset, and driver notifications. */
  chains: "f64",
  kicks: "f64",
  /** Interrupts asked for, and those that the driver did not want. */
  interrupts: "f64",
  suppressed: "f64",
  /** Entries, chosen by the driver. */
  size: "u32",
  ready: "u32",
  /** Free-running 16-bit counts: chains taken, chains given back, chains given back when the driver was last told. */
  taken: "u32",
  used: "u32",
  told: "u32",
  /** Chains that the device has. */
  inFlight: "u32",
  /** Whether the device wants to hear of new chains. */
  wantsKicks: "u32",
  /** Head of the last chain that was taken. */
  lastHead: "u32",
});

/** Descriptor flags, §2.7.5. */
export const DESC = { NEXT: 1, WRITE: 2, INDIRECT: 4 } as const;
/** Flags of the rings, where event indices are not used. */
export const RING = { NO_INTERRUPT: 1, NO_NOTIFY: 1 } as const;
export const DESC_BYTES = 16;
/** The largest queue that any device has, and the most descriptors in a chain. */
export const MAX_QUEUE_SIZE = 1024;
/** A chain's data is less than 2^32 bytes (§2.7.5.3.1). */
const MAX_CHAIN_BYTES = 0xffff_ffff;

/** What a queue needs of its transport. */
export interface QueueOwner {
  readonly memory: GuestMemory;
  /** STATUS bits of the device. */
  readonly status: number;
  has(feature: bigint): boolean;
  /** Sets the used-buffer bit of the interrupt status. */
  interrupt(): void;
  needsReset(why: string): void;
}

const LIVE = STATUS.DRIVER_OK | STATUS.DEVICE_NEEDS_RESET;

export class Virtqueue {
  readonly state: View<typeof VIRTQUEUE_STATE.spec>;
  readonly #memory: GuestMemory;
  /** Where the rings lie in the shared memory, while the queue is ready. */
  #desc = 0;
  #avail = 0;
  #usedRing = 0;
  #events = false;
  #indirect = false;
  /** Counts resets, so that late answers are recognized. */
  #epoch = 0;
  /** Chains that nobody uses now. */
  readonly #spare: Chain[] = [];

  constructor(
    private readonly owner: QueueOwner,
    readonly index: number,
    readonly maxSize: number,
    buffer: ArrayBufferLike,
    stateBase: number,
  ) {
    assert(Number.isInteger(Math.log2(maxSize)) && maxSize <= MAX_QUEUE_SIZE, "a queue's size is a power of two");
    this.state = VIRTQUEUE_STATE.at(buffer, stateBase);
    this.#memory = owner.memory;
  }

  /** Transport: as after power-on. */
  reset(): void {
    this.state.bytes.fill(0);
    this.state.size = this.maxSize;
    this.state.wantsKicks = 1;
    this.#epoch++;
  }

  /** Transport: the driver says that the queue is set up. False when it is not. */
  enable(): boolean {
    const { state } = this, { size } = state;
    if (size === 0 || (size & (size - 1)) !== 0 || size > this.maxSize) return this.#broken(`its size is ${size}`);
    this.#events = this.owner.has(FEATURE.EVENT_IDX);
    this.#indirect = this.owner.has(FEATURE.INDIRECT_DESC);
    // The event indices stand behind the rings whether they are used or not (§2.7.6, §2.7.8).
    const rings = [
      { name: "descriptor table", lo: state.descLo, hi: state.descHi, align: 16, bytes: DESC_BYTES * size },
      { name: "available ring", lo: state.driverLo, hi: state.driverHi, align: 2, bytes: 6 + 2 * size },
      { name: "used ring", lo: state.deviceLo, hi: state.deviceHi, align: 4, bytes: 6 + 8 * size },
    ];
    const places: number[] = [];
    for (const { name, lo, hi, align, bytes } of rings) {
      if (lo % align !== 0) return this.#broken(`its ${name} is not aligned to ${align} bytes`);
      const host = this.#memory.place(hi * 2 ** 32 + lo, bytes, name === "used ring");
      if (host === 0) return this.#broken(`its ${name} is not in RAM`);
      places.push(host);
    }
    [this.#desc, this.#avail, this.#usedRing] = places as [number, number, number];
    state.ready = 1;
    return true;
  }

  /** Transport: the driver takes the queue away. */
  disable(): void {
    this.state.ready = 0;
    this.#epoch++;
  }

  /** The state was replaced by that of another time, at which the device had no chains. */
  restored(): void {
    this.#epoch++;
    if (this.state.ready !== 0 && !this.enable()) this.state.ready = 0;
  }

  /** Whether chains may be taken and given back. */
  get live(): boolean {
    return this.state.ready !== 0 && (this.owner.status & LIVE) === STATUS.DRIVER_OK;
  }

  /** Chains that wait to be taken. */
  get waiting(): number {
    if (!this.live) return 0;
    const { state } = this, { size } = state;
    const waiting = (Atomics.load(this.#memory.halfWords, (this.#avail + 2) >>> 1) - state.taken) & 0xffff;
    if (waiting <= size) return waiting;
    this.#broken(`its available index jumped by ${waiting} with ${size} entries`);
    return 0;
  }

  /** Takes the next chain; null when there is none. It must be given back with `put`, or with `putBack`. */
  take(): Chain | null {
    if (this.waiting === 0) return null;
    const { state } = this, { size, taken, inFlight } = state, { halfWords } = this.#memory;
    if (inFlight >= size) return this.#none(`it has more chains than its ${size} entries`);
    const head = halfWords[((this.#avail + 4) >>> 1) + (taken & (size - 1))]!;
    const chain = this.#spare.pop() ?? new Chain(this.#memory);
    chain.begin(head, this.#epoch);
    if (!this.#walk(chain, this.#desc, size, head)) return null;
    state.taken = (taken + 1) & 0xffff;
    state.inFlight = inFlight + 1;
    state.lastHead = head;
    state.chains++;
    // The next kick is wanted for the entry after this one.
    if (this.#events && state.wantsKicks !== 0) this.#setAvailEvent();
    return chain;
  }

  /** Puts the chain that was taken last back, unused. */
  putBack(chain: Chain): void {
    if (!this.#release(chain)) return;
    const { state } = this;
    state.taken = (state.taken - 1) & 0xffff;
    state.inFlight--;
    state.chains--;
    if (this.#events && state.wantsKicks !== 0) this.#setAvailEvent();
  }

  /** Gives a chain back with `written` bytes of answer. The driver sees it after `flush`. */
  put(chain: Chain, written: number): void {
    if (!this.#release(chain)) return;
    const { state } = this, { words } = this.#memory;
    const entry = this.#usedRing + 4 + 8 * (state.used & (state.size - 1));
    words[entry >>> 2] = chain.head;
    words[(entry >>> 2) + 1] = written;
    this.#memory.wrote(entry, 8);
    state.used = (state.used + 1) & 0xffff;
    state.inFlight--;
  }

  /** Shows the driver what was put, and interrupts it if it wants that. Cheap when nothing was put. */
  flush(): void {
    const { state } = this;
    if (!this.live || state.used === state.told) return;
    const { halfWords } = this.#memory, { used, told } = state;
    Atomics.store(halfWords, (this.#usedRing + 2) >>> 1, used);
    this.#memory.wrote(this.#usedRing + 2, 2);
    state.told = used;
    if (this.#wantsInterrupt(told, used)) {
      state.interrupts++;
      this.owner.interrupt();
    } else state.suppressed++;
  }

  /** Whether the device wants to hear of new chains; it does unless it says otherwise. */
  set wantsKicks(wants: boolean) {
    const { state } = this;
    if ((state.wantsKicks !== 0) === wants) return;
    state.wantsKicks = wants ? 1 : 0;
    if (!this.live) return;
    if (this.#events) {
      if (wants) this.#setAvailEvent();
      return;
    }
    this.#memory.halfWords[this.#usedRing >>> 1] = wants ? 0 : RING.NO_NOTIFY;
    this.#memory.wrote(this.#usedRing, 2);
  }
  get wantsKicks(): boolean {
    return this.state.wantsKicks !== 0;
  }

  /** Whether the chain, or the queue under it, is no longer the driver's business. */
  isStale(chain: Chain): boolean {
    return chain.epoch !== this.#epoch || !this.live;
  }

  /** Adds the pieces of the chain that starts at descriptor `first` of a table. False when the chain is not sound. */
  #walk(chain: Chain, table: number, tableSize: number, first: number): boolean {
    const { words, halfWords } = this.#memory, memory = this.#memory;
    let base = table, entries = tableSize, index = first, left = tableSize, indirect = false;
    for (;;) {
      if (index >= entries) return this.#broken(`descriptor ${index} is not one of ${entries}`);
      // A chain that is longer than its table has a loop.
      if (left-- === 0) return this.#broken(`the chain at ${chain.head} is longer than its table or has a loop`);
      const at = base + index * DESC_BYTES, word = at >>> 2, length = words[word + 2]!;
      const flags = halfWords[(at + 12) >>> 1]!, pa = words[word + 1]! * 2 ** 32 + words[word]!;
      if ((flags & DESC.INDIRECT) !== 0) {
        if (!this.#indirect) return this.#broken("an indirect descriptor was not negotiated");
        if (indirect || (flags & DESC.NEXT) !== 0) return this.#broken("an indirect descriptor is not the last one");
        if (length === 0 || length % DESC_BYTES !== 0) return this.#broken(`an indirect table has ${length} bytes`);
        if (pa % 4 !== 0) return this.#broken("an indirect table is not aligned");
        const host = memory.place(pa, length, false);
        if (host === 0) return this.#broken("an indirect table is not in RAM");
        base = host;
        entries = length / DESC_BYTES;
        left = Math.min(entries, MAX_QUEUE_SIZE);
        index = 0;
        indirect = true;
        continue;
      }
      const writable = (flags & DESC.WRITE) !== 0;
      if (!writable && chain.writableBytes > 0) return this.#broken("a chain has something to read after its room");
      if (length === 0) return this.#broken("a descriptor has no bytes");
      const host = memory.place(pa, length, writable);
      if (host === 0) return this.#broken(`${length} bytes at 0x${pa.toString(16)} are not in RAM`);
      if (chain.readableBytes + chain.writableBytes + length > MAX_CHAIN_BYTES || chain.pieces === MAX_QUEUE_SIZE) {
        return this.#broken("a chain is too long");
      }
      chain.add(host, length, writable);
      if ((flags & DESC.NEXT) === 0) return true;
      index = halfWords[(at + 14) >>> 1]!;
    }
  }

  /** Whether the driver wants an interrupt for the entries from `before` to `now` (§2.7.7, §2.7.10). */
  #wantsInterrupt(before: number, now: number): boolean {
    const { halfWords } = this.#memory;
    if (!this.#events) return (halfWords[this.#avail >>> 1]! & RING.NO_INTERRUPT) === 0;
    const event = Atomics.load(halfWords, (this.#avail + 4 + 2 * this.state.size) >>> 1);
    return ((now - event - 1) & 0xffff) < ((now - before) & 0xffff);
  }

  #setAvailEvent(): void {
    const at = this.#usedRing + 4 + 8 * this.state.size;
    Atomics.store(this.#memory.halfWords, at >>> 1, this.state.taken);
    this.#memory.wrote(at, 2);
  }

  /** Takes the chain object back; false when what it stood for is gone. */
  #release(chain: Chain): boolean {
    const stale = this.isStale(chain);
    this.#spare.push(chain);
    return !stale;
  }

  #none(why: string): null {
    this.#broken(why);
    return null;
  }
  #broken(why: string): false {
    this.owner.needsReset(`queue ${this.index}: ${why}`);
    return false;
  }
}
