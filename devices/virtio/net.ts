// The network device, VIRTIO 1.2 §5.1: one pair of queues and a control queue (net_filter.ts), mergeable receive buffers,
// checksum and TCP segmentation offload in both directions, link status. Frames and their headers go to the backend as
// they are (devices/net/port.ts); those that make no sense are dropped and told. Left out: several queue pairs,
// receive-side scaling, UDP segmentation, announcements.

import {
  clearHeader,
  completeChecksum,
  ETHERNET_BYTES,
  GSO,
  LONGEST_RECORD,
  NET_HEADER,
  NET_HEADER_BYTES,
  readRequest,
} from "../net/offload.ts";
import { LINK, type NetBackend } from "../net/port.ts";
import type { Chain } from "./chain.ts";
import { DEVICE_ID, type VirtioDevice, type VirtioTransport } from "./device.ts";
import { NET_F, NET_NEEDS } from "./net_features.ts";
import { ACK, NetFilter, VIRTIO_NET_STATE } from "./net_filter.ts";
import type { Virtqueue } from "./queue.ts";

const CONFIG = { mac: 0, status: 6, maxPairs: 8, mtu: 10 } as const, CONFIG_BYTES = 12;
const LINK_UP = 1;
const RX = 0, TX = 1, CTRL = 2;
const QUEUE_SIZE = 256, CTRL_QUEUE_SIZE = 64;
/** The longest command: two tables of addresses. What is longer is refused. */
const MOST_COMMAND_BYTES = 65536;

export interface VirtioNetOptions {
  readonly backend: NetBackend;
  readonly mac: Uint8Array;
  /** What the guest is told, 0 for nothing. */
  readonly mtu: number;
  /** Whether the backend takes, and gives, frames with offloads. */
  readonly offloads: boolean;
}

export class VirtioNet implements VirtioDevice {
  readonly type = "virtio-net-device";
  readonly deviceId: number = DEVICE_ID.NET;
  readonly features: bigint;
  readonly queueSizes: readonly number[] = [QUEUE_SIZE, QUEUE_SIZE, CTRL_QUEUE_SIZE];
  readonly featureNames: Readonly<Record<string, bigint>> = NET_F;
  readonly configBytes = CONFIG_BYTES;
  readonly stateBytes = VIRTIO_NET_STATE.size;
  readonly counters = {
    sentFrames: 0,
    sentBytes: 0,
    /** Those that made no sense. */
    sentErrors: 0,
    /** The cable was not plugged in. */
    sentUnplugged: 0,
    receivedFrames: 0,
    receivedBytes: 0,
    /** Nobody was there to take them, or their buffers were too small. */
    receivedDropped: 0,
    receivedFiltered: 0,
    commands: 0,
  };
  readonly #options: VirtioNetOptions;
  readonly #backend: NetBackend;
  #transport!: VirtioTransport;
  #filter!: NetFilter;
  /** Whether somebody is at the other end, and whether the operator has the cable plugged in. They outlive resets. */
  #peerUp = true;
  #plugged = true;
  /** There was no room for what the guest sends; and how many buffers were too few for what waits for it. */
  #sendStalled = false;
  #tooFewBuffers = -1;
  readonly #header = new Uint8Array(NET_HEADER_BYTES);
  readonly #chains: Chain[] = [];

  constructor(options: VirtioNetOptions) {
    this.#options = options;
    this.#backend = options.backend;
    const plain = NET_F.MAC | NET_F.STATUS | NET_F.MRG_RXBUF | NET_F.CTRL_VQ | NET_F.CTRL_RX | NET_F.CTRL_VLAN |
      NET_F.CTRL_RX_EXTRA | NET_F.CTRL_MAC_ADDR;
    const offloads = NET_F.CSUM | NET_F.GUEST_CSUM | NET_F.GUEST_TSO4 | NET_F.GUEST_TSO6 | NET_F.GUEST_ECN |
      NET_F.HOST_TSO4 | NET_F.HOST_TSO6 | NET_F.HOST_ECN | NET_F.CTRL_GUEST_OFFLOADS;
    this.features = plain | (options.offloads ? offloads : 0n) | (options.mtu > 0 ? NET_F.MTU : 0n);
  }

  attached(transport: VirtioTransport): void {
    this.#transport = transport;
    this.#filter = new NetFilter(transport, CONFIG.mac, (bits) => this.#backend.setOffloads(bits));
  }

  reset(): void {
    const { config } = this.#transport, { mac, mtu } = this.#options;
    config.fill(0);
    config.set(mac, CONFIG.mac);
    config[CONFIG.status] = this.linkUp ? LINK_UP : 0;
    config[CONFIG.maxPairs] = 1;
    config[CONFIG.mtu] = mtu & 255;
    config[CONFIG.mtu + 1] = mtu >>> 8;
    this.#filter.reset();
    this.#sendStalled = false;
    this.#tooFewBuffers = -1;
  }

  accepts(features: bigint): boolean {
    for (const [feature, other] of NET_NEEDS) {
      if ((features & NET_F[feature]) === 0n || (features & NET_F[other]) !== 0n) continue;
      this.#transport.complain(`VIRTIO_NET_F_${feature} without VIRTIO_NET_F_${other}`);
      return false;
    }
    return true;
  }

  started(): void {
    this.#filter.started();
  }

  notified(queue: Virtqueue): void {
    if (queue.index === TX) this.#send(queue);
    else if (queue.index === CTRL) this.#control(queue);
    // New receive buffers are looked at between slices, where frames are let in.
  }

  pump(): void {
    this.#backend.poll();
    if (this.#sendStalled && this.#backend.hasRoom) this.#send(this.#transport.queues[TX]!);
    this.#receive(this.#transport.queues[RX]!);
  }
  get hasInput(): boolean {
    if (this.#sendStalled && this.#backend.hasRoom) return true;
    return this.#backend.hasInput && this.#tooFewBuffers !== this.#transport.queues[RX]!.waiting;
  }

  /** What the guest sends, as far as there is room for it. */
  #send(queue: Virtqueue): void {
    const { counters } = this, backend = this.#backend;
    this.#sendStalled = false;
    let any = false;
    for (let chain = queue.take(); chain !== null; chain = queue.take()) {
      const bytes = chain.readableBytes;
      if (bytes < NET_HEADER_BYTES + ETHERNET_BYTES || bytes > LONGEST_RECORD) {
        this.#refuse(`a frame of ${bytes - NET_HEADER_BYTES} bytes`);
        queue.put(chain, 0);
        continue;
      }
      if (!this.#plugged) {
        counters.sentUnplugged++;
        queue.put(chain, 0);
        continue;
      }
      const place = backend.reserve(bytes);
      if (place === null) {
        queue.putBack(chain);
        this.#sendStalled = true;
        break;
      }
      chain.read(0, place);
      if (this.#mayAsk(place)) {
        // Flags that mean something in the other direction only.
        place[NET_HEADER.flags]! &= 1;
        backend.commit(bytes);
        any = true;
        counters.sentFrames++;
        counters.sentBytes += bytes - NET_HEADER_BYTES;
      }
      queue.put(chain, 0);
    }
    // While there is no room, the guest need not tell of more.
    queue.wantsKicks = !this.#sendStalled;
    if (any || this.#sendStalled) backend.flushSent();
    queue.flush();
  }

  /** Whether the header of a frame from the guest asks for something that was negotiated. */
  #mayAsk(record: Uint8Array): boolean {
    const request = readRequest(record), transport = this.#transport;
    if (request === null) return this.#refuse("a frame whose header does not fit it");
    if (request.needsCsum && !transport.has(NET_F.CSUM)) return this.#refuse("a checksum that was not negotiated");
    const { gsoType } = request;
    if (gsoType === GSO.NONE) return true;
    if (transport.has(gsoType === GSO.TCPV4 ? NET_F.HOST_TSO4 : NET_F.HOST_TSO6)) return true;
    return this.#refuse("a segmentation that was not negotiated");
  }

  #refuse(what: string): false {
    this.counters.sentErrors++;
    this.#transport.complain(`${what} is dropped`);
    return false;
  }

  /** What has come for the guest, as far as it has buffers. */
  #receive(queue: Virtqueue): void {
    const backend = this.#backend;
    if (this.#tooFewBuffers >= 0 && this.#tooFewBuffers === queue.waiting) return;
    this.#tooFewBuffers = -1;
    let any = false;
    for (let record = backend.next(); record !== null; record = backend.next()) {
      if (record.length === 1) this.#linkChanged(record[0]!);
      else if (!this.#deliver(queue, record)) break;
      backend.taken();
      any = true;
    }
    if (!any) return;
    backend.flushTaken();
    queue.flush();
  }

  /** What the guest is told of its link. */
  get linkUp(): boolean {
    return this.#peerUp && this.#plugged;
  }

  /** The operator plugs the cable in, or pulls it: nothing gets through then, in either direction. */
  setLink(up: boolean): void {
    this.#plugged = up;
    this.#tellLink();
  }

  #linkChanged(what: number): void {
    if ((what & LINK.OPERATOR) !== 0) return this.setLink((what & LINK.UP) !== 0);
    this.#peerUp = (what & LINK.UP) !== 0;
    this.#tellLink();
  }

  #tellLink(): void {
    const { config } = this.#transport, status = this.linkUp ? LINK_UP : 0;
    if (config[CONFIG.status] === status) return;
    config[CONFIG.status] = status;
    this.#transport.configChanged();
  }

  /** Puts one record into the guest's buffers, or drops it. False when there are too few buffers now. */
  #deliver(queue: Virtqueue, record: Uint8Array): boolean {
    const { counters } = this, transport = this.#transport;
    if (!transport.running || !queue.live || !this.#plugged || !this.#mayReceive(record)) {
      counters.receivedDropped++;
      return true;
    }
    if (!this.#filter.passes(record)) {
      counters.receivedFiltered++;
      return true;
    }
    const chains = this.#chains, mergeable = transport.has(NET_F.MRG_RXBUF), waiting = queue.waiting;
    let room = 0;
    while (room < record.length) {
      const chain = queue.take();
      if (chain === null) {
        for (let left = chains.pop(); left !== undefined; left = chains.pop()) queue.putBack(left);
        this.#tooFewBuffers = waiting;
        return false;
      }
      chains.push(chain);
      room += chain.writableBytes;
      if (chain.writableBytes < NET_HEADER_BYTES || (!mergeable && room < record.length)) {
        // It does not fit, whatever is done: the buffers go back empty, and the frame is lost.
        if (mergeable) transport.complain(`a receive buffer of ${chain.writableBytes} bytes has no room for a header`);
        for (const each of chains) queue.put(each, 0);
        chains.length = 0;
        counters.receivedDropped++;
        return true;
      }
    }
    const header = this.#header, plain = this.#plain(record);
    header.set(plain.subarray(0, NET_HEADER_BYTES));
    header[NET_HEADER.numBuffers] = chains.length & 255;
    header[NET_HEADER.numBuffers + 1] = chains.length >>> 8;
    chains[0]!.write(0, header);
    let done = NET_HEADER_BYTES;
    for (const [n, chain] of chains.entries()) {
      const at = n === 0 ? NET_HEADER_BYTES : 0, count = chain.write(at, plain.subarray(done));
      done += count;
      queue.put(chain, at + count);
    }
    chains.length = 0;
    counters.receivedFrames++;
    counters.receivedBytes += record.length - NET_HEADER_BYTES;
    return true;
  }

  /** Whether the driver takes segments, if this is one: it may have come while another driver was there, which did. */
  #mayReceive(record: Uint8Array): boolean {
    const type = record[NET_HEADER.gsoType]! & ~GSO.ECN;
    return type === GSO.NONE || this.#transport.has(type === GSO.TCPV4 ? NET_F.GUEST_TSO4 : NET_F.GUEST_TSO6);
  }

  /** The record as the driver may have it: it may have come while another one, which takes more, was there. */
  #plain(record: Uint8Array): Uint8Array {
    const request = readRequest(record);
    if (request === null || !request.needsCsum || this.#transport.has(NET_F.GUEST_CSUM)) return record;
    const copy = record.slice();
    clearHeader(copy);
    completeChecksum(copy.subarray(NET_HEADER_BYTES), request.csumStart, request.csumOffset);
    return copy;
  }

  #control(queue: Virtqueue): void {
    for (let chain = queue.take(); chain !== null; chain = queue.take()) {
      this.counters.commands++;
      if (chain.readableBytes < 2 || chain.writableBytes < 1) {
        return this.#transport.needsReset("a control command has no header or no room for its answer");
      }
      const command = new Uint8Array(Math.min(chain.readableBytes, MOST_COMMAND_BYTES));
      chain.read(0, command);
      const good = chain.readableBytes <= MOST_COMMAND_BYTES &&
        this.#filter.obey(command[0]!, command[1]!, command.subarray(2));
      chain.write(0, Uint8Array.of(good ? ACK.OK : ACK.ERR));
      queue.put(chain, 1);
    }
    queue.flush();
  }
}
