// The network device, VIRTIO 1.2 §5.1: one pair of queues and a control queue, mergeable receive buffers, checksum and TCP
// segmentation offload in both directions, filters by address and VLAN, link status. Frames and their headers go to the
// backend as they are (devices/net/port.ts); those that make no sense are dropped and told. Left out: several queue
// pairs, receive-side scaling, UDP segmentation, announcements.

import { struct, type View } from "../../src/base/struct.ts";
import {
  clearHeader,
  completeChecksum,
  ETHERNET_BYTES,
  GSO,
  LONGEST_RECORD,
  NET_HEADER,
  NET_HEADER_BYTES,
  OFFLOAD,
  readRequest,
} from "../net/offload.ts";
import type { NetBackend } from "../net/port.ts";
import type { Chain } from "./chain.ts";
import { DEVICE_ID, type VirtioDevice, type VirtioTransport } from "./device.ts";
import type { Virtqueue } from "./queue.ts";

/** Feature bits, §5.1.3. */
export const NET_F = {
  CSUM: 1n << 0n,
  GUEST_CSUM: 1n << 1n,
  CTRL_GUEST_OFFLOADS: 1n << 2n,
  MTU: 1n << 3n,
  MAC: 1n << 5n,
  GUEST_TSO4: 1n << 7n,
  GUEST_TSO6: 1n << 8n,
  GUEST_ECN: 1n << 9n,
  HOST_TSO4: 1n << 11n,
  HOST_TSO6: 1n << 12n,
  HOST_ECN: 1n << 13n,
  MRG_RXBUF: 1n << 15n,
  STATUS: 1n << 16n,
  CTRL_VQ: 1n << 17n,
  CTRL_RX: 1n << 18n,
  CTRL_VLAN: 1n << 19n,
  CTRL_RX_EXTRA: 1n << 20n,
  CTRL_MAC_ADDR: 1n << 23n,
} as const;
/** Features that go only with another (§5.1.3.1). */
const NEEDS: readonly (readonly [keyof typeof NET_F, keyof typeof NET_F])[] = [
  ["GUEST_TSO4", "GUEST_CSUM"],
  ["GUEST_TSO6", "GUEST_CSUM"],
  ["HOST_TSO4", "CSUM"],
  ["HOST_TSO6", "CSUM"],
  ["CTRL_RX", "CTRL_VQ"],
  ["CTRL_VLAN", "CTRL_VQ"],
  ["CTRL_MAC_ADDR", "CTRL_VQ"],
  ["CTRL_RX_EXTRA", "CTRL_VQ"],
  ["CTRL_GUEST_OFFLOADS", "CTRL_VQ"],
];

const CONFIG = { mac: 0, status: 6, maxPairs: 8, mtu: 10 } as const, CONFIG_BYTES = 12;
const LINK_UP = 1;
const RX = 0, TX = 1, CTRL = 2;
const QUEUE_SIZE = 256, CTRL_QUEUE_SIZE = 64;

/** Classes and commands of the control queue, §5.1.6.5. */
export const CTRL_CLASS = { RX: 0, MAC: 1, VLAN: 2, GUEST_OFFLOADS: 5 } as const;
export const CTRL_MAC = { TABLE_SET: 0, ADDR_SET: 1 } as const;
const VLAN_ADD = 0, VLAN_DEL = 1, OFFLOADS_SET = 0;
export const ACK = { OK: 0, ERR: 1 } as const;
/** RX commands, in their order. */
const RX_MODES = ["promisc", "allMulti", "allUni", "noMulti", "noUni", "noBroadcast"] as const;
/** The longest command: two tables of addresses. What is longer is refused. */
const MOST_COMMAND_BYTES = 65536;
/** Addresses that are kept; with more, all of their kind are let in. */
const MOST_ADDRESSES = 64;

export const VIRTIO_NET_STATE = struct("virtioNet", {
  promisc: "u32",
  allMulti: "u32",
  allUni: "u32",
  noMulti: "u32",
  noUni: "u32",
  noBroadcast: "u32",
  /** Addresses in the table: unicast ones come first. All of a kind are let in when there were too many. */
  unicasts: "u32",
  multicasts: "u32",
  unicastOverflow: "u32",
  multicastOverflow: "u32",
  addresses: `u8[384]`,
  /** One bit per VLAN. */
  vlans: "u32[128]",
});

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
  readonly configBytes = CONFIG_BYTES;
  readonly stateBytes = VIRTIO_NET_STATE.size;
  readonly counters = {
    sentFrames: 0,
    sentBytes: 0,
    /** Those that made no sense. */
    sentErrors: 0,
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
  #state!: View<typeof VIRTIO_NET_STATE.spec>;
  /** It outlives resets: the cable is outside. */
  #linkUp = true;
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
    this.#state = VIRTIO_NET_STATE.at(transport.deviceState.buffer, transport.deviceState.base);
  }

  reset(): void {
    const { config } = this.#transport, { mac, mtu } = this.#options;
    config.fill(0);
    config.set(mac, CONFIG.mac);
    config[CONFIG.status] = this.#linkUp ? LINK_UP : 0;
    config[CONFIG.maxPairs] = 1;
    config[CONFIG.mtu] = mtu & 255;
    config[CONFIG.mtu + 1] = mtu >>> 8;
    this.#state.promisc = 1;
    this.#sendStalled = false;
    this.#tooFewBuffers = -1;
    this.#backend.setOffloads(0);
  }

  accepts(features: bigint): boolean {
    for (const [feature, other] of NEEDS) {
      if ((features & NET_F[feature]) === 0n || (features & NET_F[other]) !== 0n) continue;
      this.#transport.complain(`VIRTIO_NET_F_${feature} without VIRTIO_NET_F_${other}`);
      return false;
    }
    return true;
  }

  started(): void {
    const has = (feature: bigint) => this.#transport.has(feature);
    this.#backend.setOffloads(
      (has(NET_F.GUEST_CSUM) ? OFFLOAD.CSUM : 0) | (has(NET_F.GUEST_TSO4) ? OFFLOAD.TSO4 : 0) |
        (has(NET_F.GUEST_TSO6) ? OFFLOAD.TSO6 : 0),
    );
    // A driver that does not filter by VLAN gets all of them.
    if (!has(NET_F.CTRL_VLAN)) this.#state.vlans.fill(0xffff_ffff);
  }

  notified(queue: Virtqueue): void {
    if (queue.index === TX) this.#send(queue);
    else if (queue.index === CTRL) this.#control(queue);
    // New receive buffers are looked at between slices, where frames are let in.
  }

  pump(): void {
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
    if (any || this.#sendStalled) backend.flush();
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
      if (record.length === 1) this.#setLink(record[0] !== 0);
      else if (!this.#deliver(queue, record)) break;
      backend.taken();
      any = true;
    }
    if (!any) return;
    backend.flush();
    queue.flush();
  }

  #setLink(up: boolean): void {
    if (this.#linkUp === up) return;
    this.#linkUp = up;
    this.#transport.config[CONFIG.status] = up ? LINK_UP : 0;
    this.#transport.configChanged();
  }

  /** Puts one record into the guest's buffers, or drops it. False when there are too few buffers now. */
  #deliver(queue: Virtqueue, record: Uint8Array): boolean {
    const { counters } = this, transport = this.#transport;
    if (!transport.running || !queue.live || !this.#mayReceive(record)) {
      counters.receivedDropped++;
      return true;
    }
    if (!this.#passes(record)) {
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

  /** Whether the filters let a frame in. */
  #passes(record: Uint8Array): boolean {
    const state = this.#state, at = NET_HEADER_BYTES;
    if (state.promisc !== 0) return true;
    if (record[at + 12] === 0x81 && record[at + 13] === 0) {
      const vlan = (record[at + 14]! & 15) << 8 | record[at + 15]!;
      if ((state.vlans[vlan >>> 5]! & 1 << (vlan & 31)) === 0) return false;
    }
    if ((record[at]! & 1) !== 0) {
      let broadcast = true;
      for (let i = 0; i < 6; i++) broadcast &&= record[at + i] === 255;
      if (broadcast) return state.noBroadcast === 0;
      if (state.noMulti !== 0) return false;
      if (state.allMulti !== 0 || state.multicastOverflow !== 0) return true;
      return this.#isListed(record, state.unicasts, state.unicasts + state.multicasts);
    }
    if (state.noUni !== 0) return false;
    if (state.allUni !== 0 || state.unicastOverflow !== 0) return true;
    if (sameAddress(record, at, this.#transport.config, CONFIG.mac)) return true;
    return this.#isListed(record, 0, state.unicasts);
  }

  #isListed(record: Uint8Array, first: number, end: number): boolean {
    for (let n = first; n < end; n++) {
      if (sameAddress(record, NET_HEADER_BYTES, this.#state.addresses, 6 * n)) return true;
    }
    return false;
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
        this.#obey(command[0]!, command[1]!, command.subarray(2));
      chain.write(0, Uint8Array.of(good ? ACK.OK : ACK.ERR));
      queue.put(chain, 1);
    }
    queue.flush();
  }

  /** Whether the command was one that is known and made sense. */
  #obey(kind: number, command: number, data: Uint8Array): boolean {
    const state = this.#state, has = (feature: bigint) => this.#transport.has(feature);
    const view = new DataView(data.buffer, data.byteOffset, data.length);
    switch (kind) {
      case CTRL_CLASS.RX: {
        const mode = RX_MODES[command];
        if (mode === undefined || data.length !== 1 || data[0]! > 1) return false;
        if (!has(command < 2 ? NET_F.CTRL_RX : NET_F.CTRL_RX_EXTRA)) return false;
        state[mode] = data[0]!;
        return true;
      }
      case CTRL_CLASS.MAC:
        if (command === CTRL_MAC.ADDR_SET && has(NET_F.CTRL_MAC_ADDR) && data.length === 6) {
          this.#transport.config.set(data, CONFIG.mac);
          return true;
        }
        return command === CTRL_MAC.TABLE_SET && has(NET_F.CTRL_RX) && this.#setTable(data, view);
      case CTRL_CLASS.VLAN: {
        if (!has(NET_F.CTRL_VLAN) || data.length !== 2) return false;
        const vlan = view.getUint16(0, true), bit = 1 << (vlan & 31);
        if (vlan >= 4096 || (command !== VLAN_ADD && command !== VLAN_DEL)) return false;
        if (command === VLAN_ADD) state.vlans[vlan >>> 5]! |= bit;
        else state.vlans[vlan >>> 5]! &= ~bit;
        return true;
      }
      case CTRL_CLASS.GUEST_OFFLOADS: {
        if (!has(NET_F.CTRL_GUEST_OFFLOADS) || command !== OFFLOADS_SET || data.length !== 8) return false;
        const bits = view.getBigUint64(0, true);
        const known = [NET_F.GUEST_CSUM, NET_F.GUEST_TSO4, NET_F.GUEST_TSO6, NET_F.GUEST_ECN].filter(has);
        if ((bits & ~known.reduce((all, bit) => all | bit, 0n)) !== 0n) return false;
        const on = (feature: bigint, bit: number) => (bits & feature) !== 0n ? bit : 0;
        this.#backend.setOffloads(
          on(NET_F.GUEST_CSUM, OFFLOAD.CSUM) | on(NET_F.GUEST_TSO4, OFFLOAD.TSO4) | on(NET_F.GUEST_TSO6, OFFLOAD.TSO6),
        );
        return true;
      }
    }
    return false;
  }

  /** Two tables, each with its number of addresses: unicast, then multicast. */
  #setTable(data: Uint8Array, view: DataView): boolean {
    const tables: Uint8Array[] = [];
    let at = 0;
    for (let n = 0; n < 2; n++) {
      if (at + 4 > data.length) return false;
      const bytes = view.getUint32(at, true) * 6;
      if (at + 4 + bytes > data.length) return false;
      tables.push(data.subarray(at + 4, at + 4 + bytes));
      at += 4 + bytes;
    }
    if (at !== data.length) return false;
    const state = this.#state, [unicast, multicast] = tables as [Uint8Array, Uint8Array];
    const fits = (bytes: number) => bytes <= 6 * MOST_ADDRESSES;
    const unicastBytes = fits(unicast.length) ? unicast.length : 0;
    state.unicastOverflow = unicastBytes === unicast.length ? 0 : 1;
    const multicastBytes = fits(unicastBytes + multicast.length) ? multicast.length : 0;
    state.multicastOverflow = multicastBytes === multicast.length ? 0 : 1;
    state.addresses.set(unicast.subarray(0, unicastBytes));
    state.addresses.set(multicast.subarray(0, multicastBytes), unicastBytes);
    state.unicasts = unicastBytes / 6;
    state.multicasts = multicastBytes / 6;
    return true;
  }
}

function sameAddress(a: Uint8Array, aAt: number, b: Uint8Array, bAt: number): boolean {
  for (let i = 0; i < 6; i++) if (a[aAt + i] !== b[bAt + i]) return false;
  return true;
}
