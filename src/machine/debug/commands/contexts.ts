// The hypervisor's and its virtual machines' states, as rows: who there is, and why they left for EL2.

import { exceptionClassName } from "../../../arch/esr_text.ts";
import { hex } from "../../../base/trace.ts";
import { EXIT_REASONS } from "../area.ts";
import { exceptionWords } from "../catchpoints.ts";
import type { DebugControl } from "../control.ts";
import { contextName, stateOf } from "../words.ts";

export const CONTEXT_COLUMNS = ["Id", "Name", "VMID", "Stage 2 table", "Threads", "Entries"];
export function contextRows({ area }: DebugControl): string[][] {
  return area.places().map((place) => {
    const { id, vmid, table, threads, entries } = area.contexts[place]!;
    const own = id === 1 ? ["-", "-"] : [`${vmid}`, table < 0 ? "-" : hex(table)];
    return [`${id}`, contextName(area, place), ...own, `${threads}`, id === 1 ? "-" : `${entries}`];
  });
}

export const THREAD_COLUMNS = ["Thread", "Name", "State"];
export function threadRows({ area }: DebugControl): string[][] {
  return area.places().flatMap((place) => {
    const { id, threads, worlds } = area.contexts[place]!;
    return [...worlds.subarray(0, threads)].map((world) => {
      const { thread } = area.world(world);
      return [`${id}.${thread}`, `${contextName(area, place)} vcpu ${thread - 1}`, stateOf(area, world)];
    });
  });
}

const reasonName = (reason: number): string =>
  reason < 64 ? exceptionClassName(reason) : exceptionWords(reason - 63, 0);

export const EXIT_COLUMNS = ["Context", "Reason", "Exits"];
export function exitRows({ area }: DebugControl): string[][] {
  return area.places().filter((place) => area.contexts[place]!.id > 1).flatMap((place) => {
    const { reasons } = area.contexts[place]!;
    return Array.from({ length: EXIT_REASONS }, (_, n) => n).filter((n) => reasons[n]! > 0)
      .sort((a, b) => reasons[b]! - reasons[a]!)
      .map((n) => [contextName(area, place), reasonName(n), `${reasons[n]}`]);
  });
}

export const lastExits = ({ area }: DebugControl): string =>
  area.places().flatMap((place) => {
    const { id, threads, worlds } = area.contexts[place]!;
    if (id === 1) return [];
    return [...worlds.subarray(0, threads)].filter((n) => area.world(n).exits > 0).map((n) => {
      const { thread, exitKind, exitSyndrome, exitEl, exitPc, exits } = area.world(n);
      const words = exceptionWords(exitKind, exitSyndrome);
      return `${contextName(area, place)} vcpu ${thread - 1}: ${exits} exits, last ${words} at EL${exitEl}, pc ${
        hex(exitPc)
      }`;
    });
  }).join("\n");
