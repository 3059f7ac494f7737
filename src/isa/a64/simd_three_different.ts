// Advanced SIMD, three registers of different element sizes (DDI 0487 "Advanced SIMD three different" and the scalar and
// by-element forms): long, wide and narrowing operations. With Q = 1 the half-width operands are the upper halves.

import { type Definition, insn } from "../define.ts";
import type { Builder } from "../ir.ts";
import { type Bits, put, putHalf, saturated, saturatedWhere, take, Vec } from "../vector.ts";
import { type FixedBits, hasSize, nameOf, type Names, sText, vText } from "./simd_shared.ts";
import { carrylessProduct, polynomialProduct } from "./simd_polynomial.ts";
import { elementOf, elementText } from "./simd_three_same.ts";

interface Operands {
  readonly e: Builder;
  readonly U: number;
  /** Which half of the narrow operands: 0 low, 1 high. */
  readonly part: number;
  readonly a: Vec;
  readonly b: Vec;
  /** The old value of the destination, in lanes of twice the size. */
  readonly d: Vec;
}
interface Row {
  readonly names: Names;
  readonly opcode: FixedBits;
  readonly sizes: string;
  /** The first operand has wide elements. */
  readonly wide?: boolean;
  /** There are scalar forms. */
  readonly scalar?: boolean;
  /** The opcode of the by-element form. */
  readonly element?: FixedBits;
  readonly op: (o: Operands) => Vec;
}

const ROWS: readonly Row[] = [
  {
    names: ["SADDL", "UADDL"],
    opcode: "0000",
    sizes: "bhs",
    op: ({ U, part, a, b }) => a.widen(U, part).add(b.widen(U, part)),
  },
  {
    names: ["SADDW", "UADDW"],
    opcode: "0001",
    sizes: "bhs",
    wide: true,
    op: ({ U, part, a, b }) => a.add(b.widen(U, part)),
  },
  {
    names: ["SSUBL", "USUBL"],
    opcode: "0010",
    sizes: "bhs",
    op: ({ U, part, a, b }) => a.widen(U, part).sub(b.widen(U, part)),
  },
  {
    names: ["SSUBW", "USUBW"],
    opcode: "0011",
    sizes: "bhs",
    wide: true,
    op: ({ U, part, a, b }) => a.sub(b.widen(U, part)),
  },
  { names: ["SABAL", "UABAL"], opcode: "0101", sizes: "bhs", op: (o) => o.d.add(difference(o)) },
  { names: ["SABDL", "UABDL"], opcode: "0111", sizes: "bhs", op: difference },
  {
    names: ["SMLAL", "UMLAL"],
    opcode: "1000",
    sizes: "bhs",
    element: "0010",
    op: ({ U, part, a, b, d }) => d.add(a.mulWide(U, part, b)),
  },
  {
    names: ["SMLSL", "UMLSL"],
    opcode: "1010",
    sizes: "bhs",
    element: "0110",
    op: ({ U, part, a, b, d }) => d.sub(a.mulWide(U, part, b)),
  },
  {
    names: ["SMULL", "UMULL"],
    opcode: "1100",
    sizes: "bhs",
    element: "1010",
    op: ({ U, part, a, b }) => a.mulWide(U, part, b),
  },
  {
    names: ["SQDMLAL", ""],
    opcode: "1001",
    sizes: "hs",
    scalar: true,
    element: "0011",
    op(o) {
      const product = doubledProduct(o);
      return saturated(o.e, o.d.addSat(0, product), o.d.add(product));
    },
  },
  {
    names: ["SQDMLSL", ""],
    opcode: "1011",
    sizes: "hs",
    scalar: true,
    element: "0111",
    op(o) {
      const product = doubledProduct(o);
      return saturated(o.e, o.d.subSat(0, product), o.d.sub(product));
    },
  },
  { names: ["SQDMULL", ""], opcode: "1101", sizes: "hs", scalar: true, element: "1011", op: doubledProduct },
  {
    names: ["PMULL", ""],
    opcode: "1110",
    sizes: "b",
    op: ({ part, a, b }) => polynomialProduct(a.widen(1, part), b.widen(1, part)),
  },
];

/** The absolute difference: in twice the width, the difference of two unsigned numbers has a sign as well. */
function difference({ U, part, a, b }: Operands): Vec {
  return a.widen(U, part).sub(b.widen(U, part)).abs();
}
/** 2ab saturated: only the square of the smallest number overflows, to the smallest number. */
function doubledProduct({ e, part, a, b }: Operands): Vec {
  const product = a.mulWide(0, part, b), overflow = product.eq(product.every(1n << BigInt(2 * a.bits - 2)));
  saturatedWhere(e, overflow);
  return product.shl(1).xor(overflow);
}

const mnemonic = (row: { readonly names: Names }, U: number, Q = 0) => row.names[U]!.toLowerCase() + (Q ? "2" : "");

function vectorForm(row: Row): Definition {
  const { names, sizes, wide = false } = row;
  return insn({
    name: nameOf(names, "vector"),
    bits: `0 Q:1 U:1 01110 size:2 1 Vm:5 ${row.opcode} 00 Vn:5 Vd:5`,
    asm: ({ Q, U, size, Vd, Vn, Vm }) =>
      `${mnemonic(row, U, Q)} ${vText(Vd, size + 1, 1)}, ${wide ? vText(Vn, size + 1, 1) : vText(Vn, size, Q)}, ${
        vText(Vm, size, Q)
      }`,
    when: ({ U, size }) => names[U] !== "" && hasSize(sizes, size),
    exec(e, { Q, U, size, Vm, Vn, Vd }) {
      const a = take(e, Vn, wide ? size + 1 : size), b = take(e, Vm, size), d = take(e, Vd, size + 1);
      put(e, Vd, row.op({ e, U, part: Q, a, b, d }));
    },
  });
}
function scalarForm(row: Row): Definition {
  return insn({
    name: nameOf(row.names, "scalar"),
    bits: `01 U:1 11110 size:2 1 Vm:5 ${row.opcode} 00 Vn:5 Vd:5`,
    asm: ({ U, size, Vd, Vn, Vm }) =>
      `${mnemonic(row, U)} ${sText(Vd, size + 1)}, ${sText(Vn, size)}, ${sText(Vm, size)}`,
    when: ({ U, size }) => row.names[U] !== "" && hasSize(row.sizes, size),
    exec(e, { U, size, Vm, Vn, Vd }) {
      const bits = (8 << size) as Bits, wide = (16 << size) as Bits;
      const a = take(e, Vn, size, bits), b = take(e, Vm, size, bits), d = take(e, Vd, size + 1, wide);
      put(e, Vd, row.op({ e, U, part: 0, a, b, d }), wide);
    },
  });
}
function elementForms(row: Row, opcode: FixedBits): Definition[] {
  const vector = insn({
    name: nameOf(row.names, "by element"),
    bits: `0 Q:1 U:1 01111 size:2 L:1 M:1 Vm:4 ${opcode} H:1 0 Vn:5 Vd:5`,
    asm: (f) =>
      `${mnemonic(row, f.U, f.Q)} ${vText(f.Vd, f.size + 1, 1)}, ${vText(f.Vn, f.size, f.Q)}, ${elementText(f)}`,
    when: ({ U, size }) => row.names[U] !== "" && (size === 1 || size === 2),
    exec(e, f) {
      const { Q, U, size, Vn, Vd } = f, { plus, index } = elementOf(f);
      const b = take(e, f.Vm.next(plus), size).broadcast(index);
      put(e, Vd, row.op({ e, U, part: Q, a: take(e, Vn, size), b, d: take(e, Vd, size + 1) }));
    },
  });
  if (!row.scalar) return [vector];
  return [
    vector,
    insn({
      name: nameOf(row.names, "scalar, by element"),
      bits: `01 U:1 11111 size:2 L:1 M:1 Vm:4 ${opcode} H:1 0 Vn:5 Vd:5`,
      asm: (f) => `${mnemonic(row, f.U)} ${sText(f.Vd, f.size + 1)}, ${sText(f.Vn, f.size)}, ${elementText(f)}`,
      when: ({ U, size }) => row.names[U] !== "" && (size === 1 || size === 2),
      exec(e, f) {
        const { U, size, Vn, Vd } = f, bits = (8 << size) as Bits, wide = (16 << size) as Bits;
        const { plus, index } = elementOf(f), b = take(e, f.Vm.next(plus), size).broadcast(index);
        put(e, Vd, row.op({ e, U, part: 0, a: take(e, Vn, size, bits), b, d: take(e, Vd, size + 1, wide) }), wide);
      },
    }),
  ];
}

/** The high halves of sums and differences; U rounds. */
const NARROW = [["0100", ["ADDHN", "RADDHN"], "add"], ["0110", ["SUBHN", "RSUBHN"], "sub"]] as const;

export const SIMD_THREE_DIFFERENT: readonly Definition[] = [
  ...ROWS.flatMap((row) => [
    vectorForm(row),
    ...(row.scalar ? [scalarForm(row)] : []),
    ...(row.element ? elementForms(row, row.element) : []),
  ]),
  ...NARROW.map(([opcode, names, op]) =>
    insn({
      name: nameOf(names, "vector"),
      bits: `0 Q:1 U:1 01110 size:2 1 Vm:5 ${opcode} 00 Vn:5 Vd:5`,
      asm: ({ Q, U, size, Vd, Vn, Vm }) =>
        `${mnemonic({ names }, U, Q)} ${vText(Vd, size, Q)}, ${vText(Vn, size + 1, 1)}, ${vText(Vm, size + 1, 1)}`,
      when: ({ size }) => size < 3,
      exec(e, { Q, U, size, Vm, Vn, Vd }) {
        const result = take(e, Vn, size + 1)[op](take(e, Vm, size + 1));
        const rounded = U ? result.add(result.every(1n << BigInt((8 << size) - 1))) : result;
        putHalf(e, Vd, Q, rounded.halves(1));
      },
    })
  ),
  insn({
    name: "PMULL (64-bit)",
    bits: "0 Q:1 0 01110 11 1 Vm:5 1110 00 Vn:5 Vd:5",
    asm: (f) => `pmull${f.Q ? "2" : ""} v${f.Vd}.1q, v${f.Vn}.${f.Q + 1}d, v${f.Vm}.${f.Q + 1}d`,
    feature: "FEAT_PMULL",
    exec(e, { Q, Vm, Vn, Vd }) {
      const { low, high } = carrylessProduct(e.v64(Vn, Q), e.v64(Vm, Q));
      e.setV64(Vd, 0, low);
      e.setV64(Vd, 1, high);
    },
  }),
];
