// The socket device, VIRTIO 1.2 §5.10, as QEMU's vhost-vsock-device: moves packets between the driver's queues and the
// host, where connections are made and kept (devices/host/vsock.ts). Checked here: that a packet is whole and from this
// guest. Data is cut to what records and the driver's buffers hold. Packets that the host cannot take now stay in the
// driver's buffers, packets that the driver cannot take stay with the host. Left out: sockets of sequenced packets.

import type { Chain } from "./chain.ts";
import { DEVICE_ID, type VirtioDevice, type VirtioTransport } from "./device.ts";
import type { Virtqueue } from "./queue.ts";
import {
  GENERATION_BYTES,
  HEADER_BYTES,
  MOST_DATA_BYTES,
  NOTICE,
  OP,
  PacketHeader,
  TO_GUEST_BYTES,
  TO_HOST_BYTES,
  TYPE,
} from "./vsock_packet.ts";

const F = { STREAM: 1n << 0n } as const;
const QUEUE_SIZE = 128;
const RX = 0, TX = 1, EVENT = 2;
const CONFIG_BYTES = 8, EVENT_BYTES = 4;
/** Bytes that go to the host at once; what is left goes between slices. */
const MOST_BYTES_AT_ONCE = 1024 * 1024;

/** What the device stands on: records both ways, with a limit in each. */
export interface VsockBackend {
  /** Where a record of up to `bytes` bytes goes; null when there is no room now. */
  reserve(bytes: number): Uint8Array | null;
  commit(bytes: number): void;
  hasRoom(bytes: number): boolean;
  /** Records were sent, or taken: the other side may look. */
  flush(): void;
  /** Between slices: the next record from the host, in place until `taken`; null when there is none. */
  next(): Uint8Array | null;
  taken(): void;
  readonly hasInput: boolean;
}

export interface VirtioVsockOptions {
  readonly backend: VsockBackend;
  readonly guestCid: number;
}

/** A packet of the driver's that is not with the host yet, or not all of it. */
interface Outgoing {
  readonly chain: Chain;
  /** Data that belongs to it, and how much of that the host has; -1 when it has not even the header. */
  readonly length: number;
  at: number;
}

export class VirtioVsock implements VirtioDevice {
  readonly type = "vhost-vsock-device";
  readonly deviceId: number = DEVICE_ID.VSOCK;
  readonly features = F.STREAM;
  readonly featureNames = F;
  readonly queueSizes: readonly number[] = [QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE];
  readonly configBytes = CONFIG_BYTES;
  readonly stateBytes = 0;
  readonly counters = { sentPackets: 0, receivedPackets: 0, sentBytes: 0, receivedBytes: 0, badPackets: 0 };
  #transport!: VirtioTransport;
  /** Counts resets. */
  #generation = 0;
  /** What the host does not know yet of the driver. */
  #notice: number | null = null;
  #outgoing: Outgoing | null = null;
  /** A packet from the host of which the driver has not taken all: its bytes, and how much of the data was taken. */
  #incoming: { readonly packet: Uint8Array; at: number } | null = null;
  #resetEvent = false;
  readonly #header = new Uint8Array(HEADER_BYTES);
  readonly #fields = PacketHeader.in(this.#header);

  constructor(private readonly options: VirtioVsockOptions) {}

  attached(transport: VirtioTransport): void {
    this.#transport = transport;
  }

  reset(): void {
    const { config } = this.#transport;
    new DataView(config.buffer, config.byteOffset).setUint32(0, this.options.guestCid, true);
    this.#outgoing = this.#incoming = null;
    this.#resetEvent = false;
    this.#generation = (this.#generation + 1) >>> 0;
    this.#tell(NOTICE.RESET);
  }

  started(): void {
    this.#tell(NOTICE.STARTED);
  }

  /** Connections are gone, as after a snapshot: the driver is told to drop them (§5.10.6.7). */
  transportReset(): void {
    this.#resetEvent = true;
    this.#sendEvent();
  }

  notified(queue: Virtqueue): void {
    if (queue.index === TX) this.#transmit();
    else if (queue.index === EVENT) this.#sendEvent();
    // Between slices alone, records are taken from the host; here goes on what was begun.
    else if (this.#incoming !== null) {
      this.#goOn();
      queue.flush();
    }
  }

  pump(): void {
    if (this.#notice !== null) this.#tell(this.#notice);
    if (!this.#transport.running) return;
    if (this.#outgoing !== null || this.#transport.queues[TX]!.waiting > 0) this.#transmit();
    this.#receive();
  }

  get hasInput(): boolean {
    const { backend } = this.options, { running, queues } = this.#transport;
    if (this.#notice !== null) return backend.hasRoom(TO_HOST_BYTES);
    if (!running) return false;
    const sends = this.#outgoing !== null || queues[TX]!.waiting > 0;
    if (sends && backend.hasRoom(TO_HOST_BYTES + HEADER_BYTES + MOST_DATA_BYTES)) return true;
    return queues[RX]!.waiting > 0 && (this.#incoming !== null || backend.hasInput);
  }

  /** Tells the host of the driver, now or when there is room. */
  #tell(notice: number): void {
    const { backend } = this.options, place = backend.reserve(TO_HOST_BYTES);
    this.#notice = place === null ? notice : null;
    if (place === null) return;
    this.#begin(place, notice);
    backend.commit(TO_HOST_BYTES);
    backend.flush();
  }

  #begin(record: Uint8Array, kind: number): void {
    const view = new DataView(record.buffer, record.byteOffset);
    view.setUint32(0, this.#generation, true);
    view.setUint32(GENERATION_BYTES, kind, true);
  }

  #transmit(): void {
    const queue = this.#transport.queues[TX]!, limit = this.counters.sentBytes + MOST_BYTES_AT_ONCE;
    while (this.#notice === null && this.counters.sentBytes < limit) {
      const outgoing = this.#outgoing ?? this.#take(queue);
      if (outgoing === null) break;
      this.#outgoing = this.#send(outgoing) ? null : outgoing;
      if (this.#outgoing !== null) break;
      queue.put(outgoing.chain, 0);
    }
    this.options.backend.flush();
    queue.flush();
  }

  /** The next packet that is one. */
  #take(queue: Virtqueue): Outgoing | null {
    for (let chain = queue.take(); chain !== null; chain = queue.take()) {
      const why = this.#wrong(chain);
      if (why === null) {
        // Only data is of interest, and there is none for sockets that there are not.
        const { op, type, length } = this.#fields;
        return { chain, length: op === OP.RW && type === TYPE.STREAM ? length : 0, at: -1 };
      }
      this.counters.badPackets++;
      this.#transport.complain(why);
      queue.put(chain, 0);
    }
    return null;
  }

  /** What is wrong with the packet in a chain, whose header is read. */
  #wrong(chain: Chain): string | null {
    if (chain.read(0, this.#header) < HEADER_BYTES) return `a packet of ${chain.readableBytes} bytes has no header`;
    const { length, sourceCid } = this.#fields, room = chain.readableBytes - HEADER_BYTES;
    if (length > room) return `a packet says that it has ${length} bytes of data, and has ${room}`;
    if (sourceCid !== this.options.guestCid) return `a packet is from CID ${sourceCid}`;
    return null;
  }

  /** Sends what is left of a packet, in as many records as it takes; false when there is no room for all of them. */
  #send(outgoing: Outgoing): boolean {
    const { backend } = this.options, { chain, length } = outgoing;
    while (outgoing.at < length) {
      const at = Math.max(outgoing.at, 0), part = Math.min(length - at, MOST_DATA_BYTES);
      const place = backend.reserve(TO_HOST_BYTES + HEADER_BYTES + part);
      if (place === null) return false;
      this.#begin(place, NOTICE.PACKET);
      chain.read(0, place.subarray(TO_HOST_BYTES, TO_HOST_BYTES + HEADER_BYTES));
      PacketHeader.in(place, TO_HOST_BYTES).length = part;
      chain.read(HEADER_BYTES + at, place.subarray(TO_HOST_BYTES + HEADER_BYTES));
      backend.commit(TO_HOST_BYTES + HEADER_BYTES + part);
      this.counters.sentBytes += part;
      outgoing.at = at + part;
      if (length === 0) break;
    }
    this.counters.sentPackets++;
    return true;
  }

  #receive(): void {
    const { backend } = this.options, queue = this.#transport.queues[RX]!;
    let took = false;
    if (this.#incoming === null || this.#goOn()) {
      while (this.#incoming === null && queue.waiting > 0) {
        const record = backend.next();
        if (record === null) break;
        const generation = new DataView(record.buffer, record.byteOffset).getUint32(0, true);
        if (generation === this.#generation) {
          const packet = record.subarray(TO_GUEST_BYTES), at = this.#deliver(packet, 0);
          if (at !== null) this.#incoming = { packet: packet.slice(), at };
        }
        backend.taken();
        took = true;
      }
    }
    if (took) backend.flush();
    queue.flush();
  }

  /** Whether the packet that was begun is with the driver now. */
  #goOn(): boolean {
    const { packet, at } = this.#incoming!, left = this.#deliver(packet, at);
    this.#incoming = left === null ? null : { packet, at: left };
    return left === null;
  }

  /** Puts a packet, its data from byte `at`, into the driver's buffers; from where on it did not fit, or null. */
  #deliver(packet: Uint8Array, at: number): number | null {
    const queue = this.#transport.queues[RX]!, length = packet.length - HEADER_BYTES;
    for (;;) {
      const chain = queue.take();
      if (chain === null) return at;
      const room = chain.writableBytes - HEADER_BYTES, part = Math.min(room, length - at);
      if (part < 0 || (part === 0 && at < length)) {
        this.#transport.complain(`a buffer of ${chain.writableBytes} bytes has no room for a packet`);
        queue.put(chain, 0);
        continue;
      }
      this.#header.set(packet.subarray(0, HEADER_BYTES));
      this.#fields.length = part;
      chain.write(0, this.#header);
      chain.write(HEADER_BYTES, packet.subarray(HEADER_BYTES + at, HEADER_BYTES + at + part));
      queue.put(chain, HEADER_BYTES + part);
      at += part;
      this.counters.receivedBytes += part;
      if (at < length) continue;
      this.counters.receivedPackets++;
      return null;
    }
  }

  #sendEvent(): void {
    if (!this.#resetEvent || !this.#transport.running) return;
    const queue = this.#transport.queues[EVENT]!, chain = queue.take();
    if (chain === null) return;
    this.#resetEvent = false;
    // Event 0 is the reset of the transport.
    queue.put(chain, chain.write(0, new Uint8Array(EVENT_BYTES)));
    queue.flush();
  }
}
