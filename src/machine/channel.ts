// What the daemon thread and the machine's Worker share to talk to each other: a control block with a doorbell in each
// direction, and byte rings. It lies in the range of the shared memory that HOST_MAP calls `channel`; both sides build the
// same view over it. Neither side ever blocks the other: the machine sleeps on its bell only when it has nothing to run,
// the daemon only in `waitAsync`.

import { assert } from "../base/errors.ts";
import { ByteRing } from "../base/ring.ts";

/** Words of the control block. Each bell has its own cache line. */
const WORD = { machineBell: 0, machineWaiting: 1, daemonBell: 16, daemonWaiting: 17, requests: 32 } as const;
const CONTROL_BYTES = 256;

/** Ranges of the rings, as offsets from the channel's base. */
const LAYOUT = {
  uartInput: { at: 0x0001_0000, size: 0x0001_1000 },
  uartOutput: { at: 0x0004_0000, size: 0x0004_1000 },
  trace: { at: 0x0010_0000, size: 0x0010_1000 },
} as const;
const CHANNEL_BYTES = LAYOUT.trace.at + LAYOUT.trace.size;

/** What the daemon can ask of the machine, taken between slices. */
export const REQUEST = { STOP: 1, RESET: 2 } as const;

/** A counter in shared memory on which the thread that owns the bell sleeps. */
export class Doorbell {
  constructor(
    private readonly words: Int32Array<SharedArrayBuffer>,
    private readonly bell: number,
    private readonly waiting: number,
  ) {}

  /** Any thread: wakes the owner if it sleeps or is about to. Cheap when it does not. */
  ring(): void {
    if (Atomics.load(this.words, this.waiting) === 0) return;
    Atomics.add(this.words, this.bell, 1);
    Atomics.notify(this.words, this.bell);
  }

  /**
   * Owner, not on the main thread: sleeps until rung, at most `timeoutMs`. `idle` is asked after the intent to sleep is
   * visible, so that nothing that was queued before can be missed; if it says false, there is no sleep.
   */
  wait(idle: () => boolean, timeoutMs: number): void {
    const seen = Atomics.load(this.words, this.bell);
    Atomics.store(this.words, this.waiting, 1);
    if (idle()) Atomics.wait(this.words, this.bell, seen, timeoutMs);
    Atomics.store(this.words, this.waiting, 0);
  }

  /** Owner on the main thread: the same, as a promise. It does not keep the event loop alive by itself. */
  async waitAsync(idle: () => boolean, timeoutMs: number): Promise<void> {
    const seen = Atomics.load(this.words, this.bell);
    Atomics.store(this.words, this.waiting, 1);
    if (idle()) {
      const result = Atomics.waitAsync(this.words, this.bell, seen, timeoutMs);
      if (result.async) await result.value;
    }
    Atomics.store(this.words, this.waiting, 0);
  }
}

/** One side's view of the channel. */
export class Channel {
  /** The machine sleeps on it: input has come, there is room for output, or a request. */
  readonly machineBell: Doorbell;
  /** The daemon sleeps on it: output or trace lines have come, or there is room for input. */
  readonly daemonBell: Doorbell;
  /** Daemon → machine. Closed when the input has ended. */
  readonly uartInput: ByteRing;
  /** Machine → daemon. */
  readonly uartOutput: ByteRing;
  /** Machine → daemon: trace lines, UTF-8. */
  readonly trace: ByteRing;
  readonly #words: Int32Array<SharedArrayBuffer>;

  constructor(buffer: SharedArrayBuffer, base: number, sizeBytes: number) {
    assert(CHANNEL_BYTES <= sizeBytes, "the channel's range holds its rings");
    this.#words = new Int32Array(buffer, base, CONTROL_BYTES / 4);
    this.machineBell = new Doorbell(this.#words, WORD.machineBell, WORD.machineWaiting);
    this.daemonBell = new Doorbell(this.#words, WORD.daemonBell, WORD.daemonWaiting);
    const ring = (range: { at: number; size: number }) => new ByteRing(buffer, base + range.at, range.size);
    this.uartInput = ring(LAYOUT.uartInput);
    this.uartOutput = ring(LAYOUT.uartOutput);
    this.trace = ring(LAYOUT.trace);
  }

  /** Daemon, before the machine starts. */
  reset(): void {
    this.#words.fill(0);
    for (const ring of [this.uartInput, this.uartOutput, this.trace]) ring.reset();
  }

  /** Daemon: asks for REQUEST bits and wakes the machine. */
  request(bits: number): void {
    Atomics.or(this.#words, WORD.requests, bits);
    this.machineBell.ring();
  }

  /** Machine, between slices: the REQUEST bits since the last call. */
  takeRequests(): number {
    return Atomics.exchange(this.#words, WORD.requests, 0);
  }

  /**
   * Machine: one trace line. While the daemon is behind, the machine waits for it, for at most `patienceMs`; then the line
   * is dropped and counted.
   */
  writeTrace(line: string, patienceMs = 1000): void {
    const data = new TextEncoder().encode(line + "\n");
    if (this.trace.space < data.length) {
      this.daemonBell.ring();
      this.machineBell.wait(() => this.trace.space < data.length, patienceMs);
    }
    if (this.trace.space < data.length) this.trace.countDropped(1);
    else this.trace.write(data);
    this.daemonBell.ring();
  }

  /** Machine: whether a request waits (for the condition of a sleep). */
  get hasRequests(): boolean {
    return Atomics.load(this.#words, WORD.requests) !== 0;
  }
}
