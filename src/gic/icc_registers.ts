// GICv3's CPU interface as system registers (IHI 0069 "AArch64 system register descriptions"): ICC_* in front of the
// physical interface and ICV_*, what a virtual machine finds behind the same names, in front of the virtual one; SGIs.
// System registers only: ICC_SRE_* are fixed, there is no memory-mapped interface and no bypass. One security state without
// EL3, so group 1 is Non-secure group 1. Priority masking hints (PMHE) and range selectors (RSS) are not implemented.

import type { GicCore } from "./core.ts";
import type { CpuInterface, Group } from "./cpu_interface.ts";
import { CONTROL, SPURIOUS } from "./state.ts";

/** What an access to a system register does. Without `read` the register reads as 0, without `write` it ignores writes. */
export interface SysregAccess {
  readonly read?: (c: GicCore, cpu: number) => number | bigint;
  readonly write?: (c: GicCore, cpu: number, low: number, high: number) => void;
}
export type Sysregs = Readonly<Record<string, SysregAccess>>;

const ICC_CTLR = { CBPR: 1 << 0, EOImode: 1 << 1 } as const;
/** PRIbits of 5, IDbits = 24 bits and A3V, as QEMU announces them. */
const CTLR_FIXED = (4 << 8) | (1 << 11) | (1 << 15);
const INTID = 0xff_ffff;

type Find = (c: GicCore, cpu: number) => CpuInterface;

const perGroup = (find: Find, group: Group): Sysregs => ({
  [`ICC_IAR${group}_EL1`]: {
    read: (c, cpu) => {
      const i = find(c, cpu);
      return i.state.bestGroup === group ? i.acknowledge() : SPURIOUS;
    },
  },
  [`ICC_EOIR${group}_EL1`]: { write: (c, cpu, low) => find(c, cpu).endOfInterrupt(low & INTID, group) },
  [`ICC_HPPIR${group}_EL1`]: {
    read: (c, cpu) => {
      const i = find(c, cpu);
      return i.state.best !== SPURIOUS && i.state.bestGroup === group ? i.pendingId : SPURIOUS;
    },
  },
  [`ICC_BPR${group}_EL1`]: {
    read: (c, cpu) => {
      const i = find(c, cpu);
      return group === 1 && i.has(CONTROL.CBPR) ? Math.min(7, i.binaryPoint(0) + 1) : i.binaryPoint(group);
    },
    write: (c, cpu, low) => {
      const i = find(c, cpu);
      if (group === 0 || !i.has(CONTROL.CBPR)) i.setBinaryPoint(group, low);
    },
  },
  [`ICC_AP${group}R0_EL1`]: activePriorities(find, group),
  [`ICC_IGRPEN${group}_EL1`]: {
    read: (c, cpu) => Number(find(c, cpu).enabled(group)),
    write: (c, cpu, low) => find(c, cpu).setEnabled(group, (low & 1) !== 0),
  },
});

export const activePriorities = (find: Find, group: Group): SysregAccess => ({
  read: (c, cpu) => find(c, cpu).activePriorities(group),
  write: (c, cpu, low) => find(c, cpu).setActivePriorities(group, 0, low),
});

const common = (find: Find): Sysregs => ({
  ICC_PMR_EL1: {
    read: (c, cpu) => find(c, cpu).priorityMask,
    write: (c, cpu, low) => find(c, cpu).setPriorityMask(low),
  },
  ICC_CTLR_EL1: {
    read: (c, cpu) => {
      const i = find(c, cpu);
      return CTLR_FIXED | (i.has(CONTROL.CBPR) ? ICC_CTLR.CBPR : 0) | (i.has(CONTROL.EOImode) ? ICC_CTLR.EOImode : 0);
    },
    write: (c, cpu, low) =>
      find(c, cpu).change(
        CONTROL.CBPR | CONTROL.EOImode,
        (low & ICC_CTLR.CBPR ? CONTROL.CBPR : 0) | (low & ICC_CTLR.EOImode ? CONTROL.EOImode : 0),
      ),
  },
  ICC_RPR_EL1: { read: (c, cpu) => find(c, cpu).runningPriority },
  ICC_DIR_EL1: { write: (c, cpu, low) => find(c, cpu).deactivate(low & INTID) },
});

/** IHI 0069 "Forwarding an SGI to a target PE": the target's own configuration decides whether it takes the SGI. */
function generateSgi(c: GicCore, cpu: number, low: number, high: number, groups: readonly number[]): void {
  const intid = (low >>> 24) & 0xf;
  const affinity = ((((high >>> 16) & 0xff) << 24) | ((high & 0xff) << 16) | (((low >>> 16) & 0xff) << 8)) >>> 0;
  const all = (high & (1 << 8)) !== 0;
  c.affinities.forEach((other, target) => {
    const aff0 = other & 0xff;
    const named = (other & ~0xff) >>> 0 === affinity && aff0 < 16 && (low & (1 << aff0)) !== 0;
    if (all ? target === cpu : !named) return;
    if (groups.includes(Number(c.bit("group", target, intid)))) c.sendSgi(cpu, intid, target);
  });
}

const physical: Find = (c, cpu) => c.physical[cpu]!;
const virtual: Find = (c, cpu) => c.virtual[cpu]!;

export const ICC: Sysregs = {
  ...perGroup(physical, 0),
  ...perGroup(physical, 1),
  ...common(physical),
  // With one security state group 1's register reaches both groups, and the "other" state's register means group 0.
  ICC_SGI0R_EL1: { write: (c, cpu, low, high) => generateSgi(c, cpu, low, high, [0]) },
  ICC_SGI1R_EL1: { write: (c, cpu, low, high) => generateSgi(c, cpu, low, high, [0, 1]) },
  ICC_ASGI1R_EL1: { write: (c, cpu, low, high) => generateSgi(c, cpu, low, high, [0]) },
  // SRE, DFB, DIB and (EL2) Enable are RAO/WI.
  ICC_SRE_EL1: { read: () => 0x7 },
  ICC_SRE_EL2: { read: () => 0xf },
};

/** The registers a virtual machine sees in place of the physical ones: under HCR_EL2.FMO, under IMO, under either. */
export const ICV_GROUP0 = perGroup(virtual, 0);
export const ICV_GROUP1 = perGroup(virtual, 1);
export const ICV_COMMON = common(virtual);
