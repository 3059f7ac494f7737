// Semihosting calls that the debugger's host performs: what the machine does until it has, and when it never does.

import assert from "node:assert/strict";
import type { FileReply, FileRequest, Place } from "../../gdbstub/target.ts";
import { TestMachine } from "../system/machine.ts";
import { DebugMachine } from "./debug_machine.ts";

const CODE = 0x4020_0000;
/** SYS_WRITEC; x20 is its result, x21 then SYS_ERRNO's, and x22 counts from then on. */
const PROGRAM = [
  ...[0xd2800060, 0x10000101, 0xd45e0000, 0xaa0003f4, 0xd2800260, 0xd45e0000, 0xaa0003f5, 0x910006d6, 0x17ffffff, 0x2a],
];
const HLT = BigInt(CODE + 8), COUNTER = 22;

class Asked extends DebugMachine {
  takes = true;
  readonly requests: { readonly place: Place; readonly request: FileRequest }[] = [];

  static async start(...options: readonly string[]): Promise<Asked> {
    const start = [0, 1].flatMap((cpu) => ["-device", `loader,addr=0x${CODE.toString(16)},cpu-num=${cpu}`]);
    const test = await TestMachine.from(["-smp", "2", "-m", "16", ...start, "-semihosting", ...options]);
    const d = new Asked(test);
    await d.target.attach(d);
    d.load();
    return d;
  }
  load(): void {
    this.test.machine.bus.writeBytes(CODE, new Uint8Array(Uint32Array.from(PROGRAM).buffer), true);
  }
  override fileRequest(place?: Place, request?: FileRequest): boolean {
    if (this.takes) this.requests.push({ place: place!, request: request! });
    return this.takes;
  }
  async reply(reply: Partial<FileReply>): Promise<void> {
    await this.target.fileReply({ context: 1, thread: 1 }, { result: 1, errno: 0, interrupted: false, ...reply });
  }
  x(cpu: number, register: number): bigint {
    return this.test.machine.vcpus[cpu]!.state.x[register]!;
  }
  async resume(): Promise<void> {
    await this.target.resume([{ context: null, thread: null, action: { kind: "continue" } }]);
  }
}

const write = { call: "write", args: [1n, BigInt(CODE + 36), 1n] };

Deno.test("a vCPU waits for the debugger's host alone, and two of them get their turns", async () => {
  const d = await Asked.start();
  await d.resume();
  d.runOn(20);
  // Both have called; one of them is asked for.
  assert.deepEqual(d.requests, [{ place: { context: 1, thread: 1 }, request: write }]);
  assert.deepEqual([d.x(0, COUNTER), d.x(1, COUNTER)], [0n, 0n]);
  await d.reply({ result: 1 });
  assert.deepEqual(d.requests[1], { place: { context: 1, thread: 2 }, request: write });
  d.runOn(20);
  assert.equal(d.x(0, 20), 1n);
  assert(d.x(0, COUNTER) > 1000n);
  assert.equal(d.x(1, COUNTER), 0n);
  await d.reply({ result: -1, errno: 28 });
  d.runOn(20);
  assert.deepEqual([d.x(1, 20), d.x(1, 21)], [2n ** 64n - 1n, 28n]);
  assert(d.x(1, COUNTER) > 1000n);
  // An answer that nobody waits for changes nothing.
  await d.reply({ result: 7 });
  d.runOn(5);
  assert.equal(d.requests.length, 2);
});

Deno.test("a debugger that cannot is an error; without one the call is ours", async () => {
  const d = await Asked.start();
  d.takes = false;
  await d.resume();
  d.runOn(20);
  for (const cpu of [0, 1]) assert.deepEqual([d.x(cpu, 20), d.x(cpu, 21)], [2n ** 64n - 1n, 5n]);
  await d.target.restart();
  d.load();
  await d.target.release();
  d.runOn(20);
  for (const cpu of [0, 1]) assert.deepEqual([d.x(cpu, 20), d.x(cpu, 21)], [1n, 0n]);
});

Deno.test("a step over a call ends when the host has answered; Ctrl-C there stops after it", async () => {
  const d = await Asked.start(), first = { context: 1, thread: 1 };
  await d.breakAt(1, HLT);
  assert.deepEqual((await d.go()).reason, { kind: "swbreak" });
  d.control.breakpoints.clear();
  await d.target.resume([{ ...first, action: { kind: "step", intoExceptions: false } }]);
  d.runOn(50);
  assert.equal(d.requests.length, 1);
  await d.reply({ result: 1 });
  assert.deepEqual(d.wait(), { ...first, reason: { kind: "signal", signal: 5 } });
  assert.deepEqual([await d.pc(first), await d.register(first, 0)], [HLT + 4n, 1n]);
  // The other one calls now.
  await d.resume();
  d.runOn(20);
  assert.equal(d.requests.length, 2);
  await d.reply({ result: -1, errno: 4, interrupted: true });
  const stop = d.wait();
  assert.deepEqual(stop.reason, { kind: "signal", signal: 2 });
  assert.equal(d.x(1, 0), 2n ** 64n - 1n);
});

Deno.test("a reset forgets what was asked for", async () => {
  const d = await Asked.start();
  await d.resume();
  d.runOn(20);
  assert.equal(d.requests.length, 1);
  await d.target.restart();
  d.load();
  assert.equal(d.test.machine.scheduler.blocked, 0);
  await d.reply({ result: 1 });
  assert.equal(await d.pc({ context: 1, thread: 1 }), BigInt(CODE));
  await d.resume();
  d.runOn(20);
  assert.equal(d.requests.length, 2);
  // What the program had open before is not there any more.
  assert.equal(d.test.machine.semihosting!.hasRoom, true);
  assert.equal(d.test.machine.semihosting!.handle(1n), undefined);
});
