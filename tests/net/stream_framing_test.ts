// QEMU's framing: whole frames however they are cut, and what a peer must not send.

import assert from "node:assert/strict";
import { FrameDecoder, FRAMING_BYTES, putFramed } from "../../devices/net/stream_framing.ts";

const frames = [60, 1514, 14, 65549].map((length, n) => new Uint8Array(length).fill(n + 1));
function framed(list: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(list.reduce((bytes, { length }) => bytes + FRAMING_BYTES + length, 0));
  let at = 0;
  for (const frame of list) at = putFramed(out, at, frame);
  return out;
}
/** Gives `bytes` to a decoder in pieces and returns what comes out. */
function decode(bytes: Uint8Array, piece: () => number, decoder = new FrameDecoder()): (Uint8Array | "garbage")[] {
  const out: (Uint8Array | "garbage")[] = [];
  for (let at = 0; at < bytes.length;) {
    const room = decoder.room, count = Math.min(piece(), bytes.length - at, room.length);
    assert.ok(room.length > 0);
    room.set(bytes.subarray(at, at + count));
    decoder.received(count);
    at += count;
    for (let frame = decoder.next(); frame !== null; frame = decoder.next()) {
      if (frame === "garbage") return [...out, frame];
      out.push(frame.slice());
    }
  }
  return out;
}

Deno.test("frames come out whole, whatever pieces they came in", () => {
  let seed = 3;
  // The lower bits repeat soon.
  const random = (n: number) => ((seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) >>> 8) % n;
  const many = Array.from({ length: 40 }, () => frames[random(4)]!);
  for (const piece of [() => 1e9, () => 1 + random(70_000), () => 1 + random(2000)]) {
    assert.deepEqual(decode(framed(many), piece), many);
  }
  assert.deepEqual(decode(framed(frames), () => 1), frames);
});

Deno.test("half a frame is not given out, and is known to be half", () => {
  const decoder = new FrameDecoder(), bytes = framed([frames[1]!]);
  assert.deepEqual(decode(bytes.subarray(0, bytes.length - 1), () => 100, decoder), []);
  assert.equal(decoder.partial, true);
  decoder.clear();
  assert.deepEqual(decode(bytes, () => 100, decoder), [frames[1]]);
});

Deno.test("a length that no frame has ends the stream; empty and short frames are passed over", () => {
  assert.deepEqual(decode(new TextEncoder().encode("GET / HTTP/1.1\r\n"), () => 100), ["garbage"]);
  assert.deepEqual(decode(Uint8Array.of(0, 1, 0x10, 1), () => 100), ["garbage"]);
  const short = [new Uint8Array(0), new Uint8Array(13), frames[0]!, new Uint8Array(66_000)],
    decoder = new FrameDecoder();
  assert.deepEqual(decode(framed(short), () => 1000, decoder), [frames[0]]);
  assert.equal(decoder.ignored, 3);
});
