// The virtualization interface below its registers: list registers, what a virtual machine's CPU interface does with them,
// and the maintenance interrupt (IHI 0069 "Virtual interrupt handling and prioritization", IHI 0048 "GIC Support for
// Virtualization"). List registers and ICH_HCR_EL2 are held as GICv3 has them, of which GICv2's hold a part. Priority drop
// comes before the checks of EOIR's value (an IMPLEMENTATION DEFINED choice). No virtual LPIs, no vSEI.

import type { GicCore } from "./core.ts";
import { CpuInterface, type Group, isSpecial } from "./cpu_interface.ts";
import {
  CONTROL,
  IDLE_PRIORITY,
  type Interface,
  INTERRUPTS,
  LIST_REGISTERS,
  MAINTENANCE_INTERRUPT,
  OUTPUT,
  SGIS,
  SPURIOUS,
} from "./state.ts";
import { GIC, LIST_REGISTER, VIRTUAL_ACKNOWLEDGED, VIRTUAL_ENDED } from "./trace_points.ts";

/** ICH_HCR_EL2. Its maintenance enables have the same bit position as what they enable has in ICH_MISR_EL2, plus NPIE's. */
export const ICH_HCR = {
  En: 1 << 0,
  UIE: 1 << 1,
  LRENPIE: 1 << 2,
  NPIE: 1 << 3,
  VGrp0EIE: 1 << 4,
  VGrp0DIE: 1 << 5,
  VGrp1EIE: 1 << 6,
  VGrp1DIE: 1 << 7,
  TC: 1 << 10,
  TALL0: 1 << 11,
  TALL1: 1 << 12,
  TDIR: 1 << 14,
  EOIcount_SHIFT: 27,
} as const;

const ICH_MISR = {
  EOI: 1 << 0,
  U: 1 << 1,
  LRENP: 1 << 2,
  NP: 1 << 3,
  VGrp0E: 1 << 4,
  VGrp0D: 1 << 5,
  VGrp1E: 1 << 6,
  VGrp1D: 1 << 7,
} as const;

/** Bits of the high word of a list register; the low word is vINTID. */
const LR = { EOI: 1 << 9, GROUP: 1 << 28, HW: 1 << 29, PENDING: 1 << 30, ACTIVE: 1 << 31, STATE: 3 << 30 } as const;

const LR_STATES = ["invalid", "pending", "active", "active and pending"];

const groupOf = (lr: number): Group => lr & LR.GROUP ? 1 : 0;
const priorityOf = (lr: number): number => (lr >>> 16) & 0xff;
/** LPIs have no active state to end. */
const isLpi = (intid: number): boolean => intid >= 8192;

export class VirtualInterface extends CpuInterface {
  constructor(readonly core: GicCore, readonly cpu: number, state: Interface) {
    super(state, core.architecture.virtualPriorities, core.architecture.version === 2);
  }

  get hcr(): number {
    return this.core.privates[this.cpu]!.hcr;
  }

  setHcr(value: number): void {
    this.core.privates[this.cpu]!.hcr = value;
    this.select();
  }

  setListRegister(i: number, low: number, high: number): void {
    const { lrWords } = this.core.privates[this.cpu]!;
    lrWords[2 * i] = low;
    lrWords[2 * i + 1] = high;
    const { trace } = this.core;
    if ((trace.mask & GIC) !== 0) {
      trace.emit(LIST_REGISTER, {
        cpu: this.cpu,
        register: i,
        virtual: low,
        state: LR_STATES[high >>> 30]!,
        group: groupOf(high),
        priority: priorityOf(high),
        physical: high & LR.HW ? high & 0x1fff : undefined,
      });
    }
    this.select();
  }

  /** ICH_EISR_EL2: list registers that ask for EOI maintenance. */
  get eoiStatus(): number {
    return this.#those((lr) => (lr & (LR.STATE | LR.HW | LR.EOI)) === LR.EOI);
  }

  /** ICH_ELRSR_EL2: list registers that hold nothing and ask for nothing. */
  get emptyStatus(): number {
    return this.#those((lr) => !(lr & LR.STATE) && (lr & LR.HW ? true : !(lr & LR.EOI)));
  }

  /** ICH_MISR_EL2: why the maintenance interrupt is due. */
  get maintenanceStatus(): number {
    const { hcr } = this;
    let valid = 0, pending = 0, misr = 0;
    for (let i = 0; i < LIST_REGISTERS; i++) {
      const state = this.#high(i) & LR.STATE;
      if (state) valid++;
      if (state === LR.PENDING) pending++;
    }
    if (this.eoiStatus) misr |= ICH_MISR.EOI;
    if (hcr & ICH_HCR.UIE && valid < 2) misr |= ICH_MISR.U;
    if (hcr & ICH_HCR.LRENPIE && hcr >>> ICH_HCR.EOIcount_SHIFT) misr |= ICH_MISR.LRENP;
    if (hcr & ICH_HCR.NPIE && pending === 0) misr |= ICH_MISR.NP;
    misr |= hcr & (this.enabled(0) ? ICH_MISR.VGrp0E : ICH_MISR.VGrp0D);
    misr |= hcr & (this.enabled(1) ? ICH_MISR.VGrp1E : ICH_MISR.VGrp1D);
    return misr;
  }

  override canSignal(): boolean {
    return (this.hcr & ICH_HCR.En) !== 0 && super.canSignal();
  }

  get pendingId(): number {
    return this.#idOf(this.state.best);
  }

  protected take(): void {
    const { best: i, bestGroup: group } = this.state, lr = this.#high(i) & ~LR.STATE, { trace } = this.core;
    if ((trace.mask & GIC) !== 0) {
      trace.emit(VIRTUAL_ACKNOWLEDGED, { cpu: this.cpu, intid: this.pendingId, group, register: i });
    }
    // A bad number from the hypervisor: it is returned, and the list register becomes invalid.
    this.#setHigh(i, isSpecial(this.#low(i)) ? lr : lr | LR.ACTIVE);
    this.select();
  }

  endOfInterrupt(id: number, group: Group): void {
    if (isSpecial(id)) return;
    const running = this.runningPriority, idle = running === IDLE_PRIORITY, split = this.has(CONTROL.EOImode);
    if (idle && !this.trusting) return;
    if (!idle) this.priorities.drop(this.state.active, this.runningGroup);
    const i = this.#findActive(id), { trace } = this.core;
    if ((trace.mask & GIC) !== 0) {
      trace.emit(VIRTUAL_ENDED, { cpu: this.cpu, intid: id, register: i < 0 ? undefined : i });
    }
    if (i < 0) {
      if (!split && !isLpi(id) && !idle) this.#countEoi();
    } else if (!split || isLpi(id)) {
      const lr = this.#high(i);
      const same = groupOf(lr) === group && (priorityOf(lr) & this.groupPriorityMask(group)) === running;
      if (same || this.trusting) this.#deactivateListRegister(i);
    }
    this.select();
  }

  deactivate(id: number): void {
    if (isSpecial(id) || !this.has(CONTROL.EOImode)) return;
    const i = this.#findActive(id);
    if (i >= 0) this.#deactivateListRegister(i);
    else if (!isLpi(id)) this.#countEoi();
    this.select();
  }

  /** Chooses the best list register, then sets the virtual lines and the maintenance interrupt. */
  select(): void {
    const { state } = this;
    state.best = SPURIOUS;
    state.bestPriority = IDLE_PRIORITY;
    state.bestGroup = 0;
    for (let i = 0; i < LIST_REGISTERS; i++) {
      const lr = this.#high(i);
      // Pending, not active too.
      if ((lr & LR.STATE) !== LR.PENDING || !this.enabled(groupOf(lr)) || priorityOf(lr) >= state.bestPriority) {
        continue;
      }
      state.best = i;
      state.bestPriority = priorityOf(lr);
      state.bestGroup = groupOf(lr);
    }
    this.signal();
  }

  signal(): void {
    this.core.privates[this.cpu]!.virtualOutputs = this.line(OUTPUT.VIRQ, OUTPUT.VFIQ);
    const maintenance = (this.hcr & ICH_HCR.En) !== 0 && this.maintenanceStatus !== 0;
    this.core.setLine(this.cpu, MAINTENANCE_INTERRUPT, maintenance);
    this.core.signal(this.cpu);
  }

  #low(i: number): number {
    return this.core.privates[this.cpu]!.lrWords[2 * i]!;
  }

  #high(i: number): number {
    return this.core.privates[this.cpu]!.lrWords[2 * i + 1]!;
  }

  #setHigh(i: number, value: number): void {
    this.core.privates[this.cpu]!.lrWords[2 * i + 1] = value;
  }

  /** The number as the virtual machine sees it: with GICv2, the CPUID of an SGI is a part of it. */
  #idOf(i: number): number {
    const intid = this.#low(i) & 0xff_ffff, lr = this.#high(i);
    const source = this.core.architecture.version === 2 && intid < SGIS && !(lr & LR.HW) ? lr & 7 : 0;
    return intid | (source << 10);
  }

  #findActive(id: number): number {
    for (let i = 0; i < LIST_REGISTERS; i++) if (this.#high(i) & LR.ACTIVE && this.#idOf(i) === id) return i;
    return -1;
  }

  /** Active to invalid, active and pending to pending; with HW = 1 the physical interrupt becomes inactive too. */
  #deactivateListRegister(i: number): void {
    const lr = this.#high(i), physical = lr & 0x1fff;
    this.#setHigh(i, lr & ~LR.ACTIVE);
    if (lr & LR.HW && physical < INTERRUPTS) this.core.deactivate(this.cpu, physical);
  }

  #countEoi(): void {
    this.core.privates[this.cpu]!.hcr = this.hcr + (1 << ICH_HCR.EOIcount_SHIFT);
  }

  #those(condition: (lr: number) => boolean): number {
    let bits = 0;
    for (let i = 0; i < LIST_REGISTERS; i++) if (condition(this.#high(i))) bits |= 1 << i;
    return bits;
  }
}
