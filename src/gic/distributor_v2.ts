// GICv2's distributor, GICD_* (IHI 0048 "Distributor register descriptions"): registers of SGIs and PPIs are banked by vCPU,
// SPIs name their targets, SGIs are sent here and remember who sent them. Interrupt groups without Security Extensions.
// SGIs are always enabled, and with a single vCPU there are no targets to choose.

import { type Access, identification, interruptRows } from "./interrupt_registers.ts";
import { MmioTable } from "./mmio_table.ts";
import { GICD_CTLR, INTERRUPTS, SGIS, WORDS } from "./state.ts";

const SGI_BITS = 2 ** SGIS - 1;

/** GICD_SGIR.TargetListFilter. */
const FILTER = { list: 0, others: 1, self: 2 } as const;

const allCpus = ({ core }: Access): number => 2 ** core.privates.length - 1;

function generateSgi(a: Access, value: number): void {
  const { core, cpu } = a, filter = (value >>> 24) & 3;
  let targets: number;
  switch (filter) {
    case FILTER.list:
      targets = (value >>> 16) & allCpus(a);
      break;
    case FILTER.others:
      targets = allCpus(a) & ~(1 << cpu);
      break;
    case FILTER.self:
      targets = 1 << cpu;
      break;
    default:
      core.guestError(`GICD_SGIR: TargetListFilter is ${filter}`);
      return;
  }
  core.privates.forEach((_, target) => {
    if ((targets >>> target) & 1) core.sendSgi(cpu, value & 0xf, target);
  });
}

function setSgiSources({ core, cpu }: Access, intid: number, sources: number): void {
  core.privates[cpu]!.sgiSources[intid] = sources;
  core.setBit("pending", cpu, intid, sources !== 0);
  core.update(cpu);
}

const sgiSources = ({ core, cpu }: Access, intid: number): number => core.privates[cpu]!.sgiSources[intid]!;

export const GICD_V2 = new MmioTable<Access>("GICD", 0x1000, [
  {
    name: "GICD_CTLR",
    offset: 0x000,
    read: ({ core }) => core.distributor.ctlr,
    write: ({ core }, _, value) => {
      core.distributor.ctlr = value & (GICD_CTLR.EnableGrp0 | GICD_CTLR.EnableGrp1);
      core.updateAll();
    },
  },
  // ITLinesNumber, CPUNumber.
  { name: "GICD_TYPER", offset: 0x004, read: ({ core }) => (WORDS - 1) | ((core.privates.length - 1) << 5) },
  { name: "GICD_IIDR", offset: 0x008, read: () => 0x43b },
  ...interruptRows({
    prefix: "GICD",
    base: 0,
    first: 0,
    words: WORDS,
    writable: { enabled: ~SGI_BITS, pending: ~SGI_BITS },
  }),
  {
    name: "GICD_ITARGETSR",
    offset: 0x800,
    width: 1,
    count: INTERRUPTS,
    read: (a, intid) => {
      if (a.core.privates.length === 1) return 0;
      return intid < 32 ? 1 << a.cpu : a.core.distributor.targets[intid]!;
    },
    write: (a, intid, value) => {
      if (a.core.privates.length === 1 || intid < 32) return;
      a.core.setTargets(intid, value & allCpus(a));
      a.core.updateAll();
    },
  },
  { name: "GICD_SGIR", offset: 0xf00, write: (a, _, value) => generateSgi(a, value) },
  {
    name: "GICD_CPENDSGIR",
    offset: 0xf10,
    width: 1,
    count: SGIS,
    read: sgiSources,
    write: (a, intid, value) => setSgiSources(a, intid, sgiSources(a, intid) & ~value),
  },
  {
    name: "GICD_SPENDSGIR",
    offset: 0xf20,
    width: 1,
    count: SGIS,
    read: sgiSources,
    write: (a, intid, value) => setSgiSources(a, intid, sgiSources(a, intid) | (value & allCpus(a))),
  },
  { name: "GICD_PIDR", offset: 0xfd0, count: 12, read: identification([0x04, 0x90, 0xb4, 0x2b, 0]) },
]);
