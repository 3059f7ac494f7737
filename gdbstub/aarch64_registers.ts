// The registers that gdb knows of AArch64 by itself, with the numbers it gives them without any description, which is the
// layout of `g` ("AArch64 Features"). A target puts its own registers after them.

import type { RegisterDescription, RegisterField } from "./target.ts";

const CORE = "org.gnu.gdb.aarch64.core", FPU = "org.gnu.gdb.aarch64.fpu";

/** PSTATE as SPSR_ELx shows it, without the bits that only AArch32 has. */
const CPSR: readonly RegisterField[] = [
  { name: "SP", lsb: 0, width: 1 },
  { name: "EL", lsb: 2, width: 2 },
  { name: "nRW", lsb: 4, width: 1 },
  { name: "F", lsb: 6, width: 1 },
  { name: "I", lsb: 7, width: 1 },
  { name: "A", lsb: 8, width: 1 },
  { name: "D", lsb: 9, width: 1 },
  { name: "BTYPE", lsb: 10, width: 2 },
  { name: "SSBS", lsb: 12, width: 1 },
  { name: "IL", lsb: 20, width: 1 },
  { name: "SS", lsb: 21, width: 1 },
  { name: "PAN", lsb: 22, width: 1 },
  { name: "UAO", lsb: 23, width: 1 },
  { name: "DIT", lsb: 24, width: 1 },
  { name: "TCO", lsb: 25, width: 1 },
  { name: "V", lsb: 28, width: 1 },
  { name: "C", lsb: 29, width: 1 },
  { name: "Z", lsb: 30, width: 1 },
  { name: "N", lsb: 31, width: 1 },
];

const FPSR: readonly RegisterField[] = [
  { name: "IOC", lsb: 0, width: 1 },
  { name: "DZC", lsb: 1, width: 1 },
  { name: "OFC", lsb: 2, width: 1 },
  { name: "UFC", lsb: 3, width: 1 },
  { name: "IXC", lsb: 4, width: 1 },
  { name: "IDC", lsb: 7, width: 1 },
  { name: "QC", lsb: 27, width: 1 },
];

const FPCR: readonly RegisterField[] = [
  { name: "FZ16", lsb: 19, width: 1 },
  { name: "RMode", lsb: 22, width: 2, values: { RN: 0, RP: 1, RM: 2, RZ: 3 } },
  { name: "FZ", lsb: 24, width: 1 },
  { name: "DN", lsb: 25, width: 1 },
  { name: "AHP", lsb: 26, width: 1 },
];

const register = (
  number: number,
  name: string,
  bits: 32 | 64 | 128,
  type: RegisterDescription["type"],
): RegisterDescription => ({
  number,
  name,
  bits,
  feature: number < 34 ? CORE : FPU,
  group: null,
  type,
  writable: true,
  general: true,
});

/** Numbers 0 to 67, 788 bytes. */
export const AARCH64_REGISTERS: readonly RegisterDescription[] = [
  ...Array.from({ length: 31 }, (_, n) => register(n, `x${n}`, 64, { kind: "int" })),
  register(31, "sp", 64, { kind: "data_ptr" }),
  register(32, "pc", 64, { kind: "code_ptr" }),
  register(33, "cpsr", 32, { kind: "fields", fields: CPSR }),
  ...Array.from({ length: 32 }, (_, n) => register(34 + n, `v${n}`, 128, { kind: "vector" })),
  register(66, "fpsr", 32, { kind: "fields", fields: FPSR }),
  register(67, "fpcr", 32, { kind: "fields", fields: FPCR }),
];

/** Bytes of `g`. */
export const GENERAL_BYTES = 788;
