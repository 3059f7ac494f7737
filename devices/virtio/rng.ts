// The entropy device, VIRTIO 1.2 §5.4: fills what the driver offers with random bytes, at once.

import { DEVICE_ID, type VirtioDevice } from "./device.ts";
import type { Virtqueue } from "./queue.ts";

/** The most bytes that one chain is given: an answer may be shorter than its room, and a guest never needs more. */
const MOST_BYTES = 65536;

export class VirtioRng implements VirtioDevice {
  readonly type = "virtio-rng-device";
  readonly deviceId: number = DEVICE_ID.ENTROPY;
  readonly features = 0n;
  readonly queueSizes: readonly number[] = [8];
  readonly configBytes = 0;
  readonly stateBytes = 0;
  readonly counters = { requests: 0, bytes: 0 };

  /** `random` gives as many bytes as it is asked for, at most 65536. */
  constructor(private readonly random: (count: number) => Uint8Array) {}

  attached(): void {}
  reset(): void {}

  notified(queue: Virtqueue): void {
    for (let chain = queue.take(); chain !== null; chain = queue.take()) {
      const bytes = this.random(Math.min(chain.writableBytes, MOST_BYTES)), count = chain.write(0, bytes);
      this.counters.requests++;
      this.counters.bytes += count;
      queue.put(chain, count);
    }
    queue.flush();
  }
}
