// Loads and stores of general-purpose registers (DDI 0487 "Loads and Stores"): single register in every addressing mode,
// pairs, literals, prefetch (which does nothing here). Exclusives and atomics are in atomics.ts, SIMD in simd_*.ts.

import { signExtend } from "../../base/bits.ts";
import { type Definition, insn, xName } from "../define.ts";
import { type AccessOptions, type Builder, type Expr, type Int, type Reg } from "../ir.ts";
import { extend, EXTENDS } from "./shared.ts";

/** The transfer that `size` and `opc` name: a store, or a load with its extension. */
function transfer(e: Builder, size: number, opc: number, Rt: Reg, address: Int, options: AccessOptions = {}) {
  const bytes = 1 << size;
  if (opc === 0) return e.store(address, bytes, e.get(Rt, 1), options);
  const value = e.load(address, bytes, options);
  if (opc === 1) return e.set(Rt, value);
  const extended = value.sext(8 * bytes);
  e.set(Rt, opc === 2 ? extended : extended.i32());
}
/** size and opc name a load or store of a general-purpose register. */
const isTransfer = (f: { size: number; opc: number }) =>
  f.opc < 2 || (f.opc === 2 && f.size < 3) || (f.opc === 3 && f.size < 2);

function mnemonic(f: { size: number; opc: number }, kind: "r" | "ur" | "tr" = "r"): string {
  const suffix = f.size === 3 || (f.size === 2 && f.opc < 2) ? "" : "bhw"[f.size];
  return `${f.opc ? "ld" : "st"}${kind}${f.opc > 1 ? "s" : ""}${suffix}`;
}
const target = (f: { size: number; opc: number; Rt: number }) =>
  xName(f.Rt, f.opc === 2 || (f.opc < 2 && f.size === 3));

export const LOADS_STORES: readonly Definition[] = [
  insn({
    name: "LDR, STR (unsigned offset)",
    bits: "size:2 111 0 01 opc:2 imm12:12 Rn|SP:5 Rt:5",
    asm: (f) => `${mnemonic(f)} ${target(f)}, [${xName(f.Rn, 1, true)}, #${f.imm12 << f.size}]`,
    when: isTransfer,
    derive: { offset: { small: (f) => f.imm12 << f.size } },
    exec: (e, { size, opc, offset, Rn, Rt }) => transfer(e, size, opc, Rt, e.base(Rn).add(offset.u64())),
  }),
  insn({
    name: "LDUR, STUR",
    bits: "size:2 111 0 00 opc:2 0 imm9:9 00 Rn|SP:5 Rt:5",
    asm: (f) => `${mnemonic(f, "ur")} ${target(f)}, [${xName(f.Rn, 1, true)}, #${signExtend(f.imm9, 9)}]`,
    when: isTransfer,
    derive: { offset: (f) => signExtend(f.imm9, 9) },
    exec: (e, { size, opc, offset, Rn, Rt }) => transfer(e, size, opc, Rt, e.base(Rn).add(offset.s64())),
  }),
  insn({
    name: "LDTR, STTR",
    bits: "size:2 111 0 00 opc:2 0 imm9:9 10 Rn|SP:5 Rt:5",
    asm: (f) => `${mnemonic(f, "tr")} ${target(f)}, [${xName(f.Rn, 1, true)}, #${signExtend(f.imm9, 9)}]`,
    when: isTransfer,
    derive: { offset: (f) => signExtend(f.imm9, 9) },
    exec: (e, { size, opc, offset, Rn, Rt }) =>
      transfer(e, size, opc, Rt, e.base(Rn).add(offset.s64()), { unprivileged: true }),
  }),
  insn({
    name: "LDR, STR (pre- and post-index)",
    bits: "size:2 111 0 00 opc:2 0 imm9:9 pre:1 1 Rn|SP:5 Rt:5",
    asm: (f) =>
      f.pre
        ? `${mnemonic(f)} ${target(f)}, [${xName(f.Rn, 1, true)}, #${signExtend(f.imm9, 9)}]!`
        : `${mnemonic(f)} ${target(f)}, [${xName(f.Rn, 1, true)}], #${signExtend(f.imm9, 9)}`,
    when: isTransfer,
    derive: { offset: (f) => signExtend(f.imm9, 9) },
    // CONSTRAINED UNPREDICTABLE Rn = Rt: a load's register gets the address, a store stores the old value.
    exec(e, { size, opc, offset, pre, Rn, Rt }) {
      const base = e.base(Rn), moved = e.let(base.add(offset.s64()));
      transfer(e, size, opc, Rt, pre ? moved : base);
      e.set(Rn, moved);
    },
  }),
  insn({
    name: "LDR, STR (register offset)",
    bits: "size:2 111 0 00 opc:2 1 Rm:5 option:3 S:1 10 Rn|SP:5 Rt:5",
    asm: (f) =>
      `${mnemonic(f)} ${target(f)}, [${xName(f.Rn, 1, true)}, ${xName(f.Rm, f.option & 1)}, ${
        f.option === 3 ? "lsl" : EXTENDS[f.option]
      } #${f.S * f.size}]`,
    when: (f) => isTransfer(f) && (f.option & 2) !== 0,
    exec: (e, { size, opc, Rm, option, S, Rn, Rt }) =>
      transfer(e, size, opc, Rt, e.base(Rn).add(extend(e, Rm, 1, option, S ? size : 0))),
  }),
  insn({
    name: "LDR (literal)",
    bits: "opc:2 011 0 00 imm19:19 Rt:5",
    asm: "ldr {x:Rt}, .{distance}",
    when: (f) => f.opc !== 3,
    derive: { distance: (f) => signExtend(f.imm19, 19) * 4 },
    exec(e, { opc, distance, Rt }) {
      const value = e.load(e.pc.add(distance.s64()), opc === 1 ? 8 : 4);
      e.set(Rt, opc === 2 ? value.sext(32) : value);
    },
  }),
  // Prefetches are hints. Each addressing mode has one; none can fault.
  ...([
    ["PRFM (unsigned offset)", "11 111 0 01 10 _imm12:12 _Rn:5 _Rt:5"],
    ["PRFUM", "11 111 0 00 10 0 _imm9:9 00 _Rn:5 _Rt:5"],
    ["PRFM (literal)", "11 011 0 00 _imm19:19 _Rt:5"],
    ["PRFM (register)", "11 111 0 00 10 1 _Rm:5 _option1:1 1 _option0:1 _S:1 10 _Rn:5 _Rt:5"],
  ] as const).map(([name, bits]) => insn<string>({ name, bits, asm: "prfm", exec: () => {} })),
  ...([["LDNP, STNP", "000"], ["LDP, STP (post-index)", "001"], ["LDP, STP", "010"], [
    "LDP, STP (pre-index)",
    "011",
  ]] as const)
    .map(([name, mode]) => pair(name, mode)),
];

function pair(name: string, mode: "000" | "001" | "010" | "011"): Definition {
  return insn({
    name,
    bits: `opc:2 101 0 ${mode} L:1 imm7:7 Rt2:5 Rn|SP:5 Rt:5`,
    asm(f) {
      const name = `${f.L ? "ld" : "st"}${mode === "000" ? "n" : ""}p${f.opc === 1 ? "sw" : ""}`;
      const base = xName(f.Rn, 1, true), offset = `#${signExtend(f.imm7, 7) * (f.opc === 2 ? 8 : 4)}`;
      const address = mode === "001" ? `[${base}], ${offset}` : `[${base}, ${offset}]${mode === "011" ? "!" : ""}`;
      return `${name} ${xName(f.Rt, f.opc)}, ${xName(f.Rt2, f.opc)}, ${address}`;
    },
    when: (f) => f.opc !== 3 && (f.opc !== 1 || (f.L === 1 && mode !== "000")),
    derive: { offset: (f) => signExtend(f.imm7, 7) * (f.opc === 2 ? 8 : 4) },
    exec(e, { opc, L, offset, Rt2, Rn, Rt }) {
      const base = e.base(Rn), moved = e.let(base.add(offset.s64()));
      const address = mode === "001" ? base : moved, options = { element: opc === 2 ? 8 : 4 } as const;
      if (opc === 2) {
        if (L) {
          const both = e.load128(address, options);
          e.set(Rt, lane64(both, 0));
          e.set(Rt2, lane64(both, 1));
        } else e.store(address, 16, pair64(e.get(Rt, 1), e.get(Rt2, 1)), options);
      } else if (L) {
        const both = e.load(address, 8, options), first = both.zext(32), second = both.shrU(32);
        e.set(Rt, opc ? first.sext(32) : first);
        e.set(Rt2, opc ? second.sext(32) : second);
      } else e.store(address, 8, e.get(Rt, 1).zext(32).or(e.get(Rt2, 1).shl(32)), options);
      if (mode === "001" || mode === "011") e.set(Rn, moved);
    },
  });
}

/** One 64-bit lane of a v128. */
export const lane64 = (v: Expr, lane: number): Int => v.wasm("i64", "i64x2.extract_lane", [], [lane]) as Int;
/** A v128 of two 64-bit values. */
export const pair64 = (low: Int, high: Int): Expr =>
  low.wasm("v128", "i64x2.splat").wasm("v128", "i64x2.replace_lane", [high], [1]);
