// The one source of time in a machine. Devices, timers and counters read this and nothing else, so that a run can be
// repeated with time that follows the instruction count. A machine that is stopped stops its clock.

import { assert } from "./errors.ts";

/** Frequency of the system counter, CNTFRQ_EL0, as on QEMU's `virt`. */
export const COUNTER_HZ = 62_500_000;
/** Nanoseconds per tick. */
export const TICK_NS = 1e9 / COUNTER_HZ;
const TICKS_PER_MS = COUNTER_HZ / 1000;

export interface Clock {
  /** The system counter: a non-negative integer, monotonic, in units of 16 ns. */
  ticks(): number;
}

/** A clock that stands still while its machine is stopped. */
export interface MachineClock extends Clock {
  stop(): void;
  start(): void;
}

/** Host time: what has passed since the clock was made, less the time that it was stopped. */
export class HostClock implements MachineClock {
  /** Host milliseconds at which this clock would have read 0; while it is stopped, what it reads instead. */
  #originMs: number;
  #stoppedAtMs: number | null = null;
  #last = 0;

  /** `nowMs` is monotonic, in milliseconds with a fraction. */
  constructor(readonly nowMs: () => number = () => performance.now()) {
    this.#originMs = nowMs();
  }

  ticks(): number {
    const ms = (this.#stoppedAtMs ?? this.nowMs()) - this.#originMs;
    return this.#last = Math.max(this.#last, Math.floor(ms * TICKS_PER_MS));
  }

  stop(): void {
    this.#stoppedAtMs ??= this.nowMs();
  }

  start(): void {
    if (this.#stoppedAtMs === null) return;
    this.#originMs += this.nowMs() - this.#stoppedAtMs;
    this.#stoppedAtMs = null;
  }
}

/** Host time from now on. */
export const hostClock = (): HostClock => new HostClock();

/** What time that follows the instruction count is made of; whoever runs instructions keeps it. */
export interface InstructionTime {
  /** Instructions that all vCPUs together have retired, those of an unfinished slice included. */
  retired(): number;
  /** Nanoseconds that passed while no vCPU had anything to do. */
  skippedNs: number;
}

/** 2 ** shift nanoseconds per instruction, plus what was skipped. Stops by itself when nothing runs. */
export class InstructionClock implements MachineClock {
  #time: InstructionTime | undefined;
  readonly #nsPerInstruction: number;

  constructor(readonly shift: number) {
    assert(Number.isInteger(shift) && shift >= 0 && shift <= 10, "an instruction takes 1 to 1024 ns");
    this.#nsPerInstruction = 2 ** shift;
  }

  /** Counts the instructions of `time` from now on. */
  follow(time: InstructionTime): void {
    this.#time = time;
  }

  /** Virtual nanoseconds. */
  ns(): number {
    const time = this.#time;
    return time === undefined ? 0 : time.retired() * this.#nsPerInstruction + time.skippedNs;
  }

  ticks(): number {
    return Math.floor(this.ns() / TICK_NS);
  }

  /** Instructions until the counter reads at least `ticks`; 0 if it does. */
  instructionsUntil(ticks: number): number {
    return Math.max(0, Math.ceil((ticks * TICK_NS - this.ns()) / this.#nsPerInstruction));
  }

  /** Lets time pass to `ticks` without instructions. */
  skipTo(ticks: number): void {
    const time = this.#time;
    assert(time !== undefined, "the clock follows a machine");
    time.skippedNs += Math.max(0, ticks * TICK_NS - this.ns());
  }

  stop(): void {}
  start(): void {}
}

/** Milliseconds on a clock that all threads of this process share, for distances between them. */
export const sharedNowMs = (): number => performance.timeOrigin + performance.now();

/** Host wall time in seconds since 1970, for the real-time clock. */
export const hostWallSeconds = (): number => Date.now() / 1000;
