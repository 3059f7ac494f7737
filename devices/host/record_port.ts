// Where a device in the machine's thread and what it stands on in the daemon's meet, when what crosses is a stream: two
// rings of records in shared memory. Records to the machine pass its input gate, so that a log can repeat them.

import { FrameRing } from "../net/frame_ring.ts";
import type { InputGate } from "../net/input.ts";

/** The longest record of any port. */
export const RECORD_BYTES = 65536;

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

/** The machine's side of a port. */
export class MachineLink {
  readonly #scratch = new Uint8Array(RECORD_BYTES);

  /** `number` names the port in the input log; `wake` wakes the daemon. */
  constructor(
    private readonly port: RecordPort,
    private readonly number: number,
    private readonly gate: InputGate,
    private readonly wake: () => void,
  ) {}

  /** Where a record of up to `bytes` bytes goes; null when there is no room now. In a replay it goes nowhere. */
  reserve(bytes: number): Uint8Array | null {
    return this.gate.replaying ? this.#scratch.subarray(0, bytes) : this.port.toHost.reserve(bytes);
  }
  commit(bytes: number): void {
    if (!this.gate.replaying) this.port.toHost.commit(bytes);
  }
  /** Records were sent or taken: the daemon may look. */
  flush(): void {
    this.wake();
  }
  hasRoom(bytes: number): boolean {
    return this.gate.replaying || this.port.toHost.hasRoom(bytes);
  }

  /** Between slices: the next record, in place until `taken`; null when there is none. */
  next(): Uint8Array | null {
    return this.gate.frame(this.number, () => this.port.toGuest.peek());
  }
  taken(): void {
    this.gate.frameTaken(this.number, () => this.port.toGuest.release());
  }
  get hasInput(): boolean {
    return !this.gate.replaying && !this.port.toGuest.empty;
  }
}
