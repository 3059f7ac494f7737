// qcow2 images, version 2 and 3, by QEMU's docs/interop/qcow2.txt: clusters found through two levels of tables, backing
// files, compressed clusters (read), zero clusters, copies of what internal snapshots share. Data goes to the file at once;
// tables are written in an order in which a crash at any moment costs at most clusters that nobody owns: counts, then
// second-level tables, then first-level ones, then what was freed.

import { inflateRawSync, zstdDecompressSync } from "node:zlib";
import { HostError } from "../../src/base/errors.ts";
import type { Image } from "./image.ts";
import type { ImageFile } from "./image_file.ts";
import { clearAutoclear, type Qcow2Header, readHeader, setU64 } from "./image_qcow2_header.ts";
import { lengthOf, Pieces } from "./pieces.ts";
import { Refcounts } from "./image_qcow2_refcounts.ts";
import { type Table, TableCache } from "./image_tables.ts";

/** Second-level tables that are kept in memory; 64 of them map 32 GiB with clusters of 64 KiB. */
const KEPT_TABLES = 64;
/** Freed clusters that are held back, at most. */
const MOST_FREED = 4096;
const SECTOR = 512;
/** Bits of the high word of table entries, and of the low word. */
const COPIED_HIGH = 2 ** 31, COMPRESSED_HIGH = 2 ** 30, OFFSET_HIGH = 0x00ff_ffff, ZERO_LOW = 1;

/** What a cluster of the disk is in the image. */
type Mapping =
  | { readonly kind: "none" }
  /** Reads as zeros; `host` is a cluster that is kept for it, or 0. */
  | { readonly kind: "zero"; readonly host: number; readonly own: boolean }
  /** `own`: nobody else uses the cluster, so that it may be written. */
  | { readonly kind: "data"; readonly host: number; readonly own: boolean }
  | { readonly kind: "compressed"; readonly host: number; readonly bytes: number };

/** The length of the zstd frame (RFC 8878) that `data` begins with: what follows it in the last sector is not its. */
function zstdFrameBytes(data: Uint8Array): number {
  const view = new DataView(data.buffer, data.byteOffset, data.length), descriptor = view.getUint8(4);
  const single = descriptor & 0x20, sizeFlag = descriptor >>> 6;
  const sizeBytes = sizeFlag === 0 ? (single ? 1 : 0) : 2 ** sizeFlag;
  let at = 5 + (single ? 0 : 1) + [0, 1, 2, 4][descriptor & 3]! + sizeBytes;
  for (let last = false; !last;) {
    const block = view.getUint16(at, true) | view.getUint8(at + 2) << 16, isRunLength = ((block >>> 1) & 3) === 1;
    last = (block & 1) !== 0;
    at += 3 + (isRunLength ? 1 : block >>> 3);
  }
  return at + ((descriptor & 4) !== 0 ? 4 : 0);
}

export interface Qcow2Options {
  /** Opens the backing file that the header names. */
  readonly openBacking: (name: string, format: string | null) => Image;
  /** Flushes do nothing. */
  readonly unsafe: boolean;
}

export class Qcow2Image implements Image {
  readonly name: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly clusterBytes: number;
  readonly canDiscard = true;
  readonly #file: ImageFile;
  readonly #header: Qcow2Header;
  readonly #backing: Image | null;
  readonly #sync: () => void;
  readonly #refcounts: Refcounts;
  readonly #l1: DataView;
  readonly #l1Changed = new Set<number>();
  readonly #l2: TableCache;
  readonly #l2Entries: number;
  #scratch: Uint8Array | null = null;
  /** The compressed cluster that was read last, by its place in the file. */
  #inflated: { host: number; bytes: Uint8Array } | null = null;

  /** Throws HostError. */
  constructor(file: ImageFile, options: Qcow2Options) {
    const header = this.#header = readHeader(file);
    this.#file = file;
    this.name = file.path;
    this.sizeBytes = header.sizeBytes;
    this.readOnly = file.readOnly;
    this.clusterBytes = 2 ** header.clusterBits;
    this.#l2Entries = this.clusterBytes / 8;
    this.#sync = options.unsafe ? () => {} : () => file.flush();
    const l1 = new Uint8Array(header.l1Entries * 8);
    file.readAt(header.l1Offset, l1);
    this.#l1 = new DataView(l1.buffer);
    for (let at = 0; at < l1.length; at += 8) {
      const offset = this.#offset(this.#l1, at);
      if (offset % this.clusterBytes !== 0 || offset >= file.sizeBytes) this.#corrupt("its L1 table");
    }
    this.#l2 = new TableCache(file, this.clusterBytes, KEPT_TABLES);
    this.#refcounts = new Refcounts(file, header, this.#sync);
    if (!file.readOnly) clearAutoclear(file, header);
    this.#backing = header.backing === null ? null : options.openBacking(header.backing.name, header.backing.format);
  }

  read(offset: number, pieces: readonly Uint8Array[]): void {
    const cursor = new Pieces(pieces), end = offset + lengthOf(pieces);
    for (let at = offset; at < end;) {
      const mapping = this.#mapping(at), bytes = this.#runBytes(mapping, at, end), into = cursor.take(bytes);
      this.#readMapped(mapping, at, into);
      at += bytes;
    }
  }

  write(offset: number, pieces: readonly Uint8Array[]): void {
    const cursor = new Pieces(pieces), end = offset + lengthOf(pieces);
    for (let at = offset; at < end;) {
      const mapping = this.#mapping(at), within = at % this.clusterBytes;
      if (mapping.kind === "data" && mapping.own && this.#l2IsOwn(at)) {
        const bytes = this.#runBytes(mapping, at, end);
        this.#file.writePieces(mapping.host + within, cursor.take(bytes));
        at += bytes;
      } else {
        const bytes = Math.min(end - at, this.clusterBytes - within);
        this.#writeNew(mapping, at, cursor.take(bytes), bytes);
        at += bytes;
      }
    }
  }

  flush(): void {
    if (!this.#commit()) this.#sync();
  }

  discard(offset: number, bytes: number): void {
    this.#wholeClusters(offset, bytes, (at, mapping) => {
      if (mapping.kind === "none" || (mapping.kind === "zero" && mapping.host === 0)) return;
      const zero = this.#header.version === 3;
      if (zero || this.#backing === null) this.#setEntry(at, 0, zero && this.#backing !== null ? ZERO_LOW : 0, mapping);
    });
  }

  zero(offset: number, bytes: number, mayUnmap: boolean): void {
    let next = offset;
    const zeros = (to: number) => {
      while (next < to) {
        const part = Math.min(to - next, this.clusterBytes - next % this.clusterBytes), mapping = this.#mapping(next);
        const isZero = mapping.kind === "zero" || (mapping.kind === "none" && this.#backing === null);
        if (!isZero) this.write(next, [new Uint8Array(part)]);
        next += part;
      }
    };
    this.#wholeClusters(offset, bytes, (at, mapping) => {
      if (mapping.kind === "zero" || (mapping.kind === "none" && this.#backing === null)) {
        zeros(at);
      } else if (this.#header.version === 3) {
        zeros(at);
        const keeps = mapping.kind === "data" && mapping.own && !mayUnmap;
        if (keeps) this.#setEntry(at, mapping.host, ZERO_LOW);
        else this.#setEntry(at, 0, ZERO_LOW, mapping);
      } else if (mayUnmap && this.#backing === null) {
        zeros(at);
        this.#setEntry(at, 0, 0, mapping);
      } else return;
      next = Math.min(at + this.clusterBytes, this.sizeBytes);
    });
    zeros(offset + bytes);
  }

  close(): void {
    try {
      // The second time writes what the first one freed.
      if (!this.readOnly && this.#commit()) this.#commit();
    } finally {
      this.#file.close();
      this.#backing?.close();
    }
  }

  /** Writes all tables, in order. Returns whether there was anything to write; then everything is on the disk. */
  #commit(): boolean {
    const refcounts = this.#refcounts, tables = this.#l2.isDirty || this.#l1Changed.size > 0;
    if (!tables && !refcounts.isDirty && refcounts.freedCount === 0) return false;
    refcounts.write();
    this.#sync();
    if (tables) {
      this.#l2.write();
      this.#sync();
    }
    if (this.#l1Changed.size > 0) {
      for (const index of this.#l1Changed) {
        this.#file.writeAt(this.#header.l1Offset + index * 8, new Uint8Array(this.#l1.buffer, index * 8, 8));
      }
      this.#sync();
      this.#l1Changed.clear();
    }
    refcounts.release();
    return true;
  }

  /** Calls `use` for every cluster that lies wholly in a range; the last one of the disk may be cut off. */
  #wholeClusters(offset: number, bytes: number, use: (at: number, mapping: Mapping) => void): void {
    const { clusterBytes } = this, end = offset + bytes;
    for (let at = Math.ceil(offset / clusterBytes) * clusterBytes; at < end; at += clusterBytes) {
      if (Math.min(at + clusterBytes, this.sizeBytes) <= end) use(at, this.#mapping(at));
    }
  }

  #corrupt(what: string): never {
    throw new HostError(`cannot use ${this.#file.path}: ${what} is corrupt`);
  }

  #offset(view: DataView, at: number): number {
    return (view.getUint32(at) & OFFSET_HIGH) * 2 ** 32 + ((view.getUint32(at + 4) & ~(SECTOR - 1)) >>> 0);
  }

  #l1Index(at: number): number {
    return Math.floor(at / (this.clusterBytes * this.#l2Entries));
  }
  /** Byte offset in its second-level table of the entry for the cluster at `at`. */
  #l2At(at: number): number {
    return Math.floor(at / this.clusterBytes) % this.#l2Entries * 8;
  }

  /** The second-level table for `at`, to be read. */
  #table(at: number): Table | null {
    const offset = this.#offset(this.#l1, this.#l1Index(at) * 8);
    return offset === 0 ? null : this.#l2.get(offset);
  }

  #l2IsOwn(at: number): boolean {
    return (this.#l1.getUint8(this.#l1Index(at) * 8) & 0x80) !== 0;
  }

  #mapping(at: number): Mapping {
    const table = this.#table(at);
    if (table === null) return { kind: "none" };
    const index = this.#l2At(at), high = table.view.getUint32(index), low = table.view.getUint32(index + 4);
    if ((high & COMPRESSED_HIGH) !== 0) {
      // Bits 0 to x-1 are the offset, x to 61 count further sectors.
      const x = 62 - (this.#header.clusterBits - 8), sectorsHigh = x - 32, mask = 2 ** sectorsHigh - 1;
      const host = (high & mask) * 2 ** 32 + low, sectors = ((high & 0x3fff_ffff) >>> sectorsHigh) + 1;
      return { kind: "compressed", host, bytes: sectors * SECTOR - host % SECTOR };
    }
    const host = this.#offset(table.view, index), own = high >= COPIED_HIGH;
    if (host % this.clusterBytes !== 0) this.#corrupt("an L2 table");
    if (this.#header.version === 3 && (low & ZERO_LOW) !== 0) return { kind: "zero", host, own };
    if (host === 0) return { kind: "none" };
    const { l1Offset, l1Entries } = this.#header;
    if (this.#refcounts.owns(host) || (host >= l1Offset && host < l1Offset + l1Entries * 8)) {
      this.#corrupt("an L2 table");
    }
    return { kind: "data", host, own };
  }

  /** How many bytes from `at`, up to `end`, are as this mapping of the first one: of one kind, and in a row. */
  #runBytes(mapping: Mapping, at: number, end: number): number {
    const { clusterBytes } = this;
    let bytes = Math.min(end - at, clusterBytes - at % clusterBytes);
    if (mapping.kind === "compressed") return bytes;
    while (at + bytes < end) {
      const next = this.#mapping(at + bytes);
      if (next.kind !== mapping.kind) break;
      if (mapping.kind === "data" && next.kind === "data") {
        const expected = mapping.host + (at + bytes - Math.floor(at / clusterBytes) * clusterBytes);
        if (next.host !== expected || next.own !== mapping.own || !this.#l2IsOwn(at + bytes)) break;
      }
      bytes = Math.min(end - at, bytes + clusterBytes);
    }
    return bytes;
  }

  /** Fills `into` with what is at `at`, all of it as `mapping` says. */
  #readMapped(mapping: Mapping, at: number, into: readonly Uint8Array[]): void {
    switch (mapping.kind) {
      case "data":
        return this.#file.readPieces(mapping.host + at % this.clusterBytes, into);
      case "zero":
        return into.forEach((piece) => piece.fill(0));
      case "none": {
        const backing = this.#backing, bytes = lengthOf(into), cursor = new Pieces(into);
        const there = backing === null ? 0 : Math.max(0, Math.min(bytes, backing.sizeBytes - at));
        if (there > 0) backing!.read(at, cursor.take(there));
        return cursor.take(bytes - there).forEach((piece) => piece.fill(0));
      }
      case "compressed": {
        const cluster = this.#inflate(mapping.host, mapping.bytes);
        let from = at % this.clusterBytes;
        for (const piece of into) {
          piece.set(cluster.subarray(from, from + piece.length));
          from += piece.length;
        }
      }
    }
  }

  #inflate(host: number, bytes: number): Uint8Array {
    if (this.#inflated?.host === host) return this.#inflated.bytes;
    const data = new Uint8Array(bytes), options = { maxOutputLength: this.clusterBytes };
    this.#file.readAt(host, data);
    let cluster: Uint8Array;
    try {
      cluster = this.#header.compression === "zstd"
        ? zstdDecompressSync(data.subarray(0, zstdFrameBytes(data)), options)
        : inflateRawSync(data, options);
    } catch {
      this.#corrupt("a compressed cluster");
    }
    if (cluster.length !== this.clusterBytes) this.#corrupt("a compressed cluster");
    this.#inflated = { host, bytes: cluster };
    return cluster;
  }

  /** Writes `bytes` of `pieces` at `at`, inside one cluster that is not ours to write yet. */
  #writeNew(mapping: Mapping, at: number, pieces: readonly Uint8Array[], bytes: number): void {
    const { clusterBytes } = this, within = at % clusterBytes;
    const kept = mapping.kind === "zero" && mapping.own && this.#l2IsOwn(at) ? mapping.host : 0;
    const host = kept !== 0 ? kept : this.#refcounts.allocate();
    try {
      if (bytes === clusterBytes) this.#file.writePieces(host, pieces);
      else {
        const whole = this.#scratch ??= new Uint8Array(clusterBytes), start = at - within;
        const inside = Math.min(clusterBytes, this.sizeBytes - start);
        this.#readMapped(mapping, start, [whole.subarray(0, inside)]);
        whole.fill(0, inside);
        let next = within;
        for (const piece of pieces) {
          whole.set(piece, next);
          next += piece.length;
        }
        this.#file.writeAt(host, whole);
      }
      this.#setEntry(at, host, 0, kept !== 0 ? undefined : mapping);
    } catch (error) {
      if (kept === 0) this.#refcounts.undo(host);
      throw error;
    }
  }

  /** Makes the cluster at `at` be `host` with these flags, and frees what it was. */
  #setEntry(at: number, host: number, lowFlags: number, old?: Mapping): void {
    const table = this.#tableToWrite(at), index = this.#l2At(at);
    setU64(table.view, index, host);
    if (host !== 0) table.view.setUint8(index, table.view.getUint8(index) | 0x80);
    table.view.setUint32(index + 4, table.view.getUint32(index + 4) | lowFlags);
    this.#l2.touch(table);
    if (old !== undefined) this.#free(old, host === 0);
  }

  /** `discarded`: nothing takes its place. */
  #free(mapping: Mapping, discarded: boolean): void {
    const refcounts = this.#refcounts, { clusterBytes } = this;
    if (mapping.kind === "none" || mapping.host === 0) return;
    if (mapping.kind !== "compressed") refcounts.free(mapping.host, discarded);
    else {
      // Compressed data counts in every cluster that it touches.
      const first = Math.floor(mapping.host / clusterBytes) * clusterBytes;
      for (let host = first; host < mapping.host + mapping.bytes; host += clusterBytes) refcounts.free(host, discarded);
      this.#inflated = null;
    }
  }

  /** The second-level table for `at`, made or copied if it must be, so that it may be changed. */
  #tableToWrite(at: number): Table {
    if (this.#l2.isFull || this.#refcounts.isFull || this.#refcounts.freedCount > MOST_FREED) this.#commit();
    const index = this.#l1Index(at), offset = this.#offset(this.#l1, index * 8);
    if (offset !== 0 && this.#l2IsOwn(at)) return this.#l2.get(offset);
    const copy = offset === 0 ? undefined : new Uint8Array(this.clusterBytes);
    if (copy !== undefined) {
      const { view } = this.#l2.get(offset);
      copy.set(new Uint8Array(view.buffer, view.byteOffset, view.byteLength));
    }
    const host = this.#refcounts.allocate();
    const table = this.#l2.add(host, copy);
    setU64(this.#l1, index * 8, host);
    this.#l1.setUint8(index * 8, this.#l1.getUint8(index * 8) | 0x80);
    this.#l1Changed.add(index);
    if (offset !== 0) this.#refcounts.free(offset, false);
    return table;
  }
}
