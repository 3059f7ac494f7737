// The header that stands before each frame between a virtio-net device and a backend, struct virtio_net_hdr of VIRTIO 1.2
// §5.1.6, and what it may ask for: a checksum that is to be completed, a TCP segment that is to be cut into frames.
// Whoever takes frames that ask for more than it can do makes plain ones of them here.

/** Bytes of the header. Its last two, num_buffers, are the device's own business. */
export const NET_HEADER_BYTES = 12;
/** Offsets in it. */
export const NET_HEADER = { flags: 0, gsoType: 1, hdrLen: 2, gsoSize: 4, csumStart: 6, csumOffset: 8, numBuffers: 10 };
export const NET_FLAG = { NEEDS_CSUM: 1, DATA_VALID: 2 } as const;
export const GSO = { NONE: 0, TCPV4: 1, UDP: 3, TCPV6: 4, ECN: 0x80 } as const;

export const ETHERNET_BYTES = 14;
/** The longest frame: an IP packet of 65535 bytes behind an Ethernet header with a VLAN tag. */
export const LONGEST_FRAME = 65535 + ETHERNET_BYTES + 4;
/** With its header. */
export const LONGEST_RECORD = LONGEST_FRAME + NET_HEADER_BYTES;

/** What the taker of frames can do: bits of the port's control words. */
export const OFFLOAD = { CSUM: 1, TSO4: 2, TSO6: 4 } as const;

const get16 = (bytes: Uint8Array, at: number): number => bytes[at]! << 8 | bytes[at + 1]!;
const get16le = (bytes: Uint8Array, at: number): number => bytes[at]! | bytes[at + 1]! << 8;
const get32 = (bytes: Uint8Array, at: number): number => (get16(bytes, at) << 16 | get16(bytes, at + 2)) >>> 0;
function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}
function put32(bytes: Uint8Array, at: number, value: number): void {
  put16(bytes, at, value >>> 16);
  put16(bytes, at + 2, value & 0xffff);
}

/** Adds big-endian half-words of `bytes` from `start` to `end` to `sum`; an odd last byte counts as the high one. */
export function sum16(bytes: Uint8Array, start: number, end: number, sum = 0): number {
  let at = start;
  // A frame has less than 2^17 half-words, so that 2^53 is far away.
  for (; at + 7 < end; at += 8) {
    sum += (bytes[at]! + bytes[at + 2]! + bytes[at + 4]! + bytes[at + 6]!) * 256 +
      bytes[at + 1]! + bytes[at + 3]! + bytes[at + 5]! + bytes[at + 7]!;
  }
  for (; at + 1 < end; at += 2) sum += bytes[at]! * 256 + bytes[at + 1]!;
  return at < end ? sum + bytes[at]! * 256 : sum;
}

/** The Internet checksum of a sum: ones' complement, 16 bits. */
export function foldChecksum(sum: number): number {
  while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000);
  return ~sum & 0xffff;
}

/** What the header before `record`'s frame asks for, after a check against the frame; null when it makes no sense. */
export interface Request {
  readonly needsCsum: boolean;
  /** GSO type without its ECN bit. */
  readonly gsoType: number;
  readonly gsoSize: number;
  readonly csumStart: number;
  readonly csumOffset: number;
}

export function readRequest(record: Uint8Array): Request | null {
  const flags = record[NET_HEADER.flags]!, needsCsum = (flags & NET_FLAG.NEEDS_CSUM) !== 0;
  const gsoType = record[NET_HEADER.gsoType]! & ~GSO.ECN, gsoSize = get16le(record, NET_HEADER.gsoSize);
  const csumStart = get16le(record, NET_HEADER.csumStart), csumOffset = get16le(record, NET_HEADER.csumOffset);
  const frameBytes = record.length - NET_HEADER_BYTES;
  if (needsCsum && csumStart + csumOffset + 2 > frameBytes) return null;
  if (gsoType !== GSO.NONE) {
    if (gsoType !== GSO.TCPV4 && gsoType !== GSO.TCPV6) return null;
    // The TCP header begins where the checksum does, and its data offset is in byte 12.
    if (!needsCsum || gsoSize === 0 || csumOffset !== 16 || csumStart + 20 > frameBytes) return null;
  }
  return { needsCsum, gsoType, gsoSize, csumStart, csumOffset };
}

/** Writes a header that asks for nothing. */
export const clearHeader = (record: Uint8Array): void => void record.fill(0, 0, NET_HEADER_BYTES);

/** Completes the checksum that stands in `frame` as the sum of a pseudo-header. */
export function completeChecksum(frame: Uint8Array, csumStart: number, csumOffset: number): void {
  const sum = foldChecksum(sum16(frame, csumStart, frame.length));
  // Zero would mean "none" to UDP (RFC 768), and is the same number as this.
  put16(frame, csumStart + csumOffset, sum === 0 ? 0xffff : sum);
}

/**
 * Makes plain frames of a record (header and frame) and gives each to `emit`, which must copy. The record's bytes may
 * change. False when it makes no sense, or would be cut into more frames than it has room for.
 */
export function toPlainFrames(record: Uint8Array, emit: (frame: Uint8Array) => void): boolean {
  const request = readRequest(record), frame = record.subarray(NET_HEADER_BYTES);
  if (request === null) return false;
  if (request.gsoType !== GSO.NONE) return segment(frame, request, emit);
  if (request.needsCsum) completeChecksum(frame, request.csumStart, request.csumOffset);
  emit(frame);
  return true;
}

const FIN = 1, PSH = 8, CWR = 0x80;

/** Cuts a TCP segment into frames of at most `gsoSize` bytes of data each. */
function segment(
  frame: Uint8Array,
  { gsoType, gsoSize, csumStart }: Request,
  emit: (frame: Uint8Array) => void,
): boolean {
  const ip = networkHeaderAt(frame), v4 = gsoType === GSO.TCPV4;
  const headerBytes = csumStart + (frame[csumStart + 12]! >>> 4) * 4;
  if (ip === null || ip.v4 !== v4 || headerBytes < csumStart + 20 || headerBytes > frame.length) return false;
  if (csumStart < ip.at + (v4 ? 20 : 40)) return false;
  const payload = frame.length - headerBytes, most = Math.min(gsoSize, payload);
  if (payload === 0) return false;
  const out = new Uint8Array(headerBytes + most), sequence = get32(frame, csumStart + 4);
  const identification = v4 ? get16(frame, ip.at + 4) : 0, flags = frame[csumStart + 13]!;
  for (let done = 0, n = 0; done < payload; done += most, n++) {
    const count = Math.min(most, payload - done), piece = out.subarray(0, headerBytes + count);
    piece.set(frame.subarray(0, headerBytes));
    piece.set(frame.subarray(headerBytes + done, headerBytes + done + count), headerBytes);
    put32(piece, csumStart + 4, sequence + done);
    let keep = flags;
    if (done + count < payload) keep &= ~(FIN | PSH);
    if (n > 0) keep &= ~CWR;
    piece[csumStart + 13] = keep;
    let pseudo: number;
    const tcpBytes = piece.length - csumStart;
    if (v4) {
      put16(piece, ip.at + 2, piece.length - ip.at);
      put16(piece, ip.at + 4, identification + n);
      put16(piece, ip.at + 10, 0);
      put16(piece, ip.at + 10, foldChecksum(sum16(piece, ip.at, ip.at + (piece[ip.at]! & 15) * 4)));
      pseudo = sum16(piece, ip.at + 12, ip.at + 20);
    } else {
      put16(piece, ip.at + 4, piece.length - ip.at - 40);
      pseudo = sum16(piece, ip.at + 8, ip.at + 40);
    }
    put16(piece, csumStart + 16, 0);
    put16(piece, csumStart + 16, foldChecksum(sum16(piece, csumStart, piece.length, pseudo + 6 + tcpBytes)));
    emit(piece);
  }
  return true;
}

const TYPE = { VLAN: 0x8100, IPV4: 0x0800, IPV6: 0x86dd } as const;

/** Where the IP header of a frame begins, behind at most one VLAN tag; null when there is none. */
function networkHeaderAt(frame: Uint8Array): { readonly at: number; readonly v4: boolean } | null {
  const tagged = get16(frame, 12) === TYPE.VLAN, type = get16(frame, tagged ? 16 : 12), at = tagged ? 18 : 14;
  if (type !== TYPE.IPV4 && type !== TYPE.IPV6) return null;
  const v4 = type === TYPE.IPV4;
  if (frame.length < at + (v4 ? 20 : 40) || (v4 && (frame[at]! & 15) < 5)) return null;
  return { at, v4 };
}
