// Data processing, register (DDI 0487 "Data Processing -- Register"): logical and arithmetic with shifted and extended
// registers, carry, conditional compare and select, one, two and three sources, CRC32.

import { type Definition, insn, xName } from "../define.ts";
import { type Builder, type Int, type Reg } from "../ir.ts";
import { CONDITIONS, extend, EXTENDS, shift, SHIFTS } from "./shared.ts";

const LOGICAL = [["and", "bic"], ["orr", "orn"], ["eor", "eon"], ["ands", "bics"]] as const;

function logical(e: Builder, opc: number, N: number, a: Int, b: Int, Rd: Reg) {
  const operand = N ? b.not() : b;
  if (opc === 3) {
    const result = e.let(a.and(operand));
    e.setFlagsLogic(result);
    return e.set(Rd, result);
  }
  e.set(Rd, opc === 0 ? a.and(operand) : opc === 1 ? a.or(operand) : a.xor(operand));
}
function addSub(e: Builder, op: number, S: number, a: Int, b: Int, Rd: Reg) {
  if (S) e.set(Rd, op ? e.setFlagsSub(a, b) : e.setFlagsAdd(a, b));
  else e.set(Rd, op ? a.sub(b) : a.add(b));
}
const ADD_SUB = [["add", "adds"], ["sub", "subs"]] as const;

// Without a shift, the commonest case, the operand is the register itself: a handler of its own.
export const DATA_REGISTER: readonly Definition[] = [
  insn({
    name: "AND, ORR, EOR, ANDS (register)",
    bits: "sf:1 opc:2 01010 00 N:1 Rm:5 000000 Rn:5 Rd:5",
    asm: (f) => `${LOGICAL[f.opc as 0][f.N as 0]} ${xName(f.Rd, f.sf)}, ${xName(f.Rn, f.sf)}, ${xName(f.Rm, f.sf)}`,
    when: (f) => !(f.opc === 1 && f.Rn === 31),
    exec: (e, { sf, opc, N, Rm, Rn, Rd }) => logical(e, opc, N, e.get(Rn, sf), e.get(Rm, sf), Rd),
  }),
  insn({
    name: "MOV, MVN (register)",
    bits: "sf:1 01 01010 00 N:1 Rm:5 000000 11111 Rd:5",
    asm: (f) => `${f.N ? "mvn" : "mov"} ${xName(f.Rd, f.sf)}, ${xName(f.Rm, f.sf)}`,
    exec: (e, { sf, N, Rm, Rd }) => e.set(Rd, N ? e.get(Rm, sf).not() : e.get(Rm, sf)),
  }),
  insn({
    name: "AND, ORR, EOR, ANDS (shifted register)",
    bits: "sf:1 opc:2 01010 shift:2 N:1 Rm:5 imm6:6 Rn:5 Rd:5",
    asm: (f) =>
      `${LOGICAL[f.opc as 0][f.N as 0]} ${xName(f.Rd, f.sf)}, ${xName(f.Rn, f.sf)}, ${xName(f.Rm, f.sf)}, ${
        SHIFTS[f.shift]
      } #${f.imm6}`,
    when: (f) => (f.sf === 1 || f.imm6 < 32) && (f.shift | f.imm6) !== 0,
    exec: (e, { sf, opc, shift: kind, N, Rm, imm6, Rn, Rd }) =>
      logical(e, opc, N, e.get(Rn, sf), shift(e.get(Rm, sf), kind, imm6), Rd),
  }),
  insn({
    name: "ADD, SUB (register)",
    bits: "sf:1 op:1 S:1 01011 00 0 Rm:5 000000 Rn:5 Rd:5",
    asm: (f) => `${ADD_SUB[f.op as 0][f.S as 0]} ${xName(f.Rd, f.sf)}, ${xName(f.Rn, f.sf)}, ${xName(f.Rm, f.sf)}`,
    exec: (e, { sf, op, S, Rm, Rn, Rd }) => addSub(e, op, S, e.get(Rn, sf), e.get(Rm, sf), Rd),
  }),
  insn({
    name: "ADD, SUB (shifted register)",
    bits: "sf:1 op:1 S:1 01011 shift:2 0 Rm:5 imm6:6 Rn:5 Rd:5",
    asm: (f) =>
      `${ADD_SUB[f.op as 0][f.S as 0]} ${xName(f.Rd, f.sf)}, ${xName(f.Rn, f.sf)}, ${xName(f.Rm, f.sf)}, ${
        SHIFTS[f.shift]
      } #${f.imm6}`,
    when: (f) => f.shift !== 3 && (f.sf === 1 || f.imm6 < 32) && (f.shift | f.imm6) !== 0,
    exec: (e, { sf, op, S, shift: kind, Rm, imm6, Rn, Rd }) =>
      addSub(e, op, S, e.get(Rn, sf), shift(e.get(Rm, sf), kind, imm6), Rd),
  }),
  // Rd is SP only where no flags are set, so the two are separate.
  ...([0, 1] as const).map((S) => {
    const spec = {
      name: S ? "ADDS, SUBS (extended register)" : "ADD, SUB (extended register)",
      asm: (f: { sf: number; op: number; Rd: number; Rn: number; Rm: number; option: number; imm3: number }) =>
        `${ADD_SUB[f.op as 0][S]} ${xName(f.Rd, f.sf, !S)}, ${xName(f.Rn, f.sf, true)}, ${
          xName(f.Rm, f.sf && (f.option & 3) === 3)
        }, ${EXTENDS[f.option]} #${f.imm3}`,
      when: (f: { imm3: number }) => f.imm3 <= 4,
    };
    const exec = (e: Builder, f: { sf: number; op: number; Rm: Reg; option: number; imm3: Int; Rn: Reg; Rd: Reg }) =>
      addSub(e, f.op, S, e.get(f.Rn, f.sf), extend(e, f.Rm, f.sf, f.option, f.imm3), f.Rd);
    return S
      ? insn({ ...spec, bits: "sf:1 op:1 1 01011 00 1 Rm:5 option:3 imm3:3 Rn|SP:5 Rd:5", exec })
      : insn({ ...spec, bits: "sf:1 op:1 0 01011 00 1 Rm:5 option:3 imm3:3 Rn|SP:5 Rd|SP:5", exec });
  }),
  insn({
    name: "ADC, SBC",
    bits: "sf:1 op:1 S:1 11010000 Rm:5 000000 Rn:5 Rd:5",
    asm: (f) =>
      `${f.op ? "sbc" : "adc"}${f.S ? "s" : ""} ${xName(f.Rd, f.sf)}, ${xName(f.Rn, f.sf)}, ${xName(f.Rm, f.sf)}`,
    exec(e, { sf, op, S, Rm, Rn, Rd }) {
      const a = e.get(Rn, sf), b = e.get(Rm, sf), operand = op ? b.not() : b, carry = e.let(e.state("cf"));
      e.set(Rd, S ? e.setFlagsAdd(a, operand, carry) : a.add(operand).add(carry.as(a.type)));
    },
  }),
  ...([0, 1] as const).map((immediate) => {
    const exec = (e: Builder, f: { sf: number; op: number; cond: number; imm_nzcv: Int }, a: Int, b: Int) => {
      const holds = e.let(e.condition(f.cond)), { flags } = f.op ? e.flagsSub(a, b) : e.flagsAdd(a, b);
      const otherwise = e.flagsOf(f.imm_nzcv);
      e.setFlags({
        nf: flags.nf.select(holds, otherwise.nf),
        zf: flags.zf.select(holds, otherwise.zf),
        cf: flags.cf.select(holds, otherwise.cf),
        vf: flags.vf.select(holds, otherwise.vf),
      });
    };
    return immediate
      ? insn({
        name: "CCMN, CCMP (immediate)",
        bits: "sf:1 op:1 1 11010010 imm5:5 cond:4 10 Rn:5 0 imm_nzcv:4",
        asm: (f) => `ccm${f.op ? "p" : "n"} ${xName(f.Rn, f.sf)}, #${f.imm5}, #${f.imm_nzcv}, ${CONDITIONS[f.cond]}`,
        exec: (e, f) => exec(e, f, e.get(f.Rn, f.sf), f.imm5.as(f.sf ? "i64" : "i32")),
      })
      : insn({
        name: "CCMN, CCMP (register)",
        bits: "sf:1 op:1 1 11010010 Rm:5 cond:4 00 Rn:5 0 imm_nzcv:4",
        asm: (f) =>
          `ccm${f.op ? "p" : "n"} ${xName(f.Rn, f.sf)}, ${xName(f.Rm, f.sf)}, #${f.imm_nzcv}, ${CONDITIONS[f.cond]}`,
        exec: (e, f) => exec(e, f, e.get(f.Rn, f.sf), e.get(f.Rm, f.sf)),
      });
  }),
  insn({
    name: "CSEL, CSINC, CSINV, CSNEG",
    bits: "sf:1 op:1 0 11010100 Rm:5 cond:4 0 o2:1 Rn:5 Rd:5",
    asm: (f) =>
      `${["csel", "csinc", "csinv", "csneg"][f.op * 2 + f.o2]} ${xName(f.Rd, f.sf)}, ${xName(f.Rn, f.sf)}, ${
        xName(f.Rm, f.sf)
      }, ${CONDITIONS[f.cond]}`,
    exec(e, { sf, op, Rm, cond, o2, Rn, Rd }) {
      const b = e.get(Rm, sf), inverted = op ? b.not() : b;
      e.set(Rd, e.get(Rn, sf).select(e.condition(cond), o2 ? inverted.add(1) : inverted));
    },
  }),
  insn({
    name: "RBIT",
    bits: "sf:1 1 0 11010110 00000 000000 Rn:5 Rd:5",
    asm: "rbit {sf:Rd}, {sf:Rn}",
    exec(e, { sf, Rn, Rd }) {
      let x = e.get(Rn, sf);
      for (const [n, mask] of [[1, 0x5555555555555555n], [2, 0x3333333333333333n], [4, 0x0f0f0f0f0f0f0f0fn]] as const) {
        x = swap(e, x, n, mask);
      }
      e.set(Rd, reverseBytes(e, x, sf ? 8 : 4));
    },
  }),
  insn({
    name: "REV16, REV32, REV",
    bits: "sf:1 1 0 11010110 00000 0000 opc:2 Rn:5 Rd:5",
    asm: (f) => `rev${f.opc === 2 + f.sf ? "" : 8 << f.opc} ${xName(f.Rd, f.sf)}, ${xName(f.Rn, f.sf)}`,
    when: (f) => f.opc !== 0 && (f.opc !== 3 || f.sf === 1),
    exec: (e, { sf, opc, Rn, Rd }) => e.set(Rd, reverseBytes(e, e.get(Rn, sf), 1 << opc)),
  }),
  insn({
    name: "CLZ, CLS",
    bits: "sf:1 1 0 11010110 00000 00010 op:1 Rn:5 Rd:5",
    asm: (f) => `cl${f.op ? "s" : "z"} ${xName(f.Rd, f.sf)}, ${xName(f.Rn, f.sf)}`,
    exec(e, { sf, op, Rn, Rd }) {
      const x = e.let(e.get(Rn, sf));
      e.set(Rd, op ? x.xor(x.shrS(1)).clz().sub(1) : x.clz());
    },
  }),
  insn({
    name: "UDIV, SDIV",
    bits: "sf:1 0 0 11010110 Rm:5 00001 o1:1 Rn:5 Rd:5",
    asm: (f) => `${f.o1 ? "s" : "u"}div ${xName(f.Rd, f.sf)}, ${xName(f.Rn, f.sf)}, ${xName(f.Rm, f.sf)}`,
    exec(e, { sf, o1, Rm, Rn, Rd }) {
      const a = e.let(e.get(Rn, sf)), b = e.let(e.get(Rm, sf)), zero = a.sub(a);
      // Division by zero gives 0; the most negative number by −1 gives itself. Wasm would trap on both.
      const quotient = () => o1 ? e.choose(b.eq(-1n), () => a.neg(), () => a.divS(b), false) : a.divU(b);
      e.set(Rd, e.choose(b.eqz(), () => zero, quotient, false));
    },
  }),
  insn({
    name: "LSLV, LSRV, ASRV, RORV",
    bits: "sf:1 0 0 11010110 Rm:5 0010 op2:2 Rn:5 Rd:5",
    asm: (f) => `${SHIFTS[f.op2]} ${xName(f.Rd, f.sf)}, ${xName(f.Rn, f.sf)}, ${xName(f.Rm, f.sf)}`,
    exec: (e, { sf, Rm, op2, Rn, Rd }) => e.set(Rd, shift(e.get(Rn, sf), op2, e.get(Rm, sf))),
  }),
  insn({
    name: "CRC32, CRC32C",
    bits: "sf:1 0 0 11010110 Rm:5 010 C:1 sz:2 Rn:5 Rd:5",
    asm: (f) => `crc32${f.C ? "c" : ""}${"bhwx"[f.sz]} w${f.Rd}, w${f.Rn}, ${xName(f.Rm, f.sf)}`,
    when: (f) => (f.sz === 3) === (f.sf === 1),
    feature: "FEAT_CRC32",
    exec(e, { C, sz, Rm, Rn, Rd }) {
      // Polynomials are reflected: the register holds the least significant bit first.
      const polynomial = C ? 0x82f63b78 : 0xedb88320, data = e.let(e.get(Rm, 1));
      let crc = e.get(Rn, 0);
      for (let word = 0; word < (sz === 3 ? 2 : 1); word++) {
        const bits = Math.min(8 << sz, 32);
        crc = e.let(crc.xor(data.shrU(32 * word).zext(bits).i32()));
        for (let n = 0; n < bits; n++) crc = e.let(crc.shrU(1).xor(crc.and(1).neg().and(polynomial)));
      }
      e.set(Rd, crc);
    },
  }),
  insn({
    name: "MADD, MSUB",
    bits: "sf:1 00 11011 000 Rm:5 o0:1 Ra:5 Rn:5 Rd:5",
    asm: (f) =>
      `${f.o0 ? "msub" : "madd"} ${xName(f.Rd, f.sf)}, ${xName(f.Rn, f.sf)}, ${xName(f.Rm, f.sf)}, ${
        xName(f.Ra, f.sf)
      }`,
    exec(e, { sf, Rm, o0, Ra, Rn, Rd }) {
      const product = e.get(Rn, sf).mul(e.get(Rm, sf)), a = e.get(Ra, sf);
      e.set(Rd, o0 ? a.sub(product) : a.add(product));
    },
  }),
  insn({
    name: "SMADDL, SMSUBL, UMADDL, UMSUBL",
    bits: "1 00 11011 U:1 01 Rm:5 o0:1 Ra:5 Rn:5 Rd:5",
    asm: (f) =>
      `${f.U ? "u" : "s"}m${f.o0 ? "sub" : "add"}l x${f.Rd}, ${xName(f.Rn, 0)}, ${xName(f.Rm, 0)}, ${xName(f.Ra, 1)}`,
    exec(e, { U, Rm, o0, Ra, Rn, Rd }) {
      const wide = (r: Reg) => U ? e.get(r, 0).u64() : e.get(r, 0).s64();
      const product = wide(Rn).mul(wide(Rm)), a = e.get(Ra, 1);
      e.set(Rd, o0 ? a.sub(product) : a.add(product));
    },
  }),
  insn({
    name: "SMULH, UMULH",
    bits: "1 00 11011 U:1 10 Rm:5 0 _Ra:5 Rn:5 Rd:5",
    asm: (f) => `${f.U ? "u" : "s"}mulh x${f.Rd}, ${xName(f.Rn, 1)}, ${xName(f.Rm, 1)}`,
    exec: (e, { U, Rm, Rn, Rd }) => e.set(Rd, multiplyHigh(e, e.let(e.get(Rn, 1)), e.let(e.get(Rm, 1)), !U)),
  }),
];

/** Exchanges neighbouring groups of `n` bits. */
function swap(e: Builder, x: Int, n: number, mask: bigint): Int {
  const m = BigInt.asUintN(x.bits, mask), y = e.let(x);
  return e.let(y.shrU(n).and(m).or(y.and(m).shl(n)));
}
/** Reverses the bytes of every group of `bytes` bytes. */
function reverseBytes(e: Builder, x: Int, bytes: number): Int {
  let y = x;
  if (bytes >= 2) y = swap(e, y, 8, 0x00ff00ff00ff00ffn);
  if (bytes >= 4) y = x.bits === 32 ? y.rotr(16) : swap(e, y, 16, 0x0000ffff0000ffffn);
  if (bytes >= 8) y = y.rotr(32);
  return y;
}
/** Bits 127:64 of a 64 × 64-bit product, from four 32-bit products. */
export function multiplyHigh(e: Builder, a: Int, b: Int, signed: boolean): Int {
  const low = (x: Int) => x.and(0xffff_ffffn), high = (x: Int) => e.let(signed ? x.shrS(32) : x.shrU(32));
  const a0 = e.let(low(a)), a1 = high(a), b0 = e.let(low(b)), b1 = high(b);
  const carry = e.let(a1.mul(b0).add(a0.mul(b0).shrU(32)));
  const middle = e.let(a0.mul(b1).add(low(carry)));
  const top = (x: Int) => signed ? x.shrS(32) : x.shrU(32);
  return a1.mul(b1).add(top(carry)).add(top(middle));
}
