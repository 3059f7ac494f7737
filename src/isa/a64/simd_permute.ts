// Advanced SIMD: moving elements and constants (DDI 0487 "Advanced SIMD permute", "extract", "table lookup", "copy",
// "scalar copy", "modified immediate").

import { type Definition, insn, xName } from "../define.ts";
import { put, splat, take } from "../vector.ts";
import { LETTERS, sText, vText } from "./simd_shared.ts";

/** Names and lanes of a result of `n` elements, from two registers of `n` elements each. */
const PERMUTE: Readonly<Record<number, readonly [string, (i: number, n: number) => number]>> = {
  1: ["uzp1", (i) => 2 * i],
  2: ["trn1", (i, n) => (i & ~1) + (i & 1) * n],
  3: ["zip1", (i, n) => (i >> 1) + (i & 1) * n],
  5: ["uzp2", (i) => 2 * i + 1],
  6: ["trn2", (i, n) => (i & ~1) + 1 + (i & 1) * n],
  7: ["zip2", (i, n) => ((n + i) >> 1) + (i & 1) * n],
};

/** Element size and index in imm5 of the copy instructions: the lowest set bit is the size. */
const sizeOf = (imm5: number): number => Math.min(Math.log2(imm5 & -imm5), 4);
const indexOf = (imm5: number): number => imm5 >> (sizeOf(imm5) + 1);
const isSize = (imm5: number, largest = 3): boolean => (imm5 & 15) !== 0 && sizeOf(imm5) <= largest;

/** AdvSIMDExpandImm() without the inversion that MVNI and BIC apply. */
function expandImmediate(f: { immop?: number; immmode: number; immabc: number; immdefgh: number }): bigint {
  const byte = (f.immabc << 5) | f.immdefgh,
    mode = f.immmode,
    repeat = (x: number | bigint, width: number) => {
      let all = 0n;
      for (let i = 0; i < 64; i += width) all |= BigInt(x) << BigInt(i);
      return all;
    };
  if (mode < 8) return repeat(BigInt(byte) << BigInt(4 * (mode & 6)), 32);
  if (mode < 12) return repeat(byte << (4 * (mode & 2)), 16);
  if (mode < 14) return repeat(mode & 1 ? (byte << 16) | 0xffff : (byte << 8) | 0xff, 32);
  if (mode === 14) {
    if (!f.immop) return repeat(byte, 8);
    let all = 0n;
    for (let i = 0; i < 8; i++) if (byte & (1 << i)) all |= 0xffn << BigInt(8 * i);
    return all;
  }
  const sign = byte >> 7,
    b6 = (byte >> 6) & 1,
    rest = BigInt(byte & 63),
    run = (n: number) => b6 ? (1n << BigInt(n)) - 1n : 0n;
  const exponent = (n: number) => (BigInt(sign) << BigInt(n + 1)) | (BigInt(b6 ^ 1) << BigInt(n)) | run(n);
  return f.immop ? (exponent(8) << 54n) | (rest << 48n) : repeat((exponent(5) << 25n) | (rest << 19n), 32);
}
/** VFPExpandImm() of half precision, four times. */
function expandHalf(f: { immabc: number; immdefgh: number }): bigint {
  const byte = BigInt((f.immabc << 5) | f.immdefgh), b6 = (byte >> 6n) & 1n;
  const half = ((byte >> 7n) << 15n) | ((b6 ^ 1n) << 14n) | (b6 ? 0x3000n : 0n) | ((byte & 63n) << 6n);
  return half * 0x0001_0001_0001_0001n;
}
const invert = (x: bigint, yes: number): bigint => yes ? BigInt.asUintN(64, ~x) : x;
/** ORR and BIC: an odd mode below 12. */
const isLogical = (mode: number): boolean => mode < 12 && (mode & 1) === 1;

/** The value of VFPExpandImm() as a number. */
function floatOf(f: { immabc: number; immdefgh: number }): number {
  const byte = (f.immabc << 5) | f.immdefgh, exponent = (((byte >> 4) & 7) ^ 4) - 3;
  return (byte >> 7 ? -1 : 1) * (1 + (byte & 15) / 16) * 2 ** exponent;
}
/** Destination, byte and shift of a modified immediate below mode 14. */
function shiftedText(f: { Q: number; immmode: number; immabc: number; immdefgh: number; Vd: number }): string {
  const { immmode: mode } = f,
    shift = mode < 12 ? `lsl #${4 * (mode & (mode < 8 ? 6 : 2))}` : `msl #${8 << (mode & 1)}`;
  return `${vText(f.Vd, mode < 8 || mode > 11 ? 2 : 1, f.Q)}, #${(f.immabc << 5) | f.immdefgh}, ${shift}`;
}

export const SIMD_PERMUTE: readonly Definition[] = [
  insn({
    name: "UZP1, TRN1, ZIP1, UZP2, TRN2, ZIP2",
    bits: "0 Q:1 001110 size:2 0 Vm:5 0 opcode:3 10 Vn:5 Vd:5",
    asm: (f) => `${PERMUTE[f.opcode]![0]} ${[f.Vd, f.Vn, f.Vm].map((n) => vText(n, f.size, f.Q)).join(", ")}`,
    when: (f) => (f.opcode & 3) !== 0 && (f.size < 3 || f.Q === 1),
    exec(e, { Q, size, opcode, Vm, Vn, Vd }) {
      const bits = Q ? 128 : 64, n = bits >> (size + 3), a = take(e, Vn, size), pick = PERMUTE[opcode]![1];
      // Of short registers the second one's elements are at other numbers; what lies above the result is cut off.
      const lanes = Array.from({ length: a.lanes }, (_, i) => pick(i % n, n)).map((l) => l < n ? l : l - n + a.lanes);
      put(e, Vd, a.shuffle(take(e, Vm, size), lanes), bits);
    },
  }),
  insn({
    name: "EXT",
    bits: "0 Q:1 101110 00 0 Vm:5 0 index:4 0 Vn:5 Vd:5",
    asm: (f) => `ext ${[f.Vd, f.Vn, f.Vm].map((n) => vText(n, 0, f.Q)).join(", ")}, #${f.index}`,
    when: (f) => f.Q === 1 || f.index < 8,
    exec(e, { Q, index, Vm, Vn, Vd }) {
      const bits = Q ? 128 : 64, n = bits / 8;
      const lanes = Array.from({ length: 16 }, (_, i) => index + (i % n)).map((l) => l < n ? l : l - n + 16);
      put(e, Vd, take(e, Vn, 0).shuffle(take(e, Vm, 0), lanes), bits);
    },
  }),
  insn({
    name: "TBL, TBX",
    bits: "0 Q:1 001110 00 0 Vm:5 0 len:2 keep:1 00 Vn:5 Vd:5",
    asm: (f) => {
      const table = Array.from({ length: f.len + 1 }, (_, i) => `v${(f.Vn + i) % 32}.16b`).join(", ");
      return `${f.keep ? "tbx" : "tbl"} ${vText(f.Vd, 0, f.Q)}, {${table}}, ${vText(f.Vm, 0, f.Q)}`;
    },
    exec(e, { Q, len, keep, Vm, Vn, Vd }) {
      const bits = Q ? 128 : 64, indices = take(e, Vm, 0, bits);
      let result = take(e, Vn, 0).lookUp(indices);
      for (let i = 1; i <= len; i++) {
        result = result.or(take(e, Vn.next(i), 0).lookUp(indices.sub(indices.every(16 * i))));
      }
      if (keep) result = indices.gt(1, indices.every(16 * len + 15)).select(take(e, Vd, 0, bits), result);
      put(e, Vd, result, bits);
    },
  }),
  insn({
    name: "DUP (element)",
    bits: "0 Q:1 0 01110000 =imm5:5 0 0000 1 Vn:5 Vd:5",
    asm: (f) => {
      const size = sizeOf(f.imm5);
      return `dup ${vText(f.Vd, size, f.Q)}, v${f.Vn}.${LETTERS[size]}[${indexOf(f.imm5)}]`;
    },
    when: (f) => isSize(f.imm5, f.Q ? 3 : 2),
    exec: (e, { Q, imm5, Vn, Vd }) => put(e, Vd, take(e, Vn, sizeOf(imm5)).broadcast(indexOf(imm5)), Q ? 128 : 64),
  }),
  insn({
    name: "DUP (scalar)",
    bits: "01 0 11110000 =imm5:5 0 0000 1 Vn:5 Vd:5",
    asm: (f) => {
      const letter = LETTERS[sizeOf(f.imm5)];
      return `dup ${letter}${f.Vd}, v${f.Vn}.${letter}[${indexOf(f.imm5)}]`;
    },
    when: (f) => isSize(f.imm5),
    exec: (e, { imm5, Vn, Vd }) => e.setD(Vd, take(e, Vn, sizeOf(imm5)).lane(indexOf(imm5))),
  }),
  insn({
    name: "DUP (general)",
    bits: "0 Q:1 0 01110000 =imm5:5 0 0001 1 Rn:5 Vd:5",
    asm: (f) => `dup ${vText(f.Vd, sizeOf(f.imm5), f.Q)}, ${xName(f.Rn, sizeOf(f.imm5) === 3)}`,
    when: (f) => isSize(f.imm5, f.Q ? 3 : 2),
    exec: (e, { Q, imm5, Rn, Vd }) => put(e, Vd, splat(sizeOf(imm5), e.get(Rn, 1)), Q ? 128 : 64),
  }),
  insn({
    name: "SMOV",
    bits: "0 sf:1 0 01110000 =imm5:5 0 0101 1 Vn:5 Rd:5",
    asm: (f) => `smov ${xName(f.Rd, f.sf)}, v${f.Vn}.${LETTERS[sizeOf(f.imm5)]}[${indexOf(f.imm5)}]`,
    when: (f) => isSize(f.imm5, f.sf ? 2 : 1),
    exec(e, { sf, imm5, Vn, Rd }) {
      const element = take(e, Vn, sizeOf(imm5)).lane(indexOf(imm5), 0);
      e.set(Rd, sf ? element.s64() : element);
    },
  }),
  insn({
    name: "UMOV",
    bits: "0 sf:1 0 01110000 =imm5:5 0 0111 1 Vn:5 Rd:5",
    asm: (f) => `umov ${xName(f.Rd, f.sf)}, v${f.Vn}.${LETTERS[sizeOf(f.imm5)]}[${indexOf(f.imm5)}]`,
    when: (f) => isSize(f.imm5) && f.sf === (sizeOf(f.imm5) === 3 ? 1 : 0),
    exec: (e, { imm5, Vn, Rd }) => e.set(Rd, take(e, Vn, sizeOf(imm5)).lane(indexOf(imm5))),
  }),
  insn({
    name: "INS (general)",
    bits: "0 1 0 01110000 =imm5:5 0 0011 1 Rn:5 Vd:5",
    asm: (f) => `ins v${f.Vd}.${LETTERS[sizeOf(f.imm5)]}[${indexOf(f.imm5)}], ${xName(f.Rn, sizeOf(f.imm5) === 3)}`,
    when: (f) => isSize(f.imm5),
    exec: (e, { imm5, Rn, Vd }) => put(e, Vd, take(e, Vd, sizeOf(imm5)).withLane(indexOf(imm5), e.get(Rn, 1))),
  }),
  insn({
    name: "INS (element)",
    bits: "0 1 1 01110000 =imm5:5 0 =imm4:4 1 Vn:5 Vd:5",
    asm: (f) => {
      const size = sizeOf(f.imm5), letter = LETTERS[size];
      return `ins v${f.Vd}.${letter}[${indexOf(f.imm5)}], v${f.Vn}.${letter}[${f.imm4 >> size}]`;
    },
    when: (f) => isSize(f.imm5),
    exec(e, { imm5, imm4, Vn, Vd }) {
      const size = sizeOf(imm5), d = take(e, Vd, size), lanes = Array.from({ length: d.lanes }, (_, i) => i);
      lanes[indexOf(imm5)] = d.lanes + (imm4 >> size);
      put(e, Vd, d.shuffle(take(e, Vn, size), lanes));
    },
  }),
  // The operand is the whole constant, so that mode and opcode need no handlers of their own.
  insn({
    name: "MOVI, MVNI, FMOV (vector, immediate)",
    bits: "0 Q:1 immop:1 0111100000 immabc:3 immmode:4 01 immdefgh:5 Vd:5",
    asm(f) {
      const byte = (f.immabc << 5) | f.immdefgh;
      if (f.immmode === 15) return `fmov ${vText(f.Vd, 2 + f.immop, f.Q)}, #${floatOf(f).toFixed(8)}`;
      if (f.immmode < 14) return `${f.immop ? "mvni" : "movi"} ${shiftedText(f)}`;
      if (!f.immop) return `movi ${vText(f.Vd, 0, f.Q)}, #${byte}`;
      return `movi ${f.Q ? vText(f.Vd, 3, 1) : sText(f.Vd, 3)}, #0x${expandImmediate(f).toString(16)}`;
    },
    when: (f) => !isLogical(f.immmode) && !(f.immmode === 15 && f.immop && !f.Q),
    derive: { value: (f) => invert(expandImmediate(f), f.immmode < 14 ? f.immop : 0) },
    exec: (e, { Q, value, Vd }) => put(e, Vd, splat(3, value), Q ? 128 : 64),
  }),
  insn({
    name: "FMOV (vector, immediate, half precision)",
    bits: "0 Q:1 0 0111100000 immabc:3 1111 11 immdefgh:5 Vd:5",
    asm: (f) => `fmov ${vText(f.Vd, 1, f.Q)}, #${floatOf(f).toFixed(8)}`,
    feature: "FEAT_FP16",
    derive: { value: expandHalf },
    exec: (e, { Q, value, Vd }) => put(e, Vd, splat(3, value), Q ? 128 : 64),
  }),
  insn({
    name: "ORR, BIC (vector, immediate)",
    bits: "0 Q:1 clear:1 0111100000 immabc:3 immmode:4 01 immdefgh:5 Vd:5",
    asm: (f) => `${f.clear ? "bic" : "orr"} ${shiftedText(f)}`,
    when: (f) => isLogical(f.immmode),
    derive: { value: expandImmediate },
    exec(e, { Q, clear, value, Vd }) {
      const bits = Q ? 128 : 64, d = take(e, Vd, 3, bits), mask = splat(3, value);
      put(e, Vd, clear ? d.andNot(mask) : d.or(mask), bits);
    },
  }),
];
