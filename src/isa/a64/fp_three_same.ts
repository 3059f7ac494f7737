// Advanced SIMD floating point on two or three operands of the same format (DDI 0487 "Advanced SIMD three same", "three same
// (FP16)", "vector x indexed element", "scalar pairwise", "across lanes"), as vectors and as scalars.

import { type Definition, type Feature, insn } from "../define.ts";
import * as float from "../float.ts";
import { type FloatOp, Lanes, type Raw, type Width } from "../float.ts";
import type { Builder, VReg } from "../ir.ts";
import { Vec } from "../vector.ts";
import { type FixedBits, sText, vText } from "./simd_shared.ts";

interface Row {
  readonly name: string;
  readonly U: FixedBits;
  /** Bit 23. */
  readonly a: FixedBits;
  /** Bits 13 to 11. */
  readonly opcode: FixedBits;
  /** Of the operands, after the destination's old value where it `accumulates`. */
  readonly op: FloatOp;
  readonly accumulates?: boolean;
  /** Operands are adjacent pairs. */
  readonly pairwise?: boolean;
  /** There is a scalar form. */
  readonly scalar?: boolean;
  /** U and opcode of the by-element forms. */
  readonly element?: readonly [FixedBits, FixedBits];
}

const absoluteDifference: FloatOp = (u, a, b) => u.abs(float.sub(u, a!, b!));
const multiplySubtract: FloatOp = (u, d, a, b) => float.mulAdd(u, d!, u.letRaw(u.negate(a!)), b!);

const ROWS: readonly Row[] = [
  { name: "FMAXNM", U: "0", a: "0", opcode: "000", op: float.maxNum },
  { name: "FMLA", U: "0", a: "0", opcode: "001", op: float.mulAdd, accumulates: true, element: ["0", "0001"] },
  { name: "FADD", U: "0", a: "0", opcode: "010", op: float.add },
  { name: "FMULX", U: "0", a: "0", opcode: "011", op: float.mulX, scalar: true, element: ["1", "1001"] },
  { name: "FCMEQ", U: "0", a: "0", opcode: "100", op: float.compareEQ, scalar: true },
  { name: "FMAX", U: "0", a: "0", opcode: "110", op: float.max },
  { name: "FRECPS", U: "0", a: "0", opcode: "111", op: float.recipStep, scalar: true },
  { name: "FMINNM", U: "0", a: "1", opcode: "000", op: float.minNum },
  { name: "FMLS", U: "0", a: "1", opcode: "001", op: multiplySubtract, accumulates: true, element: ["0", "0101"] },
  { name: "FSUB", U: "0", a: "1", opcode: "010", op: float.sub },
  { name: "FMIN", U: "0", a: "1", opcode: "110", op: float.min },
  { name: "FRSQRTS", U: "0", a: "1", opcode: "111", op: float.recipSqrtStep, scalar: true },
  { name: "FMAXNMP", U: "1", a: "0", opcode: "000", op: float.maxNum, pairwise: true },
  { name: "FADDP", U: "1", a: "0", opcode: "010", op: float.add, pairwise: true },
  { name: "FMUL", U: "1", a: "0", opcode: "011", op: float.mul, element: ["0", "1001"] },
  { name: "FCMGE", U: "1", a: "0", opcode: "100", op: float.compareGE, scalar: true },
  { name: "FACGE", U: "1", a: "0", opcode: "101", op: float.absoluteGE, scalar: true },
  { name: "FMAXP", U: "1", a: "0", opcode: "110", op: float.max, pairwise: true },
  { name: "FDIV", U: "1", a: "0", opcode: "111", op: float.div },
  { name: "FMINNMP", U: "1", a: "1", opcode: "000", op: float.minNum, pairwise: true },
  { name: "FABD", U: "1", a: "1", opcode: "010", op: absoluteDifference, scalar: true },
  { name: "FCMGT", U: "1", a: "1", opcode: "100", op: float.compareGT, scalar: true },
  { name: "FACGT", U: "1", a: "1", opcode: "101", op: float.absoluteGT, scalar: true },
  { name: "FMINP", U: "1", a: "1", opcode: "110", op: float.min, pairwise: true },
];

const HALF: { readonly feature: Feature } = { feature: "FEAT_FP16" };
const widthOf = (sz: number): Width => sz ? 64 : 32;
const vector = (e: Builder, width: Width, Q: number) => new Lanes(e, width, Q ? 128 : 64);

/** The operation on `b` and a register, into another. */
function execute(row: Row, u: Lanes, Vd: VReg, Vn: VReg, b: Raw) {
  let x = u.read(Vn), y = b;
  if (row.pairwise) [x, y] = pairs(u, x as Vec, y as Vec);
  u.write(Vd, row.accumulates ? row.op(u, u.read(Vd), x, y) : row.op(u, x, y));
}
/** Even and odd elements of b:a. */
function pairs(u: Lanes, a: Vec, b: Vec): [Vec, Vec] {
  const joined = a.as(3).shuffle(b.as(3), [0, 2]).as(a.size), [x, y] = u.vectorBits === 128 ? [a, b] : [joined, joined];
  return [u.letRaw(x.alternate(0, y)), u.letRaw(x.alternate(1, y))];
}
const vectorText = (row: Row, f: { Q: number; Vd: number; Vn: number; Vm: number }, size: number) =>
  `${row.name.toLowerCase()} ${[f.Vd, f.Vn, f.Vm].map((n) => vText(n, size, f.Q)).join(", ")}`;
const scalarText = (row: Row, f: { Vd: number; Vn: number; Vm: number }, size: number) =>
  `${row.name.toLowerCase()} ${[f.Vd, f.Vn, f.Vm].map((n) => sText(n, size)).join(", ")}`;

function vectorForms(row: Row): Definition[] {
  const { name, U, a, opcode } = row;
  return [
    insn({
      name: `${name} (vector)`,
      bits: `0 Q:1 ${U} 01110 ${a} sz:1 1 Vm:5 11 ${opcode} 1 Vn:5 Vd:5`,
      asm: (f) => vectorText(row, f, 2 + f.sz),
      when: ({ sz, Q }) => !sz || Q === 1,
      exec(e, { Q, sz, Vm, Vn, Vd }) {
        const u = vector(e, widthOf(sz), Q);
        execute(row, u, Vd, Vn, u.read(Vm));
      },
    }),
    insn({
      name: `${name} (vector), half precision`,
      bits: `0 Q:1 ${U} 01110 ${a} 10 Vm:5 00 ${opcode} 1 Vn:5 Vd:5`,
      asm: (f) => vectorText(row, f, 1),
      ...HALF,
      exec(e, { Q, Vm, Vn, Vd }) {
        const u = vector(e, 16, Q);
        execute(row, u, Vd, Vn, u.read(Vm));
      },
    }),
  ];
}
function scalarForms(row: Row): Definition[] {
  const { name, U, a, opcode } = row;
  return [
    insn({
      name: `${name} (scalar)`,
      bits: `01 ${U} 11110 ${a} sz:1 1 Vm:5 11 ${opcode} 1 Vn:5 Vd:5`,
      asm: (f) => scalarText(row, f, 2 + f.sz),
      exec(e, { sz, Vm, Vn, Vd }) {
        const u = new Lanes(e, widthOf(sz));
        execute(row, u, Vd, Vn, u.read(Vm));
      },
    }),
    insn({
      name: `${name} (scalar), half precision`,
      bits: `01 ${U} 11110 ${a} 10 Vm:5 00 ${opcode} 1 Vn:5 Vd:5`,
      asm: (f) => scalarText(row, f, 1),
      ...HALF,
      exec(e, { Vm, Vn, Vd }) {
        const u = new Lanes(e, 16);
        execute(row, u, Vd, Vn, u.read(Vm));
      },
    }),
  ];
}

/** The index: H:L of singles, H of doubles, H:L:M of halves, whose register number has four bits. */
const indexOf = (f: { sz: number; H: number; L: number }) => f.sz ? f.H : f.H * 2 + f.L;
const halfIndexOf = (f: { H: number; L: number; M: number }) => f.H * 4 + f.L * 2 + f.M;

function elementForms(row: Row, [U, opcode]: readonly [FixedBits, FixedBits]): Definition[] {
  const { name } = row,
    text = name.toLowerCase(),
    element = (n: number, size: number, index: number) => `v${n}.${"bhsd"[size]}[${index}]`;
  return [
    insn({
      name: `${name} (by element)`,
      bits: `0 Q:1 ${U} 01111 1 sz:1 L:1 Vm:5 ${opcode} H:1 0 Vn:5 Vd:5`,
      asm: (f) =>
        `${text} ${vText(f.Vd, 2 + f.sz, f.Q)}, ${vText(f.Vn, 2 + f.sz, f.Q)}, ${element(f.Vm, 2 + f.sz, indexOf(f))}`,
      when: ({ Q, sz, L }) => !sz || (Q === 1 && L === 0),
      exec(e, f) {
        const u = vector(e, widthOf(f.sz), f.Q);
        execute(row, u, f.Vd, f.Vn, u.readElement(f.Vm, indexOf(f)));
      },
    }),
    insn({
      name: `${name} (by element), half precision`,
      bits: `0 Q:1 ${U} 01111 00 L:1 M:1 Vm:4 ${opcode} H:1 0 Vn:5 Vd:5`,
      asm: (f) => `${text} ${vText(f.Vd, 1, f.Q)}, ${vText(f.Vn, 1, f.Q)}, ${element(f.Vm, 1, halfIndexOf(f))}`,
      ...HALF,
      exec(e, f) {
        const u = vector(e, 16, f.Q);
        execute(row, u, f.Vd, f.Vn, u.readElement(f.Vm, halfIndexOf(f)));
      },
    }),
    insn({
      name: `${name} (scalar, by element)`,
      bits: `01 ${U} 11111 1 sz:1 L:1 Vm:5 ${opcode} H:1 0 Vn:5 Vd:5`,
      asm: (f) => `${text} ${sText(f.Vd, 2 + f.sz)}, ${sText(f.Vn, 2 + f.sz)}, ${element(f.Vm, 2 + f.sz, indexOf(f))}`,
      when: ({ sz, L }) => !sz || L === 0,
      exec(e, f) {
        const u = new Lanes(e, widthOf(f.sz));
        execute(row, u, f.Vd, f.Vn, u.readElement(f.Vm, indexOf(f)));
      },
    }),
    insn({
      name: `${name} (scalar, by element), half precision`,
      bits: `01 ${U} 11111 00 L:1 M:1 Vm:4 ${opcode} H:1 0 Vn:5 Vd:5`,
      asm: (f) => `${text} ${sText(f.Vd, 1)}, ${sText(f.Vn, 1)}, ${element(f.Vm, 1, halfIndexOf(f))}`,
      ...HALF,
      exec(e, f) {
        const u = new Lanes(e, 16);
        execute(row, u, f.Vd, f.Vn, u.readElement(f.Vm, halfIndexOf(f)));
      },
    }),
  ];
}

/** Operations between the elements of one vector: name, bit 23, opcode. */
const REDUCTIONS = [
  ["FMAXNM", "0", "01100", float.maxNum],
  ["FMINNM", "1", "01100", float.minNum],
  ["FADD", "0", "01101", float.add],
  ["FMAX", "0", "01111", float.max],
  ["FMIN", "1", "01111", float.min],
] as const satisfies readonly (readonly [string, FixedBits, FixedBits, FloatOp])[];

/** Reduce(): halves of the vector first. */
function reduce(u: Lanes, op: FloatOp, Vn: VReg, first: number, count: number): Raw {
  if (count === 1) return u.readElement(Vn, first);
  const half = count / 2;
  return u.letRaw(op(u, reduce(u, op, Vn, first, half), reduce(u, op, Vn, first + half, half)));
}

function pairForms([name, a, opcode, op]: typeof REDUCTIONS[number]): Definition[] {
  const text = `${name.toLowerCase()}p`;
  return [
    insn({
      name: `${name}P (scalar)`,
      bits: `01 1 11110 ${a as FixedBits} sz:1 11000 ${opcode as FixedBits} 10 Vn:5 Vd:5`,
      asm: (f) => `${text} ${sText(f.Vd, 2 + f.sz)}, v${f.Vn}.2${"sd"[f.sz]}`,
      exec(e, { sz, Vn, Vd }) {
        const u = new Lanes(e, widthOf(sz));
        u.write(Vd, reduce(u, op, Vn, 0, 2));
      },
    }),
    insn({
      name: `${name}P (scalar), half precision`,
      bits: `01 0 11110 ${a as FixedBits} 0 11000 ${opcode as FixedBits} 10 Vn:5 Vd:5`,
      asm: (f) => `${text} h${f.Vd}, v${f.Vn}.2h`,
      ...HALF,
      exec(e, { Vn, Vd }) {
        const u = new Lanes(e, 16);
        u.write(Vd, reduce(u, op, Vn, 0, 2));
      },
    }),
  ];
}
function acrossForms([name, a, opcode, op]: typeof REDUCTIONS[number]): Definition[] {
  const text = `${name.toLowerCase()}v`;
  return [
    insn({
      name: `${name}V`,
      bits: `0 1 1 01110 ${a as FixedBits} 0 11000 ${opcode as FixedBits} 10 Vn:5 Vd:5`,
      asm: (f) => `${text} s${f.Vd}, v${f.Vn}.4s`,
      exec(e, { Vn, Vd }) {
        const u = new Lanes(e, 32);
        u.write(Vd, reduce(u, op, Vn, 0, 4));
      },
    }),
    insn({
      name: `${name}V, half precision`,
      bits: `0 Q:1 0 01110 ${a as FixedBits} 0 11000 ${opcode as FixedBits} 10 Vn:5 Vd:5`,
      asm: (f) => `${text} h${f.Vd}, ${vText(f.Vn, 1, f.Q)}`,
      ...HALF,
      exec(e, { Q, Vn, Vd }) {
        const u = new Lanes(e, 16);
        u.write(Vd, reduce(u, op, Vn, 0, Q ? 8 : 4));
      },
    }),
  ];
}

export const FP_THREE_SAME: readonly Definition[] = [
  ...ROWS.flatMap((row) => [
    ...vectorForms(row),
    ...(row.scalar ? scalarForms(row) : []),
    ...(row.element ? elementForms(row, row.element) : []),
  ]),
  ...REDUCTIONS.flatMap(pairForms),
  ...REDUCTIONS.filter(([name]) => name !== "FADD").flatMap(acrossForms),
];
