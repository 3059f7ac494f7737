// Loads and stores of SIMD and floating-point registers (DDI 0487 "Loads and Stores"): one register in every addressing
// mode, pairs, literals. Structures are in simd_structures.ts.

import { signExtend } from "../../base/bits.ts";
import { type Definition, insn, xName } from "../define.ts";
import type { Builder, Int, VReg } from "../ir.ts";
import { take, Vec } from "../vector.ts";
import { extend, EXTENDS } from "./shared.ts";
import { LETTERS, sText } from "./simd_shared.ts";

/** Size and opc<1> name one register of 1 << log bytes. */
const logOf = (f: { size: number; q: number }): number => f.q ? 4 : f.size;
const isTransfer = (f: { size: number; q: number }): boolean => !f.q || f.size === 0;
const base = (Rn: number): string => xName(Rn, 1, true);
const text = (f: { size: number; q: number; L: number; Vt: number }, kind = "r"): string =>
  `${f.L ? "ld" : "st"}${kind} ${sText(f.Vt, logOf(f))}`;

/** A store, or a load that clears the rest of the register. */
function transfer(e: Builder, log: number, L: number, Vt: VReg, address: Int) {
  if (L) {
    if (log === 4) e.setV(Vt, e.load128(address));
    else e.setD(Vt, e.load(address, 1 << log));
  } else if (log === 4) e.store(address, 16, e.v(Vt));
  else e.store(address, 1 << log, e.v64(Vt));
}

const SINGLE: readonly Definition[] = [
  insn({
    name: "LDR, STR (SIMD, unsigned offset)",
    bits: "size:2 111 1 01 q:1 L:1 imm12:12 Rn|SP:5 Vt:5",
    asm: (f) => `${text(f)}, [${base(f.Rn)}, #${f.imm12 << logOf(f)}]`,
    when: isTransfer,
    derive: { offset: { small: (f) => isTransfer(f) ? f.imm12 << logOf(f) : 0 } },
    exec: (e, f) => transfer(e, logOf(f), f.L, f.Vt, e.base(f.Rn).add(f.offset.u64())),
  }),
  insn({
    name: "LDUR, STUR (SIMD)",
    bits: "size:2 111 1 00 q:1 L:1 0 imm9:9 00 Rn|SP:5 Vt:5",
    asm: (f) => `${text(f, "ur")}, [${base(f.Rn)}, #${signExtend(f.imm9, 9)}]`,
    when: isTransfer,
    derive: { offset: (f) => signExtend(f.imm9, 9) },
    exec: (e, f) => transfer(e, logOf(f), f.L, f.Vt, e.base(f.Rn).add(f.offset.s64())),
  }),
  insn({
    name: "LDR, STR (SIMD, pre- and post-index)",
    bits: "size:2 111 1 00 q:1 L:1 0 imm9:9 pre:1 1 Rn|SP:5 Vt:5",
    asm: (f) => {
      const offset = `#${signExtend(f.imm9, 9)}`;
      return `${text(f)}, ${f.pre ? `[${base(f.Rn)}, ${offset}]!` : `[${base(f.Rn)}], ${offset}`}`;
    },
    when: isTransfer,
    derive: { offset: (f) => signExtend(f.imm9, 9) },
    exec(e, f) {
      const start = e.base(f.Rn), moved = e.let(start.add(f.offset.s64()));
      transfer(e, logOf(f), f.L, f.Vt, f.pre ? moved : start);
      e.set(f.Rn, moved);
    },
  }),
  insn({
    name: "LDR, STR (SIMD, register offset)",
    bits: "size:2 111 1 00 q:1 L:1 1 Rm:5 option:3 S:1 10 Rn|SP:5 Vt:5",
    asm(f) {
      const name = f.option === 3 ? "lsl" : EXTENDS[f.option], amount = f.S ? ` #${logOf(f)}` : "";
      return `${text(f)}, [${base(f.Rn)}, ${xName(f.Rm, f.option & 1)}${
        f.S || f.option !== 3 ? `, ${name}${amount}` : ""
      }]`;
    },
    when: (f) => isTransfer(f) && (f.option & 2) !== 0,
    exec: (e, f) =>
      transfer(e, logOf(f), f.L, f.Vt, e.base(f.Rn).add(extend(e, f.Rm, 1, f.option, f.S ? logOf(f) : 0))),
  }),
  insn({
    name: "LDR (SIMD, literal)",
    bits: "opc:2 011 1 00 imm19:19 Vt:5",
    asm: (f) => `ldr ${sText(f.Vt, f.opc + 2)}, .${signExtend(f.imm19, 19) * 4}`,
    when: (f) => f.opc !== 3,
    derive: { distance: (f) => signExtend(f.imm19, 19) * 4 },
    exec: (e, { opc, distance, Vt }) => transfer(e, opc + 2, 1, Vt, e.pc.add(distance.s64())),
  }),
];

function pair(name: string, mode: "000" | "001" | "010" | "011"): Definition {
  return insn({
    name: `${name} (SIMD)`,
    bits: `opc:2 101 1 ${mode} L:1 imm7:7 Vt2:5 Rn|SP:5 Vt:5`,
    asm(f) {
      const offset = `#${signExtend(f.imm7, 7) << (f.opc + 2)}`,
        [first, second] = [f.Vt, f.Vt2].map((n) => LETTERS[f.opc + 2]! + n);
      const at = mode === "001"
        ? `[${base(f.Rn)}], ${offset}`
        : `[${base(f.Rn)}, ${offset}]${mode === "011" ? "!" : ""}`;
      return `${f.L ? "ld" : "st"}${mode === "000" ? "np" : "p"} ${first}, ${second}, ${at}`;
    },
    when: (f) => f.opc !== 3,
    derive: { offset: (f) => signExtend(f.imm7, 7) << (f.opc + 2) },
    exec(e, { opc, L, offset, Vt2, Rn, Vt }) {
      const start = e.base(Rn), moved = e.let(start.add(offset.s64())), address = mode === "001" ? start : moved;
      (L ? loadPair : storePair)(e, opc + 2, Vt, Vt2, address);
      if (mode === "001" || mode === "011") e.set(Rn, moved);
    },
  });
}
// Two words or doublewords are one access. CONSTRAINED UNPREDICTABLE Vt = Vt2: a load leaves the second datum there.
function loadPair(e: Builder, log: number, Vt: VReg, Vt2: VReg, address: Int) {
  if (log === 4) {
    const first = e.load128(address), second = e.load128(address.add(16));
    e.setV(Vt, first);
    e.setV(Vt2, second);
  } else if (log === 3) {
    const both = new Vec(e.load128(address, { element: 8 }), 3);
    e.setD(Vt, both.lane(0));
    e.setD(Vt2, both.lane(1));
  } else {
    const both = e.load(address, 8, { element: 4 });
    e.setD(Vt, both.zext(32));
    e.setD(Vt2, both.shrU(32));
  }
}
function storePair(e: Builder, log: number, Vt: VReg, Vt2: VReg, address: Int) {
  if (log === 4) {
    e.store(address, 16, e.v(Vt));
    e.store(address.add(16), 16, e.v(Vt2));
  } else if (log === 3) e.store(address, 16, take(e, Vt, 3).shuffle(take(e, Vt2, 3), [0, 2]).x, { element: 8 });
  else e.store(address, 8, e.v64(Vt).zext(32).or(e.v64(Vt2).shl(32)), { element: 4 });
}

export const SIMD_LOADS_STORES: readonly Definition[] = [
  ...SINGLE,
  pair("LDNP, STNP", "000"),
  pair("LDP, STP (post-index)", "001"),
  pair("LDP, STP", "010"),
  pair("LDP, STP (pre-index)", "011"),
];
