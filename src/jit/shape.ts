// Shapes: what makes two instructions share one handler of the interpreter.

import { extract } from "../base/bits.ts";
import { assert } from "../base/errors.ts";
import { type Definition, fields31, instantiate } from "../isa/define.ts";
import type { Builder } from "../isa/ir.ts";

/** One way to execute an instruction: definition, selector values, which registers are number 31, near or far branch. */
export interface Shape {
  readonly key: string;
  readonly definition: Definition;
  /** A word of this shape. */
  readonly word: number;
  readonly is31: ReadonlySet<string>;
  readonly near: boolean;
}

/** The shape of `word`; `near` says that a branch stays inside its page. */
export function shapeOf(definition: Definition, word: number, near: boolean): Shape {
  const at31 = fields31(definition, word), needs = new Set<string>();
  const probe = instantiate(definition, word, "interpret", new Set(), needs);
  const is31 = new Set([...needs].filter((name) => at31.has(name)));
  const { branches } = definition;
  assert(branches === probe.effects.some((e) => e.kind === "branch"), `${definition.name} says whether it branches`);
  const selectors = definition.selectors.map((f) => extract(word, f.lsb, f.width));
  const flags = [...is31].sort().map((name) => `${name}=31`);
  if (branches) flags.push(near ? "near" : "far");
  return {
    key: [definition.name, selectors.join(","), ...flags].join("/"),
    definition,
    word,
    is31,
    near: branches && near,
  };
}

/** The semantics of a shape, operands being slots of its record. */
export function irOf(shape: Shape): Builder {
  return instantiate(shape.definition, shape.word, "interpret", shape.is31);
}
