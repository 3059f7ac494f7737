// The pcap file format: a header, then each frame with its time. Little-endian, microseconds, Ethernet.

const MAGIC = 0xa1b2_c3d4, ETHERNET = 1;
const HEADER_BYTES = 24, RECORD_BYTES = 16;

export function pcapHeader(mostBytes: number): Uint8Array {
  const out = new Uint8Array(HEADER_BYTES), view = new DataView(out.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint16(4, 2, true);
  view.setUint16(6, 4, true);
  view.setUint32(16, mostBytes, true);
  view.setUint32(20, ETHERNET, true);
  return out;
}

/** One frame, of which at most `mostBytes` are kept. */
export function pcapRecord(frame: Uint8Array, seconds: number, mostBytes: number): Uint8Array {
  const kept = frame.subarray(0, mostBytes), out = new Uint8Array(RECORD_BYTES + kept.length);
  const view = new DataView(out.buffer), whole = Math.floor(seconds);
  view.setUint32(0, whole, true);
  view.setUint32(4, Math.floor((seconds - whole) * 1e6), true);
  view.setUint32(8, kept.length, true);
  view.setUint32(12, frame.length, true);
  out.set(kept, RECORD_BYTES);
  return out;
}
