// Predecoded code pages. A 4 KiB page of guest code has 1024 records of 16 bytes and one that marks its end. Records are
// filled when they are first executed and emptied when the guest writes to their words, so self-modifying code needs no
// more than that. A page that is only written to any more (its code is gone, the memory has another use) becomes dormant:
// its records are emptied and stores to it are fast again, until it is executed. When the pool is full, everything is
// dropped and predecoded again.

import { extract } from "../base/bits.ts";
import { assert } from "../base/errors.ts";
import { type Definition, rawFields } from "../isa/define.ts";
import type { Decoder } from "../isa/decoder.ts";
import { HOST_MAP, PAGE_BYTES } from "../memory/host_map.ts";
import { HANDLER, RECORD_BYTES } from "./frames.ts";
import type { Interpreter } from "./interpreter.ts";
import { type Shape, shapeOf } from "./shape.ts";

const RECORDS = PAGE_BYTES / 4;
/** An odd multiple of a cache line, so that pages do not compete for the same sets. */
const STRIDE = RECORDS * RECORD_BYTES + 64;
const CAPACITY = Math.floor(HOST_MAP.codePool.size / STRIDE);
/** So many stores without execution in between make a page dormant. */
const DORMANT_AFTER = 32;
/** In codeMap: the page's records are all empty, and stores to it are not watched. */
const DORMANT = 1;
/** Words of the end record after the handler number. */
const END = { HOST_PAGE: 1, STORES: 2 } as const;
/** How many instructions are predecoded ahead of the one that was asked for. */
const AHEAD = 32;

/** A decoded word without pc-relative branches: handler number and operands, ready to copy. */
interface Template {
  readonly words: Uint32Array;
  readonly ends: boolean;
}

export class CodeCache {
  readonly #u32: Uint32Array;
  readonly #u16: Uint16Array;
  readonly #words: { readonly u16: Uint16Array; readonly u32: Uint32Array };
  /** Marked records, with the out-of-line handler of their instruction once that is known (0: not yet). */
  readonly #marks = new Map<number, number>();
  readonly #templates = new Map<number, Template>();
  readonly #shapes = new Map<string, { shape: Shape; ends: boolean }>();
  #used = 0;

  /** `flushFetchTlbs` drops every record address that generated code may hold. */
  constructor(
    buffer: ArrayBufferLike,
    readonly decoder: Decoder,
    readonly interpreter: Interpreter,
    readonly flushFetchTlbs: () => void,
    /** Drops write-TLB entries of a page that now holds code. */
    readonly protect: (hostPage: number) => void,
  ) {
    this.#u32 = new Uint32Array(buffer);
    this.#u16 = new Uint16Array(buffer);
    this.#words = { u16: this.#u16, u32: this.#u32 };
  }
  /** Whether the page at this host address has predecoded code. */
  isCodePage(hostPage: number): boolean {
    const entry = this.#u32[mapIndex(hostPage)]!;
    return entry !== 0 && (entry & DORMANT) === 0;
  }
  /** Address of the records of the page at this host address; they are made if there are none. */
  recordsFor(hostPage: number): number {
    const index = mapIndex(hostPage), found = this.#u32[index]!;
    if (found) return (found & ~DORMANT) >>> 0;
    if (this.#used === CAPACITY) this.flush();
    const base = HOST_MAP.codePool.base + this.#used++ * STRIDE;
    this.#u32.fill(0, base >>> 2, (base + STRIDE) >>> 2);
    const end = endRecord(base);
    this.#u32[end] = HANDLER.PAGE_END;
    this.#u32[end + END.HOST_PAGE] = hostPage;
    this.#u32[index] = base | DORMANT;
    return base;
  }
  /** How many pages of guest code have records. */
  get pages(): number {
    return this.#used;
  }
  /** The guest, a device or a debugger wrote to `bytes` bytes at this host address. */
  invalidate(hostAddress: number, bytes: number) {
    invalidateCode(this.#u32, hostAddress, bytes);
  }
  /** Drops all predecoded pages. */
  flush() {
    const { codeMap } = HOST_MAP;
    this.#u32.fill(0, codeMap.base >>> 2, (codeMap.base + codeMap.size) >>> 2);
    this.#used = 0;
    this.#marks.clear();
    this.flushFetchTlbs();
  }

  /**
   * Fills the record at `record` and those after it, up to the end of the basic block; `seen` is told each word and its
   * distance in instructions. Answers how many records were filled.
   */
  predecode(record: number, seen?: (distance: number, word: number) => void): number {
    const { codePool } = HOST_MAP,
      page = Math.floor((record - codePool.base) / STRIDE),
      base = codePool.base + page * STRIDE;
    const first = (record - base) / RECORD_BYTES, end = endRecord(base), hostPage = this.#u32[end + END.HOST_PAGE]!;
    assert(first < RECORDS && hostPage, "a record of a predecoded page");
    this.#u32[end + END.STORES] = 0;
    const index = mapIndex(hostPage);
    if (this.#u32[index]! & DORMANT) {
      this.#u32[index] = base;
      this.protect(hostPage);
    }
    let count = 0;
    const pending: { at: number; word: number; shape: Shape }[] = [];
    for (let n = first; n < Math.min(first + AHEAD, RECORDS); n++) {
      const at = base + n * RECORD_BYTES, word = this.#u32[(hostPage >>> 2) + n]!;
      if (n > first && this.#u16[at >>> 1] !== HANDLER.UNDECODED) break;
      count++;
      seen?.(n - first, word);
      const template = this.#templates.get(word);
      if (template) {
        this.#u32.set(template.words, at >>> 2);
        if (template.ends) break;
        continue;
      }
      const { shape, ends } = this.#shape(word, n);
      pending.push({ at, word, shape });
      if (ends) break;
    }
    if (pending.length > 0) {
      const numbers = this.interpreter.handlerNumbers(pending.map((p) => p.shape));
      pending.forEach(({ at, word, shape }, i) => {
        writeRecord(this.#words, at, numbers[i]!, shape, word);
        if (!shape.definition.branches && this.#templates.size < 1 << 20) {
          this.#templates.set(word, {
            words: this.#u32.slice(at >>> 2, (at >>> 2) + 4),
            ends: this.#shape(word, 0).ends,
          });
        }
      });
    }
    if (this.#marks.size > 0) {
      for (let at = record; at < record + count * RECORD_BYTES; at += RECORD_BYTES) {
        if (this.#marks.has(at)) this.#applyMark(at);
      }
    }
    return count;
  }

  /**
   * Makes the instruction of a record ask `interpreter.onMarked` before it is executed, for as long as the record exists,
   * whatever its word becomes. The records of a page go when the pool is full: the fetch that makes new ones tells.
   */
  mark(record: number): void {
    if (this.#marks.has(record)) return;
    this.#marks.set(record, 0);
    if (this.#u16[record >>> 1] !== HANDLER.UNDECODED) this.#applyMark(record);
  }
  isMarked(record: number): boolean {
    return this.#marks.has(record);
  }
  /** Removes all marks. */
  unmark(): void {
    for (const record of this.#marks.keys()) this.#u32[record >>> 2] = HANDLER.UNDECODED;
    this.#marks.clear();
  }
  #applyMark(record: number): void {
    this.#marks.set(record, this.#outOfLine(record));
    this.#u16[record >>> 1] = HANDLER.MARKED;
  }
  /** The out-of-line handler that executes the instruction of a record, marked or not, after filling it. */
  handlerOf(record: number): number {
    if (this.#u16[record >>> 1] === HANDLER.UNDECODED) this.predecode(record);
    return this.#marks.get(record) || this.#outOfLine(record);
  }
  #outOfLine(record: number): number {
    const inPool = record - HOST_MAP.codePool.base, index = (inPool % STRIDE) / RECORD_BYTES;
    const hostPage = this.#u32[endRecord(record - inPool % STRIDE) + END.HOST_PAGE]!;
    return this.interpreter.outOfLine(this.#shape(this.#u32[(hostPage >>> 2) + index]!, index).shape);
  }
  #shape(word: number, index: number): { shape: Shape; ends: boolean } {
    const definition = this.decoder.decode(word), offset = branchOffset(definition, word);
    const near = offset !== undefined && index * 4 + offset >= 0 && index * 4 + offset < PAGE_BYTES;
    // Everything a shape can depend on, without building the semantics to find out what it does depend on.
    const at31 = definition.fields.map((f) => f.kind === "R" && extract(word, f.lsb, f.width) === 31 ? "1" : "0");
    const selectors = definition.selectors.map((f) => extract(word, f.lsb, f.width));
    const key = `${definition.name}/${selectors}/${at31.join("")}/${near}`, known = this.#shapes.get(key);
    if (known) return known;
    const fresh = { shape: shapeOf(definition, word, near), ends: definition.endsBlock };
    this.#shapes.set(key, fresh);
    return fresh;
  }
}

/** Fills the record at byte `at` for `word`, which has this shape and is executed by handler `number`. */
export function writeRecord(
  { u16, u32 }: { readonly u16: Uint16Array; readonly u32: Uint32Array },
  at: number,
  number: number,
  shape: Shape,
  word: number,
): void {
  const raw = rawFields(shape.definition, word);
  for (const { name, slot, value } of shape.definition.operands) {
    const v = value(raw), place = at + slot.offset;
    if (typeof v === "bigint") {
      u32[place >>> 2] = Number(v & 0xffff_ffffn);
      u32[(place >>> 2) + 1] = Number((v >> 32n) & 0xffff_ffffn);
    } else if (slot.kind === "i32") {
      // A near branch counts in records: 16 bytes for 4.
      u32[place >>> 2] = shape.near && name === "offset" ? v * 4 : v;
    } else {
      assert(v >= 0 && v < 65536, `operand ${name} of ${shape.definition.name} fits 16 bits`);
      u16[place >>> 1] = v;
    }
  }
  u16[at >>> 1] = number;
}

/** Empties the records of words that were written to, in whatever thread: `u32` is the shared memory. */
export function invalidateCode(u32: Uint32Array, hostAddress: number, bytes: number): void {
  const end = hostAddress + bytes;
  for (let at = hostAddress - (hostAddress % 4); at < end;) {
    const inPage = at % PAGE_BYTES, page = at - inPage, index = mapIndex(page), records = u32[index]!;
    const stop = Math.min(end, page + PAGE_BYTES);
    if (records !== 0 && (records & DORMANT) === 0) {
      const stores = endRecord(records) + END.STORES;
      if (++u32[stores]! > DORMANT_AFTER) {
        u32.fill(0, records >>> 2, (records + RECORDS * RECORD_BYTES) >>> 2);
        u32[index] = records | DORMANT;
      } else {
        for (let offset = inPage; page + offset < stop; offset += 4) {
          u32[(records + offset * 4) >>> 2] = HANDLER.UNDECODED;
        }
      }
    }
    at = page + PAGE_BYTES;
  }
}

/** Where codeMap has the entry of a page of RAM. */
const mapIndex = (hostPage: number): number =>
  (HOST_MAP.codeMap.base + ((hostPage - HOST_MAP.ram.base) / PAGE_BYTES) * 4) >>> 2;

/** Word index of the end record. */
const endRecord = (base: number): number => (base + RECORDS * RECORD_BYTES) >>> 2;

/** The byte offset of a branch by an immediate, undefined for any other instruction. */
export function branchOffset(definition: Definition, word: number): number | undefined {
  if (!definition.branches) return undefined;
  const operand = definition.operands.find((o) => o.name === "offset");
  return operand?.value(rawFields(definition, word)) as number | undefined;
}
