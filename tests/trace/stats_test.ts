// Counters: exact where they can be, and the report of -stats.

import assert from "node:assert/strict";
import { COUNTERS, EXCEPTION_NAMES } from "../../src/cpu/counters.ts";
import { type CpuStats, openStats, readStats, statsTable } from "../../src/machine/stats.ts";
import type { TestMachine } from "../system/machine.ts";
import { machineWith, program } from "./program.ts";

/** Drops to EL1, which loops, calls itself, and jumps to nowhere; its vector then calls EL2, which powers off. */
const LEVELS: Readonly<Record<number, readonly number[]>> = {
  0x0: [
    0x10004000, // adr x0, 0x800
    0xd51cc000, // msr vbar_el2, x0
    0x10007fc0, // adr x0, 0x1000
    0xd518c000, // msr vbar_el1, x0
    0xd2b00000, // mov x0, #0x80000000
    0xd51c1100, // msr hcr_el2, x0
    0x100000a0, // adr x0, guest
    0xd51c4020, // msr elr_el2, x0
    0xd28078a0, // mov x0, #0x3c5
    0xd51c4000, // msr spsr_el2, x0
    0xd69f03e0, // eret
    0xd2807d00, // guest: mov x0, #1000
    0xf1000400, // subs x0, x0, #1
    0x54ffffe1, // b.ne .-4
    0xd4000001, // svc #0
    0xd2aa0001, // mov x1, #0x50000000
    0xd61f0020, // br x1
  ],
  0xc00: [
    0x52800100, // mov w0, #8
    0x72b08000, // movk w0, #0x8400, lsl #16
    0xd4000003, // smc #0
  ],
  0x1200: [
    0xd5385202, // mrs x2, esr_el1
    0xd35afc42, // lsr x2, x2, #26
    0xf100545f, // cmp x2, #0x15
    0x54000041, // b.ne .+8
    0xd69f03e0, // eret
    0xd4000002, // hvc #0
  ],
};

/** Runs to the end; what was counted for the only vCPU. */
function countsOf(test: TestMachine): CpuStats {
  test.runToEnd(10_000);
  return readStats(test.machine.around.memory.buffer, 1, 1).total;
}

Deno.test("instructions are counted at the level that executed them, exceptions by class and target", async () => {
  const { instructions, exceptions, returns, slices } = countsOf(await machineWith(LEVELS));
  // The fetch from nowhere counts as an instruction too.
  assert.deepEqual(instructions, { total: 2029, tier0: 2029, el0: 0, el1: 2015, el2: 14 });
  assert.deepEqual(exceptions, { el1: { SVC: 1, INSTRUCTION_ABORT: 1 }, el2: { HVC: 1 } });
  assert.deepEqual(returns, { el1: 1, el2: 1 });
  assert.equal(slices["run"], 1);
});

Deno.test("levels are counted the same whatever the slices", async () => {
  const { instructions } = countsOf(await machineWith(LEVELS, "-d", "exec"));
  assert.deepEqual(instructions, { total: 2029, tier0: 2029, el0: 0, el1: 2015, el2: 14 });
});

Deno.test("calls, walks, device accesses and predecoded instructions are counted", async () => {
  const { calls, memory, exceptions, predecoded } = countsOf(await program());
  assert.deepEqual(exceptions.el2, { SVC: 1, UNKNOWN: 2, DATA_ABORT: 1 });
  assert.equal(calls["svc"], 1);
  assert.equal(calls["eret"], 4);
  assert.equal(calls["smc"], 2);
  assert.equal(calls["fetch"], memory["fetchMisses"]);
  assert.equal(memory["deviceWrites"], 1);
  assert.equal(memory["deviceReads"], 1);
  assert.equal(memory["faults"], 1);
  assert.equal(memory["invalidations"], 1);
  assert.equal(predecoded, 32, "each word once");
});

Deno.test("a report is JSON for a file, and a table for people", async () => {
  const test = await program();
  test.runToEnd(10_000);
  const stats = readStats(test.machine.around.memory.buffer, 1, 0.5), path = await Deno.makeTempFile();
  try {
    openStats(path)(stats);
    assert.deepEqual(JSON.parse(await Deno.readTextFile(path)), stats);
  } finally {
    await Deno.remove(path);
  }
  const text = statsTable(stats).join("\n");
  assert.match(text, /^1 vCPU, 0\.50 s\ninstructions\n {2}total +\d+ +[\d.]+ million\/s\n/);
  assert.match(text, /exceptions to EL2\n {2}UNKNOWN +2\n/);
  assert.throws(() => openStats("/nowhere/at/all"), /^HostError: cannot open/);
});

Deno.test("reports of several vCPUs add up", async () => {
  const test = await program();
  test.runToEnd(10_000);
  const { total, cpus } = readStats(test.machine.around.memory.buffer, 2, 1);
  assert.equal(cpus.length, 2);
  assert.deepEqual(total, cpus[0], "the second is not there");
});

Deno.test("every class has a place and a name", () => {
  const places = (COUNTERS.offset.exceptionsToEl2 - COUNTERS.offset.exceptionsToEl1) / 8;
  assert(EXCEPTION_NAMES.length <= places && new Set(EXCEPTION_NAMES).size === EXCEPTION_NAMES.length);
});
