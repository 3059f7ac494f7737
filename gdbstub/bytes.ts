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

/** The bytes of `digits`; null when they are not pairs of digits. */
export function fromHex(digits: Uint8Array): Uint8Array<ArrayBuffer> | null {
  if (digits.length % 2 !== 0) return null;
  const out = new Uint8Array(digits.length / 2);
  let bad = 0;
  for (let i = 0, from = 0; i < out.length; i++, from += 2) {
    const high = DIGIT_VALUE[digits[from]!]!, low = DIGIT_VALUE[digits[from + 1]!]!;
    bad |= high | low;
    out[i] = high << 4 | low;
  }
  return (bad & 0xf0) !== 0 ? null : out;
}

const encoder = new TextEncoder(), decoder = new TextDecoder();
/** ASCII or UTF-8 text as bytes. */
export const ascii = (text: string): Uint8Array<ArrayBuffer> => encoder.encode(text);
/** Bytes as text; what is not UTF-8 becomes U+FFFD. */
export const textOf = (data: Uint8Array): string => decoder.decode(data);
/** A string as digits of its UTF-8 bytes. */
export const textToHex = (text: string): string => toHex(ascii(text));

const NO_WORDS = new Uint32Array(0);

/** Sum of all bytes modulo 256. */
export function checksum(data: Uint8Array): number {
  const end = data.length;
  let sum = 0, at = 0;
  for (const aligned = Math.min(end, (4 - (data.byteOffset & 3)) & 3); at < aligned; at++) sum += data[at]!;
  const count = (end - at) >> 2;
  const words = count === 0 ? NO_WORDS : new Uint32Array(data.buffer, data.byteOffset + at, count);
  // Two sums of 16 bits side by side; 128 words cannot carry from one into the other.
  for (let i = 0; i < count;) {
    let pair = 0;
    for (const stop = Math.min(count, i + 128); i < stop; i++) {
      const word = words[i]!;
      pair += (word & 0x00ff00ff) + ((word >>> 8) & 0x00ff00ff);
    }
    sum += (pair & 0xffff) + (pair >>> 16);
  }
  for (at += count * 4; at < end; at++) sum += data[at]!;
  return sum & 0xff;
}

const ESCAPE = 0x7d, ESCAPE_XOR = 0x20;
/** `#`, `$`, `}` and `*`, which would end, start, escape or repeat. */
const needsEscape = (byte: number): boolean => byte === 0x23 || byte === 0x24 || byte === ESCAPE || byte === 0x2a;
const NEEDS_ESCAPE = Uint8Array.from({ length: 256 }, (_, byte) => needsEscape(byte) ? 1 : 0);

/** Writes `data` escaped to `out` from `at` on, at most up to `limit`; returns how much of it, and the position after it. */
export function writeEscaped(
  data: Uint8Array,
  out: Uint8Array,
  at: number,
  limit: number,
): { readonly taken: number; readonly end: number } {
  let to = at, taken = 0;
  // Two places are kept free, so that one byte always fits without a second test.
  for (; taken < data.length && to + 2 <= limit; taken++) {
    const byte = data[taken]!;
    if (NEEDS_ESCAPE[byte] === 0) out[to++] = byte;
    else {
      out[to++] = ESCAPE;
      out[to++] = byte ^ ESCAPE_XOR;
    }
  }
  return { taken, end: to };
}

/** The bytes that `data` stands for. An escape at the very end stands for nothing. */
export function unescape(data: Uint8Array): Uint8Array {
  let next = data.indexOf(ESCAPE);
  if (next < 0) return data;
  const out = new Uint8Array(data.length);
  let from = 0, to = 0;
  while (next >= 0) {
    out.set(data.subarray(from, next), to);
    to += next - from;
    if (next + 1 >= data.length) return out.subarray(0, to);
    out[to++] = data[next + 1]! ^ ESCAPE_XOR;
    from = next + 2;
    next = data.indexOf(ESCAPE, from);
  }
  out.set(data.subarray(from), to);
  return out.subarray(0, to + data.length - from);
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
