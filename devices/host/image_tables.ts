// Clusters of an image's own tables, kept in memory: read when they are needed, written when their owner says so. What was
// changed stays until then; the rest makes room, oldest first.

import type { ImageFile } from "./image_file.ts";

export interface Table {
  readonly offset: number;
  readonly view: DataView;
  dirty: boolean;
}

export class TableCache {
  /** In the order of use, the last used one last. */
  readonly #tables = new Map<number, Table>();
  #last: Table | undefined;
  #dirty = 0;

  constructor(private readonly file: ImageFile, private readonly tableBytes: number, private readonly limit: number) {}

  /** The table at `offset`. */
  get(offset: number): Table {
    if (this.#last?.offset === offset) return this.#last;
    let table = this.#tables.get(offset);
    if (table === undefined) {
      const bytes = new Uint8Array(this.tableBytes);
      this.file.readAt(offset, bytes);
      table = { offset, view: new DataView(bytes.buffer), dirty: false };
      this.#evict();
    } else this.#tables.delete(offset);
    this.#tables.set(offset, table);
    return this.#last = table;
  }

  /** A new table at `offset`, with these bytes or empty. It is dirty. */
  add(offset: number, bytes: Uint8Array = new Uint8Array(this.tableBytes)): Table {
    this.drop(offset);
    this.#evict();
    const table = { offset, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length), dirty: false };
    this.#tables.set(offset, table);
    this.touch(table);
    return this.#last = table;
  }

  touch(table: Table): void {
    if (table.dirty) return;
    table.dirty = true;
    this.#dirty++;
  }

  /** Forgets the table at `offset`, changed or not. */
  drop(offset: number): void {
    const table = this.#tables.get(offset);
    if (table?.dirty) this.#dirty--;
    this.#tables.delete(offset);
    if (this.#last === table) this.#last = undefined;
  }

  get isDirty(): boolean {
    return this.#dirty > 0;
  }
  /** Whether so much was changed that it should be written. */
  get isFull(): boolean {
    return this.#dirty >= this.limit;
  }

  /** Writes what was changed. Throws HostError; what was not written stays changed. */
  write(): void {
    if (this.#dirty === 0) return;
    for (const table of this.#tables.values()) {
      if (!table.dirty) continue;
      this.file.writeAt(table.offset, new Uint8Array(table.view.buffer, table.view.byteOffset, this.tableBytes));
      table.dirty = false;
      this.#dirty--;
    }
  }

  #evict(): void {
    if (this.#tables.size < 2 * this.limit) return;
    for (const [offset, { dirty }] of this.#tables) {
      if (dirty) continue;
      this.#tables.delete(offset);
      return;
    }
  }
}
