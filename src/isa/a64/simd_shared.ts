// What the Advanced SIMD tables have in common: names of arrangements, element sizes as letters, pairs of instructions that
// bit U tells apart.

/** A part of a pattern that a table row supplies. */
export type FixedBits = `${number}`;
/** Mnemonics for U = 0 and U = 1, "" where unallocated. */
export type Names = readonly [string, string];

/** The definition's name: both mnemonics and the form. */
export const nameOf = (names: Names, form: string): string => `${names.filter((n) => n).join(", ")} (${form})`;

/** Element sizes by letter, in order of the size field. */
export const LETTERS = "bhsdq";
/** Whether `size` is one of `letters`. */
export const hasSize = (letters: string, size: number): boolean => letters.includes(LETTERS[size]!);

/** An arrangement: `arrangement(2, 1)` is "4s". */
export const arrangement = (size: number, Q: number): string => `${(8 << Q) >> size}${LETTERS[size]}`;
/** A vector register in assembler text. */
export const vText = (n: number, size: number, Q: number): string => `v${n}.${arrangement(size, Q)}`;
/** A scalar register in assembler text. */
export const sText = (n: number, size: number): string => `${LETTERS[size]}${n}`;
