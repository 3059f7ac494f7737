import assert from "node:assert/strict";
import {
  ascii,
  checksum,
  Crc32,
  fromHex,
  textOf,
  toHex,
  unescape,
  writeEscaped,
  writeHex,
} from "../../gdbstub/bytes.ts";
import { noise } from "./client.ts";
import { type Frame, frame, Framer, PACKET_BYTES } from "../../gdbstub/framing.ts";

const all = (framer: Framer, ...chunks: (string | Uint8Array)[]): Frame[] =>
  chunks.flatMap((chunk) => [...framer.push(typeof chunk === "string" ? ascii(chunk) : chunk)]);
const words = (frames: Frame[]) =>
  frames.map((found) =>
    found.kind === "packet" ? textOf(found.data) : found.kind === "bad" ? `bad ${found.why}` : found.kind
  );

Deno.test("a checksum is the sum of all bytes at any length and alignment", () => {
  const data = noise(70_000);
  for (const [from, to] of [[0, 0], [0, 1], [1, 2], [3, 4], [1, 8], [2, 4099], [5, 70_000], [0, 70_000]]) {
    const part = data.subarray(from, to);
    assert.equal(checksum(part), part.reduce((sum, byte) => sum + byte, 0) & 0xff, `${from}..${to}`);
  }
  assert.equal(checksum(new Uint8Array(100_000).fill(255)), 100_000 * 255 & 0xff);
});

Deno.test("digits and escapes come back as what they were", () => {
  for (const at of [0, 1]) {
    const data = noise(1000), out = new Uint8Array(2002);
    assert.equal(writeHex(data, out, at), at + 2000);
    assert.equal(textOf(out.subarray(at, at + 2000)), toHex(data));
    assert.deepEqual(fromHex(out.subarray(at, at + 2000)), data);
  }
  assert.equal(fromHex(ascii("12x4")), null);
  assert.equal(fromHex(ascii("123")), null);
  assert.deepEqual(fromHex(ascii("aBCd")), Uint8Array.of(0xab, 0xcd));

  const data = Uint8Array.from({ length: 1024 }, (_, i) => i & 0xff), out = new Uint8Array(2048);
  const { taken, end } = writeEscaped(data, out, 0, out.length);
  assert.equal(taken, 1024);
  for (const code of ascii("#$*")) assert(!out.subarray(0, end).includes(code));
  assert.deepEqual(unescape(out.subarray(0, end)), data);
  assert.deepEqual(unescape(ascii("ab}")), ascii("ab"));
});

Deno.test("escaping stops where the room ends, never within an escape", () => {
  const data = ascii("a#b#c#"), out = new Uint8Array(16);
  for (let limit = 0; limit <= 10; limit++) {
    const { taken, end } = writeEscaped(data, out, 0, limit);
    assert(end <= limit);
    assert.deepEqual(unescape(out.slice(0, end)), data.slice(0, taken));
  }
});

Deno.test("the CRC is the one of compare-sections", () => {
  // Of "123456789", from all ones, not inverted at the end: the CRC-32/MPEG-2 check value.
  const crc = new Crc32();
  crc.add(ascii("1234"));
  crc.add(ascii("56789"));
  assert.equal(crc.value, 0x0376e6e7);
});

Deno.test("frames come out however the stream is cut", () => {
  const stream = [...ascii("+$OK#9a-"), 3, ...ascii("$#00"), ...frame(ascii("m0,4"))];
  const whole = words(all(new Framer(), Uint8Array.from(stream)));
  assert.deepEqual(whole, ["ack", "OK", "nak", "break", "", "m0,4"]);
  assert.deepEqual(words(all(new Framer(), ...stream.map((byte) => Uint8Array.of(byte)))), whole);
});

Deno.test("a damaged packet is told, and the next one is found", () => {
  assert.deepEqual(words(all(new Framer(), "$OK#9b$OK#9a")), ["bad checksum", "OK"]);
  assert.deepEqual(words(all(new Framer(), "$OK#xy$OK#9a")), ["bad checksum", "OK"]);
  assert.deepEqual(words(all(new Framer(), "$lost its end$OK#9a")), ["OK"]);
  assert.deepEqual(words(all(new Framer(), "$lost ", "its", "$O", "K#9a")), ["OK"]);
  assert.deepEqual(words(all(new Framer(), "noise#00$OK#9a")), ["OK"]);
});

Deno.test("0x03 inside a packet is data", () => {
  assert.deepEqual(words(all(new Framer(), frame(Uint8Array.of(0x58, 3, 0x58)))), ["X\u0003X"]);
});

Deno.test("a packet of the full size passes, a larger one is refused and not kept", () => {
  const framer = new Framer();
  const [full] = all(framer, frame(new Uint8Array(PACKET_BYTES).fill(0x61)));
  assert(full?.kind === "packet" && full.data.length === PACKET_BYTES);
  const large = frame(new Uint8Array(PACKET_BYTES + 1).fill(0x61));
  for (let at = 0; at < large.length; at += 1000) {
    for (const found of framer.push(large.subarray(at, at + 1000))) {
      assert.deepEqual(found, { kind: "bad", why: "length" });
    }
    assert(framer.pendingBytes <= PACKET_BYTES);
  }
  assert.deepEqual(words(all(framer, "$OK#9a")), ["OK"]);
});

Deno.test("packets that were given out do not change afterwards", () => {
  const framer = new Framer();
  const first = all(framer, frame(new Uint8Array(5000).fill(0x61))),
    second = all(framer, frame(new Uint8Array(5000).fill(0x62)));
  assert.deepEqual([words(first), words(second)], [["a".repeat(5000)], ["b".repeat(5000)]]);
});

Deno.test("noise gives nothing but whole frames", () => {
  const framer = new Framer(256);
  for (let seed = 1; seed < 200; seed++) {
    const data = noise(1000, seed);
    // More of what has a meaning.
    for (let i = 0; i < data.length; i += 7) data[i] = [0x24, 0x23, 0x7d, 0x03, 0x2b][i % 5]!;
    for (const found of framer.push(data)) assert(found.kind !== "packet" || found.data.length <= 256);
    assert(framer.pendingBytes <= 256);
  }
});
