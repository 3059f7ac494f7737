// A program that does a little of everything that is traced, at EL2 from the base of RAM, and powers off.

import { BOARD, RAM_BASE, TestMachine } from "../system/machine.ts";

const MAIN = [
  0x10004000, // adr x0, vectors
  0xd51cc000, // msr vbar_el2, x0
  0xd40000a1, // svc #5
  0x00000000, // not an instruction
  0xd538ffe3, // mrs x3, s3_0_c15_c15_7
  0xd2aa0004, // mov x4, #0x50000000
  0xb9400083, // ldr w3, [x4]
  0x52801320, // mov w0, #0x99
  0x72b08000, // movk w0, #0x8400, lsl #16
  0xd4000003, // smc #0
  0xd2820005, // mov x5, #0x1000
  0xd51ce205, // msr cnthp_tval_el2, x5
  0xd2800025, // mov x5, #1
  0xd51ce225, // msr cnthp_ctl_el2, x5
  0xd2800025, // mov x5, #1
  0xd518cba5, // msr icc_sgi1r_el1, x5
  0xd50c879f, // tlbi alle1
  0xd2a12006, // mov x6, #0x9000000
  0x52800427, // mov w7, #33
  0xb90000c7, // str w7, [x6]
  0x52800100, // mov w0, #8
  0x72b08000, // movk w0, #0x8400, lsl #16
  0xd4000003, // smc #0
  0x14000000, // b .
];
/** Returns behind the instruction that was trapped. */
const SYNCHRONOUS = [
  0xd53c5201, // mrs x1, esr_el2
  0xd35afc21, // lsr x1, x1, #26
  0xf100543f, // cmp x1, #0x15
  0x54000080, // b.eq .+16
  0xd53c4022, // mrs x2, elr_el2
  0x91001042, // add x2, x2, #4
  0xd51c4022, // msr elr_el2, x2
  0xd69f03e0, // eret
];
/** A machine about to run these words, by their distances from the base of RAM, with more options of the command. */
export async function machineWith(
  code: Readonly<Record<number, readonly number[]>>,
  ...options: string[]
): Promise<TestMachine> {
  const start = `loader,addr=0x${RAM_BASE.toString(16)},cpu-num=0`;
  const test = await TestMachine.from([...BOARD, "-device", start, "-m", "16", ...options]);
  for (const [distance, words] of Object.entries(code)) {
    test.machine.bus.writeBytes(RAM_BASE + Number(distance), new Uint8Array(Uint32Array.from(words).buffer), true);
  }
  return test;
}

/** A machine about to run the program. */
export const program = (...options: string[]): Promise<TestMachine> =>
  machineWith({ 0: MAIN, 0xa00: SYNCHRONOUS }, ...options);

/** The trace lines of the whole program. */
export async function traced(...options: string[]): Promise<string[]> {
  const test = await program(...options);
  test.runToEnd(10_000);
  return test.trace;
}
