// The virtio-mmio transport, version 2, VIRTIO 1.2 §4.2.2, with the life of a device from reset to DRIVER_OK (§2.1, §3.1).
// What a driver must not do is refused and told to the guest_errors trace; a ring that makes no sense sets
// DEVICE_NEEDS_RESET. Left out: the legacy interface, shared memory regions (all absent), the reset of a single queue,
// notification data.

import { assert } from "../../src/base/errors.ts";
import { struct, type View } from "../../src/base/struct.ts";
import type { MmioRegion } from "../../src/memory/bus.ts";
import type { Line } from "../../src/memory/line.ts";
import { type GuestErrors, RegisterMap, type RegisterSpec } from "../registers.ts";
import { FEATURE, STATUS, type VirtioDevice, type VirtioTransport } from "./device.ts";
import type { GuestMemory } from "./memory.ts";
import { type QueueOwner, Virtqueue, VIRTQUEUE_STATE } from "./queue.ts";

/** Bytes of one transport's registers, and where the device's configuration begins in them. */
export const VIRTIO_MMIO_BYTES = 0x200;
const CONFIG_AT = 0x100;
const MAGIC = 0x7472_6976, VERSION = 2;
/** "QEMU", as the board has it. */
const VENDOR = 0x554d_4551;

export const VIRTIO_MMIO_STATE = struct("virtioMmio", {
  /** What the driver accepted; counts from FEATURES_OK on. */
  driverFeatures: "u64",
  deviceFeaturesSel: "u32",
  driverFeaturesSel: "u32",
  queueSel: "u32",
  status: "u32",
  /** INTERRUPT bits. */
  interruptStatus: "u32",
  configGeneration: "u32",
});

const INTERRUPT = { USED_BUFFER: 1, CONFIG_CHANGE: 2 } as const;
/** Of any status write, what is kept of the bits. */
const STATUS_BITS = Object.values(STATUS).reduce((all: number, bit) => all | bit, 0);
/** Features of the rings themselves, which every device offers. */
const RING_FEATURES = FEATURE.VERSION_1 | FEATURE.INDIRECT_DESC | FEATURE.EVENT_IDX;

/** The 32 bits of a 64-bit feature set that `select` names. */
const featureWord = (features: bigint, select: number): number =>
  select > 1 ? 0 : Number((features >> BigInt(32 * select)) & 0xffff_ffffn);

type QueueField = "descLo" | "descHi" | "driverLo" | "driverHi" | "deviceLo" | "deviceHi";
const queueAddress = (at: number, name: string, field: QueueField): RegisterSpec<VirtioMmio> => ({
  at,
  name,
  bits: "ADDRESS:32",
  write: (d, v) => d.setQueue(name, (queue) => queue.state[field] = v),
});

const REGISTERS = new RegisterMap<VirtioMmio>(CONFIG_AT, [
  { at: 0x000, name: "MagicValue", bits: "MAGIC:32", read: () => MAGIC },
  { at: 0x004, name: "Version", bits: "VERSION:32", read: () => VERSION },
  { at: 0x008, name: "DeviceID", bits: "ID:32", read: (d) => d.device.deviceId },
  { at: 0x00c, name: "VendorID", bits: "ID:32", read: () => VENDOR },
  {
    at: 0x010,
    name: "DeviceFeatures",
    bits: "FEATURES:32",
    read: (d) => featureWord(d.offered, d.state.deviceFeaturesSel),
  },
  { at: 0x014, name: "DeviceFeaturesSel", bits: "SELECT:32", write: (d, v) => d.state.deviceFeaturesSel = v },
  { at: 0x020, name: "DriverFeatures", bits: "FEATURES:32", write: (d, v) => d.setDriverFeatures(v) },
  { at: 0x024, name: "DriverFeaturesSel", bits: "SELECT:32", write: (d, v) => d.state.driverFeaturesSel = v },
  { at: 0x030, name: "QueueSel", bits: "SELECT:32", write: (d, v) => d.state.queueSel = v },
  { at: 0x034, name: "QueueNumMax", bits: "NUM:32", read: (d) => d.selected?.maxSize ?? 0 },
  {
    at: 0x038,
    name: "QueueNum",
    bits: "NUM:32",
    write: (d, v) => d.setQueue("QueueNum", (queue) => queue.state.size = v),
  },
  {
    at: 0x044,
    name: "QueueReady",
    bits: "RES0:31 READY:1",
    read: (d) => d.selected?.state.ready ?? 0,
    write: (d, v) => d.setReady(v !== 0),
  },
  { at: 0x050, name: "QueueNotify", bits: "QUEUE:32", write: (d, v) => d.notify(v) },
  { at: 0x060, name: "InterruptStatus", bits: "RES0:30 CONFIG:1 USED:1", read: (d) => d.state.interruptStatus },
  { at: 0x064, name: "InterruptACK", bits: "RES0:30 CONFIG:1 USED:1", write: (d, v) => d.acknowledge(v) },
  { at: 0x070, name: "Status", bits: "STATUS:32", read: (d) => d.state.status, write: (d, v) => d.setStatus(v) },
  queueAddress(0x080, "QueueDescLow", "descLo"),
  queueAddress(0x084, "QueueDescHigh", "descHi"),
  queueAddress(0x090, "QueueDriverLow", "driverLo"),
  queueAddress(0x094, "QueueDriverHigh", "driverHi"),
  queueAddress(0x0a0, "QueueDeviceLow", "deviceLo"),
  queueAddress(0x0a4, "QueueDeviceHigh", "deviceHi"),
  // There are no shared memory regions, whichever is selected: length and base are all ones.
  { at: 0x0ac, name: "SHMSel", bits: "SELECT:32", write: () => {} },
  ...["SHMLenLow", "SHMLenHigh", "SHMBaseLow", "SHMBaseHigh"].map((name, i): RegisterSpec<VirtioMmio> => ({
    at: 0x0b0 + 4 * i,
    name,
    bits: "VALUE:32",
    read: () => 0xffff_ffff,
  })),
  { at: 0x0fc, name: "ConfigGeneration", bits: "COUNT:32", read: (d) => d.state.configGeneration },
]);

/** What a slot says that has no device: the first four registers, DeviceID 0. Writes are ignored. */
const EMPTY_REGISTERS = new RegisterMap<EmptyVirtioMmio>(
  VIRTIO_MMIO_BYTES,
  [MAGIC, VERSION, 0, VENDOR].map((value, i) => ({
    at: 4 * i,
    name: ["MagicValue", "Version", "DeviceID", "VendorID"][i]!,
    bits: "VALUE:32",
    read: () => value,
  })),
);

export class EmptyVirtioMmio implements MmioRegion {
  readonly size = VIRTIO_MMIO_BYTES;

  constructor(readonly name: string, readonly base: number, readonly guestErrors: GuestErrors) {}

  read(offset: number, bytes: number): number {
    return EMPTY_REGISTERS.read(this, offset, bytes);
  }

  write(offset: number, bytes: number, value: number): void {
    EMPTY_REGISTERS.write(this, offset, bytes, value);
  }
}

const aligned = (bytes: number): number => Math.ceil(bytes / 16) * 16;

/** Bytes of shared memory that a transport with this device needs, a multiple of 16. */
export function virtioStateBytes(device: VirtioDevice): number {
  const queues = device.queueSizes.length * VIRTQUEUE_STATE.size;
  return VIRTIO_MMIO_STATE.size + queues + aligned(device.configBytes) + aligned(device.stateBytes);
}

export interface VirtioMmioOptions {
  readonly name: string;
  readonly base: number;
  readonly memory: GuestMemory;
  /** Byte address of `virtioStateBytes(device)` in the shared memory, 16-aligned. */
  readonly buffer: ArrayBufferLike;
  readonly stateBase: number;
  readonly line: Line;
  readonly guestErrors: GuestErrors;
}

/** One slot with its device. */
export class VirtioMmio implements MmioRegion, QueueOwner, VirtioTransport {
  readonly name: string;
  readonly base: number;
  readonly size = VIRTIO_MMIO_BYTES;
  readonly state: View<typeof VIRTIO_MMIO_STATE.spec>;
  readonly memory: GuestMemory;
  readonly queues: readonly Virtqueue[];
  readonly config: Uint8Array;
  readonly deviceState: { readonly buffer: ArrayBufferLike; readonly base: number };
  readonly offered: bigint;
  readonly guestErrors: GuestErrors;
  /** Why the device needs a reset, for the monitor; "" when it does not. */
  broken = "";
  readonly #line: Line;
  readonly #deviceBytes: Uint8Array;

  constructor(readonly device: VirtioDevice, options: VirtioMmioOptions) {
    const { buffer, stateBase } = options;
    this.name = options.name;
    this.base = options.base;
    this.memory = options.memory;
    this.guestErrors = options.guestErrors;
    this.#line = options.line;
    this.offered = device.features | RING_FEATURES;
    let at = stateBase;
    const take = (bytes: number) => (at += aligned(bytes)) - aligned(bytes);
    this.state = VIRTIO_MMIO_STATE.at(buffer, take(VIRTIO_MMIO_STATE.size));
    this.queues = device.queueSizes.map((size, n) => new Virtqueue(this, n, size, buffer, take(VIRTQUEUE_STATE.size)));
    this.config = new Uint8Array(buffer, take(device.configBytes), device.configBytes);
    this.#deviceBytes = new Uint8Array(buffer, take(device.stateBytes), device.stateBytes);
    this.deviceState = { buffer, base: this.#deviceBytes.byteOffset };
    assert(device.configBytes <= VIRTIO_MMIO_BYTES - CONFIG_AT, "a device's configuration fits its window");
    assert(at === stateBase + virtioStateBytes(device), "a transport uses the state that it asked for");
    device.attached(this);
    this.reset();
  }

  /** Power-on, or the driver's reset by writing zero to Status. */
  reset(): void {
    for (const queue of this.queues) queue.reset();
    this.state.bytes.fill(0);
    this.#deviceBytes.fill(0);
    this.broken = "";
    this.#line(false);
    this.device.reset();
  }

  /** Whether the device has chains that it has not answered; state is only saved when it has none. */
  get busy(): boolean {
    return this.queues.some((queue) => queue.state.inFlight > 0);
  }

  /** The state was replaced by that of another time. */
  restored(): void {
    for (const queue of this.queues) queue.restored();
    this.#line(this.state.interruptStatus !== 0);
  }

  /** Between slices. */
  pump(): void {
    this.device.pump?.();
  }

  read(offset: number, bytes: number): number {
    if (offset < CONFIG_AT) return REGISTERS.read(this, offset, bytes);
    const at = offset - CONFIG_AT;
    if (at + bytes > this.config.length) {
      this.complain(`read of ${bytes} bytes at ${at} of a configuration of ${this.config.length} bytes`);
    }
    // Beyond the end, zeros: drivers of later versions look for fields that are not there.
    let value = 0;
    for (let i = 0; i < bytes; i++) value |= (this.config[at + i] ?? 0) << (8 * i);
    return value >>> 0;
  }

  write(offset: number, bytes: number, value: number): void {
    if (offset < CONFIG_AT) return REGISTERS.write(this, offset, bytes, value);
    const at = offset - CONFIG_AT, inside = at + bytes <= this.config.length;
    if (!inside || !(this.device.configWritten?.(at, bytes, value) ?? false)) {
      this.complain(`write of ${bytes} bytes at ${at} of the configuration, which is read-only`);
    }
  }

  get status(): number {
    return this.state.status;
  }

  get running(): boolean {
    return (this.state.status & (STATUS.DRIVER_OK | STATUS.DEVICE_NEEDS_RESET)) === STATUS.DRIVER_OK;
  }

  has(feature: bigint): boolean {
    return (this.state.status & STATUS.FEATURES_OK) !== 0 && (this.state.driverFeatures & feature) !== 0n;
  }

  /** The queue that QueueSel names, if there is one. */
  get selected(): Virtqueue | undefined {
    return this.queues[this.state.queueSel];
  }

  interrupt(): void {
    this.#raise(INTERRUPT.USED_BUFFER);
  }

  configChanged(): void {
    this.state.configGeneration = (this.state.configGeneration + 1) >>> 0;
    if ((this.state.status & STATUS.DRIVER_OK) !== 0) this.#raise(INTERRUPT.CONFIG_CHANGE);
  }

  needsReset(why: string): void {
    const { status } = this.state;
    if ((status & STATUS.DEVICE_NEEDS_RESET) !== 0) return;
    this.broken = why;
    this.complain(`${why}: the device needs a reset`);
    this.state.status = status | STATUS.DEVICE_NEEDS_RESET;
    if ((status & STATUS.DRIVER_OK) !== 0) this.#raise(INTERRUPT.CONFIG_CHANGE);
  }

  complain(message: string): void {
    this.guestErrors(`${this.name} (${this.device.type}): ${message}`);
  }

  setDriverFeatures(value: number): void {
    const { state } = this;
    if ((state.status & STATUS.FEATURES_OK) !== 0) return this.complain("features are chosen after FEATURES_OK");
    if (state.driverFeaturesSel === 0) state.driverFeaturesLo = value;
    else if (state.driverFeaturesSel === 1) state.driverFeaturesHi = value;
    else if (value !== 0) this.complain(`there are no features in word ${state.driverFeaturesSel}`);
  }

  /** Registers of a queue may be set while it is not ready. */
  setQueue(name: string, set: (queue: Virtqueue) => void): void {
    const queue = this.selected;
    if (queue === undefined) this.complain(`${name}: there is no queue ${this.state.queueSel}`);
    else if (queue.state.ready !== 0) this.complain(`${name}: queue ${queue.index} is ready`);
    else set(queue);
  }

  setReady(ready: boolean): void {
    const queue = this.selected, { status } = this.state;
    if (queue === undefined) return this.complain(`QueueReady: there is no queue ${this.state.queueSel}`);
    if (!ready) return queue.disable();
    if (queue.state.ready !== 0) return;
    if ((status & STATUS.FEATURES_OK) === 0) return this.complain("QueueReady: FEATURES_OK is not set");
    if ((status & STATUS.DEVICE_NEEDS_RESET) === 0) queue.enable();
  }

  notify(index: number): void {
    const queue = this.queues[index];
    if (queue === undefined) return this.complain(`QueueNotify: there is no queue ${index}`);
    if (!queue.live) return this.complain(`QueueNotify: queue ${index} is not in use`);
    queue.state.kicks++;
    this.device.notified(queue);
  }

  acknowledge(bits: number): void {
    this.state.interruptStatus &= ~bits;
    this.#line(this.state.interruptStatus !== 0);
  }

  /** §2.1: bits are only added, and FEATURES_OK only stays when the features are ones that the device can do with. */
  setStatus(value: number): void {
    if (value === 0) return this.reset();
    const { state } = this, before = state.status;
    let added = value & STATUS_BITS & ~STATUS.DEVICE_NEEDS_RESET & ~before;
    if ((before & ~value & ~STATUS.DEVICE_NEEDS_RESET) !== 0) {
      this.complain(`Status: 0x${value.toString(16)} takes bits of 0x${before.toString(16)} away`);
    }
    if ((added & STATUS.FEATURES_OK) !== 0 && !this.#acceptsFeatures()) added &= ~STATUS.FEATURES_OK;
    if ((added & STATUS.DRIVER_OK) !== 0 && ((before | added) & STATUS.FEATURES_OK) === 0) {
      this.complain("Status: DRIVER_OK without FEATURES_OK");
      added &= ~STATUS.DRIVER_OK;
    }
    state.status = before | added;
    if ((added & STATUS.DRIVER_OK) !== 0 && this.running) this.device.started?.();
  }

  #acceptsFeatures(): boolean {
    const { driverFeatures } = this.state, unknown = driverFeatures & ~this.offered;
    if (unknown !== 0n) this.complain(`Status: features 0x${unknown.toString(16)} were not offered`);
    else if ((driverFeatures & FEATURE.VERSION_1) === 0n) this.complain("Status: VIRTIO_F_VERSION_1 is not accepted");
    else return this.device.accepts?.(driverFeatures) ?? true;
    return false;
  }

  #raise(bit: number): void {
    this.state.interruptStatus |= bit;
    this.#line(true);
  }
}
