// Random operations on a GICv2: on distributor, CPU interface, message frame and hypervisor's registers at EL2 and on the
// virtual interface at EL1, by one CPU or by several in turns. Where QEMU deviates from the architecture on purpose or by
// omission, the generator keeps away; each place says so. Binary points of both groups are kept equal, and change only while
// nothing runs: QEMU compares a whole priority with the running group priority.

import { C, ENABLE, EOI_MODE, FIQ_ENABLE, GICC, GICD, GICH, GICV, H, V2M } from "./harness_v2.ts";
import { type Level, maskAtEl1, type Operation, type Random } from "./qemu_program.ts";

const CBPR = 0x10;
/** Few interrupts, so that they meet: SGIs, the maintenance interrupt, SPIs, one of them the message frame's. */
const INTERRUPTS = [1, 5, 25, 40, 41, 85] as const, MOVING_SPIS = [41, 85] as const;
/**
 * Virtual interrupts of each list register: QEMU does not tell two list registers with one number apart, and 7.2 lets no
 * virtual machine deactivate what the distributor has no number for.
 */
const VIRTUAL = [[27, 3], [28, 5], [40, 7], [250, 9]] as const;
const sender = (intid: number) => intid < 16 ? intid & 7 : 0;
const fullId = (intid: number) => intid | (sender(intid) << 10);

/** About `count` operations of CPUs 0 to `cpus` - 1. */
export function generate(random: Random, count: number, cpus: number): Operation[] {
  const operations: Operation[] = [];
  let cpu = 0;
  /** BPR and GICV_BPR of each CPU. */
  const bpr = new Array(cpus).fill(0), virtualBpr = new Array(cpus).fill(2);
  const store = (address: number, value: number, bytes = 4, el: Level = 2) =>
    operations.push({ kind: "store", el, cpu, address, bytes, value: BigInt(value >>> 0) });
  const load = (address: number, bytes = 4, el: Level = 2) =>
    operations.push({ kind: "load", el, cpu, address, bytes, value: 0n });
  const intid = () => random.of(INTERRUPTS);
  /** The target of each SPI. QEMU 7.2 lets no other CPU make it inactive, and none if all were made active. */
  const owners = new Map<number, number>();
  const own = () => {
    const id = random.of(INTERRUPTS.filter((id) => id < 32 || owners.get(id) === cpu));
    return id < 16 ? id | (random.below(8) << 10) : id;
  };
  const bits = () => [intid(), intid()].reduce((set, id) => set | (1 << (id & 31)), 0);
  const priority = () => random.below(0xff);
  const groupMask = (bpr: number) => 0xff & (0xff << (bpr + 1));
  /** Groups are enabled together: in QEMU a disabled one hides the other's interrupts and is acknowledged all the same. */
  const control = (random: Random) =>
    random.below(8) === 0
      ? 0
      : ENABLE | random.of([0, 0, FIQ_ENABLE]) | random.of([0, CBPR]) | random.of([0, EOI_MODE]);

  const clearActive = () => {
    for (let n = 0; n < 4; n++) for (const base of [C.APR, C.NSAPR]) store(GICC + base + 4 * n, 0);
  };
  const setActive = () => {
    clearActive();
    if (random.below(3)) return;
    const level = (random.below(0x100) & groupMask(bpr[cpu])) >>> 1;
    store(GICC + random.of([C.APR, C.NSAPR]) + 4 * (level >>> 5), 1 << (level & 31));
  };
  const anyInterface = () => {
    random.of([
      () => load(GICC + C.IAR),
      () => load(GICC + C.IAR),
      () => load(GICC + C.IAR),
      () => load(GICC + C.IAR),
      () => store(GICC + C.EOIR, own()),
      () => store(GICC + C.EOIR, own()),
      () => store(GICC + C.EOIR, SPURIOUS_OR_NONE[random.below(3)]!),
      () => store(GICC + C.DIR, own()),
      () => {
        // QEMU's HPPIR gives nothing that is masked by priority.
        store(GICC + C.PMR, 0xff);
        load(GICC + C.HPPIR);
      },
      () => {
        // QEMU tells of the other group before it looks at priorities.
        clearActive();
        store(GICC + C.CTLR, ENABLE & ~4);
        load(GICC + C.IAR);
        store(GICC + C.CTLR, control(random));
      },
      () => store(GICC + C.PMR, random.of([0xff, 0xff, 0xf0, random.below(0x100)])),
      () => load(GICC + C.PMR),
      () => store(GICC + C.CTLR, control(random)),
      () => load(GICC + C.CTLR),
      () => {
        clearActive();
        bpr[cpu] = random.below(7);
        store(GICC + C.BPR, bpr[cpu]);
        store(GICC + C.ABPR, bpr[cpu] + 1);
      },
      () => load(GICC + C.BPR),
      () => load(GICC + C.ABPR),
      () => load(GICC + C.RPR),
      setActive,
      () => load(GICC + random.of([C.APR, C.NSAPR]) + 4 * random.below(4)),
      () => load(GICC + 0xfc),
    ])();
  };
  const anyDistributor = () => {
    const id = intid(), word = 4 * (id >>> 5), at = GICD + word, bit = 1 << (id & 31), spi = random.of(MOVING_SPIS);
    // In QEMU only the registers of SGIs and PPIs that say so are banked.
    const shared = cpus > 1 && id < 32;
    random.of([
      () => shared || store(at + 0x200, bits()),
      () => shared || store(at + 0x200, bits()),
      () => shared || store(at + 0x280, bits()),
      () => store(at + 0x380, bits()),
      () => id < 32 && store(at + 0x300, bit),
      () => store(at + 0x100, bits()),
      () => store(at + 0x100, bits()),
      () => store(at + 0x180, bit),
      () => store(GICD + 0x400 + id, priority(), 1),
      () => store(GICD + 0x400 + (id & ~3), random.word() & 0xfefefefe),
      () => store(at + 0x80, random.word()),
      () => shared || store(GICD + 0xc00 + 4 * (id >>> 4), random.word() & 0xaaaaaaaa),
      () => store(GICD, random.of([3, 3, 3, 0, 0xfffffff3])),
      ...[0x80, 0x100, 0x180, 0x200, 0x280, 0x300, 0x380].map((offset) => () => load(at + offset)),
      () => shared || load(GICD + 0xc00 + 4 * (id >>> 4)),
      () => load(GICD + 0x400 + (id & ~3)),
      () => load(GICD + 0x800 + (id & ~3)),
      () => load(GICD),
      () => load(GICD + random.of([4, 0xf00, 0xfd0, 0xfe0, 0xfe4, 0xfe8, 0xfec, 0xff0, 0xffc])),
      () => {
        // QEMU keeps pending and active state of an SPI for each target: one target, and a change of it starts anew.
        store(GICD + 4 * (spi >>> 5) + 0x280, 1 << (spi & 31));
        store(GICD + 4 * (spi >>> 5) + 0x380, 1 << (spi & 31));
        owners.set(spi, random.below(cpus));
        store(GICD + 0x800 + spi, 1 << owners.get(spi)!, 1);
      },
      () => store(GICD + 0xf00, (random.below(3) << 24) | (random.below(2 ** cpus) << 16) | random.of([1, 5])),
      () => store(GICD + 0xf00, (random.below(3) << 24) | (random.below(2 ** cpus) << 16) | random.of([1, 5])),
      () => store(GICD + 0xf10 + random.of([1, 5]), random.below(2 ** cpus), 1),
      () => store(GICD + 0xf20 + random.of([1, 5]), 1 + random.below(2 ** cpus - 1), 1),
      () => load(GICD + random.of([0xf10, 0xf20]) + random.of([1, 5]), 1),
      () => load(GICD + random.of([0xf10, 0xf20]) + 4 * random.below(2)),
      () => store(V2M + 0x40, random.of([79, 85, 85, 85, 144, 0xfc55])),
      () => load(V2M + random.of([8, 0xfcc, 0xfe8])),
    ])();
  };
  const anyVirtual = () => {
    const virtual = random.of(VIRTUAL.flat()), read = (offset: number) => load(GICV + offset, 4, 1);
    const write = (offset: number, value: number) => {
      store(GICV + offset, value, 4, 1);
      // QEMU follows a deactivated hardware interrupt with the next access to the physical side.
      if (offset === C.EOIR || offset === C.DIR) store(GICC + C.PMR, 0, 4, 1);
    };
    random.of([
      () => read(C.IAR),
      () => read(C.IAR),
      () => read(C.IAR),
      () => read(C.IAR),
      () => write(C.EOIR, fullId(virtual)),
      () => write(C.EOIR, fullId(virtual)),
      () => write(C.EOIR, SPURIOUS_OR_NONE[random.below(2)]!),
      () => write(C.DIR, fullId(virtual)),
      () => {
        // As for the physical interface, and disabled QEMU's gives nothing.
        write(C.PMR, 0xff);
        store(GICH + H.HCR, 1);
        read(C.HPPIR);
      },
      () => write(C.PMR, random.of([0xff, 0xf8, random.below(0x100)])),
      () => read(C.PMR),
      () => write(C.CTLR, control(random)),
      () => read(C.CTLR),
      () => {
        store(GICH + H.APR, 0);
        virtualBpr[cpu] = 2 + random.below(5);
        write(C.BPR, virtualBpr[cpu]);
        write(C.ABPR, virtualBpr[cpu] + 1);
      },
      () => read(C.BPR),
      () => read(C.ABPR),
      () => read(C.RPR),
      () => read(C.APR),
      () => read(C.NSAPR),
      () => read(0xfc),
    ])();
  };
  const listRegister = (n: number): number => {
    // QEMU takes a part of the physical number for the sender of an SGI.
    const virtual = random.of(VIRTUAL[n]!), hardware = virtual >= 16 && random.below(2) === 0;
    const low = hardware
      ? random.of([owners.get(40) === cpu ? 40 : 25, 25, 700])
      : sender(virtual) | (random.below(2) << 9);
    // QEMU's HPPIR: the priority that no mask lets through is left out.
    return virtual | (low << 10) | (random.below(31) << 23) | (random.of([0, 1, 1, 1, 2, 3]) << 28) |
      (random.below(2) << 30) | ((hardware ? 1 : 0) << 31);
  };
  const anyHypervisor = () => {
    const n = random.below(4);
    random.of([
      () => store(GICH + H.LR + 4 * n, listRegister(n)),
      () => store(GICH + H.LR + 4 * n, listRegister(n)),
      () => store(GICH + H.LR + 4 * n, listRegister(n)),
      () => load(GICH + H.LR + 4 * n),
      () => store(GICH + H.HCR, random.word()),
      () => store(GICH + H.HCR, 1),
      () => store(GICH + H.HCR, 1 | (1 << random.of([1, 2, 3, 4, 5, 6, 7]))),
      () => load(GICH + H.HCR),
      () => load(GICH + H.VTR),
      () => load(GICH + H.MISR),
      () => load(GICH + H.EISR + 4 * random.below(2)),
      () => load(GICH + H.ELRSR),
      () => load(GICH + H.VMCR),
      () => {
        store(GICH + H.APR, 0);
        virtualBpr[cpu] = 2 + random.below(5);
        const points = (virtualBpr[cpu] << 21) | ((virtualBpr[cpu] + 1) << 18);
        store(GICH + H.VMCR, (random.of([0xff, 0x80]) << 24) | points | control(random) | (random.word() & 0x3f000));
      },
      () => store(GICH + H.APR, random.below(3) ? 0 : 1 << ((random.below(0x100) & groupMask(virtualBpr[cpu])) >>> 3)),
      () => load(GICH + H.APR),
    ])();
  };

  store(GICD, 3);
  for (cpu = 0; cpu < cpus; cpu++) {
    store(GICC + C.PMR, 0xff);
    store(GICC + C.CTLR, ENABLE);
    store(GICH + H.HCR, 1);
    store(GICH + H.VMCR, 0xff4c0007);
  }
  cpu = 0;
  // QEMU forgets that an interrupt without target is pending.
  for (let id = 32; id < 96; id += 4) store(GICD + 0x800 + id, 0x01010101);
  for (const id of INTERRUPTS) {
    store(GICD + 0x400 + id, priority(), 1);
    owners.set(id, random.below(cpus));
    if (id >= 32) store(GICD + 0x800 + id, 1 << owners.get(id)!, 1);
    store(GICD + 0x100 + 4 * (id >>> 5), 1 << (id & 31));
  }
  for (const offset of [0, 4, 8, 0x100, 0x200, 0x300, 0xc00, 0xc04, 0xc08]) load(GICD + offset);
  while (operations.length < count) {
    if (random.below(4) === 0) cpu = random.below(cpus);
    random.of([anyVirtual, anyInterface, anyDistributor, anyHypervisor])();
  }
  return maskAtEl1(operations, MASK);
}

/** Numbers of no interrupt, which EOIR ignores. */
const SPURIOUS_OR_NONE = [1023, 1022, 500];

const MASK = {
  write: (value: bigint, cpu: number): Operation => ({
    kind: "store",
    el: 2,
    cpu,
    address: GICC + C.PMR,
    bytes: 4,
    value,
  }),
  written: (op: Operation) => op.kind === "store" && op.address === GICC + C.PMR ? op.value : undefined,
};
