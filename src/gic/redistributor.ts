// GICv3's redistributors, GICR_* (IHI 0069 "Redistributor register descriptions"): for each vCPU a frame RD_base and a frame
// SGI_base of 64 KiB. No LPIs: their registers read as zero. WAKER keeps the handshake but gates nothing: a sleeping
// redistributor still forwards interrupts, as QEMU's does.

import { IIDR, route } from "./distributor.ts";
import { type Access, identification, interruptRows } from "./interrupt_registers.ts";
import { MmioTable, zero } from "./mmio_table.ts";
import { GICR_WAKER, INTERRUPTS } from "./state.ts";

export const GICR_BYTES = 0x2_0000;

const SGI_BASE = 0x1_0000;

/** Affinity, Last, CommonLPIAff = 1 as QEMU has it, and the processor number. */
function typer({ core, cpu }: Access, word: number): number {
  if (word === 1) return core.affinities[cpu]!;
  const last = cpu === core.privates.length - 1;
  return (1 << 24) | (cpu << 8) | (last ? 1 << 4 : 0);
}

export const GICR = new MmioTable<Access>("GICR", GICR_BYTES, [
  { name: "GICR_CTLR", offset: 0x0000, read: zero },
  { name: "GICR_IIDR", offset: 0x0004, read: () => IIDR },
  { name: "GICR_TYPER", offset: 0x0008, count: 2, read: typer },
  { name: "GICR_STATUSR", offset: 0x0010, read: zero },
  {
    name: "GICR_WAKER",
    offset: 0x0014,
    read: ({ core, cpu }) => core.privates[cpu]!.waker,
    write: ({ core, cpu }, _, value) => {
      const asleep = value & GICR_WAKER.ProcessorSleep;
      core.privates[cpu]!.waker = asleep ? GICR_WAKER.ProcessorSleep | GICR_WAKER.ChildrenAsleep : 0;
      // Interrupts that any vCPU may take look for one that is awake.
      const low = core.distributor.routeLow;
      for (let intid = 32; intid < INTERRUPTS; intid++) if (low[intid]! >>> 31) route(core, intid);
      core.updateAll();
    },
  },
  { name: "GICR_SETLPIR", offset: 0x0040, count: 2 },
  { name: "GICR_CLRLPIR", offset: 0x0048, count: 2 },
  { name: "GICR_PROPBASER", offset: 0x0070, count: 2, read: zero },
  { name: "GICR_PENDBASER", offset: 0x0078, count: 2, read: zero },
  { name: "GICR_INVLPIR", offset: 0x00a0, count: 2 },
  { name: "GICR_INVALLR", offset: 0x00b0, count: 2 },
  { name: "GICR_SYNCR", offset: 0x00c0, read: zero },
  { name: "GICR_PIDR", offset: 0xffd0, count: 12, read: identification([0x44, 0x93, 0xb4, 0x3b, 0]) },
  ...interruptRows({ prefix: "GICR", base: SGI_BASE, first: 0, words: 1 }),
  { name: "GICR_IGRPMODR0", offset: SGI_BASE + 0x0d00, read: zero },
  { name: "GICR_NSACR", offset: SGI_BASE + 0x0e00, read: zero },
]);
