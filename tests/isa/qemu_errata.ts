// What qemu-aarch64 7.2 is known to do wrong. Where only the result is wrong it is corrected, so that everything else of
// the case is still compared; on an implementation without the mistake the corrections change nothing.

import type { Outcome } from "./oracle.ts";

interface Erratum {
  readonly mask: number;
  readonly value: number;
  readonly why: string;
  readonly correct: (outcome: Outcome, word: number) => void;
}

const ERRATA: readonly Erratum[] = [
  {
    mask: 0xfff0fc00,
    value: 0x5f10fc00,
    why:
      "FCVTZS (scalar, fixed-point) to 16 bits sign-extends its result to 32 bits instead of clearing what lies above",
    correct: (outcome, word) => {
      outcome.v[(word & 31) * 2]! &= 0xffffn;
    },
  },
];

const erratumOf = (word: number): Erratum | undefined =>
  ERRATA.find(({ mask, value }) => ((word & mask) >>> 0) === value);

/** Whether the oracle's result of `word` has to be corrected: it cannot be one of several words then. */
export const hasErratum = (word: number): boolean => erratumOf(word) !== undefined;

/** Corrects the outcome of a case whose only word is `word`. */
export function correctOutcome(outcome: Outcome, word: number) {
  erratumOf(word)?.correct(outcome, word);
}
