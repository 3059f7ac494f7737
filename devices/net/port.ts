// Where a network device and its backend meet: two rings of records in memory that the machine's thread and the daemon's
// share, and a word that says what the guest can take. A record is a net header (offload.ts) and a frame. Towards the
// guest, a record of one byte of LINK bits says whether the link is up: it comes in order with the frames, and the input
// log has it.

import type { InputGate } from "./input.ts";
import { FrameRing } from "./frame_ring.ts";
import { LONGEST_RECORD } from "./offload.ts";

/** Two of the longest records, and some. */
const RING_BYTES = 256 * 1024;
/** Whether the link is up; OPERATOR: as the operator wants it, else as the other end is there or not. */
export const LINK = { UP: 1, OPERATOR: 2 } as const;
/**
 * A guest that sends one frame after another makes the daemon look no more often than this, while it runs: waking a thread
 * costs more than a frame. The first frame after a pause, or after the guest got something, is told of at once.
 */
const BELL_MS = 0.5;
/** So much is not left lying: a part of the ring, so that both threads work at once. */
const BELL_BYTES = RING_BYTES / 4;
const CONTROL_BYTES = 128;
/** What each side writes lies in cache lines of its own. */
const WORD = { offloads: 0, sentDropped: 1, machineWants: 2, hostWants: 16 } as const;
/** What the host's side is to be woken for. */
export const WANTS = { FRAMES: 1, ROOM: 2, ROOM_FOR_LINK: 4 } as const;
const TO_HOST = CONTROL_BYTES, TO_GUEST = TO_HOST + FrameRing.sizeBytes(RING_BYTES);

export function createPortMemory(): SharedArrayBuffer {
  const memory = new SharedArrayBuffer(TO_GUEST + FrameRing.sizeBytes(RING_BYTES));
  new NetPort(memory).wake(WANTS.FRAMES, true);
  return memory;
}

/** Either side's view of one port. */
export class NetPort {
  readonly toHost: FrameRing;
  readonly toGuest: FrameRing;
  readonly #words: Int32Array;

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory, 0, CONTROL_BYTES / 4);
    this.toHost = new FrameRing(memory, TO_HOST, RING_BYTES);
    this.toGuest = new FrameRing(memory, TO_GUEST, RING_BYTES);
  }

  /** OFFLOAD bits that the guest's driver takes: set by the machine, read by the daemon. */
  get offloads(): number {
    return Atomics.load(this.#words, WORD.offloads);
  }
  set offloads(bits: number) {
    Atomics.store(this.#words, WORD.offloads, bits);
  }

  /**
   * WANTS bits: what the host's side is to be woken for. It sets them before it looks for the last time, so that nothing
   * is missed; while it is at work and will look by itself, it need not be woken.
   */
  get hostWants(): number {
    return Atomics.load(this.#words, WORD.hostWants);
  }
  wake(bits: number, wanted: boolean): void {
    if (wanted) Atomics.or(this.#words, WORD.hostWants, bits);
    else Atomics.and(this.#words, WORD.hostWants, ~bits);
  }

  /** Whether the machine is to be woken when frames have been taken. */
  get machineWantsRoom(): boolean {
    return Atomics.load(this.#words, WORD.machineWants) !== 0;
  }
  set machineWantsRoom(wants: boolean) {
    Atomics.store(this.#words, WORD.machineWants, wants ? 1 : 0);
  }

  /** Whether the guest could be told of its link now. */
  get hasRoomForLink(): boolean {
    return this.toGuest.hasRoom(1);
  }

  /** Frames that the host was too slow to take, in a run whose guest must not see how slow it is. */
  get sentDropped(): number {
    return Atomics.load(this.#words, WORD.sentDropped);
  }
  countDropped(): void {
    Atomics.add(this.#words, WORD.sentDropped, 1);
  }
}

/** What a network device stands on. */
export interface NetBackend {
  /** Where a record of up to `bytes` bytes goes; null when there is no room now. */
  reserve(bytes: number): Uint8Array | null;
  commit(bytes: number): void;
  /** Records were sent: the other side may look. */
  flushSent(): void;
  /** Records were taken: there may be room for others. */
  flushTaken(): void;
  /** Between slices: the other side hears of what was sent some time ago. */
  poll(): void;
  /** Between slices: the next record from the host, in place until `taken`. */
  next(): Uint8Array | null;
  taken(): void;
  /** Whether something has come from the host; and whether there is room for a record. */
  readonly hasInput: boolean;
  readonly hasRoom: boolean;
  /** The driver takes these OFFLOAD bits from now on. */
  setOffloads(bits: number): void;
}

export interface PortBackendOptions {
  readonly port: NetPort;
  readonly index: number;
  readonly gate: InputGate;
  /** Wakes the daemon. */
  readonly ring: () => void;
  readonly nowMs: () => number;
  /**
   * In a run that must not depend on the host's speed: waits until there is room, and says whether there is. Null when
   * the device is to hold frames back.
   */
  readonly waitForRoom: ((hasRoom: () => boolean) => boolean) | null;
}

/** The machine's side of a port. */
export class PortBackend implements NetBackend {
  readonly #scratch = new Uint8Array(LONGEST_RECORD);
  #dropping = false;
  /** When the daemon was last told of frames, and whether there are others. */
  #rungMs = -Infinity;
  #untold = false;

  constructor(private readonly options: PortBackendOptions) {}

  reserve(bytes: number): Uint8Array | null {
    const { port, gate, waitForRoom } = this.options;
    this.#dropping = false;
    // In a replay there is nobody who would take it.
    const place = gate.replaying ? null : this.#reserve(bytes);
    if (place !== null || (waitForRoom === null && !gate.replaying)) return place;
    if (!gate.replaying && waitForRoom!(() => port.toHost.hasRoom(bytes))) return this.#reserve(bytes);
    if (!gate.replaying) port.countDropped();
    this.#dropping = true;
    return this.#scratch.subarray(0, bytes);
  }
  #reserve(bytes: number): Uint8Array | null {
    const { port } = this.options, place = port.toHost.reserve(bytes);
    if (place !== null) {
      if (port.machineWantsRoom) port.machineWantsRoom = false;
      return place;
    }
    // What is taken from now on is told of; what was taken just before is seen now.
    port.machineWantsRoom = true;
    return port.toHost.reserve(bytes);
  }
  commit(bytes: number): void {
    if (!this.#dropping) this.options.port.toHost.commit(bytes);
  }
  flushSent(): void {
    this.#untold = true;
    const { machineWantsRoom, toHost } = this.options.port;
    // A guest that waits for room sends no more that would ring.
    if (machineWantsRoom || toHost.usedBytes >= BELL_BYTES) this.flushLate();
    else this.poll();
  }
  poll(): void {
    if (this.#untold && this.options.nowMs() - this.#rungMs >= BELL_MS) this.flushLate();
  }
  /** The machine is about to sleep: the daemon hears of everything, and of what comes first after that. */
  rest(): void {
    this.flushLate();
    this.#rungMs = -Infinity;
  }
  /** Tells the daemon now, if there is something to tell. */
  flushLate(): void {
    if (!this.#untold) return;
    const { port, ring, nowMs } = this.options;
    this.#untold = false;
    // It looks by itself.
    if ((port.hostWants & WANTS.FRAMES) === 0) return;
    this.#rungMs = nowMs();
    ring();
  }
  flushTaken(): void {
    // What the guest sends next may be an answer, which somebody waits for.
    this.#rungMs = -Infinity;
    if ((this.options.port.hostWants & (WANTS.ROOM | WANTS.ROOM_FOR_LINK)) !== 0) this.options.ring();
  }

  next(): Uint8Array | null {
    const { gate, index, port } = this.options;
    return gate.frame(index, () => port.toGuest.peek());
  }
  taken(): void {
    const { gate, index, port } = this.options;
    gate.frameTaken(index, () => port.toGuest.release());
  }

  get hasInput(): boolean {
    return !this.options.gate.replaying && !this.options.port.toGuest.empty;
  }
  get hasRoom(): boolean {
    return this.options.gate.replaying || this.options.port.toHost.hasRoom(LONGEST_RECORD);
  }
  setOffloads(bits: number): void {
    this.options.port.offloads = bits;
  }
}
