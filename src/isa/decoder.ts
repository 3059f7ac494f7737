// Which definition a word belongs to: definitions are indexed by the word's top eleven bits. For one CPU model, so that
// an instruction whose feature is absent is unallocated.

import type { Feature } from "../arch/features.ts";
import { assert } from "../base/errors.ts";
import { type Definition, insn, matches } from "./define.ts";

const TOP_BITS = 11, SHIFT = 32 - TOP_BITS;

/** Any word that no definition claims. */
export const UNALLOCATED: Definition = insn({
  name: "UNALLOCATED",
  bits: "imm32:32",
  asm: (f) => `.inst 0x${(f.imm32 >>> 0).toString(16).padStart(8, "0")}`,
  exec: (e) => void e.helper("undefined"),
});

export class Decoder {
  readonly #buckets: (readonly Definition[])[];

  constructor(readonly definitions: readonly Definition[], features: ReadonlySet<Feature>) {
    const names = new Set(definitions.map((d) => d.name));
    assert(names.size === definitions.length, "every definition has its own name");
    const present = definitions.filter((d) => !d.insn.feature || features.has(d.insn.feature));
    this.#buckets = Array.from({ length: 1 << TOP_BITS }, (_, top) => {
      const word = (top << SHIFT) >>> 0, mask = (0xffffffff << SHIFT) >>> 0;
      return present.filter((d) => ((word ^ d.value) & d.mask & mask) === 0);
    });
  }
  /** The definition of `word`, UNALLOCATED if there is none. */
  decode(word: number): Definition {
    for (const d of this.#buckets[word >>> SHIFT]!) if (matches(d, word)) return d;
    return UNALLOCATED;
  }
  /** Every definition that claims `word`: more than one is a mistake in the tables. */
  all(word: number): Definition[] {
    return this.#buckets[word >>> SHIFT]!.filter((d) => matches(d, word));
  }
}
