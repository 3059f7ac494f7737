// GICv2's CPU interface, GICC_*, and the one a virtual machine finds in its place, GICV_* (IHI 0048 "CPU interface register
// descriptions", "Virtual CPU interface register descriptions"): one map of registers in front of either interface. Without
// Security Extensions all accesses are as Secure ones: interrupts of group 1 are taken through the aliased registers, or
// through the others with AckCtl. No interrupt bypass.

import type { CpuInterface } from "./cpu_interface.ts";
import type { Access } from "./interrupt_registers.ts";
import { MmioTable, type RegisterRow, zero } from "./mmio_table.ts";
import { CONTROL, INTERRUPTS, OTHER_GROUP, SPURIOUS } from "./state.ts";

/** The bits of GICC_CTLR, which are those of `control`. */
const CTLR = CONTROL.EnableGrp0 | CONTROL.EnableGrp1 | CONTROL.AckCtl | CONTROL.FIQEn | CONTROL.CBPR | CONTROL.EOImode;

/** Interrupt number in bits 9:0, for SGIs the vCPU that sent it in 12:10. One SGI of several senders is active once. */
const INTID = 0x3ff, INTID_AND_SENDER = 0x1fff;

/** Implementer Arm, architecture version 2, as QEMU's. */
const IIDR = 0x0002_043b;

type Find = (a: Access) => CpuInterface;

/** What HPPIR gives for the best pending interrupt; AHPPIR if `aliased`. */
function highestPending(i: CpuInterface, aliased: boolean): number {
  if (i.state.best === SPURIOUS) return SPURIOUS;
  if (aliased) return i.state.bestGroup === 1 ? i.pendingId : SPURIOUS;
  return i.state.bestGroup === 1 && !i.has(CONTROL.AckCtl) ? OTHER_GROUP : i.pendingId;
}

function acknowledge(i: CpuInterface, aliased: boolean): number {
  if (!i.canSignal()) return SPURIOUS;
  const id = highestPending(i, aliased);
  return id === SPURIOUS || id === OTHER_GROUP ? id : i.acknowledge();
}

/**
 * The registers below `name`_, e.g. GICC_CTLR. `mask` is what counts of a value that ends an interrupt, and `groupOf` the
 * group of the interrupt.
 */
function interfaceRows(
  name: string,
  find: Find,
  mask: number,
  groupOf: (a: Access, id: number) => 0 | 1,
): RegisterRow<Access>[] {
  const row = (register: string, offset: number, rest: Pick<RegisterRow<Access>, "count" | "read" | "write">) => ({
    name: `${name}_${register}`,
    offset,
    ...rest,
  });
  return [
    row("CTLR", 0x000, {
      read: (a) => find(a).state.control & CTLR,
      write: (a, _, value) => find(a).change(CTLR, value & CTLR),
    }),
    row("PMR", 0x004, {
      read: (a) => find(a).priorityMask,
      write: (a, _, value) => find(a).setPriorityMask(value),
    }),
    row("BPR", 0x008, {
      read: (a) => find(a).binaryPoint(0),
      write: (a, _, value) => find(a).setBinaryPoint(0, value),
    }),
    row("IAR", 0x00c, { read: (a) => acknowledge(find(a), false) }),
    row("EOIR", 0x010, { write: (a, _, value) => find(a).endOfInterrupt(value & mask, groupOf(a, value & mask)) }),
    row("RPR", 0x014, { read: (a) => find(a).runningPriority }),
    row("HPPIR", 0x018, { read: (a) => highestPending(find(a), false) }),
    row("ABPR", 0x01c, {
      read: (a) => find(a).binaryPoint(1),
      write: (a, _, value) => find(a).setBinaryPoint(1, value),
    }),
    row("AIAR", 0x020, { read: (a) => acknowledge(find(a), true) }),
    row("AEOIR", 0x024, { write: (a, _, value) => find(a).endOfInterrupt(value & mask, 1) }),
    row("AHPPIR", 0x028, { read: (a) => highestPending(find(a), true) }),
    row("IIDR", 0x0fc, { read: () => IIDR }),
    row("DIR", 0x1000, { write: (a, _, value) => find(a).deactivate(value & mask) }),
  ];
}

const activePriorities = (name: string, offset: number, count: number, find: Find, group: 0 | 1) => ({
  name,
  offset,
  count,
  read: (a: Access, n: number) => find(a).activePriorities(group, n),
  write: (a: Access, n: number, value: number) => find(a).setActivePriorities(group, n, value),
});

const physical: Find = ({ core, cpu }) => core.physical[cpu]!;
const virtual: Find = ({ core, cpu }) => core.virtual[cpu]!;

export const GICC = new MmioTable<Access>("GICC", 0x2000, [
  ...interfaceRows(
    "GICC",
    physical,
    INTID,
    ({ core, cpu }, intid) => intid < INTERRUPTS && core.bit("group", cpu, intid) ? 1 : 0,
  ),
  activePriorities("GICC_APR", 0x0d0, 4, physical, 0),
  activePriorities("GICC_NSAPR", 0x0e0, 4, physical, 1),
]);

export const GICV = new MmioTable<Access>("GICV", 0x2000, [
  ...interfaceRows("GICV", virtual, INTID_AND_SENDER, () => 0),
  activePriorities("GICV_APR", 0x0d0, 1, virtual, 0),
  { name: "GICV_APR", offset: 0x0d4, count: 3, read: zero },
]);
