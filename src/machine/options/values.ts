// Values of command-line options: how each kind is written in help, what completions offer, and how it is read. Parsers
// throw UsageError; the caller puts the option's name in front.

import { UsageError } from "../../base/errors.ts";
import { MAX_RAM_BYTES } from "../../memory/host_map.ts";

/** One kind of value. */
export interface ValueKind<T> {
  /** As help shows it: `on|off`, `FILE`. */
  readonly form: string;
  /** The fixed choices, for completions. */
  readonly choices?: readonly string[];
  readonly parse: (text: string) => T;
}

const quote = (text: string) => `"${text}"`;

export function choice<const T extends string>(...choices: T[]): ValueKind<T> {
  return {
    form: choices.join("|"),
    choices,
    parse(text) {
      const found = choices.find((c) => c === text);
      if (found === undefined) throw new UsageError(`${quote(text)} is not one of ${choices.join(", ")}`);
      return found;
    },
  };
}

export const onOff: ValueKind<boolean> = {
  form: "on|off",
  choices: ["on", "off"],
  parse(text) {
    if (text === "on" || text === "yes" || text === "true" || text === "y") return true;
    if (text === "off" || text === "no" || text === "false" || text === "n") return false;
    throw new UsageError(`${quote(text)} is not on or off`);
  },
};

export function text(form: string): ValueKind<string> {
  return {
    form,
    parse(value) {
      if (value === "") throw new UsageError(`${form} is empty`);
      return value;
    },
  };
}

export const FILE = text("FILE");

/** Free text, which may be empty (a kernel command line). */
export const WORDS: ValueKind<string> = { form: "TEXT", parse: (value) => value };

/** A non-negative integer as C writes it: decimal, 0x… or 0… (octal, as in QEMU). */
function integer(value: string): bigint {
  if (/^0x[0-9a-f]+$/i.test(value) || /^(0|[1-9]\d*)$/.test(value)) return BigInt(value);
  if (/^0[0-7]+$/.test(value)) return BigInt("0o" + value.slice(1));
  throw new UsageError(`${quote(value)} is not a number`);
}

/** An integer from `low` to `high`. */
export function count(form: string, low: number, high: number): ValueKind<number> {
  return {
    form,
    parse(value) {
      const number = integer(value);
      if (number < BigInt(low) || number > BigInt(high)) {
        throw new UsageError(`${quote(value)} is not from ${low} to ${high}`);
      }
      return Number(number);
    },
  };
}

/** Guest physical addresses are at most 48 bits. */
export const ADDRESS: ValueKind<number> = {
  form: "ADDRESS",
  parse(value) {
    const number = integer(value);
    if (number >= 2n ** 48n) throw new UsageError(`address ${value} has more than 48 bits`);
    return Number(number);
  },
};

export const U64: ValueKind<bigint> = {
  form: "VALUE",
  parse(value) {
    const number = integer(value);
    if (number >= 2n ** 64n) throw new UsageError(`${quote(value)} has more than 64 bits`);
    return number;
  },
};

const UNITS: Readonly<Record<string, number>> = { "": 2 ** 20, b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/** The smallest translation granule that every configuration can map evenly. */
const RAM_GRANULE_BYTES = 65536;

/** RAM: a number with b, k, M, G or T; without a unit, mebibytes. Rounded up to 64 KiB. */
export const RAM_SIZE: ValueKind<number> = {
  form: "SIZE[K|M|G]",
  parse(value) {
    const match = /^(\d+(?:\.\d+)?|0x[0-9a-f]+)([bkmgt]?)$/i.exec(value);
    if (!match) throw new UsageError(`${quote(value)} is not a size`);
    const bytes = Math.ceil(Number(match[1]) * UNITS[match[2]!.toLowerCase()]!);
    const rounded = Math.ceil(bytes / RAM_GRANULE_BYTES) * RAM_GRANULE_BYTES;
    if (rounded < 2 ** 20) throw new UsageError(`${quote(value)} is less than 1 MiB of RAM`);
    if (rounded > MAX_RAM_BYTES) {
      throw new UsageError(`${quote(value)} is too much RAM: at most ${MAX_RAM_BYTES / 2 ** 30} GiB`);
    }
    return rounded;
  },
};

/** Splits `a=1,b,c=2` as QEMU does: a doubled comma stands for one. A first field without `=` belongs to `implied`. */
export function splitFields(value: string, implied: string | null): { key: string; value: string | null }[] {
  const fields = value.replaceAll(",,", "\0").split(",");
  return fields.map((field, index) => {
    const plain = field.replaceAll("\0", ","), equals = plain.indexOf("=");
    if (equals >= 0) return { key: plain.slice(0, equals), value: plain.slice(equals + 1) };
    return index === 0 && implied !== null ? { key: implied, value: plain } : { key: plain, value: null };
  });
}
