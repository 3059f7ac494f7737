// Reference counts of a qcow2 image's clusters, and where new clusters are taken from. Counts live in blocks, blocks are
// found through a table; both grow when the file does. What is freed is freed only after the tables that named it are on
// the disk without it, so that no crash leaves two owners to a cluster.

import { assert, HostError } from "../../src/base/errors.ts";
import type { ImageFile } from "./image_file.ts";
import { HEADER, type Qcow2Header, setU64 } from "./image_qcow2_header.ts";
import { TableCache } from "./image_tables.ts";

/** Blocks that are kept in memory. */
const KEPT_BLOCKS = 16;

export class Refcounts {
  readonly #file: ImageFile;
  readonly #order: number;
  readonly #clusterBytes: number;
  readonly #entriesPerBlock: number;
  readonly #blocks: TableCache;
  #tableOffset: number;
  #tableClusters: number;
  #table: DataView;
  /** No cluster before this one is free. */
  #hint = 0;
  /** Clusters that lose one reference at the next commit. */
  #freed: number[] = [];
  /** Those of them whose place in the file goes back to the host. */
  readonly #discarded = new Set<number>();

  constructor(file: ImageFile, header: Qcow2Header, private readonly sync: () => void) {
    this.#file = file;
    this.#order = header.refcountOrder;
    this.#clusterBytes = 2 ** header.clusterBits;
    this.#entriesPerBlock = this.#clusterBytes * 8 / 2 ** this.#order;
    this.#blocks = new TableCache(file, this.#clusterBytes, KEPT_BLOCKS);
    this.#tableOffset = header.refcountTableOffset;
    this.#tableClusters = header.refcountTableClusters;
    const table = new Uint8Array(this.#tableClusters * this.#clusterBytes);
    file.readAt(this.#tableOffset, table);
    this.#table = new DataView(table.buffer);
    for (let block = 0; block * 8 < table.length; block++) {
      const offset = this.#entry(block);
      if (offset % this.#clusterBytes !== 0 || offset >= file.sizeBytes) {
        throw new HostError(`cannot open ${file.path}: its refcount table is corrupt`);
      }
    }
  }

  get isDirty(): boolean {
    return this.#blocks.isDirty;
  }
  get isFull(): boolean {
    return this.#blocks.isFull;
  }
  /** Clusters that wait to be freed. */
  get freedCount(): number {
    return this.#freed.length;
  }

  /** Writes changed blocks. */
  write(): void {
    this.#blocks.write();
  }

  /** Whether the cluster at `offset` is part of the table itself. */
  owns(offset: number): boolean {
    return offset >= this.#tableOffset && offset < this.#tableOffset + this.#tableClusters * this.#clusterBytes;
  }

  /** Takes a free cluster; its offset. Its count is 1 and its content anything. */
  allocate(): number {
    for (let cluster = this.#hint;; cluster++) {
      if (this.#entry(this.#blockOf(cluster)) === 0) {
        this.#addBlock(this.#blockOf(cluster), cluster);
        continue;
      }
      if (this.#get(cluster) !== 0) continue;
      this.#set(cluster, 1);
      this.#hint = cluster + 1;
      return cluster * this.#clusterBytes;
    }
  }

  /** Gives a cluster back that nothing names yet. */
  undo(offset: number): void {
    this.#drop(offset / this.#clusterBytes);
  }

  /** The cluster at `offset` loses a reference, once the tables are on the disk. */
  free(offset: number, discarded: boolean): void {
    this.#freed.push(offset / this.#clusterBytes);
    if (discarded) this.#discarded.add(offset / this.#clusterBytes);
  }

  /** The tables are on the disk: what they no longer name is free. */
  release(): void {
    const freed = this.#freed, discarded = [...this.#discarded];
    this.#freed = [];
    this.#discarded.clear();
    for (const cluster of freed) this.#drop(cluster);
    const gone = discarded.filter((cluster) => this.#get(cluster) === 0).sort((a, b) => a - b);
    for (let first = 0, end = 0; first < gone.length; first = end) {
      while (end < gone.length && gone[end]! - gone[first]! === end - first) end++;
      this.#file.punch(gone[first]! * this.#clusterBytes, (end - first) * this.#clusterBytes);
    }
  }

  #drop(cluster: number): void {
    const count = this.#entry(this.#blockOf(cluster)) === 0 ? 0 : this.#get(cluster);
    if (count === 0) throw new HostError(`cannot free a cluster of ${this.#file.path}: the image is corrupt`);
    this.#set(cluster, count - 1);
    if (count === 1) this.#hint = Math.min(this.#hint, cluster);
  }

  #blockOf(cluster: number): number {
    return Math.floor(cluster / this.#entriesPerBlock);
  }

  /** Offset of block number `block`, 0 if there is none. */
  #entry(block: number): number {
    const at = block * 8;
    if (at >= this.#table.byteLength) return 0;
    return this.#table.getUint32(at) * 2 ** 32 + this.#table.getUint32(at + 4);
  }

  #get(cluster: number): number {
    const { view } = this.#blocks.get(this.#entry(this.#blockOf(cluster))), n = cluster % this.#entriesPerBlock;
    switch (this.#order) {
      case 3:
        return view.getUint8(n);
      case 4:
        return view.getUint16(2 * n);
      case 5:
        return view.getUint32(4 * n);
      case 6:
        return view.getUint32(8 * n) * 2 ** 32 + view.getUint32(8 * n + 4);
      default: {
        const bits = 2 ** this.#order, at = n * bits;
        return (view.getUint8(at >>> 3) >>> (at & 7)) & ((1 << bits) - 1);
      }
    }
  }

  #set(cluster: number, count: number): void {
    const block = this.#blocks.get(this.#entry(this.#blockOf(cluster))), { view } = block;
    const n = cluster % this.#entriesPerBlock;
    this.#blocks.touch(block);
    switch (this.#order) {
      case 3:
        return view.setUint8(n, count);
      case 4:
        return view.setUint16(2 * n, count);
      case 5:
        return view.setUint32(4 * n, count);
      case 6:
        return setU64(view, 8 * n, count);
      default: {
        const bits = 2 ** this.#order, at = n * bits, mask = (1 << bits) - 1, byte = view.getUint8(at >>> 3);
        return view.setUint8(at >>> 3, (byte & ~(mask << (at & 7))) | (count << (at & 7)));
      }
    }
  }

  /** Makes block number `block`, in `cluster`, which it counts itself. The block is on the disk before the table says so. */
  #addBlock(block: number, cluster: number): void {
    if (block * 8 >= this.#table.byteLength) return this.#growTable(block);
    assert(this.#blockOf(cluster) === block, "a new block counts itself");
    const offset = cluster * this.#clusterBytes;
    this.#blocks.add(offset);
    setU64(this.#table, block * 8, offset);
    this.#set(cluster, 1);
    this.#blocks.write();
    this.sync();
    this.#file.writeAt(this.#tableOffset + block * 8, new Uint8Array(this.#table.buffer, block * 8, 8));
  }

  /** A longer table, behind everything that the present one can count, with the blocks that count it. */
  #growTable(block: number): void {
    const bytes = this.#clusterBytes, first = this.#table.byteLength / 8 * this.#entriesPerBlock;
    const tableClusters = Math.ceil((block + 1) * 8 * 2 / bytes);
    let blocks = 1;
    while (blocks * this.#entriesPerBlock < tableClusters + blocks) blocks++;
    const table = new Uint8Array(tableClusters * bytes), view = new DataView(table.buffer);
    table.set(new Uint8Array(this.#table.buffer));
    const old = { offset: this.#tableOffset, clusters: this.#tableClusters };
    for (let n = 0; n < blocks; n++) {
      const offset = (first + tableClusters + n) * bytes;
      this.#blocks.add(offset);
      setU64(view, (this.#blockOf(first) + n) * 8, offset);
    }
    this.#table = view;
    for (let n = 0; n < tableClusters + blocks; n++) this.#set(first + n, 1);
    this.#blocks.write();
    this.#file.writeAt(first * bytes, table);
    this.sync();
    const header = new DataView(new ArrayBuffer(12));
    setU64(header, 0, first * bytes);
    header.setUint32(8, tableClusters);
    this.#file.writeAt(HEADER.refcountTableOffset, new Uint8Array(header.buffer));
    this.sync();
    this.#tableOffset = first * bytes;
    this.#tableClusters = tableClusters;
    for (let n = 0; n < old.clusters; n++) this.#drop(old.offset / bytes + n);
  }
}
