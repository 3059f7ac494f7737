// A driver that has lost its mind: registers, rings and descriptors of random content, against a device that uses every
// method of its queues. Nothing may throw, nothing outside RAM may be written, and a reset must make it good again.

import assert from "node:assert/strict";
import type { Chain } from "../../devices/virtio/chain.ts";
import { FEATURE, STATUS, type VirtioDevice, type VirtioTransport } from "../../devices/virtio/device.ts";
import { DESC, type Virtqueue } from "../../devices/virtio/queue.ts";
import { seededRandom } from "../../src/base/random.ts";
import { type DriverQueue, FakeDriver, RAM_BASE, REG, SLOT_BASE } from "./driver.ts";
import { Dice } from "./tools.ts";

/** Copies what it reads to where it may write, at once or later, or puts it back. */
class Echo implements VirtioDevice {
  readonly type = "virtio-echo-device";
  readonly deviceId: number = 63;
  readonly features = 0n;
  readonly queueSizes: readonly number[] = [16, 4];
  readonly configBytes = 8;
  readonly stateBytes = 0;
  transport!: VirtioTransport;
  #late: { queue: Virtqueue; chain: Chain }[] = [];
  constructor(readonly dice: Dice) {}
  attached(transport: VirtioTransport): void {
    this.transport = transport;
  }
  reset(): void {}
  notified(queue: Virtqueue): void {
    for (let chain = queue.take(); chain !== null; chain = queue.take()) {
      switch (this.dice.below(4)) {
        case 0:
          queue.putBack(chain);
          return queue.flush();
        case 1:
          this.#late.push({ queue, chain });
          break;
        default:
          this.#answer(queue, chain);
      }
    }
    queue.wantsKicks = this.dice.below(2) === 0;
    queue.flush();
  }
  pump(): void {
    for (const { queue, chain } of this.#late.splice(0, 3)) {
      this.#answer(queue, chain);
      queue.flush();
    }
  }
  #answer(queue: Virtqueue, chain: Chain): void {
    const bytes = new Uint8Array(Math.min(chain.readableBytes, 4096));
    if (!queue.isStale(chain)) {
      assert.equal(chain.read(0, bytes), bytes.length);
      chain.write(this.dice.below(8), bytes);
      chain.clear(this.dice.below(8), this.dice.below(100));
      const room = chain.room(this.dice.below(100), 4096).reduce((sum, view) => sum + view.length, 0);
      assert.ok(room <= chain.writableBytes);
      chain.wrote(0, room);
    }
    queue.put(chain, this.dice.word());
  }
}

/** Something that a driver may do, with a real mistake now and then. */
function act(dice: Dice, driver: FakeDriver): void {
  const queue = dice.pick(...driver.queues) as DriverQueue,
    ram = RAM_BASE + 0x4000 + dice.below(driver.ramBytes - 0x5000);
  const mad = dice.below(30) === 0;
  const address = () =>
    dice.pick(ram, queue.desc, queue.used, SLOT_BASE, 0, RAM_BASE + driver.ramBytes - 8, dice.word());
  switch (dice.below(10)) {
    case 0:
      if (!mad) return void driver.read(dice.below(0x200), dice.pick(1, 2, 4));
      return driver.write(dice.pick(...Object.values(REG)) + dice.pick(0, 0, 0, 1, 4), dice.word(), dice.pick(1, 2, 4));
    case 1:
      if (mad) driver.set16(queue.avail + dice.pick(0, 2, 4 + 2 * dice.below(queue.size + 1)), dice.word() & 0xffff);
      else queue.usedEvent = dice.below(0x10000);
      return;
    case 2:
      return driver.set16(queue.used + dice.pick(0, 2), dice.word() & 0xffff);
    case 3:
    case 4: {
      // Upwards, so that chains end; what is written last has no next.
      const table = dice.pick(queue.desc, queue.desc, RAM_BASE + 0x4000), index = dice.below(queue.size);
      const next = mad ? dice.below(queue.size + 1) : index + 1, last = index === queue.size - 1 || dice.below(3) > 0;
      const flags = (last && !mad ? 0 : DESC.NEXT) | dice.pick(0, DESC.WRITE, DESC.WRITE);
      if (dice.below(8) === 0) return queue.describe(table, index, RAM_BASE + 0x4000, 32, DESC.INDIRECT);
      const length = mad ? dice.word() : 1 + dice.below(1000);
      return queue.describe(table, index, mad ? address() : ram, length, flags, next);
    }
    case 5:
    case 6:
      return queue.offer(dice.below(queue.size));
    case 7:
      return driver.transport.pump();
    case 8:
      if (mad) driver.write(REG.Status, dice.pick(0, 0x80, 0xf, 1, 0x40));
      return;
    default:
      return queue.kick();
  }
}

Deno.test("no driver, however mad, gets anything out of a queue but DEVICE_NEEDS_RESET", () => {
  let broken = 0, chains = 0;
  for (let seed = 1; seed <= 300; seed++) {
    const dice = new Dice(seededRandom(seed)), driver = new FakeDriver(new Echo(dice), { ramBytes: 0x1_0000 });
    const ramHost = driver.memory.place(RAM_BASE, 1, false);
    const features = FEATURE.VERSION_1 | dice.pick(0n, FEATURE.EVENT_IDX) | dice.pick(0n, FEATURE.INDIRECT_DESC);
    for (let round = 0; round < 4; round++) {
      driver.bringUp(features);
      for (const queue of driver.queues) {
        for (let n = 0; n < queue.size; n++) queue.describe(queue.desc, n, RAM_BASE + 0x5000, 100, DESC.WRITE);
      }
      for (let step = 0; step < 200; step++) act(dice, driver);
      chains += driver.transport.queues.reduce((sum, { state }) => sum + state.chains, 0);
      if (driver.needsReset) broken++;
    }
    for (const { host, bytes } of driver.dma) {
      assert.ok(host >= ramHost && host + bytes <= ramHost + driver.ramBytes, `seed ${seed}: a write outside RAM`);
    }
    assert.ok(driver.memory.bytes.subarray(0, ramHost).every((byte) => byte === 0), `seed ${seed}: bytes outside RAM`);
    driver.bringUp(features);
    assert.equal(driver.status, STATUS.ACKNOWLEDGE | STATUS.DRIVER | STATUS.FEATURES_OK | STATUS.DRIVER_OK);
  }
  assert.ok(broken > 100 && chains > 1000, `the test reaches what it should: ${broken} broken, ${chains} chains`);
});
