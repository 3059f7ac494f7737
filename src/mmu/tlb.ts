// The software TLBs of one vCPU. Generated code looks into three of them (reads, writes, fetches; CORE layout in
// memory/host_map.ts): direct-mapped by VA[23:12], tagged with the VA as issued and the context number. Behind them is a
// larger set-associative cache of finished translations, so that contexts which take turns on the same pages (kernel and
// user access windows, guests, exception levels) refill in a few dozen nanoseconds instead of walking again.
//
// Invalidation may drop more than was asked for, never less: by address it clears every entry that the address can index,
// whatever its context; by ASID or VMID it retires context numbers (context.ts).

import { TLB_ENTRIES, VCPU_BLOCK } from "../memory/host_map.ts";

/** Words of a cached translation. */
export const CACHED = {
  TAG_LO: 0,
  TAG_HI: 1,
  /** Physical address of the page. */
  PA_LO: 2,
  PA_HI: 3,
  /** Host address of the page, 0 if it is not memory. */
  HOST: 4,
  /** PERMIT bits that hold, and DEVICE. */
  FLAGS: 5,
} as const;
/** In FLAGS: Device memory, which refuses unaligned data accesses. */
export const CACHED_DEVICE = 8;

const ENTRY_SHIFT = 3, WAYS = 4, SETS = 2048;
const SET_WORDS = WAYS << ENTRY_SHIFT;

/** Sizes of pages and blocks above 4 KiB, log2, that an invalidation by address must find the 4 KiB pieces of. */
const LARGE = [14, 16, 21, 25, 29, 30] as const;
/** Up to this size the pieces are cleared one by one, above it everything goes. */
const PIECEWISE_BITS = 21;
const FILTER_BITS = 10;

export class Tlb {
  /** Cached translations; `find` and `insert` answer indices into it. */
  readonly cache: Int32Array = new Int32Array(SETS * SET_WORDS);
  /** The words of the read, write and fetch TLB, as generated code sees them. */
  readonly #read: Int32Array;
  readonly #write: Int32Array;
  readonly #fetch: Int32Array;
  readonly #victim: Uint8Array = new Uint8Array(SETS);
  /** By size: which regions (hashed) have had pieces of a block of that size. A size nobody used has no bit in #sizes. */
  readonly #filters: Uint8Array[] = LARGE.map(() => new Uint8Array(1 << FILTER_BITS));
  #sizes = 0;

  /** The TLBs of the vCPU block at byte `base` of the shared memory. */
  constructor(memory: ArrayBufferLike, base: number) {
    const words = (offset: number) => new Int32Array(memory, base + offset, TLB_ENTRIES * 4);
    this.#read = words(VCPU_BLOCK.readTlb);
    this.#write = words(VCPU_BLOCK.writeTlb);
    this.#fetch = words(VCPU_BLOCK.fetchTlb);
    this.flush();
  }

  /** The cached translation of hi:lo in context `context` (shifted as in tags), or -1. */
  find(context: number, lo: number, hi: number): number {
    const cache = this.cache, tag = (lo & ~4095) | context;
    const first = ((lo >>> 12) & (SETS - 1)) * SET_WORDS;
    for (let at = first; at < first + SET_WORDS; at += 1 << ENTRY_SHIFT) {
      if (cache[at] === tag && cache[at + 1] === (hi | 0)) return at;
    }
    return -1;
  }

  /** Caches a translation and answers where. `sizeBits` is the log2 of stage 1's page or block. */
  insert(context: number, lo: number, hi: number, pa: number, host: number, flags: number, sizeBits: number): number {
    const cache = this.cache, set = (lo >>> 12) & (SETS - 1);
    let at = this.find(context, lo, hi);
    if (at < 0) {
      const way = this.#victim[set]!;
      this.#victim[set] = (way + 1) % WAYS;
      at = set * SET_WORDS + (way << ENTRY_SHIFT);
    }
    cache[at] = (lo & ~4095) | context;
    cache[at + CACHED.TAG_HI] = hi;
    cache[at + CACHED.PA_LO] = pa & ~4095;
    cache[at + CACHED.PA_HI] = Math.floor(pa / 2 ** 32);
    cache[at + CACHED.HOST] = host;
    cache[at + CACHED.FLAGS] = flags;
    if (sizeBits !== 12) this.#noteLarge(lo, hi, sizeBits);
    return at;
  }

  /** The physical address that a cached translation gives to the byte at `lo`. */
  physical(at: number, lo: number): number {
    return this.cache[at + CACHED.PA_HI]! * 2 ** 32 + (this.cache[at + CACHED.PA_LO]! >>> 0) + (lo & 4095);
  }

  fillRead(context: number, lo: number, hi: number, host: number): void {
    this.#fillData(this.#read, context, lo, hi, host);
  }
  fillWrite(context: number, lo: number, hi: number, host: number): void {
    this.#fillData(this.#write, context, lo, hi, host);
  }
  #fillData(words: Int32Array, context: number, lo: number, hi: number, host: number): void {
    const at = (lo >>> 10) & 0x3ffc, page = lo & ~4095;
    words[at] = page | context;
    words[at + 1] = hi;
    words[at + 2] = host - page;
  }
  fillFetch(context: number, lo: number, hi: number, records: number): void {
    const words = this.#fetch, at = (lo >>> 10) & 0x3ffc;
    words[at] = (lo & ~4095) | context;
    words[at + 1] = hi;
    words[at + 2] = records;
  }

  /** Drops everything. */
  flush(): void {
    this.#read.fill(-1);
    this.#write.fill(-1);
    this.#fetch.fill(-1);
    this.cache.fill(-1);
    for (const filter of this.#filters) filter.fill(0);
    this.#sizes = 0;
  }
  /** Drops what the fetch TLB holds, which are addresses of predecoded code. */
  flushFetch(): void {
    this.#fetch.fill(-1);
  }
  /** Drops the write entries of the page at host address `hostPage`: it holds code from now on. */
  protect(hostPage: number): void {
    const words = this.#write, page = hostPage | 0;
    for (let at = 0; at < words.length; at += 4) {
      if (((words[at]! & ~4095) + words[at + 2]! | 0) === page) words[at] = words[at + 1] = -1;
    }
  }

  /** Drops every translation of the page with number hi:lo (VA[55:12]), and of the block it belongs to. */
  invalidatePage(lo: number, hi: number): void {
    for (let i = 0; this.#sizes >>> i !== 0; i++) {
      if ((this.#sizes & (1 << i)) === 0 || this.#filters[i]![hash(lo, hi, LARGE[i]!)] === 0) continue;
      const bits = LARGE[i]!;
      if (bits > PIECEWISE_BITS) return this.flush();
      const pages = 1 << (bits - 12);
      this.#clear(lo & ~(pages - 1), pages);
    }
    // One page: plain stores are faster than fill().
    const at = (lo & (TLB_ENTRIES - 1)) * 4, first = (lo & (SETS - 1)) * SET_WORDS, { cache } = this;
    this.#read[at] = this.#read[at + 1] = -1;
    this.#write[at] = this.#write[at + 1] = -1;
    this.#fetch[at] = this.#fetch[at + 1] = -1;
    for (let i = first; i < first + SET_WORDS; i += 1 << ENTRY_SHIFT) cache[i] = cache[i + 1] = -1;
  }

  /** Clears the entries of `count` pages (a power of two, aligned) in all TLBs. */
  #clear(page: number, count: number): void {
    const at = (page & (TLB_ENTRIES - 1)) * 4, end = at + count * 4;
    this.#read.fill(-1, at, end);
    this.#write.fill(-1, at, end);
    this.#fetch.fill(-1, at, end);
    const first = (page & (SETS - 1)) * SET_WORDS;
    this.cache.fill(-1, first, first + count * SET_WORDS);
  }

  #noteLarge(lo: number, hi: number, sizeBits: number): void {
    const i = LARGE.indexOf(sizeBits as typeof LARGE[number]);
    this.#sizes |= 1 << i;
    this.#filters[i]![hash((lo >>> 12) | (hi << 20), (hi >>> 12) & 0xfff, sizeBits)] = 1;
  }
}

/** Where the filters keep the region of 2 ** bits bytes around page number hi:lo. */
function hash(lo: number, hi: number, bits: number): number {
  const n = bits - 12, region = (lo >>> n) | (hi << (32 - n));
  return Math.imul(region ^ Math.imul(hi, 0x2545f491), 0x9e3779b1) >>> (32 - FILTER_BITS);
}
