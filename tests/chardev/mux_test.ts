// The multiplexer: escape keys, front ends that take turns, and what happens when one of them does not read.

import { assertSpyCalls, spy } from "@std/testing/mock";
import assert from "node:assert/strict";
import { BREAK } from "../../devices/host/character.ts";
import { CharacterMux, EscapeFilter } from "../../devices/host/mux.ts";
import { bytes, FakeBackend, later, readText, text, until } from "./helpers.ts";

function mux(escapeKey = 1) {
  const base = new FakeBackend(), quit = spy(), clock = { ms: 1000 };
  return { base, quit, clock, mux: new CharacterMux(base, { quit, nowMs: () => clock.ms, escapeKey }) };
}

Deno.test("keys after Ctrl-A are the multiplexer's; twice it is one for the guest", async () => {
  const { base, quit, mux: m } = mux(), port = m.attach("serial0");
  base.type("ab\x01hcd\x01\x01x");
  assert.equal(await readText(port, 6), "abcd\x01x");
  assert.match(base.screen, /\r\nCtrl-A h {7}this help\r\n.*Ctrl-A Ctrl-A {2}send Ctrl-A to the guest/s);
  assertSpyCalls(quit, 0);
  base.type("\x01");
  base.type("x");
  base.type("y");
  assert.equal(await readText(port, 1), "y");
  assertSpyCalls(quit, 1);
  m.close();
});

Deno.test("an escape may be cut in two, and an unknown one is swallowed", () => {
  const filter = new EscapeFilter();
  assert.deepEqual(filter.filter(bytes("\x01")), []);
  assert.deepEqual(filter.filter(bytes("x")), [{ key: "x" }]);
  assert.deepEqual(filter.filter(bytes("a\x01qz\x03")), [bytes("a"), { key: "q" }, bytes("z\x03")]);
});

Deno.test("another escape key, or none", async () => {
  const { base, quit, mux: m } = mux(0x14), port = m.attach("serial0");
  base.type("\x01x\x14h\x14\x14");
  assert.equal(await readText(port, 3), "\x01x\x14");
  assert.match(base.screen, /Ctrl-T x {7}quit/);
  assertSpyCalls(quit, 0);
  m.close();
  const none = new EscapeFilter(0);
  assert.deepEqual(none.filter(Uint8Array.of(0, 1, 120)), [Uint8Array.of(0, 1, 120)]);
});

Deno.test("Ctrl-A b is a break, in its place among the bytes; so is the backend's own", async () => {
  const { base, mux: m } = mux(), port = m.attach("serial0");
  base.type("a\x01bh");
  base.type(BREAK);
  base.type("z");
  assert.equal(await readText(port, 17), "a<break>h<break>z");
  m.close();
});

Deno.test("Ctrl-A c gives the input to the next front end; all may write", async () => {
  const { base, mux: m } = mux(), focus: string[] = [];
  const port = m.attach("serial0", (has) => focus.push(`serial0 ${has}`));
  const monitor = m.attach("monitor", (has) => focus.push(`monitor ${has}`));
  base.type("one\x01ctwo\x01cthree");
  assert.equal(await readText(monitor, 3), "two");
  assert.equal(await readText(port, 8), "onethree");
  assert.deepEqual(focus, ["serial0 true", "serial0 false", "monitor true", "monitor false", "serial0 true"]);
  base.screen = "";
  await Promise.all([port.write(bytes("P")), monitor.write(bytes("M"))]);
  assert.equal(base.screen, "PM");
  assert.equal(m.focused, "serial0");
  assert.equal(port.state, "has the input");
  m.close();
});

Deno.test("with one front end Ctrl-A c does nothing", async () => {
  const { base, mux: m } = mux(), port = m.attach("serial0");
  base.type("\x01ca");
  assert.equal(await readText(port, 1), "a");
  assert.equal(base.screen, "");
  m.close();
});

Deno.test("Ctrl-A t puts the time in front of lines", async () => {
  const { base, clock, mux: m } = mux(), port = m.attach("serial0");
  base.type("\x01t.");
  await readText(port, 1);
  await port.write(bytes("rest\nab"));
  clock.ms += 61_234;
  await port.write(bytes("c\nd"));
  base.type("\x01t.");
  await readText(port, 1);
  await port.write(bytes("\ne"));
  assert.equal(base.screen, "rest\n[00:00:00.000] abc\n[00:01:01.234] d\ne");
  m.close();
});

Deno.test("a front end that does not read holds the host's input back, and loses nothing", async () => {
  const { base, mux: m } = mux(), port = m.attach("serial0"), block = "x".repeat(40_000);
  for (let n = 0; n < 10; n++) base.type(block);
  base.type("\x01h");
  await later(5);
  assert.equal(base.screen, "");
  assert.equal((await readText(port, 400_000)).length, 400_000);
  await until(() => base.screen !== "", "the help");
  m.close();
});

Deno.test("the end of the input reaches every front end, and so does closing", async () => {
  const first = mux(), port = first.mux.attach("serial0"), monitor = first.mux.attach("monitor");
  first.base.type("z");
  first.base.type(null);
  assert.equal(text(await port.read() as Uint8Array), "z");
  assert.deepEqual([await port.read(), await monitor.read()], [null, null]);
  const second = mux(), other = second.mux.attach("serial0"), reading = other.read();
  second.mux.close();
  assert.equal(await reading, null);
  assert(second.base.closed);
});
