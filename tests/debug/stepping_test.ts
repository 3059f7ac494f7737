// Steps and breakpoints where it is hard: interrupts, exceptions, code that changes, several vCPUs, stopping one thread only.

import assert from "node:assert/strict";
import { SIGNAL } from "../../gdbstub/target.ts";
import { BOARD, CODE_BASE, TestMachine } from "../system/machine.ts";
import { DebugMachine, symbolsOf } from "./debug_machine.ts";

const GUESTS = new URL("../guests/two_guests/", import.meta.url);
const B = symbolsOf(new URL("guest_b.elf", GUESTS));
const first = { context: 1, thread: 1 }, second = { context: 1, thread: 2 }, guestB = { context: 3, thread: 1 };
const at = (words: number): bigint => BigInt(CODE_BASE + 4 * words);

async function withCode(words: readonly number[]): Promise<DebugMachine> {
  const d = new DebugMachine(TestMachine.withCode(words));
  await d.target.attach(d);
  return d;
}
/** Two vCPUs that both start at the code. */
async function two(words: readonly number[]): Promise<DebugMachine> {
  const start = `loader,addr=0x${CODE_BASE.toString(16)}`;
  const test = await TestMachine.from([
    ...BOARD,
    ...["-m", "16", "-smp", "2", "-device", `${start},cpu-num=0`, "-device", `${start},cpu-num=1`],
  ]);
  test.put(0, words);
  const d = new DebugMachine(test);
  await d.target.attach(d);
  return d;
}

const NOP = 0xd503201f, ADD_X0_1 = 0x91000400, ADD_X1_1 = 0x91000421, B_SELF = 0x14000000, B_BACK_2 = 0x17fffffe;
const TRAP = { kind: "signal", signal: SIGNAL.TRAP } as const;

Deno.test("a step stays in the user program, whatever interrupts come", async () => {
  const d = await DebugMachine.from([]), user = B.get("user_main")!;
  const id = await d.breakAt(3, user);
  await d.go();
  await d.target.remove(id);
  const world = d.control.area.world(d.control.area.worldOf(3, 1)), before = world.exits;
  for (let n = 0; world.exits < before + 3; n++) {
    assert.deepEqual(await d.step(guestB), { ...guestB, reason: TRAP });
    const pc = await d.pc(guestB);
    assert(pc >= user && pc < user + 0x200n, `step ${n} ended at 0x${pc.toString(16)}`);
  }
});

Deno.test("with step-into-exceptions a step shows the vector", async () => {
  const d = await DebugMachine.from([]), user = B.get("user_main")!, vectors = B.get("guest_vectors")!;
  const id = await d.breakAt(3, user);
  await d.go();
  await d.target.remove(id);
  for (let n = 0; n < 1_000_000; n++) {
    await d.step(guestB, true);
    const pc = await d.pc(guestB);
    if (pc < user + 0x200n) continue;
    assert(pc === vectors + 0x400n || pc === vectors + 0x480n, `at 0x${pc.toString(16)}`);
    return;
  }
});

Deno.test("a range is stepped through without stops in between", async () => {
  const d = await withCode([ADD_X0_1, ADD_X0_1, ADD_X0_1, ADD_X1_1, B_SELF]);
  const stop = await d.go({ ...first, action: { kind: "range", start: at(0), end: at(3), intoExceptions: false } });
  assert.deepEqual(stop, { ...first, reason: TRAP });
  assert.equal(await d.pc(first), at(3));
  assert.equal(await d.register(first, 0), 3n);
  assert.equal(d.test.machine.vcpus[0]!.state.retired, 3);
});

Deno.test("every stop counts instructions exactly", async () => {
  // 0: add; 1: add; 2: b -8
  const d = await withCode([ADD_X0_1, ADD_X1_1, B_BACK_2]), { state } = d.test.machine.vcpus[0]!;
  await d.breakAt(1, at(1));
  await d.go();
  assert.equal(state.retired, 1);
  await d.step(first);
  assert.equal(state.retired, 2);
  for (let n = 0; n < 5; n++) {
    await d.go();
    assert.equal(state.retired, 4 + 3 * n);
    assert.equal(await d.pc(first), at(1));
    await d.step(first);
  }
});

Deno.test("a breakpoint holds where the guest writes its code, and after everything predecoded was dropped", async () => {
  // Copies the word at 8 to 10, then branches there.
  const d = await withCode([
    0x10000100, // adr x0, 8
    0x10000121, // adr x1, 10 (from 1)
    0xb9400002, // ldr w2, [x0]
    0xb9000022, // str w2, [x1]
    0xd5033fdf, // isb
    0x14000005, // b 10
    NOP,
    NOP,
    ADD_X1_1, // 8
    NOP,
    0, // 10
    B_SELF,
  ]);
  d.test.machine.vcpus[0]!.state.x[1] = 0n;
  await d.breakAt(1, at(10));
  assert.deepEqual(await d.go(), { ...first, reason: { kind: "swbreak" } });
  assert.equal(await d.pc(first), at(10));
  assert.equal(new DataView(d.memory(first, at(10), 4).slice().buffer).getUint32(0, true), ADD_X1_1);
  d.test.machine.vcpus[0]!.state.pc = at(0);
  d.test.machine.code.flush();
  assert.deepEqual(await d.go(), { ...first, reason: { kind: "swbreak" } });
  d.test.machine.code.flush();
  assert.deepEqual(await d.step(first), { ...first, reason: TRAP });
  assert.equal(await d.pc(first), at(11));
});

Deno.test("a thousand breakpoints, and a condition that is false", async () => {
  const d = await withCode([ADD_X0_1, ADD_X1_1, B_BACK_2]);
  for (let n = 0; n < 1000; n++) await d.breakAt(1, at(100 + n));
  // reg x1, const16 500, equal
  await d.breakAt(1, at(1), { conditions: [Uint8Array.of(0x26, 0, 1, 0x23, 0x01, 0xf4, 0x13, 0x27)] });
  await d.go();
  assert.equal(await d.register(first, 1), 500n);
});

Deno.test("threads of one context: one steps, the others stand still or run, as they are told", async () => {
  const d = await two([ADD_X0_1, ADD_X1_1, B_BACK_2]);
  for (let n = 0; n < 30; n++) await d.step(second);
  assert.equal(await d.register(first, 0), 0n);
  assert.equal(await d.register(second, 1), 10n);
  for (let n = 0; n < 3; n++) {
    await d.go({ ...second, action: { kind: "step", intoExceptions: false } }, {
      context: 1,
      thread: null,
      action: { kind: "continue" },
    });
  }
  assert.equal(await d.register(second, 1), 11n);
  assert(await d.register(first, 0) > 100n);
  const { pc } = d.test.machine.vcpus[0]!.state;
  await d.breakAt(1, at(1));
  const stop = await d.go({ ...second, action: { kind: "continue" } });
  assert.deepEqual(stop, { ...second, reason: { kind: "swbreak" } });
  assert.equal(d.test.machine.vcpus[0]!.state.pc, pc);
});

Deno.test("non-stop: one thread stops, the other runs on", async () => {
  const d = await two([ADD_X0_1, ADD_X1_1, B_BACK_2]);
  assert.equal(await d.target.setNonStop(true), undefined);
  await d.target.resume([{ context: null, thread: null, action: { kind: "continue" } }]);
  d.runOn(20);
  await d.target.interrupt(second);
  assert.deepEqual(d.stops.splice(0), [{ ...second, reason: { kind: "signal", signal: SIGNAL.INT } }]);
  const still = await d.register(second, 0), { state } = d.test.machine.vcpus[0]!, running = state.x[0]!;
  d.runOn(20);
  assert.equal(await d.register(second, 0), still);
  assert(state.x[0]! > running);
  assert("errno" in await d.target.readRegister(first, 0), "no registers of a running vCPU");
  await d.target.resume([{ ...second, action: { kind: "step", intoExceptions: false } }]);
  assert.deepEqual(d.wait(), { ...second, reason: TRAP });
  await d.target.resume([{ ...first, action: { kind: "stop" } }]);
  assert.deepEqual(d.stops.splice(0), [{ ...first, reason: { kind: "signal", signal: 0 } }]);
  const both = state.x[0]!;
  d.runOn(5);
  assert.equal(state.x[0]!, both);
  await d.target.release();
  d.runOn(5);
  assert(state.x[0]! > both);
});

Deno.test("a machine that is let go runs without stops", async () => {
  const d = await withCode([ADD_X0_1, ADD_X1_1, B_BACK_2]);
  await d.breakAt(1, at(1));
  await d.go();
  await d.watch(1, 0n, 8, "access");
  await d.target.release();
  assert(!d.halted);
  d.runOn(20);
  assert(d.test.machine.vcpus[0]!.state.x[1]! > 1000n);
});

Deno.test("an interrupt of the user's stops the machine where it is, once", async () => {
  const d = await withCode([B_SELF]);
  await d.target.resume([{ context: null, thread: null, action: { kind: "continue" } }]);
  d.runOn(3);
  await d.target.interrupt(null);
  await d.target.interrupt(null);
  assert.deepEqual(d.stops.splice(0), [{ ...first, reason: { kind: "signal", signal: SIGNAL.INT } }]);
  assert(d.halted);
});

Deno.test("a step over WFI waits for the interrupt that ends it", async () => {
  const d = await withCode([0xd503207f, ADD_X0_1, B_SELF]), vcpu = d.test.machine.vcpus[0]!;
  assert.deepEqual(await d.step(first), { ...first, reason: TRAP });
  assert.equal(await d.pc(first), at(1));
  assert.match(d.target.threads(1)[0]!.state, /waits for an interrupt/);
  await d.target.resume([{ ...first, action: { kind: "step", intoExceptions: false } }]);
  d.runOn(3);
  // The line of a physical interrupt, which is masked.
  vcpu.setPending(1, true);
  assert.deepEqual(d.wait(), { ...first, reason: TRAP });
  assert.equal(await d.pc(first), at(2));
});
