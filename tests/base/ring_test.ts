// Byte rings: bounded, in order, across the wrap of their counters.

import assert from "node:assert/strict";
import { ByteRing } from "../../src/base/ring.ts";

const ring = (sizeBytes = 128 + 64) => new ByteRing(new SharedArrayBuffer(4096), 256, sizeBytes);
const bytes = (...values: number[]) => Uint8Array.from(values);

Deno.test("a ring gives back what was put in, in order, across its end", () => {
  const r = ring();
  assert.equal(r.capacityBytes, 64);
  let put = 0, got = 0;
  for (let step = 0; step < 1000; step++) {
    const data = Uint8Array.from({ length: step % 50 }, () => put++ & 0xff);
    const count = r.write(data);
    put -= data.length - count;
    for (const byte of r.read(step % 47)) assert.equal(byte, got++ & 0xff);
  }
  for (const byte of r.read()) assert.equal(byte, got++ & 0xff);
  assert.equal(got, put);
});

Deno.test("a full ring refuses bytes and an empty one has none", () => {
  const r = ring();
  assert.equal(r.pop(), -1);
  assert.equal(r.write(new Uint8Array(100)), 64);
  assert.equal(r.space, 0);
  assert.equal(r.push(1), false);
  assert.equal(r.pop(), 0);
  assert.equal(r.push(7), true);
  assert.equal(r.length, 64);
});

Deno.test("single bytes and blocks mix", () => {
  const r = ring();
  r.push(1);
  r.write(bytes(2, 3));
  assert.equal(r.pop(), 1);
  assert.deepEqual(r.read(), bytes(2, 3));
});

Deno.test("dropped counts are taken once; closing shows to the other end", () => {
  const r = ring();
  r.countDropped(3);
  assert.equal(r.takeDropped(), 3);
  assert.equal(r.takeDropped(), 0);
  assert.equal(r.closed, false);
  r.close();
  assert.equal(r.closed, true);
});
