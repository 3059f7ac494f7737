// The other side of a virtio device, as a driver: registers through the bus, rings and buffers in a small RAM. All device
// tests use it. What a test wants to get wrong, it writes into `words` and `bytes` itself.

import { recorder } from "../devices/recorder.ts";
import { FEATURE, STATUS, type VirtioDevice } from "../../devices/virtio/device.ts";
import { GuestMemory } from "../../devices/virtio/memory.ts";
import { VirtioMmio, virtioStateBytes } from "../../devices/virtio/mmio.ts";
import { DESC, DESC_BYTES } from "../../devices/virtio/queue.ts";
import { PhysicalBus } from "../../src/memory/bus.ts";

export const RAM_BASE = 0x4000_0000;
export const SLOT_BASE = 0x0a00_0000;
/** Behind RAM in the shared memory; more than any device needs. */
const STATE_BYTES = 0x2_0000;
const RAM_HOST = 0x1_0000;

/** Registers by name, VIRTIO 1.2 §4.2.2. */
export const REG = {
  MagicValue: 0x000,
  Version: 0x004,
  DeviceID: 0x008,
  VendorID: 0x00c,
  DeviceFeatures: 0x010,
  DeviceFeaturesSel: 0x014,
  DriverFeatures: 0x020,
  DriverFeaturesSel: 0x024,
  QueueSel: 0x030,
  QueueNumMax: 0x034,
  QueueNum: 0x038,
  QueueReady: 0x044,
  QueueNotify: 0x050,
  InterruptStatus: 0x060,
  InterruptACK: 0x064,
  Status: 0x070,
  QueueDescLow: 0x080,
  QueueDriverLow: 0x090,
  QueueDeviceLow: 0x0a0,
  SHMLenLow: 0x0b0,
  ConfigGeneration: 0x0fc,
  Config: 0x100,
} as const;

export interface Used {
  readonly head: number;
  readonly written: number;
}

export interface AddOptions {
  /** Puts the chain into an indirect table. */
  readonly indirect?: boolean;
}

/** One chain that the driver made. */
export interface Added {
  readonly head: number;
  /** Guest physical addresses of the writable buffers. */
  readonly room: readonly { readonly pa: number; readonly length: number }[];
}

export class DriverQueue {
  readonly desc: number;
  readonly avail: number;
  readonly used: number;
  #nextDesc = 0;
  availIndex = 0;
  usedIndex = 0;

  constructor(readonly driver: FakeDriver, readonly index: number, readonly size: number) {
    this.desc = driver.allocate(DESC_BYTES * size, 16);
    this.avail = driver.allocate(6 + 2 * size, 2);
    this.used = driver.allocate(6 + 8 * size, 4);
  }

  /** Tells the device where the queue is, and that it is ready. */
  enable(): void {
    const { driver } = this;
    driver.write(REG.QueueSel, this.index);
    driver.write(REG.QueueNum, this.size);
    for (
      const [register, pa] of [
        [REG.QueueDescLow, this.desc],
        [REG.QueueDriverLow, this.avail],
        [REG.QueueDeviceLow, this.used],
      ] as const
    ) {
      driver.write(register, pa);
      driver.write(register + 4, 0);
    }
    driver.write(REG.QueueReady, 1);
  }

  /** Writes a descriptor into the table at `table`. */
  describe(table: number, index: number, pa: number, length: number, flags: number, next = 0): void {
    const at = table + index * DESC_BYTES, { driver } = this;
    driver.set64(at, pa);
    driver.set32(at + 8, length);
    driver.set16(at + 12, flags);
    driver.set16(at + 14, next);
  }

  /** Makes a chain of what is sent and of room for answers, and makes it available. */
  add(sent: readonly Uint8Array[], room: readonly number[], options: AddOptions = {}): Added {
    const { driver } = this, count = sent.length + room.length;
    const places = [
      ...sent.map((bytes) => {
        const pa = driver.allocate(bytes.length, 1);
        driver.put(pa, bytes);
        return { pa, length: bytes.length, flags: 0 };
      }),
      ...room.map((length) => ({ pa: driver.allocate(length, 1), length, flags: DESC.WRITE })),
    ];
    const chain = (table: number, indexOf: (n: number) => number) =>
      places.forEach(({ pa, length, flags }, n) =>
        n === count - 1
          ? this.describe(table, indexOf(n), pa, length, flags)
          : this.describe(table, indexOf(n), pa, length, flags | DESC.NEXT, indexOf(n + 1))
      );
    const head = this.#nextDesc;
    if (options.indirect === true) {
      const table = driver.allocate(count * DESC_BYTES, 16);
      chain(table, (n) => n);
      this.describe(this.desc, head, table, count * DESC_BYTES, DESC.INDIRECT);
      this.#nextDesc = (head + 1) % this.size;
    } else {
      chain(this.desc, (n) => (head + n) % this.size);
      this.#nextDesc = (head + count) % this.size;
    }
    this.offer(head);
    return { head, room: places.filter(({ flags }) => flags !== 0) };
  }

  /** Makes a head available, whatever it is. */
  offer(head: number): void {
    this.driver.set16(this.avail + 4 + 2 * (this.availIndex % this.size), head);
    this.availIndex = (this.availIndex + 1) & 0xffff;
    this.driver.set16(this.avail + 2, this.availIndex);
  }

  kick(): void {
    this.driver.write(REG.QueueNotify, this.index);
  }

  /** What the device has given back since the last call. */
  poll(): Used[] {
    const out: Used[] = [], { driver } = this, end = driver.get16(this.used + 2);
    for (; this.usedIndex !== end; this.usedIndex = (this.usedIndex + 1) & 0xffff) {
      const at = this.used + 4 + 8 * (this.usedIndex % this.size);
      out.push({ head: driver.get32(at), written: driver.get32(at + 4) });
    }
    return out;
  }

  /** Sends one chain and returns the bytes of its answer, as many as the device says. Throws when it is not answered. */
  ask(sent: readonly Uint8Array[], room: readonly number[], options: AddOptions = {}): Uint8Array {
    const { head, room: places } = this.add(sent, room, options);
    this.kick();
    const used = this.poll();
    if (used.length !== 1 || used[0]!.head !== head) throw new Error(`asked for ${head}, got ${JSON.stringify(used)}`);
    return this.answer(places, used[0]!.written);
  }

  answer(places: Added["room"], written: number): Uint8Array {
    const all = places.map(({ pa, length }) => this.driver.get(pa, length));
    return Uint8Array.from(all.flatMap((bytes) => [...bytes])).subarray(0, written);
  }

  /** used_event, and avail_event. */
  set usedEvent(value: number) {
    this.driver.set16(this.avail + 4 + 2 * this.size, value);
  }
  get availEvent(): number {
    return this.driver.get16(this.used + 4 + 8 * this.size);
  }
}

export interface DriverOptions {
  readonly ramBytes?: number;
}

export class FakeDriver {
  readonly bus: PhysicalBus;
  readonly memory: GuestMemory;
  readonly transport: VirtioMmio;
  readonly record = recorder();
  /** Bytes of RAM that were written by the device. */
  readonly dma: { host: number; bytes: number }[] = [];
  readonly ramBytes: number;
  queues: DriverQueue[] = [];
  readonly #view: DataView;
  #free = RAM_BASE;

  constructor(readonly device: VirtioDevice, options: DriverOptions = {}) {
    this.ramBytes = options.ramBytes ?? 0x40_0000;
    const stateBase = RAM_HOST + this.ramBytes, buffer = new SharedArrayBuffer(stateBase + STATE_BYTES);
    if (virtioStateBytes(device) > STATE_BYTES) throw new Error("the device has too much state");
    this.bus = new PhysicalBus(buffer);
    this.bus.addMemory({ name: "ram", base: RAM_BASE, size: this.ramBytes, host: RAM_HOST, writable: true });
    this.bus.onCodeWrite = (host, bytes) => this.dma.push({ host, bytes });
    this.memory = new GuestMemory(buffer, this.bus);
    this.#view = new DataView(buffer, RAM_HOST, this.ramBytes);
    const { line, guestErrors } = this.record;
    this.transport = new VirtioMmio(device, {
      name: "virtio-mmio.31",
      base: SLOT_BASE,
      memory: this.memory,
      buffer,
      stateBase,
      line,
      guestErrors,
    });
    this.bus.addRegion(this.transport);
  }

  read(register: number, bytes = 4): number {
    return this.bus.read(SLOT_BASE + register, bytes, 0);
  }
  write(register: number, value: number, bytes = 4): void {
    this.bus.write(SLOT_BASE + register, bytes, value, 0);
  }

  offered(): bigint {
    this.write(REG.DeviceFeaturesSel, 1);
    const high = this.read(REG.DeviceFeatures);
    this.write(REG.DeviceFeaturesSel, 0);
    return BigInt(high) << 32n | BigInt(this.read(REG.DeviceFeatures));
  }

  choose(features: bigint): void {
    for (const [select, word] of [[0, features & 0xffff_ffffn], [1, features >> 32n]] as const) {
      this.write(REG.DriverFeaturesSel, select);
      this.write(REG.DriverFeatures, Number(word));
    }
  }

  /** Reset, features (all that are offered unless told otherwise), queues of the largest size, DRIVER_OK. */
  bringUp(features: bigint = this.offered(), size?: number): this {
    this.write(REG.Status, 0);
    this.#free = RAM_BASE;
    this.write(REG.Status, STATUS.ACKNOWLEDGE);
    this.write(REG.Status, STATUS.ACKNOWLEDGE | STATUS.DRIVER);
    this.choose(features | FEATURE.VERSION_1);
    this.write(REG.Status, STATUS.ACKNOWLEDGE | STATUS.DRIVER | STATUS.FEATURES_OK);
    this.queues = this.transport.queues.map((queue) => new DriverQueue(this, queue.index, size ?? queue.maxSize));
    for (const queue of this.queues) queue.enable();
    this.write(REG.Status, STATUS.ACKNOWLEDGE | STATUS.DRIVER | STATUS.FEATURES_OK | STATUS.DRIVER_OK);
    return this;
  }

  get status(): number {
    return this.read(REG.Status);
  }
  get needsReset(): boolean {
    return (this.status & STATUS.DEVICE_NEEDS_RESET) !== 0;
  }

  /** Guest physical address of fresh bytes; the allocator starts anew when RAM is used up. */
  allocate(bytes: number, align: number): number {
    const at = Math.ceil(this.#free / align) * align;
    if (at + bytes > RAM_BASE + this.ramBytes) throw new Error("the test's RAM is used up");
    this.#free = at + bytes;
    // Never two buffers that touch, so that an overrun is seen.
    this.#free += 1;
    return at;
  }

  get(pa: number, count: number): Uint8Array {
    return new Uint8Array(this.#view.buffer, this.#view.byteOffset + pa - RAM_BASE, count).slice();
  }
  put(pa: number, bytes: Uint8Array): void {
    new Uint8Array(this.#view.buffer, this.#view.byteOffset + pa - RAM_BASE, bytes.length).set(bytes);
  }
  get16(pa: number): number {
    return this.#view.getUint16(pa - RAM_BASE, true);
  }
  get32(pa: number): number {
    return this.#view.getUint32(pa - RAM_BASE, true);
  }
  set16(pa: number, value: number): void {
    this.#view.setUint16(pa - RAM_BASE, value, true);
  }
  set32(pa: number, value: number): void {
    this.#view.setUint32(pa - RAM_BASE, value, true);
  }
  set64(pa: number, value: number): void {
    this.set32(pa, value % 2 ** 32);
    this.set32(pa + 4, Math.floor(value / 2 ** 32));
  }
}
