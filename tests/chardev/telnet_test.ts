// The telnet protocol: negotiation, escapes and breaks, however the bytes are cut.

import assert from "node:assert/strict";
import { BREAK, type Input } from "../../devices/host/character.ts";
import { encodeTelnet, GREETING, TelnetDecoder } from "../../devices/host/telnet.ts";
import { text } from "./helpers.ts";

const IAC = 255, DONT = 254, DO = 253, WONT = 252, WILL = 251, SB = 250, SE = 240, BRK = 243, AYT = 246;

const show = (inputs: readonly Input[]) => inputs.map((i) => i === BREAK ? "<break>" : text(i)).join("");

/** Feeds `data` in pieces of `size`. */
function decode(data: readonly number[], size = data.length) {
  const decoder = new TelnetDecoder(), inputs: Input[] = [], replies: number[] = [];
  for (let at = 0; at < data.length; at += size) {
    const { input, reply } = decoder.decode(Uint8Array.from(data.slice(at, at + size)));
    inputs.push(...input);
    replies.push(...reply);
  }
  return { input: show(inputs), reply: replies };
}

const SESSION = [
  ...[IAC, DO, 1, IAC, DO, 3, IAC, WILL, 0, IAC, DO, 0],
  ...[0x61, IAC, IAC, 0x62, IAC, BRK, 0x63],
  ...[IAC, SB, 24, 0, IAC, IAC, 1, 2, IAC, SE, 0x64],
  ...[IAC, WILL, 31, IAC, DO, 24, IAC, AYT, 13, 0, 0x65],
];

Deno.test("a session means the same however it is cut", () => {
  for (let size = 1; size <= SESSION.length; size++) {
    const { input, reply } = decode(SESSION, size);
    assert.equal(input, "a\xffb<break>cd\r\0e");
    assert.deepEqual(reply, [IAC, DONT, 31, IAC, WONT, 24]);
  }
});

Deno.test("outside binary mode NUL after a carriage return is no data", () => {
  assert.equal(decode([97, 13, 0, 98, 0, 13, 10]).input, "a\rb\0\r\n");
  assert.equal(decode([IAC, WILL, 0, 13, 0]).input, "\r\0");
  assert.equal(decode([IAC, WILL, 0, IAC, WONT, 0, 13, 0]).input, "\r");
});

Deno.test("each option is answered once: no peer can draw us into a loop", () => {
  const storm = Array.from({ length: 256 }, (_, option) => [IAC, DO, option, IAC, WILL, option]).flat();
  const once = decode(storm).reply;
  assert.deepEqual(decode([...storm, ...storm, ...storm], 7).reply, once);
  assert.equal(once.length, 3 * (256 - 3 + 256 - 1));
  // We answer none of our own kind: two of us fall silent.
  const { reply } = decode([...GREETING]);
  assert.deepEqual(reply, [IAC, DONT, 1, IAC, DO, 3]);
  assert.deepEqual(decode(reply).reply, []);
  assert.deepEqual(decode([IAC, WONT, 1, IAC, DONT, 1, IAC, DONT, 77]).reply, []);
});

Deno.test("a subnegotiation without end costs no memory and gives nothing", () => {
  const decoder = new TelnetDecoder();
  decoder.decode(Uint8Array.of(IAC, SB));
  for (let n = 0; n < 100; n++) {
    const { input, reply } = decoder.decode(new Uint8Array(10_000).fill(65));
    assert.deepEqual([input, reply.length], [[], 0]);
  }
  assert.equal(show(decoder.decode(Uint8Array.of(IAC, SE, 66)).input), "B");
});

Deno.test("output doubles 0xff, and decodes to itself", () => {
  const data = Uint8Array.from({ length: 1000 }, (_, n) => n);
  const encoded = encodeTelnet(data);
  assert.equal(encoded.length, 1003);
  const decoder = new TelnetDecoder();
  decoder.decode(Uint8Array.of(IAC, WILL, 0));
  assert.deepEqual(decoder.decode(encoded).input, [data]);
  assert.equal(encodeTelnet(data.subarray(0, 100)).length, 100);
});
