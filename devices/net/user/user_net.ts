// A network of its own for a guest, behind the host's sockets: a gateway that stands for the host, a name server that asks
// the host's, DHCP, and TCP and UDP to wherever the host gets. It is driven by frames from the guest and by sockets, and
// does nothing by itself. IPv4 only. Left out: fragments from the guest, ICMP other than echo to the gateway.

import {
  clearHeader,
  completeChecksum,
  foldChecksum,
  GSO,
  LONGEST_RECORD,
  NET_HEADER_BYTES,
  readRequest,
  sum16,
} from "../offload.ts";
import { BROADCAST_IP, formatIp, LOOPBACK_IP, parseIp } from "./address.ts";
import type { Forward, UserNetConfig } from "./config.ts";
import { DhcpServer } from "./dhcp.ts";
import type { HostTcp, Surroundings } from "./host.ts";
import {
  ETHERNET,
  ETHERTYPE,
  get16,
  get32,
  type IpPacket,
  PROTOCOL,
  pseudoSum,
  put16,
  put32,
  putHeaders,
  readIp,
  TRANSPORT_AT,
  UDP_BYTES,
} from "./packet.ts";
import { type Ends, FLAG, readSegment, type Segment, TcpConnection, type TcpOwner } from "./tcp.ts";
import { UdpFlows } from "./udp.ts";

const MOST_CONNECTIONS = 1024, MOST_GUESTS = 64;
const MTU = 1500;
/** Ports that connections from the host seem to come from. */
const FIRST_PORT = 49152, LAST_PORT = 65535;
const DNS_PORT = 53, DHCP_SERVER_PORT = 67;
const ARP_BYTES = 42;
const ECHO = 8, ECHO_REPLY = 0;
const BROADCAST_MAC = new Uint8Array(6).fill(255);

export class UserNet implements TcpOwner {
  readonly counters = { ignored: 0, connections: 0, refused: 0 };
  readonly host: number;
  readonly dns: number;
  readonly #net: number;
  readonly #mask: number;
  readonly #mac: Uint8Array;
  readonly #dhcp: DhcpServer;
  readonly #udp: UdpFlows;
  /** Guests' Ethernet addresses by their IP. */
  readonly #guests = new Map<number, Uint8Array>();
  /** By both ports; few have them in common. */
  readonly #connections = new Map<number, TcpConnection[]>();
  #connectionCount = 0;
  /** Connections that may have something to send. */
  readonly #ready = new Set<TcpConnection>();
  #nextPort = FIRST_PORT;
  /** Packets to guests whose Ethernet address is not known are written here, and go nowhere. */
  readonly #lost = new Uint8Array(LONGEST_RECORD);
  #id = 1;

  constructor(readonly config: UserNetConfig, private readonly around: Surroundings) {
    const ip = (text: string) => parseIp(text)!;
    this.host = ip(config.host);
    this.dns = ip(config.dns);
    this.#net = ip(config.net);
    this.#mask = (-1 << (32 - config.bits)) >>> 0;
    this.#mac = new Uint8Array(6);
    put16(this.#mac, 0, 0x5255);
    put32(this.#mac, 2, this.host);
    this.#dhcp = new DhcpServer(config);
    this.#udp = new UdpFlows(around, {
      toGuest: (from, fromPort, to, toPort, data) => this.#sendUdp(from, fromPort, to, toPort, data),
      gateway: this.host,
    });
  }

  // What connections need.
  get takesChecksums(): boolean {
    return this.around.guest.takesChecksums;
  }
  get takesSegments(): boolean {
    return this.around.guest.takesSegments;
  }
  get drained(): boolean {
    return this.around.guest.drained;
  }
  nowMs(): number {
    return this.around.nowMs();
  }
  random32(): number {
    return this.around.random32();
  }
  ready(connection: TcpConnection): void {
    this.#ready.add(connection);
    this.around.poke();
  }
  ended(connection: TcpConnection): void {
    const key = portsKey(connection.ends), list = this.#connections.get(key)!;
    const left = list.filter((other) => other !== connection);
    if (left.length > 0) this.#connections.set(key, left);
    else this.#connections.delete(key);
    this.#ready.delete(connection);
    this.#connectionCount--;
  }

  get connectionCount(): number {
    return this.#connectionCount;
  }

  /** Connections send what they can; call when the guest has taken frames, and after `record`s. */
  work(): void {
    for (const connection of this.#ready) {
      this.#ready.delete(connection);
      if (!connection.send()) {
        // To the end, so that others come first when there is room again.
        this.#ready.add(connection);
        return;
      }
      connection.sent();
    }
  }
  /** Whether `work` has something to do. */
  get hasWork(): boolean {
    return this.#ready.size > 0;
  }

  /** When `tick` is to be called; Infinity for never. */
  get deadlineMs(): number {
    let at = this.#udp.deadlineMs;
    for (const list of this.#connections.values()) for (const { deadlineMs } of list) at = Math.min(at, deadlineMs);
    return at;
  }
  tick(): void {
    const now = this.nowMs();
    for (const list of [...this.#connections.values()]) {
      for (const connection of list) if (connection.deadlineMs <= now) connection.timeout();
    }
    this.#udp.tick(now);
  }

  close(): void {
    for (const list of [...this.#connections.values()]) for (const connection of list) connection.abort();
    this.#udp.close();
  }

  /** A record (net header and frame) from the guest, in place. */
  record(record: Uint8Array): void {
    const request = readRequest(record), frame = record.subarray(NET_HEADER_BYTES);
    if (request === null || frame.length < ETHERNET.bytes) return this.#ignore();
    const type = get16(frame, ETHERNET.type);
    if (type === ETHERTYPE.ARP) return this.#arp(frame);
    if (type !== ETHERTYPE.IPV4) return;
    const packet = readIp(frame);
    // A segment that is to be cut has one length, too.
    if (packet === null || packet.fragment) return this.#ignore();
    if (packet.protocol === PROTOCOL.UDP) return this.#udpPacket(packet, request.needsCsum);
    if (!this.#isGuest(packet.from)) return this.#ignore();
    this.#learn(packet.from, packet.mac);
    if (packet.protocol === PROTOCOL.TCP) this.#tcpPacket(packet, request.needsCsum || request.gsoType !== GSO.NONE);
    else if (packet.protocol === PROTOCOL.ICMP) this.#icmp(packet);
    else this.#ignore();
  }

  /** A connection from the host's side that is to go to the guest. */
  accept(tcp: HostTcp, forward: Forward): void {
    const guestIp = this.#forwardedTo(forward), { guestPort } = forward;
    const peerPort = this.#freePort(guestIp, guestPort);
    if (this.#connectionCount >= MOST_CONNECTIONS || peerPort === null) {
      this.counters.refused++;
      return tcp.close();
    }
    this.#add({ guestIp, guestPort, peerIp: this.host, peerPort }, null).connected(tcp);
  }

  /** A datagram that came to a forwarded port of the host. */
  datagram(
    forward: Forward,
    data: Uint8Array,
    ip: number,
    port: number,
    reply: (data: Uint8Array, ip: number, port: number) => void,
  ): void {
    this.#udp.forwarded(this.#forwardedTo(forward), forward.guestPort, data, ip, port, reply);
  }

  #forwardedTo({ guestAddress }: Forward): number {
    return guestAddress === null ? this.#dhcp.first : parseIp(guestAddress)!;
  }

  #ignore(): void {
    this.counters.ignored++;
  }

  /** Whether a guest may have this address. */
  #isGuest(ip: number): boolean {
    const rest = (ip & ~this.#mask) >>> 0;
    return (ip & this.#mask) >>> 0 === this.#net && rest !== 0 && rest !== (~this.#mask >>> 0) && !this.#isOurs(ip);
  }
  #isOurs(ip: number): boolean {
    return ip === this.host || ip === this.dns ||
      this.config.guestForwards.some(({ address }) => parseIp(address) === ip);
  }

  #learn(ip: number, mac: Uint8Array): void {
    const known = this.#guests.get(ip);
    if (known !== undefined && known.every((byte, n) => byte === mac[n])) return;
    if (known === undefined && this.#guests.size >= MOST_GUESTS) return;
    this.#guests.set(ip, mac.slice());
    // What was sent before went nowhere.
    for (const list of this.#connections.values()) {
      for (const connection of list) if (connection.ends.guestIp === ip) connection.lost();
    }
  }

  #arp(frame: Uint8Array): void {
    // Ethernet and IPv4 (RFC 826).
    if (frame.length < ARP_BYTES || get32(frame, 14) !== 0x0001_0800 || get16(frame, 18) !== 0x0604) {
      return this.#ignore();
    }
    const operation = get16(frame, 20), sender = get32(frame, 28), target = get32(frame, 38);
    if (this.#isGuest(sender)) this.#learn(sender, frame.subarray(22, 28));
    if (operation === 1 && this.#isOurs(target)) this.#sendArp(2, target, sender, frame.subarray(22, 28));
  }

  #sendArp(operation: number, from: number, to: number, mac: Uint8Array): void {
    const record = this.#begin(ARP_BYTES);
    if (record === null) return;
    const frame = record.subarray(NET_HEADER_BYTES);
    frame.set(operation === 1 ? BROADCAST_MAC : mac, ETHERNET.to);
    frame.set(this.#mac, ETHERNET.from);
    put16(frame, ETHERNET.type, ETHERTYPE.ARP);
    put32(frame, 14, 0x0001_0800);
    put16(frame, 18, 0x0604);
    put16(frame, 20, operation);
    frame.set(this.#mac, 22);
    put32(frame, 28, from);
    frame.set(mac, 32);
    put32(frame, 38, to);
    this.around.guest.commit(record.length);
  }

  /** A cleared record for a frame of `bytes` bytes. */
  #begin(bytes: number): Uint8Array | null {
    const record = this.around.guest.reserve(NET_HEADER_BYTES + bytes);
    if (record !== null) clearHeader(record);
    return record;
  }

  /** A record for an IP packet to a guest, with its headers; null when there is no way now. */
  #beginIp(
    from: number,
    to: number,
    protocol: number,
    bytes: number,
    fragment = 0,
    id = this.#nextId(),
  ): Uint8Array | null {
    const mac = to === BROADCAST_IP ? BROADCAST_MAC : this.#guests.get(to);
    if (mac === undefined) {
      // Who sent it will do so again, when there is an answer.
      this.#sendArp(1, this.host, to, new Uint8Array(6));
      return this.#lost.subarray(0, NET_HEADER_BYTES + TRANSPORT_AT + bytes);
    }
    const record = this.#begin(TRANSPORT_AT + bytes);
    if (record === null) return null;
    putHeaders(
      record.subarray(NET_HEADER_BYTES),
      { from: this.#mac, to: mac },
      from,
      to,
      protocol,
      bytes,
      id,
      fragment,
    );
    return record;
  }
  #nextId(): number {
    return this.#id = this.#id + 1 & 0xffff;
  }

  #icmp({ from, to, data }: IpPacket): void {
    if (data.length < 8 || data[0] !== ECHO || !this.#isOurs(to)) return this.#ignore();
    if (foldChecksum(sum16(data, 0, data.length)) !== 0 || data.length > MTU - 20) return this.#ignore();
    const record = this.#beginIp(to, from, PROTOCOL.ICMP, data.length);
    if (record === null) return;
    const reply = record.subarray(NET_HEADER_BYTES + TRANSPORT_AT);
    reply.set(data);
    reply[0] = ECHO_REPLY;
    put16(reply, 2, 0);
    put16(reply, 2, foldChecksum(sum16(reply, 0, reply.length)));
    this.commitFrame(record);
  }

  #udpPacket(packet: IpPacket, unfinished: boolean): void {
    const { from, to, data } = packet;
    if (data.length < UDP_BYTES) return this.#ignore();
    const length = get16(data, 4), fromPort = get16(data, 0), toPort = get16(data, 2);
    if (length < UDP_BYTES || length > data.length) return this.#ignore();
    if (!unfinished && get16(data, 6) !== 0) {
      const sum = sum16(data, 0, length, pseudoSum(from, to, PROTOCOL.UDP, length));
      if (foldChecksum(sum) !== 0) return this.#ignore();
    }
    const content = data.subarray(UDP_BYTES, length);
    if (toPort === DHCP_SERVER_PORT) {
      if (to === BROADCAST_IP || to === this.host) this.#dhcpPacket(content, packet.mac);
      return;
    }
    if (!this.#isGuest(from)) return this.#ignore();
    this.#learn(from, packet.mac);
    if (this.#udp.answered(from, fromPort, to, toPort, content)) return;
    const real = this.#realAddress(to, toPort);
    if (real === null || toPort === 0) return this.#ignore();
    this.#udp.send({ guestIp: from, guestPort: fromPort, ip: to, port: toPort }, real, content);
  }

  #dhcpPacket(content: Uint8Array, mac: Uint8Array): void {
    const answer = this.#dhcp.answer(content);
    if (answer === null) return;
    // An address that is about to be given may be sent to before the guest has it.
    if (answer.leased !== 0) this.#learn(answer.leased, mac);
    this.#sendUdp(this.host, 67, answer.to, 68, answer.data, mac);
  }

  /** Where on the host, or beyond, what is sent to `ip` goes. Null: nowhere. */
  #realAddress(ip: number, port: number): number | null {
    if (this.config.restrict) return null;
    if (ip === this.host) return LOOPBACK_IP;
    if (ip === this.dns) return port === DNS_PORT ? this.around.sockets.resolver : null;
    if ((ip & this.#mask) >>> 0 === this.#net) return null;
    const first = ip >>> 24;
    // This network, loopback, groups and the rest.
    return first === 0 || first === 127 || first >= 224 ? null : ip;
  }

  /** Sends a datagram to the guest, in fragments when it is too large for a frame. */
  #sendUdp(from: number, fromPort: number, to: number, toPort: number, data: Uint8Array, mac?: Uint8Array): void {
    const bytes = UDP_BYTES + data.length, most = MTU - 20 & ~7, id = this.#nextId();
    if (bytes > 65515) return this.#ignore();
    const datagram = new Uint8Array(bytes);
    put16(datagram, 0, fromPort);
    put16(datagram, 2, toPort);
    put16(datagram, 4, bytes);
    datagram.set(data, UDP_BYTES);
    put16(datagram, 6, foldChecksum(pseudoSum(from, to, PROTOCOL.UDP, bytes)) ^ 0xffff);
    completeChecksum(datagram, 0, 6);
    for (let at = 0; at < bytes; at += most) {
      const count = Math.min(most, bytes - at), more = at + count < bytes ? 0x2000 : 0;
      const record = this.#beginIp(from, to, PROTOCOL.UDP, count, more | at >>> 3, id);
      // Datagrams get lost where there is no room for them.
      if (record === null) return this.#ignore();
      if (mac !== undefined && to !== BROADCAST_IP) record.set(mac, NET_HEADER_BYTES);
      record.set(datagram.subarray(at, at + count), NET_HEADER_BYTES + TRANSPORT_AT);
      this.commitFrame(record);
    }
  }

  #tcpPacket({ from, to, data }: IpPacket, unfinished: boolean): void {
    if (!unfinished) {
      const sum = sum16(data, 0, data.length, pseudoSum(from, to, PROTOCOL.TCP, data.length));
      if (foldChecksum(sum) !== 0) return this.#ignore();
    }
    const segment = readSegment(data);
    if (segment === null) return this.#ignore();
    const ends: Ends = { guestIp: from, guestPort: segment.fromPort, peerIp: to, peerPort: segment.toPort };
    const connection = this.#find(ends);
    if (connection !== undefined) return connection.segment(segment);
    if ((segment.flags & FLAG.RST) !== 0) return;
    if ((segment.flags & (FLAG.SYN | FLAG.ACK)) === FLAG.SYN) this.#connect(ends, segment);
    else this.#refuse(ends, segment);
  }

  /** The guest wants a connection. */
  #connect(ends: Ends, segment: Segment): void {
    const forward = this.config.guestForwards.find((f) =>
      parseIp(f.address) === ends.peerIp && f.port === ends.peerPort
    );
    const real = this.#realAddress(ends.peerIp, ends.peerPort);
    if ((forward === undefined && real === null) || this.#connectionCount >= MOST_CONNECTIONS) {
      return this.#refuse(ends, segment);
    }
    const connection = this.#add(ends, segment);
    this.around.sockets.connectTcp(forward?.to ?? { kind: "tcp", host: formatIp(real!), port: ends.peerPort })
      .then((tcp) => connection.connected(tcp), () => {
        this.counters.refused++;
        connection.abort();
      });
  }

  /** Answers a segment of no connection with a reset (RFC 9293, "CLOSED state"). */
  #refuse(ends: Ends, { flags, acknowledged, sequence, data }: Segment): void {
    const record = this.beginFrame(ends, 20), hasAck = (flags & FLAG.ACK) !== 0;
    if (record === null) return;
    const tcp = record.subarray(NET_HEADER_BYTES + TRANSPORT_AT);
    const length = data.length + ((flags & FLAG.SYN) !== 0 ? 1 : 0) + ((flags & FLAG.FIN) !== 0 ? 1 : 0);
    tcp.fill(0);
    put16(tcp, 0, ends.peerPort);
    put16(tcp, 2, ends.guestPort);
    put32(tcp, 4, hasAck ? acknowledged : 0);
    put32(tcp, 8, hasAck ? 0 : sequence + length);
    tcp[12] = 5 << 4;
    tcp[13] = FLAG.RST | (hasAck ? 0 : FLAG.ACK);
    put16(tcp, 16, foldChecksum(sum16(tcp, 0, 20, pseudoSum(ends.peerIp, ends.guestIp, PROTOCOL.TCP, 20))));
    this.commitFrame(record);
  }

  beginFrame({ peerIp, guestIp }: Ends, bytes: number): Uint8Array | null {
    return this.#beginIp(peerIp, guestIp, PROTOCOL.TCP, bytes);
  }
  commitFrame(record: Uint8Array): void {
    if (record.buffer !== this.#lost.buffer) this.around.guest.commit(record.length);
  }

  #add(ends: Ends, syn: Segment | null): TcpConnection {
    const connection = new TcpConnection(this, ends, syn), key = portsKey(ends), list = this.#connections.get(key);
    if (list === undefined) this.#connections.set(key, [connection]);
    else list.push(connection);
    this.#connectionCount++;
    this.counters.connections++;
    return connection;
  }

  #find(ends: Ends): TcpConnection | undefined {
    return this.#connections.get(portsKey(ends))?.find(({ ends: { guestIp, peerIp } }) =>
      guestIp === ends.guestIp && peerIp === ends.peerIp
    );
  }

  /** A port that the host's side of a new connection can seem to come from. */
  #freePort(guestIp: number, guestPort: number): number | null {
    for (let tries = 0; tries <= LAST_PORT - FIRST_PORT; tries++) {
      const peerPort = this.#nextPort;
      this.#nextPort = peerPort === LAST_PORT ? FIRST_PORT : peerPort + 1;
      if (this.#find({ guestIp, guestPort, peerIp: this.host, peerPort }) === undefined) return peerPort;
    }
    return null;
  }
}

const portsKey = ({ guestPort, peerPort }: Ends): number => guestPort * 65536 + peerPort;
