// What the interrupt controller tells with `-d gic`.

import { hex, tracePoint, Tracer } from "../base/trace.ts";
import { OUTPUT } from "./state.ts";

export const GIC = Tracer.bit("gic");

type Interrupt = { readonly cpu: number; readonly intid: number };

/** An input line; private interrupts have a vCPU. */
export const LINE = tracePoint(
  "gic",
  "line",
  ({ intid, target, high, edge }: { intid: number; target: number | undefined; high: boolean; edge: boolean }) =>
    `interrupt ${intid}${target === undefined ? "" : ` of CPU ${target}`} ${high ? "high" : "low"}, ` +
    `${edge ? "edge" : "level"}-sensitive`,
);
/** The lines that go out to a vCPU, as OUTPUT bits. */
export const SIGNAL = tracePoint(
  "gic",
  "signal",
  ({ target, lines, best, priority }: { target: number; lines: number; best: number; priority: number }) => {
    const names = Object.entries(OUTPUT).filter(([, bit]) => (lines & bit) !== 0).map(([name]) => name);
    const cause = (lines & (OUTPUT.IRQ | OUTPUT.FIQ)) === 0 ? "" : `, interrupt ${best} with priority ${hex(priority)}`;
    return `CPU ${target} has ${names.join(" and ") || "nothing"} pending${cause}`;
  },
);
export const ACKNOWLEDGED = tracePoint(
  "gic",
  "acknowledged",
  ({ intid, group, priority }: Interrupt & { group: number; priority: number }) =>
    `interrupt ${intid}, group ${group}, priority ${hex(priority)}`,
);
export const ENDED = tracePoint(
  "gic",
  "ended",
  ({ intid, group, deactivated }: Interrupt & { group: number; deactivated: boolean }) =>
    `interrupt ${intid}, group ${group}${deactivated ? ", deactivated" : ", still active"}`,
);
export const DEACTIVATED = tracePoint("gic", "deactivated", ({ intid }: Interrupt) => `interrupt ${intid}`);
export const SGI = tracePoint(
  "gic",
  "sgi",
  ({ intid, target }: Interrupt & { target: number }) => `SGI ${intid} to CPU ${target}`,
);

interface ListRegister {
  readonly cpu: number;
  readonly register: number;
  readonly virtual: number;
  readonly state: string;
  readonly group: number;
  readonly priority: number;
  /** The physical interrupt that ends with it. */
  readonly physical: number | undefined;
}
export const LIST_REGISTER = tracePoint("gic", "list_register", (lr: Readonly<ListRegister>) => {
  const hardware = lr.physical === undefined ? "" : `, hardware interrupt ${lr.physical}`;
  return `LR${lr.register} is virtual interrupt ${lr.virtual}, ${lr.state}, group ${lr.group}, ` +
    `priority ${hex(lr.priority)}${hardware}`;
});
export const VIRTUAL_ACKNOWLEDGED = tracePoint(
  "gic",
  "virtual_acknowledged",
  ({ intid, group, register }: Interrupt & { group: number; register: number }) =>
    `virtual interrupt ${intid}, group ${group}, from LR${register}`,
);
export const VIRTUAL_ENDED = tracePoint(
  "gic",
  "virtual_ended",
  ({ intid, register }: Interrupt & { register: number | undefined }) =>
    `virtual interrupt ${intid}, ${register === undefined ? "in no list register" : `LR${register}`}`,
);
