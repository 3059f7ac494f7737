// How 9P lays values out in a message: little-endian integers, counted strings, and what is built of them. A kind of value
// reads and writes itself; a message is a record of named kinds. Strings are bytes, one to a character: file names of a
// host need not be text.

/** Takes values out of bytes. Whatever does not fit is zero or empty, and `broken` says so. */
export class Reader {
  at = 0;
  broken = false;
  readonly #view: DataView;

  constructor(readonly bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** Where the next `count` bytes are; -1 when there are not as many. */
  #take(count: number): number {
    const { at } = this;
    if (this.broken || at + count > this.bytes.length) {
      this.broken = true;
      return -1;
    }
    this.at = at + count;
    return at;
  }
  u8(): number {
    const at = this.#take(1);
    return at < 0 ? 0 : this.#view.getUint8(at);
  }
  u16(): number {
    const at = this.#take(2);
    return at < 0 ? 0 : this.#view.getUint16(at, true);
  }
  u32(): number {
    const at = this.#take(4);
    return at < 0 ? 0 : this.#view.getUint32(at, true);
  }
  u64(): bigint {
    const at = this.#take(8);
    return at < 0 ? 0n : this.#view.getBigUint64(at, true);
  }
  text(): string {
    const count = this.u16(), at = this.#take(count);
    return at < 0 ? "" : fromBytes(this.bytes.subarray(at, at + count));
  }
}

/** Puts values into bytes. What does not fit is left out, and `full` says so. */
export class Writer {
  at = 0;
  full = false;
  readonly #view: DataView;

  constructor(readonly bytes: Uint8Array, private limit: number = bytes.length) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** From the beginning, with room for `limit` bytes. */
  begin(limit: number): void {
    this.at = 0;
    this.full = false;
    this.limit = Math.min(limit, this.bytes.length);
  }
  get written(): Uint8Array {
    return this.bytes.subarray(0, this.at);
  }

  #place(count: number): number {
    const { at } = this;
    if (this.full || at + count > this.limit) {
      this.full = true;
      return -1;
    }
    this.at = at + count;
    return at;
  }
  u8(value: number): void {
    const at = this.#place(1);
    if (at >= 0) this.#view.setUint8(at, value);
  }
  u16(value: number): void {
    const at = this.#place(2);
    if (at >= 0) this.#view.setUint16(at, value, true);
  }
  u32(value: number): void {
    const at = this.#place(4);
    if (at >= 0) this.#view.setUint32(at, value, true);
  }
  u64(value: bigint): void {
    const at = this.#place(8);
    if (at >= 0) this.#view.setBigUint64(at, BigInt.asUintN(64, value), true);
  }
  text(value: string): void {
    this.u16(value.length);
    const at = this.#place(value.length);
    if (at < 0 || value.length > 0xffff) return void (this.full = true);
    for (let i = 0; i < value.length; i++) this.bytes[at + i] = value.charCodeAt(i);
  }
  /** Changes a length that was written before what it counts. */
  patch32(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
  }
}

/** A string of bytes, one to a character. */
export function fromBytes(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  return text;
}

/** One kind of value. */
export interface Kind<T> {
  read(from: Reader): T;
  write(to: Writer, value: T): void;
}
export type Fields = Readonly<Record<string, Kind<unknown>>>;
export type Values<F extends Fields> = { readonly [K in keyof F]: F[K] extends Kind<infer T> ? T : never };

export const u8: Kind<number> = { read: (from) => from.u8(), write: (to, value) => to.u8(value) };
export const u16: Kind<number> = { read: (from) => from.u16(), write: (to, value) => to.u16(value) };
export const u32: Kind<number> = { read: (from) => from.u32(), write: (to, value) => to.u32(value) };
export const u64: Kind<bigint> = { read: (from) => from.u64(), write: (to, value) => to.u64(value) };
export const text: Kind<string> = { read: (from) => from.text(), write: (to, value) => to.text(value) };

/** Values one after the other under names. */
export function record<const F extends Fields>(fields: F): Kind<Values<F>> {
  const entries = Object.entries(fields);
  return {
    read: (from) => Object.fromEntries(entries.map(([name, kind]) => [name, kind.read(from)])) as Values<F>,
    write(to, value) {
      for (const [name, kind] of entries) kind.write(to, value[name]);
    },
  };
}

/** At most `most` values, counted with 16 bits. */
export function list<T>(kind: Kind<T>, most: number): Kind<readonly T[]> {
  return {
    read(from) {
      const count = from.u16();
      if (count > most) from.broken = true;
      return from.broken ? [] : Array.from({ length: count }, () => kind.read(from));
    },
    write(to, values) {
      to.u16(values.length);
      for (const value of values) kind.write(to, value);
    },
  };
}
