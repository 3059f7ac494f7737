// The memory balloon, VIRTIO 1.2 §5.5: asks the driver for pages, takes them from the guest and, where the host can, gives
// them back to the host; statistics; deflation when memory is short; reporting of free pages. Pages are 4 KiB, whatever the
// guest's are. A page that was taken reads as zero or as it was. Left out: hints of free pages, page poison.

import type { Chain } from "./chain.ts";
import { DEVICE_ID, type VirtioDevice, type VirtioTransport } from "./device.ts";
import type { Virtqueue } from "./queue.ts";

const F = { STATS_VQ: 1n << 1n, DEFLATE_ON_OOM: 1n << 2n, PAGE_REPORTING: 1n << 5n } as const;
const CONFIG = { wantedPages: 0, actualPages: 4 } as const, CONFIG_BYTES = 8;
const INFLATE = 0, DEFLATE = 1, STATS = 2;
const QUEUE_SIZE = 128;
export const BALLOON_PAGE_BYTES = 4096;
const NUMBER_BYTES = 4;
/** Page numbers in one chain; Linux sends 256. And page numbers at once: the rest comes between slices. */
const MOST_NUMBERS = 65536, MOST_NUMBERS_AT_ONCE = 65536;
/** A statistic: a tag and a value, packed. */
const STAT_BYTES = 10, MOST_STATS = 64;
/** What the tags are called, as QEMU calls them. */
export const STAT_NAMES = [
  "stat-swap-in",
  "stat-swap-out",
  "stat-major-faults",
  "stat-minor-faults",
  "stat-free-memory",
  "stat-total-memory",
  "stat-available-memory",
  "stat-disk-caches",
  "stat-htlb-pgalloc",
  "stat-htlb-pgfail",
] as const;

/** What the device stands on. */
export interface BalloonBackend {
  /** Between slices: the next word of the host's, in place until `taken`; null when there is none. */
  next(): Uint8Array | null;
  taken(): void;
  readonly hasInput: boolean;
  /** These bytes of the shared memory are of no use to the guest now; they may become zero. */
  release(host: number, bytes: number): void;
}
/** The host's words: how many pages the guest is to give, or that statistics are wanted. Four bytes. */
export const POLL = 0xffff_ffff;

export interface VirtioBalloonOptions {
  readonly backend: BalloonBackend;
  readonly deflateOnOom: boolean;
  readonly reportsFreePages: boolean;
}

export class VirtioBalloon implements VirtioDevice {
  readonly type = "virtio-balloon-device";
  readonly deviceId: number = DEVICE_ID.BALLOON;
  readonly features: bigint;
  readonly featureNames = F;
  /** The standard gives the queue of reports number 4, QEMU and Linux the next one after those that are used. */
  readonly queueSizes: readonly number[];
  readonly configBytes = CONFIG_BYTES;
  readonly stateBytes = 0;
  readonly counters = { takenPages: 0, returnedPages: 0, reportedBytes: 0, badPages: 0 };
  /** What the driver said last, by STAT_NAMES; empty when it has said nothing. */
  stats: ReadonlyMap<string, bigint> = new Map();
  #transport!: VirtioTransport;
  #config!: DataView;
  readonly #pages = new Uint32Array(MOST_NUMBERS);

  constructor(private readonly options: VirtioBalloonOptions) {
    this.features = F.STATS_VQ | (options.deflateOnOom ? F.DEFLATE_ON_OOM : 0n) |
      (options.reportsFreePages ? F.PAGE_REPORTING : 0n);
    this.queueSizes = new Array(options.reportsFreePages ? 5 : 3).fill(QUEUE_SIZE);
  }

  attached(transport: VirtioTransport): void {
    this.#transport = transport;
    const { config } = transport;
    this.#config = new DataView(config.buffer, config.byteOffset);
  }

  /** What is wanted stays, as in QEMU. */
  reset(): void {
    this.#config.setUint32(CONFIG.actualPages, 0, true);
    this.stats = new Map();
  }

  /** Pages that the driver is to give, and that it says it has given. */
  get wantedPages(): number {
    return this.#config.getUint32(CONFIG.wantedPages, true);
  }
  get actualPages(): number {
    return this.#config.getUint32(CONFIG.actualPages, true);
  }

  configWritten(offset: number, bytes: number, value: number): boolean {
    if (offset !== CONFIG.actualPages || bytes !== 4) return false;
    this.#config.setUint32(offset, value, true);
    return true;
  }

  /** Linux makes its first statistics available, and says so, before it is ready. */
  started(): void {
    if (this.#transport.has(F.STATS_VQ)) this.#hear(this.#transport.queues[STATS]!);
    this.#work();
  }

  notified(queue: Virtqueue): void {
    if (queue.index === STATS && this.#transport.has(F.STATS_VQ)) this.#hear(queue);
    else this.#work();
  }

  pump(): void {
    const { backend } = this.options;
    for (let word = backend.next(); word !== null; word = backend.next()) {
      const value = new DataView(word.buffer, word.byteOffset).getUint32(0, true);
      backend.taken();
      if (value === POLL) this.#poll();
      else if (value !== this.wantedPages) {
        this.#config.setUint32(CONFIG.wantedPages, value, true);
        this.#transport.configChanged();
      }
    }
    if (this.#waiting) this.#work();
  }

  get hasInput(): boolean {
    return this.options.backend.hasInput || this.#waiting;
  }

  /** Whether there is something that was not done at once. */
  get #waiting(): boolean {
    return this.#transport.running &&
      this.#transport.queues.some(({ index, waiting }) =>
        waiting > 0 && (index === INFLATE || index === DEFLATE || this.#isReports(index))
      );
  }

  #isReports(index: number): boolean {
    const transport = this.#transport;
    return transport.has(F.PAGE_REPORTING) && (index > STATS || (index === STATS && !transport.has(F.STATS_VQ)));
  }

  #work(): void {
    let left = MOST_NUMBERS_AT_ONCE;
    for (const queue of this.#transport.queues) {
      const { index } = queue;
      if (index === INFLATE || index === DEFLATE) left = this.#takePages(queue, left);
      else if (this.#isReports(index)) left = this.#takeReports(queue, left);
    }
  }

  /** Takes chains of page numbers until `left` of them were read; how many are left then. */
  #takePages(queue: Virtqueue, left: number): number {
    while (left > 0) {
      const chain = queue.take();
      if (chain === null) break;
      const count = this.#read(chain);
      if (queue.index === INFLATE) this.#inflate(count);
      else this.counters.returnedPages += this.#places(count);
      queue.put(chain, 0);
      left -= Math.max(count, 1);
    }
    queue.flush();
    return left;
  }

  /** Reads a chain's page numbers; how many there are. */
  #read(chain: Chain): number {
    const count = Math.floor(chain.readableBytes / NUMBER_BYTES);
    if (chain.readableBytes % NUMBER_BYTES !== 0 || count > MOST_NUMBERS || chain.writableBytes > 0) {
      this.#transport.complain(`${chain.readableBytes} bytes are not a list of page numbers`);
      return 0;
    }
    chain.read(0, new Uint8Array(this.#pages.buffer, 0, count * NUMBER_BYTES));
    return count;
  }

  /** Makes the first page numbers host addresses, without those that are not RAM; how many are left. */
  #places(count: number): number {
    let good = 0;
    for (let n = 0; n < count; n++) {
      const page = this.#pages[n]!;
      const host = this.#transport.memory.place(page * BALLOON_PAGE_BYTES, BALLOON_PAGE_BYTES, true);
      if (host !== 0) this.#pages[good++] = host / BALLOON_PAGE_BYTES;
      else if (this.counters.badPages++ === 0) this.#transport.complain(`page ${page} is not RAM`);
    }
    return good;
  }

  /** Neighbours go together, which is what the host is asked for. */
  #inflate(count: number): void {
    const pages = this.#pages.subarray(0, this.#places(count)).sort();
    this.counters.takenPages += pages.length;
    for (let first = 0, n = 1; n <= pages.length; n++) {
      if (n < pages.length && pages[n]! - pages[n - 1]! <= 1) continue;
      this.#release(pages[first]! * BALLOON_PAGE_BYTES, (pages[n - 1]! - pages[first]! + 1) * BALLOON_PAGE_BYTES);
      first = n;
    }
  }

  #release(host: number, bytes: number): void {
    this.options.backend.release(host, bytes);
    this.#transport.memory.wrote(host, bytes);
  }

  /** Ranges that are free: room that the device may do anything with until it gives it back. */
  #takeReports(queue: Virtqueue, left: number): number {
    while (left > 0) {
      const chain = queue.take();
      if (chain === null) break;
      for (let piece = chain.readablePieces; piece < chain.pieces; piece++) {
        const host = chain.hosts[piece]!, end = host + chain.lengths[piece]!;
        const first = Math.ceil(host / BALLOON_PAGE_BYTES) * BALLOON_PAGE_BYTES,
          bytes = end - end % BALLOON_PAGE_BYTES - first;
        if (bytes <= 0) continue;
        this.counters.reportedBytes += bytes;
        this.#release(first, bytes);
        left -= bytes / BALLOON_PAGE_BYTES;
      }
      queue.put(chain, 0);
      left--;
    }
    queue.flush();
    return left;
  }

  /** Statistics: read where they lie, and left there until others are wanted. */
  #hear(queue: Virtqueue): void {
    const chain = queue.take();
    if (chain === null) return;
    const bytes = new Uint8Array(Math.min(chain.readableBytes, MOST_STATS * STAT_BYTES));
    chain.read(0, bytes);
    queue.putBack(chain);
    const view = new DataView(bytes.buffer), stats = new Map<string, bigint>();
    for (let at = 0; at + STAT_BYTES <= bytes.length; at += STAT_BYTES) {
      const name = STAT_NAMES[view.getUint16(at, true)], value = view.getBigUint64(at + 2, true);
      // All ones stand for something that the guest does not know.
      if (name !== undefined && value !== 0xffff_ffff_ffff_ffffn) stats.set(name, value);
    }
    this.stats = stats;
  }

  /** Gives the driver its buffer, so that it fills it anew. */
  #poll(): void {
    const queue = this.#transport.queues[STATS]!;
    if (!this.#transport.has(F.STATS_VQ) || !this.#transport.running) return;
    const chain = queue.take();
    if (chain === null) return;
    queue.put(chain, 0);
    queue.flush();
  }
}
