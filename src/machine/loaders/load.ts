// What a loader gives: bytes with a place in guest memory, and the checks that hold for all of them. Nothing is copied
// here; the machine copies every load at start and at each reset.

import { HostError } from "../../base/errors.ts";

export interface Load {
  /** As it appears in messages: `kernel Image`, `segment 1 of kernel a.elf`. */
  readonly name: string;
  /** Guest physical address. */
  readonly address: number;
  readonly bytes: Uint8Array;
  /** Bytes of memory that belong to it, at least `bytes.length`; the rest is zero at the start. */
  readonly memoryBytes: number;
  /** Whether the machine must write the zeros at reset (an ELF's .bss), or the program does so itself. */
  readonly clear: boolean;
}

export const hex = (n: number): string => `0x${n.toString(16).padStart(8, "0")}`;
const range = (base: number, size: number): string => `${hex(base)}-${hex(base + size - 1)}`;

/** A place that loads may go to. */
export interface Target {
  readonly name: string;
  readonly base: number;
  readonly size: number;
}

export const overlaps = (a: { address: number; memoryBytes: number }, b: { address: number; memoryBytes: number }) =>
  a.address < b.address + b.memoryBytes && b.address < a.address + a.memoryBytes;

/** Checks that every load lies in one of `targets` and that no two overlap; throws a HostError that names them. */
export function checkLoads(loads: readonly Load[], targets: readonly Target[]): void {
  for (const { name, address, memoryBytes } of loads) {
    const inside = targets.some((t) => address >= t.base && address + memoryBytes <= t.base + t.size);
    if (inside) continue;
    const places = targets.map((t) => `${t.name} is ${range(t.base, t.size)}`).join(", ");
    throw new HostError(`cannot load ${name}: ${range(address, memoryBytes)} is not all memory: ${places}`);
  }
  const sorted = loads.toSorted((a, b) => a.address - b.address);
  // The one that reaches furthest so far, so that a small load inside a large one is found behind others too.
  let reach: Load | undefined;
  for (const load of sorted) {
    if (reach !== undefined && overlaps(reach, load)) {
      throw new HostError(
        `cannot load ${load.name} at ${range(load.address, load.memoryBytes)}: it overlaps ${reach.name} at ` +
          range(reach.address, reach.memoryBytes),
      );
    }
    if (reach === undefined || load.address + load.memoryBytes > reach.address + reach.memoryBytes) reach = load;
  }
}
