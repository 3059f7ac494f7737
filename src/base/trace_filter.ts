// `-dfilter`: which trace lines are wanted. QEMU's address ranges, `START+SIZE`, `END-SIZE` and `START..END` (inclusive),
// separated by commas; and what QEMU does not have, the context: `cpu=N`, `el=N`, `vmid=N`, `asid=N`.

import { UsageError } from "./errors.ts";
import type { TracePlace } from "./trace.ts";

const CONDITIONS = ["cpu", "el", "vmid", "asid"] as const;
type Condition = (typeof CONDITIONS)[number];

interface Range {
  readonly first: bigint;
  /** Inclusive. */
  readonly last: bigint;
}

const LAST_ADDRESS = 2n ** 64n - 1n;
const NUMBER = "0x[0-9a-fA-F]+|\\d+";
const RANGE = new RegExp(`^(${NUMBER})(\\+|-|\\.\\.)(${NUMBER})$`);

function range(item: string): Range {
  const match = RANGE.exec(item);
  if (!match) {
    throw new UsageError(`"${item}" is not START+SIZE, END-SIZE, START..END or ${CONDITIONS.join("=, ")}=`);
  }
  const a = BigInt(match[1]!), b = BigInt(match[3]!);
  const [first, last] = match[2] === "+" ? [a, a + b - 1n] : match[2] === "-" ? [a - b + 1n, a] : [a, b];
  if (first > last || first < 0n || last > LAST_ADDRESS) throw new UsageError(`"${item}" is no range of addresses`);
  return { first, last };
}

export class TraceFilter {
  readonly #ranges: readonly Range[];
  readonly #wanted: ReadonlyMap<Condition, readonly number[]>;

  /** Reads what follows `-dfilter`. Throws UsageError. */
  constructor(text: string) {
    const ranges: Range[] = [], wanted = new Map<Condition, number[]>();
    for (const item of text.split(",")) {
      const [, name, value] = /^(\w+)=(.*)$/.exec(item) ?? [];
      if (name === undefined) {
        ranges.push(range(item));
        continue;
      }
      const condition = CONDITIONS.find((known) => known === name);
      if (condition === undefined) throw new UsageError(`"${name}" is not known: ${CONDITIONS.join(", ")}`);
      if (!new RegExp(`^(${NUMBER})$`).test(value!)) throw new UsageError(`${name}: "${value}" is not a number`);
      wanted.set(condition, [...wanted.get(condition) ?? [], Number(value)]);
    }
    this.#ranges = ranges;
    this.#wanted = wanted;
  }

  /** Whether an address is in one of the ranges, or there are none. */
  covers(address: bigint): boolean {
    return this.#ranges.length === 0 || this.#ranges.some(({ first, last }) => first <= address && address <= last);
  }

  /** Whether an event there is wanted; `to` is another exception level that takes part. */
  passes(place: Partial<TracePlace>, to?: number): boolean {
    if (this.#ranges.length > 0 && (place.pc === undefined || !this.covers(place.pc))) return false;
    for (const [name, values] of this.#wanted) {
      const value = place[name];
      if (value !== undefined && values.includes(value)) continue;
      if (name !== "el" || to === undefined || !values.includes(to)) return false;
    }
    return true;
  }
}
