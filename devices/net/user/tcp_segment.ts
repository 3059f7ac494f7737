// TCP segments as bytes, RFC 9293 "Header Format": read from the guest's, written into frames for it. Large ones are left to
// the guest to cut, and checksums to complete, where it can.

import { foldChecksum, GSO, NET_FLAG, NET_HEADER, NET_HEADER_BYTES, sum16 } from "../offload.ts";
import { get16, get32, PROTOCOL, pseudoSum, put16, put32, TCP_BYTES, TRANSPORT_AT } from "./packet.ts";

export const FLAG = { FIN: 1, SYN: 2, RST: 4, PSH: 8, ACK: 16 } as const;

/** A segment from the guest. */
export interface Segment {
  readonly fromPort: number;
  readonly toPort: number;
  readonly sequence: number;
  readonly acknowledged: number;
  readonly flags: number;
  readonly window: number;
  readonly data: Uint8Array;
  /** Maximum segment size and window scale, from options; -1 for none. */
  readonly mss: number;
  readonly scale: number;
}

/** Reads a segment; null when it is not sound. The caller has checked the checksum. */
export function readSegment(bytes: Uint8Array): Segment | null {
  if (bytes.length < TCP_BYTES) return null;
  const headerBytes = (bytes[12]! >>> 4) * 4;
  if (headerBytes < TCP_BYTES || headerBytes > bytes.length) return null;
  let mss = -1, scale = -1;
  for (let at = TCP_BYTES; at < headerBytes;) {
    const kind = bytes[at]!, length = kind === 1 ? 1 : bytes[at + 1] ?? 0;
    if (kind === 0 || length < 1 || (kind !== 1 && length < 2) || at + length > headerBytes) break;
    if (kind === 2 && length === 4) mss = get16(bytes, at + 2);
    if (kind === 3 && length === 3) scale = Math.min(bytes[at + 2]!, 14);
    at += length;
  }
  return {
    fromPort: get16(bytes, 0),
    toPort: get16(bytes, 2),
    sequence: get32(bytes, 4),
    acknowledged: get32(bytes, 8),
    flags: bytes[13]!,
    window: get16(bytes, 14),
    data: bytes.subarray(headerBytes),
    mss,
    scale,
  };
}

/** Both ends, as the guest sees them. */
export interface Ends {
  readonly guestIp: number;
  readonly guestPort: number;
  readonly peerIp: number;
  readonly peerPort: number;
}

/** The header of a segment to the guest. */
export interface SegmentHeader {
  readonly flags: number;
  readonly sequence: number;
  readonly acknowledged: number;
  readonly window: number;
  /** A SYN's: maximum segment size, and window scale; -1 for none. */
  readonly mss: number;
  readonly scale: number;
}

/** Bytes of the header of a segment that we send. */
export const headerBytesOf = (flags: number): number => TCP_BYTES + ((flags & FLAG.SYN) !== 0 ? 8 : 0);

/** Where the data of a segment with these flags goes, in its record. */
export const segmentData = (record: Uint8Array, flags: number): Uint8Array =>
  record.subarray(NET_HEADER_BYTES + TRANSPORT_AT + headerBytesOf(flags));

/** Writes the header into a record whose IP header and data are there. `checksum` false leaves that to the guest. */
export function putSegment(record: Uint8Array, ends: Ends, header: SegmentHeader, checksum: boolean): void {
  const frame = record.subarray(NET_HEADER_BYTES), at = TRANSPORT_AT, { flags } = header;
  const headerBytes = headerBytesOf(flags), bytes = frame.length - at;
  put16(frame, at, ends.peerPort);
  put16(frame, at + 2, ends.guestPort);
  put32(frame, at + 4, header.sequence);
  put32(frame, at + 8, (flags & FLAG.ACK) !== 0 ? header.acknowledged : 0);
  frame[at + 12] = headerBytes << 2;
  frame[at + 13] = flags;
  put16(frame, at + 14, header.window);
  put32(frame, at + 16, 0);
  if ((flags & FLAG.SYN) !== 0) {
    put32(frame, at + 20, 0x0204_0000 | header.mss);
    put32(frame, at + 24, header.scale >= 0 ? 0x0103_0300 | header.scale : 0x0101_0101);
  }
  const pseudo = pseudoSum(ends.peerIp, ends.guestIp, PROTOCOL.TCP, bytes);
  if (checksum) put16(frame, at + 16, foldChecksum(sum16(frame, at, frame.length, pseudo)));
  else {
    put16(frame, at + 16, ~foldChecksum(pseudo) & 0xffff);
    record[NET_HEADER.flags] = NET_FLAG.NEEDS_CSUM;
    put16le(record, NET_HEADER.csumStart, at);
    put16le(record, NET_HEADER.csumOffset, 16);
  }
}

/** The guest is to cut the segment, whose checksum was left to it, into pieces of `mss` bytes. */
export function cutLater(record: Uint8Array, mss: number): void {
  record[NET_HEADER.gsoType] = GSO.TCPV4;
  put16le(record, NET_HEADER.gsoSize, mss);
  put16le(record, NET_HEADER.hdrLen, TRANSPORT_AT + TCP_BYTES);
}

function put16le(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
}
