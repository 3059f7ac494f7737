// The random programs of tests/gic on the whole machine: instructions, translation, scheduler and interrupt controller
// together read what they read under QEMU.

import {
  assemble,
  assertAgree,
  canRun,
  machineOptions,
  Random,
  runOnQemu,
  withElf,
  words,
} from "../gic/qemu_program.ts";
import { generate } from "../gic/random_v2.ts";
import { TestMachine } from "./machine.ts";

const BOARD = "virt,gic-version=2,virtualization=on", LIMIT_MS = 60_000;
const SENDER_OF_SGI = 0x1c00n, HPPIR = 0x18;

Deno.test({
  name: "random operations of three CPUs on GICv2 read the same values as on QEMU",
  ignore: !await canRun(),
  fn: async () => {
    const operations = generate(new Random(7), 3000, 3), program = assemble(operations);
    const output = await withElf(program, async (file) => {
      return (await TestMachine.from(machineOptions(BOARD, 3, file))).runToEnd(LIMIT_MS);
    });
    // QEMU's HPPIR does not tell who sent an SGI.
    const ours = words(output).map((value, n) => {
      const op = operations[n >>> 1]!;
      return n % 2 === 0 && "address" in op && (op.address & 0xfff) === HPPIR ? value & ~SENDER_OF_SGI : value;
    });
    assertAgree(operations, ours, await runOnQemu(program, BOARD, 3), "seed 7");
  },
});
