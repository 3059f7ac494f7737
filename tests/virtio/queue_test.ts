// The split ring, driven over the entropy device: every chain is filled with what its source gives.

import assert from "node:assert/strict";
import { FEATURE, STATUS } from "../../devices/virtio/device.ts";
import { DESC, MAX_QUEUE_SIZE, RING } from "../../devices/virtio/queue.ts";
import { VirtioRng } from "../../devices/virtio/rng.ts";
import { type DriverQueue, FakeDriver, RAM_BASE, REG, SLOT_BASE } from "./driver.ts";

const counting = () => {
  let next = 0;
  return (count: number) => Uint8Array.from({ length: count }, () => next++);
};
const rng = (features?: bigint, size?: number) => new FakeDriver(new VirtioRng(counting())).bringUp(features, size);
const PLAIN = FEATURE.VERSION_1, EVENTS = FEATURE.VERSION_1 | FEATURE.EVENT_IDX;
const isr = (driver: FakeDriver) => {
  const status = driver.read(REG.InterruptStatus);
  driver.write(REG.InterruptACK, status);
  return status;
};

Deno.test("a chain of several pieces is filled in order, direct or indirect", () => {
  const driver = rng(), queue = driver.queues[0]!;
  assert.deepEqual(queue.ask([], [3, 1, 4]), Uint8Array.from({ length: 8 }, (_, n) => n));
  assert.deepEqual(queue.ask([], [2, 2], { indirect: true }), Uint8Array.of(8, 9, 10, 11));
  assert.deepEqual(queue.ask([Uint8Array.of(1, 2)], [2]), Uint8Array.of(12, 13));
  assert.deepEqual(driver.record.errors, []);
});

Deno.test("a chain may end in an indirect table behind direct descriptors", () => {
  const driver = rng(), queue = driver.queues[0]!, table = driver.allocate(32, 16), pa = driver.allocate(64, 1);
  queue.describe(queue.desc, 0, pa, 4, DESC.WRITE | DESC.NEXT, 1);
  queue.describe(queue.desc, 1, table, 32, DESC.INDIRECT);
  queue.describe(table, 0, pa + 10, 4, DESC.WRITE | DESC.NEXT, 1);
  queue.describe(table, 1, pa + 20, 4, DESC.WRITE);
  queue.offer(0);
  queue.kick();
  assert.deepEqual(queue.poll(), [{ head: 0, written: 12 }]);
  assert.deepEqual(driver.get(pa + 20, 4), Uint8Array.of(8, 9, 10, 11));
});

Deno.test("rings wrap, for more rounds than an index has bits", () => {
  const driver = rng(PLAIN, 4), queue = driver.queues[0]!, pa = driver.allocate(8, 1);
  for (let n = 0; n < 4; n++) queue.describe(queue.desc, n, pa, 1, DESC.WRITE);
  for (let n = 0; n < 70_000; n++) {
    queue.offer(n % 4);
    if (n % 3 === 2) queue.kick();
    if (n % 3 === 2) assert.equal(queue.poll().length, 3);
  }
  assert.equal(driver.needsReset, false);
});

Deno.test("what the device writes is told to whoever keeps predecoded code", () => {
  const driver = rng(), queue = driver.queues[0]!;
  driver.dma.length = 0;
  const { room: [place] } = queue.add([], [5]);
  queue.kick();
  const host = driver.memory.place(place!.pa, 1, false);
  assert.ok(driver.dma.some((write) => write.host === host && write.bytes === 5));
  assert.ok(driver.dma.some((write) => write.host === driver.memory.place(queue.used + 4, 1, false)));
});

Deno.test("the driver is interrupted unless it says that it does not want that", () => {
  const driver = rng(PLAIN), queue = driver.queues[0]!;
  queue.ask([], [1]);
  assert.equal(driver.record.level(), true);
  assert.equal(isr(driver), 1);
  assert.equal(driver.record.level(), false);
  driver.set16(queue.avail, RING.NO_INTERRUPT);
  queue.ask([], [1]);
  assert.equal(isr(driver), 0);
  queue.kick();
  assert.equal(isr(driver), 0, "nothing was used");
});

Deno.test("with event indices the driver is interrupted when its index is passed", () => {
  const driver = rng(EVENTS), queue = driver.queues[0]!;
  queue.usedEvent = 2;
  queue.ask([], [1]);
  queue.ask([], [1]);
  assert.equal(isr(driver), 0);
  queue.ask([], [1]);
  assert.equal(isr(driver), 1);
  queue.usedEvent = 4;
  queue.add([], [1]);
  queue.add([], [1]);
  queue.add([], [1]);
  queue.kick();
  assert.equal(queue.poll().length, 3);
  assert.equal(isr(driver), 1, "the index was among those that were passed at once");
  assert.equal(queue.availEvent, 6, "the next kick is wanted for the next entry");
});

Deno.test("a device that does not want kicks says so, by flag or by event index", () => {
  const plain = rng(PLAIN), events = rng(EVENTS);
  plain.transport.queues[0]!.wantsKicks = false;
  assert.equal(plain.get16(plain.queues[0]!.used), RING.NO_NOTIFY);
  plain.transport.queues[0]!.wantsKicks = true;
  assert.equal(plain.get16(plain.queues[0]!.used), 0);
  events.transport.queues[0]!.wantsKicks = false;
  events.queues[0]!.ask([], [1]);
  assert.equal(events.queues[0]!.availEvent, 0);
  events.transport.queues[0]!.wantsKicks = true;
  assert.equal(events.queues[0]!.availEvent, 1);
});

Deno.test("a chain that was put back comes again", () => {
  const driver = rng(EVENTS), queue = driver.transport.queues[0]!;
  driver.queues[0]!.add([], [7]);
  driver.queues[0]!.add([], [8]);
  const first = queue.take()!;
  assert.equal(first.writableBytes, 7);
  queue.putBack(first);
  assert.equal(queue.waiting, 2);
  assert.equal(queue.take()!.writableBytes, 7);
  assert.equal(queue.take()!.writableBytes, 8);
  assert.equal(queue.take(), null);
});

Deno.test("an answer that comes after a reset is dropped", () => {
  const driver = rng(), queue = driver.transport.queues[0]!;
  driver.queues[0]!.add([], [7]);
  const chain = queue.take()!;
  driver.bringUp();
  assert.equal(queue.isStale(chain), true);
  queue.put(chain, 7);
  queue.flush();
  assert.deepEqual(driver.queues[0]!.poll(), []);
  assert.equal(queue.state.inFlight, 0);
});

const MISTAKES: Record<string, (driver: FakeDriver, queue: DriverQueue, pa: number) => void> = {
  "its available index jumped": (_, queue) => queue.availIndex += queue.size + 1,
  "is not one of": (_, queue) => queue.offer(queue.size),
  "longer than its table or has a loop": (_, queue, pa) => {
    queue.describe(queue.desc, 0, pa, 1, DESC.WRITE | DESC.NEXT, 1);
    queue.describe(queue.desc, 1, pa, 1, DESC.WRITE | DESC.NEXT, 0);
    queue.offer(0);
  },
  "descriptor 8 is not one of 8": (_, queue, pa) => {
    queue.describe(queue.desc, 0, pa, 1, DESC.WRITE | DESC.NEXT, 8);
    queue.offer(0);
  },
  "has something to read after its room": (_, queue, pa) => {
    queue.describe(queue.desc, 0, pa, 1, DESC.WRITE | DESC.NEXT, 1);
    queue.describe(queue.desc, 1, pa, 1, 0);
    queue.offer(0);
  },
  "a descriptor has no bytes": (_, queue, pa) => {
    queue.describe(queue.desc, 0, pa, 0, DESC.WRITE);
    queue.offer(0);
  },
  "4 bytes at 0x0 are not in RAM": (_, queue) => {
    queue.describe(queue.desc, 0, 0, 4, DESC.WRITE);
    queue.offer(0);
  },
  [`4 bytes at 0x${SLOT_BASE.toString(16)} are not in RAM`]: (_, queue) => {
    queue.describe(queue.desc, 0, SLOT_BASE, 4, DESC.WRITE);
    queue.offer(0);
  },
  "8 bytes at 0x403ffffc are not in RAM": (driver, queue) => {
    queue.describe(queue.desc, 0, RAM_BASE + driver.ramBytes - 4, 8, DESC.WRITE);
    queue.offer(0);
  },
  "4294967295 bytes at 0x40000000 are not in RAM": (_, queue) => {
    queue.describe(queue.desc, 0, RAM_BASE, 0xffff_ffff, DESC.WRITE);
    queue.offer(0);
  },
  "4 bytes at 0xfffffffffffff": (_, queue) => {
    queue.describe(queue.desc, 0, 0, 4, DESC.WRITE);
    queue.driver.set32(queue.desc, 0xffff_fffe);
    queue.driver.set32(queue.desc + 4, 0xffff_ffff);
    queue.offer(0);
  },
  "an indirect table has 0 bytes": (_, queue, pa) => {
    queue.describe(queue.desc, 0, pa, 0, DESC.INDIRECT);
    queue.offer(0);
  },
  "an indirect table has 17 bytes": (_, queue, pa) => {
    queue.describe(queue.desc, 0, pa, 17, DESC.INDIRECT);
    queue.offer(0);
  },
  "an indirect table is not aligned": (_, queue, pa) => {
    queue.describe(queue.desc, 0, pa + 2, 16, DESC.INDIRECT);
    queue.offer(0);
  },
  "an indirect table is not in RAM": (_, queue) => {
    queue.describe(queue.desc, 0, SLOT_BASE, 16, DESC.INDIRECT);
    queue.offer(0);
  },
  "an indirect descriptor is not the last one": (_, queue, pa) => {
    queue.describe(queue.desc, 0, pa, 16, DESC.INDIRECT | DESC.NEXT, 1);
    queue.offer(0);
  },
};

for (const [what, mistake] of Object.entries(MISTAKES)) {
  Deno.test(`a queue stops the device: ${what}`, () => {
    const driver = rng(), queue = driver.queues[0]!;
    queue.ask([], [1]);
    isr(driver);
    mistake(driver, queue, driver.allocate(256, 16));
    driver.set16(queue.avail + 2, queue.availIndex);
    queue.kick();
    if (what.includes("0xfffffffffffff")) assert.match(driver.record.errors[0]!, /not in RAM/);
    else assert.ok(driver.record.errors[0]!.includes(what), driver.record.errors[0]);
    assert.equal(driver.needsReset, true);
    assert.equal(isr(driver), 2, "the driver is told");
    assert.deepEqual(queue.poll(), []);
    const told = driver.record.errors.length;
    queue.kick();
    assert.equal(driver.record.errors.length, told + 1, "a kick now is a mistake too");
    assert.equal(driver.transport.queues[0]!.take(), null);
    // A reset makes it good again.
    driver.bringUp();
    assert.equal(driver.needsReset, false);
    assert.equal(driver.queues[0]!.ask([], [3]).length, 3);
  });
}

Deno.test("an indirect table inside another is refused, and one that was not negotiated", () => {
  const driver = rng(), queue = driver.queues[0]!, table = driver.allocate(16, 16);
  queue.describe(queue.desc, 0, table, 16, DESC.INDIRECT);
  queue.describe(table, 0, table, 16, DESC.INDIRECT);
  queue.offer(0);
  queue.kick();
  assert.match(driver.record.errors[0]!, /not the last one/);
  const plain = rng(PLAIN);
  plain.queues[0]!.add([], [1], { indirect: true });
  plain.queues[0]!.kick();
  assert.match(plain.record.errors[0]!, /was not negotiated/);
});

Deno.test("a chain of as many descriptors as there may be is taken, one more is not", () => {
  const driver = rng(), queue = driver.queues[0]!;
  assert.equal(queue.ask([], new Array(MAX_QUEUE_SIZE).fill(1), { indirect: true }).length, MAX_QUEUE_SIZE);
  queue.add([], new Array(MAX_QUEUE_SIZE + 1).fill(1), { indirect: true });
  queue.kick();
  assert.equal(driver.needsReset, true);
});

Deno.test("more chains than entries, taken and not answered, stop the device", () => {
  const driver = rng(PLAIN, 4), queue = driver.queues[0]!, device = driver.transport.queues[0]!;
  queue.add([], [1]);
  for (let n = 0; n < 4; n++) {
    assert.notEqual(device.take(), null);
    queue.offer(0);
  }
  assert.equal(device.take(), null);
  assert.equal(driver.needsReset, true);
});

const BAD_RINGS: Record<string, (driver: FakeDriver, queue: DriverQueue) => void> = {
  "its size is 3": (driver) => driver.write(REG.QueueNum, 3),
  "its size is 0": (driver) => driver.write(REG.QueueNum, 0),
  "its size is 16": (driver) => driver.write(REG.QueueNum, 16),
  "its descriptor table is not aligned": (driver, queue) => driver.write(REG.QueueDescLow, queue.desc + 8),
  "its available ring is not aligned": (driver, queue) => driver.write(REG.QueueDriverLow, queue.avail + 1),
  "its used ring is not aligned": (driver, queue) => driver.write(REG.QueueDeviceLow, queue.used + 2),
  "its descriptor table is not in RAM": (driver) => driver.write(REG.QueueDescLow + 4, 0xffff_ffff),
  "its available ring is not in RAM": (driver) => driver.write(REG.QueueDriverLow, SLOT_BASE),
  "its used ring is not in RAM": (driver) => driver.write(REG.QueueDeviceLow, RAM_BASE + driver.ramBytes - 8),
};
for (const [what, mistake] of Object.entries(BAD_RINGS)) {
  Deno.test(`a ring stops the device: ${what}`, () => {
    const driver = rng(), queue = driver.queues[0]!;
    driver.write(REG.QueueReady, 0);
    mistake(driver, queue);
    driver.write(REG.QueueReady, 1);
    assert.ok(driver.record.errors[0]!.includes(what), driver.record.errors[0]);
    assert.equal(driver.needsReset, true);
    assert.equal(driver.read(REG.QueueReady), 0);
    assert.equal(driver.status & STATUS.DRIVER_OK, STATUS.DRIVER_OK);
  });
}

Deno.test("a queue goes on where a copy of its state and memory was taken", () => {
  const driver = rng(EVENTS), queue = driver.queues[0]!, { bytes } = driver.memory;
  queue.ask([], [3]);
  const copy = bytes.slice(), { availIndex, usedIndex } = queue;
  assert.equal(driver.transport.busy, false);
  for (let n = 0; n < 3; n++) queue.ask([], [3]);
  driver.write(REG.Status, 0);
  assert.equal(driver.transport.queues[0]!.live, false);
  bytes.set(copy);
  driver.transport.restored();
  Object.assign(queue, { availIndex, usedIndex });
  assert.equal(queue.ask([], [5]).length, 5);
  assert.deepEqual(driver.record.errors, []);
});
