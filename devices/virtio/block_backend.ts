// What a block device stands on: an image, or a server that has one. A backend may answer at once or later; what comes
// later comes between slices, when the device asks for it.

/** Told once how an operation ended: false is an error, of which the backend has told the user. */
export type Done = (good: boolean) => void;

export interface BlockBackend {
  /** As messages call it: `disk.qcow2`. */
  readonly name: string;
  /** A multiple of 512. */
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** Bytes that are best discarded or read at once, a power of two of at least 512. */
  readonly clusterBytes: number;
  /** Whether discarding does something. */
  readonly canDiscard: boolean;
  /** Whether `write` and `zero` can be told to be on the disk when they are answered; else a flush has to follow. */
  readonly canBeDurable?: boolean;
  /** Fills the pieces, one after the other, with what is at `offset`. Offsets and lengths are inside, multiples of 512. */
  read(offset: number, pieces: readonly Uint8Array[], done: Done): void;
  write(offset: number, pieces: readonly Uint8Array[], done: Done, durable?: boolean): void;
  /** Whatever was answered before is on the disk when this is answered. */
  flush(done: Done): void;
  /** The bytes are of no more interest; they may read as anything. */
  discard(offset: number, bytes: number, done: Done): void;
  /** The bytes read as zeros from now on; with `mayUnmap` they need not be allocated. */
  zero(offset: number, bytes: number, mayUnmap: boolean, done: Done, durable?: boolean): void;
  /** Between slices: answers what was answered outside; whether there was anything. */
  pump?(): boolean;
  readonly hasInput?: boolean;
  /** Nobody waits for what was not answered yet: the pieces are not touched any more. */
  abandon?(): void;
  close(): void;
}
