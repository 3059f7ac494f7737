// Branches and exception generation (DDI 0487 "Branches, Exception Generating and System instructions").

import { signExtend } from "../../base/bits.ts";
import { type Definition, insn, xName } from "../define.ts";
import type { Int } from "../ir.ts";
import type { HelperName } from "../helpers.ts";
import { CONDITIONS } from "./shared.ts";

const bytes = (imm: number, width: number) => signExtend(imm, width) * 4;

export const BRANCHES: readonly Definition[] = [
  insn({
    name: "B",
    bits: "000101 imm26:26",
    asm: "b .{offset}",
    branch: "always",
    derive: { offset: (f) => bytes(f.imm26, 26) },
    exec: (e, { offset }) => e.branch(offset),
  }),
  insn({
    name: "BL",
    bits: "100101 imm26:26",
    asm: "bl .{offset}",
    branch: "always",
    derive: { offset: (f) => bytes(f.imm26, 26) },
    exec(e, { offset }) {
      e.set(e.X(30), e.pc.add(4));
      e.branch(offset);
    },
  }),
  insn({
    name: "B.cond",
    bits: "01010100 imm19:19 0 cond:4",
    asm: (f) => `b.${CONDITIONS[f.cond]} .${bytes(f.imm19, 19)}`,
    branch: "conditional",
    derive: { offset: (f) => bytes(f.imm19, 19) },
    exec: (e, { cond, offset }) => e.branch(offset, e.condition(cond)),
  }),
  insn({
    name: "CBZ, CBNZ",
    bits: "sf:1 011010 op:1 imm19:19 Rt:5",
    asm: "cb{op?n}z {sf:Rt}, .{offset}",
    branch: "conditional",
    derive: { offset: (f) => bytes(f.imm19, 19) },
    exec(e, { sf, op, offset, Rt }) {
      const x = e.get(Rt, sf);
      e.branch(offset, op ? x.ne(0) : x.eqz());
    },
  }),
  insn({
    name: "TBZ, TBNZ",
    bits: "b5:1 011011 op:1 imm40:5 imm14:14 Rt:5",
    asm: "tb{op?n}z {b5:Rt}, #{bit}, .{offset}",
    branch: "conditional",
    derive: { bit: { small: (f) => (f.b5 << 5) | f.imm40 }, offset: (f) => bytes(f.imm14, 14) },
    exec(e, { b5, op, bit, offset, Rt }) {
      const x = e.get(Rt, b5), set = x.shrU(bit.as(x.type)).and(1).i32();
      e.branch(offset, op ? set : set.eqz());
    },
  }),
  insn({
    name: "BR, RET",
    bits: "1101011 0 0 opc:2 11111 000000 Rn:5 00000",
    asm: (f) => `${f.opc ? "ret" : "br"} ${xName(f.Rn, 1)}`,
    when: (f) => f.opc === 0 || f.opc === 2,
    endsBlock: true,
    exec: (e, { Rn }) => e.jump(e.get(Rn, 1)),
  }),
  insn({
    name: "BLR",
    bits: "1101011 0 0 01 11111 000000 Rn:5 00000",
    asm: "blr {x:Rn}",
    endsBlock: true,
    exec(e, { Rn }) {
      e.jump(e.get(Rn, 1));
      e.set(e.X(30), e.pc.add(4));
    },
  }),
  insn({
    name: "ERET",
    bits: "1101011 0 100 11111 000000 11111 00000",
    asm: "eret",
    endsBlock: true,
    exec: (e) => void e.helper("eret"),
  }),
  ...([
    ["SVC", "svc", "11010100 000 imm16:16 000 01"],
    ["HVC", "hvc", "11010100 000 imm16:16 000 10"],
    ["SMC", "smc", "11010100 000 imm16:16 000 11"],
    ["BRK", "brk", "11010100 001 imm16:16 000 00"],
    ["HLT", "hlt", "11010100 010 imm16:16 000 00"],
  ] as const).map(([name, helper, bits]) => exceptionGenerating(name, helper, bits)),
];

function exceptionGenerating(name: string, helper: HelperName, bits: string): Definition {
  return insn<string>({
    name,
    bits,
    asm: (f) => `${helper} #${(f as Record<string, number>)["imm16"]}`,
    exec: (e, f) => void e.helper(helper, (f as unknown as { imm16: Int }).imm16.as("i32")),
  });
}
