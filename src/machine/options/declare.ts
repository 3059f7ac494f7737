// How an option of the command line is declared: its names, what follows it, what help says, and what it does to the
// draft. A declaration is data; the parser, the help text, completions and the README's table all read it.

import { UsageError } from "../../base/errors.ts";
import { onOff, splitFields, type ValueKind } from "./values.ts";

export interface Field<T> {
  readonly value: ValueKind<T>;
  readonly help: string;
  /** May be given more than once; T is an array. */
  readonly repeated?: boolean;
}
export type Fields = Readonly<Record<string, Field<unknown>>>;
/** What was given of the sub-options, by name. */
export type Given<F extends Fields> = { [K in keyof F]?: F[K] extends Field<infer T> ? T : never };

/** One option over a draft of type D. */
export interface Option<D> {
  /** Without dashes; the first is the one that help and messages use. */
  readonly names: readonly [string, ...string[]];
  /** What follows the name, as help shows it; null for a flag. */
  readonly form: string | null;
  readonly help: string;
  /** Sub-options, for help and completions. */
  readonly fields: Fields;
  /** The one whose name may be left out. */
  readonly implied?: string;
  readonly choices: readonly string[];
  /** What the argument's first word can be, where that decides which sub-options there are. */
  readonly variants?: readonly Variant<D>[];
  readonly apply: (draft: D, argument: string) => void;
}

/** One kind of thing that an option can add, with sub-options of its own. */
export interface Variant<D> {
  /** The first is the one that help and messages use. */
  readonly names: readonly [string, ...string[]];
  readonly help: string;
  readonly fields: Fields;
  readonly apply: (draft: D, argument: string) => void;
}

const namesOf = (names: string) => names.split(" ") as [string, ...string[]];

/** Puts what is being read in front of a complaint about it. */
export function within<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof UsageError) throw new UsageError(`${what}: ${error.message}`);
    throw error;
  }
}

export function flag<D>(names: string, help: string, apply: (draft: D) => void): Option<D> {
  return { names: namesOf(names), form: null, help, fields: {}, choices: [], apply };
}

export function option<D, T>(
  names: string,
  value: ValueKind<T>,
  help: string,
  apply: (draft: D, value: T) => void,
): Option<D> {
  return {
    names: namesOf(names),
    form: value.form,
    help,
    fields: {},
    choices: value.choices ?? [],
    apply: (draft, argument) => apply(draft, value.parse(argument)),
  };
}

export const field = <T>(value: ValueKind<T>, help: string): Field<T> => ({ value, help });

/** A sub-option that may be given more than once. */
export const repeatedField = <T>(value: ValueKind<T>, help: string): Field<readonly T[]> => ({
  value: { form: value.form, parse: (text) => [value.parse(text)] },
  help,
  repeated: true,
});

/** Reads `[implied,]key=value,…`. With `bare`, a field of on|off may stand alone for on, and with "no" in front for off. */
export function readFields<const F extends Fields>(
  fields: F,
  implied: (keyof F & string) | null,
  argument: string,
  bare = false,
): Given<F> {
  const given: Record<string, unknown> = {};
  const find = (key: string) => Object.hasOwn(fields, key) ? fields[key] : undefined;
  for (const { key, value } of splitFields(argument, implied)) {
    const known = find(key), negated = find(key.slice(2));
    if (value === null && bare && known?.value === onOff) given[key] = true;
    else if (value === null && bare && key.startsWith("no") && negated?.value === onOff) given[key.slice(2)] = false;
    else if (!known) throw new UsageError(`sub-option "${key}" is not known`);
    else if (value === null) throw new UsageError(`sub-option "${key}" needs =${known.value.form}`);
    else {
      const parsed = key === implied ? known.value.parse(value) : within(key, () => known.value.parse(value));
      const before = given[key];
      given[key] = known.repeated === true && before !== undefined ? [before, parsed].flat() : parsed;
    }
  }
  return given as Given<F>;
}

/** An option whose argument is `[implied,]key=value,…`. */
export function fieldsOption<D, const F extends Fields>(
  names: string,
  implied: keyof F & string,
  fields: F,
  help: string,
  apply: (draft: D, given: Given<F>) => void,
  bare = false,
): Option<D> {
  const others = Object.entries(fields).filter(([key]) => key !== implied);
  return {
    names: namesOf(names),
    form: fields[implied]!.value.form + (others.length > 0 ? "[,NAME=VALUE…]" : ""),
    help,
    fields,
    implied,
    choices: fields[implied]!.value.choices ?? [],
    apply(draft, argument) {
      apply(draft, readFields(fields, implied, argument, bare));
    },
  };
}

/** One kind of what a `variantsOption` adds. */
export function variant<D, const F extends Fields>(
  names: string,
  fields: F,
  help: string,
  apply: (draft: D, given: Given<F>) => void,
): Variant<D> {
  const all = namesOf(names);
  return {
    names: all,
    help,
    fields,
    apply: (draft, argument) =>
      within(all[0], () => apply(draft, argument === "" ? {} : readFields(fields, null, argument))),
  };
}

/** An option whose argument is `KIND[,key=value…]`; the kind may be given as `implied=KIND`, too. */
export function variantsOption<D>(
  names: string,
  implied: string,
  help: string,
  variants: readonly Variant<D>[],
): Option<D> {
  const kinds = variants.map((v) => v.names[0]);
  return {
    names: namesOf(names),
    form: `${implied.toUpperCase()}[,NAME=VALUE…]`,
    help,
    fields: {},
    choices: kinds,
    variants,
    apply(draft, argument) {
      const comma = argument.indexOf(","), first = comma < 0 ? argument : argument.slice(0, comma);
      const kind = first.startsWith(`${implied}=`) ? first.slice(implied.length + 1) : first;
      const found = variants.find((v) => v.names.includes(kind));
      if (found === undefined) throw new UsageError(`"${kind}" is not one of ${kinds.join(", ")}`);
      found.apply(draft, comma < 0 ? "" : argument.slice(comma + 1));
    },
  };
}

/** An option that is part of the plan but does nothing yet: naming it is an error. */
export function later<D>(names: string, form: string | null, help: string): Option<D> {
  return {
    names: namesOf(names),
    form,
    help: `${help} (not implemented yet)`,
    fields: {},
    choices: [],
    apply() {
      throw new UsageError("is not implemented yet");
    },
  };
}
