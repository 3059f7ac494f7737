// The hypervisor and its guests as contexts: the built-in demo, two guests at the same virtual addresses.

import assert from "node:assert/strict";
import { Refusal } from "../../gdbstub/target.ts";
import { DebugMachine, symbolsOf } from "./debug_machine.ts";

const GUESTS = new URL("../guests/two_guests/", import.meta.url);
const HYP = symbolsOf(new URL("two_guests.elf", GUESTS));
const A = symbolsOf(new URL("guest_a.elf", GUESTS)), B = symbolsOf(new URL("guest_b.elf", GUESTS));
const at = (symbols: ReadonlyMap<string, bigint>, name: string): bigint => symbols.get(name)!;
const hypervisor = { context: 1, thread: 1 }, guestA = { context: 2, thread: 1 }, guestB = { context: 3, thread: 1 };

/** Stopped in guest B's main function, guest A having been in its own. Who is first depends on timing: it is tried again. */
async function bothGuests(): Promise<DebugMachine> {
  const main = at(A, "guest_main"), stops: number[] = [];
  for (let tries = 0; tries < 100; tries++) {
    const d = await DebugMachine.from([]), ofA = await d.breakAt(2, main), ofB = await d.breakAt(3, main);
    stops.push((await d.go()).context);
    if (stops.at(-1) !== 2) continue;
    await d.target.remove(ofA);
    assert.equal((await d.go()).context, 3);
    await d.target.remove(ofB);
    return d;
  }
  assert.fail(`guest A was never first: ${stops}`);
}

Deno.test("guests appear when they are entered, and have names and states", async () => {
  const d = await DebugMachine.from([]);
  assert.deepEqual(d.target.contexts().map(({ id, name }) => [id, name]), [[1, "hypervisor"]]);
  await d.breakAt(1, at(HYP, "print_summary"));
  const stop = await d.go();
  assert.deepEqual(stop, { ...hypervisor, reason: { kind: "swbreak" } });
  assert.equal(await d.pc(hypervisor), at(HYP, "print_summary"));
  assert.deepEqual(d.appeared.map(({ id, name }) => [id, name]), [[2, "vm 1"], [3, "vm 2"]]);
  assert.deepEqual(d.target.threads(3).map(({ id, name, state }) => [id, name, state]), [
    [1, "vm 2 vcpu 0", "descheduled, exit HVC #0x3 at EL1"],
  ]);
  assert.equal(d.target.threads(1)[0]!.state, "EL2");
});

Deno.test("a breakpoint of one guest is not hit by the other, or by the hypervisor", async () => {
  const d = await DebugMachine.from([]);
  assert.equal(at(A, "guest_main"), at(B, "guest_main"));
  // Before its context exists, and before anything is mapped there.
  await d.breakAt(3, at(B, "guest_main"));
  assert.deepEqual(await d.go(), { ...guestB, reason: { kind: "swbreak" } });
  assert.equal(await d.pc(guestB), at(B, "guest_main"));
  assert.equal(d.target.contexts().length, 3);
  await d.breakAt(2, at(A, "wait_for_ticks"));
  const next = await d.go({ ...guestB, action: { kind: "step", intoExceptions: false } });
  assert.deepEqual(next, { ...guestB, reason: { kind: "signal", signal: 5 } });
  assert.deepEqual(await d.go(), { ...guestA, reason: { kind: "swbreak" } });
});

Deno.test("the same address has other bytes in each context, running or not", async () => {
  const d = await bothGuests();
  const text = at(A, "guest_main");
  const bytes = (name: string) => Deno.readFileSync(new URL(name, GUESTS));
  const inFile = (name: string, address: bigint) => {
    const data = bytes(name), view = new DataView(data.buffer);
    for (let n = 0, at = Number(view.getBigUint64(32, true)); n < view.getUint16(56, true); n++, at += 56) {
      const va = view.getBigUint64(at + 16, true), size = view.getBigUint64(at + 32, true);
      if (view.getUint32(at, true) === 1 && address >= va && address < va + size) {
        const from = Number(view.getBigUint64(at + 8, true) + address - va);
        return data.slice(from, from + 64);
      }
    }
    throw new Error("not in the file");
  };
  assert.deepEqual(d.memory(guestA, text, 64), inFile("guest_a.elf", text));
  assert.deepEqual(d.memory(guestB, text, 64), inFile("guest_b.elf", text));
  const unmapped = d.target.readMemory(hypervisor, "auto", text, new Uint8Array(4));
  assert(unmapped instanceof Refusal);
  assert.match(unmapped.text, /0xffffff8040000068 is not mapped by EL2/);
  assert.deepEqual(d.memory(hypervisor, at(HYP, "main"), 64), inFile("two_guests.elf", at(HYP, "main")));
  // Stage 2 alone, and no translation at all.
  const ipa = d.memory(guestB, 0x4000_0068n, 64, "ipa");
  assert.deepEqual(ipa, inFile("guest_b.elf", text));
});

Deno.test("a step over HVC comes back behind it, another guest having run", async () => {
  const d = await DebugMachine.from([]);
  await d.breakAt(2, at(A, "guest_main"));
  await d.go();
  let crossed = 0;
  for (let n = 0; n < 30000 && crossed < 3; n++) {
    const pc = await d.pc(guestA), word = new DataView(d.memory(guestA, pc, 4).slice().buffer).getUint32(0, true);
    const exits = d.control.area.world(d.control.area.worldOf(2, 1)).exits;
    const stop = await d.step(guestA);
    assert.deepEqual(stop, { ...guestA, reason: { kind: "signal", signal: 5 } });
    if ((word & 0xffe0001f) >>> 0 !== 0xd4000002) continue;
    crossed++;
    assert.equal(await d.pc(guestA), pc + 4n);
    assert.equal(d.control.area.world(d.control.area.worldOf(2, 1)).exits >= exits + 1, true);
  }
  assert.equal(crossed, 3);
});

Deno.test("steps of the hypervisor through ERET end where the guest comes back", async () => {
  const d = await DebugMachine.from([]);
  await d.breakAt(1, at(HYP, "enter_guest"));
  await d.go();
  d.control.breakpoints.clear();
  for (let n = 0; n < 100; n++) {
    const pc = await d.pc(hypervisor),
      word = new DataView(d.memory(hypervisor, pc, 4).slice().buffer).getUint32(0, true);
    await d.step(hypervisor);
    if (word !== 0xd69f03e0) continue;
    const vectors = at(HYP, "hyp_vectors"), there = await d.pc(hypervisor);
    assert(there >= vectors + 0x400n && there < vectors + 0x600n, "at a vector for lower levels");
    return;
  }
  assert.fail("no ERET");
});

Deno.test("registers of a descheduled guest are those of its exit", async () => {
  const d = await bothGuests();
  const { exitPc, saved } = d.control.area.world(d.control.area.worldOf(2, 1));
  assert.equal(saved, 1);
  assert.equal(await d.pc(guestA), exitPc);
  const symbol = [...A].find(([, address]) => address > exitPc - 0x100n && address <= exitPc);
  assert(symbol !== undefined, "the pc is in guest A's code");
  assert.notEqual(await d.named(guestA, "TTBR1_EL1"), 0n);
  assert.equal(await d.named(guestA, "VBAR_EL1"), at(A, "guest_vectors"));
  const refused = await d.target.writeRegister(guestA, 0, new Uint8Array(8));
  assert(refused instanceof Refusal);
  assert.match(refused.text, /vm 1 vcpu 0 is descheduled/);
  // Its frames lie in its memory.
  const fp = await d.register(guestA, 29);
  if (fp !== 0n) assert.equal(d.memory(guestA, fp, 16).length, 16);
});

Deno.test("conditions and commands are evaluated where the vCPU runs", async () => {
  const d = await DebugMachine.from([]);
  // reg 0 (x0) 'H' equal end
  const condition = Uint8Array.of(0x26, 0, 0, 0x22, 0x48, 0x13, 0x27);
  await d.breakAt(1, at(HYP, "console_putc"), { conditions: [condition] });
  await d.go();
  assert.equal(await d.register(hypervisor, 0) & 0xffn, 0x48n);
});

Deno.test("breakpoints survive a reset", async () => {
  const d = await DebugMachine.from([]);
  await d.breakAt(1, at(HYP, "main"));
  await d.go();
  await d.breakAt(2, at(A, "guest_main"));
  const stop = await d.target.restart();
  assert.equal(stop.context, 1);
  assert.deepEqual(await d.go(), { ...hypervisor, reason: { kind: "swbreak" } });
  d.control.breakpoints.clear(1);
  const guest = await d.go();
  assert.equal(guest.context, 2);
});

Deno.test("catch points stop at world switches and exceptions", async () => {
  const d = await DebugMachine.from([]);
  await d.target.insertCatch({ id: 100, kind: "exit", el: null, class: "hvc" });
  const exit = await d.go();
  assert.equal(exit.context, 1);
  assert.match(exit.text!, /^vm \d vcpu 0: exit HVC #0x1 at EL1, pc 0x/);
  await d.target.removeCatch(100);
  await d.target.insertCatch({ id: 101, kind: "enter", el: null, class: null });
  const enter = await d.go();
  assert(enter.context >= 2);
  assert.match(enter.text!, /^vm \d vcpu 0: entered at EL1/);
  await d.target.removeCatch(101);
  await d.target.insertCatch({ id: 102, kind: "exception", el: 1, class: "svc" });
  const exception = await d.go();
  assert.match(exception.text!, /^exception to EL1: SVC #/);
  const vectors = [at(A, "guest_vectors"), at(B, "guest_vectors")];
  const pc = await d.pc(exception);
  assert(vectors.some((v) => pc === v + 0x400n));
  await assert.rejects(async () => {
    const refused = await d.target.insertCatch({ id: 103, kind: "exit", el: null, class: "nothing" });
    if (refused instanceof Refusal) throw new Error(refused.text);
  });
});

Deno.test("watchpoints stop before the access, with its address, in their context only", async () => {
  const d = await bothGuests();
  const ticks = at(A, "ticks");
  assert.equal(at(B, "ticks"), ticks);
  await d.watch(2, ticks, 4, "write");
  for (let value = 0;; value++) {
    const before = d.memory(guestA, ticks, 4).slice();
    const stop = await d.go();
    assert.deepEqual(stop, { ...guestA, reason: { kind: "watch", address: ticks } });
    assert.deepEqual(d.memory(guestA, ticks, 4), before);
    await d.step(guestA);
    if (d.memory(guestA, ticks, 4)[0] !== before[0]) break;
    assert(value < 10);
  }
  // It is met again.
  assert.deepEqual((await d.go()).reason, { kind: "watch", address: ticks });
  d.control.watchpoints.clear();
  await d.watch(2, ticks + 2n, 1, "read");
  assert.deepEqual((await d.go()).reason, { kind: "rwatch", address: ticks + 2n });
});

Deno.test("every command says something", async () => {
  const d = await bothGuests();
  assert.match(await d.monitor("info contexts"), /2 +vm 1 +1 /);
  assert.match(await d.monitor("info exits"), /vm 1 +(HVC|IRQ) +\d+/);
  assert.match(await d.monitor("info registers"), /x0 +[0-9a-f]{16}/);
  assert.match(await d.monitor("info registers HCR_EL2"), /HCR_EL2 .*\[.* VM ]/);
  assert.match(await d.monitor("info gic"), /CPU 0: lines/);
  assert.match(await d.monitor("info timers"), /virtual \(CNTV\)/);
  assert.match(await d.monitor("info tlb"), /CPU 0: \d+ translations/);
  assert.match(await d.monitor("info mtree"), /000040000000-0000\w+ +ram +ram/);
  assert.match(await d.monitor("info devices"), /pl011/);
  assert.match(await d.monitor("decode esr 0x5a000004"), /^HVC #0x4/);
  const walk = await d.monitor(`walk 2 0x${at(A, "guest_main").toString(16)}`);
  assert.match(walk, /stage 1 level 1: IPA .* table/);
  assert.match(walk, /stage 2 level 2: PA/);
  assert.match(walk, /is IPA 0x40000068, PA 0x[0-9a-f]+: memory/);
});
