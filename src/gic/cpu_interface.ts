// The physical CPU interface, ICC_* (IHI 0069 "AArch64 system register descriptions"): acknowledge, priority drop and
// deactivation, priority mask and grouping, SGIs. System registers only: ICC_SRE_* are fixed, there is no memory-mapped
// interface and no bypass. One security state without EL3, so group 1 is Non-secure group 1 and its binary point counts
// one bit less. Priority masking hints (PMHE) and range selectors (RSS) are not implemented.

import { aprBit, dropPriority, type GicCore, runningGroup, runningPriority } from "./core.ts";
import { ICC_CTLR, INTERRUPTS, MIN_BPR, PRIORITY_BITS, PRIORITY_MASK, SPURIOUS } from "./state.ts";
import { ACKNOWLEDGED, DEACTIVATED, ENDED, GIC, SGI } from "./trace_points.ts";

/** What an access to a system register does. Without `read` the register reads as 0, without `write` it ignores writes. */
export interface SysregAccess {
  readonly read?: (c: GicCore, cpu: number) => number | bigint;
  readonly write?: (c: GicCore, cpu: number, low: number, high: number) => void;
}

/** PRIbits, IDbits = 24 bits and A3V, as QEMU announces them; also of the virtual interface. */
export const CTLR_FIXED = ((PRIORITY_BITS - 1) << 8) | (1 << 11) | (1 << 15);

/** 1020 to 1023 are not interrupts. */
export const isSpecial = (intid: number): boolean => intid >= 1020 && intid <= 1023;

function acknowledge(c: GicCore, cpu: number, group: number): number {
  const r = c.redistributors[cpu]!, intid = r.best;
  if (intid === SPURIOUS || r.bestGroup !== group || !c.canSignal(cpu)) return SPURIOUS;
  r.apr[group] = r.apr[group]! | aprBit(r.bestPriority & c.groupPriorityMask(cpu, group));
  if ((c.trace.mask & GIC) !== 0) c.trace.emit(ACKNOWLEDGED, { cpu, intid, group, priority: r.bestPriority });
  c.setBit("active", cpu, intid, true);
  c.setBit("pending", cpu, intid, false);
  c.update(cpu);
  return intid;
}

function endOfInterrupt(c: GicCore, cpu: number, group: number, value: number): void {
  const intid = value & 0xffffff, r = c.redistributors[cpu]!;
  if (isSpecial(intid)) return;
  // UNPREDICTABLE for an interrupt that was not acknowledged last: ignored where it cannot be that interrupt.
  if (intid >= INTERRUPTS || runningGroup(r.apr) !== group) {
    c.guestError(`ICC_EOIR${group}_EL1: interrupt ${intid} is not the one that runs`);
    return;
  }
  const split = (r.ctlr & ICC_CTLR.EOImode) !== 0;
  if ((c.trace.mask & GIC) !== 0) c.trace.emit(ENDED, { cpu, intid, group, deactivated: !split });
  dropPriority(r.apr, group);
  if (split) c.signal(cpu);
  else {
    c.deactivate(cpu, intid);
    c.signal(cpu);
  }
}

function deactivate(c: GicCore, cpu: number, value: number): void {
  const intid = value & 0xffffff, r = c.redistributors[cpu]!;
  if (isSpecial(intid)) return;
  if (intid >= INTERRUPTS || !(r.ctlr & ICC_CTLR.EOImode)) {
    c.guestError(`ICC_DIR_EL1: write of ${intid} with EOImode ${r.ctlr & ICC_CTLR.EOImode ? 1 : 0}`);
    return;
  }
  if ((c.trace.mask & GIC) !== 0) c.trace.emit(DEACTIVATED, { cpu, intid });
  c.deactivate(cpu, intid);
}

/** IHI 0069 "Forwarding an SGI to a target PE": the target's own configuration decides whether it takes the SGI. */
function generateSgi(c: GicCore, cpu: number, low: number, high: number, groups: readonly number[]): void {
  const intid = (low >>> 24) & 0xf;
  const affinity = ((((high >>> 16) & 0xff) << 24) | ((high & 0xff) << 16) | (((low >>> 16) & 0xff) << 8)) >>> 0;
  const all = (high & (1 << 8)) !== 0;
  c.affinities.forEach((other, target) => {
    const aff0 = other & 0xff;
    const named = (other & ~0xff) >>> 0 === affinity && aff0 < 16 && (low & (1 << aff0)) !== 0;
    if (all ? target === cpu : !named) return;
    if (!groups.includes(Number(c.bit("group", target, intid)))) return;
    if ((c.trace.mask & GIC) !== 0) c.trace.emit(SGI, { cpu, intid, target });
    c.setBit("pending", target, intid, true);
    c.update(target);
  });
}

const perGroup = (group: 0 | 1): Record<string, SysregAccess> => ({
  [`ICC_IAR${group}_EL1`]: { read: (c, cpu) => acknowledge(c, cpu, group) },
  [`ICC_EOIR${group}_EL1`]: { write: (c, cpu, low) => endOfInterrupt(c, cpu, group, low) },
  [`ICC_HPPIR${group}_EL1`]: {
    read: (c, cpu) => c.redistributors[cpu]!.bestGroup === group ? c.redistributors[cpu]!.best : SPURIOUS,
  },
  [`ICC_BPR${group}_EL1`]: {
    read: (c, cpu) => {
      const r = c.redistributors[cpu]!;
      return group === 1 && r.ctlr & ICC_CTLR.CBPR ? Math.min(7, r.bpr[0]! + 1) : r.bpr[group]!;
    },
    write: (c, cpu, low) => {
      const r = c.redistributors[cpu]!;
      if (group === 1 && r.ctlr & ICC_CTLR.CBPR) return;
      r.bpr[group] = Math.max(low & 7, MIN_BPR[group]);
      c.signal(cpu);
    },
  },
  [`ICC_AP${group}R0_EL1`]: {
    read: (c, cpu) => c.redistributors[cpu]!.apr[group]!,
    write: (c, cpu, low) => {
      c.redistributors[cpu]!.apr[group] = low;
      c.signal(cpu);
    },
  },
  [`ICC_IGRPEN${group}_EL1`]: {
    read: (c, cpu) => c.redistributors[cpu]!.igrpen[group]!,
    write: (c, cpu, low) => {
      c.redistributors[cpu]!.igrpen[group] = low & 1;
      c.update(cpu);
    },
  },
});

export const ICC: Readonly<Record<string, SysregAccess>> = {
  ...perGroup(0),
  ...perGroup(1),
  ICC_PMR_EL1: {
    read: (c, cpu) => c.redistributors[cpu]!.pmr,
    write: (c, cpu, low) => {
      c.redistributors[cpu]!.pmr = low & PRIORITY_MASK;
      c.signal(cpu);
    },
  },
  ICC_CTLR_EL1: {
    read: (c, cpu) => c.redistributors[cpu]!.ctlr | CTLR_FIXED,
    write: (c, cpu, low) => {
      c.redistributors[cpu]!.ctlr = low & (ICC_CTLR.CBPR | ICC_CTLR.EOImode);
      c.signal(cpu);
    },
  },
  ICC_RPR_EL1: { read: (c, cpu) => runningPriority(c.redistributors[cpu]!.apr) },
  ICC_DIR_EL1: { write: (c, cpu, low) => deactivate(c, cpu, low) },
  // With one security state group 1's register reaches both groups, and the "other" state's register means group 0.
  ICC_SGI0R_EL1: { write: (c, cpu, low, high) => generateSgi(c, cpu, low, high, [0]) },
  ICC_SGI1R_EL1: { write: (c, cpu, low, high) => generateSgi(c, cpu, low, high, [0, 1]) },
  ICC_ASGI1R_EL1: { write: (c, cpu, low, high) => generateSgi(c, cpu, low, high, [0]) },
  // SRE, DFB, DIB and (EL2) Enable are RAO/WI.
  ICC_SRE_EL1: { read: () => 0x7 },
  ICC_SRE_EL2: { read: () => 0xf },
};
