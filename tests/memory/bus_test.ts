import assert from "node:assert/strict";
import { type MmioRegion, PhysicalBus } from "../../src/memory/bus.ts";

function machine() {
  const bus = new PhysicalBus(new ArrayBuffer(0x10000));
  const log: string[] = [];
  const device: MmioRegion = {
    name: "device",
    base: 0x1000,
    size: 0x100,
    read: (offset, bytes) => {
      log.push(`r${bytes}@${offset.toString(16)}`);
      return offset === 0x80 ? -1 : 0x80000000 + offset;
    },
    write: (offset, bytes, value) => void log.push(`w${bytes}@${offset.toString(16)}=${value.toString(16)}`),
  };
  bus.addRegion(device);
  bus.addMemory({ name: "ram", base: 0x40000000, size: 0x4000, host: 0x8000, writable: true });
  bus.addMemory({ name: "rom", base: 0, size: 0x1000, host: 0xc000, writable: false });
  return { bus, log };
}

Deno.test("the bus finds RAM, ROM and devices, and nothing elsewhere", () => {
  const { bus, log } = machine();
  assert.equal(bus.hostPage(0x40001abc), 0x9000);
  assert.equal(bus.hostPage(0x40004000), 0);
  assert.equal(bus.isWritablePage(0x40003fff), true);
  assert.equal(bus.isWritablePage(0xfff), false);
  assert.equal(bus.write(0x40000002, 4, 0x12345678, 0), true);
  assert.equal(bus.read(0x40000004, 2, 0), 0x1234);
  assert.equal(bus.write(0x10, 4, 1, 0), true);
  assert.equal(bus.read(0x10, 4, 0), 0);
  assert.equal(bus.read(0x1004, 4, 0), 0x80000004);
  assert.equal(bus.read(0x1080, 4, 0), -1);
  assert.equal(bus.read(0x10fe, 4, 0), -1);
  assert.equal(bus.read(0x2000, 1, 0), -1);
  assert.equal(bus.write(0x2000, 1, 0, 0), false);
  assert.deepEqual(log, ["r4@4", "r4@80"]);
});

Deno.test("wide device accesses are split, low word first", () => {
  const { bus, log } = machine();
  const words = new Uint32Array(4);
  assert.equal(bus.readInto(0x1008, 8, words, 0), true);
  assert.deepEqual([...words], [0x80000008, 0x8000000c, 0, 0]);
  assert.equal(bus.writeFrom(0x1010, 16, new Uint32Array([1, 2, 3, 0xffffffff]), 0), true);
  assert.deepEqual(log, ["r4@8", "r4@c", "w4@10=1", "w4@14=2", "w4@18=3", "w4@1c=ffffffff"]);
});

Deno.test("overlapping ranges are refused", () => {
  const { bus } = machine();
  const region = { name: "other", base: 0x10f0, size: 0x20, read: () => 0, write: () => {} };
  assert.throws(() => bus.addRegion(region), /other does not overlap device/);
  assert.throws(() => bus.addMemory({ name: "x", base: 0x40003000, size: 0x2000, host: 0x1000, writable: true }));
});

Deno.test("bytes are written as a whole or not at all, and predecoded code is told", () => {
  const { bus } = machine();
  const told: number[][] = [];
  bus.onCodeWrite = (host, bytes) => told.push([host, bytes]);
  assert.equal(bus.writeBytes(0x40003ffe, new Uint8Array([1, 2, 3])), false);
  assert.equal(bus.peek(0x40003ffc), 0);
  assert.equal(bus.writeBytes(0x40003ffd, new Uint8Array([1, 2, 3])), true);
  assert.deepEqual(told, [[0xbffd, 3]]);
  assert.deepEqual(bus.readBytes(0x40003ffd, 3), new Uint8Array([1, 2, 3]));
  assert.equal(bus.readBytes(0x40003ffd, 4), undefined);
  assert.equal(bus.writeBytes(0x10, new Uint8Array([9])), false);
  assert.equal(bus.writeBytes(0x10, new Uint8Array([9]), true), true);
  assert.equal(bus.peek(0x10), 9);
});
