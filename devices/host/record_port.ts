// Where a device in the machine's thread and what it stands on in the daemon's meet, when what crosses is a stream: two
// rings of records in shared memory. Records to the machine pass its input gate, so that a log can repeat them.

import { FrameRing } from "../net/frame_ring.ts";
import type { InputGate } from "../net/input.ts";

/** The longest record of any port: a system call and a wake-up for each, so that a few large ones move data fastest. */
export const RECORD_BYTES = 2 ** 18;

export class RecordPort {
  readonly toHost: FrameRing;
  readonly toGuest: FrameRing;

  /** Memory for a port whose rings have `ringBytes` each, a power of two. */
  static create(ringBytes: number): SharedArrayBuffer {
    return new SharedArrayBuffer(2 * FrameRing.sizeBytes(ringBytes));
  }

  constructor(memory: SharedArrayBuffer) {
    const half = memory.byteLength / 2, ringBytes = half - FrameRing.sizeBytes(0);
    this.toHost = new FrameRing(memory, 0, ringBytes);
    this.toGuest = new FrameRing(memory, half, ringBytes);
  }
}

export interface MachineLinkOptions {
  readonly port: RecordPort;
  /** Names the port in the input log. */
  readonly number: number;
  readonly gate: InputGate;
  /** Wakes the daemon. */
  readonly wake: () => void;
  /** Records go to the host in a replay too. */
  readonly sendsInReplay: boolean;
  /** Where the guest must not see how fast the host is: waits until there is room, and says whether there is. */
  readonly waitForRoom: ((hasRoom: () => boolean) => boolean) | null;
}

/** The machine's side of a port. */
export class MachineLink {
  /** Where records go that nobody gets. */
  #scratch: Uint8Array = new Uint8Array(0);
  #dropping = false;

  constructor(private readonly options: MachineLinkOptions) {}

  /** Where a record of up to `bytes` bytes goes; null when there is no room now. */
  reserve(bytes: number): Uint8Array | null {
    const { port: { toHost }, waitForRoom } = this.options;
    this.#dropping = this.#silent;
    if (this.#dropping) return this.#nowhere(bytes);
    const place = toHost.reserve(bytes);
    if (place !== null || waitForRoom === null) return place;
    if (waitForRoom(() => toHost.hasRoom(bytes))) return toHost.reserve(bytes);
    this.#dropping = true;
    return this.#nowhere(bytes);
  }
  #nowhere(bytes: number): Uint8Array {
    if (this.#scratch.length < bytes) this.#scratch = new Uint8Array(bytes);
    return this.#scratch.subarray(0, bytes);
  }
  commit(bytes: number): void {
    if (!this.#dropping) this.options.port.toHost.commit(bytes);
  }
  /** Records were sent or taken: the daemon may look. */
  flush(): void {
    this.options.wake();
  }
  hasRoom(bytes: number): boolean {
    return this.#silent || this.options.port.toHost.hasRoom(bytes);
  }

  /** Between slices: the next record, in place until `taken`; null when there is none. */
  next(): Uint8Array | null {
    return this.options.gate.frame(this.options.number, () => this.options.port.toGuest.peek());
  }
  taken(): void {
    this.options.gate.frameTaken(this.options.number, () => this.options.port.toGuest.release());
  }
  get hasInput(): boolean {
    return !this.options.gate.replaying && !this.options.port.toGuest.empty;
  }

  /** In a replay nobody answers what is sent. */
  get #silent(): boolean {
    return this.options.gate.replaying && !this.options.sendsInReplay;
  }
}
