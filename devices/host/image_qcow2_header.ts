// The header of a qcow2 image, version 2 or 3, by QEMU's docs/interop/qcow2.txt: what it says, checked, and how a new one
// is written. Refused by name: encryption, external data files, extended L2 entries.

import { HostError } from "../../src/base/errors.ts";
import type { ImageFile } from "./image_file.ts";

const MAGIC = 0x5146_49fb;
const V2_BYTES = 72, V3_BYTES = 104;
/** Byte offsets in the header. */
export const HEADER = {
  version: 4,
  backingOffset: 8,
  backingBytes: 16,
  clusterBits: 20,
  size: 24,
  cryptMethod: 32,
  l1Size: 36,
  l1Offset: 40,
  refcountTableOffset: 48,
  refcountTableClusters: 56,
  snapshots: 60,
  incompatible: 72,
  compatible: 80,
  autoclear: 88,
  refcountOrder: 96,
  headerLength: 100,
  compressionType: 104,
} as const;
const INCOMPATIBLE = { DIRTY: 1, CORRUPT: 2, DATA_FILE: 4, COMPRESSION: 8, EXTENDED_L2: 16 } as const;
const EXTENSION = { END: 0, BACKING_FORMAT: 0xe279_2aca } as const;
const MOST_BACKING_BYTES = 1023;
/** The largest L1 table that is read: enough for 2^53 bytes with the smallest sensible clusters. */
const MOST_L1_BYTES = 32 * 2 ** 20, MOST_REFCOUNT_TABLE_BYTES = 8 * 2 ** 20;
const SECTOR = 512;

export interface Qcow2Header {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly sizeBytes: number;
  readonly l1Entries: number;
  readonly l1Offset: number;
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
  /** A refcount has 2 ** refcountOrder bits. */
  readonly refcountOrder: number;
  readonly compression: "deflate" | "zstd";
  readonly backing: { readonly name: string; readonly format: string | null } | null;
}

export const looksLikeQcow2 = (start: Uint8Array): boolean =>
  start.length >= 4 && new DataView(start.buffer, start.byteOffset).getUint32(0) === MAGIC;

/** A 64-bit number of a file, which must be one of JavaScript's. */
export function u64(view: DataView, at: number, complain: (state: string) => never): number {
  const value = view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4);
  return Number.isSafeInteger(value) ? value : complain("it says a number beyond 2^53");
}
export function setU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / 2 ** 32));
  view.setUint32(at + 4, value % 2 ** 32);
}

/** Reads and checks the header. Throws HostError. */
export function readHeader(file: ImageFile): Qcow2Header {
  const complain = (state: string): never => {
    throw new HostError(`cannot open ${file.path}: ${state}`);
  };
  const bytes = new Uint8Array(V3_BYTES + 8), view = new DataView(bytes.buffer);
  file.readAt(0, bytes);
  if (!looksLikeQcow2(bytes)) complain("it is not a qcow2 image");
  const version = view.getUint32(HEADER.version);
  if (version !== 2 && version !== 3) return complain(`qcow2 version ${version} is not known`);
  const clusterBits = view.getUint32(HEADER.clusterBits), clusterBytes = 2 ** clusterBits;
  if (clusterBits < 9 || clusterBits > 21) complain(`its clusters have 2^${clusterBits} bytes`);
  if (view.getUint32(HEADER.cryptMethod) !== 0) complain("encrypted images are not implemented");
  const features = version === 3 ? view.getUint32(HEADER.incompatible + 4) : 0;
  if (version === 3) {
    if (view.getUint32(HEADER.incompatible) !== 0) complain("it has features that are not known");
    if ((features & INCOMPATIBLE.DATA_FILE) !== 0) complain("external data files are not implemented");
    if ((features & INCOMPATIBLE.EXTENDED_L2) !== 0) complain("extended L2 entries are not implemented");
    if ((features & ~31) !== 0) complain("it has features that are not known");
    if (!file.readOnly && (features & (INCOMPATIBLE.DIRTY | INCOMPATIBLE.CORRUPT)) !== 0) {
      complain("it needs a repair first: qemu-img check -r all");
    }
  }
  const headerBytes = version === 2 ? V2_BYTES : view.getUint32(HEADER.headerLength);
  if (headerBytes > clusterBytes || (version === 3 && headerBytes < V3_BYTES)) {
    complain(`its header has ${headerBytes} bytes`);
  }
  const type = (features & INCOMPATIBLE.COMPRESSION) !== 0 && headerBytes > HEADER.compressionType
    ? bytes[HEADER.compressionType]!
    : 0;
  if (type > 1) complain(`compression type ${type} is not known`);
  const refcountOrder = version === 2 ? 4 : view.getUint32(HEADER.refcountOrder);
  if (refcountOrder > 6) complain(`its reference counts have 2^${refcountOrder} bits`);

  const place = (what: string, at: number, most: number, length: number) => {
    const offset = u64(view, at, complain);
    if (offset % clusterBytes !== 0 || offset === 0) complain(`its ${what} is not at a cluster`);
    if (length > most || offset + length > file.sizeBytes + clusterBytes) complain(`its ${what} is too long`);
    return offset;
  };
  const l1Entries = view.getUint32(HEADER.l1Size);
  const refcountTableClusters = view.getUint32(HEADER.refcountTableClusters);
  const sizeBytes = u64(view, HEADER.size, complain);
  const perL1 = clusterBytes * (clusterBytes / 8);
  if (l1Entries * perL1 < sizeBytes) complain("its L1 table is too short");
  return {
    version,
    clusterBits,
    sizeBytes: Math.ceil(sizeBytes / SECTOR) * SECTOR,
    l1Entries,
    l1Offset: l1Entries === 0 ? 0 : place("L1 table", HEADER.l1Offset, MOST_L1_BYTES, l1Entries * 8),
    refcountTableOffset: place(
      "refcount table",
      HEADER.refcountTableOffset,
      MOST_REFCOUNT_TABLE_BYTES,
      refcountTableClusters * clusterBytes,
    ),
    refcountTableClusters,
    refcountOrder,
    compression: type === 1 ? "zstd" : "deflate",
    backing: readBacking(file, view, headerBytes, clusterBytes, complain),
  };
}

function readBacking(
  file: ImageFile,
  view: DataView,
  headerBytes: number,
  clusterBytes: number,
  complain: (state: string) => never,
): Qcow2Header["backing"] {
  const offset = u64(view, HEADER.backingOffset, complain), bytes = view.getUint32(HEADER.backingBytes);
  if (offset === 0) return null;
  if (bytes > MOST_BACKING_BYTES || offset < headerBytes || offset + bytes > clusterBytes) {
    complain("the name of its backing file is too long or out of place");
  }
  const name = new Uint8Array(bytes);
  file.readAt(offset, name);
  const text = (data: Uint8Array) => new TextDecoder().decode(data);
  // Extensions lie between the header and the name.
  const extensions = new Uint8Array(offset - headerBytes), at = new DataView(extensions.buffer);
  file.readAt(headerBytes, extensions);
  for (let next = 0; next + 8 <= extensions.length;) {
    const type = at.getUint32(next), length = at.getUint32(next + 4);
    if (type === EXTENSION.END) break;
    if (next + 8 + length > extensions.length) complain("a header extension is too long");
    if (type === EXTENSION.BACKING_FORMAT) {
      return { name: text(name), format: text(extensions.subarray(next + 8, next + 8 + length)) };
    }
    next += 8 + Math.ceil(length / 8) * 8;
  }
  return { name: text(name), format: null };
}

/** Whoever writes an image takes away what says something about it that would no longer be true (bitmaps). */
export function clearAutoclear(file: ImageFile, { version }: Qcow2Header): void {
  if (version === 2) return;
  const bits = new Uint8Array(8);
  file.readAt(HEADER.autoclear, bits);
  if (bits.some((byte) => byte !== 0)) file.writeAt(HEADER.autoclear, new Uint8Array(8));
}

/** Writes an empty version 3 image with clusters of 64 KiB, over a backing file if one is named. */
export function writeEmptyImage(
  file: ImageFile,
  sizeBytes: number,
  backing: { readonly name: string; readonly format: string } | null,
): void {
  const clusterBits = 16, clusterBytes = 2 ** clusterBits;
  const l1Entries = Math.max(1, Math.ceil(sizeBytes / (clusterBytes * clusterBytes / 8)));
  const l1Clusters = Math.ceil(l1Entries * 8 / clusterBytes);
  // Header, refcount table, refcount block, L1 table.
  const image = new Uint8Array(3 * clusterBytes), view = new DataView(image.buffer), text = new TextEncoder();
  const name = text.encode(backing?.name ?? ""), format = text.encode(backing?.format ?? "");
  const extensions = backing === null ? 8 : 16 + Math.ceil(format.length / 8) * 8;
  if (name.length > MOST_BACKING_BYTES) {
    throw new HostError(`cannot create ${file.path}: the backing file's name is long`);
  }
  view.setUint32(0, MAGIC);
  view.setUint32(HEADER.version, 3);
  if (backing !== null) {
    setU64(view, HEADER.backingOffset, V3_BYTES + extensions);
    view.setUint32(HEADER.backingBytes, name.length);
    view.setUint32(V3_BYTES, EXTENSION.BACKING_FORMAT);
    view.setUint32(V3_BYTES + 4, format.length);
    image.set(format, V3_BYTES + 8);
    image.set(name, V3_BYTES + extensions);
  }
  view.setUint32(HEADER.clusterBits, clusterBits);
  setU64(view, HEADER.size, sizeBytes);
  view.setUint32(HEADER.l1Size, l1Entries);
  setU64(view, HEADER.l1Offset, 3 * clusterBytes);
  setU64(view, HEADER.refcountTableOffset, clusterBytes);
  view.setUint32(HEADER.refcountTableClusters, 1);
  view.setUint32(HEADER.refcountOrder, 4);
  view.setUint32(HEADER.headerLength, V3_BYTES);
  setU64(view, clusterBytes, 2 * clusterBytes);
  for (let cluster = 0; cluster < 3 + l1Clusters; cluster++) view.setUint16(2 * clusterBytes + 2 * cluster, 1);
  file.writeAt(0, image);
  file.truncate((3 + l1Clusters) * clusterBytes);
}
