// Bytes as gdb's packets write them: hexadecimal digits, escaped binary, run lengths, checksums ("Overview", "Binary
// Data"). Memory is moved in packets of megabytes, so the loops work through tables and whole words.

const DIGITS = "0123456789abcdef";
const NOT_A_DIGIT = 0xff;

/** Two ASCII digits for each byte, as a little-endian 16-bit word. */
const HEX_WORD = Uint16Array.from(
  { length: 256 },
  (_, byte) => DIGITS.charCodeAt(byte >> 4) | DIGITS.charCodeAt(byte & 15) << 8,
);
const DIGIT_VALUE = Uint8Array.from({ length: 256 }, (_, code) => {
  const value = DIGITS.indexOf(String.fromCharCode(code).toLowerCase());
  return value < 0 ? NOT_A_DIGIT : value;
});
const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** The value of an ASCII hexadecimal digit, or 255. */
export const digitValue = (code: number): number => DIGIT_VALUE[code & 0xff]!;

/** Writes `data` as digits to `out` from `at` on; returns the position after them. */
export function writeHex(data: Uint8Array, out: Uint8Array, at: number): number {
  const count = data.length, start = out.byteOffset + at;
  if (LITTLE_ENDIAN && start % 2 === 0) {
    const words = new Uint16Array(out.buffer, start, count);
    for (let i = 0; i < count; i++) words[i] = HEX_WORD[data[i]!]!;
  } else {
    for (let i = 0, to = at; i < count; i++, to += 2) {
      const word = HEX_WORD[data[i]!]!;
      out[to] = word & 0xff;
      out[to + 1] = word >> 8;
    }
  }
  return at + 2 * count;
}

/** Digits of `data`. For short data; memory goes through writeHex. */
export function toHex(data: Uint8Array): string {
  let text = "";
  for (const byte of data) text += DIGITS[byte >> 4]! + DIGITS[byte & 15]!;
  return text;
}

/** Two ASCII digits, as a little-endian word, to their byte; -1 for what are none. */
const HEX_BYTE = (() => {
  const table = new Int16Array(0x1_0000).fill(-1), digits = DIGITS + "ABCDEF";
  for (const high of digits) {
    for (const low of digits) table[high.charCodeAt(0) | low.charCodeAt(0) << 8] = parseInt(high + low, 16);
  }
  return table;
})();

/** The bytes of `digits`; null when they are not pairs of digits. */
export function fromHex(digits: Uint8Array): Uint8Array<ArrayBuffer> | null {
  if (digits.length % 2 !== 0) return null;
  const out = new Uint8Array(digits.length / 2);
  let all = 0;
  for (let i = 0, from = 0; i < out.length; i++, from += 2) {
    const byte = HEX_BYTE[digits[from]! | digits[from + 1]! << 8]!;
    all |= byte;
    out[i] = byte;
  }
  return all < 0 ? null : out;
}

const encoder = new TextEncoder(), decoder = new TextDecoder();
/** ASCII or UTF-8 text as bytes. */
export const ascii = (text: string): Uint8Array<ArrayBuffer> => encoder.encode(text);
/** Bytes as text; what is not UTF-8 becomes U+FFFD. */
export const textOf = (data: Uint8Array): string => decoder.decode(data);
/** A string as digits of its UTF-8 bytes. */
export const textToHex = (text: string): string => toHex(ascii(text));

const NO_WORDS = new Uint32Array(0);
/** Views of some bytes as whole words: those before `first` and from `end` on are not in one. */
interface Words {
  readonly first: number;
  readonly end: number;
  readonly words: Uint32Array;
}
function wordsOf(data: Uint8Array): Words {
  const first = Math.min(data.length, (4 - (data.byteOffset & 3)) & 3), count = (data.length - first) >> 2;
  const words = count === 0 ? NO_WORDS : new Uint32Array(data.buffer, data.byteOffset + first, count);
  return { first, end: first + count * 4, words };
}

/** Sum of all bytes modulo 256. */
export function checksum(data: Uint8Array): number {
  const { first, end, words } = wordsOf(data);
  let sum = 0;
  for (let at = 0; at < first; at++) sum += data[at]!;
  // Two sums of 16 bits side by side; 128 words cannot carry from one into the other.
  for (let i = 0; i < words.length;) {
    let pair = 0;
    for (const stop = Math.min(words.length, i + 128); i < stop; i++) {
      const word = words[i]!;
      pair += (word & 0x00ff00ff) + ((word >>> 8) & 0x00ff00ff);
    }
    sum += (pair & 0xffff) + (pair >>> 16);
  }
  for (let at = end; at < data.length; at++) sum += data[at]!;
  return sum & 0xff;
}

const HASH = 0x23, DOLLAR = 0x24, STAR = 0x2a, ESCAPE = 0x7d, ESCAPE_XOR = 0x20;
/** Characters that would end, start, repeat or escape, as bits: SCAN looks for some of them. */
export const MARK = { HASH: 1, DOLLAR: 2, STAR: 4, ESCAPE: 8, ALL: 15 } as const;
const MARKS = (() => {
  const table = new Uint8Array(256);
  table[HASH] = MARK.HASH;
  table[DOLLAR] = MARK.DOLLAR;
  table[STAR] = MARK.STAR;
  table[ESCAPE] = MARK.ESCAPE;
  return table;
})();
const EVERY = 0x0101_0101, TOPS = 0x8080_8080;
/** Set bits where a byte is 0, at least in the lowest such byte; none if no byte is. */
const zeros = (word: number): number => (word - EVERY) & ~word & TOPS;
/** Bits by which a byte can be seen not to be `#`, `$` or `*` with one test for all. */
const ALIKE = 0xf0, ALIKE_VALUE = 0x20;

/** Looks through bytes for marks, four at a time. */
export class Scan {
  readonly #words: Words;
  constructor(readonly data: Uint8Array) {
    this.#words = wordsOf(data);
  }
  /** The first place in [from, to) with one of `marks`; `to` if there is none. */
  next(from: number, to: number, marks: number): number {
    const { data } = this, { first, words } = this.#words, stop = Math.min(to, this.#words.end);
    let at = from;
    for (; at < to && (at < first || (at - first & 3) !== 0); at++) if ((MARKS[data[at]!]! & marks) !== 0) return at;
    const escapes = (marks & MARK.ESCAPE) !== 0, end = (stop - first) >> 2;
    for (let n = (at - first) >> 2; n < end; n++) {
      const word = words[n]!;
      // Most words pass here.
      let maybe = zeros((word & EVERY * ALIKE) ^ EVERY * ALIKE_VALUE);
      if (escapes) maybe |= zeros(word ^ EVERY * ESCAPE);
      if (maybe === 0) continue;
      for (at = first + 4 * n; at < first + 4 * n + 4; at++) if ((MARKS[data[at]!]! & marks) !== 0) return at;
    }
    at = Math.max(at, first + 4 * end);
    for (; at < to; at++) if ((MARKS[data[at]!]! & marks) !== 0) return at;
    return to;
  }
}

/** Shorter runs are copied byte by byte. */
const SHORT_RUN = 64;

/** Writes `data` escaped to `out` from `at` on, at most up to `limit`; returns how much of it, and the position after it. */
export function writeEscaped(
  data: Uint8Array,
  out: Uint8Array,
  at: number,
  limit: number,
): { readonly taken: number; readonly end: number } {
  const scan = new Scan(data);
  let to = at, taken = 0;
  while (taken < data.length && to < limit) {
    const end = Math.min(data.length, taken + limit - to), next = scan.next(taken, end, MARK.ALL);
    if (next - taken < SHORT_RUN) { while (taken < next) out[to++] = data[taken++]!; }
    else {
      out.set(data.subarray(taken, next), to);
      to += next - taken;
      taken = next;
    }
    if (next === end || to + 2 > limit) break;
    out[to++] = ESCAPE;
    out[to++] = data[taken++]! ^ ESCAPE_XOR;
  }
  return { taken, end: to };
}

/** The bytes that `data` stands for. An escape at the very end stands for nothing. */
export function unescape(data: Uint8Array): Uint8Array {
  const scan = new Scan(data), { length } = data;
  let next = scan.next(0, length, MARK.ESCAPE);
  if (next === length) return data;
  const out = new Uint8Array(length);
  for (let from = 0, to = 0;;) {
    if (next - from < SHORT_RUN) { while (from < next) out[to++] = data[from++]!; }
    else {
      out.set(data.subarray(from, next), to);
      to += next - from;
    }
    if (next + 1 >= length) return out.subarray(0, to);
    out[to++] = data[next + 1]! ^ ESCAPE_XOR;
    from = next + 2;
    next = scan.next(from, length, MARK.ESCAPE);
  }
}

/** The CRC-32 of `compare-sections`: polynomial 0x04c11db7, most significant bit first, from all ones, not inverted. */
export class Crc32 {
  readonly #table = Uint32Array.from({ length: 256 }, (_, byte) => {
    let crc = byte << 24;
    for (let bit = 0; bit < 8; bit++) crc = crc << 1 ^ (crc < 0 ? 0x04c11db7 : 0);
    return crc;
  });
  #crc = 0xffffffff;

  add(data: Uint8Array): void {
    let crc = this.#crc;
    for (let i = 0; i < data.length; i++) crc = crc << 8 ^ this.#table[(crc >>> 24 ^ data[i]!) & 0xff]!;
    this.#crc = crc;
  }

  get value(): number {
    return this.#crc >>> 0;
  }
}
