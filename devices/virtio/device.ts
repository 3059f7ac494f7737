// What a virtio device and its transport are to each other, and the numbers that VIRTIO 1.2 gives to both.

import type { GuestMemory } from "./memory.ts";
import type { Virtqueue } from "./queue.ts";

/** Device status bits, VIRTIO 1.2 §2.1. */
export const STATUS = {
  ACKNOWLEDGE: 1,
  DRIVER: 2,
  DRIVER_OK: 4,
  FEATURES_OK: 8,
  DEVICE_NEEDS_RESET: 64,
  FAILED: 128,
} as const;

/** Feature bits that concern every device, VIRTIO 1.2 §6. */
export const FEATURE = {
  INDIRECT_DESC: 1n << 28n,
  EVENT_IDX: 1n << 29n,
  VERSION_1: 1n << 32n,
} as const;

/** Device types, VIRTIO 1.2 §5. */
export const DEVICE_ID = { NET: 1, BLOCK: 2, CONSOLE: 3, ENTROPY: 4, BALLOON: 5, P9: 9, VSOCK: 19 } as const;

/** What a transport gives to the device that is plugged into it. All of it is there before `attached` is called. */
export interface VirtioTransport {
  /** As messages call it: `virtio-mmio.31`. */
  readonly name: string;
  readonly memory: GuestMemory;
  readonly queues: readonly Virtqueue[];
  /** The device's configuration space: `configBytes` of shared memory, which the device fills at every reset. */
  readonly config: Uint8Array;
  /** `stateBytes` of shared memory for whatever else the device must remember; zero at every reset. */
  readonly deviceState: { readonly buffer: ArrayBufferLike; readonly base: number };
  /** Whether this feature was negotiated; false until the driver has set FEATURES_OK. */
  has(feature: bigint): boolean;
  /** Whether the driver has said DRIVER_OK and nothing is wrong since. */
  readonly running: boolean;
  /** The configuration space has changed: counts its generation and tells the driver. */
  configChanged(): void;
  /** The driver did what makes going on impossible: nothing moves until it resets the device. */
  needsReset(why: string): void;
  /** The driver did something wrong that does no harm: a line of the guest_errors trace. */
  complain(message: string): void;
}

/** A device: everything but registers and rings. It acts when it is told of a queue, or between slices. */
export interface VirtioDevice {
  /** As QEMU's `-device` names it: `virtio-rng-device`. */
  readonly type: string;
  readonly deviceId: number;
  /** Features that are offered, besides those of the rings. */
  readonly features: bigint;
  /** The device's own features by the standard's names, without the prefix. */
  readonly featureNames?: Readonly<Record<string, bigint>>;
  /** What it did so far, for the monitor. */
  readonly counters?: Readonly<Record<string, number>>;
  /** The most entries of each queue, powers of two. */
  readonly queueSizes: readonly number[];
  readonly configBytes: number;
  readonly stateBytes: number;
  /** Once, when the device is plugged in. A reset follows. */
  attached(transport: VirtioTransport): void;
  /** Power-on, or the driver's reset. Queues are idle; what is in flight must not be answered any more. */
  reset(): void;
  /** The driver has chosen these features; false refuses them. */
  accepts?(features: bigint): boolean;
  /** DRIVER_OK was set: queues may be used. */
  started?(): void;
  /** The driver says that there is something in this queue. */
  notified(queue: Virtqueue): void;
  /** The driver wrote the configuration space. Absent: all of it is read-only. Returns whether it may. */
  configWritten?(offset: number, bytes: number, value: number): boolean;
  /** Between slices: takes what has come from outside. */
  pump?(): void;
  /** Whether `pump` would find something to do, so that the machine must not sleep. */
  readonly hasInput?: boolean;
}
