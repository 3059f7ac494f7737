// Breakpoints: a context and a virtual address, in any number, without a change to the guest's memory. When a page is
// fetched from for the first time, the predecoded records of its breakpoints are marked; a marked instruction asks here
// before it is executed. So an address that is not mapped yet becomes active when it is, and nothing that the guest does to
// its code, its tables or its MMU takes a breakpoint away.

import { assert } from "../../base/errors.ts";
import type { Vcpu } from "../../cpu/core.ts";
import { RECORD_BYTES } from "../../jit/frames.ts";
import { type AgentExpression, type AgentMachine, parseAgentExpression } from "../../../gdbstub/agent_expression.ts";
import { type AddressSpace, type Breakpoint, Refusal } from "../../../gdbstub/target.ts";
import type { Machine } from "../machine.ts";
import type { Worlds } from "./worlds.ts";

interface Point {
  readonly id: number;
  readonly kind: Breakpoint["kind"];
  readonly context: number;
  /** The only exception level that it is for; -1 for any. */
  readonly el: number;
  readonly lo: number;
  readonly hi: number;
  readonly conditions: readonly AgentExpression[];
  readonly commands: readonly AgentExpression[];
}

const LEVEL: Readonly<Record<AddressSpace, number>> = { auto: -1, el0: 0, el1: 1, el2: 2, ipa: -1, pa: -1 };
/** Number of the page of an address: exact, since 52 bits. */
const pageOf = (lo: number, hi: number): number => (hi >>> 0) * 2 ** 20 + (lo >>> 12);

export class Breakpoints {
  readonly #points = new Map<number, Point>();
  readonly #byPage = new Map<number, Point[]>();
  /** Places that are marked when they are fetched, `context:page:offset`. */
  #active = new Set<string>();
  #changed = false;

  constructor(
    readonly machine: Machine,
    readonly worlds: Worlds,
    /** What a condition can see: the place of a vCPU. */
    readonly sight: (vcpu: Vcpu) => AgentMachine,
  ) {}

  get size(): number {
    return this.#points.size;
  }

  /** The point is fit to be set. */
  insert({ id, kind, context, space, address, conditions, commands }: Breakpoint): void {
    const parsed = (codes: Breakpoint["conditions"]) =>
      codes.map((code) => {
        const expression = parseAgentExpression(code);
        assert(!(expression instanceof Refusal), "an expression has been checked");
        return expression;
      });
    this.#points.set(id, {
      id,
      kind,
      context,
      el: LEVEL[space],
      lo: Number(address & 0xffff_ffffn),
      hi: Number(address >> 32n),
      conditions: parsed(conditions),
      commands: parsed(commands),
    });
    this.#changed = true;
  }
  remove(id: number): void {
    this.#changed = this.#points.delete(id) || this.#changed;
  }
  /** Removes those of one context, or all. */
  clear(context?: number): void {
    for (const { id, context: of } of [...this.#points.values()]) {
      if (context === undefined || of === context) this.remove(id);
    }
  }

  /** Before the machine runs: what changed since the last time takes effect. Taking one away and back changes nothing. */
  apply(): void {
    if (!this.#changed) return;
    this.#changed = false;
    const before = this.#active, now = new Set<string>();
    this.#byPage.clear();
    for (const point of this.#points.values()) {
      const page = pageOf(point.lo, point.hi), known = this.#byPage.get(page);
      if (known === undefined) this.#byPage.set(page, [point]);
      else known.push(point);
      now.add(`${point.context}:${page}:${point.lo & 4095}`);
    }
    this.#active = now;
    const removed = [...before].some((place) => !now.has(place));
    if (!removed && now.size === before.size) return;
    if (removed) this.machine.code.unmark();
    const fetched = now.size === 0 ? undefined : this.#fetched;
    for (const mmu of this.machine.mmus) {
      mmu.fetched = fetched;
      mmu.flushFetchTlb();
    }
  }

  /** A page is about to be executed from. */
  readonly #fetched = (cpu: number, lo: number, hi: number, records: number): void => {
    const points = this.#byPage.get(pageOf(lo, hi));
    if (points === undefined) return;
    const context = this.worlds.contextOf(cpu);
    for (const point of points) {
      if (point.context === context) this.machine.code.mark(records + ((point.lo & 0xffc) >>> 2) * RECORD_BYTES);
    }
  };

  /** The breakpoint that stops a vCPU before the instruction at its pc; commands of others are carried out. */
  hit(vcpu: Vcpu): Point | undefined {
    const { pcLo, pcHi, el } = vcpu.state, points = this.#byPage.get(pageOf(pcLo, pcHi));
    if (points === undefined) return undefined;
    const context = this.worlds.contextOf(vcpu.index);
    for (const point of points) {
      if (point.lo !== pcLo || point.hi !== pcHi || point.context !== context) continue;
      if (point.el >= 0 && point.el !== el) continue;
      if (!this.#holds(vcpu, point)) continue;
      if (point.commands.length === 0) return point;
      const sight = this.sight(vcpu);
      for (const command of point.commands) command.evaluate(sight);
    }
    return undefined;
  }
  #holds(vcpu: Vcpu, { conditions }: Point): boolean {
    if (conditions.length === 0) return true;
    const sight = this.sight(vcpu);
    return conditions.some((condition) => {
      const value = condition.evaluate(sight);
      return typeof value !== "bigint" || value !== 0n;
    });
  }
}
