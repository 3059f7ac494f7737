// Disk images as backends of block devices. An image is read and written at once, in the thread that asks; what the host
// refuses (a full disk, a bad sector) is told to the user once for each kind and answered as an error.

import { assert, HostError } from "../../src/base/errors.ts";
import type { BlockBackend, Done } from "../virtio/block_backend.ts";
import type { ImageFile } from "./image_file.ts";
import { looksLikeQcow2 } from "./image_qcow2_header.ts";

/** An image of any format. All methods throw HostError. */
export interface Image {
  readonly name: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly clusterBytes: number;
  readonly canDiscard: boolean;
  read(offset: number, pieces: readonly Uint8Array[]): void;
  write(offset: number, pieces: readonly Uint8Array[]): void;
  flush(): void;
  discard(offset: number, bytes: number): void;
  zero(offset: number, bytes: number, mayUnmap: boolean): void;
  close(): void;
}

const SECTOR = 512;
/** What is written at once where zeros must be written. */
const ZERO_BYTES = 2 ** 20;

/** A file whose bytes are the disk's. A last sector that is not whole is completed with zeros. */
export class RawImage implements Image {
  readonly name: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly clusterBytes: number = SECTOR;
  readonly canDiscard: boolean;
  #zeros: Uint8Array | null = null;

  /** With `guarded`, nothing may be written that makes the file look like another format. */
  constructor(readonly file: ImageFile, private readonly guarded: boolean) {
    this.name = file.path;
    this.readOnly = file.readOnly;
    this.sizeBytes = Math.ceil(file.sizeBytes / SECTOR) * SECTOR;
    this.canDiscard = file.canPunch && !file.readOnly;
  }

  read(offset: number, pieces: readonly Uint8Array[]): void {
    this.file.readPieces(offset, pieces);
  }
  write(offset: number, pieces: readonly Uint8Array[]): void {
    if (this.guarded && offset === 0 && looksLikeQcow2(pieces[0]!)) {
      throw new HostError(`cannot write ${this.name}: it would look like qcow2; say format=raw to allow that`);
    }
    this.file.writePieces(offset, pieces);
  }
  flush(): void {
    this.file.flush();
  }
  /** A wish: a file system that cannot make holes keeps what is there. */
  discard(offset: number, bytes: number): void {
    this.file.punch(offset, bytes);
  }
  zero(offset: number, bytes: number, mayUnmap: boolean): void {
    if ((mayUnmap && this.file.punch(offset, bytes)) || this.file.zeroRange(offset, bytes)) return;
    const zeros = this.#zeros ??= new Uint8Array(ZERO_BYTES);
    for (let done = 0; done < bytes; done += ZERO_BYTES) {
      this.file.writeAt(offset + done, zeros.subarray(0, Math.min(ZERO_BYTES, bytes - done)));
    }
  }
  close(): void {
    this.file.close();
  }
}

export interface ImageBackendOptions {
  /** Discards reach the image. */
  readonly discard: boolean;
  /** Flushes do nothing: what is written is lost when the host fails. */
  readonly unsafe: boolean;
  /** Told of what the host refuses. */
  readonly warn: (line: string) => void;
}

/** An image as a backend. */
export class ImageBackend implements BlockBackend {
  readonly #warned = new Set<string>();

  constructor(readonly image: Image, private readonly options: ImageBackendOptions) {
    assert(image.sizeBytes % SECTOR === 0, "an image has whole sectors");
  }

  get name(): string {
    return this.image.name;
  }
  get sizeBytes(): number {
    return this.image.sizeBytes;
  }
  get readOnly(): boolean {
    return this.image.readOnly;
  }
  get clusterBytes(): number {
    return this.image.clusterBytes;
  }
  get canDiscard(): boolean {
    return this.options.discard && this.image.canDiscard;
  }

  read(offset: number, pieces: readonly Uint8Array[], done: Done): void {
    done(this.#tried(() => this.image.read(offset, pieces)));
  }
  write(offset: number, pieces: readonly Uint8Array[], done: Done): void {
    done(this.#tried(() => this.image.write(offset, pieces)));
  }
  flush(done: Done): void {
    done(this.options.unsafe || this.image.readOnly || this.#tried(() => this.image.flush()));
  }
  discard(offset: number, bytes: number, done: Done): void {
    done(this.#tried(() => this.image.discard(offset, bytes)));
  }
  zero(offset: number, bytes: number, mayUnmap: boolean, done: Done): void {
    done(this.#tried(() => this.image.zero(offset, bytes, mayUnmap && this.options.discard)));
  }

  /** What was written stays written: the last flush is made here. */
  close(): void {
    if (!this.options.unsafe && !this.image.readOnly) this.#tried(() => this.image.flush());
    this.image.close();
  }

  #tried(operation: () => void): boolean {
    try {
      operation();
      return true;
    } catch (error) {
      if (!(error instanceof HostError)) throw error;
      if (!this.#warned.has(error.message)) this.options.warn(error.message);
      this.#warned.add(error.message);
      return false;
    }
  }
}
