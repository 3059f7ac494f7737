// Watchpoints: a context and a range of virtual addresses. While there are any, the machine runs code that compares every
// access with the ranges of the vCPU's context; an access that touches one comes here, and the vCPU stops before the
// instruction, as gdb expects of AArch64. Accesses of devices are not seen.

import { DEBUGGER_WATCHES, vcpuBase, WATCH_AREA, WATCH_BYTES, watchWords } from "../../memory/host_map.ts";
import { WATCH_READ, WATCH_WRITE, type Watcher } from "../../mmu/access.ts";
import type { StopReason, Watchpoint } from "../../../gdbstub/target.ts";
import type { Machine } from "../machine.ts";
import type { Worlds } from "./worlds.ts";

interface Point {
  readonly id: number;
  readonly context: number;
  readonly kind: Watchpoint["kind"];
  /** Without the top byte, which may be ignored. */
  readonly address: bigint;
  readonly lo: number;
  readonly hi: number;
  readonly length: number;
}

const KIND = { read: WATCH_READ, write: WATCH_WRITE, access: WATCH_READ | WATCH_WRITE } as const;
const REASON = { read: "rwatch", write: "watch", access: "awatch" } as const;
/** The longest range that generated code can compare with. */
const LONGEST = 0xffff_0000n;
const UNTAGGED = (1n << 56n) - 1n;

interface Range {
  start: bigint;
  end: bigint;
}

export class Watchpoints implements Watcher {
  readonly #points = new Map<number, Point>();
  readonly #ranges: BigUint64Array[];
  #applied = false;
  #changed = false;

  constructor(
    readonly machine: Machine,
    readonly worlds: Worlds,
    /** A watched access is about to happen on a vCPU. Answers whether it stops before its instruction. */
    readonly hit: (cpu: number, reason: StopReason) => boolean,
  ) {
    const buffer = machine.around.memory.buffer, words = (DEBUGGER_WATCHES * WATCH_BYTES) / 8;
    this.#ranges = machine.vcpus.map((_, n) => new BigUint64Array(buffer, vcpuBase(n) + WATCH_AREA, words));
  }

  get size(): number {
    return this.#points.size;
  }

  /** The point is fit to be set. */
  insert({ id, context, kind, address, length }: Watchpoint): void {
    const start = address & UNTAGGED;
    this.#points.set(id, {
      id,
      context,
      kind,
      address,
      lo: Number(start & 0xffff_ffffn),
      hi: Number(start >> 32n),
      length,
    });
    this.#changed = true;
  }
  remove(id: number): void {
    this.#changed = this.#points.delete(id) || this.#changed;
  }
  clear(context?: number): void {
    for (const { id, context: of } of [...this.#points.values()]) {
      if (context === undefined || of === context) this.remove(id);
    }
  }

  /** Before the machine runs. */
  apply(): void {
    if (!this.#changed) return;
    this.#changed = false;
    const on = this.#points.size > 0, { mmus, interpreter } = this.machine;
    if (on || this.#applied) {
      const reads = [...this.#points.values()].some(({ kind }) => kind !== "write");
      interpreter.watch(on ? this.#mostRanges() : 0, on && reads);
      for (const mmu of mmus) mmu.watcher = on ? this : undefined;
    }
    this.#applied = on;
    this.machine.vcpus.forEach((_, cpu) => this.entered(cpu));
  }
  #mostRanges(): number {
    const contexts = new Set([...this.#points.values()].map(({ context }) => context));
    return Math.max(...[...contexts].map((context) => this.#merged(context).length));
  }

  /** A vCPU has come into another context: its ranges count from now on. */
  entered(cpu: number): void {
    const words = this.#ranges[cpu]!;
    words.fill(0n);
    if (!this.#applied) return;
    const context = this.worlds.contextOf(cpu);
    this.#merged(context).forEach(({ start, end }, n) => {
      words.set(watchWords(start, end - start < LONGEST ? end - start : LONGEST), (n * WATCH_BYTES) / 8);
    });
  }
  get active(): boolean {
    return this.#applied;
  }
  /** At most DEBUGGER_WATCHES ranges that cover the watchpoints of a context: those closest together become one. */
  #merged(context: number): Range[] {
    const ranges = [...this.#points.values()].filter((p) => p.context === context)
      .map(({ address, length }) => ({ start: address & UNTAGGED, end: (address & UNTAGGED) + BigInt(length) }))
      .sort((a, b) => a.start < b.start ? -1 : 1);
    while (ranges.length > DEBUGGER_WATCHES) {
      let best = 0;
      const gap = (n: number) => ranges[n + 1]!.start - ranges[n]!.end;
      for (let n = 1; n + 1 < ranges.length; n++) if (gap(n) < gap(best)) best = n;
      const [second] = ranges.splice(best + 1, 1);
      if (second!.end > ranges[best]!.end) ranges[best]!.end = second!.end;
    }
    return ranges;
  }

  accessed(cpu: number, lo: number, hi: number, bytes: number, kind: number): boolean {
    const context = this.worlds.contextOf(cpu);
    for (const point of this.#points.values()) {
      if (point.context !== context || (KIND[point.kind] & kind) === 0) continue;
      // Exact where it matters: near each other.
      const distance = ((hi & 0xff_ffff) - point.hi) * 2 ** 32 + ((lo >>> 0) - point.lo);
      if (distance >= point.length || distance + bytes <= 0) continue;
      const address = point.address + BigInt(Math.max(0, distance));
      return this.hit(cpu, { kind: REASON[point.kind], address });
    }
    return false;
  }
}
