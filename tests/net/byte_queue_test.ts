// The queue of a connection's bytes, against an array: in every way that it is filled and emptied, across its growth.

import assert from "node:assert/strict";
import { ByteQueue } from "../../devices/net/user/byte_queue.ts";

Deno.test("bytes come out as they went in, whatever is taken meanwhile", () => {
  const CAPACITY = 100_000, queue = new ByteQueue(CAPACITY), expected: number[] = [];
  let seed = 3, next = 0;
  const random = (n: number) => ((seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) >>> 8) % n;
  const bytes = (count: number) => Uint8Array.from({ length: count }, () => next++);
  for (let n = 0; n < 3000; n++) {
    // Now and then nearly empty, now and then full.
    const much = Math.floor(n / 300) % 2 === 0 ? 3000 : 200;
    switch (random(4)) {
      case 0: {
        const data = bytes(random(much)), put = queue.put(data);
        assert.equal(put, Math.min(data.length, CAPACITY - expected.length));
        expected.push(...data.subarray(0, put));
        next = (expected.at(-1) ?? next - 1) + 1;
        break;
      }
      case 1: {
        // Filled in place, while some are dropped.
        if (queue.space === 0) break;
        const place = queue.free(),
          count = Math.min(place.length, random(much)),
          gone = random(expected.length + 1) >> 4;
        assert.ok(place.length > 0);
        queue.drop(gone);
        expected.splice(0, gone);
        const data = bytes(count);
        place.set(data);
        queue.added(count);
        expected.push(...data);
        break;
      }
      case 2: {
        // Emptied in place, while some come.
        const first = queue.first(), data = bytes(random(much)), put = queue.put(data);
        assert.deepEqual(
          [...first.subarray(0, 50)],
          expected.slice(0, Math.min(50, first.length)).map((byte) => byte & 255),
        );
        expected.push(...data.subarray(0, put));
        next = (expected.at(-1) ?? next - 1) + 1;
        const gone = Math.min(first.length, random(much));
        queue.drop(gone);
        expected.splice(0, gone);
        break;
      }
      case 3: {
        const offset = random(expected.length + 1), into = new Uint8Array(Math.min(60, expected.length - offset));
        if (into.length === 0) break;
        queue.copy(offset, into);
        assert.deepEqual([...into], expected.slice(offset, offset + into.length).map((byte) => byte & 255));
      }
    }
    for (let at = 0; at < expected.length; at++) expected[at]! &= 255;
    next &= 255;
    assert.equal(queue.length, expected.length);
  }
  queue.clear();
  assert.equal(queue.space, CAPACITY);
});
