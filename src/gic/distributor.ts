// GICv3's distributor, GICD_* (IHI 0069 "Distributor register descriptions"). One security state, affinity routing on: what
// exists only for the legacy mode (ITARGETSR, SGIR), for two security states (IGRPMODR, NSACR) or for SGIs and PPIs (word 0
// of each array, which is in the redistributors) reads as zero. No message-based SPIs, no LPIs. An SPI with 1-of-N routing
// (IRM) goes to the first vCPU whose redistributor is awake.

import type { GicCore } from "./core.ts";
import { type Access, identification, interruptRows } from "./interrupt_registers.ts";
import { MmioTable, type RegisterRow, zero } from "./mmio_table.ts";
import { GICD_CTLR, GICR_WAKER, INTERRUPTS, WORDS } from "./state.ts";

export const GICD_BYTES = 0x1_0000;

/** Implementer Arm, as QEMU's GICv3. */
export const IIDR = 0x43b;

/** ITLinesNumber; IDbits: 16 bits of interrupt number; A3V. 1-of-N is there (No1N = 0), LPIs are not. */
const TYPER = (WORDS - 1) | (15 << 19) | (1 << 24);

/** Finds the target of an SPI again after its route changed. */
export function route(core: GicCore, intid: number): void {
  const { routeLow, routeHigh } = core.distributor;
  let target: number;
  if (routeLow[intid]! >>> 31) {
    target = Math.max(0, core.privates.findIndex((p) => !(p.waker & GICR_WAKER.ProcessorSleep)));
  } else {
    const affinity = ((routeLow[intid]! & 0xffffff) | (routeHigh[intid]! << 24)) >>> 0;
    target = core.affinities.indexOf(affinity);
  }
  core.setTargets(intid, target < 0 ? 0 : 1 << target);
}

/** Word 0 of the arrays, reserved for the redistributors: name, offset and bytes per 32 interrupts. */
const BANKED: readonly RegisterRow<Access>[] = ([
  ...[0x080, 0x100, 0x180, 0x200, 0x280, 0x300, 0x380].map((offset) => [offset, 4]),
  [0x400, 32],
  [0xc00, 8],
] as const).map(([offset, bytes]) => ({
  name: "GICD_reserved",
  offset: offset!,
  width: 1,
  count: bytes!,
  read: zero,
}));

export const GICD = new MmioTable<Access>("GICD", GICD_BYTES, [
  {
    name: "GICD_CTLR",
    offset: 0x0000,
    // Writes take effect at once: RWP is never seen set.
    read: ({ core }) => core.distributor.ctlr | GICD_CTLR.ARE | GICD_CTLR.DS,
    write: ({ core }, _, value) => {
      core.distributor.ctlr = value & (GICD_CTLR.EnableGrp0 | GICD_CTLR.EnableGrp1);
      core.updateAll();
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
  ...BANKED,
  ...interruptRows({ prefix: "GICD", base: 0, first: 1, words: WORDS - 1 }),
  { name: "GICD_ITARGETSR", offset: 0x0800, width: 1, count: INTERRUPTS, read: zero },
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
    read: ({ core }, n) => (n & 1 ? core.distributor.routeHigh : core.distributor.routeLow)[32 + (n >>> 1)]!,
    write: ({ core }, n, value) => {
      const intid = 32 + (n >>> 1);
      if (n & 1) core.distributor.routeHigh[intid] = value & 0xff;
      else core.distributor.routeLow[intid] = value & 0x80ffffff;
      route(core, intid);
      core.updateAll();
    },
  },
  { name: "GICD_PIDR", offset: 0xffd0, count: 12, read: identification([0x44, 0x92, 0xb4, 0x3b, 0]) },
]);
