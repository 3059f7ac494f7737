// An empty virtio-mmio transport, VIRTIO 1.2 §4.2.2: the board has 32, and one without a device says DeviceID 0. Nothing
// but the first four registers answers; writes are ignored, as VIRTIO asks of a driver not to make them.

import type { MmioRegion } from "../src/memory/bus.ts";
import { type GuestErrors, RegisterMap } from "./registers.ts";

/** Bytes of one transport's registers. */
export const VIRTIO_SLOT_BYTES = 0x200;

const REGISTERS = new RegisterMap<EmptyVirtioSlot>(VIRTIO_SLOT_BYTES, [
  { at: 0x000, name: "MagicValue", bits: "MAGIC:32", read: () => 0x7472_6976 },
  { at: 0x004, name: "Version", bits: "VERSION:32", read: () => 2 },
  { at: 0x008, name: "DeviceID", bits: "ID:32", read: () => 0 },
  { at: 0x00c, name: "VendorID", bits: "ID:32", read: () => 0x554d_4551 },
]);

export class EmptyVirtioSlot implements MmioRegion {
  readonly size = VIRTIO_SLOT_BYTES;

  constructor(readonly name: string, readonly base: number, readonly guestErrors: GuestErrors) {}

  read(offset: number, bytes: number): number {
    return REGISTERS.read(this, offset, bytes);
  }

  write(offset: number, bytes: number, value: number): void {
    REGISTERS.write(this, offset, bytes, value);
  }
}
