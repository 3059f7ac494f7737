// Trace points: what the machine can tell about itself with `-d`. A point is declared once, as data, with its group and the
// function that words it, so that its arguments are typed where it is emitted and nothing is formatted while it is off.

/** Groups of `-d`, with the line that `-d help` shows. QEMU's names where QEMU has the group. */
export const TRACE_GROUPS = {
  guest_errors: "what a guest does wrong: accesses to nowhere, malformed device accesses",
  int: "exceptions taken and returned from",
  mmu: "translation faults and TLB maintenance",
  sysreg: "system register accesses that trap or are undefined",
  psci: "PSCI calls",
  device: "device register accesses",
} as const;

export type TraceGroup = keyof typeof TRACE_GROUPS;

const BITS = Object.fromEntries(
  Object.keys(TRACE_GROUPS).map((name, index) => [name, 1 << index]),
) as Record<TraceGroup, number>;

export const isTraceGroup = (name: string): name is TraceGroup => Object.hasOwn(TRACE_GROUPS, name);

/** One named place in the program that can be traced; A is what it is told. */
export interface TracePoint<A extends readonly unknown[]> {
  readonly group: TraceGroup;
  readonly name: string;
  readonly word: (...args: A) => string;
}

/** Declares a trace point: `tracePoint("psci", "call", (id: number) => …)`. */
export function tracePoint<A extends readonly unknown[]>(
  group: TraceGroup,
  name: string,
  word: (...args: A) => string,
): TracePoint<A> {
  return { group, name, word };
}

/** One machine's trace: which groups are on, and where the lines go. */
export class Tracer {
  /** One bit per group that is on, for the cheapest test in a warm path: `tracer.mask & Tracer.bit("int")`. */
  readonly mask: number;

  constructor(groups: Iterable<TraceGroup>, private readonly sink: (line: string) => void) {
    this.mask = [...groups].reduce((mask, group) => mask | BITS[group], 0);
  }

  static bit(group: TraceGroup): number {
    return BITS[group];
  }

  on(group: TraceGroup): boolean {
    return (this.mask & BITS[group]) !== 0;
  }

  /** Emits one line, `group.name: words`, if the point's group is on. */
  emit<A extends readonly unknown[]>(point: TracePoint<A>, ...args: A): void {
    if ((this.mask & BITS[point.group]) === 0) return;
    this.sink(`${point.group}.${point.name}: ${point.word(...args)}`);
  }
}

/** A tracer with every group off. */
export const silentTracer = (): Tracer => new Tracer([], () => {});
