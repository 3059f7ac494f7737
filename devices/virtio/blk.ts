// The block device, VIRTIO 1.2 §5.2: read, write, flush, identify, discard and write zeroes, over any number of queues. A
// request that names sectors that are not there, or that does not add up, is answered with an error; one without header
// or status stops the device. Left out: SCSI commands, secure erase, lifetime, zones.

import type { BlockBackend, Done } from "./block_backend.ts";
import type { Chain } from "./chain.ts";
import { DEVICE_ID, type VirtioDevice, type VirtioTransport } from "./device.ts";
import type { Virtqueue } from "./queue.ts";

const F = {
  SEG_MAX: 1n << 2n,
  RO: 1n << 5n,
  BLK_SIZE: 1n << 6n,
  FLUSH: 1n << 9n,
  TOPOLOGY: 1n << 10n,
  CONFIG_WCE: 1n << 11n,
  MQ: 1n << 12n,
  DISCARD: 1n << 13n,
  WRITE_ZEROES: 1n << 14n,
} as const;
/** Byte offsets in the configuration. */
const CONFIG = {
  capacity: 0,
  segMax: 12,
  blkSize: 20,
  physicalBlockExponent: 24,
  minIoSize: 26,
  optIoSize: 28,
  writeback: 32,
  numQueues: 34,
  maxDiscardSectors: 36,
  maxDiscardSeg: 40,
  discardSectorAlignment: 44,
  maxWriteZeroesSectors: 48,
  maxWriteZeroesSeg: 52,
  writeZeroesMayUnmap: 56,
} as const;
const CONFIG_BYTES = 60;

export const BLK_TYPE = { IN: 0, OUT: 1, FLUSH: 4, GET_ID: 8, DISCARD: 11, WRITE_ZEROES: 13 } as const;
export const BLK_STATUS = { OK: 0, IOERR: 1, UNSUPP: 2 } as const;
const SECTOR = 512, HEADER_BYTES = 16, ID_BYTES = 20;
/** Data that is moved between two looks at the rest of the machine, and the most of one request. */
const BATCH_BYTES = 64 * 2 ** 20, MOST_REQUEST_BYTES = 256 * 2 ** 20;
/** As much data could be moved in the time of a flush, or while this many bytes are discarded. */
const FLUSH_COSTS_BYTES = 2 ** 22, DISCARDED_PER_BYTE = 16;
/** One range of a discard or write zeroes request. */
const RANGE_BYTES = 16, UNMAP = 1;
/** As many ranges, and sectors in each, as a request may have. Zeros may have to be written. */
const MOST = { discard: { ranges: 16, sectors: 2 ** 22 }, zeroes: { ranges: 1, sectors: 2 ** 18 } } as const;

export interface VirtioBlkOptions {
  readonly backend: BlockBackend;
  /** What GET_ID answers, at most 20 bytes of it. */
  readonly serial: string;
  readonly queues: number;
  /** Entries of each queue. */
  readonly queueSize: number;
  /** Whether writes that were answered may be lost before a flush; the driver may change it. */
  readonly writeCache: boolean;
}

export class VirtioBlk implements VirtioDevice {
  readonly type = "virtio-blk-device";
  readonly deviceId: number = DEVICE_ID.BLOCK;
  readonly features: bigint;
  readonly featureNames = F;
  readonly queueSizes: readonly number[];
  readonly configBytes = CONFIG_BYTES;
  readonly stateBytes = 0;
  /** Requests by type since the start, bytes that they asked for, and how many were answered with an error. */
  readonly counters = {
    reads: 0,
    readBytes: 0,
    writes: 0,
    writtenBytes: 0,
    flushes: 0,
    others: 0,
    errors: 0,
  };
  readonly backend: BlockBackend;
  readonly #options: VirtioBlkOptions;
  #transport!: VirtioTransport;
  readonly #header = new Uint8Array(HEADER_BYTES);
  readonly #headerView = new DataView(this.#header.buffer);
  /** Whether answers are collected, to be shown to the driver together. */
  #batching = false;
  /** What the requests of this turn have cost, in bytes that could be moved. */
  #spent = 0;
  /** Queues that may have more requests: one kick does not hold the machine up for ever. */
  readonly #unfinished = new Set<Virtqueue>();

  constructor(options: VirtioBlkOptions) {
    this.#options = options;
    this.backend = options.backend;
    this.queueSizes = new Array(options.queues).fill(options.queueSize);
    const common = F.SEG_MAX | F.BLK_SIZE | F.FLUSH | F.TOPOLOGY | F.CONFIG_WCE | (options.queues > 1 ? F.MQ : 0n);
    const discard = this.backend.canDiscard ? F.DISCARD : 0n;
    this.features = common | (this.backend.readOnly ? F.RO : discard | F.WRITE_ZEROES);
  }

  attached(transport: VirtioTransport): void {
    this.#transport = transport;
  }

  reset(): void {
    this.backend.abandon?.();
    this.#unfinished.clear();
    const { config } = this.#transport, view = new DataView(config.buffer, config.byteOffset, config.length);
    const { sizeBytes, clusterBytes } = this.backend, { queues, queueSize, writeCache } = this.#options;
    view.setBigUint64(CONFIG.capacity, BigInt(sizeBytes / SECTOR), true);
    // The header and the status take a descriptor each.
    view.setUint32(CONFIG.segMax, queueSize - 2, true);
    view.setUint32(CONFIG.blkSize, SECTOR, true);
    config[CONFIG.physicalBlockExponent] = 0;
    view.setUint16(CONFIG.minIoSize, 1, true);
    view.setUint32(CONFIG.optIoSize, clusterBytes > SECTOR ? clusterBytes / SECTOR : 0, true);
    config[CONFIG.writeback] = writeCache ? 1 : 0;
    view.setUint16(CONFIG.numQueues, queues, true);
    view.setUint32(CONFIG.maxDiscardSectors, MOST.discard.sectors, true);
    view.setUint32(CONFIG.maxDiscardSeg, MOST.discard.ranges, true);
    view.setUint32(CONFIG.discardSectorAlignment, clusterBytes / SECTOR, true);
    view.setUint32(CONFIG.maxWriteZeroesSectors, MOST.zeroes.sectors, true);
    view.setUint32(CONFIG.maxWriteZeroesSeg, MOST.zeroes.ranges, true);
    config[CONFIG.writeZeroesMayUnmap] = 1;
  }

  configWritten(offset: number, bytes: number, value: number): boolean {
    if (offset !== CONFIG.writeback || bytes !== 1 || !this.#transport.has(F.CONFIG_WCE)) return false;
    this.#transport.config[offset] = value & 1;
    return true;
  }

  notified(queue: Virtqueue): void {
    this.#batching = true;
    for (this.#spent = 0; this.#spent < BATCH_BYTES;) {
      const chain = queue.take();
      if (chain === null) {
        this.#unfinished.delete(queue);
        break;
      }
      this.#spent += chain.readableBytes + chain.writableBytes;
      this.#unfinished.add(queue);
      this.#start(queue, chain);
    }
    this.#batching = false;
    queue.flush();
  }

  pump(): void {
    for (const queue of [...this.#unfinished]) this.notified(queue);
    if (this.backend.pump === undefined) return;
    this.#batching = true;
    const any = this.backend.pump();
    this.#batching = false;
    if (!any) return;
    for (const queue of this.#transport.queues) queue.flush();
  }
  get hasInput(): boolean {
    return this.#unfinished.size > 0 || (this.backend.hasInput ?? false);
  }

  #start(queue: Virtqueue, chain: Chain): void {
    if (chain.read(0, this.#header) < HEADER_BYTES || chain.writableBytes < 1) {
      return this.#transport.needsReset(`queue ${queue.index}: a request has no header or no status`);
    }
    const type = this.#headerView.getUint32(0, true), high = this.#headerView.getUint32(12, true);
    // No image is so large that a sector number beyond 2^53 bytes would be one of its own.
    const offset = (high * 2 ** 32 + this.#headerView.getUint32(8, true)) * SECTOR;
    const sent = chain.readableBytes - HEADER_BYTES, room = chain.writableBytes - 1, { backend, counters } = this;
    switch (type) {
      case BLK_TYPE.IN:
        counters.reads++;
        if (!this.#inside(offset, room)) return this.#answer(queue, chain, BLK_STATUS.IOERR);
        counters.readBytes += room;
        return backend.read(offset, chain.room(0, room), (good) => {
          if (!queue.isStale(chain)) chain.wrote(0, room);
          this.#answer(queue, chain, good ? BLK_STATUS.OK : BLK_STATUS.IOERR);
        });
      case BLK_TYPE.OUT:
        counters.writes++;
        if (backend.readOnly || !this.#inside(offset, sent)) return this.#answer(queue, chain, BLK_STATUS.IOERR);
        counters.writtenBytes += sent;
        return backend.write(offset, chain.sent(HEADER_BYTES, sent), this.#durable(queue, chain), !this.#writesBack);
      case BLK_TYPE.FLUSH:
        counters.flushes++;
        this.#spent += FLUSH_COSTS_BYTES;
        return backend.flush(this.#done(queue, chain));
      case BLK_TYPE.GET_ID: {
        counters.others++;
        const id = new Uint8Array(ID_BYTES);
        new TextEncoder().encodeInto(this.#options.serial, id);
        chain.write(0, id.subarray(0, Math.min(room, ID_BYTES)));
        return this.#answer(queue, chain, BLK_STATUS.OK);
      }
      case BLK_TYPE.DISCARD:
      case BLK_TYPE.WRITE_ZEROES:
        counters.others++;
        if ((this.features & (type === BLK_TYPE.DISCARD ? F.DISCARD : F.WRITE_ZEROES)) === 0n) break;
        return this.#ranges(queue, chain, type === BLK_TYPE.DISCARD, sent);
    }
    this.#answer(queue, chain, BLK_STATUS.UNSUPP);
  }

  #inside(offset: number, bytes: number): boolean {
    return bytes % SECTOR === 0 && offset + bytes <= this.backend.sizeBytes && bytes <= MOST_REQUEST_BYTES;
  }

  /** Discard and write zeroes: all ranges are checked before the first one is acted on. */
  #ranges(queue: Virtqueue, chain: Chain, discard: boolean, sent: number): void {
    const most = discard ? MOST.discard : MOST.zeroes;
    if (sent === 0 || sent % RANGE_BYTES !== 0 || sent > most.ranges * RANGE_BYTES) {
      return this.#answer(queue, chain, BLK_STATUS.IOERR);
    }
    const bytes = new Uint8Array(sent), view = new DataView(bytes.buffer);
    chain.read(HEADER_BYTES, bytes);
    const ranges: { offset: number; bytes: number; unmap: boolean }[] = [];
    for (let at = 0; at < sent; at += RANGE_BYTES) {
      const offset = (view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true)) * SECTOR;
      const sectors = view.getUint32(at + 8, true), flags = view.getUint32(at + 12, true);
      if ((flags & ~(discard ? 0 : UNMAP)) !== 0) return this.#answer(queue, chain, BLK_STATUS.UNSUPP);
      if (sectors > most.sectors || offset + sectors * SECTOR > this.backend.sizeBytes) {
        return this.#answer(queue, chain, BLK_STATUS.IOERR);
      }
      ranges.push({ offset, bytes: sectors * SECTOR, unmap: flags !== 0 });
      this.#spent += sectors * SECTOR / (discard ? DISCARDED_PER_BYTE : 1);
    }
    const done = discard ? this.#done(queue, chain) : this.#durable(queue, chain);
    const durable = !discard && !this.#writesBack;
    let left = ranges.length, good = true;
    const one = (ended: boolean) => {
      good &&= ended;
      if (--left === 0) done(good);
    };
    for (const { offset, bytes, unmap } of ranges) {
      if (discard) this.backend.discard(offset, bytes, one);
      else this.backend.zero(offset, bytes, unmap, one, durable);
    }
  }

  #done(queue: Virtqueue, chain: Chain): Done {
    return (good) => this.#answer(queue, chain, good ? BLK_STATUS.OK : BLK_STATUS.IOERR);
  }

  /** As #done, but without a write cache there is a flush before the answer, unless the backend needs none. */
  #durable(queue: Virtqueue, chain: Chain): Done {
    const done = this.#done(queue, chain);
    return this.#writesBack || this.backend.canBeDurable === true
      ? done
      : (good) => good ? this.backend.flush(done) : done(false);
  }

  /** A driver that cannot flush must not need to (§5.2.6.2). */
  get #writesBack(): boolean {
    const { config } = this.#transport;
    return this.#transport.has(F.CONFIG_WCE) ? config[CONFIG.writeback] !== 0 : this.#transport.has(F.FLUSH);
  }

  /** The status is the last byte of the room, whatever lies before it. */
  #answer(queue: Virtqueue, chain: Chain, status: number): void {
    if (status !== BLK_STATUS.OK) this.counters.errors++;
    if (!queue.isStale(chain)) chain.write(chain.writableBytes - 1, Uint8Array.of(status));
    queue.put(chain, chain.writableBytes);
    if (!this.#batching) queue.flush();
  }
}
