// System instructions (DDI 0487 "Branches, Exception Generating and System instructions"): MRS, MSR, SYS, hints, barriers.
// The rules of each system register are in src/arch; here is only what is frequent enough to do without a call: plain
// registers of the current exception level, flags, and the interrupt mask.

import { directOf } from "../../arch/sysregs.ts";
import { type Definition, insn, xName } from "../define.ts";
import { i32, type Int } from "../ir.ts";

interface SystemFields {
  readonly o0: number;
  readonly op1: number;
  readonly CRn: number;
  readonly CRm: number;
  readonly op2: number;
}
/** The key of a system register or SYS operation: op0:op1:CRn:CRm:op2. */
const keyOf = (op0: number, f: Omit<SystemFields, "o0">) =>
  (op0 << 14) | (f.op1 << 11) | (f.CRn << 7) | (f.CRm << 3) | f.op2;
const registerKey = (f: SystemFields) => keyOf(2 + f.o0, f);
const registerName = (f: SystemFields) => `s${2 + f.o0}_${f.op1}_c${f.CRn}_c${f.CRm}_${f.op2}`;
/** Registers with definitions of their own below. */
const SPECIAL = new Set([keyOf(3, { op1: 3, CRn: 4, CRm: 2, op2: 0 }), keyOf(3, { op1: 3, CRn: 4, CRm: 2, op2: 1 })]);
const FPCR = keyOf(3, { op1: 3, CRn: 4, CRm: 4, op2: 0 }), FPSR = keyOf(3, { op1: 3, CRn: 4, CRm: 4, op2: 1 });
const isPlain = (f: SystemFields) => !SPECIAL.has(registerKey(f)) && ![FPCR, FPSR].includes(registerKey(f));

/** FPSR: QC, IDC and IXC..IOC. */
const FPSR_BITS = 0x0800009f;
/** PSTATE.DAIF lies in bits 9..6 of the DAIF register. */
const DAIF_SHIFT = 6;

/** Hints that do something: CRm and op2. */
const HINTS = [
  { name: "WFE", bits: "0000 010", helper: "wfe" },
  { name: "WFI", bits: "0000 011", helper: "wfi" },
  { name: "SEV", bits: "0000 100", helper: "sev" },
  { name: "SEVL", bits: "0000 101", helper: "sevl" },
  { name: "ESB", bits: "0010 000", helper: "esb" },
] as const;

export const SYSTEM: readonly Definition[] = [
  insn({
    name: "MRS (direct)",
    bits: "1101010100 1 1 _o0:1 _op1:3 _CRn:4 _CRm:4 _op2:3 Rt:5",
    asm: (f) => `mrs ${xName(f.Rt, 1)}, ${registerName(f)}`,
    when: (f) => isPlain(f) && directOf(registerKey(f))?.readClass !== undefined,
    derive: {
      offset: { small: (f) => directOf(registerKey(f))?.offset ?? 0 },
      mask: { small: (f) => 1 << (directOf(registerKey(f))?.readClass ?? 0) },
      key: { small: registerKey },
      rt: { small: (f) => f.Rt },
    },
    exec(e, { offset, mask, key, rt, Rt }) {
      const slow = () => {
        e.helper("readSysreg", key, rt);
        return e.let(e.get(Rt, 1));
      };
      e.set(Rt, e.choose(e.state("direct").and(mask), () => e.sysreg(offset), slow, true));
    },
  }),
  insn({
    name: "MSR (register, direct)",
    bits: "1101010100 0 1 _o0:1 _op1:3 _CRn:4 _CRm:4 _op2:3 Rt:5",
    asm: (f) => `msr ${registerName(f)}, ${xName(f.Rt, 1)}`,
    when: (f) => isPlain(f) && directOf(registerKey(f))?.writeClass !== undefined,
    derive: {
      offset: { small: (f) => directOf(registerKey(f))?.offset ?? 0 },
      mask: { small: (f) => 1 << (directOf(registerKey(f))?.writeClass ?? 0) },
      key: { small: registerKey },
      rt: { small: (f) => f.Rt },
    },
    exec(e, { offset, mask, key, rt, Rt }) {
      const fast = () => {
        e.setSysreg(offset, e.get(Rt, 1));
        return i32(0);
      };
      const slow = () => {
        e.helper("writeSysreg", key, rt);
        return i32(0);
      };
      e.choose(e.state("direct").and(mask), fast, slow, true);
    },
  }),
  insn({
    name: "MRS",
    bits: "1101010100 1 1 _o0:1 _op1:3 _CRn:4 _CRm:4 _op2:3 _Rt:5",
    asm: (f) => `mrs ${xName(f.Rt, 1)}, ${registerName(f)}`,
    when: (f) => isPlain(f) && directOf(registerKey(f))?.readClass === undefined,
    derive: { key: { small: registerKey }, rt: { small: (f) => f.Rt } },
    exec: (e, { key, rt }) => void e.helper("readSysreg", key, rt),
  }),
  insn({
    name: "MSR (register)",
    bits: "1101010100 0 1 _o0:1 _op1:3 _CRn:4 _CRm:4 _op2:3 _Rt:5",
    asm: (f) => `msr ${registerName(f)}, ${xName(f.Rt, 1)}`,
    when: (f) => (isPlain(f) || registerKey(f) === FPCR) && directOf(registerKey(f))?.writeClass === undefined,
    derive: { key: { small: registerKey }, rt: { small: (f) => f.Rt } },
    exec: (e, { key, rt }) => void e.helper("writeSysreg", key, rt),
  }),
  insn({
    name: "MRS NZCV",
    bits: "1101010100 1 1 1 011 0100 0010 000 Rt:5",
    asm: "mrs {x:Rt}, nzcv",
    exec: (e, { Rt }) => e.set(Rt, e.nzcv().shl(28)),
  }),
  insn({
    name: "MSR NZCV",
    bits: "1101010100 0 1 1 011 0100 0010 000 Rt:5",
    asm: "msr nzcv, {x:Rt}",
    exec: (e, { Rt }) => e.setFlags(e.flagsOf(e.let(e.get(Rt, 0).shrU(28)))),
  }),
  ...([["FPCR", "000", "fpcr"], ["FPSR", "001", "fpsr"]] as const).map(([name, op2, field]) =>
    insn({
      name: `MRS ${name}`,
      bits: `1101010100 1 1 1 011 0100 0100 ${op2} Rt:5`,
      asm: `mrs {x:Rt}, ${field}`,
      fp: true,
      exec: (e, { Rt }) => e.set(Rt, e.state(field)),
    })
  ),
  insn({
    name: "MSR FPSR",
    bits: "1101010100 0 1 1 011 0100 0100 001 Rt:5",
    asm: "msr fpsr, {x:Rt}",
    fp: true,
    exec: (e, { Rt }) => e.setState("fpsr", e.get(Rt, 0).and(FPSR_BITS)),
  }),
  // The interrupt mask: at EL0 SCTLR_EL1.UMA decides, and unmasking with something pending takes the interrupt.
  insn({
    name: "MRS DAIF",
    bits: "1101010100 1 1 1 011 0100 0010 001 Rt:5",
    asm: "mrs {x:Rt}, daif",
    derive: { rt: { small: (f) => f.Rt } },
    exec(e, { rt, Rt }) {
      const slow = () => {
        e.helper("readSysreg", i32(keyOf(3, { op1: 3, CRn: 4, CRm: 2, op2: 1 })), rt);
        return e.let(e.get(Rt, 1));
      };
      e.set(Rt, e.choose(e.state("el"), () => e.state("daif").shl(DAIF_SHIFT).u64(), slow, true));
    },
  }),
  insn({
    name: "MSR DAIF",
    bits: "1101010100 0 1 1 011 0100 0010 001 Rt:5",
    asm: "msr daif, {x:Rt}",
    derive: { rt: { small: (f) => f.Rt } },
    exec(e, { rt, Rt }) {
      const slow = () => {
        e.helper("writeSysreg", i32(keyOf(3, { op1: 3, CRn: 4, CRm: 2, op2: 1 })), rt);
        return i32(0);
      };
      const fast = () => {
        e.setStateNow("daif", e.get(Rt, 0).shrU(DAIF_SHIFT).and(15));
        return i32(0);
      };
      e.choose(e.state("el").ne(0).and(e.state("pending").eqz()), fast, slow, true);
    },
  }),
  ...([["DAIFSet", 6], ["DAIFClr", 7]] as const).map(([name, op2]) =>
    insn({
      name: `MSR ${name}`,
      bits: `1101010100 0 00 011 0100 immCRm:4 ${op2 === 6 ? "110" : "111"} 11111`,
      asm: `msr ${name.toLowerCase()}, #{immCRm}`,
      exec(e, { immCRm }) {
        const mask = immCRm as Int, daif = e.state("daif");
        const fast = () => {
          e.setStateNow("daif", op2 === 6 ? daif.or(mask) : daif.and(mask.not()));
          return i32(0);
        };
        const slow = () => {
          e.helper("msrImmediate", i32(3), i32(op2), mask);
          return i32(0);
        };
        const privileged = e.state("el").ne(0);
        e.choose(op2 === 6 ? privileged : privileged.and(e.state("pending").eqz()), fast, slow, true);
      },
    })
  ),
  insn({
    name: "MSR (immediate)",
    bits: "1101010100 0 00 op1:3 0100 immCRm:4 op2:3 11111",
    asm: "msr s0_{op1}_{op2}, #{immCRm}",
    when: (f) => !(f.op1 === 3 && f.op2 >= 6),
    exec: (e, { op1, op2, immCRm }) => void e.helper("msrImmediate", i32(op1), i32(op2), immCRm),
  }),
  // Hints. YIELD, pointer authentication hints and all unallocated ones do nothing.
  ...HINTS.map(({ name, bits, helper }) =>
    insn<string>({
      name,
      bits: `1101010100 0 00 011 0010 ${bits} 11111`,
      asm: helper,
      exec: (e) => void e.helper(helper),
    })
  ),
  insn({
    name: "HINT",
    bits: "1101010100 0 00 011 0010 _CRm:4 _op2:3 11111",
    asm: (f) => `hint #${f.CRm * 8 + f.op2}`,
    when: (f) => (f.CRm !== 0 || f.op2 < 2 || f.op2 > 5) && !(f.CRm === 2 && f.op2 === 0),
    exec: () => {},
  }),
  insn({
    name: "CLREX",
    bits: "1101010100 0 00 011 0011 _CRm:4 010 11111",
    asm: "clrex",
    exec: (e) => e.setState("exclusiveSize", i32(0)),
  }),
  // Memory is sequentially consistent and instruction fetch is coherent, so barriers have nothing to wait for.
  insn({
    name: "DSB, DMB, ISB",
    bits: "1101010100 0 00 011 0011 _CRm:4 1 _opc:2 11111",
    asm: (f) => `${["dsb", "dmb", "isb"][f.opc]} #${f.CRm}`,
    when: (f) => f.opc !== 3,
    exec: () => {},
  }),
  insn({
    name: "SYS",
    bits: "1101010100 0 01 _op1:3 _CRn:4 _CRm:4 _op2:3 _Rt:5",
    asm: (f) => `sys #${f.op1}, c${f.CRn}, c${f.CRm}, #${f.op2}, ${xName(f.Rt, 1)}`,
    derive: { key: { small: (f) => keyOf(1, f) }, rt: { small: (f) => f.Rt } },
    exec: (e, { key, rt }) => void e.helper("sysInstruction", key, rt),
  }),
];
