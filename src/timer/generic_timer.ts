// The generic timers of each vCPU (DDI 0487 "The Generic Timer in AArch64 state"): physical and virtual counter, the EL1
// physical and virtual timers, the EL2 physical timer and, with VHE, the EL2 virtual timer, and the event streams. State is
// in the vCPU's system registers; this reads them through the interface TimerRegisters and the time through one Clock.
// Left out: the secure physical timer, the memory-mapped timers, CNTPOFF_EL2 and self-synchronised views (FEAT_ECV).

import { assert } from "../base/errors.ts";
import { type Clock, COUNTER_HZ } from "../base/clock.ts";
import { hex, silentTracer, tracePoint, Tracer } from "../base/trace.ts";
import type { Line } from "../memory/line.ts";

/** The system registers of one vCPU that this needs, as low and high words: a view of the machine's own registers. */
export interface TimerRegisters {
  CNTP_CTL_EL0Lo: number;
  CNTP_CVAL_EL0Lo: number;
  CNTP_CVAL_EL0Hi: number;
  CNTV_CTL_EL0Lo: number;
  CNTV_CVAL_EL0Lo: number;
  CNTV_CVAL_EL0Hi: number;
  CNTHP_CTL_EL2Lo: number;
  CNTHP_CVAL_EL2Lo: number;
  CNTHP_CVAL_EL2Hi: number;
  CNTHV_CTL_EL2Lo: number;
  CNTHV_CVAL_EL2Lo: number;
  CNTHV_CVAL_EL2Hi: number;
  CNTVOFF_EL2Lo: number;
  CNTVOFF_EL2Hi: number;
  CNTKCTL_EL1Lo: number;
  CNTHCTL_EL2Lo: number;
}

const CTL = { ENABLE: 1 << 0, IMASK: 1 << 1, ISTATUS: 1 << 2 } as const;
/** CNTKCTL_EL1 and CNTHCTL_EL2. */
const EVENT = { EVNTEN: 1 << 2, EVNTDIR: 1 << 3, EVNTI_SHIFT: 4 } as const;

/** Private interrupt of each timer. */
export const TIMER_INTERRUPTS = { CNTP: 30, CNTV: 27, CNTHP: 26, CNTHV: 28 } as const;

/** A timer: its registers and their words, its interrupt, and whether CNTVOFF_EL2 applies. */
function timer<N extends keyof typeof TIMER_INTERRUPTS, E extends "EL0" | "EL2">(name: N, el: E, offset: boolean) {
  return {
    name,
    ctl: `${name}_CTL_${el}`,
    cval: `${name}_CVAL_${el}`,
    tval: `${name}_TVAL_${el}`,
    ctlLow: `${name}_CTL_${el}Lo`,
    cvalLow: `${name}_CVAL_${el}Lo`,
    cvalHigh: `${name}_CVAL_${el}Hi`,
    interrupt: TIMER_INTERRUPTS[name],
    offset,
  } as const;
}

const TIMERS = [
  timer("CNTP", "EL0", false),
  timer("CNTV", "EL0", true),
  timer("CNTHP", "EL2", false),
  timer("CNTHV", "EL2", false),
] as const;
type Timer = typeof TIMERS[number];

interface Programmed {
  readonly cpu: number;
  readonly timer: string;
  readonly enabled: boolean;
  readonly masked: boolean;
  readonly compare: bigint;
  /** Ticks until the condition is met; 0 or less when it is. */
  readonly distance: bigint;
}
const PROGRAMMED = tracePoint("timer", "programmed", (t: Readonly<Programmed>) => {
  if (!t.enabled) return `${t.timer} disabled, at ${hex(t.compare)}`;
  const at = t.distance <= 0n ? "due" : `due in ${(Number(t.distance) * 1e6 / COUNTER_HZ).toFixed(1)} us`;
  return `${t.timer} ${t.masked ? "masked" : "enabled"}, at ${hex(t.compare)}, ${at}`;
});
const DUE = tracePoint(
  "timer",
  "due",
  ({ target, timer, interrupt, due }: { target: number; timer: string; interrupt: number; due: boolean }) =>
    `${timer} of CPU ${target} ${due ? "raises" : "lowers"} interrupt ${interrupt}`,
);
const TIMER = Tracer.bit("timer");

const CONTROLS = [["CNTKCTL_EL1", "CNTKCTL_EL1Lo", 0x3ffn], ["CNTHCTL_EL2", "CNTHCTL_EL2Lo", 0xfffn]] as const;

const WORD = 2 ** 32, ALL = 2n ** 64n - 1n;

export interface TimerOptions {
  readonly clock: Clock;
  /** One per vCPU. */
  readonly registers: readonly TimerRegisters[];
  /** The line of a private interrupt of a vCPU. */
  readonly line: (cpu: number, intid: number) => Line;
  /** Called when a write may have moved the next deadline of a vCPU, so that a slice can be cut shorter. */
  readonly rearmed?: (cpu: number) => void;
  readonly trace?: Tracer;
}

interface Access {
  read(cpu: number): bigint;
  write?(cpu: number, value: bigint): void;
}

export class GenericTimers {
  readonly #clock: Clock;
  readonly #registers: readonly TimerRegisters[];
  readonly #lines: readonly (readonly Line[])[];
  readonly #rearmed: (cpu: number) => void;
  readonly #sysregs: ReadonlyMap<string, Access>;
  readonly #trace: Tracer;
  /** While tracing: the lines that are asserted, a bit for each timer, by vCPU. */
  readonly #asserting: number[] = [];

  constructor(options: TimerOptions) {
    this.#clock = options.clock;
    this.#registers = options.registers;
    this.#lines = options.registers.map((_, cpu) => TIMERS.map((t) => options.line(cpu, t.interrupt)));
    this.#rearmed = options.rearmed ?? (() => {});
    this.#trace = options.trace ?? silentTracer();
    this.#sysregs = this.#makeSysregs();
  }

  /** Names readSysreg and writeSysreg accept. */
  get sysregs(): readonly string[] {
    return [...this.#sysregs.keys()];
  }

  /** Reads a counter or timer register. At EL2 with E2H, and at EL0 with E2H and TGE, read CNTPCT_EL0 for CNTVCT_EL0. */
  readSysreg(name: string, cpu: number): bigint {
    return this.#find(name).read(cpu);
  }

  /** Writes a timer register and drives the interrupt lines that change. The counters are read-only: ignored. */
  writeSysreg(name: string, cpu: number, value: bigint): void {
    this.#find(name).write?.(cpu, value & ALL);
  }

  /** Drives the interrupt lines of a vCPU by the time now. */
  update(cpu: number): void {
    const now = this.#clock.ticks(), lines = this.#lines[cpu]!;
    if ((this.#trace.mask & TIMER) !== 0) this.#traceDue(cpu, now);
    for (let i = 0; i < TIMERS.length; i++) lines[i]!(this.#asserted(TIMERS[i]!, cpu, now));
  }

  #traceDue(target: number, now: number): void {
    const before = this.#asserting[target] ?? 0;
    let after = 0;
    for (const [i, timer] of TIMERS.entries()) {
      const due = this.#asserted(timer, target, now);
      if (due) after |= 1 << i;
      if (due === ((before >> i & 1) !== 0)) continue;
      this.#trace.emit(DUE, { target, timer: timer.name, interrupt: timer.interrupt, due });
    }
    this.#asserting[target] = after;
  }

  #traceProgrammed(timer: Timer, cpu: number): void {
    const control = this.#registers[cpu]![timer.ctlLow], compare = this.#compareValue(timer, cpu);
    this.#trace.emit(PROGRAMMED, {
      cpu,
      timer: timer.name,
      enabled: (control & CTL.ENABLE) !== 0,
      masked: (control & CTL.IMASK) !== 0,
      compare,
      distance: compare - this.#count(timer.offset, cpu, this.#clock.ticks()),
    });
  }

  /** The tick (of the clock, absolute) at which an interrupt line next changes by itself; Infinity if none will. */
  nextDeadline(cpu: number): number {
    const now = this.#clock.ticks(), r = this.#registers[cpu]!;
    let deadline = Infinity;
    for (const timer of TIMERS) {
      if ((r[timer.ctlLow] & (CTL.ENABLE | CTL.IMASK)) !== CTL.ENABLE) continue;
      deadline = Math.min(deadline, this.#nextChange(timer, cpu, now));
    }
    return deadline;
  }

  /** The tick (absolute, after now) of the next event from an enabled event stream, which ends WFE; Infinity if none. */
  nextStreamEvent(cpu: number): number {
    const now = this.#clock.ticks(), r = this.#registers[cpu]!;
    return Math.min(
      nextTransition(r.CNTHCTL_EL2Lo, now % WORD, now),
      nextTransition(r.CNTKCTL_EL1Lo, (now - r.CNTVOFF_EL2Lo) % WORD, now),
    );
  }

  /** ENABLE and not IMASK and ISTATUS. */
  #asserted(timer: Timer, cpu: number, now: number): boolean {
    const control = this.#registers[cpu]![timer.ctlLow];
    return (control & (CTL.ENABLE | CTL.IMASK)) === CTL.ENABLE && this.#conditionMet(timer, cpu, now);
  }

  /** Counter - offset >= CVAL, all modulo 2^64 and unsigned. */
  #conditionMet(timer: Timer, cpu: number, now: number): boolean {
    const r = this.#registers[cpu]!;
    let low = now % WORD, high = Math.floor(now / WORD);
    if (timer.offset) {
      low -= r.CNTVOFF_EL2Lo;
      high = (high - r.CNTVOFF_EL2Hi - (low < 0 ? 1 : 0)) >>> 0;
      low = low >>> 0;
    }
    const compareHigh = r[timer.cvalHigh];
    return high > compareHigh || (high === compareHigh && low >= r[timer.cvalLow]);
  }

  /** When the condition of a timer becomes true or, as its counter wraps, false. */
  #nextChange(timer: Timer, cpu: number, now: number): number {
    const count = this.#count(timer.offset, cpu, now), compare = this.#compareValue(timer, cpu);
    // The counter is never below 0.
    if (compare === 0n) return Infinity;
    const delta = count < compare ? compare - count : ALL + 1n - count;
    const at = BigInt(now) + delta;
    // A clock never gets beyond exact integers.
    return at <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(at) : Infinity;
  }

  #count(offset: boolean, cpu: number, now: number): bigint {
    return offset ? (BigInt(now) - this.#offset(cpu)) & ALL : BigInt(now);
  }

  #offset(cpu: number): bigint {
    const r = this.#registers[cpu]!;
    return (BigInt(r.CNTVOFF_EL2Hi) << 32n) | BigInt(r.CNTVOFF_EL2Lo);
  }

  #compareValue(timer: Timer, cpu: number): bigint {
    const r = this.#registers[cpu]!;
    return (BigInt(r[timer.cvalHigh]) << 32n) | BigInt(r[timer.cvalLow]);
  }

  #setCompareValue(timer: Timer, cpu: number, value: bigint): void {
    const r = this.#registers[cpu]!;
    r[timer.cvalLow] = Number(value & 0xffffffffn);
    r[timer.cvalHigh] = Number((value >> 32n) & 0xffffffffn);
    this.#programmed(timer, cpu);
  }

  #programmed(timer: Timer, cpu: number): void {
    if ((this.#trace.mask & TIMER) !== 0) this.#traceProgrammed(timer, cpu);
    this.#changed(cpu);
  }

  #changed(cpu: number): void {
    this.update(cpu);
    this.#rearmed(cpu);
  }

  #find(name: string): Access {
    const register = this.#sysregs.get(name);
    assert(register, `${name} is a register of the generic timers`);
    return register;
  }

  #makeSysregs(): Map<string, Access> {
    const map = new Map<string, Access>([
      ["CNTPCT_EL0", { read: () => BigInt(this.#clock.ticks()) }],
      ["CNTVCT_EL0", { read: (cpu) => this.#count(true, cpu, this.#clock.ticks()) }],
      ["CNTVOFF_EL2", {
        read: (cpu) => this.#offset(cpu),
        write: (cpu, value) => {
          const r = this.#registers[cpu]!;
          r.CNTVOFF_EL2Lo = Number(value & 0xffffffffn);
          r.CNTVOFF_EL2Hi = Number(value >> 32n);
          this.#changed(cpu);
        },
      }],
    ]);
    // They configure event streams here; the CPU looks at their access enables. CNTHCTL_EL2 is wider with E2H.
    for (const [name, low, mask] of CONTROLS) {
      map.set(name, {
        read: (cpu) => BigInt(this.#registers[cpu]![low]),
        write: (cpu, value) => {
          this.#registers[cpu]![low] = Number(value & mask);
          this.#rearmed(cpu);
        },
      });
    }
    for (const timer of TIMERS) {
      map.set(timer.ctl, {
        read: (cpu) => {
          // ISTATUS is UNKNOWN while the timer is disabled: 0.
          const control = this.#registers[cpu]![timer.ctlLow] & (CTL.ENABLE | CTL.IMASK);
          const met = control & CTL.ENABLE && this.#conditionMet(timer, cpu, this.#clock.ticks());
          return BigInt(control | (met ? CTL.ISTATUS : 0));
        },
        write: (cpu, value) => {
          this.#registers[cpu]![timer.ctlLow] = Number(value & 3n);
          this.#programmed(timer, cpu);
        },
      });
      map.set(timer.cval, {
        read: (cpu) => this.#compareValue(timer, cpu),
        write: (cpu, value) => this.#setCompareValue(timer, cpu, value),
      });
      map.set(timer.tval, {
        read: (cpu) =>
          (this.#compareValue(timer, cpu) - this.#count(timer.offset, cpu, this.#clock.ticks())) & 0xffffffffn,
        write: (cpu, value) => {
          const count = this.#count(timer.offset, cpu, this.#clock.ticks());
          this.#setCompareValue(timer, cpu, (count + BigInt.asIntN(32, value)) & ALL);
        },
      });
    }
    return map;
  }
}

/** When bit EVNTI of a counter next changes in the direction of EVNTDIR (0: from 0 to 1); `count` modulo 2^32, may be negative. */
function nextTransition(control: number, count: number, now: number): number {
  if (!(control & EVENT.EVNTEN)) return Infinity;
  const half = 2 ** ((control >>> EVENT.EVNTI_SHIFT) & 15), period = half * 2;
  const phase = control & EVENT.EVNTDIR ? 0 : half;
  const distance = (phase - (count >>> 0) % period + period) % period;
  return now + (distance || period);
}
