// The hypervisor's registers of GICv2's virtualization interface, GICH_* (IHI 0048 "Virtual interface control registers").
// Each vCPU finds its own at one address; the aliases by processor number are left out, as on QEMU's `virt`.

import type { Access } from "./interrupt_registers.ts";
import { MmioTable, zero } from "./mmio_table.ts";
import { LIST_REGISTERS } from "./state.ts";

const HCR_WRITABLE = 0xf80000ff;

/** ListRegs, PREbits and PRIbits. */
const VTR = ((LIST_REGISTERS - 1) | (4 << 26) | (4 << 29)) >>> 0;

/** CTLR, ABPR, BPR and PMR of the virtual machine. */
const VMCR_WRITABLE = 0xf8fc021f;

const virtual = ({ core, cpu }: Access) => core.virtual[cpu]!;

/**
 * A list register is held as GICv3 has it. VirtualID is bits 9:0 of the one and of the low word of the other; bits 19:10
 * (PhysicalID, or EOI and CPUID), priority, state, group and HW are in its high word.
 */
const toHigh = (lr: number): number => {
  const priority = (lr >>> 23) & 0x1f, state = (lr >>> 28) & 3, group = (lr >>> 30) & 1, hardware = lr >>> 31;
  return ((lr >>> 10) & 0x3ff) | (priority << 19) | (group << 28) | (hardware << 29) | (state << 30);
};
const fromWords = (low: number, high: number): number => {
  const priority = (high >>> 19) & 0x1f, group = (high >>> 28) & 1, hardware = (high >>> 29) & 1, state = high >>> 30;
  return low | ((high & 0x3ff) << 10) | (priority << 23) | (state << 28) | (group << 30) | (hardware << 31);
};

export const GICH = new MmioTable<Access>("GICH", 0x1000, [
  {
    name: "GICH_HCR",
    offset: 0x000,
    read: (a) => virtual(a).hcr,
    write: (a, _, value) => virtual(a).setHcr(value & HCR_WRITABLE),
  },
  { name: "GICH_VTR", offset: 0x004, read: () => VTR },
  {
    name: "GICH_VMCR",
    offset: 0x008,
    read: (a) => virtual(a).state.control,
    write: (a, _, value) => virtual(a).setControl(value & VMCR_WRITABLE),
  },
  { name: "GICH_MISR", offset: 0x010, read: (a) => virtual(a).maintenanceStatus },
  { name: "GICH_EISR", offset: 0x020, count: 2, read: (a, n) => n === 0 ? virtual(a).eoiStatus : 0 },
  { name: "GICH_ELRSR", offset: 0x030, count: 2, read: (a, n) => n === 0 ? virtual(a).emptyStatus : 0 },
  {
    name: "GICH_APR",
    offset: 0x0f0,
    read: (a) => virtual(a).activePriorities(0),
    write: (a, _, value) => virtual(a).setActivePriorities(0, 0, value),
  },
  {
    name: "GICH_LR",
    offset: 0x100,
    count: LIST_REGISTERS,
    read: ({ core, cpu }, i) => fromWords(core.privates[cpu]!.lrWords[2 * i]!, core.privates[cpu]!.lrWords[2 * i + 1]!),
    write: (a, i, value) => virtual(a).setListRegister(i, value & 0x3ff, toHigh(value)),
  },
  { name: "GICH_LR", offset: 0x100 + 4 * LIST_REGISTERS, count: 64 - LIST_REGISTERS, read: zero },
]);
