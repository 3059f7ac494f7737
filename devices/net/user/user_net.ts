// A network of its own for a guest, behind the host's sockets: a gateway that stands for the host, a name server that asks
// the host's, DHCP, and TCP and UDP to wherever the host gets. It is driven by frames from the guest and by sockets, and
// does nothing by itself. IPv4 only. Left out: ICMP other than echo to the network's own addresses.

import { completeChecksum, foldChecksum, GSO, NET_HEADER_BYTES, readRequest, sum16 } from "../offload.ts";
import { BROADCAST_IP, formatIp, LOOPBACK_IP, parseIp } from "./address.ts";
import type { Forward, UserNetConfig } from "./config.ts";
import { DhcpServer } from "./dhcp.ts";
import { Fragments } from "./fragments.ts";
import { GuestLink, MOST_DATAGRAM_BYTES } from "./guest_link.ts";
import type { HostTcp, Surroundings } from "./host.ts";
import { ETHERNET, ETHERTYPE, get16, type IpPacket, PROTOCOL, pseudoSum, put16, readIp, UDP_BYTES } from "./packet.ts";
import { TcpConnection, type TcpOwner } from "./tcp.ts";
import { type Ends, FLAG, headerBytesOf, putSegment, readSegment, type Segment } from "./tcp_segment.ts";
import { UdpFlows } from "./udp.ts";

const MOST_CONNECTIONS = 1024;
/** Ports that connections from the host seem to come from. */
const FIRST_PORT = 49152, LAST_PORT = 65535;
const DNS_PORT = 53, DHCP_SERVER_PORT = 67, DHCP_CLIENT_PORT = 68;
const ECHO = 8, ECHO_REPLY = 0;

export class UserNet implements TcpOwner {
  readonly counters = { ignored: 0, connections: 0, refused: 0 };
  readonly #link: GuestLink;
  readonly #fragments: Fragments;
  readonly #dhcp: DhcpServer;
  readonly #udp: UdpFlows;
  /** By both ports; few have them in common. */
  readonly #connections = new Map<number, TcpConnection[]>();
  #connectionCount = 0;
  /** Connections that may have something to send. */
  readonly #ready = new Set<TcpConnection>();
  /** No connection wants to be called before; some may have changed their mind. */
  #dueMs = Infinity;
  #nextPort = FIRST_PORT;

  constructor(readonly config: UserNetConfig, private readonly around: Surroundings) {
    this.#link = new GuestLink(config, around.guest, (ip) => this.#moved(ip));
    this.#fragments = new Fragments(() => this.nowMs());
    this.#dhcp = new DhcpServer(config);
    this.#udp = new UdpFlows(around, {
      toGuest: (from, fromPort, to, toPort, data) => this.#sendUdp(from, fromPort, to, toPort, data),
      gateway: this.#link.host,
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

  due(ms: number): void {
    if (ms < this.#dueMs) this.#dueMs = ms;
  }
  /** When `tick` is to be called at the latest; Infinity for never. */
  get deadlineMs(): number {
    return Math.min(this.#dueMs, this.#udp.deadlineMs);
  }
  tick(): void {
    const now = this.nowMs();
    for (const list of [...this.#connections.values()]) {
      for (const connection of list) if (connection.deadlineMs <= now) connection.timeout();
    }
    this.#dueMs = Infinity;
    for (const list of this.#connections.values()) for (const { deadlineMs } of list) this.due(deadlineMs);
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
    if (type === ETHERTYPE.ARP) return this.#link.arp(frame) ? undefined : this.#ignore();
    if (type !== ETHERTYPE.IPV4) return;
    const packet = readIp(frame);
    // A segment that is to be cut has one length, too.
    const unfinished = request.needsCsum || request.gsoType !== GSO.NONE;
    if (packet === null) this.#ignore();
    else if (packet.offset === 0 && !packet.more) this.#packet(packet, unfinished);
    else this.#fragment(packet, unfinished);
  }

  /** Offloads are for whole packets. */
  #fragment(packet: IpPacket, unfinished: boolean): void {
    if (unfinished || !this.#link.isGuest(packet.from)) return this.#ignore();
    const whole = this.#fragments.add(packet);
    if (whole !== null) this.#packet(whole, false);
  }

  #packet(packet: IpPacket, unfinished: boolean): void {
    if (packet.protocol === PROTOCOL.UDP) return this.#udpPacket(packet, unfinished);
    if (!this.#link.isGuest(packet.from)) return this.#ignore();
    this.#link.learn(packet.from, packet.mac);
    if (packet.protocol === PROTOCOL.TCP) this.#tcpPacket(packet, unfinished);
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
    this.#add({ guestIp, guestPort, peerIp: this.#link.host, peerPort }, null).connected(tcp);
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

  /** A guest has another Ethernet address: what was sent before went nowhere. */
  #moved(ip: number): void {
    for (const list of this.#connections.values()) {
      for (const connection of list) if (connection.ends.guestIp === ip) connection.lost();
    }
  }

  #icmp({ from, to, data }: IpPacket): void {
    if (data.length < 8 || data[0] !== ECHO || !this.#link.isOurs(to)) return this.#ignore();
    if (foldChecksum(sum16(data, 0, data.length)) !== 0) return this.#ignore();
    const reply = data.slice();
    reply[0] = ECHO_REPLY;
    put16(reply, 2, 0);
    put16(reply, 2, foldChecksum(sum16(reply, 0, reply.length)));
    if (!this.#link.send(to, from, PROTOCOL.ICMP, reply)) this.#ignore();
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
      if (to === BROADCAST_IP || to === this.#link.host) this.#dhcpPacket(content, packet.mac);
      return;
    }
    if (!this.#link.isGuest(from)) return this.#ignore();
    this.#link.learn(from, packet.mac);
    if (this.#udp.answered(from, fromPort, to, toPort, content)) return;
    const real = this.#realAddress(to, toPort);
    if (real === null || toPort === 0) return this.#ignore();
    this.#udp.send({ guestIp: from, guestPort: fromPort, ip: to, port: toPort }, real, content);
  }

  #dhcpPacket(content: Uint8Array, mac: Uint8Array): void {
    const answer = this.#dhcp.answer(content);
    if (answer === null) return;
    // An address that is given, or asked from, may be sent to before anything else tells whose it is.
    for (const ip of [answer.leased, answer.to]) if (this.#link.isGuest(ip)) this.#link.learn(ip, mac);
    this.#sendUdp(this.#link.host, DHCP_SERVER_PORT, answer.to, DHCP_CLIENT_PORT, answer.data);
  }

  /** Where on the host, or beyond, what is sent to `ip` goes. Null: nowhere. */
  #realAddress(ip: number, port: number): number | null {
    if (this.config.restrict) return null;
    if (ip === this.#link.host) return LOOPBACK_IP;
    if (ip === this.#link.dns) return port === DNS_PORT ? this.around.sockets.resolver : null;
    if (this.#link.isInside(ip)) return null;
    const first = ip >>> 24;
    // This network, loopback, groups and the rest.
    return first === 0 || first === 127 || first >= 224 ? null : ip;
  }

  #sendUdp(from: number, fromPort: number, to: number, toPort: number, data: Uint8Array): void {
    const bytes = UDP_BYTES + data.length;
    if (bytes > MOST_DATAGRAM_BYTES) return this.#ignore();
    const datagram = new Uint8Array(bytes);
    put16(datagram, 0, fromPort);
    put16(datagram, 2, toPort);
    put16(datagram, 4, bytes);
    datagram.set(data, UDP_BYTES);
    put16(datagram, 6, foldChecksum(pseudoSum(from, to, PROTOCOL.UDP, bytes)) ^ 0xffff);
    completeChecksum(datagram, 0, 6);
    // Datagrams get lost where there is no room for them.
    if (!this.#link.send(from, to, PROTOCOL.UDP, datagram)) this.#ignore();
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
    const hasAck = (flags & FLAG.ACK) !== 0, reset = FLAG.RST | (hasAck ? 0 : FLAG.ACK);
    const record = this.beginFrame(ends, headerBytesOf(reset));
    if (record === null) return;
    const length = data.length + ((flags & FLAG.SYN) !== 0 ? 1 : 0) + ((flags & FLAG.FIN) !== 0 ? 1 : 0);
    const numbers = hasAck
      ? { sequence: acknowledged, acknowledged: 0 }
      : { sequence: 0, acknowledged: sequence + length };
    putSegment(record, ends, { flags: reset, ...numbers, window: 0, mss: 0, scale: -1 }, true);
    this.commitFrame(record);
  }

  beginFrame({ peerIp, guestIp }: Ends, bytes: number): Uint8Array | null {
    return this.#link.begin(peerIp, guestIp, PROTOCOL.TCP, bytes);
  }
  commitFrame(record: Uint8Array): void {
    this.#link.commit(record);
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
      if (this.#find({ guestIp, guestPort, peerIp: this.#link.host, peerPort }) === undefined) return peerPort;
    }
    return null;
  }
}

const portsKey = ({ guestPort, peerPort }: Ends): number => guestPort * 65536 + peerPort;
