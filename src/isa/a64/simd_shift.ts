// Advanced SIMD shifts by immediate (DDI 0487 "Advanced SIMD shift by immediate", "scalar shift by immediate"), without
// the fixed-point conversions, which are floating point. The highest set bit of immh is the element size; immh:immb
// is twice the size less a right shift, or the size plus a left shift.

import { type Definition, insn } from "../define.ts";
import type { Builder, Int } from "../ir.ts";
import { type Bits, put, putHalf, saturatedWhere, take, Vec } from "../vector.ts";
import { type FixedBits, nameOf, type Names, sText, vText } from "./simd_shared.ts";
import { halveUp } from "./simd_three_same.ts";
import { limited } from "./simd_two_register.ts";

interface Operands {
  readonly e: Builder;
  readonly U: number;
  readonly a: Vec;
  /** The old value of the destination. */
  readonly d: Vec;
  /** i32: how far to the left, or one less than how far to the right, since that may be the whole width. */
  readonly by: Int;
}
interface Row {
  readonly names: Names;
  readonly opcode: FixedBits;
  readonly left?: boolean;
  /** Element sizes of the scalar form: doublewords only, or all. */
  readonly scalar: "d" | "bhsd";
  readonly op: (o: Operands) => Vec;
}

const right = ({ U, a, by }: Operands): Vec => a.shr(U, by).shr(U, 1);
const rightRounded = ({ U, a, by }: Operands): Vec => halveUp(U, a.shr(U, by));

const ROWS: readonly Row[] = [
  { names: ["SSHR", "USHR"], opcode: "00000", scalar: "d", op: right },
  { names: ["SSRA", "USRA"], opcode: "00010", scalar: "d", op: (o) => o.d.add(right(o)) },
  { names: ["SRSHR", "URSHR"], opcode: "00100", scalar: "d", op: rightRounded },
  { names: ["SRSRA", "URSRA"], opcode: "00110", scalar: "d", op: (o) => o.d.add(rightRounded(o)) },
  {
    names: ["", "SRI"],
    opcode: "01000",
    scalar: "d",
    op: (o) => right({ ...o, a: o.a.every(-1) }).select(right(o), o.d),
  },
  { names: ["SHL", ""], opcode: "01010", left: true, scalar: "d", op: ({ a, by }) => a.shl(by) },
  {
    names: ["", "SLI"],
    opcode: "01010",
    left: true,
    scalar: "d",
    op: ({ a, d, by }) => a.every(-1).shl(by).select(a.shl(by), d),
  },
  {
    names: ["SQSHL", "UQSHL"],
    opcode: "01110",
    left: true,
    scalar: "bhsd",
    op: ({ e, U, a, by }) => leftSaturated(e, U, a, by, U ? a.every(-1) : a.signedLimit()),
  },
  {
    names: ["", "SQSHLU"],
    opcode: "01100",
    left: true,
    scalar: "bhsd",
    // Negative numbers become 0: they saturate as well.
    op({ e, a, by }) {
      const negative = a.negative();
      saturatedWhere(e, negative);
      return leftSaturated(e, 1, a.andNot(negative), by, a.every(-1));
    },
  },
];
function leftSaturated(e: Builder, U: number, a: Vec, by: Int, limit: Vec): Vec {
  const shifted = a.shl(by), overflow = shifted.shr(U, by).eq(a).not();
  saturatedWhere(e, overflow);
  return overflow.select(limit, shifted);
}

const sizeOf = (immh: number): number => 31 - Math.clz32(immh);
const leftOf = (f: { immh: number; immb: number }) => f.immh * 8 + f.immb - (8 << sizeOf(f.immh));
const rightOf = (f: { immh: number; immb: number }) => (16 << sizeOf(f.immh)) - f.immh * 8 - f.immb;
const mnemonic = (row: { readonly names: Names }, U: number) => row.names[U]!.toLowerCase();

function forms(row: Row): Definition[] {
  const { names, opcode, left = false } = row, amount = left ? leftOf : rightOf;
  /** Stands for any number where immh is not known yet. */
  const by = (f: { immh: number; immb: number }) => f.immh ? amount(f) - (left ? 0 : 1) : 0;
  return [
    insn({
      name: nameOf(names, "vector, shift"),
      bits: `0 Q:1 U:1 011110 =immh:4 immb:3 ${opcode} 1 Vn:5 Vd:5`,
      asm: (f) =>
        `${mnemonic(row, f.U)} ${vText(f.Vd, sizeOf(f.immh), f.Q)}, ${vText(f.Vn, sizeOf(f.immh), f.Q)}, #${amount(f)}`,
      when: (f) => names[f.U] !== "" && f.immh !== 0 && (f.Q === 1 || f.immh < 8),
      derive: { by: { small: by } },
      exec(e, { Q, U, immh, by, Vn, Vd }) {
        const size = sizeOf(immh), bits = Q ? 128 : 64;
        put(e, Vd, row.op({ e, U, a: take(e, Vn, size, bits), d: take(e, Vd, size, bits), by }), bits);
      },
    }),
    insn({
      name: nameOf(names, "scalar, shift"),
      bits: `01 U:1 111110 =immh:4 immb:3 ${opcode} 1 Vn:5 Vd:5`,
      asm: (f) => `${mnemonic(row, f.U)} ${sText(f.Vd, sizeOf(f.immh))}, ${sText(f.Vn, sizeOf(f.immh))}, #${amount(f)}`,
      when: (f) => names[f.U] !== "" && f.immh !== 0 && (row.scalar === "bhsd" || f.immh >= 8),
      derive: { by: { small: by } },
      exec(e, { U, immh, by, Vn, Vd }) {
        const size = sizeOf(immh), bits = (8 << size) as Bits;
        put(e, Vd, row.op({ e, U, a: take(e, Vn, size, bits), d: take(e, Vd, size, bits), by }), bits);
      },
    }),
  ];
}

/** Narrowing right shifts: rounding in the opcode; how the result is limited; U = 1 is signed to unsigned, or unsigned. */
const NARROWING = [
  { names: ["SHRN", ""], opcode: "10000", rounding: false, limits: undefined },
  { names: ["RSHRN", ""], opcode: "10001", rounding: true, limits: undefined },
  { names: ["", "SQSHRUN"], opcode: "10000", rounding: false, limits: "su" },
  { names: ["", "SQRSHRUN"], opcode: "10001", rounding: true, limits: "su" },
  { names: ["SQSHRN", ""], opcode: "10010", rounding: false, limits: "ss" },
  { names: ["", "UQSHRN"], opcode: "10010", rounding: false, limits: "uu" },
  { names: ["SQRSHRN", ""], opcode: "10011", rounding: true, limits: "ss" },
  { names: ["", "UQRSHRN"], opcode: "10011", rounding: true, limits: "uu" },
] as const;

function narrowForms({ names, opcode, rounding, limits }: typeof NARROWING[number]): Definition[] {
  const U = limits === "ss" || limits === "su" ? 0 : 1;
  const by = (f: { immh: number; immb: number }) => f.immh ? rightOf(f) - 1 : 0;
  const narrowed = (e: Builder, a: Vec, by: Int): Vec => {
    const shifted = (rounding ? rightRounded : right)({ e, U, a, d: a, by });
    return (limits ? limited(e, shifted, limits) : shifted).halves(0);
  };
  const vector = insn({
    name: nameOf(names, "vector, shift"),
    bits: `0 Q:1 U:1 011110 =immh:4 immb:3 ${opcode} 1 Vn:5 Vd:5`,
    asm: (f) => {
      const size = sizeOf(f.immh);
      return `${mnemonic({ names }, f.U)}${f.Q ? "2" : ""} ${vText(f.Vd, size, f.Q)}, ${vText(f.Vn, size + 1, 1)}, #${
        rightOf(f)
      }`;
    },
    when: (f) => names[f.U] !== "" && f.immh !== 0 && f.immh < 8,
    derive: { by: { small: by } },
    exec: (e, { Q, immh, by, Vn, Vd }) => putHalf(e, Vd, Q, narrowed(e, take(e, Vn, sizeOf(immh) + 1), by)),
  });
  if (!limits) return [vector];
  return [
    vector,
    insn({
      name: nameOf(names, "scalar, shift"),
      bits: `01 U:1 111110 =immh:4 immb:3 ${opcode} 1 Vn:5 Vd:5`,
      asm: (f) =>
        `${mnemonic({ names }, f.U)} ${sText(f.Vd, sizeOf(f.immh))}, ${sText(f.Vn, sizeOf(f.immh) + 1)}, #${
          rightOf(f)
        }`,
      when: (f) => names[f.U] !== "" && f.immh !== 0 && f.immh < 8,
      derive: { by: { small: by } },
      exec(e, { immh, by, Vn, Vd }) {
        const size = sizeOf(immh), a = take(e, Vn, size + 1, (16 << size) as Bits);
        put(e, Vd, narrowed(e, a, by), (8 << size) as Bits);
      },
    }),
  ];
}

export const SIMD_SHIFT: readonly Definition[] = [
  ...ROWS.flatMap(forms),
  ...NARROWING.flatMap(narrowForms),
  insn({
    name: "SSHLL, USHLL (vector, shift)",
    bits: "0 Q:1 U:1 011110 =immh:4 immb:3 10100 1 Vn:5 Vd:5",
    asm: (f) => {
      const size = sizeOf(f.immh);
      return `${f.U ? "u" : "s"}shll${f.Q ? "2" : ""} ${vText(f.Vd, size + 1, 1)}, ${vText(f.Vn, size, f.Q)}, #${
        leftOf(f)
      }`;
    },
    when: (f) => f.immh !== 0 && f.immh < 8,
    derive: { by: { small: (f) => f.immh ? leftOf(f) : 0 } },
    exec: (e, { Q, U, immh, by, Vn, Vd }) => put(e, Vd, take(e, Vn, sizeOf(immh)).widen(U, Q).shl(by)),
  }),
];
