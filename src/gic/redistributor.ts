// The redistributors' registers, GICR_* (IHI 0069 "Redistributor register descriptions"): for each vCPU a frame RD_base and
// a frame SGI_base of 64 KiB. No LPIs: their registers read as zero. WAKER keeps the handshake but gates nothing.

import type { GicCore } from "./core.ts";
import { gatherConfiguration, idRegister, IIDR, spreadConfiguration } from "./distributor.ts";
import { MmioTable, type RegisterRow, zero } from "./mmio_table.ts";
import { type Bitmap, GICR_WAKER, INTERRUPTS, PRIORITY_MASK, type Redistributor } from "./state.ts";

export const GICR_BYTES = 0x2_0000;

/** One vCPU's pair of frames. */
export interface Frame {
  readonly core: GicCore;
  readonly cpu: number;
  readonly state: Redistributor;
}

const SGI_BASE = 0x1_0000;

/** Affinity, Last, CommonLPIAff = 1 as QEMU has it, and the processor number. */
function typer(f: Frame, word: number): number {
  if (word === 1) return f.core.affinities[f.cpu]!;
  const last = f.cpu === f.core.redistributors.length - 1;
  return (1 << 24) | (f.cpu << 8) | (last ? 1 << 4 : 0);
}

function setAndClear(map: Bitmap, set: string, setOffset: number, clear: string, clearOffset: number) {
  const row = (name: string, offset: number, change: (old: number, value: number) => number): RegisterRow<Frame> => ({
    name,
    offset: SGI_BASE + offset,
    read: (f) => f.state[map][0]! | (map === "pending" ? f.state.level[0]! & ~f.state.edge[0]! : 0),
    write: (f, _, value) => {
      f.state[map][0] = change(f.state[map][0]!, value);
      f.core.update(f.cpu);
    },
  });
  return [row(set, setOffset, (old, v) => old | v), row(clear, clearOffset, (old, v) => old & ~v)];
}

export const GICR = new MmioTable<Frame>("GICR", GICR_BYTES, [
  { name: "GICR_CTLR", offset: 0x0000, read: zero },
  { name: "GICR_IIDR", offset: 0x0004, read: () => IIDR },
  { name: "GICR_TYPER", offset: 0x0008, count: 2, read: typer },
  { name: "GICR_STATUSR", offset: 0x0010, read: zero },
  {
    name: "GICR_WAKER",
    offset: 0x0014,
    read: (f) => f.state.waker,
    write: (f, _, value) => {
      const asleep = value & GICR_WAKER.ProcessorSleep;
      f.state.waker = asleep ? GICR_WAKER.ProcessorSleep | GICR_WAKER.ChildrenAsleep : 0;
      // Interrupts that any vCPU may take look for one that is awake.
      const low = f.core.distributor.routeLow;
      for (let intid = 32; intid < INTERRUPTS; intid++) if (low[intid]! >>> 31) f.core.route(intid);
      f.core.updateAll();
    },
  },
  { name: "GICR_SETLPIR", offset: 0x0040, count: 2 },
  { name: "GICR_CLRLPIR", offset: 0x0048, count: 2 },
  { name: "GICR_PROPBASER", offset: 0x0070, count: 2, read: zero },
  { name: "GICR_PENDBASER", offset: 0x0078, count: 2, read: zero },
  { name: "GICR_INVLPIR", offset: 0x00a0, count: 2 },
  { name: "GICR_INVALLR", offset: 0x00b0, count: 2 },
  { name: "GICR_SYNCR", offset: 0x00c0, read: zero },
  { name: "GICR_PIDR", offset: 0xffd0, count: 12, read: idRegister(0x93) },
  {
    name: "GICR_IGROUPR0",
    offset: SGI_BASE + 0x0080,
    read: (f) => f.state.group[0]!,
    write: (f, _, value) => {
      f.state.group[0] = value;
      f.core.update(f.cpu);
    },
  },
  ...setAndClear("enabled", "GICR_ISENABLER0", 0x0100, "GICR_ICENABLER0", 0x0180),
  ...setAndClear("pending", "GICR_ISPENDR0", 0x0200, "GICR_ICPENDR0", 0x0280),
  ...setAndClear("active", "GICR_ISACTIVER0", 0x0300, "GICR_ICACTIVER0", 0x0380),
  {
    name: "GICR_IPRIORITYR",
    offset: SGI_BASE + 0x0400,
    width: 1,
    count: 32,
    read: (f, intid) => f.state.priority[intid]!,
    write: (f, intid, value) => {
      f.state.priority[intid] = value & PRIORITY_MASK;
      f.core.update(f.cpu);
    },
  },
  {
    // SGIs are always edge-triggered; PPIs can be set.
    name: "GICR_ICFGR",
    offset: SGI_BASE + 0x0c00,
    count: 2,
    read: (f, n) => spreadConfiguration(f.state.edge[0]! >>> (16 * n)),
    write: (f, n, value) => {
      if (n === 0) return;
      f.state.edge[0] = 0xffff | (gatherConfiguration(value) << 16);
      f.core.update(f.cpu);
    },
  },
  { name: "GICR_IGRPMODR0", offset: SGI_BASE + 0x0d00, read: zero },
  { name: "GICR_NSACR", offset: SGI_BASE + 0x0e00, read: zero },
]);
