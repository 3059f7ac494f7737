// The virtualization interface: the hypervisor's ICH_* registers, and ICV_*, what a virtual machine finds behind the names
// ICC_* (IHI 0069 "Virtual interrupt handling and prioritization"). Priority drop comes before the checks of EOIR's value
// (an IMPLEMENTATION DEFINED choice). No virtual LPIs, no vSEI; the traps of ICH_HCR_EL2 are the CPU's business.

import { aprBit, dropPriority, type GicCore, preempts, priorityMask, runningGroup, runningPriority } from "./core.ts";
import { CTLR_FIXED, isSpecial, type SysregAccess } from "./cpu_interface.ts";
import {
  ICC_CTLR,
  IDLE_PRIORITY,
  INTERRUPTS,
  LIST_REGISTERS,
  MAINTENANCE_INTERRUPT,
  MIN_BPR,
  OUTPUT,
  PRIORITY_BITS,
  PRIORITY_MASK,
  type Redistributor,
  SPURIOUS,
  VMCR,
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
const HCR_WRITABLE = 0xf8005cff;

export const ICH_MISR = {
  EOI: 1 << 0,
  U: 1 << 1,
  LRENP: 1 << 2,
  NP: 1 << 3,
  VGrp0E: 1 << 4,
  VGrp0D: 1 << 5,
  VGrp1E: 1 << 6,
  VGrp1D: 1 << 7,
} as const;

/** ListRegs, PREbits, PRIbits; IDbits = 24 bits, A3V, nV4 and TDS (ICH_HCR_EL2.TDIR is there), as QEMU announces them. */
const VTR = ((LIST_REGISTERS - 1) | (1 << 19) | (1 << 20) | (1 << 21) | (1 << 23) | ((PRIORITY_BITS - 1) << 26) |
  ((PRIORITY_BITS - 1) << 29)) >>> 0;

/** Bits of the high word of a list register; the low word is vINTID. */
const LR = { EOI: 1 << 9, GROUP: 1 << 28, HW: 1 << 29, PENDING: 1 << 30, ACTIVE: 1 << 31, STATE: 3 << 30 } as const;
const LR_RES0 = 0x0f00e000 | ((0xff & ~PRIORITY_MASK) << 16);

const high = (r: Redistributor, i: number): number => r.lrWords[2 * i + 1]!;
const setHigh = (r: Redistributor, i: number, value: number): void => {
  r.lrWords[2 * i + 1] = value;
};
const groupOf = (lr: number): 0 | 1 => lr & LR.GROUP ? 1 : 0;
const priorityOf = (lr: number): number => (lr >>> 16) & 0xff;

const vpmr = (r: Redistributor): number => r.vmcr >>> VMCR.VPMR_SHIFT;
const vbpr = (r: Redistributor, group: number): number =>
  (r.vmcr >>> (group === 0 ? VMCR.VBPR0_SHIFT : VMCR.VBPR1_SHIFT)) & 7;
const enableOf = (group: number): number => group === 0 ? VMCR.VENG0 : VMCR.VENG1;
const eoiSplit = (r: Redistributor): boolean => (r.vmcr & VMCR.VEOIM) !== 0;

function groupPriorityMask(r: Redistributor, group: number): number {
  return priorityMask(group === 0 || r.vmcr & VMCR.VCBPR ? vbpr(r, 0) : vbpr(r, 1) - 1);
}

/** The list register with the highest priority virtual interrupt that is pending (not active too) and enabled, or -1. */
function highestPending(r: Redistributor): number {
  let best = -1, bestPriority = IDLE_PRIORITY;
  for (let i = 0; i < LIST_REGISTERS; i++) {
    const lr = high(r, i);
    if ((lr & LR.STATE) !== LR.PENDING || !(r.vmcr & enableOf(groupOf(lr)))) continue;
    if (priorityOf(lr) < bestPriority) best = i, bestPriority = priorityOf(lr);
  }
  return best;
}

function canSignal(r: Redistributor, lr: number): boolean {
  if (!(r.hcr & ICH_HCR.En) || priorityOf(lr) >= vpmr(r)) return false;
  return preempts(priorityOf(lr), runningPriority(r.vapr), groupPriorityMask(r, groupOf(lr)));
}

/** ICH_EISR_EL2: list registers that ask for EOI maintenance. */
function eoiStatus(r: Redistributor): number {
  let bits = 0;
  for (let i = 0; i < LIST_REGISTERS; i++) {
    if ((high(r, i) & (LR.STATE | LR.HW | LR.EOI)) === LR.EOI) bits |= 1 << i;
  }
  return bits;
}

/** ICH_ELRSR_EL2: list registers that hold nothing and ask for nothing. */
function emptyStatus(r: Redistributor): number {
  let bits = 0;
  for (let i = 0; i < LIST_REGISTERS; i++) {
    const lr = high(r, i);
    if (!(lr & LR.STATE) && (lr & LR.HW || !(lr & LR.EOI))) bits |= 1 << i;
  }
  return bits;
}

/** ICH_MISR_EL2: why the maintenance interrupt is due. */
function maintenanceStatus(r: Redistributor): number {
  let valid = 0, pending = 0, misr = 0;
  for (let i = 0; i < LIST_REGISTERS; i++) {
    const state = high(r, i) & LR.STATE;
    if (state) valid++;
    if (state === LR.PENDING) pending++;
  }
  if (eoiStatus(r)) misr |= ICH_MISR.EOI;
  if (r.hcr & ICH_HCR.UIE && valid < 2) misr |= ICH_MISR.U;
  if (r.hcr & ICH_HCR.LRENPIE && r.hcr >>> ICH_HCR.EOIcount_SHIFT) misr |= ICH_MISR.LRENP;
  if (r.hcr & ICH_HCR.NPIE && pending === 0) misr |= ICH_MISR.NP;
  misr |= r.hcr & (r.vmcr & VMCR.VENG0 ? ICH_MISR.VGrp0E : ICH_MISR.VGrp0D);
  misr |= r.hcr & (r.vmcr & VMCR.VENG1 ? ICH_MISR.VGrp1E : ICH_MISR.VGrp1D);
  return misr;
}

/** Sets the virtual lines and the maintenance interrupt from the state. */
export function updateVirtual(c: GicCore, cpu: number): void {
  const r = c.redistributors[cpu]!, i = highestPending(r);
  let lines = 0;
  if (i >= 0 && canSignal(r, high(r, i))) lines = groupOf(high(r, i)) === 0 ? OUTPUT.VFIQ : OUTPUT.VIRQ;
  r.virtualOutputs = lines;
  c.setLine(cpu, MAINTENANCE_INTERRUPT, (r.hcr & ICH_HCR.En) !== 0 && maintenanceStatus(r) !== 0);
  c.signal(cpu);
}

function acknowledge(c: GicCore, cpu: number, group: number): number {
  const r = c.redistributors[cpu]!, i = highestPending(r);
  if (i < 0) return SPURIOUS;
  const lr = high(r, i);
  if (groupOf(lr) !== group || !canSignal(r, lr)) return SPURIOUS;
  const intid = r.lrWords[2 * i]! & 0xffffff;
  if (isSpecial(intid)) {
    // A bad number from the hypervisor: it is returned, and the list register becomes invalid.
    setHigh(r, i, lr & ~LR.STATE);
  } else {
    r.vapr[group] = r.vapr[group]! | aprBit(priorityOf(lr) & groupPriorityMask(r, group));
    setHigh(r, i, (lr & ~LR.STATE) | LR.ACTIVE);
  }
  if ((c.trace.mask & GIC) !== 0) c.trace.emit(VIRTUAL_ACKNOWLEDGED, { cpu, intid, group, register: i });
  updateVirtual(c, cpu);
  return intid;
}

function findActive(r: Redistributor, intid: number): number {
  for (let i = 0; i < LIST_REGISTERS; i++) {
    if (high(r, i) & LR.ACTIVE && r.lrWords[2 * i] === intid) return i;
  }
  return -1;
}

/** Active to invalid, active and pending to pending; with HW = 1 the physical interrupt becomes inactive too. */
function deactivateListRegister(c: GicCore, cpu: number, i: number): void {
  const r = c.redistributors[cpu]!, lr = high(r, i);
  setHigh(r, i, lr & ~LR.ACTIVE);
  const physical = lr & 0x1fff;
  if (lr & LR.HW && physical < INTERRUPTS) c.deactivate(cpu, physical);
}

function countEoi(r: Redistributor): void {
  r.hcr = r.hcr + (1 << ICH_HCR.EOIcount_SHIFT);
}

/** LPIs have no active state to end. */
const isLpi = (intid: number): boolean => intid >= 8192;

function endOfInterrupt(c: GicCore, cpu: number, group: number, value: number): void {
  const r = c.redistributors[cpu]!, intid = value & 0xffffff;
  if (isSpecial(intid)) return;
  const running = runningPriority(r.vapr);
  if (running === IDLE_PRIORITY) return;
  dropPriority(r.vapr, runningGroup(r.vapr));
  const i = findActive(r, intid);
  if ((c.trace.mask & GIC) !== 0) c.trace.emit(VIRTUAL_ENDED, { cpu, intid, register: i < 0 ? undefined : i });
  if (i < 0) {
    if (!eoiSplit(r) && !isLpi(intid)) countEoi(r);
  } else {
    const lr = high(r, i);
    const same = groupOf(lr) === group && (priorityOf(lr) & groupPriorityMask(r, group)) === running;
    if (same && (!eoiSplit(r) || isLpi(intid))) deactivateListRegister(c, cpu, i);
  }
  updateVirtual(c, cpu);
}

function deactivate(c: GicCore, cpu: number, value: number): void {
  const r = c.redistributors[cpu]!, intid = value & 0xffffff;
  if (isSpecial(intid) || !eoiSplit(r)) return;
  const i = findActive(r, intid);
  if (i >= 0) deactivateListRegister(c, cpu, i);
  else if (!isLpi(intid)) countEoi(r);
  updateVirtual(c, cpu);
}

function setVmcr(c: GicCore, cpu: number, clear: number, set: number): void {
  const r = c.redistributors[cpu]!;
  r.vmcr = (r.vmcr & ~clear) | set;
  updateVirtual(c, cpu);
}

const perGroup = (group: 0 | 1): Record<string, SysregAccess> => ({
  [`ICC_IAR${group}_EL1`]: { read: (c, cpu) => acknowledge(c, cpu, group) },
  [`ICC_EOIR${group}_EL1`]: { write: (c, cpu, low) => endOfInterrupt(c, cpu, group, low) },
  [`ICC_HPPIR${group}_EL1`]: {
    read: (c, cpu) => {
      const r = c.redistributors[cpu]!, i = highestPending(r);
      return i >= 0 && groupOf(high(r, i)) === group ? r.lrWords[2 * i]! & 0xffffff : SPURIOUS;
    },
  },
  [`ICC_BPR${group}_EL1`]: {
    read: (c, cpu) => {
      const r = c.redistributors[cpu]!;
      return group === 1 && r.vmcr & VMCR.VCBPR ? Math.min(7, vbpr(r, 0) + 1) : vbpr(r, group);
    },
    write: (c, cpu, low) => {
      if (group === 1 && c.redistributors[cpu]!.vmcr & VMCR.VCBPR) return;
      const shift = group === 0 ? VMCR.VBPR0_SHIFT : VMCR.VBPR1_SHIFT;
      setVmcr(c, cpu, 7 << shift, Math.max(low & 7, MIN_BPR[group]) << shift);
    },
  },
  [`ICC_AP${group}R0_EL1`]: activePriorities(group),
  [`ICC_IGRPEN${group}_EL1`]: {
    read: (c, cpu) => c.redistributors[cpu]!.vmcr & enableOf(group) ? 1 : 0,
    write: (c, cpu, low) => setVmcr(c, cpu, enableOf(group), low & 1 ? enableOf(group) : 0),
  },
});

function activePriorities(group: 0 | 1): SysregAccess {
  return {
    read: (c, cpu) => c.redistributors[cpu]!.vapr[group]!,
    write: (c, cpu, low) => {
      c.redistributors[cpu]!.vapr[group] = low;
      updateVirtual(c, cpu);
    },
  };
}

/** The registers a virtual machine sees in place of the physical ones: under HCR_EL2.FMO, under IMO, under either. */
export const ICV_GROUP0: Readonly<Record<string, SysregAccess>> = perGroup(0);
export const ICV_GROUP1: Readonly<Record<string, SysregAccess>> = perGroup(1);
export const ICV_COMMON: Readonly<Record<string, SysregAccess>> = {
  ICC_PMR_EL1: {
    read: (c, cpu) => vpmr(c.redistributors[cpu]!),
    write: (c, cpu, low) => setVmcr(c, cpu, 0xff << VMCR.VPMR_SHIFT, (low & PRIORITY_MASK) << VMCR.VPMR_SHIFT),
  },
  ICC_CTLR_EL1: {
    read: (c, cpu) => {
      const { vmcr } = c.redistributors[cpu]!;
      return CTLR_FIXED | (vmcr & VMCR.VCBPR ? ICC_CTLR.CBPR : 0) | (vmcr & VMCR.VEOIM ? ICC_CTLR.EOImode : 0);
    },
    write: (c, cpu, low) =>
      setVmcr(
        c,
        cpu,
        VMCR.VCBPR | VMCR.VEOIM,
        (low & ICC_CTLR.CBPR ? VMCR.VCBPR : 0) | (low & ICC_CTLR.EOImode ? VMCR.VEOIM : 0),
      ),
  },
  ICC_RPR_EL1: { read: (c, cpu) => runningPriority(c.redistributors[cpu]!.vapr) },
  ICC_DIR_EL1: { write: (c, cpu, low) => deactivate(c, cpu, low) },
};

const LR_STATES = ["invalid", "pending", "active", "active and pending"];
function traceListRegister(c: GicCore, cpu: number, register: number): void {
  const r = c.redistributors[cpu]!, lr = high(r, register);
  c.trace.emit(LIST_REGISTER, {
    cpu,
    register,
    virtual: r.lrWords[2 * register]!,
    state: LR_STATES[lr >>> 30]!,
    group: groupOf(lr),
    priority: priorityOf(lr),
    physical: lr & LR.HW ? lr & 0x1fff : undefined,
  });
}

function listRegisters(): Record<string, SysregAccess> {
  const entries: [string, SysregAccess][] = [];
  for (let i = 0; i < LIST_REGISTERS; i++) {
    entries.push([`ICH_LR${i}_EL2`, {
      read: (c, cpu) => c.redistributors[cpu]!.lr[i]!,
      write: (c, cpu, low, highWord) => {
        const { lrWords } = c.redistributors[cpu]!;
        lrWords[2 * i] = low;
        lrWords[2 * i + 1] = highWord & ~LR_RES0;
        if ((c.trace.mask & GIC) !== 0) traceListRegister(c, cpu, i);
        updateVirtual(c, cpu);
      },
    }]);
  }
  return Object.fromEntries(entries);
}

const VMCR_WRITABLE = VMCR.VENG0 | VMCR.VENG1 | VMCR.VCBPR | VMCR.VEOIM | (7 << VMCR.VBPR1_SHIFT) |
  (7 << VMCR.VBPR0_SHIFT) | (PRIORITY_MASK << VMCR.VPMR_SHIFT);

/** The hypervisor's registers. */
export const ICH: Readonly<Record<string, SysregAccess>> = {
  ICH_HCR_EL2: {
    read: (c, cpu) => c.redistributors[cpu]!.hcr,
    write: (c, cpu, low) => {
      c.redistributors[cpu]!.hcr = low & HCR_WRITABLE;
      updateVirtual(c, cpu);
    },
  },
  ICH_VTR_EL2: { read: () => VTR },
  ICH_MISR_EL2: { read: (c, cpu) => maintenanceStatus(c.redistributors[cpu]!) },
  ICH_EISR_EL2: { read: (c, cpu) => eoiStatus(c.redistributors[cpu]!) },
  ICH_ELRSR_EL2: { read: (c, cpu) => emptyStatus(c.redistributors[cpu]!) },
  ICH_VMCR_EL2: {
    read: (c, cpu) => c.redistributors[cpu]!.vmcr,
    write: (c, cpu, low) => {
      const r = c.redistributors[cpu]!;
      r.vmcr = (low & VMCR_WRITABLE) | VMCR.VFIQEn;
      for (const [group, shift] of [VMCR.VBPR0_SHIFT, VMCR.VBPR1_SHIFT].entries()) {
        r.vmcr = (r.vmcr & ~(7 << shift)) | (Math.max(vbpr(r, group), MIN_BPR[group]!) << shift);
      }
      updateVirtual(c, cpu);
    },
  },
  ICH_AP0R0_EL2: activePriorities(0),
  ICH_AP1R0_EL2: activePriorities(1),
  ...listRegisters(),
};
