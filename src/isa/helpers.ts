// The TypeScript functions that instruction semantics may call: too rare or too large for generated code. Each takes the
// vCPU as a first argument that is not listed here. `status` results are those of cpu/status.ts; a status other than
// CONTINUE ends the instruction at once, before any of its register writes.

export interface Helper {
  readonly params: readonly ("i32" | "i64")[];
  readonly result: "status" | "none" | "i32" | "i64";
}

const status = (...params: "i32"[]): Helper => ({ params, result: "status" });

export const HELPERS = {
  svc: status("i32"),
  hvc: status("i32"),
  smc: status("i32"),
  brk: status("i32"),
  hlt: status("i32"),
  undefined: status(),
  eret: status(),
  /** (key, rt): the value moves in the register file. */
  readSysreg: status("i32", "i32"),
  writeSysreg: status("i32", "i32"),
  sysInstruction: status("i32", "i32"),
  /** (op1, op2, imm) */
  msrImmediate: status("i32", "i32", "i32"),
  wfi: status(),
  wfe: status(),
  sev: status(),
  sevl: status(),
  esb: status(),
  fpTrapped: status(),
  spAlignment: status(),
  /** Software floating point, (operation, a, b, c) → result; FPSR is updated. See isa/float.ts. */
  softFloat: { params: ["i32", "i64", "i64", "i64"], result: "i64" },
} as const satisfies Record<string, Helper>;

export type HelperName = keyof typeof HELPERS;
