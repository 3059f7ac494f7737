// The ring of records: order, wrapping, refusal, and two threads at once.

import assert from "node:assert/strict";
import { FrameRing } from "../../devices/net/frame_ring.ts";

const make = (capacity: number) => new FrameRing(new SharedArrayBuffer(FrameRing.sizeBytes(capacity)), 0, capacity);

Deno.test("records of any length come out as they went in, for many rounds", () => {
  const ring = make(256), waiting: number[][] = [];
  let seed = 7;
  // The lower bits repeat soon.
  const random = (n: number) => ((seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) >>> 8) % n;
  for (let n = 0; n < 50_000; n++) {
    const data = Array.from({ length: random(ring.longestBytes + 1) }, () => random(256));
    if (random(2) === 0) {
      if (ring.push(Uint8Array.from(data))) waiting.push(data);
      else assert.ok(waiting.length > 0, "an empty ring has room for any record");
    } else {
      const record = ring.peek();
      assert.deepEqual(record === null ? undefined : [...record], waiting.shift());
      if (record !== null) ring.release();
    }
  }
});

Deno.test("a record may turn out shorter than what was reserved, and is not seen before it is committed", () => {
  const ring = make(256);
  ring.reserve(100)!.set([1, 2, 3]);
  assert.equal(ring.peek(), null);
  ring.commit(3);
  assert.deepEqual(ring.peek()?.slice(), Uint8Array.of(1, 2, 3));
  ring.release();
  assert.equal(ring.empty, true);
});
