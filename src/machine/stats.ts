// `-stats`: the counters of a machine as data and as a table. Both are made from shared memory alone, so that the daemon
// can read them while the machine runs.

import { assert, HostError, reason } from "../base/errors.ts";
import { CALLS, COUNTERS, type Counters, COUNTERS_OFFSET, countersAt, EXCEPTION_NAMES } from "../cpu/counters.ts";
import { VCPU } from "../cpu/vcpu.ts";
import { HELPER_NAMES, type Imports, signature } from "../jit/linker.ts";
import { VCPU_BLOCK, vcpuBase } from "../memory/host_map.ts";
import { latencyStats } from "./latency.ts";

type Table = Readonly<Record<string, number>>;

/** What one vCPU, or all of them together, did. Names of what never happened are absent. */
export interface CpuStats {
  /** Retired instructions: `total`, by level (`el0`, …) and by tier. */
  readonly instructions: Table;
  /** By target level and class, with ESR_ELx's classes by the names in src/arch/esr.ts. */
  readonly exceptions: { readonly el1: Table; readonly el2: Table };
  /** Exception returns by the level they came from. */
  readonly returns: Table;
  /** Misses of the TLBs in generated code, walks, faults, accesses to devices and predecoded pages, TLBI instructions. */
  readonly memory: Table;
  /** Calls of TypeScript by generated code. */
  readonly calls: Table;
  readonly predecoded: number;
  readonly slices: Table;
}

export interface Stats {
  /** Host time since the machine was started. */
  readonly seconds: number;
  readonly total: CpuStats;
  readonly cpus: readonly CpuStats[];
  /** Interrupts for events from outside, and how long they took to the guest's vector: see latency.ts. */
  readonly latency: Table;
}

/** What generated code imports, in the order in which calls are counted. */
const CALLED = [...HELPER_NAMES, "dataRead", "dataWrite", "fetch", "predecode", "marked"] as const;
assert(CALLED.length <= CALLS, "every import has its counter");
assert(COUNTERS_OFFSET === VCPU_BLOCK.counters, "the counters lie where the map has them");

/** The same imports, counting their calls. Each keeps its number of parameters, which makes calls from Wasm direct. */
export function countCalls(imports: Imports, buffer: ArrayBufferLike): Imports {
  const counters = new Float64Array(buffer), first = COUNTERS_OFFSET + COUNTERS.offset.calls;
  type F = (cpu: number, ...rest: never[]) => number | bigint | void;
  const counted = (name: string, f: F): F => {
    const at = first + 8 * CALLED.indexOf(name as typeof CALLED[number]), g = f as (...args: unknown[]) => number;
    assert(at >= first, `calls of ${name} have a counter`);
    switch (signature(name).params.length) {
      case 1:
        return (cpu: number) => {
          counters[(cpu + at) >>> 3]!++;
          return g(cpu);
        };
      case 2:
        return (cpu: number, a: unknown) => {
          counters[(cpu + at) >>> 3]!++;
          return g(cpu, a);
        };
      case 3:
        return (cpu: number, a: unknown, b: unknown) => {
          counters[(cpu + at) >>> 3]!++;
          return g(cpu, a, b);
        };
      case 4:
        return (cpu: number, a: unknown, b: unknown, c: unknown) => {
          counters[(cpu + at) >>> 3]!++;
          return g(cpu, a, b, c);
        };
      default:
        return (cpu: number, a: unknown, b: unknown, c: unknown, d: unknown) => {
          counters[(cpu + at) >>> 3]!++;
          return g(cpu, a, b, c, d);
        };
    }
  };
  return Object.fromEntries(Object.entries(imports).map(([name, f]) => [name, counted(name, f)])) as Imports;
}

const nonzero = (entries: Iterable<readonly [string, number]>): Table =>
  Object.fromEntries([...entries].filter(([, count]) => count !== 0));

function cpuStats(counters: Counters, retired: number, level: number): CpuStats {
  const levels = [...counters.retired];
  levels[level]! += Math.max(0, retired - counters.accounted);
  const total = levels.reduce((sum, count) => sum + count, 0);
  const calls = nonzero(CALLED.map((name, n) => [name, counters.calls[n]!]));
  const classes = (counts: Float64Array) => nonzero(EXCEPTION_NAMES.map((name, n) => [name, counts[n]!]));
  return {
    instructions: { total, tier0: total, ...Object.fromEntries(levels.map((count, el) => [`el${el}`, count])) },
    exceptions: { el1: classes(counters.exceptionsToEl1), el2: classes(counters.exceptionsToEl2) },
    returns: nonzero([["el1", counters.returns[1]!], ["el2", counters.returns[2]!]]),
    memory: nonzero([
      ["readMisses", calls["dataRead"] ?? 0],
      ["writeMisses", calls["dataWrite"] ?? 0],
      ["fetchMisses", calls["fetch"] ?? 0],
      ["walks", counters.walks],
      ["faults", counters.faults],
      ["deviceReads", counters.deviceReads],
      ["deviceWrites", counters.deviceWrites],
      ["codeWrites", counters.codeWrites],
      ["invalidations", counters.invalidations],
    ]),
    calls,
    predecoded: counters.predecoded,
    slices: { run: counters.slices, cutShort: counters.kicks },
  };
}

/** Reads the counters of a machine with `cpus` vCPUs. */
export function readStats(buffer: ArrayBufferLike, cpus: number, seconds: number): Stats {
  const each = Array.from({ length: cpus }, (_, n) => {
    const base = vcpuBase(n), state = VCPU.at(buffer, base);
    return cpuStats(countersAt(buffer, base), state.retired, state.el);
  });
  return { seconds, total: each.reduce(add), cpus: each, latency: latencyStats(buffer) };
}

/** Adds up two reports of the same shape. */
function add<T extends object>(a: T, b: T): T {
  const sum: Record<string, unknown> = Object.fromEntries(Object.entries(a));
  for (const [key, value] of Object.entries(b)) {
    const other = sum[key];
    if (typeof value === "object" && value !== null) {
      sum[key] = other === undefined ? value : add(other as object, value);
    } else sum[key] = ((other as number | undefined) ?? 0) + (value as number);
  }
  return sum as T;
}

/** Lines for people: everything of all vCPUs together, the largest first. */
export function statsTable({ seconds, total, cpus, latency }: Stats): string[] {
  const lines: string[] = [];
  const put = (name: string, value: number, note = "") =>
    lines.push(`  ${name.padEnd(34)} ${value.toLocaleString("en-US").padStart(16)}${note}`);
  const section = (title: string, table: Table, prefix = "") => {
    const rows = Object.entries(table).sort(([, a], [, b]) => b - a);
    if (rows.length === 0) return;
    lines.push(title);
    for (const [name, value] of rows) put(prefix + name, value);
  };
  const { instructions } = total, mips = instructions["total"]! / seconds / 1e6;
  lines.push(`${cpus.length} vCPU${cpus.length === 1 ? "" : "s"}, ${seconds.toFixed(2)} s`, "instructions");
  put("total", instructions["total"]!, `  ${mips.toFixed(1)} million/s`);
  for (const el of ["el0", "el1", "el2"]) put(el, instructions[el]!);
  section("exceptions to EL1", total.exceptions.el1);
  section("exceptions to EL2", total.exceptions.el2);
  section("exception returns", total.returns, "from ");
  section("memory", total.memory);
  section("calls of TypeScript by generated code", total.calls);
  section("engine", {
    predecoded: total.predecoded,
    slices: total.slices["run"]!,
    slicesCutShort: total.slices["cutShort"]!,
  });
  section("interrupts for events from outside", latency);
  return lines;
}

/** Opens the file that `-stats` names, and answers what writes a report there as JSON; "-" is a table on stderr. */
export function openStats(path: string): (stats: Stats) => void {
  if (path === "-") return (stats) => writeAllSync(Deno.stderr, statsTable(stats).join("\n") + "\n");
  try {
    const file = Deno.openSync(path, { write: true, create: true, truncate: true });
    return (stats) => {
      writeAllSync(file, JSON.stringify(stats, null, 2) + "\n");
      file.close();
    };
  } catch (error) {
    throw new HostError(`cannot open ${path}: ${reason(error)}`);
  }
}

function writeAllSync(to: { writeSync(data: Uint8Array): number }, text: string): void {
  const data = new TextEncoder().encode(text);
  for (let at = 0; at < data.length;) at += to.writeSync(data.subarray(at));
}
