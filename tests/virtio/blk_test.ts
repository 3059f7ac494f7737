// The block device: what a driver sends and gets, over a backend in memory that answers at once or when it is told to.

import assert from "node:assert/strict";
import { BLK_STATUS, BLK_TYPE, VirtioBlk, type VirtioBlkOptions } from "../../devices/virtio/blk.ts";
import type { BlockBackend, Done } from "../../devices/virtio/block_backend.ts";
import { FEATURE } from "../../devices/virtio/device.ts";
import { seededRandom } from "../../src/base/random.ts";
import { virtioInfo, virtioInfoLines } from "../../devices/virtio/info.ts";
import { FakeDriver, REG } from "./driver.ts";
import { Dice } from "./tools.ts";

const SECTOR = 512;

class MemoryDisk implements BlockBackend {
  readonly name = "memory";
  readonly sizeBytes: number = 64 * SECTOR;
  readonly clusterBytes = 4096;
  readonly bytes = new Uint8Array(this.sizeBytes);
  readonly log: string[] = [];
  /** Operations that wait for `pump`, when `late`. */
  readonly waiting: (() => void)[] = [];
  good = true;
  closed = false;
  constructor(readonly readOnly = false, readonly canDiscard = true, readonly late = false) {}

  read(offset: number, pieces: readonly Uint8Array[], done: Done): void {
    this.#do(`read ${offset}`, done, () => {
      let at = offset;
      for (const piece of pieces) piece.set(this.bytes.subarray(at, at += piece.length));
    });
  }
  write(offset: number, pieces: readonly Uint8Array[], done: Done, _durable?: boolean): void {
    this.#do(`write ${offset}`, done, () => {
      let at = offset;
      for (const piece of pieces) {
        this.bytes.set(piece, at);
        at += piece.length;
      }
    });
  }
  flush(done: Done): void {
    this.#do("flush", done, () => {});
  }
  discard(offset: number, bytes: number, done: Done): void {
    this.#do(`discard ${offset} ${bytes}`, done, () => {});
  }
  zero(offset: number, bytes: number, mayUnmap: boolean, done: Done): void {
    this.#do(`zero ${offset} ${bytes} ${mayUnmap}`, done, () => this.bytes.fill(0, offset, offset + bytes));
  }
  pump(): boolean {
    const acts = this.waiting.splice(0);
    for (const act of acts) act();
    return acts.length > 0;
  }
  get hasInput(): boolean {
    return this.waiting.length > 0;
  }
  abandon(): void {
    this.waiting.length = 0;
  }
  close(): void {}

  #do(what: string, done: Done, act: () => void): void {
    this.log.push(what);
    const all = () => {
      if (this.good) act();
      done(this.good);
    };
    if (this.late) this.waiting.push(all);
    else all();
  }
}

function setUp(disk = new MemoryDisk(), more: Partial<VirtioBlkOptions> = {}, features?: bigint) {
  const device = new VirtioBlk({
    backend: disk,
    serial: "serial",
    queues: 1,
    queueSize: 64,
    writeCache: true,
    ...more,
  });
  const driver = new FakeDriver(device).bringUp(features);
  return { disk, device, driver, queue: driver.queues[0]! };
}

function header(type: number, sector = 0): Uint8Array {
  const bytes = new Uint8Array(16), view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setBigUint64(8, BigInt(sector), true);
  return bytes;
}
function range(sector: number, sectors: number, flags = 0): Uint8Array {
  const bytes = new Uint8Array(16), view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(sector), true);
  view.setUint32(8, sectors, true);
  view.setUint32(12, flags, true);
  return bytes;
}
const sectors = (count: number, first: number) =>
  Uint8Array.from({ length: count * SECTOR }, (_, n) => (first + Math.floor(n / SECTOR) * 7 + n) & 0xff);

Deno.test("what is written is read, in one piece or many", () => {
  const { queue, disk, driver } = setUp(), data = sectors(4, 1);
  assert.deepEqual(queue.ask([header(BLK_TYPE.OUT, 3), data], [1]), Uint8Array.of(BLK_STATUS.OK));
  assert.deepEqual(disk.bytes.subarray(3 * SECTOR, 7 * SECTOR), data);
  const answer = queue.ask([header(BLK_TYPE.IN, 3)], [100, 412, 1536, 1]);
  assert.deepEqual(answer, Uint8Array.of(...data, BLK_STATUS.OK));
  const cut = header(BLK_TYPE.OUT, 9);
  queue.ask([cut.subarray(0, 5), cut.subarray(5), data.subarray(0, 700), data.subarray(700)], [1], { indirect: true });
  assert.deepEqual(disk.bytes.subarray(9 * SECTOR, 13 * SECTOR), data);
  // Header and data may share a piece, and so may data and status (§2.7.4.2).
  const whole = queue.ask([header(BLK_TYPE.IN, 9)], [4 * SECTOR + 1]);
  assert.deepEqual(whole, Uint8Array.of(...data, BLK_STATUS.OK));
  assert.deepEqual(driver.record.errors, []);
});

Deno.test("what a request cannot have is answered with an error and does nothing", () => {
  const { queue, disk, driver } = setUp();
  const status = (sent: Uint8Array[], room: number[]) => queue.ask(sent, [...room, 1]).at(-1);
  const answers = [
    status([header(BLK_TYPE.IN, 64)], [SECTOR]),
    status([header(BLK_TYPE.IN, 63)], [2 * SECTOR]),
    status([header(BLK_TYPE.IN, 2 ** 53)], [SECTOR]),
    status([header(BLK_TYPE.IN)], [SECTOR - 1]),
    status([header(BLK_TYPE.OUT, 64), sectors(1, 0)], []),
    status([header(BLK_TYPE.OUT), sectors(1, 0).subarray(1)], []),
    status([header(BLK_TYPE.OUT, Number.MAX_SAFE_INTEGER), sectors(1, 0)], []),
  ];
  assert.deepEqual(answers, answers.map(() => BLK_STATUS.IOERR));
  assert.equal(status([header(2)], []), BLK_STATUS.UNSUPP);
  assert.equal(status([header(14), range(0, 1)], []), BLK_STATUS.UNSUPP);
  assert.deepEqual(disk.log, []);
  assert.equal(driver.needsReset, false);
});

Deno.test("a request without header or status stops the device", () => {
  for (const [sent, room] of [[[header(0).subarray(1)], [1]], [[header(0)], []], [[], [100]]] as const) {
    const { queue, driver } = setUp();
    queue.add([...sent], [...room]);
    queue.kick();
    assert.equal(driver.needsReset, true);
    assert.match(driver.record.errors[0]!, /no header or no status/);
  }
});

Deno.test("the serial number has 20 bytes", () => {
  const { queue } = setUp(new MemoryDisk(), { serial: "a serial number that is too long" });
  assert.deepEqual(
    queue.ask([header(BLK_TYPE.GET_ID)], [20, 1]),
    new TextEncoder().encode("a serial number that\0"),
  );
});

Deno.test("a flush is a flush; without a write cache every write has one", () => {
  const F_FLUSH = 1n << 9n, WCE = 1n << 11n;
  const both = setUp();
  both.queue.ask([header(BLK_TYPE.OUT), sectors(1, 0)], [1]);
  both.queue.ask([header(BLK_TYPE.FLUSH)], [1]);
  assert.deepEqual(both.disk.log, ["write 0", "flush"]);
  assert.equal(both.driver.read(REG.Config + 32, 1), 1);
  both.driver.write(REG.Config + 32, 0, 1);
  both.queue.ask([header(BLK_TYPE.OUT), sectors(1, 0)], [1]);
  assert.deepEqual(both.disk.log.slice(2), ["write 0", "flush"]);

  const none = setUp(new MemoryDisk(), {}, FEATURE.VERSION_1);
  none.queue.ask([header(BLK_TYPE.OUT), sectors(1, 0)], [1]);
  assert.deepEqual(none.disk.log, ["write 0", "flush"], "a driver that cannot flush");
  none.driver.write(REG.Config + 32, 1, 1);
  assert.match(none.driver.record.errors[0]!, /read-only/);

  const flushOnly = setUp(new MemoryDisk(), {}, FEATURE.VERSION_1 | F_FLUSH);
  flushOnly.queue.ask([header(BLK_TYPE.OUT), sectors(1, 0)], [1]);
  assert.deepEqual(flushOnly.disk.log, ["write 0"]);

  const durable = Object.assign(new MemoryDisk(), { canBeDurable: true }), asked: (boolean | undefined)[] = [];
  durable.write = (_, __, done, durably) => {
    asked.push(durably);
    done(true);
  };
  const forced = setUp(durable);
  forced.queue.ask([header(BLK_TYPE.OUT), sectors(1, 0)], [1]);
  forced.driver.write(REG.Config + 32, 0, 1);
  forced.queue.ask([header(BLK_TYPE.OUT), sectors(1, 0)], [1]);
  assert.deepEqual([asked, durable.log], [[false, true], []], "a backend that needs no flush");

  const through = setUp(new MemoryDisk(), { writeCache: false }, FEATURE.VERSION_1 | F_FLUSH | WCE);
  through.queue.ask([header(BLK_TYPE.OUT), sectors(1, 0)], [1]);
  assert.deepEqual(through.disk.log, ["write 0", "flush"]);
});

Deno.test("discard and write zeroes take ranges; one bad range and none is acted on", () => {
  const { queue, disk } = setUp();
  disk.bytes.fill(9);
  const ask = (type: number, ...ranges: Uint8Array[]) => queue.ask([header(type), ...ranges], [1])[0];
  assert.equal(ask(BLK_TYPE.DISCARD, range(0, 8), range(16, 1)), BLK_STATUS.OK);
  assert.equal(ask(BLK_TYPE.WRITE_ZEROES, range(1, 2)), BLK_STATUS.OK);
  assert.equal(ask(BLK_TYPE.WRITE_ZEROES, range(5, 1, 1)), BLK_STATUS.OK);
  assert.deepEqual(disk.log, ["discard 0 4096", "discard 8192 512", "zero 512 1024 false", "zero 2560 512 true"]);
  assert.equal(disk.bytes[511] === 9 && disk.bytes[512] === 0 && disk.bytes[1536] === 9, true);
  assert.equal(ask(BLK_TYPE.DISCARD, range(0, 1, 1)), BLK_STATUS.UNSUPP);
  assert.equal(ask(BLK_TYPE.WRITE_ZEROES, range(0, 1, 2)), BLK_STATUS.UNSUPP);
  assert.equal(ask(BLK_TYPE.DISCARD, range(0, 1), range(63, 2)), BLK_STATUS.IOERR);
  assert.equal(ask(BLK_TYPE.WRITE_ZEROES, range(0, 1), range(1, 1)), BLK_STATUS.IOERR);
  assert.equal(ask(BLK_TYPE.WRITE_ZEROES, range(2 ** 52, 1)), BLK_STATUS.IOERR);
  assert.equal(ask(BLK_TYPE.WRITE_ZEROES, range(0, 1).subarray(1)), BLK_STATUS.IOERR);
  assert.equal(ask(BLK_TYPE.WRITE_ZEROES), BLK_STATUS.IOERR);
  assert.equal(disk.log.length, 4);
});

Deno.test("a disk that is read-only, or does not discard, offers and does what it can", () => {
  const readOnly = setUp(new MemoryDisk(true));
  assert.equal(readOnly.driver.offered() & (1n << 5n | 1n << 13n | 1n << 14n), 1n << 5n);
  assert.equal(readOnly.queue.ask([header(BLK_TYPE.OUT), sectors(1, 0)], [1])[0], BLK_STATUS.IOERR);
  assert.equal(readOnly.queue.ask([header(BLK_TYPE.WRITE_ZEROES), range(0, 1)], [1])[0], BLK_STATUS.UNSUPP);
  assert.equal(readOnly.queue.ask([header(BLK_TYPE.FLUSH)], [1])[0], BLK_STATUS.OK);
  const keeps = setUp(new MemoryDisk(false, false));
  assert.equal(keeps.driver.offered() & (1n << 13n), 0n);
  assert.equal(keeps.queue.ask([header(BLK_TYPE.DISCARD), range(0, 1)], [1])[0], BLK_STATUS.UNSUPP);
});

Deno.test("the configuration says how large the disk is and what it can", () => {
  const { driver } = setUp(new MemoryDisk(), { queues: 4, queueSize: 128 });
  const at = (offset: number, bytes = 4) => driver.read(REG.Config + offset, bytes);
  assert.deepEqual([at(0), at(4), at(12), at(20), at(28), at(34, 2), at(44)], [64, 0, 126, 512, 8, 4, 8]);
  assert.equal(driver.offered() & (1n << 12n), 1n << 12n);
  assert.equal(driver.queues.length, 4);
  for (const queue of driver.queues) assert.equal(queue.ask([header(BLK_TYPE.IN)], [SECTOR, 1]).at(-1), 0);
});

Deno.test("answers come when the backend answers, and a batch interrupts once", () => {
  const { queue, driver, disk, device } = setUp(new MemoryDisk(false, true, true));
  disk.bytes.set(sectors(1, 5));
  for (let n = 0; n < 3; n++) queue.add([header(BLK_TYPE.IN)], [SECTOR, 1]);
  queue.kick();
  assert.deepEqual(queue.poll(), []);
  assert.equal(device.hasInput, true);
  driver.transport.pump();
  assert.deepEqual(queue.poll().map(({ written }) => written), [SECTOR + 1, SECTOR + 1, SECTOR + 1]);
  assert.equal(driver.transport.queues[0]!.state.interrupts, 1);
});

Deno.test("errors of the backend reach the driver", () => {
  const { queue, disk, device } = setUp();
  disk.good = false;
  for (
    const [sent, room] of [[[header(BLK_TYPE.IN)], [SECTOR]], [[header(BLK_TYPE.OUT), sectors(1, 0)], []]] as const
  ) {
    const { head, room: places } = queue.add([...sent], [...room, 1]);
    queue.kick();
    assert.equal(queue.poll()[0]!.head, head);
    assert.equal(queue.driver.get(places.at(-1)!.pa, 1)[0], BLK_STATUS.IOERR);
  }
  assert.equal(device.counters.errors, 2);
});

Deno.test("what is in flight when the driver resets the device is not answered", () => {
  const { queue, driver, disk } = setUp(new MemoryDisk(false, true, true));
  queue.add([header(BLK_TYPE.IN)], [SECTOR, 1]);
  queue.kick();
  const [late] = disk.waiting;
  driver.bringUp();
  assert.equal(disk.waiting.length, 0);
  late!();
  assert.deepEqual(driver.queues[0]!.poll(), []);
});

Deno.test("no request, however mad, gets more than an answer", () => {
  const dice = new Dice(seededRandom(5)), disk = new MemoryDisk();
  const { driver } = setUp(disk, { queues: 2 });
  let answered = 0;
  for (let round = 0; round < 300; round++) {
    driver.bringUp();
    for (const queue of driver.queues) {
      for (let n = 0; n < 6; n++) {
        const request = header(dice.pick(0, 1, 4, 8, 11, 13, dice.word()), dice.pick(dice.below(70), dice.word()));
        const ranges = range(dice.below(70), dice.pick(1, 2, dice.word()), dice.below(3));
        const sent = [request, dice.pick(new Uint8Array(SECTOR), ranges, new Uint8Array(1 + dice.below(3000)))];
        const room = [dice.pick(1, SECTOR, 20, 1 + dice.below(3000)), 1].slice(dice.below(3));
        queue.add(sent.slice(0, 1 + dice.below(2)), room, { indirect: dice.below(2) === 0 });
      }
      queue.kick();
      answered += queue.poll().length;
    }
  }
  assert.ok(answered > 1000, String(answered));
});

Deno.test("what a device and its queues do can be looked at", () => {
  const { driver, queue } = setUp(), before = virtioInfo(driver.transport);
  assert.deepEqual(before.status, ["ACKNOWLEDGE", "DRIVER", "DRIVER_OK", "FEATURES_OK"]);
  assert.ok(before.negotiated.includes("FLUSH") && before.negotiated.includes("EVENT_IDX"));
  for (let n = 0; n < 3; n++) queue.ask([header(BLK_TYPE.IN)], [SECTOR, 1]);
  const { queues: [first], counters } = virtioInfo(driver.transport);
  assert.deepEqual([first!.chains, first!.taken, first!.used, first!.inFlight, counters["reads"]], [3, 3, 3, 0, 3]);
  queue.offer(99);
  queue.kick();
  const lines = virtioInfoLines(virtioInfo(driver.transport));
  assert.match(
    lines[0]!,
    /^virtio-mmio\.31: virtio-blk-device, .*DEVICE_NEEDS_RESET: queue 0: descriptor 99 is not one/,
  );
});

Deno.test("one kick moves only so much; the rest comes between slices", () => {
  const disk = new MemoryDisk(), { driver, queue, device } = setUp(disk, { queueSize: 16 });
  // Each request reads the whole disk again and again into the same megabytes of RAM.
  Object.assign(disk, { sizeBytes: 2 ** 30, read: (_: number, __: unknown, done: Done) => done(true) });
  const request = driver.allocate(32, 16), table = driver.allocate(16 * 22, 16), room = driver.allocate(2 ** 21, 16);
  driver.put(request, header(BLK_TYPE.IN));
  queue.describe(table, 0, request, 16, 1, 1);
  for (let n = 1; n <= 20; n++) queue.describe(table, n, room, 2 ** 21, 3, n + 1);
  queue.describe(table, 21, request + 16, 1, 2);
  queue.describe(queue.desc, 0, table, 16 * 22, 4);
  for (let n = 0; n < 8; n++) queue.offer(0);
  queue.kick();
  assert.equal(queue.poll().length, 2);
  assert.equal(device.hasInput, true);
  for (let n = 0; n < 4; n++) driver.transport.pump();
  assert.equal(queue.poll().length, 6);
  assert.equal(device.hasInput, false);
});

Deno.test("flushes, zeros and discards are counted by what they cost", () => {
  const long = range(0, 2 ** 17),
    costs: [number, Uint8Array[], number][] = [
      [BLK_TYPE.FLUSH, [], 16],
      [BLK_TYPE.WRITE_ZEROES, [long], 1],
      [BLK_TYPE.DISCARD, new Array(16).fill(long), 1],
    ];
  for (const [type, ranges, atOnce] of costs) {
    const disk = new MemoryDisk(), { driver, queue, device } = setUp(disk);
    Object.assign(disk, { sizeBytes: 2 ** 30, zero: (_: number, __: number, ___: boolean, done: Done) => done(true) });
    for (let n = 0; n < 20; n++) queue.add([header(type), ...ranges], [1], { indirect: true });
    queue.kick();
    assert.equal(queue.poll().length, atOnce);
    let answered = atOnce;
    for (let n = 0; n < 20 && device.hasInput; n++) {
      driver.transport.pump();
      answered += queue.poll().length;
    }
    assert.equal(answered, 20);
  }
});

Deno.test("a storm of kicks with nothing behind them costs nothing; a ring that is offered again is served again", () => {
  const { queue, driver, disk, device } = setUp();
  for (let n = 0; n < 20_000; n++) queue.kick();
  for (let n = 0; n < 1000; n++) driver.write(REG.QueueNotify, n);
  assert.deepEqual([disk.log.length, driver.needsReset, device.hasInput], [0, false, false]);
  const { head } = queue.add([header(BLK_TYPE.IN)], [SECTOR, 1]);
  for (let n = 0; n < 5000; n++) {
    queue.kick();
    queue.poll();
    queue.offer(head);
  }
  assert.equal(disk.log.length, 5000);
});

Deno.test("a request with more data than any may have is an error, though the disk is large enough", () => {
  const disk = new MemoryDisk(), { driver, queue } = setUp(disk);
  Object.assign(disk, { sizeBytes: 2 ** 40 });
  // The same 2 MiB, 129 times.
  const request = driver.allocate(32, 16), table = driver.allocate(16 * 131, 16), room = driver.allocate(2 ** 21, 16);
  driver.put(request, header(BLK_TYPE.IN));
  queue.describe(table, 0, request, 16, 1, 1);
  for (let n = 1; n <= 129; n++) queue.describe(table, n, room, 2 ** 21, 3, n + 1);
  queue.describe(table, 130, request + 16, 1, 2);
  queue.describe(queue.desc, 0, table, 16 * 131, 4);
  queue.offer(0);
  queue.kick();
  assert.equal(queue.poll().length, 1);
  assert.equal(queue.driver.get(request + 16, 1)[0], BLK_STATUS.IOERR);
  assert.deepEqual(disk.log, []);
});

Deno.test("a disk that is read over its own rings, tables and headers stops the device at worst", () => {
  const dice = new Dice(seededRandom(9));
  let stopped = 0, answered = 0;
  for (let round = 0; round < 30; round++) {
    const disk = new MemoryDisk(), { driver, queue } = setUp(disk, { queueSize: 16 });
    for (let at = 0; at < disk.bytes.length; at += 2) disk.bytes[at] = dice.pick(0, 0, 1, 2, 7, dice.below(256));
    const request = driver.allocate(32, 16), status = driver.allocate(16, 16);
    driver.put(request, header(BLK_TYPE.IN, dice.below(60)));
    for (let n = 0; n < 4; n++) {
      const target = dice.pick(queue.desc, queue.avail, queue.used, request) - dice.pick(0, 0, 64);
      queue.describe(queue.desc, 0, request, 16, 1, 1);
      queue.describe(queue.desc, 1, Math.max(target, queue.desc), SECTOR, 3, 2);
      queue.describe(queue.desc, 2, status, 1, 2);
      queue.offer(0);
      queue.kick();
      answered++;
    }
    driver.transport.pump();
    if (driver.needsReset) stopped++;
    // It comes back with a reset.
    driver.bringUp();
    assert.equal(driver.needsReset, false);
    assert.equal(driver.queues[0]!.ask([header(BLK_TYPE.IN)], [SECTOR, 1]).at(-1), BLK_STATUS.OK);
  }
  assert.ok(stopped > 2 && stopped < answered, `${stopped} of ${answered}`);
});
