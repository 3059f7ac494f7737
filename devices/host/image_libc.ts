// What an image needs of the host's C library on Linux and Deno does not offer: locks on parts of a file, holes, and data
// that is read and written where it lies, in many pieces at once. Elsewhere images do without.

import { HostError } from "../../src/base/errors.ts";
import { loadSymbols } from "./libc.ts";

/** What Deno does not do with files. */
const SYMBOLS = {
  fcntl: { parameters: ["i32", "i32", "buffer"], result: "i32" },
  fallocate: { parameters: ["i32", "i32", "i64", "i64"], result: "i32" },
  preadv: { parameters: ["i32", "buffer", "i32", "i64"], result: "isize" },
  pwritev: { parameters: ["i32", "buffer", "i32", "i64"], result: "isize" },
} as const;
export type FileLibc = Deno.DynamicLibrary<typeof SYMBOLS>;

/** The host's C library, where it can be had. */
export function fileLibc(): FileLibc | null {
  try {
    return loadSymbols("cannot use images", SYMBOLS);
  } catch (error) {
    if (error instanceof HostError) return null;
    throw error;
  }
}

/** The most pieces of one call. */
const MOST_PIECES = 1024;
/** struct iovec: address and length. */
const IOVEC_WORDS = 4;

/** Pieces of one shared memory, as preadv and pwritev are told of them. */
export class PieceVector {
  readonly #words = new Uint32Array(IOVEC_WORDS * MOST_PIECES);
  /** The memory that was seen last, and its address, which stays: shared memory does not move. */
  #memory: SharedArrayBuffer | null = null;
  #address = 0;

  constructor(private readonly libc: FileLibc["symbols"]) {}

  /** Whether all bytes were moved; if not, some of them may have been. */
  move(what: "preadv" | "pwritev", fd: number, offset: number, pieces: readonly Uint8Array[]): boolean {
    const memory = pieces[0]!.buffer, words = this.#words;
    if (!(memory instanceof SharedArrayBuffer) || pieces.length > MOST_PIECES) return false;
    if (this.#memory !== memory) {
      // All addresses of processes are below 2^53 on the machines that Deno knows.
      this.#address = Number(Deno.UnsafePointer.value(Deno.UnsafePointer.of(new Uint8Array(memory))));
      this.#memory = memory;
    }
    let word = 0, bytes = 0;
    for (const piece of pieces) {
      if (piece.buffer !== memory) return false;
      const address = this.#address + piece.byteOffset;
      words[word] = address >>> 0;
      words[word + 1] = Math.floor(address / 2 ** 32);
      words[word + 2] = piece.length;
      bytes += piece.length;
      word += IOVEC_WORDS;
    }
    return Number(this.libc[what](fd, words, pieces.length, BigInt(offset))) === bytes;
  }
}
