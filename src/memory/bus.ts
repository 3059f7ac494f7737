// The physical address space: RAM and ROM ranges backed by the shared memory, and device regions. Bytes of RAM lie at the
// same distance from each other in the guest's and in the host's addresses, so that a 4 KiB page has one host address.
// What nothing claims answers with an external abort. Left out: bus errors that a device raises asynchronously.

import { assert } from "../base/errors.ts";
import { PAGE_BYTES } from "./host_map.ts";

/** A device's registers. Accesses have 1, 2 or 4 bytes and do not leave the region; values are unsigned. */
export interface MmioRegion {
  readonly name: string;
  /** Physical address and size in bytes. */
  readonly base: number;
  readonly size: number;
  /** Reads at `offset`; -1 answers with an external abort. `cpu` is the number of the vCPU that asks, -1 for none. */
  read(offset: number, bytes: number, cpu: number): number;
  write(offset: number, bytes: number, value: number, cpu: number): void;
}

/** A range of RAM or ROM; all members are multiples of 4 KiB. */
export interface MemoryRange {
  readonly name: string;
  readonly base: number;
  readonly size: number;
  /** Where it lies in the shared memory. */
  readonly host: number;
  readonly writable: boolean;
}

interface OwnRange extends MemoryRange {
  readonly end: number;
}

/** What bus.read answers where an external abort is due. */
export const EXTERNAL_ABORT = -1;

export class PhysicalBus {
  /** Called after bytes of RAM were written by other means than a vCPU's store, so that predecoded code can go. */
  onCodeWrite: (hostAddress: number, bytes: number) => void = () => {};
  /** Called when a vCPU reached a physical address that nothing claims; for the guest_errors trace. */
  onUnmapped: (pa: number, bytes: number, write: boolean) => void = () => {};

  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #ranges: OwnRange[] = [];
  readonly #regions: MmioRegion[] = [];
  /** Where the last access went. */
  #last: OwnRange | undefined;
  #lastRegion: MmioRegion | undefined;

  constructor(memory: ArrayBufferLike) {
    this.#bytes = new Uint8Array(memory);
    this.#view = new DataView(memory);
  }

  /** The ranges of RAM and ROM, in the order they were added. */
  get ranges(): readonly MemoryRange[] {
    return this.#ranges;
  }

  /** The device regions by ascending address. */
  get regions(): readonly MmioRegion[] {
    return this.#regions;
  }

  /** Adds RAM, or ROM when `writable` is false. Overlaps are our own mistakes. */
  addMemory(range: MemoryRange): void {
    for (const number of [range.base, range.size, range.host]) {
      assert(number % PAGE_BYTES === 0, `${range.name} consists of whole pages`);
    }
    assert(range.host > 0 && range.host + range.size <= this.#bytes.length, `${range.name} lies in the shared memory`);
    this.#assertFree(range);
    const { name, base, size, host, writable } = range;
    // All of one shape, which keeps look-ups fast.
    const own = { name, base, size, host, writable, end: base + size };
    this.#ranges.push(own);
    this.#last ??= own;
  }

  addRegion(region: MmioRegion): void {
    assert(region.size > 0 && Number.isSafeInteger(region.base), `${region.name} has a size and a place`);
    this.#assertFree(region);
    this.#regions.push(region);
    this.#regions.sort((a, b) => a.base - b.base);
  }

  /** Host address of the RAM or ROM page around `pa`, or 0. */
  hostPage(pa: number): number {
    const range = this.#rangeAt(pa);
    // Ranges are smaller than 4 GiB, so that the offset is a 32-bit number.
    return range === undefined ? 0 : range.host + (((pa - range.base) & -PAGE_BYTES) >>> 0);
  }

  /** Whether the page around `pa` is RAM. */
  isWritablePage(pa: number): boolean {
    return this.#rangeAt(pa)?.writable ?? false;
  }

  /** Reads 1, 2 or 4 bytes, or EXTERNAL_ABORT. The access may be unaligned, but does not cross a page. */
  read(pa: number, bytes: number, cpu: number): number {
    const range = this.#rangeAt(pa);
    if (range !== undefined) {
      const host = range.host + (pa - range.base);
      switch (bytes) {
        case 1:
          return this.#bytes[host]!;
        case 2:
          return this.#view.getUint16(host, true);
        default:
          return this.#view.getUint32(host, true);
      }
    }
    const region = this.#regionAt(pa, bytes);
    if (region === undefined) {
      this.onUnmapped(pa, bytes, false);
      return EXTERNAL_ABORT;
    }
    if (pa % bytes !== 0) return this.#readPieces(pa, bytes, cpu);
    const value = region.read(pa - region.base, bytes, cpu);
    return value === EXTERNAL_ABORT ? value : value >>> 0;
  }

  /** Writes the low 1, 2 or 4 bytes of `value`; false stands for an external abort. Stores to ROM are ignored. */
  write(pa: number, bytes: number, value: number, cpu: number): boolean {
    const range = this.#rangeAt(pa);
    if (range !== undefined) {
      if (!range.writable) return true;
      const host = range.host + (pa - range.base);
      if (bytes === 1) this.#bytes[host] = value;
      else if (bytes === 2) this.#view.setUint16(host, value, true);
      else this.#view.setUint32(host, value, true);
      this.onCodeWrite(host, bytes);
      return true;
    }
    const region = this.#regionAt(pa, bytes);
    if (region === undefined) {
      this.onUnmapped(pa, bytes, true);
      return false;
    }
    if (pa % bytes !== 0) return this.#writePieces(pa, bytes, value, cpu);
    region.write(pa - region.base, bytes, bytes === 4 ? value >>> 0 : value & (bytes === 1 ? 0xff : 0xffff), cpu);
    return true;
  }

  /** Reads 1 to 16 bytes (a power of two) into little-endian words, low word first; false is an external abort. */
  readInto(pa: number, bytes: number, words: Uint32Array, cpu: number): boolean {
    words.fill(0, 0, 4);
    const step = Math.min(bytes, 4);
    for (let at = 0; at < bytes; at += step) {
      const value = this.read(pa + at, step, cpu);
      if (value === EXTERNAL_ABORT) return false;
      words[at >> 2] = value;
    }
    return true;
  }

  /** Writes 1 to 16 bytes (a power of two) from little-endian words, low word first; false is an external abort. */
  writeFrom(pa: number, bytes: number, words: Uint32Array, cpu: number): boolean {
    const step = Math.min(bytes, 4);
    for (let at = 0; at < bytes; at += step) {
      if (!this.write(pa + at, step, words[at >> 2]!, cpu)) return false;
    }
    return true;
  }

  /** Copies bytes of RAM or ROM for loaders, debuggers and devices; undefined when some of them are neither. */
  readBytes(pa: number, count: number): Uint8Array<ArrayBuffer> | undefined {
    const out = new Uint8Array(count);
    const whole = this.#pieces(pa, count, false, (host, at, bytes) => {
      out.set(this.#bytes.subarray(host, host + bytes), at);
    });
    return whole ? out : undefined;
  }

  /**
   * Copies bytes into RAM (or, for loaders, ROM) and drops predecoded code there. Answers false and writes nothing when
   * some of the bytes would fall elsewhere.
   */
  writeBytes(pa: number, data: Uint8Array, rom = false): boolean {
    if (!this.#pieces(pa, data.length, !rom, () => {})) return false;
    return this.#pieces(pa, data.length, !rom, (host, at, bytes) => {
      this.#bytes.set(data.subarray(at, at + bytes), host);
      this.onCodeWrite(host, bytes);
    });
  }

  /**
   * Where `count` bytes from `pa` lie in the shared memory, when all of them are RAM (or, to be read only, ROM) of one
   * range; 0 otherwise. Whoever writes there tells onCodeWrite.
   */
  hostBytes(pa: number, count: number, write: boolean): number {
    const range = this.#rangeAt(pa);
    if (range === undefined || count > range.end - pa || (write && !range.writable)) return 0;
    return range.host + (pa - range.base);
  }

  /** Reads one 32-bit word of RAM or ROM without effects, or -1. `pa` is word-aligned. */
  peek(pa: number): number {
    const range = this.#rangeAt(pa);
    return range === undefined ? -1 : this.#view.getUint32(range.host + (pa - range.base), true);
  }

  /** Tells of an instruction fetch that found no memory at `pa`; devices are not executable. */
  refuseFetch(pa: number): void {
    if (this.#regionAt(pa, 4) === undefined) this.onUnmapped(pa, 4, false);
  }

  #pieces(pa: number, count: number, write: boolean, use: (host: number, at: number, bytes: number) => void): boolean {
    for (let at = 0; at < count;) {
      const range = this.#rangeAt(pa + at);
      if (range === undefined || (write && !range.writable)) return false;
      const offset = pa + at - range.base, bytes = Math.min(count - at, range.size - offset);
      use(range.host + offset, at, bytes);
      at += bytes;
    }
    return true;
  }

  #readPieces(pa: number, bytes: number, cpu: number): number {
    let value = 0;
    for (let at = 0; at < bytes; at++) {
      const byte = this.read(pa + at, 1, cpu);
      if (byte === EXTERNAL_ABORT) return EXTERNAL_ABORT;
      value += byte * 2 ** (8 * at);
    }
    return value;
  }

  #writePieces(pa: number, bytes: number, value: number, cpu: number): boolean {
    for (let at = 0; at < bytes; at++) {
      if (!this.write(pa + at, 1, (value >>> (8 * at)) & 0xff, cpu)) return false;
    }
    return true;
  }

  #rangeAt(pa: number): OwnRange | undefined {
    const last = this.#last;
    if (last !== undefined && pa >= last.base && pa < last.end) return last;
    return this.#findRange(pa);
  }
  #findRange(pa: number): OwnRange | undefined {
    for (const range of this.#ranges) if (pa >= range.base && pa < range.end) return this.#last = range;
    return undefined;
  }

  /** The region that holds all of an access. */
  #regionAt(pa: number, bytes: number): MmioRegion | undefined {
    const last = this.#lastRegion;
    if (last !== undefined && pa >= last.base && pa + bytes <= last.base + last.size) return last;
    let low = 0, high = this.#regions.length;
    while (low < high) {
      const middle = (low + high) >> 1, region = this.#regions[middle]!;
      if (pa < region.base) high = middle;
      else if (pa >= region.base + region.size) low = middle + 1;
      else return pa + bytes <= region.base + region.size ? this.#lastRegion = region : undefined;
    }
    return undefined;
  }

  #assertFree(added: { name: string; base: number; size: number }): void {
    for (const other of [...this.#ranges, ...this.#regions]) {
      const apart = added.base + added.size <= other.base || other.base + other.size <= added.base;
      assert(apart, `${added.name} does not overlap ${other.name}`);
    }
  }
}
