// The way to the guests of a user-mode network: their Ethernet addresses, which ARP finds and every packet of theirs tells
// (RFC 826), and packets with the headers that they need, in fragments where they are too large for a frame.

import { clearHeader, LONGEST_RECORD, NET_HEADER_BYTES } from "../offload.ts";
import { BROADCAST_IP, parseIp } from "./address.ts";
import type { UserNetConfig } from "./config.ts";
import type { GuestSide } from "./host.ts";
import { ETHERNET, ETHERTYPE, get16, get32, MORE_FRAGMENTS, put16, put32, putHeaders, TRANSPORT_AT } from "./packet.ts";

const MOST_GUESTS = 64, MTU = 1500, IP_BYTES = 20;
const ARP_BYTES = 42, REQUEST = 1, REPLY = 2;
const BROADCAST_MAC = new Uint8Array(6).fill(255);
/** An IP packet has 65535 bytes. */
export const MOST_DATAGRAM_BYTES = 65535 - IP_BYTES;

export class GuestLink {
  readonly host: number;
  readonly dns: number;
  readonly #net: number;
  readonly #mask: number;
  /** Addresses that the network itself has. */
  readonly #ours: ReadonlySet<number>;
  readonly #mac = new Uint8Array(6);
  /** Guests' Ethernet addresses by their IP. */
  readonly #guests = new Map<number, Uint8Array>();
  /** Packets to guests whose Ethernet address is not known are written here, and go nowhere. */
  readonly #lost = new Uint8Array(LONGEST_RECORD);
  #id = 1;

  /** `moved` is told when a guest has another Ethernet address than before: what was sent to it went nowhere. */
  constructor(config: UserNetConfig, private readonly guest: GuestSide, private readonly moved: (ip: number) => void) {
    const ip = (text: string) => parseIp(text)!;
    this.host = ip(config.host);
    this.dns = ip(config.dns);
    this.#net = ip(config.net);
    this.#mask = (-1 << (32 - config.bits)) >>> 0;
    this.#ours = new Set([this.host, this.dns, ...config.guestForwards.map(({ address }) => ip(address))]);
    put16(this.#mac, 0, 0x5255);
    put32(this.#mac, 2, this.host);
  }

  isInside(ip: number): boolean {
    return (ip & this.#mask) >>> 0 === this.#net;
  }
  isOurs(ip: number): boolean {
    return this.#ours.has(ip);
  }
  /** Whether a guest may have this address. */
  isGuest(ip: number): boolean {
    const rest = (ip & ~this.#mask) >>> 0;
    return this.isInside(ip) && rest !== 0 && rest !== (~this.#mask >>> 0) && !this.isOurs(ip);
  }

  /** A guest has this Ethernet address. */
  learn(ip: number, mac: Uint8Array): void {
    const known = this.#guests.get(ip);
    if (known !== undefined && known.every((byte, n) => byte === mac[n])) return;
    if (known === undefined && this.#guests.size >= MOST_GUESTS) return;
    this.#guests.set(ip, mac.slice());
    this.moved(ip);
  }

  /** Takes an ARP packet from a guest; false when it makes no sense. */
  arp(frame: Uint8Array): boolean {
    // Ethernet and IPv4.
    if (frame.length < ARP_BYTES || get32(frame, 14) !== 0x0001_0800 || get16(frame, 18) !== 0x0604) return false;
    const operation = get16(frame, 20), sender = get32(frame, 28), target = get32(frame, 38);
    if (this.isGuest(sender)) this.learn(sender, frame.subarray(22, 28));
    if (operation === REQUEST && this.isOurs(target)) this.#sendArp(REPLY, target, sender, frame.subarray(22, 28));
    return true;
  }

  #sendArp(operation: number, from: number, to: number, mac: Uint8Array): void {
    const record = this.#begin(ARP_BYTES);
    if (record === null) return;
    const frame = record.subarray(NET_HEADER_BYTES);
    frame.set(operation === REQUEST ? BROADCAST_MAC : mac, ETHERNET.to);
    frame.set(this.#mac, ETHERNET.from);
    put16(frame, ETHERNET.type, ETHERTYPE.ARP);
    put32(frame, 14, 0x0001_0800);
    put16(frame, 18, 0x0604);
    put16(frame, 20, operation);
    frame.set(this.#mac, 22);
    put32(frame, 28, from);
    frame.set(mac, 32);
    put32(frame, 38, to);
    this.guest.commit(record.length);
  }

  /** A cleared record for a frame of `bytes` bytes. */
  #begin(bytes: number): Uint8Array | null {
    const record = this.guest.reserve(NET_HEADER_BYTES + bytes);
    if (record !== null) clearHeader(record);
    return record;
  }

  /**
   * A record for an IP packet to a guest with `bytes` behind its header, which is written; null when there is no way now.
   * `commit` sends it.
   */
  begin(
    from: number,
    to: number,
    protocol: number,
    bytes: number,
    fragment = 0,
    id: number = this.#nextId(),
  ): Uint8Array | null {
    const mac = to === BROADCAST_IP ? BROADCAST_MAC : this.#guests.get(to);
    if (mac === undefined) {
      // Who sent it will do so again, when there is an answer.
      this.#sendArp(REQUEST, this.host, to, new Uint8Array(6));
      return this.#lost.subarray(0, NET_HEADER_BYTES + TRANSPORT_AT + bytes);
    }
    const record = this.#begin(TRANSPORT_AT + bytes);
    if (record === null) return null;
    const macs = { from: this.#mac, to: mac };
    putHeaders(record.subarray(NET_HEADER_BYTES), macs, from, to, protocol, bytes, id, fragment);
    return record;
  }
  commit(record: Uint8Array): void {
    if (record.buffer !== this.#lost.buffer) this.guest.commit(record.length);
  }

  /** Sends a packet, in fragments when it is too large for a frame. False when there was no room for all of it. */
  send(from: number, to: number, protocol: number, data: Uint8Array): boolean {
    const most = MTU - IP_BYTES & ~7, id = this.#nextId();
    for (let at = 0; at < data.length; at += most) {
      const count = Math.min(most, data.length - at), more = at + count < data.length ? MORE_FRAGMENTS : 0;
      const record = this.begin(from, to, protocol, count, more | at >>> 3, id);
      if (record === null) return false;
      record.set(data.subarray(at, at + count), NET_HEADER_BYTES + TRANSPORT_AT);
      this.commit(record);
    }
    return true;
  }

  #nextId(): number {
    return this.#id = this.#id + 1 & 0xffff;
  }
}
