// The state of one vCPU in shared memory. Generated Wasm addresses the first part by offset from the vCPU's base; TypeScript
// uses the accessors. System registers follow in `SystemRegisters`, one u64 each, from the table in src/arch.

import { struct, type View } from "../base/struct.ts";

export const VCPU = struct("vcpu", {
  /** X0..X30, then the zero register (always 0), the current SP, and a spare: register operands are 8 * number. */
  x: "u64[34]",
  /** V0..V31, 16 bytes each. */
  v: "u64[64]",
  /** Valid whenever TypeScript runs: the instruction being executed, or the next one between slices. */
  pc: "u64",
  /** NZCV, unpacked: N is bit 63 of nf, Z is zf == 0, C is cf (0 or 1), V is bit 63 of vf. */
  nf: "u64",
  zf: "u64",
  cf: "u64",
  vf: "u64",
  /** Context number of the current translation context, shifted left by 2: OR-ed into TLB tags. */
  context: "u64",
  /** Context used by unprivileged accesses (LDTR, STTR). */
  contextUnprivileged: "u64",
  /** pc = pcDelta + (record address >>> 2): belongs to the page that executes. */
  pcDelta: "u64",
  /** Data of slow-path loads and stores, 16 bytes. */
  transfer: "u64[2]",
  /** Record address at which the budget is used up; moved along with every taken branch. */
  limit: "i32",
  /** 1 when `limit` was lowered by FORCE_EXIT to leave generated code early. */
  forced: "u32",
  /** PSTATE, unpacked. daif holds D A I F in bits 3..0 as DAIFSet's operand does. */
  el: "u32",
  spsel: "u32",
  daif: "u32",
  pan: "u32",
  uao: "u32",
  il: "u32",
  ss: "u32",
  fpcr: "u32",
  fpsr: "u32",
  /** Which register classes may be read and written without a check now: see DIRECT. */
  direct: "u32",
  /** 0 when FP/SIMD instructions execute untrapped at the current EL, else the trap must be taken. */
  fpTrap: "u32",
  /** Lines that are asserted into this vCPU: see PENDING. */
  pending: "u32",
  /** Event register for WFE/SEV. */
  event: "u32",
  /** Why the vCPU does not run: see HALT. */
  halt: "u32",
  /** Local exclusive monitor: size in bytes (0 = open), virtual address, value that was loaded. */
  exclusiveSize: "u32",
  exclusiveAddress: "u64",
  exclusiveValue: "u64",
  exclusiveValueHigh: "u64",
  /** Retired instructions. */
  retired: "f64",
  /** Instructions that the slice may still retire: given on entry, what is left on exit. */
  budget: "i32",
  /** While `fetch` is called: the record of the instruction executed last, 0 before the first. */
  fetchFrom: "i32",
});

export type VcpuState = View<typeof VCPU.spec>;

/** Offsets of register operands. */
export const ZR_OFFSET = 31 * 8, SP_OFFSET = 32 * 8;
/** Bits of `Vcpu.pending`. STEP is no line: MDSCR_EL1.SS is set, and generated code leaves writes of PSTATE.D to us. */
export const PENDING = { IRQ: 1, FIQ: 2, VIRQ: 4, VFIQ: 8, SERROR: 16, VSERROR: 32, STEP: 64 } as const;
/** Values of `Vcpu.halt`: runnable, waiting for an interrupt or event, powered off by PSCI. */
export const HALT = { RUNNING: 0, WFI: 1, WFE: 2, OFF: 3 } as const;
