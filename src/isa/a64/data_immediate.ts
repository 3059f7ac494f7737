// Data processing, immediate (DDI 0487 "Data Processing -- Immediate"): PC-relative addresses, add and subtract, logical,
// move wide, bitfield, extract.

import { signExtend } from "../../base/bits.ts";
import { type Definition, insn, xName } from "../define.ts";
import { decodeBitMasks } from "./shared.ts";

export const DATA_IMMEDIATE: readonly Definition[] = [
  insn({
    name: "ADR",
    bits: "0 immlo:2 10000 immhi:19 Rd:5",
    asm: "adr {x:Rd}, .{distance}",
    derive: { distance: (f) => signExtend((f.immhi << 2) | f.immlo, 21) },
    exec(e, { distance, Rd }) {
      e.set(Rd, e.pc.add(distance.s64()));
    },
  }),
  insn({
    name: "ADRP",
    bits: "1 immlo:2 10000 immhi:19 Rd:5",
    asm: "adrp {x:Rd}, .{pages} pages",
    derive: { pages: (f) => signExtend((f.immhi << 2) | f.immlo, 21) },
    exec(e, { pages, Rd }) {
      e.set(Rd, e.pc.and(~0xfffn).add(pages.s64().shl(12)));
    },
  }),
  insn({
    name: "ADD, SUB (immediate)",
    bits: "sf:1 op:1 0 100010 sh:1 imm12:12 Rn|SP:5 Rd|SP:5",
    asm: (f) =>
      `${f.op ? "sub" : "add"} ${xName(f.Rd, f.sf, true)}, ${xName(f.Rn, f.sf, true)}, #${f.imm12 << (f.sh * 12)}`,
    derive: { value: (f) => f.imm12 << (f.sh * 12) },
    exec(e, { sf, op, value, Rn, Rd }) {
      const a = e.get(Rn, sf), b = value.as(a.type);
      e.set(Rd, op ? a.sub(b) : a.add(b));
    },
  }),
  insn({
    name: "ADDS, SUBS (immediate)",
    bits: "sf:1 op:1 1 100010 sh:1 imm12:12 Rn|SP:5 Rd:5",
    asm: (f) =>
      `${f.op ? "subs" : "adds"} ${xName(f.Rd, f.sf)}, ${xName(f.Rn, f.sf, true)}, #${f.imm12 << (f.sh * 12)}`,
    derive: { value: (f) => f.imm12 << (f.sh * 12) },
    exec(e, { sf, op, value, Rn, Rd }) {
      const a = e.get(Rn, sf), b = value.as(a.type);
      e.set(Rd, op ? e.setFlagsSub(a, b) : e.setFlagsAdd(a, b));
    },
  }),
  insn({
    name: "AND, ORR, EOR (immediate)",
    bits: "sf:1 opc:2 100100 _N:1 immr:6 imms:6 Rn:5 Rd|SP:5",
    asm: (f) =>
      `${["and", "orr", "eor"][f.opc]} ${xName(f.Rd, f.sf, true)}, ${xName(f.Rn, f.sf)}, #0x${
        (decodeBitMasks(f.sf, f.N, f.imms, f.immr) ?? 0n).toString(16)
      }`,
    when: (f) => f.opc !== 3 && decodeBitMasks(f.sf, f.N, f.imms, f.immr) !== undefined,
    derive: { mask: (f) => decodeBitMasks(f.sf, f.N, f.imms, f.immr) ?? 0n },
    exec(e, { sf, opc, mask, Rn, Rd }) {
      const a = e.get(Rn, sf), b = mask.as(a.type);
      e.set(Rd, opc === 0 ? a.and(b) : opc === 1 ? a.or(b) : a.xor(b));
    },
  }),
  insn({
    name: "ANDS (immediate)",
    bits: "sf:1 11 100100 _N:1 immr:6 imms:6 Rn:5 Rd:5",
    asm: "ands {sf:Rd}, {sf:Rn}, #{mask}",
    when: (f) => decodeBitMasks(f.sf, f.N, f.imms, f.immr) !== undefined,
    derive: { mask: (f) => decodeBitMasks(f.sf, f.N, f.imms, f.immr) ?? 0n },
    exec(e, { sf, mask, Rn, Rd }) {
      const a = e.get(Rn, sf), result = e.let(a.and(mask.as(a.type)));
      e.setFlagsLogic(result);
      e.set(Rd, result);
    },
  }),
  insn({
    name: "MOVN, MOVZ",
    bits: "_sf:1 _opc:2 100101 _hw:2 imm16:16 Rd:5",
    asm: "mov {sf:Rd}, #{value}",
    when: (f) => (f.opc & 1) === 0 && (f.sf === 1 || f.hw < 2),
    derive: {
      value: (f) => {
        const shifted = BigInt(f.imm16) << BigInt(16 * f.hw);
        return BigInt.asUintN(f.sf ? 64 : 32, f.opc ? shifted : ~shifted);
      },
    },
    // One handler for both: the operand is the whole result.
    exec(e, { value, Rd }) {
      e.set(Rd, value);
    },
  }),
  insn({
    name: "MOVK",
    bits: "sf:1 11 100101 hw:2 imm16:16 Rd:5",
    asm: "movk {sf:Rd}, #{imm16}, lsl #16*{hw}",
    when: (f) => f.sf === 1 || f.hw < 2,
    derive: { value: (f) => BigInt(f.imm16) << BigInt(16 * f.hw) },
    exec(e, { sf, hw, value, Rd }) {
      const a = e.get(Rd, sf);
      e.set(Rd, a.and(~(0xffffn << BigInt(16 * hw))).or(value.as(a.type)));
    },
  }),
  // SBFM and UBFM move a field: left by `up` to drop the bits above it, then right by `down` into place.
  insn({
    name: "SBFM, UBFM",
    bits: "sf:1 opc:2 100110 _N:1 immr:6 imms:6 Rn:5 Rd:5",
    asm: (f) => `${f.opc ? "ubfm" : "sbfm"} ${xName(f.Rd, f.sf)}, ${xName(f.Rn, f.sf)}, #${f.immr}, #${f.imms}`,
    when: (f) => (f.opc & 1) === 0 && f.N === f.sf && (f.sf === 1 || ((f.immr | f.imms) & 32) === 0),
    derive: {
      up: { small: (f) => (f.sf ? 63 : 31) - f.imms & 63 },
      down: { small: (f) => f.imms >= f.immr ? (f.sf ? 63 : 31) - f.imms + f.immr & 63 : f.immr - 1 - f.imms },
    },
    exec(e, { sf, opc, up, down, Rn, Rd }) {
      const a = e.get(Rn, sf), top = a.shl(up.as(a.type)), by = down.as(a.type);
      e.set(Rd, opc === 0 ? top.shrS(by) : top.shrU(by));
    },
  }),
  insn({
    name: "BFM",
    bits: "sf:1 01 100110 _N:1 immr:6 imms:6 Rn:5 Rd:5",
    asm: "bfm {sf:Rd}, {sf:Rn}, #{immr}, #{imms}",
    when: (f) => f.N === f.sf && (f.sf === 1 || ((f.immr | f.imms) & 32) === 0),
    derive: {
      turn: { small: (f) => f.immr },
      mask: (f) => {
        const width = f.sf ? 64 : 32;
        const bits = f.imms >= f.immr ? f.imms - f.immr + 1 : f.imms + 1, lsb = f.imms >= f.immr ? 0 : width - f.immr;
        return ((1n << BigInt(bits)) - 1n) << BigInt(lsb);
      },
    },
    exec(e, { sf, turn, mask, Rn, Rd }) {
      const a = e.get(Rn, sf), m = mask.as(a.type);
      e.set(Rd, e.get(Rd, sf).and(m.not()).or(a.rotr(turn.as(a.type)).and(m)));
    },
  }),
  insn({
    name: "EXTR",
    bits: "sf:1 00 100111 _N:1 0 Rm:5 imms:6 Rn:5 Rd:5",
    asm: "extr {sf:Rd}, {sf:Rn}, {sf:Rm}, #{imms}",
    when: (f) => f.N === f.sf && (f.sf === 1 || f.imms < 32),
    derive: { lsb: { small: (f) => f.imms } },
    exec(e, { sf, lsb, Rm, Rn, Rd }) {
      const high = e.get(Rn, sf), low = e.get(Rm, sf), by = lsb.as(low.type);
      // Shifts are modulo the width, so lsb = 0 must not take bits from Rn: shift in two steps.
      e.set(Rd, low.shrU(by).or(high.shl(1).shl(by.xor(high.bits - 1))));
    },
  }),
];
