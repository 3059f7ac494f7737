// What the daemon thread and the machine's Worker share to talk to each other: a control block with a doorbell in each
// direction, and byte rings. It lies in the range of the shared memory that HOST_MAP calls `channel`; both sides build the
// same view over it. Neither side ever blocks the other: the machine sleeps on its bell only when it has nothing to run,
// the daemon only in `waitAsync`.

import { sharedNowMs } from "../base/clock.ts";
import { assert } from "../base/errors.ts";
import { ByteRing } from "../base/ring.ts";

/** Words of the control block. Each bell has its own cache line: the bell, whether its owner waits, when it was rung. */
const WORD = { machineBell: 0, daemonBell: 16, requests: 32 } as const;
const BELL = { COUNT: 0, WAITING: 1, RUNG_MS: 2 } as const;
const CONTROL_BYTES = 256;

/** Ranges of the rings, as offsets from the channel's base. */
const LAYOUT = {
  uartInput: { at: 0x0001_0000, size: 0x0001_1000 },
  uartOutput: { at: 0x0004_0000, size: 0x0004_1000 },
  trace: { at: 0x0010_0000, size: 0x0010_1000 },
  inputLog: { at: 0x0038_0000, size: 0x0004_1000 },
} as const;
const CHANNEL_BYTES = LAYOUT.inputLog.at + LAYOUT.inputLog.size;

/** What the daemon can ask of the machine, taken between slices. */
export const REQUEST = { QUIT: 1, RESET: 2, STOP: 4, CONTINUE: 8, DEBUG: 16 } as const;

/** A counter in shared memory on which the thread that owns the bell sleeps. */
export class Doorbell {
  private readonly bell: number;
  private readonly waiting: number;
  private readonly rungMs: Float64Array<SharedArrayBuffer>;

  /** `first` is the first of the bell's words. */
  constructor(private readonly words: Int32Array<SharedArrayBuffer>, first: number) {
    this.bell = first + BELL.COUNT;
    this.waiting = first + BELL.WAITING;
    this.rungMs = new Float64Array(words.buffer, words.byteOffset + (first + BELL.RUNG_MS) * 4, 1);
  }

  /** Any thread: wakes the owner if it sleeps or is about to. Cheap when it does not. */
  ring(): void {
    if (this.rungMs[0] === 0) this.rungMs[0] = sharedNowMs();
    if (Atomics.load(this.words, this.waiting) === 0) return;
    Atomics.add(this.words, this.bell, 1);
    Atomics.notify(this.words, this.bell);
  }

  /** Owner: when the bell was first rung since the last call, as sharedNowMs(); null if it was not. */
  takeRungMs(): number | null {
    const ms = this.rungMs[0]!;
    if (ms === 0) return null;
    this.rungMs[0] = 0;
    return ms;
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
  /** Machine → daemon: the input log that is being recorded. */
  readonly inputLog: ByteRing;
  readonly #words: Int32Array<SharedArrayBuffer>;

  constructor(readonly buffer: SharedArrayBuffer, base: number, sizeBytes: number) {
    assert(CHANNEL_BYTES <= sizeBytes, "the channel's range holds its rings");
    this.#words = new Int32Array(buffer, base, CONTROL_BYTES / 4);
    this.machineBell = new Doorbell(this.#words, WORD.machineBell);
    this.daemonBell = new Doorbell(this.#words, WORD.daemonBell);
    const ring = (range: { at: number; size: number }) => new ByteRing(buffer, base + range.at, range.size);
    this.uartInput = ring(LAYOUT.uartInput);
    this.uartOutput = ring(LAYOUT.uartOutput);
    this.trace = ring(LAYOUT.trace);
    this.inputLog = ring(LAYOUT.inputLog);
  }

  /** Daemon, before the machine starts. */
  reset(): void {
    this.#words.fill(0);
    for (const ring of [this.uartInput, this.uartOutput, this.trace, this.inputLog]) ring.reset();
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

  /** Machine: all of `data`, waiting for room until `givesUp`; rings at the end if the daemon is `unheard` of. */
  writeWhole(
    ring: ByteRing,
    data: Uint8Array,
    givesUp: () => boolean = () => false,
    unheard: () => boolean = () => true,
  ): void {
    for (let rest = data.subarray(ring.write(data)); rest.length > 0; rest = rest.subarray(ring.write(rest))) {
      this.daemonBell.ring();
      if (givesUp()) return;
      this.machineBell.wait(() => ring.space === 0 && !givesUp(), 1000);
    }
    if (unheard()) this.daemonBell.ring();
  }

  /** Machine: whether the daemon wants it to end. */
  get quitting(): boolean {
    return (Atomics.load(this.#words, WORD.requests) & REQUEST.QUIT) !== 0;
  }

  /** Machine: looks for a request for at most `limitMs`; whether there is one. */
  spin(limitMs: number): boolean {
    for (const end = sharedNowMs() + limitMs; sharedNowMs() < end;) {
      for (let n = 0; n < 100; n++) if (this.hasRequests) return true;
    }
    return false;
  }

  /** Machine: whether a request waits (for the condition of a sleep). */
  get hasRequests(): boolean {
    return Atomics.load(this.#words, WORD.requests) !== 0;
  }
}
