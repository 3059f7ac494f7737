// The registers that hold a bit or a field for each interrupt: group, enable, pending and active state, priority,
// configuration. The same rows make up GICv2's distributor, where those of private interrupts are banked by vCPU, and
// GICv3's distributor and redistributors, which share them out.

import type { GicCore } from "./core.ts";
import type { RegisterRow } from "./mmio_table.ts";
import type { Bitmap } from "./state.ts";

/** The vCPU whose private interrupts an access sees. */
export interface Access {
  readonly core: GicCore;
  readonly cpu: number;
}

export interface Span {
  /** Prefix of the names: GICD or GICR. */
  readonly prefix: string;
  /** Where the registers of interrupt 0 are or would be: this is added to each offset. */
  readonly base: number;
  /** The first word of 32 interrupts, and how many there are. */
  readonly first: number;
  readonly words: number;
  /** Bits of word 0 that a guest may change in a map: all of them if absent. */
  readonly writable?: Partial<Record<Bitmap, number>>;
}

/** Spreads 16 bits to the odd bits of a word, as ICFGR has them. */
function spread(edge: number): number {
  let value = 0;
  for (let i = 0; i < 16; i++) value |= ((edge >>> i) & 1) << (2 * i + 1);
  return value;
}

function gather(value: number): number {
  let edge = 0;
  for (let i = 0; i < 16; i++) edge |= ((value >>> (2 * i + 1)) & 1) << i;
  return edge;
}

/** Level-sensitive interrupts are pending while their line is high. */
function readBits({ core, cpu }: Access, map: Bitmap, word: number): number {
  const b = core.bank(cpu, word), bits = b[map][word]!;
  return map === "pending" ? bits | (b.level[word]! & ~b.edge[word]!) : bits;
}

function update({ core, cpu }: Access, word: number): void {
  if (word === 0) core.update(cpu);
  else core.updateAll();
}

export function interruptRows({ prefix, base, first, words, writable = {} }: Span): RegisterRow<Access>[] {
  const bits = (name: string, offset: number, map: Bitmap, change: (old: number, value: number) => number) => ({
    name: `${prefix}_${name}`,
    offset: base + offset + 4 * first,
    count: words,
    read: (a: Access, n: number) => readBits(a, map, first + n),
    write: (a: Access, n: number, value: number) => {
      const word = first + n, may = word === 0 ? writable[map] ?? -1 : -1, target = a.core.bank(a.cpu, word)[map];
      target[word] = (target[word]! & ~may) | (change(target[word]!, value) & may);
      update(a, word);
    },
  });
  const set = (old: number, value: number) => old | value, clear = (old: number, value: number) => old & ~value;
  return [
    bits("IGROUPR", 0x080, "group", (_, value) => value),
    bits("ISENABLER", 0x100, "enabled", set),
    bits("ICENABLER", 0x180, "enabled", clear),
    bits("ISPENDR", 0x200, "pending", set),
    bits("ICPENDR", 0x280, "pending", clear),
    bits("ISACTIVER", 0x300, "active", set),
    bits("ICACTIVER", 0x380, "active", clear),
    {
      name: `${prefix}_IPRIORITYR`,
      offset: base + 0x400 + 32 * first,
      width: 1,
      count: 32 * words,
      read: ({ core, cpu }, n) => core.bank(cpu, first + (n >>> 5)).priority[32 * first + n]!,
      write: ({ core, cpu }, n, value) => {
        const intid = 32 * first + n;
        core.bank(cpu, intid >>> 5).priority[intid] = value & core.architecture.physicalPriorities.mask;
        core.updateFor(cpu, intid);
      },
    },
    {
      // SGIs are always edge-triggered.
      name: `${prefix}_ICFGR`,
      offset: base + 0xc00 + 8 * first,
      count: 2 * words,
      read: ({ core, cpu }, n) => {
        const word = first + (n >>> 1);
        return spread(core.bank(cpu, word).edge[word]! >>> (16 * (n & 1)));
      },
      write: (a, n, value) => {
        const word = first + (n >>> 1), shift = 16 * (n & 1), { edge } = a.core.bank(a.cpu, word);
        if (word === 0 && shift === 0) return;
        edge[word] = (edge[word]! & ~(0xffff << shift)) | (gather(value) << shift);
        update(a, word);
      },
    },
  ];
}

/** The identification registers: PIDR4 to PIDR7, PIDR0 to PIDR3, CIDR0 to CIDR3. */
export const identification = (pidr: readonly [number, number, number, number, number]) => {
  const [pidr4, pidr0, pidr1, pidr2, pidr3] = pidr;
  const values = [pidr4, 0, 0, 0, pidr0, pidr1, pidr2, pidr3, 0x0d, 0xf0, 0x05, 0xb1];
  return (_: unknown, n: number): number => values[n]!;
};
