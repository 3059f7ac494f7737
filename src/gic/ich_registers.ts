// The hypervisor's registers of GICv3's virtualization interface, ICH_* (IHI 0069 "AArch64 virtualization control system
// registers"). The traps of ICH_HCR_EL2 are the CPU's business.

import { activePriorities, type Sysregs } from "./icc_registers.ts";
import { CONTROL, LIST_REGISTERS } from "./state.ts";

const HCR_WRITABLE = 0xf8005cff;

/** ListRegs, PREbits, PRIbits; IDbits = 24 bits, A3V, nV4 and TDS (ICH_HCR_EL2.TDIR is there), as QEMU announces them. */
const VTR = ((LIST_REGISTERS - 1) | (1 << 19) | (1 << 20) | (1 << 21) | (1 << 23) | (4 << 26) | (4 << 29)) >>> 0;

/** In the high word of a list register: what does not exist of priority and pINTID, and what is RES0. */
const LR_RES0 = 0x0f07e000;

/** All but VAckCtl and VFIQEn, which system registers do not have. */
const VMCR_WRITABLE = CONTROL.EnableGrp0 | CONTROL.EnableGrp1 | CONTROL.CBPR | CONTROL.EOImode |
  (7 << CONTROL.BPR1_SHIFT) | (7 << CONTROL.BPR0_SHIFT) | (0xff << CONTROL.PMR_SHIFT);

const listRegisters = (): Sysregs =>
  Object.fromEntries(Array.from({ length: LIST_REGISTERS }, (_, i) => [
    `ICH_LR${i}_EL2`,
    {
      read: (c, cpu) => c.privates[cpu]!.lr[i]!,
      write: (c, cpu, low, high) => c.virtual[cpu]!.setListRegister(i, low, high & ~LR_RES0),
    } satisfies Sysregs[string],
  ]));

export const ICH: Sysregs = {
  ICH_HCR_EL2: {
    read: (c, cpu) => c.virtual[cpu]!.hcr,
    write: (c, cpu, low) => c.virtual[cpu]!.setHcr(low & HCR_WRITABLE),
  },
  ICH_VTR_EL2: { read: () => VTR },
  ICH_MISR_EL2: { read: (c, cpu) => c.virtual[cpu]!.maintenanceStatus },
  ICH_EISR_EL2: { read: (c, cpu) => c.virtual[cpu]!.eoiStatus },
  ICH_ELRSR_EL2: { read: (c, cpu) => c.virtual[cpu]!.emptyStatus },
  ICH_VMCR_EL2: {
    read: (c, cpu) => c.virtual[cpu]!.state.control,
    write: (c, cpu, low) => c.virtual[cpu]!.setControl((low & VMCR_WRITABLE) | CONTROL.FIQEn),
  },
  ICH_AP0R0_EL2: activePriorities((c, cpu) => c.virtual[cpu]!, 0),
  ICH_AP1R0_EL2: activePriorities((c, cpu) => c.virtual[cpu]!, 1),
  ...listRegisters(),
};
