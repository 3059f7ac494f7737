// A file as an image lies in it: bytes at offsets, read and written in the machine's own thread, straight between the page
// cache and guest memory (docs/decisions.md says why). Whoever may write keeps everybody else out, whoever only reads keeps
// writers out, so that two programs cannot write to one image: see image_lock.ts.

import fs from "node:fs";
import { HostError, reason } from "../../src/base/errors.ts";
import { type FileLibc, fileLibc, PieceVector } from "./image_libc.ts";
import { lengthOf } from "./pieces.ts";
import { lockAsQemu } from "./image_lock.ts";

/** Pieces are gathered up to this size, since one larger call is faster than several small ones. */
const GATHER_BYTES = 2 ** 20;
/** fallocate's modes; without KEEP_SIZE the file grows. */
const FALLOCATE = { KEEP_SIZE: 1, PUNCH_HOLE: 2, ZERO_RANGE: 0x10 } as const;

export class ImageFile {
  readonly #fd: number;
  /** Holds the lock on hosts whose C library is out of reach. */
  readonly #lock: Deno.FsFile | null;
  readonly #libc: FileLibc | null;
  #size: number;
  #closed = false;
  #gathered: Uint8Array | null = null;
  readonly #vector: PieceVector | null;

  private constructor(
    readonly path: string,
    readonly readOnly: boolean,
    held: { readonly fd: number; readonly lock: Deno.FsFile | null; readonly libc: FileLibc | null },
    size: number,
  ) {
    this.#fd = held.fd;
    this.#lock = held.lock;
    this.#libc = held.libc;
    this.#vector = held.libc === null ? null : new PieceVector(held.libc.symbols);
    this.#size = size;
  }

  /** Opens a regular file or a block device. Throws HostError. */
  static open(path: string, readOnly: boolean): ImageFile {
    let file: Deno.FsFile | undefined, fd: number | undefined, libc: FileLibc | null = null;
    try {
      file = Deno.openSync(path, { read: true, write: !readOnly });
      if (Deno.statSync(path).isDirectory) throw new HostError(`cannot open ${path}: is a directory`);
      // The end of a block device is where seeking to the end goes.
      const size = file.seekSync(0, Deno.SeekMode.End);
      fd = fs.openSync(path, readOnly ? "r" : "r+");
      libc = fileLibc();
      const held = libc === null ? "unknown" : lockAsQemu(libc.symbols, fd, readOnly);
      if (held === "refused" || (held === "unknown" && !file.tryLockSync(!readOnly))) {
        const who = readOnly ? "somebody writes to it" : "somebody else has it open";
        throw new HostError(`cannot open ${path}: ${who}`);
      }
      const lock = held === "unknown" ? file : null;
      if (lock === null) file.close();
      return new ImageFile(path, readOnly, { fd, lock, libc }, size);
    } catch (error) {
      file?.close();
      if (fd !== undefined) fs.closeSync(fd);
      libc?.close();
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
    // The end of the file, and what goes wrong, are for the other way.
    if (this.#vector?.move("preadv", this.#fd, offset, pieces)) return;
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
    if (this.#vector?.move("pwritev", this.#fd, offset, pieces)) {
      this.#size = Math.max(this.#size, offset + lengthOf(pieces));
      return;
    }
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

  /** Whether parts of the file can be given back to the host, where its file system can do that. */
  get canPunch(): boolean {
    return this.#libc !== null;
  }
  /** Makes a hole, which reads as zeros. False when the host cannot; then nothing has changed. */
  punch(offset: number, bytes: number): boolean {
    return this.#allocate(FALLOCATE.PUNCH_HOLE | FALLOCATE.KEEP_SIZE, offset, bytes);
  }
  /** Makes zeros that have their place on the disk. False when the host cannot do that without writing them. */
  zeroRange(offset: number, bytes: number): boolean {
    return this.#allocate(FALLOCATE.ZERO_RANGE | FALLOCATE.KEEP_SIZE, offset, bytes);
  }
  #allocate(mode: number, offset: number, bytes: number): boolean {
    // What lies behind the end of the file is not there in these modes.
    if (this.#libc === null || this.readOnly || bytes === 0 || offset + bytes > this.#size) return false;
    return this.#libc.symbols.fallocate(this.#fd, mode, BigInt(offset), BigInt(bytes)) === 0;
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
    this.#lock?.close();
    this.#libc?.close();
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
