// Scalar floating point (DDI 0487 "Data Processing -- Scalar Floating-Point"): moves, arithmetic, comparison, conversion
// between formats, integers and fixed-point numbers. What is exact and how is isa/float.ts's matter.

import { type Definition, insn, xName } from "../define.ts";
import * as float from "../float.ts";
import { type FloatOp, Lanes } from "../float.ts";
import type { Builder, Int, VReg } from "../ir.ts";
import { ROUNDING } from "../softfloat.ts";
import { formats, SIGN_OPERATIONS, TO_INTEGER, typeText, widthOfType } from "./fp_shared.ts";
import { CONDITIONS } from "./shared.ts";
import type { FixedBits } from "./simd_shared.ts";

const scalar = (e: Builder, type: number) => new Lanes(e, widthOfType(type));

// ---- one, two and three operands

const ONE = [
  ["FMOV", "000000", SIGN_OPERATIONS.move],
  ["FABS", "000001", SIGN_OPERATIONS.abs],
  ["FNEG", "000010", SIGN_OPERATIONS.neg],
  ["FSQRT", "000011", float.sqrt],
  ["FRINTN", "001000", float.roundIntegral(ROUNDING.TIEEVEN)],
  ["FRINTP", "001001", float.roundIntegral(ROUNDING.POSINF)],
  ["FRINTM", "001010", float.roundIntegral(ROUNDING.NEGINF)],
  ["FRINTZ", "001011", float.roundIntegral(ROUNDING.ZERO)],
  ["FRINTA", "001100", float.roundIntegral(ROUNDING.TIEAWAY)],
  ["FRINTX", "001110", float.roundIntegral(undefined, true)],
  ["FRINTI", "001111", float.roundIntegral()],
] as const satisfies readonly (readonly [string, FixedBits, FloatOp])[];

const TWO = [
  ["FMUL", "0000", float.mul],
  ["FDIV", "0001", float.div],
  ["FADD", "0010", float.add],
  ["FSUB", "0011", float.sub],
  ["FMAX", "0100", float.max],
  ["FMIN", "0101", float.min],
  ["FMAXNM", "0110", float.maxNum],
  ["FMINNM", "0111", float.minNum],
  ["FNMUL", "1000", (u, a, b) => u.negate(float.mul(u, a!, b!))],
] as const satisfies readonly (readonly [string, FixedBits, FloatOp])[];

/** With o1 and o0: whether the addend and the first factor are negated. */
const THREE = [
  ["FMADD", "0", "0", false, false],
  ["FMSUB", "0", "1", false, true],
  ["FNMADD", "1", "0", true, true],
  ["FNMSUB", "1", "1", true, false],
] as const;

const ARITHMETIC: readonly Definition[] = [
  ...ONE.flatMap(([name, opcode, op]) =>
    formats({
      name: `${name} (${name === "FMOV" ? "register" : "scalar"})`,
      bits: `00011110 type:2 1 ${opcode as FixedBits} 10000 Vn:5 Vd:5`,
      asm: (f) => `${name.toLowerCase()} ${typeText(f.type, f.Vd)}, ${typeText(f.type, f.Vn)}`,
      exec(e, { type, Vn, Vd }) {
        const u = scalar(e, type);
        u.write(Vd, op(u, u.read(Vn)));
      },
    })
  ),
  ...TWO.flatMap(([name, opcode, op]) =>
    formats({
      name: `${name} (scalar)`,
      bits: `00011110 type:2 1 Vm:5 ${opcode as FixedBits} 10 Vn:5 Vd:5`,
      asm: (f) => `${name.toLowerCase()} ${[f.Vd, f.Vn, f.Vm].map((n) => typeText(f.type, n)).join(", ")}`,
      exec(e, { type, Vm, Vn, Vd }) {
        const u = scalar(e, type);
        u.write(Vd, op(u, u.read(Vn), u.read(Vm)));
      },
    })
  ),
  ...THREE.flatMap(([name, o1, o0, negateAddend, negateFactor]) =>
    formats({
      name: `${name} (scalar)`,
      bits: `00011111 type:2 ${o1 as FixedBits} Vm:5 ${o0 as FixedBits} Va:5 Vn:5 Vd:5`,
      asm: (f) => `${name.toLowerCase()} ${[f.Vd, f.Vn, f.Vm, f.Va].map((n) => typeText(f.type, n)).join(", ")}`,
      exec(e, { type, Vm, Va, Vn, Vd }) {
        const u = scalar(e, type),
          signed = (reg: VReg, negate: boolean) => negate ? u.negate(u.read(reg)) : u.read(reg);
        u.write(
          Vd,
          float.mulAdd(u, u.letRaw(signed(Va, negateAddend)), u.letRaw(signed(Vn, negateFactor)), u.read(Vm)),
        );
      },
    })
  ),
];

// ---- comparison and selection

const COMPARISONS: readonly Definition[] = [
  ...formats({
    name: "FCMP, FCMPE (register)",
    bits: "00011110 type:2 1 Vm:5 001000 Vn:5 op:1 0 000",
    asm: (f) => `fcmp${f.op ? "e" : ""} ${typeText(f.type, f.Vn)}, ${typeText(f.type, f.Vm)}`,
    exec(e, { type, Vm, Vn, op }) {
      const u = scalar(e, type);
      e.setFlags(float.orderFlags(float.order(u, u.read(Vn) as Int, u.read(Vm) as Int, op === 1)));
    },
  }),
  ...formats({
    name: "FCMP, FCMPE (zero)",
    bits: "00011110 type:2 1 _Vm:5 001000 Vn:5 op:1 1 000",
    asm: (f) => `fcmp${f.op ? "e" : ""} ${typeText(f.type, f.Vn)}, #0.0`,
    exec(e, { type, Vn, op }) {
      const u = scalar(e, type);
      e.setFlags(float.orderFlags(float.order(u, u.read(Vn) as Int, u.every(0n) as Int, op === 1)));
    },
  }),
  ...formats({
    name: "FCCMP, FCCMPE",
    bits: "00011110 type:2 1 Vm:5 cond:4 01 Vn:5 op:1 imm_nzcv:4",
    asm: (f) =>
      `fccmp${f.op ? "e" : ""} ${typeText(f.type, f.Vn)}, ${typeText(f.type, f.Vm)}, #${f.imm_nzcv}, ${
        CONDITIONS[f.cond]
      }`,
    exec(e, { type, Vm, cond, Vn, op, imm_nzcv }) {
      const u = scalar(e, type), holds = e.let(e.condition(cond));
      const order = () => float.order(u, u.read(Vn) as Int, u.read(Vm) as Int, op === 1);
      const flags = float.orderFlags(e.choose(holds, order, () => u.of(64).every(0n) as Int));
      const otherwise = e.flagsOf(imm_nzcv);
      e.setFlags({
        nf: flags.nf.select(holds, otherwise.nf),
        zf: flags.zf.select(holds, otherwise.zf),
        cf: flags.cf.select(holds, otherwise.cf),
        vf: flags.vf.select(holds, otherwise.vf),
      });
    },
  }),
  ...formats({
    name: "FCSEL",
    bits: "00011110 type:2 1 Vm:5 cond:4 11 Vn:5 Vd:5",
    asm: (f) => `fcsel ${[f.Vd, f.Vn, f.Vm].map((n) => typeText(f.type, n)).join(", ")}, ${CONDITIONS[f.cond]}`,
    exec(e, { type, Vm, cond, Vn, Vd }) {
      const u = scalar(e, type);
      u.write(Vd, (u.read(Vn) as Int).select(e.condition(cond), u.read(Vm) as Int));
    },
  }),
];

// ---- moves

/** VFPExpandImm(). */
function expandImmediate(imm8: number, width: float.Width): bigint {
  const exponentBits = width === 16 ? 5 : width === 32 ? 8 : 11, fractionBits = width - exponentBits - 1;
  const repeated = imm8 & 0x40 ? 2 ** (exponentBits - 3) - 1 : 0;
  const exponent = (imm8 & 0x40 ? 0 : 2 ** (exponentBits - 1)) | repeated << 2 | ((imm8 >> 4) & 3);
  const sign = BigInt(imm8 >> 7) << BigInt(width - 1), fraction = BigInt(imm8 & 15) << BigInt(fractionBits - 4);
  return sign | BigInt(exponent) << BigInt(fractionBits) | fraction;
}

const MOVES: readonly Definition[] = [
  ...formats({
    name: "FMOV (scalar, immediate)",
    bits: "00011110 type:2 1 imm8:8 100 00000 Vd:5",
    asm: (f) => `fmov ${typeText(f.type, f.Vd)}, #0x${expandImmediate(f.imm8, widthOfType(f.type)).toString(16)}`,
    derive: { value: (f) => expandImmediate(f.imm8, widthOfType(f.type)) },
    exec: (e, { Vd, value }) => e.setD(Vd, value),
  }),
  // General registers of the same width, or with half precision of any.
  ...formats({
    name: "FMOV (to general)",
    bits: "sf:1 0011110 type:2 1 00 110 000000 Vn:5 Rd:5",
    asm: (f) => `fmov ${xName(f.Rd, f.sf)}, ${typeText(f.type, f.Vn)}`,
    when: (f) => f.type === 3 || f.sf === f.type,
    exec: (e, { sf, type, Vn, Rd }) => e.set(Rd, (scalar(e, type).read(Vn) as Int).as(sf ? "i64" : "i32")),
  }),
  ...formats({
    name: "FMOV (from general)",
    bits: "sf:1 0011110 type:2 1 00 111 000000 Rn:5 Vd:5",
    asm: (f) => `fmov ${typeText(f.type, f.Vd)}, ${xName(f.Rn, f.sf)}`,
    when: (f) => f.type === 3 || f.sf === f.type,
    exec: (e, { sf, type, Rn, Vd }) => e.setD(Vd, e.get(Rn, sf).zext(widthOfType(type))),
  }),
  insn({
    name: "FMOV (top half to general)",
    bits: "1 0011110 10 1 01 110 000000 Vn:5 Rd:5",
    asm: "fmov {x:Rd}, {v:Vn}.d[1]",
    exec: (e, { Vn, Rd }) => e.set(Rd, e.v64(Vn, 1)),
  }),
  insn({
    name: "FMOV (general to top half)",
    bits: "1 0011110 10 1 01 111 000000 Rn:5 Vd:5",
    asm: "fmov {v:Vd}.d[1], {x:Rn}",
    exec: (e, { Rn, Vd }) => e.setV64(Vd, 1, e.get(Rn, 1)),
  }),
];

// ---- conversion

const CONVERSIONS: readonly Definition[] = [
  insn({
    name: "FCVT",
    bits: "00011110 type:2 1 0001 to:2 10000 Vn:5 Vd:5",
    asm: (f) => `fcvt ${typeText(f.to, f.Vd)}, ${typeText(f.type, f.Vn)}`,
    when: (f) => f.type !== f.to && f.type !== 2 && f.to !== 2,
    exec(e, { type, to, Vn, Vd }) {
      const from = scalar(e, type), into = scalar(e, to);
      into.write(Vd, float.convert(from, into, from.read(Vn)));
    },
  }),
  ...TO_INTEGER.flatMap(([letter, rounding, rmode, opcode]) =>
    formats({
      name: `FCVT${letter}S, FCVT${letter}U (scalar, integer)`,
      bits: `sf:1 0011110 type:2 1 ${rmode as FixedBits} ${opcode as FixedBits} U:1 000000 Vn:5 Rd:5`,
      asm: (f) => `fcvt${letter.toLowerCase()}${f.U ? "u" : "s"} ${xName(f.Rd, f.sf)}, ${typeText(f.type, f.Vn)}`,
      exec(e, { sf, type, U, Vn, Rd }) {
        const u = scalar(e, type);
        e.set(Rd, float.toFixed(u, u.read(Vn), rounding, { width: sf ? 64 : 32, unsigned: U === 1 }) as Int);
      },
    })
  ),
  ...formats({
    name: "SCVTF, UCVTF (scalar, integer)",
    bits: "sf:1 0011110 type:2 1 00 01 U:1 000000 Rn:5 Vd:5",
    asm: (f) => `${"su"[f.U]}cvtf ${typeText(f.type, f.Vd)}, ${xName(f.Rn, f.sf)}`,
    exec(e, { sf, type, U, Rn, Vd }) {
      const u = scalar(e, type);
      u.write(Vd, float.fromFixed(u, e.let(e.get(Rn, sf)), { width: sf ? 64 : 32, unsigned: U === 1 }));
    },
  }),
  ...formats({
    name: "FCVTZS, FCVTZU (scalar, fixed-point)",
    bits: "sf:1 0011110 type:2 0 11 00 U:1 imm6:6 Vn:5 Rd:5",
    asm: (f) => `fcvtz${f.U ? "u" : "s"} ${xName(f.Rd, f.sf)}, ${typeText(f.type, f.Vn)}, #${64 - f.imm6}`,
    when: (f) => f.sf === 1 || f.imm6 >= 32,
    derive: { scale: { small: (f) => 64 - f.imm6 } },
    exec(e, { sf, type, U, Vn, Rd, scale }) {
      const u = scalar(e, type), fixed = { width: sf ? 64 : 32, unsigned: U === 1, scale } as const;
      e.set(Rd, float.toFixed(u, u.read(Vn), ROUNDING.ZERO, fixed) as Int);
    },
  }),
  ...formats({
    name: "SCVTF, UCVTF (scalar, fixed-point)",
    bits: "sf:1 0011110 type:2 0 00 01 U:1 imm6:6 Rn:5 Vd:5",
    asm: (f) => `${"su"[f.U]}cvtf ${typeText(f.type, f.Vd)}, ${xName(f.Rn, f.sf)}, #${64 - f.imm6}`,
    when: (f) => f.sf === 1 || f.imm6 >= 32,
    derive: { scale: { small: (f) => 64 - f.imm6 } },
    exec(e, { sf, type, U, Rn, Vd, scale }) {
      const u = scalar(e, type), fixed = { width: sf ? 64 : 32, unsigned: U === 1, scale } as const;
      u.write(Vd, float.fromFixed(u, e.let(e.get(Rn, sf)), fixed));
    },
  }),
];

export const FP_SCALAR: readonly Definition[] = [...ARITHMETIC, ...COMPARISONS, ...MOVES, ...CONVERSIONS];
