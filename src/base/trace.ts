// Trace points: what the machine can tell about itself with `-d`. A point is declared once, as data, with its group and the
// function that words an event; the event's fields are typed where it is emitted, printed as text or as a JSON line, and
// nothing is made while the group is off. Every line says which vCPU was where, and can be filtered by that.

import type { TraceFilter } from "./trace_filter.ts";

/** Groups of `-d`, with the line that `-d help` shows. QEMU's names where QEMU has the group. */
export const TRACE_GROUPS = {
  in_asm: "instructions, when they are first predecoded",
  exec: "every run of instructions from one taken branch to the next (slow)",
  cpu: "registers before each line of exec",
  int: "exceptions taken and returned from",
  mmu: "translation faults and TLB maintenance",
  guest_errors: "what a guest does wrong: accesses to nowhere, malformed device accesses",
  unimp: "what a guest asks for and this machine does not have",
  sysreg: "system register accesses that trap or are undefined",
  gic: "interrupts: lines, acknowledged, ended; SGIs; list registers",
  timer: "timers: programmed, due",
  psci: "PSCI calls",
  device: "device register accesses",
} as const;

export type TraceGroup = keyof typeof TRACE_GROUPS;

const BITS = Object.fromEntries(
  Object.keys(TRACE_GROUPS).map((name, index) => [name, 1 << index]),
) as Record<TraceGroup, number>;

export const isTraceGroup = (name: string): name is TraceGroup => Object.hasOwn(TRACE_GROUPS, name);

/** How lines look: words for people, or an object per line. */
export type TraceFormat = "text" | "json";

/**
 * What a point tells. `cpu`, `el` and `pc` say where it happened if that is not where the running vCPU is now; `to` is
 * another exception level that takes part.
 */
export type TraceEvent = Readonly<Record<string, number | bigint | boolean | string | undefined>>;

/** One named place in the program that can be traced; E is what it tells. */
export interface TracePoint<E extends TraceEvent> {
  readonly group: TraceGroup;
  readonly name: string;
  readonly word: (event: E) => string;
}

/** Declares a trace point: `tracePoint("psci", "call", ({ id }: { id: number }) => …)`. */
export function tracePoint<E extends TraceEvent>(
  group: TraceGroup,
  name: string,
  word: (event: E) => string,
): TracePoint<E> {
  return { group, name, word };
}

/** Where a vCPU is. */
export interface TracePlace {
  readonly cpu: number;
  readonly el: number;
  readonly pc: bigint;
  /** The virtual machine whose stage 2 is loaded; undefined without stage 2. */
  readonly vmid: number | undefined;
  readonly asid: number;
  /** Instructions that it had retired when its exception level last changed, or its slice began. */
  readonly retired: number;
}

export interface TraceOptions {
  readonly format?: TraceFormat;
  /** Only events of vCPUs where this holds; events of no vCPU are left out then. */
  readonly filter?: TraceFilter | undefined;
}

/** One machine's trace: which groups are on, and where the lines go. */
export class Tracer {
  /** One bit per group that is on, for the cheapest test in a warm path: `tracer.mask & Tracer.bit("gic")`. */
  readonly mask: number;
  /** Where vCPU `cpu`, or the one that runs now, is; undefined between slices. The machine's answer. */
  place: (cpu?: number) => TracePlace | undefined = () => undefined;
  readonly #format: TraceFormat;
  readonly #filter: TraceFilter | undefined;

  constructor(groups: Iterable<TraceGroup>, private readonly sink: (line: string) => void, options: TraceOptions = {}) {
    this.mask = [...groups].reduce((mask, group) => mask | BITS[group], 0);
    this.#format = options.format ?? "text";
    this.#filter = options.filter;
  }

  static bit(group: TraceGroup): number {
    return BITS[group];
  }

  on(group: TraceGroup): boolean {
    return (this.mask & BITS[group]) !== 0;
  }

  /** Emits one line if the point's group is on and the filter lets it through. It happens `here`, if that is not now. */
  emit<E extends TraceEvent>(point: TracePoint<E>, event: E, here?: TracePlace): void {
    if ((this.mask & BITS[point.group]) === 0) return;
    const { cpu, el, pc, ...told } = event as TraceEvent;
    const at: Partial<TracePlace> = { ...here ?? this.place(cpu as number | undefined), ...defined({ cpu, el, pc }) };
    if (this.#filter !== undefined && !this.#filter.passes(at, event["to"] as number | undefined)) return;
    if (this.#format === "json") {
      this.sink(JSON.stringify({ group: point.group, point: point.name, ...at, ...told }, plain));
      return;
    }
    const where = [
      at.cpu === undefined ? "" : ` CPU ${at.cpu}`,
      at.el === undefined ? "" : ` EL${at.el}`,
      at.pc === undefined ? "" : ` ${hex(at.pc)}`,
    ];
    this.sink(`${point.group}.${point.name}${where.join("")}: ${point.word(event)}`);
  }
}

const defined = (fields: TraceEvent) => Object.fromEntries(Object.entries(fields).filter(([, v]) => v !== undefined));
/** JSON has no 64-bit integers: they are strings of hexadecimal digits. */
const plain = (_: string, value: unknown): unknown => typeof value === "bigint" ? hex(value) : value;

/** A number as trace lines write it. */
export const hex = (value: number | bigint): string => `0x${value.toString(16)}`;
/** The unsigned 64-bit number of two words. */
export const wide = (hi: number, lo: number): bigint => BigInt(hi >>> 0) << 32n | BigInt(lo >>> 0);

/** A tracer with every group off. */
export const silentTracer = (): Tracer => new Tracer([], () => {});
