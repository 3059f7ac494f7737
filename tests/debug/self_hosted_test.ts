// A guest that debugs itself while a debugger of the machine debugs it: neither notices the other.

import assert from "node:assert/strict";
import { BOARD, TestMachine } from "../system/machine.ts";
import { DebugMachine, symbolsOf } from "./debug_machine.ts";

const FILE = new URL("../guests/bare/debug.elf", import.meta.url);
const OPTIONS = [...BOARD, "-cpu", "cortex-a57", "-kernel", FILE.pathname];
const LIMIT_MS = 60_000;
const symbols = symbolsOf(FILE), thread = { context: 1, thread: 1 };
const at = (name: string): bigint => symbols.get(name)!;
/** An agent expression: 0, which is false. */
const NEVER = [Uint8Array.of(0x22, 0, 0x27)];

const alone = (await TestMachine.from(OPTIONS)).runToEnd(LIMIT_MS);
assert.match(alone, /== end/);

function runToEnd(d: DebugMachine): string {
  const end = performance.now() + LIMIT_MS, { machine } = d.test;
  while (machine.power === "on") {
    assert(performance.now() < end, `too slow, after:\n${d.test.output.slice(-300)}`);
    d.control.runSlice();
  }
  // The machine's end ends a step.
  assert(d.stops.every(({ reason }) => reason.kind === "signal"));
  return d.test.output;
}

Deno.test("the guest's breakpoints, watchpoints and steps are its own among those of the debugger", async () => {
  const d = await DebugMachine.from(OPTIONS);
  for (const name of ["counting", "nops", "call_svc", "load8", "store_loop"]) {
    for (const offset of [0n, 4n, 8n, 12n]) await d.breakAt(1, at(name) + offset, { conditions: NEVER });
  }
  const watch = await d.watch(1, 0x4700_0000n, 4096, "access");
  await d.target.resume([{ context: null, thread: null, action: { kind: "continue" } }]);
  d.runOn(20);
  // The debugger takes some away while the guest has its own.
  d.control.remove(watch);
  d.control.remove(watch - 1);
  assert.equal(runToEnd(d), alone);
});

Deno.test("a guest that the debugger steps throughout debugs itself as ever", async () => {
  const d = await DebugMachine.from(OPTIONS);
  const action = { kind: "range", intoExceptions: true, start: 0n, end: 1n << 64n } as const;
  await d.target.resume([{ ...thread, action }]);
  assert.equal(runToEnd(d), alone);
});

Deno.test("both stop at the same instruction, the debugger first", async () => {
  const d = await DebugMachine.from(OPTIONS);
  const own = at("set_own") + 24n;
  await d.breakAt(1, own);
  assert.deepEqual((await d.go()).reason, { kind: "swbreak" });
  assert.equal(await d.pc(thread), own);
  d.control.breakpoints.clear();
  // The exception comes instead of the instruction, and the line that tells of it is printed.
  await d.step(thread, true);
  assert.equal(await d.named(thread, "ESR_EL1") >> 26n, 0x31n);
  await d.target.resume([{ context: null, thread: null, action: { kind: "continue" } }]);
  assert.equal(runToEnd(d), alone);
});
