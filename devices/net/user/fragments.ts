// Puts the fragments of IPv4 packets together, RFC 791 "An Example Reassembly Procedure", RFC 815. A guest may begin packets
// and never end them: there are at most as many as MOST_PACKETS, for a time, and the oldest makes room. Pieces that overlap
// are nobody's honest work: the whole packet is forgotten (as RFC 5722 has it for IPv6).

import type { IpPacket } from "./packet.ts";

const MOST_PACKETS = 8, MOST_PIECES = 256;
const LIFETIME_MS = 30_000;
/** An IP packet has 65535 bytes, its header included. */
const MOST_BYTES = 65515;

interface Partial {
  readonly begunMs: number;
  /** Where each piece begins, and its bytes. */
  readonly pieces: Map<number, Uint8Array>;
  bytes: number;
  /** Where the last piece ends; -1 while it has not come. */
  end: number;
}

export class Fragments {
  readonly #partials = new Map<string, Partial>();
  /** Packets that were given up. */
  lost = 0;

  constructor(private readonly nowMs: () => number) {}

  /** The whole packet when this was its last missing piece, else null. */
  add(packet: IpPacket): IpPacket | null {
    const { from, to, protocol, id, offset, more, data } = packet, key = [from, to, protocol, id].join();
    const partial = this.#partials.get(key) ?? this.#begin(key), end = offset + data.length;
    const bad = data.length === 0 || end > MOST_BYTES || (more && data.length % 8 !== 0) ||
      (more ? partial.end >= 0 && end > partial.end : partial.end >= 0 && end !== partial.end) ||
      partial.pieces.size >= MOST_PIECES;
    if (bad) return this.#forget(key);
    const known = partial.pieces.get(offset);
    if (known !== undefined) {
      // The same one again does no harm.
      return known.length === data.length && known.every((byte, n) => byte === data[n]) ? null : this.#forget(key);
    }
    partial.pieces.set(offset, data.slice());
    partial.bytes += data.length;
    if (!more) partial.end = end;
    if (partial.end < 0 || partial.bytes < partial.end) return null;
    return this.#join(key, partial, packet);
  }

  #begin(key: string): Partial {
    const now = this.nowMs();
    for (const [old, { begunMs }] of this.#partials) {
      if (begunMs + LIFETIME_MS > now && this.#partials.size < MOST_PACKETS) break;
      this.#forget(old);
    }
    const partial: Partial = { begunMs: now, pieces: new Map(), bytes: 0, end: -1 };
    this.#partials.set(key, partial);
    return partial;
  }

  #forget(key: string): null {
    this.#partials.delete(key);
    this.lost++;
    return null;
  }

  /** As many bytes as the packet has: it is whole, or pieces overlap. */
  #join(key: string, { pieces, end }: Partial, packet: IpPacket): IpPacket | null {
    const data = new Uint8Array(end);
    let at = 0;
    for (const [offset, piece] of [...pieces].toSorted(([a], [b]) => a - b)) {
      if (offset !== at) return this.#forget(key);
      data.set(piece, at);
      at += piece.length;
    }
    this.#partials.delete(key);
    return { ...packet, offset: 0, more: false, data };
  }
}
