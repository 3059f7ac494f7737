// Packets of the socket device, VIRTIO 1.2 §5.10.6: a header of 44 bytes, then as much data as it says; and the records in
// which packets cross between the machine's thread and the daemon's.

/** Operations, §5.10.6. */
export const OP = {
  REQUEST: 1,
  RESPONSE: 2,
  RST: 3,
  SHUTDOWN: 4,
  RW: 5,
  CREDIT_UPDATE: 6,
  CREDIT_REQUEST: 7,
} as const;
/** What kind of socket it is, §5.10.6. */
export const TYPE = { STREAM: 1 } as const;
/** Flags of SHUTDOWN: what the sender will not do any more. */
export const SHUTDOWN = { RECEIVE: 1, SEND: 2 } as const;
/** The host's address; those below 3 are no guest's, nor is the last one. */
export const HOST_CID = 2, LEAST_GUEST_CID = 3, MOST_GUEST_CID = 0xffff_fffe;
/** The port that means any. */
export const PORT_ANY = 0xffff_ffff;

export const HEADER_BYTES = 44;

/** A header in memory, field by field. */
export class PacketHeader {
  constructor(private readonly view: DataView) {}

  /** The header at the front of these bytes, or at `at` in them. */
  static in(bytes: Uint8Array, at = 0): PacketHeader {
    return new PacketHeader(new DataView(bytes.buffer, bytes.byteOffset + at, HEADER_BYTES));
  }

  /** Addresses have 64 bits, of which the upper half must be zero: anything else is nobody's address. */
  get sourceCid(): number {
    return this.#cid(0);
  }
  set sourceCid(cid: number) {
    this.#setCid(0, cid);
  }
  get targetCid(): number {
    return this.#cid(8);
  }
  set targetCid(cid: number) {
    this.#setCid(8, cid);
  }
  #cid(at: number): number {
    return this.view.getUint32(at + 4, true) * 2 ** 32 + this.view.getUint32(at, true);
  }
  #setCid(at: number, cid: number): void {
    this.view.setUint32(at, cid % 2 ** 32, true);
    this.view.setUint32(at + 4, Math.floor(cid / 2 ** 32), true);
  }

  get sourcePort(): number {
    return this.view.getUint32(16, true);
  }
  set sourcePort(port: number) {
    this.view.setUint32(16, port, true);
  }
  get targetPort(): number {
    return this.view.getUint32(20, true);
  }
  set targetPort(port: number) {
    this.view.setUint32(20, port, true);
  }
  /** Bytes of data behind the header. */
  get length(): number {
    return this.view.getUint32(24, true);
  }
  set length(bytes: number) {
    this.view.setUint32(24, bytes, true);
  }
  get type(): number {
    return this.view.getUint16(28, true);
  }
  set type(type: number) {
    this.view.setUint16(28, type, true);
  }
  get op(): number {
    return this.view.getUint16(30, true);
  }
  set op(op: number) {
    this.view.setUint16(30, op, true);
  }
  get flags(): number {
    return this.view.getUint32(32, true);
  }
  set flags(flags: number) {
    this.view.setUint32(32, flags, true);
  }
  /** The sender's whole room for this connection, and how many bytes have left it, modulo 2^32. */
  get bufferBytes(): number {
    return this.view.getUint32(36, true);
  }
  set bufferBytes(bytes: number) {
    this.view.setUint32(36, bytes, true);
  }
  get forwarded(): number {
    return this.view.getUint32(40, true);
  }
  set forwarded(bytes: number) {
    this.view.setUint32(40, bytes, true);
  }
}

/**
 * A record begins with the number of resets of the device so far, so that whatever is from before the last one is known.
 * Towards the host a word follows that says what it is; then, or at once towards the guest, the packet.
 */
export const GENERATION_BYTES = 4, TO_HOST_BYTES = 8, TO_GUEST_BYTES = GENERATION_BYTES;
/** The driver has reset the device, is ready, or sends a packet. */
export const NOTICE = { RESET: 0, STARTED: 1, PACKET: 2 } as const;
/** The most data in one record. */
export const MOST_DATA_BYTES = 32768;
/** The longest record, and one without data. */
export const LONGEST_TO_GUEST = TO_GUEST_BYTES + HEADER_BYTES + MOST_DATA_BYTES;
export const SHORTEST_TO_GUEST = TO_GUEST_BYTES + HEADER_BYTES;
