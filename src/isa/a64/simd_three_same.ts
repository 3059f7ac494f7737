// Advanced SIMD, three registers of the same element size (DDI 0487 "Advanced SIMD three same", "three same extra", and the
// scalar and by-element forms of the same operations). Each operation is one row, in whichever encodings it has.

import { type Definition, type Feature, insn } from "../define.ts";
import type { Builder } from "../ir.ts";
import { type Bits, put, saturated, saturatedWhere, take, Vec } from "../vector.ts";
import { polynomialProduct } from "./simd_polynomial.ts";
import { type FixedBits, hasSize, nameOf, type Names, sText, vText } from "./simd_shared.ts";

interface Operands {
  readonly e: Builder;
  readonly U: number;
  readonly a: Vec;
  readonly b: Vec;
  /** The old value of the destination. */
  readonly d: Vec;
}
interface Row {
  readonly names: Names;
  /** Bits 15 to 11. */
  readonly opcode: FixedBits;
  /** In the "three same extra" class: bit 21 is 0. */
  readonly extra?: boolean;
  /** Element sizes of the vector and of the scalar form. */
  readonly sizes: string;
  readonly scalar?: string;
  /** Operands are adjacent pairs: `a` their even elements, `b` the odd ones. */
  readonly pairwise?: boolean;
  /** The by-element form: opcode and names by its own bit U. */
  readonly element?: { readonly opcode: FixedBits; readonly names: Names };
  readonly feature?: Feature;
  /** Log2 of how many source elements make one of the result. */
  readonly fold?: number;
  readonly op: (o: Operands) => Vec;
}

const ROWS: readonly Row[] = [
  // Halving: the sum or difference without its lowest bit, never wider than an element.
  {
    names: ["SHADD", "UHADD"],
    opcode: "00000",
    sizes: "bhs",
    op: ({ U, a, b }) => a.and(b).add(a.xor(b).shr(U, 1)),
  },
  { names: ["SQADD", "UQADD"], opcode: "00001", sizes: "bhsd", scalar: "bhsd", op: saturatingAdd },
  {
    names: ["SRHADD", "URHADD"],
    opcode: "00010",
    sizes: "bhs",
    op: ({ U, a, b }) => U && a.size < 2 ? a.apply("avgr_u", b.x) : a.or(b).sub(a.xor(b).shr(U, 1)),
  },
  {
    names: ["SHSUB", "UHSUB"],
    opcode: "00100",
    sizes: "bhs",
    op: ({ U, a, b }) => a.xor(b).shr(U, 1).sub(b.andNot(a)),
  },
  {
    names: ["SQSUB", "UQSUB"],
    opcode: "00101",
    sizes: "bhsd",
    scalar: "bhsd",
    op: ({ e, U, a, b }) => saturated(e, a.subSat(U, b), a.sub(b)),
  },
  { names: ["CMGT", "CMHI"], opcode: "00110", sizes: "bhsd", scalar: "d", op: ({ U, a, b }) => a.gt(U, b) },
  { names: ["CMGE", "CMHS"], opcode: "00111", sizes: "bhsd", scalar: "d", op: ({ U, a, b }) => a.ge(U, b) },
  { names: ["SSHL", "USHL"], opcode: "01000", sizes: "bhsd", scalar: "d", op: (o) => shiftByRegister(o, {}) },
  {
    names: ["SQSHL", "UQSHL"],
    opcode: "01001",
    sizes: "bhsd",
    scalar: "bhsd",
    op: (o) => shiftByRegister(o, { saturating: true }),
  },
  {
    names: ["SRSHL", "URSHL"],
    opcode: "01010",
    sizes: "bhsd",
    scalar: "d",
    op: (o) => shiftByRegister(o, { rounding: true }),
  },
  {
    names: ["SQRSHL", "UQRSHL"],
    opcode: "01011",
    sizes: "bhsd",
    scalar: "bhsd",
    op: (o) => shiftByRegister(o, { saturating: true, rounding: true }),
  },
  { names: ["SMAX", "UMAX"], opcode: "01100", sizes: "bhs", op: ({ U, a, b }) => a.max(U, b) },
  { names: ["SMIN", "UMIN"], opcode: "01101", sizes: "bhs", op: ({ U, a, b }) => a.min(U, b) },
  { names: ["SABD", "UABD"], opcode: "01110", sizes: "bhs", op: ({ U, a, b }) => a.max(U, b).sub(a.min(U, b)) },
  {
    names: ["SABA", "UABA"],
    opcode: "01111",
    sizes: "bhs",
    op: ({ U, a, b, d }) => d.add(a.max(U, b).sub(a.min(U, b))),
  },
  {
    names: ["ADD", "SUB"],
    opcode: "10000",
    sizes: "bhsd",
    scalar: "d",
    op: ({ U, a, b }) => U ? a.sub(b) : a.add(b),
  },
  {
    names: ["CMTST", "CMEQ"],
    opcode: "10001",
    sizes: "bhsd",
    scalar: "d",
    op: ({ U, a, b }) => U ? a.eq(b) : a.and(b).eq(a.every(0)).not(),
  },
  {
    names: ["MLA", ""],
    opcode: "10010",
    sizes: "bhs",
    element: { opcode: "0000", names: ["", "MLA"] },
    op: ({ a, b, d }) => d.add(a.mul(b)),
  },
  {
    names: ["", "MLS"],
    opcode: "10010",
    sizes: "bhs",
    element: { opcode: "0100", names: ["", "MLS"] },
    op: ({ a, b, d }) => d.sub(a.mul(b)),
  },
  {
    names: ["MUL", ""],
    opcode: "10011",
    sizes: "bhs",
    element: { opcode: "1000", names: ["MUL", ""] },
    op: ({ a, b }) => a.mul(b),
  },
  { names: ["", "PMUL"], opcode: "10011", sizes: "b", op: ({ a, b }) => polynomialProduct(a, b) },
  { names: ["SMAXP", "UMAXP"], opcode: "10100", sizes: "bhs", pairwise: true, op: ({ U, a, b }) => a.max(U, b) },
  { names: ["SMINP", "UMINP"], opcode: "10101", sizes: "bhs", pairwise: true, op: ({ U, a, b }) => a.min(U, b) },
  {
    names: ["SQDMULH", ""],
    opcode: "10110",
    sizes: "hs",
    scalar: "hs",
    element: { opcode: "1100", names: ["SQDMULH", ""] },
    op: (o) => doublingHighProduct(o, false),
  },
  {
    names: ["", "SQRDMULH"],
    opcode: "10110",
    sizes: "hs",
    scalar: "hs",
    element: { opcode: "1101", names: ["SQRDMULH", ""] },
    op: (o) => doublingHighProduct(o, true),
  },
  { names: ["ADDP", ""], opcode: "10111", sizes: "bhsd", pairwise: true, op: ({ a, b }) => a.add(b) },
  {
    names: ["", "SQRDMLAH"],
    opcode: "10000",
    extra: true,
    sizes: "hs",
    scalar: "hs",
    element: { opcode: "1101", names: ["", "SQRDMLAH"] },
    feature: "FEAT_RDM",
    op: (o) => doublingAccumulate(o, false),
  },
  {
    names: ["", "SQRDMLSH"],
    opcode: "10001",
    extra: true,
    sizes: "hs",
    scalar: "hs",
    element: { opcode: "1111", names: ["", "SQRDMLSH"] },
    feature: "FEAT_RDM",
    op: (o) => doublingAccumulate(o, true),
  },
  {
    names: ["SDOT", "UDOT"],
    opcode: "10010",
    extra: true,
    sizes: "s",
    fold: 2,
    element: { opcode: "1110", names: ["SDOT", "UDOT"] },
    feature: "FEAT_DotProd",
    op: ({ U, a, b, d }) => {
      const x = a.as(0), y = b.as(0), low = x.mulWide(U, 0, y).addPairs(U), high = x.mulWide(U, 1, y).addPairs(U);
      return d.add(low.alternate(0, high)).add(low.alternate(1, high));
    },
  },
];

function saturatingAdd({ e, U, a, b }: Operands): Vec {
  return saturated(e, a.addSat(U, b), a.add(b));
}

/** Shifts left by the signed low byte of each element of `b`; negative amounts shift right. */
function shiftByRegister({ e, U, a, b }: Operands, how: { rounding?: boolean; saturating?: boolean }): Vec {
  const { bits } = a, by = b.size ? b.shl(bits - 8).shr(0, bits - 8) : b, isRight = by.negative();
  // Shifted out by the whole width or more: amounts for shiftEach are only known modulo the width.
  const left = a.shiftEach((x, n) => x.shl(n), by).andNot(by.gt(0, a.every(bits - 1)));
  const right = how.rounding ? roundingRight() : plainRight();
  if (!how.saturating) return isRight.select(right, left);
  const back = left.shiftEach((x, n) => x.shr(U, n), by), overflow = back.eq(a).or(isRight).not();
  saturatedWhere(e, overflow);
  return isRight.select(right, overflow.select(U ? a.every(-1) : a.signedLimit(), left));

  function plainRight(): Vec {
    const out = a.every(-(bits - 1)).gt(0, by), shifted = a.shiftEach((x, n) => x.shr(U, n), by.neg());
    return U ? shifted.andNot(out) : out.select(a.negative(), shifted);
  }
  /** The last bit shifted out is added: shift by one less, then halve upwards. */
  function roundingRight(): Vec {
    const most = a.shiftEach((x, n) => x.shr(U, n), by.not());
    return halveUp(U, most).andNot(a.every(-bits).gt(0, by));
  }
}
/** (x + 1) >> 1 without overflow. */
export function halveUp(U: number, x: Vec): Vec {
  return x.shr(U, 1).add(x.and(x.every(1)));
}

/** The high half of 2ab. Only the square of the smallest number overflows, to that number: its complement is the limit. */
function doublingHighProduct({ e, a, b }: Operands, rounding: boolean): Vec {
  const smallest = a.every(1n << BigInt(a.bits - 1)), overflow = a.eq(smallest).and(b.eq(smallest));
  const half = (part: number) => {
    const product = a.mulWide(0, part, b), doubled = product.shl(1);
    return rounding ? doubled.add(product.every(1n << BigInt(a.bits - 1))) : doubled;
  };
  saturatedWhere(e, overflow);
  return half(0).as(a.size).alternate(1, half(1).as(a.size)).xor(overflow);
}
/** d ± 2ab / 2^bits rounded, as (d · 2^(bits − 1) ± ab) / 2^(bits − 1): that fits the doubled width. */
function doublingAccumulate({ e, a, b, d }: Operands, subtract: boolean): Vec {
  const { bits, size } = a, top = bits - 1, limit = 1n << BigInt(top);
  const half = (part: number) => {
    const scaled = d.widen(0, part).shl(top), product = a.mulWide(0, part, b);
    const sum = subtract ? scaled.sub(product) : scaled.add(product);
    return sum.add(sum.every(1n << BigInt(bits - 2))).shr(0, top);
  };
  const clamp = (x: Vec) => x.min(0, x.every(limit - 1n)).max(0, x.every(-limit));
  const low = half(0), high = half(1), join = (x: Vec, y: Vec) => x.as(size).alternate(0, y.as(size));
  const clampedLow = clamp(low), clampedHigh = clamp(high);
  saturatedWhere(e, clampedLow.xor(low).or(clampedHigh.xor(high)));
  return join(clampedLow, clampedHigh);
}

/** Even and odd elements of b:a. */
function pairs(a: Vec, b: Vec, Q: number): [Vec, Vec] {
  if (Q) return [a.alternate(0, b), a.alternate(1, b)];
  const joined = a.as(3).shuffle(b.as(3), [0, 2]).as(a.size);
  return [joined.alternate(0, joined), joined.alternate(1, joined)];
}

const mnemonic = (row: { readonly names: Names }, U: number) => row.names[U]!.toLowerCase();
const option = (feature: Feature | undefined) => feature ? { feature } : {};

function vectorForm(row: Row): Definition {
  const { names, opcode, sizes, fold = 0 } = row;
  return insn({
    name: nameOf(names, "vector"),
    bits: `0 Q:1 U:1 01110 size:2 ${row.extra ? "0" : "1"} Vm:5 ${opcode} 1 Vn:5 Vd:5`,
    asm: ({ Q, U, size, Vd, Vn, Vm }) => {
      const from = (n: number) => vText(n, size - fold, Q);
      return `${mnemonic(row, U)} ${vText(Vd, size, Q)}, ${from(Vn)}, ${from(Vm)}`;
    },
    when: ({ Q, U, size }) => names[U] !== "" && hasSize(sizes, size) && (size < 3 || Q === 1),
    ...option(row.feature),
    exec(e, { Q, U, size, Vm, Vn, Vd }) {
      const bits = Q ? 128 : 64, operands = [Vn, Vm].map((v) => take(e, v, size, bits)) as [Vec, Vec];
      const [a, b] = row.pairwise ? pairs(...operands, Q) : operands;
      put(e, Vd, row.op({ e, U, a, b, d: take(e, Vd, size, bits) }), bits);
    },
  });
}
function scalarForm(row: Row, sizes: string): Definition {
  return insn({
    name: nameOf(row.names, "scalar"),
    bits: `01 U:1 11110 size:2 ${row.extra ? "0" : "1"} Vm:5 ${row.opcode} 1 Vn:5 Vd:5`,
    asm: ({ U, size, Vd, Vn, Vm }) => `${mnemonic(row, U)} ${[Vd, Vn, Vm].map((n) => sText(n, size)).join(", ")}`,
    when: ({ U, size }) => row.names[U] !== "" && hasSize(sizes, size),
    ...option(row.feature),
    exec(e, { U, size, Vm, Vn, Vd }) {
      const bits = (8 << size) as Bits, [a, b, d] = [Vn, Vm, Vd].map((v) => take(e, v, size, bits)) as [Vec, Vec, Vec];
      put(e, Vd, row.op({ e, U, a, b, d }), bits);
    },
  });
}

/** Register and index of an element operand: M is the register's top bit, or the index's lowest for halfwords. */
export function elementOf(f: { size: number; H: number; L: number; M: number }): { plus: number; index: number } {
  return f.size === 1 ? { plus: 0, index: f.H * 4 + f.L * 2 + f.M } : { plus: f.M * 16, index: f.H * 2 + f.L };
}
export function elementText(
  f: { size: number; H: number; L: number; M: number; Vm: number },
  letters = "bhsd",
): string {
  const { plus, index } = elementOf(f);
  return `v${f.Vm + plus}.${letters[f.size]}[${index}]`;
}

function elementForms(row: Row, element: NonNullable<Row["element"]>): Definition[] {
  const { names, opcode } = element, { fold = 0 } = row;
  const vector = insn({
    name: nameOf(names, "by element"),
    bits: `0 Q:1 U:1 01111 size:2 L:1 M:1 Vm:4 ${opcode} H:1 0 Vn:5 Vd:5`,
    asm: (f) =>
      `${mnemonic(element, f.U)} ${vText(f.Vd, f.size, f.Q)}, ${vText(f.Vn, f.size - fold, f.Q)}, ${
        fold ? elementText(f).replace(".s", ".4b") : elementText(f)
      }`,
    when: ({ U, size }) => names[U] !== "" && (size === 2 || (size === 1 && !fold)),
    ...option(row.feature),
    exec(e, f) {
      const { Q, U, size, Vn, Vd } = f, bits = Q ? 128 : 64, { plus, index } = elementOf(f);
      const b = take(e, f.Vm.next(plus), size).broadcast(index);
      put(e, Vd, row.op({ e, U, a: take(e, Vn, size, bits), b, d: take(e, Vd, size, bits) }), bits);
    },
  });
  if (!row.scalar) return [vector];
  return [
    vector,
    insn({
      name: nameOf(names, "scalar, by element"),
      bits: `01 U:1 11111 size:2 L:1 M:1 Vm:4 ${opcode} H:1 0 Vn:5 Vd:5`,
      asm: (f) => `${mnemonic(element, f.U)} ${sText(f.Vd, f.size)}, ${sText(f.Vn, f.size)}, ${elementText(f)}`,
      when: ({ U, size }) => names[U] !== "" && (size === 1 || size === 2),
      ...option(row.feature),
      exec(e, f) {
        const { U, size, Vn, Vd } = f, bits = (8 << size) as Bits, { plus, index } = elementOf(f);
        const b = take(e, f.Vm.next(plus), size).broadcast(index);
        put(e, Vd, row.op({ e, U, a: take(e, Vn, size, bits), b, d: take(e, Vd, size, bits) }), bits);
      },
    }),
  ];
}

/** Bitwise operations: U and size are the opcode. */
const LOGICAL = [
  ["AND", (a, b) => a.and(b)],
  ["BIC", (a, b) => a.andNot(b)],
  ["ORR", (a, b) => a.or(b)],
  ["ORN", (a, b) => a.or(b.not())],
  ["EOR", (a, b) => a.xor(b)],
  ["BSL", (a, b, d) => d.select(a, b)],
  ["BIT", (a, b, d) => b.select(a, d)],
  ["BIF", (a, b, d) => b.select(d, a)],
] as const satisfies readonly (readonly [string, (a: Vec, b: Vec, d: Vec) => Vec])[];

export const SIMD_THREE_SAME: readonly Definition[] = [
  ...ROWS.flatMap((row) => [
    vectorForm(row),
    ...(row.scalar ? [scalarForm(row, row.scalar)] : []),
    ...(row.element ? elementForms(row, row.element) : []),
  ]),
  insn({
    name: LOGICAL.map(([name]) => name).join(", ") + " (vector)",
    bits: "0 Q:1 U:1 01110 size:2 1 Vm:5 00011 1 Vn:5 Vd:5",
    asm: (f) =>
      `${LOGICAL[f.U * 4 + f.size]![0].toLowerCase()} ${[f.Vd, f.Vn, f.Vm].map((n) => vText(n, 0, f.Q)).join(", ")}`,
    exec(e, { Q, U, size, Vm, Vn, Vd }) {
      const bits = Q ? 128 : 64, [a, b, d] = [Vn, Vm, Vd].map((v) => take(e, v, 0, bits)) as [Vec, Vec, Vec];
      put(e, Vd, LOGICAL[U * 4 + size]![1](a, b, d), bits);
    },
  }),
  insn({
    name: "ADDP (scalar)",
    bits: "01 0 11110 11 11000 11011 10 Vn:5 Vd:5",
    asm: "addp {d:Vd}, {v:Vn}.2d",
    exec(e, { Vn, Vd }) {
      const a = take(e, Vn, 3);
      put(e, Vd, a.add(a.alternate(1, a)), 64);
    },
  }),
];
