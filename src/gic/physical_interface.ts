// The physical CPU interface: takes interrupts from the distributor and gives them back.

import type { GicCore } from "./core.ts";
import { CpuInterface, type Group, isSpecial } from "./cpu_interface.ts";
import { lowestBit } from "./priorities.ts";
import { CONTROL, type Interface, INTERRUPTS, SGIS } from "./state.ts";
import { ACKNOWLEDGED, DEACTIVATED, ENDED, GIC } from "./trace_points.ts";

export class PhysicalInterface extends CpuInterface {
  constructor(readonly core: GicCore, readonly cpu: number, state: Interface) {
    super(state, core.architecture.physicalPriorities, core.architecture.version === 2);
  }

  /** With the vCPU that sent an SGI in bits 12:10, where that is remembered. */
  get pendingId(): number {
    const intid = this.state.best;
    const sources = intid < SGIS ? this.core.privates[this.cpu]!.sgiSources[intid]! : 0;
    return sources === 0 ? intid : intid | (lowestBit(sources) << 10);
  }

  protected take(): void {
    const { trace } = this.core, { best: intid, bestGroup: group, bestPriority: priority } = this.state;
    if ((trace.mask & GIC) !== 0) trace.emit(ACKNOWLEDGED, { cpu: this.cpu, intid, group, priority });
    this.core.activate(this.cpu, intid);
  }

  endOfInterrupt(intid: number, group: Group): void {
    if (isSpecial(intid)) return;
    const running = this.runningGroup, fits = this.trusting ? running >= 0 : running === group;
    // UNPREDICTABLE for an interrupt that was not acknowledged last.
    if (intid >= INTERRUPTS || !fits) {
      this.core.guestError(`EOIR of group ${group}: interrupt ${intid} is not the one that runs`);
      return;
    }
    const split = this.has(CONTROL.EOImode), { trace } = this.core;
    if ((trace.mask & GIC) !== 0) trace.emit(ENDED, { cpu: this.cpu, intid, group, deactivated: !split });
    this.priorities.drop(this.state.active, group);
    if (!split) this.core.deactivate(this.cpu, intid);
    this.signal();
  }

  deactivate(intid: number): void {
    if (isSpecial(intid)) return;
    if (intid >= INTERRUPTS || !this.has(CONTROL.EOImode)) {
      this.core.guestError(`DIR: write of ${intid} with EOImode ${this.has(CONTROL.EOImode) ? 1 : 0}`);
      return;
    }
    const { trace } = this.core;
    if ((trace.mask & GIC) !== 0) trace.emit(DEACTIVATED, { cpu: this.cpu, intid });
    this.core.deactivate(this.cpu, intid);
  }

  select(): void {
    this.core.update(this.cpu);
  }

  signal(): void {
    this.core.signal(this.cpu);
  }
}
