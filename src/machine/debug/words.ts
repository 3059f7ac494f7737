// Contexts and threads in words.

import { HALT } from "../../cpu/vcpu.ts";
import { type DebugArea, EXIT_KIND, NO_TABLE } from "./area.ts";
import { exceptionWords } from "./catchpoints.ts";

/** `hypervisor`, `vm 3`; without EL2 there is only the machine. */
export function contextName(area: DebugArea, place: number): string {
  if (place > 0) return `vm ${area.contexts[place]!.vmid}`;
  return area.header.hasEl2 === 0 ? "machine" : "hypervisor";
}

const WAITS = ["", ", waits for an interrupt", ", waits for an event", ", off"];

/** What a thread does: `EL1`, `descheduled, exit WFx at EL1`, `runs vm 3`. */
export function stateOf(area: DebugArea, world: number): string {
  const { context, cpu, exits, exitKind, exitSyndrome, exitEl } = area.world(world);
  if (cpu >= 0) {
    const { el, halt } = area.live[cpu]!.state, where = world < area.cpus ? "" : ` on cpu ${cpu}`;
    return halt === HALT.OFF ? "off" : `EL${el}${where}${WAITS[halt] ?? ""}`;
  }
  if (world < area.cpus) {
    const guest = runningOn(area, world);
    return guest < 0 ? "in a virtual machine" : `runs ${contextName(area, area.world(guest).context)}`;
  }
  if (area.contexts[context]!.table === NO_TABLE) return "not entered since the reset";
  if (exits === 0) return "descheduled";
  const reason = exitKind === EXIT_KIND.SYNC
    ? exceptionWords(exitKind, exitSyndrome).replace(/^trapped |[:,].*$/g, "")
    : exceptionWords(exitKind, 0);
  return `descheduled, exit ${reason} at EL${exitEl}`;
}

/** The virtual machine's world that is on a vCPU, -1 for none. */
function runningOn(area: DebugArea, cpu: number): number {
  for (const place of area.places()) {
    if (place === 0) continue;
    const { threads, worlds } = area.contexts[place]!;
    for (let n = 0; n < threads; n++) if (area.world(worlds[n]!).cpu === cpu) return worlds[n]!;
  }
  return -1;
}
