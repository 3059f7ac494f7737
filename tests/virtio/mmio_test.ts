// The transport's registers and the life of a device.

import assert from "node:assert/strict";
import { FEATURE, STATUS, type VirtioDevice, type VirtioTransport } from "../../devices/virtio/device.ts";
import { FakeDriver, REG } from "./driver.ts";

/** A device with a configuration, that does nothing. */
class Probe implements VirtioDevice {
  readonly type = "virtio-probe-device";
  readonly deviceId: number = 42;
  readonly features = 0x3n << 2n | 1n << 40n;
  readonly queueSizes: readonly number[] = [4, 8];
  readonly configBytes = 6;
  readonly stateBytes = 5;
  transport!: VirtioTransport;
  resets = 0;
  starts = 0;
  readonly notices: number[] = [];
  attached(transport: VirtioTransport): void {
    this.transport = transport;
  }
  reset(): void {
    this.resets++;
    this.transport.config.set([1, 2, 3, 4, 5, 6]);
  }
  accepts(features: bigint): boolean {
    return (features & 4n) === 0n;
  }
  started(): void {
    this.starts++;
  }
  notified(queue: { index: number }): void {
    this.notices.push(queue.index);
  }
  configWritten(offset: number, bytes: number, value: number): boolean {
    if (offset !== 5 || bytes !== 1) return false;
    this.transport.config[5] = value;
    return true;
  }
}
const probe = () => {
  const device = new Probe(), driver = new FakeDriver(device);
  return { device, driver };
};
const { ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK, DEVICE_NEEDS_RESET, FAILED } = STATUS;

Deno.test("a transport says what it is", () => {
  const { driver } = probe();
  const values = [REG.MagicValue, REG.Version, REG.DeviceID, REG.VendorID].map((at) => driver.read(at));
  assert.deepEqual(values, [0x74726976, 2, 42, 0x554d4551]);
  assert.equal(driver.offered(), 0xcn | 1n << 40n | 1n << 28n | 1n << 29n | 1n << 32n);
  driver.write(REG.DeviceFeaturesSel, 2);
  assert.equal(driver.read(REG.DeviceFeatures), 0);
  const most = [0, 1, 2].map((n) => {
    driver.write(REG.QueueSel, n);
    return driver.read(REG.QueueNumMax);
  });
  assert.deepEqual(most, [4, 8, 0]);
  assert.equal(driver.read(REG.SHMLenLow), 0xffffffff);
  assert.equal(driver.read(REG.SHMLenLow + 4), 0xffffffff);
  assert.deepEqual(driver.record.errors, []);
});

Deno.test("features that were not offered, none of version 1, or that the device refuses, do not let FEATURES_OK stay", () => {
  const refused = [FEATURE.VERSION_1 | 1n, FEATURE.VERSION_1 | 1n << 41n, 8n, FEATURE.VERSION_1 | 4n];
  for (const features of refused) {
    const { driver } = probe();
    driver.write(REG.Status, ACKNOWLEDGE | DRIVER);
    driver.choose(features);
    driver.write(REG.Status, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    assert.equal(driver.status, ACKNOWLEDGE | DRIVER);
    driver.write(REG.Status, ACKNOWLEDGE | DRIVER | DRIVER_OK);
    assert.equal(driver.status, ACKNOWLEDGE | DRIVER, "and so no DRIVER_OK");
  }
  const { driver, device } = probe();
  driver.bringUp(FEATURE.VERSION_1 | 8n | 1n << 40n);
  assert.equal(driver.status, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
  assert.deepEqual([device.transport.has(8n), device.transport.has(1n << 40n), device.transport.has(4n)], [
    true,
    true,
    false,
  ]);
  assert.equal(device.starts, 1);
});

Deno.test("after FEATURES_OK the features stand", () => {
  const { driver, device } = probe();
  driver.bringUp(FEATURE.VERSION_1);
  driver.choose(FEATURE.VERSION_1 | 8n);
  assert.equal(device.transport.has(8n), false);
  assert.match(driver.record.errors[0]!, /features are chosen after FEATURES_OK/);
});

Deno.test("status bits are only added; zero resets", () => {
  const { driver, device } = probe();
  driver.bringUp(FEATURE.VERSION_1);
  const before = device.resets;
  driver.write(REG.Status, ACKNOWLEDGE);
  assert.equal(driver.status, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
  assert.match(driver.record.errors[0]!, /takes bits .* away/);
  driver.write(REG.Status, FAILED | 0xf);
  assert.equal(driver.status, FAILED | 0xf);
  driver.write(REG.Status, DEVICE_NEEDS_RESET | FAILED | 0xf);
  assert.equal(driver.status, FAILED | 0xf, "that bit is the device's");
  driver.write(REG.Status, 0);
  assert.equal(driver.status, 0);
  assert.equal(device.resets, before + 1);
  driver.write(REG.QueueSel, 0);
  assert.equal(driver.read(REG.QueueReady), 0);
  assert.equal(device.transport.has(FEATURE.VERSION_1), false);
});

Deno.test("a kick reaches the device only between DRIVER_OK and reset, for a queue that is ready", () => {
  const { driver, device } = probe();
  driver.write(REG.QueueNotify, 0);
  driver.bringUp(FEATURE.VERSION_1);
  for (const n of [1, 0, 2, 0xffffffff]) driver.write(REG.QueueNotify, n);
  assert.deepEqual(device.notices, [1, 0]);
  driver.write(REG.QueueSel, 1);
  driver.write(REG.QueueReady, 0);
  driver.write(REG.QueueNotify, 1);
  driver.write(REG.Status, 0);
  driver.write(REG.QueueNotify, 0);
  assert.deepEqual(device.notices, [1, 0]);
  assert.equal(driver.record.errors.length, 5);
});

Deno.test("the registers of a queue stand while it is ready", () => {
  const { driver, device } = probe();
  driver.bringUp(FEATURE.VERSION_1);
  driver.write(REG.QueueSel, 0);
  driver.write(REG.QueueNum, 2);
  driver.write(REG.QueueDescLow, 0);
  assert.equal(device.transport.queues[0]!.state.size, 4);
  assert.notEqual(device.transport.queues[0]!.state.descLo, 0);
  driver.write(REG.QueueSel, 9);
  driver.write(REG.QueueNum, 2);
  driver.write(REG.QueueReady, 1);
  assert.equal(driver.read(REG.QueueReady), 0);
  assert.equal(driver.record.errors.length, 4);
  assert.equal(driver.needsReset, false);
});

Deno.test("a queue is not made ready before FEATURES_OK", () => {
  const { driver } = probe();
  driver.write(REG.Status, ACKNOWLEDGE | DRIVER);
  driver.write(REG.QueueSel, 0);
  driver.write(REG.QueueReady, 1);
  assert.equal(driver.read(REG.QueueReady), 0);
  assert.match(driver.record.errors[0]!, /FEATURES_OK is not set/);
});

Deno.test("the configuration is read in any width, and written where the device says", () => {
  const { driver } = probe();
  assert.equal(driver.read(REG.Config), 0x04030201);
  assert.equal(driver.read(REG.Config + 2, 2), 0x0403);
  assert.equal(driver.read(REG.Config + 5, 1), 6);
  assert.deepEqual(driver.record.errors, []);
  driver.write(REG.Config + 5, 0x99, 1);
  assert.equal(driver.read(REG.Config + 5, 1), 0x99);
  assert.deepEqual(driver.record.errors, []);
  driver.write(REG.Config, 0x99, 1);
  driver.write(REG.Config + 4, 0x99);
  driver.write(REG.Config + 0xfc, 0x99);
  assert.equal(driver.read(REG.Config + 4), 0x9905);
  assert.equal(driver.read(REG.Config + 0xfc), 0);
  assert.equal(driver.record.errors.length, 5);
});

Deno.test("a change of the configuration counts its generation and interrupts once DRIVER_OK is set", () => {
  const { driver, device } = probe();
  device.transport.configChanged();
  assert.equal(driver.read(REG.ConfigGeneration), 1);
  assert.equal(driver.record.level(), false);
  driver.bringUp(FEATURE.VERSION_1);
  device.transport.configChanged();
  assert.equal(driver.read(REG.InterruptStatus), 2);
  assert.equal(driver.record.level(), true);
  driver.write(REG.InterruptACK, 1);
  assert.equal(driver.record.level(), true);
  driver.write(REG.InterruptACK, 2);
  assert.equal(driver.record.level(), false);
});

Deno.test("a device that needs a reset says so once, and to a running driver by interrupt", () => {
  const { driver, device } = probe();
  device.transport.needsReset("for a test");
  device.transport.needsReset("again");
  assert.equal(driver.record.level(), false);
  assert.equal(driver.record.errors.length, 1);
  driver.bringUp(FEATURE.VERSION_1);
  device.transport.needsReset("for a test");
  assert.equal(driver.read(REG.InterruptStatus), 2);
  assert.equal(device.transport.running, false);
  driver.write(REG.Status, FAILED | 0xf);
  assert.equal(driver.needsReset, true, "the bit stays until a reset");
});

Deno.test("accesses that fit no register are told and do nothing", () => {
  const { driver } = probe();
  for (const offset of [0x018, 0x028, 0x03c, 0x0f8]) driver.read(offset);
  driver.write(0x028, 4096);
  driver.write(REG.MagicValue, 1);
  driver.read(REG.QueueNotify);
  assert.equal(driver.record.errors.length, 7);
});
