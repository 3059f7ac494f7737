// The PL031 real-time clock, by Arm DDI 0224: a counter of seconds with one match interrupt. The host's wall time is
// handed in; what the guest sets is kept as a distance to it. Left out: the integration test registers.

import { struct, type View } from "../src/base/struct.ts";
import type { MmioRegion } from "../src/memory/bus.ts";
import type { Line } from "../src/memory/line.ts";
import { type GuestErrors, primeCellIdentification, RegisterMap } from "./registers.ts";

export const PL031_STATE = struct("pl031", {
  /** Guest seconds minus wall seconds, modulo 2^32. */
  offset: "u32",
  match: "u32",
  load: "u32",
  imsc: "u32",
  ris: "u32",
  level: "u32",
  /** Wall second at which the counter meets `match`; Infinity when that has happened. */
  alarm: "f64",
});

const REGISTERS = new RegisterMap<Pl031>(0x1000, [
  { at: 0x000, name: "RTCDR", bits: "DATA:32", read: (d) => d.count() },
  { at: 0x004, name: "RTCMR", bits: "MATCH:32", read: (d) => d.state.match, write: (d, v) => d.writeMatch(v) },
  { at: 0x008, name: "RTCLR", bits: "LOAD:32", read: (d) => d.state.load, write: (d, v) => d.writeLoad(v) },
  // The counter always runs: writing 0 has no effect, as on the hardware once it was started.
  { at: 0x00c, name: "RTCCR", bits: "RES0:31 EN:1", read: () => 1, write: () => {} },
  { at: 0x010, name: "RTCIMSC", bits: "RES0:31 IM:1", read: (d) => d.state.imsc, write: (d, v) => d.writeMask(v) },
  { at: 0x014, name: "RTCRIS", bits: "RES0:31 RIS:1", read: (d) => d.state.ris },
  { at: 0x018, name: "RTCMIS", bits: "RES0:31 MIS:1", read: (d) => d.state.ris & d.state.imsc },
  { at: 0x01c, name: "RTCICR", bits: "RES0:31 ICR:1", write: (d, v) => d.clear(v) },
  ...primeCellIdentification<Pl031>([0x31, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1]),
]);

export interface Pl031Options {
  readonly base: number;
  readonly memory: ArrayBufferLike;
  /** Byte address of PL031_STATE in `memory`. */
  readonly stateBase: number;
  readonly line: Line;
  /** Seconds since 1970. */
  readonly wallSeconds: () => number;
  readonly guestErrors: GuestErrors;
}

export class Pl031 implements MmioRegion {
  readonly name = "pl031";
  readonly base: number;
  readonly size = 0x1000;
  readonly state: View<typeof PL031_STATE.spec>;
  readonly guestErrors: GuestErrors;
  readonly #line: Line;
  readonly #wallSeconds: () => number;

  constructor(options: Pl031Options) {
    this.base = options.base;
    this.state = PL031_STATE.at(options.memory, options.stateBase);
    this.guestErrors = options.guestErrors;
    this.#line = options.line;
    this.#wallSeconds = options.wallSeconds;
    this.state.offset = 0;
    this.reset();
  }

  /** Resets all but the time of day, which keeps running. */
  reset(): void {
    const offset = this.state.offset;
    this.state.bytes.fill(0);
    this.state.offset = offset;
    this.state.alarm = Infinity;
    this.#line(false);
  }

  read(offset: number, bytes: number): number {
    return REGISTERS.read(this, offset, bytes);
  }

  write(offset: number, bytes: number, value: number): void {
    REGISTERS.write(this, offset, bytes, value);
  }

  /** Between slices: raises the match interrupt when its time has come. */
  pump(): void {
    if (this.state.alarm > this.#now()) return;
    this.state.alarm = Infinity;
    this.state.ris = 1;
    this.#update();
  }

  /** Seconds until `pump` has something to do; Infinity when there is nothing. */
  secondsToAlarm(): number {
    return this.state.alarm === Infinity ? Infinity : Math.max(0, this.state.alarm - this.#wallSeconds());
  }

  count(): number {
    return (this.#now() + this.state.offset) >>> 0;
  }

  writeMatch(value: number): void {
    this.state.match = value;
    this.#arm();
  }

  writeLoad(value: number): void {
    this.state.load = value;
    this.state.offset = (value - this.#now()) >>> 0;
    this.#arm();
  }

  writeMask(value: number): void {
    this.state.imsc = value;
    this.#update();
  }

  clear(bits: number): void {
    this.state.ris &= ~bits;
    this.#update();
  }

  #now(): number {
    return Math.floor(this.#wallSeconds());
  }

  #arm(): void {
    this.state.alarm = this.#now() + ((this.state.match - this.count()) >>> 0);
    this.pump();
  }

  #update(): void {
    const level = this.state.ris & this.state.imsc;
    if (level === this.state.level) return;
    this.state.level = level;
    this.#line(level === 1);
  }
}
