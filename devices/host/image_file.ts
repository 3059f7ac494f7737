// A file as an image lies in it: bytes at offsets, read and written in the machine's own thread, straight between the page
// cache and guest memory (docs/decisions.md says why). Whoever may write holds an exclusive lock on the file, whoever only
// reads a shared one, so that two runs cannot write to one image.

import fs from "node:fs";
import { HostError, reason } from "../../src/base/errors.ts";

/** Pieces are gathered up to this size, since one larger call is faster than several small ones. */
const GATHER_BYTES = 2 ** 20;

export class ImageFile {
  readonly #lock: Deno.FsFile;
  readonly #fd: number;
  #size: number;
  #closed = false;
  #gathered: Uint8Array | null = null;

  private constructor(readonly path: string, readonly readOnly: boolean, lock: Deno.FsFile, fd: number, size: number) {
    this.#lock = lock;
    this.#fd = fd;
    this.#size = size;
  }

  /** Opens a regular file or a block device. Throws HostError. */
  static open(path: string, readOnly: boolean): ImageFile {
    let lock: Deno.FsFile | undefined;
    try {
      lock = Deno.openSync(path, { read: true, write: !readOnly });
      if (Deno.statSync(path).isDirectory) throw new HostError(`cannot open ${path}: is a directory`);
      if (!lock.tryLockSync(!readOnly)) {
        const who = readOnly ? "somebody writes to it" : "somebody else has it open";
        throw new HostError(`cannot open ${path}: ${who}`);
      }
      // The end of a block device is where seeking to the end goes.
      const size = lock.seekSync(0, Deno.SeekMode.End);
      return new ImageFile(path, readOnly, lock, fs.openSync(path, readOnly ? "r" : "r+"), size);
    } catch (error) {
      lock?.close();
      if (error instanceof HostError) throw error;
      throw new HostError(`cannot open ${path}: ${reason(error)}`);
    }
  }

  /** A new file under a name that does not exist yet. */
  static create(path: string): ImageFile {
    try {
      Deno.openSync(path, { write: true, createNew: true }).close();
    } catch (error) {
      throw new HostError(`cannot create ${path}: ${reason(error)}`);
    }
    return ImageFile.open(path, false);
  }

  /** Takes the name away; the file is gone when it is closed. */
  unlink(): void {
    Deno.removeSync(this.path);
  }

  get sizeBytes(): number {
    return this.#size;
  }

  /** Fills `into` with what is at `offset`, with zeros beyond the end of the file. Throws HostError. */
  readAt(offset: number, into: Uint8Array): void {
    try {
      for (let done = 0; done < into.length;) {
        const count = fs.readSync(this.#fd, into, done, into.length - done, offset + done);
        if (count === 0) {
          into.fill(0, done);
          return;
        }
        done += count;
      }
    } catch (error) {
      throw new HostError(`cannot read ${this.path}: ${reason(error)}`);
    }
  }

  /** Writes all of `from` at `offset`. Throws HostError, and part of it may be there then. */
  writeAt(offset: number, from: Uint8Array): void {
    try {
      for (let done = 0; done < from.length;) {
        done += fs.writeSync(this.#fd, from, done, from.length - done, offset + done);
      }
    } catch (error) {
      throw new HostError(`cannot write ${this.path}: ${reason(error)}`);
    }
    this.#size = Math.max(this.#size, offset + from.length);
  }

  /** As readAt, into pieces that follow each other. */
  readPieces(offset: number, pieces: readonly Uint8Array[]): void {
    if (pieces.length === 1) return this.readAt(offset, pieces[0]!);
    this.#groups(pieces, (group, bytes, before) => {
      if (group.length === 1) return this.readAt(offset + before, group[0]!);
      const all = this.#buffer(bytes);
      this.readAt(offset + before, all);
      let at = 0;
      for (const piece of group) {
        piece.set(all.subarray(at, at + piece.length));
        at += piece.length;
      }
    });
  }

  /** As writeAt, from pieces that follow each other. */
  writePieces(offset: number, pieces: readonly Uint8Array[]): void {
    if (pieces.length === 1) return this.writeAt(offset, pieces[0]!);
    this.#groups(pieces, (group, bytes, before) => {
      if (group.length === 1) return this.writeAt(offset + before, group[0]!);
      const all = this.#buffer(bytes);
      let at = 0;
      for (const piece of group) {
        all.set(piece, at);
        at += piece.length;
      }
      this.writeAt(offset + before, all);
    });
  }

  /** Everything that was written is on the disk afterwards. Throws HostError. */
  flush(): void {
    try {
      fs.fdatasyncSync(this.#fd);
    } catch (error) {
      throw new HostError(`cannot flush ${this.path}: ${reason(error)}`);
    }
  }

  /** Cuts the file off, or makes it longer with a hole. */
  truncate(sizeBytes: number): void {
    try {
      fs.ftruncateSync(this.#fd, sizeBytes);
    } catch (error) {
      throw new HostError(`cannot resize ${this.path}: ${reason(error)}`);
    }
    this.#size = sizeBytes;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    fs.closeSync(this.#fd);
    this.#lock.close();
  }

  /** Calls `use` with pieces that together have at most GATHER_BYTES, and with every larger one alone. */
  #groups(
    pieces: readonly Uint8Array[],
    use: (group: readonly Uint8Array[], bytes: number, before: number) => void,
  ): void {
    for (let first = 0, before = 0; first < pieces.length;) {
      let end = first, bytes = 0;
      do bytes += pieces[end++]!.length; while (
        end < pieces.length && bytes + pieces[end]!.length <= GATHER_BYTES
      );
      use(pieces.slice(first, end), bytes, before);
      before += bytes;
      first = end;
    }
  }
  #buffer(bytes: number): Uint8Array {
    this.#gathered ??= new Uint8Array(GATHER_BYTES);
    return this.#gathered.subarray(0, bytes);
  }
}
