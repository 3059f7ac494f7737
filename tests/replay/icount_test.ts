// Time that follows the instruction count: runs are the same to the last bit, and time is exact inside a slice.

import assert from "node:assert/strict";
import { repeat, Session } from "./session.ts";

const RUNS = 10;
const COUNTED = ["-icount", "2,sleep=off"];

for (const cpus of ["1", "4", "8"]) {
  Deno.test(`ten runs of a guest whose output shows every turn are the same, with ${cpus} CPUs`, async () => {
    const options = repeat("turns", ...COUNTED, "-smp", cpus);
    const first = (await Session.from(options)).run().result;
    assert.match(first.output, new RegExp(`${cpus} CPUs:`));
    assert(first.retired > 100_000);
    for (let n = 1; n < RUNS; n++) assert.deepEqual((await Session.from(options)).run().result, first);
  });
}

Deno.test("another seed, another start of the real-time clock and another shift give another run", async () => {
  const run = async (...more: string[]) => (await Session.from(repeat("turns", ...more))).run().result;
  const first = await run(...COUNTED);
  assert.notEqual((await run(...COUNTED, "-seed", "1")).hash, first.hash);
  assert.notEqual((await run("-icount", "3,sleep=off")).output, first.output);
});

Deno.test("handlers inside the main function and outside it count alike", async () => {
  const options = repeat("turns", ...COUNTED, "-smp", "4");
  const inside = (await Session.from(options)).run().result;
  assert.deepEqual((await Session.from(options, { inline: false })).run().result, inside);
});

Deno.test("predecoded code and TLBs that are dropped between slices change nothing", async () => {
  const options = repeat("turns", ...COUNTED, "-smp", "4");
  let steps = 0;
  const host = ({ machine }: Session) => {
    if (++steps % 3 === 0) machine.code.flush();
    if (steps % 5 === 0) machine.mmus.forEach((mmu) => mmu.flush());
  };
  const plain = (await Session.from(options)).run().result;
  assert.deepEqual((await Session.from(options, { host })).run().result, plain);
});

Deno.test("sleeping while all CPUs wait changes the host's time, not the guest's", async () => {
  const asleep = (await Session.from(repeat("turns", "-icount", "2"))).run();
  const awake = (await Session.from(repeat("turns", ...COUNTED))).run();
  assert.deepEqual(asleep.result, awake.result);
  const { skippedNs } = asleep.machine.scheduler;
  assert(Math.abs(asleep.sleptMs - skippedNs / 1e6) < 0.001, `${asleep.sleptMs} ms for ${skippedNs} ns`);
  assert.equal(awake.sleptMs, 0);
});

/** One instruction is one tick of the counter. */
const TICK_EACH = ["-icount", "4,sleep=off"];
const NOP = 0xd503201f, WAIT = 0x14000000;

Deno.test("the counter counts instructions inside a slice, over branches", async () => {
  const READ_X1 = 0xd53be021, READ_X2 = 0xd53be022, OVER_NEXT = 0x14000002;
  const code = [NOP, READ_X1, NOP, NOP, NOP, OVER_NEXT, NOP, READ_X2, WAIT];
  const { machine } = await Session.withCode(code, TICK_EACH);
  machine.runSlice();
  const { x } = machine.vcpus[0]!.state;
  assert.deepEqual([x[1], x[2]], [1n, 6n]);
});

Deno.test("a slice is cut at a deadline that is set in it", async () => {
  // mrs x1, cntpct_el0; add x2, x1, #1000; msr cnthp_cval_el2, x2; mov x3, #1; msr cnthp_ctl_el2, x3; b .
  const code = [0xd53be021, 0x910fa022, 0xd51ce242, 0xd2800023, 0xd51ce223, WAIT];
  const { machine } = await Session.withCode(code, TICK_EACH);
  machine.runSlice();
  assert.equal(machine.around.clock.ticks(), 1000);
  assert.equal(machine.scheduler.state.retired, 1000);
});

Deno.test("the real-time clock follows virtual time", async () => {
  // movz x0, #0x901, lsl #16; ldr w1, [x0]; wfi; ldr w2, [x0]
  const code = [0xd2a12020, 0xb9400001, 0xd503207f, 0xb9400002, WAIT];
  const session = await Session.withCode(code, [...COUNTED, "-rtc", "base=2006-06-17T16:01:21,clock=vm"]);
  const { machine } = session, { state } = machine.vcpus[0]!;
  machine.runSlice();
  machine.scheduler.skippedNs += 5e9;
  state.halt = 0;
  machine.runSlice();
  const base = BigInt(Date.UTC(2006, 5, 17, 16, 1, 21) / 1000);
  assert.deepEqual([state.x[1], state.x[2]], [base, base + 5n]);
});
