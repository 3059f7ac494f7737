// The 9P device, VIRTIO 1.2 names it in §5 and leaves it to its inventors: one queue, each chain a request and room for its
// answer, the mount tag in the configuration. Requests are answered at once, in the machine's thread, straight between the
// host's file and the guest's memory. Where a run is to repeat they wait until the machine is between two slices, and their
// answers pass the input gate.

import { assert } from "../../src/base/errors.ts";
import type { InputGate } from "../net/input.ts";
import type { Chain } from "./chain.ts";
import { DEVICE_ID, type VirtioDevice, type VirtioTransport } from "./device.ts";
import { ERROR_BYTES, HEADER_BYTES } from "./p9_messages.ts";
import { type Exchange, MOST_MESSAGE_BYTES, P9Server } from "./p9_server.ts";
import type { SharedDirectory } from "./p9_share.ts";
import type { Virtqueue } from "./queue.ts";

const F = { MOUNT_TAG: 1n << 0n } as const;
const QUEUE_SIZE = 128;
/** The length of the tag, then the tag. */
const TAG_AT = 2;
export const MOST_TAG_BYTES = 32;
/** The longest message of a run that is to repeat: its answers are in the log. */
const MOST_LOGGED_BYTES = 32 * 1024;

export interface VirtioP9Options {
  /** The name under which the guest mounts it. */
  readonly tag: string;
  /** Null where all answers come from a log. */
  readonly share: SharedDirectory | null;
  /** Where answers are logged or repeated, and the number by which the log knows the device. */
  readonly logged: { readonly gate: InputGate; readonly port: number } | null;
}

export class VirtioP9 implements VirtioDevice {
  readonly type = "virtio-9p-device";
  readonly deviceId: number = DEVICE_ID.P9;
  readonly features: bigint = F.MOUNT_TAG;
  readonly featureNames = F;
  readonly queueSizes: readonly number[] = [QUEUE_SIZE];
  readonly configBytes: number;
  readonly stateBytes = 0;
  readonly #options: VirtioP9Options;
  readonly #tag: Uint8Array;
  readonly #server: P9Server | null;
  readonly #inChain = new ChainExchange();
  readonly #inBuffer = new BufferExchange();
  #transport!: VirtioTransport;
  /** Requests wait for the next pause between slices, the first of them perhaps taken from the queue. */
  #kicked = false;
  #pending: Chain | null = null;

  constructor(options: VirtioP9Options) {
    const { tag, share, logged } = options;
    assert(share !== null || logged !== null, "answers come from somewhere");
    this.#options = options;
    this.#tag = new TextEncoder().encode(tag);
    assert(this.#tag.length <= MOST_TAG_BYTES, "the tag has room");
    this.configBytes = TAG_AT + this.#tag.length;
    const mostBytes = logged === null ? MOST_MESSAGE_BYTES : MOST_LOGGED_BYTES;
    this.#server = share === null ? null : new P9Server(share, mostBytes);
  }

  get counters(): Readonly<Record<string, number>> {
    return this.#server?.counters ?? {};
  }

  attached(transport: VirtioTransport): void {
    this.#transport = transport;
  }

  reset(): void {
    this.#server?.reset();
    this.#pending = null;
    this.#kicked = false;
    const { config } = this.#transport;
    new DataView(config.buffer, config.byteOffset, config.length).setUint16(0, this.#tag.length, true);
    config.set(this.#tag, TAG_AT);
  }

  notified(queue: Virtqueue): void {
    if (this.#options.logged !== null) {
      this.#kicked = true;
      return;
    }
    // The guest's processors stand still meanwhile, so there are at most as many chains as the queue has entries.
    for (let chain = queue.take(); chain !== null; chain = queue.take()) {
      if (!this.#isSound(chain)) return;
      queue.put(chain, this.#server!.answer(this.#inChain.of(chain)));
    }
    queue.flush();
  }

  pump(): void {
    const { logged } = this.#options, queue = this.#transport.queues[0]!;
    if (!this.#kicked || logged === null) return;
    for (let chain = this.#pending ?? queue.take(); chain !== null; chain = queue.take()) {
      this.#pending = null;
      if (!this.#isSound(chain)) break;
      const request = chain, { gate, port } = logged;
      const record = gate.frame(port, () => {
        const bytes = this.#server!.answer(this.#inBuffer.of(request));
        return this.#inBuffer.bytes.subarray(0, bytes);
      });
      if (record === null) {
        this.#pending = chain;
        queue.flush();
        return;
      }
      const written = chain.write(0, record);
      gate.frameTaken(port, () => {});
      queue.put(chain, written);
    }
    this.#kicked = false;
    queue.flush();
  }
  get hasInput(): boolean {
    return this.#kicked && this.#options.logged?.gate.replaying === false;
  }

  /** Whether there is room for the least that a request and an answer are. */
  #isSound({ readableBytes, writableBytes }: Chain): boolean {
    if (readableBytes >= HEADER_BYTES && writableBytes >= ERROR_BYTES) return true;
    this.#transport.needsReset(`a request of ${readableBytes} bytes has room for ${writableBytes} bytes of answer`);
    return false;
  }
}

/** A request and its answer where the driver has them. */
class ChainExchange implements Exchange {
  #chain!: Chain;

  of(chain: Chain): this {
    this.#chain = chain;
    return this;
  }
  get sentBytes(): number {
    return this.#chain.readableBytes;
  }
  get roomBytes(): number {
    return this.#chain.writableBytes;
  }
  read(into: Uint8Array): void {
    this.#chain.read(0, into);
  }
  sent(at: number, count: number): readonly Uint8Array[] {
    return this.#chain.sent(at, count);
  }
  room(at: number, count: number): readonly Uint8Array[] {
    return this.#chain.room(at, count);
  }
  write(answer: Uint8Array, inPlace: number): void {
    this.#chain.write(0, answer);
    this.#chain.wrote(answer.length, inPlace);
  }
}

/** The same with the answer in bytes of our own. */
class BufferExchange extends ChainExchange {
  readonly bytes = new Uint8Array(MOST_LOGGED_BYTES);

  override get roomBytes(): number {
    return Math.min(super.roomBytes, this.bytes.length);
  }
  override room(at: number, count: number): readonly Uint8Array[] {
    return [this.bytes.subarray(at, at + count)];
  }
  override write(answer: Uint8Array): void {
    this.bytes.set(answer);
  }
}
