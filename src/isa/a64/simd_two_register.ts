// Advanced SIMD, one source register (DDI 0487 "Advanced SIMD two-register miscellaneous", "scalar two-register
// miscellaneous", "across lanes"): integer operations. Floating point is in fp_*.ts.

import { type Definition, insn } from "../define.ts";
import type { Builder } from "../ir.ts";
import { type Bits, byteVector, put, putHalf, saturated, saturatedWhere, take, Vec } from "../vector.ts";
import { type FixedBits, hasSize, LETTERS, nameOf, type Names, sText, vText } from "./simd_shared.ts";

interface Operands {
  readonly e: Builder;
  readonly U: number;
  readonly a: Vec;
  /** The old value of the destination. */
  readonly d: Vec;
}
interface Row {
  readonly names: Names;
  /** Bits 16 to 12. */
  readonly opcode: FixedBits;
  /** Element sizes of the vector and of the scalar form. */
  readonly sizes: string;
  readonly scalar?: string;
  /** The result's elements are twice as wide and half as many. */
  readonly long?: boolean;
  /** Compares with zero. */
  readonly zero?: boolean;
  readonly op: (o: Operands) => Vec;
}

const ROWS: readonly Row[] = [
  { names: ["REV64", ""], opcode: "00000", sizes: "bhs", op: ({ a }) => reversed(a, 8) },
  { names: ["", "REV32"], opcode: "00000", sizes: "bh", op: ({ a }) => reversed(a, 4) },
  { names: ["REV16", ""], opcode: "00001", sizes: "b", op: ({ a }) => reversed(a, 2) },
  { names: ["SADDLP", "UADDLP"], opcode: "00010", sizes: "bhs", long: true, op: ({ U, a }) => a.addPairs(U) },
  {
    names: ["SADALP", "UADALP"],
    opcode: "00110",
    sizes: "bhs",
    long: true,
    op: ({ U, a, d }) => d.as(a.size + 1).add(a.addPairs(U)),
  },
  { names: ["SUQADD", ""], opcode: "00011", sizes: "bhsd", scalar: "bhsd", op: signedAddUnsigned },
  { names: ["", "USQADD"], opcode: "00011", sizes: "bhsd", scalar: "bhsd", op: unsignedAddSigned },
  // Leading bits equal to the sign, without the sign itself: those of x ^ (x >> 1) that are zero, less its top bit.
  { names: ["CLS", ""], opcode: "00100", sizes: "bhs", op: ({ a }) => a.xor(a.shr(0, 1)).clz().sub(a.every(1)) },
  { names: ["", "CLZ"], opcode: "00100", sizes: "bhs", op: ({ a }) => a.clz() },
  { names: ["CNT", "NOT"], opcode: "00101", sizes: "b", op: ({ U, a }) => U ? a.not() : a.popcnt() },
  {
    names: ["SQABS", ""],
    opcode: "00111",
    sizes: "bhsd",
    scalar: "bhsd",
    op: ({ e, a }) => complementedSmallest(e, a.abs(), a),
  },
  {
    names: ["", "SQNEG"],
    opcode: "00111",
    sizes: "bhsd",
    scalar: "bhsd",
    op: ({ e, a }) => complementedSmallest(e, a.neg(), a),
  },
  {
    names: ["CMGT", "CMGE"],
    opcode: "01000",
    sizes: "bhsd",
    scalar: "d",
    zero: true,
    op: ({ U, a }) => U ? a.ge(0, a.every(0)) : a.gt(0, a.every(0)),
  },
  {
    names: ["CMEQ", "CMLE"],
    opcode: "01001",
    sizes: "bhsd",
    scalar: "d",
    zero: true,
    op: ({ U, a }) => U ? a.every(0).ge(0, a) : a.eq(a.every(0)),
  },
  { names: ["CMLT", ""], opcode: "01010", sizes: "bhsd", scalar: "d", zero: true, op: ({ a }) => a.negative() },
  {
    names: ["ABS", "NEG"],
    opcode: "01011",
    sizes: "bhsd",
    scalar: "d",
    op: ({ U, a }) => U ? a.neg() : a.abs(),
  },
];

/** Elements in the opposite order inside containers of `bytes` bytes. */
function reversed(a: Vec, bytes: number): Vec {
  const last = (bytes >> a.size) - 1;
  return a.shuffle(a, Array.from({ length: a.lanes }, (_, i) => i ^ last));
}
/** The magnitude of the smallest number does not exist: it stands for itself, and becomes the largest. */
function complementedSmallest(e: Builder, result: Vec, a: Vec): Vec {
  const smallest = a.eq(a.every(1n << BigInt(a.bits - 1)));
  saturatedWhere(e, smallest);
  return result.xor(smallest);
}
/** The sum can only be too large: then it wrapped below the signed operand. */
function signedAddUnsigned({ e, a, d }: Operands): Vec {
  const sum = d.add(a), largest = a.every((1n << BigInt(a.bits - 1)) - 1n);
  return saturated(e, d.gt(0, sum).select(largest, sum), sum);
}
function unsignedAddSigned({ e, a, d }: Operands): Vec {
  const sum = d.add(a), negative = a.negative();
  const above = d.gt(1, sum).andNot(negative), below = sum.gt(1, d).and(negative);
  return saturated(e, sum.or(above).andNot(below), sum);
}

const mnemonic = (row: { readonly names: Names }, U: number) => row.names[U]!.toLowerCase();

function vectorForm(row: Row): Definition {
  const { names, sizes, long = false, zero } = row;
  return insn({
    name: nameOf(names, zero ? "vector, zero" : "vector"),
    bits: `0 Q:1 U:1 01110 size:2 10000 ${row.opcode} 10 Vn:5 Vd:5`,
    asm: ({ Q, U, size, Vd, Vn }) =>
      `${mnemonic(row, U)} ${vText(Vd, size + Number(long), Q)}, ${vText(Vn, size, Q)}${zero ? ", #0" : ""}`,
    when: ({ Q, U, size }) => names[U] !== "" && hasSize(sizes, size) && (size < 3 || Q === 1),
    exec(e, { Q, U, size, Vn, Vd }) {
      const bits = Q ? 128 : 64;
      put(e, Vd, row.op({ e, U, a: take(e, Vn, size, bits), d: take(e, Vd, size, bits) }), bits);
    },
  });
}
function scalarForm(row: Row, sizes: string): Definition {
  return insn({
    name: nameOf(row.names, row.zero ? "scalar, zero" : "scalar"),
    bits: `01 U:1 11110 size:2 10000 ${row.opcode} 10 Vn:5 Vd:5`,
    asm: ({ U, size, Vd, Vn }) => `${mnemonic(row, U)} ${sText(Vd, size)}, ${sText(Vn, size)}${row.zero ? ", #0" : ""}`,
    when: ({ U, size }) => row.names[U] !== "" && hasSize(sizes, size),
    exec(e, { U, size, Vn, Vd }) {
      const bits = (8 << size) as Bits;
      put(e, Vd, row.op({ e, U, a: take(e, Vn, size, bits), d: take(e, Vd, size, bits) }), bits);
    },
  });
}

/** How narrowing saturates, by source and result: signed or unsigned. */
type Limits = "ss" | "su" | "uu";
/** `a` limited to what half its width can hold; sets FPSR.QC where that changes it. */
export function limited(e: Builder, a: Vec, limits: Limits): Vec {
  const half = BigInt(a.bits / 2), signed = limits === "ss";
  const largest = a.every((1n << (signed ? half - 1n : half)) - 1n),
    smallest = a.every(signed ? -(1n << (half - 1n)) : 0);
  const top = a.min(limits === "uu" ? 1 : 0, largest);
  return saturated(e, limits === "uu" ? top : top.max(0, smallest), a);
}
const NARROWING = [
  ["10010", ["", "SQXTUN"], "su"],
  ["10100", ["SQXTN", ""], "ss"],
  ["10100", ["", "UQXTN"], "uu"],
] as const satisfies readonly (readonly [FixedBits, Names, Limits])[];

function narrowForms([opcode, names, limits]: typeof NARROWING[number]): Definition[] {
  return [
    insn({
      name: nameOf(names, "vector"),
      bits: `0 Q:1 U:1 01110 size:2 10000 ${opcode} 10 Vn:5 Vd:5`,
      asm: ({ Q, U, size, Vd, Vn }) =>
        `${mnemonic({ names }, U)}${Q ? "2" : ""} ${vText(Vd, size, Q)}, ${vText(Vn, size + 1, 1)}`,
      when: ({ U, size }) => names[U] !== "" && size < 3,
      exec: (e, { Q, size, Vn, Vd }) => putHalf(e, Vd, Q, limited(e, take(e, Vn, size + 1), limits).halves(0)),
    }),
    insn({
      name: nameOf(names, "scalar"),
      bits: `01 U:1 11110 size:2 10000 ${opcode} 10 Vn:5 Vd:5`,
      asm: ({ U, size, Vd, Vn }) => `${mnemonic({ names }, U)} ${sText(Vd, size)}, ${sText(Vn, size + 1)}`,
      when: ({ U, size }) => names[U] !== "" && size < 3,
      exec(e, { size, Vn, Vd }) {
        const a = take(e, Vn, size + 1, (16 << size) as Bits);
        put(e, Vd, limited(e, a, limits).halves(0), (8 << size) as Bits);
      },
    }),
  ];
}

interface AcrossRow {
  readonly names: Names;
  readonly opcode: FixedBits;
  /** The result is twice as wide as the elements. */
  readonly long?: boolean;
  readonly op: (U: number, a: Vec, b: Vec) => Vec;
}
const ACROSS: readonly AcrossRow[] = [
  { names: ["SADDLV", "UADDLV"], opcode: "00011", long: true, op: (_, a, b) => a.add(b) },
  { names: ["SMAXV", "UMAXV"], opcode: "01010", op: (U, a, b) => a.max(U, b) },
  { names: ["SMINV", "UMINV"], opcode: "11010", op: (U, a, b) => a.min(U, b) },
  { names: ["ADDV", ""], opcode: "11011", op: (_, a, b) => a.add(b) },
];

function acrossForm(row: AcrossRow): Definition {
  const { names, long = false, op } = row;
  return insn({
    name: nameOf(names, "across lanes"),
    bits: `0 Q:1 U:1 01110 size:2 11000 ${row.opcode} 10 Vn:5 Vd:5`,
    asm: ({ Q, U, size, Vd, Vn }) => `${mnemonic(row, U)} ${LETTERS[size + Number(long)]}${Vd}, ${vText(Vn, size, Q)}`,
    when: ({ Q, U, size }) => names[U] !== "" && (size < 2 || (size === 2 && Q === 1)),
    exec(e, { Q, U, size, Vn, Vd }) {
      const source = take(e, Vn, size);
      let sum = long ? source.addPairs(U) : source;
      // Each step combines the lower half of what is left with the upper half.
      for (let n = (Q ? 16 : 8) >> sum.size; n > 1; n /= 2) {
        sum = op(U, sum, sum.shuffle(sum, Array.from({ length: sum.lanes }, (_, i) => (i + n / 2) % sum.lanes)));
      }
      put(e, Vd, sum, sum.bits as Bits);
    },
  });
}

/** Bits reversed, of every nibble in the other half of the byte. */
const REVERSED = Array.from({ length: 16 }, (_, n) => (n & 1) << 3 | (n & 2) << 1 | (n & 4) >> 1 | n >> 3);

export const SIMD_TWO_REGISTER: readonly Definition[] = [
  ...ROWS.flatMap((row) => [vectorForm(row), ...(row.scalar ? [scalarForm(row, row.scalar)] : [])]),
  ...NARROWING.flatMap(narrowForms),
  ...ACROSS.map(acrossForm),
  insn({
    name: "RBIT (vector)",
    bits: "0 Q:1 1 01110 01 10000 00101 10 Vn:5 Vd:5",
    asm: (f) => `rbit ${vText(f.Vd, 0, f.Q)}, ${vText(f.Vn, 0, f.Q)}`,
    exec(e, { Q, Vn, Vd }) {
      const bits = Q ? 128 : 64, a = take(e, Vn, 0, bits);
      const high = byteVector(REVERSED.map((n) => n << 4)).lookUp(a.and(a.every(15)));
      put(e, Vd, high.or(byteVector(REVERSED).lookUp(a.shr(1, 4))), bits);
    },
  }),
  insn({
    name: "XTN (vector)",
    bits: "0 Q:1 0 01110 size:2 10000 10010 10 Vn:5 Vd:5",
    asm: ({ Q, size, Vd, Vn }) => `xtn${Q ? "2" : ""} ${vText(Vd, size, Q)}, ${vText(Vn, size + 1, 1)}`,
    when: ({ size }) => size < 3,
    exec: (e, { Q, size, Vn, Vd }) => putHalf(e, Vd, Q, take(e, Vn, size + 1).halves(0)),
  }),
  insn({
    name: "SHLL (vector)",
    bits: "0 Q:1 1 01110 size:2 10000 10011 10 Vn:5 Vd:5",
    asm: ({ Q, size, Vd, Vn }) => `shll${Q ? "2" : ""} ${vText(Vd, size + 1, 1)}, ${vText(Vn, size, Q)}, #${8 << size}`,
    when: ({ size }) => size < 3,
    exec: (e, { Q, size, Vn, Vd }) => put(e, Vd, take(e, Vn, size).widen(1, Q).shl(8 << size)),
  }),
];
