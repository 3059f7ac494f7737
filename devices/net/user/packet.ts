// Ethernet, IPv4, UDP and TCP headers: where their fields are, and how packets for the guest are begun. RFC 791, 768, 793.

import { foldChecksum, sum16 } from "../offload.ts";

export const ETHERTYPE = { IPV4: 0x0800, ARP: 0x0806 } as const;
export const PROTOCOL = { ICMP: 1, TCP: 6, UDP: 17 } as const;
/** Offsets in a frame without VLAN tag; an IP header without options is what we send, not always what we get. */
export const ETHERNET = { to: 0, from: 6, type: 12, bytes: 14 } as const;
export const IP = {
  versionLength: 0,
  total: 2,
  id: 4,
  fragment: 6,
  ttl: 8,
  protocol: 9,
  checksum: 10,
  from: 12,
  to: 16,
};
/** In the field with a fragment's place. */
export const MORE_FRAGMENTS = 0x2000;
export const IP_BYTES = 20, UDP_BYTES = 8, TCP_BYTES = 20;
/** Where the transport's header begins in a frame that we send. */
export const TRANSPORT_AT = ETHERNET.bytes + IP_BYTES;

export const get16 = (b: Uint8Array, at: number): number => b[at]! << 8 | b[at + 1]!;
export const get32 = (b: Uint8Array, at: number): number =>
  (b[at]! << 24 | b[at + 1]! << 16 | b[at + 2]! << 8 | b[at + 3]!) >>> 0;
export function put16(b: Uint8Array, at: number, value: number): void {
  b[at] = value >>> 8;
  b[at + 1] = value;
}
export function put32(b: Uint8Array, at: number, value: number): void {
  b[at] = value >>> 24;
  b[at + 1] = value >>> 16;
  b[at + 2] = value >>> 8;
  b[at + 3] = value;
}

/** The sum of a pseudo-header, not folded. */
export const pseudoSum = (from: number, to: number, protocol: number, bytes: number): number =>
  (from >>> 16) + (from & 0xffff) + (to >>> 16) + (to & 0xffff) + protocol + bytes;

/** An IPv4 packet that has been found sound: its header's checksum and lengths are right. */
export interface IpPacket {
  readonly from: number;
  readonly to: number;
  readonly protocol: number;
  /** What stands behind the header, without padding of the frame. */
  readonly data: Uint8Array;
  /** Of a piece of a larger one: which that is, where the piece begins, and whether more follow. */
  readonly id: number;
  readonly offset: number;
  readonly more: boolean;
  /** The frame's source address. */
  readonly mac: Uint8Array;
}

/** Reads a frame; null when it is not IPv4, or not sound. */
export function readIp(frame: Uint8Array): IpPacket | null {
  const at = ETHERNET.bytes;
  if (frame.length < at + IP_BYTES || frame[at]! >>> 4 !== 4) return null;
  const headerBytes = (frame[at]! & 15) * 4, total = get16(frame, at + IP.total);
  const fragment = get16(frame, at + IP.fragment);
  if (headerBytes < IP_BYTES || total < headerBytes || at + total > frame.length) return null;
  if (foldChecksum(sum16(frame, at, at + headerBytes)) !== 0) return null;
  return {
    from: get32(frame, at + IP.from),
    to: get32(frame, at + IP.to),
    protocol: frame[at + IP.protocol]!,
    data: frame.subarray(at + headerBytes, at + total),
    id: get16(frame, at + IP.id),
    offset: (fragment & 0x1fff) * 8,
    more: (fragment & MORE_FRAGMENTS) !== 0,
    mac: frame.subarray(ETHERNET.from, ETHERNET.from + 6),
  };
}

/** Writes the Ethernet and IP headers of a packet with `dataBytes` behind them. */
export function putHeaders(
  frame: Uint8Array,
  macs: { readonly from: Uint8Array; readonly to: Uint8Array },
  from: number,
  to: number,
  protocol: number,
  dataBytes: number,
  id: number,
  fragment = 0,
): void {
  frame.set(macs.to, ETHERNET.to);
  frame.set(macs.from, ETHERNET.from);
  put16(frame, ETHERNET.type, ETHERTYPE.IPV4);
  const at = ETHERNET.bytes;
  put16(frame, at, 0x4500);
  put16(frame, at + IP.total, IP_BYTES + dataBytes);
  put16(frame, at + IP.id, id);
  put16(frame, at + IP.fragment, fragment);
  frame[at + IP.ttl] = 64;
  frame[at + IP.protocol] = protocol;
  put16(frame, at + IP.checksum, 0);
  put32(frame, at + IP.from, from);
  put32(frame, at + IP.to, to);
  put16(frame, at + IP.checksum, foldChecksum(sum16(frame, at, at + IP_BYTES)));
}
