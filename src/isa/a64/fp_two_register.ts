// Advanced SIMD floating point on one operand (DDI 0487 "Advanced SIMD two-register miscellaneous", its FP16 and scalar
// forms, and the conversions of "Advanced SIMD shift by immediate").

import { type Definition, type Feature, insn } from "../define.ts";
import * as float from "../float.ts";
import { type FloatOp, Lanes, type Width } from "../float.ts";
import type { Builder, Int, VReg } from "../ir.ts";
import { ROUNDING, type Rounding } from "../softfloat.ts";
import { putHalf, take, Vec } from "../vector.ts";
import { SIGN_OPERATIONS } from "./fp_shared.ts";
import { type FixedBits, sText, vText } from "./simd_shared.ts";

interface Row {
  readonly name: string;
  readonly U: FixedBits;
  /** Bit 23. */
  readonly a: FixedBits;
  /** Bits 16 to 12. */
  readonly opcode: FixedBits;
  readonly op: FloatOp;
  readonly forms: "vector" | "scalar" | "both";
  /** Compares with zero, which the text shows. */
  readonly zero?: boolean;
  /** On 32-bit integers. */
  readonly integer?: boolean;
}

const withZero = (op: FloatOp): FloatOp => (u, x) => op(u, x!, u.every(0n));
const zeroWith = (op: FloatOp): FloatOp => (u, x) => op(u, u.every(0n), x!);
const toInteger = (rounding: Rounding, unsigned: boolean): FloatOp => (u, x) =>
  float.toFixed(u, x!, rounding, { width: u.width, unsigned });
const fromInteger = (unsigned: boolean): FloatOp => (u, x) => float.fromFixed(u, x!, { width: u.width, unsigned });
const conversion = (letter: string, rounding: Rounding, a: FixedBits, opcode: FixedBits): Row[] =>
  ([["S", "0"], ["U", "1"]] as const).map(([sign, U]) => ({
    name: `FCVT${letter}${sign}`,
    U,
    a,
    opcode,
    op: toInteger(rounding, U === "1"),
    forms: "both",
  }));
const rounding = (letter: string, U: FixedBits, a: FixedBits, opcode: FixedBits, op: FloatOp): Row => ({
  name: `FRINT${letter}`,
  U,
  a,
  opcode,
  op,
  forms: "vector",
});

const ROWS: readonly Row[] = [
  { name: "FCMGT", U: "0", a: "1", opcode: "01100", op: withZero(float.compareGT), forms: "both", zero: true },
  { name: "FCMGE", U: "1", a: "1", opcode: "01100", op: withZero(float.compareGE), forms: "both", zero: true },
  { name: "FCMEQ", U: "0", a: "1", opcode: "01101", op: withZero(float.compareEQ), forms: "both", zero: true },
  { name: "FCMLE", U: "1", a: "1", opcode: "01101", op: zeroWith(float.compareGE), forms: "both", zero: true },
  { name: "FCMLT", U: "0", a: "1", opcode: "01110", op: zeroWith(float.compareGT), forms: "both", zero: true },
  { name: "FABS", U: "0", a: "1", opcode: "01111", op: SIGN_OPERATIONS.abs, forms: "vector" },
  { name: "FNEG", U: "1", a: "1", opcode: "01111", op: SIGN_OPERATIONS.neg, forms: "vector" },
  rounding("N", "0", "0", "11000", float.roundIntegral(ROUNDING.TIEEVEN)),
  rounding("A", "1", "0", "11000", float.roundIntegral(ROUNDING.TIEAWAY)),
  rounding("P", "0", "1", "11000", float.roundIntegral(ROUNDING.POSINF)),
  rounding("M", "0", "0", "11001", float.roundIntegral(ROUNDING.NEGINF)),
  rounding("X", "1", "0", "11001", float.roundIntegral(undefined, true)),
  rounding("Z", "0", "1", "11001", float.roundIntegral(ROUNDING.ZERO)),
  rounding("I", "1", "1", "11001", float.roundIntegral()),
  ...conversion("N", ROUNDING.TIEEVEN, "0", "11010"),
  ...conversion("P", ROUNDING.POSINF, "1", "11010"),
  ...conversion("M", ROUNDING.NEGINF, "0", "11011"),
  ...conversion("Z", ROUNDING.ZERO, "1", "11011"),
  ...conversion("A", ROUNDING.TIEAWAY, "0", "11100"),
  { name: "SCVTF", U: "0", a: "0", opcode: "11101", op: fromInteger(false), forms: "both" },
  { name: "UCVTF", U: "1", a: "0", opcode: "11101", op: fromInteger(true), forms: "both" },
  { name: "URECPE", U: "0", a: "1", opcode: "11100", op: float.unsignedRecipEstimate, forms: "vector", integer: true },
  {
    name: "URSQRTE",
    U: "1",
    a: "1",
    opcode: "11100",
    op: float.unsignedRecipSqrtEstimate,
    forms: "vector",
    integer: true,
  },
  { name: "FRECPE", U: "0", a: "1", opcode: "11101", op: float.recipEstimate, forms: "both" },
  { name: "FRSQRTE", U: "1", a: "1", opcode: "11101", op: float.recipSqrtEstimate, forms: "both" },
  { name: "FSQRT", U: "1", a: "1", opcode: "11111", op: float.sqrt, forms: "vector" },
  { name: "FRECPX", U: "0", a: "1", opcode: "11111", op: float.recipExponent, forms: "scalar" },
];

const HALF: { readonly feature: Feature } = { feature: "FEAT_FP16" };
const widthOf = (sz: number): Width => sz ? 64 : 32;
const vector = (e: Builder, width: Width, Q: number) => new Lanes(e, width, Q ? 128 : 64);

function execute(row: Row, u: Lanes, Vd: VReg, Vn: VReg) {
  u.write(Vd, row.op(u, u.read(Vn)));
}
const text = (row: Row, d: string, n: string) => `${row.name.toLowerCase()} ${d}, ${n}${row.zero ? ", #0.0" : ""}`;
const nameOf = (row: Row, form: "vector" | "scalar") => `${row.name} (${form}${row.zero ? ", zero" : ""})`;

function vectorForms(row: Row): Definition[] {
  const { U, a, opcode } = row;
  const full = insn({
    name: nameOf(row, "vector"),
    bits: `0 Q:1 ${U} 01110 ${a} sz:1 10000 ${opcode} 10 Vn:5 Vd:5`,
    asm: (f) => text(row, vText(f.Vd, 2 + f.sz, f.Q), vText(f.Vn, 2 + f.sz, f.Q)),
    when: ({ sz, Q }) => !sz || (Q === 1 && !row.integer),
    exec: (e, { Q, sz, Vn, Vd }) => execute(row, vector(e, widthOf(sz), Q), Vd, Vn),
  });
  if (row.integer) return [full];
  return [
    full,
    insn({
      name: `${nameOf(row, "vector")}, half precision`,
      bits: `0 Q:1 ${U} 01110 ${a} 111100 ${opcode} 10 Vn:5 Vd:5`,
      asm: (f) => text(row, vText(f.Vd, 1, f.Q), vText(f.Vn, 1, f.Q)),
      ...HALF,
      exec: (e, { Q, Vn, Vd }) => execute(row, vector(e, 16, Q), Vd, Vn),
    }),
  ];
}
function scalarForms(row: Row): Definition[] {
  const { U, a, opcode } = row;
  return [
    insn({
      name: nameOf(row, "scalar"),
      bits: `01 ${U} 11110 ${a} sz:1 10000 ${opcode} 10 Vn:5 Vd:5`,
      asm: (f) => text(row, sText(f.Vd, 2 + f.sz), sText(f.Vn, 2 + f.sz)),
      exec: (e, { sz, Vn, Vd }) => execute(row, new Lanes(e, widthOf(sz)), Vd, Vn),
    }),
    insn({
      name: `${nameOf(row, "scalar")}, half precision`,
      bits: `01 ${U} 11110 ${a} 111100 ${opcode} 10 Vn:5 Vd:5`,
      asm: (f) => text(row, sText(f.Vd, 1), sText(f.Vn, 1)),
      ...HALF,
      exec: (e, { Vn, Vd }) => execute(row, new Lanes(e, 16), Vd, Vn),
    }),
  ];
}

// ---- between formats

/** Narrows to the low half, or (Q) to the high half and keeps the other. */
function narrow(e: Builder, from: Width, Q: number, Vn: VReg, Vd: VReg, rounding?: Rounding) {
  const u = new Lanes(e, from, 128), to = new Lanes(e, from === 64 ? 32 : 16, 64);
  putHalf(e, Vd, Q, float.convert(u, to, u.read(Vn), rounding) as Vec);
}
const BETWEEN_FORMATS: readonly Definition[] = [
  insn({
    name: "FCVTL",
    bits: "0 Q:1 0 01110 0 sz:1 10000 10111 10 Vn:5 Vd:5",
    asm: (f) => `fcvtl${f.Q ? "2" : ""} ${vText(f.Vd, 2 + f.sz, 1)}, ${vText(f.Vn, 1 + f.sz, f.Q)}`,
    exec(e, { Q, sz, Vn, Vd }) {
      const u = new Lanes(e, sz ? 32 : 16, 64), to = new Lanes(e, widthOf(sz), 128), all = take(e, Vn, 3);
      const half = u.letRaw((Q ? all.broadcast(1) : all).as(u.size));
      to.write(Vd, float.convert(u, to, half));
    },
  }),
  insn({
    name: "FCVTN",
    bits: "0 Q:1 0 01110 0 sz:1 10000 10110 10 Vn:5 Vd:5",
    asm: (f) => `fcvtn${f.Q ? "2" : ""} ${vText(f.Vd, 1 + f.sz, f.Q)}, ${vText(f.Vn, 2 + f.sz, 1)}`,
    exec: (e, { Q, sz, Vn, Vd }) => narrow(e, widthOf(sz), Q, Vn, Vd),
  }),
  insn({
    name: "FCVTXN (vector)",
    bits: "0 Q:1 1 01110 01 10000 10110 10 Vn:5 Vd:5",
    asm: (f) => `fcvtxn${f.Q ? "2" : ""} ${vText(f.Vd, 2, f.Q)}, ${vText(f.Vn, 3, 1)}`,
    exec: (e, { Q, Vn, Vd }) => narrow(e, 64, Q, Vn, Vd, ROUNDING.ODD),
  }),
  insn({
    name: "FCVTXN (scalar)",
    bits: "01 1 11110 01 10000 10110 10 Vn:5 Vd:5",
    asm: "fcvtxn {s:Vd}, {d:Vn}",
    exec(e, { Vn, Vd }) {
      const u = new Lanes(e, 64), to = new Lanes(e, 32);
      to.write(Vd, float.convert(u, to, u.read(Vn), ROUNDING.ODD));
    },
  }),
];

// ---- fixed-point numbers: the position of immh's first one is the format, what follows tells the number of fraction bits

type Fixed = (u: Lanes, x: float.Raw, unsigned: boolean, scale: Int) => float.Raw;
const FIXED = [
  ["SCVTF, UCVTF", "11100", (u, x, unsigned, scale) => float.fromFixed(u, x, { width: u.width, unsigned, scale })],
  [
    "FCVTZS, FCVTZU",
    "11111",
    (u, x, unsigned, scale) => float.toFixed(u, x, ROUNDING.ZERO, { width: u.width, unsigned, scale }),
  ],
] as const satisfies readonly (readonly [string, FixedBits, Fixed])[];
const FIXED_FORMATS = [[16, 1, "001", 4, "half precision"], [32, 2, "01", 5, "single"], [
  64,
  3,
  "1",
  6,
  "double",
]] as const;

function fixedForms([names, opcode, op]: typeof FIXED[number]): Definition[] {
  return FIXED_FORMATS.flatMap(([width, size, prefix, bits, format]) => {
    const mnemonic = (U: number) => names.toLowerCase().split(", ")[U]!;
    const common = {
      derive: { scale: { small: (f: { imm: number }) => width - f.imm } },
      ...(width === 16 ? HALF : {}),
    };
    return [
      insn({
        name: `${names} (vector, fixed-point), ${format}`,
        bits: `0 Q:1 U:1 011110 ${prefix as FixedBits} imm:${bits as number} ${opcode as FixedBits} 1 Vn:5 Vd:5`,
        asm: (f) => `${mnemonic(f.U)} ${vText(f.Vd, size, f.Q)}, ${vText(f.Vn, size, f.Q)}, #${width - f.imm}`,
        when: ({ Q }) => width < 64 || Q === 1,
        ...common,
        exec(e, { Q, U, Vn, Vd, scale }) {
          const u = vector(e, width, Q);
          u.write(Vd, op(u, u.read(Vn), U === 1, scale));
        },
      }),
      insn({
        name: `${names} (vector, scalar fixed-point), ${format}`,
        bits: `01 U:1 111110 ${prefix as FixedBits} imm:${bits as number} ${opcode as FixedBits} 1 Vn:5 Vd:5`,
        asm: (f) => `${mnemonic(f.U)} ${sText(f.Vd, size)}, ${sText(f.Vn, size)}, #${width - f.imm}`,
        ...common,
        exec(e, { U, Vn, Vd, scale }) {
          const u = new Lanes(e, width);
          u.write(Vd, op(u, u.read(Vn), U === 1, scale));
        },
      }),
    ];
  });
}

export const FP_TWO_REGISTER: readonly Definition[] = [
  ...ROWS.flatMap((row) => [
    ...(row.forms !== "scalar" ? vectorForms(row) : []),
    ...(row.forms !== "vector" ? scalarForms(row) : []),
  ]),
  ...BETWEEN_FORMATS,
  ...FIXED.flatMap(fixedForms),
];
