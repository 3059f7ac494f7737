// A block of memory-mapped registers, declared as rows of data. A row is one register or an array of them; its elements are
// 4 bytes wide, or 1 byte where the architecture allows byte accesses (then a word access covers four elements).
// Whatever a row does not allow, and every offset without a row, reads as zero and ignores writes.

export interface RegisterRow<C> {
  readonly name: string;
  readonly offset: number;
  /** Elements in the array; 1 if absent. */
  readonly count?: number;
  /** Bytes per element; 4 if absent. */
  readonly width?: 1 | 4;
  /** Absent: write-only, reads as zero. `index` is the element. */
  readonly read?: (context: C, index: number) => number;
  /** Absent: read-only, writes are ignored. */
  readonly write?: (context: C, index: number, value: number) => void;
}

/** Reads as zero, ignores writes: registers that exist but do nothing in this configuration. */
export const zero = (): number => 0;

export class MmioTable<C> {
  readonly name: string;
  readonly size: number;
  readonly #rows: readonly RegisterRow<C>[];
  /** Row number + 1 for each word of the block. */
  readonly #index: Uint8Array;

  /** Throws RangeError when rows overlap or leave the block of `size` bytes. */
  constructor(name: string, size: number, rows: readonly RegisterRow<C>[]) {
    this.name = name;
    this.size = size;
    this.#rows = rows;
    this.#index = new Uint8Array(size / 4);
    rows.forEach((row, n) => {
      const bytes = (row.count ?? 1) * (row.width ?? 4);
      if (row.offset % 4 || bytes % 4 || row.offset + bytes > size) {
        throw new RangeError(`Cannot place ${row.name} in ${name}: a row is whole words inside the block`);
      }
      for (let word = row.offset / 4; word < (row.offset + bytes) / 4; word++) {
        const other = this.#index[word]!;
        if (other) throw new RangeError(`Cannot place ${row.name} in ${name}: it overlaps ${rows[other - 1]!.name}`);
        this.#index[word] = n + 1;
      }
    });
  }

  /** The value, or undefined when there is no such register or the access has a wrong size or alignment. */
  read(context: C, offset: number, bytes: number): number | undefined {
    const row = this.#find(offset, bytes);
    if (!row) return undefined;
    if (!row.read) return 0;
    const at = offset - row.offset;
    if (row.width !== 1) return row.read(context, at >>> 2) >>> 0;
    let value = 0;
    for (let i = 0; i < bytes; i++) value |= row.read(context, at + i) << (8 * i);
    return value >>> 0;
  }

  /** False when there is no such register or the access has a wrong size or alignment. */
  write(context: C, offset: number, bytes: number, value: number): boolean {
    const row = this.#find(offset, bytes);
    if (!row) return false;
    if (!row.write) return true;
    const at = offset - row.offset;
    if (row.width !== 1) row.write(context, at >>> 2, value >>> 0);
    else for (let i = 0; i < bytes; i++) row.write(context, at + i, (value >>> (8 * i)) & 0xff);
    return true;
  }

  #find(offset: number, bytes: number): RegisterRow<C> | undefined {
    const row = this.#rows[this.#index[offset >>> 2]! - 1];
    if (!row) return undefined;
    return (bytes === 4 && offset % 4 === 0) || (bytes === 1 && row.width === 1) ? row : undefined;
  }
}
