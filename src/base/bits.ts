// Bit layouts: the one language for instruction fields, system registers and device registers. A layout lists its fields
// from the most significant bit down, `"RES0:21 OE:1 BE:1 DATA:9"`; widths must add up. `RES0`, `RES1` and `RAZ` are not names.

type Tokens<S extends string, A = never> = S extends `${infer H} ${infer T}` ? Tokens<T, A | H> : A | S;
type NameOf<T> = T extends `RES${string}` ? never : T extends `${infer N}:${number}` ? N : never;
/** The field names of a layout string. */
export type Names<S extends string> = NameOf<Tokens<S>>;

export interface BitField {
  readonly name: string;
  readonly lsb: number;
  readonly width: number;
  readonly mask: bigint;
}

export interface Layout<N extends string = string> {
  readonly width: number;
  /** Fields from the top down, without the reserved ones. */
  readonly fields: readonly BitField[];
  readonly at: Readonly<Record<N, BitField>>;
  readonly res0: bigint;
  readonly res1: bigint;
}

/** Declares a layout of `width` bits. Throws RangeError when the widths do not total `width`. */
export function layout<const S extends string>(width: number, text: S): Layout<Names<S>> {
  let lsb = width, res0 = 0n, res1 = 0n;
  const fields: BitField[] = [];
  for (const token of text.trim().split(/\s+/)) {
    const match = /^(\w+):(\d+)$/.exec(token);
    if (!match) throw new RangeError(`Cannot lay out "${text}": a field is NAME:WIDTH: field is "${token}"`);
    const name = match[1]!, bits = Number(match[2]);
    lsb -= bits;
    const mask = ((1n << BigInt(bits)) - 1n) << BigInt(Math.max(lsb, 0));
    if (name === "RES0") res0 |= mask;
    else if (name === "RES1") res1 |= mask;
    else fields.push({ name, lsb, width: bits, mask });
  }
  if (lsb !== 0) throw new RangeError(`Cannot lay out "${text}": widths must total ${width}: total is ${width - lsb}`);
  const at = Object.fromEntries(fields.map((f) => [f.name, f])) as Record<Names<S>, BitField>;
  return { width, fields, at, res0, res1 };
}

/** The value of field `f` in `value`. */
export const getField = (value: bigint, f: BitField): bigint => (value & f.mask) >> BigInt(f.lsb);
/** `value` with field `f` replaced by `x`. */
export const setField = (value: bigint, f: BitField, x: bigint): bigint =>
  (value & ~f.mask) | ((x << BigInt(f.lsb)) & f.mask);
/** Bits `lsb + width - 1 .. lsb` of a 32-bit word. */
export const extract = (word: number, lsb: number, width: number): number =>
  (word >>> lsb) & (width === 32 ? 0xffffffff : (1 << width) - 1);
/** Sign-extends the low `width` bits (1 to 32) of `value`. */
export const signExtend = (value: number, width: number): number => (value << (32 - width)) >> (32 - width);
