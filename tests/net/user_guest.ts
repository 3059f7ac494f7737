// The guest's side of a user-mode network for tests: frames by hand, a clock that stands still, sockets that are arrays.

import { foldChecksum, sum16, toPlainFrames } from "../../devices/net/offload.ts";
import { parseIp } from "../../devices/net/user/address.ts";
import type { UserNetConfig } from "../../devices/net/user/config.ts";
import type { HostTcp, HostUdp } from "../../devices/net/user/host.ts";
import { get16, PROTOCOL, pseudoSum, put16, put32, putHeaders, readIp } from "../../devices/net/user/packet.ts";
import { FLAG, readSegment, type Segment } from "../../devices/net/user/tcp_segment.ts";
import { UserNet } from "../../devices/net/user/user_net.ts";
import type { SocketAddress } from "../../devices/host/socket.ts";
import { MAC, record } from "./ends.ts";

export const CONFIG: UserNetConfig = {
  net: "10.0.2.0",
  bits: 24,
  host: "10.0.2.2",
  dns: "10.0.2.3",
  dhcpStart: "10.0.2.15",
  hostname: null,
  domainName: null,
  restrict: false,
  forwards: [],
  guestForwards: [],
};
export const GUEST_IP = parseIp("10.0.2.15")!, HOST_IP = parseIp("10.0.2.2")!, DNS_IP = parseIp("10.0.2.3")!;
export const RESOLVER = parseIp("192.0.2.53")!;

/** A host's stream: what it will give, what it was given, and how much it takes. */
export class FakeStream implements HostTcp {
  readonly taken: number[] = [];
  #give: number[] = [];
  #givingEnded = false;
  #reader: { into: Uint8Array; done: (count: number | null) => void; fail: (error: Error) => void } | null = null;
  #writer: (() => void) | null = null;
  /** Bytes that are still taken before writes wait. */
  appetite = Infinity;
  reads = 0;
  writeEnded = false;
  closed = false;

  read(into: Uint8Array): Promise<number | null> {
    return new Promise((done, fail) => {
      this.#reader = { into, done, fail };
      this.#serve();
    });
  }
  #serve(): void {
    const reader = this.#reader;
    if (reader === null || (this.#give.length === 0 && !this.#givingEnded)) return;
    this.#reader = null;
    if (this.#give.length === 0) return reader.done(null);
    const count = Math.min(reader.into.length, this.#give.length);
    reader.into.set(this.#give.slice(0, count));
    this.#give = this.#give.slice(count);
    this.reads += count;
    reader.done(count);
  }
  async write(data: Uint8Array): Promise<number> {
    while (this.appetite <= 0) await new Promise<void>((resolve) => this.#writer = resolve);
    const count = Math.min(this.appetite, data.length);
    this.appetite -= count;
    for (const byte of data.subarray(0, count)) this.taken.push(byte);
    return count;
  }
  closeWrite(): Promise<void> {
    this.writeEnded = true;
    return Promise.resolve();
  }
  close(): void {
    this.closed = true;
  }
  give(data: Iterable<number>): void {
    for (const byte of data) this.#give.push(byte);
    this.#serve();
  }
  end(): void {
    this.#givingEnded = true;
    this.#serve();
  }
  break(): void {
    this.#reader?.fail(new Error("connection reset"));
  }
  eat(count: number): void {
    this.appetite += count;
    this.#writer?.();
  }
}

export class FakeHost {
  nowMs = 1000;
  /** Frames to the guest, oldest first, with their headers. */
  readonly frames: Uint8Array[] = [];
  /** As many may wait. */
  room = Infinity;
  takesChecksums = false;
  takesSegments = false;
  readonly connects: { address: SocketAddress; accept: (stream: FakeStream) => void; refuse: () => void }[] = [];
  readonly datagrams: { data: Uint8Array; ip: number; port: number; loopback: boolean }[] = [];
  udpReceive: ((data: Uint8Array, ip: number, port: number) => void)[] = [];
  udpClosed = 0;
  readonly net: UserNet;

  constructor(config: Partial<UserNetConfig> = {}) {
    let reserved = new Uint8Array(0), random = 0x7fff_ff00;
    // deno-lint-ignore no-this-alias
    const host = this;
    this.net = new UserNet({ ...CONFIG, ...config }, {
      nowMs: () => this.nowMs,
      random32: () => random += 0x1000,
      poke: () => {},
      guest: {
        reserve: (bytes) => this.frames.length >= this.room ? null : reserved = new Uint8Array(bytes),
        commit: (bytes) => void this.frames.push(reserved.subarray(0, bytes)),
        get takesChecksums() {
          return host.takesChecksums;
        },
        get takesSegments() {
          return host.takesSegments;
        },
        get drained() {
          return host.frames.length === 0;
        },
      },
      sockets: {
        resolver: RESOLVER,
        connectTcp: (address) =>
          new Promise((resolve, reject) =>
            this.connects.push({ address, accept: resolve, refuse: () => reject(new Error("refused")) })
          ),
        openUdp: (loopback, receive): HostUdp => {
          this.udpReceive.push(receive);
          return {
            send: (data, ip, port) => void this.datagrams.push({ data: data.slice(), ip, port, loopback }),
            close: () => void this.udpClosed++,
          };
        },
      },
    });
  }

  /** Lets promises settle, and the network work. */
  async settle(): Promise<void> {
    for (let n = 0; n < 20; n++) {
      await Promise.resolve();
      this.net.work();
    }
  }

  /** Frames that came for the guest since the last call, without headers. */
  take(): Uint8Array[] {
    const out: Uint8Array[] = [];
    for (const each of this.frames.splice(0)) toPlainFrames(each, (frame) => out.push(frame.slice()));
    return out;
  }

  sendIp(to: number, protocol: number, data: Uint8Array, from = GUEST_IP, fragment = 0, id = 1): void {
    const frame = new Uint8Array(34 + data.length);
    putHeaders(frame, { from: MAC, to: new Uint8Array(6).fill(2) }, from, to, protocol, data.length, id, fragment);
    frame.set(data, 34);
    this.net.record(record(frame));
  }

  sendUdp(to: number, fromPort: number, toPort: number, data: Uint8Array, from = GUEST_IP): void {
    const datagram = new Uint8Array(8 + data.length);
    put16(datagram, 0, fromPort);
    put16(datagram, 2, toPort);
    put16(datagram, 4, datagram.length);
    datagram.set(data, 8);
    put16(datagram, 6, foldChecksum(sum16(datagram, 0, datagram.length, pseudoSum(from, to, 17, datagram.length))));
    this.sendIp(to, PROTOCOL.UDP, datagram, from);
  }
}

/** Reads a datagram that came for the guest; throws when its checksum is wrong. */
export function readUdp(frame: Uint8Array) {
  const { from, to, data } = readIp(frame)!;
  const sum = foldChecksum(sum16(data, 0, data.length, pseudoSum(from, to, 17, data.length)));
  if (get16(data, 6) !== 0 && sum !== 0) throw new Error("a datagram has a wrong checksum");
  return { from, to, fromPort: get16(data, 0), toPort: get16(data, 2), data: data.slice(8) };
}

/** A TCP end of the guest's that does as it is told. */
export class GuestTcp {
  sequence = 0xffff_fff0;
  received = 0;
  window = 65535;
  readonly got: number[] = [];
  finGot = false;
  resetGot = false;
  /** The window that the other side gives us, and its scale. */
  theirWindow = 0;
  theirScale = 0;
  acknowledged = 0;
  /** Segments from the network that are lost, counted from the next one. */
  lose: ((segment: Segment) => boolean) | null = null;
  autoAcknowledge = true;

  constructor(readonly host: FakeHost, readonly port: number, readonly peerIp: number, readonly peerPort: number) {}

  emit(
    flags: number,
    data: Uint8Array = new Uint8Array(0),
    options: readonly number[] = [],
    sequence = this.sequence,
  ): void {
    const bytes = new Uint8Array(20 + options.length + data.length);
    put16(bytes, 0, this.port);
    put16(bytes, 2, this.peerPort);
    put32(bytes, 4, sequence >>> 0);
    put32(bytes, 8, this.received);
    bytes[12] = (20 + options.length) << 2;
    bytes[13] = flags;
    put16(bytes, 14, this.window);
    bytes.set(options, 20);
    bytes.set(data, 20 + options.length);
    put16(bytes, 16, foldChecksum(sum16(bytes, 0, bytes.length, pseudoSum(GUEST_IP, this.peerIp, 6, bytes.length))));
    this.host.sendIp(this.peerIp, PROTOCOL.TCP, bytes);
  }
  syn(options: readonly number[] = [2, 4, 5, 180, 3, 3, 0, 0]): void {
    this.emit(FLAG.SYN, undefined, options);
    this.sequence = (this.sequence + 1) >>> 0;
  }
  send(data: Uint8Array): void {
    this.emit(FLAG.ACK | FLAG.PSH, data);
    this.sequence = (this.sequence + data.length) >>> 0;
  }
  fin(): void {
    this.emit(FLAG.ACK | FLAG.FIN);
    this.sequence = (this.sequence + 1) >>> 0;
  }

  /** Takes what came, in order, and acknowledges it; the segments that came. */
  receive(): Segment[] {
    const segments: Segment[] = [];
    for (const frame of this.host.take()) {
      const packet = readIp(frame);
      if (packet === null || packet.protocol !== PROTOCOL.TCP || get16(packet.data, 2) !== this.port) continue;
      const { from, to, data } = packet;
      if (foldChecksum(sum16(data, 0, data.length, pseudoSum(from, to, 6, data.length))) !== 0) {
        throw new Error("checksum");
      }
      const segment = readSegment(data)!;
      if (this.lose?.(segment)) continue;
      segments.push(segment);
      this.#take(segment);
    }
    return segments;
  }
  #take({ flags, sequence, data, window, acknowledged, scale }: Segment): void {
    if ((flags & FLAG.RST) !== 0) this.resetGot = true;
    if ((flags & FLAG.SYN) !== 0) {
      this.received = (sequence + 1) >>> 0;
      this.theirScale = Math.max(0, scale);
      this.theirWindow = window;
      this.acknowledged = acknowledged;
      return this.emit(FLAG.ACK);
    }
    this.theirWindow = window << this.theirScale;
    this.acknowledged = acknowledged;
    const offset = (sequence - this.received) | 0;
    if (offset <= 0 && -offset <= data.length) {
      const fresh = data.subarray(-offset, -offset + this.window);
      this.got.push(...fresh);
      this.received = (this.received + fresh.length) >>> 0;
      if ((flags & FLAG.FIN) !== 0 && fresh.length === data.length + offset) {
        this.finGot = true;
        this.received = (this.received + 1) >>> 0;
      }
    }
    if (this.autoAcknowledge && (data.length > 0 || (flags & FLAG.FIN) !== 0)) this.emit(FLAG.ACK);
  }
}
