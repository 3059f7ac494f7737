// The distributor's registers, GICD_* (IHI 0069 "Distributor register descriptions"). One security state, affinity routing
// on: what exists only for the legacy mode (ITARGETSR, SGIR), for two security states (IGRPMODR, NSACR) or for SGIs and
// PPIs (word 0 of each array, which is in the redistributors) reads as zero. No message-based SPIs, no LPIs.

import type { GicCore } from "./core.ts";
import { MmioTable, type RegisterRow, zero } from "./mmio_table.ts";
import { type Bitmap, GICD_CTLR, INTERRUPTS, PRIORITY_MASK, WORDS } from "./state.ts";

export const GICD_BYTES = 0x1_0000;

/** Implementer Arm, as QEMU's GICv3. */
export const IIDR = 0x43b;

/** ITLinesNumber; IDbits: 16 bits of interrupt number; A3V. 1-of-N is there (No1N = 0), LPIs are not. */
const TYPER = (WORDS - 1) | (15 << 19) | (1 << 24);

/** PIDR4 to PIDR7, PIDR0 to PIDR3, CIDR0 to CIDR3; ArchRev 3 in PIDR2. */
export const idRegister = (pidr0: number) => (_: unknown, n: number): number =>
  [0x44, 0, 0, 0, pidr0, 0xb4, 0x3b, 0, 0x0d, 0xf0, 0x05, 0xb1][n]!;

/** Spreads 16 bits to the odd bits of a word, as ICFGR has them. */
export function spreadConfiguration(edge: number): number {
  let value = 0;
  for (let i = 0; i < 16; i++) value |= ((edge >>> i) & 1) << (2 * i + 1);
  return value;
}

export function gatherConfiguration(value: number): number {
  let edge = 0;
  for (let i = 0; i < 16; i++) edge |= ((value >>> (2 * i + 1)) & 1) << i;
  return edge;
}

/** A pair of registers that set and clear the bits of a map where 1 is written. */
function setAndClear(map: Bitmap, set: string, setOffset: number, clear: string, clearOffset: number) {
  const row = (name: string, offset: number, change: (old: number, value: number) => number): RegisterRow<GicCore> => ({
    name,
    offset,
    count: WORDS,
    read: (c, n) => n === 0 ? 0 : readBits(c, map, n),
    write: (c, n, value) => {
      if (n === 0) return;
      const bits = c.distributor[map];
      bits[n] = change(bits[n]!, value);
      c.updateAll();
    },
  });
  return [row(set, setOffset, (old, v) => old | v), row(clear, clearOffset, (old, v) => old & ~v)];
}

/** Level-sensitive interrupts are pending while their line is high. */
function readBits(c: GicCore, map: Bitmap, n: number): number {
  const d = c.distributor, bits = d[map][n]!;
  return map === "pending" ? bits | (d.level[n]! & ~d.edge[n]!) : bits;
}

export const GICD = new MmioTable<GicCore>("GICD", GICD_BYTES, [
  {
    name: "GICD_CTLR",
    offset: 0x0000,
    // Writes take effect at once: RWP is never seen set.
    read: (c) => c.distributor.ctlr | GICD_CTLR.ARE | GICD_CTLR.DS,
    write: (c, _, value) => {
      c.distributor.ctlr = value & (GICD_CTLR.EnableGrp0 | GICD_CTLR.EnableGrp1);
      c.updateAll();
    },
  },
  { name: "GICD_TYPER", offset: 0x0004, read: () => TYPER },
  { name: "GICD_IIDR", offset: 0x0008, read: () => IIDR },
  { name: "GICD_TYPER2", offset: 0x000c, read: zero },
  { name: "GICD_STATUSR", offset: 0x0010, read: zero },
  { name: "GICD_SETSPI_NSR", offset: 0x0040 },
  { name: "GICD_CLRSPI_NSR", offset: 0x0048 },
  { name: "GICD_SETSPI_SR", offset: 0x0050 },
  { name: "GICD_CLRSPI_SR", offset: 0x0058 },
  {
    name: "GICD_IGROUPR",
    offset: 0x0080,
    count: WORDS,
    read: (c, n) => n === 0 ? 0 : c.distributor.group[n]!,
    write: (c, n, value) => {
      if (n === 0) return;
      c.distributor.group[n] = value;
      c.updateAll();
    },
  },
  ...setAndClear("enabled", "GICD_ISENABLER", 0x0100, "GICD_ICENABLER", 0x0180),
  ...setAndClear("pending", "GICD_ISPENDR", 0x0200, "GICD_ICPENDR", 0x0280),
  ...setAndClear("active", "GICD_ISACTIVER", 0x0300, "GICD_ICACTIVER", 0x0380),
  {
    name: "GICD_IPRIORITYR",
    offset: 0x0400,
    width: 1,
    count: INTERRUPTS,
    read: (c, intid) => intid < 32 ? 0 : c.distributor.priority[intid]!,
    write: (c, intid, value) => {
      if (intid < 32) return;
      c.distributor.priority[intid] = value & PRIORITY_MASK;
      c.updateFor(0, intid);
    },
  },
  { name: "GICD_ITARGETSR", offset: 0x0800, width: 1, count: INTERRUPTS, read: zero },
  {
    name: "GICD_ICFGR",
    offset: 0x0c00,
    count: WORDS * 2,
    read: (c, n) => n < 2 ? 0 : spreadConfiguration(c.distributor.edge[n >>> 1]! >>> (16 * (n & 1))),
    write: (c, n, value) => {
      if (n < 2) return;
      const edge = c.distributor.edge, shift = 16 * (n & 1);
      edge[n >>> 1] = (edge[n >>> 1]! & ~(0xffff << shift)) | (gatherConfiguration(value) << shift);
      c.updateAll();
    },
  },
  { name: "GICD_IGRPMODR", offset: 0x0d00, count: WORDS, read: zero },
  { name: "GICD_NSACR", offset: 0x0e00, count: WORDS * 2, read: zero },
  { name: "GICD_SGIR", offset: 0x0f00 },
  { name: "GICD_CPENDSGIR", offset: 0x0f10, width: 1, count: 16, read: zero },
  { name: "GICD_SPENDSGIR", offset: 0x0f20, width: 1, count: 16, read: zero },
  {
    // 64 bits each, accessed as two words.
    name: "GICD_IROUTER",
    offset: 0x6100,
    count: (INTERRUPTS - 32) * 2,
    read: (c, n) => (n & 1 ? c.distributor.routeHigh : c.distributor.routeLow)[32 + (n >>> 1)]!,
    write: (c, n, value) => {
      const intid = 32 + (n >>> 1);
      if (n & 1) c.distributor.routeHigh[intid] = value & 0xff;
      else c.distributor.routeLow[intid] = value & 0x80ffffff;
      c.route(intid);
      c.updateAll();
    },
  },
  { name: "GICD_PIDR", offset: 0xffd0, count: 12, read: idRegister(0x92) },
]);
