// The memory balloon: pages given and taken back, numbers that are no pages', statistics, reports of free pages, and memory
// that the host really gets back.

import assert from "node:assert/strict";
import { openPageRelease } from "../../devices/host/page_release.ts";
import { STATUS } from "../../devices/virtio/device.ts";
import { type BalloonBackend, POLL, VirtioBalloon } from "../../devices/virtio/balloon.ts";
import { seededRandom } from "../../src/base/random.ts";
import { FakeDriver, RAM_BASE, REG } from "./driver.ts";
import { Dice } from "./tools.ts";

const PAGE = 4096, FIRST_PAGE = RAM_BASE / PAGE;
/** Where the driver's RAM lies in the shared memory, see driver.ts. */
const RAM_HOST = 0x1_0000;
const F = { STATS_VQ: 1n << 1n, DEFLATE_ON_OOM: 1n << 2n, PAGE_REPORTING: 1n << 5n };
const VERSION_1 = 1n << 32n;

class Host implements BalloonBackend {
  readonly words: number[] = [];
  /** Pages of the guest's RAM, counted from its first: the first one and how many. */
  readonly released: [number, number][] = [];
  next(): Uint8Array | null {
    const word = this.words[0];
    return word === undefined ? null : new Uint8Array(Uint32Array.of(word).buffer);
  }
  taken(): void {
    this.words.shift();
  }
  get hasInput(): boolean {
    return this.words.length > 0;
  }
  release(host: number, bytes: number): void {
    assert.ok(host % PAGE === 0 && bytes % PAGE === 0 && bytes > 0);
    this.released.push([(host - RAM_HOST) / PAGE, bytes / PAGE]);
  }
}

function setUp(options: { deflateOnOom?: boolean; reportsFreePages?: boolean } = {}, features?: bigint) {
  const backend = new Host();
  const device = new VirtioBalloon({ backend, deflateOnOom: false, reportsFreePages: false, ...options });
  const driver = new FakeDriver(device, { ramBytes: 0x80_0000 });
  driver.bringUp(features ?? driver.offered());
  const pages = (...numbers: number[]) => new Uint8Array(Uint32Array.from(numbers).buffer);
  return { backend, device, driver, queues: driver.queues, pages };
}

Deno.test("options choose features", () => {
  const own = (options: Parameters<typeof setUp>[0]) => setUp(options).driver.offered() & 0xffn;
  assert.equal(own({}), F.STATS_VQ);
  assert.equal(own({ deflateOnOom: true }), F.STATS_VQ | F.DEFLATE_ON_OOM);
  assert.equal(own({ reportsFreePages: true }), F.STATS_VQ | F.PAGE_REPORTING);
});

Deno.test("what the host wants is in the configuration, with an interrupt, and stays over a reset", () => {
  const { backend, device, driver } = setUp();
  assert.equal(driver.read(REG.InterruptStatus), 0);
  const generation = driver.read(REG.ConfigGeneration);
  backend.words.push(300);
  assert.equal(device.hasInput, true);
  driver.transport.pump();
  assert.equal(device.hasInput, false);
  assert.equal(driver.read(REG.Config), 300);
  assert.equal(driver.read(REG.InterruptStatus), 2);
  assert.notEqual(driver.read(REG.ConfigGeneration), generation);
  driver.write(REG.InterruptACK, 2);
  // The same again is nothing new.
  backend.words.push(300);
  driver.transport.pump();
  assert.equal(driver.read(REG.InterruptStatus), 0);
  driver.write(REG.Config + 4, 250);
  assert.equal(driver.read(REG.Config + 4), 250);
  assert.equal(device.actualPages, 250);
  driver.write(REG.Config, 7);
  driver.write(REG.Config + 4, 7, 1);
  assert.equal(driver.record.errors.length, 2);
  assert.equal(device.wantedPages, 300);
  driver.write(REG.Status, 0);
  assert.deepEqual([device.wantedPages, device.actualPages], [300, 0]);
});

Deno.test("pages are given back together with their neighbours, once", () => {
  const { backend, device, driver, queues, pages } = setUp();
  const numbers = [700, 703, 701, 702, 900, 1000, 1000, 999].map((page) => FIRST_PAGE + page);
  driver.dma.length = 0;
  queues[0]!.ask([pages(...numbers)], []);
  assert.deepEqual(backend.released, [[700, 4], [900, 1], [999, 2]]);
  // Code that was there is no longer what it was.
  assert.deepEqual(driver.dma.filter(({ bytes }) => bytes >= PAGE).map(({ bytes }) => bytes / PAGE), [4, 1, 2]);
  queues[1]!.ask([pages(...numbers.slice(0, 3))], []);
  assert.equal(device.counters.takenPages, 8);
  assert.equal(device.counters.returnedPages, 3);
  assert.equal(backend.released.length, 3);
});

Deno.test("numbers that are no page of RAM are passed over, and told of once", () => {
  const { backend, device, driver, queues, pages } = setUp(), last = 0x80_0000 / PAGE - 1;
  queues[0]!.ask([pages(0, FIRST_PAGE - 1, FIRST_PAGE + last, FIRST_PAGE + last + 1, 0xffff_ffff)], []);
  assert.deepEqual(backend.released, [[last, 1]]);
  assert.equal(device.counters.badPages, 4);
  assert.equal(driver.record.errors.length, 1);
  queues[1]!.ask([pages(5)], []);
  assert.equal(device.counters.returnedPages, 0);
  // Lists that are none: half a number, with room for an answer, too long.
  queues[0]!.ask([new Uint8Array(7)], []);
  queues[0]!.ask([pages(FIRST_PAGE + 800)], [4]);
  queues[0]!.ask([new Uint8Array(4 * 65537)], []);
  assert.equal(backend.released.length, 1);
  assert.equal(driver.record.errors.length, 4);
  assert.equal(driver.needsReset, false);
});

Deno.test("a driver with much to give is heard in parts", () => {
  const { backend, device, driver, queues, pages } = setUp();
  const many = pages(...new Array(40_000).fill(FIRST_PAGE + 1500));
  for (let n = 0; n < 5; n++) queues[0]!.add([many], []);
  queues[0]!.kick();
  assert.equal(queues[0]!.poll().length, 2);
  assert.equal(device.hasInput, true);
  driver.transport.pump();
  assert.equal(queues[0]!.poll().length, 2);
  driver.transport.pump();
  assert.equal(queues[0]!.poll().length, 1);
  assert.equal(device.hasInput, false);
  assert.equal(backend.released.length, 5);
});

Deno.test("statistics are heard, and asked for again", () => {
  const { backend, device, driver, queues } = setUp();
  const stats = (...pairs: [number, bigint][]) => {
    const bytes = new Uint8Array(10 * pairs.length), view = new DataView(bytes.buffer);
    pairs.forEach(([tag, value], n) => {
      view.setUint16(10 * n, tag, true);
      view.setBigUint64(10 * n + 2, value, true);
    });
    return bytes;
  };
  const queue = queues[2]!;
  queue.add([stats([5, 4096n], [4, 1024n], [0, 0xffff_ffff_ffff_ffffn], [99, 1n])], []);
  queue.kick();
  assert.deepEqual([...device.stats], [["stat-total-memory", 4096n], ["stat-free-memory", 1024n]]);
  assert.deepEqual(queue.poll(), []);
  // A snapshot could be taken meanwhile.
  assert.equal(driver.transport.busy, false);
  for (let n = 1; n < 5; n++) {
    backend.words.push(POLL);
    driver.transport.pump();
    assert.equal(queue.poll().length, 1);
    // With event indices, too, the device hears of the next one.
    assert.equal(queue.availEvent, n);
    queue.add([stats([4, BigInt(n)])], []);
    queue.kick();
    assert.deepEqual([...device.stats], [["stat-free-memory", BigInt(n)]]);
  }
  queue.add([new Uint8Array(5000)], []);
  backend.words.push(POLL, POLL, POLL);
  driver.transport.pump();
  assert.equal(queue.poll().length, 2);
  assert.equal(driver.needsReset, false);
});

for (
  const [name, features, index] of [
    ["as Linux numbers its queue", F.STATS_VQ | F.PAGE_REPORTING, 3],
    ["as the standard numbers its queue", F.STATS_VQ | F.PAGE_REPORTING, 4],
    ["as Linux does without statistics", F.PAGE_REPORTING, 2],
  ] as const
) {
  Deno.test(`free pages are reported, ${name}`, () => {
    const { backend, device, driver, queues } = setUp({ reportsFreePages: true }, features | VERSION_1);
    const queue = queues[index]!, base = RAM_BASE + 0x40_0000;
    // Whole pages, pages with a rest at both ends, and less than a page.
    queue.describe(queue.desc, 0, base, 8 * PAGE, 3, 1);
    queue.describe(queue.desc, 1, base + 16 * PAGE + 100, 2 * PAGE, 3, 2);
    queue.describe(queue.desc, 2, base + 32 * PAGE + 1, PAGE, 2);
    queue.offer(0);
    queue.kick();
    assert.deepEqual(queue.poll().map(({ written }) => written), [0]);
    assert.deepEqual(backend.released, [[1024, 8], [1024 + 17, 1]]);
    assert.equal(device.counters.reportedBytes, 9 * PAGE);
    assert.equal(driver.needsReset, false);
    // What is not RAM cannot be room.
    queue.describe(queue.desc, 0, 0x1000, PAGE, 2);
    queue.offer(0);
    queue.kick();
    assert.equal(driver.needsReset, true);
    assert.equal(backend.released.length, 2);
  });
}

Deno.test("without the feature nothing is reported", () => {
  const { backend, queues } = setUp({ reportsFreePages: true }, VERSION_1);
  for (const index of [2, 3, 4]) {
    queues[index]!.add([], [PAGE * 2]);
    queues[index]!.kick();
  }
  assert.deepEqual(backend.released, []);
});

Deno.test("any lists at all do no harm", () => {
  const { backend, device, driver } = setUp({ reportsFreePages: true, deflateOnOom: true });
  const dice = new Dice(seededRandom(9));
  for (let n = 0; n < 3000; n++) {
    if (n % 20 === 0) driver.bringUp();
    const queue = driver.queues[dice.below(5)]!,
      words = new Uint32Array(dice.below(20)).map(() => dice.pick(dice.word(), FIRST_PAGE + dice.below(3000)));
    const sent = new Uint8Array(words.buffer, 0, Math.max(0, words.byteLength - dice.below(4)));
    queue.add(sent.length > 0 ? [sent] : [], dice.pick<number[]>([], [1], [5000]).concat(sent.length > 0 ? [] : [9]));
    queue.kick();
    if (dice.below(10) === 0) backend.words.push(dice.word());
    driver.transport.pump();
    if ((driver.status & STATUS.DEVICE_NEEDS_RESET) !== 0) driver.bringUp();
  }
  for (const [first, count] of backend.released) assert.ok(first >= 0 && first + count <= 0x80_0000 / PAGE);
  assert.ok(device.counters.takenPages > 0 && device.counters.reportedBytes > 0);
});

Deno.test({
  name: "the host gets whole pages back: they read as zero, their neighbours as they were",
  ignore: Deno.build.os !== "linux",
  fn: () => {
    const memory = new WebAssembly.Memory({ initial: 256, maximum: 256, shared: true });
    const bytes = new Uint8Array(memory.buffer).fill(7), release = openPageRelease(memory.buffer as SharedArrayBuffer);
    const mib = 2 ** 20;
    // Some bytes of the pages at the ends are not to go.
    release(mib + 100, 4 * mib);
    const wrong = (from: number, to: number, value: number) => bytes.subarray(from, to).some((byte) => byte !== value);
    assert.equal(wrong(0, mib + 100, 7), false);
    assert.equal(wrong(5 * mib + 100, 16 * mib, 7), false);
    // Pages of any size that hosts have.
    assert.equal(wrong(mib + 65536, 5 * mib - 65536, 0), false);
    release(8 * mib + 1, 4095);
    assert.equal(wrong(8 * mib, 9 * mib, 7), false);
  },
});
